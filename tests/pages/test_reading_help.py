"""Beside the raw data: levels, disagreements, the leakage hint, and how the report
shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import permgrad as pg
from permgrad.assess.assessed_model import EvaluatedModel
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.assessment import Assessment
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.beside_data import (
    CHANCE,
    beside_data,
    explained_share,
    leakage_hint,
    rank_notes,
    sign_notes,
    told_features,
)
from permgrad.assess.sections.gradients import GradientSection
from permgrad.assess.sections.rows import LocalRows
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.data.datasets import get_card
from permgrad.evaluation.levels import level_table, levels_of
from permgrad.pages.findings import say
from permgrad.pages.html import render_report


def ranked(values: dict[str, float]) -> Explanation:
    array = np.array(list(values.values()))[:, None]
    return Explanation(
        array, tuple(values), ("table",) * len(values), ("all",), "permgrad", "global"
    )


def local_of(
    values: np.ndarray, names: tuple[str, ...], output: str = "yes"
) -> Explanation:
    meta = {"baseline": "the median row"}
    return Explanation(
        values[:, :, None],
        names,
        ("table",) * len(names),
        (output,),
        "integrated_gradients",
        "local",
        meta=meta,
    )


@dataclass(frozen=True, kw_only=True)
class Undecided(EvaluatedModel):
    """A model that predicts the same for every row."""

    def predict(self, rows):
        guess = (
            np.full((len(rows), len(self.classes)), 1 / len(self.classes))
            if self.classes
            else np.zeros(len(rows))
        )
        return Predictions(truth=self.truth(rows), guess=guess, classes=self.classes)

    def dates(self, table):
        return {}


def reading_of(
    main: Explanation, X: pd.DataFrame, y: np.ndarray, local: Explanation
) -> dict:
    """What the section finds of a target whose rows are all explained one by one."""
    classes = () if y.dtype == np.float64 else tuple(sorted(set(y)))
    task = "classification" if classes else "regression"
    model = Undecided(name="m", model=None, task=task, classes=classes, labels=classes)
    rows = Rows(inputs=X, y=y, numbers=np.arange(len(X)), table=X)
    content = Assessment(title="t", target="y", task=task, explanation=main)
    content.explained = LocalRows(explanation=local, numbers=rows.numbers)
    beside_data(Work(model, rows, content, explained_places=rows.numbers))
    return content.reading


# --- levels ---------------------------------------------------------------------------
def test_numbers_are_cut_at_quantiles():
    codes, names = levels_of(pd.Series([*range(60), None]))
    assert np.bincount(codes).tolist() == [10] * 6 + [1]
    assert names == [
        "up to 9",
        "from 10 to 19",
        "from 20 to 29",
        "from 30 to 39",
        "from 40 to 49",
        "above 49",
        "missing",
    ]


def test_a_spike_is_a_level_of_its_own():
    values = pd.Series([-1.0] * 80 + list(range(1, 21)))
    codes, names = levels_of(values)
    assert (codes[:80] == codes[0]).all()
    assert codes[80] != codes[0]
    assert names[0] == "up to −1"


def test_many_levels_become_the_frequent_ones_and_others():
    values = pd.Series([f"l{k}" for k in range(20) for _ in range(k + 1)])
    codes, names = levels_of(values)
    assert names[:2] == ["l19", "l18"]
    assert names[-1] == "9 others"
    assert (codes == len(names) - 1).sum() == sum(range(1, 10))


def test_few_different_numbers_stand_in_their_order():
    assert levels_of(pd.Series([3, 1, 2, 3, 3]))[1] == ["1", "2", "3"]
    assert levels_of(pd.Series([True, False, True]))[1] == ["True", "False"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5)),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_has_a_level_with_a_name(cells):
    codes, names = levels_of(pd.Series(cells, dtype=float))
    assert len(codes) == len(cells)
    assert codes.min() >= 0
    assert codes.max() < len(names)


def test_equal_values_have_no_standard_error():
    values = (
        np.repeat(1 + np.finfo(float).eps * np.arange(3), 40) * 0.0263841
    )  # as sums in another order differ
    levels = np.repeat([0, 1], [119, 1]), ["a", "b"]
    assert 0 < values[:119].std() < 1e-15
    first, other_level = level_table(levels, values, None, np.arange(120))
    assert first["deviation"] == 0
    assert other_level["deviation"] is None
    values[0] += 1e-9
    assert level_table(levels, values, None, np.arange(120))[0]["deviation"] > 1e-12


def test_level_table_against_groupby():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"level": rng.choice(["a", "b", "c"], 200), "y": rng.random(200)}
    )
    row_positions = np.arange(0, 200, 2)
    attribution = rng.normal(size=100)
    table = level_table(
        levels_of(frame["level"]), frame["y"].to_numpy(), attribution, row_positions
    )
    for row in table:
        level_rows = frame[frame["level"] == row["level"]]
        assert row["rows"] == len(level_rows)
        assert row["outcome"] == pytest.approx(level_rows["y"].mean())
        assert row["deviation"] == pytest.approx(level_rows["y"].sem())
        explained = frame["level"].to_numpy()[row_positions] == row["level"]
        assert row["attribution"] == pytest.approx(attribution[explained].mean())


def test_explained_share_is_r_squared_of_the_level_means():
    rng = np.random.default_rng(1)
    codes = rng.integers(4, size=300)
    y = rng.normal(size=300)
    y = y + codes
    fitted = pd.Series(y).groupby(codes).transform("mean").to_numpy()
    assert explained_share(codes, y)[0] == pytest.approx(
        1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    )
    assert explained_share(codes, np.ones(300)) == (0.0, 1.0)


# --- sentences ------------------------------------------------------------------------
def level(
    name: str, outcome: float, attribution: float, explained: int = 100
) -> dict[str, object]:
    row = {
        "level": name,
        "rows": 100,
        "share": 0.5,
        "outcome": outcome,
        "deviation": 0.01,
    }
    return row | {
        "attribution": attribution,
        "attribution_error": 0.01,
        "explained": explained,
    }


def test_disagreement_in_sign_is_said_of_the_level_with_its_size():
    table = [level("may", 0.05, 0.6), level("march", 0.5, -0.6)]
    notes = sign_notes("month", table, 0.2)
    assert len(notes) == 1
    assert notes[0].startswith(
        "Where month is may, the outcome is 0.15 below its average, but there it moves "
        "the prediction up, compared"
    )
    assert (
        sign_notes("month", [level("may", 0.05, -0.6), level("march", 0.5, 0.6)], 0.2)
        == []
    )
    few = [level("may", 0.05, 0.6, explained=5), level("march", 0.5, -0.6, explained=5)]
    assert sign_notes("month", few, 0.2) == [], "a handful of rows says nothing"


def test_a_small_disagreement_in_sign_is_not_said_however_certain():
    large = [level("a", 0.9, 6.0), level("b", 0.1, -6.0)]
    opposite = level("c", 0.54, -0.3)
    (note,) = sign_notes(
        "f", [level("a", 0.6, 1.0), level("b", 0.4, -0.7), opposite], 0.5
    )
    assert "is c, the outcome is 0.04 above" in note
    for error in ("deviation", "attribution_error"):
        assert 2 * opposite[error] < min(0.04, 0.3), "it is certain"
    assert sign_notes("f", [*large, opposite], 0.5) == []


def test_a_shift_of_all_attributions_is_no_disagreement():
    table = [level("a", 0.1, 5.0), level("b", 0.3, 6.0)]
    assert sign_notes("f", table, 0.2) == [], "the baseline moves all of them alike"


def test_disagreement_in_rank():
    rank_note = rank_notes("f", 1, (9, 0.001), 9)[0]
    assert "number 1 for the model, but number 9 of 9" in rank_note
    assert "(0.1 % of its variance). The model relies on it more" in rank_note
    assert rank_notes("f", 1, (3, 0.01), 9) == []
    assert "relies on it less" in rank_notes("f", 6, (1, 0.3), 9)[0]
    assert rank_notes("f", 6, (1, 0.04), 9) == [], (
        "an association of 4 % suggests nothing"
    )


def with_intervals(values: dict[str, float], p: float = 1e-9) -> Explanation:
    importance_values = np.array(list(values.values()))[:, None]
    names = tuple(values)
    return Explanation(
        importance_values, names, ("table",) * len(names), ("all",), "permgrad", "global", low=importance_values / 2, high=importance_values * 2,
        p_values=np.full(importance_values.shape, p),
    )  # fmt: skip


def test_a_feature_with_little_importance_gets_no_sentence():
    """Number 4 for the model and 14 by raw association, beside 0.2 % of the importance,
    says nothing.
    """
    values = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.002}
    main = with_intervals(values)
    assert set(clearly_matter(main)) == set(values), "each is certain"
    assert told_features(main, 0) == {"a", "b", "c"}
    unsure = with_intervals(values, p=0.02)
    assert (unsure.low > 0).all()
    assert told_features(unsure, 0) == set()


def many_classes() -> Explanation:
    """Class by class importances whose order differs: 'left' leads overall, 'right' on
    the rows of class b.
    """
    outputs = ("all", "a", "b", "c")
    values = np.array(
        [[0.5, 0.8, 0.1, 0.6], [0.3, 0.1, 0.7, 0.1], [0.2, 0.1, 0.2, 0.3]]
    )
    return Explanation(
        values, ("left", "right", "other"), ("table",) * 3, outputs, "permgrad", "global", low=values / 2,
        high=2 * values, p_values=np.full(values.shape, 1e-9),
    )  # fmt: skip


def test_attributions_to_one_of_many_classes_stand_beside_that_classes_importances(
    undrawn,
):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 3)), columns=["left", "right", "other"])
    y = rng.choice(["a", "b", "b", "c"], 300).astype(object)
    main = many_classes()
    assert main.ranking()[0] == "left", "overall it is another one"
    attributions = rng.normal(size=(300, 3))
    class_readings = {
        label: reading_of(main, X, y, local_of(attributions, main.names, label))
        for label in ("a", "b", "c", "all")
    }
    assert [entry["feature"] for entry in class_readings["b"]["features"]] == [
        "right",
        "other",
        "left",
    ]
    assert [entry["feature"] for entry in class_readings["c"]["features"]] == [
        "left",
        "other",
        "right",
    ]
    assert [entry["class"] for entry in class_readings.values()] == [
        "a",
        "b",
        "c",
        None,
    ]
    two = Explanation(
        main.values[:, :3],
        main.names,
        main.modality,
        main.outputs[:3],
        "permgrad",
        "global",
    )
    of_two = reading_of(
        two, X, np.where(y == "c", "a", y), local_of(attributions, main.names, "b")
    )
    assert of_two["class"] is None, "of two classes both concern all rows"


def test_ranks_of_features_that_do_nothing_are_not_interpreted():
    """A constant has a rank among features within noise, and a rank by raw association,
    and neither says anything.
    """
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        rng.normal(size=(400, 8)), columns=[f"x{number}" for number in range(8)]
    ).assign(constant=1.0)
    y = X["x0"].to_numpy() + 0.1 * rng.normal(size=400)
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=15, random_state=0, progress=False
    ).fit(X, y)
    main = pg.explain(model, X, y, n_repeats=2, random_state=0, progress=False)
    feature_sentence = told_features(main, 0)
    assert "x0" in feature_sentence
    assert "constant" not in feature_sentence
    halves = (X["x0"] > 0).to_numpy().astype(np.int64)
    assert explained_share(halves, y)[1] < CHANCE
    assert explained_share(np.zeros(400, dtype=np.int64), y)[1] == 1
    by_chance = [
        explained_share(rng.integers(4, size=400), y)[1] < CHANCE for _ in range(200)
    ]
    assert np.mean(by_chance) < 0.05


def test_a_dominant_feature_is_hinted_at():
    main = ranked({"a": 5.0, "b": 1.0, "c": 1.0, "d": -1.0})
    hint = leakage_hint(main, {})
    assert hint["share"] == pytest.approx(5 / 7)
    assert leakage_hint(ranked(dict.fromkeys("abcd", 1.0)), {}) is None
    assert leakage_hint(ranked({"a": 9.0, "b": 1.0}), {}) is None, "of two, one leads"
    scan = replace(main, modality=("photo", "table", "table", "table"))
    assert leakage_hint(scan, {}) is None, "a scan is read for what it shows"
    assert leakage_hint(scan, {"a": ["known later"]})["notes"] == ["known later"]


def test_the_bank_card_speaks_of_duration():
    main = ranked({"duration": 3.0, "month": 2.0, "day": 2.0, "job": 2.0})
    notes = {
        "duration": [
            note for note in get_card("bank").notes if note.startswith("duration ")
        ]
    }
    hint = leakage_hint(main, notes)
    assert any("known only after the call" in note for note in hint["notes"]), (
        "also below the usual share"
    )
    sentence = say("noted", {**hint, "of": 4})
    assert sentence.startswith(notes["duration"][0].rstrip("."))
    assert sentence.endswith("duration is the feature that it relies on most.")


def test_outcomes():
    main = ranked({"a": 1.0})
    X = pd.DataFrame({"a": [1.0, 2.0]})
    values = np.ones((2, 1))
    outcome_reading = reading_of(
        main, X, np.array(["yes", "no"], dtype=object), local_of(values, ("a",))
    )
    assert (outcome_reading["outcome"], outcome_reading["overall"]) == (
        "share of y = yes",
        0.5,
    )
    assert [row["outcome"] for row in outcome_reading["features"][0]["levels"]] == [
        1.0,
        0.0,
    ]
    outcome_reading = reading_of(
        main, X, np.array([2.0, 3.0]), local_of(values, ("a",), "all")
    )
    assert (outcome_reading["outcome"], outcome_reading["overall"]) == ("mean y", 2.5)
    assert [row["outcome"] for row in outcome_reading["features"][0]["levels"]] == [
        2.0,
        3.0,
    ]


# --- the report -----------------------------------------------------------------------
def test_cuts_and_gradients_in_the_report(undrawn):
    row = {
        "cut": "half",
        "threshold": 0.5,
        "accuracy": 0.8,
        "balanced_accuracy": 0.7,
        "precision": 0.1,
        "recall": 1.0,
    }
    line = {**row, "f1": 0.2}
    stored = {
        "positive": "yes",
        "held_out_rows": 10,
        "share_positive": 0.1,
    }
    stored["test"] = [line, {**line, "cut": "majority", "threshold": None}]
    frame = pd.DataFrame(
        {
            "baseline": "zeros",
            "level": ["feature", "input"],
            "name": ["a", "a=1"],
            "mean": [1.0, -1.0],
        }
    )
    frame = frame.assign(mean_absolute=1.0, published=[1.0, -1.0])
    facts = {"rows": 3, "output": "yes"}
    own_baseline = {
        "baseline_name": "zeros",
        "baseline": "all at 0",
        "completeness_gap": 0.0,
        "quadrature_error": 0.001,
    }
    content = Assessment(
        title="t",
        target="y",
        task="classification",
        metrics={"cuts": stored},
        gradients=GradientSection(
            table=frame, facts={**facts, "baselines": [own_baseline]}
        ),
    )
    text = render_report(content)
    for words in (
        "Thresholds compared",
        "majority",
        "Integrated gradients",
        "Baseline: all at 0",
        "The 1 encoded inputs",
    ):
        assert words in text


def test_plots_of_an_explanation_name_its_baseline():
    values = np.array([[[1.0], [-2.0]]])
    explanation = Explanation(
        values,
        ("a", "b"),
        ("table", "table"),
        ("yes",),
        "integrated_gradients",
        "local",
        additive=True,
        meta={"baseline": "every encoded input at $0$"},
    )
    for figure in (
        explanation.plot.waterfall(),
        explanation.plot.beeswarm(),
        explanation.to_global().plot.bar(),
    ):
        assert "baseline: every encoded input at $0$" in figure.axes[0].get_xlabel()
        assert not figure.axes[0].xaxis.label.get_parse_math()
