"""Compile the CPU kernels of all operators, so that later processes load them: `python -m sstricks.warmup`.

Names of structures may follow, as in `python -m sstricks.warmup SpanningTree`.

What there is to compile follows from what is registered. Each structure is asked, on a small example, for everything
it can do: the argmax, a relaxation with its gradient for each regularizer that has a solver, and of the exponential
family log Z, entropy and samples. The exponential families of dense and of sparse graphs have kernels of their own.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from sstricks.errors import invalid
from sstricks.ops.kernels.places import no_directory, writable_directory
from sstricks.regularizers import (
    BinaryEntropy,
    CategoricalEntropy,
    Euclidean,
    ExponentialFamilyEntropy,
    Regularizer,
    TsallisEntropy,
)
from sstricks.solvers import registered_pairs
from sstricks.structures import (
    Arborescence,
    BoundedSubset,
    ChainKSubset,
    KSubset,
    Matching,
    OneHot,
    Path,
    Permutahedron,
    ProjectiveArborescence,
    SpanningTree,
    Structure,
    Subset,
)


def _ladder(rungs: int) -> Tensor:
    """The edges of a ladder: a sparse graph with many cycles."""
    left, right = torch.arange(0, 2 * rungs, 2), torch.arange(1, 2 * rungs, 2)
    sides = [torch.stack([side[:-1], side[1:]]) for side in (left, right)]
    return torch.cat([torch.stack([left, right]), *sides], 1)


def _examples() -> dict[type, list[Structure]]:
    """Of each structure a small one, and others that take other kernels."""
    ladder = _ladder(40)
    both_ways = torch.cat([ladder, ladder.flip(0)], 1)
    return {
        OneHot: [OneHot(4), OneHot(100)],
        Subset: [Subset(4)],
        KSubset: [KSubset(5, 2), KSubset(100, 40)],
        BoundedSubset: [BoundedSubset(4, 1, 2)],
        ChainKSubset: [ChainKSubset(5, 2)],
        Matching: [Matching(4)],
        SpanningTree: [SpanningTree.complete(5), SpanningTree.complete(50), SpanningTree(ladder, 80)],
        Arborescence: [
            Arborescence.complete(5),
            Arborescence.complete(66),
            Arborescence(both_ways, 80),
            Arborescence.complete(5, single_root=True),
        ],
        Path: [Path.alignment(2, 3)],
        Permutahedron: [Permutahedron(4)],
        ProjectiveArborescence: [ProjectiveArborescence(5)],
    }


_REGULARIZERS: dict[type[Regularizer], Regularizer] = {
    Euclidean: Euclidean(),
    CategoricalEntropy: CategoricalEntropy(),
    BinaryEntropy: BinaryEntropy(),
    TsallisEntropy: TsallisEntropy(1.5),
    ExponentialFamilyEntropy: ExponentialFamilyEntropy(),
}


def _calls(
    structure: Structure, regularizers: Sequence[Regularizer], u: Tensor
) -> Iterator[tuple[str, Callable[[], object]]]:
    """All that a structure can be asked for, by name."""

    def relax(f: Regularizer) -> None:
        v = u.clone().requires_grad_()
        structure.softmax(v, 1.0, f).square().sum().backward()

    yield "argmax", partial(structure.argmax, u)
    for f in regularizers:
        yield f"softmax, {type(f).__name__}", partial(relax, f)
    if any(isinstance(f, ExponentialFamilyEntropy) for f in regularizers):
        yield "log_partition", partial(structure.log_partition, u)
        yield "entropy", partial(structure.entropy, u)
        yield "sample", partial(structure.sample, u, generator=torch.Generator().manual_seed(0))


def warm_up(names: Sequence[str] = ()) -> Iterator[tuple[str, float]]:
    """Call every operator of these structures, by default of all; yields what was called, and how many seconds it took.

    Args:
        names: Names of classes of structures.

    Raises:
        ValueError: There is no such structure.
    """
    examples = {kind.__name__: structures for kind, structures in _examples().items()}
    for name in names:
        if name not in examples:
            raise invalid("names", repr(name), f"some of {', '.join(examples)}", "Leave it out to compile everything.")
    pairs = registered_pairs()
    generator = torch.Generator().manual_seed(0)
    for kind in names or examples:
        regularizers = [_REGULARIZERS[f] for s, f in pairs if s.__name__ == kind and f in _REGULARIZERS]
        for structure in examples[kind]:
            if structure is not examples[kind][0]:
                regularizers = [f for f in regularizers if isinstance(f, ExponentialFamilyEntropy)]
            for dtype in (torch.float32, torch.float64):
                u = torch.randn(9, *structure.event_shape, generator=generator, dtype=dtype)
                for name, call in _calls(structure, regularizers, u):
                    start = time.perf_counter()
                    call()
                    yield f"{structure!r}, {dtype}: {name}", time.perf_counter() - start


def main(names: Sequence[str]) -> int:
    """Compile, and say where it lies; 2 if there is no place to keep it, or no such structure."""
    directory = writable_directory()
    if directory is None:
        print(f"sstricks.warmup: found {no_directory()}", file=sys.stderr)
        return 2
    try:
        for name, seconds in warm_up(names):
            print(f"{seconds:7.2f} s  {name}", flush=True)
    except ValueError as error:
        print(f"sstricks.warmup: {error}", file=sys.stderr)
        return 2
    print(f"The compiled kernels are in {directory}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
