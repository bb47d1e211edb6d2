import errno
from collections.abc import Mapping

_REMEDIES: Mapping[int, str] = {
    errno.ENOSPC: "Make room on the disk",
    errno.EDQUOT: "Make room on the disk",
    errno.EACCES: "Choose a place that you may use",
    errno.EPERM: "Choose a place that you may use",
    errno.EROFS: "Choose a place that you may write",
}


def explain_refusal(error: OSError) -> str:
    """What the operating system refused, and what to do about it.

    Args:
        error: what it raised.

    Returns:
        Sentences.

    Example:
        >>> explain_refusal(OSError(28, "No space left on device", "a.png")).partition(" (")[0]
        'a.png: No space left on device. Make room on the disk, and give the same command again'
    """
    place = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, "Mend that")
    notes = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    again = "and give the same command again (`sst train` with --resume)."
    return f"{place}{error.strerror or error}. {remedy}, {again}{notes}"
