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
PATCH = 6
PATCHES = 16


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
    scan = rng.integers(60, 120, (rows, 16, 16)).astype(np.uint8)
    bright = rng.random(rows)
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
    call_options = {"background": table[20:], **QUIET}
    method = with_settings("shapley", exact=12)
    parts_explanation = divide(
        Arguments(fitted, table[row : row + 1], **call_options), method
    )
    full_explanation = pg.explain(
        fitted, table[row : row + 1], method=method, **call_options
    )
    assert not parts_explanation.std_error.any(), "all coalitions are enumerated"
    of = np.array(parts_explanation.modality)
    assert set(of) == {"table", "note", "scan"}
    assert [name for name in parts_explanation.names if name.startswith("scan")] == [
        f"scan[{k}]" for k in range(PATCHES)
    ]
    for column_index, column in enumerate(full_explanation.names):
        is_in_column = of == column if column != "x" else of == "table"
        np.testing.assert_allclose(
            parts_explanation.values[0, is_in_column].sum(axis=0),
            full_explanation.values[0, column_index],
            atol=1e-5,
        )
    assert (
        parts_explanation.values[0, parts_explanation.names.index(f"scan[{PATCH}]"), 0]
        == parts_explanation.values[0, of == "scan"].max()
        > 0.5
    )
    assert parts_explanation.groups["scan"] == [f"scan[{k}]" for k in range(PATCHES)]


def test_sampled_parts_add_up_within_their_errors_and_are_drawn(classifier, tmp_path):
    table, _ = made(2, 30)
    for output in ("logit", "probability"):
        parts_explanation = pg.explain_parts(
            classifier, table[3:4], scale=output, **QUIET
        )
        full_explanation = pg.explain(
            classifier, table[3:4], method="shapley", scale=output, **QUIET
        )
        assert parts_explanation.std_error.any()
        of = np.array(parts_explanation.modality)
        np.testing.assert_allclose(
            parts_explanation.values[0].sum(axis=0),
            parts_explanation.predictions[0] - parts_explanation.base_values,
            atol=1e-5,
        )
        for column in ("note", "scan"):
            slack = (
                4
                * np.sqrt(
                    (parts_explanation.std_error[0, of == column] ** 2).sum(axis=0)
                ).max()
            )
            column_sum = parts_explanation.values[0, of == column].sum(axis=0)
            np.testing.assert_allclose(
                column_sum,
                full_explanation.values[0, full_explanation.names.index(column)],
                atol=slack,
            )
    shown = parts_explanation.plot.image(row=0)
    shown.save(tmp_path / "scan.png")
    assert "in row 32, column 64" in shown.description, (
        "the planted patch, of images of 128 pixels"
    )
    assert parts_explanation.maps["images:scan"].shape == (1, 3, 128, 128)
    assert "no" in parts_explanation.plot.text(row=0).html
    parts_explanation.save(tmp_path / "why")
    again = pg.Explanation.load(tmp_path / "why")
    np.testing.assert_array_equal(
        again.maps["segments:scan"], parts_explanation.maps["segments:scan"]
    )


def test_replaced_parts_leave_their_share_to_the_donor(fitted):
    table, _ = made(3, 6)
    row = _Row(fitted, table[:1], table[1:])
    encoder = fitted.preprocessor_
    words = [name for name in row.names if name.startswith("note")]
    numbers = pd.DataFrame(-1.0, index=range(3), columns=row.names)
    numbers.loc[1, [f"scan[{k}]" for k in range(4)]] = 2
    numbers.loc[2, [*words, "x"]] = 4
    kept_mask = np.ones((1, PATCHES), dtype=bool)
    kept_mask[0, :4] = False
    row_values = encoder.transform(table[:1])[0]
    donors = encoder.transform(table[1:])
    expected = np.repeat(row_values[None], 3, axis=0)
    scan, note, x = (encoder.columns_of(name) for name in ("scan", "note", "x"))
    covered = encoder.scores_.of("scan", encoder.images_.covered("scan", encoder.texts_of(
        fitted.encode_rows(table[:1]).table, "scan")[0][0], kept_mask))[0]  # fmt: skip
    expected[1, scan] = covered + donors[2, scan] / 4
    expected[2, [*note, *x]] = donors[4, [*note, *x]]
    assert abs(expected[1, scan] - row_values[scan]).max() > 0.01
    predicted = (
        np.asarray(fitted.predict_encoded(expected)) * fitted.target_scale_
        + fitted.target_mean_
    )
    np.testing.assert_allclose(row(numbers).ravel(), predicted.ravel(), atol=1e-4)


@pytest.mark.slow
def test_a_covered_patch_has_the_mean_colour_and_few_pictures_are_encoded():
    encoded_images = []

    def encoder(images: torch.Tensor) -> torch.Tensor:
        encoded_images.append(images.clone())
        return thumbnail(images)

    table, y = made(4, 200)
    model = pg.HyNNRegressor(**FAST, max_epochs=3, image_encoder=encoder).fit(table, y)
    features: ImageFeatures = model.preprocessor_.images_
    cell = model.preprocessor_.texts_of(model.encode_rows(table[:1]).table, "scan")[0][
        0
    ]
    kept_mask = np.ones((2, PATCHES), dtype=bool)
    kept_mask[1, PATCH] = False
    vectors = features.covered("scan", cell, kept_mask)
    np.testing.assert_allclose(
        vectors[0], features.vectors("scan", [cell])[0], atol=1e-6
    )
    assert np.flatnonzero(np.abs(vectors[0] - vectors[1]) > 1e-6).tolist() == [PATCH]
    assert vectors[1, PATCH] == pytest.approx(vectors[0].mean(), abs=0.01)
    encoded_images.clear()
    pg.explain_parts(model, table[:1], **QUIET)
    pictures = torch.cat(encoded_images).numpy()
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) <= 464
    assert len(pictures) <= 464 + 2 * 32


def test_a_row_without_text_or_image_keeps_its_cells(fitted):
    table, _ = made(5, 20)
    empty = table[:1].assign(note=None, scan=None)
    parts_explanation = pg.explain_parts(fitted, empty, background=table[1:], **QUIET)
    full_explanation = pg.explain(
        fitted, empty, method="shapley", background=table[1:], **QUIET
    )
    assert parts_explanation.names == full_explanation.names == ("x", "note", "scan")
    np.testing.assert_allclose(
        parts_explanation.values, full_explanation.values, atol=1e-5
    )


@pytest.mark.slow
def test_the_planted_place_comes_first(classifier):
    table, _ = made(6, 120)
    effects_frame = place_effects(classifier, table, "scan", rows=60, random_state=0)
    assert effects_frame["output"].unique().tolist() == ["False", "True"]
    assert effects_frame["rows"].unique().tolist() == [60]
    for _, output_effects in effects_frame.groupby("output"):
        assert sorted(output_effects["place"]) == list(range(PATCHES))
        assert (
            output_effects.loc[output_effects["std_error"].idxmax(), "place"] == PATCH
        )
    again = place_effects(classifier, table, "scan", rows=60, random_state=0)
    pd.testing.assert_frame_equal(effects_frame, again)


@pytest.mark.slow
def test_an_effect_is_the_mean_change_of_the_prediction_when_the_patch_is_covered(
    fitted,
):
    table, _ = made(7, 30)
    effects_frame = place_effects(fitted, table, "scan", random_state=0).set_index(
        "place"
    )
    covered = table.copy()
    covered["scan"] = [np.array(scan) for scan in table["scan"]]
    for scan in covered["scan"]:
        scan[4:8, 8:12] = round(float(scan.mean()))
    changes = fitted.predict(table) - fitted.predict(covered)
    assert changes.std() > 0.3
    assert effects_frame.loc[PATCH, "effect"] == pytest.approx(changes.mean(), abs=0.02)
    assert effects_frame.loc[PATCH, "std_error"] == pytest.approx(
        changes.std(ddof=1) / np.sqrt(30), rel=0.05
    )
    groups = np.arange(30) // 3
    grouped = place_effects(
        fitted, table, "scan", row_groups=groups, random_state=0
    ).set_index("place")
    assert grouped.loc[PATCH, "std_error"] != pytest.approx(
        effects_frame.loc[PATCH, "std_error"], rel=1e-3
    )


def test_places_of_other_columns_and_of_no_image_are_refused(fitted):
    table, _ = made(8, 12)
    with pytest.raises(pg.InputError, match="reads no images of 'note'"):
        place_effects(fitted, table, "note")
    with pytest.raises(pg.InputError, match="No row has an image in 'scan'"):
        place_effects(fitted, table.assign(scan=None), "scan")
