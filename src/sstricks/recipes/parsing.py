"""Dependency parsing on real trees, supervised and latent (ours; the paper's ListOps in natural language).

A bi-LSTM reads a sentence and a biaffine layer scores every edge from a head to a dependent (Dozat and Manning 2017).
Supervised, the scores are trained by the exact log-likelihood of the gold tree under the exponential family of
arborescences, or of projective ones. Latent, nobody sees a tree: some words are hidden, and their parts of speech are
predicted from the other words by messages along a sampled tree. Either way the tree that the scores prefer is compared
with the gold one. It shows masks, batches of sentences of many lengths, decoding, and what real lengths cost.

    sst train parsing --data FOLDER --out runs/parser     # FOLDER has *train*, *dev* and *test* as .conllu or .jsonl.gz
"""

import functools
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

import sstricks as sst
from sstricks.estimators import Reinforce, draw_action
from sstricks.recipes.harness import recipe as harness
from sstricks.recipes.harness.commands import main
from sstricks.recipes.harness.files import RunError
from sstricks.recipes.harness.recipe import Data, Model, Recipe, check_finite, draw_soft, fold_in

Trees = sst.Arborescence | sst.ProjectiveArborescence
PAD, ROOT, UNKNOWN, HIDDEN = range(4)  # of which the first two stand for no word


@dataclass(frozen=True, kw_only=True)
class Parsing(Recipe):
    """Parse sentences: with gold trees, or as a latent variable of a model that predicts the tags of hidden words."""

    name: ClassVar = "parsing"
    monitor: ClassVar = "valid/score"
    shown: ClassVar = {"valid/uas": "UAS {:.3f}", "valid/tag_accuracy": "tags {:.3f}"}

    data_folder: Annotated[str, tyro.conf.arg(name="data", metavar="PATH")] = ""
    """Folder with a treebank: train, dev and test as CoNLL-U (.conllu) or as JSON lines (.jsonl.gz)."""
    task: Literal["supervised", "latent"] = "supervised"
    """Whether gold trees are given in training."""
    tree: Literal["arborescence", "projective"] = "arborescence"
    """Which trees there are; non-projective gold trees are left out of projective training."""
    single_root: bool = False
    """Whether one word of each sentence hangs from the root; gold trees with several are left out of training."""
    estimator: Literal["sst", "straight-through", "i-mle", "identity", "spigot", "simple", "reinforce"] = "sst"
    """Of the gradient through latent trees: relaxed samples (sst), or as in docs/estimators.md."""
    preset: Literal["quick", "cpu"] = "quick"
    """quick: a minute or two on 2 cores. cpu: several passes over a treebank of 12,000 sentences."""
    max_words: int = 60
    """Longer sentences are left out of training."""
    embedding: int = 100
    """Size of embeddings."""
    hidden: int = 200
    """Units of the LSTM, in each direction."""
    biaffine: int = 100
    """Size of the representations as head and as dependent."""
    dropout: float = 0.33
    """Share of features that are set to zero in training."""
    hide: float = 0.15
    """Share of the words that are hidden in the latent task."""
    temperature: float = 1.0
    """Temperature of the relaxation; the step of i-mle and spigot."""

    def with_preset(self) -> Self:
        """Values that reach 84 UAS on English in a few passes."""
        quick = replace(self, steps=400, valid_every=100, batch_size=32, lr=2e-3, lr_decay=1.0, clip=5.0)
        return replace(quick, steps=2_400, valid_every=400) if self.preset == "cpu" else quick

    def check(self) -> None:
        super().check()
        self.check_positive("max_words", "embedding", "hidden", "biaffine", "temperature")
        self.check_range("dropout", "hide", least=0, below=1)
        if self.task == "supervised" and self.estimator != "sst":
            raise ValueError(f"estimator is {self.estimator!r}, but gold trees need none: pass --task latent.")
        read_treebank(self.data_folder)

    @property
    def title(self) -> str:
        return f"{self.task} {self.tree}" + (f" {self.estimator}" if self.task == "latent" else "")

    def space(self) -> dict[str, Any]:
        from ray import tune

        space = {"lr": tune.loguniform(5e-4, 5e-3)}
        return {**space, "temperature": tune.loguniform(0.3, 3.0)} if self.task == "latent" else space

    def model(self) -> "Parser":
        return Parser(self, read_treebank(self.data_folder)[0])

    def data(self) -> Data:
        bank, valid, test = read_treebank(self.data_folder)
        train = [one for one in bank.sentences if len(one.words) <= self.max_words]
        if self.task == "supervised":
            train = [one for one in train if self.tree != "projective" or is_projective(one.heads)]
            train = [one for one in train if not self.single_root or one.heads.count(0) == 1]
        return Data(Sentences(train, bank.words, bank.tags), valid, test)

    def facts(self) -> dict[str, Any]:
        """What trees score in which every word depends on the one before, or on the one after, if that is better."""
        heads = [one.heads for one in read_treebank(self.data_folder)[2].sentences]
        words = sum(map(len, heads))
        best = max(sum(h == i + shift for one in heads for i, h in enumerate(one)) for shift in (0, 2))
        return {"chance/uas": best / words, "words": words, "sentences": len(heads)}

    def draw(self, model: Any, folder: Path) -> list[Path]:
        from sstricks.recipes.drawing import draw_curves

        panels = {"Attachment score in validation": {"valid/uas": "directed", "valid/uuas": "undirected"}}
        if self.task == "latent":
            panels["Tags of hidden words"] = {"train/tag_accuracy": "training", "valid/tag_accuracy": "validation"}
        curves = draw_curves({"": folder}, panels, folder / "curves.png")
        return [curves, draw_trees(self, model, folder / "trees.png")]

    @classmethod
    def layout(cls) -> harness.Layout:
        """A table for each task: trees by estimator."""
        label, metric = harness.Label, harness.Metric
        trees = {"arborescence": label(0, "Arborescence"), "projective": label(1, "Projective Arborescence")}
        estimators = {name: label(rank, name) for rank, name in enumerate((*harness.ESTIMATORS, "reinforce"))}
        tasks = {"supervised": label(0, "Parsing: supervised"), "latent": label(1, "Parsing: latent trees")}
        return harness.Layout(
            subject="Parsing",
            selected_by="score",
            validation=metric("valid/uas", "validation UAS", 1, 100),
            falls=False,
            metrics=(metric("test/uas", "UAS", 1, 100, chance=True), metric("test/uuas", "Undirected", 1, 100)),
            rows=("Trees",),
            place=lambda facts: harness.Place(
                tasks[facts["task"]], (trees[facts["tree"]],), estimators[facts["estimator"]]
            ),
            placing=frozenset({"task", "tree", "estimator"}),
            tuned=frozenset({"lr", "lr_decay", "weight_decay", "clip", "temperature", "dropout"}),
            setup="preset {preset}, {steps:,} steps of batch {batch_size}".format_map,
            caution=lambda facts: None,
        )


# ------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Sentence:
    """Words, their parts of speech, and the head of each: 0 for the root, else counted from 1."""

    words: list[str]
    tags: list[str]
    heads: list[int]


@dataclass(frozen=True)
class Batch:
    """Sentences behind a root at place 0, padded: lengths with the root (B,), and words, tags and heads (B, n)."""

    lengths: Tensor
    words: Tensor
    tags: Tensor
    heads: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(one.to(device) for one in vars(self).values()))


class Sentences:
    """A split, in batches of about equally long sentences, with numbers of the words and of the tags of training."""

    def __init__(self, sentences: Sequence[Sentence], words: dict[str, int], tags: dict[str, int]) -> None:
        self.sentences, self.words, self.tags = sentences, words, tags
        self.lengths = torch.tensor([len(one.words) for one in sentences])

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, chosen: Tensor) -> Batch:
        some = [self.sentences[i] for i in chosen.tolist()]
        words = ([ROOT, *(self.words.get(word.lower(), UNKNOWN) for word in one.words)] for one in some)
        tags = ([0, *(self.tags.get(tag, 0) for tag in one.tags)] for one in some)
        heads = ([0, *one.heads] for one in some)
        padded = (pad_sequence(list(map(torch.tensor, rows)), batch_first=True) for rows in (words, tags, heads))
        return Batch(self.lengths[chosen] + 1, *padded)


@functools.lru_cache(maxsize=1)
def read_treebank(folder: str) -> tuple[Sentences, Sentences, Sentences]:
    """Training, validation and test split of a folder, with one vocabulary; ValueError unless each has one file."""
    if not folder:
        raise ValueError("found no treebank, expected a folder: pass --data.")
    splits = []
    for split in ("train", "dev", "test"):
        files = [file for kind in ("conllu", "jsonl.gz") for file in Path(folder).glob(f"*{split}*.{kind}")]
        if len(files) != 1:
            found = ", ".join(file.name for file in files) or "none"
            expected = f"expected one file *{split}*.conllu or *{split}*.jsonl.gz: check the folder."
            raise ValueError(f"{folder}: found {found}, {expected}")
        splits.append(read_sentences(files[0]))
    counts = Counter(word.lower() for one in splits[0] for word in one.words)
    # Words that occur but once in training are unknown, so that there is something to learn about these.
    words = {word: number for number, word in enumerate(sorted(w for w, n in counts.items() if n > 1), HIDDEN + 1)}
    tags = {tag: number for number, tag in enumerate(sorted({tag for one in splits[0] for tag in one.tags}))}
    train, valid, test = (Sentences(split, words, tags) for split in splits)
    return train, valid, test


def read_sentences(file: Path) -> list[Sentence]:
    """Sentences of a CoNLL-U file, or of JSON lines `[words, tags, heads]`, without ranges and empty nodes."""
    try:
        if file.name.endswith(".jsonl.gz"):
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                found = [Sentence(*json.loads(line)) for line in lines]
        else:
            found = []
            for block in file.read_text(encoding="utf-8").split("\n\n"):
                rows = [row for line in block.splitlines() if (row := line.split("\t"))[0].isdecimal()]
                if rows:
                    found.append(Sentence([r[1] for r in rows], [r[3] for r in rows], [int(r[6]) for r in rows]))
        if not found:
            raise ValueError("no sentence")
        for one in found:
            heads = [head for i, head in enumerate(one.heads, start=1) if 0 <= head <= len(one.words) and head != i]
            if not len(one.words) == len(one.tags) == len(one.heads) == len(heads):
                raise ValueError(f"heads {one.heads} of {len(one.words)} words")
    except (ValueError, TypeError, IndexError, OSError, EOFError) as error:
        raise RunError(f"{file}: found no treebank ({error}). Restore the file, or name another folder.") from None
    return found


def is_projective(heads: Sequence[int]) -> bool:
    """Whether no two edges cross."""
    spans = [(min(head, i), max(head, i)) for i, head in enumerate(heads, start=1)]
    return not any(a < c < b < d for a, b in spans for c, d in spans)


# ------------------------------------------------------------------------------------------------------------ model


class Parser(Model):
    """Scores of edges, and what is made of them."""

    def __init__(self, recipe: Parsing, bank: Sentences) -> None:
        super().__init__()
        self.recipe = r = recipe
        num_words, num_tags = HIDDEN + 1 + len(bank.words), len(bank.tags)
        self.words = nn.Embedding(num_words, r.embedding, padding_idx=PAD)
        self.tags = nn.Embedding(num_tags + 1, r.embedding) if r.task == "supervised" else None
        inputs = r.embedding * (2 if self.tags else 1)
        self.lstm = nn.LSTM(inputs, r.hidden, num_layers=2, batch_first=True, bidirectional=True, dropout=r.dropout)
        self.dropout = nn.Dropout(r.dropout)
        self.as_head, self.as_dependent = (nn.Linear(2 * r.hidden, r.biaffine) for _ in range(2))
        self.pair = nn.Parameter(torch.zeros(r.biaffine, r.biaffine))
        self.head = nn.Linear(r.biaffine, 1)
        self.tagger = Tagger(r.embedding, r.hidden, num_tags) if r.task == "latent" else None
        self.estimator = Reinforce() if r.estimator == "reinforce" else None

    def trees(self, batch: Batch) -> Trees:
        """The trees of each sentence, from the root over its words."""
        n = batch.words.shape[1]
        kind = sst.ProjectiveArborescence if self.recipe.tree == "projective" else sst.Arborescence.complete
        return kind(n, single_root=self.recipe.single_root).of_nodes(batch.lengths)

    def scores(self, batch: Batch, words: Tensor) -> Tensor:
        """Scores of edges, (B, n, n): entry ij of the edge from head i to dependent j."""
        inputs = self.words(words)
        if self.tags is not None:
            inputs = torch.cat([inputs, self.tags(batch.tags)], -1)
        packed = pack_padded_sequence(self.dropout(inputs), batch.lengths.cpu(), batch_first=True, enforce_sorted=False)
        features, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        features = self.dropout(features)
        heads, dependents = F.relu(self.as_head(features)), F.relu(self.as_dependent(features))
        scores = heads @ self.pair @ dependents.mT + self.head(heads)
        check_finite("the scores are", scores)
        return scores

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Supervised, the negative log-likelihood per word; latent, the cross-entropy of hidden words' tags."""
        trees = self.trees(batch)
        if self.tagger is None:
            u = trees.from_adjacency(self.scores(batch, batch.words))
            gold = trees.from_heads(batch.heads)
            loss = (trees.log_partition(u) - (u * gold).sum(-1)).sum() / (batch.lengths - 1).sum()
            return loss, {"loss": loss}
        words, hidden = self.hide(batch)
        theta = trees.from_adjacency(self.scores(batch, words))
        utility = sst.Gumbel(theta)
        trick = sst.StochasticSoftmaxTrick(trees, utility, self.recipe.temperature, sst.ExponentialFamilyEntropy())
        action = None if self.estimator is None else draw_action(trick)
        tree = action.discrete if action else draw_soft(self.recipe.estimator, trick, theta)
        logits = self.tagger(self.words(words), trees.to_adjacency(tree))
        errors = F.cross_entropy(logits.mT, batch.tags, reduction="none") * hidden
        loss = errors.sum() / hidden.sum().clamp(min=1)
        accuracy = ((logits.argmax(-1) == batch.tags) & hidden).sum() / hidden.sum().clamp(min=1)
        logged = {"loss": loss, "tag_accuracy": accuracy}
        if self.estimator is None or action is None:
            return loss, logged
        each = errors.sum(-1) / hidden.sum(-1).clamp(min=1)
        log_prob = (trees.edge_mask(batch.lengths) * utility.log_prob(action.utility)).sum(-1)
        return self.estimator(log_prob, each), logged

    def hide(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The words with some of them hidden, and which; at least one of each sentence."""
        chance = torch.rand(batch.words.shape, device=batch.words.device)
        chance = torch.where(batch.words > ROOT, chance, 2.0)
        hidden = (chance < self.recipe.hide) | (chance == chance.min(-1, keepdim=True).values)
        return torch.where(hidden, HIDDEN, batch.words), hidden

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Counts of words, of right heads, directed or not, and of right tags among the hidden words."""
        words, hidden = self.hide(batch) if self.tagger is not None else (batch.words, batch.words == HIDDEN)
        trees, found = self.parse(batch, words)
        gold = trees.to_adjacency(trees.from_heads(batch.heads))
        adjacency = trees.to_adjacency(found)
        counts = {"words": batch.lengths - 1, "right": (adjacency * gold).sum((1, 2))}
        counts["undirected"] = (adjacency * (gold + gold.mT)).sum((1, 2))
        if self.tagger is not None:
            right = self.tagger(self.words(words), adjacency).argmax(-1) == batch.tags
            counts |= {"hidden": hidden.sum(-1), "tagged": (right & hidden).sum(-1)}
        return counts

    def summarize(self, found: dict[str, Tensor]) -> dict[str, float]:
        """Shares of all words, so that long sentences count more."""
        total = {name: float(values.double().sum()) for name, values in found.items()}
        uas = total["right"] / total["words"]
        tags = total["tagged"] / total["hidden"] if self.tagger is not None else float("nan")
        score = uas if self.tagger is None else tags  # gold trees select supervised models only
        return {"score": score, "uas": uas, "uuas": total["undirected"] / total["words"], "tag_accuracy": tags}

    def parse(self, batch: Batch, words: Tensor) -> tuple[Trees, Tensor]:
        """The trees that the scores prefer, as vectors of edges."""
        trees = self.trees(batch)
        return trees, trees.argmax(trees.from_adjacency(self.scores(batch, words)))

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, with the decay of Dozat and Manning."""
        return torch.optim.Adam(self.parameters(), self.recipe.lr, (0.9, 0.9), weight_decay=self.recipe.weight_decay)


class Tagger(nn.Module):
    """Tags of words from two rounds of messages along a tree, from heads and from dependents."""

    def __init__(self, embedding: int, hidden: int, num_tags: int) -> None:
        super().__init__()
        self.start = nn.Linear(embedding, hidden)
        self.own, self.down, self.up = (nn.Linear(hidden, hidden, bias=False) for _ in range(3))
        self.out = nn.Linear(hidden, num_tags)

    def forward(self, words: Tensor, tree: Tensor) -> Tensor:
        """(B, n, d) and (B, n, n), entry ij of the edge i -> j, to logits (B, n, tags)."""
        nodes = start = self.start(words)
        for _ in range(2):
            nodes = F.relu(start + self.own(nodes) + tree.mT @ self.down(nodes) + tree @ self.up(nodes))
        return self.out(nodes)


def draw_trees(recipe: Parsing, model: Parser, path: Path, count: int = 4) -> Path:
    """Draw short test sentences, gold arcs above the words and those that were found below."""
    from sstricks.recipes import drawing

    *_, test = read_treebank(recipe.data_folder)
    readable = [i for i, one in enumerate(test.sentences) if 7 <= len(one.words) <= 14] or list(range(len(test)))
    chosen = torch.tensor(readable[:: max(1, len(readable) // count)][:count])
    batch = test[chosen].to(next(model.parameters()).device)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(fold_in(recipe.run_seed, "pictures"))
        trees, found = model.eval().parse(batch, batch.words)
    parses = []
    both = map(trees.to_adjacency, (trees.from_heads(batch.heads), found))
    for row, gold, mine in zip(chosen.tolist(), *both, strict=True):
        title = f"{int((gold * mine).sum())} of {int(gold.sum())} heads are right"
        parses.append((title, ["ROOT", *test.sentences[row].words], gold, mine))
    return drawing.draw_parses(parses, f"Test sentences: gold trees above, {recipe.title} below", path)


if __name__ == "__main__":
    main(Parsing)
