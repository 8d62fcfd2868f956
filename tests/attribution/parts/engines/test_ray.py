"""The Ray engine on two workers of this machine: short forms of
``verification/verify_ray.py``, all but its times.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from invoking import call

import permgrad as pg
from permgrad.attribution.parts.engines import RayEngine, make_engine
from permgrad.attribution.parts.engines import ray as ray_engine
from permgrad.base.processors import processors
from permgrad.models.devices import torch_threads

ray = pytest.importorskip(
    "ray", reason="Ray is not installed: pip install 'permgrad[scale]'"
)
linux = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="processes are found under /proc"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(processors() < 2, reason="two workers need two processors"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a model and a table of eight parts."""
    from verification import verify_ray

    return verify_ray.make_case(
        tmp_path_factory.mktemp("ray"), parts=8, rows=60, repeats=2, preset="fast"
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give a session of the user's with two processors, and two accelerators that are
    there in name alone.
    """
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=150 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture
def script() -> ModuleType:
    from verification import verify_ray

    return verify_ray


def raised(work: Callable[[Any], Any], tasks: list[Any]) -> BaseException:
    # One worker: each that is started imports torch anew.
    with pytest.raises(Exception) as caught:  # noqa: PT011 — its kind is what is looked at
        list(RayEngine(workers=1).run(tasks, work))
    return caught.value


# ---- in a session of the user's ------------------------------------------------------


@linux
def test_two_workers_are_killed_and_nothing_is_lost_or_counted_twice(
    session: None, case: Any, script: ModuleType
) -> None:
    with torch_threads(1):  # as a worker
        alone = script.run(case, "local")
    assert len(alone.results) == 8
    kill_record = script.killed_workers(case, alone, after=(1, 4))
    assert kill_record["killed"] == 2
    # Not at all where the other worker has done the rest before the successor of a
    # killed one is there.
    assert kill_record["warned"] <= 1
    assert script.same(kill_record, 8 * 60)
    assert kill_record["largest difference of sums"] == 0


@linux
def test_the_only_worker_is_killed_and_its_successor_is_told_of(
    session: None, tmp_path: Path
) -> None:
    marker = tmp_path / "killed"

    def work(task: int) -> int:
        if task == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    engine = RayEngine(workers=1)
    with pytest.warns(
        pg.PermgradWarning,
        match="A worker crashed and was started again. .* results do not change",
    ):
        results = list(engine.run(list(range(4)), work))
    assert marker.exists()
    assert sorted(results) == [0, 1, 2, 3]
    assert engine.facts["workers_restarted"] == 1


def test_rows_in_memory_give_what_they_give_in_this_process(
    session: None, case: Any
) -> None:
    model = pg.load(case.model)
    rows = pd.read_parquet(case.table)
    X = rows.drop(columns="y")
    y = rows["y"]
    options: dict[str, Any] = {"n_repeats": 2, "random_state": 0, "progress": False}
    alone = explain_with(model, X, y, **options)
    shared = pg.explain_stream(model, X, y, engine=pg.RayEngine(workers=2), **options)
    scale = alone.meta["loss_scale"]
    assert alone.ranking()[0] == "x0"
    assert np.abs(shared.values - alone.values).max() <= 1e-5 * scale
    assert np.abs(shared.std_error - alone.std_error).max() <= 1e-5 * scale
    assert shared.meta["background"] == {"kind": "rows explained", "rows": 480}
    assert shared.meta["engine"] == {"engine": "ray", "workers": 2}
    assert ray.is_initialized(), "the user's session goes on"


def test_an_error_of_a_worker_is_the_error_of_the_call(
    session: None, case: Any
) -> None:
    def work(task: int) -> int:
        if task == 3:
            raise pg.InputError("A part is bad")
        return task

    error = raised(work, list(range(6)))
    assert type(error) is pg.InputError
    assert str(error) == "A part is bad."
    assert "in work" in str(error.__cause__), "where it was raised is told"
    assert ray.is_initialized()


def test_each_worker_gets_an_accelerator_and_computes_with_one_thread(
    session: None, tmp_path: Path
) -> None:
    def work(task: int) -> tuple[int, str, int]:
        import torch

        (tmp_path / str(os.getpid())).touch()
        waited_until = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < waited_until:
            time.sleep(
                0.05
            )  # until the second worker has come, which needs a task of its own
        return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()

    worker_facts = set(RayEngine().run(list(range(4)), work))
    assert len({process for process, _, _ in worker_facts}) == 2, (
        "one worker for each accelerator"
    )
    assert {device for _, device, _ in worker_facts} == {"0", "1"}
    assert {threads for _, _, threads in worker_facts} == {1}


def test_a_worker_that_cannot_load_says_where(session: None) -> None:
    class Unloadable:
        def __call__(self, task: int) -> int:
            return task

        def __setstate__(self, state: object) -> None:
            raise ModuleNotFoundError("No module named 'elsewhere'")

        def __getstate__(self) -> dict[str, int]:
            return {"something": 1}

    error = raised(Unloadable(), [1, 2])
    assert type(error) is pg.EnvironmentProblem
    assert str(error).startswith("The worker at ")
    assert "cannot load the model: " in str(error)
    assert "No module named 'elsewhere'" in str(error)


def test_a_part_that_kills_every_worker_is_given_up(
    session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "_ATTEMPTS", 2)

    def work(task: int) -> int:
        if task == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    error = raised(work, list(range(4)))
    assert type(error) is pg.EnvironmentProblem
    assert str(error).startswith("2 workers crashed on the same part. ")


def test_more_workers_than_the_session_has_room_for_are_refused(session: None) -> None:
    with pytest.raises(pg.InputError) as caught:
        list(RayEngine(workers=3).run([1], str))
    assert caught.value.message == (
        "workers=3 of 1 processors each exceed the 2 processors of the Ray session. "
        "Use fewer workers."
    )
    with pytest.raises(pg.InputError) as caught:
        list(RayEngine(workers=2, gpus=2).run([1], str))
    assert str(caught.value).startswith(
        "gpus=2 for each of 2 workers exceed the 2 accelerators"
    )


def test_another_cluster_than_the_sessions_is_refused(session: None) -> None:
    with pytest.raises(pg.InputError) as caught:
        list(RayEngine(workers=2, address="192.0.2.1:6379").run([1], str))
    assert str(caught.value).startswith("This process is connected to the Ray session ")


def test_what_cannot_be_sent_is_refused(session: None) -> None:
    import threading

    lock = threading.Lock()
    with pytest.raises(pg.InputError) as caught:
        list(RayEngine(workers=1).run([1], lambda task: (task, lock)))
    assert str(caught.value).startswith("The model cannot be sent to workers: ")


def test_no_tasks_need_no_workers() -> None:
    assert list(RayEngine(workers=2).run([], str)) == []


# ---- in a session of our own ---------------------------------------------------------


@linux
def test_a_session_of_ours_leaves_nothing_behind(
    case: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    ray.shutdown()
    time.sleep(0.5)
    loggers = {name: logging.getLogger(name).level for name in ("", "ray", "ray.data")}
    before = (
        dict(os.environ),
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        sys.excepthook,
    )
    hint = {
        name: os.environ.get(name)
        for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "PYTHONBREAKPOINT")
    }
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error", pg.PermgradWarning)
        explanation = pg.explain_stream(
            case.model,
            case.table,
            "y",
            engine=pg.RayEngine(workers=2),
            n_repeats=1,
            rows_per_part=1,
            random_state=0,
        )
    printed = capfd.readouterr()
    assert explanation.meta["engine"] == {"engine": "ray", "workers": 2}
    assert not ray.is_initialized()
    after = (
        dict(os.environ),
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
        sys.excepthook,
    )
    assert after == before
    assert {name: os.environ.get(name) for name in hint} == hint
    assert {name: logging.getLogger(name).level for name in loggers} == loggers
    assert printed.out == ""
    assert "ray" not in printed.err.lower()


def test_more_workers_than_processors_are_refused() -> None:
    ray.shutdown()
    with pytest.raises(pg.InputError) as caught:
        list(make_engine("ray", workers=processors() + 1).run([1], str))
    assert caught.value.message == (
        f"workers={processors() + 1} exceeds the {processors()} processors of this "
        "machine. Use fewer workers, or name a cluster with --ray-address."
    )


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (
            "auto",
            ConnectionError("none found"),
            "Ray cannot connect to auto: ConnectionError: none found. Check",
        ),
        (
            "local",
            RuntimeError("no disk"),
            "Ray cannot start on this machine: RuntimeError: no disk. Free",
        ),
        (
            "h:1",
            RuntimeError("AuthenticationError: no"),
            "The Ray cluster at h:1 requires its token",
        ),
    ],
)
def test_why_there_is_no_session_is_told(
    address: str, error: Exception, message: str
) -> None:
    # A real attempt would find whatever Ray session runs on this machine.
    assert str(ray_engine._refused(address, error)).startswith(message)


@linux
def test_the_leader_is_killed_and_the_command_goes_on(
    case: Any, tmp_path: Path, script: ModuleType
) -> None:
    """The command line is killed with its parts half done; the same command, in one
    process, does the others.
    """
    ray.shutdown()
    out = tmp_path / "why"
    words = [
        "explain",
        str(case.model),
        str(case.table),
        "--out",
        str(out),
        "--method",
        "lime",
        "--json",
    ]
    leader = subprocess.Popen(
        [sys.executable, "-m", "permgrad", *words, "--engine", "ray", "--workers", "2"],
        env={**os.environ, "MPLBACKEND": "Agg"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while len(list(out.glob("parts/part-*.npz"))) < 2:
        assert leader.poll() is None, leader.stderr.read().decode()  # type: ignore[union-attr]
        time.sleep(0.02)
    leader.kill()
    leader.wait()
    finished = {
        local_file: local_file.stat().st_mtime_ns
        for local_file in out.glob("local/part-*.parquet")
    }
    # A worker may have renamed one more file after the leader's end, which is then
    # written anew, the same.
    accepted = {parts_file.stem for parts_file in out.glob("parts/part-*.npz")}
    assert 1 <= len(accepted) < 8
    assert call(*words).startswith("{"), "nothing but the result is printed"
    assert all(
        local_file.stat().st_mtime_ns == was
        for local_file, was in finished.items()
        if local_file.stem in accepted
    )
    rows = pd.read_parquet(out / "local")
    assert sorted(rows["row"].unique()) == list(range(8 * 60))
    assert not rows.duplicated(["row", "feature", "class"]).any()
