"""Leaves the process as it was: random states, logs, warnings, folder, threads, signals, environment, torch's flags."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from permgrad.base.random import forked_torch

Read = Callable[[], Any]
Write = Callable[[Any], Any]
_CUDNN = ("benchmark", "deterministic", "enabled")
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Run the body, then put back all that this module's title names. Torch's generators are ``forked_torch``'s."""
    python_random, numpy_random = random.getstate(), np.random.get_state()  # noqa: NPY002 — the user's global state
    environment = dict(os.environ)
    folder, cudnn = None, torch.backends.cudnn
    with contextlib.suppress(FileNotFoundError):
        folder = os.getcwd()  # noqa: PTH109 — a plain string is put back
    # How each setting of the process is read and written.
    settings: list[tuple[Read, Write]] = [
        (_loggers, _put_back_loggers),
        # Not warnings.catch_warnings: it also resets what each module has shown already, which would repeat warnings.
        (lambda: list(warnings.filters), _put_back_filters),
        (torch.get_num_threads, torch.set_num_threads),
        (torch.get_default_dtype, torch.set_default_dtype),
        (
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1]),
        ),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        *((partial(getattr, cudnn, name), partial(setattr, cudnn, name)) for name in _CUDNN),
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (lambda: warnings.showwarning, partial(setattr, warnings, "showwarning")),
    ]
    if torch.cuda.is_initialized():
        settings.append((torch.cuda.current_device, torch.cuda.set_device))
    if threading.current_thread() is threading.main_thread():
        # Handlers can be set by the main thread alone. One of None was not set from Python, and cannot be put back.
        numbers = [number for number in _SIGNALS if signal.getsignal(number) is not None]
        settings += [(partial(signal.getsignal, number), partial(signal.signal, number)) for number in numbers]
    before = [(read(), read, write) for read, write in settings]
    try:
        yield
    finally:
        random.setstate(python_random)
        np.random.set_state(numpy_random)  # noqa: NPY002 — as above
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})
        if folder is not None:
            with contextlib.suppress(OSError):
                os.chdir(folder)
        for value, read, write in before:
            # Not without need: some calls load torch's compiler, or are refused.
            if read() != value:
                write(value)


@contextlib.contextmanager
def sheltered(seed: int) -> Iterator[None]:
    """Run the body as if in a fresh process: torch seeded, float32, gradients on. ``untouched`` for everything else."""
    with untouched(), forked_torch(seed), torch.inference_mode(mode=False), torch.enable_grad():
        torch.set_default_dtype(torch.float32)
        yield


def _put_back_filters(filters: list[Any]) -> None:
    """Put the warnings' filters back, and make Python read them again, by the name that it has for this."""
    warnings.filters[:] = filters  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None) or getattr(warnings, "_filters_mutated_lock_held", None)
    if changed is not None:
        with contextlib.suppress(RuntimeError):
            changed()


def _loggers() -> tuple[list[tuple[Any, ...]], int]:
    """Return how all loggers are."""
    named = [entry for entry in logging.root.manager.loggerDict.values() if isinstance(entry, logging.Logger)]
    states = [
        (logger, logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled)
        for logger in (logging.root, *named)
    ]
    return states, logging.root.manager.disable


def _put_back_loggers(before: tuple[list[tuple[Any, ...]], int]) -> None:
    for logger, level, handlers, filters, propagate, disabled in before[0]:
        if logger.level != level:
            logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters
        logger.propagate, logger.disabled = propagate, disabled
    logging.disable(before[1])
