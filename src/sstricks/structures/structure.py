from abc import abstractmethod
from copy import copy
from math import isfinite, log10
from typing import Any, Self

import torch
from torch import Tensor

from sstricks.errors import check_floating, check_sizes, check_temperature, check_tensor, invalid, joint_shape
from sstricks.functional.checks import check_mask
from sstricks.functional.utility import from_working, scaled_checked
from sstricks.ops.operator import is_readable
from sstricks.ops.oracles import Oracle
from sstricks.regularizers import ExponentialFamilyEntropy, Regularizer
from sstricks.solvers.registry import NoSolverError, Solver, find_solver, no_family, solver_for
from sstricks.structures.best import Best, k_best, max_marginals

_MOST_CANDIDATES = 2_000_000


class Structure(Oracle):
    r"""A finite, convex independent set 𝒳 ⊂ ℝⁿ of embeddings of combinatorial objects (Sec. 2, Def. 1).

    .. math:: X = \operatorname{argmax}_{x \in \mathcal{X}} U^\top x, \qquad
              X_t = \operatorname{argmax}_{x \in \operatorname{conv} \mathcal{X}} U^\top x - t f(x)

    A subclass supplies `_argmax`, `_contains`, `_support` and, where it can, `_log_partition`, `_sample` and
    `_log_softmax`, all for scaled utilities in which absent coordinates are −∞, and registers a solver for each
    regularizer it has one for. Masks, infinities, dtypes, temperatures and batch dimensions are dealt with here.

    Embeddings are of zeros and ones. A subclass of which they are not says so by the class attribute
    `is_binary = False`. Then `_contains` gets points as they are, in any dtype, `max_marginals` and `k_best` are not
    defined, and an entropy is a regularizer only where it is convex (`SeparableRegularizer.domain`). An absent
    coordinate is 0 in all embeddings there, too.

    In a `torch.nn.Module` a structure is an attribute like any other: `module.to(device)` need not move it, since it
    follows the utilities to their device. Its mask and edges are in the module's `state_dict` if they are registered:
    `self.register_buffer("mask", mask)` and, after `load_state_dict`, `structure.masked(self.mask)`.

    Args:
        event_shape: The shape of an embedding x.
        mask: False where a coordinate is absent from 𝒳, that is 0, shape (*batch_shape, *event_shape).
        at_least: How many coordinates must be present for 𝒳 not to be empty.
    """

    _may_have_unused_coordinates = True
    """Whether there may be present coordinates that are positive in no embedding; `log_partition` then asks."""

    _compares_only = False
    """Whether the argmax does no sums, so that it may as well be taken in the dtype of the utilities."""

    def __init__(self, event_shape: tuple[int, ...], mask: Tensor | None, at_least: int) -> None:
        self.event_shape = torch.Size(event_shape)
        self.batch_shape = torch.Size()
        self.mask = None
        self._at_least = at_least
        if mask is not None:
            self._take_mask(mask)

    def __repr__(self) -> str:
        mask = "" if self.mask is None else f", mask of shape {tuple(self.mask.shape)}"
        return f"{type(self).__name__}({self._arguments()}{mask})"

    def masked(self, mask: Tensor) -> Self:
        """The same structure with a further mask: a coordinate is present where both masks are True.

        Utilities of −∞ are a mask as well: `structure.masked(u > -torch.inf)` is the structure whose vertices
        `argmax(u)` returns, and knows which nodes of a graph are left.

        Args:
            mask: False where a coordinate is absent from 𝒳, shape (*batch, *event_shape).

        Raises:
            ValueError: The mask has the wrong shape or dtype, or leaves 𝒳 empty.

        Example:
            >>> u = torch.tensor([1.0, -torch.inf, -torch.inf])
            >>> trees = sst.SpanningTree.complete(3)
            >>> trees.contains(trees.argmax(u)), trees.masked(u > -torch.inf).contains(trees.argmax(u))
            (tensor(False), tensor(True))
        """
        check_mask(mask, self.event_shape)
        if self.mask is not None:
            joint_shape("mask", mask.shape, self.batch_shape, "mask so far", mask.shape[: -len(self.event_shape)])
            mask = mask & self.mask.to(mask.device)
        other = copy(self)
        other._take_mask(mask)
        other._check_not_empty("mask")
        return other

    def to(self, device: torch.device | str) -> Self:
        """The same structure with its own copies of all tensors (mask, edges) on a device.

        A structure works on utilities of any device, and copies its tensors to a device where it meets the first ones.

        Args:
            device: The device.

        Example:
            >>> sst.SpanningTree.complete(3).to("cpu").edges.device
            device(type='cpu')
        """
        if not isinstance(device, torch.device | str | int):
            raise invalid("device", repr(device), "a device, as in 'cuda'", "Dtypes follow the utilities.")
        other = copy(self)
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        vars(other).update({name: value.to(device, copy=True) for name, value in tensors.items()})
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_copies"}

    def placed(self, name: str, device: torch.device) -> Tensor:
        """One of the tensors of this structure on a device, copied there once, since each copy waits for the device.

        Args:
            name: Of the attribute: "mask", "edges".
            device: Where it is needed.

        Example:
            >>> sst.SpanningTree.complete(3).placed("edges", torch.device("cpu")).shape
            torch.Size([2, 3])
        """
        tensor: Tensor = vars(self)[name]
        if tensor.device == device or torch.compiler.is_compiling():
            return tensor.to(device)
        copies: dict[tuple[str, torch.device], Tensor] = vars(self).setdefault("_copies", {})
        if (name, device) not in copies:
            copies[name, device] = tensor.to(device)
        return copies[name, device]

    def argmax(self, u: Tensor) -> Tensor:
        """The embedding x ∈ 𝒳 of largest uᵀx (eq. 4). Ties go to the coordinates with the lower indices.

        Args:
            u: Utilities, shape (*batch, *event_shape). −∞ is an absent coordinate, +∞ comes before everything finite.

        Returns:
            A vertex, shape and dtype of u (with the batch dimensions of the mask), without gradient.

        Raises:
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.
        """
        u = check_tensor("u", u).detach()
        if self._compares_only and self.mask is None and is_readable(u) and u.dtype in (torch.float32, torch.float64):
            self.check_shape("u", u)
            if isfinite(u.sum().item()):  # there is nothing to complain of
                return self._argmax(u)
        return self._returned(self._argmax(self.scaled(u, 1.0)), u)

    def softmax(
        self, u: Tensor, temperature: Tensor | float, regularizer: Regularizer, *, solver: Solver | None = None
    ) -> Tensor:
        """The point x of conv 𝒳 with the largest uᵀx − t·f(x) (eq. 6), differentiable in u and t, in both modes.

        Args:
            u: Utilities, shape (*batch, *event_shape).
            temperature: t ≥ 0, a number, or a tensor that broadcasts with (*batch). At t = 0 this is the argmax.
            regularizer: f.
            solver: What to use instead of the solver registered for this structure and regularizer.

        Returns:
            A point of conv 𝒳, shape and dtype of u.

        Raises:
            NoSolverError: No solver is registered for the pair, and none was given.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty; t is negative or NaN; the solver is none.
        """
        solver = solver_for(self, regularizer, solver)
        if not isinstance(temperature, Tensor):
            temperature = check_temperature(temperature)
            if temperature == 0:  # as below: still a function of u, with gradient zero, so that annealing may end here
                x = self.argmax(u)
                return torch.where(torch.zeros((), dtype=torch.bool, device=u.device), u, x)
            return self._returned(solver(self, regularizer, self.scaled(u, temperature)), u)
        frozen = temperature == 0
        x = self._returned(solver(self, regularizer, self.scaled(u, torch.where(frozen, 1.0, temperature))), u)
        nowhere = is_readable(frozen) and not frozen.any()  # as nearly always; the argmax takes as long as a solver
        frozen = frozen.reshape(*frozen.shape, *[1] * len(self.event_shape)).to(u.device)
        return torch.where(frozen, x.detach() if nowhere else self.argmax(u), x)

    def log_softmax(self, u: Tensor, temperature: Tensor | float, regularizer: Regularizer) -> Tensor:
        """The logarithm of `softmax`, which stays finite where x itself is too small for a floating-point number.

        Args:
            u: Utilities, shape (*batch, *event_shape).
            temperature: t > 0.
            regularizer: f, `CategoricalEntropy` or `BinaryEntropy`; for `OneHot` and `Subset` the exponential family's
                as well.

        Returns:
            Shape and dtype of u; −∞ at absent coordinates.

        Raises:
            NoSolverError: The logarithm is not known without loss, as for structures other than `OneHot`, `Subset` and
                `KSubset`; their soft argmax has to do.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty; t is not positive.

        Example:
            >>> u = torch.tensor([0.0, -1e4, 2e4])
            >>> sst.KSubset(3, 2).log_softmax(u, 1.0, sst.BinaryEntropy())
            tensor([    0., -5000.,     0.])
        """
        found = self._log_softmax(self.scaled(u, temperature), regularizer)
        if found is None:
            pair = f"{type(self).__name__} with {regularizer!r}"
            raise NoSolverError(
                f"regularizer: found {pair}, expected OneHot, Subset or KSubset with an entropy of coordinates. "
                "Take softmax(...).clamp(min=tiny).log(), and mind that it loses the coordinates below tiny."
            )
        return self._returned(found, u)

    def log_partition(self, u: Tensor) -> Tensor:
        """The log-partition function A(u) = log Σ_{x∈𝒳} exp(uᵀx) of the exponential family, shape (*batch).

        Its gradient is the softmax with `ExponentialFamilyEntropy` at t = 1 (eq. 8). It is +∞ where a coordinate at +∞
        is positive in some embedding.

        Raises:
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.
        """
        check_tensor("u", u)
        if is_readable(u) and u.numel() and u.detach().amax() < torch.inf:  # as nearly always; the argmax takes as long
            return self._log_partition(self.scaled(u, 1.0)).to(u.dtype)
        u = self._without_unused(u) if self._may_have_unused_coordinates else u
        value = self._log_partition(self.scaled(u, 1.0)).to(u.dtype)
        infinite = u == torch.inf
        if self.mask is not None:
            infinite = infinite & self.placed("mask", u.device)
        return torch.where(infinite.flatten(-len(self.event_shape)).any(-1), torch.inf, value)

    def max_marginals(self, u: Tensor) -> Tensor:
        r"""The utility of the best vertex that has each coordinate, shape and dtype of u, −∞ where there is none.

        .. math:: m_i = \max_{x \in \mathcal{X}, x_i = 1} u^\top x

        It takes as many argmax calls as there are coordinates, in one batch; no gradient.

        Args:
            u: Utilities, shape (*batch, *event_shape).

        Raises:
            NotImplementedError: Embeddings are not of zeros and ones.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.

        Example:
            >>> sst.KSubset(3, 2).max_marginals(torch.tensor([1.0, 2.0, 4.0]))
            tensor([5., 6., 6.])
        """
        self._check_binary("max_marginals")
        return max_marginals(self, self.scaled(u, 1.0), u == torch.inf).to(u.dtype)

    def k_best(self, u: Tensor, k: int) -> Best:
        """The k vertices of largest uᵀx, the best first, and their values; no gradient.

        Each takes as many argmax calls as there are coordinates, in one batch (Lawler 1972).

        Args:
            u: Utilities, shape (*batch, *event_shape).
            k: How many; where 𝒳 has fewer, the rest is zero, with value −∞.

        Raises:
            NotImplementedError: Embeddings are not of zeros and ones.
            ValueError: k is below 1; u has NaN or the wrong shape, or leaves 𝒳 empty.

        Example:
            >>> sst.KSubset(3, 2).k_best(torch.tensor([1.0, 2.0, 4.0]), 2).values
            tensor([6., 5.])
        """
        self._check_binary("k_best")
        return Best(*(found.to(u.dtype) for found in k_best(self, self.scaled(u, 1.0), u == torch.inf, k)))

    def marginals(self, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        """The means of the exponential family p(x) ∝ exp(uᵀx/t): the softmax with `ExponentialFamilyEntropy` (eq. 8).

        Args:
            u: Utilities, shape (*batch, *event_shape).
            temperature: t ≥ 0.

        Raises:
            NoSolverError: The marginals of this structure are intractable.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.

        Example:
            >>> sst.SpanningTree.complete(3).marginals(torch.zeros(3))
            tensor([0.6667, 0.6667, 0.6667])
        """
        return self.softmax(u, temperature, ExponentialFamilyEntropy())

    def entropy(self, u: Tensor) -> Tensor:
        r"""The entropy of the exponential family p(x) ∝ exp(uᵀx), in nats, shape (*batch), differentiable in u.

        .. math:: H(u) = A(u) - u^\top \nabla A(u) \in [0, \log |\mathcal{X}|]

        It is found as this difference, so its absolute error is about 10⁻¹⁶ times the size of A(u).

        Raises:
            NoSolverError: The marginals ∇A of this structure are intractable.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.
        """
        marginals = find_solver(self, ExponentialFamilyEntropy())
        u_in, depth = u, len(self.event_shape)
        u = self.scaled(u, 1.0)
        x = marginals(self, ExponentialFamilyEntropy(), u)
        energy = (torch.where(u.isfinite(), u, 0.0) * x).flatten(-depth).sum(-1)
        return (self._log_partition(u) - energy).clamp(min=0.0).to(u_in.dtype)

    @torch.no_grad()
    def sample(self, u: Tensor, shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Exact samples of the exponential family p(x) ∝ exp(uᵀx), without gradient.

        Args:
            u: Natural parameters, shape (*batch, *event_shape).
            shape: How many samples of each.
            generator: What to draw from instead of torch's default generator.

        Returns:
            Vertices, shape (*shape, *batch, *event_shape), in the dtype of u.

        Raises:
            NoSolverError: No exact sampler of this structure is known.
            ValueError: u has NaN or the wrong shape, or leaves 𝒳 empty.
        """
        scaled = self.scaled(u, 1.0)
        scaled = scaled.expand(*check_sizes("shape", shape), *scaled.shape)
        return self._returned(self._sample(scaled, generator), u)

    def contains(self, x: Tensor) -> Tensor:
        """Whether x ∈ 𝒳, exactly, shape (*batch).

        It knows the mask of the structure only. For the vertices that utilities of −∞ leave, ask
        `masked(u > -torch.inf)`.

        Args:
            x: Points, shape (*batch, *event_shape).

        Raises:
            ValueError: x has the wrong shape.
        """
        self.check_shape("x", x)
        possible = (x == 0) | (x == 1) if self.is_binary else x == x  # NaN is no number
        if self.mask is not None:
            possible = possible & ((x == 0) | self.placed("mask", x.device))
        events = tuple(range(-len(self.event_shape), 0))
        # The counts of half precision end at 256.
        x = (x != 0).to(torch.float32) if self.is_binary else x
        return possible.all(dim=events) & self._contains(x)

    def enumerate_support(self) -> Tensor:
        """All embeddings x ∈ 𝒳, shape (|𝒳|, *event_shape), in torch's default dtype. For small structures only.

        Raises:
            ValueError: The mask differs from example to example, so that there is not one 𝒳.
        """
        if self.batch_shape:
            raise invalid(
                "mask",
                f"batch shape {tuple(self.batch_shape)}",
                "a mask for one structure",
                "Build one structure for each example and enumerate its support.",
            )
        if self._candidates() > _MOST_CANDIDATES:
            raise invalid(
                "enumerate_support",
                f"about 10^{log10(self._candidates()):.0f} embeddings to look through",
                f"at most {_MOST_CANDIDATES}",
                "Sample a StochasticArgmaxTrick instead, or build a smaller structure.",
            )
        support = self._support()
        support = support if self.mask is None else support[self.contains(support)]
        return support.to(torch.get_default_dtype())

    def scaled(self, u: Tensor, temperature: Tensor | float) -> Tensor:
        """The scaled utility u/t that solvers get: in the working dtype, with absent coordinates at −∞.

        Args:
            u: Utilities, shape (*batch, *event_shape).
            temperature: t > 0, a number, or a tensor that broadcasts with (*batch).

        Returns:
            u/t, shape (*batch, *event_shape) with the batch dimensions of the mask and the temperature, float64 (or
            float32 on a device without float64). A utility of +∞ becomes more than all finite ones of its row together.

        Raises:
            ValueError: u has NaN, the wrong shape or dtype, or too few present coordinates; t is not positive or does
                not broadcast.

        Example:
            >>> sst.OneHot(2, mask=torch.tensor([True, False])).scaled(torch.tensor([1.0, 2.0]), 0.5)
            tensor([2., -inf], dtype=torch.float64)
        """
        batch = self.check_shape("u", u)
        if isinstance(temperature, Tensor):
            joint_shape("temperature", temperature.shape, batch, "utilities")
        else:
            temperature = check_temperature(temperature)
        check_floating("u", u)
        depth = len(self.event_shape)
        mask = None if self.mask is None else self.placed("mask", u.device)
        if depth == 1:
            return scaled_checked(u, temperature, mask, self._at_least)
        mask = None if mask is None else mask.flatten(-depth)
        return scaled_checked(u.flatten(-depth), temperature, mask, self._at_least).unflatten(-1, self.event_shape)

    def check_shape(self, argument: str, x: Tensor) -> torch.Size:
        """The joint batch shape of x and the mask, if x has the event shape.

        Args:
            argument: What x is called.
            x: Shape (*batch, *event_shape).

        Raises:
            ValueError: x is no tensor, or has another shape.

        Example:
            >>> sst.OneHot(3).check_shape("x", torch.zeros(2, 3))
            torch.Size([2])
        """
        depth = len(self.event_shape)
        check_tensor(argument, x)
        if x.dim() < depth or x.shape[x.dim() - depth :] != self.event_shape:
            raise invalid(
                argument,
                f"shape {tuple(x.shape)}",
                f"(*batch, {', '.join(map(str, self.event_shape))})",
                f"The event shape of this {type(self).__name__} is {tuple(self.event_shape)}.",
            )
        return joint_shape(argument, x.shape, self.batch_shape, "mask", x.shape[: x.dim() - depth])

    @abstractmethod
    def _contains(self, x: Tensor) -> Tensor:
        """Whether x ∈ 𝒳, for an x that is zero where it is masked, and of zeros and ones if embeddings are."""

    @abstractmethod
    def _candidates(self) -> int:
        """How many embeddings `_support` looks through."""

    @abstractmethod
    def _support(self) -> Tensor:
        """All embeddings, regardless of the mask."""

    def _check_binary(self, wanted: str) -> None:
        if not self.is_binary:
            raise NotImplementedError(
                f"{wanted}: found {type(self).__name__}, whose embeddings are not of zeros and ones, so that a "
                "coordinate is not in or out. For small structures compare those of enumerate_support()."
            )

    def _arguments(self) -> str:
        """What `repr` shows of the constructor's arguments, the mask aside."""
        return f"event shape {tuple(self.event_shape)}"

    def _empty(self) -> tuple[str, str, str] | None:
        """Found, expected and remedy for an empty 𝒳; None if `at_least` present coordinates are enough."""
        return None

    def _take_mask(self, mask: Tensor) -> None:
        """Make a copy of this mask the structure's, if it is one of its shape and leaves enough coordinates."""
        check_mask(mask, self.event_shape)
        self.mask = mask.clone()  # the caller's may change
        self.batch_shape = mask.shape[: mask.dim() - len(self.event_shape)]
        if self._at_least > 0 and (short := mask.flatten(len(self.batch_shape)).sum(-1) < self._at_least).any():
            row = int(short.reshape(-1).nonzero()[0])
            raise invalid(
                "mask",
                f"too few present coordinates in row {row}",
                f"at least {self._at_least}",
                f"Unmask coordinates of this {type(self).__name__}, or leave the example out of the batch.",
            )

    def _check_not_empty(self, argument: str) -> None:
        """Blame this argument unless every row has an embedding, as the argmax of zeros would find."""
        if (empty := self._empty()) is None:
            return
        device = None if self.mask is None else self.mask.device
        try:
            self.argmax(torch.zeros(self.event_shape, device=device))
        except ValueError as error:
            raise invalid(argument, *empty) from error

    def _log_softmax(self, u: Tensor, regularizer: Regularizer) -> Tensor | None:
        """What `log_softmax` returns for scaled utilities, if it is known."""

    def _log_partition(self, u: Tensor) -> Tensor:
        raise no_family(self, "log_partition")

    def _sample(self, u: Tensor, generator: torch.Generator | None) -> Tensor:
        """One sample for each row of u."""
        raise no_family(self, "sample")

    def _without_unused(self, u: Tensor) -> Tensor:
        """The utilities, with 0 for the +∞ of rows in which no embedding has a coordinate at +∞."""
        infinite, events = u == torch.inf, tuple(range(-len(self.event_shape), 0))
        most = self.argmax(torch.where(u.isfinite() | infinite, infinite.to(u.dtype), u))
        matters = (infinite & (most > 0)).any(dim=events, keepdim=True)
        return torch.where(infinite & ~matters, 0.0, u)

    def _returned(self, x: Tensor, u: Tensor) -> Tensor:
        """What a solver found, in the dtype of the utilities."""
        depth = len(self.event_shape)
        if not isinstance(x, Tensor) or x.shape[x.dim() - depth :] != self.event_shape:
            found = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else repr(x)
            expected = f"points of shape {tuple(self.event_shape)}"
            remedy = "Return one for each row of the scaled utilities."
            raise invalid("solver", f"a solver that returned {found}", expected, remedy)
        if depth == 1:
            return from_working(x, u.dtype)
        return from_working(x.flatten(-depth), u.dtype).unflatten(-1, self.event_shape)
