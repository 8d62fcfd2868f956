"""``pg.load_run``: a run in Python, which knows its test rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invoking import QUICK, call

import permgrad as pg


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table of wards and the folder ``run`` of a run of it."""
    place = tmp_path_factory.mktemp("loaded")
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(draw.normal(size=(240, 3)).round(3), columns=["a", "b", "c"])
    frame["ward"] = np.repeat([f"ward {i}" for i in range(60)], 4)
    frame["sick"] = np.where(frame["a"] + draw.normal(size=240) > 0, "yes", "no")
    frame.to_csv(place / "table.csv", index=False)
    (place / "preset.json").write_text(json.dumps(QUICK))
    (place / "groups.json").write_text(json.dumps({"both": ["b", "c"]}))
    options = {
        "--target": "sick",
        "--row-group": "ward",
        "--groups": place / "groups.json",
        "--preset": place / "preset.json",
        "--out": place / "run",
    }
    words = [word for option in options.items() for word in option]
    call("run", place / "table.csv", *words)
    return place


def test_a_run_knows_its_model_rows_groups_and_explanation(folder):
    run = pg.load_run(folder / "run")
    table = pd.read_csv(folder / "table.csv")
    predictions = pd.read_csv(folder / "run" / "predictions.csv")
    X, y = run.test
    rows = predictions["row"].to_numpy()
    assert 20 < len(X) < 120
    assert X.columns.tolist() == ["a", "b", "c"]
    assert np.array_equal(X["a"], table["a"].to_numpy()[rows])
    assert y.tolist() == predictions["truth"].tolist()
    assert run.test.X.equals(X)
    assert run.groups == {"both": ["b", "c"]}
    assert run.row_groups.tolist() == table["ward"][rows].tolist()
    assert run.row_time is None
    assert run.model.predict(X).tolist() == predictions["prediction"].tolist()
    assert set(run.explanation.names) == {"a", "both"}
    again = pg.explain(
        run.model, X, y, groups=run.groups, row_groups=run.row_groups, progress=False
    )
    shown = [
        explanation.to_frame().set_index(["feature", "class"])["importance"]
        for explanation in (again, run.explanation)
    ]
    assert shown[0].to_dict() == pytest.approx(shown[1].to_dict(), rel=1e-3, abs=1e-6)


def test_a_run_without_its_table_still_has_its_model(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    written = record.read_text().replace(
        str(folder / "table.csv"), str(folder / "moved.csv")
    )
    record.write_text(written)
    run = pg.load_run(tmp_path / "run")
    assert run.model.classes_.tolist() == ["no", "yes"]
    assert "a" in run.explanation.names
    with pytest.raises(pg.InputError, match="no longer exists") as raised:
        _ = run.test
    # What the command advises, to name a TABLE, is of no use here.
    assert raised.value.hint == (
        "Put the file back, or take rows of your own: pg.read_table(path)."
    )


def test_a_run_has_the_changes_of_its_page_also_of_columns_in_groups(folder, tmp_path):
    run = pg.load_run(folder / "run")
    effects = run.effects
    assert {"a", "b", "c"} == {*effects["feature"]}
    assert [*effects][:5] == ["feature", "class", "from", "to", "change"]
    strong = effects[effects["feature"] == "a"]
    assert (strong["ci_low"] * strong["ci_high"] > 0).all()
    report = (folder / "run" / "report.md").read_text(encoding="utf-8")
    assert "| a | " in report
    shutil.copytree(folder / "run", tmp_path / "run")
    without = pg.load_run(tmp_path / "run")
    (tmp_path / "run" / "effects.csv").unlink()
    with pytest.raises(pg.InputError, match=r"no effects\.csv\. Explain run\.model"):
        _ = without.effects


def test_a_run_of_trees_has_changes_which_its_importances_have_not(folder, tmp_path):
    """The table of the report has columns of a group that clearly matters."""
    pytest.importorskip("lightgbm")
    table = pd.read_csv(folder / "table.csv")
    table["sick"] = np.where(table["b"] + table["c"] > 0, "yes", "no")
    table.to_csv(tmp_path / "table.csv", index=False)
    options = ["--target", "sick", "--drop", "ward", "--model", "lightgbm"]
    groups = ["--groups", folder / "groups.json", "--out", tmp_path / "run"]
    call("run", tmp_path / "table.csv", *options, *groups)
    run = pg.load_run(tmp_path / "run")
    assert {"b", "c"} < {*run.effects["feature"]}
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "| b | " in report
    assert "| c | " in report
    with pytest.raises(
        pg.InputError, match=r"A run has pg\.load_run\(folder\)\.effects"
    ):
        run.explanation.effects()


def test_what_is_no_finished_run_is_refused(folder, tmp_path):
    with pytest.raises(pg.InputError, match=r"has no run\.json, so it is not a run's"):
        pg.load_run(tmp_path)
    with pytest.raises(pg.InputError, match="does not exist"):
        pg.load_run(folder / "nothing")
