"""Which features move with those that clearly matter, and the sentence that says so."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tests.report.conftest import global_explanation

from permgrad.report.sentences import related_words
from permgrad.runs.run.reading import LEAST, related_features
from permgrad.runs.run.run import _feature_lines

ROWS = 400


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    town = rng.choice(["a", "b", "c"], ROWS)
    frame = pd.DataFrame({"x": x, "copy": np.exp(2 * x), "against": -x + 0.5 * rng.normal(size=ROWS)})
    frame = frame.assign(loose=0.3 * x + rng.normal(size=ROWS), alone=rng.normal(size=ROWS))
    frame = frame.assign(level=np.where(x > 0.5, "high", np.where(x < -0.5, "low", "middle")), town=town)
    frame = frame.assign(region=np.where(rng.random(ROWS) < 0.9, town, "d"), other=rng.choice(list("pqrst"), ROWS))
    return frame.assign(name=[f"row {number}" for number in range(ROWS)], same=1.0)


def found_for(frame, names):
    return {(pair["feature"], pair["other"]): pair for pair in related_features(frame, names)}


def test_numbers_by_their_ranks_and_categories_by_cramers_v():
    frame = table()
    found = found_for(frame, ["x", "town", "alone", "level"])
    assert set(found) == {
        ("x", "copy"), ("x", "against"), ("x", "level"), ("town", "region"), ("level", "x"), ("level", "copy"),
        ("level", "against"),
    }  # fmt: skip
    assert found["x", "copy"]["strength"] == pytest.approx(1.0)
    expected = stats.spearmanr(frame["x"], frame["against"]).statistic
    assert expected < -LEAST
    assert found["x", "against"]["strength"] == pytest.approx(expected)
    # Cramér's V from the table of counts, corrected as Bergsma (2013) writes it.
    counts = pd.crosstab(frame["town"], frame["region"])
    phi = stats.chi2_contingency(counts, correction=False).statistic / ROWS
    rows, columns = counts.shape
    phi = max(0.0, phi - (rows - 1) * (columns - 1) / (ROWS - 1))
    smallest = min(own - (own - 1) ** 2 / (ROWS - 1) for own in (rows, columns)) - 1
    assert found["town", "region"]["strength"] == pytest.approx(np.sqrt(phi / smallest), rel=1e-9)
    # The share of the ranks' variance between levels, less what chance gives.
    ranks = frame["x"].rank()
    between = ranks.groupby(frame["level"]).transform("mean").var(ddof=0) / ranks.var(ddof=0)
    assert found["x", "level"]["strength"] == pytest.approx(np.sqrt(between - 2 / (ROWS - 1)), rel=1e-9)
    assert found["level", "x"]["strength"] == pytest.approx(found["x", "level"]["strength"])
    assert {pair["kind"] for pair in found.values()} == {"correlation", "association"}


def test_missing_cells_and_tables_without_numbers_or_rows():
    frame = table()
    frame.loc[::10, "copy"] = np.nan
    frame["flag"] = pd.array(np.where(np.arange(ROWS) % 9 == 0, None, frame["x"] > 0), dtype="boolean")
    found = found_for(frame, ["x", "missing from the table"])
    assert found["x", "copy"]["strength"] > 0.9
    assert ("x", "flag") in found
    assert set(found_for(frame[["town", "region"]], ["town"])) == {("town", "region")}
    assert related_features(frame.iloc[:3], ["x"]) == [], "of three rows everything is correlated"


def test_chance_correlations_of_a_wide_table_of_few_rows_are_not_told():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(20, 3000)), columns=[f"c{number}" for number in range(3000)])
    largest = np.abs(np.corrcoef(frame.rank().to_numpy().T)[0, 1:]).max()
    assert largest > LEAST, "the rule by size alone would tell some"
    assert related_features(frame, ["c0"]) == []
    assert set(found_for(frame.assign(twin=frame["c0"]), ["c0"])) == {("c0", "twin")}


def pair(feature, other, strength, kind="correlation"):
    return {"feature": feature, "other": other, "strength": strength, "kind": kind}


def test_the_sentence_names_groups_and_only_those_of_features_that_are_named():
    pairs = [pair("a", "b", 0.9), pair("c", "d", 0.71), pair("c", "e", 0.6, "association"), pair("f", "g", 0.9)]
    said = related_words(pairs, ["c", "a"])
    assert said == (
        "a moves with b (correlation 0.9); c, d and e move together (association 0.6 to 0.71), so importance may be "
        "shared between them."
    )
    assert related_words(pairs, ["b"]) == ""
    assert related_words([pair("a", "b", 0.9), pair("b", "a", 0.9)], ["a", "b"]).count("moves") == 1
    many = [pair("a", f"x{number}", 0.9) for number in range(20)]
    assert "and 13 more move together (correlation 0.9)" in related_words(many, ["a"])


def test_the_terminal_says_it_of_features_that_clearly_matter():
    frame = global_explanation(names=("a", "b", "c")).to_frame()
    top = frame[frame["class"] == "all"]
    pairs = [pair("a", "z", 0.8), pair("c", "y", 0.8)]
    passing = _feature_lines(top.assign(p_adjusted=[0.01, 0.2, 0.3]), pairs)
    assert "  a moves with z (correlation 0.8), so importance may be shared between them." in passing
    assert not [line for line in _feature_lines(top.assign(p_adjusted=0.2), pairs) if "moves with" in line]
