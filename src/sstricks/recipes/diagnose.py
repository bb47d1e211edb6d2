"""`sst diagnose`: bias and variance of the gradient estimators on small random problems."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.distributions import Normal
from torch.nn.functional import softplus

import sstricks as sst
from sstricks.diagnosis import Loss
from sstricks.estimators import Estimator, Law
from sstricks.recipes.harness.commands import Flag, say
from sstricks.recipes.harness.files import RunError, check_new_files

_STRUCTURES = {
    "one-hot": lambda n, k: sst.OneHot(n),
    "subset": lambda n, k: sst.Subset(n),
    "k-subset": sst.KSubset,
    "chain-k-subset": sst.ChainKSubset,
    "matching": lambda n, k: sst.Matching(n),
    "spanning-tree": lambda n, k: sst.SpanningTree.complete(n),
    "arborescence": lambda n, k: sst.Arborescence.complete(n),
    "projective-arborescence": lambda n, k: sst.ProjectiveArborescence(n),
}
_UTILITIES = {
    "gumbel": sst.Gumbel,
    "logistic": sst.Logistic,
    "normal": lambda theta: Normal(theta, 1.0),
    "negative-exponential": lambda theta: sst.NegativeExponential(softplus(theta)),
}
_REGULARIZERS = {
    "euclidean": sst.Euclidean,
    "categorical": sst.CategoricalEntropy,
    "binary": sst.BinaryEntropy,
    "exponential-family": sst.ExponentialFamilyEntropy,
}


@dataclass(frozen=True)
class Diagnose:
    """Measure bias and variance of the gradient estimators on a small random problem, at several temperatures.

    The truth is enumerated where the law of X is known (one-hot and k-subset with gumbel or negative-exponential,
    subset with logistic utilities), else estimated, with its standard error. For a problem of your own, call
    sst.diagnose(trick, loss).
    """

    structure: Literal[tuple(_STRUCTURES)] = "one-hot"  # pyright: ignore[reportInvalidTypeForm]
    """What X is."""
    n: int = 5
    """Its size: elements, or nodes of the complete graph."""
    k: int = 2
    """How many elements a k-subset has."""
    utility: Literal[tuple(_UTILITIES)] = "gumbel"  # pyright: ignore[reportInvalidTypeForm]
    """Law of the utilities; their parameters are random."""
    regularizer: Literal[tuple(_REGULARIZERS)] = "exponential-family"  # pyright: ignore[reportInvalidTypeForm]
    """What relaxes the argmax."""
    loss: Literal["rebar", "quadratic", "network"] = "quadratic"
    """rebar: |x - 0.49|^2 (Tucker et al. 2017), linear on vertices. quadratic: random, couples the coordinates.
    network: random, one hidden layer."""
    temperatures: tuple[float, ...] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    """Where the relaxed estimators are tried."""
    estimators: Flag = False
    """Try every other estimator that the structure has as well, such as I-MLE and SIMPLE."""
    samples: int = 10_000
    """Utilities for each estimator."""
    truth_samples: int = 200_000
    """Utilities for the truth, where it must be estimated."""
    seed: int = 0
    """Random seed of the problem and of the noise."""
    out: tuple[Path, ...] = ()
    """New files to write: .csv for the numbers; .png, .svg or .pdf for the picture."""

    def run(self, console: Console) -> None:
        for path in self.out:
            path.parent.mkdir(parents=True, exist_ok=True)
        check_new_files(self.out, (".csv", ".png", ".pdf", ".svg"), force=False)
        seed, utility_of = self.seed % 2**64, _UTILITIES[self.utility]
        generator = torch.Generator().manual_seed(seed)
        columns = (TextColumn("sampling"), BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn())
        try:
            structure = _STRUCTURES[self.structure](self.n, self.k)
            theta = torch.randn(structure.event_shape, dtype=torch.float64, generator=generator).requires_grad_()
            trick = sst.StochasticSoftmaxTrick(structure, utility_of(theta), 1.0, _REGULARIZERS[self.regularizer]())
            with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
                task = bar.add_task("", total=None)
                found = sst.diagnose(
                    trick,
                    random_loss(self.loss, structure.event_shape.numel(), self.seed),
                    temperatures=self.temperatures,
                    estimators=estimators_of(structure, utility_of) if self.estimators else {},
                    samples=self.samples,
                    truth_samples=self.truth_samples,
                    generator=generator.manual_seed(seed),
                    progress=lambda done, total: bar.update(task, completed=done, total=total),
                )
        except ValueError as error:
            raise RunError(str(error)) from None
        console.print(found)
        for path in self.out:
            (found.to_csv if path.suffix == ".csv" else found.plot)(path)
            say(console, f"Written: {path}")


def estimators_of(structure: sst.Structure, utility: Law) -> dict[str, Estimator]:
    """Those of `sst.estimators` that a structure has, beside the ones that are always diagnosed."""
    making: dict[str, Callable[[], Estimator]] = {
        "I-MLE, λ = 1": lambda: sst.estimators.IMLE(structure, 1.0, utility),
        "I-MLE, λ = 10": lambda: sst.estimators.IMLE(structure, 10.0, utility),
        "AIMLE": lambda: sst.estimators.AIMLE(structure, utility=utility),
        "identity": lambda: sst.estimators.Identity(structure, utility=utility),
        "SPIGOT": lambda: sst.estimators.SPIGOT(structure, utility=utility),
        "perturbed, 8 samples": lambda: sst.estimators.PerturbedArgmax(structure, 8, utility),
        "SparseMAP": lambda: sst.estimators.SparseMarginalization(structure),
        "SIMPLE": lambda: sst.estimators.MarginalStraightThrough(structure),
        "RLOO, 4 samples": lambda: sst.estimators.ScoreFunction(structure, 4, action="family"),
    }
    if utility in (sst.Gumbel, _UTILITIES["negative-exponential"]):
        traced = {"action": "trace", "utility": utility}
        making["RLOO on traces, 4 samples"] = lambda: sst.estimators.ScoreFunction(structure, 4, **traced)
        making["RELAX, untrained"] = lambda: sst.estimators.RELAX(structure, utility=utility).eval()
    if utility is sst.Gumbel:
        making["ReinMax"] = lambda: sst.estimators.ReinMax(structure)
        making["Gumbel-Rao, t = 1"] = lambda: sst.estimators.GumbelRao(structure)
    found = {}
    for name, make in making.items():
        with contextlib.suppress(ValueError, sst.NoSolverError):  # which say that they do not take this structure
            found[name] = make()
    return found


def random_loss(name: str, size: int, seed: int) -> Loss:
    """A loss on points of `size` coordinates, (samples, *event_shape) -> (samples,)."""
    generator = torch.Generator().manual_seed((seed + 1) % 2**64)
    center = torch.rand(size, dtype=torch.float64, generator=generator)
    weight = torch.randn(2 * size, size, dtype=torch.float64, generator=generator)
    out = torch.randn(2 * size, dtype=torch.float64, generator=generator)

    def loss(x: Tensor) -> Tensor:
        if name == "rebar":
            return (x.flatten(1) - 0.49).square().sum(-1)
        hidden = (x.flatten(1) - center) @ weight.T
        return hidden.square().sum(-1) / (2 * size) if name == "quadratic" else torch.tanh(hidden) @ out

    return loss
