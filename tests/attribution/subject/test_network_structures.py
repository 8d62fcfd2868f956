"""Structures as inputs: a dict, list or tuple as the argument that a forward needs, and
None inside them.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

ROWS = 12
TABLE, DEEP = (
    torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(columns))
    for columns in (4, 3)
)


def explain(net: nn.Module, inputs: object, **options: object) -> pg.Explanation:
    call_options = {
        "method": "permutation",
        "random_state": 0,
        "task": "regression",
        "progress": False,
        **options,
    }
    return explain_with(net, inputs, **call_options)


class Batch(nn.Module):
    """Takes one dict, and training's arguments beside it, as networks for tables and
    text do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(4, 2)
        self.deep = nn.Linear(3, 2)

    def forward(
        self, batch: object, labels: object = None, step: object = None
    ) -> Tensor:
        assert labels is None
        assert step is None
        wide_output = self.wide(batch["wide"])  # type: ignore[index]
        deep = batch.get("deep")  # type: ignore[attr-defined]
        return (
            wide_output
            if deep is None
            else wide_output * self.deep(deep[0] if isinstance(deep, list) else deep)
        )


class Listed(Batch):
    """Takes one list."""

    def forward(self, batch: object, labels: object = None) -> Tensor:  # type: ignore[override]
        named = dict(zip(("wide", "deep"), batch, strict=False))  # type: ignore[call-overload]
        return super().forward(named, labels)


@pytest.mark.parametrize(
    ("kind", "inputs", "background"),
    [
        (Batch, {"wide": TABLE, "deep": DEEP}, {"deep": DEEP[:2], "wide": TABLE[:2]}),
        (
            Batch,
            {"wide": TABLE, "deep": [DEEP, None]},
            {"wide": TABLE[:2], "deep": [DEEP[:2], None]},
        ),
        (
            Batch,
            {"wide": TABLE, "deep": DEEP, "labels": None, "text": None},
            {"wide": TABLE[:2], "deep": DEEP[:2]},
        ),
        (Batch, {"wide": TABLE}, {"wide": TABLE[:2]}),
        (Batch, {"wide": TABLE, "deep": None}, {"wide": TABLE[:2], "deep": None}),
        (
            Batch,
            ({"wide": TABLE, "deep": DEEP}, None),
            ({"wide": TABLE[:2], "deep": DEEP[:2]}, None),
        ),
        (Listed, (TABLE, DEEP), (TABLE[:2], DEEP[:2])),
        (Listed, [TABLE, None], [TABLE[:2], None]),
    ],
)
def test_a_structure_is_the_only_argument_that_a_forward_needs(
    kind, inputs, background
):
    net = kind()
    wrapped = (
        inputs
        if isinstance(inputs, tuple) and isinstance(inputs[0], dict)
        else {"batch": inputs}
    )
    call_options = {"method": "shapley"}
    explanation = explain(net, inputs, background=background, **call_options)
    further = {"batch": background} if "batch" in wrapped else background
    twin = explain(net, wrapped, background=further, **call_options)
    assert np.abs(twin.values).max() > 0.01
    np.testing.assert_array_equal(explanation.values, twin.values)


@pytest.mark.parametrize(
    "method", ["permgrad", "permutation", "integrated_gradients", "shapley"]
)
def test_inputs_of_none_are_passed_on_and_are_no_players(method, capfd):
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 3)
            self.second = nn.Linear(3, 3)

        def forward(
            self, first: Tensor, mask: object, second: Tensor, scale: object = None
        ) -> Tensor:
            hidden = self.first(first) if mask is None else self.first(first) * mask
            product = hidden * self.second(second)
            return product if scale is None else product * scale

    net = Masked()
    placed = (TABLE, None, DEEP, None)
    named = {"second": DEEP, "first": TABLE, "scale": None, "mask": None}
    call_options = {"method": method, "scope": "local"}
    explanation = explain(net, placed, **call_options)
    twin = explain(net, named, **call_options)
    assert sorted(explanation.names) == sorted(twin.names)
    assert set(explanation.modality) == {"first", "second"}
    assert np.abs(explanation.values).max() > 0.01
    again = [list(twin.names).index(name) for name in explanation.names]
    np.testing.assert_allclose(
        explanation.values, twin.values[:, again], rtol=1e-4, atol=1e-6
    )
    assert not capfd.readouterr().err, (
        "what a try of parts of the network raises is nobody's concern"
    )


def test_a_dict_that_the_network_cannot_take_names_both_ways_that_were_tried():
    with pytest.raises(
        pg.InputError,
        match=r"as one argument 'batch' it raised KeyError: 'wide', and one after",
    ):
        explain(Batch(), {"wid": TABLE, "deep": DEEP})
    with pytest.raises(
        pg.InputError, match=r"hold no tensor, array or table\. Pass the"
    ):
        explain(Batch(), {"wide": None, "deep": [None]})


class Listed(nn.Module):
    """Takes a list of inputs as one argument, whose names Python does not know."""

    def forward(self, x: list[Tensor]) -> Tensor:
        wide, deep = x
        return wide.sum(dim=1) + 2 * deep.square().sum(dim=1)


class Starred(Listed):
    """Takes inputs in order, and further ones by name, as wrappers do."""

    def forward(self, *args: Tensor, **options: object) -> Tensor:
        assert not options
        return super().forward(list(args))


@pytest.mark.parametrize("method", ["permutation", "integrated_gradients"])
@pytest.mark.parametrize("net", [Listed(), Starred(), nn.Sequential(Listed())])
def test_a_dict_names_the_inputs_of_a_network_that_takes_a_list(net, method):
    call_options = {"method": method, "scope": "local"}
    bare = explain(net, [TABLE, DEEP], **call_options)
    named = explain(net, {"labs": TABLE, "scan": DEEP}, **call_options)
    assert all(name.endswith("]") for name in bare.modality), (
        "a precondition: these have no names"
    )
    assert set(named.modality) == {"labs", "scan"}
    assert np.abs(named.values).max() > 0.1
    call_options["background"] = {"scan": DEEP[:5], "labs": TABLE[:5]}
    more = explain(net, {"labs": TABLE, "scan": DEEP}, **call_options)
    if method == "integrated_gradients":  # the other draws for each name
        np.testing.assert_array_equal(named.values, bare.values)
        twin = explain(
            net, [TABLE, DEEP], **call_options | {"background": [TABLE[:5], DEEP[:5]]}
        )
        np.testing.assert_array_equal(more.values, twin.values)
        assert np.abs(more.values - named.values).max() > 0.1


def test_a_dict_as_a_list_is_said_to_be_in_order_where_inputs_could_be_swapped():
    with pytest.warns(
        pg.PermgradWarning, match=r"passed in order: labs as x\[0\], scan as x\[1\]"
    ):
        explain(Listed(), {"labs": DEEP, "scan": DEEP + 1})
    with pytest.raises(
        pg.InputError,
        match=r"as one argument 'x' it raised .* as one list 'x' it raised Value",
    ):
        explain(Listed(), {"labs": DEEP, "scan": DEEP, "more": TABLE})


class Optional(nn.Module):
    """Takes a second input and a factor where there are any."""

    def forward(
        self, first: Tensor, second: Tensor | None = None, factor: Tensor | None = None
    ) -> Tensor:
        output = first.square().sum(dim=1)
        output = output if second is None else output * second.sum(dim=1)
        return output if factor is None else output - factor.sum(dim=1)


def test_a_captum_object_is_refused_where_an_input_stands_behind_one_that_is_left_out():
    attr = pytest.importorskip("captum.attr")
    net = Optional()
    # Passed by position, the factor would be taken for the second input.
    for inputs in ({"first": TABLE, "factor": DEEP}, (TABLE, None, DEEP)):
        with pytest.raises(
            pg.InputError, match=r"or None before an input\. Wrap it in a module"
        ):
            explain(net, inputs, method=attr.InputXGradient(net))
    explanation = explain(
        net,
        {"second": DEEP, "first": TABLE, "factor": None},
        method=attr.InputXGradient(net),
    )
    expected = (2 * TABLE.square() * DEEP.sum(dim=1, keepdim=True)).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(explanation.values[:, 3:, 0], expected, rtol=1e-5)
