"""Parsing: treebanks, trees and scores of small made-up sentences."""

import gzip
import itertools
import json
import math

import pytest
import torch

import sstricks as sst
import sstricks_cli as cli
from recipes.outcome import result_of
from sstricks.recipes.harness.run import train
from sstricks.recipes.parsing import Parsing, is_projective, read_sentences, read_treebank

TINY = {"steps": 6, "valid_every": 3, "batch_size": 4, "embedding": 6, "hidden": 5, "biaffine": 4}
SENTENCES = [
    (["dogs", "bark"], ["NOUN", "VERB"], [2, 0]),
    (["old", "dogs", "bark", "."], ["ADJ", "NOUN", "VERB", "PUNCT"], [2, 3, 0, 3]),
    (["a", "dog", "sees", "old", "dogs"], ["DET", "NOUN", "VERB", "ADJ", "NOUN"], [2, 3, 0, 5, 3]),
    (["what", "do", "dogs", "see"], ["PRON", "AUX", "NOUN", "VERB"], [4, 4, 4, 0]),
    (["a", "hearing", "is", "held", "on", "it"], ["DET", "NOUN", "AUX", "VERB", "ADP", "PRON"], [2, 4, 4, 0, 6, 2]),
]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "bank"
    path.mkdir()
    for split in ("train", "dev", "test"):
        with gzip.open(path / f"{split}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(one) + "\n" for one in 3 * SENTENCES)
    return path


def conllu(sentences):
    text = ""
    for words, tags, heads in sentences:
        text += "# text = " + " ".join(words) + "\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n"
        rows = enumerate(zip(words, tags, heads, strict=True), start=1)
        text += "".join(f"{i}\t{w}\t{w}\t{t}\t_\t_\t{h}\tdep\t_\t_\n" for i, (w, t, h) in rows)
        text += "8.1\tghost\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
    return text


def test_both_formats_are_read_alike(folder, tmp_path):
    file = tmp_path / "en-train.conllu"
    file.write_text(conllu(3 * SENTENCES))
    assert read_sentences(file) == read_sentences(folder / "train.jsonl.gz")
    bank, *_ = read_treebank(str(folder))
    assert "hearing" in bank.words  # it occurs in three copies
    assert [is_projective(one.heads) for one in bank.sentences[:5]] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "no sentence"), ("1\tdog\n\n", "list index"), ("1\ta\ta\tX\t_\t_\t3\td\t_\t_\n", r"heads \[3\] of 1 words")],
)
def test_a_damaged_treebank_is_named(tmp_path, content, message):
    file = tmp_path / "train.conllu"
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"train.conllu: found no treebank \({message}"):
        read_sentences(file)
    (tmp_path / "train.conllu").write_text(conllu(SENTENCES))
    with pytest.raises(ValueError, match=r"found none, expected one file \*dev\*"):
        read_treebank(str(tmp_path))


@pytest.mark.parametrize("tree", ["arborescence", "projective"])
@pytest.mark.parametrize("single_root", [False, True])
def test_gold_trees_of_padded_batches_are_trees(folder, tree, single_root):
    recipe = Parsing(data_folder=str(folder), tree=tree, single_root=single_root, **TINY)
    data, model = recipe.data(), recipe.model()
    batch = data.test[torch.tensor([0, 1, 2, 3])]
    trees = model.trees(batch)
    assert trees.contains(trees.from_heads(batch.heads)).all()
    scores = torch.randn(4, 6, 6)
    found = trees.to_adjacency(trees.argmax(trees.from_adjacency(scores)))
    assert torch.equal(found.sum((1, 2)), batch.lengths.float() - 1)
    assert len(data.train) == (12 if tree == "projective" else 15)


@pytest.mark.parametrize(
    ("tree", "estimator"),
    [
        *itertools.product(("arborescence", "projective"), ("supervised", "sst", "simple", "reinforce")),
        *(("projective", name) for name in ("straight-through", "i-mle", "identity", "spigot")),
    ],
)
def test_every_task_trains_and_draws(folder, tmp_path, tree, estimator):
    task = {"task": "supervised"} if estimator == "supervised" else {"task": "latent", "estimator": estimator}
    result = train(Parsing(data_folder=str(folder), tree=tree, **task, **TINY), tmp_path / "run")
    assert 0 <= result["test/uas"] <= result["test/uuas"] <= 1
    assert (result["test/tag_accuracy"] is None) == (estimator == "supervised")
    assert (tmp_path / "run" / "trees.png").stat().st_size > 10_000
    assert result["chance/uas"] == pytest.approx(10 / 21)


def test_a_supervised_parser_learns_what_it_sees(folder, tmp_path):
    small = {**TINY, "hidden": 20, "embedding": 20, "biaffine": 20, "steps": 150, "valid_every": 50}
    result = train(Parsing(data_folder=str(folder), dropout=0.0, lr=1e-2, **small), tmp_path / "run")
    assert result["test/uas"] > 0.95


def test_the_likelihood_of_the_gold_tree_is_a_probability(folder):
    recipe = Parsing(data_folder=str(folder), dropout=0.0, **TINY)
    model, batch = recipe.model(), recipe.data().test[torch.tensor([0, 2])]
    loss, _ = model.loss(batch, 0)
    trees = model.trees(batch)
    u = trees.from_adjacency(model.scores(batch, batch.words))
    log_prob = sst.ExponentialFamily(trees, u).log_prob(trees.from_heads(batch.heads))
    assert loss.item() == pytest.approx(-log_prob.sum().item() / 7, rel=1e-5)
    assert math.exp(-7 * loss.item()) < 1


def test_the_command_trains_and_refuses_what_does_not_fit(folder, tmp_path, capsys):
    words = ["train", "parsing", "--out", str(tmp_path / "run")]
    tiny = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert cli.main([*words, "--data", str(folder), *tiny]) == 0
    assert "UAS" in capsys.readouterr().out
    assert result_of(tmp_path / "run")["task"] == "supervised"
    assert cli.main([*words, *tiny]) == 2
    assert "found no treebank, expected a folder: pass --data" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*words, "--data", str(folder), "--estimator", "reinforce"]) == 2
    assert "gold trees need none: pass --task latent" in " ".join(capsys.readouterr().err.split())
