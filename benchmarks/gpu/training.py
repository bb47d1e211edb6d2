"""`python -m benchmarks.gpu.training FILE DEVICE SECONDS`: a training step of graph layout at the paper's size."""

import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.record import Recorder
from benchmarks.gpu.timings import back_to_back, median
from benchmarks.nri_step import Step, observed

TARGET = 6.0  # milliseconds: the paper's 50,000 steps in five minutes


def main(path: str, device: str, seconds: str) -> None:
    note, positions = Recorder("training", Path(path)), observed().to(device)
    for precision, target in ((None, TARGET), (torch.bfloat16, None)):

        def measured(precision: torch.dtype | None = precision, target: float | None = target) -> dict[str, Any]:
            step = Step(positions, precision, 1).step
            timing = median(step, device, 3 * float(seconds))
            return {**timing, "stream_ms": back_to_back(step, device), "target_ms": target}

        note.attempt("time", f"NRI step, {precision or torch.float32}".replace("torch.", ""), measured)


if __name__ == "__main__":
    main(*sys.argv[1:])
