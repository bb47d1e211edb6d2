"""Sizes within bounds, beyond the laws: a size for each row, the widest bounds, and what goes wrong."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import kl_divergence

import sstricks as sst
from laws import assert_near

REGULARIZERS = [
    sst.Euclidean(),
    sst.CategoricalEntropy(),
    sst.BinaryEntropy(),
    sst.TsallisEntropy(1.5),
    sst.ExponentialFamilyEntropy(),
]


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("f", REGULARIZERS, ids=repr)
def test_equal_bounds_are_a_k_for_each_row(f: sst.Regularizer):
    k, u = torch.tensor([1, 2, 5, 0]), normal(4, 5).requires_grad_()
    subsets, weight = sst.BoundedSubset(5, k, k), normal(4, 5)
    x = subsets.softmax(u, 0.7, f)
    (found,) = torch.autograd.grad((x * weight).sum(), u)
    for row, size in enumerate(k.tolist()):
        if size == 0:
            assert not x[row].any()
            assert not found[row].any()
            continue
        alone = u[row].detach().requires_grad_()
        expected = sst.KSubset(5, size).softmax(alone, 0.7, f)
        assert_near(x[row], expected, 1e-12)
        assert_near(found[row], torch.autograd.grad((expected * weight[row]).sum(), alone)[0], 1e-12)
    assert subsets.argmax(u).sum(-1).tolist() == k.tolist()
    assert subsets.sample(u, (7,)).sum(-1).unique(dim=0).tolist() == [k.tolist()]


@pytest.mark.parametrize("f", REGULARIZERS, ids=repr)
def test_bounds_that_bind_nobody_leave_all_subsets(f: sst.Regularizer):
    u = normal(3, 4)
    assert_near(sst.BoundedSubset(4).softmax(u, 0.7, f), sst.Subset(4).softmax(u, 0.7, f), 1e-12)
    assert_near(sst.BoundedSubset(4).log_partition(u), sst.Subset(4).log_partition(u), 1e-12)


def test_rows_with_fewer_items_than_others_need():
    low, mask = torch.tensor([1, 3]), torch.tensor([[True, False, False, True], [True] * 4])
    subsets, u = sst.BoundedSubset(4, low, 3, mask=mask), normal(2, 4).requires_grad_()
    alone = sst.BoundedSubset(2, 1, 2).marginals(u[0, mask[0]])
    assert_near(subsets.marginals(u)[0, mask[0]], alone, 1e-12)
    assert_near(subsets.marginals(u)[1], sst.KSubset(4, 3).marginals(u[1]), 1e-12)
    (found,) = torch.autograd.grad(subsets.log_partition(u).sum(), u)
    assert_near(found, subsets.marginals(u), 1e-12)


def test_divergences_are_between_equal_bounds():
    p, q = (sst.ExponentialFamily(sst.BoundedSubset(4, 1, 2), u) for u in normal(2, 4))
    assert kl_divergence(p, q) > 0
    with pytest.raises(ValueError, match="same structure"):
        kl_divergence(p, sst.ExponentialFamily(sst.BoundedSubset(4, 1, 3), normal(4)))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: sst.BoundedSubset(4, 3, 2), "at_most: found 2, expected numbers >= at_least = 3"),
        (lambda: sst.BoundedSubset(4, 1.5), "at_least: found 1.5"),
        (lambda: sst.BoundedSubset(4, at_most=5), "at_most: found 5"),
        (lambda: sst.BoundedSubset(4, torch.tensor([1.0])), "at_least: found dtype torch.float32"),
        (lambda: sst.BoundedSubset(4, torch.tensor([1, 5])), r"at_least: found \[1, 5\]"),
        (lambda: sst.BoundedSubset(4, torch.zeros(2).long(), torch.ones(3).long()), r"at_most: found shape \(3,\)"),
        (lambda: sst.BoundedSubset(3, 2, mask=torch.tensor([True, False, False])), "mask: found too few"),
        (lambda: sst.KSubset(4, torch.tensor([1, 2])), r"BoundedSubset\(n, k, k\)"),
        (
            lambda: sst.BoundedSubset(2, torch.tensor([1, 2])).argmax(torch.tensor([1.0, -torch.inf])),
            "u: found fewer present items than at_least",
        ),
    ],
)
def test_wrong_bounds_are_named(make, text: str):
    with pytest.raises(ValueError, match=text):
        make()


def test_without_validation_a_row_with_too_few_items_is_nan():
    u = torch.tensor([[1.0, -torch.inf], [1.0, -torch.inf]])
    subsets = sst.BoundedSubset(2, torch.tensor([1, 2]))
    utility = sst.Gumbel(u, validate_args=False)
    trick = sst.StochasticSoftmaxTrick(subsets, utility, 1.0, sst.Euclidean(), validate_args=False)
    draw = trick.draw()
    for x in (draw.discrete, draw.relaxed):
        assert x[0].tolist() == [1.0, 0.0]
        assert x[1].isnan().all()
