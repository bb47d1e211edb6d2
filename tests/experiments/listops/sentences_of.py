"""Batches for the tests of models, read from text."""

import torch

from sstricks.experiments.listops.expressions import parse

EXPRESSIONS = (
    "[MAX 3 [MIN 8 2 ] ]",
    "[MED 1 4 ]",
    "[MIN [MAX 1 9 ] 5 [MED 2 2 7 ] 6 ]",
    "[MAX [MIN [MED 3 1 ] 8 ] 0 ]",
)


def batch(*texts):
    """A batch of these expressions, or of four of different lengths and depths."""
    found = parse(list(texts or EXPRESSIONS))
    return found.select(torch.arange(len(found)))
