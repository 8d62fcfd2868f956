"""The suite ``benchmarks.quality.rows``: its checks on cells whose answer is known, its
divisions, its images.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from benchmarks.quality import _row_record as record
from benchmarks.quality._cells import Cells
from benchmarks.quality._row_models import (
    CONTESTANTS,
    Looked,
    Task,
    linear_of,
    permgrad_on,
)
from benchmarks.quality._row_sets import SETS, RowSet

from permgrad.data.encode.scores import Target
from permgrad.models.images import ImageFeatures

GOOD = {"accuracy": 0.7, "log_loss": 1.0, "roc_auc": 0.9, "rmse": 0.1, "r2": 0.9}
BAD = {"accuracy": 0.5, "log_loss": 2.0, "roc_auc": 0.8, "rmse": 0.2, "r2": 0.5}


def made_up(folder, good=("permgrad",)):
    """All cells: contestants named in ``good`` are better, and differ a little from
    split to split.
    """
    cells = Cells(folder)
    for row_set in SETS.values():
        for model in CONTESTANTS:
            if not CONTESTANTS[model].on(row_set):
                continue
            for split in record.splits(row_set):
                values = {
                    key: value + split * 1e-3
                    for key, value in (GOOD if model in good else BAD).items()
                }
                noise = np.random.default_rng(split).normal(0, 0.1, 40)
                cells.found[model, row_set.name, split] = {
                    "model": model, "set": row_set.name, "split": split, "metrics": {"test": values},
                    "losses": (values["log_loss"] + noise * (1 if model in good else 2)).tolist(),
                    "groups": None if row_set.group is None else (np.arange(40) // 2).tolist(), "said": {},
                    "rows": {"train": 80, "test": 20}, "processor_seconds": 1.0, "fingerprint": "", "matmul": "highest",
                    "versions": {"permgrad": "1"}, "date": "2026-01-01T00:00:00",
                }  # fmt: skip
    return cells


def test_checks_hold_where_permgrad_is_ahead_and_fail_where_it_is_behind(tmp_path):
    ahead = record.checks(made_up(tmp_path))
    missed = {row["check"] for row in ahead if not row["met"]}
    assert not missed, "every floor is met by what permgrad has here"
    other_models = tuple(model for model in CONTESTANTS if model != "permgrad")
    behind = record.checks(made_up(tmp_path, good=other_models))
    assert len(behind) == len(ahead) > 15
    met_checks = {row["check"] for row in behind if row["met"]}
    assert met_checks == {"ratings, RMSE", "rides, RMSE"}, "whose floors are above 0.2"
    empty = record.checks(Cells(tmp_path))
    assert {row["met"] for row in empty} == {None}, (
        "what was not measured is neither met nor missed"
    )


def test_a_floor_may_be_reached_exactly(tmp_path):
    cells = made_up(tmp_path)
    for split in record.splits(SETS["houses"]):
        cells.found["permgrad", "houses", split]["metrics"]["test"]["r2"] = 0.775
    row = next(row for row in record.checks(cells) if row["check"] == "houses, R²")
    assert row["met"], row


def test_rows_of_a_group_count_once(tmp_path):
    cells = made_up(tmp_path)
    fold_result = record.by_fold(cells, SETS["cards"])[0]
    ours, other_losses = (
        np.array(cells.found[model, "cards", 0]["losses"])
        for model in ("permgrad", "text")
    )
    gains = other_losses - ours
    pairs = (gains - gains.mean()).reshape(20, 2).sum(axis=1)
    assert fold_result["gain"] == pytest.approx(gains.mean())
    assert fold_result["error"] == pytest.approx(np.sqrt((pairs**2).sum()) / 40)
    single = np.sqrt(((gains - gains.mean()) ** 2).sum()) / 40
    assert fold_result["error"] != pytest.approx(single), "the groups matter here"


def test_the_page_has_every_set_with_the_best_first(tmp_path):
    cells = made_up(tmp_path)
    text = record.page(cells, record.checks(cells))
    for row_set in SETS.values():
        section_start = text.index(f"## {row_set.name.capitalize()}\n")
        first = next(
            line
            for line in text[section_start:].splitlines()
            if line.startswith("| ") and "model" not in line
        )
        assert first.startswith("| permgrad |"), (row_set.name, first)


def frame_of(rows=120):
    draw = np.random.default_rng(0)
    group = [f"g{k // 3}" for k in range(rows)]
    return pd.DataFrame({
        "x": draw.normal(size=rows), "group": group, "when": pd.date_range("2020-01-01", periods=rows)[::-1],
        "art": np.arange(rows) % 7, "y": np.where(draw.normal(size=rows) > 0, "a", "b"),
    })  # fmt: skip


@pytest.mark.parametrize("division", ["folds of groups", "three of groups"])
def test_groups_are_whole_in_a_part(division):
    frame = frame_of()
    row_set = RowSet(
        "made", "", "", "accuracy", lambda _: frame, "y", division, group="group"
    )
    split_parts = row_set.parts(frame)
    assert len(split_parts) == len(record.splits(row_set))
    for train, test in split_parts:
        assert len(train) + len(test) == len(frame)
        assert not set(frame["group"].iloc[train]) & set(frame["group"].iloc[test])


def test_the_latest_fifth_is_tested_and_the_latest_of_the_rest_is_chosen_by():
    frame = frame_of()
    row_set = RowSet(
        "made", "", "", "rmse", lambda _: frame, "x", "latest fifth", time="when"
    )
    train, test = row_set.parts(frame)[0]
    assert frame["when"].iloc[train].max() < frame["when"].iloc[test].min()
    assert len(test) == 24
    learned, validation_rows = Task(
        row_set, frame.iloc[train], frame.iloc[test], {}, 0
    ).held
    assert (
        frame["when"].iloc[train].iloc[learned].max()
        < frame["when"].iloc[train].iloc[validation_rows].min()
    )
    assert sorted([*learned, *validation_rows]) == list(range(96))


def test_vectors_are_found_by_the_colour_of_an_image_after_it_was_resized():
    draw = np.random.default_rng(1)
    vectors = {
        "art": draw.normal(size=(40, 5)).astype(np.float32),
        "back": draw.normal(size=(9, 5)).astype(np.float32),
    }
    looked = Looked(vectors)
    cells = looked.cells("back", pd.Series(np.arange(9)))
    from permgrad.data.read.image_cells import with_image_cells

    image_cells = with_image_cells(pd.DataFrame({"back": cells}))["back"].tolist()
    features = ImageFeatures(looked)
    learned_vectors = features.learn(
        "back", image_cells, np.arange(9), Target.of(np.arange(9.0), "regression", 0)
    )
    assert features.columns["back"].width > 8, "the images were made larger"
    assert np.array_equal(learned_vectors, vectors["back"])


def test_a_linear_model_reads_all_kinds_and_a_kind_that_tells_nothing_predicts_the_shares():
    frame = frame_of()
    vectors = {"art": np.eye(7, dtype=np.float32)}
    frame["y"] = np.where(frame["art"] > 3, "a", "b")
    row_set = RowSet("made", "", "", "accuracy", lambda _: frame, "y", images=("art",))
    task = Task(row_set, frame.iloc[:90], frame.iloc[90:], vectors, 0)
    says = linear_of("table", "photo")(task)
    assert says.shape == (30, 2)
    assert says.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert ((says[:, 0] > 0.5) == (task.test["y"] == "a")).mean() > 0.9
    constant = frame.assign(art=0)
    alone = Task(row_set, constant.iloc[:90], constant.iloc[90:], vectors, 0)
    shares = permgrad_on("photo")(alone)
    assert shares == pytest.approx(
        np.tile(
            [(constant["y"][:90] == "a").mean(), (constant["y"][:90] == "b").mean()],
            (30, 1),
        )
    )
    assert "nothing to learn" in alone.said["how"]
