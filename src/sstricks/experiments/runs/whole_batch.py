"""Layers that see the whole batch of a step, although each process has only its share of the examples."""

import torch
from lightning.pytorch.plugins.layer_sync import LayerSync
from torch import Tensor, nn

from sstricks.estimators import MovingAverage


class SumOverProcesses(torch.autograd.Function):
    """A sum over all processes; the gradient is summed too, since each process's loss depends on the sum."""

    @staticmethod
    def forward(ctx: object, part: Tensor) -> Tensor:
        """The sum of what the processes pass."""
        return _summed(part)

    @staticmethod
    def backward(ctx: object, *grad: Tensor) -> Tensor:  # S = Σ p, L = Σ ℓ(S): ∂L/∂p is the sum of all ∂ℓ/∂S
        """The sum of the gradients."""
        return _summed(grad[0])


class WholeBatchNorm(nn.BatchNorm1d):
    """Batch norm by the mean and the variance of the whole batch; torch's own of that kind is for GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.BatchNorm1d` on the examples of all processes together.

        Args:
            input: (B, C) or (B, C, L), this process's share.

        Returns:
            The same shape.
        """
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        per_channel = (1, -1, *[1] * (input.dim() - 2))
        others = [dim for dim in range(input.dim()) if dim != 1]
        sums = torch.cat([input.sum(others), input.new_tensor([input.numel() // input.shape[1]])])
        sums = _sum(sums)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = input - mean.view(per_channel)
        variance = _sum(centred.square().sum(others)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * (variance + self.eps).rsqrt().view(per_channel)
        return normal * self.weight.view(per_channel) + self.bias.view(per_channel) if self.affine else normal

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class WholeBatchAverage(MovingAverage):
    """A moving average of the losses of all processes."""

    @torch.no_grad()
    def update(self, loss: Tensor) -> None:
        """Take the mean over all processes' losses into the average.

        Args:
            loss: this process's, of any shape.
        """
        total, count = _summed(torch.stack([loss.sum(), loss.new_tensor(loss.numel())]))
        super().update(total / count)


_WHOLE: dict[type[nn.Module], type[nn.Module]] = {nn.BatchNorm1d: WholeBatchNorm, MovingAverage: WholeBatchAverage}


class WholeBatchLayers(LayerSync):
    """Makes the layers of a model whose result depends on the other examples see those of all processes."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Change the layers in place; parameters, buffers and their names stay.

        Args:
            model: of each process.

        Returns:
            The model.

        Raises:
            TypeError: if it has a kind of batch norm for which this is not written.
        """
        for layer in model.modules():
            if type(layer) in _WHOLE:
                layer.__class__ = _WHOLE[type(layer)]
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and not isinstance(layer, WholeBatchNorm):  # pyright: ignore[reportPrivateUsage]  # the base of all kinds
                raise TypeError(f"{type(layer).__name__} has no form for several processes, expected BatchNorm1d.")
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Undo it.

        Args:
            model: what `apply` returned.

        Returns:
            The model.
        """
        own = {whole: plain for plain, whole in _WHOLE.items()}
        for layer in model.modules():
            layer.__class__ = own.get(type(layer), type(layer))
        return model


def _sum(part: Tensor) -> Tensor:
    total = SumOverProcesses.apply(part)
    assert isinstance(total, Tensor)
    return total


def _summed(part: Tensor) -> Tensor:
    total = part.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total)
    return total
