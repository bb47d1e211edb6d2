import functools
from collections.abc import Iterator

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from sstricks.experiments.nri.config import NRIConfig
from sstricks.experiments.nri.data import Layouts, Splits, make_splits
from sstricks.experiments.runs.batches import ShuffledIndices, StepBatches

_EVALUATION_BATCH = 500


class GraphLayouts(LightningDataModule):
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
        return StepBatches(indices, lambda chosen: select(train, chosen), self._step, self.config.valid_every)

    def val_dataloader(self) -> "InOrder":
        """All of the validation split.

        Returns:
            Batches of validation examples.
        """
        return InOrder(self.splits.valid)

    def test_dataloader(self) -> "InOrder":
        """All of the test split.

        Returns:
            Batches of test examples.
        """
        return InOrder(self.splits.test)

    def transfer_batch_to_device(self, batch: Layouts, device: torch.device, dataloader_idx: int) -> Layouts:
        """Lightning's own way assigns to the fields of a batch.

        Args:
            batch: examples.
            device: where they should be.
            dataloader_idx: not used.

        Returns:
            The examples there.
        """
        return Layouts(batch.positions.to(device), batch.edges.to(device))

    def _step(self) -> int:
        assert self.trainer is not None
        return self.trainer.global_step


class InOrder:
    """A split in batches of equal size but for the last.

    Args:
        layouts: the split.
    """

    def __init__(self, layouts: Layouts) -> None:
        self.layouts = layouts

    def __iter__(self) -> Iterator[Layouts]:
        for first in range(0, len(self.layouts), _EVALUATION_BATCH):
            yield select(self.layouts, slice(first, first + _EVALUATION_BATCH))

    def __len__(self) -> int:
        return -(-len(self.layouts) // _EVALUATION_BATCH)


def select(layouts: Layouts, chosen: Tensor | slice) -> Layouts:
    """Some of the examples.

    Args:
        layouts: N of them.
        chosen: which ones.

    Returns:
        Those, in that order.
    """
    return Layouts(layouts.positions[chosen], layouts.edges[chosen])


@functools.lru_cache(maxsize=1)
def _splits(train: int, valid: int, test: int, num_nodes: int, num_frames: int, seed: int) -> Splits:
    return make_splits(train, valid, test, num_nodes, num_frames, seed)
