"""The renderer: gradients, regions, influence, devices and dtypes, saving."""

from __future__ import annotations

import copy
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import permgrad.imaging.render as render_module
from permgrad import InputError
from permgrad.imaging import Blur, Renderer, StoredLayout
from permgrad.imaging.render import Renderer as SameRenderer

BLUR = Blur(distance=1, steps=2)
KINDS = {
    "apart": ("last", None, False),
    "last": ("last", None, True),
    "mean": ("mean", None, True),
    "maximum": ("maximum", None, True),
    "blurred mean": ("mean", BLUR, True),
    "blurred maximum": ("maximum", BLUR, True),
}


def make(kind, *, pixels=7, columns=9, seed=0, **options):
    overlap, blur, shared = KINDS[kind]
    rng = np.random.default_rng(seed)
    cells = rng.permutation(pixels**2)[:columns]
    if shared:
        cells[1] = cells[0]
        cells[2] = cells[0]
    positions = np.stack(np.divmod(cells, pixels), axis=1)
    minimum = rng.normal(size=columns)
    maximum = minimum + rng.random(columns) + 0.1
    maximum[-1] = minimum[-1]  # constant in training
    renderer = Renderer(
        StoredLayout(positions, pixels, overlap, blur), minimum, maximum, **options
    )
    rows = torch.from_numpy(
        minimum + rng.normal(0.6, 0.6, size=(5, columns)) * (maximum - minimum)
    )
    rows[:, -1] += 0.3  # exactly 0 would be a kink
    return renderer, rows


def dense_jacobian(renderer, row):
    return torch.autograd.functional.jacobian(lambda x: renderer(x[None])[0, 0], row)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind):
    renderer, rows = make(kind)
    assert torch.autograd.gradcheck(renderer, (rows.clone().requires_grad_(),))
    assert dense_jacobian(renderer, rows[0]).abs().sum() > 1, (
        "precondition: the picture depends on the row"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_with_and_without_gradient_the_picture_is_the_same(kind):
    renderer, rows = make(kind)
    followed = renderer(rows.clone().requires_grad_())
    with torch.no_grad():
        assert torch.equal(renderer(rows), followed.detach())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_region_is_the_crop_of_the_whole(kind, data):
    renderer, rows = make(kind, channels=2, scale=3.0)
    edges = [
        sorted(data.draw(st.tuples(st.integers(0, 7), st.integers(0, 7))))
        for _ in range(2)
    ]
    box = (edges[0][0], edges[0][1], edges[1][0], edges[1][1])
    crop = renderer(rows)[:, :, box[0] : box[1], box[2] : box[3]]
    region = renderer.render_region(rows, box)
    assert region.shape == crop.shape
    torch.testing.assert_close(region, crop, rtol=1e-12, atol=1e-12)
    followed = renderer.render_region(rows.clone().requires_grad_(), box)
    torch.testing.assert_close(followed.detach(), crop, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_hold_every_pixel_that_changes(kind):
    renderer, rows = make(kind)
    for column in range(rows.shape[1]):
        edited = rows.clone()
        edited[:, column] += torch.tensor([2.0, -2.0, 0.5, 5.0, -0.3])
        changed = (renderer(edited) != renderer(rows))[:, 0].any(dim=0)
        reached = renderer.pixels_of(column)
        changed_pixels = {(int(r), int(c)) for r, c in changed.nonzero()}
        assert changed_pixels <= set(reached)
        top, bottom, left, right = renderer.region_of([column])
        if reached:
            assert (top, left) == tuple(np.min(reached, axis=0))
            assert (bottom - 1, right - 1) == tuple(np.max(reached, axis=0))
        else:
            assert (top, bottom, left, right) == (0, 0, 0, 0)
            assert not changed_pixels
    hidden = [column for column in range(9) if not renderer.pixels_of(column)]
    assert bool(hidden) == (kind == "last"), (
        "precondition: overwritten columns reach nothing, and only they"
    )
    union = renderer.region_of(range(9))
    assert len(renderer.pixels_of(range(9))) <= (union[1] - union[0]) * (
        union[3] - union[2]
    )


@pytest.mark.parametrize("kind", ["apart", "last", "mean", "blurred mean"])
def test_influence_is_the_slope_inside_the_training_range(kind):
    renderer, rows = make(kind, scale=2.0)
    inside = torch.from_numpy(
        renderer.minimum
        + 0.5
        * np.where(
            renderer.maximum > renderer.minimum,
            renderer.maximum - renderer.minimum,
            1.0,
        )
    )
    expected = dense_jacobian(renderer, inside).permute(2, 0, 1).abs()
    torch.testing.assert_close(
        renderer.influence().double(), expected, rtol=1e-6, atol=1e-7
    )
    assert expected.sum() > 1, "precondition: not all zero"
    assert rows.shape[1] == len(expected)


def test_influence_of_a_maximum_is_the_winners_slope():
    renderer, _ = make("blurred maximum")
    influence = renderer.influence().double()
    for column in range(9):
        alone = torch.from_numpy(renderer.minimum.copy())
        alone[column] += 0.5  # all others paint nothing
        torch.testing.assert_close(
            influence[column],
            dense_jacobian(renderer, alone)[..., column].abs(),
            rtol=1e-6,
            atol=1e-7,
        )


def test_many_rows_are_drawn_in_blocks_to_the_same_picture(monkeypatch):
    renderer, rows = make("blurred maximum")
    whole_pictures = renderer(rows)
    monkeypatch.setattr(render_module, "_PAINTED", 2 * 9 * 49)
    assert torch.equal(renderer(rows), whole_pictures)
    assert renderer(rows[:0]).shape == (0, 1, 7, 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_and_batch_follow_the_rows(kind, dtype):
    renderer, rows = make(kind, channels=3, scale=255.0)
    images = renderer(rows.to(dtype))
    assert images.dtype == dtype
    assert images.shape == (5, 3, 7, 7)
    assert torch.equal(images[:, 0], images[:, 2])
    torch.testing.assert_close(
        images,
        torch.cat([renderer(row[None].to(dtype)) for row in rows]),
        rtol=1e-5,
        atol=1e-4,
    )
    assert renderer(rows[:0]).shape == (0, 3, 7, 7)
    assert (
        renderer(torch.ones(2, 9, dtype=torch.int64)).dtype == torch.get_default_dtype()
    )


def test_scale_and_training_range():
    renderer = Renderer(
        StoredLayout([[0, 0], [0, 1]], 2), [0.0, 5.0], [4.0, 5.0], scale=255.0
    )
    drawn = renderer(
        torch.tensor([[0.0, 5.0], [4.0, 6.0], [8.0, 5.0]], dtype=torch.float64)
    )[:, 0, 0]
    assert drawn.tolist() == [[0.0, 0.0], [255.0, 255.0], [510.0, 0.0]]
    clipped = Renderer(
        StoredLayout([[0, 0], [0, 1]], 2),
        [0.0, 5.0],
        [4.0, 5.0],
        scale=255.0,
        clip=True,
    )
    assert clipped(torch.tensor([[8.0, 4.0]]))[0, 0, 0].tolist() == [255.0, 0.0]


def test_columns_count_as_constant_below_ten_times_the_precision_as_in_scikit_learn():
    from sklearn.preprocessing import MinMaxScaler

    eps = np.finfo(np.float64).eps
    maximum = np.array([9.5 * eps, 10.5 * eps])
    drawn = Renderer(StoredLayout([[0, 0], [0, 1]], 2), np.zeros(2), maximum)(
        torch.from_numpy(maximum[None])
    )
    assert (
        drawn[0, 0, 0].tolist()
        == MinMaxScaler()
        .fit(np.stack([np.zeros(2), maximum]))
        .transform([maximum])[0]
        .tolist()
    )
    assert drawn[0, 0, 0].tolist() == [9.5 * eps, 1.0]


def test_rows_drawn_in_inference_mode_first_can_be_followed_later():
    renderer, rows = make("blurred mean")
    with torch.inference_mode():
        renderer(rows)
    followed = rows.clone().requires_grad_()
    renderer(followed).sum().backward()
    assert followed.grad.abs().sum() > 0


def test_rows_are_not_changed_and_the_module_has_no_state():
    for kind in KINDS:
        renderer, rows = make(kind)
        before = rows.clone()
        renderer(rows)
        assert torch.equal(rows, before)
        assert not renderer.state_dict()
        assert not list(renderer.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_saving_copying_pickling(kind):
    renderer, rows = make(kind, channels=3, scale=255.0, clip=True)
    expected = renderer(rows)
    for twin in (
        SameRenderer.from_dict(json.loads(json.dumps(renderer.to_dict()))),
        copy.deepcopy(renderer),
        pickle.loads(pickle.dumps(renderer)),
    ):
        assert torch.equal(twin(rows), expected)


def test_the_cache_of_plans_is_bounded():
    renderer, rows = make("apart", pixels=40)
    for row in range(40):
        for pixel_column in range(10):
            renderer.render_region(rows, (row, row + 1, pixel_column, pixel_column + 1))
    assert len(renderer._plans) == 256


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make("apart")[0](torch.zeros(2, 3)),
            (
                "Encoded rows must have the shape (n, 9), one column for each position "
                "of the layout, got (2, "
                "3). Encode the table with the encoder that the layout was fitted with."
            ),
        ),
        (
            lambda: Renderer(StoredLayout([[0, 0]], 2), [0], [np.nan]),
            (
                "maximum must be 1 finite numbers, one for each encoded column, got "
                "shape (1,) with 1 not finite. Pass the encoder's maximum_."
            ),
        ),
        (
            lambda: Renderer(StoredLayout([[0, 0]], 2), [1], [0]),
            (
                "maximum must be at least minimum, but encoded column 0 has minimum=1 "
                "and maximum=0. Swap them."
            ),
        ),
        (
            lambda: make("apart", channels=0),
            "channels must be an integer of at least 1, got 0. Pass 1 or 3.",
        ),
        (
            lambda: make("apart", scale=0),
            "scale must be a finite number above 0, got 0. Pass 1 or 255.",
        ),
        (
            lambda: Renderer(object(), [0], [1]),
            (
                "object has no positions, pixels, overlap after fit. Set positions, "
                "pixels and overlap in its fit."
            ),
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.message == message


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_an_accelerator_draws_the_same(kind):
    renderer, rows = make(kind)
    torch.testing.assert_close(
        renderer(rows.cuda()).cpu(), renderer(rows), rtol=1e-10, atol=1e-10
    )


def test_a_layout_of_ones_own_without_a_name_is_called_stored():
    plain_layout = SimpleNamespace(
        positions=np.array([[0, 0], [1, 1]]), pixels=2, overlap="last", blur=None
    )
    assert (
        Renderer(plain_layout, minimum=[0, 0], maximum=[1, 1]).layout.name == "stored"
    )
    plain_layout.name = "spiral"
    assert (
        Renderer(plain_layout, minimum=[0, 0], maximum=[1, 1]).layout.name == "spiral"
    )
