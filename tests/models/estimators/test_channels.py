"""Networks of columns with channels: found by their names, fitted, explained, drawn,
saved and reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.models.estimators.order import find_order

_LENGTH = 24
_FEW: dict[str, Any] = {"max_epochs": 2, "random_state": 0, "progress": False}
_NETWORK: dict[str, Any] = {"conv_filters": (6, 8), "random_kernels": 60}


def _axes(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return three curves of each row with bumps, and whether at the one place of two
    curves they have one sign.

    Each of the two has bumps elsewhere, too, so that no sum of curves tells: only the
    product at one place does.
    """
    rng = np.random.default_rng(seed)
    time_steps = np.arange(_LENGTH)
    alike = rng.integers(0, 2, rows)
    bump_centres = np.argsort(rng.random((rows, _LENGTH // 4)), axis=1)[:, :3] * 4 + 2
    bumps = np.exp(-((time_steps - bump_centres[..., None]) ** 2)) * rng.choice(
        [-2.0, 2.0], (rows, 3, 1)
    )
    shared_bumps = 2.0 * bumps[:, 0]
    curves = (
        rng.normal(size=(3, rows, _LENGTH)) * 0.2
        + np.cumsum(rng.normal(size=(3, rows, _LENGTH)), axis=2) * 0.1
    )
    curves[0] += shared_bumps + bumps[:, 1]
    curves[1] += shared_bumps * (2 * alike[:, None] - 1) + bumps[:, 2]
    names = [f"acc_{axis}_t{step:02d}" for axis in "xyz" for step in time_steps]
    return pd.DataFrame(np.concatenate(list(curves), axis=1), columns=names), alike


@pytest.mark.slow
def test_channels_that_names_tell_are_tested_first_and_help_where_no_single_curve_does() -> (
    None
):
    X, alike = _axes(600)
    numbers = X.to_numpy()
    order = find_order(numbers, alike, "classification", 0, list(X))
    assert order.found
    assert order.layout == "given"
    assert order.gain is not None
    assert order.gain > 0.05
    assert (
        "the 72 columns form channels with the same places, as their names say"
        in order.sentence("classification")
    )
    assert not find_order(
        numbers,
        np.random.default_rng(1).permutation(alike),
        "classification",
        0,
        list(X),
    ).found
    # Places without neighbours, as the dark squares of a chessboard.
    dark = [
        f"{colour}_{row}_{2 * column_number + row % 2}"
        for colour in "rgb"
        for row in range(6)
        for column_number in range(4)
    ]
    assert find_order(numbers, alike, "classification", 0, dark).layout == "path"
    # Channels without a curve: neighbours are not alike.
    shuffled = numbers[:, np.random.default_rng(2).permutation(72)]
    assert not find_order(shuffled, alike, "classification", 0, list(X)).found


@pytest.fixture(name="fitted", scope="module")
def _fitted() -> tuple[Any, pd.DataFrame, np.ndarray]:
    X, alike = _axes(400)
    X["site"] = ["a", "b"] * 200
    return (
        pg.HyNNClassifier(layout="given", network=_NETWORK, **_FEW).fit(X, alike),
        X,
        alike,
    )


def test_a_model_of_channels_is_saved_and_predicts_the_same(
    fitted: Any, tmp_path: Any
) -> None:
    model, X, alike = fitted
    assert model.renderer_.layout.shape == (1, _LENGTH, 3)
    assert model.module_.image_shape == (3, 1, _LENGTH)
    assert (model.renderer_.positions == -1).all(axis=1).sum() == 2, (
        "categories have no place"
    )
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    grid = pg.HyNNClassifier(layout=(1, _LENGTH, 3), network=_NETWORK, **_FEW).fit(
        X, alike
    )
    assert np.array_equal(grid.predict_proba(X), model.predict_proba(X)), (
        "names say where columns stand"
    )


@pytest.fixture(name="paths", scope="module")
def _paths(fitted: Any) -> Any:
    model, X, alike = fitted
    return pg.explain(
        model, X[:30], alike[:30], n_repeats=2, random_state=0, progress=False
    )


def test_a_model_of_channels_is_explained_as_one_of_one_channel_is(
    fitted: Any, paths: Any
) -> None:
    model, X, _ = fitted
    explained_rows = X[:8]
    frame = paths.to_frame().query("`class` == 'all'")
    np.testing.assert_allclose(
        frame["tabular"] + frame["image"], frame["importance"], atol=1e-6
    )
    assert (frame["image"] != 0).sum() > 60, "columns of all channels reach the image"
    assert np.shape(paths.meta["order"]) == (1, _LENGTH, 3)
    assert paths.meta["order"][0][4] == ["acc_x_t04", "acc_y_t04", "acc_z_t04"]
    slopes = explain_with(
        model,
        explained_rows,
        method="integrated_gradients",
        random_state=0,
        progress=False,
    )
    assert slopes.meta["completeness_gap"] < 1e-5
    cam = pg.explain(
        model, explained_rows, method="gradcam", random_state=0, progress=False
    )
    columns = cam.values[:, :72].sum(axis=1)
    np.testing.assert_allclose(
        columns, np.abs(cam.maps["cam"]).sum(axis=(2, 3)), rtol=1e-4
    )
    assert columns.max() > 0


def test_channels_are_drawn_one_below_another(fitted: Any, paths: Any) -> None:
    model, X, _ = fitted
    figure = paths.plot.along_order()
    panels = [axes for axes in figure.axes if axes.lines]
    assert [axes.get_title(loc="left") for axes in panels] == [
        f"acc_{axis}_t00 … acc_{axis}_t{_LENGTH - 1}" for axis in "xyz"
    ]
    first = paths.names.index("acc_y_t00")
    np.testing.assert_array_equal(
        panels[1].lines[0].get_ydata()[:_LENGTH],
        paths.values[first : first + _LENGTH, 0],
    )
    row = pg.explain(
        model, X[:3], method="integrated_gradients", random_state=0, progress=False
    ).plot.along_order(row=1)
    curves = [axes.lines[0].get_ydata() for axes in row.axes if axes.lines]
    np.testing.assert_allclose(np.concatenate(curves), X.iloc[1, :72].astype(float))


def test_a_coloured_picture_is_drawn_in_its_colours() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((120, 5, 4, 3))
    model = pg.HyNNRegressor(layout=(5, 4, 3), **_FEW).fit(
        pixels.reshape(120, -1), pixels[..., 0].mean(axis=(1, 2))
    )
    assert model.module_.image_shape == (3, 5, 4)
    local = pg.explain(
        model,
        pixels[:2].reshape(2, -1),
        method="gradient",
        random_state=0,
        progress=False,
    )
    figure = local.plot.along_order(row=1)
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), pixels[1])
    assert "Signed map of 5 by 4 cells" in figure.description


@pytest.mark.slow
def test_the_report_shows_channels(undrawn: None, tmp_path: Any) -> None:
    X, alike = _axes(200)
    X = X.filter(regex="t0|t10|t11")
    # Without random kernels, which the page does not show and which take most of the
    # time.
    network = {"conv_filters": (6, 8), "random_kernels": 0}
    model = pg.HyNNClassifier(layout="given", network=network, **_FEW).fit(X, alike)
    pg.report(model, X[:30], alike[:30], path=tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Layout given, 1 × 12 pixels in 3 channels." in text
    assert "Importance column by column." in text


def test_a_grid_of_another_number_of_columns_is_refused_in_words() -> None:
    X, alike = _axes(80)
    with pytest.raises(
        InputError,
        match="A grid of 1 × 20 × 3 has 60 places, but there are 72 encoded columns",
    ):
        pg.HyNNClassifier(layout=(1, 20, 3), **_FEW).fit(X, alike)
    with pytest.raises(
        InputError, match=r"A grid of 1 × 24 × 4 has 96 places, but there are 72"
    ):
        pg.HyNNClassifier(layout=(1, 24, 4), **_FEW).fit(X, alike)
    with pytest.raises(InputError, match="a height and a width"):
        pg.HyNNClassifier(layout=(1, 24, 0), **_FEW).fit(X, alike)
