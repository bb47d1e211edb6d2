from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def has_type(value: object, annotation: Any) -> bool:
    """Whether a value that JSON gave is of the type that a field of a configuration has.

    Args:
        value: of JSON's types.
        annotation: a class, a literal type, a union of such, or a tuple of any length of such.

    Returns:
        Whether it is; an integer is a number too, and a list a tuple.

    Example:
        >>> has_type(1, float), has_type(True, int), has_type([0.1, 1], tuple[float, ...]), has_type("x", int | None)
        (True, False, True, False)
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(has_type(value, part) for part in parts)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(has_type(item, parts[0]) for item in value)
    if isinstance(value, bool):
        return annotation is bool
    return isinstance(value, int | float if annotation is float else annotation)


def type_name(annotation: Any) -> str:
    """What an annotation expects, in words.

    Args:
        annotation: what `has_type` takes.

    Returns:
        The text.

    Example:
        >>> type_name(int), type_name(Literal["lstm", "gnn"]), type_name(int | None)
        ('int', "one of ['lstm', 'gnn']", 'int | None')
    """
    if get_origin(annotation) is Literal:
        return f"one of {list(get_args(annotation))}"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
