"""The statistics of refits: who is trained on what, rows and fits told apart, errors,
another training.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from permgrad.attribution.explain_refits import (
    _divided,
    combine,
    draw_design,
    moderated,
)
from permgrad.attribution.explanation import Explanation
from permgrad.pages.summaries import summary
from permgrad.pages.words import training_text, training_words

ROWS = 60
REFITS = 10
NAMES = ("a", "b", "c", "d")


def refits(value, design, rows=None, trained=None, noise=0.0, slope=None, seed=0):
    """Return explanations of refits whose importances are ``value``, a part of each row
    and one of each training.

    ``rows`` and ``trained`` ``(features, rows)``: the effect of a row as a row
    explained, and as a training row.
    """
    value = np.asarray(value, dtype=float)
    rows, trained = (
        np.zeros((len(value), design.rows)) if contributions is None else contributions
        for contributions in (rows, trained)
    )
    rng = np.random.default_rng(seed)
    fits = []
    for trained_rows in design.trained:
        held_rows = np.setdiff1d(np.arange(design.rows), trained_rows)
        moved = trained[:, trained_rows].mean(axis=1) + noise * rng.normal(
            size=len(value)
        )
        moved = (
            moved
            if slope is None
            else moved + slope * (1 / len(trained_rows) - 1 / design.rows)
        )
        values = value + moved + rows[:, held_rows].mean(axis=1)
        scores = rows[:, held_rows] - rows[:, held_rows].mean(axis=1, keepdims=True)
        meta = {
            "confidence": 0.95,
            "loss_scale": 1.0,
            "model_rows": 5,
            "rows_explained": len(held_rows),
        }
        part_values = {
            "tabular": values[:, None] * 0.25,
            "image": values[:, None] * 0.75,
        }
        maps = {"rows": held_rows, "row_scores": scores[None].astype(np.float32)}
        fits.append(
            Explanation(
                values[:, None],
                NAMES[: len(value)],
                ("table",) * len(value),
                ("all",),
                "permutation",
                "global",
                parts=part_values,
                additive=True,
                maps=maps,
                meta=meta,
            )
        )
    return fits


@pytest.mark.parametrize("count", [5, 6, 10, 13])
def test_each_row_is_left_out_of_one_fold_and_half_of_them_of_each_half(count):
    design = draw_design(ROWS, count, 0, None)
    folds = design.trained[: design.folds]
    halves = design.trained[design.folds :]
    assert (len(design.trained), len(halves)) == (count, count // 2)
    left_out = np.concatenate(
        [np.setdiff1d(np.arange(ROWS), trained_rows) for trained_rows in folds]
    )
    assert sorted(left_out) == list(range(ROWS))
    assert {len(half) for half in halves} == {ROWS // 2}
    assert len({tuple(half) for half in halves}) == len(halves)
    assert design.weights.sum() == pytest.approx(1)


def test_classes_are_divided_evenly_and_groups_stay_together():
    classes = np.repeat(["rare", "usual"], [8, 52])
    design = draw_design(ROWS, REFITS, 1, classes)
    counts = [np.sum(classes[fold_rows] == "rare") for fold_rows in design.trained]
    assert counts[design.folds :] == [4] * 5
    assert set(counts[: design.folds]) <= {6, 7}
    groups = np.repeat(np.arange(20), 3)
    for trained_rows in draw_design(ROWS, 5, 1, classes, groups).trained:
        assert not set(groups[trained_rows]) & set(np.delete(groups, trained_rows))


def test_the_design_depends_on_the_seed_alone():
    first_design, same, other_design = (
        draw_design(ROWS, REFITS, seed, None).trained for seed in (3, 3, 4)
    )
    assert all(map(np.array_equal, first_design, same))
    assert not any(map(np.array_equal, first_design, other_design))


def test_rows_and_fits_are_told_apart_as_by_plain_least_squares():
    rng = np.random.default_rng(0)
    design = draw_design(ROWS, REFITS, 0, None)
    fits = refits([1.0, 2.0], design, rng.normal(size=(2, ROWS)), noise=0.5)
    fits = [
        replace(
            fit,
            maps=fit.maps
            | {"row_scores": rng.normal(size=fit.maps["row_scores"].shape)},
        )
        for fit in fits
    ]
    of_rows, of_fits, _ = _divided(fits, design, 0)
    # Slow twin: one column for each row and each fit, one line for each part that was
    # measured.
    lines = []
    targets = []
    for number, fit in enumerate(fits):
        for position, row in enumerate(fit.maps["rows"]):
            line = np.zeros(ROWS + REFITS)
            line[[row, ROWS + number]] = 1
            lines.append(line)
            targets.append(fit.maps["row_scores"][0][:, position] + fit.values[:, 0])
    slow = np.linalg.lstsq(np.array(lines), np.array(targets), rcond=None)[0]
    np.testing.assert_allclose(
        of_fits - of_fits.mean(axis=0),
        slow[ROWS:] - slow[ROWS:].mean(axis=0),
        atol=1e-9,
    )
    np.testing.assert_allclose(
        of_rows.T, slow[:ROWS] - slow[:ROWS].mean(axis=0), atol=1e-9
    )
    assert np.abs(of_fits).max() > 0.1


def test_a_bias_that_is_a_line_in_1_over_n_is_taken_off_and_parts_add_up():
    design = draw_design(ROWS, REFITS, 0, None)
    fits = refits([1.0, 2.0, 0.0], design, slope=-30.0)
    assert fits[-1].values[0, 0] == pytest.approx(0.5)
    explanation = combine(fits, design, 0, {})
    np.testing.assert_allclose(explanation.values[:, 0], [1, 2, 0], atol=1e-12)
    np.testing.assert_allclose(
        explanation.parts["tabular"] + explanation.parts["image"],
        explanation.values,
        atol=1e-12,
    )
    frame = explanation.to_frame()
    assert {"within", "between"} < set(frame)
    assert (explanation.meta["model_rows"], explanation.meta["rows_explained"]) == (
        50,
        ROWS,
    )


@pytest.mark.parametrize("together", [0.0, 1.0])
def test_the_error_is_that_of_measuring_and_of_training_together(together):
    """A row moves the measurement by s and the training by a: the mean over both has
    the variance of (s + a) / n.
    """
    ratio = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        design = draw_design(200, REFITS, seed, None)
        rows, training_parts = rng.normal(size=(2, 4, 200))
        trained = together * rows + (1 - together) * training_parts
        explanation = combine(
            refits([1.0] * 4, design, rows, trained), design, seed, {}
        )
        ratio.append(explanation.std_error[:, 0] ** 2 * 200 / (4 if together else 2))
        np.testing.assert_allclose(
            explanation.part_std["within"][:, 0], np.sqrt(1 / 200), rtol=0.3
        )
    assert np.mean(ratio) == pytest.approx(1, abs=0.25)
    assert np.std(ratio) > 0.01


def test_another_training_is_drawn_from_the_estimated_distribution():
    design = draw_design(ROWS, REFITS, 0, None)
    rows = 0.1 * np.random.default_rng(0).normal(size=(4, ROWS))
    certain = combine(
        refits([4.0, 3.0, 2.0, 1.0], design, rows, noise=0.01), design, 0, {}
    )
    assert certain.meta["another_training"] == {
        "first": 3,
        "shares": {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0},
    }
    words = training_words(certain)
    assert (
        words
        == "In another training a would be among the first three in more than 91 of "
        "100, b in more than 91 and c in more than 91 (by 10 refits)."
    )
    tied = combine(refits([4.0, 3.0, 1.0, 1.0], design, rows, noise=2.0), design, 0, {})
    shares = tied.meta["another_training"]["shares"]
    assert sum(shares.values()) == pytest.approx(3)
    assert 0.3 < shares["d"] < 0.95
    assert f"in {training_text(shares[tied.ranking()[0]], 10)} of 100" in summary(tied)
    assert "10 trainings on parts of 60 rows." in summary(tied)


def test_a_wider_spread_of_trainings_makes_another_training_less_sure():
    design = draw_design(ROWS, REFITS, 0, None)
    shares = [
        combine(refits([4.0, 3.0, 2.0, 1.0], design, noise=noise), design, 0, {}).meta[
            "another_training"
        ]["shares"]["c"]
        for noise in (0.05, 0.5, 2.0)
    ]
    assert shares[0] > shares[1] > shares[2] > 0.3


def test_a_class_that_a_refit_could_not_measure_is_undefined():
    design = draw_design(ROWS, REFITS, 0, None)
    fits = [
        replace(
            fit,
            values=np.hstack([fit.values] * 2),
            outputs=("all", "rare"),
            parts={},
            maps=fit.maps
            | {"row_scores": np.repeat(fit.maps["row_scores"], 2, axis=0)},
        )
        for fit in refits([2.0, 1.0], design, noise=0.3)
    ]
    fits[1].values[:, 1] = np.nan
    explanation = combine(fits, design, 0, {})
    assert np.isfinite(explanation.std_error[:, 0]).all()
    for numbers in (
        explanation.std_error,
        explanation.low,
        explanation.p_values,
        explanation.part_std["between"],
    ):
        assert np.isnan(numbers[:, 1]).all()


def test_variances_are_moderated_as_far_as_features_are_alike():
    rng = np.random.default_rng(0)
    scale = rng.uniform(1, 5, 2000)
    alike = 3 * scale * rng.chisquare(4, 2000) / 4
    moved, freedom = moderated(alike, scale, 4)
    assert freedom == 54  # as many as there can be
    np.testing.assert_allclose(moved / scale, 3, rtol=0.5)
    # Variances that themselves scatter with 6 degrees of freedom: Smyth's model, whose
    # prior is found again.
    apart = scale * (6 / rng.chisquare(6, 2000)) * rng.chisquare(4, 2000) / 4
    moved, freedom = moderated(apart, scale, 4)
    assert freedom == pytest.approx(10, rel=0.2)
    assert np.std(np.log(moved / scale)) < np.std(np.log(apart / scale))
    np.testing.assert_allclose(moderated(apart[:2], scale[:2], 4)[0], apart[:2])


def test_refits_are_stored_with_both_errors(tmp_path):
    design = draw_design(ROWS, REFITS, 0, None)
    explanation = combine(refits([2.0, 1.0], design, noise=0.3), design, 0, {})
    loaded = Explanation.load(explanation.save(tmp_path / "refits"))
    np.testing.assert_array_equal(
        loaded.part_std["between"], explanation.part_std["between"]
    )
    assert training_words(loaded) == training_words(explanation)
    assert "come first" in training_words(loaded)


@pytest.mark.parametrize(
    ("share", "fits", "text"),
    [(1.0, 5, "more than 85"), (0.0, 5, "fewer than 15"), (0.5, 5, "50"), (0.94, 5, "more than 85"),
     (1.0, 100, "more than 99"), (0.94, 100, "94"), (0.0, 100, "fewer than 1")],
)  # fmt: skip
def test_no_statement_is_surer_than_so_many_refits_can_make_it(share, fits, text):
    assert training_text(share, fits) == text
