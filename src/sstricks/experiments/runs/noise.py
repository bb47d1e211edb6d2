import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from sstricks.experiments.runs.seeds import fold_in


class StatelessNoise(Callback):
    """Makes the randomness of a step a function of (seed, step), so that a resumed run repeats the uninterrupted one.

    No generator state has to be saved or restored. Every evaluation sees the same noise, so that the checkpoints of a
    run are compared on common random numbers. Of several processes that share the examples of a step, each has noise
    of its own; evaluations, which they do not share, have the same noise in all of them.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Seed the step's noise.

        Args:
            trainer: knows the step and the process.
            pl_module: not used.
            batch: not used.
            batch_idx: not used.
        """
        torch.manual_seed(fold_in(self.seed, "train", trainer.global_step, trainer.global_rank))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the noise of a validation.

        Args:
            trainer: not used.
            pl_module: not used.
        """
        torch.manual_seed(fold_in(self.seed, "valid", 0))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed the noise of a test.

        Args:
            trainer: not used.
            pl_module: not used.
        """
        torch.manual_seed(fold_in(self.seed, "test", 0))
