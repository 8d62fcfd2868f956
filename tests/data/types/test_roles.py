"""Columns that may be no features: numbers that name rows, and weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from invoking import QUICK, call

from permgrad.data.types.column_types import infer_schema
from permgrad.data.types.findings import roles_found

ROWS = 300


def found(frame: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    return {one.kind: one.columns for one in roles_found(frame, infer_schema(frame))}


def draws(seed: int) -> dict[str, np.ndarray]:
    """Return whole amounts that all differ, or hardly repeat."""
    draw = np.random.default_rng(seed)

    def different(numbers: np.ndarray) -> np.ndarray:
        return draw.permutation(np.unique(numbers.round()))[:ROWS]

    return {
        "lognormal": different(draw.lognormal(6, 1, 4 * ROWS)),
        "income": different(draw.lognormal(10, 1, 2 * ROWS)),
        "cents": (draw.lognormal(5, 1, ROWS) * 100).round(),
        "sorted": np.sort(draw.choice(9 * ROWS, ROWS, replace=False)),
        "measured": draw.integers(0, 3 * ROWS, ROWS),
        "normal": different(draw.normal(9000, 2000, 2 * ROWS)),
        "rank": draw.permutation(ROWS) + 1,
    }


@pytest.mark.parametrize("seed", range(20))
def test_amounts_that_differ_name_no_rows(seed):
    columns = {name: numbers[:ROWS] for name, numbers in draws(seed).items()}
    least = min(map(len, columns.values()))
    assert least > 200
    frame = pd.DataFrame({name: x[:least] for name, x in columns.items()})
    assert found(frame.astype(int)) == {}


def test_names_of_rows_and_weights_are_found():
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"pidnum": draw.choice(10**6, ROWS, replace=False)})
    frame["ticket"] = draw.choice(10**6, ROWS, replace=False)
    frame["x"] = draw.permutation(4 * ROWS)[:ROWS]  # too dense to differ by chance
    frame["paid"] = draw.choice(10**6, ROWS, replace=False)
    frame["pweight"] = draw.lognormal(0, 0.4, ROWS)
    frame["wt"] = draw.uniform(0.2, 4, ROWS)
    frame["weight"] = draw.normal(70, 9, ROWS)  # of bodies
    assert found(frame) == {
        "maybe_rows": ("pidnum", "ticket", "x"),
        "maybe_weight": ("pweight", "wt"),
    }
    (rows, weights) = roles_found(frame, infer_schema(frame))
    assert rows.text(command=True) == (
        "Numbers that all differ, and may only name the rows: pidnum, ticket, x. "
        "If they do, pass --id pidnum"
    )
    assert weights.text() == (
        "Features that may say how many cases a row stands for: pweight, wt. "
        "If one does, pass sample_weight=X['pweight'], and leave it out of X."
    )


def test_the_options_that_a_note_names_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(1)
    frame = pd.DataFrame({"dose": draw.normal(size=120)})
    frame["caseid"] = draw.choice(10**6, 120, replace=False)
    frame["perwt"] = draw.lognormal(3, 0.5, 120)
    frame["ill"] = np.where(frame["dose"] + draw.normal(size=120) > 0, "yes", "no")
    frame.to_csv("t.csv", index=False)
    pd.Series(QUICK).to_json("preset.json")
    words = ("run", "t.csv", "--target", "ill", "--preset", "preset.json")
    call(*words, "--out", "noted")
    told = (tmp_path / "noted" / "data.json").read_text()
    assert "--id caseid" in told
    assert "--weight perwt" in told
    call(*words, "--out", "followed", "--id", "caseid", "--weight", "perwt")
    told = (tmp_path / "followed" / "data.json").read_text()
    assert "may only name" not in told
    assert "cases a row stands for" not in told
