"""Kinds of columns, table, text and photo, as modalities of an estimator."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.subject.encoded import HybridSubject

VOCABULARY = np.array(
    [
        "Alpha",
        "beta",
        "gamma",
        "delta",
        "omega",
        "sigma",
        "kappa",
        "theta",
        "zeta",
        "iota",
    ]
)
FAST = {"preset": "fast", "random_state": 0, "progress": False}
QUIET = {"random_state": 0, "progress": False}
KINDS = ("table", "text", "photo")


def patches(images: torch.Tensor) -> torch.Tensor:
    """Return the mean brightness of the 4 × 4 patches of images."""
    return (
        images.mean(dim=1)
        .unflatten(1, (4, -1))
        .unflatten(3, (4, -1))
        .mean(dim=(2, 4))
        .flatten(1)
    )


def made(seed: int, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows with a number, a word and a patch of an image that have effects."""
    rng = np.random.default_rng(seed)
    note = [
        " ".join(rng.permutation(VOCABULARY)[: rng.integers(3, 7)]) + f", no {row}"
        for row in range(rows)
    ]
    scan = rng.integers(60, 120, (rows, 16, 16)).astype(np.uint8)
    bright = rng.random(rows)
    scan[:, :4, 4:8] = (20 + 200 * bright[:, None, None]).astype(np.uint8)
    table = pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "note": note,
            "z": rng.normal(size=rows),
            "scan": list(scan),
        }
    )
    y = (
        2.0 * table["note"].str.contains("Alpha")
        + table["x"]
        + 3 * bright
        + 0.3 * rng.normal(size=rows)
    )
    return table, y.to_numpy()


@pytest.fixture(name="fitted", scope="module")
def _fitted():
    model = pg.HyNNRegressor(**FAST, image_encoder=patches).fit(*made(0, 400))
    assert {"note", "scan"} == set(model.preprocessor_.scores_.columns)
    return model


def losses_without(model, table, y, donor) -> dict[frozenset, float]:
    """Return the mean loss with each subset of kinds taken from a single row: a slow
    twin of the game.
    """
    kind_columns = {kind: [column_index for column_index, name in enumerate(table.columns) if (name in ("x", "z")) == (kind == "table")
              and (name == "note") == (kind == "text")] for kind in KINDS}  # fmt: skip
    losses = {}
    for size in range(4):
        for present_kinds in combinations(KINDS, size):
            mixed = table.copy()
            for name in (
                table.columns[column_index]
                for kind in present_kinds
                for column_index in kind_columns[kind]
            ):
                mixed[name] = [donor[name].iloc[0]] * len(table)
            losses[frozenset(present_kinds)] = float(
                ((model.predict(mixed) - y) ** 2).mean()
            )
    return losses


def test_features_have_the_kind_of_their_columns(fitted):
    table, y = made(1, 60)
    explanation = pg.explain(fitted, table, y, **QUIET)
    assert dict(zip(explanation.names, explanation.modality, strict=True)) == {
        "x": "table", "note": "text", "z": "table", "scan": "photo",
    }  # fmt: skip
    assert set(explanation.to_frame()["modality"]) == set(KINDS)
    groups = {"both": ["x", "note"]}
    joined = pg.explain(fitted, table, y, groups=groups, method="permutation", **QUIET)
    assert dict(zip(joined.names, joined.modality, strict=True))["both"] == "table+text"
    plain = pg.HyNNRegressor(**FAST, image="always", max_epochs=2).fit(
        table[["x", "z"]], y
    )
    assert set(pg.explain(plain, table[["x", "z"]], y, **QUIET).modality) == {"table"}


def test_the_game_of_kinds_is_the_shapley_value_of_the_loss(fitted):
    table, y = made(2, 80)
    donor = table[79:]
    explanation = pg.explain(
        fitted,
        table[:79],
        y[:79],
        method=pg.methods.PermGrad(order=2),
        groups="modality",
        background=donor,
        n_repeats=2,
        **QUIET,
    )
    loss = losses_without(fitted, table[:79], y[:79], donor)
    gain = {
        present_kinds: value - loss[frozenset()]
        for present_kinds, value in loss.items()
    }
    assert min(gain[frozenset([kind])] for kind in KINDS) > 0.1, "each kind matters"
    assert explanation.names[:3] == KINDS
    for kind_index, kind in enumerate(KINDS):
        first_other, two = (
            frozenset(kind_names)
            for kind_names in combinations([name for name in KINDS if name != kind], 1)
        )
        me = frozenset([kind])
        every = frozenset(KINDS)
        steps = [(gain[me], 2), (gain[me | first_other] - gain[first_other], 1), (gain[me | two] - gain[two], 1),
                 (gain[every] - gain[first_other | two], 2)]  # fmt: skip
        value = sum(step * weight for step, weight in steps) / 6
        entry = explanation.branches[kind]
        assert explanation.values[kind_index, 0] == pytest.approx(value, rel=1e-3)
        assert (entry["importance"], entry["alone"], entry["last"]) == pytest.approx(
            (value, gain[me], gain[every] - gain[first_other | two]), rel=1e-3
        )
        assert entry["share"] == pytest.approx(value / gain[every], rel=1e-3)
    assert sum(explanation.branches[kind]["share"] for kind in KINDS) == pytest.approx(
        1
    )
    pairs = dict(zip(explanation.names[3:], explanation.values[3:, 0], strict=True))
    joint_gain = (
        gain[frozenset(("table", "text"))]
        - gain[frozenset(("table",))]
        - gain[frozenset(("text",))]
    )
    assert pairs["table × text"] == pytest.approx(joint_gain, abs=2e-3)
    assert len(pairs) == 3


@pytest.mark.parametrize("method", ["permutation", "ablation", "shapley"])
def test_every_game_takes_kinds(fitted, method):
    table, y = made(3, 60)
    explanation = pg.explain(
        fitted, table, y, method=method, groups="modality", scope="global", **QUIET
    )
    assert explanation.names == explanation.modality == KINDS
    assert (explanation.values > 0.05).all()


def test_kinds_have_the_sums_of_their_features_in_the_tree_of_kinds(fitted):
    table, _ = made(3, 30)
    options = {"method": "shapley", "background": table[29:], **QUIET}
    kinds = explain_with(fitted, table[:2], groups="modality", **options)
    sums = explain_with(fitted, table[:2], blocks="modality", **options).by_modality()
    order = [sums.names.index(kind) for kind in kinds.names]
    assert np.abs(kinds.values).min() > 0.01
    np.testing.assert_allclose(sums.values[:, order], kinds.values, atol=1e-5)


@pytest.mark.slow
def test_scores_and_rows_take_kinds(fitted):
    table, y = made(4, 80)
    explanation = pg.explain(fitted, table, y, groups="modality", scoring="r2", **QUIET)
    assert explanation.names == KINDS
    assert (explanation.values > 0).all()
    local = pg.explain(fitted, table[:2], groups="modality", scope="local", **QUIET)
    assert local.values.shape == (2, 3, 1)
    assert np.abs(local.values).min() > 0
    assert set(local.parts) == {"alone", "last"}


def test_one_kind_is_played_by_paths_and_conditional_draws_are_refused(fitted):
    table, y = made(5, 120)
    plain = pg.HyNNRegressor(**FAST, image="always", max_epochs=2).fit(
        table[["x", "z"]], y
    )
    explanation = pg.explain(plain, table[["x", "z"]], y, groups="modality", **QUIET)
    assert explanation.names == ("table",)
    assert {"tabular", "image"} <= set(explanation.parts)
    with pytest.raises(
        pg.InputError, match="sampling='conditional' does not take groups='modality'"
    ):
        pg.explain(
            fitted,
            table,
            y,
            method=pg.methods.PermGrad(sampling="conditional"),
            groups="modality",
            **QUIET,
        )


def test_a_typical_text_has_the_median_score(fitted):
    subject = HybridSubject(fitted)
    rows = subject.read(made(6, 51)[0])
    scores = [
        column_index
        for column_index, kind in enumerate(fitted.preprocessor_.kinds_)
        if kind == "score"
    ]
    assert len(scores) == 2
    assert rows[0][:, scores].std(dim=0).min() > 0
    np.testing.assert_allclose(
        subject.typical(rows)[0][0, scores], rows[0][:, scores].median(dim=0).values
    )


@pytest.mark.slow
def test_a_missing_text_or_photo_is_an_empty_cell_and_a_missing_table_another_rows(
    fitted,
):
    table, y = made(7, 250)
    missing_result = pg.missing_modalities(fitted, table, y, **QUIET)
    frame = missing_result.to_frame().set_index("present")
    empty = {
        "table + text + photo": [],
        "table + photo": ["note"],
        "table + text": ["scan"],
        "table": ["note", "scan"],
    }
    for present, names in empty.items():
        losses = (fitted.predict(table.assign(**dict.fromkeys(names))) - y) ** 2
        assert frame.loc[present, "loss"] == pytest.approx(losses.mean(), rel=1e-4)
        assert frame.loc[present, "std_error"] == pytest.approx(
            losses.std(ddof=1) / np.sqrt(250), rel=0.05
        )
    losses = {donor: ((fitted.predict(table.assign(x=table["x"][donor], z=table["z"][donor])) - y) ** 2).mean()
              for donor in range(0, 250, 10)}  # fmt: skip
    assert np.ptp(list(losses.values())) > 1
    assert frame.loc["text + photo", "loss"] == pytest.approx(
        np.mean(list(losses.values())), rel=0.25
    )
    assert frame["loss"].idxmin() == "table + text + photo"
    assert frame["loss"].idxmax() == "nothing"


def test_missing_takes_scores_and_groups_and_holds_inputs_of_networks_alone(fitted):
    table, y = made(8, 120)
    frame = (
        pg.missing_modalities(fitted, table, y, scoring="r2", **QUIET)
        .to_frame()
        .set_index("present")
    )
    blank = table.assign(note=None, scan=None)
    assert frame.loc["table", "r2"] == pytest.approx(fitted.score(blank, y), abs=1e-4)
    with pytest.raises(pg.InputError, match="does not take hold="):
        pg.missing_modalities(pg.Model(fitted, hold=("table",)), table, y, **QUIET)
    grouped = pg.missing_modalities(
        fitted, table, y, groups={"words and x": ["note", "x"]}, **QUIET
    )
    assert set(grouped.modalities) == {"words and x", "table", "photo"}
    plain = pg.HyNNRegressor(**FAST, image="always", max_epochs=2).fit(
        table[["x", "z"]], y
    )
    with pytest.raises(pg.InputError, match="'table' is the only one"):
        pg.missing_modalities(plain, table[["x", "z"]], y, **QUIET)
