"""Bias and variance of gradient estimators on structures small enough to know the truth."""

from sstricks.diagnosis.diagnose import diagnose
from sstricks.diagnosis.leaves import Loss
from sstricks.diagnosis.result import Diagnosis
from sstricks.diagnosis.row import Row
from sstricks.diagnosis.truth import Truth

__all__ = ["Diagnosis", "Loss", "Row", "Truth", "diagnose"]
