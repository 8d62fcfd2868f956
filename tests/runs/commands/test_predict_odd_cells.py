"""``permgrad predict`` of a table with cells that training could not have read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from invoking import train_run
from typer.testing import CliRunner

from permgrad.cli import app


def table(rows=120):
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"dose": draw.normal(size=rows), "age": draw.normal(size=rows)}
    )
    frame["case"] = [f"case {number}" for number in range(rows)]
    return frame.assign(outcome=np.where(frame["dose"] > 0, "ill", "well"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train_run(
        tmp_path_factory.mktemp("run"), table(), identifier="case", epochs=1
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_odd_cells_are_missing_and_listed(run, tmp_path, ending):
    rows = table(12).drop(columns="outcome").astype(object)
    rows.loc[4, "dose"] = "much"
    rows.loc[7, "age"] = "old"
    missing = rows.copy()
    missing.loc[4, "dose"] = missing.loc[7, "age"] = None
    predicted = {}
    for name, frame in (("odd", rows), ("missing", missing)):
        file = tmp_path / f"{name}.{ending}"
        texts = frame.astype(str).where(frame.notna())
        if ending == "csv":
            texts.to_csv(file, index=False)
        else:
            texts.to_parquet(file)
        out = tmp_path / f"{name}-predictions.csv"
        words = ["predict", str(run), str(file), "--out", str(out)]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
        predicted[name] = (out.read_text(), result.stderr)
        strict = CliRunner().invoke(app, [*words, "--strict"])
        assert strict.exit_code == (2 if name == "odd" else 0), strict.output
    assert predicted["odd"][0] == predicted["missing"][0]
    warned = predicted["odd"][1]
    assert "2 cells that cannot be read count as missing" in warned
    for cell, line in (("much", 6), ("old", 9)):
        assert f"{cell!r} in " in warned
        assert ending == "parquet" or f"{cell!r} in line {line} of" in warned
    assert "cannot be read" not in predicted["missing"][1]


def test_parquet_in_parts(run, tmp_path):
    rows = table(12).drop(columns="outcome").astype(str)
    rows.loc[4, "dose"] = "much"
    (tmp_path / "rows").mkdir()
    rows.to_parquet(tmp_path / "rows" / "a.parquet")
    words = ["predict", str(run), str(tmp_path / "rows"), "--out", str(tmp_path / "p")]
    strict = CliRunner().invoke(app, [*words, "--strict"])
    assert strict.exit_code == 2
    assert "'much' in row 4 of" in strict.stderr
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "1 cell that cannot be read counts as missing" in result.stderr
    assert "'much' in row 4 of" in result.stderr
    assert len(pd.read_parquet(tmp_path / "p")) == 12


@pytest.mark.slow
def test_a_test_file_with_an_odd_cell_is_noted(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    rows = table(40).astype({"dose": object})
    rows.loc[3, "dose"] = "much"
    rows.to_csv(tmp_path / "test.csv", index=False)
    words = ["run", str(tmp_path / "t.csv"), "--target", "outcome", "--preset", "fast"]
    words += ["--id", "case"]
    words += ["--test", str(tmp_path / "test.csv"), "--out", str(tmp_path / "r")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "holds 'much' in line 5 of" in result.output + result.stderr
