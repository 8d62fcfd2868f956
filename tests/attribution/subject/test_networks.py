"""Every method on every stranger's network: a whole result, or a sentence with the fix;
nothing is touched.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from explaining import explain_with
from strangers import ROWS, STRANGERS
from torch import Tensor, nn
from untouched import assert_untouched, state_of
from usual_methods import USUAL, few_draws

import permgrad as pg
from permgrad.attribution.method.shapley.shapley_game import ShapleyGame
from permgrad.attribution.subject.traced_branches import BranchCut

METHODS = [name for name in USUAL if name != "permgrad_paper"]
WITHOUT_CONVOLUTION = {
    "embedded_codes", "in_place", "batch_norm_in_train_mode", "frozen", "compiled", "data_parallel", "half_precision",
    "brain_float", "double_precision", "tuple_of_outputs", "attention", "branches_on_values",
}  # fmt: skip
#: What each method cannot explain, with what it must say.
REFUSED = {("gradcam", name): "convolution" for name in WITHOUT_CONVOLUTION}
REFUSED |= {
    ("ale", name): "single columns of a table"
    for name in ("list_of_images", "tuple_of_outputs")
}


def explain(
    net: nn.Module, inputs: Any, y: Any, method: str, **options: Any
) -> pg.Explanation:
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        "segments": None,
        **few_draws(method),
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(net, inputs, y, method=method, **call_options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", STRANGERS)
def test_explained_or_refused(name, method):
    net, inputs, y = STRANGERS[name]()
    before = state_of(net, inputs)
    word = REFUSED.get((method, name))
    if word is not None:
        with pytest.raises(pg.InputError, match=rf"(?s){word}.*\. "):
            explain(net, inputs, y, method)
        assert_untouched(before, state_of(net, inputs))
        return
    explanation = explain(net, inputs, y, method)
    assert_untouched(before, state_of(net, inputs))
    assert explanation.method == method
    values = explanation.values
    assert np.isfinite(values[~np.isnan(values)]).all()
    assert np.nanmax(np.abs(values)) > 0
    assert (
        len(explanation.names)
        == len(set(explanation.names))
        == len(explanation.modality)
    )
    for key in ("seed", "quantity", "unit", "background", "versions", "seconds"):
        assert key in explanation.meta, key
    frame = explanation.to_frame()
    has_p_value = frame["p_value"].notna()
    outside = (frame["ci_low"] > 0) | (frame["ci_high"] < 0)
    assert ((frame["p_value"] < 0.05) == outside)[has_p_value].all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [None, "modality"])
def test_names_and_levels(method, groups):
    if (method, groups) == ("ale", "modality"):
        pytest.skip("ale is of single columns")
    net, inputs, y = STRANGERS["images_first"]()
    explanation = explain(
        net, inputs, y, method, groups=groups, segments={"image": ("grid", 3)}
    )
    of_table = (
        []
        if method == "gradcam"
        else ["clinical"]
        if groups == "modality"
        else [f"clinical[{k}]" for k in range(4)]
    )
    of_image = (
        ["image"]
        if groups == "modality"
        else [f"image[{row},{column}]" for row in range(3) for column in range(3)]
    )
    assert list(explanation.names) == of_image + of_table
    assert set(explanation.modality) == {"image", *(["clinical"] if of_table else [])}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "gradcam"])
def test_an_unused_input_is_exactly_zero_and_named(method):
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, heard: Tensor, unheard: Tensor) -> Tensor:
            return self.layer(heard)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Deaf()
        inputs = {"heard": torch.randn(ROWS, 3), "unheard": torch.randn(ROWS, 2)}
    with pytest.warns(pg.PermgradWarning, match="unheard"):
        explanation = explain_with(
            net,
            inputs,
            np.arange(ROWS) % 2,
            method=method,
            random_state=0,
            n_repeats=2,
            progress=False,
        )
    unheard = [input_name == "unheard" for input_name in explanation.modality]
    assert sum(unheard) == 2
    assert np.abs(explanation.values[..., ~np.array(unheard), :]).max() > 0
    assert (explanation.values[..., unheard, :] == 0).all()
    frame = explanation.to_frame()
    mine = frame[frame["modality"] == "unheard"]
    assert (mine["std_error"].dropna() == 0).all()
    assert (mine["p_value"].dropna() == 1).all()


@pytest.mark.parametrize(
    "method", [name for name in METHODS if name not in ("gradcam", "aggregate")]
)
def test_units_of_the_output_change_nothing(method):
    """What is rounding and what is an effect must not depend on whether the output is
    in metres or micrometres.
    """

    class Scaled(nn.Module):
        def __init__(self, unit: float) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.unit = unit

        def forward(self, rows: Tensor) -> Tensor:
            return self.layer(rows) * self.unit

    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = torch.randn(ROWS, 3)
        net = Scaled(1.0)
    plain_explanation = explain(net, rows, None, method, task="regression")
    assert np.abs(plain_explanation.values).min() > 0
    power = 1 + plain_explanation.meta["unit"].endswith("²")
    for unit in (1e-7, 1e6):
        scaled_network = Scaled(unit)
        scaled_network.load_state_dict(net.state_dict())
        two = explain(scaled_network, rows, None, method, task="regression")
        np.testing.assert_allclose(
            two.values / unit**power, plain_explanation.values, rtol=2e-3, atol=1e-5
        )


class BlownUpError(Exception):
    """Raised in the middle of a computation."""


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_behind_after_an_error(method, monkeypatch):
    net, inputs, y = STRANGERS["images_first"]()
    net.train()
    net.mlp.eval()
    calls = 0
    bomb = None
    plain = nn.Linear.forward

    def forward(self: nn.Linear, *arguments: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == bomb:
            raise BlownUpError
        return plain(self, *arguments)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    # Branches are run once per row, and then hardly ever: there would be no middle.
    options = (
        {"incremental": False}
        if method in ("permutation", "permgrad", "ablation")
        else {}
    )
    explain(net, inputs, y, method, **options)
    assert calls > 2
    # The first calls belong to reading the network, whose errors become a sentence.
    middles = [max(7, int(calls * share)) for share in (0.3, 0.999)]
    before = state_of(net, inputs)
    for middle in middles:
        raised = False
        # Some calls try a quicker way, or rows that not every method asks for: an error
        # there ends nothing.
        for bomb in range(middle, middle + 40):  # noqa: B007 — forward reads it
            calls = 0
            try:
                explain(net, inputs, y, method, **options)
            except (BlownUpError, pg.InputError):
                raised = True
            assert_untouched(before, state_of(net, inputs))
            if raised:
                break
        assert raised


@pytest.mark.parametrize("method", METHODS)
def test_out_of_memory_halves_the_batch_and_goes_on(method, monkeypatch):
    net, inputs, y = STRANGERS["images_first"]()
    full_explanation = explain(net, inputs, y, method)
    plain = nn.Conv2d.forward
    refused = 0

    def forward(self: nn.Conv2d, rows: Tensor) -> Tensor:
        nonlocal refused
        if len(rows) > ROWS:
            refused += 1
            raise torch.OutOfMemoryError
        return plain(self, rows)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    cut = explain(net, inputs, y, method)
    scale = max(1.0, float(np.nanmax(np.abs(full_explanation.values))))
    np.testing.assert_allclose(
        cut.values, full_explanation.values, rtol=0, atol=1e-5 * scale
    )


@pytest.mark.parametrize("layer", ["fusion", "encoder", "encoder.0", "head.0"])
@pytest.mark.parametrize(
    "method", [name for name in METHODS if name not in ("gradcam", "ale")]
)
def test_inside_the_network(method, layer):
    net, inputs, y = STRANGERS["shared_encoder"]()
    before = state_of(net, inputs)
    explanation = explain(net, inputs, y, method, layer=layer)
    assert_untouched(before, state_of(net, inputs))
    if layer == "fusion":
        assert explanation.names == tuple(f"fusion[{k}]" for k in range(20))
        assert (
            explanation.modality == ("left",) * 8 + ("right",) * 8 + ("clinical",) * 4
        )
    assert np.nanmax(np.abs(explanation.values)) > 0


def test_a_layer_of_a_network_that_cannot_be_traced():
    net, inputs, y = STRANGERS["branches_on_values"]()
    inside = explain(net, inputs, y, "permutation", layer="fusion")
    assert inside.modality == ("first",) * 4 + ("second",) * 4
    # The fusion layer hands the second input through: its units are that input's
    # columns, up to the donors' names.
    assert np.abs(inside.values).max() > 0


def test_an_embedding_can_be_explained_where_it_is_read():
    net, inputs, y = STRANGERS["embedded_codes"]()
    for method in ("gradient", "integrated_gradients", "deeplift"):
        if method in METHODS:
            explanation = explain(
                net, inputs, y, method, layer="embedding", groups="modality"
            )
            assert explanation.names == ("codes",)
            assert np.abs(explanation.values).max() > 0


@pytest.mark.slow
def test_branches_change_no_number():
    net, inputs, y = STRANGERS["shared_encoder"]()
    for groups in (None, "modality"):
        for method in ("permgrad", "permutation"):
            quick = explain(net, inputs, y, method, groups=groups, n_repeats=6)
            dense = explain(
                net, inputs, y, method, groups=groups, n_repeats=6, incremental=False
            )
            np.testing.assert_allclose(quick.values, dense.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["permgrad", "permutation", "shapley"])
def test_explanations_run_each_branch_once_for_each_row(monkeypatch, method):
    """The games do find the branches, and leave them alone where they are told to."""
    remembered = []
    remember = BranchCut.remember

    def watched(self, *rows: object) -> None:
        remembered.append(method)
        remember(self, *rows)

    monkeypatch.setattr(BranchCut, "remember", watched)
    net, inputs, y = STRANGERS["shared_encoder"]()
    scope = {"scope": "global"} if method == "shapley" else {}
    explain(net, inputs, y, method, groups="modality", n_repeats=6, **scope)
    assert remembered
    remembered.clear()
    if method != "shapley":
        explain(
            net, inputs, y, method, groups="modality", n_repeats=6, incremental=False
        )
        assert not remembered


@pytest.mark.parametrize(("inputs", "by_branches"), [(1, False), (2, True), (3, True)])
def test_coalitions_of_several_inputs_are_laid_out_by_branches(inputs, by_branches):
    """Laying them out by broadcasting gives the same numbers, and runs every branch for
    each of them.
    """
    game: Any = object.__new__(ShapleyGame)
    space = SimpleNamespace(segments=[torch.zeros(1)] * inputs)
    game.request = SimpleNamespace(inputs=[None] * inputs, space=space)
    game.players = 2
    game.predict = lambda rows, *_: torch.zeros(len(rows), 3)
    game.grid = lambda *_: torch.ones(2, 4, 5, 3)
    rows = np.arange(2)
    donors = np.zeros((2, 5), dtype=np.int64)
    kept_mask = np.ones((2, 4, 2), dtype=bool)
    predicted = game.predicted(rows, donors, kept_mask)
    assert predicted.shape == (2, 4, 5, 3)
    assert bool((predicted == 0).all()) == by_branches


def test_the_branches_are_used():
    from permgrad.attribution.subject.network import NetworkSubject
    from permgrad.attribution.subject.traced_branches import cut_into_branches

    for name, expected in (
        ("shared_encoder", True),
        ("images_first", True),
        ("branches_on_values", False),
    ):
        net, inputs, _ = STRANGERS[name]()
        subject = NetworkSubject(net, inputs)
        with subject.open():
            assert (
                cut_into_branches(subject, subject.inputs) is not None
            ) == expected, name


def test_branches_of_more_rows_than_are_tried_are_found():
    from permgrad.attribution.subject.network import NetworkSubject
    from permgrad.attribution.subject.traced_branches import (
        _PROBE_ROWS,
        cut_into_branches,
    )

    net, inputs, _ = STRANGERS["shared_encoder"]()
    repeated_inputs = {
        name: torch.as_tensor(tensor)[torch.arange(_PROBE_ROWS + 1) % ROWS]
        for name, tensor in inputs.items()
    }
    subject = NetworkSubject(net, repeated_inputs)
    with subject.open():
        assert cut_into_branches(subject, subject.inputs) is not None


def test_repeats_cost_branches_nothing():
    """Each branch has run for all rows when the first few repeats are done; the others
    are put together behind it.
    """
    net, inputs, _ = STRANGERS["shared_encoder"]()
    rows = 0

    def count(_layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal rows
        rows += len(given[0])

    net.encoder[0].register_forward_pre_hook(count)
    costs = []
    for repeats in (10, 40):
        rows = 0
        explain(
            net,
            inputs,
            None,
            "permutation",
            groups="modality",
            scope="local",
            n_repeats=repeats,
        )
        costs.append(rows)
    assert costs[0] == costs[1] > 0
