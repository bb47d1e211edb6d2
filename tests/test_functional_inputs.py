"""What the public functions of `sst.functional` refuse, before kernels that do not look where they read and write."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import sstricks as sst
from sstricks import functional as F
from sstricks.ops.edge_list import edge_list

TRIANGLE = torch.tensor([[0, 0, 1], [1, 2, 2]])
U = torch.tensor([0.3, 1.0, 0.5])
NO_COORDINATES = {
    "a list": [1.0, 2.0, 3.0],
    "an array": np.ones(3),
    "integers": torch.tensor([1, 2, 3]),
    "a scalar": torch.tensor(1.0),
    "nothing": torch.zeros(2, 0),
}

UNDIRECTED = [F.maximum_spanning_tree, F.spanning_tree_marginals, F.spanning_tree_log_partition, F.spanning_tree_sample]
DIRECTED = [
    F.maximum_arborescence,
    F.arborescence_marginals,
    F.arborescence_log_partition,
    F.arborescence_sample,
    F.exponential_arborescence,
]
SUBSETS = [
    F.top_k,
    F.capped_simplex,
    F.capped_softmax,
    F.k_subset_sigmoid,
    F.k_subset_marginals,
    F.k_subset_log_partition,
    F.k_subset_sample,
]
CHAINS = [
    F.chain_k_subset_argmax,
    F.chain_k_subset_marginals,
    F.chain_k_subset_log_partition,
    F.chain_k_subset_sample,
]
CHARTS = [
    F.maximum_projective_arborescence,
    F.projective_arborescence_marginals,
    F.projective_arborescence_log_partition,
    F.projective_arborescence_sample,
]
PATHS = [F.maximum_path, F.path_marginals, F.path_log_partition, F.path_sample]
TABLES = [F.maximum_matching, F.birkhoff_projection, F.sinkhorn, F.matching_sigmoid]

# For each kind of function: good arguments, and for some argument what is wrong, how it is named, what should be.
KINDS: list[tuple[list[Callable[..., torch.Tensor]], dict[str, object], list[tuple[str, object, str, str]]]] = [
    (
        UNDIRECTED + DIRECTED,
        {"u": U, "edges": TRIANGLE, "num_nodes": 3},
        [
            ("edges", torch.tensor([[0, 0, 7], [1, 2, 900_000]]), "900000", "num_nodes - 1 = 2"),
            ("edges", TRIANGLE - 1, "-1 to 1", "num_nodes - 1 = 2"),
            ("edges", torch.tensor([[0, 1, 1], [1, 1, 2]]), "self-loop at index 1", "differ"),
            ("edges", TRIANGLE.tolist(), "list", "int64 tensor"),
            ("edges", TRIANGLE.int(), "int32", "int64"),
            ("edges", TRIANGLE.T, "(3, 2)", "(2, E)"),
            ("edges", TRIANGLE[:, :2], "(3,)", "2)"),
            ("num_nodes", 2, "0 to 2", "num_nodes - 1 = 1"),
            ("num_nodes", 0, "0", ">= 1"),
            ("num_nodes", 3.0, "3.0", "integer"),
            ("u", torch.zeros(5, 4), "(5, 4)", "3)"),
        ],
    ),
    (DIRECTED, {"u": U, "edges": TRIANGLE, "num_nodes": 3}, [("root", bad, str(bad), "2") for bad in (77, 3, -1, 0.5)]),
    (
        PATHS,
        {"u": U, "edges": TRIANGLE},
        [
            ("edges", torch.tensor([[0, 0, 7], [1, 2, 900_000]]), "900000", "at most 6 nodes"),
            ("edges", TRIANGLE - 1, "-1 to 1", "num_nodes - 1"),
            ("edges", torch.tensor([[0, 1, 1], [1, 1, 2]]), "cycle through node 1", "without cycles"),
            ("edges", torch.tensor([[0, 1, 2], [1, 2, 0]]), "cycle through node", "without cycles"),
            ("edges", TRIANGLE.flip(0), "no path from node 0 to node 2", "at least one"),
            ("edges", TRIANGLE.tolist(), "list", "int64 tensor"),
            ("edges", TRIANGLE.int(), "int32", "int64"),
            ("edges", TRIANGLE.T, "(3, 2)", "(2, E)"),
            ("edges", TRIANGLE[:, :2], "(3,)", "2)"),
            ("source", 2, "2, which is the sink", "another node"),
            *[("source", bad, str(bad), "integer") for bad in (3, -1, 0.5)],
            ("sink", 0, "node 0, which is the sink", "another node"),
            *[("sink", bad, str(bad), "integer") for bad in (3, -1, 0.5)],
            ("u", torch.zeros(5, 4), "(5, 4)", "3)"),
        ],
    ),
    (SUBSETS, {"u": U, "k": 2}, [("k", bad, str(bad), "from 1 to n = 3") for bad in (4, 0, -1, 1.5, None)]),
    (
        CHAINS,
        {"u": U, "k": 2},
        [*[("k", bad, str(bad), "from 1 to n = 2") for bad in (3, 0, -1, 1.5)], ("u", torch.zeros(4), "(4,)", "odd")],
    ),
    (
        CHARTS,
        {"u": torch.zeros(4), "num_nodes": 3},
        [
            ("u", torch.zeros(9), "(9,)", "4)"),
            ("u", torch.zeros(2, 3), "(2, 3)", "4)"),
            ("num_nodes", 4, "(4,)", "9)"),
            ("num_nodes", 0, "0", ">= 1"),
            ("num_nodes", 2.5, "2.5", "integer"),
        ],
    ),
    (TABLES, {"u": torch.zeros(2, 2)}, [("u", U, "(3,)", "n, m"), ("u", torch.zeros(0, 3), "(0, 3)", "n, m")]),
    (
        [F.scaled_utility],
        {"u": U, "temperature": 1.0},
        [
            ("temperature", -1.0, "-1", "number >= 0"),
            ("temperature", "1", "'1'", "number >= 0"),
            ("mask", torch.ones(2, dtype=torch.bool), "(2,)", "3)"),
            ("mask", [True, True, True], "list", "tensor"),
            ("mask", torch.ones(3), "float32", "bool"),
        ],
    ),
    (
        [F.gumbel_softmax],
        {"u": U, "structure": sst.OneHot(3)},
        [("u", torch.zeros(4), "(4,)", "3)"), ("tau", -1.0, "-1", "number >= 0"), ("tau", "1", "'1'", "number >= 0")],
    ),
    (
        [F.soft_rank],
        {"u": U, "temperature": 1.0},
        [("temperature", -1.0, "-1", "number >= 0"), ("u", torch.full((3,), -torch.inf), "0 present", "at least 1")],
    ),
    (
        [F.soft_sort],
        {"u": U, "temperature": 1.0},
        [
            ("temperature", -1.0, "-1", "number >= 0"),
            ("u", torch.tensor([0.0, -torch.inf]), "not finite", "finite"),
            ("u", torch.tensor([0.0, torch.nan]), "not finite", "finite"),
        ],
    ),
    ([F.projective_edges], {"num_nodes": 3}, [("num_nodes", bad, str(bad), ">= 1") for bad in (0, -3, 2.5)]),
]


def calls() -> Iterator[object]:
    for functions, good, faults in KINDS:
        faults = [*faults, *([("u", bad, "", "") for bad in NO_COORDINATES.values()] if "u" in good else [])]
        for function in functions:
            for argument, bad, found, expected in faults:
                yield pytest.param(
                    function, good, argument, bad, found, expected, id=f"{function.__name__}-{argument}-{found}"
                )


def renamed(function: Callable[..., object], arguments: dict[str, object]) -> dict[str, object]:
    """As the function calls them: the utilities of one are rates."""
    first = next(iter(inspect.signature(function).parameters))
    return {first if name == "u" else name: value for name, value in arguments.items()}


@pytest.mark.parametrize(("function", "good", "argument", "bad", "found", "expected"), [*calls()])
def test_what_is_refused(function, good, argument, bad, found, expected):
    with pytest.raises(ValueError) as raised:
        function(**renamed(function, {**good, argument: bad}))
    message = str(raised.value)
    shape = re.fullmatch(r"(?s)(\w+): found (?P<found>.+?), expected (?P<expected>.+?)\. (?P<remedy>\w.{8,})", message)
    assert shape, message
    assert found in shape["found"], message
    assert expected in shape["expected"], message
    function(**renamed(function, good))


def test_every_public_function_is_among_them():
    conversions = {"to_working", "from_working", "working_dtype"}  # no kernel depends on what they are given
    tried = {function.__name__ for functions, _, _ in KINDS for function in functions}
    assert tried == set(F.__all__) - conversions


@pytest.mark.parametrize("function", SUBSETS + CHAINS)
def test_integers_of_other_types(function):
    out = [function(U, k) for k in (np.int64(1), torch.tensor(1))]
    assert all(x.shape == function(U, 1).shape for x in out)


@pytest.mark.parametrize("function", [F.spanning_tree_marginals, F.arborescence_log_partition, F.maximum_spanning_tree])
class TestTransformed:
    """Values are looked at when a compiled or mapped function runs."""

    def test_compiled(self, function):
        torch.compiler.reset()
        compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
        u = torch.stack([U, -U])
        torch.testing.assert_close(compiled(u, TRIANGLE, 3), function(u, TRIANGLE, 3))
        with pytest.raises(ValueError, match=r"edges: found node numbers from 1 to 3, expected"):
            compiled(u, TRIANGLE + 1, 3)

    def test_mapped(self, function):
        u = torch.stack([U, -U])
        mapped = torch.func.vmap(function, in_dims=(0, None, None))
        torch.testing.assert_close(mapped(u, TRIANGLE, 3), function(u, TRIANGLE, 3))
        with pytest.raises(ValueError, match=r"edges: found node numbers from 1 to 3, expected"):
            mapped(u, TRIANGLE + 1, 3)


def test_the_operator_underneath():
    torch.library.opcheck(edge_list.library_op, (TRIANGLE, 3))


@pytest.mark.parametrize("function", [F.capped_softmax, F.k_subset_marginals, F.top_k])
def test_sizes_are_looked_at_in_compiled_and_mapped_functions(function):
    torch.compiler.reset()
    compiled, u = torch.compile(function, fullgraph=True, backend="aot_eager"), torch.stack([U, -U])
    for k in (1, 2, 3):
        torch.testing.assert_close(compiled(u, k), function(u, k))
        torch.testing.assert_close(torch.func.vmap(lambda v, k=k: function(v, k))(u), function(u, k))
    with pytest.raises(ValueError, match="from 1 to n = 3"):
        torch.func.vmap(lambda v: function(v, 4))(u)


@pytest.mark.parametrize("trees", [sst.SpanningTree(TRIANGLE, 3), sst.Arborescence.complete(3)], ids=repr)
def test_structures_have_their_edges_looked_at_once(trees, monkeypatch):
    """When they are made; their calls go to what is below the public functions."""

    def looked(*_: object) -> None:
        raise AssertionError("looked at the edges again")

    monkeypatch.setattr("sstricks.functional.checks.checked_edges", looked)
    u = torch.zeros(trees.event_shape)
    for call in (trees.argmax, trees.log_partition, trees.sample, trees.entropy):
        call(u)
    trees.softmax(u, 1.0, sst.ExponentialFamilyEntropy())
    with pytest.raises(AssertionError, match="again"):
        F.spanning_tree_marginals(U, TRIANGLE, 3)


@pytest.mark.parametrize("function", [F.path_marginals, F.path_log_partition, F.maximum_path])
def test_schedules_are_made_when_a_compiled_or_mapped_function_runs(function):
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    u = torch.stack([U, -U])
    torch.testing.assert_close(compiled(u, TRIANGLE), function(u, TRIANGLE))
    with pytest.raises(ValueError, match="edges: found no path from node 0 to node 2"):
        compiled(u, TRIANGLE.flip(0))
    torch.testing.assert_close(torch.func.vmap(lambda v: function(v, TRIANGLE))(u), function(u, TRIANGLE))
