"""Threads that share a process: states that several of them change for a while, and
what one at a time may do.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

Undo = Callable[[], None]
#: What makes a change and returns how to undo it, or an object and an attribute of it
#: that the body sets.
Change = Callable[[], Undo] | tuple[object, str]

_turns: list[threading.RLock] = []


def turn() -> threading.RLock:
    """Return a reentrant lock that is free again in a forked child."""
    new_lock = threading.RLock()
    _turns.append(new_lock)
    return new_lock


#: Held by who explains by a Captum object, which keeps what it sees in itself and in
#: hooks on the network.
captum_turn = turn()
#: Held by who changes the warning filters for a while: they are the process's, and are
#: put back in one piece.
warning_filters = turn()
_asking = turn()

#: For each state that was changed how to put it back, and the threads that still need
#: it, once for each time.
_states: dict[Hashable, tuple[Undo, list[int]]] = {}


@contextmanager
def together(changes: Mapping[Hashable, Change]) -> Iterator[None]:
    """Make changes, by name, for the body that threads may make at the same time.

    Who leaves last has them put back.
    """
    thread_id = threading.get_ident()
    held_names: list[Hashable] = []
    try:
        with _asking:
            for change_name, change in changes.items():
                if change_name not in _states:
                    undo_change = (
                        partial(setattr, *change, getattr(*change))
                        if isinstance(change, tuple)
                        else change()
                    )
                    _states[change_name] = (undo_change, [])
                _states[change_name][1].append(thread_id)
                held_names.append(change_name)
        yield
    finally:
        # One that fails keeps none of the others from being put back, last first.
        with _asking, ExitStack() as undone:
            for held_name in held_names:
                undo_change, holders = _states[held_name]
                holders.remove(thread_id)
                if not holders:
                    del _states[held_name]
                    undone.callback(undo_change)


def others_need(names: Iterable[Hashable]) -> bool:
    """Return whether another thread is in a body for which one of these was changed."""
    thread_id = threading.get_ident()
    with _asking:
        return any(
            holder != thread_id
            for change_name in names
            if change_name in _states
            for holder in _states[change_name][1]
        )


def this_needs(name: Hashable) -> bool:
    """Return whether this thread is in a body for which this was changed."""
    with _asking:
        return name in _states and threading.get_ident() in _states[name][1]


#: Whether this process was forked from one that may have computed with several threads,
#: for which OpenMP waits. A worker of ``multiprocessing`` may only now import permgrad:
#: torch came along from its parent, or did not.
forked = (
    "torch" in sys.modules
    and multiprocessing.parent_process() is not None
    and multiprocessing.get_start_method(allow_none=True) in (None, "fork")
)


def _after_fork() -> None:
    """Forget the parent's other threads."""
    global forked  # noqa: PLW0603 — a property of the process
    forked = True
    for turn_lock in _turns:
        turn_lock._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 — as ``logging`` does with its own
    thread_id = threading.get_ident()
    for state_name, (undo_change, holders) in list(_states.items()):
        holders[:] = [holder for holder in holders if holder == thread_id]
        if not holders:
            del _states[state_name]
            undo_change()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
