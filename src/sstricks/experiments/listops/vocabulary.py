"""The fifteen token ids: padding, the digits, the operators and the closing bracket."""

from collections.abc import Iterable, Sequence

DIGITS = tuple("0123456789")
OPERATORS = ("[MIN", "[MAX", "[MED")
CLOSING = "]"
TOKENS = ("", *DIGITS, *OPERATORS, CLOSING)
"""The text of each id; that of padding is empty."""

PADDING_ID = 0
FIRST_DIGIT_ID = 1
FIRST_OPERATOR_ID = FIRST_DIGIT_ID + len(DIGITS)
CLOSING_ID = TOKENS.index(CLOSING)
NUM_ANSWERS = len(DIGITS)

_IDS = {text: number for number, text in enumerate(TOKENS) if text}


def encode(tokens: Sequence[str]) -> list[int]:
    """The ids of some tokens.

    Args:
        tokens: their texts.

    Returns:
        One id for each.

    Raises:
        ValueError: if a token is not one of the fourteen.

    Example:
        >>> encode(["[MAX", "3", "]"])
        [12, 4, 14]
    """
    unknown = sorted(set(tokens) - _IDS.keys())
    if unknown:
        raise ValueError(
            f"tokens contains {unknown}, expected only {list(_IDS)}: separate brackets and digits by blanks."
        )
    return [_IDS[token] for token in tokens]


def decode(ids: Iterable[int]) -> list[str]:
    """The texts of some ids, without the padding.

    Args:
        ids: from 0 to 14.

    Returns:
        One text for each that is not padding.

    Example:
        >>> decode([12, 4, 14, 0])
        ['[MAX', '3', ']']
    """
    return [TOKENS[number] for number in ids if number != PADDING_ID]
