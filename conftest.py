"""What holds for all tests: the threads they compute with, how many cases of each run,
which examples are skipped.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

# Before torch is imported: on small tables threads take longer to meet than to compute,
# the more so where two processes share two cores. Who sets the variable is heard.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that tests ask for sleep while they wait: where all processors are busy,
# waiting awake took a twentieth.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

#: What examples import from the extras.
EXTRAS = (
    "captum",
    "shap",
    "shapiq",
    "optuna",
    "ray",
    "lightgbm",
    "xgboost",
    "pytabkit",
    "onnx",
)

#: The file that needs the extra ``agents`` to be imported at all.
collect_ignore = [] if find_spec("mcp") else ["src/permgrad/cli/server.py"]

#: Examples of a property for each case that --cases lets run.
EXAMPLES_OF_A_CASE = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cases",
        type=int,
        metavar="N",
        help="of a test with more than N cases run N, spread over all of them",
    )


def spread(
    items: list[pytest.Item], most: int
) -> tuple[list[pytest.Item], list[pytest.Item]]:
    """Divide tests into those that run and those left out: at most so many cases of one
    function, evenly spread.
    """
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    chosen = {
        cases[round(k * (len(cases) - 1) / max(min(most, len(cases)) - 1, 1))].nodeid
        for cases in functions.values()
        for k in range(min(most, len(cases)))
    }
    return [item for item in items if item.nodeid in chosen], [
        item for item in items if item.nodeid not in chosen
    ]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is made while tests are collected out of garbage collection.

    It lives to the end. Looking through all of it again and again took a fifth of the
    tests' processor time.
    """
    # A module whose examples are collected before its package is imported would be made
    # twice.
    import permgrad.attribution  # noqa: F401

    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # fewer looks: 3 % less of all
        gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _forgotten() -> Iterator[None]:
    """Leave what a file's tests made and keep, such as libraries that they import
    first, out of it as well.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _still_frozen() -> Iterator[None]:
    """Let commands that run in this process leave it so: a look through all that was
    collected takes a second.
    """
    from permgrad.base import startup

    left = {name: getattr(gc, name) for name in ("isenabled", "disable", "enable")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            startup,
            "gc",
            SimpleNamespace(**left, freeze=lambda: None, unfreeze=lambda: None),
        )
        yield


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes after their parameter: those of archives hold the time at which they
    were made.
    """
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if (most := config.getoption("--cases")) is not None:
        if most < 1:
            raise pytest.UsageError(f"--cases must be at least 1, got {most}.")
        items[:], left_out = spread(items, most)
        config.hook.pytest_deselected(items=left_out)
        for item in items:
            used = getattr(
                getattr(item, "obj", None), "_hypothesis_internal_use_settings", None
            )
            if used is not None:
                fewer = type(used)(
                    used, max_examples=min(used.max_examples, EXAMPLES_OF_A_CASE * most)
                )
                item.obj._hypothesis_internal_use_settings = fewer  # noqa: SLF001 — as Hypothesis' own plugin does
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.dtest is not None:
            source = "".join(example.source for example in item.dtest.examples)
            imported = re.findall(r"^(?:import|from) (\w+)", source, re.MULTILINE)
            missing = [
                name for name in EXTRAS if name in imported and find_spec(name) is None
            ]
            if missing:
                item.add_marker(
                    pytest.mark.skip(
                        reason=f"the example needs {' and '.join(missing)}, of an extra"
                    )
                )
