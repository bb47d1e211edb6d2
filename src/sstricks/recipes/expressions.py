r"""The ListOps data: nested MIN, MAX and MED of digits and their parse trees (Nangia and Bowman 2018, App. D.5.1).

A node is a digit with probability 3/4, else an operator with 2 to 5 operands, each number as likely, every one a node
of the same law; digits and operators are uniform. An operator takes two tokens, for itself and its closing bracket. The
depth of an expression is the nesting of its operators.

Drawing an expression *given* its depth by rejection takes thousands of draws for one of depth 5 and at most 50 tokens,
but the law given depth and length factorises over operands. Let p_h(m) be the probability of m tokens and a depth below
h, and P_h^k(m) that of k independent nodes with m tokens in all and depths below h; let q_h and Q_h^k be the same where
the largest depth is exactly h - 1:

    P_h^k(m) = Σ_l p_h(l) P_h^{k-1}(m - l)                              p_{h+1}(m) = 3/4 [m = 1] + Σ_k P_h^k(m - 2) / 16
    Q_h^k(m) = Σ_l q_h(l) P_h^{k-1}(m - l) + p_{h-1}(l) Q_h^{k-1}(m - l)     q_{h+1}(m) = Σ_k Q_h^k(m - 2) / 16

From the top, the length of an expression of depth d is drawn from q_{d+1}; the number of its operands from the terms of
q's sum; then operand by operand its length, and whether it is the first of full depth, from the terms of Q's sum, or of
P's once there is one. With 16^{-m} factored out all numbers are integers, so the tables are the same on all machines.
"""

import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sstricks.ops.kernels.compiled import compiled
from sstricks.recipes.harness import files
from sstricks.recipes.harness.commands import say
from sstricks.recipes.harness.recipe import fold_in

TOKENS = ("", *"0123456789", "[MIN", "[MAX", "[MED", "]")
"""The text of each token id, of which 0 is padding."""
DIGIT, OPERATOR, CLOSING = 1, 11, 14  # the first digit, the first operator, the bracket


@dataclass(frozen=True)
class Expressions:
    """Expressions, padded with zeros to L tokens: a split, or a batch as wide as its longest expression."""

    tokens: Tensor  # uint8 (N, L), ids of `TOKENS`
    lengths: Tensor  # int64 (N,), tokens of each
    heads: Tensor  # int8 (N, L), the place of each token's operator; -1 for the first, closing brackets and padding
    answers: Tensor  # int64 (N,), values from 0 to 9
    depths: Tensor  # int64 (N,), the nesting of operators

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: Tensor | slice) -> "Expressions":
        lengths = self.lengths[chosen]
        width = int(lengths.max()) if len(lengths) else 0
        tokens, heads = self.tokens[:, :width][chosen], self.heads[:, :width][chosen]
        return Expressions(tokens, lengths, heads, self.answers[chosen], self.depths[chosen])

    def to(self, device: torch.device) -> "Expressions":
        return Expressions(*(column.to(device) for column in vars(self).values()))

    @property
    def mask(self) -> Tensor:
        """True where there is a token, (N, L)."""
        return self.tokens != 0


def read(tokens: np.ndarray) -> Expressions:
    """Evaluate and parse expressions, uint8 (N, L), from the innermost operators to the outermost."""
    operator, closing = (tokens >= OPERATOR) & (tokens < CLOSING), tokens == CLOSING
    after = np.cumsum(operator, 1, np.int8) - np.cumsum(closing, 1, np.int8)
    level = after - operator  # in how many operators a token is; a closing bracket is where its operator is
    heads, values = np.full(tokens.shape, -1, np.int8), tokens.astype(np.int64) - DIGIT
    for depth in reversed(range(after.max())):
        parent, operand = operator & (level == depth), (level == depth + 1) & (tokens > 0) & ~closing
        number = np.cumsum(parent)[operand.ravel()] - 1  # of each operand's operator
        heads[operand] = parent.nonzero()[1][number]
        operands, n = np.sort(10 * number + values[operand]) % 10, np.bincount(number)
        first, kind = np.cumsum(n) - n, tokens[parent] - OPERATOR
        low, high = (np.choose(kind, (0 * n, n - 1, middle)) for middle in ((n - 1) // 2, n // 2))
        values[parent] = (operands[first + low] + operands[first + high]) // 2  # for MED, the median rounded down
    columns = (tokens, np.count_nonzero(tokens, axis=1), heads, values[:, 0].copy(), after.max(1).astype(np.int64))
    return Expressions(*map(torch.from_numpy, columns))


# ----------------------------------------------------------------------------------------------------------- grammar


@functools.lru_cache(maxsize=8)
def tree_weights(digit: int, operator: int, max_depth: int, max_length: int) -> np.ndarray:
    """P and Q, integers at [h, k, m]; a tree's weight is the product over its nodes. With (10, 3) it counts them."""
    below, reaching = weights = np.zeros((2, max_depth + 2, 6, max_length + 1), object)
    below[0, 0, 0] = 1
    for h in range(1, max_depth + 2):
        p, q = below[h], reaching[h]
        p[1, 2:], q[1, 2:] = operator * weights[:, h - 1, 2:, :-2].sum(1)
        p[0, 0], p[1, 1], q[1, 1] = 1, digit, digit if h == 1 else 0
        for k in range(2, 6):
            p[k] = np.convolve(p[1], p[k - 1])[: max_length + 1]
            q[k] = (np.convolve(q[1], p[k - 1]) + np.convolve(below[h - 1, 1], q[k - 1]))[: max_length + 1]
    return weights


@functools.lru_cache(maxsize=8)
def tables(max_depth: int, max_length: int) -> np.ndarray:
    """P and Q as numbers: 12/16 for a digit, 1/4 · 1/4 = 16/16² for an operator, its number of operands and "]"."""
    scale = np.array([16**m for m in range(max_length + 1)], object)
    return (tree_weights(12, 16, max_depth, max_length) / scale).astype(float)


def draw(size: int, depth: int, bounds: tuple[int, int], seed: int, first: int = 0) -> np.ndarray:
    """Tokens of draws number `first`, `first + 1`, … of a seed, given depth and bounds of the length."""
    tokens, weights = np.zeros((size, bounds[1]), np.uint8), tables(depth, bounds[1])
    law = np.where(np.arange(bounds[1] + 1) < bounds[0], 0.0, weights[1, depth + 1, 1])
    _sample(np.uint64(seed), first, depth + 1, law / math.fsum(law), weights, tokens)
    return tokens


# SplitMix64, whose numbers depend on nothing but the seed: neither on a library's version nor on the machine.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@compiled
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def splitmix64(seed: int, size: int) -> np.ndarray:
    """Independent 64-bit numbers, whose sorting order is a uniform permutation."""
    return _mix(np.uint64(seed) + np.arange(1, size + 1, dtype=np.uint64) * _STEP)


@compiled
def _uniform(state):
    state[0] += _STEP
    return np.float64(_mix(state[0]) >> np.uint64(11)) * 2.0**-53


@compiled
def _choose(weights, total, state):
    # Rounding may leave a little of the total at the end: then it is the last that can be.
    left, chosen = _uniform(state) * total, -1
    for i in range(len(weights)):
        if weights[i] > 0.0:
            chosen = i
            left -= weights[i]
            if left < 0.0:
                break
    return chosen


@compiled
def _sample(seed, first, height, law, weights, tokens):
    # weights[d, h, k, m]: of k operands of m tokens in all, each of depth below h; of which one reaches it if d = 1.
    state, options = np.empty(1, np.uint64), np.empty(2 * len(law))
    stack = np.empty((4, height), np.int64)
    # Of the open operators: operands to come, their tokens, their bound of depth, whether one must reach it.
    missing, left, high, must = stack[0], stack[1], stack[2], stack[3]
    for row in range(len(tokens)):
        state[0] = _mix(np.uint64(seed) + np.uint64(first + row + 1) * _STEP)
        length = _choose(law, 1.0, state)
        h, deep, top, at = height, 1, -1, 0
        while True:
            if length == 1:
                tokens[row, at] = DIGIT + int(_uniform(state) * (OPERATOR - DIGIT))
            else:
                tokens[row, at] = OPERATOR + int(_uniform(state) * (CLOSING - OPERATOR))
                options[:4] = weights[deep, h - 1, 2:, length - 2]
                chosen = _choose(options[:4], options[:4].sum(), state)
                top += 1
                missing[top], left[top], high[top], must[top] = 2 + chosen, length - 2, h - 1, deep
            at += 1
            while top >= 0 and missing[top] == 0:
                tokens[row, at] = CLOSING
                at, top = at + 1, top - 1
            if top < 0:
                break
            h, others, room = high[top], missing[top] - 1, left[top]
            # Either this operand is the deep one and the others are free, or it is not and one of them is.
            for m in range(room + 1):
                options[m] = weights[must[top], h, 1, m] * weights[0, h, others, room - m]
                options[room + 1 + m] = must[top] * weights[0, h - 1, 1, m] * weights[1, h, others, room - m]
            chosen = _choose(options[: 2 * (room + 1)], weights[must[top], h, others + 1, room], state)
            deep, length = int(must[top] and chosen <= room), chosen % (room + 1)
            h -= chosen > room
            missing[top], left[top], must[top] = others, room - length, must[top] - deep


# ------------------------------------------------------------------------------------------------------------ splits


@dataclass(frozen=True, kw_only=True)
class Specification:
    """What makes a data set what it is. The paper has lengths from 10 to 50; we read the 10 as of depth 2 and more."""

    train: int = 100_000
    """Training expressions."""
    valid: int = 10_000
    """Validation expressions."""
    test: int = 10_000
    """Test expressions."""
    max_depth: int = 5
    """There are as many expressions of every depth from 1 to this."""
    min_length: int = 10
    """Fewest tokens of an expression."""
    min_length_from: int = 2
    """Smallest depth at which --min-length holds; no expression of depth 1 has more than seven tokens."""
    max_length: int = 50
    """Most tokens of an expression."""
    seed: int = 0
    """Chooses the expressions; the --data-seed of training."""

    def check(self) -> None:
        """Raise RunError if values make no sense or there are not enough expressions, without drawing any."""
        for name, found in asdict(self).items():
            if found < (least := int(name != "seed")):
                raise files.RunError(f"{name} is {found}, expected at least {least}: pass a larger {name}.")
        if not self.min_length <= self.max_length <= 127:  # heads are int8
            raise files.RunError(
                f"max_length is {self.max_length}, expected from min_length={self.min_length} to 127: change either."
            )
        for depth in range(1, self.max_depth + 1):
            wanted = sum(len(range(depth - 1, size, self.max_depth)) for size in (self.train, self.valid, self.test))
            if wanted > (found := sum(self.possible(depth).values())):
                raise files.RunError(
                    f"train, valid and test take {wanted} different expressions of depth {depth}, of which there are "
                    f"{found} within the bounds of length: make the splits smaller or the bounds wider."
                )

    def possible(self, depth: int) -> dict[int, int]:
        """How many expressions of a depth there are, by length."""
        counts = tree_weights(10, CLOSING - OPERATOR, self.max_depth, self.max_length)[1][depth + 1][1]
        least = self.min_length if depth >= self.min_length_from else 1
        return {m: number for m, number in enumerate(counts) if number and m >= least}


@functools.lru_cache(maxsize=1)
def make_splits(spec: Specification) -> tuple[tuple[Expressions, ...], dict[str, Any]]:
    """Training, validation and test expressions, the same on every machine, and how they were drawn, for metadata.json.

    For each depth, expressions are drawn until enough different ones have come up, and dealt out by a permutation: so
    the splits have the same law and no expression in common. Of short ones there are few: those of the lengths that the
    account calls exhausted are rarer than in the grammar.
    """
    spec.check()
    splits = [np.zeros((size, spec.max_length), np.uint8) for size in (spec.train, spec.valid, spec.test)]
    strata = []
    for depth in range(1, spec.max_depth + 1):
        taken = [tokens[depth - 1 :: spec.max_depth] for tokens in splits]  # the depths take turns in every split
        wanted = sum(map(len, taken))
        found, account = _draw_distinct(spec, depth, wanted)
        strata.append(account)
        # numpy and torch may change the numbers of a seed from version to version.
        order = np.argsort(splitmix64(fold_in(spec.seed, "splits", depth), wanted), kind="stable")
        for rows, part in zip(taken, np.split(order, np.cumsum([len(rows) for rows in taken])[:-1]), strict=True):
            rows[:] = found[part]
    parsed = tuple(read(tokens) for tokens in splits)
    metadata = {"data": "listops", "specification": asdict(spec), "checksum": checksum(columns(parsed))}
    return parsed, {**metadata, "strata": strata}


def _draw_distinct(spec: Specification, depth: int, wanted: int) -> tuple[np.ndarray, dict[str, Any]]:
    possible, seed = spec.possible(depth), fold_in(spec.seed, "expressions", depth)
    tokens, unique = np.empty((0, spec.max_length), np.uint8), np.empty(0, np.int64)
    while len(unique) < wanted:
        size = max(1000, wanted + wanted // 50, len(tokens) // 2)
        more = draw(size, depth, (min(possible), spec.max_length), seed, first=len(tokens))
        tokens = np.concatenate([tokens, more])
        unique = np.sort(np.unique(tokens.view(f"V{spec.max_length}").ravel(), return_index=True)[1])
    kept = unique[:wanted]
    used = np.bincount(np.count_nonzero(tokens[kept], axis=1), minlength=spec.max_length + 1).tolist()
    possible = {m: n if n < 2**53 else float(n) for m, n in possible.items()}  # what JSON readers can hold
    account = {
        "depth": depth,
        "expressions": wanted,
        "possible": sum(possible.values()),
        "draws": int(kept[-1]) + 1 if wanted else 0,
        "lengths": {str(m): {"expressions": used[m], "possible": number} for m, number in possible.items()},
        "exhausted_lengths": [m for m, number in possible.items() if used[m] == number],
    }
    return tokens[kept], account


def columns(splits: Sequence[Expressions]) -> dict[str, np.ndarray]:
    """What is stored of the three splits: lengths, answers, and tokens without padding, a byte each."""
    return {
        f"{name}_{column}": values.numpy().astype(np.uint8)
        for name, part in zip(("train", "valid", "test"), splits, strict=True)
        for column, values in (("lengths", part.lengths), ("answers", part.answers), ("tokens", part.tokens[part.mask]))
    }


def checksum(columns: Mapping[str, np.ndarray]) -> str:
    """SHA-256 in hexadecimal: of each split the number of expressions (8 bytes, little-endian), then its columns."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        if name.endswith("lengths"):
            digest.update(len(values).to_bytes(8, "little"))
        digest.update(values.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class PrepareListOps(Specification):
    """ListOps expressions (App. D.5.1), the same that training draws by itself if it is given the same numbers."""

    out: Path
    """New folder for the expressions; if it has them already, they are read and checked."""

    def run(self, console: Console) -> None:
        """Write the data, or check what is there; nothing is ever overwritten."""
        spec = Specification(**{field.name: getattr(self, field.name) for field in fields(Specification)})
        spec.check()
        where, data, description = f"--out {self.out}", self.out / "listops.npz", self.out / "metadata.json"
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            if not description.exists():  # it is written last
                left_behind = {name for name in os.listdir(self.out) if name.startswith(files.PARTIAL)}
                files.refuse_foreign_files(self.out, {data.name, *left_behind}, "ListOps data")
                splits, metadata = make_splits(spec)
                files.write_atomically(data, lambda file: np.savez_compressed(file, **columns(splits)))  # pyright: ignore[reportArgumentType]
                files.write_json(description, metadata)
        except OSError as error:
            raise files.RunError(f"{where}: cannot write there ({error.strerror}). Choose another folder.") from None
        try:
            metadata = json.loads(description.read_text())
            different = files.differences(metadata["specification"], asdict(spec))
            with data.open("rb") as file, np.load(file) as stored:
                if not different and checksum(stored) != metadata["checksum"]:
                    raise ValueError("its checksum is another")
        except Exception as error:  # whatever json, zipfile and numpy say of broken files
            damage = f"{type(error).__name__}: {error}"
            raise files.RunError(f"{where}: the data is damaged ({damage}). Delete it to have it made again.") from None
        if different:
            raise files.RunError(f"{where}: it holds other data: {different}. Choose another folder.")
        sizes = f"{spec.train} training, {spec.valid} validation, {spec.test} test expressions"
        say(console, f"{sizes}, checksum {metadata['checksum'][:16]}…, in {self.out}.")
