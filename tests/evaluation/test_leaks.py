"""Columns that alone give the target are found whatever they are written in; ordinary
leading ones raise no alarm.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from permgrad.evaluation.leaks import ALONE, columns_that_tell
from permgrad.pages.facts.column_facts import leak_facts
from permgrad.pages.findings import say


def told(
    frame: pd.DataFrame, target: str, task: str, seed: int = 0
) -> dict[str, float]:
    """Alarms of a table of which 60 % are learned from."""
    rows = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.6 * len(rows))
    X = frame.drop(columns=target)
    y = frame[target].to_numpy()
    telling_columns = columns_that_tell(
        (X.iloc[rows[:cut]], y[rows[:cut]]), (X.iloc[rows[cut:]], y[rows[cut:]]), task
    )
    assert [leak_entry["score"] for leak_entry in telling_columns] == sorted(
        (leak_entry["score"] for leak_entry in telling_columns), reverse=True
    )
    assert all(ALONE <= leak_entry["score"] <= 1 for leak_entry in telling_columns)
    return {
        leak_entry.get("formula", leak_entry["column"]): leak_entry["score"]
        for leak_entry in telling_columns
    }


def split(frame: pd.DataFrame, target: str, task: str) -> list[dict]:
    """All that is said of a table of which the first 60 % are learned from."""
    cut = int(0.6 * len(frame))
    X = frame.drop(columns=target)
    y = frame[target].to_numpy()
    return columns_that_tell((X[:cut], y[:cut]), (X[cut:], y[cut:]), task)


def numbers(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    y = rng.lognormal(2, 0.6, rows).round(2)
    frame = pd.DataFrame(
        {
            "y": y,
            "log": np.log(y),
            "falls": 1 / y,
            "waves": np.abs(y - 8),
            "id": np.arange(rows),
        }
    )
    frame["slightly_noisy"] = y + 0.1 * y.std() * rng.normal(size=rows)
    frame["strong"] = y + 0.25 * y.std() * rng.normal(size=rows)
    frame["text"] = [f"{value:.2f} EUR" for value in y]
    frame["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        (100 * y).round(), unit="D"
    )
    frame["name"] = [f"p{i}" for i in range(rows)]
    return frame


def test_functions_of_a_number_are_found_and_strong_ones_and_identifiers_are_not():
    frame = numbers()
    assert np.corrcoef(frame["y"], frame["strong"])[0, 1] ** 2 > 0.93, (
        "as ordinary features hardly ever are"
    )
    assert set(told(frame, "y", "regression")) == {
        "log",
        "falls",
        "slightly_noisy",
        "day",
        "text",
    }


@pytest.mark.parametrize("share", [0.5, 0.9, 0.98])
def test_codes_of_a_class_are_found_at_any_frequency(share):
    rng = np.random.default_rng(1)
    y = np.where(rng.random(600) < share, "well", "ill")
    frame = pd.DataFrame(
        {
            "y": y,
            "code": np.where(y == "ill", 7, 3),
            "only_ill": np.where(y == "ill", "x", None),
        }
    )
    frame["hardly_wrong"] = np.where(rng.random(600) < 0.005, 7, frame["code"])
    frame["often_wrong"] = np.where(
        rng.random(600) < 0.1, 10 - frame["code"], frame["code"]
    )
    frame["many_levels"] = rng.integers(0, 250, 600).astype(str)
    frame["name"] = [f"p{i}" for i in range(600)]
    frame["number"] = rng.normal(size=600) + 2 * (y == "ill")
    assert set(told(frame, "y", "classification")) == {
        "code",
        "only_ill",
        "hardly_wrong",
    }


def test_values_that_only_one_of_two_classes_has_are_told_as_such():
    rng = np.random.default_rng(1)
    y = np.where(rng.random(400) < 0.3, "smokes", "not")
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=400),
            "a": np.where(y == "smokes", rng.integers(1, 20, 400), np.nan),
        }
    )
    frame["b"] = np.where(y == "smokes", "pipe", None)
    frame["code"] = np.where(y == "smokes", 7, 3)
    leaks = columns_that_tell(
        (frame[:240], y[:240]), (frame[240:], y[240:]), "classification"
    )
    assert {leak_entry["column"]: leak_entry.get("class") for leak_entry in leaks} == {
        "a": "not",
        "b": "not",
        "code": None,
    }
    alarm = say("leak", leak_facts("y", leaks))
    assert alarm.startswith(
        "Column 'code' alone predicts 'y' nearly perfectly (balanced accuracy 1.000 on "
        "held-out rows)."
    )
    assert (
        "Whether 'a' has a value tells rows of class 'not' from all others nearly "
        "perfectly" in alarm
    )


def test_classes_of_one_row_hide_no_copy():
    rng = np.random.default_rng(0)
    years = rng.choice([8, 10, 12, 12, 12, 14, 16], 300)
    years[:4] = [3, 5, 19, 21]
    assert told(
        pd.DataFrame({"y": years, "copy": years * 2.5, "x": rng.normal(size=300)}),
        "y",
        "classification",
    ) == {"copy": 1.0}


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes"])
@pytest.mark.parametrize("seed", range(3))
def test_tables_of_scikit_learn_raise_no_alarm_until_a_column_is_planted(name, seed):
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    task = "regression" if name == "diabetes" else "classification"
    assert told(frame, "target", task, seed) == {}
    frame["planted"] = (
        np.exp(-frame["target"] / 100)
        if task == "regression"
        else frame["target"].map("c{}".format)
    )
    assert set(told(frame, "target", task, seed)) == {"planted"}


def test_few_rows_and_many_columns_of_noise_raise_no_alarm():
    rng = np.random.default_rng(0)
    for rows in (10, 24, 40):
        frame = pd.DataFrame(rng.normal(size=(rows, 60))).add_prefix("x")
        assert told(frame.assign(y=np.arange(rows) % 2), "y", "classification") == {}
        assert told(frame.assign(y=frame["x0"]), "y", "regression") == (
            {} if rows < 20 else {"x0": 1.0}
        )


def test_long_and_wide_tables_are_looked_at_in_part():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60_000, 3)), columns=list("abc"))
    assert told(frame.assign(y=frame["b"] > 0), "y", "classification") == pytest.approx(
        {"b": 1.0}, abs=0.001
    )
    assert (
        told(pd.DataFrame({"y": np.ones(50), "x": np.arange(50)}), "y", "regression")
        == {}
    )


def cases(rows: int = 500) -> pd.DataFrame:
    """Cases that were won or not: what only a won one has, in columns that differ in
    nearly every row.
    """
    rng = np.random.default_rng(4)
    won = rng.random(rows) < 0.3
    day = pd.Series(
        pd.Timestamp("2022-01-01")
        + pd.to_timedelta(rng.integers(0, 700, rows), unit="D")
    )
    frame = pd.DataFrame(
        {"won": won, "delivery": np.where(won, day.dt.strftime("%d.%m.%Y"), None)}
    )
    frame["order"] = np.where(
        won,
        [f"ORD-{order_number}" for order_number in rng.permutation(9000)[:rows]],
        "",
    )
    frame["until"] = np.where(won, day.dt.strftime("%Y-%m-%d"), "pending")
    fillers = [" ".join(rng.choice(list("abcdefghijkl"), 5)) for _ in range(rows)]
    frame["note"] = [
        f"{filler} signed {filler[::-1]}" if is_won else filler
        for filler, is_won in zip(fillers, won, strict=True)
    ]
    frame["mostly"] = np.where(rng.random(rows) < 0.9, frame["order"], "")
    frame["filler"] = fillers
    frame["holes"] = np.where(rng.random(rows) < 0.3, fillers, None)
    return frame


def test_columns_that_one_class_alone_has_are_found_though_each_row_differs():
    frame = cases()
    assert all(
        frame.loc[frame["won"], name].nunique() > 0.5 * frame["won"].sum()
        for name in ("delivery", "order")
    )
    assert set(told(frame, "won", "classification")) == {
        "delivery",
        "order",
        "until",
        "note",
    }


def test_of_several_classes_the_one_is_named_whose_rows_alone_have_a_value():
    rng = np.random.default_rng(0)
    state = rng.choice(["open", "won", "lost"], 300)
    frame = pd.DataFrame(
        {
            "state": state,
            "why": np.where(state == "lost", rng.integers(0, 999, 300).astype(str), ""),
        }
    )
    frame["holes"] = np.where(rng.random(300) < 0.3, 1.0, np.nan)
    (leak_entry,) = split(frame, "state", "classification")
    assert (leak_entry["column"], leak_entry["class"], leak_entry["score"]) == (
        "why",
        "lost",
        1.0,
    )
    assert split(frame[frame["state"] != "lost"], "state", "classification") == []


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%d %b %Y"])
def test_the_order_of_dates_counts_where_no_date_occurs_twice(form):
    rng = np.random.default_rng(0)
    day = pd.Series(
        pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.permutation(400), unit="D")
    )
    frame = pd.DataFrame(
        {"late": day > pd.Timestamp("2021-09-01"), "day": day.dt.strftime(form)}
    )
    frame["other"] = rng.permutation(frame["day"])
    assert set(told(frame, "late", "classification")) == {"day"}


def parts(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        rng.lognormal(3, 0.6, (rows, 7)).round(2), columns=list("abcdefg")
    )
    frame["n"], frame["some"] = (
        rng.integers(1, 40, rows),
        np.where(rng.random(rows) < 0.5, frame["g"], np.nan),
    )
    frame["begin"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        rng.integers(0, 400, rows), unit="D"
    )
    frame["end"] = (
        frame["begin"] + pd.to_timedelta(rng.uniform(0, 60, rows), unit="D")
    ).dt.strftime("%Y-%m-%d %H:%M")
    return frame


#: What a target is made of, the formula that is said, and its columns.
FORMULAS = {
    "'a' + 'b'": lambda f: f["a"] + f["b"],
    "'a' − 'c'": lambda f: f["a"] - f["c"],
    "'a' × 'n'": lambda f: (f["a"] * f["n"]).round(2),
    "100 × ('a' / 'b')": lambda f: (100 * f["a"] / f["b"]).round(1),
    "'a' − ('b' + 'c')": lambda f: f["a"] - f["b"] - f["c"],
    "('a' × 'n') − 'b'": lambda f: f["a"] * f["n"] - f["b"],
    "('a' − 'b') / 'a'": lambda f: (f["a"] - f["b"]) / f["a"],
    "'b' + 'some'": lambda f: f["b"] + f["some"].fillna(0),
    "'end' − 'begin' in days": lambda f: (
        (pd.to_datetime(f["end"]) - f["begin"]).dt.days
    ),
}


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_of_columns_are_named_although_no_column_tells_the_target_alone(
    formula,
):
    frame = parts()
    assert (
        told(
            frame.assign(
                y=np.random.default_rng(0).permutation(FORMULAS[formula](frame))
            ),
            "y",
            "regression",
        )
        == {}
    )
    y = FORMULAS[formula](frame).astype(float)
    y[::25] += 30 * y.std()  # some rows have something else
    (leak_entry,) = split(frame.assign(y=y), "y", "regression")
    assert leak_entry["formula"] == formula
    assert sorted(leak_entry["columns"]) == [
        name for name in sorted(frame) if repr(name) in formula
    ]
    assert leak_entry["metric"] == "equal"
    assert leak_entry["score"] == pytest.approx(0.97, abs=0.011)


def test_a_formula_is_named_also_where_one_of_its_columns_nearly_tells_the_target():
    frame = parts().assign(a=lambda f: 20 * f["a"])
    alone, formula = split(frame.assign(y=frame["a"] - frame["c"]), "y", "regression")
    assert (alone["column"], alone["metric"]) == ("a", "r2")
    assert (formula["formula"], formula["metric"], formula["score"]) == (
        "'a' − 'c'",
        "equal",
        1,
    )
    facts = leak_facts("y", [alone, formula])
    assert "'y' equals 'a' − 'c' in all" in say("leak", facts)
    assert facts["options"] == ["--drop", "a", "--drop", "c"]
    (copy,) = split(frame.assign(y=frame["a"].round()), "y", "regression")
    assert "formula" not in copy


def test_formulas_of_rounded_parts_are_nearly_right_and_noisy_ones_are_none():
    rng = np.random.default_rng(0)
    height = rng.normal(1.72, 0.09, 500)
    weight = rng.normal(75, 14, 500)
    frame = pd.DataFrame(
        {
            "height": height.round(2),
            "weight": weight.round(),
            "other": rng.normal(size=500),
        }
    )
    frame["bmi"] = (weight / height**2).round(1)
    (leak_entry,) = split(frame, "bmi", "regression")
    assert (leak_entry["formula"], leak_entry["metric"]) == (
        "'weight' / ('height' × 'height')",
        "r2",
    )
    assert 0.999 <= leak_entry["score"] < 1
    frame["bmi"] += 0.1 * frame["bmi"].std() * rng.normal(size=500)
    assert split(frame, "bmi", "regression") == []


@pytest.mark.slow
@pytest.mark.parametrize("columns", [3, 24])
def test_columns_of_noise_and_smooth_models_of_them_raise_no_alarm(columns):
    rng = np.random.default_rng(columns)
    for integers in (False, True):
        X = (
            rng.normal(size=(150, columns))
            if not integers
            else rng.integers(0, 9, (150, columns))
        )
        frame = pd.DataFrame(X).add_prefix("x")
        for signal in (
            np.zeros(150),
            X[:, 0] + X[:, 1],
            X[:, 0] * X[:, 1],
            X[:, 0] / 3,
        ):
            y = signal + (0.3 * signal.std() or 1) * rng.normal(size=150)
            assert told(frame.assign(y=y), "y", "regression") == {}
            assert told(frame.assign(y=y.round()), "y", "regression") == {}
            assert told(frame.assign(y=y > np.median(y)), "y", "classification") == {}


def dummies(rows: int = 500) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(5)
    animal = rng.choice(["cat", "dog", "eel", "fox"], rows, p=[0.4, 0.3, 0.2, 0.1])
    return pd.DataFrame(
        {"y": animal, "size": rng.normal(size=rows), "tame": rng.integers(0, 2, rows)}
    ), animal


@pytest.mark.parametrize("left", [0, 1])
def test_dummies_of_the_target_are_found_together(left):
    frame, animal = dummies()
    marks = [f"is {label}" for label in ("cat", "dog", "eel", "fox")[left:]]
    frame = frame.assign(**{name: (animal == name[3:]) for name in marks})
    (leak_entry,) = split(frame, "y", "classification")
    assert sorted(leak_entry["columns"]) == marks
    assert (leak_entry["metric"], leak_entry["score"]) == ("balanced_accuracy", 1.0)
    facts = leak_facts("y", [leak_entry])
    leak_sentence = say("leak", facts)
    assert (
        "together predict 'y' nearly perfectly (balanced accuracy 1.000 on held-out "
        "rows): each marks rows of" in leak_sentence
    )
    assert sorted(facts["named"]) == marks
    assert split(frame.drop(columns=marks[:2]), "y", "classification") == [], (
        "two classes are not told apart"
    )


def test_two_categories_that_determine_the_class_are_found():
    rng = np.random.default_rng(0)
    genus = rng.integers(0, 6, 900)
    species = rng.integers(0, 5, 900)
    noise = rng.integers(0, 30, 900)
    y = np.array([f"c{code}" for code in (genus * 5 + species) % 7])
    y[:9] = "c0"
    frame = pd.DataFrame(
        {
            "genus": [f"g{genus_code}" for genus_code in genus],
            "species": [f"s{species_code}" for species_code in species],
        }
    )
    frame = frame.assign(
        plot=[f"p{plot_code}" for plot_code in noise], size=rng.normal(size=900), y=y
    )
    (leak_entry,) = split(frame, "y", "classification")
    assert (
        sorted(leak_entry["columns"]),
        leak_entry["pair"],
        leak_entry["metric"],
    ) == (
        ["genus", "species"],
        True,
        "balanced_accuracy",
    )
    assert 0.98 <= leak_entry["score"] < 1
    leak_sentence = say("leak", leak_facts("y", [leak_entry]))
    assert leak_sentence.startswith(
        "'genus' and 'species' together determine 'y' nearly perfectly (balanced "
        "accuracy 0.9"
    )
    # Neither one of them alone, nor pairs that nearly every row has for itself.
    assert split(frame.drop(columns="species"), "y", "classification") == []
    many_genera = frame.assign(
        genus=[f"g{random_genus}" for random_genus in rng.integers(0, 300, 900)]
    )
    assert split(many_genera, "y", "classification") == []


def test_marks_may_be_amounts_texts_and_parts_of_a_class():
    frame, animal = dummies()
    rng = np.random.default_rng(6)
    frame["litter"] = np.where(animal == "cat", rng.uniform(1, 9, 500).round(2), 0.0)
    frame["lead"] = np.where(animal == "dog", "yes", "no")
    frame["river"] = ((animal == "eel") & (rng.random(500) < 0.6)) * 1
    frame["sea"] = ((animal == "eel") & (frame["river"] == 0)) * 1
    (leak_entry,) = split(frame, "y", "classification")
    assert sorted(leak_entry["columns"]) == ["lead", "litter", "river", "sea"]
    wrong = rng.random(500) < 0.2
    assert (
        split(
            frame.assign(lead=np.where(wrong, "no", frame["lead"])),
            "y",
            "classification",
        )
        == []
    )


@pytest.mark.slow
def test_columns_that_mark_a_class_by_chance_or_one_class_alone_raise_no_alarm():
    rng = np.random.default_rng(0)
    for rows in (24, 60, 200):
        chance_marks = (
            pd.DataFrame(rng.random((rows, 600)) < 0.2).astype(int).add_prefix("x")
        )
        assert (
            told(
                chance_marks.assign(y=rng.permutation(np.arange(rows) % 3)),
                "y",
                "classification",
            )
            == {}
        )
        assert (
            told(
                chance_marks.assign(y=rng.permutation(np.arange(rows) % 2)),
                "y",
                "classification",
            )
            == {}
        )
    frame, animal = dummies()
    assert (
        told(
            frame.assign(barks=animal == "dog", swims=animal == "eel"),
            "y",
            "classification",
        )
        == {}
    )
