import functools

from torch import Tensor

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.data import Layouts, Splits, make_splits
from sstricks.experiments.runs.batches import ShuffledIndices, StepBatches
from sstricks.experiments.runs.data import RunData, WholeSplit

_EVALUATION_BATCH = 500


class GraphLayouts(RunData):
    """The three splits of the graph layout data, simulated when they are first needed (App. D.4.1).

    Args:
        config: sizes and seeds.
    """

    def __init__(self, config: NRIConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def splits(self) -> Splits:
        """The data; the trials of one process share it."""
        c = self.config
        return _splits(c.train_examples, c.valid_examples, c.test_examples, c.num_nodes, c.num_frames, c.data_seed)

    def train_dataloader(self) -> StepBatches[Layouts]:
        """The batches up to the next validation.

        Returns:
            Batches of training examples.
        """
        train = self.splits.train
        indices = ShuffledIndices(len(train), self.config.batch_size, self.config.run_seed)
        return StepBatches(indices, lambda chosen: select(train, chosen), self.present_step, self.config.valid_every)

    def val_dataloader(self) -> WholeSplit[slice, Layouts]:
        """All of the validation split.

        Returns:
            Batches of validation examples.
        """
        return _in_order(self.splits.valid)

    def test_dataloader(self) -> WholeSplit[slice, Layouts]:
        """All of the test split.

        Returns:
            Batches of test examples.
        """
        return _in_order(self.splits.test)


def select(layouts: Layouts, chosen: Tensor | slice) -> Layouts:
    """Some of the examples.

    Args:
        layouts: N of them.
        chosen: which ones.

    Returns:
        Those, in that order.
    """
    return Layouts(layouts.positions[chosen], layouts.edges[chosen])


def _in_order(layouts: Layouts) -> WholeSplit[slice, Layouts]:
    parts = [slice(first, first + _EVALUATION_BATCH) for first in range(0, len(layouts), _EVALUATION_BATCH)]
    return WholeSplit(parts, lambda part: select(layouts, part))


@functools.lru_cache(maxsize=1)
def _splits(train: int, valid: int, test: int, num_nodes: int, num_frames: int, seed: int) -> Splits:
    return make_splits(train, valid, test, num_nodes, num_frames, seed)
