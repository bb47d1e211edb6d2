"""The paper's experiments. Each is one file that can be copied and changed; `harness` is what they share."""

RECIPES = {"nri": "GraphLayout", "listops": "ListOps", "l2x": "LearningToExplain", "parsing": "Parsing"}
"""Module of this package and class of each experiment: a new one is one file and one line here."""
