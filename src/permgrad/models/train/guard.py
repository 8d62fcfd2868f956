"""Leaves the process as it was: random states, logging, warnings, folder, threads, signals, environment, torch's flags.

A training engine changes several of these, on purpose or by the way. What belongs to the user is put back, also after
an error and after Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from permgrad.base.random import forked_torch

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Run the body, then put back everything that this module's title names. Torch's generators are ``forked_torch``'s.

    Examples:
        >>> before = os.getcwd()
        >>> with untouched():
        ...     os.chdir("/")
        >>> os.getcwd() == before
        True
    """
    undo = [
        _python_random(),
        _logging(),
        _environment(),
        _working_folder(),
        _signal_handlers(),
        _torch_flags(),
    ]
    # Not warnings.catch_warnings: it also resets what each module has shown already, which would repeat warnings.
    filters = list(warnings.filters)
    shower = warnings.showwarning
    try:
        yield
    finally:
        if list(warnings.filters) != filters:
            warnings.filters[:] = filters  # type: ignore[index]
            _filters_changed()
        warnings.showwarning = shower
        for put_back in undo:
            put_back()


@contextlib.contextmanager
def sheltered(seed: int) -> Iterator[None]:
    """Run the body as if in a fresh process: torch seeded, float32, gradients on; ``untouched`` for all the rest.

    A user may call ``fit`` inside ``torch.no_grad()``, in inference mode or with another default precision.
    """
    with untouched(), forked_torch(seed), torch.inference_mode(mode=False), torch.enable_grad():
        torch.set_default_dtype(torch.float32)
        yield


def _filters_changed() -> None:
    """Tell the warnings module that its list of filters is another one, under the name this Python gives it."""
    for name in ("_filters_mutated", "_filters_mutated_lock_held"):
        function = getattr(warnings, name, None)
        if function is not None:
            with contextlib.suppress(RuntimeError):
                function()
            return


def _python_random() -> Callable[[], None]:
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002 — the user's global state is what must not change

    def put_back() -> None:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 — as above

    return put_back


def _known_loggers() -> list[logging.Logger]:
    named = [entry for entry in logging.root.manager.loggerDict.values() if isinstance(entry, logging.Logger)]
    return [logging.root, *named]


def _logging() -> Callable[[], None]:
    states = [
        (known, known.level, list(known.handlers), list(known.filters), known.propagate, known.disabled)
        for known in _known_loggers()
    ]
    disabled_below = logging.root.manager.disable

    def put_back() -> None:
        for known, level, handlers, filters, propagate, disabled in states:
            if known.level != level:
                known.setLevel(level)
            known.handlers[:] = handlers
            known.filters[:] = filters
            known.propagate = propagate
            known.disabled = disabled
        logging.disable(disabled_below)

    return put_back


def _environment() -> Callable[[], None]:
    variables = dict(os.environ)

    def put_back() -> None:
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        for name, value in variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    return put_back


def _working_folder() -> Callable[[], None]:
    try:
        folder = os.getcwd()  # noqa: PTH109 — a plain string is put back
    except FileNotFoundError:
        return lambda: None

    def put_back() -> None:
        with contextlib.suppress(OSError):
            if os.getcwd() != folder:  # noqa: PTH109 — as above
                os.chdir(folder)

    return put_back


def _signal_handlers() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        # Handlers can be set by the main thread alone, so nothing can have changed them here either.
        return lambda: None
    handlers: list[tuple[signal.Signals, Any]] = [(number, signal.getsignal(number)) for number in _SIGNALS]

    def put_back() -> None:
        for number, handler in handlers:
            # None means that the handler was not set from Python: it cannot be put back, and was not changed.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return put_back


def _torch_flags() -> Callable[[], None]:
    threads = torch.get_num_threads()
    dtype = torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    cudnn_flags = (cudnn.benchmark, cudnn.deterministic, cudnn.enabled)
    gradients = torch.is_grad_enabled()
    # The training engine makes the GPU that it trains on the current one.
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None

    def put_back() -> None:
        if gpu is not None and torch.cuda.current_device() != gpu:
            torch.cuda.set_device(gpu)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        now = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if now != (deterministic, warn_only):
            # Not without need: the call loads torch's compiler, which takes longer than reading a model.
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if (cudnn.benchmark, cudnn.deterministic, cudnn.enabled) != cudnn_flags:
            cudnn.benchmark, cudnn.deterministic, cudnn.enabled = cudnn_flags
        if not torch.is_inference_mode_enabled():
            torch.set_grad_enabled(gradients)

    return put_back
