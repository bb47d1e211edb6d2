import importlib.util
from collections.abc import Iterable


def missing_packages(purpose: str, names: Iterable[str], extra: str) -> str | None:
    """What to tell a user without the packages of an extra.

    Args:
        purpose: how the sentence begins.
        names: of the packages, as they are imported.
        extra: which of this package's extras has them.

    Returns:
        A sentence and the command that helps, or none if all are installed.

    Example:
        >>> missing_packages("flying needs", ["math", "no_wings"], "air")
        "flying needs no_wings, which is not installed. Run: pip install 'sstricks[air]'"
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    verb = "are" if missing[1:] else "is"
    return f"{purpose} {', '.join(missing)}, which {verb} not installed. Run: pip install 'sstricks[{extra}]'"
