"""Several processes that train one model come to what one process does: the same batches, loss and statistics."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from sstricks.estimators import MovingAverage
from sstricks.recipes.harness.batches import TrainingBatches
from sstricks.recipes.harness.files import RunError, differences


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, part: Tensor) -> Tensor:
        total = part.detach().clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *grad: Tensor) -> Any:  # S = Σ p, L = Σ ℓ(S): ∂L/∂p is the sum of all ∂ℓ/∂S
        return _Sum.apply(*grad)


class _WholeBatchNorm(nn.BatchNorm1d):
    # torch's SyncBatchNorm is for GPUs alone.
    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        per_channel = (1, -1, *[1] * (input.dim() - 2))
        others = [dim for dim in range(input.dim()) if dim != 1]
        sums = torch.cat([input.sum(others), input.new_tensor([input.numel() // input.shape[1]])])
        sums: Any = _Sum.apply(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        centred = input - mean.view(per_channel)
        squares: Any = _Sum.apply(centred.square().sum(others))
        variance = squares / count
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * count / (count - 1), share)
        normal = centred * (variance + self.eps).rsqrt().view(per_channel)
        return normal * self.weight.view(per_channel) + self.bias.view(per_channel) if self.affine else normal


class _WholeBatchAverage(MovingAverage):
    @torch.no_grad()
    def update(self, loss: Tensor) -> None:
        sums: Any = _Sum.apply(torch.stack([loss.sum(), loss.new_tensor(loss.numel())]))
        super().update(sums[0] / sums[1])


class SharedBatches(DDPStrategy):
    """Data-parallel training in which the processes share each step's batch.

    Each process takes the gradient of its examples; the mean over processes, weighted by examples, is the gradient of
    the batch. Evaluations are not shared: every process sees all examples and comes to the same metrics.
    """

    def setup(self, trainer: Trainer) -> None:
        """Make layers whose result depends on the other examples see those of all processes."""
        whole = {nn.BatchNorm1d: _WholeBatchNorm, MovingAverage: _WholeBatchAverage}
        for layer in self.model.modules() if self.model else ():
            if type(layer) in whole:
                layer.__class__ = whole[type(layer)]  # parameters, buffers and their names stay
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]  # all kinds
                raise TypeError(f"{type(layer).__name__} has no form for several processes, expected BatchNorm1d.")
        super().setup(trainer)

    def process_dataloader(self, dataloader: object) -> object:
        if isinstance(dataloader, TrainingBatches):
            dataloader.rank, dataloader.world_size = self.global_rank, self.world_size
        return dataloader

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of the share, weighted such that the mean over processes is that of the batch."""
        loss = super().training_step(batch, batch_idx)
        assert isinstance(loss, Tensor)
        mine = loss.new_tensor(len(batch))
        return loss * (self.world_size * mine / self.reduce(mine.clone(), reduce_op="sum"))


class SameCommand(Callback):
    """Refuses to train with a process that was given another command, or sees another folder."""

    def __init__(self, config: dict[str, Any], step: int) -> None:
        self.config, self.step = config, step

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        config, step = trainer.strategy.broadcast((self.config, self.step))
        if different := differences(config, self.config):
            raise RunError(f"this process was given another command than the first one: {different}.")
        if step != self.step:
            other = f"the first process goes on from step {step}, this one from {self.step}"
            raise RunError(f"{other}: --out must be the same folder on all machines, in a file system that they share.")
