class RunError(ValueError):
    """A run cannot do what was asked, for a reason that the person who asked can mend.

    The command line prints its text as one paragraph and ends with status 2; any other error keeps its traceback.
    """


def first_line(error: Exception) -> str:
    r"""What an error says before its details, which torch and Ray write below.

    Args:
        error: of any kind.

    Returns:
        A line.

    Example:
        >>> first_line(RuntimeError("Connection closed by peer\nFrame 0: ..."))
        'Connection closed by peer'
    """
    return str(error).strip().partition("\n")[0]
