class ConvergenceWarning(RuntimeWarning):
    """An iterative solver stopped short of its tolerance; what it returned is a point of conv 𝒳 all the same.

    Args:
        solver: What stopped short.
        problems: How many problems of the batch it concerns.
        gap: The largest of their gaps or residuals, in the unit that the solver states.
        tolerance: What the gap should have been at most.
        steps: After how many steps the solver gave up.

    Example:
        >>> from sstricks.solvers.convergence import ConvergenceWarning
        >>> print(ConvergenceWarning("Frank-Wolfe", problems=2, gap=0.5, tolerance=1e-6, steps=10))
        Frank-Wolfe: found a gap of 0.5 in 2 problems after 10 steps, expected at most 1e-06. Raise the temperature...
    """

    def __init__(self, solver: str, *, problems: int, gap: float, tolerance: float, steps: int) -> None:
        self.solver = solver
        self.problems = problems
        self.gap = gap
        self.tolerance = tolerance
        self.steps = steps
        super().__init__(
            f"{solver}: found a gap of {gap:.3g} in {problems} problems after {steps} steps, expected at most "
            f"{tolerance:.3g}. Raise the temperature, allow more steps or a larger tolerance."
        )
