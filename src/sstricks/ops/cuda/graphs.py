"""What Triton kernels for graphs have in common: edges between the same nodes, and working memory.

One program treats one graph at a time, in working memory of its own. What some of its threads have written there and
others read stands on two sides of a barrier.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sstricks.ops.cuda.blocks import launch, power_of_two

MEMORY = 2**28  # so many bytes the programs that run at a time take together, if they are more than a few
FEW = 4


@triton.jit
def fill(at, count, value, BLOCK: tl.constexpr):
    """Write the same value `count` times."""
    for begin in range(0, count, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        tl.store(at + x, value, mask=x < count)


@triton.jit
def claim(owner, done, ends, edges, nodes, DIRECTED: tl.constexpr, BLOCK: tl.constexpr):
    """Make the first edge that is not done the owner of its pair of nodes, for every pair.

    `owner` has E where no edge has claimed the pair. Edges that share a pair take turns, in the order of their indices.
    """
    for begin in range(0, edges, BLOCK):
        x = begin + tl.arange(0, BLOCK)
        waits = (x < edges) & (tl.load(done + x, mask=x < edges, other=1) == 0)
        tl.atomic_min(owner + pair(ends, x, edges, nodes, DIRECTED), x, mask=waits, sem="relaxed")
    tl.debug_barrier()


@triton.jit
def pair(ends, x, edges, nodes, DIRECTED: tl.constexpr):
    """Where edges stand in a flattened nodes × nodes matrix; undirected ones below the diagonal."""
    tail = tl.load(ends + x, mask=x < edges, other=0).to(tl.int32)
    head = tl.load(ends + edges + x, mask=x < edges, other=0).to(tl.int32)
    if DIRECTED:
        return tail * nodes + head
    else:
        return tl.maximum(tail, head) * nodes + tl.minimum(tail, head)


@triton.jit
def turns(owner, done, ends, x, edges, nodes, DIRECTED: tl.constexpr):
    """Where edges stand, and which of them are the first of their pairs that are not done, and are so from now on."""
    at = pair(ends, x, edges, nodes, DIRECTED)
    waits = (x < edges) & (tl.load(done + x, mask=x < edges, other=1) == 0)
    turn = waits & (tl.load(owner + at, mask=waits, other=0, cache_modifier=".cg") == x)
    tl.store(owner + at, edges, mask=turn)
    tl.store(done + x, 1, mask=turn)
    return at, turn


@triton.jit
def strongest(
    u, ends, edges, nodes, weight, which, owner, done, DIRECTED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The largest utility of the edges between any two nodes, −∞ if there is none, and the first edge that has it.

    Where edges are directed, row j has those into node j, and edges into node 0 count as absent. Returns whether a
    utility is NaN.
    """
    fill(weight, nodes * nodes, float("-inf"), BLOCK)
    fill(which, nodes * nodes, 0, BLOCK)
    fill(owner, nodes * nodes, edges, BLOCK)
    fill(done, edges, 0, BLOCK)
    tl.debug_barrier()
    odd = tl.zeros([BLOCK], tl.int32)
    left = edges
    while left > 0:
        claim(owner, done, ends, edges, nodes, DIRECTED, BLOCK)
        merged = tl.zeros([BLOCK], tl.int32)
        for begin in range(0, edges, BLOCK):
            x = begin + tl.arange(0, BLOCK)
            at, turn = turns(owner, done, ends, x, edges, nodes, DIRECTED)
            value = tl.load(u + x, mask=turn, other=float("-inf"))
            odd |= (value != value).to(tl.int32)
            if DIRECTED:
                value = tl.where(at % nodes > 0, value, float("-inf"))
            at = transposed(at, nodes)
            better = turn & (value > tl.load(weight + at, mask=turn, other=float("inf")))
            tl.store(weight + at, value, mask=better)
            tl.store(which + at, x, mask=better)
            if not DIRECTED:
                tl.store(weight + transposed(at, nodes), value, mask=better)
                tl.store(which + transposed(at, nodes), x, mask=better)
            merged += turn.to(tl.int32)
        left -= tl.sum(merged, axis=0)
        tl.debug_barrier()
    return tl.max(odd, axis=0) > 0


@triton.jit
def any_above(at, least, step, other_step, nodes, R: tl.constexpr, N: tl.constexpr):
    """Whether each row of a nodes × nodes matrix has an entry above the least; rows are `step` numbers apart."""
    j = tl.arange(0, N)
    some = tl.zeros([R, N], tl.int32)
    for begin in range(0, nodes, R):
        i = begin + tl.arange(0, R)
        inside = (i[:, None] < nodes) & (j[None, :] < nodes)
        entry = tl.load(at + j[None, :] * step + i[:, None] * other_step, mask=inside, other=least)
        some |= (entry > least).to(tl.int32)
    return tl.max(some, axis=0)


@triton.jit
def transposed(at, nodes):
    """Where the edge in the other direction stands."""
    return at % nodes * nodes + at // nodes


def run_on_edges(
    kernel: triton.JITFunction, inputs: tuple[Tensor, ...], edges: Tensor, out: Tensor, nodes: int,
    floats: int, integers: int, *, warps: int = 8, constants: tuple[bool, ...] = (),
) -> Tensor:  # fmt: skip
    """`run`, of a kernel that takes an edge list after its inputs."""
    return run(kernel, (*inputs, edges), out, nodes, edges.shape[1], floats, integers, warps=warps, constants=constants)


def run(
    kernel: triton.JITFunction, inputs: tuple[Tensor, ...], out: Tensor, nodes: int, edges: int,
    floats: int, integers: int, *, warps: int = 8, constants: tuple[bool, ...] = (),
) -> Tensor:  # fmt: skip
    """Call `kernel(*inputs, out, float64 memory, int32 memory, rows, edges, nodes, *constants, …)`, and return `out`.

    Args:
        kernel: Its programs take rows in turns.
        inputs: One row for each graph.
        out: What the kernel writes.
        nodes: Their number.
        edges: Their number.
        floats: How many float64 of memory a program needs.
        integers: How many int32.
        warps: How many warps a program has at most.
        constants: Those of the kernel's own.
    """
    rows = len(out)
    programs = min(rows, max(FEW, MEMORY // (8 * floats + 4 * integers)))
    columns = max(16, power_of_two(nodes))
    tile = max(1, min(columns // 2, 1024 // columns))  # four numbers a thread: eight do not fit in its registers
    if rows:
        memory = (
            out.new_empty(programs * floats, dtype=torch.float64),
            out.new_empty(programs * integers, dtype=torch.int32),
        )
        args = (*inputs, out, *memory, rows, edges, nodes)
        constants = (*constants, tile, columns, min(256, 4 * columns))
        launch(kernel, programs, args, constants, min(8, warps, max(1, tile * columns // 128)))
    return out
