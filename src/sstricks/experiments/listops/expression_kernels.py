"""Compiled loops over expressions: one draws them from the tables of ``grammar``, the other reads them.

Rows are expressions, padded with zeros to the width of the arrays. Randomness is SplitMix64, whose numbers depend on
nothing but the seed: neither on the version of a library nor on the machine.
"""

import numpy as np

from sstricks.experiments.listops.vocabulary import CLOSING_ID, FIRST_DIGIT_ID, FIRST_OPERATOR_ID
from sstricks.ops.kernels.compiled import compiled

MOST_OPERANDS = 5
FEWEST_OPERANDS = 2
NUM_OPERATORS = CLOSING_ID - FIRST_OPERATOR_ID
MINIMUM, MAXIMUM = FIRST_OPERATOR_ID, FIRST_OPERATOR_ID + 1
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@compiled
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@compiled
def keys(seed, out):
    """Independent 64-bit numbers; the sorting order of them is a uniform permutation."""
    for i in range(len(out)):
        out[i] = _mix(np.uint64(seed) + np.uint64(i + 1) * _STEP)


@compiled
def _uniform(state):
    state[0] += _STEP
    return np.float64(_mix(state[0]) >> np.uint64(11)) * 2.0**-53


@compiled
def _choose(weights, total, state):
    # Rounding may leave a little of the total at the end: then it is the last that can be.
    left = _uniform(state) * total
    chosen = -1
    for i in range(len(weights)):
        if weights[i] > 0.0:
            chosen = i
            left -= weights[i]
            if left < 0.0:
                break
    return chosen


@compiled
def sample(seed, first, height, lengths, below, reaching, tokens, counts):
    """Draw expressions number `first`, `first + 1`, … of a seed, each from a stream of its own.

    `lengths` has the probability of every length. `below[h, k, m]` is the weight of k expressions of m tokens in all,
    each of depth below h; `reaching[h, k, m]` that of those among them of which one has depth h - 1.
    """
    rows, width = tokens.shape
    state = np.empty(1, np.uint64)
    options = np.empty(2 * (width + 1))
    # Of the operators that are open: operands to come, their tokens, their bound of depth, whether one must reach it.
    missing, left = np.empty(height, np.int64), np.empty(height, np.int64)
    high, must = np.empty(height, np.int64), np.empty(height, np.int64)
    for row in range(rows):
        state[0] = _mix(np.uint64(seed) + np.uint64(first + row + 1) * _STEP)
        length = _choose(lengths, 1.0, state)
        counts[row] = length
        h, exact, top, at = height, 1, -1, 0
        while True:
            if length == 1:
                tokens[row, at] = FIRST_DIGIT_ID + int(_uniform(state) * 10)
            else:
                tokens[row, at] = FIRST_OPERATOR_ID + int(_uniform(state) * NUM_OPERATORS)
                table = reaching if exact else below
                inside = length - 2
                total = 0.0
                for k in range(FEWEST_OPERANDS, MOST_OPERANDS + 1):
                    options[k] = table[h - 1, k, inside]
                    total += options[k]
                chosen = _choose(options[FEWEST_OPERANDS : MOST_OPERANDS + 1], total, state)
                top += 1
                missing[top], left[top], high[top], must[top] = FEWEST_OPERANDS + chosen, inside, h - 1, exact
            at += 1
            while top >= 0 and missing[top] == 0:
                tokens[row, at] = CLOSING_ID
                at += 1
                top -= 1
            if top < 0:
                break
            h, others, room = high[top], missing[top] - 1, left[top]
            if must[top]:
                # Either this operand is the deep one and the others are free, or it is not and one of them is.
                for m in range(room + 1):
                    options[m] = reaching[h, 1, m] * below[h, others, room - m]
                    options[room + 1 + m] = below[h - 1, 1, m] * reaching[h, others, room - m]
                chosen = _choose(options[: 2 * (room + 1)], reaching[h, others + 1, room], state)
                exact = 1 if chosen <= room else 0
                length = chosen if exact else chosen - (room + 1)
                must[top] = 1 - exact
                if not exact:
                    h -= 1
            else:
                for m in range(room + 1):
                    options[m] = below[h, 1, m] * below[h, others, room - m]
                length = _choose(options[: room + 1], below[h, others + 1, room], state)
                exact = 0
            missing[top] = others
            left[top] = room - length


@compiled
def _value(operator, operands):
    operands.sort()
    n = len(operands)
    if operator == MINIMUM:
        return operands[0]
    if operator == MAXIMUM:
        return operands[n - 1]
    return (operands[(n - 1) // 2] + operands[n // 2]) // 2


@compiled
def read(tokens, counts, heads, answers, depths):
    """Find the head of every token, the value and the depth of every expression; -1 for the depth of what is none."""
    rows, width = tokens.shape
    values = np.empty(width, np.int64)
    operators, firsts = np.empty(width, np.int64), np.empty(width, np.int64)
    for row in range(rows):
        top, held, depth = -1, 0, 0
        for i in range(width):
            heads[row, i] = -1
        for i in range(counts[row]):
            token = tokens[row, i]
            if i > 0 and top < 0:
                depth = -1  # something follows the end
                break
            if token == CLOSING_ID:
                if top < 0 or held == firsts[top]:
                    depth = -1
                    break
                held_before = firsts[top]
                values[held_before] = _value(tokens[row, operators[top]], values[held_before:held])
                held = held_before + 1
                top -= 1
                continue
            if top >= 0:
                heads[row, i] = operators[top]
            if token >= FIRST_OPERATOR_ID:
                top += 1
                operators[top] = i
                firsts[top] = held
                depth = max(depth, top + 1)
            elif token >= FIRST_DIGIT_ID:
                values[held] = token - FIRST_DIGIT_ID
                held += 1
            else:
                depth = -1
                break
        if top >= 0 or held != 1:
            depth = -1
        depths[row] = depth
        answers[row] = values[0] if depth >= 0 else 0
