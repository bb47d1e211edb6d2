"""What each kind of public function asks of its arguments, before kernels that do not look where they read and write.

What takes longer than to compare a few numbers is in `edge_list` alone. A structure has had its edges looked at when it
was made, and works with what is below the public functions.
"""

import torch
from torch import Size, Tensor

from sstricks.errors import check_floating, check_integer, invalid
from sstricks.ops.edge_list import checked_edges


def check_coordinates(u: Tensor, depth: int = 1, argument: str = "u", least: int = 1) -> None:
    """Raise unless u is a tensor of floating numbers with dimensions for the coordinates.

    Args:
        u: What the caller gave.
        depth: How many dimensions the coordinates of one problem have.
        argument: What u is called.
        least: How many coordinates there are at least: a graph of one node has none.

    Raises:
        ValueError: It is something else.
    """
    shape = check_floating(argument, u).shape
    if len(shape) < depth or min(shape[-depth:]) < least:
        raise invalid(
            argument,
            f"shape {tuple(u.shape)}",
            "shape (*batch, n, m)" if depth == 2 else "shape (*batch, n)",
            "Give one number for each coordinate.",
        )


def check_mask(mask: Tensor, event_shape: Size, argument: str = "mask") -> None:
    """Raise unless the mask is one of coordinates of this shape.

    Args:
        mask: What the caller gave.
        event_shape: The shape of the coordinates of one problem.
        argument: What the mask is called.

    Raises:
        ValueError: It has another shape, or is no tensor of bool.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = f"dtype {mask.dtype}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise invalid(argument, found, "a tensor of torch.bool", f"Write {argument}=(x > 0) or {argument}.bool().")
    if mask.dim() < len(event_shape) or mask.shape[mask.dim() - len(event_shape) :] != event_shape:
        raise invalid(
            argument,
            f"shape {tuple(mask.shape)}",
            f"(*batch, {', '.join(map(str, event_shape))})",
            "Masks may differ from example to example, but not in size.",
        )


def check_size(argument: str, u: Tensor, size: int, of: str) -> None:
    """Raise unless the last dimension of u has this size.

    Args:
        argument: What u is called.
        u: What the caller gave.
        size: What it should be.
        of: What has so many coordinates.

    Raises:
        ValueError: It is another.
    """
    if u.shape[-1] != size:
        raise invalid(
            argument, f"shape {tuple(u.shape)}", f"(*batch, {size}), as {of} has it", "Give one number for each edge."
        )


def check_n(n: int) -> int:
    """The number of items, if n is one.

    Args:
        n: What the caller gave.

    Raises:
        ValueError: n is no integer >= 1.
    """
    return check_integer("n", n, "It is the number of coordinates.", low=1)


def check_nodes(num_nodes: int, argument: str = "num_nodes") -> int:
    """The number of nodes of a graph, if it is one.

    Args:
        num_nodes: What the caller gave.
        argument: What it is called.

    Raises:
        ValueError: It is no integer >= 1.
    """
    return check_integer(argument, num_nodes, "A tree has a node.", low=1)


def check_k(k: int, n: int) -> int:
    """The size k, if k of n items can be chosen.

    Args:
        k: What the caller gave.
        n: How many items there are.

    Raises:
        ValueError: k is no integer from 1 to n.
    """
    return check_integer("k", k, "Choose fewer items, or give more.", low=1, high=n, top="n")


def subset_size(u: Tensor, k: int) -> int:
    """The size k, if subsets of as many items as u has coordinates can have it.

    Args:
        u: Shape (*batch, n).
        k: What the caller gave.

    Raises:
        ValueError: They cannot, or u is no such tensor.
    """
    if isinstance(u, Tensor) and u.is_floating_point() and u.dim() and type(k) is int and 0 < k <= u.shape[-1]:
        return k  # what is wrong takes longer to find than a small problem takes to solve
    check_coordinates(u)
    return check_k(k, u.shape[-1])


def chain_subset_size(u: Tensor, k: int) -> int:
    """The size k, if subsets of the items of a chain, of which there is one more than pairs, can have it.

    Args:
        u: Shape (*batch, 2n − 1).
        k: What the caller gave.

    Raises:
        ValueError: They cannot, or u is no such tensor.
    """
    check_coordinates(u)
    if u.shape[-1] % 2 == 0:
        raise invalid(
            "u", f"shape {tuple(u.shape)}", "(*batch, 2n - 1), an odd number", "First come n items, then n - 1 pairs."
        )
    return check_k(k, (u.shape[-1] + 1) // 2)


def chart_nodes(u: Tensor, num_nodes: int) -> int:
    """The number of nodes of a sentence, if u has one coordinate for each of its (n−1)² edges.

    Args:
        u: Shape (*batch, (n−1)²).
        num_nodes: What the caller gave.

    Raises:
        ValueError: It has not, or u is no such tensor.
    """
    check_coordinates(u, least=0)
    num_nodes = check_nodes(num_nodes)
    check_size("u", u, (num_nodes - 1) ** 2, f"a sentence of {num_nodes} nodes")
    return num_nodes


def graph_nodes(edges: Tensor, num_nodes: int) -> int:
    """The number of nodes, if `edges` has the form of an edge list.

    Args:
        edges: What the caller gave.
        num_nodes: What the caller gave.

    Raises:
        ValueError: It has not, or there is no node.
    """
    num_nodes = check_nodes(num_nodes)
    check_edge_list(edges)
    return num_nodes


def check_edge_list(edges: Tensor, least: int = 0) -> None:
    """Raise unless `edges` has the form of an edge list.

    Args:
        edges: What the caller gave.
        least: How many edges there are at least.

    Raises:
        ValueError: It has not.
    """
    if not isinstance(edges, Tensor):
        raise invalid(
            "edges", f"a {type(edges).__name__}", "an int64 tensor", "Write torch.tensor([sources, targets])."
        )
    if edges.dtype != torch.int64 or edges.dim() != 2 or edges.shape[0] != 2 or edges.shape[1] < least:
        raise invalid(
            "edges",
            f"shape {tuple(edges.shape)} of {edges.dtype}",
            f"an int64 tensor of shape (2, E), E >= {least}",
            "edges[:, e] holds the two ends of edge e; for all pairs of nodes use .complete(n).",
        )


def graph_root(root: int, num_nodes: int) -> int:
    """The root, if it is one of the nodes.

    Args:
        root: What the caller gave.
        num_nodes: The number of nodes.

    Raises:
        ValueError: It is not.
    """
    return check_integer("root", root, "Name a node.", low=0, high=num_nodes - 1, top="num_nodes - 1")


def graph(u: Tensor, edges: Tensor, num_nodes: int, argument: str = "u") -> tuple[Tensor, int]:
    """The edges, on the device of u, and the number of nodes, if they are a graph with one edge for each coordinate.

    Args:
        u: Shape (*batch, E).
        edges: What the caller gave.
        num_nodes: What the caller gave.
        argument: What u is called.

    Raises:
        ValueError: They are not, or u is no such tensor.
    """
    check_coordinates(u, argument=argument, least=0)
    num_nodes = graph_nodes(edges, num_nodes)
    check_size(argument, u, edges.shape[1], "edges")
    return checked_edges(edges, num_nodes).to(u.device), num_nodes
