"""A module that others import and may not use is loaded when it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from permgrad.base.late import standing_in


@pytest.fixture
def unloaded(monkeypatch):
    """Return a function that forgets a module and those inside it."""

    def forget(name):
        for loaded in [*sys.modules]:
            if loaded == name or loaded.startswith(f"{name}."):
                monkeypatch.delitem(sys.modules, loaded)
        assert name not in sys.modules

    return forget


def test_a_module_that_nobody_uses_is_not_loaded(unloaded):
    unloaded("wave")
    with standing_in("wave"):
        stand_in = importlib.import_module("wave")
        assert not hasattr(stand_in, "__file__")
        assert not hasattr(stand_in, "__wrapped__")
        assert sys.modules["wave"] is stand_in
        assert "open" not in vars(stand_in)
    assert "wave" not in sys.modules


def test_the_first_use_loads_it(unloaded):
    unloaded("wave")
    with standing_in("wave"):
        stand_in = importlib.import_module("wave")
        assert stand_in.open.__module__ == "wave"
        loaded = sys.modules["wave"]
        assert loaded is not stand_in
        assert loaded.open is stand_in.open
    assert sys.modules["wave"] is loaded
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = stand_in.nonsense


def test_functions_that_others_import_by_name_load_it_when_they_are_called(unloaded):
    unloaded("wave")
    with standing_in("wave", {"open"}):
        scope = {}
        exec("from wave import open as opened", scope)
        stand_in = sys.modules["wave"]
        assert "open" not in vars(stand_in)
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                scope["opened"]("nowhere", "rb")
            assert sys.modules["wave"] is not stand_in


def test_a_module_inside_it_loads_it(unloaded):
    unloaded("wsgiref")
    with standing_in("wsgiref"):
        inner = importlib.import_module("wsgiref.util")
        assert sys.modules["wsgiref"].util is inner


def test_a_loaded_module_stays(unloaded):
    unloaded("wave")
    loaded = importlib.import_module("wave")
    with standing_in("wave"):
        assert importlib.import_module("wave") is loaded
    assert sys.modules["wave"] is loaded


def test_in_a_command_scikit_learn_comes_without_statistics_until_they_are_used():
    code = """
import sys
from permgrad.base.startup import own_process
with own_process():
    import sklearn.model_selection
    print("scipy.stats._stats_py" in sys.modules)
    from scipy.stats import kendalltau
    from scipy import stats
    print(float(kendalltau([1, 2, 3], [1, 2, 3]).statistic), stats.norm.cdf(0))
import scipy
print(scipy.stats.norm.cdf(0), sys.modules["scipy.stats"].__spec__.name)
"""
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert printed.split() == ["False", "1.0", "0.5", "0.5", "scipy.stats"]
