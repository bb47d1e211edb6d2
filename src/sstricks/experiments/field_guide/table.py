"""The (𝒳, f) table as the registry has it."""

import inspect

import sstricks as sst
from sstricks.solvers import look_up

_REGULARIZERS = (
    sst.Euclidean,
    sst.CategoricalEntropy,
    sst.BinaryEntropy,
    sst.TsallisEntropy,
    sst.SeparableRegularizer,
    sst.ExponentialFamilyEntropy,
)
_HEAD = ("structure", *(f"`{f.__name__}`" for f in _REGULARIZERS), "`log_partition`, `entropy`", "`sample`")


def table_of_pairs() -> str:
    """The table of structures and regularizers in Markdown, and why some pairs have no solver."""
    structures = sorted(_structures(), key=lambda structure: structure.__name__)
    rows = [_HEAD, ("---",) * len(_HEAD), *map(_row, structures)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    for structure in structures:
        for f in _REGULARIZERS:
            reason = look_up(structure, f).reason
            if reason is not None:
                lines += ["", f"`{structure.__name__}` with `{f.__name__}`: {reason}."]
    return "\n".join(lines) + "\n"


def _structures() -> list[type[sst.Structure]]:
    public = (getattr(sst, name) for name in sst.__all__)
    return [
        item
        for item in public
        if isinstance(item, type) and issubclass(item, sst.Structure) and not inspect.isabstract(item)
    ]


def _row(structure: type[sst.Structure]) -> tuple[str, ...]:
    cells = (_cell(structure, f) for f in _REGULARIZERS)
    family = structure._log_partition is not sst.Structure._log_partition
    samples = structure._sample is not sst.Structure._sample
    return (f"`{structure.__name__}`", *cells, "exact" if family else "–", "exact" if samples else "–")


def _cell(structure: type[sst.Structure], regularizer: type[sst.Regularizer]) -> str:
    known = look_up(structure, regularizer)
    if known.solver is not None:
        return "direct" if known.iteration is None else f"iterative: {known.iteration}"
    if known.reason is not None:
        return "intractable"
    return "on request" if issubclass(regularizer, sst.SeparableRegularizer) else "–"
