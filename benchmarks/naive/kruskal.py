"""Maximum spanning trees by Kruskal's algorithm: batched edge by edge in torch, and one graph at a time."""

import networkx as nx
import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor


def batched_kruskal(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """The tree of each u (batch, E): edges in falling order, each joining two components of every example at once."""
    order = u.argsort(dim=-1, descending=True, stable=True)
    source, target = edges[0][order], edges[1][order]
    component = torch.arange(num_nodes).repeat(len(u), 1)
    taken = torch.zeros_like(u)
    for e in range(edges.shape[1]):
        a = component.gather(-1, source[:, e : e + 1])
        b = component.gather(-1, target[:, e : e + 1])
        taken[:, e : e + 1] = (a != b).to(u.dtype)
        component = torch.where(component == b, a, component)
    return torch.zeros_like(u).scatter_(-1, order, taken)


def scipy_loop(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """`scipy.sparse.csgraph.minimum_spanning_tree`, example by example; edges sorted by their first node."""
    i, j = edges.numpy()
    starts = np.searchsorted(i, np.arange(num_nodes + 1))
    number = np.zeros((num_nodes, num_nodes), dtype=np.int64)
    number[i, j] = np.arange(len(i))
    x = np.zeros(u.shape, dtype=np.float32)
    # scipy minimises and reads 0 as "no edge"
    costs = (u.amax(-1, keepdim=True) - u + 1).double().numpy()
    for b, cost in enumerate(costs):
        tree = minimum_spanning_tree(csr_array((cost, j, starts), shape=(num_nodes, num_nodes))).tocoo()
        x[b, number[tree.row, tree.col]] = 1
    return torch.from_numpy(x).to(u.dtype)


def networkx_loop(u: Tensor, edges: Tensor, num_nodes: int) -> Tensor:
    """`networkx.maximum_spanning_edges`, example by example."""
    pairs = edges.T.tolist()
    x = torch.zeros_like(u)
    for b, weights in enumerate(u.tolist()):
        graph = nx.Graph()
        graph.add_nodes_from(range(num_nodes))
        graph.add_edges_from(
            (i, j, {"weight": w, "e": e}) for e, ((i, j), w) in enumerate(zip(pairs, weights, strict=True))
        )
        taken = [data["e"] for _, _, data in nx.maximum_spanning_edges(graph)]
        x[b, taken] = 1
    return x
