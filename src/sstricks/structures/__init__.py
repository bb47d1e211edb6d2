"""The structures 𝒳: one class a file, its solvers registered at the foot of the file."""

from sstricks.structures.k_subset import KSubset
from sstricks.structures.matching import Matching
from sstricks.structures.one_hot import OneHot
from sstricks.structures.spanning_tree import SpanningTree
from sstricks.structures.structure import Structure
from sstricks.structures.subset import Subset

__all__ = ["KSubset", "Matching", "OneHot", "SpanningTree", "Structure", "Subset"]
