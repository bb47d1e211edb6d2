"""Law 13: every complaint names the argument, what was found, what was expected, and a remedy."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import sstricks as sst
from cases import PAIR_CASES, Case
from graphs import complete

ENTROPY = sst.ExponentialFamilyEntropy()
TRIANGLE = torch.tensor(complete(3)).T
NAN = torch.tensor([0.0, math.nan, 1.0, 2.0, 3.0])


@dataclass(frozen=True)
class BadCall:
    """A call that must fail, and what its message must say."""

    name: str
    call: Callable[[], object]
    argument: str
    found: str
    expected: str

    def __str__(self) -> str:
        return self.name


def check(call: Callable[[], object], argument: str, found: str, expected: str) -> None:
    with pytest.raises(ValueError) as raised:
        call()
    message = str(raised.value)
    assert re.search(rf"\b{argument}\b", message), f"the argument {argument!r} is not named: {message}"
    shape = re.fullmatch(r"(?s).*\bfound (?P<found>.+?), expected (?P<expected>.+?)\. (?P<remedy>\w.{8,})", message)
    assert shape, f"no found, expected, remedy: {message}"
    assert found in shape["found"], f"what was found ({found}) is not said: {message}"
    assert expected in shape["expected"], f"what was expected ({expected}) is not said: {message}"


CONSTRUCTORS = [
    BadCall("one-hot of nothing", lambda: sst.OneHot(0), "n", "0", "1"),
    BadCall("negative one-hot", lambda: sst.OneHot(-3), "n", "-3", "1"),
    BadCall("subset of nothing", lambda: sst.Subset(0), "n", "0", "1"),
    BadCall("k-subset of nothing", lambda: sst.KSubset(0, 1), "n", "0", "1"),
    BadCall("k too large", lambda: sst.KSubset(3, 4), "k", "4", "3"),
    BadCall("k negative", lambda: sst.KSubset(3, -1), "k", "-1", "3"),
    BadCall("edges transposed", lambda: sst.SpanningTree(TRIANGLE.T[:1], 3), "edges", "(1, 2)", "(2, "),
    BadCall("edges in a list", lambda: sst.SpanningTree([[0, 1], [1, 2]], 3), "edges", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("mask in a list", lambda: sst.OneHot(2, mask=[True, False]), "mask", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("event shape without a tuple", lambda: sst.LinearOracle(torch.ones_like, 4), "event_shape", "4", "tuple"),  # type: ignore[arg-type]
    BadCall("edges of floats", lambda: sst.SpanningTree(TRIANGLE.float(), 3), "edges", "float32", "int64"),
    BadCall("node out of range", lambda: sst.SpanningTree(TRIANGLE + 1, 3), "edges", "3", "0"),
    BadCall("negative node", lambda: sst.SpanningTree(TRIANGLE - 1, 3), "edges", "-1", "0"),
    BadCall("self-loop", lambda: sst.SpanningTree(torch.tensor([[0, 1], [1, 1]]), 2), "edges", "1", "differ"),
    BadCall(
        "disconnected graph",
        lambda: sst.SpanningTree(torch.tensor([[0, 2], [1, 3]]), 4),
        "edges",
        "",
        "connected",
    ),
    BadCall("node without an edge", lambda: sst.SpanningTree(TRIANGLE, 4), "edges", "3", "4"),
    BadCall("no nodes", lambda: sst.SpanningTree(torch.zeros(2, 0, dtype=torch.long), 0), "num_nodes", "0", "1"),
    BadCall("mask of another size", lambda: sst.OneHot(3, mask=torch.ones(4, dtype=torch.bool)), "mask", "4", "3"),
    BadCall("mask of numbers", lambda: sst.Subset(3, mask=torch.ones(3)), "mask", "float32", "bool"),
    BadCall("one-hot all masked", lambda: sst.OneHot(3, mask=torch.zeros(3, dtype=torch.bool)), "mask", "0", "1"),
    BadCall("subset all masked", lambda: sst.Subset(3, mask=torch.zeros(3, dtype=torch.bool)), "mask", "0", "1"),
    BadCall(
        "too few left for k",
        lambda: sst.KSubset(4, 2, mask=torch.tensor([[True, True, False, True], [False, False, True, False]])),
        "mask",
        "1",
        "2",
    ),
    BadCall(
        "mask that disconnects",
        lambda: sst.SpanningTree(torch.tensor([[0, 1, 2], [1, 2, 3]]), 4, mask=torch.tensor([True, False, True])),
        "mask",
        "",
        "connected",
    ),
    BadCall(
        "edge in both directions",
        lambda: sst.SpanningTree(torch.cat([TRIANGLE, TRIANGLE.flip(0)], 1), 3),
        "edges",
        "edge (0, 1) at index 0 and edge (1, 0) at index 3",
        "once",
    ),
    BadCall(
        "node mask of another size",
        lambda: sst.SpanningTree(TRIANGLE, 3).edge_mask(torch.ones(4, dtype=torch.bool)),
        "nodes",
        "(4,)",
        "3",
    ),
    BadCall(
        "mask that does not fit its base",
        lambda: sst.Masked(torch.distributions.Gumbel(torch.zeros(3), 1.0), torch.ones(4, dtype=torch.bool)),
        "mask",
        "4",
        "3",
    ),
]


COUNTED = [
    lambda three: sst.OneHot(three),
    lambda three: sst.Subset(three),
    lambda three: sst.KSubset(5, three),
    lambda three: sst.ChainKSubset(5, three),
    lambda three: sst.Matching(three),
    lambda three: sst.Matching(2, three),
    lambda three: sst.SpanningTree(TRIANGLE, three),
    lambda three: sst.SpanningTree.complete(three),
    lambda three: sst.Arborescence.complete(4, root=three),
    lambda three: sst.ProjectiveArborescence(three),
]


@pytest.mark.parametrize("three", [np.int64(3), np.uint8(3), torch.tensor(3)], ids=repr)
@pytest.mark.parametrize("build", COUNTED)
def test_integers_of_other_types(build, three):
    assert repr(build(three)) == repr(build(3))
    assert build(three).event_shape == build(3).event_shape


@pytest.mark.parametrize("three", [3.0, "3", None, np.float64(3.0), torch.tensor([3, 3]), torch.tensor(3.0)], ids=repr)
@pytest.mark.parametrize("build", [build for build in COUNTED if build is not COUNTED[5]])  # Matching(2, None) is one
def test_what_is_no_integer(build, three):
    with pytest.raises(ValueError, match=r"found .*3.*expected an integer|found None, expected an integer"):
        build(three)


@pytest.mark.parametrize("bad", CONSTRUCTORS, ids=str)
def test_constructor(bad: BadCall):
    check(bad.call, bad.argument, bad.found, bad.expected)


def test_negative_scale():
    with pytest.raises(ValueError, match="scale"):  # in torch's own words
        sst.Logistic(torch.zeros(3), torch.tensor(-1.0))


@pytest.mark.parametrize(
    "structure", ["Subset(200)", "Subset(20000)", "KSubset(200, 100)", "SpanningTree.complete(40)"]
)
def test_a_support_that_no_memory_holds_is_refused(structure: str):
    """In a process of its own, with little memory and a minute of the processor, should it not be refused."""
    program = f"""
import resource, sstricks as sst
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60,) * 2)
try:
    sst.{structure}.enumerate_support()
except ValueError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("refused:"), done.stderr[-500:]


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
class TestUtilities:
    """The maps read utilities alike."""

    def maps(self, case: Case):
        maps = [case.structure.argmax, lambda u: case.structure.softmax(u, 1.0, case.regularizer)]
        return [*maps, case.structure.log_partition] if case.has_family else maps

    def test_nan(self, case: Case):
        u = case.utilities(2)
        u[1, 0] = math.nan
        for call in self.maps(case):
            check(lambda call=call: call(u), "u", "NaN", "")

    def test_wrong_last_dimension(self, case: Case):
        n = case.problem.size
        for call in self.maps(case):
            check(lambda call=call: call(torch.zeros(3, n + 1)), "u", f"(3, {n + 1})", f"{n}")

    def test_scalar(self, case: Case):
        for call in self.maps(case):
            check(lambda call=call: call(torch.tensor(1.0)), "u", "()", f"{case.problem.size}")

    def test_integers(self, case: Case):
        for call in self.maps(case):
            check(lambda call=call: call(torch.zeros(case.problem.size, dtype=torch.long)), "u", "int64", "float")

    def test_all_absent(self, case: Case):
        u = case.utilities(2)
        u[1] = -math.inf
        for call in self.maps(case):
            if case.is_of_trees:  # a graph of one node
                assert torch.count_nonzero(call(u)[1]) == 0
            else:
                check(lambda call=call: call(u), "u", "", "")

    def test_a_batch_that_does_not_fit_the_masks(self, case: Case):
        n = case.problem.size
        structure = case.problem.build(torch.ones(2, n, dtype=torch.bool))
        check(lambda: structure.softmax(torch.zeros(3, n), 1.0, case.regularizer), "u", f"(3, {n})", "2")
        check(lambda: structure.argmax(torch.zeros(3, n)), "u", f"(3, {n})", "2")


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
class TestTemperature:
    def test_negative(self, case: Case):
        check(lambda: case.softmax(case.utilities(), -1.0), "temperature", "-1", "0")
        t = torch.tensor([1.0, -0.5], dtype=torch.float64)
        check(lambda: case.softmax(case.utilities(2), t), "temperature", "-0.5", "0")

    def test_nan(self, case: Case):
        check(lambda: case.softmax(case.utilities(), math.nan), "temperature", "nan", "0")
        check(lambda: case.softmax(case.utilities(), torch.tensor(math.nan)), "temperature", "nan", "0")

    def test_shape(self, case: Case):
        check(lambda: case.softmax(case.utilities(2), torch.ones(3)), "temperature", "(3,)", "(2,)")


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
def test_contains_wants_the_event_shape(case: Case):
    n = case.problem.size
    check(lambda: case.structure.contains(torch.zeros(n + 1)), "x", f"({n + 1},)", f"{n}")


def test_utilities_that_cut_a_graph():
    u = torch.tensor([0.0, -math.inf, 0.0])
    trees = sst.SpanningTree(torch.tensor([[0, 1, 2], [1, 2, 3]]), 4)
    for call in (trees.argmax, trees.log_partition, lambda v: trees.softmax(v, 1.0, ENTROPY)):
        check(lambda call=call: call(u), "u", "components", "connected")


def test_utilities_that_leave_fewer_than_k():
    u = torch.tensor([0.0, -math.inf, -math.inf])
    for call in (sst.KSubset(3, 2).argmax, lambda v: sst.KSubset(3, 2).softmax(v, 1.0, sst.Euclidean())):
        check(lambda call=call: call(u), "u", "1", "2")


def test_missing_pair_says_what_is_registered():
    with pytest.raises(sst.NoSolverError) as raised:
        sst.LinearOracle(torch.ones_like, (3,)).softmax(torch.zeros(3), 1.0, sst.Euclidean())
    assert isinstance(raised.value, ValueError)
    assert isinstance(raised.value, LookupError)
    message = str(raised.value)
    for word in ("LinearOracle", "Euclidean", "none", "solver=", "sst.FrankWolfe()"):
        assert word in message


def test_subclasses_have_the_solvers_and_the_reasons_of_their_structure():
    class Committee(sst.KSubset):
        pass

    class Pairing(sst.Matching):
        pass

    u = torch.tensor([0.3, 0.2, 0.1])
    expected = sst.KSubset(3, 2).softmax(u, 1.0, sst.Euclidean())
    assert torch.equal(Committee(3, 2).softmax(u, 1.0, sst.Euclidean()), expected)
    with pytest.raises(sst.NoSolverError, match=r"on Pairing, .*#P-hard.*Registered for Pairing: Euclidean"):
        Pairing(2).softmax(torch.zeros(2, 2), 1.0, sst.ExponentialFamilyEntropy())


def test_solvers_are_registered_for_classes():
    def solver(structure: sst.Structure, f: sst.Regularizer, u: torch.Tensor) -> torch.Tensor:
        return u

    for structure in ("OneHot", sst.OneHot(3), int, None):
        check(lambda s=structure: sst.register_solver(s, sst.Euclidean), "structure", repr(structure), "class")  # pyright: ignore[reportArgumentType]
    for f in ("Euclidean", sst.Euclidean(), float, None):
        check(lambda f=f: sst.register_solver(sst.OneHot, f), "regularizer", repr(f), "class")  # pyright: ignore[reportArgumentType]
    check(lambda: sst.register_solver(sst.OneHot, sst.Euclidean)("sparsemax"), "solver", "'sparsemax'", "callable")  # pyright: ignore[reportArgumentType]
    assert sst.OneHot(3).softmax(torch.zeros(3), 1.0, sst.Euclidean()).sum() == 1


def test_trick_shapes_are_both_said_with_the_mend():
    utility = torch.distributions.Gumbel(torch.zeros(2, 4), 1.0)
    for make in (
        lambda: sst.StochasticArgmaxTrick(sst.OneHot(5), utility),
        lambda: sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, 1.0, ENTROPY),
    ):
        check(make, "utility", "(2, 4)", "(5,)")


def test_trick_utility_of_another_event_shape():
    utility = torch.distributions.Independent(torch.distributions.Gumbel(torch.zeros(2, 5), 1.0), 2)
    check(lambda: sst.StochasticArgmaxTrick(sst.OneHot(5), utility), "utility", "(2, 5)", "(5,)")


def test_tricks_name_what_stands_in_the_wrong_place():
    utility = torch.distributions.Gumbel(torch.zeros(5), 1.0)
    for trick in (sst.StochasticArgmaxTrick, lambda s, u: sst.StochasticSoftmaxTrick(s, u, 1.0, ENTROPY)):
        check(lambda trick=trick: trick(sst.OneHot(5), torch.zeros(5)), "utility", "Tensor", "distribution")
        check(lambda trick=trick: trick(utility, sst.OneHot(5)), "structure", "Gumbel", "a structure")
    with pytest.raises(sst.NoSolverError, match=r"regularizer: found 1\.0"):
        sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, ENTROPY, 1.0)
    hard = sst.StochasticArgmaxTrick(sst.OneHot(5), utility)
    check(lambda: sst.StraightThrough(hard), "trick", "StochasticArgmaxTrick", "StochasticSoftmaxTrick")


def test_solvers_that_cannot_be_called():
    one_hot, u = sst.OneHot(3), torch.zeros(3)
    for solver in (sst.FrankWolfe, sst.FiniteDifference, 1e-3, "FrankWolfe"):
        check(lambda solver=solver: one_hot.softmax(u, 1.0, ENTROPY, solver=solver), "solver", str(solver), "callable")
        check(lambda solver=solver: sst.FiniteDifference(solver), "solver", str(solver), "callable")
        utility = torch.distributions.Gumbel(u, 1.0)
        check(
            lambda solver=solver, utility=utility: sst.StochasticSoftmaxTrick(
                one_hot, utility, 1.0, ENTROPY, solver=solver
            ),
            "solver",
            str(solver),
            "callable",
        )


def test_solvers_that_return_no_points():
    for found in (None, torch.zeros(2)):
        solver = lambda structure, f, u, found=found: found  # noqa: E731
        call = lambda solver=solver: sst.OneHot(3).softmax(torch.zeros(3), 1.0, sst.Euclidean(), solver=solver)  # noqa: E731
        check(call, "solver", "returned", "(3,)")


def test_a_dtype_is_no_device():
    check(lambda: sst.OneHot(3).to(torch.float64), "device", "torch.float64", "a device")  # pyright: ignore[reportArgumentType]


def test_certificates_want_a_point_and_a_temperature():
    one_hot, x = sst.OneHot(3), torch.full((3,), 1 / 3)
    check(lambda: sst.duality_gap(one_hot, sst.Euclidean(), x, x, 0.0), "temperature", "0.0", "numbers > 0")
    check(lambda: sst.duality_gap(one_hot, sst.Euclidean(), x * math.nan, x), "x", "NaN", "points of conv X")


def test_certificates_at_temperatures_that_only_double_precision_can_tell_from_zero():
    u = torch.tensor([1.0, 0.0, 0.5])
    x = sst.KSubset(3, 2).argmax(u)
    assert sst.duality_gap(sst.KSubset(3, 2), sst.Euclidean(), x, u, 1e-60) == 0


def test_trick_temperature():
    utility = torch.distributions.Gumbel(torch.zeros(2, 5), 1.0)
    check(lambda: sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, -1.0, ENTROPY), "temperature", "-1", "0")
    check(
        lambda: sst.StochasticSoftmaxTrick(sst.OneHot(5), utility, torch.ones(3), ENTROPY),
        "temperature",
        "(3,)",
        "(2,)",
    )


def test_trick_with_a_missing_pair_fails_when_it_is_made():
    utility = torch.distributions.Gumbel(torch.zeros(3), 1.0)
    with pytest.raises(sst.NoSolverError):
        sst.StochasticSoftmaxTrick(sst.LinearOracle(torch.ones_like, (3,)), utility, 1.0, sst.Euclidean())


def test_edge_mask_in_the_wrong_order_of_dimensions():
    mask = torch.ones(3, 2, dtype=torch.bool)
    check(lambda: sst.SpanningTree(TRIANGLE, 3, mask=mask), "mask", "(3, 2)", "3")


ONE_HOT, ZEROS = sst.OneHot(3), torch.zeros(3)
GUMBEL = torch.distributions.Gumbel(ZEROS, 1.0)
PAIR = torch.tensor([True, False, True])
SOFT = sst.StochasticSoftmaxTrick(ONE_HOT, GUMBEL, 1.0, ENTROPY)
HARD = sst.StochasticArgmaxTrick(ONE_HOT, GUMBEL)

OTHER_TYPES = [
    BadCall("list to Masked as a mask", lambda: sst.Masked(GUMBEL, [True, False, True]), "mask", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("tensor to Masked as a base", lambda: sst.Masked(ZEROS, PAIR), "base", "Tensor", "distribution"),  # type: ignore[arg-type]
    BadCall("number of pairs", lambda: sst.ChainUtility(GUMBEL, 1.0), "pairwise", "float", "tensor"),  # type: ignore[arg-type]
    BadCall("tensor of items", lambda: sst.ChainUtility(ZEROS, ZEROS), "unary", "Tensor", "distribution"),  # type: ignore[arg-type]
    BadCall("list of scores", lambda: sst.Sorting([1.0, 2.0]), "scores", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("list of logits", lambda: sst.baselines.l2x([1.0], 1, 1.0), "logits", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("list of values", lambda: HARD.log_prob([1.0, 0.0, 0.0]), "value", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("list of points", lambda: ONE_HOT.contains([1.0, 0.0, 0.0]), "x", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("number of samples of a family", lambda: ONE_HOT.sample(ZEROS, 5), "shape", "5", "tuple"),  # type: ignore[arg-type]
    BadCall("floats of samples of a family", lambda: ONE_HOT.sample(ZEROS, (2.5,)), "shape", "2.5", "integer"),  # type: ignore[arg-type]
    BadCall("negative number of samples", lambda: ONE_HOT.sample(ZEROS, (-1,)), "shape", "-1", "0"),
    BadCall("number of argmax samples", lambda: HARD.sample(3), "sample_shape", "3", "tuple"),  # type: ignore[arg-type]
    BadCall("number of softmax samples", lambda: SOFT.sample(3), "sample_shape", "3", "tuple"),  # type: ignore[arg-type]
    BadCall("number of softmax rsamples", lambda: SOFT.rsample(3), "sample_shape", "3", "tuple"),  # type: ignore[arg-type]
    BadCall("number of draws", lambda: SOFT.draw(3), "sample_shape", "3", "tuple"),  # type: ignore[arg-type]
    BadCall(
        "one temperature to diagnose",
        lambda: sst.diagnose(SOFT, torch.sum, temperatures=1.0),
        "temperatures",
        "1.0",
        "sequence",
    ),
    BadCall(
        "word among temperatures",
        lambda: sst.diagnose(SOFT, torch.sum, temperatures=["1"]),
        "temperatures",
        "'1'",
        "number",
    ),
    BadCall("list to perturb", lambda: sst.baselines.perturb_and_parse([[1.0]], 1.0), "logits", "list", "tensor"),  # type: ignore[arg-type]
    BadCall("word as a tolerance", lambda: sst.FrankWolfe(tol="1"), "tol", "'1'", "number > 0"),  # type: ignore[arg-type]
    BadCall("word as a step", lambda: sst.FiniteDifference(eps="1"), "eps", "'1'", "number > 0"),  # type: ignore[arg-type]
    BadCall("half a step", lambda: sst.FrankWolfe(max_steps=2.5), "max_steps", "2.5", "integer"),  # type: ignore[arg-type]
    BadCall("number as a batch shape", lambda: SOFT.expand(3), "batch_shape", "3", "tuple"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("bad", OTHER_TYPES, ids=str)
def test_other_types(bad: BadCall):
    check(bad.call, bad.argument, bad.found, bad.expected)


@pytest.mark.parametrize("case", PAIR_CASES, ids=str)
@pytest.mark.parametrize("convert", [torch.Tensor.tolist, torch.Tensor.numpy], ids=["list", "array"])
def test_utilities_that_are_no_tensor(case: Case, convert: Callable[[torch.Tensor], object]):
    structure, u = case.structure, convert(case.utilities())
    maps = [structure.argmax, *[lambda u, t=t: case.softmax(u, t) for t in (1.0, 0.0, torch.tensor(1.0))]]
    if case.has_family:
        maps += [structure.log_partition, structure.entropy, structure.sample]
    for call in maps:
        check(lambda call=call: call(u), "u", type(u).__name__, "tensor")
        with pytest.raises(ValueError, match=r"torch\.as_tensor\(u\)"):
            call(u)


@pytest.mark.parametrize("t", ["1", None, [1.0, 2.0], np.ones(2), 1j], ids=repr)
def test_temperatures_that_are_no_numbers(t: object):
    kind = type(t).__name__
    check(lambda: ONE_HOT.softmax(torch.zeros(2, 3), t, ENTROPY), "temperature", kind, "number")  # type: ignore[arg-type]
    check(lambda: sst.StochasticSoftmaxTrick(ONE_HOT, GUMBEL, t, ENTROPY), "temperature", kind, "number")  # type: ignore[arg-type]
    check(lambda: sst.baselines.soft_sub(ZEROS, 1, t), "temperature", kind, "number")  # type: ignore[arg-type]


@pytest.mark.parametrize("t", [1, np.float32(0.5), np.int64(2), np.float64(0.5), True], ids=repr)
def test_temperatures_of_other_types_of_number(t):
    u = torch.tensor([0.3, 1.0, -1.0])
    expected = (u / float(t)).softmax(-1)
    torch.testing.assert_close(ONE_HOT.softmax(u, t, ENTROPY), expected)
    sst.StochasticSoftmaxTrick(ONE_HOT, GUMBEL, t, ENTROPY).rsample()


@pytest.mark.parametrize("shape", [(3,), (), (2, 3), (-1,)], ids=repr)
def test_batches_that_a_trick_cannot_be_expanded_to(shape: tuple[int, ...]):
    utility = torch.distributions.Gumbel(torch.zeros(2, 3), 1.0)
    soft = sst.StochasticSoftmaxTrick(ONE_HOT, utility, 1.0, ENTROPY)
    for trick in (soft, sst.StraightThrough(soft), sst.StochasticArgmaxTrick(ONE_HOT, utility)):
        check(lambda trick=trick: trick.expand(shape), "batch_shape", str(shape[0] if shape == (-1,) else shape), "")
        assert trick.expand((4, 2)).batch_shape == (4, 2)


@pytest.mark.parametrize("two", [np.int64(2), torch.tensor(2)], ids=repr)
def test_counts_of_other_types_of_integer(two):
    u = torch.tensor([[0.3, 1.0], [0.5, -1.0]])
    assert sst.FrankWolfe(max_steps=two).max_steps == 2
    assert sst.LinearOracle(torch.ones_like, (two,)).event_shape == (2,)
    assert sst.baselines.l2x(u, two, 1.0).shape == (2, 2)
    assert torch.equal(sst.baselines.soft_sub(u, two, 1.0), sst.baselines.soft_sub(u, 2, 1.0))
    assert torch.equal(sst.baselines.truncated_sinkhorn(u, 1.0, two), sst.baselines.truncated_sinkhorn(u, 1.0, 2))
    assert sst.OneHot(2).sample(u, (two,)).shape == (2, 2, 2)
