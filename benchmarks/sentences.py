"""Log Z of the dependency trees of batches of sentences, with lengths as they occur in treebanks and random scores."""

import torch
from torch import Tensor

import sstricks as sst
from benchmarks.arborescence import potentials
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward, partition_judge

# fmt: off
# words per sentence: a batch of ordinary ones, and one with long ones among them
LENGTHS = {
    32: (23, 17, 9, 31, 12, 26, 5, 19, 38, 21, 14, 28, 7, 24, 16, 45, 20, 11, 33, 18, 25, 8, 29, 15, 22, 50, 13, 27, 10,
         36, 19, 6),
    16: (24, 61, 12, 35, 18, 100, 27, 9, 44, 22, 72, 15, 31, 53, 20, 38),
}
# fmt: on


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    return [row for lengths in LENGTHS.values() for row in log_partition(torch.tensor(lengths)).hold(seconds)]


def log_partition(lengths: Tensor) -> Contest:
    """Log Z of every sentence of a padded batch, from node 0 over its words, and the gradient for its scores.

    A batch has lengths of its own, so that the mask, and its check, are part of the work.
    """
    words = int(lengths.max())
    trees = sst.Arborescence.complete(words + 1)
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(len(lengths), trees.edges.shape[1], generator=generator)
    ones = torch.ones(len(lengths))
    # 0 in the direction of what is padded
    present = trees.edge_mask(torch.arange(words + 1) <= lengths[:, None])
    g = torch.randn(u.shape, generator=generator) * present
    score = partition_judge(torch.where(present, u, -torch.inf), g, trees.edges, words + 1, directed=True)

    def ours(v: Tensor) -> Tensor:
        nodes = torch.arange(words + 1) <= lengths[:, None]
        return trees.masked(trees.edge_mask(nodes)).log_partition(v)

    contenders = [
        Contender(OURS, forward_backward(ours, u, ones)),
        Contender.installed(
            "torch-struct NonProjectiveDependencyCRF",
            "torch_struct",
            "torch-struct==0.5",
            lambda: forward_backward(lambda v: _torch_struct(v, trees.edges, lengths), u, ones),
        ),
    ]
    parameters = {"batch": len(lengths), "words": words, "mean": round(float(lengths.double().mean()), 1)}
    return Contest("log Z of sentences fwd+bwd", parameters, contenders, judge=score)


def _torch_struct(u: Tensor, edges: Tensor, lengths: Tensor) -> Tensor:
    import torch_struct

    matrices, _ = potentials(u, edges, int(lengths.max()) + 1)
    return torch_struct.NonProjectiveDependencyCRF(matrices, lengths=lengths, multiroot=True).partition
