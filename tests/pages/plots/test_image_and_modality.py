"""Plots of networks: modalities, signed maps over images, and one axis for each
modality.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad import Explanation
from permgrad.base.errors import InputError
from permgrad.pages.drawn_inputs import displayable, shown_input
from permgrad.pages.plots.image import overlay

GRID = (np.arange(8)[:, None] // 4 * 2 + np.arange(8)[None] // 4).astype(np.int64)
NAMES = (*(f"scan[{r},{c}]" for r in range(2) for c in range(2)), "age", "dose")
MODALITY = ("scan",) * 4 + ("table",) * 2


def local(channels: int = 1, rows: int = 3, **changes) -> Explanation:
    rng = np.random.default_rng(0)
    fields = {
        "values": rng.normal(size=(rows, 6, 2)),
        "names": NAMES,
        "modality": MODALITY,
        "outputs": ("ill", "well"),
        "method": "shapley",
        "scope": "local",
        "additive": True,
        "base_values": np.zeros((rows, 2)),
        "maps": {
            "images:scan": rng.uniform(size=(rows, channels, 8, 8)),
            "segments:scan": GRID[None],
        },
        "meta": {"unit": "logit"},
    }
    return Explanation(**{**fields, **changes})


def modalities(values=(0.6, 0.3, -0.1), **changes) -> Explanation:
    names = ("X1", "X2", "X3")
    return Explanation(
        np.array(values)[:, None],
        names,
        names,
        ("all",),
        "permgrad",
        "global",
        level="modality",
        **changes,
    )


def texts(figure) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return figure.to_svg()


# ---- modalities ----------------------------------------------------------------------
def test_features_are_summed_before_means_are_taken():
    explanation = local()
    summed = (
        explanation.values[:, :4, 1].sum(axis=1),
        explanation.values[:, 4:, 1].sum(axis=1),
    )
    figure = explanation.plot.modality(target="well")
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx(
        [np.abs(modality_sums).mean() for modality_sums in summed]
    )


def test_nothing_at_all_is_drawn_as_nothing():
    figure = modalities((0.0, 0.0, 0.0)).plot.modality()
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.0, 0.0, 0.0]
    assert "<svg" in texts(figure)


# ---- one axis for each modality ------------------------------------------------------
def test_mixed_methods_never_share_an_axis():
    meta = {
        "methods": {"scan": "gradient", "table": "shapley"},
        "units": {"scan": "logit per grey level", "table": "nats"},
    }
    explanation = local(meta=meta)
    figure = explanation.plot.features()
    assert len(figure.axes) == 2
    assert (
        len(
            {tuple(axes.get_shared_x_axes().get_siblings(axes)) for axes in figure.axes}
        )
        == 2
    )
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels == [
        "mean |attribution|, logit per grey level",
        "mean |attribution|, nats",
    ]
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "scan · gradient",
        "table · shapley",
    ]
    assert len(explanation.plot().axes) == 2
    for kind in ("bar", "beeswarm", "waterfall", "classes", "modality"):
        message_pattern = (
            rf"{kind} needs one unit for all features, .* Call "
            r"explanation\.plot\.features\(\)"
        )
        with pytest.raises(InputError, match=message_pattern):
            getattr(explanation.plot, kind)()


def test_panels_rank_their_own_features():
    explanation = local().to_global("mean_abs")
    figure = explanation.plot.features(top_n=3)
    for axes, (start, stop) in zip(figure.axes, ((0, 4), (4, 6)), strict=True):
        widths = [bar.get_width() for bar in axes.patches]
        strongest_values = np.sort(explanation.values[start:stop, 1])[::-1][:3]
        assert widths == pytest.approx(strongest_values), (
            "of two classes the positive one, as in the summary"
        )
    assert "1 more not shown" in texts(figure)
    assert figure.description.startswith("Bars of the leading features of each input")
    (bars,) = (
        replace(explanation, meta={**explanation.meta, "positive": "ill"})
        .plot.bar(top_n=None)
        .axes
    )
    assert max(bar.get_width() for bar in bars.patches) == pytest.approx(
        explanation.values[:, 0].max()
    )


# ---- over images ---------------------------------------------------------------------
def coloured(figure) -> np.ndarray:
    """The colours laid over the image."""
    return np.asarray(figure.axes[1].images[-1].get_array())


@pytest.mark.parametrize("channels", [1, 3])
def test_segments_are_drawn_over_images_of_one_or_three_channels(channels):
    explanation = local(channels)
    figure = explanation.plot.image(row=1, target="well")
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert picture.shape == ((8, 8) if channels == 1 else (8, 8, 3))
    bar = figure.axes[-1]
    low, high = bar.get_ylim()
    assert low == -high == -np.abs(explanation.values[1, :4, 1]).max(), (
        "of the image's players alone, around 0"
    )
    alpha = coloured(figure)[..., 3]
    strongest = int(np.abs(explanation.values[1, :4, 1]).argmax())
    assert set(zip(*np.nonzero(alpha == alpha.max()), strict=True)) == set(
        zip(*np.nonzero(strongest == GRID), strict=True)
    )
    assert "<svg" in texts(figure)


def test_each_colour_channel_may_have_players_of_its_own():
    channel_segments = np.arange(3).reshape(3, 1, 1)
    numbers = np.array([1.0, 2.0, -4.0, 0, 0, 0])

    def heat(segments):
        values = np.broadcast_to(numbers[:, None], (1, 6, 2))
        return shown_input(
            local(rows=1, values=values, maps={"segments:scan": segments}), "scan", 0, 0
        ).heat

    assert heat(channel_segments).tolist() == [[-1.0]]
    assert heat(np.zeros((3, 1, 1), int)).tolist() == [[1.0]], (
        "one player in all channels counts once"
    )
    assert heat(np.moveaxis(np.tile(channel_segments, (1, 5, 5)), 0, 2)).shape == (5, 5)
    masked = heat(np.array([[0, -1]]))
    assert masked[0, 0] == 1.0
    assert np.isnan(masked[0, 1])


def test_a_global_explanation_is_drawn_over_the_mean_image():
    explanation = local()
    mean = explanation.maps["images:scan"].mean(axis=0)[0]
    figure = explanation.to_global("mean").plot.image()
    np.testing.assert_allclose(np.asarray(figure.axes[0].images[0].get_array()), mean)
    modality = explanation.by_modality()
    assert "segments:scan" not in modality.maps, "its players are no longer segments"
    with pytest.raises(
        InputError, match=r"image\(\) needs activation maps or segments, but"
    ):
        modality.plot.image()


def test_explained_globally_a_network_is_drawn_over_the_mean_image():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    images = torch.rand(20, 1, 8, 8)
    y = np.arange(20) % 2
    explanation = pg.explain(
        pg.Model(net, segments=("grid", 2)),
        images,
        y,
        n_repeats=1,
        random_state=0,
        progress=False,
    )
    figure = explanation.plot.image(target="1")
    np.testing.assert_allclose(
        np.asarray(figure.axes[0].images[0].get_array()),
        images.mean(dim=0)[0],
        rtol=1e-6,
    )
    drawn = texts(figure)
    for words in (
        "permgrad: image, all rows, rows of 1",
        "the mean image",
        "importance over it",
    ):
        assert words in drawn or explanation.modality[0] not in words
    local_one = pg.explain(
        pg.Model(net, segments=("grid", 2)),
        images[:2],
        method="gradient",
        random_state=0,
        progress=False,
    )
    assert "row 1, towards 1" in texts(local_one.plot.image(row=1))


def test_activation_maps_of_several_inputs_are_asked_for_by_name():
    rng = np.random.default_rng(0)
    maps = {
        f"images:{name}": rng.uniform(size=(2, 1, 8, 8)) for name in ("left", "right")
    }
    maps |= {
        "maps:left": rng.uniform(size=(2, 2, 4, 4)),
        "maps:right": rng.normal(size=(2, 2, 4, 4)),
    }
    explanation = local(rows=2, maps=maps, method="gradcam")
    with pytest.raises(
        InputError,
        match=r"image\(\) draws one input, but the explanation has 'left', 'right'\. "
        r"For",
    ):
        explanation.plot.image()
    with pytest.raises(
        InputError, match=r"input must be one of 'left', 'right', got 'middle'"
    ):
        explanation.plot.image(input="middle")
    assert explanation.plot.image(input="left").description.startswith(
        "Activation map of 4 by 4 cells"
    )
    assert explanation.plot.image(input="right").description.startswith(
        "Signed map of 4 by 4 cells"
    )


def test_pictures_of_any_range_can_be_shown():
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (5, 7), np.uint8)
    np.testing.assert_allclose(displayable(bytes_), bytes_ / 255)
    wide = rng.normal(size=(3, 5, 7))
    shown = displayable(wide)
    assert shown.shape == (5, 7, 3)
    assert (shown.min(), shown.max()) == (0.0, 1.0)
    assert displayable(np.zeros((1, 3, 3))).shape == (3, 3)
    many_channels = rng.uniform(size=(4, 5, 7))
    np.testing.assert_allclose(displayable(many_channels), many_channels.mean(axis=0))
    np.testing.assert_allclose(
        displayable(np.moveaxis(many_channels, 0, 2)), many_channels.mean(axis=0)
    )
    with pytest.raises(InputError, match=r"An image must have shape .*, got \(7,\)"):
        displayable(np.zeros(7))


def test_a_map_that_is_zero_is_drawn_and_said_to_be_zero():
    figure = overlay(np.zeros((4, 4)), np.zeros((2, 2)))
    assert "zero everywhere" in figure.description
    assert "<svg" in texts(figure)


# ---- other packages ------------------------------------------------------------------
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("kind", ["bar", "beeswarm", "waterfall", "force"])
def test_shap_draws_it(outputs, scope, kind):
    shap = pytest.importorskip("shap")
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    explanation = local()
    frame = pd.DataFrame({"age": [30.0, 40.0, np.nan], "dose": ["low", "high", "low"]})
    explanation = local(
        values=explanation.values[..., :outputs],
        outputs=("ill", "well")[:outputs],
        base_values=np.ones((3, outputs)),
        feature_values=frame,
    )
    given_explanation = (
        explanation if scope == "local" else explanation.to_global("mean")
    )
    converted = given_explanation.to_shap()
    assert list(converted.feature_names) == list(NAMES)
    single_output = converted if outputs == 1 else converted[..., 1]
    np.testing.assert_array_equal(
        single_output.values,
        np.atleast_3d(given_explanation.values.reshape(-1, 6, outputs))[
            ..., outputs - 1
        ],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "force":
            shap.plots.force(single_output[0], matplotlib=True, show=False)
        else:
            getattr(shap.plots, kind)(
                single_output[0] if kind == "waterfall" else single_output, show=False
            )
    plt.close("all")


def test_shapiq_reads_it():
    pytest.importorskip("shapiq")
    explanation = local(base_values=np.array([[0.5, 1.5]] * 3))
    values = explanation.to_shapiq(row=2, target="well")
    assert values.baseline_value == 1.5
    assert [values[(player,)] for player in range(6)] == explanation.values[
        2, :, 1
    ].tolist()
    assert values.get_n_order_values(1).tolist() == explanation.values[2, :, 1].tolist()
    assert (values.index, values.max_order, values.n_players) == ("SV", 1, 6)
    with pytest.raises(InputError, match="row must be a position from 0 to 2, got 3"):
        explanation.to_shapiq(row=3)
