"""State of the process, which a fit leaves as it was."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from common import each_image_method, process_state, shrunk, takes_network

from sklearn_ssl import SimCLRTransformer
from sklearn_ssl._runtime.isolation import isolated, seed_torch

simclr = partial(shrunk, SimCLRTransformer)


CPU = torch.device("cpu")


def test_fits_in_threads_do_not_disturb_each_other(images):
    expected = simclr().fit_transform(images)
    before = process_state()
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: simclr().fit_transform(images), range(4)))
    for result in results:
        np.testing.assert_array_equal(result, expected)
    assert process_state() == before


def test_process_state_is_left_as_it_was(images):
    model = simclr()
    before = process_state()
    model.fit(images).score(images)
    model.transform(images)
    assert process_state() == before


@each_image_method
def test_default_device_does_not_matter(method, photos):
    """Tensors made without a device would lie on it; "meta" has no values."""
    if not takes_network(method, "small_convnet"):
        return
    settings = {"backbone": "small_convnet", "layer": "stage2"}
    expected = shrunk(method, **settings).fit(photos[:30, :28])
    with torch.device("meta"):
        model = shrunk(method, **settings).fit(photos[:30, :28])
        embedding = model.transform(photos[:30, :28])
    np.testing.assert_array_equal(embedding, expected.transform(photos[:30, :28]))


def test_process_state_does_not_matter(images):
    expected = simclr().fit(images)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            model = simclr().fit(images)
        with torch.inference_mode():
            again = simclr().fit(images)
        assert model.score(images) == expected.score(images)
        np.testing.assert_array_equal(model.transform(images), expected.transform(images))
        np.testing.assert_array_equal(again.transform(images), expected.transform(images))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_seeds_differ_by_every_part_of_their_key():
    def draw(*key):
        with isolated(CPU):
            seed_torch(CPU, *key)
            return torch.rand(1).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    keys = [(1,), (1, 0), (1, 0, 0), (1, 2), (1, 2, 3), (1, 3, 2), (2, 1, 3)]
    assert len({draw(*key) for key in keys}) == len(keys)
