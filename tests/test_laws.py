"""The law suite over every registered pair."""

import pytest

import sstricks as sst
from cases import CASES, PAIR_CASES, PROBLEMS, REGULARIZERS, Case
from laws import LAWS, LAWS_OF_STRUCTURES, Law
from sstricks.solvers import registered_pairs

SEPARABLE = (
    sst.Euclidean,
    sst.CategoricalEntropy,
    sst.BinaryEntropy,
    sst.TsallisEntropy,
    sst.SeparableRegularizer,
)
SCOPE = {
    (structure, regularizer)
    for structure in (
        sst.Arborescence,
        sst.BoundedSubset,
        sst.ChainKSubset,
        sst.KSubset,
        sst.OneHot,
        sst.Path,
        sst.ProjectiveArborescence,
        sst.SpanningTree,
        sst.Subset,
    )
    for regularizer in (*SEPARABLE, sst.ExponentialFamilyEntropy)
} | {(sst.Matching, regularizer) for regularizer in SEPARABLE}
SCOPE |= {(sst.Permutahedron, sst.Euclidean), (sst.Permutahedron, sst.CategoricalEntropy)}


@pytest.mark.parametrize("statement", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_law(case: Case, statement: Law):
    statement(case)


@pytest.mark.parametrize("statement", LAWS_OF_STRUCTURES, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", {case.problem: case for case in CASES}.values(), ids=lambda case: str(case))
def test_law_of_structures(case: Case, statement: Law):
    statement(case)


@pytest.mark.parametrize("pair", registered_pairs(), ids=lambda pair: "-".join(c.__name__ for c in pair))
def test_every_registered_pair_is_enrolled(pair):
    structure, regularizer = pair
    assert structure in PROBLEMS, f"{structure.__name__} is registered but has no problem in tests/cases.py"
    enrolled = [
        c for c in PAIR_CASES if c.problem in PROBLEMS[structure] and c.regularizer is REGULARIZERS[regularizer]
    ]
    assert len(enrolled) == 1
    assert enrolled[0].truth.value  # raises LookupError where there is no oracle


def test_the_registry_covers_the_table():
    assert set(registered_pairs()) >= SCOPE


def test_no_pair_is_registered_twice():
    assert len(registered_pairs()) == len(set(registered_pairs()))
