from torch import Size, broadcast_shapes


def invalid(argument: str, found: object, expected: str, remedy: str) -> ValueError:
    """The one form of every complaint about an argument: its name, what it is, what it should be, how to mend it."""
    return ValueError(f"{argument}: found {found}, expected {expected}. {remedy}")


def joint_shape(argument: str, shape: Size, batch: Size, other: str, batch_of: Size | None = None) -> Size:
    """What the batch shape of an argument and that of something else broadcast to.

    Args:
        argument: Its name.
        shape: Its shape.
        batch: The batch shape of the other.
        other: What the other is.
        batch_of: The batch part of `shape`, if that is not all of it.

    Raises:
        ValueError: They do not broadcast.
    """
    try:
        return broadcast_shapes(shape if batch_of is None else batch_of, batch)
    except RuntimeError:
        raise invalid(
            argument,
            f"shape {tuple(shape)}",
            f"a batch shape that broadcasts with {tuple(batch)}, that of the {other}",
            "Give one for each example, or one for all.",
        ) from None
