"""TINTO: equal to TINTOlib's arrays, and to a slow twin written from the paper."""

from __future__ import annotations

import importlib.util
import itertools
import math
import os
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from permgrad import InputError
from permgrad.imaging import Renderer, StoredLayout, TintoLayout, make_layout
from permgrad.imaging.tinto import square_positions

HERE = Path(__file__).parent
CASES = {
    "plain": {},
    "mean": {"blur": True},
    "maximum": {"blur": True, "option": "maximum"},
    "narrow": {"blur": True, "distance": 1, "steps": 3, "amplification": 1.5},
}


def slow_picture(values, positions, pixels, *, blur=None, option="mean"):
    """One row of 0…1 values, one pixel at a time, in float64."""
    image = np.zeros((pixels, pixels))
    for row in range(pixels):
        for column in range(pixels):
            painted = []
            for value, (r, c) in zip(values, positions, strict=True):
                squared = (row - r) ** 2 + (column - c) ** 2
                if blur is None:
                    if squared == 0:
                        image[row, column] = value  # the later overwrites
                    continue
                amplification, distance, steps = blur
                # The smallest disc that holds the pixel.
                radii = [distance * step for step in range(1, steps + 1)]
                holding = [radius for radius in radii if squared <= radius**2]
                if squared == 0:
                    painted.append(value)
                elif holding:
                    painted.append(
                        value * min(amplification / (math.pi * min(holding) ** 2), 1)
                    )
            if blur is not None and option == "mean":
                image[row, column] = sum(painted) / max(
                    sum(value > 0 for value in painted), 1
                )
            elif blur is not None:
                image[row, column] = max([0.0, *painted])
    return image


def slow_positions(table, pixels):
    """All four placements that agree up to the signs of the two principal axes."""
    spread = np.ptp(table, axis=0)
    points = ((table - table.min(axis=0)) / np.where(spread == 0, 1, spread)).T
    centred = points - points.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    coordinates = vectors[:, [-1, -2]] * np.sqrt(np.maximum(values[[-1, -2]], 0))
    half = math.ceil(max(math.hypot(x, y) for x, y in coordinates))
    found_positions = []
    for signs in itertools.product((1, -1), repeat=2):
        turned = coordinates * signs
        placed = []
        for x, y in turned:
            down = (x + half) / (2 * half) * (pixels - 1)
            along = (half - y) / (2 * half) * (pixels - 1)
            placed.append([round(down), round(along)])
        found_positions.append(placed)
    return found_positions


@pytest.fixture(scope="module")
def reference():
    with np.load(HERE / "reference" / "tinto_reference.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("case", CASES)
def test_pictures_equal_the_stored_arrays_of_tintolib(reference, case):
    train = reference["train"]
    test = reference["test"]
    layout = make_layout("tinto", 12, 0, **CASES[case]).fit(train)
    expected = reference[f"images_{case}"]
    assert np.array_equal(layout.positions, reference[f"positions_{case}"])
    assert layout.collisions >= 3, "precondition: columns share a pixel"
    assert (test < train.min(axis=0)).any(), (
        "precondition: values below the training range"
    )
    assert (test > train.max(axis=0)).any(), "precondition: and above it"
    assert np.ptp(expected) > 0.3, "precondition: a picture with contrast"
    drawn = Renderer(layout, train.min(axis=0), train.max(axis=0))(
        torch.from_numpy(test)
    )
    assert np.abs(drawn[:, 0].numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_pictures_equal_a_slow_twin(case):
    rng = np.random.default_rng(3)
    positions = rng.integers(0, 9, size=(14, 2))
    positions[5] = positions[2]
    positions[6] = positions[2]
    values = rng.normal(0.4, 0.5, size=(4, 14)).round(1)
    assert (values == 0).any(), "precondition: zeros, which a mean does not count"
    assert (values < 0).any(), "precondition: negative values"
    layout = make_layout("tinto", 9, 0, **CASES[case])
    blur = layout.blur and (
        layout.blur.amplification,
        layout.blur.distance,
        layout.blur.steps,
    )
    stored = StoredLayout(positions, 9, layout.overlap, layout.blur)
    drawn = Renderer(stored, np.zeros(14), np.ones(14))(torch.from_numpy(values))[
        :, 0
    ].numpy()
    option = CASES[case].get("option", "mean")
    expected = np.stack(
        [slow_picture(row, positions, 9, blur=blur, option=option) for row in values]
    )
    assert np.ptp(expected) > 0.2, "precondition: a picture with contrast"
    np.testing.assert_allclose(drawn, expected, atol=1e-13)


@pytest.mark.parametrize(("rows", "columns"), [(60, 6), (12, 15), (300, 40)])
def test_positions_equal_a_slow_twin_up_to_signs(rows, columns):
    table = np.random.default_rng(rows).normal(size=(rows, columns))
    placed = TintoLayout(16).fit(table).positions.tolist()
    assert len({tuple(position) for position in placed}) > 3, (
        "precondition: the columns spread"
    )
    assert placed in slow_positions(table, 16)


def test_a_column_drawn_later_overwrites_an_earlier_one():
    layout = StoredLayout([[0, 0], [0, 0], [1, 1]], pixels=2, overlap="last")
    drawn = Renderer(layout, [0, 0, 0], [1, 1, 1])(torch.tensor([[0.25, 0.75, 0.5]]))
    assert drawn[0, 0].tolist() == [[0.75, 0.0], [0.0, 0.5]]


@pytest.mark.parametrize("algorithm", ["PCA", "t-SNE"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (30, 1), (30, 2), (2, 3), (30, 3)])
def test_small_tables_are_placed(algorithm, shape):
    table = np.random.default_rng(0).normal(size=shape)
    layout = TintoLayout(20, algorithm=algorithm).fit(table)
    assert layout.positions.shape == (shape[1], 2)
    assert layout.positions.min() >= 0
    assert layout.positions.max() < 20


def test_columns_all_alike_sit_in_the_middle():
    layout = TintoLayout(21).fit(np.full((10, 4), 3.0))
    assert layout.positions.tolist() == [[10, 10]] * 4
    assert layout.collisions == 4


def test_tsne_is_a_function_of_its_seed():
    table = np.random.default_rng(0).normal(size=(40, 6))
    first, again = (
        TintoLayout(20, algorithm="t-SNE", random_seed=3).fit(table).positions
        for _ in range(2)
    )
    assert np.array_equal(first, again)
    assert len(np.unique(first, axis=0)) > 1, "precondition: not all on one pixel"


@pytest.mark.parametrize(
    ("columns", "times", "perplexity"),
    [
        (3, 0, 2 / 3),
        (3, 2, 11 / 3),
        (50, 0, 49 / 3),
        (25, 1, 49 / 3),
        (51, 0, 50.0),
        (26, 1, 50.0),
    ],
)
def test_tsne_sees_each_column_several_times_and_the_places_are_averaged(
    monkeypatch, columns, times, perplexity
):
    from sklearn import manifold

    seen_options = {}

    class Recorded:
        def __init__(self, **options):
            seen_options.update(options)

        def fit_transform(self, table):
            seen_options["table"] = table
            return np.stack(
                [np.arange(len(table)), np.zeros(len(table))], axis=1
            ).astype(np.float32)

    monkeypatch.setattr(manifold, "TSNE", Recorded)
    table = np.random.default_rng(0).normal(size=(20, columns))
    layout = TintoLayout(20, algorithm="t-SNE", times=times, random_seed=5).fit(table)
    points = ((table - table.min(axis=0)) / np.ptp(table, axis=0)).T
    np.testing.assert_allclose(
        seen_options["table"], np.concatenate([points] * 2**times)
    )
    # TINTOlib's, which t-SNE refuses for fewer points than that: then a third of them.
    assert seen_options["perplexity"] == pytest.approx(perplexity)
    assert (
        seen_options["n_components"],
        seen_options["random_state"],
        seen_options["init"],
    ) == (2, 5, "pca")
    mean = np.stack(
        [np.arange(columns) + columns * (2**times - 1) / 2, np.zeros(columns)], axis=1
    )
    assert np.array_equal(layout.positions, square_positions(mean, 20))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(2, 24),
    st.floats(1e-6, 1e6),
    st.integers(0, 2**31 - 1),
)
def test_positions_stay_inside_and_do_not_depend_on_units(
    rows, columns, pixels, unit, seed
):
    table = np.random.default_rng(seed).normal(size=(rows, columns))
    layout = TintoLayout(pixels).fit(table)
    assert layout.positions.min() >= 0
    assert layout.positions.max() < pixels
    assert not layout.grown
    if rows > 3 and columns > 3:  # fewer have a second axis of rounding noise
        scaled = TintoLayout(pixels).fit(table * 2.0 ** round(math.log2(unit)))
        assert np.array_equal(layout.positions, scaled.positions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"algorithm": "UMAP"},
            "algorithm must be one of 'PCA', 't-SNE', got 'UMAP'.",
        ),
        (
            {"option": "max", "blur": True},
            "No option 'max'. Did you mean 'maximum'?",
        ),
        (
            {"blur": True, "steps": 0},
            (
                "steps must be an integer of at least 1, got 0. Pass blur=False for "
                "pictures without a blur."
            ),
        ),
        (
            {"blur": True, "amplification": 0},
            (
                "amplification must be a finite number above 0, got 0. Pass blur=False "
                "for pictures without a blur."
            ),
        ),
        (
            {"times": 11},
            (
                "times must be an integer from 0 to 10, got 11. Each one doubles "
                "t-SNE's table: pass for example times=4."
            ),
        ),
        (
            {"times": -1},
            (
                "times must be an integer from 0 to 10, got -1. Each one doubles "
                "t-SNE's table: pass for example times=4."
            ),
        ),
        (
            {"blurr": True},
            "Layout 'tinto' has no option 'blurr'. Did you mean 'blur'?",
        ),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError) as caught:
        make_layout("tinto", 20, 0, **options)
    assert caught.value.message == message


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("TINTOlib") is None, reason="TINTOlib is not installed"
)
@pytest.mark.skipif(
    "PERMGRAD_DATA" not in os.environ,
    reason="PERMGRAD_DATA does not name the folder of real data",
)
@pytest.mark.parametrize(
    "name", ["heloc", "dengue", "covertype", "gas", "puma", "bank"]
)
@pytest.mark.parametrize("blur", ["none", "mean", "maximum"])
def test_pictures_equal_tintolib_on_real_data(name, blur):
    benchmark = runpy.run_path(
        str(HERE.parents[1] / "benchmarks" / "speed" / "imaging_speed.py"),
        run_name="benchmark",
    )
    measured_facts = benchmark["measure"](
        Path(os.environ["PERMGRAD_DATA"]), name, blur, rows=20, repeats=1
    )
    assert measured_facts["difference"] <= 1e-6
    assert measured_facts["difference_float32"] <= 1e-6
