"""Learning to explain: subsets of words, the model, its metrics, runs, explanations and the ridge reference."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

import sstricks as sst
from sstricks import cli
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.run import evaluate_again, train
from sstricks.recipes.l2x import (
    RELAXATIONS,
    Encoder,
    ExplainingModel,
    LearningToExplain,
    WordConvolutions,
    WordSubsets,
    chance_run_length,
    chance_scores,
    reference_scores,
    run_length,
    subset_precision,
)
from sstricks.recipes.reviews import PrepareSynthetic, write_corpus

NAMES = tuple(RELAXATIONS)
TRICKS = [name for name, (_, regularizer) in RELAXATIONS.items() if regularizer is not None]


def made_up(train, valid, test, seed=0):
    sizes = {"train_reviews": train, "valid_reviews": valid, "test_reviews": test}
    return PrepareSynthetic(out="nowhere", seed=seed, **sizes).corpus()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews") / "data"
    write_corpus(made_up(1000, 120, 150), "synthetic", folder)
    return folder


def tiny(data, relaxation="corr-top-k", **changes):
    recipe = LearningToExplain(data_folder=str(data), aspect="rooms", k=3, relaxation=relaxation, embeddings="random")
    sizes = {"batch_size": 20, "steps": 8, "valid_every": 4, "restart_steps": 4, "lr": 1e-3, "precision": "float32"}
    return replace(recipe.with_preset(), **{**sizes, **changes})


def model_and_batch(recipe, split="test", count=10):
    torch.manual_seed(0)
    return recipe.model().eval(), getattr(recipe.data(), split)[torch.arange(count)]


# Subsets


def theta_of(relaxation, batch, width, dtype=torch.float32):
    size = 2 * width - 1 if relaxation == "corr-top-k" else width
    return torch.randn(batch, size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def present_of(lengths, width):
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(-1)


@pytest.mark.parametrize("relaxation", NAMES)
@pytest.mark.parametrize("k", [1, 5, 10])
def test_hard_subsets_have_k_words_or_all(relaxation, k):
    lengths = [1, 4, 5, 9, 10, 11, 20]
    present, subsets, theta = present_of(lengths, 20), WordSubsets(relaxation, k), theta_of(relaxation, 7, 20)
    for choose in (subsets.mode, subsets.sample):
        chosen = choose(theta, present)
        assert set(chosen.unique().tolist()) <= {0.0, 1.0}
        assert not chosen[~present].any()
        sizes, expected = chosen.sum(-1).tolist(), [min(k, length) for length in lengths]
        if relaxation == "l2x" and choose == subsets.sample:  # whose draws may be the same
            assert all(1 <= size <= most for size, most in zip(sizes, expected, strict=True))
        else:
            assert sizes == expected


@pytest.mark.parametrize("relaxation", NAMES)
def test_a_review_of_at_most_k_words_is_its_own_explanation(relaxation):
    present, theta = present_of([3, 5], 8), theta_of(relaxation, 2, 8).requires_grad_()
    selected = WordSubsets(relaxation, 5).relaxed(theta, present, 0.5)
    assert torch.equal(selected, present.float())
    selected.square().sum().backward()
    assert torch.equal(theta.grad, torch.zeros_like(theta))


@pytest.mark.parametrize("relaxation", NAMES)
def test_padding_changes_nothing(relaxation):
    subsets, narrow, wide = WordSubsets(relaxation, 3), present_of([7], 7), present_of([7], 12)
    theta = theta_of(relaxation, 1, 7)
    words, pairs = theta[:, :7], theta[:, 7:]
    beyond = torch.full((1, 5), 9.0)
    padded = torch.cat([words, beyond, *([pairs, beyond] if relaxation == "corr-top-k" else [])], -1)
    assert torch.equal(subsets.mode(theta, narrow), subsets.mode(padded, wide)[:, :7])
    for draw in (lambda t, p: subsets.relaxed(t, p, 0.5), subsets.sample):
        found = draw(padded.expand(400, -1), wide.expand(400, -1))
        expected = draw(theta.expand(400, -1), narrow.expand(400, -1))
        assert (found[..., 7:] == 0).all()
        assert (found[..., :7].mean(0) - expected.mean(0)).abs().max() < 0.12


@pytest.mark.parametrize("relaxation", NAMES)
def test_relaxed_subsets_have_k_words_and_become_hard(relaxation):
    present, subsets, theta = present_of([9, 6], 9), WordSubsets(relaxation, 4), theta_of(relaxation, 2, 9)
    warm, cold = (subsets.relaxed(theta, present, temperature) for temperature in (1.0, 1e-4))
    assert (warm >= 0).all()
    assert (warm[~present] == 0).all()
    if relaxation != "l2x":
        assert torch.allclose(warm.sum(-1), torch.full((2,), 4.0), atol=1e-4)
        assert torch.allclose(cold.sum(-1), torch.full((2,), 4.0), atol=1e-4)
    assert torch.minimum(cold.abs(), (cold - 1).abs()).max() < 1e-3


def test_the_mode_of_correlated_words_is_the_best_of_all_subsets():
    theta = theta_of("corr-top-k", 5, 7)
    mode = WordSubsets("corr-top-k", 3).mode(theta, torch.ones(5, 7, dtype=torch.bool))
    everything = sst.ChainKSubset(7, 3).enumerate_support()
    assert torch.equal(mode, everything[(everything @ theta.T).argmax(0), :7])


@pytest.mark.parametrize("relaxation", TRICKS)
def test_gradients_are_exact_and_finite_differences_approach_them(relaxation):
    def select(theta, solver=None):
        torch.manual_seed(0)
        return WordSubsets(relaxation, 3, solver).relaxed(theta, present_of([8, 5, 3], 8), 0.7)

    theta = theta_of(relaxation, 3, 8, torch.double).requires_grad_()
    weights = torch.randn(3, 8, dtype=torch.double)
    exact, finite = (
        torch.autograd.grad((select(theta, solver) * weights).sum(), theta)[0]
        for solver in (None, sst.FiniteDifference())
    )
    assert torch.allclose(exact, finite, atol=1e-7)
    assert exact.abs().max() > 1e-3
    if relaxation in ("ef-top-k", "corr-top-k"):
        assert gradcheck(select, theta)


# Model


def padded(batch, length, width, dimension):
    vectors = torch.zeros(batch, width, dimension)
    vectors[:, :length] = torch.randn(batch, length, dimension, generator=torch.Generator().manual_seed(0))
    return vectors, (torch.arange(width) < length).expand(batch, width)


def test_features_do_not_depend_on_padding_and_are_near_in_bfloat16():
    torch.manual_seed(0)
    layers, low = WordConvolutions(5, "float32"), WordConvolutions(5, "bfloat16")
    low.load_state_dict(layers.state_dict())
    narrow, wide = (layers(*padded(2, 6, width, 5)) for width in (6, 9))
    assert torch.allclose(narrow, wide[:, :6], atol=1e-6)
    assert (wide[:, 6:] == 0).all()
    found = low(*padded(2, 6, 9, 5))
    assert found.dtype == torch.float32
    assert torch.allclose(found, wide, atol=0.05)
    assert not torch.equal(found, wide)


@pytest.mark.parametrize("kind", ["simple", "complex"])
def test_the_encoder_is_the_sum_of_its_convolutions(data, kind):
    torch.manual_seed(0)
    encoder = Encoder(tiny(data, encoder=kind)).eval()
    vectors, present = torch.randn(2, 9, 50), torch.ones(2, 9, dtype=torch.bool)
    theta = encoder(vectors, present)
    features = vectors if kind == "simple" else encoder.context(vectors, present)
    first, second = encoder.first(features)[..., 0], encoder.second(features)[..., 0]
    weight, bias = encoder.both.weight[0], encoder.both.bias
    both = features[:, :-1] @ weight[:, 0] + features[:, 1:] @ weight[:, 1] + bias
    expected = torch.cat([encoder.unary(features)[..., 0], first[:, :-1] + second[:, 1:] + both], -1)
    assert torch.allclose(theta, expected, atol=1e-5)


def test_the_decoder_sees_only_selected_words(data):
    decoder = tiny(data).model().eval().decoder
    vectors, present = padded(3, 6, 8, 50)
    selected = torch.zeros(3, 8)
    selected[:, 2] = 1
    changed = vectors.clone()
    changed[:, [0, 1, 3, 4]] += 7
    rating = decoder(vectors, selected, present)
    assert ((rating > 0) & (rating < 1)).all()
    assert torch.equal(rating, decoder(changed, selected, present))
    assert not torch.equal(rating, decoder(2 * vectors, selected, present))


def test_explanations_are_hard_and_without_noise(data):
    model, batch = model_and_batch(tiny(data, temperature=1e6))
    selected, rating = model.explain(batch)
    assert selected.dtype == torch.bool
    assert selected.sum(-1).tolist() == [3] * 10
    assert torch.equal(model.explain(batch)[1], rating)


def test_errors_are_of_rated_and_precision_of_annotated_reviews(data):
    model, batch = model_and_batch(tiny(data), count=6)
    ratings = torch.tensor([0.1, 0.2, 0.3, math.nan, math.nan, math.nan])
    mixed = replace(batch, ratings=ratings, annotated=ratings.isnan())
    with torch.no_grad():
        metrics = model.summarize(model.evaluate(mixed))
    selected, rating = model.explain(batch)
    hits = (selected & batch.relevant)[3:].sum(-1) / 3
    error = (rating[:3] - ratings[:3]).square().mean().item()
    assert metrics["mse"] == pytest.approx(error)
    assert metrics["explained_variance"] == pytest.approx(1 - error / ratings[:3].var(correction=0).item(), rel=1e-5)
    assert metrics["subset_precision"] == pytest.approx(hits.mean().item())


def test_frozen_embeddings_stay(data):
    model, batch = model_and_batch(tiny(data, train_embeddings=False), "train")
    optimizer, before = model.optimizer(), model.embedding.weight.clone()
    model.loss(batch, 0)[0].backward()
    optimizer.step()
    assert torch.equal(model.embedding.weight, before)


def test_parameters_that_diverged_are_told(data):
    model, batch = model_and_batch(tiny(data))
    torch.nn.init.constant_(model.encoder.unary.weight, math.nan)
    with pytest.raises(RunError, match=r"encoder's outputs are no longer finite\. Lower --lr"):
        model.explain(batch)


# Metrics


def runs_by_hand(selected):
    runs = [len(list(group)) for value, group in itertools.groupby(selected) if value]
    return sum(runs) / len(runs)


def test_precision_and_runs_by_hand():
    selected = torch.tensor([[True, False, True, True], [False, True, False, False]])
    relevant = torch.tensor([[True, True, False, True], [False, False, True, True]])
    assert subset_precision(selected, relevant).tolist() == [2 / 3, 0.0]
    assert run_length(selected).tolist() == [1.5, 1.0]


@pytest.mark.parametrize(("length", "k"), [(1, 1), (5, 1), (5, 2), (7, 4), (6, 6), (3, 10)])
def test_runs_by_chance_are_the_mean_over_all_subsets(length, k):
    subsets = itertools.combinations(range(length), min(k, length))
    means = [runs_by_hand([place in subset for place in range(length)]) for subset in subsets]
    assert chance_run_length(length, k) == pytest.approx(np.mean(means))


def test_chance_of_a_split():
    test = made_up(20, 5, 40)[1]["rooms"][2]
    precision, length = chance_scores(test, 5)
    shares = [part.float().mean().item() for part in test.relevant.split(test.offsets.diff().tolist())]
    assert precision == pytest.approx(np.mean(shares))
    assert 1 < length < 2


def test_the_ridge_finds_the_words_that_say_the_rating():
    found = reference_scores(made_up(600, 200, 200)[1]["rooms"], k=3)
    expected = {"ridge_mse": 0.0369222, "ridge_valid_mse": 0.0360459, "constant_mse": 0.13675, "ridge_precision": 1.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["penalty"] == 30
    assert found["chance_precision"] == pytest.approx(0.210712, abs=1e-6)


# Runs


@pytest.mark.parametrize("relaxation", NAMES)
@pytest.mark.parametrize("encoder", ["simple", "complex"])
def test_every_combination_trains_and_reports(tmp_path, data, relaxation, encoder):
    recipe = tiny(data, relaxation, encoder=encoder, precision="bfloat16" if encoder == "complex" else "float32")
    result = train(recipe, tmp_path)
    for name in ("test/mse", "test/subset_precision", "test/run_length", "valid/mse", "test/sampled_mse"):
        assert math.isfinite(result[name])
    assert result["test/mse_x100"] == pytest.approx(100 * result["test/mse"])
    assert 0 <= result["test/subset_precision"] <= 1
    assert 1 <= result["test/run_length"] <= 3
    assert 0 < result["chance/subset_precision"] < 1
    expected = {"relaxation": relaxation, "encoder": encoder, "k": 3, "aspect": "rooms", "source": "synthetic"}
    expected |= {"preset": "quick", "seed": 0, "steps": 8, "embeddings": "random", "test_reviews": 150}
    assert {name: result[name] for name in expected} == expected
    assert "data_folder" not in result  # which is a path
    assert (tmp_path / "curves.png").exists()
    assert LearningToExplain.from_json(json.loads((tmp_path / "config.json").read_text())) == recipe
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8]
    assert evaluate_again(recipe, tmp_path) == (result, True)


@pytest.mark.parametrize("relaxation", NAMES)
def test_the_planted_words_are_found(tmp_path, data, relaxation):
    result = train(tiny(data, relaxation, steps=350, valid_every=50, lr=2e-2, clip=1.0, seed=1), tmp_path)
    assert result["test/subset_precision"] > 2.5 * result["chance/subset_precision"]
    assert result["test/explained_variance"] > 0.5
    if relaxation == "corr-top-k":
        assert result["test/run_length"] > 1.5 * result["chance/run_length"]


def test_an_interrupted_run_resumes_to_the_same_result(tmp_path, data, monkeypatch):
    recipe, loss = tiny(data, steps=12, restarts=2), ExplainingModel.loss
    whole = train(recipe, tmp_path / "whole")

    def interrupted(self, batch, step):
        if step == 10:
            raise KeyboardInterrupt
        return loss(self, batch, step)

    with monkeypatch.context() as patch:
        patch.setattr(ExplainingModel, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, tmp_path / "broken")
    resumed = train(recipe, tmp_path / "broken", resume=True)
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}


def test_a_run_is_not_continued_on_other_reviews(tmp_path, data):
    recipe = tiny(data)
    write_corpus(made_up(100, 12, 15, seed=1), "synthetic", tmp_path)
    other = replace(recipe, data_folder=str(tmp_path))
    for use in (other.data, other.check, lambda: LearningToExplain.from_json(other.to_json())):
        with pytest.raises(RunError, match="not those that the run was started with"):
            use()


def test_presets_go_through_whole_epochs_and_the_paper_s_is_the_paper_s(data):
    presets = {name: LearningToExplain(data_folder=str(data), aspect="rooms", preset=name) for name in ("cpu", "quick")}
    for name, recipe in presets.items():
        recipe = recipe.with_preset()
        recipe.check()
        assert recipe.steps == {"cpu": 40, "quick": 10}[name]
        assert recipe.gradient == "exact"
    paper = replace(recipe, preset="paper", batch_size=100, precision="float32", clip=1000.0).with_preset()
    paper.check()
    assert (paper.steps, paper.valid_every, paper.batch_size, paper.restarts) == (100, 10, 100, 1)
    assert (paper.max_words, paper.dropout, paper.precision, paper.clip) == (350, 0.1, "float32", 1000.0)
    assert paper.gradient == "finite-difference"
    assert replace(paper, relaxation="cat", gradient="exact").with_preset().gradient == "exact"
    falls = replace(paper, lr_share=0.5, lr_final=0.1)
    assert [falls.lr_factor(step) for step in (0, 25, 50, 99)] == pytest.approx([1, 0.55, 0.1, 0.1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k is 0, expected a number above 0"),
        ({"k": 400}, "k is 400, expected at most max_words=350"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"relaxation": "l2x", "gradient": "finite-difference"}, "exact for l2x, which is no stochastic softmax"),
        ({"finite_difference_eps": 0.1}, "expected no ε"),
        ({"lr_final": 2.0}, r"lr_final is 2\.0, expected a share"),
        ({"steps": 9}, "steps is 9, expected a multiple of valid_every=4"),
        ({"restarts": 8}, "steps is 8, expected at least 16"),
    ],
)
def test_values_that_do_not_fit_are_refused(data, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(data, **changes).check()


def with_rooms(folder, change):
    """Prepared reviews of rooms after a change to their splits."""
    vocabulary, aspects = made_up(60, 10, 10)
    write_corpus((vocabulary, {"rooms": change(*aspects["rooms"])}), "synthetic", folder)
    return folder


def test_reviews_without_annotations_have_no_precision(tmp_path, capsys):
    bare = torch.zeros(10, dtype=torch.bool)
    data = with_rooms(tmp_path / "data", lambda train, valid, test: (train, valid, replace(test, annotated=bare)))
    result = train(tiny(data), tmp_path / "run")
    assert result["chance/subset_precision"] is result["test/subset_precision"] is None
    assert result["test/mse"] > 0
    assert result["chance/run_length"] >= 1
    for command, expected in (
        (["evaluate", str(tmp_path / "run")], "precision –"),
        (["reference", "--data", str(data), "--aspect", "rooms"], "no test review has any"),
        (["table", "l2x", str(tmp_path / "run")], "–"),
    ):
        assert cli.main(command) == 0
        printed = " ".join(capsys.readouterr().out.split())
        assert "nan" not in printed
        assert expected in printed


@pytest.mark.parametrize(
    ("split", "ratings", "message"),
    [
        (1, torch.tensor([0.5] + 9 * [math.nan]), "valid split of rooms has 1 rated reviews"),
        (1, torch.full((10,), 0.5), "10 rated reviews with 1 different ratings, expected at least 2"),
        (2, torch.full((10,), math.nan), "test split of rooms has 0 rated reviews"),
    ],
)
def test_too_few_ratings_are_refused_before_the_training(tmp_path, capsys, split, ratings, message):
    def change(*splits):
        return [replace(part, ratings=ratings) if i == split else part for i, part in enumerate(splits)]

    chosen = ("--data", str(with_rooms(tmp_path / "data", change)), "--aspect", "rooms")
    for command in (["train", "l2x", *chosen, "--out", str(tmp_path / "run")], ["reference", *chosen]):
        assert cli.main(command) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_ratings_that_do_not_vary_explain_nothing(tmp_path):
    alike = torch.full((10,), 0.5)
    data = with_rooms(tmp_path / "data", lambda train, valid, test: (train, valid, replace(test, ratings=alike)))
    result = train(tiny(data), tmp_path / "run")
    assert result["test/explained_variance"] is None
    assert result["test/mse"] >= 0
