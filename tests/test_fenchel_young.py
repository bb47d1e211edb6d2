import pytest
import torch
from torch.nn import functional as F

import sstricks as sst

STRUCTURES = [
    sst.OneHot(4),
    sst.Subset(3),
    sst.KSubset(5, 2),
    sst.ChainKSubset(4, 2),
    sst.SpanningTree.complete(4),
    sst.Arborescence.complete(3),
    sst.ProjectiveArborescence(4),
    sst.Matching(3),
]
REGULARIZERS = [
    sst.Euclidean(),
    sst.CategoricalEntropy(),
    sst.BinaryEntropy(),
    sst.ExponentialFamilyEntropy(),
    sst.TsallisEntropy(1.5),
]
PAIRS = [
    (structure, f)
    for structure in STRUCTURES
    for f in REGULARIZERS
    if not (isinstance(structure, sst.Matching) and isinstance(f, sst.ExponentialFamilyEntropy))
]


def utilities(structure, *batch):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*batch, *structure.event_shape, dtype=torch.float64, generator=generator).requires_grad_()


@pytest.mark.parametrize(("structure", "f"), PAIRS)
def test_the_gradient_is_prediction_minus_truth(structure, f):
    u = utilities(structure, 2)
    y = structure.argmax(-u).requires_grad_()
    loss = sst.FenchelYoungLoss(structure, f, reduction="none")
    value = loss(u, y)
    assert value.shape == (2,)
    assert (value > 0).all()
    in_u, in_y = torch.autograd.grad(value.sum(), (u, y))
    torch.testing.assert_close(in_u, structure.softmax(u, 1.0, f) - y)
    assert in_y.shape == y.shape
    assert (loss(1e6 * u.detach(), structure.argmax(u)) < 1e-6).all()


@pytest.mark.parametrize("structure", [sst.OneHot(4), sst.SpanningTree.complete(4)], ids=repr)
@pytest.mark.parametrize("f", REGULARIZERS[:4], ids=repr)
def test_values_and_second_derivatives_are_right(structure, f):
    u, y = utilities(structure, 2), structure.argmax(torch.ones(2, *structure.event_shape, dtype=torch.float64))
    loss = sst.FenchelYoungLoss(structure, f)
    assert torch.autograd.gradcheck(lambda u: loss(u, y), u)
    assert torch.autograd.gradgradcheck(lambda u: loss(u, y), u)


@pytest.mark.parametrize("f", [sst.Euclidean(), sst.BinaryEntropy()], ids=repr)
def test_the_gradient_in_the_truth_is_right_between_vertices(f):
    structure = sst.KSubset(5, 2)
    u = utilities(structure, 2)
    y = structure.softmax(u.detach().flip(0), 2.0, sst.BinaryEntropy()).requires_grad_()
    loss = sst.FenchelYoungLoss(structure, f, reduction="sum")
    assert torch.autograd.gradcheck(loss, (u, y))
    at_optimum = structure.softmax(u, 1.0, f).detach()
    assert loss(u, at_optimum).item() == pytest.approx(0, abs=1e-10)


def test_one_hot_with_the_exponential_family_is_cross_entropy():
    u, classes = utilities(sst.OneHot(4), 3), torch.tensor([0, 3, 1])
    for reduction in ("mean", "sum", "none"):
        loss = sst.FenchelYoungLoss(sst.OneHot(4), sst.ExponentialFamilyEntropy(), reduction=reduction)
        torch.testing.assert_close(
            loss(u, F.one_hot(classes, 4).double()), F.cross_entropy(u, classes, reduction=reduction)
        )


def test_the_exponential_family_s_loss_is_its_negative_log_likelihood():
    structure, u = sst.ProjectiveArborescence(4), utilities(sst.ProjectiveArborescence(4), 2)
    y = structure.argmax(-u)
    loss = sst.FenchelYoungLoss(structure, sst.ExponentialFamilyEntropy(), reduction="none")
    torch.testing.assert_close(loss(u, y), -sst.ExponentialFamily(structure, u).log_prob(y))


@pytest.mark.parametrize("f", REGULARIZERS[:4], ids=repr)
def test_absent_coordinates_take_no_part(f):
    present = torch.tensor([True, True, False, True])
    y = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    u = utilities(sst.OneHot(4))
    masked = sst.FenchelYoungLoss(sst.OneHot(4, mask=present), f)(u, y)
    infinite = u.detach().masked_fill(~present, -torch.inf).requires_grad_()
    value = sst.FenchelYoungLoss(sst.OneHot(4), f)(infinite, y)
    expected = sst.FenchelYoungLoss(sst.OneHot(3), f)(u[present], y[present])
    torch.testing.assert_close(masked, expected)
    torch.testing.assert_close(value, expected)
    for loss, at in ((masked, u), (value, infinite)):
        (gradient,) = torch.autograd.grad(loss, at)
        assert gradient[2] == 0
        assert gradient.isfinite().all()


@pytest.mark.parametrize("f", REGULARIZERS[:4], ids=repr)
def test_a_truth_with_an_absent_coordinate_is_infinitely_far(f):
    y, u = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, -torch.inf])
    mask = torch.tensor([True, True, False])
    assert sst.FenchelYoungLoss(sst.OneHot(3), f)(u, y) == torch.inf
    assert sst.FenchelYoungLoss(sst.OneHot(3, mask=mask), f)(torch.zeros(3), y) == torch.inf
    assert sst.PerturbedFenchelYoungLoss(sst.OneHot(3, mask=mask))(torch.zeros(3), y) == torch.inf


@pytest.mark.parametrize("f", REGULARIZERS[:4], ids=repr)
def test_a_utility_of_plus_infinity_makes_a_truth_certain(f):
    u, y = torch.tensor([torch.inf, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0])
    assert sst.FenchelYoungLoss(sst.OneHot(3), f)(u, y).item() == pytest.approx(0, abs=1e-6)


def test_torch_s_function_transforms_apply():
    structure, loss = STRUCTURES[2], sst.FenchelYoungLoss(STRUCTURES[2], sst.ExponentialFamilyEntropy())
    u, y = utilities(structure, 3).detach(), structure.argmax(utilities(structure, 3).detach().flip(-1))
    marginals = structure.marginals(u)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(u, y), marginals - y)
    hessian = torch.func.hessian(loss)(u[0], y[0])
    torch.testing.assert_close(hessian, torch.func.jacrev(structure.marginals)(u[0]))
    _, tangent = torch.func.jvp(loss, (u[0], y[0]), (y[1], y[2]))
    torch.testing.assert_close(tangent, (marginals[0] - y[0]) @ y[1] - u[0] @ y[2])


def test_the_perturbed_loss_has_the_mean_vertex_minus_the_truth_as_gradient():
    structure, theta = sst.OneHot(4), utilities(sst.OneHot(4))
    y = torch.tensor([0.0, 1, 0, 0], dtype=torch.float64)
    loss = sst.PerturbedFenchelYoungLoss(structure, samples=200_000)
    generator = torch.Generator().manual_seed(0)
    value = loss(theta, y, generator=generator)
    assert value.item() == pytest.approx(theta.logsumexp(-1).item() + 0.5772 - theta[1].item(), abs=0.02)
    (found,) = torch.autograd.grad(value, theta)
    assert torch.allclose(found, theta.softmax(-1) - y, atol=0.01)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: sst.FenchelYoungLoss(3, sst.Euclidean()), "structure: found 3"),
        (lambda: sst.FenchelYoungLoss(sst.OneHot(3), sst.Euclidean(), reduction="all"), "reduction: found 'all'"),
        (lambda: sst.PerturbedFenchelYoungLoss(sst.OneHot(3), samples=0), "samples: found 0"),
        (
            lambda: sst.FenchelYoungLoss(sst.OneHot(3), sst.Euclidean())(torch.zeros(3), torch.zeros(2)),
            "y: found shape",
        ),
        (
            lambda: sst.FenchelYoungLoss(sst.OneHot(3), sst.Euclidean())(torch.zeros(4), torch.zeros(3)),
            "u: found shape",
        ),
        (
            lambda: sst.FenchelYoungLoss(sst.OneHot(3), sst.Euclidean())(torch.zeros(3), torch.tensor([1, 0, 0])),
            "y: found dtype torch.int64",
        ),
    ],
)
def test_wrong_arguments_are_named(call, text):
    with pytest.raises(ValueError, match=text):
        call()
