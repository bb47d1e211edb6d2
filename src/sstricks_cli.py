"""The command `sst`, beside the package, whose import takes seconds: help and typos are answered at once."""

import difflib
import errno
import importlib
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib.metadata import version

_NEEDED = ("lightning", "tyro", "rich", "tensorboard", "matplotlib", "pandas", "pydantic")

_RECIPES = {
    "nri": "discover latent graphs behind moving points (Sec. 8.1)",
    "listops": "parse arithmetic expressions without seeing a parse (Sec. 8.2)",
    "l2x": "explain ratings of reviews by a few words (Sec. 8.3)",
    "parsing": "parse sentences, with gold trees or with latent ones",
}
COMMANDS: dict[str, tuple[str, dict[str, str]]] = {
    "train": ("train an experiment", _RECIPES),
    "sweep": ("search hyperparameters at random: many runs, of which validation selects one", _RECIPES),
    "evaluate": ("test the best checkpoint of a run again", {}),
    "table": ("put finished runs into the paper's tables", {}),
    "plot": (
        "draw pictures of runs",
        {
            "curves": "learning curves",
            "parallel": "a search at a glance",
            "layout": "recovered graphs",
            "parses": "parses of an expression",
            "words": "a review with the words that explain its rating",
        },
    ),
    "explain": ("show the words that explain a rating", {}),
    "prepare": (
        "write data into a compact folder",
        {
            "hotels": "hotel reviews",
            "beer": "reviews in BeerAdvocate's format",
            "synthetic": "made-up reviews",
            "listops": "arithmetic expressions",
        },
    ),
    "reference": ("how well ridge regression predicts the ratings", {}),
    "demo": ("watch a model discover latent trees: minutes", {}),
    "diagnose": ("bias and variance of gradient estimators on a small problem", {}),
    "field-guide": ("draw every structure", {}),
}
"""What each command does, and its second words, if it has any."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `sst`: train, evaluate and demonstrate the experiments.

    Args:
        arguments: the words after `sst`; by default those of the process.

    Returns:
        The exit status: 0, or 2 if something is wrong with what was asked, or 130 if the user interrupted it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"sstricks {version('sstricks')}")
        return 0
    try:
        command, words = _choose("sst", {name: text for name, (text, _) in COMMANDS.items()}, words)
        if command is None:
            return 0
        _, seconds = COMMANDS[command]
        second = None
        if seconds:
            second, words = _choose(f"sst {command}", seconds, words)
            if second is None:
                return 0
    except LookupError as error:
        return _complain(str(error.args[0]))
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        verb = "are" if missing[1:] else "is"
        remedy = "Run: pip install 'sstricks[recipes]'"
        return _complain(f"the experiments need {', '.join(missing)}, which {verb} not installed. {remedy}")
    return explained(lambda: _run(command, second, words))


def explained(run: Callable[[], None]) -> int:
    """Run a command; print what a user can mend as a paragraph, and return the exit status."""
    from sstricks.recipes.harness.files import RunError

    try:
        run()
    except RunError as error:
        return _complain(str(error))
    except OSError as error:  # a folder that cannot be written, a full disk
        return _complain(_refusal(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        _complain("interrupted. Give the same command again to continue; `sst train` wants --resume for it.")
        return 130
    return 0


def _run(command: str, second: str | None, words: Sequence[str]) -> None:
    import tyro
    from rich.console import Console

    from sstricks.recipes.harness.commands import recipe_class, train_command

    prog, console = " ".join(filter(None, ("sst", command, second))), Console()
    if command == "train":
        train_command(recipe_class(str(second)), prog, words, console)
    elif command == "sweep":
        from sstricks.recipes.sweep import sweep_command

        sweep_command(recipe_class(str(second)), prog, words, console)
    else:
        module, name = _PLACES[command if second is None else f"{command} {second}"].split(":")
        kind = getattr(importlib.import_module(f"sstricks.recipes.{module}"), name)
        tyro.cli(kind, prog=prog, args=words, config=(tyro.conf.OmitArgPrefixes,)).run(console)


_PLACES = {
    "evaluate": "harness.commands:Evaluate",
    "table": "table:Table",
    "plot curves": "plot:PlotCurves",
    "plot parallel": "plot:PlotParallel",
    "plot layout": "plot:PlotLayout",
    "plot parses": "plot:PlotParses",
    "plot words": "plot:PlotWords",
    "explain": "l2x:Explain",
    "prepare hotels": "reviews:PrepareHotels",
    "prepare beer": "reviews:PrepareBeer",
    "prepare synthetic": "reviews:PrepareSynthetic",
    "prepare listops": "expressions:PrepareListOps",
    "reference": "l2x:Reference",
    "demo": "demo:Demo",
    "diagnose": "diagnose:Diagnose",
    "field-guide": "field_guide:FieldGuide",
}


def _choose(prog: str, choices: dict[str, str], words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The first word if it is one of the choices, and the rest; none if help was asked for and printed."""
    if words and words[0] in choices:
        return words[0], list(words[1:])
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, choices))
        print(f"usage: {prog} {{{','.join(choices)}}} ...  (--help after any of them says more)\n")
        print("\n".join(f"  {name:{width}}  {text}" for name, text in choices.items()))
        if words:
            return None, []
        raise LookupError(f"found no word after `{prog}`, expected one of those above.")
    near = difflib.get_close_matches(words[0], choices, n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    raise LookupError(f"found {words[0]!r} after `{prog}`, expected one of {', '.join(choices)}.{guess}")


def _refusal(error: OSError) -> str:
    remedies = {
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room on the disk"),
        **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Choose a place that you may write"),
    }
    place = f"{error.filename}: " if error.filename else ""
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    remedy = remedies.get(error.errno or 0, "Mend that")
    again = "and give the same command again (`sst train` with --resume)."
    return f"{place}{error.strerror or error}. {remedy}, {again}{notes}"


def _complain(message: str) -> int:
    print(textwrap.fill(f"sst: {message}", 100, break_long_words=False, break_on_hyphens=False), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
