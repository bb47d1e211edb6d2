import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version

from sstricks.experiments.extras import missing_packages

_NEEDED = ("lightning", "tyro", "rich", "tensorboard", "matplotlib", "networkx")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `sst`: train, evaluate and demonstrate the experiments.

    Args:
        arguments: the words after `sst`; by default those of the process.

    Returns:
        The exit status: 0, or 2 if something is wrong with what was asked, or 130 if the user interrupted it.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if list(words) == ["--version"]:
        print(f"sstricks {version('sstricks')}")
        return 0
    missing = missing_packages("the experiments need", _NEEDED, "experiments")
    if missing:
        return _complain(missing)
    from sstricks.experiments.commands import run_command
    from sstricks.experiments.runs.errors import RunError
    from sstricks.experiments.runs.refusals import explain_refusal

    try:
        run_command(arguments)
    except RunError as error:
        return _complain(str(error))
    except OSError as error:  # a folder that cannot be written, a full disk
        return _complain(explain_refusal(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        _complain("interrupted. Give the same command again to continue; `sst train` wants --resume for it.")
        return 130
    return 0


def _complain(message: str) -> int:
    print(textwrap.fill(f"sst: {message}", 100, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
