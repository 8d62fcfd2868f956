"""``pg.explain_refits``: fits on parts of the rows, on pages, with wrong arguments."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from invoking import QUICK, call
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import permgrad as pg
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import expected_refits
from permgrad.attribution import explain_refits as module
from permgrad.pages.tabs.features import TAB as FEATURES
from permgrad.pages.tabs.trust import TAB as TRUST
from permgrad.pages.views import SectionView, tab_view
from permgrad.pages.words import training_words
from permgrad.runs.requests import RunRequest

ASKED = {"refits": 6, "n_repeats": 2, "progress": False}


class Counted(Ridge):
    """Ridge regression that counts its fits and remembers the rows, by their ids."""

    fits: list[set[float]] = []  # noqa: RUF012 — of all copies

    def fit(self, X, y):
        Counted.fits.append(set(X["id"]))
        return super().fit(X, y)


def table(rows=120):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc")).assign(
        id=np.arange(rows) / rows
    )
    return X, np.asarray(2 * X["a"] + X["b"] + rng.normal(0, 0.5, rows))


@pytest.fixture(autouse=True)
def no_fits():
    Counted.fits = []


def test_as_many_fits_as_asked_for_each_explained_on_rows_it_has_not_seen(monkeypatch):
    X, y = table()
    combined_fits = []
    combine = module.combine
    monkeypatch.setattr(
        module,
        "combine",
        lambda fits, *rest: combined_fits.extend(fits) or combine(fits, *rest),
    )
    explanation = pg.explain_refits(Counted(), X, y, **ASKED)
    assert len(Counted.fits) == 6
    assert explanation.ranking()[:2] == ["a", "b"]
    for trained, fit in zip(Counted.fits, combined_fits, strict=True):
        rows = fit.maps["rows"]
        assert not trained & set(X["id"].iloc[rows])
        assert len(trained) + len(rows) == len(X)
    # For squared error the effect is 2·coefficient².
    assert abs(explanation.values[0, 0] - 8) < 3 * explanation.std_error[0, 0] < 12
    again = pg.explain_refits(Counted(), X, y, **ASKED)
    pd.testing.assert_frame_equal(again.to_frame(), explanation.to_frame())
    assert again.meta["another_training"] == explanation.meta["another_training"]


def test_nothing_of_the_user_is_touched():
    X, y = table()
    before = (random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state())
    copy = X.copy()
    estimator = Ridge(random_state=7)
    pg.explain_refits(estimator, X, y, **ASKED)
    assert (estimator.random_state, hasattr(estimator, "coef_")) == (7, False)
    pd.testing.assert_frame_equal(X, copy)
    assert before[0] == random.getstate()
    assert (before[1] == np.random.get_state()[1]).all()
    assert torch.equal(before[2], torch.get_rng_state())


def test_a_pipeline_with_classes_and_levels():
    X, y = table()
    X = X.assign(town=np.where(X["c"] > 0, "Bonn", "Ulm"))
    labels = np.where(y + 2 * (X["town"] == "Bonn") > 1, "ill", "well")
    encode = make_column_transformer(
        (OneHotEncoder(), ["town"]), remainder="passthrough"
    )
    explanation = pg.explain_refits(
        make_pipeline(encode, LogisticRegression()), X, labels, max_rows=100, **ASKED
    )
    assert explanation.outputs == ("all", "ill", "well")
    assert explanation.ranking()[0] == "a"
    assert "town" in explanation.ranking()[:3]
    assert explanation.meta["rows_explained"] == 100
    np.testing.assert_array_less(0, explanation.std_error[0])
    numbers = pg.explain_refits(
        LogisticRegression(), X.drop(columns="town").to_numpy(), labels, **ASKED
    )
    assert numbers.names == ("x0", "x1", "x2", "x3")


def test_groups_of_columns_and_of_rows():
    X, y = table()
    explanation = pg.explain_refits(
        Counted(),
        X,
        y,
        groups={"both": ["a", "b"]},
        row_groups=np.repeat(np.arange(40), 3),
        **ASKED,
    )
    assert explanation.names == ("both", "c", "id")
    assert explanation.ranking()[0] == "both"
    ids = X["id"].to_numpy().reshape(-1, 3)
    assert all(
        len(set(group) & trained) in (0, 3) for trained in Counted.fits for group in ids
    )


@pytest.mark.parametrize(
    ("changed", "code", "words"),
    [
        ({"refits": 4}, "PG002", "refits must be an integer of at least 5"),
        ({"refits": 40}, "PG013", "40 refits need at least 160 rows, got 120"),
        ({"max_rows": 10}, "PG002", "max_rows must be an integer of at least 100"),
        (
            {"method": "shapley"},
            "PG004",
            "'shapley' does not take explain_refits. Choose 'ablation',",
        ),
        (
            {"method": pg.methods.PermGrad(order=2)},
            "PG006",
            "explain_refits does not take order=2",
        ),
        ({"groups": {"g": ["z"]}}, "PG039", "not a feature"),
        ({"loss": "what"}, "PG003", "loss must be one of"),
        ({"row_groups": [1, 2]}, "PG007", "one value for each of the 120 rows"),
        ({"estimator": Ridge}, "PG031", "an estimator of scikit-learn's kind"),
        ({"estimator": len}, "PG031", "an estimator of scikit-learn's kind"),
        ({"y": np.zeros(7)}, "PG007", "X has 120 rows and y has 7"),
        ({"y": np.full(120, np.nan)}, "PG015", "y has missing values"),
        (
            {"estimator": LogisticRegression(), "y": np.repeat(["a", "b"], [3, 117])},
            "PG018",
            "Class 'a' has 3 rows",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_fit(changed, code, words):
    X, y = table()
    arguments = {"estimator": Counted(), "X": X, "y": y, **ASKED, **changed}
    with pytest.raises(pg.InputError, match=words) as caught:
        pg.explain_refits(**arguments)
    assert caught.value.code == code
    assert Counted.fits == []


def test_an_estimator_that_fails_is_named():
    X, y = table()
    with pytest.raises(
        pg.InputError, match="Ridge cannot be fitted on 80 of the 120 rows"
    ) as caught:
        pg.explain_refits(Ridge(), X.assign(town="Ulm"), y, **ASKED)
    assert caught.value.code == "PG032"


def test_a_model_that_ignores_its_rows_has_importances_of_exactly_0():
    X, y = table()
    with pytest.warns(pg.PermgradWarning, match="exactly 0"):
        explanation = pg.explain_refits(DummyRegressor(), X, y, **ASKED)
    assert not explanation.values.any()
    assert not explanation.std_error.any()
    assert (explanation.p_values == 1).all()
    assert training_words(explanation)


def test_the_page_says_what_another_training_would_say():
    X, y = table()
    explanation = pg.explain_refits(Ridge(), X, y, **ASKED)
    content = Assessment(
        title="table", target="y", task="regression", explanation=explanation
    )
    for refits, shown in ((None, False), (explanation, True)):
        report = replace(content, refits=refits)
        sections = {
            section.anchor: section
            for tab in (FEATURES, TRUST)
            for section in tab_view(tab, report).sections
        }
        section = sections.get(
            "trainings",
            SectionView("trainings", "Would another training say the same?"),
        )
        assert bool(section.blocks) == shown
        assert (training_words(explanation) in str(sections["drivers"].blocks)) == shown
    assert training_words(explanation) in str(section.blocks)
    assert "80 to 90" not in str(section.blocks)
    assert "60 to 80 of 120 rows" in str(section.blocks)


def test_the_command_refuses_what_does_not_go_together():
    with pytest.raises(pg.InputError, match=r"--refits and .* cannot be combined"):
        RunRequest(table="t.csv", target=("y",), refits=10, time_limit="5m").check()
    # Images are columns as others are.
    RunRequest(table="t.csv", target=("y",), refits=10, kind=("scan=image",)).check()


@pytest.mark.parametrize(
    ("rows", "message"),
    [(30, "10 refits need at least 40 rows"), (60, "Class 'r' has 3 rows")],
)
def test_a_run_refuses_too_few_rows_before_it_trains(tmp_path, rows, message):
    y = pd.Series(np.where(np.arange(rows) % 2, "p", "q"))
    y[:4] = "r" if rows > 40 else "p"
    pd.DataFrame({"a": np.random.default_rng(0).normal(size=rows), "y": y}).to_csv(
        tmp_path / "t.csv", index=False
    )
    printed = call(
        "run",
        tmp_path / "t.csv",
        "--target",
        "y",
        "--out",
        tmp_path / "run",
        "--refits",
        "10",
        code=2,
    )
    assert message in printed
    assert "plan:" not in printed
    assert not list((tmp_path / "run").glob("model*"))


def test_what_refits_take_is_expected():
    assert expected_refits(10, 9.0, 60, 20) == pytest.approx(9 * (4 + 2.5) * 80 / 60)


class Plain:
    """A model of the user's own: no tags, no parameters, and fit returns nothing."""

    def fit(self, X, y):
        self.weights = np.linalg.lstsq(X, y, rcond=None)[0]

    def predict(self, X):
        return X @ self.weights


class PlainClassifier(Plain):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        super().fit(X, y == self.classes_[1])

    def predict_proba(self, X):
        share = np.clip(Plain.predict(self, X) + 0.5, 0.01, 0.99)
        return np.stack([1 - share, share], axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def test_any_object_with_fit_and_predict_works():
    X, y = table()
    numbers = X[["a", "b", "c"]].to_numpy()
    plain = Plain()
    assert pg.explain_refits(plain, numbers, y, **ASKED).ranking()[0] == "x0"
    assert not vars(plain)
    labels = np.where(y > 0, "yes", "no")
    assert (
        pg.explain_refits(PlainClassifier(), numbers, labels, **ASKED).ranking()[0]
        == "x0"
    )


@pytest.mark.slow
def test_a_run_shows_them(tmp_path):
    X, y = table()
    X.drop(columns="id").assign(y=y).to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "preset.json").write_text(json.dumps(QUICK))
    words = ("run", tmp_path / "table.csv", "--target", "y", "--out", tmp_path / "run")
    words = (*words, "--preset", tmp_path / "preset.json")
    printed = call(*words, "--refits", "5")
    explanation = pg.Explanation.load(tmp_path / "run" / "explanations" / "refits")
    assert training_words(explanation) in printed
    assert training_words(explanation) in (tmp_path / "run" / "report.html").read_text()
