"""Other ways to do the same work on the same card, forward and backward."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.nn import functional as nnf

import sstricks as sst
from benchmarks.gpu.subjects import ARGMAX, EF, EF_NAME, NAMES, SUBJECTS
from benchmarks.naive import k_subset as naive

Peer = tuple[str, str, Callable[[], object]]


def of(name: str, structure: sst.Structure, rows: int, device: str) -> Iterator[Peer]:
    """The peers of a subject: the work, who does it, and the call."""
    u = torch.randn(rows, *structure.event_shape, device=device)
    weights = torch.randn_like(u)
    yield from _copies(name, u, weights)
    leaf = u.clone().requires_grad_()
    if name == "one_hot":

        def trick() -> Tensor:
            drawn = sst.StochasticSoftmaxTrick(structure, sst.Gumbel(leaf, validate_args=False), 1.0, EF).rsample()
            return torch.autograd.grad(drawn, leaf, weights)[0]

        yield "trick", "sstricks", trick
        yield "trick", "F.gumbel_softmax", lambda: torch.autograd.grad(nnf.gumbel_softmax(leaf), leaf, weights)[0]
        yield EF_NAME, "torch.softmax", lambda: torch.autograd.grad(leaf.softmax(-1), leaf, weights)[0]
    if name == "k_subset":
        yield EF_NAME, "unrolled recursion", lambda: torch.autograd.grad(naive.unrolled(leaf, 10), leaf, weights)[0]
        yield ARGMAX, "torch.topk", lambda: torch.zeros_like(u).scatter_(-1, u.topk(10).indices, 1.0)
    if name.startswith(("spanning_tree", "arborescence")):
        yield EF_NAME, "log-determinant", lambda: _log_determinant(structure, leaf, weights)
    if name.startswith("projective") and find_spec("torch_struct"):
        yield EF_NAME, "torch-struct", _torch_struct(rows, device)


def _copies(name: str, u: Tensor, weights: Tensor) -> Iterator[Peer]:
    """Our CPU kernels, with the copies both ways."""
    structure = SUBJECTS[name].full()
    for what in SUBJECTS[name].cells:
        if what == ARGMAX:
            yield what, "CPU kernel and copies", lambda: structure.argmax(u.cpu()).to(u.device)
        elif what in NAMES:

            def differentiated(f: sst.Regularizer = NAMES[what]) -> Tensor:
                leaf = u.cpu().requires_grad_()
                x = structure.softmax(leaf, 1.0, f)
                x.to(u.device)
                return torch.autograd.grad(x, leaf, weights.cpu())[0].to(u.device)

            yield what, "CPU kernel and copies", differentiated


def _log_determinant(structure: sst.Structure, u: Tensor, weights: Tensor) -> Tensor:
    """The marginals as the derivative of the log-determinant of a Laplacian in float32, differentiated once more."""
    assert isinstance(structure, sst.SpanningTree | sst.Arborescence)
    n, (tail, head) = structure.num_nodes, structure.edges.to(u.device)
    flat = torch.zeros(*u.shape[:-1], n * n, device=u.device, dtype=u.dtype).index_copy(-1, tail * n + head, u.exp())
    w = flat.unflatten(-1, (n, n))
    if isinstance(structure, sst.SpanningTree):
        w = w + w.mT
    laplacian = (torch.diag_embed(w.sum(-2)) - w)[..., 1:, 1:]
    log_z = torch.linalg.slogdet(laplacian).logabsdet
    (x,) = torch.autograd.grad(log_z.sum(), u, create_graph=True)
    return torch.autograd.grad(x, u, weights)[0]


def _torch_struct(rows: int, device: str) -> Callable[[], object]:
    import torch_struct  # pyright: ignore[reportMissingImports]

    scores = torch.randn(rows, 19, 19, device=device, requires_grad=True)
    weights = torch.randn_like(scores)

    def differentiated() -> Tensor:
        marginals = torch_struct.DependencyCRF(scores).marginals
        return torch.autograd.grad(marginals, scores, weights)[0]

    return differentiated
