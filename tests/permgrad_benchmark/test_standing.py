"""Who is first and who is level: by hand, and under changes that must not matter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad_benchmark import ANY, Record, records
from permgrad_benchmark.standing import share_bias, standings, summarise


def frame_of(figures, metric="share_error", estimand="total_effect"):
    """Return records of {method: (functions, seeds)} figures."""
    return records.frame_of(
        Record.of("tabular", f"f{function}", seed, method, estimand, metric, value)
        for method, table in figures.items()
        for function, row in enumerate(table)
        for seed, value in enumerate(row)
    )


RNG = np.random.default_rng(0)
BASE = RNG.uniform(0.01, 0.1, size=(6, 1)) + RNG.normal(0, 0.002, size=(6, 3))
FIGURES = {
    "best": BASE,
    "level": BASE + RNG.normal(0, 0.005, size=(6, 3)) + 0.0005,
    "worse": BASE + 0.02,
}


def test_first_level_and_behind():
    standing_table = standings(
        frame_of(FIGURES), "share_error", list(FIGURES), "total_effect"
    ).set_index("method")
    assert set(standing_table.index[:2]) == {"best", "level"}
    assert standing_table["level"].to_dict() == {
        "best": True,
        "level": True,
        "worse": False,
    }
    first = standing_table.index[0]
    gaps = FIGURES["worse"].mean(axis=1) - FIGURES[first].mean(axis=1)
    assert standing_table.loc["worse", "behind"] == pytest.approx(gaps.mean())
    assert standing_table.loc["worse", "low"] == pytest.approx(
        gaps.mean() - 2.5706 * gaps.std(ddof=1) / np.sqrt(6), rel=1e-4
    )
    assert (standing_table["functions"] == 6).all()


def test_seeds_are_not_a_larger_sample():
    """The same figures under thrice as many seeds tell no more about functions."""
    often = {name: np.tile(table, (1, 3)) for name, table in FIGURES.items()}
    once = standings(frame_of(FIGURES), "share_error", list(FIGURES), "total_effect")
    thrice = standings(frame_of(often), "share_error", list(FIGURES), "total_effect")
    pd.testing.assert_frame_equal(once, thrice)


def test_direction_is_the_metrics():
    high = {"a": np.full((3, 1), 0.9), "b": np.array([[0.5], [0.6], [0.55]])}
    assert standings(frame_of(high, "auc", ANY), "auc", ["a", "b"])[
        "method"
    ].tolist() == ["a", "b"]
    coverage = {"a": np.full((3, 1), 1.0), "b": np.full((3, 1), 0.94)}
    standing_table = standings(
        frame_of(coverage, "interval_coverage"),
        "interval_coverage",
        ["a", "b"],
        "total_effect",
    )
    assert standing_table["method"].tolist() == ["b", "a"]
    assert standing_table["level"].tolist() == [True, False]
    same = {"a": np.full((3, 1), 1.0), "b": np.full((3, 1), 1.0)}
    assert standings(frame_of(same, "auc", ANY), "auc", ["b", "a"])[
        "level"
    ].tolist() == [True, True]


def test_only_functions_of_everybody_count():
    partial = dict(FIGURES, best=FIGURES["best"].copy())
    partial["best"][0] = np.nan
    standing_table = standings(
        frame_of(partial), "share_error", list(partial), "total_effect"
    )
    assert (standing_table["functions"] == 5).all()


def test_a_method_with_few_functions_is_left_out():
    few = dict(FIGURES, rare=FIGURES["best"][:2] / 2)
    standing_table = standings(frame_of(few), "share_error", list(few), "total_effect")
    assert set(standing_table["method"]) == set(FIGURES)
    assert (standing_table["functions"] == 6).all()


def test_refusals():
    with pytest.raises(
        InputError, match="The metric 'share:x1' has no better or worse"
    ):
        standings(frame_of(FIGURES), "share:x1", ["best"])
    with pytest.raises(InputError, match="None of the methods has 'auc' against 'any'"):
        standings(frame_of(FIGURES), "auc", ["best"])


def test_bias_and_spread_by_hand():
    bias_records = []
    for seed, (first_share, second_share) in enumerate([(0.6, 0.4), (0.8, 0.2)]):
        for name, value, true in (("x1", first_share, 0.5), ("x2", second_share, 0.5)):
            bias_records.append(
                Record.of("tabular", "f", seed, "permgrad", ANY, f"share:{name}", value)
            )
            bias_records.append(
                Record.of(
                    "tabular",
                    "f",
                    seed,
                    "truth",
                    "total_effect",
                    f"truth_share:{name}",
                    true,
                )
            )
            bias_records.append(
                Record.of("tabular", "f", seed, "other", ANY, f"share:{name}", value)
            )
    bias_records = share_bias(
        records.frame_of(bias_records),
        {"permgrad": "total_effect", "truth": "total_effect"},
    )
    assert bias_records[["function", "method", "seeds"]].values.tolist() == [
        ["f", "permgrad", 2]
    ]
    assert bias_records.loc[0, "bias"] == pytest.approx(0.2)
    assert bias_records.loc[0, "spread"] == pytest.approx(0.1)


def test_the_summary_groups_by_estimand_and_survives_gaps():
    frame = pd.concat(
        [
            frame_of(FIGURES),
            frame_of(
                {"best": np.full((6, 1), 0.9), "level": np.full((6, 1), 0.8)},
                "auc",
                ANY,
            ),
            frame_of({"worse": np.full((6, 1), np.nan)}, "power", ANY),
        ]
    )
    estimands = {
        "best": "total_effect",
        "level": "sage",
        "worse": "total_effect",
        "absent": "sage",
    }
    benchmark_summary = summarise(
        frame, {name: {"estimand": estimand} for name, estimand in estimands.items()}
    )
    assert [row["method"] for row in benchmark_summary["own"]["total_effect"]] == [
        "best",
        "worse",
    ]
    assert "sage" not in benchmark_summary["own"]
    assert list(benchmark_summary["relevance"]) == ["auc"]
    assert [row["level"] for row in benchmark_summary["relevance"]["auc"]] == [
        True,
        False,
    ]
    assert benchmark_summary["bias"] == []
