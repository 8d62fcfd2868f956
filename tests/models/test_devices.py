"""Devices and precision: rows at once, TF32 and autocast kept out, bfloat16 steps near
float32 ones, GPUs.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import permgrad as pg
from permgrad.attribution.maps.drawn import maps_at_once
from permgrad.models.devices import full_float32
from permgrad.models.estimators.settings import choose_device
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train.learner import Learner, TrainingJob, TrainingOptions
from permgrad.models.train.training_rows import Rows

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no GPU here"
)


@pytest.fixture
def switches():
    """Put torch's switches back to how a process begins, whatever a test does to
    them.
    """
    yield
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False


def data(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 5))
    return X, (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int)


def test_accelerators_take_more_rows():
    subjects = [
        SimpleNamespace(device=torch.device(name)) for name in ("cpu", "cuda:0")
    ]
    rows_at_once = [
        maps_at_once(SimpleNamespace(subject=subject, batch_size="auto"))
        for subject in subjects
    ]
    assert rows_at_once == [128, 4096]


@pytest.mark.parametrize("matmul", [False, True])
def test_full_float32_puts_the_switches_back(switches, matmul):
    cudnn = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    products.allow_tf32 = matmul
    assert cudnn.allow_tf32
    with full_float32():
        assert not cudnn.allow_tf32
        assert not products.allow_tf32
    assert (cudnn.allow_tf32, products.allow_tf32) == (True, matmul)
    with pytest.raises(ZeroDivisionError), full_float32():
        _ = 1 / 0
    assert (cudnn.allow_tf32, products.allow_tf32) == (True, matmul)


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"),
    reason="this torch has the coarse switches alone",
)
def test_full_float32_with_the_finer_switches(switches):
    cudnn = torch.backends.cudnn
    cudnn.conv.fp32_precision = "tf32"
    cudnn.rnn.fp32_precision = "ieee"
    with pytest.raises(RuntimeError):
        _ = cudnn.allow_tf32
    with full_float32():
        assert cudnn.conv.fp32_precision == cudnn.rnn.fp32_precision == "ieee"
    assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == ("tf32", "ieee")


def test_the_callers_autocast_stays_outside():
    X, y = data()
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=2, random_state=0, progress=False, device="cpu"
    ).fit(X, y)
    plain = (
        model.predict_proba(X),
        pg.explain(model, X[:50], y[:50], random_state=0, n_repeats=2).values,
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == torch.bfloat16
        inside = (
            model.predict_proba(X),
            pg.explain(model, X[:50], y[:50], random_state=0, n_repeats=2).values,
        )
        again = pg.HyNNClassifier(
            preset="fast", max_epochs=2, random_state=0, progress=False, device="cpu"
        ).fit(X, y)
    for autocast_outputs, plain_outputs in zip(inside, plain, strict=True):
        np.testing.assert_array_equal(autocast_outputs, plain_outputs)
    np.testing.assert_array_equal(again.predict_proba(X), plain[0])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["default", "paper", "fast", "ig_example"])
def test_mixed_precision_trains_the_same_model_nearly(preset):
    X, y = data()
    fits = [
        pg.HyNNClassifier(
            preset={"base": preset, "precision": precision},
            max_epochs=3,
            random_state=0,
            progress=False,
            device="cpu",
        ).fit(X, y)
        for precision in ("float32", "bfloat16")
    ]
    assert all(value.dtype == torch.float32 for value in fits[1].module_.parameters())
    assert fits[1].training_options_["precision"] == "bfloat16"
    losses = [model.history_["train_loss"].to_numpy() for model in fits]
    assert not np.array_equal(*losses), "the steps were the same: nothing was mixed"
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)
    assert fits[1].predict_proba(X).dtype == np.float64


def test_precision_is_checked():
    X, y = data(40)
    with pytest.raises(
        pg.InputError,
        match="precision must be one of 'auto', 'float32', 'bfloat16', got 'half'",
    ):
        pg.HyNNClassifier(preset={"precision": "half"}).fit(X, y)
    rows = Rows(torch.zeros(4, 2), torch.zeros(4), torch.ones(4))
    job = TrainingJob(
        HybridNetwork(2, 1, paths=("tabular",)),
        rows,
        None,
        TrainingOptions(precision="float16"),
        0,
    )
    with pytest.raises(pg.InputError, match="bfloat16"):
        Learner(job)


# ---- on a GPU ------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize("preset", ["default", "paper", "ig_example"])
def test_trained_and_used_on_a_gpu(tmp_path, preset):
    X, y = data()
    models = [
        pg.HyNNClassifier(
            preset=preset, max_epochs=3, random_state=0, progress=False, device=device
        ).fit(X, y)
        for device in ("cpu", "cuda", "cuda", "auto")
    ]
    on_cpu, on_gpu, again, automatic = models
    assert {
        parameter.device.type
        for model in (on_gpu, automatic)
        for parameter in model.module_.parameters()
    } == {"cuda"}
    np.testing.assert_array_equal(on_gpu.predict_proba(X), again.predict_proba(X))
    if preset == "ig_example":
        # elsewhere dropout draws from another generator, or rounding grows with the
        # steps
        np.testing.assert_allclose(
            on_gpu.history_["train_loss"], on_cpu.history_["train_loss"], rtol=0.1
        )
    # The same weights predict the same, wherever they are.
    moved = copy.deepcopy(on_gpu)
    moved.module_.cpu()
    np.testing.assert_allclose(
        moved.predict_proba(X), on_gpu.predict_proba(X), atol=1e-4
    )
    on_gpu.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict_proba(X), moved.predict_proba(X))


@needs_gpu
def test_mixed_precision_on_a_gpu():
    X, y = data()
    preset = {"precision": "bfloat16"}
    model = pg.HyNNClassifier(
        preset=preset, max_epochs=3, random_state=0, progress=False, device="cuda"
    )
    model.fit(X, y)
    assert all(value.dtype == torch.float32 for value in model.module_.parameters())
    assert np.isfinite(model.history_["train_loss"]).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("gpu", "cuda"), ("gpu:1", "cuda:1"), ("cuda:1", "cuda:1"), ("mps", "mps")],
)
def test_names_of_devices(monkeypatch, name, kind):
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        with pytest.raises(pg.InputError, match="device must be one of"):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(name) == torch.device(kind)
    with pytest.raises(pg.InputError) as caught:
        choose_device("gpu:2")
    assert caught.value.message.endswith("got 'gpu:2'. 2 CUDA devices are visible.")
    assert caught.value.message.startswith(
        "device must be one of 'auto', 'cpu', 'mps' on this machine"
    )
    with pytest.raises(pg.InputError) as caught:
        choose_device("cpuu")
    assert caught.value.message.endswith("got 'cpuu'. Did you mean 'cpu'?")


@pytest.mark.parametrize(
    "several", ["cuda:0,1", ["cuda:0", "cuda:1"], ("cpu", "cpu"), [0, 1]]
)
def test_one_device_trains(several):
    with pytest.raises(
        pg.InputError,
        match=r"device must be one of 'auto', 'cpu'.*on this machine, got ",
    ):
        pg.HyNNClassifier(device=several).fit([[0.0], [1.0]], [0, 1])
