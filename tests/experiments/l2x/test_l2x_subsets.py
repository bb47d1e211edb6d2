import pytest
import torch
from torch.autograd import gradcheck

import sstricks as sst
from sstricks.experiments.l2x.encoder import Encoder, Theta
from sstricks.experiments.l2x.subsets import BESPOKE, SUBSETS, candidates_of, only_words

RELAXATIONS = tuple(SUBSETS)
HARD = [name for name in RELAXATIONS if name != "l2x"]


def theta_of(relaxation, batch, width, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randn(batch, width, generator=generator, dtype=dtype)
    pairs = torch.randn(batch, width - 1, generator=generator, dtype=dtype)
    return Theta(words, pairs if SUBSETS[relaxation](1, None).has_pairs else None)


def present_of(lengths, width):
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(-1)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("k", [1, 5, 10])
def test_hard_subsets_have_k_words_or_all(relaxation, k):
    lengths = [1, 4, 5, 9, 10, 11, 20]
    present = present_of(lengths, 20)
    subsets, theta = SUBSETS[relaxation](k, None), theta_of(relaxation, 7, 20)
    candidates = candidates_of(present, k)
    for choose in (subsets.mode, subsets.sample):
        chosen = only_words(choose(theta, candidates), present, k)
        assert set(chosen.unique().tolist()) <= {0.0, 1.0}
        assert not chosen[~present].any()
        sizes = chosen.sum(-1).tolist()
        expected = [min(k, length) for length in lengths]
        if relaxation == "l2x" and choose == subsets.sample:  # whose draws may be the same
            assert all(1 <= size <= most for size, most in zip(sizes, expected, strict=True))
        else:
            assert sizes == expected


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_a_review_of_at_most_k_words_is_its_own_explanation(relaxation):
    present = present_of([3, 5], 8)
    theta = theta_of(relaxation, 2, 8)
    theta.words.requires_grad_()
    relaxed = SUBSETS[relaxation](5, None).relaxed(theta, candidates_of(present, 5), 0.5)
    selected = only_words(relaxed, present, 5)
    assert torch.equal(selected, present.float())
    selected.square().sum().backward()
    assert torch.equal(theta.words.grad, torch.zeros(2, 8))


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_padding_changes_nothing(relaxation):
    subsets = SUBSETS[relaxation](3, None)
    narrow, theta = present_of([7], 7), theta_of(relaxation, 1, 7)
    wide = present_of([7], 12)
    pairs = None if theta.pairs is None else torch.cat([theta.pairs, torch.full((1, 5), 9.0)], -1)
    padded = Theta(torch.cat([theta.words, torch.full((1, 5), 9.0)], -1), pairs)
    assert torch.equal(
        subsets.mode(theta, candidates_of(narrow, 3)), subsets.mode(padded, candidates_of(wide, 3))[:, :7]
    )
    for draw in (lambda t, c: subsets.relaxed(t, c, 0.5), subsets.sample):
        torch.manual_seed(0)
        counts = torch.stack([only_words(draw(padded, candidates_of(wide, 3)), wide, 3) for _ in range(400)])
        torch.manual_seed(1)
        expected = torch.stack([draw(theta, candidates_of(narrow, 3)) for _ in range(400)])
        assert (counts[..., 7:] == 0).all()
        assert (counts[..., :7].mean(0) - expected.mean(0)).abs().max() < 0.12


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_relaxed_subsets_have_k_words_and_become_hard(relaxation):
    present = present_of([9, 6], 9)
    subsets, theta = SUBSETS[relaxation](4, None), theta_of(relaxation, 2, 9)
    candidates = candidates_of(present, 4)
    warm = only_words(subsets.relaxed(theta, candidates, 1.0), present, 4)
    cold = only_words(subsets.relaxed(theta, candidates, 1e-4), present, 4)
    assert (warm >= 0).all()
    assert (warm[~present] == 0).all()
    if relaxation != "l2x":
        assert torch.allclose(warm.sum(-1), torch.full((2,), 4.0), atol=1e-4)
        assert torch.allclose(cold.sum(-1), torch.full((2,), 4.0), atol=1e-4)
    assert torch.minimum(cold.abs(), (cold - 1).abs()).max() < 1e-3


def test_the_mode_of_correlated_words_is_the_best_of_all_subsets():
    theta = theta_of("corr-top-k", 5, 7)
    mode = SUBSETS["corr-top-k"](3, None).mode(theta, torch.ones(5, 7, dtype=torch.bool))
    everything = sst.ChainKSubset(7, 3).enumerate_support()
    scores = everything @ torch.cat([theta.words, theta.pairs], -1).T
    assert torch.equal(mode, everything[scores.argmax(0), :7])


@pytest.mark.parametrize("relaxation", [name for name in RELAXATIONS if name not in BESPOKE])
def test_finite_differences_approach_the_exact_gradient(relaxation):
    present = present_of([8, 5], 8)
    weights = torch.randn(2, 8, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    gradients = []
    for solver in (None, sst.FiniteDifference()):
        theta = theta_of(relaxation, 2, 8, dtype=torch.double)
        parameters = [part.requires_grad_() for part in (theta.words, theta.pairs) if part is not None]
        torch.manual_seed(0)
        relaxed = SUBSETS[relaxation](3, solver).relaxed(theta, candidates_of(present, 3), 0.7)
        (only_words(relaxed, present, 3) * weights).sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))
    assert torch.allclose(*gradients, atol=1e-7)
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("relaxation", ["ef-top-k", "corr-top-k"])
def test_gradients_of_the_whole_selection(relaxation):
    present = present_of([6, 3], 6)

    def select(words, pairs):
        torch.manual_seed(0)
        theta = Theta(words, pairs if relaxation == "corr-top-k" else None)
        relaxed = SUBSETS[relaxation](3, None).relaxed(theta, candidates_of(present, 3), 0.7)
        return only_words(relaxed, present, 3)

    theta = theta_of("corr-top-k", 2, 6, dtype=torch.double)
    assert gradcheck(select, (theta.words.requires_grad_(), theta.pairs.requires_grad_()))


@pytest.mark.parametrize("kind", ["simple", "complex"])
def test_the_encoder_is_the_sum_of_its_convolutions(kind):
    torch.manual_seed(0)
    encoder = Encoder(6, kind, pairs=True, dropout=0.1).eval()
    vectors, present = torch.randn(2, 9, 6), torch.ones(2, 9, dtype=torch.bool)
    theta = encoder(vectors, present)
    features = vectors if kind == "simple" else encoder.context(vectors, present)
    assert theta.words.shape == (2, 9)
    assert theta.pairs.shape == (2, 8)
    first, second = encoder.first(features)[..., 0], encoder.second(features)[..., 0]
    weight, bias = encoder.both.weight[0], encoder.both.bias
    both = features[:, :-1] @ weight[:, 0] + features[:, 1:] @ weight[:, 1] + bias
    assert torch.allclose(theta.pairs, first[:, :-1] + second[:, 1:] + both, atol=1e-5)
    assert torch.allclose(theta.words, encoder.unary(features)[..., 0])


def test_the_simple_encoder_has_four_convolutions_for_pairs_and_one_without():
    def size(pairs):
        return sum(p.numel() for p in Encoder(50, "simple", pairs=pairs, dropout=0.1).parameters())

    assert (size(False), size(True)) == (51, 3 * 51 + 101)
