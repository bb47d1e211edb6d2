"""The structures 𝒳: one class a file, its solvers registered at the foot of the file."""

from sstricks.structures.arborescence import Arborescence
from sstricks.structures.bounded_subset import BoundedSubset
from sstricks.structures.chain_k_subset import ChainKSubset
from sstricks.structures.k_subset import KSubset
from sstricks.structures.linear_oracle import LinearOracle
from sstricks.structures.matching import Matching
from sstricks.structures.one_hot import OneHot
from sstricks.structures.path import Path
from sstricks.structures.permutahedron import Permutahedron
from sstricks.structures.projective_arborescence import ProjectiveArborescence
from sstricks.structures.spanning_tree import SpanningTree
from sstricks.structures.structure import Structure
from sstricks.structures.subset import Subset

__all__ = [
    "Arborescence",
    "BoundedSubset",
    "ChainKSubset",
    "KSubset",
    "LinearOracle",
    "Matching",
    "OneHot",
    "Path",
    "Permutahedron",
    "ProjectiveArborescence",
    "SpanningTree",
    "Structure",
    "Subset",
]
