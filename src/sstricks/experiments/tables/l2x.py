"""The tables of learning to explain, one for each aspect: Tables 3 to 6."""

from sstricks.experiments.l2x.config import L2XConfig
from sstricks.experiments.l2x.corpus import SOURCES
from sstricks.experiments.tables.description import Description, Facts, Label, Metric, Place

_ENCODERS = {"simple": Label(0, "Simple"), "complex": Label(1, "Complex")}
_RELAXATIONS = {
    "l2x": Label(0, "L2X"),
    "soft-sub": Label(1, "SoftSub"),
    "euclid": Label(2, "Euclid. Top k"),
    "cat": Label(3, "Cat. Ent. Top k"),
    "bin": Label(4, "Bin. Ent. Top k"),
    "ef-top-k": Label(5, "E.F. Ent. Top k"),
    "corr-top-k": Label(6, "Corr. Top k"),
}
_MAIN_TEXT = "aroma"


def _place(facts: Facts) -> Place:
    relaxation = _RELAXATIONS[facts["relaxation"]]
    if facts["gradient"] == "finite-difference":
        relaxation = Label(relaxation.rank + len(_RELAXATIONS), f"{relaxation.text}, fin. diff.")
    source, aspect, k = facts["source"], facts["aspect"], facts["k"]
    title = Label(0, f"Learning to explain: {SOURCES[source]}, aspect {aspect}")
    return Place(title, (_ENCODERS[facts["encoder"]], relaxation), Label(k, f"k = {k}"))


def _setup(facts: Facts) -> str:
    named = {"training": "train_reviews", "validation": "valid_reviews", "test": "test_reviews"}
    sizes = [f"{facts[name]:,} {split}" for split, name in named.items() if name in facts]
    reviews = f"{', '.join(sizes)} reviews of " if sizes else "reviews of "
    vectors = "GloVe" if facts["embeddings"] == "glove" else "random"
    return (
        f"preset {facts['preset']}, {facts['steps']:,} steps of batch {facts['batch_size']}, {reviews}at most "
        f"{facts['max_words']} words, which start from {vectors} vectors"
    )


def _is_other_data(facts: Facts) -> bool:
    return facts["source"] != "beer"


def _counterpart(facts: Facts) -> Facts:
    return {**facts, "aspect": _MAIN_TEXT} if _is_other_data(facts) else facts


def _caution(facts: Facts) -> str:
    if not _is_other_data(facts):
        return "25 runs of ten epochs a cell"
    return (
        f"25 runs of ten epochs a cell on OTHER DATA, BeerAdvocate, aspect {_MAIN_TEXT}: which relaxation is better "
        "may be compared, the numbers may not"
    )


L2X = Description(
    experiment="l2x",
    config=L2XConfig,
    monitor="valid/explained_variance",
    selected_by="MSE",
    validation=Metric("valid/mse", "validation MSE × 100", 2, 100),
    falls=True,
    subject="Learning to explain",
    metrics=(Metric("test/mse", "MSE × 100", 2, 100), Metric("test/subset_precision", "Subs. Prec.", 1, 100)),
    row_headings=("Model", "Relaxation"),
    place=_place,
    placing=frozenset({"source", "aspect", "relaxation", "encoder", "k", "gradient"}),
    tuned=frozenset(
        {
            *("lr", "lr_final", "lr_share", "weight_decay", "temperature", "finite_difference_eps", "clip", "dropout"),
        }
    ),
    setup=_setup,
    counterpart=_counterpart,
    other_data=_is_other_data,
    caution=_caution,
)
"""The squared error of ratings in [0, 1], times 100, and precision in percent (8.3)."""
