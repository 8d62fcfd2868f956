"""Missing modalities: a slow loop over pairs, closed forms, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import donor_rows
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import roc_auc_score

import permgrad as pg
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.replace.moments import PairMoments
from permgrad.base.errors import InputError

QUIET = {"progress": False, "random_state": 3}
SIZES = {"image": 4, "table": 3, "mask": 2}


class Net(torch.nn.Module):
    """Three inputs that interact."""

    def __init__(self, outputs=2):
        super().__init__()
        torch.manual_seed(1)
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(size, outputs) for size in SIZES.values()
        )
        self.double()

    def forward(self, image, table, mask):
        a, b, c = (
            layer(rows)
            for layer, rows in zip(self.layers, (image, table, mask), strict=True)
        )
        return a + b + c + a * b


def case(rows=80, outputs=2):
    rng = np.random.default_rng(0)
    inputs = {name: rng.normal(size=(rows, size)) for name, size in SIZES.items()}
    net = Net(outputs)
    outputs = answers(net, inputs)
    y = (outputs[:, -1] - outputs[:, 0] + rng.normal(size=rows) > 0).astype(int)
    return net, inputs, y


def answers(net, inputs):
    with torch.no_grad():
        return net(
            **{name: torch.as_tensor(rows) for name, rows in inputs.items()}
        ).numpy()


def losses(net, inputs, y):
    outputs = answers(net, inputs)
    return np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(len(y)), y]


def edited(inputs, donors, absent, lenders=None):
    return {
        name: (lenders or inputs)[name][donors] if name in absent else rows
        for name, rows in inputs.items()
    }


@pytest.mark.parametrize(
    "own", [True, False], ids=["own background", "given background"]
)
def test_every_subset_is_the_loss_of_a_loop_over_pairs(own):
    net, inputs, y = case()
    lenders = inputs if own else {name: rows[:30] + 1 for name, rows in inputs.items()}
    result = pg.missing_modalities(
        net, inputs, y, n_repeats=3, background=None if own else lenders, **QUIET
    )
    frame = result.to_frame()
    assert list(frame.columns) == ["present", "loss", "std_error", "ci_low", "ci_high"]
    assert len(frame) == 8
    assert frame["present"].tolist()[0] == "image + table + mask"
    assert frame["present"].tolist()[-1] == "nothing"
    by_name = frame.set_index("present")
    rows = np.arange(len(y))
    for size, present in (
        (k, subset) for k in range(3) for subset in itertools.combinations(SIZES, k)
    ):
        moments = PairMoments(len(y), len(lenders["image"]), own, 1, 1)
        for repeat in range(3):
            donors = donor_rows(
                3, "modalities", repeat, rows, len(lenders["image"]), shared=own
            )
            changed = edited(inputs, donors, set(SIZES) - set(present), lenders)
            moments.add(rows, donors, losses(net, changed, y)[:, None])
        mean, std, count = moments.estimate()
        line = by_name.loc[" + ".join(present) or "nothing"]
        assert size < 3
        np.testing.assert_allclose(line.to_numpy()[:2], [mean[0], std[0]], rtol=1e-9)
        low, high, _ = interval(mean, std, count, 0.95)
        np.testing.assert_allclose(line.to_numpy()[2:], [low[0], high[0]], rtol=1e-9)
    full_losses = losses(net, inputs, y)
    assert by_name.iloc[0]["loss"] == pytest.approx(full_losses.mean(), rel=1e-9)
    assert by_name.iloc[0]["std_error"] == pytest.approx(
        full_losses.std(ddof=1) / np.sqrt(len(y)), rel=1e-9
    )
    assert by_name["loss"].nunique() == 8  # the modalities matter, and interact


def test_effects_are_those_of_the_modality_game():
    net, inputs, y = case(rows=250)
    result = (
        pg.missing_modalities(net, inputs, y, **QUIET)
        .to_frame()
        .set_index("present")["loss"]
    )
    game = pg.explain(net, inputs, y, groups="modality", n_repeats=10, **QUIET)
    alone = dict(zip(game.names, game.parts["alone"][:, 0], strict=True))
    assert result["table + mask"] - result["image + table + mask"] == pytest.approx(
        alone["image"], rel=1e-9
    )
    total = result["nothing"] - result["image + table + mask"]
    assert game.values[:, 0].sum() == pytest.approx(total, rel=1e-9)
    assert total > 0.1


def test_squared_error_of_a_sum_has_a_closed_form():
    """f = y = a + b: without a the loss is the mean of (a_d − a_i)² over pairs, 2
    Var(a).
    """
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4000, 2)) * [2.0, 1.0]
    groups = {"a": ["x0"], "b": ["x1"]}
    result = pg.missing_modalities(
        pg.Model(lambda t: t.sum(axis=1), task="regression"),
        X,
        X.sum(axis=1),
        groups=groups,
        **QUIET,
    )
    frame = result.to_frame().set_index("present")
    for name, expected in {"a + b": 0.0, "b": 8.0, "a": 2.0, "nothing": 10.0}.items():
        line = frame.loc[name]
        assert line["ci_low"] - 1e-12 <= expected <= line["ci_high"] + 1e-12
    assert frame.loc["nothing", "std_error"] < 0.5


@pytest.mark.slow
def test_scores_stand_behind_with_their_intervals():
    net, inputs, y = case(rows=200)
    result = pg.missing_modalities(
        net, inputs, y, scoring=["roc_auc", "accuracy"], n_repeats=2, **QUIET
    )
    frame = result.to_frame().set_index("present")
    assert list(frame.columns[4:8]) == [
        "roc_auc",
        "roc_auc_std_error",
        "roc_auc_ci_low",
        "roc_auc_ci_high",
    ]
    plain = (
        pg.missing_modalities(net, inputs, y, n_repeats=2, **QUIET)
        .to_frame()
        .set_index("present")
    )
    np.testing.assert_allclose(
        frame[["loss", "std_error"]], plain[["loss", "std_error"]], rtol=1e-12
    )
    rows = np.arange(len(y))
    draws = [
        donor_rows(3, "modalities", repeat, rows, len(y), shared=True)
        for repeat in range(2)
    ]
    outputs = np.concatenate(
        [answers(net, edited(inputs, donors, {"image"})) for donors in draws]
    )
    expected = roc_auc_score(np.tile(y, 2), outputs[:, 1] - outputs[:, 0])
    assert frame.loc["table + mask", "roc_auc"] == pytest.approx(expected, rel=1e-9)
    full_outputs = answers(net, inputs)
    assert frame.iloc[0]["roc_auc"] == pytest.approx(
        roc_auc_score(y, full_outputs[:, 1] - full_outputs[:, 0]), rel=1e-9
    )
    assert frame.iloc[0]["roc_auc"] > 0.8 > frame.iloc[-1]["roc_auc"]
    assert (frame["roc_auc_ci_low"] < frame["roc_auc"]).all()


@pytest.mark.slow
def test_intervals_of_the_loss_hold():
    """Coverage of the loss without one modality over 100 samples; its truth is E (a −
    a')² + 1 = 3.
    """
    covered_count = 0
    samples = 100
    for sample in range(samples):
        rng = np.random.default_rng(sample)
        X = rng.normal(size=(60, 2))
        y = X.sum(axis=1) + rng.normal(size=60)
        frame = pg.missing_modalities(
            pg.Model(lambda t: t.sum(axis=1), task="regression"),
            X,
            y,
            groups={"a": ["x0"], "b": ["x1"]},
            n_repeats=4,
            random_state=sample,
            progress=False,
        ).to_frame()
        line = frame.set_index("present").loc["b"]
        covered_count += line["ci_low"] <= 3.0 <= line["ci_high"]
    assert 0.88 <= covered_count / samples <= 0.99


def test_what_is_held_stays_with_its_row():
    net, inputs, y = case()
    every = (
        pg.missing_modalities(net, inputs, y, **QUIET)
        .to_frame()
        .set_index("present")["loss"]
    )
    result = pg.missing_modalities(pg.Model(net, hold=("mask",)), inputs, y, **QUIET)
    assert result.modalities == ("image", "table")
    assert result.meta["held"] == ["mask"]
    held_losses = result.to_frame().set_index("present")["loss"]
    assert held_losses["image"] == pytest.approx(every["image + mask"], rel=1e-12)
    assert held_losses["nothing"] == pytest.approx(every["mask"], rel=1e-12)
    assert result.summary().splitlines()[:3] == [
        "The log loss with only some modalities present.",
        "Always present: mask.",
        "80 rows. Intervals: 95 %.",
    ]
    scored = pg.missing_modalities(
        pg.Model(net, hold=("mask",)), inputs, y, scoring="accuracy", **QUIET
    )
    assert scored.summary("accuracy", top_n=1).endswith("and 3 more")
    with pytest.raises(InputError, match="measure must be one of 'loss', 'accuracy'"):
        scored.summary("f1")


def test_groups_join_inputs_and_leave_other_columns_together():
    net, inputs, y = case()
    every = (
        pg.missing_modalities(net, inputs, y, **QUIET)
        .to_frame()
        .set_index("present")["loss"]
    )
    joined = pg.missing_modalities(
        net, inputs, y, groups={"both": ["image", "mask"]}, **QUIET
    ).to_frame()
    assert joined["present"].tolist() == ["both + table", "both", "table", "nothing"]
    assert joined["loss"][2] == pytest.approx(every["table"], rel=1e-12)
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(90, 4)), columns=list("abcd")
    )
    target = X["a"] * 2 + X["b"] * X["c"]
    forest = RandomForestRegressor(10, random_state=0).fit(X, target)
    result = pg.missing_modalities(
        forest, X, target, groups={"first": ["a"]}, scoring="r2", **QUIET
    )
    assert result.modalities == ("first", "table")
    assert result.to_frame()["r2"][0] == pytest.approx(
        forest.score(X, target), rel=1e-9
    )


def test_a_hybrid_network_takes_groups_in_both_of_its_paths(tmp_path):
    X = pd.DataFrame(
        np.random.default_rng(0).normal(size=(120, 3)), columns=list("abc")
    )
    y = X["a"] * 2 + X["b"]
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=2, random_state=0, progress=False
    ).fit(X, y)
    result = pg.missing_modalities(
        model,
        X,
        y,
        groups={"first": ["a"], "others": ["b", "c"]},
        background=X,
        **QUIET,
    )
    frame = result.to_frame().set_index("present")
    rows = np.arange(len(X))
    changed = []
    for repeat in range(10):
        donors = donor_rows(3, "modalities", repeat, rows, len(X), shared=True)
        table = X.copy()
        table["a"] = X["a"].to_numpy()[donors]
        changed.append((model.predict(table) - y) ** 2)
    assert frame.loc["others", "loss"] == pytest.approx(np.mean(changed), rel=1e-5)
    figure = result.plot()
    assert "first + others" in figure.description
    assert figure.save(tmp_path / "missing.png").stat().st_size > 1000


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_batch_and_repeat():
    net, inputs, y = case()
    first = pg.missing_modalities(
        net, inputs, y, scoring="accuracy", **QUIET
    ).to_frame()
    pd.testing.assert_frame_equal(
        first,
        pg.missing_modalities(net, inputs, y, scoring="accuracy", **QUIET).to_frame(),
    )
    batched_frame = pg.missing_modalities(
        pg.Model(net, batch_size=7), inputs, y, scoring="accuracy", **QUIET
    ).to_frame()
    pd.testing.assert_frame_equal(first, batched_frame, rtol=1e-9)
    different = pg.missing_modalities(
        net, inputs, y, random_state=4, progress=False
    ).to_frame()
    assert (different["loss"][1:] != first["loss"][1:]).all()


def test_the_plot_draws_the_best_on_top_and_scores_too():
    net, inputs, y = case()
    result = pg.missing_modalities(net, inputs, y, scoring="accuracy", **QUIET)
    axes = result.plot().axes[0]
    drawn = axes.lines[-1].get_xdata()
    assert (np.diff(drawn) >= 0).all()
    assert (np.diff(result.plot("accuracy").axes[0].lines[-1].get_xdata()) <= 0).all()
    assert len(result.plot(top_n=3).axes[0].get_yticks()) == 3
    with pytest.raises(InputError, match="measure must be one of 'loss', 'accuracy'"):
        result.plot("auc")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"hold": "audio"}, "input in hold must be one of"),
        ({"hold": ("mask", "table")}, "'image' is the only one"),
        ({"groups": {"table": ["image"]}}, "Group 'table' has the name of an input"),
        ({"scoring": "acuracy"}, "scoring must be one of|Did you mean"),
        ({"y": None}, "missing_modalities needs y to measure the loss"),
        ({"n_repeats": 0}, "n_repeats must be an integer"),
    ],
    ids=lambda value: "",
)
def test_bad_arguments_are_refused(words, message):
    net, inputs, y = case(rows=20)
    call_options = {"y": y, "progress": False, **words}
    with pytest.raises(InputError, match=message):
        pg.missing_modalities(
            pg.Model(net, hold=call_options.pop("hold", ())), inputs, **call_options
        )


def test_one_modality_and_too_many_are_refused_with_the_remedy():
    X = np.random.default_rng(0).normal(size=(50, 14))
    first = pg.Model(lambda t: t[:, 0], task="regression")
    options = {"progress": False}
    with pytest.raises(InputError, match=r"'table' is the only one. Pass groups="):
        pg.missing_modalities(first, X, X[:, 0], **options)
    groups = {f"g{feature_index}": [f"x{feature_index}"] for feature_index in range(14)}
    with pytest.raises(
        InputError, match=r"at most 12 modalities, got 14. Join some with groups="
    ):
        pg.missing_modalities(first, X, X[:, 0], groups=groups, **options)
    with pytest.raises(
        InputError, match="does not take hold="
    ):  # of a table there are no inputs to hold
        pg.missing_modalities(
            replace(first, hold=list(groups)[4:]), X, X[:, 0], groups=groups, **options
        )


def test_nothing_of_the_network_changes():
    net, inputs, y = case()
    net.train()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    before = {name: rows.copy() for name, rows in inputs.items()}
    state = torch.get_rng_state()
    pg.missing_modalities(net, inputs, y, scoring="accuracy", **QUIET)
    assert net.training
    assert all(
        torch.equal(weights[name], value) for name, value in net.state_dict().items()
    )
    assert all(np.array_equal(before[name], rows) for name, rows in inputs.items())
    assert torch.equal(state, torch.get_rng_state())


# ---- what modalities tell alone and together is asked of the loss --------------------
def test_what_modalities_tell_only_together_is_asked_of_the_loss():
    rng = np.random.default_rng(3)
    X = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    y = (X["a"] + X["b"]).to_numpy() + 0.2 * rng.normal(size=400)
    groups = {"A": ["a"], "B": ["b", "c"]}
    add = lambda table: (table["a"] + table["b"]).to_numpy()  # noqa: E731
    effects_frame = pg.explain(
        pg.Model(add, task="regression"),
        X,
        y,
        method=pg.methods.PermGrad(order=2),
        groups=groups,
        **QUIET,
    ).to_frame()
    pair = effects_frame.set_index("feature").loc["A × B"]
    assert pair["ci_low"] < 0 < pair["ci_high"], "a sum has no interaction"
    assert (effects_frame["ci_low"][:2] > 1).all()
    product = lambda table: (table["a"] * table["b"]).to_numpy()  # noqa: E731
    effects_frame = pg.explain(
        pg.Model(product, task="regression"),
        X,
        product(X),
        method=pg.methods.PermGrad(order=2),
        groups=groups,
        **QUIET,
    ).to_frame()
    assert effects_frame.set_index("feature").loc["A × B", "ci_high"] < 0, (
        "each of them needs the other"
    )


def test_the_call_to_make_for_networks_has_effects_alone_and_last():
    class Two(torch.nn.Module):
        def forward(self, image: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
            return (image.mean(dim=(1, 2, 3)) * 4 + table[:, 0])[:, None]

    inputs = {"image": torch.randn(300, 1, 4, 4), "table": torch.randn(300, 2)}
    y = Two()(**inputs)[:, 0].numpy()
    explanation = pg.explain(
        pg.Model(Two(), task="regression"),
        inputs,
        y,
        method=pg.methods.PermGrad(order=2),
        groups="modality",
        **QUIET,
    )
    assert explanation.names == ("image", "table", "image × table")
    assert np.isfinite(explanation.parts["alone"][:2]).all()
    assert np.isfinite(explanation.parts["last"][:2]).all()
    assert explanation.low[2, 0] < 0 < explanation.high[2, 0], (
        "a sum of independent inputs"
    )
