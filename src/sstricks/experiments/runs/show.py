from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer

from sstricks.experiments.runs.progress import Display, describe


class ShowProgress(Callback):
    """Tells a display how far the training is.

    Args:
        display: the bar or the lines.
        title: what is trained.
        total: steps at the end.
        shown: a format for each metric to show.
    """

    def __init__(self, display: Display, title: str, total: int, shown: Mapping[str, str]) -> None:
        self.display = display
        self.title = title
        self.total = total
        self.shown = shown

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin.

        Args:
            trainer: knows the step.
            pl_module: not used.
        """
        self.display.begin(self.title, trainer.global_step, self.total)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Advance.

        Args:
            trainer: knows the step.
            pl_module: not used.
            outputs: not used.
            batch: not used.
            batch_idx: not used.
        """
        self.display.advance(trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show what was measured.

        Args:
            trainer: has the metrics.
            pl_module: not used.
        """
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.display.measured(trainer.global_step, describe(row, self.shown))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End.

        Args:
            trainer: not used.
            pl_module: not used.
            stage: not used.
        """
        self.display.end()
