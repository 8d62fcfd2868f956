"""``pg.evaluate``: closed forms for linear models, every kind of model, and what is
refused.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.ensemble import RandomForestClassifier

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.evaluation.explanations import explanation_measures

QUIET = {"progress": False, "random_state": 2}
WEIGHTS = np.array([3.0, -2.0, 1.0, 0.0])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))


def linear(table):
    return np.asarray(table) @ WEIGHTS


def explained(method="shapley", **options):
    return explain_with(
        linear, X, method=method, task="regression", **{**QUIET, **options}
    )


class Fusion(torch.nn.Module):
    """An image and a table."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(1, 3, 3)
        self.head = torch.nn.Linear(3 * 16 + 2, 3)

    def forward(self, image, table):
        return self.head(
            torch.cat([torch.relu(self.conv(image)).flatten(1), table], dim=1)
        )


def fusion(rows=12):
    net = Fusion()
    rng = np.random.default_rng(1)
    return net, {
        "image": rng.normal(size=(rows, 1, 6, 6)).astype("f4"),
        "table": rng.normal(size=(rows, 2)).astype("f4"),
    }


def lines(evaluation):
    return evaluation.to_frame().set_index("metric")


# ---- closed forms --------------------------------------------------------------------
def test_a_linear_model_and_one_background_row():
    """φ_j = w_j (x_j − b_j): the curves are its partial sums, and its infidelity is
    exactly 0.
    """
    background = np.full((1, 4), 0.5)
    explanation = explained(background=background)
    terms = (X - 0.5) * WEIGHTS
    np.testing.assert_allclose(explanation.values[:, :, 0], terms, atol=1e-9)
    evaluation = explanation.evaluate(
        pg.Model(linear, task="regression"),
        X,
        background=background,
        metrics=["deletion", "insertion", "infidelity", "sparsity"],
        n_repeats=3,
        **QUIET,
    )
    frame = lines(evaluation)
    ranked = -np.sort(-terms, axis=1)
    removed = linear(X)[:, None] - np.cumsum(np.pad(ranked, ((0, 0), (1, 0))), axis=1)
    inserted_values = linear(background) + np.cumsum(
        np.pad(ranked, ((0, 0), (1, 0))), axis=1
    )
    for name, curves in (("deletion", removed), ("insertion", inserted_values)):
        areas = ((curves[:, 1:] + curves[:, :-1]) / 2).mean(axis=1)
        assert frame.loc[name, "value"] == pytest.approx(areas.mean(), abs=1e-9)
        assert frame.loc[name, "std_error"] == pytest.approx(
            areas.std(ddof=1) / np.sqrt(60), abs=1e-9
        )
    assert frame.loc["infidelity", "value"] == pytest.approx(0, abs=1e-18)
    assert frame.loc["infidelity", "random_low"] > 0.5
    assert frame.loc["deletion", "value"] < frame.loc["deletion", "random"]
    assert frame.loc["insertion", "value"] > frame.loc["insertion", "random_high"]
    assert frame.loc[["deletion", "insertion"], "direction"].tolist() == [
        "lower",
        "higher",
    ]


def test_of_the_loss_deletion_is_better_where_it_rises():
    y = linear(X)
    explanation = pg.explain(pg.Model(linear, task="regression"), X, y, **QUIET)
    evaluation = explanation.evaluate(
        pg.Model(linear, task="regression"),
        X,
        y,
        metrics=["deletion", "insertion"],
        **QUIET,
    )
    frame = lines(evaluation)
    assert frame["direction"].tolist() == ["higher", "lower"]
    assert frame.loc["deletion", "value"] > frame.loc["deletion", "random"]
    assert frame.loc["insertion", "value"] < frame.loc["insertion", "random"]
    assert evaluation.meta["measured"] == "loss"
    shares, curve, *_ = evaluation.estimates["deletion"].curve
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve[0] == 0  # the model is the truth
    # All replaced: 2 Σ w² of standard normal columns.
    assert curve[-1] == pytest.approx(2 * (WEIGHTS**2).sum(), rel=0.4)
    swapped = pg.explain(
        pg.Model(lambda t: np.asarray(t) @ WEIGHTS[::-1], task="regression"),
        X,
        y,
        **QUIET,
    )
    worse = swapped.evaluate(
        pg.Model(linear, task="regression"), X, y, metrics="deletion", **QUIET
    )
    assert lines(worse).loc["deletion", "value"] < frame.loc["deletion", "value"]


def test_sensitivity_of_slopes_of_a_linear_network_is_zero():
    net = torch.nn.Linear(4, 1)
    rows = X.astype("f4")
    explanation = pg.explain(net, rows, method="gradient", **QUIET)
    plain = {"metrics": "sensitivity", **QUIET}
    if (
        np.ptp(explanation.values[:, 0, 0]) < 1e-6
    ):  # slopes; else slopes times inputs, which move with them
        assert (
            lines(explanation.evaluate(net, rows, **plain)).loc["sensitivity", "value"]
            < 1e-6
        )
    values = pg.explain(
        net, rows, method=pg.methods.IntegratedGradients(baseline="zeros"), **QUIET
    )
    assert (
        0 < lines(values.evaluate(net, rows, **plain)).loc["sensitivity", "value"] < 0.5
    )


def test_sparsity_and_complexity_are_those_of_the_values():
    explanation = explained()
    sizes = np.abs(explanation.values[:, :, 0])
    frame = lines(
        explanation.evaluate(
            pg.Model(linear, task="regression"),
            X,
            metrics=["sparsity", "complexity"],
            **QUIET,
        )
    )
    shares = sizes / sizes.sum(axis=1, keepdims=True)
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    assert frame.loc["complexity", "value"] == pytest.approx(entropies.mean())
    assert 0 < frame.loc["sparsity", "value"] < 0.75


# ---- weights drawn anew --------------------------------------------------------------
def test_explanations_change_as_weights_are_drawn_anew():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(150, 12))
    y = rows @ np.where(np.arange(12) < 3, 4.0, 0.0)
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=8, random_state=0, progress=False
    ).fit(rows, y)
    weights = {
        name: value.clone() for name, value in model.module_.state_dict().items()
    }
    explanation = pg.explain(model, rows[:20], method="integrated_gradients", **QUIET)
    measure_lines = lines(
        explanation.evaluate(model, rows[:20], metrics="randomisation", **QUIET)
    )
    assert abs(measure_lines.loc["randomisation", "value"]) < 0.6
    assert measure_lines.loc["randomisation", "direction"] == "lower"
    assert all(
        torch.equal(weights[name], value)
        for name, value in model.module_.state_dict().items()
    )


# ---- any model -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("integrated_gradients", {"segments": ("grid", 3)}),
        ("gradient", {}),
        ("gradcam", {}),
        ("shapley", {"segments": {"image": ("grid", 2)}}),
        ("permgrad", {"scope": "local", "segments": ("grid", 2)}),
        ("permutation", {"groups": "modality"}),
    ],
)
def test_a_network_of_an_image_and_a_table(method, options, tmp_path):
    net, inputs = fusion()
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    explanation = explain_with(net, inputs, method=method, **QUIET, **options)
    model = pg.Model(net, segments=options.get("segments"))
    state = torch.get_rng_state()
    evaluation = explanation.evaluate(model, inputs, n_repeats=2, **QUIET)
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    assert all(
        torch.equal(before[name], value) for name, value in net.state_dict().items()
    )
    frame = lines(evaluation)
    needs_rows = [] if explanation.scope == "local" else ["infidelity"]
    assert [*frame.index, *evaluation.left_out] == [
        *set_in_order(needs_rows),
        *needs_rows,
    ]
    assert np.isfinite(frame["value"]).all()
    # Saved and loaded, the explanation still tells how it was made.
    explanation.save(tmp_path / "why")
    again = pg.Explanation.load(tmp_path / "why").evaluate(
        model, inputs, n_repeats=2, **QUIET
    )
    pd.testing.assert_frame_equal(again.to_frame(), evaluation.to_frame())


def set_in_order(without):
    return [name for name in list(explanation_measures) if name not in without]


def test_a_forest_on_a_table_with_levels(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "a": rng.normal(size=120),
            "b": rng.integers(0, 3, 120),
            "c": rng.normal(size=120),
        }
    )
    y = np.where(table["a"] + table["b"] > 1, "yes", "no")
    forest = RandomForestClassifier(20, random_state=0).fit(table, y)
    explanation = pg.explain(
        forest, table[:40], method="shapley", scale="probability", **QUIET
    )
    evaluation = explanation.evaluate(forest, table[:40], n_repeats=3, **QUIET)
    frame = lines(evaluation)
    assert list(evaluation.left_out) == ["randomisation"]
    assert frame.loc["deletion", "value"] < frame.loc["deletion", "random"]
    assert frame.loc["insertion", "value"] > frame.loc["insertion", "random"]
    assert list(evaluation.to_frame().columns[:5]) == [
        "metric",
        "value",
        "std_error",
        "direction",
        "random",
    ]
    figure = evaluation.plot()
    assert figure.save(tmp_path / "curves.png").stat().st_size > 1000
    assert "deletion: area" in figure.description
    by_output = explanation.evaluate(
        forest, table[:40], target="yes", metrics="deletion", n_repeats=3, **QUIET
    )
    assert lines(by_output).loc["deletion", "value"] != frame.loc["deletion", "value"]


def test_numbers_repeat_and_do_not_depend_on_the_batch():
    explanation = explained()
    evaluate_options = {"metrics": ["deletion", "infidelity"], "n_repeats": 2}

    def evaluated(batch_size="auto", **seed):
        model = pg.Model(linear, task="regression", batch_size=batch_size)
        return explanation.evaluate(
            model, X, **evaluate_options, **{**QUIET, **seed}
        ).to_frame()

    first = evaluated()
    pd.testing.assert_frame_equal(first, evaluated())
    pd.testing.assert_frame_equal(first, evaluated(7))
    other_evaluation = evaluated(random_state=3)
    assert (other_evaluation["value"] != first["value"]).all()


@pytest.mark.slow
def test_an_order_of_chance_lies_among_random_ones():
    """Of explanations that are noise, nearly all lie within the interval of random
    orders.
    """
    explanation = explained()
    inside = 0
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=explanation.values.shape)
        explanation.values[...] = noise
        line = explanation.evaluate(
            pg.Model(linear, task="regression"),
            X,
            metrics="deletion",
            n_repeats=6,
            progress=False,
            random_state=seed,
        ).to_frame()
        inside += bool(
            line["random_low"][0] <= line["value"][0] <= line["random_high"][0]
        )
    assert inside >= 16


# ---- refused -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"metrics": "delition"}, "No metric 'delition'. Did you mean 'deletion'"),
        ({"metrics": "randomisation"}, "torch network"),
        ({"n_repeats": 0}, "n_repeats must be an integer"),
        ({"X": X[:5]}, "The explanation is of 60 rows, got 5"),
        ({"target": "maybe"}, "maybe"),
    ],
    ids=lambda value: "",
)
def test_bad_arguments_are_refused(words, message):
    explanation = explained()
    arguments = {"X": X, **QUIET, **words}
    with pytest.raises(InputError, match=message):
        explanation.evaluate(pg.Model(linear, task="regression"), **arguments)


def test_what_the_explanation_cannot_tell_is_asked_for():
    with pytest.raises(
        InputError, match=r"a background of 3 rows. Pass the same background="
    ):
        explained(background=X[:3]).evaluate(linear, X, **QUIET)
    y = linear(X)
    of_loss = pg.explain(pg.Model(linear, task="regression"), X, y, **QUIET)
    with pytest.raises(InputError, match=r"measures the loss and needs y"):
        of_loss.evaluate(linear, X, **QUIET)
    with pytest.raises(InputError, match="infidelity needs a local explanation"):
        of_loss.evaluate(
            pg.Model(linear, task="regression"), X, y, metrics="infidelity", **QUIET
        )
    net, inputs = fusion()
    mask = np.arange(36).reshape(6, 6) // 9
    explanation = pg.explain(
        pg.Model(net, segments={"image": mask}), inputs, method="gradient", **QUIET
    )
    with pytest.raises(
        InputError,
        match=r"has other features, rows or outputs\. Pass the model as it was "
        r"explained",
    ):
        explanation.evaluate(net, inputs, metrics="sensitivity", **QUIET)
    assert list(explanation.evaluate(net, inputs, n_repeats=2, **QUIET).left_out) == [
        "sensitivity",
        "randomisation",
    ]
    evaluation = explanation.evaluate(
        pg.Model(net, segments={"image": mask}), inputs, n_repeats=2, **QUIET
    )
    assert not evaluation.left_out
    whole_inputs = {
        "image": inputs["image"].round().astype(int),
        "table": inputs["table"].round().astype(int),
    }
    with pytest.raises(InputError, match="sensitivity needs inputs with real numbers"):
        pg.explain(net, whole_inputs, method="permutation", **QUIET).evaluate(
            net, whole_inputs, metrics="sensitivity", **QUIET
        )


def test_other_rows_and_another_background_are_refused():
    rows = np.random.default_rng(0).normal(size=(60, 3))

    def model(table):
        return table @ [3.0, 1.0, 0.0]

    explain_options = {"background": rows[:20], "random_state": 0, "progress": False}
    explanation = explain_with(
        model, rows[20:40], method="shapley", task="regression", **explain_options
    )
    evaluate_options = {"metrics": "deletion", "random_state": 0, "progress": False}
    assert explanation.evaluate(
        model, rows[20:40], background=rows[:20], **evaluate_options
    ).estimates
    for inputs, background, what in (
        (rows[20:40][::-1], rows[:20], "other rows"),
        (rows[40:], rows[:20], "other rows"),
        (rows[20:40], rows[40:], "another background"),
    ):
        with pytest.raises(pg.InputError, match=f"was made with {what}"):
            explanation.evaluate(
                model, inputs, background=background, **evaluate_options
            )


# ---- rows that depend on each other --------------------------------------------------
# Errors over 50 times are themselves known to about a quarter: on 8 draws they were 1.4
# to 2.2 times as large.
@pytest.mark.parametrize(
    ("argument", "least"), [("row_groups", 1.7), ("row_time", 1.3)]
)
def test_groups_and_times_of_single_rows_are_behind_the_errors(argument, least):
    """Rows of a group are one row repeated, so that errors must be those of the
    groups.
    """
    few = np.random.default_rng(1).normal(size=(50, 4))
    code = np.repeat(np.arange(50.0), 5)
    rows = few[code.astype(int)]
    model = pg.Model(linear, task="regression")
    explanation = explain_with(
        model, rows, method="permutation", scope="local", **QUIET, **{argument: code}
    )
    deletion_line = lines(
        explanation.evaluate(model, rows, metrics="deletion", **QUIET)
    ).loc["deletion"]
    alone = pg.explain(model, rows, method="permutation", scope="local", **QUIET)
    plain = lines(alone.evaluate(model, rows, metrics="deletion", **QUIET)).loc[
        "deletion"
    ]
    assert deletion_line["std_error"] > least * plain["std_error"]
    explanation_with_code = explain_with(
        model, rows, linear(rows), **QUIET, **{argument: code}
    )
    with pytest.raises(
        pg.InputError, match=f"made with {argument}=, which it does not store"
    ):
        explanation_with_code.evaluate(model, rows, linear(rows), **QUIET)


def test_rows_of_a_group_do_not_lend_to_each_other():
    """With all replaced, each row of the ten has the output of the fifty, and the other
    way around.
    """
    code = np.repeat(np.arange(2), [10, 50])
    rows = np.where(code[:, None] == 0, 0.0, [5.0, 1.0, 1.0, 1.0])
    options = {"task": "regression", **QUIET}
    explanation = explain_with(linear, rows, scope="local", row_groups=code, **options)
    evaluation = explanation.evaluate(
        pg.Model(linear, task="regression"), rows, metrics="deletion", **QUIET
    ).estimates["deletion"]
    first, last = linear(rows[[0, -1]])
    assert abs(first - last) > 1
    assert evaluation.curve[1, 0] == pytest.approx((10 * first + 50 * last) / 60)
    assert evaluation.curve[1, -1] == pytest.approx((10 * last + 50 * first) / 60)
