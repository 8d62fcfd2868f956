"""Explanations of tables in parts: equal to those in memory, gone on with after a kill,
clear where they refuse.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows, explain_with, plan_with, stream_with
from usual_methods import USUAL

import permgrad as pg
from permgrad.attribution.parts.engines import LocalEngine
from permgrad.attribution.parts.folder import difference
from permgrad.attribution.parts.part import Merged, explain_part, merge
from permgrad.attribution.parts.plan import StreamPlan, model_digest
from permgrad.attribution.parts.sums import pack
from permgrad.attribution.request import methods
from permgrad.base.files import _UNDER_WAY
from permgrad.base.random import uniform
from permgrad.data.partitions import Part, open_partitioned

ROWS = 900
SMALL = {"dense_units": (8,), "conv_filters": (4, 4), "fusion_units": (8,)}
GLOBAL = ("permgrad", "permutation", "ablation")


def features(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Return rows with numbers, levels, whole numbers with missing cells, dates and a
    column that never varies.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    frame["colour"] = pd.Categorical(rng.choice(["red", "green", "blue"], rows))
    frame["steps"] = pd.array(rng.integers(0, 9, rows), dtype="Int64")
    frame.loc[rng.random(rows) < 0.1, "steps"] = pd.NA
    frame["when"] = pd.date_range("2020-01-01", periods=rows, freq="7h")
    frame["same"] = 1.0
    return frame


def effect(frame: pd.DataFrame, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 1)
    noise = rng.normal(scale=0.3, size=len(frame))
    return np.asarray(
        frame["a"].to_numpy() + (frame["colour"] == "red").to_numpy() + noise
    )


@pytest.fixture(scope="module")
def classifier() -> pg.HyNNClassifier:
    frame = features()
    y = np.select([effect(frame) > 1, effect(frame) > 0], ["high", "middle"], "low")
    estimator = pg.HyNNClassifier(
        preset={"base": "fast", "background_size": 60},
        image="always",
        network=SMALL,
        pixels=6,
        max_epochs=3,
        random_state=0,
        progress=False,
    )
    return estimator.fit(frame, y)


@pytest.fixture(scope="module")
def regressor() -> pg.HyNNRegressor:
    frame = features()
    preset = {"base": "fast", "background_size": 60}
    estimator = pg.HyNNRegressor(
        preset=preset,
        branches=("tabular",),
        max_epochs=3,
        random_state=0,
        progress=False,
    )
    return estimator.fit(frame, effect(frame))


def target_of(model: Any, frame: pd.DataFrame) -> np.ndarray:
    if not hasattr(model, "classes_"):
        return effect(frame)
    return np.asarray(
        np.select([effect(frame) > 1, effect(frame) > 0], ["high", "middle"], "low")
    )


def write(
    folder: Path,
    frame: pd.DataFrame,
    sizes: Sequence[int] = (),
    rows_per_group: int = 70,
) -> Path:
    """Write rows as files of these sizes, the last taking the rest."""
    folder.mkdir(exist_ok=True)
    start = 0
    for file_index, size in enumerate((*sizes, len(frame))):
        file_rows = frame.iloc[start : start + size]
        file_rows.to_parquet(
            folder / f"{file_index:03d}.parquet",
            row_group_size=rows_per_group,
            index=False,
        )
        start += size
    return folder


def assert_equal(explanation: pg.Explanation, expected: pg.Explanation) -> None:
    """Compare every number; the tolerance is 1e-5 of the loss scale."""
    scale = expected.meta["loss_scale"]
    scale = 1.0 if np.isnan(scale) else scale
    assert explanation.names == expected.names
    assert explanation.outputs == expected.outputs
    assert np.abs(expected.values).max() > 0.01 * scale, "the case must not be trivial"
    arrays = ("values", "std_error", "low", "high")
    for name in arrays:
        np.testing.assert_allclose(
            getattr(explanation, name),
            getattr(expected, name),
            rtol=0,
            atol=1e-5 * scale,
        )
    np.testing.assert_allclose(explanation.p_values, expected.p_values, atol=1e-5)
    assert explanation.parts.keys() == expected.parts.keys()
    for name, part_values in expected.parts.items():
        np.testing.assert_allclose(
            explanation.parts[name], part_values, rtol=0, atol=1e-5 * scale
        )
        np.testing.assert_allclose(
            explanation.part_std[name],
            expected.part_std[name],
            rtol=0,
            atol=1e-5 * scale,
        )
    for name in (
        "rows_explained",
        "loss",
        "unit",
        "quantity",
        "n_repeats",
        "background",
        "repeats",
        "model_rows",
    ):
        assert explanation.meta[name] == expected.meta[name], name
    np.testing.assert_allclose(
        explanation.meta["loss_scale"], expected.meta["loss_scale"], rtol=1e-9
    )
    assert (explanation.branches is None) == (expected.branches is None)
    for path, branch_facts in (expected.branches or {}).items():
        if isinstance(branch_facts, dict):
            assert (explanation.branches or {})[path] == pytest.approx(
                branch_facts, abs=1e-5 * scale
            )


# ---- equality ------------------------------------------------------------------------
@pytest.mark.parametrize("method", GLOBAL)
@pytest.mark.parametrize("known", [True, False])
def test_a_folder_is_explained_as_the_table_in_memory(
    tmp_path: Path, classifier: pg.HyNNClassifier, method: str, *, known: bool
) -> None:
    """Odd row groups, a small file, an empty one, and files whose rows are of one class
    alone.
    """
    frame = features()
    y = target_of(classifier, frame)
    order = np.argsort(y != "low", kind="stable")
    frame = frame.iloc[order].reset_index(drop=True)
    y = y[order]
    folder = write(tmp_path / "t", frame.assign(y=y), (13, 0, 200, 1, 330))
    background = features(40, seed=9)
    options: dict[str, Any] = {
        "method": method,
        "background": background,
        "random_state": 4,
        "n_repeats": 3,
    }
    explanation = stream_with(
        classifier, folder, "y" if known else None, rows_per_part=150, **options
    )
    assert explanation.meta["streamed"]["parts"] > 5
    assert_equal(
        explanation, explain_with(classifier, frame, y if known else None, **options)
    )


def test_regression_with_weights_and_one_branch(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    frame = features()
    y = target_of(regressor, frame)
    weights = np.random.default_rng(3).choice([0.0, 1.0, 2.5], ROWS)
    weights[:150] = 0
    folder = write(tmp_path / "t", frame.assign(y=y, w=weights), (150,))
    options: dict[str, Any] = {
        "background": features(40, seed=9),
        "random_state": 4,
        "n_repeats": 2,
    }
    explanation = stream_with(regressor, folder, "y", sample_weight="w", **options)
    # Rows of weight 0 are no receivers; in memory they are counted as rows all the
    # same.
    kept_mask = weights > 0
    expected = explain_with(regressor, frame, y, sample_weight=weights, **options)
    assert explanation.meta["rows_explained"] == kept_mask.sum() < ROWS
    for name in ("values", "std_error", "low", "high", "p_values"):
        np.testing.assert_allclose(
            getattr(explanation, name), getattr(expected, name), rtol=1e-5, atol=1e-6
        )
    assert explanation.meta["loss_scale"] == pytest.approx(expected.meta["loss_scale"])


def test_donors_default_to_the_models_own_background(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    """Never to the rows explained: they are not all in memory."""
    folder = write(tmp_path / "t", features())
    explanation = stream_with(regressor, folder, random_state=0, n_repeats=1)
    assert explanation.meta["background"] == {"kind": "training rows", "rows": 60}


def test_groups_levels_and_classes(
    tmp_path: Path, classifier: pg.HyNNClassifier
) -> None:
    frame = features(300)
    y = target_of(classifier, frame)
    folder = write(tmp_path / "t", frame.assign(y=y))
    options: dict[str, Any] = {
        "groups": {"numbers": ["a", "b"]},
        "target": ["middle"],
        "background": frame.iloc[:30],
        "random_state": 1,
        "n_repeats": 2,
        "branches": False,
    }
    explanation = stream_with(classifier, folder, "y", rows_per_part=100, **options)
    assert explanation.outputs == ("all", "middle")
    assert explanation.groups == {"numbers": ["a", "b"]}
    assert_equal(explanation, explain_with(classifier, frame, y, **options))


@pytest.mark.slow
def test_rows_are_written_while_they_are_made(
    tmp_path: Path, classifier: pg.HyNNClassifier
) -> None:
    frame = features(300)
    folder = write(tmp_path / "t", frame, (110,))
    options: dict[str, Any] = {
        "method": "integrated_gradients",
        "random_state": 2,
        "scale": "auto",
    }
    explanation = stream_with(
        classifier, folder, out=tmp_path / "out", rows_per_part=100, **options
    )
    expected = explain_with(classifier, frame, background=None, **options)
    lines = pd.read_parquet(tmp_path / "out" / "local")
    expected_frame = expected.to_frame()
    assert lines.columns.tolist() == expected_frame.columns.tolist()
    assert lines["row"].tolist() == expected_frame["row"].tolist()
    assert lines["feature"].astype(str).tolist() == expected_frame["feature"].tolist()
    assert lines["class"].astype(str).tolist() == expected_frame["class"].tolist()
    np.testing.assert_allclose(
        lines["importance"], expected_frame["importance"], atol=1e-5
    )
    summary = expected.to_global("mean_abs")
    np.testing.assert_allclose(explanation.values, summary.values, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        explanation.std_error, summary.std_error, rtol=1e-5, atol=1e-7
    )
    assert explanation.meta["summary"] == "mean_abs"
    assert explanation.meta["completeness_gap"] < 0.01


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_the_largest_gap_of_all_parts_is_told(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    """Where there are more background rows than orders, values do not quite add up."""
    frame = features(60)
    folder = write(tmp_path / "t", frame)
    options: dict[str, Any] = {
        "method": "shapley",
        "scope": "local",
        "background": features(40, seed=5),
    }
    options |= {"exact": 0, "max_permutations": 40, "tolerance": 1.0, "random_state": 3}
    explanation = stream_with(
        regressor, folder, rows_per_part=25, out=tmp_path / "out", **options
    )
    expected = explain_with(regressor, frame, **options).meta["completeness_gap"]
    assert expected > 1e-3
    assert explanation.meta["completeness_gap"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "method", [name for name in USUAL if "local" in methods.get(name).scopes]
)
def test_every_local_method(
    tmp_path: Path, regressor: pg.HyNNRegressor, classifier: Any, method: str
) -> None:
    """Rows in parts get what they get in a whole table: the registry's methods,
    whatever is added to it.
    """
    model = classifier if method == "gradcam" else regressor
    frame = features(24)
    folder = write(tmp_path / "t", frame, (10,), rows_per_group=5)
    options: dict[str, Any] = {
        "method": method,
        "scope": "local",
        "background": features(12, seed=5),
        "random_state": 3,
    }
    stream_with(
        model, folder, out=tmp_path / "out", rows_per_part=5, n_repeats=2, **options
    )
    expected = explain_with(model, frame, n_repeats=2, **options)
    importances = (
        pd.read_parquet(tmp_path / "out" / "local")["importance"]
        .to_numpy()
        .reshape(expected.values.shape)
    )
    scale = np.abs(expected.values).max()
    assert scale > 0
    np.testing.assert_allclose(importances, expected.values, rtol=0, atol=1e-4 * scale)


# ---- samples -------------------------------------------------------------------------
@pytest.mark.slow
def test_a_sample_is_the_rows_with_the_smallest_lots(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    """Which rows depends on seed and row number; each draws the donors that it draws
    among all rows.
    """
    frame = features()
    y = target_of(regressor, frame)
    background = features(40, seed=9)
    options: dict[str, Any] = {
        "method": "permutation",
        "random_state": 6,
        "n_repeats": 2,
        "background": background,
    }
    lots = uniform(6, ("receivers",), np.arange(ROWS))
    sampled_rows = np.sort(np.argsort(lots)[:30])
    folder = write(tmp_path / "t", frame.assign(y=y), (100, 311))
    explanation = stream_with(
        regressor, folder, "y", max_rows=30, rows_per_part=100, **options
    )
    assert explanation.meta["rows_explained"] == 30
    # The slow way: every chosen row alone, at its own number.
    effects = [
        explain_with(
            regressor,
            frame.iloc[[row]],
            y[[row]],
            progress=False,
            row_offset=int(row),
            **options,
        ).values[:, 0]
        for row in sampled_rows.tolist()
    ]
    np.testing.assert_allclose(
        explanation.values[:, 0], np.mean(effects, axis=0), rtol=1e-5, atol=1e-7
    )
    more = stream_with(
        regressor, folder, "y", max_rows=30, rows_per_part=5000, **options
    )
    np.testing.assert_allclose(more.values, explanation.values, rtol=1e-5, atol=1e-7)
    everything = stream_with(regressor, folder, "y", max_rows=10_000, **options)
    assert everything.meta["rows_explained"] == ROWS


def test_the_sample_is_uniform_and_of_the_size_wanted(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    folder = write(tmp_path / "t", features())
    table = open_partitioned(folder)
    counts = np.zeros(ROWS)
    for seed in range(60):
        plan = plan_with(regressor, table, max_rows=90, random_state=seed)
        sampled_rows = np.flatnonzero(plan.is_chosen(np.arange(ROWS)))
        assert len(sampled_rows) == 90
        counts[sampled_rows] += 1
    # Each row is drawn about 6 times of 60, by chance more or less.
    assert 4.5 < ((counts - 6) ** 2).mean() < 6.5


# ---- parts ---------------------------------------------------------------------------
def test_any_process_gives_the_same_and_any_order_merges(
    tmp_path: Path, classifier: pg.HyNNClassifier
) -> None:
    import pickle

    frame = features(400)
    folder = write(tmp_path / "t", frame.assign(y=target_of(classifier, frame)))
    table = open_partitioned(folder, rows_per_part=80)
    plan = plan_with(classifier, table, "y", random_state=1, n_repeats=2)
    sent: StreamPlan = pickle.loads(pickle.dumps(plan))
    assert sent.key == plan.key
    read = plan.described(classifier)
    results = [
        explain_part(read, plan, table, table_part) for table_part in table.parts
    ]
    again = explain_part(
        sent.described(classifier),
        sent,
        pickle.loads(pickle.dumps(table)),
        table.parts[2],
    )
    for name, array in pack(results[2].sums).items():
        np.testing.assert_array_equal(pack(again.sums)[name], array)
    assert sum(result.rows for result in results) == 400
    forward_merge = merge(plan, Merged.of(results))
    reversed_merge = merge(plan, Merged.of(results[::-1]))
    np.testing.assert_allclose(
        forward_merge.values, reversed_merge.values, rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        forward_merge.std_error, reversed_merge.std_error, rtol=1e-9
    )


def test_sums_do_not_grow_with_rows(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    sizes = []
    for rows in (100, 800):
        folder = write(tmp_path / str(rows), features(rows))
        table = open_partitioned(folder)
        plan = plan_with(regressor, table, random_state=1, n_repeats=1)
        sums = pack(
            explain_part(plan.described(regressor), plan, table, table.parts[0]).sums
        )
        sizes.append(sum(array.nbytes for array in sums.values()))
    assert sizes[0] == sizes[1]


def test_donors_are_those_of_the_whole_table() -> None:
    from permgrad.attribution.request.request import RowNumbers

    numbers = np.array([3, 70, 71, 500])
    everything = donor_rows(0, "a", 1, np.arange(600), 40, shared=False)
    part_donors = donor_rows(
        0, "a", 1, np.arange(4) + RowNumbers(numbers), 40, shared=False
    )
    np.testing.assert_array_equal(part_donors, everything[numbers])


# ---- going on ------------------------------------------------------------------------
T = TypeVar("T")
R = TypeVar("R")


class Stopping:
    """An engine that stops after some parts, and counts them."""

    facts: dict[str, Any] = {"engine": "stopping"}  # noqa: RUF012 — a constant of the test

    def __init__(self, after: int) -> None:
        self.after = after
        self.done = list[int]()

    def run(self, tasks: Sequence[T], work: Callable[[T], R]) -> Iterator[R]:
        for task in tasks:
            if len(self.done) == self.after:
                raise KeyboardInterrupt
            assert isinstance(task, Part)
            self.done.append(task.number)
            yield work(task)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "scope"), [("permgrad", "global"), ("gradient", "local")]
)
def test_stopped_half_way_and_gone_on_with(
    tmp_path: Path, classifier: pg.HyNNClassifier, method: str, scope: str
) -> None:
    frame = features(400)
    folder = write(tmp_path / "t", frame.assign(y=target_of(classifier, frame)))
    options: dict[str, Any] = {
        "method": method,
        "scope": scope,
        "rows_per_part": 80,
        "random_state": 1,
    }
    options |= {"n_repeats": 2, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        stream_with(classifier, folder, "y", engine=Stopping(2), **options)
    # What a process leaves that is killed while it writes.
    (tmp_path / "out" / "parts" / f".part-00002.npz{_UNDER_WAY}abc.npz").write_bytes(
        b"half"
    )
    (tmp_path / "out" / "local").mkdir(exist_ok=True)
    (
        tmp_path / "out" / "local" / f".part-00002.parquet{_UNDER_WAY}abc.parquet"
    ).write_bytes(b"half")
    going_on = Stopping(99)
    explanation = stream_with(classifier, folder, "y", engine=going_on, **options)
    assert going_on.done == [2, 3, 4, 5]
    at_once = stream_with(
        classifier, folder, "y", **{**options, "out": tmp_path / "other"}
    )
    np.testing.assert_array_equal(explanation.values, at_once.values)
    np.testing.assert_array_equal(explanation.std_error, at_once.std_error)
    nothing = Stopping(0)
    third = stream_with(classifier, folder, "y", engine=nothing, **options)
    np.testing.assert_array_equal(third.values, explanation.values)
    assert not (tmp_path / "out" / "parts").exists()
    assert not list((tmp_path / "out" / "local").glob(".*"))
    if scope == "local":
        pd.testing.assert_frame_equal(
            pd.read_parquet(tmp_path / "out" / "local"),
            pd.read_parquet(tmp_path / "other" / "local"),
        )


def test_a_damaged_part_is_computed_again(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    folder = write(tmp_path / "t", features(300))
    options: dict[str, Any] = {
        "method": "gradient",
        "rows_per_part": 80,
        "random_state": 1,
        "out": tmp_path / "out",
    }
    with pytest.raises(KeyboardInterrupt):
        stream_with(regressor, folder, engine=Stopping(3), **options)
    (tmp_path / "out" / "parts" / "part-00000.npz").write_bytes(b"PK nothing")
    (tmp_path / "out" / "local" / "part-00001.parquet").unlink()
    last = tmp_path / "out" / "local" / "part-00002.parquet"
    no_text = last.read_bytes().replace(b"feature", b"\x8feature")
    assert no_text != last.read_bytes()
    last.write_bytes(no_text)
    going_on = Stopping(99)
    stream_with(regressor, folder, engine=going_on, **options)
    assert going_on.done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "damage",
    [
        lambda out: _replace(
            out / "local" / "part-00001.parquet", b"feature", b"\x8feature"
        ),
        lambda out: _replace(out / "_stream.json", b"part-00001", b"\\ud800rt-00001"),
        lambda out: (out / "local" / "part-00001.parquet").unlink(),
    ],
    ids=["a name that is no text", "a file's name that is none", "a file that is gone"],
)
def test_a_damaged_finished_explanation_is_made_again(
    tmp_path: Path, regressor: pg.HyNNRegressor, damage: Callable[[Path], None]
) -> None:
    folder = write(tmp_path / "t", features(300))
    options: dict[str, Any] = {
        "method": "gradient",
        "rows_per_part": 80,
        "random_state": 1,
        "out": tmp_path / "out",
    }
    first = stream_with(regressor, folder, **options)
    unchanged = Stopping(99)
    stream_with(regressor, folder, engine=unchanged, **options)
    assert unchanged.done == [], "it is finished"
    damage(tmp_path / "out")
    again = Stopping(99)
    explanation = stream_with(regressor, folder, engine=again, **options)
    assert again.done
    np.testing.assert_array_equal(explanation.values, first.values)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def test_sums_of_another_part_are_not_taken(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    """Somebody copied one part's sums over another's: every row would count twice or
    never.
    """
    folder = write(tmp_path / "t", features(300))
    options: dict[str, Any] = {
        "method": "permutation",
        "rows_per_part": 80,
        "random_state": 1,
        "n_repeats": 1,
    }
    options["out"] = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        stream_with(regressor, folder, engine=Stopping(3), **options)
    parts_folder = tmp_path / "out" / "parts"
    (parts_folder / "part-00001.npz").write_bytes(
        (parts_folder / "part-00002.npz").read_bytes()
    )
    going_on = Stopping(99)
    explanation = stream_with(regressor, folder, engine=going_on, **options)
    assert going_on.done == [1, 3, 4]
    at_once = stream_with(regressor, folder, **{**options, "out": tmp_path / "other"})
    np.testing.assert_array_equal(explanation.values, at_once.values)


def test_a_changed_table_option_or_version_is_not_gone_on_with(
    tmp_path: Path, regressor: pg.HyNNRegressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = features(300)
    folder = write(tmp_path / "t", frame, (150,))
    options: dict[str, Any] = {
        "random_state": 1,
        "n_repeats": 1,
        "out": tmp_path / "out",
    }
    stream_with(regressor, folder, **options)
    with pytest.raises(pg.InputError) as caught:
        stream_with(regressor, folder, **{**options, "random_state": 2})
    assert caught.value.message == (
        f"{tmp_path / 'out'} holds another explanation, which differs in seed. Replace "
        "it with --overwrite, remove it, or name another folder with --out (out=)."
    )
    with monkeypatch.context() as later:
        later.setattr("permgrad.attribution.parts.plan.__version__", "99.0")
        with pytest.raises(
            pg.InputError,
            match=r"which differs in the version of permgrad\. Replace it",
        ):
            stream_with(regressor, folder, **options)
    frame.iloc[150:].assign(a=0.5).to_parquet(folder / "001.parquet")
    with pytest.raises(
        pg.InputError,
        match=r"differs in the table's files, which have changed since\. Replace it",
    ):
        stream_with(regressor, folder, **options)
    again = stream_with(regressor, folder, overwrite=True, **options)
    assert json.loads((tmp_path / "out" / "_stream.json").read_text())["finished"]
    np.testing.assert_array_equal(
        pg.Explanation.load(tmp_path / "out").values, again.values
    )


@pytest.mark.parametrize(
    "kind",
    [lambda rows: rows, lambda rows: rows["a"], lambda rows: torch.tensor(rows["a"])],
)
def test_tables_among_the_options_are_told_by_all_their_cells(
    tmp_path: Path, regressor: pg.HyNNRegressor, kind: Callable[[pd.DataFrame], Any]
) -> None:
    table = open_partitioned(write(tmp_path / "t", features(300)))
    plan = plan_with(regressor, table, method="integrated_gradients", random_state=0)
    rows = features(1100)
    changed_rows = rows.assign(a=rows["a"].where(rows.index != 400, 0.5))
    tables = [kind(rows), kind(rows.copy()), kind(changed_rows)]
    # As text, which leaves most cells out, they are the same.
    assert len({str(baseline_table) for baseline_table in tables}) == 1
    changed_arguments = [
        replace(
            plan.arguments,
            method=pg.methods.IntegratedGradients(baseline=baseline_table),
        )
        for baseline_table in tables
    ]
    keys = [replace(plan, arguments=arguments).key for arguments in changed_arguments]
    assert keys[0] == keys[1] != keys[2]


def test_foreign_folders_are_left_alone(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    folder = write(tmp_path / "t", features(50))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(
            pg.InputError,
            match=r"holds other files \(thesis.tex\)\. Name a new or empty folder",
        ):
            stream_with(regressor, folder, out=tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(pg.InputError, match=r"thesis.tex is a file, not a folder"):
        stream_with(regressor, folder, out=tmp_path / "mine" / "thesis.tex")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(
        pg.InputError, match=r"link is a link that leads nowhere, not a folder"
    ):
        stream_with(regressor, folder, out=tmp_path / "link")


# ---- refusals ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "shapley", "scope": "global"},
            (
                r"'shapley' does not take a table in parts with scope='global'\. Leave "
                r"it "
                r"out, or choose .*permutation"
            ),
        ),
        ({"method": "permgrd"}, r"Did you mean 'permgrad'\?"),
        (
            {"method": "gradient"},
            r"explains single rows, .* and out is missing\. Pass out='a folder'",
        ),
        ({"scoring": "accuracy"}, "A table in parts does not take scoring="),
        (
            {"tolerance": 0.1},
            "A table in parts with scope='global' does not take tolerance=0.1",
        ),
        ({"max_rows": 0}, "max_rows must be an integer of at least 1, got 0"),
        ({"n_repeats": 0}, "n_repeats must be an integer of at least 1"),
        (
            {"loss": "squared_error"},
            "loss='squared_error' cannot be used for classification",
        ),
        ({"y": "targt"}, r"Column 'targt' not found in .* Did you mean 'target'\?"),
        (
            {"y": "gone"},
            "No row of .*/t' has a value of y in column 'gone'. Name another column",
        ),
        (
            {"y": "strange"},
            (
                "y must hold classes of the model .* column 'strange' holds 'none' in "
                "row 99 of .*000.parquet'. Leave"
            ),
        ),
        (
            {"y": "visits"},
            (
                "y must hold classes of the model .* column 'visits' holds 7 in row 0 "
                "of .*. Leave such"
            ),
        ),
        (
            {"y": "halves"},
            (
                "y must hold classes of the model .* column 'halves' holds 0.5 in row "
                "0 of .*. Leave such"
            ),
        ),
        (
            {"background": "train.parquet"},
            "background must be rows like X, got 'train.parquet'. Pass a table",
        ),
        (
            {"background": Path("a/train.parquet")},
            r"background must be rows like X, got .*train.parquet",
        ),
        (
            {"background": pd.DataFrame({"z": [1.0]})},
            "^background must have the columns .* but it lacks .* has 'z'\\.",
        ),
        (
            {"y": ["target"]},
            "y must be the name of a column for a table in a file, got \\['target'\\]",
        ),
        (
            {"sample_weight": "negative"},
            (
                "sample_weight must be finite and at least 0, but column 'negative' "
                "holds '-1.0' in row 0 of"
            ),
        ),
        (
            {"sample_weight": "never"},
            r"sample_weight 'never' is 0 in every row explained\. Name another",
        ),
        (
            {"sample_weight": "never", "max_rows": 20},
            r"sample_weight 'never' is 0 in every row drawn\. Draw more rows, or",
        ),
    ],
)
def test_refusals(
    tmp_path: Path, classifier: pg.HyNNClassifier, options: dict[str, Any], message: str
) -> None:
    frame = features(100)
    y = target_of(classifier, frame).astype(object)
    strange = y.copy()
    strange[99] = "none"
    columns = {
        "target": y,
        "gone": None,
        "strange": strange,
        "visits": 7,
        "halves": 0.5,
        "negative": -1.0,
        "never": 0,
    }
    folder = write(tmp_path / "t", frame.assign(**columns))
    with pytest.raises(pg.InputError, match=message):
        stream_with(
            classifier, folder, **{"random_state": 0, "n_repeats": 1, **options}
        )


@pytest.mark.slow
def test_rows_without_a_target_are_as_if_they_were_not_there(
    tmp_path: Path, classifier: pg.HyNNClassifier, regressor: pg.HyNNRegressor
) -> None:
    """Same donors, sample, counts and numbers as in memory without those rows; said
    once, whatever the engine.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    frame = features(300, seed=4)
    rng = np.random.default_rng(0)
    for model, codes in (
        (classifier, ()),
        (classifier, ["?"]),
        (regressor, ()),
        (regressor, [-9]),
    ):
        y = pd.Series(target_of(model, frame))
        y = y.astype(object) if model is classifier else y
        gone = rng.random(300) < 0.3
        # The first rows, and a whole file, have none.
        gone[:70] = gone[150:220] = True
        y[gone] = codes[0] if codes else np.nan if model is regressor else None
        folder = tmp_path / f"{id(model)}{codes}"
        folder.mkdir()
        for number, start in enumerate(range(0, 300, 75)):
            file_table = pa.Table.from_pandas(
                frame[start : start + 75], preserve_index=False
            )
            # Not through pandas: NaN stays NaN, which no footer counts.
            file_table = file_table.append_column(
                "y",
                pa.array(
                    y[start : start + 75].to_numpy(), from_pandas=model is classifier
                ),
            )
            pq.write_table(file_table, folder / f"{number}.parquet", row_group_size=30)
        background = features(60, seed=9)
        same = {"n_repeats": 2, "random_state": 3, "background": background}
        expected_message = (
            f"{int(gone.sum())} of 300 rows of {folder} have no 'y' and are left out "
            "where the loss is explained"
        )
        with pytest.warns(pg.PermgradWarning) as caught_warnings:
            explanation = stream_with(
                model, folder, "y", na=codes, rows_per_part=60, **same
            )
        assert [
            str(warning.message).partition(";")[0] for warning in caught_warnings
        ] == [expected_message]
        labelled_rows = frame[~gone].reset_index(drop=True)
        assert_equal(
            explanation, explain_with(model, labelled_rows, y[~gone].to_numpy(), **same)
        )
        with pytest.warns(pg.PermgradWarning, match="are left out"):
            sampled = stream_with(
                model, folder, "y", na=codes, max_rows=50, rows_per_part=60, **same
            )
        labelled_rows.assign(y=y[~gone].to_numpy()).to_parquet(folder / "whole.parquet")
        expected = stream_with(
            model, folder / "whole.parquet", "y", max_rows=50, **same
        )
        assert sampled.meta["rows_explained"] == 50
        np.testing.assert_allclose(sampled.values, expected.values, atol=1e-5)


@pytest.mark.slow
def test_conditional_models_are_fitted_once(
    tmp_path: Path, regressor: pg.HyNNRegressor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from permgrad.attribution.replace.conditional import ConditionalSampler

    fitted: list[str] = []
    fit = ConditionalSampler._fit_player
    monkeypatch.setattr(
        ConditionalSampler,
        "_fit_player",
        lambda own, *given: fitted.append(given[0]) or fit(own, *given),
    )
    frame = features(120)
    folder = write(tmp_path / "t", frame.assign(y=effect(frame)), rows_per_group=40)
    same: dict[str, Any] = {
        "n_repeats": 2,
        "random_state": 0,
        "sampling": "conditional",
        "method": "permutation",
    }
    same["groups"] = {"both": ["b", "steps"]}
    explanation = stream_with(
        regressor,
        folder,
        "y",
        rows_per_part=40,
        background=features(60, seed=9),
        **same,
    )
    assert explanation.meta["streamed"]["parts"] == 3
    dates = [
        f"when: {date_feature}"
        for date_feature in (
            "day of the month",
            "season",
            "time of day",
            "trend",
            "weekday",
        )
    ]
    assert sorted(fitted) == ["a", "both", "colour", *dates]
    expected = explain_with(
        regressor, frame, effect(frame), background=features(60, seed=9), **same
    )
    assert_equal(explanation, expected)


def test_targets_of_other_types(tmp_path: Path, regressor: pg.HyNNRegressor) -> None:
    from decimal import Decimal

    frame = features(80)
    y = [Decimal(f"{value:.3f}") for value in effect(frame)]
    same: dict[str, Any] = {"n_repeats": 1, "random_state": 0}
    explanation = stream_with(
        regressor, write(tmp_path / "a", frame.assign(y=y)), "y", **same
    )
    plain = frame.assign(y=[float(value) for value in y])
    assert_equal(
        explanation, stream_with(regressor, write(tmp_path / "b", plain), "y", **same)
    )
    for bad, what in ((frame["when"], "dates"), (["1"] * 80, "text")):
        folder = write(tmp_path / what, frame.assign(y=bad))
        with pytest.raises(
            pg.InputError,
            match=rf"y must hold numbers as in training, .* column 'y' holds {what}\.",
        ):
            stream_with(regressor, folder, "y", **same)
    folder = write(tmp_path / "c", frame.assign(y=[[1, 2]] * 80))
    with pytest.raises(
        pg.InputError,
        match=r"column 'y' of .* holds list<.*. Name another column, or leave y out",
    ):
        stream_with(regressor, folder, "y", **same)


def test_a_bad_cell_is_named_by_file_column_and_row(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    frame = features(200).assign(y=0.0, weight=1.0)
    frame.loc[130, "b"] = np.inf
    frame["text"] = frame["a"].astype(str)
    frame.loc[171, "y"] = -np.inf
    frame.loc[99, "weight"] = np.nan
    folder = write(tmp_path / "t", frame, sizes=(60, 60), rows_per_group=25)
    same: dict[str, Any] = {"n_repeats": 1, "rows_per_part": 25}
    row = (
        f"in row 10 of {str(folder / '002.parquet')!r} (row 130 in all). Replace inf "
        "by NaN"
    )
    expected_message = f"Column 'b' holds an infinite value (inf) {row}"
    for options in ({}, {"method": "gradient", "out": tmp_path / "out"}):
        with pytest.raises(pg.InputError) as caught:
            stream_with(regressor, folder, **same, **options)
        assert str(caught.value).startswith(expected_message)
    frame["b"] = 0.0
    frame.to_parquet(folder / "one.parquet", index=False)
    with pytest.raises(
        pg.InputError,
        match=r"column 'y' holds -inf in row 171 of '.*one.parquet'. Correct it",
    ):
        stream_with(regressor, folder / "one.parquet", "y", **same)
    frame["a"] = frame["a"].astype(object)
    frame.loc[30, "a"] = "many"
    frame["a"] = frame["a"].astype(str)
    frame.to_parquet(folder / "one.parquet", index=False)
    with pytest.raises(
        pg.InputError,
        match=r"'a' must be numeric, but holds 'many' in row 30 of '.*one.parquet'. "
        r"Corr",
    ):
        stream_with(regressor, folder / "one.parquet", **same)


def test_what_is_no_model_or_no_table(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    import torch

    folder = write(tmp_path / "t", features(50).drop(columns="b"))
    with pytest.raises(
        pg.InputError, match=r" lacks 1 column of training, such as 'b'"
    ):
        stream_with(regressor, folder)
    with pytest.raises(
        pg.InputError, match=r"model is a Linear\. For a network read rows into memory"
    ):
        stream_with(torch.nn.Linear(2, 1), folder)
    with pytest.raises(pg.InputError, match=r"model is not fitted\. Call fit first"):
        stream_with(pg.HyNNRegressor(), folder)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(pg.InputError, match="must be Parquet, but"):
        stream_with(regressor, tmp_path / "t.csv")
    with pytest.raises(
        pg.InputError,
        match=r"X must be rows in memory, got the path '.*t.csv'\. Call "
        r"pg.explain_stream",
    ):
        pg.explain(regressor, str(tmp_path / "t.csv"))


def test_notes_of_many_parts_are_said_once(
    tmp_path: Path, regressor: pg.HyNNRegressor
) -> None:
    frame = features(200).assign(colour="mauve")
    folder = write(tmp_path / "t", frame, rows_per_group=20)
    with pytest.warns(pg.PermgradWarning) as caught_warnings:
        stream_with(
            regressor, folder, rows_per_part=20, n_repeats=1, engine=LocalEngine()
        )
    assert len(caught_warnings) == 1
    assert (
        "In part 0 of the table: 20 of 20 values of 'colour' are unseen categories"
        in str(caught_warnings[0].message)
    )


def test_the_check_of_memory_reads_its_figures_rightly(
    tmp_path: Path, script: Callable[[str], Any]
) -> None:
    module = script("verification.verify_streaming")
    module.write_files(tmp_path / "all", 3, 40, 20)
    assert (
        open_partitioned(module.linked(tmp_path / "all", tmp_path / "some", 2)).rows
        == 80
    )
    table = open_partitioned(tmp_path / "all")
    assert len(table.columns) == module.FEATURES + 1
    assert table.read(table.parts[0])["x0"].nunique() == 40, "row groups must differ"

    def lines(
        *levels: float, above: float = 0.1, missing: int = 0
    ) -> list[dict[str, Any]]:
        return [
            {
                "command": name,
                "rows": 100,
                "predicted or explained": 100 - missing,
                "level GB": level,
                "peak GB": level + above,
            }
            for name in ("predict", "explain", "explain rows")
            for level in levels
        ]

    assert module.verdict(lines(1.0, 1.04, 1.02), 100)[1]
    assert not module.verdict(lines(1.0, 1.06), 100)[1]
    assert not module.verdict(lines(1.0, 1.0, above=0.6), 100)[1]
    assert not module.verdict(lines(1.0, 1.0, missing=1), 100)[1]


@pytest.mark.slow
@pytest.mark.skipif(
    "PERMGRAD_DATA" not in os.environ,
    reason="PERMGRAD_DATA does not name the folder of real tables",
)
def test_heloc_with_its_codes_for_missing(tmp_path: Path) -> None:
    """Real rows with -7, -8 and -9 for three kinds of missing, explained with and
    without targets.
    """
    data = pg.load_dataset("heloc")
    frame = data.frame.drop(columns=data.target)
    y = data.frame[data.target].to_numpy()
    assert (frame == -9).any().any(), "the case must have codes"
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=SMALL,
        na=data.na,
        max_epochs=2,
        random_state=0,
        progress=False,
    ).fit(frame.iloc[:2000], y[:2000])
    explained_rows = slice(2000, 2600)
    folder = write(
        tmp_path / "t",
        frame.iloc[explained_rows].assign(y=y[explained_rows]),
        (250, 0, 17),
    )
    options: dict[str, Any] = {
        "background": frame.iloc[:100],
        "random_state": 1,
        "n_repeats": 2,
    }
    for with_target in (True, False):
        explanation = stream_with(
            model, folder, "y" if with_target else None, rows_per_part=100, **options
        )
        rows = frame.iloc[explained_rows].reset_index(drop=True)
        assert_equal(
            explanation,
            explain_with(
                model,
                rows,
                y[explained_rows] if with_target else None,
                direction=False,
                **options,
            ),
        )


def test_what_differs_from_an_earlier_explanation_is_said_in_words() -> None:
    old = {"permgrad": 1, "table": 2, "model": 3, "y": 4, "seed": 5}
    for name, words in [
        ("permgrad", "the version of permgrad"), ("table", ("the table's files, which "
                                                           "have changed since")),
        ("model", "the model"), ("y", "the target"), ("seed", "seed"),
    ]:  # fmt: skip
        assert difference(old, old | {name: 0}) == words
        assert (
            difference(
                old,
                {
                    field_name: value
                    for field_name, value in old.items()
                    if field_name != name
                },
            )
            == words
        )
    four = (
        "the version of permgrad, the table's files, which have changed since, the "
        "model, the target"
    )
    assert difference(old, dict.fromkeys(old, 0)) == four
    assert difference(old, old) == "the version that wrote it"


@pytest.mark.parametrize("part", ["activation", "layout", "calibration", "classes"])
def test_models_are_told_apart_by_all_that_they_compute_with(
    tmp_path: Path, classifier: pg.HyNNClassifier, part: str
) -> None:
    """Weights alone do not: the same ones with another activation, picture or
    calibration give other logits.
    """
    digest = model_digest(classifier)
    classifier.save(tmp_path / "model")
    assert model_digest(pg.load(tmp_path / "model")) == digest
    altered_model = copy.deepcopy(classifier)
    assert model_digest(altered_model) == digest
    if part == "activation":
        altered_model.module_.options = replace(
            altered_model.module_.options, activation="tanh"
        )
        assert classifier.module_.options.activation != "tanh"
    elif part == "layout":
        altered_model.renderer_.clip = not altered_model.renderer_.clip
    elif part == "classes":
        altered_model.classes_ = altered_model.classes_[::-1]
    else:
        altered_model.calibration_ = replace(
            altered_model.calibration_,
            temperature=2 * altered_model.calibration_.temperature,
        )
    assert model_digest(altered_model) != digest
