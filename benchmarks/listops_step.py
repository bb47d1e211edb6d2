"""A training step of ListOps at the paper's size: ours beside a straightforward rendition."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks.contest import OURS, Contender, Contest, Row
from benchmarks.naive.listops import DenseNetwork, loss
from benchmarks.nri_step import training_step
from sstricks.recipes.listops import Expressions, ListOps, ListOpsModel

LENGTHS = (18, 22)
PAPER = ListOps(preset="paper").with_preset()
WANTED = 3  # how many of our steps should fit into one of the rendition's
RENDITION = "dense messages in torch"


def run(seconds: float) -> list[Row]:
    """Hold the contest; a step takes a tenth of a second, so each contender gets four times the usual budget."""
    train = replace(PAPER, train_examples=2_000, valid_examples=5, test_examples=5).data().train
    usual = (train.lengths >= LENGTHS[0]) & (train.lengths <= LENGTHS[1])
    batch = train[usual.nonzero().squeeze(-1)[: PAPER.batch_size]]
    exact = replace(PAPER, precision="bfloat16")
    contenders = [
        Contender(OURS, training_step(replace(exact, negligible=1e-4), batch), "as the preset cpu has it"),
        Contender("sstricks, every edge", training_step(exact, batch), "bfloat16, none negligible"),
        Contender("sstricks, every edge, float32", training_step(PAPER, batch), "as the preset paper has it"),
        Contender(RENDITION, _rendition(batch), "float32"),
    ]
    size: dict[str, float] = {"L": batch.tokens.shape[1], "hidden": PAPER.hidden, "batch": len(batch)}
    rows = Contest("training step", size, contenders).hold(4 * seconds)
    limit = next(row.timing.median / WANTED for row in rows if row.contender == RENDITION and row.timing)
    return [replace(row, target=limit) if row.contender == OURS else row for row in rows]


def _rendition(batch: Expressions) -> Callable[[], None]:
    torch.manual_seed(0)
    model, dense = ListOpsModel(PAPER), DenseNetwork(PAPER.hidden, PAPER.message_steps, PAPER.dropout)
    parameters = [*model.parameters(), *dense.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        graph = model.graphs(batch, 0)
        assert graph is not None
        loss(dense, batch.tokens, graph, batch.answers).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step
