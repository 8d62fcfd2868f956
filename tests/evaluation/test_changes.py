"""What changed between two samples of rows: scores and importances, against laws that
are known.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import permgrad as pg
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError
from permgrad.evaluation.changes import (
    _frame,
    _scores,
    changes_between,
    changes_of_models,
    claims_of_scores,
)
from permgrad.evaluation.skill import Predicted, metric_by_rows

OPTIONS = {"n_repeats": 2, "progress": False}


def predict(table):
    """A model that knows the second column only."""
    return np.asarray(table, dtype=np.float64)[:, 1]


def rows(count, seed, shift=0.0, slope=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3)) + np.array([shift, 0, 0])
    return pd.DataFrame(x, columns=["income", "age", "noise"]), x[:, 0] + slope * x[
        :, 1
    ] + 0.3 * rng.normal(size=count)


def lines_of(change_result, kind):
    frame = change_result.to_frame()
    return frame[frame["kind"] == kind].set_index("name")


@pytest.fixture(scope="module")
def moved():
    """The loss is (income + noise)², whose mean is 1.09, and 2.09 after income has
    moved by 1.
    """
    return rows(1500, 0), rows(1200, 1, shift=1.0)


def test_a_moved_column_raises_the_loss(moved):
    (old, y_old), (new, y_new) = moved
    change_result = pg.changes(predict, old, y_old, new, y_new, **OPTIONS)
    scores = lines_of(change_result, "score")
    assert [
        drift_facts["column"]
        for drift_facts in change_result.meta["drift"]
        if drift_facts["clear"]
    ] == ["income"]
    losses = [(predict(x) - y) ** 2 for x, y in moved]
    change = losses[1].mean() - losses[0].mean()
    assert scores.loc["loss", "change"] == pytest.approx(change, rel=1e-9)
    assert scores.loc["loss", "std_error"] == pytest.approx(
        np.sqrt(
            sum(
                np.var(sample_losses, ddof=1) / len(sample_losses)
                for sample_losses in losses
            )
        )
    )
    assert scores.loc["rmse", "change"] == pytest.approx(
        np.sqrt(losses[1].mean()) - np.sqrt(losses[0].mean())
    )
    columns, first = change_result.summary().splitlines()[:2]
    moved_by = (
        "1 of 3 columns differs clearly between the old and the new rows. income: "
    )
    assert columns.startswith(moved_by)
    assert first.startswith("The loss (squared error) rose by ")
    assert change_result._repr_html_().startswith("<pre>1 of 3 columns differs")
    again = pg.changes(predict, old, y_old, new, y_new, **OPTIONS)
    pd.testing.assert_frame_equal(again.to_frame(), change_result.to_frame())


def test_a_changed_relation_changes_importances():
    change_result = pg.changes(
        predict, *rows(1000, 0), *rows(1000, 1, slope=2.0), **OPTIONS
    )
    # The loss was x₀² and is (x₀ + x₁)².
    loss = lines_of(change_result, "score").loc["loss"]
    assert loss["change"] == pytest.approx(1.0, abs=3 * loss["std_error"])
    assert loss["p_holm"] < 0.05
    importances = lines_of(change_result, "importance")
    assert importances.index[importances["p_holm"] < 0.05].tolist() == ["age"]
    # E[(y − x₁')² − (y − x₁)²] is 2 slope.
    assert importances.loc["age", "change"] == pytest.approx(
        2.0, abs=3 * importances.loc["age", "std_error"]
    )
    assert (
        "Importance: 1 of 3 features changed clearly:\n  age" in change_result.summary()
    )


def test_without_a_change_it_says_so():
    change_result = pg.changes(predict, *rows(500, 4), *rows(500, 5), **OPTIONS)
    assert (change_result.to_frame()["p_holm"] > 0.05).all()
    assert "The loss (squared error) changed by " in change_result.summary()
    assert ", which may be chance." in change_result.summary()


def test_infinite_cells_are_compared():
    rng = np.random.default_rng(0)
    old, new = (
        pd.DataFrame({"a": rng.normal(size=80) + shift, "b": rng.normal(size=80)})
        for shift in (0, 1)
    )
    model = lambda rows: np.clip(rows["a"], -5, 5)  # noqa: E731
    truths = [rng.normal(size=80) for _ in range(2)]
    change_frames = []
    for far in (np.inf, 1e9):
        old.loc[:4, "a"] = -far
        new.loc[:9, "a"] = far
        tables = (old, truths[0], new, truths[1])
        change_frames.append(
            pg.changes(
                pg.Model(model, task="regression"),
                *tables,
                random_state=0,
                progress=False,
            ).to_frame()
        )
    assert np.isfinite(change_frames[0][["change", "std_error"]].to_numpy()).all()


@pytest.mark.slow
def test_metrics_of_classes_with_the_error_of_the_area():
    rng = np.random.default_rng(0)

    def sample(slope):
        x = rng.normal(size=(800, 2))
        return x, (rng.random(800) < 1 / (1 + np.exp(-slope * x[:, 0]))).astype(int)

    (x, y), (x_new, y_new) = sample(2.0), sample(0.5)
    model = LogisticRegression().fit(*sample(2.0))
    change_result = pg.changes(
        model, x, y, x_new, y_new, random_state=0, n_repeats=2, progress=False
    )
    scores = lines_of(change_result, "score")
    areas = [
        roc_auc_score(truth, model.predict_proba(table)[:, 1])
        for table, truth in ((x, y), (x_new, y_new))
    ]
    assert scores.loc["roc_auc", ["old", "new"]].tolist() == pytest.approx(areas)
    assert scores.loc["accuracy", "new"] == pytest.approx(model.score(x_new, y_new))
    assert (scores["p_holm"] < 0.05).all()
    guess = model.predict_proba(x)
    draws = [rng.integers(0, 800, 800) for _ in range(400)]
    spread = np.std(
        [roc_auc_score(y[drawn_rows], guess[drawn_rows, 1]) for drawn_rows in draws]
    )
    value, row_values = metric_by_rows("roc_auc", Predicted(y, guess))
    assert value == pytest.approx(areas[0])
    assert row_values.std() / np.sqrt(800) == pytest.approx(spread, rel=0.15)


def test_rows_of_groups_say_less_and_groups_of_columns_are_one(moved):
    (old, y_old), (new, y_new) = ((x.head(300), y[:300]) for x, y in moved)
    doubled = [
        pd.concat([sample_frame] * 5, ignore_index=True) for sample_frame in (old, new)
    ]
    y = [np.tile(sample_targets, 5) for sample_targets in (y_old, y_new)]
    labels = [np.tile(np.arange(300), 5)] * 2
    alone = lines_of(pg.changes(predict, old, y_old, new, y_new, **OPTIONS), "score")
    change_result = pg.changes(
        predict,
        doubled[0],
        y[0],
        doubled[1],
        y[1],
        row_groups=labels,
        groups={"person": ["income", "age"]},
        **OPTIONS,
    )
    assert lines_of(change_result, "score").loc["loss", "std_error"] == pytest.approx(
        alone.loc["loss", "std_error"], rel=0.01
    )
    assert "person" in lines_of(change_result, "importance").index
    named = [
        table.assign(who=label) for table, label in zip(doubled, labels, strict=True)
    ]
    by_name = pg.changes(
        predict_named, named[0], y[0], named[1], y[1], row_groups="who", **OPTIONS
    )
    assert lines_of(by_name, "score").loc["loss", "std_error"] == pytest.approx(
        alone.loc["loss", "std_error"], rel=0.01
    )
    times = (np.arange(300), np.arange(300))
    sides = zip((old, new), (y_old, y_new), times, strict=True)
    explain_options = {"scope": "global", "n_repeats": 2, "progress": False}
    timed = changes_between(
        *(
            Arguments(predict, X, y, row_time=time, **explain_options)
            for X, y, time in sides
        )
    )
    assert np.isfinite(timed.to_frame()[["change", "std_error"]].to_numpy()).all()


def predict_named(table):
    if list(table.columns) != ["income", "age", "noise"]:
        raise ValueError("other columns")
    return table["age"].to_numpy()


def test_what_cannot_be_compared_is_refused():
    import torch

    (x, y), (new, y_new) = rows(100, 0), rows(100, 1)
    for arguments, further, words in (
        ((x, y, new, None), {}, "targets of both samples"),
        ((x, y, new[:20], y_new[:20]), {}, "changes needs 30 rows in each sample"),
        ((x, y, new, y_new), {"row_groups": np.arange(100)}, "pair for old and new"),
        ((x, y, new, y_new), {"row_groups": (np.arange(100) % 3,) * 2}, "4 groups"),
        ((x, y, new.rename(columns={"age": "years"}), y_new), {}, "the same features"),
    ):
        with pytest.raises(InputError, match=words):
            pg.changes(predict, *arguments, **OPTIONS, **further)
    with pytest.raises(InputError, match="predictor of a table"):
        pg.changes(torch.nn.Linear(3, 1), x, y, new, y_new)


def test_two_models_on_the_same_rows_are_paired():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    noise = rng.normal(size=400)
    guesses = tuple(Predicted(truth, truth + size * noise) for size in (1.0, 1.1))
    change_result = changes_of_models(guesses, None)
    lines = lines_of(change_result, "score")
    apart = (1.1 * noise) ** 2 - noise**2
    assert lines.loc["loss", "change"] == pytest.approx(apart.mean())
    assert lines.loc["loss", "std_error"] == pytest.approx(apart.std(ddof=1) / 20)
    assert (lines["p_holm"] < 0.001).all(), "two samples of 400 rows would tell nothing"
    assert change_result.summary().startswith("The loss (squared error) rose by ")
    assert "on the same rows.\n400 rows, the same for both." in change_result.summary()
    same = changes_of_models((guesses[0], guesses[0]), None).summary()
    assert same.startswith(
        "The loss (squared error) is the same in every row.\n400 rows"
    ), "no chance in what is equal"
    classes = (rng.random(400) < 0.5).astype(int)
    chances = rng.uniform(0.1, 0.9, (2, 400))
    pair = tuple(
        Predicted(classes, np.column_stack([1 - event_chances, event_chances]))
        for event_chances in chances
    )
    lines = lines_of(
        changes_of_models(pair, None, Dependence(np.arange(400) // 5)), "score"
    )
    assert lines.index.tolist() == ["loss", "accuracy", "roc_auc"]
    rows = [
        np.log(np.where(classes == 1, event_chances, 1 - event_chances))
        for event_chances in chances
    ]
    means = (rows[0] - rows[1]).reshape(80, 5).mean(axis=1)
    assert lines.loc["loss", "change"] == pytest.approx(means.mean())
    assert lines.loc["loss", "std_error"] == pytest.approx(
        means.std(ddof=1) / np.sqrt(80), rel=0.05
    )


@pytest.mark.parametrize("rare", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_few_rows_of_a_class_among_the_new_ones_change_nothing_clearly(rare):
    false = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        sides = []
        for rows, events in ((400, 40), (150, rare)):
            truth = (np.arange(rows) < events).astype(int)
            chance = 1 / (1 + np.exp(3 - truth - rng.normal(size=rows)))
            sides.append(Predicted(truth, np.column_stack([1 - chance, chance])))
        frame = _frame(
            _scores(
                (sides[0].losses[0], sides[1].losses[0]),
                tuple(sides),
                (None, None),
                0.95,
            )
        )
        area = frame.set_index("name").loc["roc_auc"]
        assert np.isnan(area["p_value"]) == (rare == 1), "one row has no error"
        false += area["p_value"] < 0.05
    assert false <= 80 * 0.05 + 2 * np.sqrt(80 * 0.05 * 0.95) + 1


def test_forty_new_rows_with_long_tails_are_no_change_and_a_rise_is_found():
    false = detections = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        old, new = (rng.lognormal(size=rows) - np.exp(0.5) for rows in (800, 40))
        false += "loss" in claims_of_scores(
            Predicted(old, np.zeros(800)), Predicted(new, np.zeros(40))
        )
        detections += "loss" in claims_of_scores(
            Predicted(rng.normal(size=800), np.zeros(800)),
            Predicted(2 * rng.normal(size=40), np.zeros(40)),
        )
    assert false <= 8
    assert detections >= 75


def test_without_targets_it_says_which_columns_and_outputs_moved():
    (old, _), (new, _) = rows(700, 0), rows(500, 1)
    new = new.assign(age=new["age"] + 0.8)
    found = pg.changes(predict, old, None, new, None, progress=False)
    (line,) = found.lines.to_dict("records")
    # The model predicts the age.
    ages = [table["age"].to_numpy() for table in (old, new)]
    assert (line["kind"], line["name"]) == ("output", "prediction")
    assert line["change"] == pytest.approx(ages[1].mean() - ages[0].mean())
    error = np.sqrt(sum(np.var(each, ddof=1) / len(each) for each in ages))
    assert line["std_error"] == pytest.approx(error)
    said = found.summary().splitlines()
    assert said[0].startswith(
        "1 of 3 columns differs clearly between the old and the new rows. age: "
    )
    assert said[1].startswith("On average, prediction rose by ")
    assert said[2] == "700 old and 500 new rows. Intervals: 95 %."


def test_outputs_of_classes_are_probabilities_and_nothing_is_said_of_equal_samples():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(900, 2))
    labels = np.array(["a", "b", "c"])[np.digitize(x[:, 0], [-0.5, 0.5])]
    model = LogisticRegression().fit(x, labels)
    names = [f"probability of {label}" for label in "abc"]
    found = pg.changes(model, x[:400], None, x[400:], None, progress=False)
    assert found.lines["name"].tolist() == names
    said = found.summary().splitlines()
    assert said[0] == "No column differs clearly between the old and the new rows."
    assert said[1] == "No output changed clearly on average."
    moved = pg.changes(
        model, x[:400], None, x[400:] + np.array([2, 0]), None, progress=False
    )
    assert (
        moved.summary()
        .splitlines()[1]
        .startswith("On average, probability of c rose by ")
    )


def test_targets_of_one_sample_are_refused():
    (old, y), (new, _) = rows(60, 0), rows(60, 1)
    with pytest.raises(InputError) as refused:
        pg.changes(predict, old, y, new, None, progress=False)
    assert str(refused.value) == (
        "changes needs the targets of both samples or of none, and the new one has "
        "none. Pass both y_old and y_new, or None for both. [PG005]"
    )
