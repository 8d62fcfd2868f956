"""Words and patches of one row, and what the places of images do on average."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import with_settings

import permgrad as pg
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.wide import _Row, divide, place_effects
from permgrad.models.images import ImageFeatures

VOCABULARY = np.array(["Alpha", "beta", "gamma", "delta", "omega", "sigma"])
FAST = {
    "preset": "fast",
    "random_state": 0,
    "progress": False,
    "branches": ("tabular",),
}
QUIET = {"random_state": 0, "progress": False}
#: The patch of a scan, and the word of a note, that have an effect.
PATCH, PATCHES = 6, 16


def thumbnail(images: torch.Tensor) -> torch.Tensor:
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
        " ".join(rng.permutation(VOCABULARY)[: rng.integers(2, 5)]) + f", no {row}"
        for row in range(rows)
    ]
    scan, bright = (
        rng.integers(60, 120, (rows, 16, 16)).astype(np.uint8),
        rng.random(rows),
    )
    scan[:, 4:8, 8:12] = (20 + 230 * bright[:, None, None]).astype(np.uint8)
    table = pd.DataFrame({"x": rng.normal(size=rows), "note": note, "scan": list(scan)})
    y = (
        2.0 * table["note"].str.contains("Alpha")
        + table["x"]
        + 3 * bright
        + 0.3 * rng.normal(size=rows)
    )
    return table, y.to_numpy()


@pytest.fixture(name="fitted", scope="module")
def _fitted():
    model = pg.HyNNRegressor(**FAST, image_encoder=thumbnail).fit(*made(0, 400))
    assert {"note", "scan"} == set(model.preprocessor_.scores_.columns)
    return model


@pytest.fixture(name="classifier", scope="module")
def _classifier():
    table, score = made(0, 400)
    return pg.HyNNClassifier(**FAST, image_encoder=thumbnail).fit(
        table, score > np.median(score)
    )


def test_parts_of_a_row_add_up_to_its_columns(fitted):
    table, _ = made(1, 40)
    bright = np.array([scan[4, 8] for scan in table["scan"]])
    row = int(np.argmax(bright))
    asked, method = (
        {"background": table[20:], **QUIET},
        with_settings("shapley", exact=12),
    )
    parts = divide(Arguments(fitted, table[row : row + 1], **asked), method)
    whole = pg.explain(fitted, table[row : row + 1], method=method, **asked)
    assert not parts.std_error.any(), "all coalitions are enumerated"
    of = np.array(parts.modality)
    assert set(of) == {"table", "note", "scan"}
    assert [name for name in parts.names if name.startswith("scan")] == [
        f"scan[{k}]" for k in range(PATCHES)
    ]
    for place, column in enumerate(whole.names):
        own = of == column if column != "x" else of == "table"
        np.testing.assert_allclose(
            parts.values[0, own].sum(axis=0), whole.values[0, place], atol=1e-5
        )
    assert (
        parts.values[0, parts.names.index(f"scan[{PATCH}]"), 0]
        == parts.values[0, of == "scan"].max()
        > 0.5
    )
    assert parts.groups["scan"] == [f"scan[{k}]" for k in range(PATCHES)]


def test_sampled_parts_add_up_within_their_errors_and_are_drawn(classifier, tmp_path):
    table, _ = made(2, 30)
    for output in ("logit", "probability"):
        parts = pg.explain_parts(classifier, table[3:4], scale=output, **QUIET)
        whole = pg.explain(
            classifier, table[3:4], method="shapley", scale=output, **QUIET
        )
        assert parts.std_error.any()
        of = np.array(parts.modality)
        np.testing.assert_allclose(
            parts.values[0].sum(axis=0),
            parts.predictions[0] - parts.base_values,
            atol=1e-5,
        )
        for column in ("note", "scan"):
            slack = (
                4 * np.sqrt((parts.std_error[0, of == column] ** 2).sum(axis=0)).max()
            )
            found = parts.values[0, of == column].sum(axis=0)
            np.testing.assert_allclose(
                found, whole.values[0, whole.names.index(column)], atol=slack
            )
    shown = parts.plot.image(row=0)
    shown.save(tmp_path / "scan.png")
    assert "in row 32, column 64" in shown.description, (
        "the planted patch, of images of 128 pixels"
    )
    assert parts.maps["images:scan"].shape == (1, 3, 128, 128)
    assert "no" in parts.plot.text(row=0).html
    parts.save(tmp_path / "why")
    again = pg.Explanation.load(tmp_path / "why")
    np.testing.assert_array_equal(
        again.maps["segments:scan"], parts.maps["segments:scan"]
    )


def test_replaced_parts_leave_their_share_to_the_donor(fitted):
    table, _ = made(3, 6)
    row, encoder = _Row(fitted, table[:1], table[1:]), fitted.preprocessor_
    words = [name for name in row.names if name.startswith("note")]
    numbers = pd.DataFrame(-1.0, index=range(3), columns=row.names)
    numbers.loc[1, [f"scan[{k}]" for k in range(4)]] = 2
    numbers.loc[2, [*words, "x"]] = 4
    kept = np.ones((1, PATCHES), dtype=bool)
    kept[0, :4] = False
    own, donors = encoder.transform(table[:1])[0], encoder.transform(table[1:])
    expected = np.repeat(own[None], 3, axis=0)
    scan, note, x = (encoder.columns_of(name) for name in ("scan", "note", "x"))
    covered = encoder.scores_.of("scan", encoder.images_.covered("scan", encoder.texts_of(
        fitted.encode_rows(table[:1]).table, "scan")[0][0], kept))[0]  # fmt: skip
    expected[1, scan] = covered + donors[2, scan] / 4
    expected[2, [*note, *x]] = donors[4, [*note, *x]]
    assert abs(expected[1, scan] - own[scan]).max() > 0.01
    predicted = (
        np.asarray(fitted.predict_encoded(expected)) * fitted.target_scale_
        + fitted.target_mean_
    )
    np.testing.assert_allclose(row(numbers).ravel(), predicted.ravel(), atol=1e-4)


@pytest.mark.slow
def test_a_covered_patch_has_the_mean_colour_and_few_pictures_are_encoded():
    seen = []

    def encoder(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.clone())
        return thumbnail(images)

    table, y = made(4, 200)
    model = pg.HyNNRegressor(**FAST, max_epochs=3, image_encoder=encoder).fit(table, y)
    features: ImageFeatures = model.preprocessor_.images_
    cell = model.preprocessor_.texts_of(model.encode_rows(table[:1]).table, "scan")[0][
        0
    ]
    kept = np.ones((2, PATCHES), dtype=bool)
    kept[1, PATCH] = False
    vectors = features.covered("scan", cell, kept)
    np.testing.assert_allclose(
        vectors[0], features.vectors("scan", [cell])[0], atol=1e-6
    )
    assert np.flatnonzero(np.abs(vectors[0] - vectors[1]) > 1e-6).tolist() == [PATCH]
    assert vectors[1, PATCH] == pytest.approx(vectors[0].mean(), abs=0.01)
    seen.clear()
    pg.explain_parts(model, table[:1], **QUIET)
    pictures = torch.cat(seen).numpy()
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) <= 464
    assert len(pictures) <= 464 + 2 * 32


def test_a_row_without_text_or_image_keeps_its_cells(fitted):
    table, _ = made(5, 20)
    empty = table[:1].assign(note=None, scan=None)
    parts = pg.explain_parts(fitted, empty, background=table[1:], **QUIET)
    whole = pg.explain(fitted, empty, method="shapley", background=table[1:], **QUIET)
    assert parts.names == whole.names == ("x", "note", "scan")
    np.testing.assert_allclose(parts.values, whole.values, atol=1e-5)


def test_the_planted_place_comes_first(classifier):
    table, _ = made(6, 120)
    found = place_effects(classifier, table, "scan", rows=60, random_state=0)
    assert found["output"].unique().tolist() == ["False", "True"]
    assert found["rows"].unique().tolist() == [60]
    for _, some in found.groupby("output"):
        assert sorted(some["place"]) == list(range(PATCHES))
        assert some.loc[some["std_error"].idxmax(), "place"] == PATCH
    again = place_effects(classifier, table, "scan", rows=60, random_state=0)
    pd.testing.assert_frame_equal(found, again)


def test_an_effect_is_the_mean_change_of_the_prediction_when_the_patch_is_covered(
    fitted,
):
    table, _ = made(7, 30)
    found = place_effects(fitted, table, "scan", random_state=0).set_index("place")
    covered = table.copy()
    covered["scan"] = [np.array(scan) for scan in table["scan"]]
    for scan in covered["scan"]:
        scan[4:8, 8:12] = round(float(scan.mean()))
    changes = fitted.predict(table) - fitted.predict(covered)
    assert changes.std() > 0.3
    assert found.loc[PATCH, "effect"] == pytest.approx(changes.mean(), abs=0.02)
    assert found.loc[PATCH, "std_error"] == pytest.approx(
        changes.std(ddof=1) / np.sqrt(30), rel=0.05
    )
    groups = np.arange(30) // 3
    grouped = place_effects(
        fitted, table, "scan", row_groups=groups, random_state=0
    ).set_index("place")
    assert grouped.loc[PATCH, "std_error"] != pytest.approx(
        found.loc[PATCH, "std_error"], rel=1e-3
    )


def test_places_of_other_columns_and_of_no_image_are_refused(fitted):
    table, _ = made(8, 12)
    with pytest.raises(pg.InputError, match="reads no images of 'note'"):
        place_effects(fitted, table, "note")
    with pytest.raises(pg.InputError, match="No row has an image in 'scan'"):
        place_effects(fitted, table.assign(scan=None), "scan")
