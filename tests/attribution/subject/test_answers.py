"""Predictors as services: equal rows, failures, kept answers, and what they return."""

import json
import re
import sys
import time
import warnings
from io import StringIO

import numpy as np
import pandas as pd
import pytest

import permgrad as pg
from permgrad.attribution.subject.answers import Answers, most_asked

_draws = np.random.default_rng(11)
ROWS = 150
TABLE = pd.DataFrame(
    {
        "plan": _draws.choice(["free", "small", "large"], ROWS),
        "seats": _draws.choice([1, 2, 5, 10], ROWS),
        "paid": _draws.choice(["card", "bill"], ROWS),
        "open": _draws.choice([True, False], ROWS),
    }
)
NUMBERS = pd.DataFrame(_draws.normal(size=(ROWS, 3)), columns=list("uvw"))


def chance(table):
    score = 1.2 * (table["plan"] == "free") - 0.1 * table["seats"]
    return (1 / (1 + np.exp(-score - 0.4 * (table["paid"] == "bill")))).to_numpy()


LABELS = np.where(_draws.random(ROWS) < chance(TABLE), "leaves", "stays")


def of_numbers(table):
    return 1 / (1 + np.exp(-3 * table["u"].to_numpy()))


YES = np.where(_draws.random(ROWS) < of_numbers(NUMBERS), "yes", "no")


class Service:
    """A function that counts the rows it is asked for, and fails after some."""

    def __init__(self, function=chance, fails_after=None):
        self.function = function
        self.fails_after = fails_after
        self.asked = 0
        self.different = set()

    def __call__(self, table):
        if self.fails_after is not None and self.asked >= self.fails_after:
            raise ConnectionError("the line is busy")
        self.asked += len(table)
        self.different |= set(map(tuple, table.to_numpy()))
        share = self.function(table)
        return np.c_[share, 1 - share]


def explained(model, X, y, **options):
    return pg.explain(model, X, y, progress=False, **options)


# ---- equal rows ----------------------------------------------------------------------
def test_equal_rows_are_asked_once():
    service = Service()
    model = pg.Model(service, class_names=["leaves", "stays"], batch_size=30)
    explanation = explained(model, TABLE, LABELS)
    assert explanation.ranking()[0] in ("plan", "seats")
    assert explanation.meta["model_rows"] > 20 * len(service.different)
    assert service.asked <= 1.3 * len(service.different)


def test_how_many_rows_are_asked_is_said_before():
    description = pg.Model(chance, task="regression").describe(TABLE)
    assert "rows that an explanation asks for: up to 48" in description  # 3 × 4 × 2 × 2
    assert most_asked(NUMBERS.to_numpy(), 30) == 31 * ROWS
    bar = StringIO()
    stderr = sys.stderr
    try:
        sys.stderr = bar
        model = pg.Model(Service(), class_names=["leaves", "stays"])
        pg.explain(model, TABLE, LABELS, progress=True)
    finally:
        sys.stderr = stderr
    labels = dict.fromkeys(re.findall(r"\r([a-z][^:\r]*):", bar.getvalue()))
    assert list(labels) == ["first of up to 48 rows", "permgrad, up to 48 rows"]


def test_the_bar_moves_by_batch():
    bar_states = []
    bar = StringIO()
    stderr = sys.stderr

    def slow(table):
        time.sleep(0.002 * len(table))
        shown = re.findall(r"(\d+)%\|", bar.getvalue())
        bar_states.append((len(table), int(shown[-1]) if shown else 0))
        return of_numbers(table)

    try:
        sys.stderr = bar
        model = pg.Model(slow, class_names=["no", "yes"], batch_size=60)
        pg.explain(model, NUMBERS[:60], YES[:60], n_repeats=2, progress=True)
    finally:
        sys.stderr = stderr
    rows = np.cumsum([count for count, _ in bar_states]) / sum(
        count for count, _ in bar_states
    )
    late = [
        shown for share, (_, shown) in zip(rows, bar_states, strict=True) if share > 0.8
    ]
    assert min(late) > 30


def test_rows_that_hardly_repeat_are_not_held():
    rows = np.arange(3 * 2**15, dtype=float).reshape(-1, 1)
    answers = Answers()
    asked_counts = []

    def ask_of(part):
        def ask(places):
            asked_counts.append(len(places))
            return part[places] * 2

        return ask

    for row_block in (rows[: 2**15], rows[2**15 :], rows[:5]):
        np.testing.assert_array_equal(
            answers.of(row_block, ask_of(row_block), pd.DataFrame), row_block * 2
        )
    assert asked_counts == [2**15, 2**16, 5]


# ---- failures and kept answers -------------------------------------------------------
def test_a_failure_says_how_many_rows_were_done_and_what_helps():
    model = pg.Model(Service(of_numbers, fails_after=200), class_names=["yes", "no"])
    with pytest.raises(pg.InputError) as refused:
        explained(model, NUMBERS, YES)
    words = (
        r"Your model failed: ConnectionError: the line is busy \(after [\d,]+ rows "
        r"that "
        r"it answered\)\. Pass a function that tries again, and pg\.Model\(\.\.\., "
        r"cache='answers'\) keeps what was answered\. \[PG032\]"
    )
    assert re.fullmatch(words, str(refused.value))


def test_a_folder_keeps_answers_between_calls(tmp_path):
    folder = tmp_path / "answers"
    expected = explained(
        pg.Model(Service(of_numbers), class_names=["yes", "no"]), NUMBERS, YES
    )
    broken = Service(of_numbers, fails_after=200)
    read = {"class_names": ["yes", "no"], "cache": folder}
    with pytest.raises(pg.InputError, match="the line is busy"):
        explained(pg.Model(broken, **read), NUMBERS, YES)
    # What a stopped process left of a line is no answer.
    with (folder / "answers.jsonl").open("a") as file:
        file.write('{"row": "abc", "answer": [0.1')
    again = Service(of_numbers)
    explanation = explained(pg.Model(again, **read), NUMBERS, YES)
    np.testing.assert_array_equal(explanation.values, expected.values)
    third = Service(of_numbers)
    explanation = explained(pg.Model(third, **read), NUMBERS, YES)
    assert third.asked == 0
    np.testing.assert_array_equal(explanation.values, expected.values)
    for line in (folder / "answers.jsonl").read_text().splitlines()[:5]:
        assert not line or json.loads(line)
    with pytest.warns(pg.PermgradWarning, match="were given by another model"):
        explained(pg.Model(both, cache=folder, class_names=["no", "yes"]), NUMBERS, YES)


def test_cache_is_for_predictors_and_a_path():
    import torch

    with pytest.raises(pg.InputError, match="A torch network does not take cache="):
        explained(pg.Model(torch.nn.Linear(3, 1), cache="x"), NUMBERS, None)
    with pytest.raises(pg.InputError, match="cache must be the path of a folder"):
        pg.Model(chance, cache=3)


# ---- fewer rows ----------------------------------------------------------------------
@pytest.mark.parametrize("frame", [True, False])
def test_fewer_rows_than_were_asked_are_named(frame):
    named = {} if frame else NAMED
    X = NUMBERS.copy()
    X.loc[::7, "v"] = np.nan

    def answer(table):
        share = of_numbers(table)
        class_shares = np.c_[1 - share, share]
        return (
            pd.DataFrame(class_shares, columns=["no", "yes"]) if frame else class_shares
        )

    words = r"for each of the \d+ rows, got the shape \(\d+, 2\)\. "
    leaves = r"It leaves \d+ rows with missing cells out, as dropna"
    with pytest.raises(pg.InputError, match=words + leaves):
        explained(pg.Model(lambda table: answer(table.dropna()), **named), X, YES)
    full = lambda table: answer(table.head(64))  # noqa: E731 — as users write it
    batch = r"If it answers at most 64 rows a call, pass pg.Model\(..., batch_size=64\)"
    with pytest.raises(pg.InputError, match=words + batch):
        explained(pg.Model(full, **named), NUMBERS, YES)
    works = pg.Model(full, batch_size=64, **named)
    assert explained(works, NUMBERS, YES).ranking()[0] == "u"


# ---- probabilities in other forms ----------------------------------------------------
def both(table):
    share = of_numbers(table)
    return np.c_[1 - share, share]


NAMED = {"class_names": ["no", "yes"]}
EXPECTED = explained(pg.Model(both, **NAMED), NUMBERS, YES)


@pytest.mark.parametrize("digits", [None, 1])
def test_per_cent_is_read_and_said(digits):
    def per_cent(table):
        return (
            100 * both(table) if digits is None else np.round(100 * both(table), digits)
        )

    with pytest.warns(
        pg.PermgradWarning, match="add up to 100 and are read as per cent"
    ):
        explanation = explained(pg.Model(per_cent, **NAMED), NUMBERS, YES)
    tolerance = 1e-9 if digits is None else 0.02
    np.testing.assert_allclose(explanation.values, EXPECTED.values, atol=tolerance)


def test_one_column_of_per_cent_gets_the_call_that_works():
    per_cent = lambda table: 100 * of_numbers(table)  # noqa: E731 — as users write it
    with pytest.warns(
        pg.PermgradWarning, match="If they are per cent, pass returns='prob"
    ):
        explained(pg.Model(per_cent, **NAMED), NUMBERS, YES)
    with pytest.warns(pg.PermgradWarning, match="are read as per cent"):
        explanation = explained(
            pg.Model(per_cent, returns="probabilities", **NAMED), NUMBERS, YES
        )
    np.testing.assert_allclose(explanation.values, EXPECTED.values, atol=1e-9)


def test_targets_that_add_up_to_100_stay_numbers():
    shares = pd.DataFrame(100 * both(NUMBERS), columns=["sand", "clay"])
    explanation = explained(lambda table: 100 * both(table), NUMBERS, shares)
    assert explanation.meta["loss"] == "squared_error"


def test_the_probability_of_the_first_class_gets_the_call_that_works():
    first = lambda table: 1 - of_numbers(table)  # noqa: E731 — as users write it
    words = (
        "The output is taken for that of class 'yes', but is larger in rows of 'no'. "
        "If "
        r"it is the probability of 'no', pass class_names=\['yes', 'no'\] to pg.Model"
    )
    with pytest.warns(pg.PermgradWarning, match=words):
        explained(pg.Model(first, **NAMED), NUMBERS, YES)
    explanation = explained(pg.Model(first, class_names=["yes", "no"]), NUMBERS, YES)
    np.testing.assert_allclose(
        explanation.values[:, 0], EXPECTED.values[:, 0], atol=1e-9
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explained(pg.Model(of_numbers, **NAMED), NUMBERS, YES)


@pytest.mark.parametrize("label", [str, int])
def test_labels_beside_probabilities_are_left_out(label):
    def frame(table):
        share = of_numbers(table)
        decided = [label(class_code) for class_code in (share > 0.5).astype(int)]
        return pd.DataFrame({"decided": decided, "no": 1 - share, "yes": share})

    explanation = explained(frame, NUMBERS, YES)
    np.testing.assert_allclose(explanation.values, EXPECTED.values, atol=1e-9)


def test_a_forecast_is_read_by_the_name_of_its_column():
    def forecast(table):
        dates = pd.date_range("2024-01-01", periods=len(table))
        value = 5 * table["u"].to_numpy()
        low = table["v"].to_numpy() - 9
        return pd.DataFrame({"ds": dates, "trend": low, "low": low, "yhat": value})

    y = np.round(5 * NUMBERS["u"].to_numpy())  # whole numbers, which are no classes
    explanation = explained(forecast, NUMBERS, y, target="yhat")
    alone = pg.Model(lambda table: 5 * table["u"], task="regression")
    expected = explained(alone, NUMBERS, y)
    np.testing.assert_allclose(explanation.values, expected.values, atol=1e-9)


def test_rows_that_come_back_sorted_are_refused_with_the_call_that_works():
    dates = pd.date_range("2024-01-01", periods=ROWS)
    X = pd.DataFrame({"ds": _draws.permutation(dates), "w": NUMBERS["w"]})

    class Sorts:
        def predict(self, table):
            sorted_table = table.sort_values("ds").reset_index(drop=True)
            return pd.DataFrame(
                {"ds": sorted_table["ds"], "yhat": sorted_table["ds"].dt.day * 1.0}
            )

    model = Sorts()
    y = X["ds"].dt.day.to_numpy() + 0.5
    with pytest.raises(pg.InputError, match="'ds' is sorted") as refused:
        explained(model, X, y, target="yhat")
    call = re.search(r"lambda table: .*\]\]", str(refused.value))
    works = eval(call[0], {"model": model})
    assert explained(works, X, y).ranking()[0] == "ds"
