"""The workflow explained by integrated gradients first: split, cuts, summaries, report;
and tables held out of it.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

import permgrad as pg
from permgrad.assess.store import Store
from permgrad.cli import app
from permgrad.runs.run.run_splitting import divide_as_published

PRESET = {"base": "ig_example", "max_epochs": 6, "batch_size": 32}


def table(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(50, 10, rows), "calls": rng.poisson(3, rows)}
    )
    frame["month"] = rng.choice(["may", "june", "march"], rows, p=[0.6, 0.3, 0.1])
    frame["loan"] = rng.choice(["yes", "no"], rows)
    push = (
        (frame["age"] - 50) / 8
        + 2 * (frame["month"] == "march")
        - (frame["month"] == "may")
    )
    frame["y"] = np.where(push + 0.5 * rng.normal(size=rows) > 1, "yes", "no")
    return frame


def call(*words: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, f"{result.stdout}\n{result.stderr}"
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradients")
    table().to_csv(folder / "table.csv", index=False)
    (folder / "preset.json").write_text(json.dumps(PRESET))
    words = ("--target", "y", "--preset", folder / "preset.json", "--cost", "1", "5")
    call("run", folder / "table.csv", *words, "--out", folder / "run")
    return folder


@pytest.fixture(scope="module")
def model(place):
    return pg.load(place / "run" / "model")


@pytest.fixture(scope="module")
def split(place):
    with np.load(place / "run" / "split.npz") as file:
        return {name: file[name] for name in file.files}


def logits_of(model, split, split_name):
    return model.predict_encoded(
        model.encode_rows(
            table().iloc[split[split_name]][["age", "calls", "month", "loan"]]
        ).encoded
    )[:, 0]


# --- split and cuts -------------------------------------------------------------------
def test_the_test_rows_are_the_published_ones(split):
    y = table()["y"].to_numpy()
    remaining_rows, test = train_test_split(
        np.arange(600), test_size=0.2, stratify=y, random_state=42
    )
    assert np.array_equal(np.sort(split["test"]), np.sort(test))
    assert np.array_equal(
        np.sort(np.concatenate([split["train"], split["validation"]])),
        np.sort(remaining_rows),
    )
    assert len(split["validation"]) == 48, "a tenth of the training rows is held out"


def test_few_rows_of_a_class_are_divided_all_the_same():
    y = np.array(["no"] * 19 + ["yes"])
    part_rows = divide_as_published(20, y, 42)
    assert sorted(np.concatenate(list(part_rows.values()))) == list(range(20))


def test_every_cut_equals_what_scikit_learn_says(place, model, split):
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    assert {"task", "rows", "validation", "test", "baselines"} < set(metrics), (
        "all other keys stay"
    )
    stored = metrics["cuts"]
    truth = table()["y"].to_numpy()[split["test"]] == "yes"
    logits = logits_of(model, split, "test")
    assert 0.05 < truth.mean() < 0.4, "the precondition: uneven classes"
    named = {row["cut"]: row["threshold"] for row in stored["test"]}
    assert named["half"] == 0.5
    assert named["as published"] == pytest.approx(1 / (1 + np.exp(-0.5)))
    weight = (table()["y"].to_numpy()[split["train"]] == "no").sum() / (
        table()["y"].to_numpy()[split["train"]] == "yes"
    ).sum()
    share = weight / (1 + weight)
    assert named["corrected for the class weight"] == pytest.approx(share)
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    for row in stored["test"][:-1]:
        called_mask = chances >= row["threshold"]
        assert row["accuracy"] == pytest.approx((called_mask == truth).mean())
        assert row["f1"] == pytest.approx(f1_score(truth, called_mask))
        assert row["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(truth, called_mask)
        )
    assert stored["test"][-1]["accuracy"] == pytest.approx(1 - truth.mean()), (
        "the majority class"
    )
    assert len({round(row["accuracy"], 6) for row in stored["test"]}) > 2, (
        "the precondition: cuts differ"
    )


def test_thresholds_are_the_best_of_all_cuts_of_the_held_out_rows(place, model, split):
    truth = table()["y"].to_numpy()[split["validation"]] == "yes"
    logits = logits_of(model, split, "validation").astype(np.float64)
    every = np.concatenate([np.unique(logits) - 1e-9, [logits.max() + 1]])
    scorers = {
        "F1": lambda said: f1_score(truth, said, zero_division=0),
        "balanced accuracy": lambda said: balanced_accuracy_score(truth, said),
        "cost": lambda said: -((said & ~truth).sum() + 5 * (~said & truth).sum()),
    }
    stored = json.loads((place / "run" / "metrics.json").read_text())["cuts"]["test"]
    for aim, score in scorers.items():
        start = "this model: least cost" if aim == "cost" else f"best {aim}"
        (cut,) = [row["threshold"] for row in stored if row["cut"].startswith(start)]
        called_at_cut = 1 / (1 + np.exp(-logits)) >= cut
        assert score(called_at_cut) == pytest.approx(
            max(score(logits > other_cut) for other_cut in every)
        ), aim


def test_costs_that_are_no_costs(place):
    words = (
        "--target",
        "y",
        "--preset",
        "fast",
        "--cost",
        "0",
        "0",
        "--out",
        place / "never",
    )
    _, errors = call("run", place / "table.csv", *words, code=2)
    assert (
        "--cost must be two finite numbers of at least 0, not both 0, got 0 0. For"
        in errors
    )


# --- integrated gradients -------------------------------------------------------------
def test_summaries_over_all_test_rows(place, model, split):
    both_baselines = pd.read_csv(place / "run" / "integrated_gradients.csv")
    assert list(both_baselines["baseline"].unique()) == ["median", "zeros"]
    frame = both_baselines[both_baselines["baseline"] == "median"]
    other_baseline = both_baselines[both_baselines["baseline"] == "zeros"]
    assert not np.allclose(frame["mean"], other_baseline["mean"], atol=0.05), (
        "another baseline, another answer"
    )
    X = table().iloc[split["test"]][["age", "calls", "month", "loan"]]
    direct = pg.explain(
        model,
        X,
        method="integrated_gradients",
        target="yes",
        random_state=0,
        progress=False,
    )
    features = frame[frame["level"] == "feature"].set_index("name")
    assert set(features.index) == {"age", "calls", "month", "loan"}
    for position, name in enumerate(direct.names):
        feature_values = direct.values[:, position, 0]
        assert features.loc[name, "mean"] == pytest.approx(
            feature_values.mean(), abs=1e-5
        )
        assert features.loc[name, "mean_absolute"] == pytest.approx(
            np.abs(feature_values).mean(), abs=1e-5
        )
    assert features["published"].abs().sum() == pytest.approx(1)
    inputs = frame[frame["level"] == "input"]
    assert list(inputs["name"]) == list(model.preprocessor_.encoded_names_)
    assert {"loan=yes", "loan=no"} <= set(inputs["name"]), "two inputs for two levels"
    assert inputs["published"].abs().sum() == pytest.approx(1)
    np.testing.assert_allclose(
        inputs.groupby("feature")["mean"].sum()[features.index],
        features["mean"],
        atol=1e-9,
    )
    assert features["mean_absolute"].max() > 0.1, (
        "the precondition: something is attributed"
    )


def test_the_report_says_it_all(place):
    text = (place / "run" / "report.html").read_text()
    for words in (
        "Where to set the threshold",
        "as published",
        "The 4 raw features in the",
        "The 7 encoded inputs in the",
    ):
        assert words in text
    assert "least cost (1 for a false yes, 5 for a missed one)" in text
    section = Store(place / "run").get("explanations/gradients")
    median, zeros = (
        baseline_facts["baseline"] for baseline_facts in section.facts["baselines"]
    )
    assert text.count(f"Baseline: {median}") == 3, (
        "beside every figure made with it: 2 sums, rows at once"
    )
    assert text.count(f"Baseline: {zeros}") == 2
    assert "How a row becomes an image" not in text, (
        "there is no image in a network on the table alone"
    )
    out, _ = call("run", place / "table.csv", "--target", "y", "--preset", place / "preset.json", "--cost", "1", "5",
                  "--out", place / "run")  # fmt: skip
    assert "Threshold for 'yes'" in out


# --- one client -----------------------------------------------------------------------
def test_a_client_by_number(place, model, tmp_path):
    words = (
        "explain",
        place / "run",
        place / "table.csv",
        "--method",
        "integrated_gradients",
        "--row",
        "3",
    )
    out, _ = call(*words, "--out", tmp_path / "one")
    rows = pd.read_csv(tmp_path / "one" / "rows.csv")
    client = table().iloc[[3]]
    assert rows["truth"].tolist() == client["y"].tolist()
    assert rows["probability_yes"][0] == pytest.approx(
        model.predict_proba(client.drop(columns="y"))[0, 1], abs=1e-6
    )
    assert {path.name for path in (tmp_path / "one" / "plots").iterdir()} == {
        "waterfall.png"
    }
    explanation = pg.Explanation.load(tmp_path / "one")
    assert f"Baseline: {explanation.meta['baseline']}." in out
    listed = [
        float(points) / 100
        for points in re.findall(r" the probability of yes by ([\d.]+) points?", out)
    ]
    sizes = np.abs(explanation.values[0, :, -1])
    np.testing.assert_allclose(
        sorted(listed), np.sort(sizes[sizes > 0]), rtol=0.01, atol=5e-3
    )


def test_a_client_against_another_baseline(place, tmp_path):
    words = (
        "explain",
        place / "run",
        place / "table.csv",
        "--method",
        "integrated_gradients",
        "--row",
        "7",
    )
    call(*words, "--option", "baseline=class:no", "--out", tmp_path / "one")
    assert pd.read_csv(tmp_path / "one" / "rows.csv")["row"].tolist() == [7]
    assert "of class 'no'" in pg.Explanation.load(tmp_path / "one").meta["baseline"]


def test_rows_are_drawn(place, tmp_path):
    words = (
        "explain",
        place / "run",
        place / "table.csv",
        "--method",
        "integrated_gradients",
        "--max-rows",
        12,
    )
    for name in ("some", "again"):
        call(*words, "--out", tmp_path / name)
    some_explanation, again = (
        pg.Explanation.load(tmp_path / name) for name in ("some", "again")
    )
    assert some_explanation.values.shape[0] == 12
    assert (
        some_explanation.meta["rows"]
        == sorted(some_explanation.meta["rows"])
        == again.meta["rows"]
    )
    call(*words, "--seed", 1, "--out", tmp_path / "others")
    assert (
        pg.Explanation.load(tmp_path / "others").meta["rows"]
        != some_explanation.meta["rows"]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max-rows", "5", "--row", "1"), "--row and --max-rows cannot be combined"),
        (
            ("--method", "permutation", "--option", "baseline=mean"),
            "--option must be one of",
        ),
        (("--option", "scope=lokal"), "scope cannot be 'lokal'. Did you mean 'local'?"),
        (("--where", "month=may"), "No such option: --where"),
    ],
)
def test_what_cannot_be_chosen_is_refused(place, tmp_path, words, message):
    method = () if "--method" in words else ("--method", "integrated_gradients")
    _, errors = call(
        "explain",
        place / "run",
        place / "table.csv",
        *method,
        *words,
        "--out",
        tmp_path / "never",
        code=2,
    )
    assert message in errors
    assert not (tmp_path / "never").exists()


# --- held-out tables ------------------------------------------------------------------
def test_unseen_levels_missing_columns_and_strange_orders(place, tmp_path):
    rows = table(40).drop(columns="y")
    call(
        "predict",
        place / "run",
        save(rows, tmp_path / "plain.csv"),
        "--out",
        tmp_path / "plain-out.csv",
    )
    plain = pd.read_csv(tmp_path / "plain-out.csv")["probability_yes"]
    swapped = save(
        rows[["loan", "month", "calls", "age"]].assign(shoe=1), tmp_path / "swapped.csv"
    )
    _, errors = call(
        "predict", place / "run", swapped, "--out", tmp_path / "swapped-out.csv"
    )
    assert (
        errors.strip()
        == "warning: 1 column is not used, because training did not have it: 'shoe'"
    )
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "swapped-out.csv")["probability_yes"], plain
    )
    odd = save(rows.assign(month="smarch", age=np.nan), tmp_path / "odd.csv")
    call("predict", place / "run", odd, "--out", tmp_path / "odd-out.csv")
    assert np.isfinite(pd.read_csv(tmp_path / "odd-out.csv")["probability_yes"]).all()
    words = ("--method", "integrated_gradients", "--out", tmp_path / "odd-why")
    call("explain", place / "run", odd, *words)
    assert np.isfinite(pg.Explanation.load(tmp_path / "odd-why").values).all()
    less = save(rows.drop(columns=["age"]), tmp_path / "less.csv")
    _, errors = call(
        "predict", place / "run", less, "--out", tmp_path / "never.csv", code=2
    )
    assert "1 column of training is missing: 'age'" in errors
    assert not (tmp_path / "never.csv").exists()


def test_a_loaded_model_takes_columns_by_name(model):
    rows = table(5)[["age", "calls", "month", "loan"]]
    predicted = model.predict_proba(rows)
    other_order = rows[["loan", "calls", "age", "month"]]
    np.testing.assert_array_equal(model.predict_proba(other_order), predicted)
    with pytest.raises(ValueError, match="loan"):
        model.predict(rows.drop(columns="loan"))
    with pytest.warns(pg.PermgradWarning, match="shoe"):
        unused = model.predict_proba(rows.assign(shoe=1))
    np.testing.assert_array_equal(unused, predicted)


def save(frame, path):
    frame.to_csv(path, index=False)
    return path
