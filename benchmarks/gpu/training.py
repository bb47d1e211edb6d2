"""`python -m benchmarks.gpu.training FILE DEVICE SECONDS`: a training step of graph layout at the paper's size."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.record import Recorder
from benchmarks.gpu.timings import back_to_back, median
from benchmarks.nri_step import PAPER, training_step
from sstricks.recipes.nri import simulate

TARGET = 6.0  # milliseconds: the paper's 50,000 steps in five minutes


def main(path: str, device: str, seconds: str) -> None:
    note, generator = Recorder("training", Path(path)), torch.Generator().manual_seed(0)
    layouts = simulate(PAPER.batch_size, PAPER.graph_nodes, PAPER.num_frames, generator).to(torch.device(device))
    for precision, target in (("float32", TARGET), ("bfloat16", None)):

        def measured(precision: Any = precision, target: float | None = target) -> dict[str, Any]:
            step = training_step(replace(PAPER, horizon=1, precision=precision), layouts, device)
            timing = median(step, device, 3 * float(seconds))
            return {**timing, "stream_ms": back_to_back(step, device), "target_ms": target}

        note.attempt("time", f"NRI step, {precision}", measured)


if __name__ == "__main__":
    main(*sys.argv[1:])
