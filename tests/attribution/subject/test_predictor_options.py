"""Options of explain on predictors, and predictors that misbehave: one message each,
and nothing moves.
"""

from __future__ import annotations

import pickle
import random

import numpy as np
import pandas as pd
import pytest
from explaining import donor_rows, explain_with
from scipy import sparse
from sklearn.metrics import accuracy_score

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.base.random import uniform

QUIET = {"progress": False, "random_state": 3}
REPEATS = 3


def table(rows=150, seed=0):
    """Return a table of a number, a whole number and a category, and two classes that
    depend on it.
    """
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "dose": rng.normal(size=rows),
            "age": rng.integers(18, 90, rows),
            "region": pd.Categorical(rng.choice(["north", "south"], rows)),
        }
    )
    late = score(frame) + rng.logistic(size=rows) > 0
    return frame, np.where(late, "late", "early")


def score(frame):
    return (
        2 * frame["dose"].to_numpy()
        + frame["age"].to_numpy() / 20
        - 3 * (frame["region"] == "north").to_numpy()
        - 1
    )


def chance(frame):
    return 1 / (1 + np.exp(-score(frame)))


CLASSES = {"class_names": ["early", "late"], "returns": "probabilities"}


def edited(frame, names, key, repeat, weight=None):
    """Return the frame with columns of donors, who lend in proportion to their
    weight.
    """
    rows = np.arange(len(frame))
    donors = donor_rows(3, key, repeat, rows, len(frame), shared=True)
    if weight is not None:
        lots = uniform(3, ("donor", key, repeat), rows)
        for row, lot in enumerate(lots):
            other_rows = np.delete(rows, row)
            donors[row] = other_rows[
                np.searchsorted(
                    np.cumsum(weight[other_rows]) / weight[other_rows].sum(),
                    lot,
                    side="right",
                )
            ]
    changed = frame.copy()
    for name in names:
        changed[name] = frame[name].take(donors).reset_index(drop=True)
    return changed


def losses(frame, y):
    p = chance(frame)
    return -np.log(np.where(y == "late", p, 1 - p))


def test_groups_and_weights_are_those_of_a_loop():
    frame, y = table()
    weight = np.random.default_rng(1).integers(0, 3, len(frame)).astype(float)
    groups = {"who": ["age", "region"], "what": ["dose"]}
    explanation = explain_with(
        chance,
        frame,
        y,
        groups=groups,
        sample_weight=weight,
        n_repeats=REPEATS,
        **QUIET,
        **CLASSES,
    )
    before = losses(frame, y)
    for feature_index, name in enumerate(explanation.names):
        increases = [
            losses(edited(frame, groups[name], name, repeat, weight), y) - before
            for repeat in range(REPEATS)
        ]
        assert explanation.values[feature_index, 0] == pytest.approx(
            np.average(np.mean(increases, axis=0), weights=weight), abs=1e-9
        )
        assert abs(explanation.values[feature_index, 0]) > 0.1


def test_scores_are_those_of_a_loop():
    frame, y = table()
    explanation = explain_with(
        chance, frame, y, scoring="accuracy", n_repeats=REPEATS, **QUIET, **CLASSES
    )

    def accuracy(rows):
        return accuracy_score(y, np.where(chance(rows) > 0.5, "late", "early"))

    for feature_index, name in enumerate(explanation.names):
        falls = [
            accuracy(frame) - accuracy(edited(frame, [name], name, repeat))
            for repeat in range(REPEATS)
        ]
        assert explanation.values[feature_index, 0] == pytest.approx(
            np.mean(falls), abs=1e-9
        )
    assert explanation.values.max() > 0.05


def test_the_positive_class_changes_no_value():
    frame, y = table()
    early, late = (
        explain_with(chance, frame, y, **QUIET, positive=positive_class, **CLASSES)
        for positive_class in ("early", "late")
    )
    np.testing.assert_array_equal(early.values, late.values)
    assert (early.meta["positive"], late.meta["positive"]) == ("early", "late")
    late_explanation = explain_with(
        chance,
        frame[:4],
        method="shapley",
        background=frame,
        target="late",
        **QUIET,
        **CLASSES,
    )
    assert late_explanation.outputs == ("late",)


@pytest.mark.parametrize(
    "asked",
    [
        {"n_repeats": 2},
        {
            "method": "permutation",
            "n_repeats": 2,
            "loss": "brier",
            "groups": {"two": ["age", "region"]},
        },
        {"method": "permutation", "scope": "local", "n_repeats": 2},
        {"method": "ablation", "scope": "local", "scale": "probability"},
    ],
    ids=str,
)
def test_an_engine_gives_what_one_piece_gives(asked):
    frame, y = table(1100)
    asked = {**CLASSES, **QUIET, **asked}
    engine = _Engine()
    if "scope" in asked:
        with pytest.raises(InputError, match="engine= needs a separate background"):
            explain_with(chance, frame, y, engine=engine, **asked)
        asked["background"] = frame[:100]
    piece, parts_explanation = (
        explain_with(chance, frame, y, **asked, **more)
        for more in ({}, {"engine": engine})
    )
    assert engine.tasks == 3
    np.testing.assert_allclose(
        parts_explanation.values, piece.values, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        parts_explanation.std_error, piece.std_error, rtol=1e-9, atol=1e-12
    )
    assert np.abs(piece.values).max() > 0.01
    assert parts_explanation.names == piece.names
    assert (parts_explanation.feature_values is None) == (piece.feature_values is None)


@pytest.mark.parametrize(
    "asked",
    [
        {"n_repeats": 2},
        {
            "method": "permutation",
            "n_repeats": 2,
            "loss": "brier",
            "groups": {"two": ["age", "region"]},
        },
        {"n_repeats": 2, "engine": True},
    ],
    ids=str,
)
def test_a_table_in_parts_gives_what_one_piece_gives(tmp_path, asked):
    frame, y = table(600)
    for part_index in range(3):
        rows = slice(200 * part_index, 200 * part_index + 200)
        frame[rows].assign(y=y[rows]).to_parquet(tmp_path / f"{part_index}.parquet")
    engine = {"engine": _Engine()} if asked.pop("engine", False) else {}
    asked = {**CLASSES, **QUIET, **asked, "background": frame[:100]}
    parts_explanation = explain_with(chance, tmp_path, "y", **asked, **engine)
    piece = explain_with(chance, frame, y, **asked)
    assert np.abs(piece.values).max() > 0.01
    for name in ("values", "std_error", "low", "high"):
        np.testing.assert_allclose(
            getattr(parts_explanation, name),
            getattr(piece, name),
            rtol=1e-9,
            atol=1e-12,
        )


def test_rows_in_parts_are_explained_one_by_one(tmp_path):
    frame, _ = table(60)
    frame.to_parquet(tmp_path / "table.parquet")
    call_options = {
        **CLASSES,
        **QUIET,
        "method": "ablation",
        "scope": "local",
        "background": frame[:20],
    }
    parts_explanation = explain_with(
        chance, tmp_path / "table.parquet", out=tmp_path / "out", **call_options
    )
    piece = explain_with(chance, frame, **call_options)
    np.testing.assert_allclose(
        parts_explanation.values, np.abs(piece.values).mean(axis=0), rtol=1e-9
    )
    assert np.abs(piece.values).max() > 0.01


def test_a_table_in_parts_needs_a_background_with_its_types(tmp_path):
    frame, y = table()
    frame.assign(y=y).to_parquet(tmp_path / "table.parquet")
    with pytest.raises(
        InputError, match=r"Pass background= a pandas frame of some rows"
    ):
        explain_with(chance, tmp_path / "table.parquet", "y", **CLASSES)
    fewer = frame.assign(region=frame["region"].cat.set_categories(["north"]))
    with pytest.raises(
        InputError,
        match=r"'region' has levels that are not among its categories in the background",
    ):
        explain_with(
            chance, tmp_path / "table.parquet", "y", background=fewer, **CLASSES
        )
    with pytest.raises(InputError, match=r"lacks 1 column of training, such as 'more'"):
        explain_with(
            chance,
            tmp_path / "table.parquet",
            "y",
            background=frame.assign(more=1),
            **CLASSES,
        )


class _Engine:
    """Two workers that are sent everything as bytes, and answer in another order."""

    facts: dict[str, object] = {}  # noqa: RUF012 — the protocol's form
    tasks = 0

    def run(self, tasks, work):
        self.tasks = len(tasks)
        sent = pickle.dumps(work)
        workers = [pickle.loads(sent), pickle.loads(sent)]
        for task_index, task in enumerate(reversed(tasks)):
            yield pickle.loads(pickle.dumps(workers[task_index % 2](task)))


# ---- predictors that misbehave -------------------------------------------------------


class _Remembers:
    """Fails after some calls."""

    def __init__(self, calls, error):
        self.calls = calls
        self.error = error

    def __call__(self, frame):
        self.calls -= 1
        if self.calls < 0:
            raise self.error
        return chance(frame)


def _draws(frame):
    return chance(frame) * (random.random() + np.random.random()) / 2


def _spoils(frame):
    result = chance(frame)
    frame["dose"] = 0.0
    frame["age"] = -1
    raise ValueError(f"after the table is spoilt: {result[0]:.1f}")


HOSTILE = {
    "text": (lambda frame: frame["region"].astype(str).to_numpy(), "must be numbers"),
    "nan": (lambda frame: chance(frame) * np.nan, "(?i)nan|finite|not a number"),
    "nan in one row": (
        lambda frame: np.where(frame["age"] == 40, np.nan, chance(frame)),
        "(?i)nan|finite|not a number",
    ),
    "rows": (lambda frame: chance(frame)[1:], "one row of numbers for each"),
    "one number": (lambda _: 0.5, "one row of numbers for each"),
    "nothing": (lambda _: None, "number"),
    "later": (_Remembers(4, RuntimeError("call 4 is broken")), "call 4 is broken"),
    "spoils": (_spoils, "after the table is spoilt"),
    "lines": (_Remembers(0, RuntimeError("first line\nsecond line")), "first line"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("method", ["permgrad", "shapley"])
def test_what_cannot_be_explained_is_one_message_and_nothing_moves(kind, method):
    predict, words = HOSTILE[kind]
    if isinstance(predict, _Remembers):
        predict = _Remembers(predict.calls, predict.error)
    frame, y = table()
    assert (frame["age"] == 40).any()
    before = frame.copy(deep=True)
    mine = random.getstate()
    numpys = np.random.get_state()
    with pytest.raises(InputError, match=words) as raised:
        explain_with(predict, frame, y, method=method, **QUIET, **CLASSES)
    assert "\n" not in str(raised.value)
    pd.testing.assert_frame_equal(frame, before)
    assert random.getstate() == mine
    np.testing.assert_equal(np.random.get_state(), numpys)


def test_ctrl_c_in_a_predictor_goes_through_and_nothing_moves():
    frame, y = table()
    before = frame.copy(deep=True)
    mine = random.getstate()
    with pytest.raises(KeyboardInterrupt):
        explain_with(_Remembers(4, KeyboardInterrupt()), frame, y, **QUIET, **CLASSES)
    pd.testing.assert_frame_equal(frame, before)
    assert random.getstate() == mine


def test_a_predictor_that_draws_random_numbers_leaves_the_generators_alone():
    frame, y = table()
    mine = random.getstate()
    numpys = np.random.get_state()
    with pytest.warns(UserWarning, match="different outputs each time"):
        explain_with(_draws, frame, y, **QUIET, **CLASSES)
    assert random.getstate() == mine
    np.testing.assert_equal(np.random.get_state(), numpys)


def test_a_slow_predictor_is_called_few_times():
    frame, y = table()
    calls = []

    def counted(rows):
        calls.append(len(rows))
        return chance(rows)

    explain_with(counted, frame, y, n_repeats=5, **QUIET, **CLASSES)
    played = 5 * len(frame) * len(frame.columns)
    # Two regions: half of the donors of one leave the row as it is, which is asked
    # once.
    assert 0.6 * played < sum(calls) < played
    assert (
        len(calls) <= 5
        # 4 read the predictor and predict the rows, and all features are replaced at
        # once
    )


def test_sparse_matrices_and_containers_of_other_libraries_are_refused_with_a_way_out():
    class Pool:
        pass

    for inputs, what in (
        (sparse.csr_matrix(np.eye(3)), "a sparse matrix"),
        (Pool(), "Pool"),
    ):
        with pytest.raises(
            InputError,
            match=rf"must be a table, got {what}. Pass .* and a pipeline that makes "
            r"other",
        ):
            pg.explain(lambda rows: rows[:, 0], inputs, random_state=0)
