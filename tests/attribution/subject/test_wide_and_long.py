"""Wide and long tables: one matrix for each call, some of the rows, many classes, and
what shortens minutes.
"""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace.game import Game
from permgrad.attribution.subject import frame_tensors as frames
from permgrad.attribution.subject.frame_tensors import FrameForm
from permgrad.base import progress


def mixed(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    columns = {
        f"c{column_index}": rng.normal(size=rows).astype(
            ("f8", "f4", "i8", "i2")[column_index % 4]
        )
        for column_index in range(24)
    }
    frame = pd.DataFrame(columns)
    frame.insert(3, "town", pd.Categorical(rng.choice(["Ulm", "Bonn"], rows)))
    frame.insert(9, "maybe", pd.array(rng.integers(0, 3, rows), dtype="Int64"))
    return frame


@pytest.mark.parametrize(
    "table",
    [
        mixed(),
        mixed().select_dtypes("float32"),
        mixed().select_dtypes("int16").to_numpy(),
        torch.arange(12.0).reshape(4, 3),
        pa.table({"a": [1.5, 2.5], "b": [3, 4]}),
        mixed()[["town", "maybe"]],
    ],
    ids=["mixed", "float32", "array", "tensor", "arrow", "no plain numbers"],
)
def test_what_is_written_is_what_was_read(table):
    form = FrameForm(table)
    cells = form.read(table)
    written = form.write(cells)
    if isinstance(table, pd.DataFrame):
        pd.testing.assert_frame_equal(written, table)
    elif isinstance(table, pa.Table):
        assert written.equals(table)
    else:
        assert type(written) is type(table)
        assert np.array_equal(np.asarray(written), np.asarray(table))
        assert str(getattr(written, "dtype", "")) == str(getattr(table, "dtype", ""))
    before = cells.clone()
    if isinstance(table, pd.DataFrame):
        written.iloc[:, -1] = written.iloc[0, -1]
    elif not isinstance(table, pa.Table):
        written[:] = 0
    assert torch.equal(cells, before), "it is a copy"


def test_numbers_are_written_together_and_only_other_cells_by_column(monkeypatch):
    calls: list[str] = []
    write = frames._Column.write
    monkeypatch.setattr(
        frames._Column,
        "write",
        lambda column, *a: (calls.append(column.name), write(column, *a))[1],
    )
    table = mixed()
    assert table.shape[1] > 20
    pg.explain(
        lambda rows: rows["c0"].to_numpy() * 2,
        table,
        table["c0"],
        n_repeats=1,
        random_state=0,
    )
    assert set(calls) == {"town", "maybe"}


@pytest.mark.parametrize("kind", ["frame", "array", "arrow", "dict"])
def test_rows_explains_as_many_drawn_at_random(kind):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(500, 3)), columns=list("abc"))
    y = X["a"].to_numpy() + rng.normal(size=500)
    forms = {"frame": X, "array": X.to_numpy(), "arrow": pa.Table.from_pandas(X)}

    def model(rows):
        return np.asarray(rows.to_pandas() if hasattr(rows, "to_pandas") else rows)[
            :, 0
        ]

    weights = rng.random(500) + 0.5
    if kind == "dict":
        model = torch.nn.Linear(3, 1, dtype=torch.float64)
        model_input = {"input": torch.from_numpy(X.to_numpy())}
        full_rows = torch.from_numpy(X.to_numpy())
    else:
        model_input = full_rows = forms[kind]
    options = {"n_repeats": 2, "random_state": 3}
    explanation = explain_with(
        model, model_input, y, max_rows=120, sample_weight=weights, **options
    )
    assert explanation.meta["rows_drawn"] == {"rows": 120, "of": 500}
    again = explain_with(
        model, model_input, y, max_rows=120, sample_weight=weights, **options
    )
    np.testing.assert_array_equal(explanation.values, again.values)
    local = explain_with(model, full_rows, max_rows=120, scope="local", **options)
    row_indices = np.array(local.meta["rows"])
    assert len(set(row_indices.tolist())) == 120
    assert row_indices.max() > 400, "the precondition: not the first ones"
    assert (np.diff(row_indices) > 0).all()
    if kind == "frame":
        drawn_explanation = explain_with(
            model,
            X.iloc[row_indices],
            y[row_indices],
            sample_weight=weights[row_indices],
            **options,
        )
        np.testing.assert_array_equal(explanation.values, drawn_explanation.values)
    all_rows = explain_with(model, model_input, y, max_rows=9_000, **options)
    np.testing.assert_array_equal(
        all_rows.values, explain_with(model, model_input, y, **options).values
    )
    with pytest.raises(pg.InputError, match="rows must be"):
        pg.explain(model, model_input, y, max_rows=0)


def test_the_rows_are_those_of_the_same_table_in_parquet(tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(400, 2)), columns=list("ab"))
    X.to_parquet(tmp_path / "table.parquet")
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    ).fit(X, X["a"])
    options = {"method": "gradient", "random_state": 5, "max_rows": 40}
    local = explain_with(model, X, scope="local", **options)
    pg.explain_stream(
        model,
        tmp_path / "table.parquet",
        scope="local",
        out=tmp_path / "out",
        **options,
    )
    row_frames = [
        pd.read_parquet(file_path)
        for file_path in sorted((tmp_path / "out" / "local").glob("*.parquet"))
    ]
    assert sorted(set(pd.concat(row_frames)["row"])) == local.meta["rows"]


@pytest.mark.slow
def test_outputs_of_many_classes_are_measured_in_pieces(monkeypatch):
    sizes: list[int] = []
    effects = Game.effects

    def noted(own, base, start, play, outputs, *rest):
        sizes.append(outputs.numel())
        return effects(own, base, start, play, outputs, *rest)

    monkeypatch.setattr(Game, "effects", noted)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 2))
    weights = rng.normal(size=(2, 400))

    def model(rows):
        scores = np.exp(np.asarray(rows) @ weights)
        return scores / scores.sum(axis=1, keepdims=True)

    explanation = pg.explain(model, X, n_repeats=4, random_state=0)
    assert explanation.values[:, 0].min() > 0
    assert sum(sizes) > 4 * 5000 * 400, "the precondition: many numbers"
    assert max(sizes) <= 2**22


def test_a_sentence_says_what_would_shorten_minutes(monkeypatch):
    stream = io.StringIO()
    clock = [0.0]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.Progress(1000, "permgrad", True) as bar:
        bar.quicker = progress.with_fewer_rows(1_000_000)
        for _ in range(5):
            clock[0] += 10
            bar.advance(2)
    messages = [
        line
        for line in stream.getvalue().replace("\r", "\n").splitlines()
        if "max_rows=" in line
    ]
    assert messages == [
        (
            "permgrad: about 83 min left. In Python, max_rows=10000 explains a random "
            "part in about 50 s"
        )
    ]
    for rows, seconds in ((1_000_000, 0.01), (50, 10)):  # quick enough, or few rows
        stream.truncate(0)
        with progress.Progress(1000, "permgrad", True) as bar:
            bar.quicker = progress.with_fewer_rows(rows)
            for _ in range(5):
                clock[0] += seconds
                bar.advance(2)
        assert "max_rows=" not in stream.getvalue()
