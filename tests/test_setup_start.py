"""Starting up: the command line answers at once and loads nothing heavy."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

import permgrad as pg

HEAVY = ("torch", "sklearn", "pandas", "numpy", "matplotlib", "scipy", "rich")


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def run_command(words, watched):
    """Return which of the modules a command loads, and its exit code."""
    code = f"""
import json, sys
from permgrad.cli import app
try:
    app({words!r})
except SystemExit as end:
    exit_code = end.code
print(json.dumps([[name for name in {watched!r} if name in sys.modules], exit_code or 0]))
"""
    return json.loads(run(code).splitlines()[-1])


@pytest.mark.parametrize(
    "words", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join
)
def test_help_loads_nothing_heavy(words):
    code = f"""
import json, sys
from permgrad.cli import app
try:
    app({words!r})
except SystemExit:
    pass
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    assert json.loads(run(code).splitlines()[-1]) == []


def test_help_takes_under_400_ms_of_processor_time():
    code = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "permgrad", "--help"], check=True, capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""
    pytest.importorskip(
        "resource", reason="processor time of a child is measured on Unix"
    )
    assert any(float(run(code)) < 0.4 for _ in range(3))


def test_importing_permgrad_loads_nothing_heavy():
    code = (
        f"import sys, permgrad; print([name for name in {HEAVY!r} if name in "
        "sys.modules])"
    )
    assert run(code).strip() == "[]"


@pytest.mark.slow
def test_explaining_a_network_loads_nothing_that_takes_longer_than_it():
    code = """
import sys, torch, permgrad as pg
torch.manual_seed(0)
X = torch.randn(40, 3)
result = pg.explain(torch.nn.Linear(3, 2), X, torch.arange(40) % 2, random_state=0)
assert "Order" in result.summary() or "order" in result.summary()
inputs = {"first": torch.randn(20, 4), "second": torch.randn(20, 6)}
net = torch.nn.Bilinear(4, 6, 2)
words = pg.explain(net, inputs, torch.arange(20) % 2, groups="modality", random_state=0, progress=False).summary()
assert "permgrad measures" in words
heavy = "pandas", "pyarrow", "sklearn", "matplotlib", "torch._dynamo", "permgrad.models.estimators.hynn"
print([name for name in heavy if name in sys.modules])
"""
    assert run(code).strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("fast", {}),
        ("default", {}),
        ("default", {"network": {"members": 2}}),
        ("paper", {}),
    ],
)
def test_reading_a_model_and_predicting_load_neither_compiler_nor_plots_nor_methods(
    tmp_path, preset, options
):
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = pg.HyNNRegressor(
        preset=preset, max_epochs=1, random_state=0, progress=False, **options
    )
    model.fit(X, X[:, 0]).save(tmp_path / "m")
    (tmp_path / "table.csv").write_text("x0,x1,x2\n1,2,3\n4,5,6\n", encoding="utf-8")
    words = [
        "predict",
        str(tmp_path / "m"),
        str(tmp_path / "table.csv"),
        "--out",
        str(tmp_path / "found.csv"),
    ]
    watched = (
        "torch._dynamo",
        "sympy",
        "scipy.stats",
        "scipy.optimize",
        "matplotlib",
        "permgrad.attribution",
    )
    assert run_command(words, watched) == [[], 0]
    assert len((tmp_path / "found.csv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.fixture(scope="module")
def boosted(tmp_path_factory):
    """A saved model of LightGBM's, and a table for it."""
    from permgrad.evaluation.baselines.table_model import table_model

    pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("boosted")
    table = pd.DataFrame(
        {
            "age": rng.normal(size=80),
            "site": rng.choice(list("ab"), 80),
            "dose": rng.normal(size=80),
        }
    )
    table_model("classification", "lightgbm").fit(
        table, np.where(table["age"] > 0, "yes", "no")
    ).save(folder / "model")
    table.head(5).to_csv(folder / "table.csv", index=False)
    return folder


def test_predicting_by_a_model_of_another_library_loads_no_torch(boosted):
    words = [
        "predict",
        str(boosted / "model"),
        str(boosted / "table.csv"),
        "--out",
        str(boosted / "found.csv"),
    ]
    watched = ("torch", "permgrad.attribution", "matplotlib", "scipy.stats")
    assert run_command(words, watched) == [
        [],
        0,
    ]
    found_table = pd.read_csv(boosted / "found.csv")
    table = pd.read_csv(boosted / "table.csv")
    assert (
        found_table["prediction"].tolist()
        == pg.load(boosted / "model").predict(table).tolist()
    )


def test_a_header_without_a_column_of_the_model_is_refused_before_anything_heavy_is_loaded(
    boosted, capsys
):
    from permgrad.cli import app

    pd.read_csv(boosted / "table.csv").rename(columns={"dose": "doses"}).to_csv(
        boosted / "other.csv", index=False
    )
    words = ["predict", str(boosted / "model"), str(boosted / "other.csv")]
    assert run_command(
        words, ("torch", "sklearn", "pandas", "scipy", "permgrad.attribution")
    ) == [[], 2]
    with pytest.raises(SystemExit):
        app(words)
    assert (
        "1 column of training is missing: 'dose'. Rename 'doses' to 'dose'. [PG012]"
        in capsys.readouterr().err
    )


def test_a_wrong_target_is_refused_before_anything_heavy_is_loaded(boosted):
    words = ["run", str(boosted / "table.csv"), "--target", "outcome"]
    assert run_command(words, HEAVY) == [[], 2]


def test_the_collector_is_left_to_the_user_outside_of_a_command(monkeypatch):
    from permgrad.base import startup
    from permgrad.base.startup import loading, own_process

    monkeypatch.setattr(startup, "gc", gc)
    frozen = gc.get_freeze_count()
    with loading():
        assert gc.isenabled()
    # What earlier tests kept may end meanwhile, a few objects.
    assert frozen - 1000 < gc.get_freeze_count() <= frozen
    with own_process():
        with suppress(ZeroDivisionError), loading():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    assert gc.get_freeze_count() == 0
    gc.freeze()  # as conftest.py has it


def test_every_public_name_resolves():
    import permgrad

    for name in permgrad.__all__:
        assert getattr(permgrad, name) is not None
    assert set(permgrad.__all__) <= set(dir(permgrad))
    assert "integrations" not in dir(permgrad)
    for name in dir(permgrad.integrations):
        assert callable(getattr(permgrad.integrations, name))
    for module in (permgrad, permgrad.integrations):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            _ = module.nonsense


def test_integrations_are_found_without_loading_the_packages_that_they_need():
    code = "import sys, permgrad as pg; pg.integrations; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "permgrad.integrations" in loaded
    assert not {
        "torch",
        "pandas",
        "permgrad.integrations.hub",
        "permgrad.models.onnx_model",
    } & set(loaded)
