"""Batches that fit in memory: one that does not is halved, with one warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from permgrad.base.errors import (
    EnvironmentProblem,
    PermgradError,
    is_out_of_memory,
    two_sentences,
    warn_user,
)

T = TypeVar("T")

#: What was said in the work under way, which all that it calls adds to. None outside of
#: any work.
_said: ContextVar[list[str] | None] = ContextVar(
    "permgrad_said_of_memory", default=None
)


@contextmanager
def sparing() -> Iterator[None]:
    """Say only once in the body that a batch was halved.

    Where memory does not suffice at all, say what can be done.
    """
    if _said.get() is not None:
        yield
        return
    token = _said.set([])
    try:
        yield
    except PermgradError:
        raise
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if str(error):
            detail = f" ({' '.join(str(error).split())[:200]})"
        else:
            detail = ""
        memory_hint = "Free memory, or use fewer rows or columns at a time."
        raise EnvironmentProblem(
            f"There is not enough memory{detail}", hint=memory_hint, code="PG061"
        ) from error
    finally:
        _said.reset(token)


def halved(size: int, error: BaseException) -> int:
    """Return half of a batch for which memory did not suffice, and say so, once in a
    work.
    """
    if size <= 1 or not is_out_of_memory(error):
        raise error
    messages = _said.get()
    if not messages:
        message_text = two_sentences(
            f"A batch of {size:,} rows does not fit into memory",
            "It is halved until it fits. Results are equal up to rounding.",
        )
        if messages is not None:
            messages.append(message_text)
        warn_user(message_text)
    return size // 2


def in_batches(count: int, size: int, work: Callable[[slice], None]) -> int:
    """Call ``work`` with consecutive slices of ``range(count)``, halved where memory is
    short. Return their size.

    ``work`` must leave nothing behind when it fails.
    """
    rows_done = 0
    while rows_done < count:
        row_slice = slice(rows_done, min(rows_done + size, count))
        try:
            work(row_slice)
        except (RuntimeError, MemoryError) as error:
            # Of the batch that failed, which may be the smaller last one.
            size = halved(min(size, count - rows_done), error)
            continue
        rows_done = row_slice.stop
    return size


def gathered(
    count: int,
    compute: Callable[[slice], Sequence[Any]],
    run: Callable[[Callable[[slice], None]], Any],
) -> list[Any]:
    """Return tensors of all rows from what ``compute`` gives for some, none for no
    rows.

    ``run`` calls a function with slices of rows, as ``partial(in_batches, count,
    size)`` does.
    """
    all_tensors: list[Any] = []

    def work(row_slice: slice) -> None:
        part_tensors = compute(row_slice)
        if not all_tensors:
            all_tensors.extend(
                part_tensor.new_empty((count, *part_tensor.shape[1:]))
                for part_tensor in part_tensors
            )
        for target, row_tensor in zip(all_tensors, part_tensors, strict=True):
            target[row_slice] = row_tensor

    run(work)
    return all_tensors


def with_fewer(count: int, work: Callable[[int], T]) -> T:
    """Return ``work(count)``.

    Where memory does not suffice for so many rows, do it with half as many.
    """
    while True:
        try:
            return work(count)
        except (RuntimeError, MemoryError) as error:
            count = halved(count, error)
