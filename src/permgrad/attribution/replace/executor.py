"""Where the players of a game are computed in this process; parts of a table are computed by ``engines``.

A task is a function of no arguments that returns a mergeable result; an executor runs tasks in any order and any place
and hands back the results in the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    """Runs independent tasks."""

    def run(self, tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Yield the tasks' results in the tasks' order."""
        ...


class LocalExecutor:
    """Runs tasks in this process, one after the other or in a few threads.

    Examples:
        >>> list(LocalExecutor(2).run([lambda: 1, lambda: 2]))
        [1, 2]
    """

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers

    def run(self, tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Yield the tasks' results in the tasks' order."""
        if self.workers <= 1:
            for task in tasks:
                yield task()
            return
        given = list(tasks)
        with ThreadPoolExecutor(self.workers) as pool:
            # What was said in the caller's work is not said again in a thread; a copy each, since one is entered once.
            contexts = [copy_context() for _ in given]
            yield from pool.map(lambda task, context: context.run(task), given, contexts)
