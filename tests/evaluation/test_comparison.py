"""A ``Comparison``: who is best and who is level, in both directions, with folds that
failed, and what is shared.
"""

from __future__ import annotations

import html
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from permgrad.base.errors import InputError
from permgrad.base.numerals import number
from permgrad.evaluation.comparison import (
    ComparedModel,
    Comparison,
    corrected_paired_test,
)
from permgrad.pages.comparison_page import (
    agreement_line,
    agreement_words,
    path_lines,
    sentences,
)

NAMES = ("a", "b", "c")


def made(values, metric="roc_auc", *, importances=None, problems=()):
    """A comparison of models with these scores, fold by fold; NaN and a problem where
    one failed.
    """
    rows = []
    for model, fold_values in values.items():
        for fold, value in enumerate(fold_values):
            problem = "out of memory" if (model, fold) in problems else ""
            rows.append(
                {"model": model, "fold": str(fold), metric: value, "problem": problem}
            )
    frame = pd.DataFrame(rows).assign(train_rows=80, test_rows=20, fit_seconds=1.0)
    task = "regression" if metric == "rmse" else "classification"
    contestants = tuple(
        ComparedModel(name, name.upper(), "network" if name == "a" else "baseline")
        for name in values
    )
    return Comparison(
        "t",
        "y",
        task,
        metric,
        contestants,
        frame,
        importances if importances is not None else pd.DataFrame(),
    )


#: Without a mean, so that differences are not all one number.
WOBBLE = np.array([0.001, -0.002, 0.002, -0.001, 0.0])


def test_best_level_and_behind():
    rng = np.random.default_rng(0)
    base = rng.normal(0.8, 0.02, 5)
    comparison = made(
        {
            "a": base + 0.01,
            "b": base + 0.008 + rng.normal(0, 0.004, 5),
            "c": base - 0.05 + WOBBLE,
        }
    )
    frame = comparison.standing.set_index("model")
    assert comparison.best == "a"
    assert list(frame.index) == ["a", "b", "c"]
    assert frame["level"].tolist() == [True, True, False]
    test = corrected_paired_test(
        base + 0.01 - (base - 0.05 + WOBBLE), train_rows=80, test_rows=20
    )
    assert frame.loc["c", "difference"] == pytest.approx(0.06)
    assert frame.loc["c", "ci_low"] == pytest.approx(test.low)
    assert frame.loc["b", "rank"] < frame.loc["c", "rank"] == 3
    assert frame.loc["b", "p_holm"] >= frame.loc["b", "p_value"]
    comparison_sentences = sentences(comparison)
    assert comparison_sentences[0].startswith("A is best by ROC‑AUC: ")
    assert any(
        sentence.startswith("There is no significant difference from B (by 0.00")
        for sentence in comparison_sentences
    )
    assert any(
        sentence.startswith("It is significantly better than C (by 0.0600")
        for sentence in comparison_sentences
    )


def test_lower_is_better_where_the_metric_says_so():
    comparison = made({"a": [3.0, 3.1, 3.0], "b": [2.0, 2.1, 2.05]}, "rmse")
    assert comparison.best == "b"
    line = comparison.standing.set_index("model").loc["a"]
    assert line["difference"] == pytest.approx(0.983, abs=1e-3)
    assert line["rank"] == 2


def test_models_that_tie_share_the_mean_of_their_ranks():
    values = {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 1.0], "c": [3.0, 2.0, 3.0]}
    higher, lower = (
        made(values, metric).standing.set_index("model")["rank"]
        for metric in ("roc_auc", "rmse")
    )
    assert higher.to_dict() == pytest.approx({"a": 6.5 / 3, "b": 7 / 3, "c": 4.5 / 3})
    assert lower.to_dict() == pytest.approx({"a": 5.5 / 3, "b": 5 / 3, "c": 7.5 / 3})


def test_a_model_that_failed_stands_behind_and_is_told_of():
    comparison = made(
        {"a": [0.9, math.nan, 0.9], "b": [0.7, 0.71, 0.72]}, problems={("a", 1)}
    )
    frame = comparison.standing.set_index("model")
    assert comparison.best == "b", "a mean over easier folds is no lead"
    assert list(frame.index) == ["b", "a"]
    assert frame.loc["a", ["folds", "failed"]].tolist() == [2, 1]
    assert math.isnan(frame.loc["a", "rank"])
    assert comparison.failures == [("a", "1", "out of memory")]
    assert "A failed on 1 of 3 folds: out of memory" in sentences(comparison)
    assert "out of memory" in comparison.to_html()


def test_where_every_model_failed_nobody_is_best():
    values = {"a": [math.nan] * 2, "b": [math.nan] * 2}
    comparison = made(
        values, problems={(model, fold) for model in values for fold in range(2)}
    )
    assert comparison.best is None
    assert comparison.pairs.empty
    comparison_sentences = sentences(comparison)
    assert not any("best" in sentence for sentence in comparison_sentences)
    assert "A failed on all 2 folds: out of memory" in " ".join(comparison_sentences)
    page = comparison.to_html()
    assert "No model could be measured on t by ROC" in page
    assert "out of memory" in page


def test_scores_that_tell_no_problem_have_none():
    comparison = made({"a": [0.9, 0.8], "b": [0.7, 0.6]})
    plain = replace(comparison, scores=comparison.scores.drop(columns="problem"))
    assert plain.failures == comparison.failures == []
    assert plain.best == "a"


@pytest.mark.parametrize(("unit", "shown"), [(1e7, "20000000"), (1e-6, "2e-06")])
def test_errors_of_any_size_are_written_with_the_same_digits(unit, shown):
    comparison = made(
        {"a": [3 * unit, 3 * unit, 3.5 * unit], "b": [2 * unit] * 3}, "rmse"
    )
    assert comparison.best == "b"
    assert number(2 * unit, 4) in sentences(comparison)[0]


def test_the_time_is_told_only_where_another_has_one_too():
    comparison = made({"a": [0.9, 0.91, 0.92], "b": [0.7, 0.71, 0.72]})
    assert any("fastest" in sentence for sentence in sentences(comparison))
    scores = comparison.scores.assign(
        fit_seconds=np.where(comparison.scores["model"] == "a", 1.0, math.nan)
    )
    assert not any(
        "fastest" in sentence
        for sentence in sentences(replace(comparison, scores=scores))
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1.04, "about as long as B (1 s)"),
        (1.36, "1.4 times as long as B (1 s)"),
        (2.0, "2 times as long as B (1 s)"),
        (31.7, "32 times as long as B (1 s)"),
    ],
)
def test_the_time_of_the_best_is_said_against_the_fastest(seconds, words):
    comparison = made({"a": [0.9, 0.91, 0.92], "b": [0.7, 0.71, 0.72]})
    scores = comparison.scores.assign(
        fit_seconds=np.where(comparison.scores["model"] == "a", seconds, 1.0)
    )
    sentence = sentences(replace(comparison, scores=scores))[-1]
    assert sentence.endswith(f"by the clock, {words}.")


def test_one_common_fold_is_not_tested():
    comparison = made({"a": [0.9, math.nan], "b": [0.7, 0.8]}, problems={("a", 1)})
    assert comparison.pairs.empty
    assert math.isnan(comparison.standing.set_index("model").loc["a", "p_value"])
    assert not comparison.standing.set_index("model").loc["a", "level"]
    assert "<!doctype html>" in comparison.to_html()


def importance_frame(models, folds=3, names=("x", "y", "z", "w")):
    rng = np.random.default_rng(1)
    rows = [
        (
            model,
            str(fold),
            "permutation",
            name,
            centre[feature_index] + rng.normal(0, 0.01),
        )
        for model, centre in models.items()
        for fold in range(folds)
        for feature_index, name in enumerate(names)
    ]
    return pd.DataFrame(
        rows, columns=["model", "fold", "method", "feature", "importance"]
    )


def test_shared_features_and_agreement():
    frame = importance_frame(
        {"a": [4, 2, 0.5, 0.1], "b": [3, 2.5, 0.4, 0.2], "c": [0.1, 0.2, 3, 4]}
    )
    comparison = made({name: [0.8, 0.81, 0.79] for name in NAMES}, importances=frame)
    assert comparison.k == 2
    assert comparison.shares().sum().tolist() == pytest.approx([1, 1, 1])
    comparison_text = " ".join(sentences(comparison))
    assert "A and B rely most on the same 2 of 4 features: x and y. " in comparison_text
    assert (
        "of models weigh features more differently than refits of one model do, most "
        "of all A and C" in comparison_text
    )
    lines = comparison.agreement[
        comparison.agreement["measure"] == "weighted_overlap"
    ].set_index(["first", "second"])
    assert lines.loc[("a", "c"), "differs"] is True
    assert lines.loc[("a", "c"), "agreement"] < 0.1 < lines.loc[("a", "b"), "agreement"]
    content = comparison.to_dict()
    assert content["strongest_features"]["c"] == ["w", "z"]
    assert content["best"] in NAMES


def test_many_models_have_their_matrices_one_below_the_other():
    rng = np.random.default_rng(2)
    pages = []
    for count in (3, 6):
        names = [f"m{k}" for k in range(count)]
        frame = importance_frame({name: rng.uniform(0.1, 4, 4) for name in names})
        pages.append(
            made(
                {name: [0.8, 0.81, 0.79] for name in names}, importances=frame
            ).to_html()
        )
    assert all("verlap of the importance shares" in page for page in pages)
    assert [page.count('<div class="beside">') for page in pages] == [1, 0]


def test_one_explained_model_agrees_with_nobody():
    frame = importance_frame({"a": [4, 2, 0.5, 0.1]})
    comparison = made({name: [0.8, 0.81, 0.79] for name in NAMES}, importances=frame)
    assert agreement_line(comparison, "a", "b", "kendall") is None
    assert agreement_words(comparison, "a", "b") == ""
    page = html.unescape(comparison.to_html())
    assert "What each model's importance consists of" in page
    assert "Kendall's tau of the rankings" not in page


def test_one_fold_tells_no_ceiling():
    frame = importance_frame({"a": [4, 2, 0.5, 0.1], "b": [3, 2.5, 0.4, 0.2]}, folds=1)
    comparison = made({name: [0.8] for name in ("a", "b")}, importances=frame)
    agreement_text = agreement_words(comparison, "a", "b")
    assert agreement_text.endswith("is on the same ones.")
    assert "fitted again" not in agreement_text


def test_a_metric_that_one_model_lacks_is_a_dash():
    comparison = made({"a": [0.9, 0.8], "b": [0.7, 0.6]})
    scores = comparison.scores.assign(
        accuracy=np.where(comparison.scores["model"] == "a", 0.75, math.nan)
    )
    page = replace(comparison, scores=scores).to_html()
    assert "accuracy" in page.lower()
    assert "0.7500" in page or "0.75" in page
    assert "–" in page


def test_paths_of_networks_that_found_nothing_have_no_shares():
    frame = importance_frame({"a": [4, 2, 0.5, 0.1], "b": [3, 2.5, 0.4, 0.2]}).assign(
        method="permgrad"
    )
    frame = frame.assign(
        tabular=0.75 * frame["importance"], image=0.25 * frame["importance"]
    )
    frame.loc[frame["model"] == "b", ["importance", "tabular", "image"]] *= -1
    comparison = made(
        {name: [0.8, 0.81, 0.79] for name in ("a", "b")}, importances=frame
    )
    (line,) = path_lines(comparison).items()
    assert line[0] == "a"
    assert {path: mean for path, (mean, _) in line[1].items()} == pytest.approx(
        {"tabular": 0.75, "image": 0.25}
    )


def test_networks_of_a_comparison_may_have_other_paths():
    frame = importance_frame({"a": [4, 2, 0.5, 0.1], "b": [3, 2.5, 0.4, 0.2]}).assign(
        method="permgrad"
    )
    frame = frame.assign(
        tabular=0.75 * frame["importance"], image=0.25 * frame["importance"]
    )
    frame["trees"] = frame["image"].where(frame["model"] == "b")
    frame.loc[frame["model"] == "b", "image"] = np.nan
    comparison = made(
        {name: [0.8, 0.81, 0.79] for name in ("a", "b")}, importances=frame
    )
    lines = path_lines(comparison)
    assert lines["a"]["image"][0] == pytest.approx(0.25)
    assert math.isnan(lines["a"]["trees"][0])
    assert lines["b"]["trees"][0] == pytest.approx(0.25)
    assert "25\u00a0%" in comparison.to_html()


def test_models_that_rely_on_unlike_numbers_of_features():
    names = ("x", "y", "z", "w", "u", "v")
    models = {
        "a": [4, 2, 1, 0, 0, 0],
        "b": [5, 0.001, 0.001, 0, 0, 0],
        "c": [0, 0, 0, 1, 1, 1],
    }
    frame = importance_frame(models, names=names)
    # No noise: features of which b has less than a hundredth are to stay below it.
    frame["importance"] = [
        models[model][names.index(name)]
        for model, name in frame[["model", "feature"]].to_numpy()
    ]
    comparison = made({name: [0.8, 0.81, 0.79] for name in NAMES}, importances=frame)
    assert comparison.k == 3
    assert [comparison.strongest[name].sum() for name in NAMES] == [3, 1, 3], (
        "the numbers must differ"
    )
    comparison_text = " ".join(sentences(comparison))
    assert (
        "A and B have x in common among their leading features. Only A has y and z "
        "among its leading ones. 57"
    ) in comparison_text.replace("\u00a0", " ")
    assert (
        "of the importance of their 3 strongest features is on the same ones"
        in comparison_text
    )
    assert "1 of 3 and 1" in comparison.to_html()
    content = comparison.to_dict()
    assert content["compared"] == {"features": 6, "strongest": 3}
    assert content["strongest_features"] == {
        "a": ["x", "y", "z"],
        "b": ["x"],
        "c": ["w", "u", "v"],
    }


def test_features_that_may_matter_by_chance_are_not_among_the_strongest():
    """b's second feature has a share like a's, and p-values that one by one look small:
    it is not named as b's.
    """
    names = ("x", "y", "z", "w", "u", "v")
    models = {"a": [4, 2, 1, 0.1, 0.1, 0.1], "b": [5, 2, 0.1, 0.1, 0.1, 0.1]}
    frame = importance_frame(models, names=names)
    small = {("a", "x"), ("a", "y"), ("a", "z"), ("b", "x")}
    pairs = list(zip(frame["model"], frame["feature"], strict=True))
    frame["p_value"] = [
        1e-6 if pair in small else 0.03 if pair == ("b", "y") else 0.7 for pair in pairs
    ]
    scores = {name: [0.8, 0.81, 0.79] for name in models}
    comparison = made(scores, importances=frame)
    assert comparison.shares().loc["y", "b"] > 0.2, "by its share it would be named"
    assert comparison.to_dict()["strongest_features"] == {
        "a": ["x", "y", "z"],
        "b": ["x"],
    }
    assert (
        "B have x in common among their leading features. Only A has y and z"
        in " ".join(sentences(comparison))
    )
    single_fold = made(
        {name: [0.8] for name in models}, importances=frame[frame["fold"] == "0"]
    )
    assert single_fold.to_dict()["strongest_features"] == {
        "a": ["x", "y", "z"],
        "b": ["x"],
    }, "a fold keeps its own p-values"
    older = made(scores, importances=frame.drop(columns="p_value"))
    assert older.to_dict()["strongest_features"]["b"][:2] == ["x", "y"]
    nothing = made(scores, importances=frame.assign(p_value=0.7))
    assert "No feature clearly matters to A or to B." in sentences(nothing)


def test_models_are_compared_on_the_folds_all_have():
    frame = importance_frame({name: [4, 2, 0.5, 0.1] for name in NAMES}, folds=4)
    frame = frame[~((frame["model"] == "b") & (frame["fold"] == "2"))]
    frame = frame[~((frame["model"] == "c") & (frame["fold"] != "0"))]
    comparison = made(
        {name: [0.8, 0.81, 0.79, 0.8] for name in NAMES}, importances=frame
    )
    assert {
        name: reliance_values.shape
        for name, reliance_values in comparison.reliance.items()
    } == {
        "a": (3, 4),
        "b": (3, 4),
    }


def test_save_writes_what_it_says(tmp_path):
    frame = importance_frame({name: [4, 2, 0.5, 0.1] for name in NAMES})
    comparison = made({name: [0.8, 0.81, 0.79] for name in NAMES}, importances=frame)
    comparison.save(tmp_path / "out", record={"finished": "now"})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "scores.csv",
        "importances.csv",
        "agreement.csv",
        "comparison.json",
        "comparison.html",
    }
    stored = pd.read_csv(tmp_path / "out" / "agreement.csv")
    assert len(stored) == 3 * 4


def test_unknown_metric():
    with pytest.raises(InputError, match="metric must be one of 'roc_auc', got 'rmse'"):
        made({"a": [0.1], "b": [0.2]}).table_of("rmse")
