"""A training step of graph layout at the paper's size: ours beside a straightforward rendition of the paper's loop."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive import nri as naive
from sstricks.recipes.harness.recipe import Recipe
from sstricks.recipes.nri import GraphLayout, Layouts, simulate

ROLLOUT = 9
PAPER = GraphLayout(preset="paper").with_preset()
WANTED = 5  # how many of our steps should fit into one of the rendition's
RENDITION = "the paper's loop"


def run(seconds: float) -> list[Row]:
    """Hold the contest; a step takes a second, so each contender gets ten times the usual budget."""
    layouts = simulate(PAPER.batch_size, PAPER.graph_nodes, PAPER.num_frames, torch.Generator().manual_seed(0))
    fast = replace(PAPER, horizon=1, precision="bfloat16")
    contenders = [
        Contender(OURS, training_step(fast, layouts), "bfloat16 products, one-step predictions"),
        Contender("sstricks, float32", training_step(replace(fast, precision="float32"), layouts)),
        Contender(f"sstricks, rolled out {ROLLOUT} frames", training_step(replace(fast, horizon=ROLLOUT), layouts)),
        Contender(RENDITION, _rendition(layouts, starts=2), "from frames 0 and 9, as written; float32"),
        Contender("the same, from frame 0 alone", _rendition(layouts, starts=1), "nothing predicted beyond the end"),
    ]
    size: dict[str, float] = {"n": PAPER.graph_nodes, "T": PAPER.num_frames, "hidden": PAPER.hidden}
    rows = Contest("training step", {**size, "batch": len(layouts)}, contenders).hold(10 * seconds)
    limit = next(row.timing.median / WANTED for row in rows if row.contender == RENDITION and row.timing)
    return [replace(row, target=limit) if row.contender == OURS else row for row in rows]


def training_step(recipe: Recipe, batch: object, device: str = "cpu") -> Callable[[], None]:
    """A step of a recipe on a batch: forward, backward, clip, optimizer."""
    torch.manual_seed(0)
    model = recipe.model().to(device)
    optimizer = model.optimizer()

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch, recipe.steps - 1)[0].backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()

    return step


def _rendition(layouts: Layouts, starts: int) -> Callable[[], float]:
    torch.manual_seed(0)
    model = naive.Model(PAPER.graph_nodes, PAPER.num_frames, PAPER.hidden, PAPER.temperature)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    return lambda: naive.training_step(model, optimizer, layouts.positions, ROLLOUT, starts)
