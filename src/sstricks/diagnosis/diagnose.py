from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.distributions import Independent

from sstricks import estimators as all_estimators
from sstricks.diagnosis.estimates import Estimator, Estimators, Sampled
from sstricks.diagnosis.leaves import Loss, find_leaves
from sstricks.diagnosis.moments import Moments
from sstricks.diagnosis.result import Diagnosis
from sstricks.diagnosis.row import Row
from sstricks.diagnosis.truth import Truth, exact_truth, family_truth, sampled_truth
from sstricks.errors import check_integer, check_number, invalid
from sstricks.tricks import StochasticArgmaxTrick, StochasticSoftmaxTrick, StraightThrough
from sstricks.tricks.known_law import known_law
from sstricks.tricks.trick import Trick
from sstricks.utilities import Masked

_CHUNK = 250
_MOST_VERTICES = 20_000
Progress = Callable[[int, int], None]


def diagnose(
    trick: Trick,
    loss: Loss,
    *,
    temperatures: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
    estimators: Mapping[str, all_estimators.Estimator] = {},
    samples: int = 10_000,
    truth_samples: int = 200_000,
    group: int = 4,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    r"""Bias and variance of the gradient estimators of a trick, at several temperatures: how to choose t.

    .. math:: g = \nabla_\theta \, \mathbb{E}[L(X)]

    is found by enumeration where `StochasticArgmaxTrick.log_prob` is known, of up to 20,000 vertices, else by a large
    sample, with its standard error. Held against it, all on the same utilities, are the relaxed estimator ∇L(X_t), the
    straight-through one, and REINFORCE without a baseline, with a moving average of the losses, and with leave-one-out
    baselines (RLOO), with the utility U as the action and, where the truth is enumerated, also with the vertex X.

    Args:
        trick: A softmax trick on one structure small enough, without batch dimensions. The gradient is taken in
            those tensors that require grad which its utility was made from. Of an argmax trick, which has no
            relaxation, the score-function estimators alone are diagnosed.
        loss: L, from samples (samples, *event) to (samples,), differentiable for the relaxed estimators.
        temperatures: The grid of t > 0 on which the relaxed estimators are tried; the trick's own does not matter.
        estimators: Others to try, by name, such as ``{"I-MLE": sst.estimators.IMLE(structure)}``. They take θ itself,
            so the utility must be made from one tensor of the event shape, and draw their own noise: give them the
            utility of the trick. Those of the exponential family are held against its gradient, which is enumerated.
        samples: How many utilities each estimator gets.
        truth_samples: How many the truth takes, where it has to be estimated.
        group: How many samples RLOO takes, ≥ 2.
        generator: Where the randomness comes from, if not from torch's default generator.
        progress: Called with how many samples are done, and of how many.

    Returns:
        The table: print it, `.plot(path)` it, or read its `.rows`.

    Raises:
        ValueError: The trick has batch dimensions, no parameter that requires grad or one that is not of the utility's
            density, or samples without a gradient to relax; the loss returns another shape or has no gradient; a
            temperature is not positive; or there are fewer samples than RLOO takes at once.

    Example:
        >>> logits = torch.tensor([0.2, 0.0, -0.5], requires_grad=True)
        >>> trick = sst.StochasticSoftmaxTrick(
        ...     sst.OneHot(3), torch.distributions.Gumbel(logits, 1.0), 1.0, sst.CategoricalEntropy()
        ... )
        >>> found = sst.diagnose(trick, lambda x: (x - 0.45).square().sum(-1), temperatures=[0.1, 1.0], samples=500)
        >>> found.truth.method
        'exact, by enumeration of 3 vertices'
    """
    trick = trick.trick if isinstance(trick, StraightThrough) else trick
    _check(trick, temperatures, samples, truth_samples, group)
    leaves = find_leaves(trick, generator)
    _check_estimators(trick, estimators, leaves)
    known = _known(trick)
    total = samples if known else samples + truth_samples
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done = min(total, done + count)
        if progress is not None:
            progress(done, total)

    if known:
        truth = exact_truth(known, loss, leaves)
    else:
        truth = sampled_truth(trick, loss, leaves, truth_samples, generator, advance)
    truths = {"argmax": truth, "sparse": truth}
    if any(other.law == "family" for other in estimators.values()):
        truths["family"] = family_truth(trick.structure, leaves[0], loss)
    every = Estimators(trick, tuple(map(float, temperatures)), group, known, estimators)
    moments: dict[Estimator, Moments] = {}
    # Whole groups go into every chunk, so that no sample is left over.
    chunk = -(-_CHUNK // group) * group
    for begin in range(0, samples, chunk):
        size = min(chunk, samples - begin)
        for estimator, estimates in every(Sampled(trick, loss, leaves, size, generator)):
            moments.setdefault(estimator, Moments(truths[estimator.law].gradient)).add(estimates)
        advance(size)
    rows = tuple(_row(one, m, truths[one.law], every.milliseconds[one]) for one, m in moments.items())
    return Diagnosis(_title(trick), truth, rows, samples, bool(estimators))


def _check(trick: Trick, temperatures: Sequence[float], samples: int, truth_samples: int, group: int) -> None:
    if not isinstance(trick, Trick):
        raise invalid("trick", f"a {type(trick).__name__}", "an argmax or softmax trick", "The loss comes second.")
    if isinstance(trick, StochasticSoftmaxTrick) and not trick.has_rsample:
        raise invalid(
            "trick",
            f"the utility {trick.utility!r}, which is not reparameterised",
            "one whose samples have a gradient, for the relaxed estimators",
            "Diagnose the StochasticArgmaxTrick: its estimators need the density alone.",
        )
    if trick.batch_shape:
        raise invalid(
            "trick", f"batch shape {tuple(trick.batch_shape)}", "()", "Diagnose one example of the batch at a time."
        )
    if not isinstance(temperatures, Iterable):
        raise invalid(
            "temperatures", repr(temperatures), "a sequence of numbers > 0", "For one alone write temperatures=[1.0]."
        )
    remedy = "At t = 0 the relaxed gradient is zero."
    if not all(check_number("temperatures", t, "numbers > 0", remedy) > 0 for t in temperatures):
        raise invalid("temperatures", tuple(temperatures), "numbers > 0", remedy)
    group = check_integer("group", group, "RLOO leaves one out of them.", low=2)
    check_integer(
        "samples", samples, f"A variance takes two estimates of 2 * group = {2 * group} samples.", low=2 * group
    )
    check_integer("truth_samples", truth_samples, "Its standard error takes several means.", low=40)


def _check_estimators(
    trick: Trick, estimators: Mapping[str, all_estimators.Estimator], leaves: tuple[Tensor, ...]
) -> None:
    if not isinstance(estimators, Mapping):
        remedy = "Write {'I-MLE': sst.estimators.IMLE(trick.structure)}."
        raise invalid("estimators", f"a {type(estimators).__name__}", "a dict of them by name", remedy)
    for name, estimator in estimators.items():
        if not isinstance(estimator, all_estimators.Estimator) or estimator.structure is not trick.structure:
            raise invalid(
                "estimators",
                f"{estimator!r} as {name!r}",
                "estimators of the trick's own structure",
                "Write {'I-MLE': sst.estimators.IMLE(trick.structure)}.",
            )
    if estimators and (len(leaves) != 1 or leaves[0].shape != trick.structure.event_shape):
        raise invalid(
            "estimators",
            f"a utility made from tensors of shapes {[tuple(leaf.shape) for leaf in leaves]}",
            f"one of shape {tuple(trick.structure.event_shape)}, of which to take the gradient",
            "Diagnose a trick such as one with the utility sst.Gumbel(theta).",
        )


def _known(trick: Trick) -> StochasticArgmaxTrick | None:
    """The argmax trick, if its law can be enumerated."""
    try:
        known_law(trick.structure, trick.utility)
        vertices = len(trick.structure.enumerate_support())
    except (NotImplementedError, ValueError):
        return None
    if vertices > _MOST_VERTICES:
        return None
    return StochasticArgmaxTrick(trick.structure, trick.utility)


def _row(estimator: Estimator, moments: Moments, truth: Truth, milliseconds: float) -> Row:
    error = (moments.variance / moments.count + float(truth.standard_error.square().sum())) ** 0.5
    numbers = (moments.bias, error, moments.variance, moments.cosine, moments.rmse)
    return Row(estimator.name, estimator.temperature, estimator.evaluations, *numbers, milliseconds, estimator.law)


def _title(trick: Trick) -> str:
    utility = trick.utility
    while isinstance(utility, Independent | Masked):
        utility = utility.base_dist if isinstance(utility, Independent) else utility.base
    words = [repr(trick.structure), f"{type(utility).__name__} utilities"]
    if isinstance(trick, StochasticSoftmaxTrick):
        words.append(type(trick.regularizer).__name__)
    return ", ".join(words)
