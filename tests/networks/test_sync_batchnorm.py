"""Batch norms of several processes."""

import pytest
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sklearn_ssl._runtime.world import World
from sklearn_ssl.networks import sync_batchnorm
from sklearn_ssl.networks.sync_batchnorm import SyncBatchNorm, synchronized_batch_norms


@pytest.fixture
def two(monkeypatch):
    """The first of two processes."""
    together = World(object(), 0, 2)
    monkeypatch.setattr(sync_batchnorm, "world", lambda: together)
    return together


def network(device):
    with FakeTensorMode():
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, device=device),
            nn.BatchNorm2d(4, device=device),
            nn.Flatten(),
            nn.BatchNorm1d(16, device=device),
            nn.InstanceNorm1d(4, device=device),
        )


def test_batch_norms_on_a_gpu_are_synchronized_and_plain_again_after(two):
    module = network("cuda")
    before = [type(part) for part in module]
    with synchronized_batch_norms(module):
        norms = [type(part) is SyncBatchNorm for part in module]
        assert norms == [False, True, False, True, False]
        assert module[1].process_group is two.group
    assert [type(part) for part in module] == before


def test_those_on_the_cpu_are_left_alone(two):
    module = network("cpu")
    with synchronized_batch_norms(module):
        assert type(module[1]) is nn.BatchNorm2d


def test_those_of_one_process_are_left_alone():
    module = network("cuda")
    with synchronized_batch_norms(module):
        assert type(module[1]) is nn.BatchNorm2d
