"""Loading libraries without searching for garbage among what stays.

Importing torch, its compiler, scikit-learn and pandas makes about a million objects, which live as long as the process.
Python's garbage collector goes through them again and again while they come, and once more whenever enough new objects
stand beside them: over a second of processor time of a short command.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_depth = 0
"""How many commands run in this process, one inside the other; 0 where permgrad is used as a library."""


@contextmanager
def own_process() -> Iterator[None]:
    """Run a command whose process does nothing else, so that its garbage collector is ours; put back afterwards."""
    global _depth  # noqa: PLW0603 — a property of the process
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            gc.unfreeze()


@contextmanager
def loading() -> Iterator[None]:
    """Import libraries with the collector at rest, and leave what came out of its later rounds.

    Only inside ``own_process``: elsewhere the objects of this process are the user's, and nothing happens.
    """
    if not (_depth and gc.isenabled()):
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
