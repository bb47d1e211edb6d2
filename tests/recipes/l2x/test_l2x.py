"""Learning to explain: subsets of words, the model, its metrics, runs, explanations and the ridge reference."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck

import sstricks as sst
import sstricks_cli as cli
from recipes.l2x.source_files import made_up
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.metrics import read_metrics
from sstricks.recipes.harness.recipe import ESTIMATORS
from sstricks.recipes.harness.run import evaluate_again, train
from sstricks.recipes.l2x import (
    RELAXATIONS,
    Encoder,
    ExplainingModel,
    LearningToExplain,
    WordSubsets,
    chance_run_length,
    run_length,
)
from sstricks.recipes.reviews import write_corpus

NAMES = tuple(RELAXATIONS)
TRICKS = [name for name, (_, regularizer) in RELAXATIONS.items() if regularizer is not None]


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


@torch.no_grad()
def predicted(model, batch):
    ((selected, ratings),) = model.predict(batch, model.subsets.mode)
    return selected > 0, ratings


# Subsets


def theta_of(relaxation, batch, width, dtype=torch.float32):
    size = 2 * width - 1 if relaxation == "corr-top-k" else width
    return torch.randn(batch, size, generator=torch.Generator().manual_seed(0), dtype=dtype)


def present_of(lengths, width):
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(-1)


@pytest.mark.parametrize("relaxation", NAMES)
@pytest.mark.parametrize("k", [1, 5, 10])
def test_hard_subsets_have_k_words_or_all(relaxation, k):
    present, theta = present_of([1, 4, 5, 9, 10, 11, 20], 20), theta_of(relaxation, 7, 20)
    subsets = WordSubsets(relaxation, k)
    for choose in (subsets.mode, subsets.sample):
        chosen = choose(theta, present)
        assert set(chosen.unique().tolist()) <= {0.0, 1.0}
        assert not chosen[~present].any()
        sizes, most = chosen.sum(-1), present.sum(-1).clamp(max=k)
        assert (sizes <= most).all()
        assert (sizes >= (1 if relaxation == "l2x" and choose == subsets.sample else most)).all()  # draws may coincide


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("relaxation", ["ef-top-k", "corr-top-k"])
def test_every_estimator_chooses_k_words_and_has_a_gradient(relaxation, estimator):
    present, theta = present_of([9, 6, 3], 9), theta_of(relaxation, 3, 9).requires_grad_()
    subsets = WordSubsets(relaxation, 4, 0.5, estimator=estimator)
    chosen = subsets.relaxed(theta, present)
    torch.testing.assert_close(chosen.sum(-1), torch.tensor([4.0, 4.0, 3.0]))
    assert estimator == "sst" or (chosen.round() - chosen).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad((chosen - torch.rand(3, 9)).square().sum(), theta)
    assert gradient.isfinite().all()
    assert gradient[0].any()
    assert not gradient[:, :9][~present].any()
    assert torch.equal(subsets.sample(theta, present).sum(-1), torch.tensor([4.0, 4.0, 3.0]))


@pytest.mark.parametrize("relaxation", NAMES)
def test_a_review_of_at_most_k_words_is_its_own_explanation(relaxation):
    present, theta = present_of([3, 5], 8), theta_of(relaxation, 2, 8).requires_grad_()
    selected = WordSubsets(relaxation, 5, 0.5).relaxed(theta, present)
    assert torch.equal(selected, present.float())
    assert not torch.autograd.grad(selected.square().sum(), theta)[0].any()


@pytest.mark.parametrize("relaxation", NAMES)
def test_padding_changes_nothing(relaxation):
    subsets, narrow, wide = WordSubsets(relaxation, 3, 0.5), present_of([7], 7), present_of([7], 12)
    theta, beyond = theta_of(relaxation, 1, 7), torch.full((1, 5), 9.0)
    padded = torch.cat([theta[:, :7], beyond, *([theta[:, 7:], beyond] if relaxation == "corr-top-k" else [])], -1)
    assert torch.equal(subsets.mode(theta, narrow), subsets.mode(padded, wide)[:, :7])
    for draw in (subsets.relaxed, subsets.sample):
        found = draw(padded.expand(400, -1), wide.expand(400, -1))
        expected = draw(theta.expand(400, -1), narrow.expand(400, -1))
        assert (found[..., 7:] == 0).all()
        assert (found[..., :7].mean(0) - expected.mean(0)).abs().max() < 0.12


@pytest.mark.parametrize("relaxation", NAMES)
def test_relaxed_subsets_have_k_words_and_become_hard(relaxation):
    present, theta = present_of([9, 6], 9), theta_of(relaxation, 2, 9)
    for temperature in (1.0, 1e-4):
        relaxed = WordSubsets(relaxation, 4, temperature).relaxed(theta, present)
        assert (relaxed >= 0).all()
        assert (relaxed[~present] == 0).all()
        assert relaxation == "l2x" or torch.allclose(relaxed.sum(-1), torch.full((2,), 4.0), atol=1e-4)
    assert torch.minimum(relaxed.abs(), (relaxed - 1).abs()).max() < 1e-3


def test_the_mode_of_correlated_words_is_the_best_of_all_subsets():
    theta = theta_of("corr-top-k", 5, 7)
    mode = WordSubsets("corr-top-k", 3).mode(theta, torch.ones(5, 7, dtype=torch.bool))
    everything = sst.ChainKSubset(7, 3).enumerate_support()
    assert torch.equal(mode, everything[(everything @ theta.T).argmax(0), :7])


@pytest.mark.parametrize("relaxation", TRICKS)
def test_gradients_are_exact_and_finite_differences_approach_them(relaxation):
    def select(theta, solver=None):
        torch.manual_seed(0)
        return WordSubsets(relaxation, 3, 0.7, solver).relaxed(theta, present_of([8, 5, 3], 8))

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


@pytest.mark.parametrize("encoder", ["simple", "complex"])
def test_explanations_are_hard_without_noise_and_independent_of_padding(data, encoder, monkeypatch):
    monkeypatch.setattr("sstricks.recipes.l2x.has_bfloat16", lambda device_type: True)
    recipe = tiny(data, temperature=1e6, encoder=encoder)
    model, batch = model_and_batch(recipe)
    selected, rating = predicted(model, batch)
    assert selected.sum(-1).tolist() == [3] * 10
    assert ((rating > 0) & (rating < 1)).all()
    wide = replace(recipe.data().test, min_width=batch.words.shape[1] + 7)[torch.arange(10)]
    again, same = predicted(model, wide)
    assert torch.equal(again[:, :-7], selected)
    assert torch.allclose(same, rating, atol=1e-6)
    low = replace(recipe, precision="bfloat16").model().eval()
    low.load_state_dict(model.state_dict())
    vectors = model.embedding(batch.words)
    found, expected = (one.decoder.convolutions(vectors, batch.present) for one in (low, model))
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.05)
    assert not torch.equal(found, expected)


def test_ratings_depend_on_selected_words_alone(data):
    model, batch = model_and_batch(tiny(data))
    vectors, selected = model.embedding(batch.words), predicted(model, batch)[0]
    changed = torch.where(selected.unsqueeze(-1), vectors, vectors + 7)
    expected = model.decoder(vectors, selected.float(), batch.present)
    assert torch.equal(model.decoder(changed, selected.float(), batch.present), expected)
    assert not torch.equal(model.decoder(2 * vectors, selected.float(), batch.present), expected)


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


def test_errors_are_of_rated_and_precision_of_annotated_reviews(data):
    model, batch = model_and_batch(tiny(data), count=6)
    ratings = torch.tensor([0.1, 0.2, 0.3, math.nan, math.nan, math.nan])
    mixed = replace(batch, ratings=ratings, annotated=ratings.isnan())
    with torch.no_grad():
        metrics = model.summarize(model.evaluate(mixed))
    selected, rating = predicted(model, batch)
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
        predicted(model, batch)


# Metrics


def test_runs_by_hand():
    selected = torch.tensor([[True, False, True, True], [False, True, False, False]])
    assert run_length(selected).tolist() == [1.5, 1.0]


@pytest.mark.parametrize(("length", "k"), [(1, 1), (5, 1), (5, 2), (7, 4), (6, 6), (3, 10)])
def test_runs_by_chance_are_the_mean_over_all_subsets(length, k):
    subsets = torch.tensor(list(itertools.combinations(range(length), min(k, length))))
    selected = torch.zeros(len(subsets), length).scatter(1, subsets, 1.0).bool()
    assert chance_run_length(length, k) == pytest.approx(run_length(selected).mean().item())


def test_the_ridge_finds_the_words_that_say_the_rating(tmp_path, capsys):
    corpus = made_up(600, 200, 200)
    write_corpus(corpus, "synthetic", tmp_path)
    assert cli.main(["reference", "--data", str(tmp_path), "--aspect", "rooms", "--k", "3"]) == 0
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("13.67", "21.1% (chance)", "3.69", "100.0%", "penalty 30", "3.60"))


# Runs


@pytest.mark.parametrize("relaxation", NAMES)
@pytest.mark.parametrize("encoder", ["simple", "complex"])
def test_every_combination_trains_and_reports(tmp_path, data, relaxation, encoder):
    recipe = tiny(data, relaxation, encoder=encoder, precision="bfloat16" if encoder == "complex" else "float32")
    result = train(recipe, tmp_path)
    assert all(math.isfinite(result[name]) for name in ("test/mse", "test/sampled_mse", "valid/mse"))
    assert result["test/mse_x100"] == pytest.approx(100 * result["test/mse"])
    assert 0 <= result["test/subset_precision"] <= 1 <= result["test/run_length"] <= 3
    assert 0 < result["chance/subset_precision"] < 1
    expected = {"relaxation": relaxation, "encoder": encoder, "k": 3, "aspect": "rooms", "source": "synthetic"}
    expected |= {"preset": "quick", "steps": 8, "embeddings": "random", "test_reviews": 150}
    assert expected.items() <= result.items()
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
    start = LearningToExplain(data_folder=str(data), aspect="rooms")
    presets = {name: replace(start, preset=name).with_preset() for name in ("quick", "cpu", "paper")}
    for recipe in presets.values():
        recipe.check()
    expected = {"quick": (10, "exact", "bfloat16"), "cpu": (40, "exact", "bfloat16")}
    expected["paper"] = (100, "finite-difference", "float32")
    assert {name: (one.steps, one.gradient, one.precision) for name, one in presets.items()} == expected
    paper = presets["paper"]
    assert (paper.valid_every, paper.batch_size, paper.restarts) == (10, 100, 1)
    assert (paper.max_words, paper.dropout) == (350, 0.1)
    assert replace(start, preset="paper", relaxation="cat").with_preset().gradient == "exact"
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
        ({"relaxation": "soft-sub", "estimator": "i-mle"}, "expected 'sst' for relaxation soft-sub"),
        ({"lr_final": 2.0}, r"lr_final is 2\.0, expected at most 1"),
    ],
)
def test_values_that_do_not_fit_are_refused(data, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(data, **changes).check()


def with_rooms(folder, split, **changes):
    """Prepared reviews of rooms after a change to one of their splits."""
    vocabulary, aspects = made_up(60, 10, 10)
    splits = list(aspects["rooms"])
    splits[split] = replace(splits[split], **changes)
    write_corpus((vocabulary, {"rooms": splits}), "synthetic", folder)
    return folder


def test_reviews_without_annotations_have_no_precision_and_equal_ratings_no_variance(tmp_path, capsys):
    changes = {"annotated": torch.zeros(10, dtype=torch.bool), "ratings": torch.full((10,), 0.5)}
    data = with_rooms(tmp_path / "data", 2, **changes)
    result = train(tiny(data), tmp_path / "run")
    assert result["chance/subset_precision"] is result["test/subset_precision"] is None
    assert result["test/explained_variance"] is None
    assert result["test/mse"] > 0
    assert result["chance/run_length"] >= 1
    for command, expected in (
        (["evaluate", str(tmp_path / "run")], "–"),
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
    chosen = ("--data", str(with_rooms(tmp_path / "data", split, ratings=ratings)), "--aspect", "rooms")
    for command in (["train", "l2x", *chosen, "--out", str(tmp_path / "run")], ["reference", *chosen]):
        assert cli.main(command) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
