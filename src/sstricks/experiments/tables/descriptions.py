from sstricks.experiments.tables.l2x import L2X
from sstricks.experiments.tables.listops import LISTOPS
from sstricks.experiments.tables.nri import NRI

DESCRIPTIONS = {description.experiment: description for description in (NRI, LISTOPS, L2X)}
"""By the name of the experiment."""
