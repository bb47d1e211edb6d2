"""Distributions on the vertices of a structure whose probabilities are known."""

from sstricks.distributions.exponential_family import ExponentialFamily
from sstricks.distributions.plackett_luce import PlackettLuceRanking, PlackettLuceSubset
from sstricks.distributions.support import Hull, Vertices
from sstricks.distributions.vertex_distribution import VertexDistribution

__all__ = ["ExponentialFamily", "Hull", "PlackettLuceRanking", "PlackettLuceSubset", "VertexDistribution", "Vertices"]
