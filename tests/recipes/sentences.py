"""ListOps as its authors wrote it: recursive, on trees of tuples; what the tests compare with."""

import random
import statistics

import numpy as np
import torch

from sstricks.recipes.expressions import TOKENS, read

Node = int | tuple


def generate(rng: random.Random, level: int = 1) -> Node:
    if level >= 20 or rng.random() > 0.25:
        return rng.randrange(10)
    children = tuple(generate(rng, level + 1) for _ in range(rng.randint(2, 5)))
    return (rng.choice(["[MIN", "[MAX", "[MED"]), *children)


def write(node: Node) -> str:
    if isinstance(node, int):
        return str(node)
    return " ".join([node[0], *(write(child) for child in node[1:]), "]"])


def depth(node: Node) -> int:
    return 0 if isinstance(node, int) else 1 + max(depth(child) for child in node[1:])


def length(node: Node) -> int:
    return 1 if isinstance(node, int) else 2 + sum(length(child) for child in node[1:])


def value(node: Node) -> int:
    if isinstance(node, int):
        return node
    operation = {"[MIN": min, "[MAX": max, "[MED": lambda values: int(statistics.median(values))}[node[0]]
    return operation([value(child) for child in node[1:]])


def heads(node: Node, at: int = 0, head: int = -1) -> list[int]:
    if isinstance(node, int):
        return [head]
    found = [head]
    for child in node[1:]:
        found += heads(child, at + len(found), at)
    return [*found, -1]


def tree(text: str) -> Node:
    def node(words: list[str]) -> Node:
        word = words.pop(0)
        if word.isdigit():
            return int(word)
        children = []
        while words[0] != "]":
            children.append(node(words))
        words.pop(0)
        return (word, *children)

    words = text.split()
    found = node(words)
    assert not words
    return found


def texts(expressions):
    return [" ".join(TOKENS[token] for token in row if token) for row in expressions.tokens.tolist()]


def parse(*texts):
    """Expressions from their texts."""
    rows = [[TOKENS.index(word) for word in text.split()] for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.uint8) for row in rows], batch_first=True)
    return read(padded.numpy(), np.array([len(row) for row in rows]))
