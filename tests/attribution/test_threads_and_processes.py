"""Explanations in threads, workers, forked children and event loops: the same as alone,
and nothing left behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from strangers import STRANGERS
from torch import fx, nn
from usual_methods import CASES, USUAL, few_draws

import permgrad as pg
from permgrad.base.threads import together

ROWS = 12
Work = Callable[[], np.ndarray]


def table(rows: int = 200) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], rows)
    signal = X["a"] + (X["colour"] == "red") * 2 + X["b"] * X["c"]
    return X, np.array(["no", "maybe", "yes"])[np.digitize(signal, [-0.3, 1.0])]


X, LABELS = table()


@pytest.fixture(scope="module")
def model() -> Any:
    # Dropout and batch normalisation would show in the numbers if a thread switched
    # them on for another one.
    network = {"dropout": 0.3, "normalization": "batch", "conv_normalization": "batch"}
    settings = {
        "preset": "fast",
        "image": "always",
        "network": network,
        "max_epochs": 1,
        "random_state": 0,
        "progress": False,
    }
    return pg.HyNNClassifier(**settings).fit(X, LABELS)


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Let threads take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def process_state() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "filters": list(warnings.filters),
        "show": warnings.showwarning,
        "TF32": (cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "call": nn.Module.__call__,
        "getattr": nn.Module.__getattr__,
        "errors": np.geterr(),
        "threads": torch.get_num_threads(),
    }


def module_state(module: nn.Module) -> dict[str, Any]:
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {
        "modes": {
            name: submodule.training for name, submodule in module.named_modules()
        },
        "hooks": {
            f"{name}.{kind}": len(getattr(submodule, kind))
            for name, submodule in module.named_modules()
            for kind in kinds
        },
        "gradients": {
            name: (tensor.requires_grad, tensor.grad is None)
            for name, tensor in tensors.items()
        },
        "weights": {
            name: tensor.detach().double().numpy().tobytes()
            for name, tensor in tensors.items()
        },
    }


def compare(
    works: Sequence[Work], module: nn.Module, threads: int = 4, *, filters: bool = True
) -> None:
    """Do works one after the other and then in threads, each twice, and compare;
    nothing else may change.

    ``filters``: whether the warning filters are looked at; libraries that read and draw
    change them without a lock.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        alone = [work() for work in works]
        before = process_state(), module_state(module)
        order = [work_number for work_number in range(len(works)) for _ in range(2)]
        random.Random(0).shuffle(order)
        inside = 0
        most = 0
        lock = threading.Lock()

        def one(task_index: int) -> np.ndarray:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            try:
                return works[task_index]()
            finally:
                with lock:
                    inside -= 1

        running = threading.active_count()
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(one, order))
        assert most > 1, "the precondition: they were at work at the same time"
        assert threading.active_count() == running
        after = process_state(), module_state(module)
    for work_index, result in zip(order, results, strict=True):
        np.testing.assert_allclose(
            result,
            alone[work_index],
            rtol=0,
            atol=1e-7 * max(1.0, float(np.nanmax(np.abs(result)))),
        )
    for kind, old in zip(after, before, strict=True):
        looked_at = [name for name in old if filters or name != "filters"]
        assert {name: kind[name] for name in looked_at} == {
            name: old[name] for name in looked_at
        }
        assert kind.keys() == old.keys()


@pytest.mark.usefixtures("many_switches")
def test_every_method_at_once_on_one_hybrid_network(model: Any) -> None:
    """Its user has left a part in train mode, which every explanation switches off, and
    the last puts back.
    """
    model.module_.table_branch.train()

    def work(name: str, scope: Any) -> Work:
        call_options = {
            "random_state": 0,
            "n_repeats": 2,
            "progress": False,
            **few_draws(name),
        }
        return lambda: (
            explain_with(
                model, X[:ROWS], LABELS[:ROWS], method=name, scope=scope, **call_options
            ).values
        )

    try:
        # pandas, by which the model encodes rows, changes the filters for a moment
        # without a lock.
        compare([work(*case) for case in CASES], model.module_, filters=False)
    finally:
        model.module_.eval()


@pytest.mark.slow
@pytest.mark.usefixtures("many_switches")
@pytest.mark.parametrize("name", ["images_first", "shared_encoder"])
def test_every_method_at_once_on_any_network(name: str) -> None:
    net, inputs, y = STRANGERS[name]()
    net.train()
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        "segments": None,
    }

    def work(method: str, **options: Any) -> Work:
        return lambda: (
            explain_with(
                net,
                inputs,
                y,
                method=method,
                **call_options,
                **few_draws(method),
                **options,
            ).values
        )

    works = [work(method) for method in USUAL if method != "permgrad_paper"]
    works += [
        work("permgrad", groups="modality"),
        work("permutation", groups="modality"),
    ]
    if name == "shared_encoder":
        works += [
            work("gradient", layer="fusion"),
            work("permutation", layer="encoder.0"),
            work("lime", layer="head.0"),
        ]
    compare(works, net)


@pytest.mark.usefixtures("many_switches")
def test_a_layer_that_has_no_cut_is_met_by_its_own_thread_alone() -> None:
    """The network's forward cannot be traced: the layer's output is put in by a hook,
    which all threads would call.
    """

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 5)
            self.last = nn.Linear(5, 2)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            hidden = self.first(rows)
            return self.last(hidden if float(hidden.sum()) > 1e9 else hidden.tanh())

    torch.manual_seed(0)
    net = Branching()
    rows = torch.randn(30, 3)
    with pytest.raises(TypeError, match="not 'Proxy'"):
        fx.symbolic_trace(net)
    call_options = {"n_repeats": 2, "random_state": 0, "progress": False}
    compare(
        [
            lambda: explain_with(net, rows, layer="first", **call_options).values,
            lambda: (
                explain_with(
                    net, rows, method="gradient", layer="first", **call_options
                ).values
            ),
            lambda: explain_with(net, rows, **call_options).values,
            lambda: (
                explain_with(
                    net, rows, method="integrated_gradients", **call_options
                ).values
            ),
        ],
        net,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("many_switches")
def test_tables_in_parts_plots_and_files_at_once(model: Any, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for part_index in range(2):
        X[part_index * 60 : (part_index + 1) * 60].to_parquet(
            tmp_path / "rows" / f"{part_index}.parquet"
        )
    full_explanation = pg.explain(
        model, X[:ROWS], n_repeats=1, random_state=0, progress=False
    )

    def parts() -> np.ndarray:
        call_options = {"n_repeats": 1, "random_state": 0, "progress": False}
        return pg.explain_stream(model, tmp_path / "rows", **call_options).values

    def drawn() -> np.ndarray:
        svg = full_explanation.plot.bar().to_svg()
        # Numbers of clip paths and the like are drawn at random.
        return np.array([len(svg) // 100, svg.count("<text")], dtype=float)

    def loaded() -> np.ndarray:
        return pg.load(tmp_path / "model").predict_proba(X[:ROWS])

    model.save(tmp_path / "model")
    settings = dict(mpl.rcParams)
    compare([parts, drawn, loaded], model.module_, filters=False)
    assert dict(mpl.rcParams) == settings


def test_captum_objects_one_after_the_other() -> None:
    """They put hooks on the network and keep what they see in themselves."""
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    rows = torch.randn(40, 3)
    captum_method = attr.DeepLift(net)
    works: list[Work] = [
        lambda: (
            pg.explain(net, rows, method=captum_method, target=0, progress=False).values
        )
    ]
    works += [
        lambda: (
            pg.explain(
                net,
                rows,
                method=attr.IntegratedGradients(net),
                target=1,
                progress=False,
            ).values
        )
    ]
    compare(works, net, threads=3)


# ---- the pieces ----------------------------------------------------------------------
def test_who_comes_first_changes_and_who_leaves_last_puts_back() -> None:
    events: list[str] = []

    def change() -> Callable[[], None]:
        events.append("changed")
        return lambda: events.append("put back")

    entered = threading.Event()
    leave = threading.Event()

    def other() -> None:
        with together({"a": change}):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(30)
    with together({"a": change, "b": change}):
        assert events == ["changed", "changed"], "of a once, of b once"
        leave.set()
        thread.join()
        assert events == ["changed", "changed"]
    assert events == ["changed", "changed", "put back", "put back"]

    def broken() -> Callable[[], None]:
        raise ValueError("cannot")

    with (
        pytest.raises(ValueError, match="cannot"),
        together({"a": change, "c": broken}),
    ):
        pass
    assert events[4:] == ["changed", "put back"]


def test_an_explanation_works_in_the_callers_thread(model: Any) -> None:
    """What the caller has set for its thread, gradients switched off for example, holds
    for the work.
    """
    where: list[int] = []

    def loss(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
        where.append(threading.get_ident())
        return outputs[:, 0] - np.mean(y == "no")

    options: dict[str, Any] = {"n_repeats": 1, "random_state": 0, "progress": False}
    explain_with(
        model, X[:ROWS], LABELS[:ROWS], method="permutation", loss=loss, **options
    )
    assert len(where) > 3
    assert set(where) == {threading.get_ident()}


# ---- processes -----------------------------------------------------------------------
def explain_in_worker(model: Any, method: str) -> np.ndarray:
    """Explain, wherever this is called."""
    torch.set_num_threads(1)
    return pg.explain(
        model, X[:ROWS], method=method, n_repeats=2, random_state=0, progress=False
    ).values


@pytest.mark.slow
def test_in_joblib_workers(model: Any) -> None:
    joblib = pytest.importorskip("joblib")
    names = ["permgrad", "gradient"]
    alone = [explain_in_worker(model, name) for name in names]
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        results = joblib.Parallel(n_jobs=2)(
            joblib.delayed(explain_in_worker)(model, name) for name in names
        )
    for worker_values, expected in zip(results, alone, strict=True):
        np.testing.assert_allclose(worker_values, expected, rtol=0, atol=1e-6)
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


#: In a process of its own: forking one with threads of a test's is no test of anything.
_FORKING = """
import multiprocessing, threading
import numpy as np, torch
import permgrad as pg
from permgrad.base.random import forked_torch
from permgrad.base.threads import _asking, warning_filters
from permgrad.attribution.subject.tracing import _one_traces
from permgrad.models.devices import full_float32
from permgrad.models.undisturbed import undisturbed
torch.set_num_threads(2)
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 4))
y = X[:, 0] + X[:, 1] * X[:, 2]
model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0, progress=False).fit(X, y)
net = torch.nn.Sequential(torch.nn.Linear(4, 600), torch.nn.ReLU(), torch.nn.Linear(600, 1))
rows = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))

def work():
    given = dict(n_repeats=2, random_state=0, progress=False)
    hybrid = [pg.explain(model, X[:60], y[:60], **given).values, pg.explain(model, X[:60], method="gradient").values]
    plain = [pg.explain(net, rows, method=method, **given).values for method in ("gradient", "permutation")]
    return [*hybrid, *plain, model.predict(X)]

net(rows).sum().backward()  # torch's threads are there, and its engine of gradients
alone = work()
holding, stop = threading.Event(), threading.Event()

def hold():
    # All that an explanation holds and changes, while another thread forks.
    with warning_filters, _one_traces, _asking, full_float32(), undisturbed(net), forked_torch(0):
        holding.set()
        stop.wait(200)

def child(answer, busy):
    before = torch.get_num_threads()
    if busy:
        assert net.training, "the other thread is gone, and what it changed is put back"
        with warning_filters, _one_traces:
            pass
    answer.put([np.asarray(own) for own in work()])
    assert torch.get_num_threads() == before

context = multiprocessing.get_context("fork")

def compare(busy):
    answer = context.Queue()
    process = context.Process(target=child, args=(answer, busy))
    process.start()
    found = answer.get(timeout=150)
    process.join(60)
    assert process.exitcode == 0, process.exitcode
    for own, expected in zip(found, alone):
        assert np.allclose(own, expected, rtol=0, atol=1e-5), np.abs(own - expected).max()

compare(busy=False)
net.train()
thread = threading.Thread(target=hold)
thread.start()
holding.wait(60)
assert not net.training
compare(busy=True)
stop.set()
thread.join()
print("the same")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_in_a_forked_child() -> None:
    """Of an idle process and of a busy one.

    With several threads torch waits there forever for those left behind.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    words = [sys.executable, "-c", _FORKING]
    ended = subprocess.run(
        words, check=False, capture_output=True, text=True, env=environment, timeout=240
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "the same\n"


# ---- event loops ---------------------------------------------------------------------
def test_inside_a_running_event_loop(model: Any) -> None:
    """As in a notebook, whose cells run inside one."""

    async def cell() -> np.ndarray:
        explanation = pg.explain(
            model, X[:ROWS], n_repeats=2, random_state=0, progress=True
        )
        assert explanation.plot.bar()._repr_png_().startswith(b"\x89PNG")
        fitted = pg.HyNNClassifier(
            preset="fast", image="always", max_epochs=1, random_state=0, progress=False
        ).fit(X, LABELS)
        assert fitted.predict(X[:3]).shape == (3,)
        # Beside a cell that still runs in a thread.
        await asyncio.to_thread(pg.explain, model, X[:ROWS], method="gradient")
        return explanation.values

    alone = pg.explain(
        model, X[:ROWS], n_repeats=2, random_state=0, progress=False
    ).values
    np.testing.assert_array_equal(asyncio.run(cell()), alone)
