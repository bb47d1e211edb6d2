def invalid(argument: str, found: object, expected: str, remedy: str) -> ValueError:
    """The one form of every complaint about an argument: its name, what it is, what it should be, how to mend it."""
    return ValueError(f"{argument}: found {found}, expected {expected}. {remedy}")
