"""The table of ListOps: Table 2."""

from sstricks.experiments.listops.config import ListOpsConfig
from sstricks.experiments.tables.description import Description, Facts, Label, Metric, Place

_MODELS = {
    None: (Label(0, "LSTM"), Label(0, "–")),
    "independent-undirected": (Label(1, "GNN on latent graph"), Label(0, "Indep. Undirected Edges")),
    "spanning-tree": (Label(1, "GNN on latent graph"), Label(1, "Spanning Tree")),
    "independent-directed": (Label(2, "GNN on latent digraph"), Label(0, "Indep. Directed Edges")),
    "arborescence": (Label(2, "GNN on latent digraph"), Label(1, "Arborescence")),
    "ground-truth": (Label(3, "GNN"), Label(0, "Ground Truth Edges")),
}
_UTILITIES = {
    None: Label(0, ""),
    "negative-exponential": Label(1, "Neg. Exp."),
    "normal": Label(2, "Gaussian"),
    "gumbel": Label(3, "Gumbel"),
}
_PERCENT = 100


def _place(facts: Facts) -> Place:
    model, edges = _MODELS[facts["edges"]]
    utility = _UTILITIES[facts["utility"]]
    shown = facts["edges"] == "arborescence" or facts["utility"] not in (None, "gumbel")
    row = Label(len(_UTILITIES) * edges.rank + utility.rank, f"{edges.text}, {utility.text}" if shown else edges.text)
    return Place(Label(0, "ListOps"), (model, row), Label(0, ""))


def _setup(facts: Facts) -> str:
    shares = [f"{facts[f'{split}_share']:.0%} of {facts[f'{split}_examples']:,}" for split in ("train", "valid")]
    return (
        f"preset {facts['preset']}, {facts['steps']:,} steps of batch {facts['batch_size']}, {facts['hidden']} hidden "
        f"units, {shares[0]} training, {shares[1]} validation and {facts['test_examples']:,} test expressions"
    )


LISTOPS = Description(
    experiment="listops",
    config=ListOpsConfig,
    monitor="valid/accuracy",
    selected_by="task accuracy",
    validation=Metric("valid/accuracy", "validation task accuracy (%)", 1, _PERCENT),
    falls=False,
    subject="ListOps",
    metrics=(
        Metric("test/accuracy", "Task Acc.", 1, _PERCENT),
        Metric("test/edge_precision", "Edge Precision", 1, _PERCENT),
        Metric("test/edge_recall", "Edge Recall", 1, _PERCENT),
    ),
    row_headings=("Model", "Edge Distribution"),
    place=_place,
    placing=frozenset({"model", "edges", "utility"}),
    tuned=frozenset(
        {
            *("lr", "lr_decay", "weight_decay", "temperature", "final_temperature", "negligible", "clip", "dropout"),
        }
    ),
    setup=_setup,
    counterpart=lambda facts: facts,
    other_data=lambda _: False,
    caution=lambda _: "20 runs of 50 epochs a cell; its edges other than arborescences have Gumbel utilities",
)
"""All in percent; edges from and to closing brackets do not count (8.2)."""
