"""Tables in parts where some targets are missing: what is explained, which cells are
named, which lots are drawn.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.parts.plan import _threshold
from permgrad.base.random import uniform

ROWS = 160


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=list("abc"))
    frame["y"] = frame["a"] + frame["b"] * frame["c"]
    frame["weight"] = rng.choice([1.0, 2.0], ROWS)
    model = pg.HyNNRegressor(
        preset="fast",
        branches=("tabular",),
        max_epochs=3,
        random_state=0,
        progress=False,
    )
    model.fit(frame[list("abc")], frame["y"].to_numpy())
    frame.loc[[1, 4, 30, 31, 90, 159], "y"] = np.nan
    return model, frame


def stream(model, frame: pd.DataFrame, folder: Path, **options) -> pg.Explanation:
    path = folder / "table.parquet"
    frame.to_parquet(path, index=False, row_group_size=40)
    call_options = {
        "n_repeats": 2,
        "random_state": 3,
        "rows_per_part": 40,
        "progress": False,
    } | options
    return pg.explain_stream(model, path, "y", **call_options)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_weighted_rows_without_a_target_are_as_if_they_were_not_there(case, tmp_path):
    model, frame = case
    labelled_rows = frame[frame["y"].notna()].reset_index(drop=True)
    explanation = stream(model, frame, tmp_path, sample_weight="weight")
    options = {"background": None, "n_repeats": 2, "random_state": 3, "progress": False}
    expected = explain_with(
        model,
        labelled_rows[list("abc")],
        labelled_rows["y"],
        sample_weight=labelled_rows["weight"],
        **options,
    )
    assert explanation.meta["rows_explained"] == len(labelled_rows)
    dropped = stream(model, labelled_rows, tmp_path, sample_weight="weight")
    for name in ("values", "std_error", "low", "high"):
        np.testing.assert_allclose(
            getattr(explanation, name), getattr(dropped, name), rtol=0, atol=1e-6
        )
    assert explanation.meta["loss_scale"] == pytest.approx(
        expected.meta["loss_scale"], rel=1e-9
    )
    assert np.abs(explanation.values).max() > 0.01


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("row", [2, 5, 35, 100, 158])
@pytest.mark.parametrize(("column", "wrong"), [("weight", -1.0), ("a", np.inf)])
def test_a_cell_is_named_by_its_row_in_the_table(case, tmp_path, row, column, wrong):
    """Rows before it without a target are counted all the same."""
    model, frame = case
    bad = frame.copy()
    bad.loc[row, column] = wrong
    with pytest.raises(pg.InputError, match=rf"row {row} of .*table.parquet"):
        stream(model, bad, tmp_path, sample_weight="weight")


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("drawn", [50, 1000, 10_000])
def test_the_threshold_leaves_as_many_rows_as_are_wanted(monkeypatch, rows, drawn):
    monkeypatch.setattr("permgrad.attribution.parts.plan._DRAWN", drawn)
    for row_count in {1, min(3, rows), rows}:
        bound = _threshold(5, row_count, rows)
        lots = uniform(5, ("receivers",), np.arange(rows))
        assert (lots <= bound).sum() == row_count
        assert bound in lots


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_a_sample_is_drawn_among_rows_with_a_target(case, tmp_path):
    model, frame = case
    explanation = stream(model, frame, tmp_path, max_rows=25)
    assert explanation.meta["rows_explained"] == 25
    every = stream(model, frame, tmp_path, max_rows=ROWS)
    assert every.meta["rows_explained"] == frame["y"].notna().sum()
    reseeded = stream(model, frame, tmp_path, max_rows=25, random_state=4)
    assert not np.array_equal(explanation.values, reseeded.values)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"method": "permutation"}, "method"),
        ({"n_repeats": 3}, "arguments"),
        ({"confidence": 0.9}, "arguments"),
        ({"target": 0}, "arguments"),
        ({"random_state": 4}, "seed"),
        ({"max_rows": 20}, "sample"),
        ({"background": "first"}, "background"),
        ({"frame": "changed"}, "the table's files, which have changed since"),
        ({"model": "other"}, "background, the model"),
    ],
)
def test_other_work_in_a_folder_is_named_by_what_differs(case, tmp_path, changed, said):
    model, frame = case
    out = tmp_path / "out"
    first = frame.drop(columns=["y", "weight"])
    call_options = {"n_repeats": 2, "random_state": 3}

    def run(model, frame, **options):
        path = tmp_path / "table.parquet"
        frame.to_parquet(path, index=False, row_group_size=40)
        return pg.explain_stream(
            model,
            path,
            scope="local",
            out=out,
            rows_per_part=40,
            progress=False,
            **options,
        )

    np.testing.assert_array_equal(
        run(model, first, **call_options).values,
        run(model, first, **call_options).values,
    )
    options = call_options | changed
    table = first
    if options.get("background"):
        options["background"] = first[:30]
    if options.pop("frame", None):
        table = first.assign(a=first["a"] + 1)
    if options.pop("model", None):
        model = pg.HyNNRegressor(
            preset="fast",
            branches=("tabular",),
            max_epochs=1,
            random_state=1,
            progress=False,
        )
        model.fit(first, first["a"].to_numpy())
    with pytest.raises(
        pg.InputError, match=rf"holds another explanation, which differs in {said}[.,]"
    ):
        run(model, table, **options)
