"""Equal content gives equal keys in every process, and other content another one."""

import copy
import functools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import skorch.callbacks
import torch
from sklearn.base import clone
from torch import nn

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl.persistence.fingerprint import NoContent, fingerprint
from sklearn_ssl.views import CombinedViews, ImageViews, PerSampleViews, Tiles

# Pairs of values with equal content, made anew at each call.
EQUAL = {
    "ints": (lambda: 3, lambda: np.int64(3)),
    "floats": (lambda: 0.5, lambda: np.float32(0.5)),
    "order of memory": (
        lambda: np.arange(6.0).reshape(2, 3),
        lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ),
    "tensors": (lambda: torch.ones(2, 3), lambda: torch.ones(3, 2).T),
    "bfloat16": (lambda: torch.ones(2).bfloat16(), lambda: torch.ones(2, dtype=torch.bfloat16)),
    "sets": (lambda: {"b", "a", "c"}, lambda: {"c", "b", "a"}),
    "modules": (lambda: net(), lambda: nn.Sequential(*net())),
    "views": (lambda: ImageViews(), lambda: ImageViews(n_views=2)),
    "callbacks": (
        lambda: skorch.callbacks.EarlyStopping(),
        lambda: clone(skorch.callbacks.EarlyStopping()),
    ),
    "estimators": (lambda: SimCLRTransformer(), lambda: clone(SimCLRTransformer())),
    "one object twice": (lambda: [[1], [1]], lambda: [(one := [1]), one]),
    "lambdas": (lambda: lambda x: x + 1, lambda: lambda x: x + 1),
}
# Pairs of values whose content differs.
DIFFERENT = {
    "types": (1, 1.0),
    "text and bytes": ("a", b"a"),
    "none": (None, "None"),
    "truth": (True, 1),
    "nesting": ([1, [2]], [[1], 2]),
    "split": (["ab", "c"], ["a", "bc"]),
    "list and tuple": ([1], (1,)),
    "shape": (np.zeros((2, 3)), np.zeros((3, 2))),
    "number type": (np.zeros(2, "i4"), np.zeros(2, "f4")),
    "objects": (np.array(["a", 1], object), np.array(["a", 2], object)),
    "order of layers": (
        nn.Sequential(nn.ReLU(), nn.Tanh()),
        nn.Sequential(nn.Tanh(), nn.ReLU()),
    ),
    "settings of layers": (nn.MaxPool2d(2), nn.MaxPool2d(3)),
    "views": (ImageViews(), ImageViews(hflip=0.1)),
    "tiles": (Tiles(), Tiles(gap=0.25)),
    "combined views": (
        CombinedViews((ImageViews(), ImageViews())),
        CombinedViews((ImageViews(), ImageViews(grayscale=0.1))),
    ),
    "transforms": (PerSampleViews(nn.ReLU()), PerSampleViews(nn.Tanh())),
    "functions": (lambda x: x + 1, lambda x: x + 2),
    "defaults": (lambda x, y=1: x + y, lambda x, y=2: x + y),
    "partials": (functools.partial(max, 1), functools.partial(max, 2)),
    "library functions": (np.mean, np.median),
    "built in": (len, max),
    "classes": (nn.Linear, nn.Conv2d),
    "callbacks": (skorch.callbacks.EarlyStopping(), skorch.callbacks.EarlyStopping(patience=2)),
}


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU())


@pytest.mark.parametrize("name", EQUAL)
def test_equal_content(name):
    one, other = EQUAL[name]
    assert fingerprint(one()) == fingerprint(other())
    assert fingerprint(one()) != fingerprint([one()])


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_content(name):
    one, other = DIFFERENT[name]
    assert fingerprint(one) != fingerprint(other)


def test_one_weight_and_one_buffer_count():
    keys = {fingerprint(net())}
    for change in ("0.weight", "1.running_mean", "1.num_batches_tracked"):
        changed = net()
        with torch.no_grad():
            changed.get_parameter(change) if "weight" in change else None
            changed.state_dict()[change].view(-1)[:1].add_(1)
        keys.add(fingerprint(changed))
    keys.add(fingerprint(net().eval()))
    assert len(keys) == 5


SCALE = 2.0


def helper(x):
    return SCALE * x


class Mine(nn.Module):
    """A class of the user's, whose code counts."""

    factor = 3.0

    def forward(self, x):
        return self.factor * helper(x)


def test_code_counts_with_all_that_it_refers_to(monkeypatch):
    keys = [fingerprint(Mine())]
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "SCALE", 3.0)  # a constant that a helper uses
        keys.append(fingerprint(Mine()))
    with monkeypatch.context() as changed:
        changed.setitem(globals(), "helper", lambda x: x)
        keys.append(fingerprint(Mine()))
    with monkeypatch.context() as changed:
        changed.setattr(Mine, "forward", lambda self, x: x)
        keys.append(fingerprint(Mine()))
    with monkeypatch.context() as changed:
        changed.setattr(Mine, "factor", 4.0)
        keys.append(fingerprint(Mine()))
    assert len(set(keys)) == 5
    assert fingerprint(Mine()) == keys[0]


def test_what_python_adds_to_a_class_does_not_count():
    before = fingerprint(Slotted())
    copy.copy(Slotted())
    assert "__slotnames__" in vars(Slotted)
    assert fingerprint(Slotted()) == before


class Slotted:
    """Gets an attribute where an object of it is copied or pickled."""

    def method(self):
        return 1


def test_circles_end():
    circle = [1]
    circle.append(circle)
    other = [2]
    other.append(other)
    assert fingerprint(circle) != fingerprint(other)

    class Node:
        pass

    node = Node()
    node.self, node.method = node, [node]
    assert fingerprint(node)


@pytest.mark.parametrize("value", [(i for i in "a"), sys.stderr, lambda: 0 or sys._getframe()])
def test_what_has_no_content(value):
    if callable(value):
        value = value()
    with pytest.raises(NoContent):
        fingerprint([value])


@pytest.mark.slow
def test_keys_are_the_same_in_another_process():
    """Whatever the seed of its hashes and the address of its objects."""
    code = textwrap.dedent("""
        import sys
        sys.path.insert(0, {folder!r})
        import test_fingerprint as t
        from sklearn_ssl.persistence.fingerprint import fingerprint
        print(fingerprint([[one() for one, _ in t.EQUAL.values()], t.Mine(), t.net()]))
    """).format(folder=str(Path(__file__).parent))
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=True)
    keys = {
        run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PATH": ""}).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1
