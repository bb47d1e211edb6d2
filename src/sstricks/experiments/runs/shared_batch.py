from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from sstricks.experiments.runs.batches import StepBatches


class SharedBatches(DDPStrategy):
    """Data-parallel training in which the processes share each step's batch, so that it is that of one process.

    Each process takes the gradient of its examples; the mean over processes, weighted by examples, is the gradient of
    the batch. Evaluations are not shared: every process sees all examples, and comes to the same metrics.
    """

    def __init__(self) -> None:
        super().__init__(find_unused_parameters=True)  # a layer may be idle at some steps, or on some examples

    def process_dataloader(self, dataloader: object) -> object:
        """Leave to this process its share of the training examples.

        Args:
            dataloader: of all examples.

        Returns:
            Batches of the share, or what was passed if it is of another split.
        """
        if not isinstance(dataloader, StepBatches):
            return dataloader
        return dataloader.share(self.global_rank, self.world_size)

    def training_step(self, batch: object, batch_idx: int) -> Tensor:
        """The loss of the share, weighted such that the mean over processes is that of the batch.

        Args:
            batch: this process's examples; it knows how many.
            batch_idx: of the step.

        Returns:
            A scalar.
        """
        loss = super().training_step(batch, batch_idx)
        assert isinstance(loss, Tensor)
        mine = loss.new_tensor(len(batch))  # pyright: ignore[reportArgumentType]  # sized
        return loss * (self.world_size * mine / self.reduce(mine.clone(), reduce_op="sum"))
