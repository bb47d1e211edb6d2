"""What an iterative solver says when it stops short: defined with the errors, where every layer may take it from."""

from sstricks.errors import ConvergenceWarning

__all__ = ["ConvergenceWarning"]
