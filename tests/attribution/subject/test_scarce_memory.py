"""Where memory does not suffice for a batch it is halved: the same results, and one
warning for a whole work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from invoking import call, train_run
from scarce import ERRORS, ScarceMemory
from strangers import STRANGERS
from torch import nn
from usual_methods import CASES, USUAL, few_draws

import permgrad as pg
from permgrad.base.errors import is_out_of_memory
from permgrad.models.batches import halved, in_batches, sparing

ROWS = 40


def table(rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], rows)
    signal = X["a"] + (X["colour"] == "red") * 2 + X["b"] * X["c"]
    return X, np.array(["no", "maybe", "yes"])[np.digitize(signal, [-0.3, 1.0])]


X, LABELS = table()


@pytest.fixture(scope="module")
def model() -> Any:
    return pg.HyNNClassifier(
        preset="fast", image="always", max_epochs=2, random_state=0, progress=False
    ).fit(X, LABELS)


def compare(
    work: Callable[[], np.ndarray], where: str = "processor", share: float = 0.5
) -> None:
    """Do a work with memory enough and with memory for half of its largest tensor;
    compare, and count warnings.
    """
    with warnings.catch_warnings(), ScarceMemory() as plenty:
        warnings.simplefilter("ignore", pg.PermgradWarning)
        full_values = work()
    with (
        warnings.catch_warnings(record=True) as caught,
        ScarceMemory(int(share * plenty.largest), where) as scarce,
    ):
        warnings.simplefilter("always", pg.PermgradWarning)
        cut = work()
    assert scarce.refused > 0, "the precondition: memory did not suffice"
    scale = max(1.0, float(np.nanmax(np.abs(full_values))))
    np.testing.assert_allclose(cut, full_values, rtol=0, atol=1e-6 * scale)
    messages = [
        str(warning.message)
        for warning in caught
        if "does not fit into memory" in str(warning.message)
    ]
    assert len(messages) == 1
    assert messages[0].endswith(
        "It is halved until it fits. Results are equal up to rounding."
    )


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_every_method_on_a_hybrid_network(model: Any, name: str, scope: Any) -> None:
    where = list(ERRORS)[CASES.index((name, scope)) % len(ERRORS)]
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **few_draws(name),
    }
    compare(
        lambda: (
            explain_with(
                model, X[:ROWS], LABELS[:ROWS], method=name, scope=scope, **call_options
            ).values
        ),
        where,
    )


#: Rows that a convolution takes.
LIMIT = 5


@pytest.mark.parametrize("method", [name for name in USUAL if name != "permgrad_paper"])
def test_every_method_on_any_network(method: str) -> None:
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        "segments": ("grid", 3),
        **few_draws(method),
    }
    compare_networks(
        lambda net, inputs, y: (
            explain_with(net, inputs, y, method=method, **call_options).values
        )
    )


def test_inside_a_network_and_for_whole_inputs() -> None:
    call_options = {"random_state": 0, "n_repeats": 2, "progress": False}
    for more in ({"method": "gradient", "layer": "cnn.0"}, {"groups": "modality"}):
        compare_networks(
            lambda net, inputs, y, more=more: (
                explain_with(net, inputs, y, **more, **call_options).values
            )
        )


def compare_networks(work: Callable[..., np.ndarray]) -> None:
    """Do a work with convolutions that take any rows, and with some that take a few;
    compare, and count warnings.
    """
    stranger = STRANGERS["images_first"]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        full_values = work(*stranger)
    plain = nn.Conv2d.forward
    refused = 0

    def forward(self: nn.Conv2d, rows: torch.Tensor) -> torch.Tensor:
        nonlocal refused
        if len(rows) > LIMIT:
            refused += 1
            raise torch.OutOfMemoryError
        return plain(self, rows)

    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", pg.PermgradWarning)
        patch.setattr(nn.Conv2d, "forward", forward)
        cut = work(*stranger)
    assert refused > 0, "the precondition: memory did not suffice"
    np.testing.assert_allclose(
        cut,
        full_values,
        rtol=0,
        atol=1e-6 * max(1.0, float(np.nanmax(np.abs(full_values)))),
    )
    assert (
        sum("does not fit into memory" in str(warning.message) for warning in caught)
        == 1
    )


def test_one_row_whose_intervals_do_not_fit_at_once(model: Any) -> None:
    """There are no fewer rows than one, but fewer points of its line."""
    call_options = {
        "method": "integrated_gradients",
        "random_state": 0,
        "progress": False,
    }
    compare(lambda: explain_with(model, X[:1], **call_options).values, share=0.7)

    def one_row(net: nn.Module, inputs: Any, _: Any) -> np.ndarray:
        return explain_with(
            net,
            {name: value[:1] for name, value in inputs.items()},
            segments=None,
            **call_options,
        ).values

    compare_networks(one_row)


def test_predictions(model: Any) -> None:
    encoded = model.encode_rows(X).encoded
    compare(lambda: model.predict_encoded(encoded))
    compare(lambda: model.predict_encoded(encoded, batch_size=200), "accelerator")
    compare(lambda: model.predict_encoded(encoded[:1]), "python")


@pytest.mark.slow
def test_the_evaluation_of_a_training() -> None:
    """Steps fit, the larger batches in which epochs are judged do not."""
    rows, y = table(1500)
    settings = {
        "preset": "fast",
        "image": "always",
        "max_epochs": 2,
        "batch_size": 16,
        "random_state": 0,
        "progress": False,
    }
    evaluation_rows = (rows[300:], y[300:])

    def fit() -> np.ndarray:
        estimator = pg.HyNNClassifier(**settings).fit(
            rows[:300], y[:300], eval_set=evaluation_rows
        )
        return estimator.history_[["train_loss", "validation_loss"]].to_numpy()

    # Without the block that teaches the C library to keep memory, which a training does
    # without where it must.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("permgrad.models.train.learner._BLOCK", 100)
        compare(fit, share=0.7)
    with ScarceMemory(20 * 2**20) as scarce:
        fit()
    assert scarce.refused > 0


def test_a_training_step_that_does_not_fit_says_what_to_do() -> None:
    settings = {
        "preset": "fast",
        "image": "always",
        "max_epochs": 1,
        "batch_size": 256,
        "random_state": 0,
        "progress": False,
    }
    with (
        ScarceMemory(300_000),
        pytest.raises(
            pg.EnvironmentProblem,
            match=r"A training step of 256 rows does not fit into memory. .* take "
            r"batch_size=128",
        ),
    ):
        pg.HyNNClassifier(**settings).fit(X, LABELS)


def test_any_predictor() -> None:
    rows = np.random.default_rng(0).normal(size=(700, 2))
    sizes: list[int] = []

    def predict(table: np.ndarray) -> np.ndarray:
        sizes.append(len(table))
        if len(table) > 300:
            raise MemoryError
        return 2.0 * table[:, 0]

    def values(predictor: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return pg.explain(
            predictor,
            rows,
            rows[:, 0],
            method="permutation",
            progress=False,
            random_state=0,
        ).values

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", pg.PermgradWarning)
        cut = values(predict)
    assert len(caught) == 1
    assert max(sizes) > 300 >= min(sizes)
    np.testing.assert_allclose(cut, values(lambda table: 2.0 * table[:, 0]), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "scope"), [("permgrad", "global"), ("gradient", "local")]
)
def test_a_table_in_parts(tmp_path: Path, model: Any, method: str, scope: Any) -> None:
    """What a method cannot halve is read and encoded again, fewer rows at a time."""
    for part_index in range(3):
        X[part_index * 100 : (part_index + 1) * 100].assign(
            y=LABELS[part_index * 100 : (part_index + 1) * 100]
        ).to_parquet(tmp_path / f"{part_index}.parquet")
    call_options: dict[str, Any] = {
        "method": method,
        "scope": scope,
        "n_repeats": 1,
        "random_state": 0,
        "progress": False,
    }
    y = "y" if scope == "global" else None
    outs = (tmp_path.with_name(f"{tmp_path.name}-{number}") for number in range(9))

    def values(**more: Any) -> np.ndarray:
        return pg.explain_stream(
            model, tmp_path, y, out=next(outs), **call_options, **more
        ).values

    compare(values)
    encode = type(model).encode_rows

    def scarce(self: Any, rows: Any) -> Any:
        if len(rows) > 40:
            raise MemoryError
        return encode(self, rows)

    with (
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always", pg.PermgradWarning)
        patch.setattr(type(model), "encode_rows", scarce)
        # The first rows are tried before anything is written; these are few enough.
        patch.setattr("permgrad.attribution.parts.plan._FEWEST_ROWS", 16)
        cut = values(background=X[:40])
    np.testing.assert_allclose(cut, values(background=X[:40]), atol=1e-6)
    assert (
        sum("does not fit into memory" in str(warning.message) for warning in caught)
        == 1
    )


def test_predictions_in_parts(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "age": np.arange(60.0),
            "dose": np.arange(60.0) % 7,
            "outcome": np.arange(60) % 2,
            "id": range(60),
        }
    )
    run = train_run(tmp_path, frame, identifier="id", epochs=1)
    (tmp_path / "rows").mkdir()
    frame.to_parquet(tmp_path / "rows" / "a.parquet")
    call("predict", run, tmp_path / "rows", "--out", tmp_path / "whole")
    encode = pg.HyNNClassifier.encode_rows

    def scarce(self: Any, rows: Any) -> Any:
        if len(rows) > 20:
            raise MemoryError
        return encode(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pg.HyNNClassifier, "encode_rows", scarce)
        call("predict", run, tmp_path / "rows", "--out", tmp_path / "cut")
    predictions, expected = (
        pd.read_parquet(tmp_path / name / "part-00000.parquet")
        for name in ("cut", "whole")
    )
    pd.testing.assert_frame_equal(predictions, expected)


# ---- the pieces ----------------------------------------------------------------------
def test_what_is_taken_for_a_lack_of_memory() -> None:
    for make in ERRORS.values():
        assert is_out_of_memory(make(100))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert is_out_of_memory(RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED"))
    for error in (
        RuntimeError("shapes do not fit"),
        ValueError("out of memory"),
        KeyError("you tried to allocate"),
    ):
        assert not is_out_of_memory(error)


def test_said_once_in_a_work_and_again_in_the_next() -> None:
    def half(part: slice) -> None:
        if part.stop - part.start > 2:
            raise MemoryError

    @sparing()
    def work() -> None:
        in_batches(20, 20, half)
        with sparing():
            in_batches(20, 20, half)

    for _ in range(2):
        with pytest.warns(pg.PermgradWarning) as caught:
            work()
        assert [str(warning.message).partition(".")[0] for warning in caught] == [
            "A batch of 20 rows does not fit into memory"
        ]


def test_what_never_fits_is_one_sentence() -> None:
    def work(_: slice) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        )

    sentence = r"There is not enough memory \(Def.* 9 bytes\.\)\. Free memory, or"
    with (
        pytest.warns(pg.PermgradWarning),
        pytest.raises(pg.EnvironmentProblem, match=sentence) as caught,
        sparing(),
    ):
        in_batches(3, 2, work)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(ValueError, match="another"), sparing():
        raise ValueError("another")
    with pytest.raises(RuntimeError, match="shapes"):
        halved(8, RuntimeError("shapes"))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="the limit of a process's memory is Linux'"
)
def test_memory_that_is_really_limited() -> None:
    """Torch's own error, under a limit of the operating system."""
    program = """
import resource, warnings
import numpy as np, torch
import permgrad as pg
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Linear(4, 60_000), torch.nn.ReLU(), torch.nn.Linear(60_000, 1)).eval()
rows = torch.randn(1500, 4)
given = dict(method="gradient", progress=False)
model = pg.Model(net, batch_size=1500)
pg.explain(model, rows[:20], **given)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 500 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = pg.explain(model, rows, **given).values
assert np.isfinite(found).all()
print([str(one.message)[:60] for one in caught])
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("A batch of 1,500 rows does not fit into memory") == 1


def test_torch_is_as_before(model: Any) -> None:
    """A work that was cut leaves the network and the process as any other does."""
    state = torch.get_rng_state()
    with ScarceMemory(400_000) as scarce, pytest.warns(pg.PermgradWarning):
        pg.explain(
            model, X[:ROWS], LABELS[:ROWS], n_repeats=2, random_state=0, progress=False
        )
    assert scarce.refused
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(submodule.training for submodule in model.module_.modules())
