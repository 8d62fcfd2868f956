"""What a command does to its own process: progress may be silent, and the collector
rests while libraries load.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from permgrad.base.late import standing_in

#: How many commands run in this process, one inside the other. 0 where permgrad is used
#: as a library.
_depth = 0
#: Whether this process hides its progress, in all threads: ``--quiet``.
silent = False
#: Where work says what it does: to the user of a command, not of the library.
announce: Callable[[str], object] = str
#: scikit-learn imports it, half of the time that it takes to load, and rarely uses it.
_RARELY_USED = "scipy.stats"
_FUNCTIONS_OF_IT = frozenset({"gmean", "rankdata", "spearmanr"})


@contextmanager
def own_process(
    *, quiet: bool = False, tell: Callable[[str], object] = str
) -> Iterator[None]:
    """Run a command whose process does nothing else, so that its garbage collector, its
    progress and what it loads are ours.
    """
    global _depth, announce, silent
    before, silent, announce, _depth = (
        (silent, announce),
        quiet or silent,
        tell,
        _depth + 1,
    )
    try:
        with standing_in(_RARELY_USED, _FUNCTIONS_OF_IT):
            yield
    finally:
        (silent, announce), _depth = before, _depth - 1
        if not _depth:
            gc.unfreeze()


@contextmanager
def loading() -> Iterator[None]:
    """Import libraries with the collector at rest, within ``own_process``.

    Elsewhere the objects are the user's.
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
