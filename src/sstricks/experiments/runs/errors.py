class RunError(ValueError):
    """A run cannot do what was asked, for a reason that the person who asked can mend.

    The command line prints its text as one paragraph and ends with status 2; any other error keeps its traceback.
    """
