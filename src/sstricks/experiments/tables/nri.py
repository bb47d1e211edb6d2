"""The tables of graph layout: Table 1 for stochastic softmax tricks, Table 7 for score-function estimators."""

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.tables.description import Description, Facts, Label, Metric, Place

_EDGES = {
    "independent": Label(0, "Indep. Directed Edges"),
    "top-k": Label(1, "Top |V| − 1"),
    "spanning-tree": Label(2, "Spanning Tree"),
}
_ESTIMATORS = {"reinforce": Label(0, "REINFORCE"), "nvil": Label(1, "NVIL")}


def _place(facts: Facts) -> Place:
    frames = facts["num_frames"]
    edges = _EDGES[facts["edges"]]
    if facts["estimator"] == "sst":
        relaxed = edges._replace(text=f"E.F. Ent. {edges.text}") if facts["edges"] == "top-k" else edges
        return Place(Label(0, "Graph layout: stochastic softmax tricks"), (relaxed,), Label(frames, f"T = {frames}"))
    title = Label(frames, f"Graph layout: score-function estimators, T = {frames}")
    return Place(title, (edges,), _ESTIMATORS[facts["estimator"]])


def _setup(facts: Facts) -> str:
    goes_on = f", the best of {facts['trials']} initialisations goes on" if facts["trials"] > 1 else ""
    return (
        f"preset {facts['preset']}, {facts['steps']:,} steps of batch {facts['batch_size']}{goes_on}, "
        f"{facts['hidden']} hidden units, {facts['num_nodes']} nodes, {facts['train_examples']:,} training, "
        f"{facts['valid_examples']:,} validation and {facts['test_examples']:,} test examples"
    )


def _caution(facts: Facts) -> str:
    unsure = "" if facts["estimator"] == "sst" else "the paper does not say for which T; "
    return f"{unsure}20 runs of 50,000 steps a cell, 256 hidden units"


NRI = Description(
    experiment="nri",
    config=NRIConfig,
    monitor="valid/elbo",
    selected_by="ELBO",
    validation=Metric("valid/elbo", "validation ELBO per node (nats)", 0),
    falls=False,
    subject="Graph layout",
    metrics=(
        Metric("test/elbo", "ELBO", 0),
        Metric("test/edge_precision", "Edge Prec.", 1, 100),
        Metric("test/edge_recall", "Edge Rec.", 1, 100),
    ),
    row_headings=("Edge Distribution",),
    place=_place,
    placing=frozenset({"edges", "estimator", "num_frames"}),
    tuned=frozenset(
        {
            *("lr", "lr_decay", "temperature", "horizon", "no_edge_hold", "no_edge_ramp", "clip"),
            *("weight_decay", "baseline_decay"),
        }
    ),
    setup=_setup,
    counterpart=lambda facts: facts,
    other_data=lambda _: False,
    caution=_caution,
)
"""ELBO per node in nats; precision and recall in percent (8.1, C.1)."""
