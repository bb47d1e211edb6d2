"""sst.diagnose against gradients, biases and variances that are known, by enumeration and by arithmetic."""

from __future__ import annotations

import csv
import math
import subprocess
import sys

import pytest
import torch
from torch.distributions import Gumbel, Normal, Poisson

import sstricks as sst
from sstricks.diagnosis import Diagnosis
from sstricks.diagnosis.leaves import find_leaves, gradients
from sstricks.diagnosis.moments import Moments

F64 = torch.float64
CENTER = torch.tensor([0.1, 0.7, 0.4, 0.9], dtype=F64)
SIZE = {"temperatures": (0.3, 1.0), "samples": 3000}


def theta() -> torch.Tensor:
    return torch.tensor([0.5, -0.3, 0.2, 1.0], dtype=F64, requires_grad=True)


def loss(x: torch.Tensor) -> torch.Tensor:
    return (x - CENTER).square().cumsum(-1).square().sum(-1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gumbel_one_hot(logits: torch.Tensor) -> sst.StochasticSoftmaxTrick:
    return sst.StochasticSoftmaxTrick(sst.OneHot(4), Gumbel(logits, 1.0), 0.5, sst.CategoricalEntropy())


def row(found: Diagnosis, name: str, t: float | None = None) -> sst.diagnosis.Row:
    (only,) = [r for r in found.rows if r.estimator == name and r.temperature == t]
    return only


@pytest.fixture(scope="module", name="found")
def one_hot_diagnosis() -> Diagnosis:
    return sst.diagnose(gumbel_one_hot(theta()), loss, generator=seeded(), **SIZE)


def test_the_exact_gradient_is_that_of_the_expectation(found: Diagnosis):
    logits = theta()
    expected = (logits.softmax(-1) * loss(torch.eye(4, dtype=F64))).sum()
    torch.testing.assert_close(found.truth.gradient, torch.autograd.grad(expected, logits)[0])
    assert found.truth.exact
    assert not found.truth.standard_error.any()


@pytest.mark.parametrize(
    ("structure", "utility"),
    [
        (sst.Subset(4), sst.Logistic),
        (sst.KSubset(4, 2), lambda x: Gumbel(x, 1.0)),
        (sst.KSubset(4, 2), lambda x: sst.NegativeExponential(x.exp())),
    ],
    ids=["subset", "k-subset", "exponential"],
)
def test_the_exact_gradient_lies_within_the_error_of_the_sampled_one(structure: sst.Structure, utility):
    from sstricks.diagnosis.truth import exact_truth, sampled_truth

    trick = sst.StochasticSoftmaxTrick(structure, utility(theta()), 1.0, sst.ExponentialFamilyEntropy())
    leaves = find_leaves(trick)
    exact = exact_truth(sst.StochasticArgmaxTrick(structure, trick.utility), loss, leaves)
    sampled = sampled_truth(trick, loss, leaves, 100_000, seeded(), lambda count: None)
    assert not sampled.exact
    assert ((exact.gradient - sampled.gradient).abs() < 4 * sampled.standard_error).all()
    assert sampled.standard_error.max() < 0.1 * exact.gradient.norm()


def test_every_estimator_is_there(found: Diagnosis):
    names = [(r.estimator, r.temperature) for r in found.rows]
    relaxed = [(name, t) for name in ("relaxed", "straight-through") for t in (0.3, 1.0)]
    scores = [
        (f"{estimator.format(action)}", None)
        for action in "XU"
        for estimator in ("REINFORCE on {}", "REINFORCE on {}, moving average", "RLOO on {}, 4 samples")
    ]
    assert names == relaxed + scores
    assert [r.evaluations for r in found.rows] == [1] * 4 + [1, 1, 4] * 2


def test_score_functions_are_unbiased_and_relaxations_are_not(found: Diagnosis):
    for r in found.rows:
        if r.temperature is None:
            assert r.bias < 3 * r.bias_error
    assert row(found, "relaxed", 1.0).bias > 5 * row(found, "relaxed", 1.0).bias_error


def test_the_variance_of_reinforce_is_that_of_the_enumeration(found: Diagnosis):
    logits = theta().detach()
    p, eye = logits.softmax(-1), torch.eye(4, dtype=F64)
    estimates = loss(eye).unsqueeze(-1) * (eye - p)
    mean = (p.unsqueeze(-1) * estimates).sum(0)
    variance = (p.unsqueeze(-1) * (estimates - mean).square()).sum()
    cosine = (p * torch.cosine_similarity(estimates, mean, dim=-1)).sum()
    r = row(found, "REINFORCE on X")
    assert r.variance == pytest.approx(variance.item(), rel=0.1)
    assert r.cosine == pytest.approx(cosine.item(), abs=0.05)
    assert r.rmse == pytest.approx(math.sqrt(variance), rel=0.1)


def test_the_vertex_is_the_better_action_and_baselines_help(found: Diagnosis):
    for kind in ("REINFORCE on {}", "REINFORCE on {}, moving average", "RLOO on {}, 4 samples"):
        assert row(found, kind.format("X")).variance < row(found, kind.format("U")).variance
    assert row(found, "RLOO on U, 4 samples").variance < row(found, "REINFORCE on U").variance / 4


def test_colder_is_less_biased_and_noisier(found: Diagnosis):
    cold, warm = (row(found, "relaxed", t) for t in (0.3, 1.0))
    assert cold.bias < warm.bias
    assert cold.variance > warm.variance
    assert found.best(1_000_000).temperature is None


def test_relaxed_estimates_are_the_gradients_of_relaxed_samples():
    """One utility, one temperature, by hand."""
    logits = theta()
    found = sst.diagnose(gumbel_one_hot(logits), loss, temperatures=[0.7], samples=40, generator=seeded(3))
    u = gumbel_one_hot(logits).sample_utility((40,), seeded(3))
    x = (u / 0.7).softmax(-1)
    hard = sst.OneHot(4).argmax(u)
    for name, value in (("relaxed", x), ("straight-through", hard + x - x.detach())):
        each = torch.stack([torch.autograd.grad(loss(v), logits, retain_graph=True)[0] for v in value])
        r = row(found, name, 0.7)
        assert r.bias == pytest.approx((each.mean(0) - found.truth.gradient).norm().item())
        assert r.variance == pytest.approx(each.var(0).sum().item())
        assert r.rmse == pytest.approx((each - found.truth.gradient).square().sum(-1).mean().sqrt().item())
        assert r.cosine == pytest.approx(torch.cosine_similarity(each, found.truth.gradient, dim=-1).mean().item())


def test_gradients_go_to_the_leaves_behind_the_parameters():
    """Through an encoder, into a shared scale, and into a rate that is a function of the parameter."""
    logits, scale = theta(), torch.tensor(1.3, dtype=F64, requires_grad=True)
    encoder = torch.nn.Linear(4, 4).double()
    trick = sst.StochasticSoftmaxTrick(
        sst.OneHot(4), Normal(encoder(logits), scale), 1.0, sst.ExponentialFamilyEntropy()
    )
    leaves = find_leaves(trick)
    assert {id(leaf) for leaf in leaves} == {id(x) for x in (logits, scale, *encoder.parameters())}
    found = sst.diagnose(trick, loss, temperatures=[1.0], samples=100, truth_samples=2000, generator=seeded())
    assert found.truth.gradient.shape == (4 + 1 + 16 + 4,)
    rate = theta()
    trick = sst.StochasticSoftmaxTrick(
        sst.KSubset(4, 2), sst.NegativeExponential(rate.exp()), 1.0, sst.ExponentialFamilyEntropy()
    )
    (leaf,) = find_leaves(trick)
    assert leaf is rate


def test_gradients_of_every_sample_are_those_of_a_loop():
    scale = theta()
    weights = torch.randn(5, 4, dtype=F64, generator=seeded())
    output = torch.sin(weights * scale)
    cotangent = torch.randn(5, 4, dtype=F64, generator=seeded(1))
    expected = [torch.autograd.grad(o, scale, c, retain_graph=True)[0] for o, c in zip(output, cotangent, strict=True)]
    torch.testing.assert_close(gradients(output, cotangent, (scale,)), torch.stack(expected))


def test_moments_of_chunks_are_those_of_the_whole():
    estimates, truth = torch.randn(50, 3, dtype=F64, generator=seeded()), torch.tensor([1.0, 2.0, 0.0], dtype=F64)
    moments = Moments(truth)
    for chunk in estimates.split(17):
        moments.add(chunk)
    assert moments.count == 50
    assert moments.bias == pytest.approx((estimates.mean(0) - truth).norm().item())
    assert moments.variance == pytest.approx(estimates.var(0).sum().item())
    assert moments.rmse == pytest.approx((estimates - truth).square().sum(-1).mean().sqrt().item())


def test_a_law_that_is_not_known_is_sampled_with_its_error():
    trees = sst.SpanningTree.complete(3)
    logits = theta()[:3].detach().requires_grad_()
    trick = sst.StochasticSoftmaxTrick(trees, Gumbel(logits, 1.0), 1.0, sst.ExponentialFamilyEntropy())
    costs = torch.tensor([1.0, 2.0, 4.0], dtype=F64)

    def cost(x: torch.Tensor) -> torch.Tensor:
        return (x @ costs).square()

    found = sst.diagnose(trick, cost, truth_samples=60_000, generator=seeded(), **SIZE)
    # On a triangle a tree is the pair of the two edges drawn first.
    same = sst.StochasticArgmaxTrick(sst.KSubset(3, 2), Gumbel(logits, 1.0))
    support = same.structure.enumerate_support().double()
    expected = torch.autograd.grad((same.log_prob(support).exp() * cost(support)).sum(), logits)[0]
    assert not found.truth.exact
    assert "estimated from" in found.truth.method
    assert ((found.truth.gradient - expected).abs() < 4 * found.truth.standard_error).all()
    assert not any("on X" in r.estimator for r in found.rows)


def test_straight_through_and_argmax_tricks_can_be_given():
    trick = gumbel_one_hot(theta())
    same = sst.diagnose(sst.StraightThrough(trick), loss, generator=seeded(), **SIZE)
    assert same.rows == sst.diagnose(trick, loss, generator=seeded(), **SIZE).rows
    hard = sst.diagnose(sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(theta(), 1.0)), loss, **SIZE)
    assert all(r.temperature is None for r in hard.rows)
    assert len(hard.rows) == 6


def test_masks_and_single_precision():
    mask = torch.tensor([True, True, False, True])
    trick = sst.StochasticSoftmaxTrick(
        sst.OneHot(4, mask=mask), Gumbel(theta().float().detach().requires_grad_(), 1.0), 1.0, sst.Euclidean()
    )
    found = sst.diagnose(trick, lambda x: (x - CENTER.float()).square().sum(-1), generator=seeded(), **SIZE)
    assert found.truth.gradient[2] == 0
    assert all(math.isfinite(r.rmse) for r in found.rows)
    utility = sst.Masked(Gumbel(theta(), 1.0), mask)
    found = sst.diagnose(
        sst.StochasticSoftmaxTrick(sst.OneHot(4), utility, 1.0, sst.Euclidean()), loss, generator=seeded(), **SIZE
    )
    assert found.truth.exact
    assert all(math.isfinite(r.rmse) for r in found.rows)


@pytest.mark.parametrize("n", [15, 40])
def test_what_is_too_large_to_enumerate_is_sampled(n: int):
    utility = sst.Logistic(torch.zeros(n, requires_grad=True))
    trick = sst.StochasticSoftmaxTrick(sst.Subset(n), utility, 1.0, sst.BinaryEntropy())
    found = sst.diagnose(trick, lambda x: x.sum(-1), temperatures=[1.0], samples=20, truth_samples=100)
    assert not found.truth.exact


def test_progress_ends_at_the_total():
    seen = []
    sst.diagnose(gumbel_one_hot(theta()), loss, progress=lambda done, total: seen.append((done, total)), **SIZE)
    assert seen[-1] == (3000, 3000)
    assert seen == sorted(seen)


def test_the_generator_decides_and_torch_s_own_is_left_alone():
    before = torch.get_rng_state()
    first, second = (sst.diagnose(gumbel_one_hot(theta()), loss, generator=seeded(5), **SIZE) for _ in "ab")
    assert first.rows == second.rows
    state = torch.get_rng_state()
    assert torch.equal(before, state)


def counts() -> sst.StochasticSoftmaxTrick:
    return sst.StochasticSoftmaxTrick(sst.OneHot(4), Poisson(theta().exp()), 1.0, sst.CategoricalEntropy())


def free_pairs() -> sst.StochasticSoftmaxTrick:
    utility = sst.ChainUtility(Gumbel(theta(), 1.0), torch.zeros(3, dtype=F64, requires_grad=True))
    return sst.StochasticSoftmaxTrick(sst.ChainKSubset(4, 2), utility, 1.0, sst.ExponentialFamilyEntropy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": [0.0, 1.0]}, "temperatures: found"),
        ({"samples": 7}, "samples: found 7, expected an integer >= 8"),
        ({"samples": 8.5}, "samples: found 8.5, expected an integer >= 8"),
        ({"group": 1}, "group: found 1"),
        ({"group": 2.5}, "group: found 2.5, expected an integer >= 2"),
        ({"truth_samples": 0}, "truth_samples: found 0, expected an integer >= 40"),
        ({"loss": lambda x: x}, r"loss: found a value of shape \(4, 4\) for samples of shape \(4, 4\)"),
        ({"trick": gumbel_one_hot(theta().detach())}, "no parameter requires grad"),
        ({"trick": gumbel_one_hot(theta().expand(2, 4))}, r"trick: found batch shape \(2,\)"),
        ({"loss": lambda x: 1.0}, "loss: found a float for samples of shape"),
        (
            {"loss": lambda x: (x[:, 0] > 0.5).double()},
            "loss: found a value without a gradient",
        ),
        (
            {"estimators": {"I-MLE": sst.estimators.IMLE(sst.OneHot(4))}},
            "estimators: found IMLE.* as 'I-MLE', expected estimators of the trick's own structure",
        ),
        ({"trick": sst.OneHot(4)}, "trick: found a OneHot, expected an argmax or softmax trick"),
        ({"trick": counts()}, r"trick: found .*Poisson.*not reparameterised.*StochasticArgmaxTrick"),
        ({"loss": lambda x: (x * x.log()).sum(-1)}, r"loss: found nan at x = \[.*\], expected a finite number"),
        ({"trick": free_pairs()}, r"trick: found 1 tensors .* not their density.*ChainUtility"),
    ],
    ids=[
        *("temperatures", "samples", "half a sample", "group", "half a group", "truth", "loss", "parameters", "batch"),
        *("loss number", "loss without gradient", "estimators", "no trick", "not reparameterised", "loss not finite"),
        "not of the density",
    ],
)
def test_bad_arguments_are_refused(options: dict, message: str):
    given = {"trick": gumbel_one_hot(theta()), "loss": loss, **options}
    with pytest.raises(ValueError, match=message):
        sst.diagnose(**given)


def test_a_loss_without_a_gradient_is_pointed_out(found: Diagnosis):
    assert "gradient is zero" not in str(found)
    trick = sst.StochasticSoftmaxTrick(sst.OneHot(4), sst.Gumbel(theta()), 1.0, sst.CategoricalEntropy())
    constant = sst.diagnose(trick, lambda x: x.square().sum(-1), generator=seeded(1), **SIZE)
    assert "gradient is zero" in str(constant)


def test_the_table_is_text(found: Diagnosis):
    lines = str(found).splitlines()
    assert lines[0] == "OneHot(4), Gumbel utilities, CategoricalEntropy"
    assert lines[1].split() == ["estimator", "t", "losses", "ms", "bias", "std", "cosine", "RMSE"]
    assert lines[2].startswith("relaxed ")
    assert any(line.startswith("Truth: exact, by enumeration of 4 vertices") for line in lines)


def test_the_table_is_shown_with_and_without_rich(found: Diagnosis, monkeypatch, capsys):
    found.show()
    assert "┃ estimator" in capsys.readouterr().out
    monkeypatch.setattr("sstricks.diagnosis.result.find_spec", lambda name: None)
    found.show()
    assert capsys.readouterr().out == f"{found}\n"
    with pytest.raises(ImportError, match=r"sstricks\[recipes\]"):
        found.plot("nowhere.png")


def test_further_estimators_are_held_against_the_gradient_of_their_law():
    structure = sst.KSubset(4, 2)
    theta = torch.tensor([0.5, 0.0, -0.5, 1.0], dtype=torch.float64, requires_grad=True)
    trick = sst.StochasticSoftmaxTrick(structure, sst.Gumbel(theta), 1.0, sst.ExponentialFamilyEntropy())
    others = {
        "family": sst.estimators.ScoreFunction(structure, 4, action="family"),
        "utility": sst.estimators.ScoreFunction(structure, 4),
        "vertices": sst.estimators.SparseMarginalization(structure),
        "I-MLE": sst.estimators.IMLE(structure),
    }
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([1.0, -1.0, 2.0, 0.5], dtype=torch.float64)
    found = sst.diagnose(
        trick,
        lambda x: (x @ weights).square(),
        estimators=others,
        samples=4000,
        temperatures=[1.0],
        generator=generator,
    )
    rows = {row.estimator: row for row in found.rows}
    for name in ("family", "utility"):
        assert rows[name].evaluations == 4
        assert rows[name].bias < 3 * rows[name].bias_error
    assert rows["family"].law == "family"
    assert rows["vertices"].variance == pytest.approx(0, abs=1e-12)
    assert rows["vertices"].bias > 5 * rows["vertices"].bias_error
    assert all(rows[name].milliseconds > 0 for name in others)
    assert found.best(10**9).law == "argmax"
    assert "family (family)" in str(found)


def test_files_are_written_once(found: Diagnosis, tmp_path):
    path = found.to_csv(tmp_path / "a.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows)
    assert float(rows[0]["rmse"]) == found.rows[0].rmse
    assert rows[-1]["temperature"] == ""
    picture = found.plot(tmp_path / "a.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    before = picture.read_bytes()
    for write, taken in ((found.to_csv, path), (found.plot, picture)):
        with pytest.raises(FileExistsError):
            write(taken)
    assert picture.read_bytes() == before
    with pytest.raises(ValueError, match="not supported"):
        found.plot(tmp_path / "a.docx")
    assert not (tmp_path / "a.docx").exists()


def test_score_functions_alone_can_be_drawn(tmp_path):
    hard = sst.diagnose(sst.StochasticArgmaxTrick(sst.OneHot(4), Gumbel(theta(), 1.0)), loss, samples=100)
    assert hard.plot(tmp_path / "hard.svg").read_text().startswith("<?xml")


def test_averaging_takes_away_variance_alone(found: Diagnosis):
    r = row(found, "relaxed", 1.0)
    limit = math.sqrt(r.bias**2 - r.bias_error**2)
    assert r.rmse_of_mean(10**12) == pytest.approx(limit, rel=1e-6)
    assert r.rmse_of_mean(1) == pytest.approx(r.rmse, rel=0.05)


def test_diagnosis_needs_the_core_only():
    program = (
        "import sys; sys.modules.update(rich=None, matplotlib=None, tyro=None, lightning=None)\n"
        "import torch, sstricks as sst\n"
        "u = torch.distributions.Gumbel(torch.zeros(3, requires_grad=True), 1.0)\n"
        "trick = sst.StochasticSoftmaxTrick(sst.OneHot(3), u, 1.0, sst.Euclidean())\n"
        "print(sst.diagnose(trick, lambda x: x[:, 0], samples=8))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert "RLOO on X" in done.stdout


def test_sorting_utilities_have_scores_to_take_the_score_function_of():
    torch.manual_seed(0)
    trick = sst.StochasticSoftmaxTrick(sst.Matching(3), sst.Sorting(theta()[:3]), 1.0, sst.CategoricalEntropy())
    target = torch.arange(9, dtype=F64).reshape(3, 3).cos()
    found = sst.diagnose(trick, lambda x: (x - target).square().sum((-1, -2)), temperatures=[0.5], samples=2000)
    assert found.truth.exact
    rows = [row for row in found.rows if row.temperature is None]
    assert len(rows) == 6
    assert all(row.bias < 4 * row.bias_error for row in rows)


def test_a_mask_of_the_utility_has_the_truth_of_a_mask_of_the_structure():
    theta, mask = torch.tensor([0.3, -0.5], dtype=torch.float64).requires_grad_(), torch.tensor([True, False])
    truths = [
        sst.diagnose(trick, lambda x: (x - 0.4).square().sum(-1), samples=20).truth
        for trick in (
            sst.StochasticArgmaxTrick(sst.Subset(2), sst.Masked(sst.Logistic(theta), mask)),
            sst.StochasticArgmaxTrick(sst.Subset(2, mask=mask), sst.Logistic(theta)),
        )
    ]
    slope = theta[0].sigmoid() * (1 - theta[0].sigmoid()) * (0.6**2 - 0.4**2)  # d/dθ of σ(θ) L(1) + (1 − σ(θ)) L(0)
    for truth in truths:
        assert truth.exact
        torch.testing.assert_close(truth.gradient, torch.stack([slope, torch.zeros_like(slope)]).detach())
