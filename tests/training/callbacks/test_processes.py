"""Fits in two processes, on the CPU: they are those of one process with the whole batch."""

import numpy as np
import pytest
from _runtime.two_processes import run_in
from common import ALL_METHODS

# The first lines of each program: without batch norms, whose statistics are of a share on the CPU.
NO_BATCH_NORM = """
from torch import nn

class LayerNorm(nn.LayerNorm):
    def __init__(self, n, affine=True):
        super().__init__(n, elementwise_affine=affine)

class GroupNorm(nn.GroupNorm):
    def __init__(self, n):
        super().__init__(1, n)

nn.BatchNorm1d, nn.BatchNorm2d = LayerNorm, GroupNorm
"""


def both(code, folder, **how):
    """Run a program in two processes; return what they found, and what was printed."""
    (first, second), printed, errors = run_in(2, code, folder, **how)
    return first, second, printed + errors


@pytest.mark.slow
def test_loss_and_gradients_are_those_of_one_process(tmp_path):
    first_kind = {m.__name__: next(iter(m.default_views)) for m in ALL_METHODS}
    cases = [*first_kind.items(), ("SimCLRTransformer", "table"), ("SimCLRTransformer", "text")]
    code = f"""
    {NO_BATCH_NORM.replace(chr(10), chr(10) + "    ")}
    import numpy as np
    from skorch.callbacks import Callback
    from common import photo_patches, shrunk
    from sklearn.datasets import load_wine
    from sklearn_ssl.discovery import all_methods

    class Gradients(Callback):
        def on_grad_computed(self, net, named_parameters=(), **kwargs):
            found[case] = [p.grad.numpy().copy() for _, p in named_parameters if p.grad is not None]

    samples = {{"image": photo_patches(48, side=16), "table": load_wine().data[:48]}}
    samples["text"] = [" ".join(str(i * k % 23) for k in range(20 + i % 5)) for i in range(48)]
    for case in {cases}:
        name, kind = case
        method, X = all_methods()[name], samples[kind]
        size = 24 if name == "MoCoTransformer" else 48  # whose queue is empty in the first step
        model = shrunk(method, callbacks=[Gradients()], batch_size=size).fit(X)
        assert len(model.history_) == 1
        found[case] = np.concatenate([g.ravel() for g in found[case]]), model.loss_curve_[0]
    """
    (alone,), _, _ = run_in(1, code, tmp_path)
    first, second, _ = both(code, tmp_path)
    assert set(alone) == set(cases)
    for case in cases:
        (gradient, loss), (together, other_loss) = alone[case], first[case]
        assert np.abs(gradient).max() > 0
        assert other_loss == pytest.approx(loss, rel=1e-5), case
        difference = np.linalg.norm(together - gradient) / np.linalg.norm(gradient)
        assert difference < 1e-5, (case, difference)
        np.testing.assert_array_equal(second[case][0], together)


@pytest.mark.slow
def test_all_processes_end_with_the_same_estimator(tmp_path):
    code = """
    import warnings
    from pathlib import Path
    import numpy as np
    from common import digits
    from sklearn_ssl import DeepClusterEstimator, SimCLRTransformer

    X = digits()[0][:150]
    def of(model):
        history = [{k: v for k, v in row.items() if k != "dur"} for row in model.history_]
        return model.transform(X), model.batch_size_, model.n_iter_, history

    # 150 samples are three batches of 50 at most 64, and the seed is drawn by each process.
    found["seed"] = of(SimCLRTransformer(max_epochs=2, verbose=1).fit(X))
    model = DeepClusterEstimator(n_clusters=10, max_epochs=2).fit(X)
    found["clusters"] = *of(model), model.labels_, model.cluster_centers_
    model = SimCLRTransformer(max_time=3, random_state=0, batch_size=32).fit(X)
    found["time"] = of(model)
    model.partial_fit(X)
    found["more"] = of(model)
    model.set_params(max_time=None, max_epochs=1, warm_start=True).fit(X)
    found["fitted again"] = of(model)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        SimCLRTransformer(max_time=1e-3, random_state=0, batch_size=8).fit(X)
    found["warned"] = len(told)
    """
    first, second, printed = both(code, tmp_path)
    for name in ("seed", "clusters", "time", "more", "fitted again"):
        for one, other in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(one, other, name)
    assert [row["n_steps"] for row in first["seed"][3]] == [3, 3]
    assert first["time"][2] >= 1
    assert printed.count("enough for about") <= 1
    assert (first["warned"] > 0, second["warned"]) == (True, 0)


@pytest.mark.slow
def test_a_killed_fit_resumes_with_the_same_weights(tmp_path):
    code = """
    import os, signal
    from pathlib import Path
    from skorch.callbacks import Callback
    from common import digits
    from sklearn_ssl import DINOTransformer, FitCache

    class Kill(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) == 3 and rank == 1 and not Path("killed").exists():
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)

    def dino(**more):
        return DINOTransformer(max_epochs=4, random_state=0, callbacks=[Kill()], **more)

    X = digits()[0][:128]
    model = dino(memory="fits").fit(X)
    found["resumed"] = model.transform(X), model.loss_curve_
    Path("killed").touch()
    model = dino().fit(X)
    found["whole"] = model.transform(X), model.loss_curve_
    model = dino(memory="fits").fit(X)  # from the cache
    found["cached"] = model.transform(X), model.loss_curve_
    found["files"] = sorted(path.name for path in Path("fits").rglob("[cf]*.safetensors"))
    """
    both(code, tmp_path, ends_well=False)
    first, second, _ = both(code, tmp_path)
    for found in (first, second):
        for name in ("resumed", "cached"):
            np.testing.assert_array_equal(found[name][0], first["whole"][0])
            assert found[name][1] == first["whole"][1]
        assert found["files"] == ["fit.safetensors"]


@pytest.mark.slow
def test_errors_of_one_process_end_the_fit_of_all(tmp_path):
    code = """
    import numpy as np
    from skorch.callbacks import Callback, EarlyStopping
    from common import digits
    from sklearn_ssl import SimCLRTransformer, SupConTransformer

    class Fails(Callback):
        def on_epoch_end(self, net, **kwargs):
            if rank == 1:
                raise ValueError("the disk is full")

    class Stops(Callback):
        def on_epoch_end(self, net, **kwargs):
            if rank == 1:
                raise KeyboardInterrupt

    X = digits()[0][:100]
    def simclr(**more):
        return SimCLRTransformer(max_epochs=3, random_state=0, **more)

    for name, fit in {
        "callback": lambda: simclr(callbacks=[Fails()]).fit(X),
        "samples": lambda: simclr().fit(X + rank),
        "parameter": lambda: simclr(temperature=-1 if rank else 1).fit(X),
        "views": lambda: simclr(views=lambda batch: [batch, batch, batch][: 2 + rank]).fit(X),
        "few": lambda: simclr().fit(X[:3, :, :, None]),
        "temperature": lambda: simclr(temperature=0.2 + rank).fit(X),
        "groups": lambda: simclr().fit(X, groups=None if rank else np.arange(100) // 2),
        "y": lambda: SupConTransformer(max_epochs=1).fit(X, np.arange(100) // (2 + rank)),
        "The method": lambda: (SupConTransformer if rank else SimCLRTransformer)().fit(X),
    }.items():
        try:
            fit()
        except Exception as error:
            found[name] = type(error).__name__, str(error)
    found["stopped"] = simclr(callbacks=[Stops()]).fit(X).n_iter_
    found["after"] = simclr().fit(X).n_iter_
    """
    first, second, _ = both(code, tmp_path)
    assert first["callback"] == (
        "RuntimeError",
        "fit ended because process 1 raised ValueError: the disk is full",
    )
    assert second["callback"] == ("ValueError", "the disk is full")
    for found in (first, second):
        assert found["samples"][0] == "ValueError"
        assert "X is not the same in all processes" in found["samples"][1]
        assert found["few"][0] == "ValueError"
        assert "at least 4 samples, two for each of 2 processes" in found["few"][1]
        for name in ("temperature", "groups", "y", "The method"):
            assert f"{name} is not the same in all processes: " in found[name][1]
        assert found["stopped"] == 1
        assert found["after"] == 3
    assert "temperature" in first["parameter"][1]
    assert "temperature" in second["parameter"][1]
    assert "process 1 raised" in first["views"][1]
    assert "compares two views" in second["views"][1]
