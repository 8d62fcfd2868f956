"""What is the user's is put back after a fit, whatever changed it meanwhile."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from permgrad.base.random import seeded
from permgrad.models.train import guard
from permgrad.models.train.guard import untouched

KNOWN = logging.getLogger("a library of the user's")


def _handler(*_: object) -> None:
    """Stand for another engine's handler."""


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "random numbers": (random.getstate, lambda: random.seed(9)),
    "random numbers of NumPy": (
        lambda: np.random.get_state()[1].tolist(),  # noqa: PLW0108 — the state at the time of the call
        lambda: np.random.seed(9),
    ),
    "a logger's level": (lambda: KNOWN.level, lambda: KNOWN.setLevel(KNOWN.level + 7)),
    "a logger's handlers": (
        lambda: list(KNOWN.handlers),
        lambda: KNOWN.addHandler(logging.NullHandler()),
    ),
    "whether a logger speaks": (
        lambda: (KNOWN.propagate, KNOWN.disabled),
        lambda: (setattr(KNOWN, "propagate", False), setattr(KNOWN, "disabled", True)),
    ),
    "what all logging leaves out": (
        lambda: logging.root.manager.disable,
        lambda: logging.disable(logging.ERROR),
    ),
    "a new variable": (
        lambda: dict(os.environ),
        lambda: os.environ.update(PERMGRAD_TEST_NEW="1"),
    ),
    "a changed variable": (
        lambda: dict(os.environ),
        lambda: os.environ.update(PATH="/nowhere"),
    ),
    "a variable that is gone": (
        lambda: dict(os.environ),
        lambda: os.environ.pop("PATH"),
    ),
    "the working folder": (os.getcwd, lambda: os.chdir("/")),
    "a signal's handler": (
        lambda: signal.getsignal(signal.SIGTERM),
        lambda: signal.signal(signal.SIGTERM, _handler),
    ),
    "torch's threads": (
        torch.get_num_threads,
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    ),
    "torch's precision": (
        torch.get_default_dtype,
        lambda: torch.set_default_dtype(torch.float64),
    ),
    "torch's products": (
        torch.get_float32_matmul_precision,
        lambda: torch.set_float32_matmul_precision("medium"),
    ),
    "torch's determinism": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(
            not torch.are_deterministic_algorithms_enabled()
        ),
    ),
    "cuDNN's search": (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(
            torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark
        ),
    ),
    "gradients": (
        torch.is_grad_enabled,
        lambda: torch.set_grad_enabled(not torch.is_grad_enabled()),
    ),
    "warning filters": (
        lambda: list(warnings.filters),
        lambda: warnings.simplefilter("error", FutureWarning),
    ),
    "who shows warnings": (
        lambda: warnings.showwarning,
        lambda: setattr(warnings, "showwarning", _handler),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_meanwhile_is_put_back(what):
    read, change = CHANGES[what]
    before = read()
    with untouched():
        change()
        assert read() != before, "the case must change something"
    assert read() == before


#: What each thread has for itself, or the main thread alone.
OWN = {"gradients", "a signal's handler", "torch's threads"}


@contextmanager
def another_thread_in(body, change=lambda: None):
    """Let another thread be inside a context, where it changes something, and leave it
    when told to.
    """
    inside = threading.Event()
    leave = threading.Event()

    def run():
        with body():
            change()
            inside.set()
            assert leave.wait(60)

    thread = threading.Thread(target=run)
    thread.start()
    assert inside.wait(60)

    def end():
        leave.set()
        thread.join()

    try:
        yield end
    finally:
        end()


@pytest.mark.parametrize("what", sorted(CHANGES.keys() - OWN))
def test_what_is_read_while_another_thread_computes_is_not_put_back(what):
    read, change = CHANGES[what]
    before = read()
    with another_thread_in(untouched, change) as end, untouched():
        assert read() != before, "the case must change something"
        end()
    assert read() == before


def test_a_seeded_explanation_and_a_model_that_is_loaded_meanwhile_leave_the_generators():
    random.seed(3)
    np.random.seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist()
    with another_thread_in(seeded) as end, untouched():
        end()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_it_is_put_back_after_an_error_too():
    def fail():
        with untouched():
            os.environ["PERMGRAD_TEST_NEW"] = "1"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert "PERMGRAD_TEST_NEW" not in os.environ


@pytest.mark.parametrize("name", ["_filters_mutated", "_filters_mutated_lock_held"])
def test_python_is_told_of_other_filters_under_either_name(name, monkeypatch):
    told_names: list[str] = []
    for function_name in ("_filters_mutated", "_filters_mutated_lock_held"):
        monkeypatch.delattr(warnings, function_name, raising=False)
    guard._put_back_filters(list(warnings.filters))
    assert told_names == [], "where Python has neither, there is nobody to tell"
    monkeypatch.setattr(warnings, name, lambda: told_names.append(name), raising=False)
    guard._put_back_filters(list(warnings.filters))
    assert told_names == [name]
