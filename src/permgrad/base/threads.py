"""Threads that share a process: states that several of them change for a while, and what one at a time may do."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from weakref import WeakSet

Undo = Callable[[], None]
Change = Callable[[], Undo]


_turns: WeakSet[Turn] = WeakSet()


class Turn:
    """What one thread at a time may do, as often inside itself as it likes; free again in a forked child."""

    def __init__(self) -> None:
        self.renew()
        _turns.add(self)

    def renew(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()


#: Held by who explains by a Captum object, which keeps what it sees in itself and in hooks on the network.
captum_turn = Turn()
#: Held by who changes the warning filters for a while: they are the process's, and are put back in one piece.
warning_filters = Turn()


@dataclass
class _State:
    """A state that was changed: how to put it back, and the threads that still need it, once for each time."""

    undo: Undo
    holders: list[int] = field(default_factory=list)


_states: dict[Hashable, _State] = {}
_asking = Turn()


@contextmanager
def together(changes: Mapping[Hashable, Change]) -> Iterator[None]:
    """Make changes, by name, for the body that threads may make at the same time; who leaves last has them put back."""
    me = threading.get_ident()
    held: list[Hashable] = []
    try:
        with _asking:
            for name, change in changes.items():
                if name not in _states:
                    _states[name] = _State(change())
                _states[name].holders.append(me)
                held.append(name)
        yield
    finally:
        with _asking:
            for name in reversed(held):
                state = _states[name]
                state.holders.remove(me)
                if not state.holders:
                    del _states[name]
                    state.undo()


#: A worker of ``multiprocessing`` that only now imports permgrad: torch came along from its parent, or did not.
_forked = (
    "torch" in sys.modules
    and multiprocessing.parent_process() is not None
    and multiprocessing.get_start_method(allow_none=True) in (None, "fork")
)


def is_fork() -> bool:
    """Whether this process was forked from one that may have computed with several threads, for which OpenMP waits."""
    return _forked


def _after_fork() -> None:
    """Forget the parent's other threads."""
    global _forked  # noqa: PLW0603 — a property of the process
    _forked = True
    for turn in list(_turns):
        turn.renew()
    me = threading.get_ident()
    for name, state in list(_states.items()):
        state.holders[:] = [holder for holder in state.holders if holder == me]
        if not state.holders:
            del _states[name]
            state.undo()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
