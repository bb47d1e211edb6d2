"""The public API on an emulated device: it never waits for it, and launches few kernels."""

import copy

import pytest
import torch

pytest.importorskip("triton")
import sstricks as sst
from emulated_device import DEVICE, EmulatedDevice
from sstricks import functional as F


def test_scaling_takes_one_launch_each_way():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7, requires_grad=True))
        v = F.scaled_utility(u, 0.5)
        assert device.launches.total() == 2  # the temperature is one
        v.backward(torch.ones_like(v))
    assert device.launches["scaled_backward"] == 1
    assert not device.waits


@pytest.mark.parametrize("asked", [True, False])
def test_validate_args_asks_for_a_look_at_values_on_a_device(asked: bool):
    with EmulatedDevice() as device:
        u = device.put(torch.tensor([0.0, torch.nan, 1.0]))
        utility = sst.Gumbel(u)
        assert not device.waits
        trick = sst.StochasticSoftmaxTrick(sst.OneHot(3), utility, 0.5, sst.Euclidean(), validate_args=asked)
        if asked:
            with pytest.raises(ValueError, match="NaN"):
                trick.rsample()
        else:
            assert bool(trick.rsample().isnan().all())
        with pytest.raises(ValueError, match="loc"):
            sst.Gumbel(u, validate_args=True)


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="torch has this tag from 2.8 on")
@pytest.mark.parametrize("f", [sst.Euclidean(), sst.TsallisEntropy(1.5), sst.ExponentialFamilyEntropy()], ids=str)
@pytest.mark.parametrize("structure", [sst.KSubset(5, 2), sst.SpanningTree.complete(4)], ids=str)
def test_what_waits_is_left_out_of_cuda_graphs(structure: sst.Structure, f: sst.Regularizer):
    """An operator that waits is tagged, and one that does not is not."""
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *structure.event_shape, requires_grad=True))
        structure.argmax(u)  # its edges are copied once
        device.reset()
        structure.softmax(u, 0.5, f).sum().backward()
    tagged = [operator for operator in device.called if torch.Tag.cudagraph_unsafe in operator.tags]
    assert bool(tagged) == bool(device.waits), (tagged, device.waits)


def test_tensors_of_two_devices_do_not_mix():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7))
        with pytest.raises(RuntimeError, match="on one device"):
            u + torch.ones(7)
        assert (u + torch.tensor(1.0)).shape == (3, 7)


def test_waiting_is_noticed():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7))
        assert bool((u == u).all())
        u[u > 0]
        u.cpu()
    assert device.waits.total() == 3


def test_an_operator_without_a_kernel_is_counted_step_by_step():
    with EmulatedDevice() as device:
        sst.SpanningTree.complete(4).argmax(device.put(torch.randn(3, 6)))
    assert device.launches.total() > 4


TREES = [sst.SpanningTree.complete(6), sst.Arborescence.complete(6), sst.ProjectiveArborescence(6)]


@pytest.mark.parametrize("trees", TREES, ids=str)
def test_trees_take_few_launches(trees: sst.Structure):
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *trees.event_shape, requires_grad=True))
        trees.softmax(u, 0.5, sst.ExponentialFamilyEntropy()).sum().backward()
        # Of graphs, utilities that are far apart are first brought near each other.
        each = 1 if isinstance(trees, sst.ProjectiveArborescence) else 2
        assert device.launches["marginals"] == device.launches["marginals_jvp"] == each
        assert device.launches.total() <= 12
        device.reset()
        trees.argmax(u)
        assert device.launches.total() <= 6


@pytest.mark.parametrize("trees", TREES, ids=str)
def test_random_trees_take_few_launches(trees: sst.Structure):
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *trees.event_shape))
        trees.sample(u)
        device.reset()
        trees.sample(u, (4,))
    assert device.launches.total() <= 30, device.launches
    assert not device.waits


MATCHINGS = [
    *(sst.Matching(4), sst.Matching(3, 5), sst.Matching(5, 3, partial=True)),
    *(sst.Matching(2, 4, dustbins=True), sst.Matching(3, mask=torch.ones(3, 3, dtype=torch.bool))),
]


@pytest.mark.parametrize("f", [sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy()], ids=str)
@pytest.mark.parametrize("matching", MATCHINGS, ids=str)
def test_matchings_take_few_launches_and_never_wait(matching: sst.Matching, f: sst.Regularizer):
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *matching.event_shape, requires_grad=True))
        x = matching.softmax(u, 0.5, f)
        x.backward(torch.ones_like(x))
        assert device.launches.total() <= 20, device.launches
        device.reset()
        matching.argmax(u)
        assert device.launches.total() <= 6
    assert not device.waits


PATHS = [sst.Path.linear_chain(4, 3), sst.Path.alignment(3, 2), sst.Path(torch.tensor([[1, 0, 0], [2, 1, 2]]))]


@pytest.mark.parametrize("paths", PATHS, ids=str)
def test_paths_never_wait(paths: sst.Path):
    """They go level by level, as the schedule on the CPU says."""
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *paths.event_shape, requires_grad=True))
        paths.sample(u)
        device.reset()
        x = paths.softmax(u, 0.5, sst.ExponentialFamilyEntropy())
        x.backward(torch.ones_like(x))
        paths.log_partition(u).sum().backward()
        paths.argmax(u)
        paths.sample(u, (4,))
    assert not device.waits


@pytest.mark.parametrize("f", [sst.Euclidean(), sst.CategoricalEntropy()], ids=str)
def test_permutahedra_never_wait(f: sst.Regularizer):
    orders = sst.Permutahedron(5)
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 5, requires_grad=True))
        orders.argmax(u)
        device.reset()
        x = orders.softmax(u, 0.5, f)
        x.backward(torch.ones_like(x))
        orders.argmax(u)
        F.soft_sort(u, 0.5, entropic=isinstance(f, sst.CategoricalEntropy)).sum().backward()
    assert not device.waits


N, K = 12, 3
SUBSETS = {"one-hot": sst.OneHot(N), "k-subset": sst.KSubset(N, K)}
CHAIN = {"chain": sst.ChainKSubset(N, K)}
FAMILIES = SUBSETS | CHAIN
SEPARABLE = (sst.Euclidean(), sst.CategoricalEntropy(), sst.BinaryEntropy())
CELLS = [(name, f) for name in SUBSETS for f in SEPARABLE] + [
    (name, sst.ExponentialFamilyEntropy()) for name in FAMILIES
]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)


def on_device(device: EmulatedDevice, structure: sst.Structure, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return device.put(torch.randn(4, *structure.event_shape, dtype=dtype, requires_grad=True))


@DTYPES
@pytest.mark.parametrize(("name", "regularizer"), CELLS, ids=str)
def test_a_relaxation_and_its_gradient_take_few_launches(name: str, regularizer: sst.Regularizer, dtype: torch.dtype):
    structure = FAMILIES[name]
    with EmulatedDevice() as device:
        u = on_device(device, structure, dtype)
        x = structure.softmax(u, 0.5, regularizer)
        x.backward(torch.ones_like(x))
    assert device.launches.total() <= 12, device.launches
    assert not device.waits


@pytest.mark.parametrize("name", FAMILIES)
def test_argmax_and_samples_take_few_launches(name: str):
    structure = FAMILIES[name]
    with EmulatedDevice() as device:
        u = on_device(device, structure)
        structure.argmax(u)
        assert device.launches.total() <= 4
        device.reset()
        structure.sample(u, (5,))
    assert device.launches.total() <= 12, device.launches
    assert not device.waits


@pytest.mark.parametrize("name", FAMILIES)
def test_the_log_partition_and_its_gradient_do_not_wait(name: str):
    structure = FAMILIES[name]
    with EmulatedDevice() as device:
        u = on_device(device, structure)
        structure.log_partition(u).sum().backward()
        structure.entropy(u)
    assert not device.waits


@pytest.mark.parametrize("name", FAMILIES)
def test_a_trick_does_not_wait(name: str):
    structure = FAMILIES[name]
    with EmulatedDevice() as device:
        u = on_device(device, structure)
        utility = sst.Gumbel(u)
        trick = sst.StochasticSoftmaxTrick(structure, utility, 0.5, sst.ExponentialFamilyEntropy())
        drawn = trick.draw((2,))
        drawn.relaxed.sum().backward()
        trick.sample()
        sst.StraightThrough(trick).rsample().sum().backward()
        sst.StochasticArgmaxTrick(structure, utility).sample((3,))
    assert not device.waits


MASKED = {
    "subset": sst.KSubset(N, K, mask=torch.arange(N) > 1),
    "tree": sst.SpanningTree.complete(5, mask=torch.arange(10) > 0),
    "arborescence": sst.Arborescence.complete(4, root=2, mask=torch.arange(9) > 0),
}


@pytest.mark.parametrize("name", MASKED)
def test_tensors_of_a_structure_are_copied_to_a_device_once(name: str):
    structure = MASKED[name]
    with EmulatedDevice() as device:
        u = on_device(device, structure)
        for _ in range(2):
            device.reset()
            x = structure.softmax(u, 1.0, sst.ExponentialFamilyEntropy())
            structure.contains(structure.argmax(u))
            x.backward(torch.ones_like(x))
    assert not device.waits
    assert copy.deepcopy(structure).mask.device.type == "cpu"


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_that_is_added_is_not_mistaken_for_the_one_before(name: str):
    structure = MASKED[name]
    further = structure.mask & (torch.arange(len(structure.mask)) != 3)
    with EmulatedDevice() as device:
        u = on_device(device, structure)
        structure.argmax(u)
        found = structure.masked(further).argmax(u)
        assert not bool(found[:, 3].any())


def test_log_prob_takes_the_mask_of_a_structure_on_the_cpu():
    subset = sst.KSubset(N, 2, mask=torch.arange(N) > 1)
    with EmulatedDevice() as device:
        trick = sst.StochasticArgmaxTrick(subset, sst.Gumbel(on_device(device, subset)))
        assert trick.log_prob(trick.sample()).device == DEVICE


def test_duality_gap_takes_temperatures_on_the_cpu():
    subset = sst.KSubset(N, K)
    with EmulatedDevice() as device:
        u, t = on_device(device, subset).detach(), torch.linspace(0.5, 2.0, 4)
        x = subset.softmax(u, t, sst.Euclidean())
        assert sst.duality_gap(subset, sst.Euclidean(), x, u, t).max().item() < 1e-5


def test_diagnosis_runs_on_a_device():
    subset = sst.KSubset(4, 2)
    with EmulatedDevice() as device:
        theta = device.put(torch.zeros(4, requires_grad=True))
        utility = sst.Gumbel(theta)
        trick = sst.StochasticSoftmaxTrick(subset, utility, 0.5, sst.ExponentialFamilyEntropy())
        weights = device.put(torch.arange(4.0))
        found = sst.diagnose(trick, lambda x: (x * weights).sum(-1).square(), samples=64)
        assert "REINFORCE" in str(found)


def test_support_of_a_trick_is_where_its_utility_is():
    with EmulatedDevice() as device:
        utility = sst.Gumbel(device.put(torch.zeros(4)))
        assert sst.StochasticArgmaxTrick(sst.KSubset(4, 2), utility).enumerate_support().device == DEVICE


def test_a_generator_of_another_device_is_refused():
    generator = torch.Generator()
    with EmulatedDevice() as device:
        utility = sst.Masked(sst.Gumbel(device.put(torch.zeros(4))), device.put(torch.ones(4) > 0))
        trick = sst.StochasticArgmaxTrick(sst.KSubset(4, 2), utility)
        with pytest.raises(ValueError, match="generator: found a generator on cpu, expected one on meta"):
            trick.sample(generator=generator)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: sst.nn.StochasticSoftmax(s, hard=True),
        sst.estimators.MarginalStraightThrough,
        sst.estimators.IMLE,
        sst.estimators.AIMLE,
        sst.estimators.Identity,
        sst.estimators.SPIGOT,
        sst.estimators.PerturbedArgmax,
        sst.estimators.ScoreFunction,
    ],
)
def test_estimators_do_not_wait(make):
    subset = sst.KSubset(N, K)
    with EmulatedDevice() as device:
        theta, estimator = on_device(device, subset), make(subset)
        for name, buffer in estimator.named_buffers():  # module.to() asks for a device that torch knows
            setattr(estimator, name, device.put(buffer))
        estimator.surrogate(theta, lambda x: x[..., 0]).backward()
    assert not device.waits


@pytest.mark.parametrize(
    "structure", [sst.KSubset(N, K), sst.SpanningTree.complete(5), sst.Arborescence.complete(5)], ids=str
)
def test_traces_do_not_wait(structure):
    def law(theta):
        return sst.NegativeExponential(theta.exp())

    with EmulatedDevice() as device:
        theta = on_device(device, structure)
        relax = sst.estimators.RELAX(structure, samples=3, utility=law)
        for name, parameter in relax.named_parameters():  # module.to() asks for a device that torch knows
            vars(relax)["_parameters"][name] = device.put(parameter.detach()).requires_grad_()
        for estimator in (relax, sst.estimators.ScoreFunction(structure, 3, action="trace", utility=law)):
            estimator.surrogate(theta, lambda x: x[..., 0])  # the structure's edges are copied once
            device.reset()
            estimator.surrogate(theta, lambda x: x[..., 0]).backward()
            assert not device.waits


def test_losses_of_fenchel_and_young_do_not_wait():
    subset = sst.KSubset(N, K)
    with EmulatedDevice() as device:
        theta = on_device(device, subset)
        truth = subset.argmax(theta)
        sst.FenchelYoungLoss(subset, sst.ExponentialFamilyEntropy())(theta, truth).backward()
        sst.PerturbedFenchelYoungLoss(subset)(theta, truth).backward()
    assert not device.waits
