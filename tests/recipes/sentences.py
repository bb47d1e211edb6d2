"""ListOps as its authors wrote it: recursive, on trees of tuples; what the tests compare with."""

import statistics

import torch

from sstricks.recipes.expressions import TOKENS, read

OPERATIONS = {"[MIN": min, "[MAX": max, "[MED": lambda values: int(statistics.median(values))}


def generate(rng, level=1):
    if level >= 20 or rng.random() > 0.25:
        return rng.randrange(10)
    children = tuple(generate(rng, level + 1) for _ in range(rng.randint(2, 5)))
    return (rng.choice(list(OPERATIONS)), *children)


def describe(node, at=0, head=-1):
    """Text, value, depth and heads of a tree."""
    if isinstance(node, int):
        return str(node), node, 0, [head]
    words, values, depths, heads = [node[0]], [], [], [head]
    for child in node[1:]:
        text, value, depth, below = describe(child, at + len(heads), at)
        words.append(text)
        values.append(value)
        depths.append(depth)
        heads += below
    return " ".join([*words, "]"]), OPERATIONS[node[0]](values), 1 + max(depths), [*heads, -1]


def tree(words):
    """The tree that a list of words begins with, which it loses."""
    word = words.pop(0)
    if word.isdigit():
        return int(word)
    children = []
    while words[0] != "]":
        children.append(tree(words))
    words.pop(0)
    return (word, *children)


def texts(expressions):
    return [" ".join(TOKENS[token] for token in row if token) for row in expressions.tokens.tolist()]


def parse(*texts):
    """Expressions from their texts."""
    rows = [torch.tensor([TOKENS.index(word) for word in text.split()], dtype=torch.uint8) for text in texts]
    return read(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).numpy())
