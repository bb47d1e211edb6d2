import dataclasses
import json
import math

import pytest
import torch

from sstricks import cli
from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.corpus import digest_of, write_corpus
from sstricks.experiments.l2x.overrides import L2XOverrides
from sstricks.experiments.l2x.presets import with_preset
from sstricks.experiments.l2x.run import L2XRun, trained
from sstricks.experiments.l2x.subsets import BESPOKE, SUBSETS
from sstricks.experiments.l2x.synthetic import synthetic_corpus
from sstricks.experiments.runs.errors import RunError
from sstricks.experiments.runs.metrics import read_metrics
from sstricks.experiments.runs.progress import Silence
from sstricks.experiments.runs.run import evaluate, train

RELAXATIONS = tuple(SUBSETS)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews") / "data"
    write_corpus(synthetic_corpus(1000, 120, 150, seed=0), folder)
    return folder


def tiny(data, relaxation="corr-top-k", encoder="simple", **changes):
    small = {
        "data_digest": digest_of(data, "rooms"),
        "source": "synthetic",
        "aspect": "rooms",
        "k": 3,
        "preset": "quick",
    }
    sizes = {"batch_size": 20, "steps": 8, "valid_every": 4, "lr": 1e-3}
    return L2XConfig(data=str(data), relaxation=relaxation, encoder=encoder, **{**small, **sizes, **changes})


def run(config, path, *, resume=False):
    return train(L2XRun(config), path, resume=resume, jobs=1, display=Silence())


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("encoder", ["simple", "complex"])
def test_every_combination_trains_and_reports(tmp_path, data, relaxation, encoder):
    config = tiny(data, relaxation, encoder, precision="bfloat16" if encoder == "complex" else "float32")
    result = run(config, tmp_path)
    for name in ("test/mse", "test/subset_precision", "test/run_length", "valid/mse", "test/sampled_mse"):
        assert math.isfinite(result[name])
    assert result["test/mse_x100"] == pytest.approx(100 * result["test/mse"])
    assert 0 <= result["test/subset_precision"] <= 1
    assert 1 <= result["test/run_length"] <= 3
    assert 0 < result["chance/subset_precision"] < 1
    expected = {"relaxation": relaxation, "encoder": encoder, "k": 3, "aspect": "rooms", "source": "synthetic"}
    expected |= {"preset": "quick", "seed": 0, "steps": 8, "embeddings": "random", "test_reviews": 150}
    assert {name: result[name] for name in expected} == expected
    assert "version" in result
    assert "data" not in result  # which is a path
    assert (tmp_path / "curves.png").exists()
    assert L2XConfig.from_json(json.loads((tmp_path / "config.json").read_text())) == config
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 8]


@pytest.mark.parametrize("relaxation", RELAXATIONS)
def test_the_planted_words_are_found(tmp_path, data, relaxation):
    result = run(tiny(data, relaxation, steps=350, valid_every=50, lr=2e-2, temperature=0.5), tmp_path)
    assert result["test/subset_precision"] > 2.5 * result["chance/subset_precision"]
    assert result["test/explained_variance"] > 0.5
    if relaxation == "corr-top-k":
        assert result["test/run_length"] > 1.5 * result["chance/run_length"]


@pytest.mark.parametrize("relaxation", [name for name in RELAXATIONS if name not in BESPOKE])
def test_finite_differences_train_as_the_exact_gradient_does(data, relaxation):
    gradients = []
    for gradient in ("exact", "finite-difference"):
        experiment = L2XRun(tiny(data, relaxation, gradient=gradient, dropout=0.0))
        model = experiment.module()
        torch.manual_seed(0)
        batch = experiment.data().splits.train.select(torch.arange(20), 350, 3)
        model.log_dict = lambda *_, **__: None
        model.training_step(batch, 0).backward()
        gradients.append(model.encoder.unary.weight.grad)
    assert torch.allclose(*gradients, atol=1e-6)
    assert gradients[0].abs().max() > 1e-5


def test_the_test_has_hard_masks_and_no_noise(data):
    experiment = L2XRun(tiny(data, temperature=1e6))
    model = experiment.module().eval()
    batch = experiment.data().splits.test.select(torch.arange(10), 350, 3)
    selected, rating = model.explain(batch)
    assert selected.dtype == torch.bool
    assert selected.sum(-1).tolist() == [3] * 10
    assert torch.equal(model.explain(batch)[1], rating)


def test_errors_are_of_rated_and_precision_of_annotated_reviews(data):
    model = L2XRun(tiny(data)).module().eval()
    splits = L2XRun(tiny(data)).data().splits
    batch = splits.test.select(torch.arange(6), 350, 3)
    ratings = torch.tensor([0.1, 0.2, 0.3, math.nan, math.nan, math.nan])
    mixed = dataclasses.replace(batch, ratings=ratings, annotated=torch.tensor([False] * 3 + [True] * 3))
    logged = {}
    model.log_dict = lambda values, **_: logged.update(values)
    model.on_test_start()
    model.test_step(mixed, 0)
    model.on_test_epoch_end()
    selected, rating = model.explain(batch)
    hits = (selected & batch.relevant)[3:].sum(-1) / 3
    assert logged["test/mse"] == pytest.approx((rating[:3] - ratings[:3]).square().mean().item())
    assert logged["test/subset_precision"] == pytest.approx(hits.mean().item())


def test_an_interrupted_run_resumes_to_the_same_result(tmp_path, data):
    whole = run(tiny(data, steps=12), tmp_path / "whole")
    broken = L2XRun(tiny(data, steps=12))
    original = type(broken.module()).training_step

    def interrupted(self, batch, batch_idx):
        if self.global_step == 6:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(broken.module()), "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(broken.config, tmp_path / "broken")
    resumed = run(broken.config, tmp_path / "broken", resume=True)
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}


def test_evaluation_repeats_the_result(tmp_path, data):
    result = run(tiny(data), tmp_path)
    again, finished = evaluate(L2XRun(tiny(data)), tmp_path)
    assert finished
    assert again == result


def test_the_trained_model_is_the_best_one(tmp_path, data):
    run(tiny(data), tmp_path)
    model = trained(L2XRun(tiny(data)), tmp_path)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert not model.training
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())


def test_a_run_is_not_continued_on_other_reviews(tmp_path, data):
    run(tiny(data), tmp_path / "run")
    write_corpus(synthetic_corpus(100, 12, 15, seed=1), tmp_path / "other")
    other = L2XRun(dataclasses.replace(tiny(data), data=str(tmp_path / "other")))
    for use in (lambda: other.data().splits, lambda: trained(other, tmp_path / "run")):
        with pytest.raises(RunError, match="not those that the run was started with"):
            use()


def test_trials_go_through_the_temperatures(tmp_path, data):
    result = run(tiny(data, trials=2, trial_steps=4, trial_temperatures=(0.5, 2.0)), tmp_path)
    assert result["trials"] == 2
    assert result["temperature"] == (0.5, 2.0)[result["trial"]]


def test_frozen_embeddings_stay(data):
    model = L2XRun(tiny(data, train_embeddings=False)).module()
    optimizer = model.configure_optimizers()["optimizer"]
    assert all(p is not model.embedding.weight for group in optimizer.param_groups for p in group["params"])


def test_diverged_parameters_are_told(data):
    experiment = L2XRun(tiny(data))
    model = experiment.module()
    with torch.no_grad():
        model.encoder.unary.weight.fill_(math.nan)
    with pytest.raises(RunError, match=r"diverged at step 0.*Lower --lr"):
        model.explain(experiment.data().splits.test.select(torch.arange(2), 350, 3))


@pytest.mark.parametrize("preset", ["paper", "cpu", "quick"])
def test_presets_go_through_whole_epochs(data, preset):
    config = with_preset(tiny(data), preset, 301)
    assert config.preset == preset
    assert config.steps % config.valid_every == 0
    assert config.steps >= 301 * {"paper": 10, "cpu": 4, "quick": 1}[preset]
    assert L2XConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_overrides_are_fields_of_the_configuration():
    fields = {field.name for field in dataclasses.fields(L2XConfig)}
    assert {field.name for field in dataclasses.fields(L2XOverrides)} <= fields
    assert L2XOverrides(lr=0.5, temperature=2.0).given() == {"lr": 0.5, "temperature": 2.0, "trial_temperatures": ()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k is 0, expected a number above 0"),
        ({"k": 400}, "k is 400, expected at most max_words=350"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"relaxation": "l2x", "gradient": "finite-difference"}, "relaxation is 'l2x', which is no stochastic softmax"),
        ({"finite_difference_eps": 0.1}, "expected no ε"),
        ({"lr_final": 2.0}, "change lr_share or lr_final"),
        ({"steps": 9}, "steps is 9, expected a multiple of valid_every=4"),
        ({"trials": 8, "trial_steps": 4}, "steps is 8, expected at least 16"),
    ],
)
def test_values_that_do_not_fit_are_refused(data, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(data, **changes)


def alike(splits, **ratings):
    """Splits of which some have one rating only, and no annotations."""
    changed = {name: dataclasses.replace(getattr(splits, name), ratings=value) for name, value in ratings.items()}
    return dataclasses.replace(splits, **changed)


@pytest.fixture
def written(tmp_path):
    """Writes prepared reviews of rooms after a change."""

    def write(change):
        corpus = synthetic_corpus(60, 10, 10, seed=0)
        folder = tmp_path / "changed"
        write_corpus(dataclasses.replace(corpus, aspects={"rooms": change(corpus.aspects["rooms"])}), folder)
        return folder

    return write


def without_annotations(splits):
    test = splits.test
    bare = dataclasses.replace(test, annotated=torch.zeros_like(test.annotated))
    return dataclasses.replace(splits, test=bare)


def test_reviews_without_annotations_have_no_precision(tmp_path, written, capsys):
    data = written(without_annotations)
    result = run(tiny(data), tmp_path / "run")
    assert result["chance/subset_precision"] is result["test/subset_precision"] is None
    assert result["test/mse"] > 0
    assert result["chance/run_length"] >= 1
    capsys.readouterr()
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "precision –" in " ".join(printed.split())
    assert cli.main(["reference", "--data", str(data), "--aspect", "rooms"]) == 0
    printed = capsys.readouterr().out
    assert "nan" not in printed
    assert "no test review has any" in printed
    assert cli.main(["table", "l2x", str(tmp_path / "run")]) == 0
    assert "–" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("split", "ratings", "message"),
    [
        ("valid", torch.tensor([0.5] + 9 * [math.nan]), "valid split of rooms has 1 rated reviews"),
        ("valid", torch.full((10,), 0.5), "10 rated reviews with 1 different ratings, expected at least 2"),
        ("test", torch.full((10,), math.nan), "test split of rooms has 0 rated reviews"),
    ],
)
def test_too_few_ratings_are_refused_before_the_training(tmp_path, written, capsys, split, ratings, message):
    data = written(lambda splits: alike(splits, **{split: ratings}))
    train_it = ["train", "l2x", "--data", str(data), "--aspect", "rooms", "--out", str(tmp_path / "run")]
    for command in (train_it, ["reference", "--data", str(data), "--aspect", "rooms"]):
        assert cli.main(command) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_an_empty_split_is_refused_before_the_training(tmp_path, written, capsys):
    data = written(lambda splits: dataclasses.replace(splits, test=splits.test.take(torch.arange(0))))
    assert cli.main(["train", "l2x", "--data", str(data), "--aspect", "rooms", "--out", str(tmp_path / "run")]) == 2
    assert "test split of rooms has 0 rated reviews" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_ratings_that_do_not_vary_explain_nothing(tmp_path, written):
    data = written(lambda splits: alike(splits, test=torch.full((10,), 0.5)))
    result = run(tiny(data), tmp_path / "run")
    assert result["test/explained_variance"] is None
    assert result["test/mse"] >= 0
