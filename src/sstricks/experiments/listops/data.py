"""The ListOps data: distinct expressions, as many of each depth, in three splits (App. D.5.1)."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sstricks.experiments.listops import expression_kernels as kernels
from sstricks.experiments.listops.expressions import MOST_TOKENS, Expressions, read
from sstricks.experiments.listops.grammar import Grammar
from sstricks.experiments.runs.seeds import fold_in

_MOST_DRAWS = 200  # for each expression that is wanted
_EXACT_IN_JSON = 2**53


@dataclass(frozen=True)
class Specification:
    """What makes a data set what it is.

    The paper has lengths from 10 to 50 and depths from 1 to 5. No expression of depth 1 has more than seven tokens if
    depth is the nesting of operators, as the paper's parse trees have it. Our reading is that the lower bound holds
    from depth 2 on.

    Attributes:
        train: number of training expressions.
        valid: number of validation expressions.
        test: number of test expressions.
        max_depth: there are as many expressions of every depth from 1 to this.
        min_length: the fewest tokens of an expression, from `min_length_from` on.
        min_length_from: the smallest depth at which `min_length` holds.
        max_length: the most tokens of an expression.
        seed: chooses the expressions, non-negative.
    """

    train: int = 100_000
    valid: int = 10_000
    test: int = 10_000
    max_depth: int = 5
    min_length: int = 10
    min_length_from: int = 2
    max_length: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {"train": 1, "valid": 1, "test": 1, "max_depth": 1, "min_length": 1, "min_length_from": 1, "seed": 0}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}: pass a larger {name}.")
        if not self.min_length <= self.max_length <= MOST_TOKENS:
            raise ValueError(
                f"max_length is {self.max_length}, expected from min_length={self.min_length} to {MOST_TOKENS}: "
                "change either."
            )

    def least_tokens(self, depth: int) -> int:
        """The lower bound of the length at a depth.

        Args:
            depth: from 1.

        Returns:
            A number of tokens.
        """
        return self.min_length if depth >= self.min_length_from else 1


@dataclass(frozen=True)
class Splits:
    """Training, validation and test expressions, and an account of how they were drawn.

    The depths take turns in every split, so that its first expressions have all depths in equal parts too.
    """

    train: Expressions
    valid: Expressions
    test: Expressions
    metadata: dict[str, Any]


def check_sizes(specification: Specification) -> None:
    """Refuse, without drawing any, more expressions than there are.

    Args:
        specification: sizes and bounds.

    Raises:
        ValueError: if there are not enough of a depth.
    """
    s = specification
    grammar = Grammar(s.max_depth, s.max_length)
    for depth in range(1, s.max_depth + 1):
        wanted = sum(len(range(depth - 1, size, s.max_depth)) for size in (s.train, s.valid, s.test))
        possible = sum(grammar.count(depth, m) for m in range(s.least_tokens(depth), s.max_length + 1))
        if wanted > possible:
            raise ValueError(_too_many(s, depth, wanted, possible, ""))


def make_splits(specification: Specification) -> Splits:
    """Draw the three splits; the same specification gives the same expressions on every machine.

    For each depth, expressions are drawn until enough different ones have come up; a permutation deals them out. So no
    expression occurs twice, within a split or across them, and the splits have the same law. Of short expressions
    there are few: the account lists the lengths of which every expression has been used, which are rarer than the
    grammar would have them.

    Args:
        specification: sizes, bounds and seed.

    Returns:
        The splits, with the account in JSON's types.

    Raises:
        ValueError: if there are no such expressions, or not enough.
    """
    s = specification
    grammar = Grammar(s.max_depth, s.max_length)
    sizes = {"train": s.train, "valid": s.valid, "test": s.test}
    tokens = {name: np.zeros((size, s.max_length), np.uint8) for name, size in sizes.items()}
    lengths = {name: np.zeros(size, np.int64) for name, size in sizes.items()}
    strata = []
    for depth in range(1, s.max_depth + 1):
        turns = {name: slice(depth - 1, None, s.max_depth) for name in sizes}
        parts = [len(lengths[name][turns[name]]) for name in sizes]
        drawn, counts, account = _draw_stratum(grammar, s, depth, sum(parts))
        strata.append(account)
        borders = np.cumsum(parts)[:-1]
        for name, rows in zip(sizes, np.split(_permutation(s.seed, depth, sum(parts)), borders), strict=True):
            tokens[name][turns[name]], lengths[name][turns[name]] = drawn[rows], counts[rows]
    splits = {name: read(tokens[name], lengths[name]) for name in sizes}
    metadata = {
        "data": "listops",
        "specification": dataclasses.asdict(s),
        "checksum": checksum(splits["train"], splits["valid"], splits["test"]),
        "strata": strata,
    }
    return Splits(**splits, metadata=metadata)


def checksum(*splits: Expressions) -> str:
    """A fingerprint of some expressions, whatever file they come from.

    Args:
        *splits: in this order.

    Returns:
        SHA-256, in hexadecimal, of the number of expressions (8 bytes, little-endian), the lengths and the answers (a
        byte each) and the tokens (a byte each, without padding) of each split.
    """
    digest = hashlib.sha256()
    for part in splits:
        digest.update(len(part).to_bytes(8, "little"))
        for numbers in (part.lengths, part.answers, part.tokens[part.tokens > 0]):
            digest.update(numbers.numpy().astype(np.uint8).tobytes())
    return digest.hexdigest()


def _draw_stratum(
    grammar: Grammar, s: Specification, depth: int, wanted: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], dict[str, Any]]:
    least = s.least_tokens(depth)
    grammar.lengths(depth, least)  # which says so if there is none
    possible = {m: grammar.count(depth, m) for m in range(least, s.max_length + 1)}
    seed = fold_in(s.seed, "expressions", depth)
    tokens, lengths = grammar.draw(0, depth, seed, min_length=least)
    unique = np.empty(0, np.int64)
    while len(unique) < wanted:
        if len(tokens) >= _MOST_DRAWS * wanted or wanted > sum(possible.values()):
            drawn = f"; {len(tokens)} draws gave {len(unique)} different ones"
            raise ValueError(_too_many(s, depth, wanted, sum(possible.values()), drawn))
        size = max(1000, wanted + wanted // 50 if len(tokens) == 0 else len(tokens) // 2)
        more, counts = grammar.draw(size, depth, seed, first=len(tokens), min_length=least)
        tokens, lengths = np.concatenate([tokens, more]), np.concatenate([lengths, counts])
        unique = _first_occurrences(tokens)
    kept = unique[:wanted]
    used = np.bincount(lengths[kept], minlength=s.max_length + 1)
    account = {
        "depth": depth,
        "expressions": wanted,
        "possible": _in_json(sum(possible.values())),
        "draws": int(kept[-1]) + 1 if wanted else 0,
        "lengths": {
            str(m): {"expressions": int(used[m]), "possible": _in_json(number)}
            for m, number in possible.items()
            if number
        },
        "exhausted_lengths": [m for m, number in possible.items() if number and used[m] == number],
    }
    return tokens[kept], lengths[kept], account


def _too_many(s: Specification, depth: int, wanted: int, possible: int, drawn: str) -> str:
    return (
        f"train, valid and test take {wanted} different expressions of depth {depth}, of which there are {possible} "
        f"with {s.least_tokens(depth)} to {s.max_length} tokens{drawn}: make the splits smaller or the bounds of the "
        "length wider."
    )


def _first_occurrences(tokens: NDArray[np.uint8]) -> NDArray[np.int64]:
    whole = np.ascontiguousarray(tokens).view(np.dtype((np.void, tokens.shape[1]))).ravel()
    return np.sort(np.unique(whole, return_index=True)[1])


def _permutation(seed: int, depth: int, size: int) -> NDArray[np.int64]:
    # numpy and torch may change the numbers of a seed from version to version.
    order = np.empty(size, np.uint64)
    kernels.keys(np.uint64(fold_in(seed, "splits", depth)), order)
    return np.argsort(order, kind="stable")


def _in_json(number: int) -> int | float:
    return number if number < _EXACT_IN_JSON else float(number)
