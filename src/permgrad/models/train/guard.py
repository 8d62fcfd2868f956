"""Leaves the process as it was: random states, logs, warnings, folder, threads,
signals, environment, torch's flags.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Any

import torch

from permgrad.base.random import GENERATORS, forked_torch
from permgrad.base.threads import Change, Undo, together

Read = Callable[[], Any]
Write = Callable[[Any], Any]
_CUDNN = ("benchmark", "deterministic", "enabled")
_SIGNALS = tuple(
    getattr(signal, signal_name)
    for signal_name in ("SIGINT", "SIGTERM", "SIGUSR1")
    if hasattr(signal, signal_name)
)


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Run the body, then put back all that this module's title names.

    Torch's generators are ``forked_torch``'s.

    Of threads that do so at the same time, the last puts back what the first has met:
    what is read while another one computes is not the user's.
    """
    cudnn = torch.backends.cudnn
    settings: dict[str, tuple[Read, Write]] = {
        "the environment": (lambda: dict(os.environ), _put_back_environment),
        "the folder": (_folder, _put_back_folder),
        "loggers": (_loggers, _put_back_loggers),
        # Not warnings.catch_warnings: it also resets what each module has shown
        # already, which would repeat warnings.
        "warning filters": (lambda: list(warnings.filters), _put_back_filters),
        "how warnings are shown": (
            lambda: warnings.showwarning,
            partial(setattr, warnings, "showwarning"),
        ),
        "torch's dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "torch's determinism": (
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda flags: torch.use_deterministic_algorithms(
                flags[0], warn_only=flags[1]
            ),
        ),
        "torch's precision": (
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        **{
            f"cuDNN's {flag_name}": (
                partial(getattr, cudnn, flag_name),
                partial(setattr, cudnn, flag_name),
            )
            for flag_name in _CUDNN
        },
    }
    # Each thread has its own of these.
    thread_settings: list[tuple[Read, Write]] = [
        (torch.is_grad_enabled, torch.set_grad_enabled),
        (torch.get_num_threads, torch.set_num_threads),
    ]
    if torch.cuda.is_initialized():
        thread_settings.append((torch.cuda.current_device, torch.cuda.set_device))
    if threading.current_thread() is threading.main_thread():
        # Handlers can be set by the main thread alone. One of None was not set from
        # Python, and cannot be put back.
        numbers = []
        for number in _SIGNALS:
            if signal.getsignal(number) is not None:
                numbers.append(number)
        thread_settings += [
            (partial(signal.getsignal, number), partial(signal.signal, number))
            for number in numbers
        ]
    shared: dict[Hashable, Change] = {
        setting_name: partial(_kept, setting_reader, write)
        for setting_name, (setting_reader, write) in settings.items()
    }
    with together({**GENERATORS, **shared}), contextlib.ExitStack() as undone:
        for thread_reader, write in thread_settings:
            undone.callback(_kept(thread_reader, write))
        yield


def _kept(read: Read, write: Write) -> Undo:
    """Return what puts a setting back.

    Not without need: some calls load torch's compiler, or are refused.
    """
    before = read()
    return lambda: None if read() == before else write(before)


def _put_back_environment(before: dict[str, str]) -> None:
    for variable_name in set(os.environ) - set(before):
        del os.environ[variable_name]
    os.environ.update(
        {
            restored_name: value
            for restored_name, value in before.items()
            if os.environ.get(restored_name) != value
        }
    )


def _folder() -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()  # noqa: PTH109 — a plain string is put back
    return None


def _put_back_folder(before: str | None) -> None:
    if before is not None:
        with contextlib.suppress(OSError):
            os.chdir(before)


@contextlib.contextmanager
def sheltered(seed: int) -> Iterator[None]:
    """Run the body as if in a fresh process: torch seeded, float32, gradients on.

    ``untouched`` for everything else.
    """
    with (
        untouched(),
        forked_torch(seed),
        torch.inference_mode(mode=False),
        torch.enable_grad(),
    ):
        torch.set_default_dtype(torch.float32)
        yield


def _put_back_filters(filters: list[Any]) -> None:
    """Put the warnings' filters back, and make Python read them again, by the name that
    it has for this.
    """
    warnings.filters[:] = filters  # type: ignore[index]
    changed = getattr(warnings, "_filters_mutated", None) or getattr(
        warnings, "_filters_mutated_lock_held", None
    )
    if changed is not None:
        with contextlib.suppress(RuntimeError):
            changed()


def _loggers() -> tuple[list[tuple[Any, ...]], int]:
    """Return how all loggers are."""
    named = []
    for entry in logging.root.manager.loggerDict.values():
        if isinstance(entry, logging.Logger):
            named.append(entry)
    states = []
    for logger in (logging.root, *named):
        states.append(
            (
                logger,
                logger.level,
                list(logger.handlers),
                list(logger.filters),
                logger.propagate,
                logger.disabled,
            )
        )
    return states, logging.root.manager.disable


def _put_back_loggers(before: tuple[list[tuple[Any, ...]], int]) -> None:
    for logger, level, handlers, filters, propagate, disabled in before[0]:
        if logger.level != level:
            logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.filters[:] = filters
        logger.propagate = propagate
        logger.disabled = disabled
    logging.disable(before[1])
