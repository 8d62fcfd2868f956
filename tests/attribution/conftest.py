"""What tests of the attribution methods share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Give a function that loads a script of ``benchmarks/``; what the scripts set for their process is put back."""
    threads = torch.get_num_threads()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(_BENCHMARKS))

    def load(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(name, _BENCHMARKS / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        # Dataclasses look their module up by name.
        monkeypatch.setitem(sys.modules, name, module)
        specification.loader.exec_module(module)
        return module

    yield load
    torch.set_num_threads(threads)
