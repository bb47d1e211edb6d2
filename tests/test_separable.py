"""The multiplier of a separable regularizer is found in a few steps."""

import pytest
import torch

from sstricks.ops import separable


@pytest.mark.parametrize("k", [1, 3])
def test_a_projection_onto_a_vertex_takes_few_steps(k: int, monkeypatch: pytest.MonkeyPatch):
    """The bracket of the multiplier must not end where the solution is, as it does where the others are far below."""
    steps = 0
    slope = separable._flat_slope

    def counted(x: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return slope(x)

    monkeypatch.setattr(separable, "_flat_slope", counted)
    u = torch.full((2, 9), -50.0, dtype=torch.float64)
    u[:, :k] = torch.tensor([0.0, 5.0]).unsqueeze(-1)
    x = separable.capped_simplex.twin(u, k)
    assert x.tolist() == [[1.0] * k + [0.0] * (9 - k)] * 2
    assert steps <= 4
