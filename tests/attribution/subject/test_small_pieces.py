"""Small pieces against their definitions: weights of branches, gradients of outputs,
regions of foreign pictures.
"""

from __future__ import annotations

import pickle
import socket
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.attribution.explanation.statistics import interval
from permgrad.attribution.parts.engines.ray import _answered
from permgrad.attribution.replace.branch_weights import weigh_branches
from permgrad.attribution.replace.conditional import ConditionalSampler
from permgrad.attribution.replace.donors import need_background
from permgrad.attribution.slopes.gradients import output_gradients
from permgrad.data.encode.encoding import TableEncoder
from permgrad.imaging import ForeignRenderer
from permgrad.imaging.assignment import standardised_sample


@pytest.mark.parametrize("sign", [1, 0.3, -1, 0])
@pytest.mark.parametrize("quantity", ["loss", "divergence"])
def test_weights_of_branches_are_what_the_moments_say(sign, quantity):
    """Total, both branches, what they do together, each alone and behind the other, and
    sums of shares and total.
    """
    mean = np.array([2.0, -0.5, 2.5, 0.3, -0.65, 2.35, -0.35, 2.65, 1.5, 4.5]) * (
        sign or 0.01
    )
    std = np.array([0.3, 0.2, 0.1, 0.05, 0.2, 0.1, 0.2, 0.1, 0.4, 0.35])
    count = np.full(10, 50.0)
    moments = SimpleNamespace(estimate=lambda _: (mean, std, count))
    low, high, p_values = interval(mean, std, count, 0.9)
    branch_facts = weigh_branches(moments, ("tabular", "image"), 0.9, quantity)
    assert set(branch_facts) == {"tabular", "image", "interaction", "total", "quantity"}
    for position, name in ((1, "tabular"), (2, "image")):
        assert branch_facts[name] == {
            "importance": mean[position], "std_error": std[position], "ci_low": low[position], "ci_high": high[position],
            "p_value": p_values[position], "share": pytest.approx(mean[position] / mean[0]) if sign > 0 else None,
            "alone": mean[position + 3], "last": mean[position + 5],
            "share_low": branch_facts[name]["share_low"], "share_high": branch_facts[name]["share_high"],
        }  # fmt: skip
        ends = branch_facts[name]["share_low"], branch_facts[name]["share_high"]
        assert (
            (ends == (None, None))
            if sign <= 0
            else (ends[0] < branch_facts[name]["share"] < ends[1])
        )
    assert branch_facts["interaction"] == mean[3]
    assert branch_facts["quantity"] == quantity
    assert {name: branch_facts["total"][name] for name in ("importance", "std_error", "ci_low", "ci_high")} == {
        "importance": mean[0], "std_error": std[0], "ci_low": low[0], "ci_high": high[0],
    }  # fmt: skip
    assert (
        branch_facts["total"]["interaction_low"],
        branch_facts["total"]["interaction_high"],
    ) == (
        low[3],
        high[3],
    )


@pytest.mark.parametrize("targets", [[0, 1, 2], [2, 0], [1], [1, 1, 0, 2], [2, 1, 0]])
@pytest.mark.parametrize("constant_sum", [True, False])
def test_gradients_of_outputs_one_by_one(targets, constant_sum):
    """Where outputs add up to a constant one of them costs nothing; none is wrong for
    it.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(5, 2, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(2)
    )
    unused = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, generator=generator, dtype=torch.float64)

    def outputs() -> torch.Tensor:
        return torch.softmax(torch.cat([first, second.sin()], dim=1) @ weight, dim=1)

    gradients = output_gradients(
        outputs(), targets, [first, second, unused], constant_sum=constant_sum
    )
    for leaf, gradient in zip((first, second), gradients, strict=False):
        assert gradient.shape == (len(targets), *leaf.shape)
        for output_index, target in enumerate(targets):
            (expected,) = torch.autograd.grad(outputs()[:, target].sum(), leaf)
            torch.testing.assert_close(
                gradient[output_index], expected, rtol=0, atol=1e-12
            )
    assert (gradients[2] == 0).all()
    assert not torch.signbit(gradients[2]).any(), "a plain zero"


def test_gradients_that_there_are_not():
    leaf = torch.ones(2, 2, requires_grad=True)
    assert (output_gradients(torch.ones(2, 1), [0], [leaf])[0] == 0).all(), (
        "of what depends on nothing"
    )

    for fault, expected in (
        (ValueError("no way back"), pg.InputError),
        (torch.OutOfMemoryError(), RuntimeError),
    ):

        class Refused(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, slopes, fault=fault):
                raise fault

        with pytest.raises(expected) as caught:
            output_gradients(Refused.apply(leaf), [0], [leaf])
        assert ("no way back" in str(caught.value)) == isinstance(
            caught.value, pg.InputError
        )


def test_foreign_pictures_depend_on_every_column():
    renderer = ForeignRenderer(
        lambda rows: np.zeros((len(rows), 2, 3, 4)), channels_last=False
    )
    rows = torch.zeros(5, 6)
    assert renderer(rows).shape == (5, 2, 3, 4)
    assert (renderer.channels, renderer.height, renderer.width) == (2, 3, 4)
    for columns in (0, [1, 2], range(6), np.array([3])):
        assert renderer.region_of(columns) == (0, 3, 0, 4)
    for nothing in ([], range(0), np.array([], dtype=int)):
        assert renderer.region_of(nothing) == (0, 0, 0, 0)
    assert renderer.render_region(rows, (1, 3, 0, 2)).shape == (5, 2, 2, 2)


@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1.0, 1e200])
def test_units_leave_standardised_columns_as_they_are(unit):
    table = np.random.default_rng(0).normal(size=(40, 3))
    scaled = table * np.array([1.0, unit, 1.0])
    np.testing.assert_allclose(
        standardised_sample(scaled, 0),
        standardised_sample(table, 0),
        rtol=1e-9,
        atol=1e-12,
    )


class HeldError(Exception):
    """Takes two arguments and keeps one, so that pickle cannot make it again."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)


def test_an_error_that_cannot_be_sent_is_sent_as_its_text():
    def met(error: Exception) -> Exception:
        def work() -> None:
            raise error

        result, (received, host, trace) = pickle.loads(_answered(work))
        assert (result, host) == (None, socket.gethostname())
        assert "in work" in trace
        return received

    sent_error = met(pg.InputError("The fact. Fix it."))
    assert (type(sent_error), str(sent_error)) == (pg.InputError, "The fact. Fix it.")
    sent = met(HeldError("of a kind of its own", 3))
    assert type(sent) is RuntimeError
    assert str(sent) == "HeldError: of a kind of its own"
    assert pickle.loads(_answered(lambda: 3)) == (3, None)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_the_convolution_that_sees_a_picture_of_whole_numbers_is_found(constant, whole):
    """Where there is no gradient the picture is changed, also one that is the same all
    over.
    """

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(1, 2, 2)
            self.other = torch.nn.Conv2d(1, 2, 2)
            self.head = torch.nn.Linear(2, 1)

        def forward(self, picture, beside):
            picture_features = self.first(picture.float() / 9).relu().mean(dim=(2, 3))
            return self.head(
                picture_features + self.other(beside).relu().mean(dim=(2, 3))
            )

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Net().eval()
        second_picture = torch.randn(4, 1, 4, 4)
    picture = (
        torch.full((4, 1, 4, 4), 5)
        if constant
        else torch.arange(64).reshape(4, 1, 4, 4) % 7
    )
    inputs = (picture if whole else picture.float(), second_picture)
    explanation = pg.explain(
        pg.Model(net, task="regression"), inputs, method="gradcam", progress=False
    )
    assert explanation.meta["layer"] == {
        "picture": "first, relu",
        "beside": "other, relu",
    }


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
def test_a_network_that_is_one_convolution_has_a_map():
    pictures = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    explanation = pg.explain(
        pg.Model(torch.nn.Conv2d(1, 1, 4), task="regression"),
        pictures,
        method="gradcam",
        progress=False,
    )
    assert explanation.meta["layer"] == {"input": "the network"}
    inside = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 4), torch.nn.Flatten())
    assert pg.explain(inside, pictures, method="gradcam", progress=False).meta[
        "layer"
    ] == {"input": "0"}
    with pytest.raises(pg.InputError, match="convolution"):
        pg.explain(
            pg.Model(torch.nn.Linear(3, 1), task="regression"),
            torch.randn(5, 3),
            method="gradcam",
            progress=False,
        )


def test_levels_follow_a_bend_that_no_straight_line_has():
    """Of two models for a level's chances the one is taken that is less wrong on rows
    it has not seen.
    """
    rng = np.random.default_rng(0)
    a = rng.normal(size=600)
    outside = np.where(rng.random(600) < 0.95, np.abs(a) > 0.7, np.abs(a) <= 0.7)
    frame = pd.DataFrame(
        {
            "a": a,
            "where": np.where(outside, "outside", "inside"),
            "c": rng.normal(size=600),
        }
    )
    encoder = TableEncoder(numeric="standard").fit(frame)
    encoded = encoder.transform(frame)
    sampler = ConditionalSampler(encoder, encoded, encoded, seed=3, shared=True)
    columns = encoder.columns_of("where")
    drawn = sampler.draw("where", columns, np.arange(600), 0)[1]
    same = (drawn == encoded[:, columns]).all(axis=1).mean()
    assert same > 0.82, "by chance half would be the same"
    assert sampler.not_identifiable == []


@pytest.mark.parametrize(
    ("rows", "shared", "fine"),
    [(0, False, False), (1, False, True), (1, True, False), (2, True, True)],
)
def test_a_background_needs_a_row_that_is_not_the_own(rows, shared, fine):
    with (
        nullcontext()
        if fine
        else pytest.raises(
            pg.InputError,
            match="A single row has no other row"
            if shared
            else "The background has no rows",
        )
    ):
        need_background(rows, shared=shared)
