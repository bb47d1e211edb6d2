"""`python -m benchmarks.gpu`: check every kernel against the CPU, then time the works of the targets beside peers.

Every structure is checked, and then timed, in a process of its own, which may fail or hang without harm to the others.
What is known so far is in `gpu.json` at any moment. With `--quick` nothing is timed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.record import read
from benchmarks.gpu.subjects import SUBJECTS

CHECKING, TIMING = 150, 40  # seconds that all checks, and the timings of one structure, may take


def card(device: str) -> dict[str, Any]:
    """What is measured on."""
    found: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "torch": torch.__version__}
    if device != "cpu":
        found |= {"card": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        import triton

        found["triton"] = triton.__version__
    return found


def start(module: str, *args: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return subprocess.Popen([sys.executable, "-m", f"benchmarks.gpu.{module}", *args], env=environment)


def finish(tasks: list[tuple[str, list[str]]], jobs: int, seconds: float) -> dict[str, str]:
    """Run all tasks, so many at once, no longer than so many seconds in all; how those ended that did not end well."""
    end, ended = time.monotonic() + seconds, {}
    waiting, running = list(tasks), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name, args = waiting.pop(0)
            running[f"{name} {' '.join(args[3:])}".strip()] = start(*args)
        for name, process in list(running.items()):
            if (code := process.poll()) is not None:
                del running[name]
                if code:
                    ended[name] = f"exit code {code}"
            elif time.monotonic() > end:
                process.kill()
                process.wait()
                del running[name]
                ended[name] = "no end in time"
        time.sleep(0.05)
    return ended


def table(names: list[str], lines: list[dict[str, Any]], ended: dict[str, str], quick: bool) -> list[str]:
    """What there is to say, last."""
    out = []
    for name in names:
        mine = [line for line in lines if line["subject"] == name]
        checks = [line for line in mine if line["kind"] not in ("time", "device", "kernels", "large", "peer")]
        wrong = [line for line in checks if not line["ok"]]
        unfinished = ", ".join(f"{what}: {how}" for what, how in ended.items() if what.split()[0] == name)
        out.append(f"{name:18s} checks {len(checks) - len(wrong)}/{len(checks)} {unfinished}")
        shown: dict[str, list[str]] = {}
        for line in wrong:
            shown.setdefault(f"{line['kind']}: {line['error'].splitlines()[0][:90]}", []).append(line["what"])
        out += [f"    {len(what)}x {said}  [{what[0][:60]}]" for said, what in list(shown.items())[:8]]
        out += [] if quick else timing_lines(mine)
    return out


def timing_lines(mine: list[dict[str, Any]]) -> list[str]:
    """Each work of one subject in one line, with its target and its peers."""
    by = {(line["kind"], line["what"]): line for line in mine if line["ok"]}
    out = []
    for (kind, what), line in by.items():
        if kind == "time":
            target = line["target_ms"]
            verdict = "" if target is None else f" target {target:g} {'MET' if line['ms'] <= target else 'MISSED'}"
            kernel = by.get(("device", what), {}).get("device_ms")
            large = by.get(("large", what), {}).get("ms")
            text = f"    {what:26s}{line['ms']:8.3f} ms{verdict}; stream {line['stream_ms']:.3f}"
            text += f"; kernels {kernel:.3f}" if kernel is not None else ""
            text += f"; 10,000 rows {large:.2f} ({large / line['ms']:.0f}x)" if large is not None else ""
            out.append(text)
        elif kind == "peer":
            out.append(f"    {what:48s}{line['ms']:8.3f} ms")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="check only")
    parser.add_argument("--only", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS), help="these structures")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of gpu.json")
    parser.add_argument("--seconds", type=float, default=0.3, help="budget of each timed call")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes that check at once")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use here")
    options.out.mkdir(parents=True, exist_ok=True)
    began, ended, about = time.monotonic(), {}, card(options.device)
    with tempfile.TemporaryDirectory() as folder:

        def save() -> list[dict[str, Any]]:
            lines = [line for file in sorted(Path(folder).glob("*.jsonl")) for line in read(file)]
            about["seconds"] = round(time.monotonic() - began, 1)
            (options.out / "gpu.json").write_text(json.dumps({**about, "ended": ended, "results": lines}, indent=1))
            return lines

        sizes = max(len(SUBJECTS[name].sizes) for name in options.only)
        tasks = [
            (name, ["checks", name, f"{folder}/{name}-{size}.jsonl", options.device, str(size)])
            for size in range(sizes)
            for name in options.only
            if size < len(SUBJECTS[name].sizes)
        ]
        ended |= finish(tasks, options.jobs, CHECKING)
        save()
        print(f"checked after {time.monotonic() - began:.0f} s", flush=True)
        for name in [] if options.quick else options.only:
            args = ["timings", name, f"{folder}/{name}.jsonl", options.device, str(options.seconds)]
            ended |= finish([(name, args)], 1, TIMING)
            save()
        if not options.quick:
            args = ["training", f"{folder}/training.jsonl", options.device, str(options.seconds)]
            ended |= finish([("training", args)], 1, TIMING)
        lines = save()
    print(*(f"{key}: {value}" for key, value in about.items()), sep=", ")
    print(*table([*options.only, "training"], lines, ended, options.quick), sep="\n")


if __name__ == "__main__":
    main()
