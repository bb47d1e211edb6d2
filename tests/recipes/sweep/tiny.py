"""A sweep over graph layout of seconds, and what to compare it by."""

from recipes import outcome
from recipes.outcome import without_times

OPTIONS = (
    *("--hidden", "8", "--graph-nodes", "5", "--num-frames", "4", "--batch-size", "16", "--valid-every", "4"),
    *("--train-examples", "64", "--valid-examples", "32", "--test-examples", "32", "--restarts", "1"),
    *("--no-edge-hold", "2", "--no-edge-ramp", "2"),
)


def command(out, trials, *more, steps=8):
    return ["sweep", "nri", "--out", str(out), "--trials", str(trials), "--steps", str(steps), *OPTIONS, *more]


def trial(out, index):
    return out / f"trial-{index:03d}"


def finished(out):
    """When each finished trial was finished, and what it came to."""
    return {path.parent.name: (path.stat().st_mtime_ns, path.read_text()) for path in out.glob("trial-*/result.json")}


def result_of(path):
    return without_times(outcome.result_of(path))
