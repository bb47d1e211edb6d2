"""One-hot: Gumbel-softmax as a trick beside torch's own, and sparsemax beside entmax's."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical

import sstricks as sst
from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.score import forward_backward

TEMPERATURE = 0.5
BATCH = 100
SIZES = (10, 350, 1000)
TARGETS = {350: (0.8e-3, 0.9e-3)}  # seconds, of a kept trick's sample and of sparsemax, where they were set


def run(seconds: float) -> list[Row]:
    """Hold every contest of this subject."""
    contests = [make(n) for n in SIZES for make in (kept_trick, gumbel_softmax, straight_through, softmax, sparsemax)]
    return [row for contest in contests for row in contest.hold(seconds)]


def _problem(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, n, generator=generator), torch.randn(BATCH, n, generator=generator)


def _trick(logits: Tensor) -> sst.StochasticSoftmaxTrick:
    structure = sst.OneHot(logits.shape[-1])
    return sst.StochasticSoftmaxTrick(structure, sst.Gumbel(logits), TEMPERATURE, sst.ExponentialFamilyEntropy())


def kept_trick(n: int) -> Contest:
    """A relaxed sample and its gradient, of a trick that was built once."""
    logits, g = _problem(n)
    logits.requires_grad_()
    trick = _trick(logits)

    def ours() -> Tensor:
        return torch.autograd.grad(trick.rsample(), logits, g)[0]

    def torch_s() -> Tensor:
        return torch.autograd.grad(F.gumbel_softmax(logits, TEMPERATURE), logits, g)[0]

    contenders = [Contender(OURS, ours), Contender("F.gumbel_softmax", torch_s)]
    target = TARGETS.get(n, (None, None))[0]
    return Contest("kept trick, rsample + backward", {"n": n, "batch": BATCH}, contenders, target)


def gumbel_softmax(n: int) -> Contest:
    """A relaxed sample and its gradient, the distribution objects built anew at each call."""
    u, g = _problem(n)
    contenders = [
        Contender(OURS, forward_backward(lambda v: _trick(v).rsample(), u, g)),
        Contender("F.gumbel_softmax", forward_backward(lambda v: F.gumbel_softmax(v, TEMPERATURE), u, g)),
        Contender("RelaxedOneHotCategorical", forward_backward(_relaxed_one_hot, u, g)),
    ]
    return Contest("Gumbel-softmax sample fwd+bwd", {"n": n, "batch": BATCH}, contenders)


def straight_through(n: int) -> Contest:
    """A hard sample with the relaxed gradient."""
    u, g = _problem(n)
    contenders = [
        Contender(OURS, forward_backward(lambda v: sst.StraightThrough(_trick(v)).rsample(), u, g)),
        Contender(
            "F.gumbel_softmax(hard=True)",
            forward_backward(lambda v: F.gumbel_softmax(v, TEMPERATURE, hard=True), u, g),
        ),
    ]
    return Contest("straight-through sample fwd+bwd", {"n": n, "batch": BATCH}, contenders)


def softmax(n: int) -> Contest:
    """The relaxation alone: what the public call adds to torch's kernel."""
    one_hot, family = sst.OneHot(n), sst.ExponentialFamilyEntropy()
    u, g = _problem(n)
    contenders = [
        Contender(OURS, forward_backward(lambda v: one_hot.softmax(v, TEMPERATURE, family), u, g)),
        Contender("torch.softmax", forward_backward(lambda v: torch.softmax(v / TEMPERATURE, -1), u, g)),
    ]
    return Contest("E.F. one-hot fwd+bwd", {"n": n, "batch": BATCH}, contenders)


def sparsemax(n: int) -> Contest:
    """The Euclidean relaxation."""
    one_hot, euclidean = sst.OneHot(n), sst.Euclidean()
    u, g = _problem(n)
    contenders = [
        Contender(OURS, forward_backward(lambda v: one_hot.softmax(v, 1.0, euclidean), u, g)),
        Contender.installed("entmax.sparsemax", "entmax", "entmax", lambda: forward_backward(_sparsemax, u, g)),
    ]
    target = TARGETS.get(n, (None, None))[1]
    return Contest("Euclidean one-hot fwd+bwd", {"n": n, "batch": BATCH}, contenders, target)


def _relaxed_one_hot(logits: Tensor) -> Tensor:
    temperature = torch.tensor(TEMPERATURE)
    return RelaxedOneHotCategorical(temperature, logits=logits).rsample()


def _sparsemax(u: Tensor) -> Tensor:
    import entmax

    return entmax.sparsemax(u, -1)
