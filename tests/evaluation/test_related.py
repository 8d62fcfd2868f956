"""Which columns move together: pairs, a matrix, and groups."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from explaining import explain_with
from scipy import stats

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.related import LEAST, MISSING, related
from permgrad.pages.findings import say

ROWS = 400


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    town = rng.choice(["a", "b", "c"], ROWS)
    frame = pd.DataFrame(
        {"x": x, "copy": np.exp(2 * x), "against": -x + 0.5 * rng.normal(size=ROWS)}
    )
    frame = frame.assign(
        loose=0.3 * x + rng.normal(size=ROWS), alone=rng.normal(size=ROWS)
    )
    frame = frame.assign(
        level=np.where(x > 0.5, "high", np.where(x < -0.5, "low", "middle")), town=town
    )
    frame = frame.assign(
        region=np.where(rng.random(ROWS) < 0.9, town, "d"),
        other=rng.choice(list("pqrst"), ROWS),
    )
    return frame.assign(name=[f"row {number}" for number in range(ROWS)], same=1.0)


def found_for(frame, names):
    return {
        (pair["feature"], pair["other"]): pair for pair in related(frame, names, [])[0]
    }


def test_numbers_by_their_ranks_and_categories_by_cramers_v():
    frame = table()
    related_pairs = found_for(frame, ["x", "town", "alone", "level"])
    assert set(related_pairs) == {
        ("x", "copy"), ("x", "against"), ("x", "level"), ("town", "region"), ("level", "x"), ("level", "copy"),
        ("level", "against"),
    }  # fmt: skip
    assert related_pairs["x", "copy"]["strength"] == pytest.approx(1.0)
    expected = stats.spearmanr(frame["x"], frame["against"]).statistic
    assert expected < -LEAST
    assert related_pairs["x", "against"]["strength"] == pytest.approx(expected)
    # Cramér's V from the table of counts, corrected as Bergsma (2013) writes it.
    counts = pd.crosstab(frame["town"], frame["region"])
    phi = stats.chi2_contingency(counts, correction=False).statistic / ROWS
    rows, columns = counts.shape
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (ROWS - 1))
    smallest = (
        min(
            category_count - (category_count - 1) ** 2 / (ROWS - 1)
            for category_count in (rows, columns)
        )
        - 1
    )
    assert related_pairs["town", "region"]["strength"] == pytest.approx(
        np.sqrt(phi / smallest), rel=1e-9
    )
    # The share of the ranks' variance between levels, less what chance gives.
    ranks = frame["x"].rank()
    between = ranks.groupby(frame["level"]).transform("mean").var(ddof=0) / ranks.var(
        ddof=0
    )
    assert related_pairs["x", "level"]["strength"] == pytest.approx(
        np.sqrt(between - 2 / (ROWS - 1)), rel=1e-9
    )
    assert related_pairs["level", "x"]["strength"] == pytest.approx(
        related_pairs["x", "level"]["strength"]
    )
    assert {pair["kind"] for pair in related_pairs.values()} == {
        "correlation",
        "association",
    }


def test_every_pair_of_some_columns():
    frame = table()
    matrix = related(frame, [], ["x", "town", "name", "level"])[1]
    assert matrix["names"] == ["x", "town", "level"], (
        "a column with a different text in every row is skipped"
    )
    strengths = np.array(matrix["strengths"])
    np.testing.assert_allclose(strengths, strengths.T, atol=1e-9)
    related_pairs = found_for(frame, ["x", "level"])
    assert strengths[0, 2] == pytest.approx(related_pairs["x", "level"]["strength"])
    assert strengths[0, 0] == pytest.approx(1.0)
    assert abs(strengths[0, 1]) < LEAST


def test_missing_cells_and_tables_without_numbers_or_rows():
    frame = table()
    frame.loc[::10, "copy"] = np.nan
    frame["flag"] = pd.array(
        np.where(np.arange(ROWS) % 9 == 0, None, frame["x"] > 0), dtype="boolean"
    )
    related_pairs = found_for(frame, ["x", "missing from the table"])
    assert related_pairs["x", "copy"]["strength"] > 0.9
    assert ("x", "flag") in related_pairs
    assert set(found_for(frame[["town", "region"]], ["town"])) == {("town", "region")}
    assert related(frame.iloc[:3], ["x"], [])[0] == [], (
        "of three rows everything is correlated"
    )


@pytest.mark.parametrize("zone", [None, "Europe/Madrid"])
def test_dates_are_numbers_along_time(zone):
    days = np.random.default_rng(0).integers(0, 9000, ROWS)
    born = pd.Series(
        pd.Timestamp("1960-01-01", tz=zone) + pd.to_timedelta(days, unit="D")
    ).mask(days < 300)
    X = pd.DataFrame(
        {
            "age": 60 - days / 365,
            "born": born,
            "dose": np.random.default_rng(1).normal(size=ROWS),
        }
    )
    assert pg.related_columns(X) == {"age + born": ["age", "born"]}
    assert pg.related_columns(X[["born"]].assign(later=X["born"])) == {
        "born + later": ["born", "later"]
    }


@pytest.mark.slow
def test_chance_correlations_of_a_wide_table_of_few_rows_are_not_told():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        rng.normal(size=(20, 3000)), columns=[f"c{number}" for number in range(3000)]
    )
    largest = np.abs(np.corrcoef(frame.rank().to_numpy().T)[0, 1:]).max()
    assert largest > LEAST, "the rule by size alone would tell some"
    assert related(frame, ["c0"], [])[0] == []
    assert set(found_for(frame.assign(twin=frame["c0"]), ["c0"])) == {("c0", "twin")}


def test_groups_are_columns_of_which_every_two_move_together():
    frame = table()
    assert pg.related_columns(frame) == {
        "x + copy and 2 more": ["x", "copy", "against", "level"],
        "town + region": ["town", "region"],
    }
    # A chain: its ends are related to the middle, but not to each other.
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, ROWS))
    chain = pd.DataFrame({"a": a, "middle": a + b, "b": b})
    strengths = chain.corr("spearman").abs()
    assert strengths["a"]["middle"] > 0.6
    assert strengths["b"]["middle"] > 0.6
    assert strengths["a"]["b"] < 0.2
    groups = pg.related_columns(chain, strength=0.6)
    assert [len(columns) for columns in groups.values()] == [2]
    assert pg.related_columns(frame[["alone", "other"]]) == {}
    options = {"groups": groups, "n_repeats": 1, "random_state": 0, "progress": False}
    assert set(groups) < set(
        explain_with(lambda X: X["a"], chain, chain["a"], **options).names
    )


@pytest.mark.parametrize(
    ("X", "strength"),
    [(np.eye(3), 0.8), (np.eye(5), 0), (np.eye(5), 1.1), (np.eye(5), "a")],
)
def test_what_cannot_be_grouped_is_refused(X, strength):
    with pytest.raises(InputError, match=r"at least 4 rows|strength must be above 0"):
        pg.related_columns(X, strength=strength)


def test_columns_of_lists_are_like_nothing():
    frame = table()[["x", "copy"]].assign(vector=[[1.0, 2.0]] * ROWS)
    arrow = frame.assign(
        vector=pd.Series(
            frame["vector"].tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float64()))
        )
    )
    assert (
        pg.related_columns(frame)
        == pg.related_columns(arrow)
        == {"x + copy": ["x", "copy"]}
    )


def test_a_category_of_many_levels_that_determines_another_is_related_as_closely_as_can_be():
    rng = np.random.default_rng(0)
    towns = rng.integers(0, 30, 1500)
    frame = pd.DataFrame(
        {
            "town": [f"t{town}" for town in towns],
            "region": [f"r{town // 5}" for town in towns],
        }
    )
    assert len(set(towns.tolist())) == 30, (
        "a precondition: more levels than a chart shows"
    )
    assert found_for(frame, ["region"])["region", "town"]["strength"] > 0.98
    assert pg.related_columns(frame) == {"town + region": ["town", "region"]}


def test_columns_that_lack_values_in_the_same_rows_are_said_as_that():
    """Where both have a value they are unrelated, and rows without one relate none."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], ROWS)})
    frame["note"] = rng.choice(["late", "early", "never"], ROWS)
    frame["dose"] = rng.normal(size=ROWS)
    frame["alone"] = rng.normal(size=ROWS)
    lacking = rng.random(ROWS) < 0.2
    for name in ("sex", "note", "dose"):
        frame[name] = frame[name].mask(lacking)
    frame["alone"] = frame["alone"].mask(rng.random(ROWS) < 0.2)
    found = found_for(frame, ["sex", "note", "alone"])
    assert {pair: facts["kind"] for pair, facts in found.items()} == {
        ("sex", "note"): MISSING,
        ("sex", "dose"): MISSING,
        ("note", "sex"): MISSING,
        ("note", "dose"): MISSING,
    }
    assert all(facts["strength"] == pytest.approx(1.0) for facts in found.values())
    pairs = list(found.values())
    assert say("related", {"pairs": pairs}) == (
        "sex, note and dose lack values in the same rows. Importance may be shared "
        "between them."
    )
    others = frame.assign(note=np.where(lacking, "no blood", "some"))
    assert found_for(others, ["sex"]) == {("sex", "dose"): found["sex", "dose"]}, (
        "a level that stands where another column lacks a value is no relation"
    )
