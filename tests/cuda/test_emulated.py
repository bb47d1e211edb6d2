"""The public API on an emulated device: it never waits for it, and launches few kernels."""

import pytest
import torch

pytest.importorskip("triton")
import sstricks as sst
from emulated_device import EmulatedDevice
from sstricks import functional as F


def test_scaling_takes_one_launch_each_way():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7, requires_grad=True))
        v = F.scaled_utility(u, 0.5)
        assert device.launches.total() == 2  # the temperature is one
        v.backward(torch.ones_like(v))
    assert device.launches["scaled_backward"] == 1
    assert not device.waits


def test_tensors_of_two_devices_do_not_mix():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7))
        with pytest.raises(RuntimeError, match="on one device"):
            u + torch.ones(7)
        assert (u + torch.tensor(1.0)).shape == (3, 7)


def test_waiting_is_noticed():
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, 7))
        assert bool((u == u).all())
        u[u > 0]
        u.cpu()
    assert device.waits.total() == 3


def test_an_operator_without_a_kernel_is_counted_step_by_step():
    with EmulatedDevice() as device:
        sst.SpanningTree.complete(4).argmax(device.put(torch.randn(3, 6)))
    assert device.launches.total() > 4


@pytest.mark.parametrize("trees", [sst.SpanningTree.complete(6), sst.Arborescence.complete(6)], ids=str)
def test_trees_take_one_launch_for_each_pass(trees: sst.Structure):
    with EmulatedDevice() as device:
        u = device.put(torch.randn(3, *trees.event_shape, requires_grad=True))
        trees.softmax(u, 0.5, sst.ExponentialFamilyEntropy()).sum().backward()
        assert device.launches["marginals"] == device.launches["marginals_jvp"] == 1
        assert device.launches.total() <= 12
        device.reset()
        trees.argmax(u)
        assert device.launches.total() <= 6
