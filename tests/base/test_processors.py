"""Tests for permgrad.base.processors."""

from __future__ import annotations

import os

import pytest

from permgrad.base import processors
from permgrad.base.processors import free_processors, prepare_threads

NAMES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "OPENBLAS_THREAD_TIMEOUT",
)


@pytest.fixture
def unset(monkeypatch):
    """An environment that says nothing of threads, on a machine of four processors."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(processors, "processors", lambda: 4)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(processors, "_BETWEEN", 0)


@pytest.mark.parametrize(("running", "free"), [(1, 4), (2, 3), (4, 1), (40, 1)])
def test_as_many_threads_as_processors_are_free(
    unset, monkeypatch, tmp_path, running, free
):
    monkeypatch.setattr(processors, "_STATISTICS", tmp_path / "stat")
    (tmp_path / "stat").write_text(f"cpu 1 2 3\nprocs_running {running}\n")
    assert free_processors() == free
    prepare_threads(None)
    assert {os.environ[name] for name in NAMES[:3]} == {str(free)}


@pytest.mark.parametrize("content", ["", "procs_running", "procs_running x", None])
def test_a_machine_that_does_not_say_what_runs_is_free(
    unset, monkeypatch, tmp_path, content
):
    monkeypatch.setattr(processors, "_STATISTICS", tmp_path / "stat")
    if content is not None:
        (tmp_path / "stat").write_text(content)
    assert free_processors() == 4


def test_threads_sleep_while_they_wait_unless_the_user_decides(unset, monkeypatch):
    prepare_threads(3)
    assert {os.environ[name] for name in NAMES[:3]} == {"3"}
    assert int(os.environ["GOMP_SPINCOUNT"]) < 300_000
    assert os.environ["KMP_BLOCKTIME"] == "0"
    assert int(os.environ["OPENBLAS_THREAD_TIMEOUT"]) < 26
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    prepare_threads(None)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["GOMP_SPINCOUNT"]) == ("2", "7")
    for name in NAMES[4:]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    prepare_threads(None)
    assert "GOMP_SPINCOUNT" not in os.environ
