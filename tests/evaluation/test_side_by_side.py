"""Several models on the same rows: order, differences of every two, and agreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from permgrad.base.significance import holm
from permgrad.evaluation.side_by_side import PAIR_COLUMNS, side_by_side
from permgrad.evaluation.skill import Predicted, against_others, every_pair


def three(rows: int = 300) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    noise = {"poor": 1.0, "good": 0.2, "fair": 0.5}
    return truth, {name: truth + scale * rng.normal(size=rows) for name, scale in noise.items()}


def test_every_pair_is_the_paired_bootstrap_of_the_two_alone():
    truth, guesses = three()
    models = [Predicted(truth, guess) for guess in guesses.values()]
    pairs = every_pair("rmse", models, seed=4)
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    for (one, other), found in pairs.items():
        alone = every_pair("rmse", [models[one], models[other]], seed=4)[0, 1]
        assert alone is not None
        assert found is not None
        assert found == pytest.approx(alone)


def test_the_best_model_is_first_and_wins_every_pair():
    truth, guesses = three()
    result = side_by_side("regression", truth, guesses, seed=0)
    errors = {name: np.sqrt(np.mean((truth - guess) ** 2)) for name, guess in guesses.items()}
    assert result.names == sorted(errors, key=errors.__getitem__) == ["good", "fair", "poor"]
    assert result.pairs.columns.tolist() == list(PAIR_COLUMNS)
    first = result.pairs.iloc[0]
    assert (first["first"], first["second"]) == ("good", "fair")
    assert first["difference"] == pytest.approx(errors["fair"] - errors["good"])
    assert 0 < first["ci_low"] < first["difference"] < first["ci_high"]
    assert first["alike"] == pytest.approx(np.corrcoef(guesses["good"], guesses["fair"])[0, 1])


def test_differences_from_a_reference_are_those_of_the_verdict():
    """Also where the reference is not the best one."""
    truth, guesses = three()
    result = side_by_side("regression", truth, guesses, reference="fair", seed=3)
    verdict = against_others(
        "regression",
        Predicted(truth, guesses["fair"]),
        {name: Predicted(truth, guesses[name]) for name in ("poor", "good")},
        seed=3,
    )
    frame = result.against().set_index("model")
    assert frame.index.tolist() == ["good", "poor"]
    assert frame.loc["good", "difference"] < 0 < frame.loc["poor", "difference"]
    for name, facts in verdict.items():
        for column in ("difference", "ci_low", "ci_high", "p_value", "p_holm"):
            assert frame.loc[name, column] == pytest.approx(facts[column]), (name, column)


def test_a_pair_has_one_adjusted_p():
    """The best model is not the reference: what is said of it has the p-values of the comparison with the reference."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=120)
    guesses = {
        name: truth + scale * rng.normal(size=120) for name, scale in zip("abcd", (1, 1.1, 1.2, 1.3), strict=True)
    }
    result = side_by_side("regression", truth, guesses, reference="c", seed=0)
    assert result.names[0] != "c"
    frame = result.against().set_index("model")
    best = replace(result, reference=result.names[0]).against().set_index("model")
    assert best.loc["c", "p_holm"] == frame.loc[result.names[0], "p_holm"]
    assert frame["p_holm"].to_numpy() == pytest.approx(holm(frame["p_value"].to_numpy()))
    others = result.pairs[(result.pairs[["first", "second"]] != "c").all(axis=1)]
    assert others["p_holm"].to_numpy() == pytest.approx(holm(others["p_value"].to_numpy()))


def test_classes_are_compared_by_the_main_metric_and_undefined_ones_come_last():
    truth = np.array(["a", "b", "a", "b", "a", "b"])
    sure = np.where(truth == "a", 0.9, 0.2)
    guesses = {"turned": np.column_stack([1 - sure, sure]), "right": np.column_stack([sure, 1 - sure])}
    result = side_by_side("classification", truth, guesses, classes=["a", "b"], positive="b", seed=0)
    assert result.metric.name == "roc_auc"
    assert result.names == ["right", "turned"]
    assert result.pairs["alike"].tolist() == [0.0]
    few = {name: guess[::2] for name, guess in guesses.items()}
    one_class = side_by_side("classification", truth[::2], few, classes=["a", "b"], seed=0)
    assert one_class.measured["right"]["roc_auc"] is None
    assert one_class.pairs["p_holm"].isna().all()
    assert one_class.against()["difference"].isna().all()


def test_rows_that_only_one_of_two_models_predicts_right_are_counted():
    truth = np.array(["a", "a", "b", "b", "b"])
    one = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])  # wrong in the last row
    other = np.array([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.2, 0.8], [0.1, 0.9]])  # wrong in two rows
    line = side_by_side("classification", truth, {"one": one, "other": other}, classes=["a", "b"], seed=0).pairs.iloc[0]
    counts = {line["first"]: line["only_first"], line["second"]: line["only_second"]}
    assert counts == {"one": 2, "other": 1}
    assert line["alike"] == pytest.approx(2 / 5)
