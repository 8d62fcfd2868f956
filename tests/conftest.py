"""What is not looked at for doctests, and what tests of every folder share."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from functools import cache

import pytest
import typer.testing
from _pytest.doctest import DoctestModule

# The parser of the command line is the same in each call, and to make it takes longer
# than most refusals.
typer.testing._get_command = cache(typer.testing._get_command)

# It registers a device with torch as soon as it is imported: a script, for processes of
# its own.
collect_ignore = ["shared/on_pretended.py"]


@pytest.hookimpl(wrapper=True)
def pytest_collect_file() -> Generator[None, list[object], list[object]]:
    """Look for examples in the library alone: to look through the tests, which have
    none, takes a second.
    """
    return [
        collected_item
        for collected_item in (yield)
        if not isinstance(collected_item, DoctestModule)
    ]


@pytest.fixture
def ctrl_c_counts() -> Iterator[None]:
    """Let Ctrl-C interrupt this process and those that the test starts, as in a
    terminal.

    A background job of a script is started with Ctrl-C ignored, and hands that on to
    every process it starts.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def undrawn() -> Iterator[None]:
    """Leave the pictures of pages undrawn, for tests that look at words."""
    from undrawn import words_alone

    with words_alone():
        yield


@pytest.fixture(scope="module")
def undrawn_file() -> Iterator[None]:
    """Leave the pictures undrawn in a whole file, also of the pages that its fixtures
    make.
    """
    from undrawn import words_alone

    with words_alone():
        yield


@pytest.fixture(scope="module")
def small_baselines_file() -> Iterator[None]:
    """Fit small forests and lines in a whole file, also in its fixtures."""
    from small_baselines import small_baselines

    with small_baselines():
        yield
