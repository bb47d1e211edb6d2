import time
from collections.abc import Mapping
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


def progress_bars(console: Console) -> Progress:
    """Bars with a step count, what was measured last and the time left, made to fit 80 columns.

    Args:
        console: where to draw.

    Returns:
        Bars whose tasks need the field `measured`.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[measured]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=600,  # steps are counted at validations, which may be a minute apart
    )


def describe(row: Mapping[str, float | None], shown: Mapping[str, str]) -> str:
    """The interesting part of a row of metrics, in words.

    Args:
        row: the metrics by name.
        shown: a format such as "ELBO {:.0f}" for each metric to show.

    Returns:
        The metrics that the row has, one after the other.

    Example:
        >>> describe({"valid/elbo": -1020.4}, {"valid/elbo": "ELBO {:.0f}", "valid/edge_precision": "precision {:.2f}"})
        'ELBO -1020'
    """
    return "  ".join(text.format(value) for name, text in shown.items() if (value := row.get(name)) is not None)


def shown(value: float | None, text: str, factor: float = 1.0) -> str:
    """A number of a result as a table shows it.

    Args:
        value: the number; none if it was not measured, or was not finite.
        text: a format such as "{:.1%}".
        factor: to multiply it by.

    Returns:
        The text, a dash without a number.

    Example:
        >>> shown(0.123, "{:.1%}"), shown(None, "{:.1%}"), shown(0.0123, "{:.2f}", 100)
        ('12.3%', '–', '1.23')
    """
    return "–" if value is None else text.format(factor * value)


def clock(seconds: float) -> str:
    """A duration in words that are read at a glance.

    Args:
        seconds: the duration.

    Returns:
        Hours, minutes and seconds.

    Example:
        >>> clock(3725.2), clock(65)
        ('1:02:05', '1:05')
    """
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Display(Protocol):
    """Where a run shows how far it is."""

    def begin(self, title: str, step: int, total: int) -> None:
        """A training begins, or goes on, at `step` of `total`."""
        ...

    def advance(self, step: int) -> None:
        """A step was taken."""
        ...

    def measured(self, step: int, text: str) -> None:
        """A validation has ended."""
        ...

    def end(self) -> None:
        """The training has ended, or was broken off."""
        ...

    def say(self, text: str) -> None:
        """Something about the run as a whole."""
        ...


class Silence:
    """Shows nothing."""

    def begin(self, title: str, step: int, total: int) -> None:
        """Nothing."""

    def advance(self, step: int) -> None:
        """Nothing."""

    def measured(self, step: int, text: str) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


class Bar:
    """A bar on a terminal, redrawn at most ten times a second.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = progress_bars(console)
        self._task = TaskID(0)
        self._drawn = 0.0

    def begin(self, title: str, step: int, total: int) -> None:
        """Draw the bar.

        Args:
            title: what is trained.
            step: steps already taken.
            total: steps at the end.
        """
        self._bars = progress_bars(self._console)
        self._task = self._bars.add_task(title, total=total, completed=step, measured="")
        self._bars.start()

    def advance(self, step: int) -> None:
        """Move the bar.

        Args:
            step: steps taken.
        """
        now = time.monotonic()
        if now - self._drawn > 0.1:
            self._bars.update(self._task, completed=step)
            self._drawn = now

    def measured(self, step: int, text: str) -> None:
        """Write what was measured beside the bar.

        Args:
            step: steps taken.
            text: the metrics.
        """
        self._bars.update(self._task, completed=step, measured=text)

    def end(self) -> None:
        """Leave the bar as it is."""
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line.

        Args:
            text: what to print.
        """
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class Lines:
    """A line for each validation, for output that goes to a file or a pipe.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title, self._first, self._total = "", 0, 0
        self._since = time.monotonic()

    def begin(self, title: str, step: int, total: int) -> None:
        """Say what begins.

        Args:
            title: what is trained.
            step: steps already taken.
            total: steps at the end.
        """
        self._title, self._first, self._total, self._since = title, step, total, time.monotonic()
        self.say(f"{title}: step {step} of {total}")

    def advance(self, step: int) -> None:
        """Nothing: lines are kept few.

        Args:
            step: not used.
        """

    def measured(self, step: int, text: str) -> None:
        """Say what was measured, and how long the rest will take at the present pace.

        Args:
            step: steps taken.
            text: the metrics.
        """
        pace = (time.monotonic() - self._since) / max(1, step - self._first)
        left = clock(pace * (self._total - step))
        self.say(f"{self._title}: step {step}/{self._total}  {text}  {left} left")

    def end(self) -> None:
        """Nothing: the last line has said it."""

    def say(self, text: str) -> None:
        """Print a line.

        Args:
            text: what to print.
        """
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def display_on(console: Console) -> Display:
    """A bar if the console is a terminal, else lines.

    Args:
        console: where to show progress.

    Returns:
        The display.
    """
    return Bar(console) if console.is_terminal else Lines(console)
