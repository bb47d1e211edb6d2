"""What `pytest --device cuda` does, on an emulated device."""

import pytest
import torch

pytest.importorskip("triton")
import laws
from cases import Case
from devices import choose, moved
from emulated_device import DEVICE, EmulatedDevice
from problems import KSubsetProblem, tree_problem
from sstricks import Euclidean, ExponentialFamilyEntropy

CASES = [
    Case(KSubsetProblem(5, 2), Euclidean()),
    Case(tree_problem([(0, 1), (1, 2), (0, 2)]), ExponentialFamilyEntropy()),
]
SOME = [
    laws.argmax_is_a_vertex_of_the_best_value,
    laws.the_relaxation_is_the_optimum,
    laws.gradients_agree_with_the_exact_derivative,
    laws.a_batch_is_a_loop,
]


@pytest.mark.parametrize("law", SOME, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_laws_hold_on_a_device(case: Case, law: laws.Law):
    there = Case(case.problem, case.regularizer)
    with EmulatedDevice() as device:
        object.__setattr__(there, "structure", moved(case.structure, DEVICE))
        law(there)
    assert device.launches["scaled"] > 0


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pytest.UsageError, match="no GPU here"):
        choose("cuda")
