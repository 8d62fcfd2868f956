"""What ``pg.explain`` makes of a network's inputs and outputs, and what it says when it
cannot.
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.players.segments import build_space
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.outputs import OutputForm
from permgrad.attribution.subject.subject import Subject, mean_row, typical_row

ROWS = 12


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 2)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.head(
            torch.cat([image.flatten(1).mean(dim=1, keepdim=True), table], dim=1)
        )


IMAGE = torch.randn(ROWS, 1, 6, 6)
TABLE = torch.randn(ROWS, 4)


def explain(
    net: nn.Module, inputs: object, y: object = None, **options: object
) -> pg.Explanation:
    return explain_with(
        net,
        inputs,
        y,
        **{
            "method": "permutation",
            "random_state": 0,
            "n_repeats": 2,
            "progress": False,
            **options,
        },
    )


# ---- inputs --------------------------------------------------------------------------


def test_keys_are_matched_in_any_order():
    explanation = explain(Two(), {"table": TABLE, "image": IMAGE})
    assert set(explanation.modality) == {"table", "image"}


def test_keys_that_match_nothing_are_passed_in_order():
    assert set(explain(Two(), {"picture": IMAGE, "record": TABLE}).modality) == {
        "picture",
        "record",
    }


@pytest.mark.parametrize("keys", [("image", "record"), ("picture", "table")])
def test_a_partial_match_lists_both(keys):
    inputs = dict(zip(keys, (IMAGE, TABLE), strict=False))
    with pytest.raises(
        pg.InputError,
        match=rf"The keys of the inputs \({', '.join(keys)}\) do not .* \(image, "
        r"table\)",
    ):
        explain(Two(), inputs)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, pair: list[Tensor]) -> Tensor:
        return self.head(torch.cat(list(pair), dim=1))


@pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray], ids=["tensors", "arrays"])
@pytest.mark.parametrize("nested", [list, tuple])
def test_lists_in_a_tuple_of_inputs_are_read_as_lists_in_a_dict(kind, nested):
    net, (first, second) = Pair(), (TABLE[:, :1], TABLE[:, 1:])
    if kind is np.ndarray:
        first = first.numpy()
        second = second.numpy()
    named = explain(net, {"pair": [first, second]})
    placed = explain(net, (nested([first, second]),))
    assert (
        placed.names
        == named.names
        == ("pair[0][0]", "pair[1][0]", "pair[1][1]", "pair[1][2]")
    )
    assert np.nanmax(np.abs(named.values)) > 0, "NaN stands for a class that nobody has"
    np.testing.assert_array_equal(placed.values, named.values)


def test_a_list_of_lists_of_numbers_is_one_table():
    net = nn.Linear(4, 2)
    np.testing.assert_allclose(
        explain(net, TABLE.tolist()).values,
        explain(net, TABLE).values,
        rtol=1e-5,
        atol=1e-7,
    )


def test_too_few_and_too_many_inputs():
    with pytest.raises(
        pg.InputError, match=r"The forward also needs table\. Add it to the inputs"
    ):
        explain(Two(), {"image": IMAGE})
    with pytest.raises(
        pg.InputError,
        match=r"The forward takes no mask, only image, table\. Leave that out",
    ):
        explain(Two(), {"image": IMAGE, "table": TABLE, "mask": TABLE})


def test_numpy_and_pandas_get_the_networks_precision():
    frame = pd.DataFrame(
        TABLE.double().numpy(), columns=["age", "dose", "weight", "height"]
    )
    explanation = explain(Two(), {"image": IMAGE.double().numpy(), "table": frame})
    assert explanation.names[-4:] == ("age", "dose", "weight", "height")
    twin = explain(Two().double(), {"image": IMAGE, "table": TABLE})
    assert np.isfinite(twin.values[:, 0]).all()


def test_whole_numbers_become_real_where_the_network_wants_them():
    counts = np.random.default_rng(0).integers(0, 9, (ROWS, 3))
    assert np.isfinite(explain(nn.Linear(3, 1), counts).values).all()
    assert np.isfinite(
        explain(nn.Linear(3, 1), pd.DataFrame(counts, columns=list("abc"))).values
    ).all()


class CodesAndCounts(nn.Module):
    """An embedding, which takes whole numbers of 32 or 64 bits alone, beside a dense
    layer, which takes real ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 2)
        self.dense = nn.Linear(3, 2)

    def forward(self, codes: Tensor, counts: Tensor) -> Tensor:
        return self.table(codes).mean(dim=1) + self.dense(counts)


@pytest.mark.parametrize("kind", ["int64", "int16", "uint8"])
def test_codes_and_counts_are_told_apart_by_what_the_network_takes(kind):
    codes, counts = (
        np.random.default_rng(seed).integers(0, 9, (ROWS, 3)) for seed in (0, 1)
    )
    net = CodesAndCounts()
    explanation = explain(
        net,
        {"codes": codes.astype(kind), "counts": counts},
        task="regression",
        scope="local",
    )
    expected = net(torch.as_tensor(codes), torch.as_tensor(counts).float()).detach()
    np.testing.assert_allclose(explanation.predictions, expected, rtol=1e-6)
    looked_up = nn.Sequential(net.table, nn.Flatten())
    alone = explain(
        looked_up, codes[:, :1].astype(kind), task="regression", scope="local"
    )
    np.testing.assert_allclose(
        alone.predictions, net.table.weight[codes[:, 0]].detach(), rtol=1e-6
    )


def test_lengths_shapes_and_types_that_do_not_fit():
    with pytest.raises(
        pg.InputError, match="same number of rows, got image 12, table 11"
    ):
        explain(Two(), {"image": IMAGE, "table": TABLE[:11]})
    with pytest.raises(
        pg.InputError,
        match=r"does not accept the inputs: called with .*\(12, 3\).* raised",
    ):
        explain(Two(), {"image": IMAGE, "table": TABLE[:, :3]})
    with pytest.raises(pg.InputError, match="Column 'b' of 'table' does not"):
        explain(
            Two(),
            {
                "image": IMAGE,
                "table": pd.DataFrame({"a": [1.0] * ROWS, "b": ["x"] * ROWS}),
            },
        )
    with pytest.raises(pg.InputError, match="The inputs have no rows"):
        explain(Two(), {"image": IMAGE[:0], "table": TABLE[:0]})
    with pytest.raises(
        pg.InputError, match="real or whole numbers, but 'input' is complex"
    ):
        explain(nn.Linear(4, 1), TABLE.to(torch.complex64))
    with pytest.raises(pg.InputError, match="the same name"):
        explain(nn.Linear(2, 1), pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"]))


def test_a_background_is_laid_out_like_the_inputs():
    with pytest.raises(pg.InputError, match="structure of the inputs"):
        explain(Two(), {"image": IMAGE, "table": TABLE}, background={"image": IMAGE})
    with pytest.raises(
        pg.InputError, match=r"\(image, table\), got nothing\. Pass the same dict"
    ):
        explain(Two(), {"image": IMAGE, "table": TABLE}, background={})
    with pytest.raises(
        pg.InputError, match=r"must have the shape \(1, 6, 6\) of the inputs"
    ):
        explain(
            Two(),
            {"image": IMAGE, "table": TABLE},
            background={"image": IMAGE[:, :, :3], "table": TABLE},
        )
    with pytest.raises(
        pg.InputError, match=r"A single row has no other row .*\. Pass background="
    ):
        explain(Two(), {"image": IMAGE[:1], "table": TABLE[:1]})


def test_columns_of_further_rows_stand_in_the_order_of_the_inputs():
    frame = pd.DataFrame(TABLE.numpy(), columns=list("abcd"))
    assert np.isfinite(explain(nn.Linear(4, 1), frame, background=frame).values).all()
    with pytest.raises(
        pg.InputError,
        match=r"\['a', 'b', 'c', 'd'\]\), got \['d', 'c', 'b', 'a'\]\. Reorder",
    ):
        explain(nn.Linear(4, 1), frame, background=frame[list("dcba")])


def test_inputs_that_have_no_rows_or_no_numbers():
    with pytest.raises(
        pg.InputError,
        match=r"got a single number for 'input'\. Pass an array \(rows, …\)",
    ):
        explain(nn.Linear(4, 1), torch.tensor(3.0))
    with pytest.raises(
        pg.InputError, match=r"'input' is on the meta device\. Pass its rows"
    ):
        explain(nn.Linear(4, 1), TABLE.to("meta"))


def test_a_forward_that_takes_any_keyword_gets_them():
    class Named(nn.Module):
        def forward(self, **parts: Tensor) -> Tensor:
            return parts["one"].sum(dim=1) - parts["two"].sum(dim=1)

    explanation = explain(Named(), {"two": TABLE, "one": 2 * TABLE}, method="gradient")
    assert set(explanation.modality) == {"one", "two"}
    with pytest.raises(pg.InputError, match=r"does not accept the inputs: .*KeyError"):
        explain(Named(), {"one": TABLE})


def test_keys_that_match_nothing_must_be_as_many_as_the_forward_takes():
    with pytest.raises(
        pg.InputError,
        match=r"\(picture\) do not match the forward's parameters \(image, table\)",
    ):
        explain(Two(), {"picture": IMAGE})


def test_nested_inputs_are_named_by_their_place():
    class Nested(nn.Module):
        def forward(self, *parts: object, **named: object) -> Tensor:
            first, second = parts or (named["first"], named["second"])
            return (
                first[0].sum(dim=1) + 2 * first[1].sum(dim=1) - second["own"].sum(dim=1)
            )

    explanation = explain(
        Nested(), {"first": [TABLE, 2 * TABLE], "second": {"own": 3 * TABLE}}
    )
    assert list(dict.fromkeys(explanation.modality)) == [
        "first[0]",
        "first[1]",
        "second.own",
    ]
    flat = {"first[0]": TABLE, "second": {"own": TABLE}, "first": [TABLE, TABLE]}
    with pytest.raises(
        pg.InputError, match=r"Two inputs have the name 'first\[0\]'\. Pass a dict"
    ):
        explain(Nested(), flat)


def test_series_and_unsigned_numbers():
    series = pd.Series(np.arange(ROWS) % 5, dtype="uint16")
    net = Fixed(lambda x: x.reshape(len(x), -1).double().sum(dim=1) ** 2)
    explanation, plain = (
        explain(net, column_values)
        for column_values in (
            series,
            torch.as_tensor(series.to_numpy().astype(np.int64)),
        )
    )
    assert np.abs(plain.values).max() > 1
    np.testing.assert_array_equal(explanation.values, plain.values)


def test_the_same_column_in_two_tables():
    class Sum(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first.sum(dim=1) + second.sum(dim=1)

    frame = pd.DataFrame(TABLE.numpy(), columns=["age", "b", "c", "d"])
    explanation = explain(
        Sum(), {"first": frame, "second": frame.rename(columns={"b": "e"})}
    )
    assert explanation.names == (
        "first.age",
        "b",
        "first.c",
        "first.d",
        "second.age",
        "e",
        "second.c",
        "second.d",
    )


# ---- outputs -------------------------------------------------------------------------


class Fixed(nn.Module):
    """Returns a function of its input's columns."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)  # type: ignore[operator]


def form(function: object, y: object = None, **declared: object) -> OutputForm:
    return NetworkSubject(Fixed(function), TABLE, y, **declared).outputs  # type: ignore[arg-type]


CLASSES = np.arange(ROWS) % 2


class Named(NamedTuple):
    """What a forward may return; the output with the usual name is explained."""

    hidden: Tensor
    logits: Tensor


@pytest.mark.parametrize(
    ("function", "y", "task", "kind", "names"),
    [
        (lambda x: x[:, :3], None, "regression", "values", ("0", "1", "2")),
        (
            lambda x: x.softmax(1),
            None,
            "classification",
            "probabilities",
            ("0", "1", "2", "3"),
        ),
        (
            lambda x: x.log_softmax(1),
            None,
            "classification",
            "log_probabilities",
            ("0", "1", "2", "3"),
        ),
        # Where a class is certain the logarithm is 0.
        (
            lambda x: (1000 * x).log_softmax(1),
            None,
            "classification",
            "log_probabilities",
            ("0", "1", "2", "3"),
        ),
        (lambda x: x[:, 0], None, "regression", "values", ("all",)),
        (lambda x: x[:, :1], CLASSES, "classification", "logits", ("0", "1")),
        (
            lambda x: x[:, 0].sigmoid(),
            CLASSES,
            "classification",
            "probabilities",
            ("0", "1"),
        ),
        (lambda x: x[:, :1], np.linspace(0, 1, ROWS), "regression", "values", ("all",)),
        (lambda x: x[:, :2], TABLE[:, :2].numpy(), "regression", "values", ("0", "1")),
        (lambda x: (x[:, :2], x), None, "regression", "values", ("0", "1")),
        (
            lambda x: {"hidden": x, "logits": x[:, :3]},
            None,
            "classification",
            "logits",
            ("0", "1", "2"),
        ),
        (
            lambda x: Named(x, x[:, :3]),
            None,
            "classification",
            "logits",
            ("0", "1", "2"),
        ),
    ],
)
def test_what_outputs_are(function, y, task, kind, names):
    output_form = form(function, y)
    assert (
        output_form.task,
        output_form.kind,
        output_form.output_names,
        output_form.inferred,
    ) == (
        task,
        kind,
        names,
        True,
    )


def test_what_is_said_wins():
    assert form(lambda x: x[:, :1].sigmoid(), task="regression").kind == "values"
    assert form(lambda x: x.softmax(1), returns="logits").kind == "logits"
    assert form(lambda x: {"a": x[:, :1], "b": x}, head="b").count == 4
    assert form(lambda x: x[:, :2], class_names=["no", "yes"]).output_names == (
        "no",
        "yes",
    )
    assert form(lambda x: x[:, 0], class_names=["no", "yes"]).output_names == (
        "no",
        "yes",
    )


@pytest.mark.parametrize(
    ("function", "said", "message"),
    [
        (lambda x: x, {"returns": "probabilities"}, "must lie within 0 … 1"),
        (lambda x: x, {"returns": "scores"}, "returns must be one of"),
        (lambda x: x, {"class_names": ["a"]}, "must be 4 different names"),
        (lambda x: x, {"head": "logits"}, "returns a single tensor"),
        (lambda x: {"a": x}, {"head": "b"}, "head must be one of 'a'"),
        (lambda x: x[:3], {}, r"must have the shape \(rows,\) or \(rows, outputs\)"),
        (lambda x: x.mean(), {}, "must have the shape"),
        (lambda x: "text", {}, "must return a tensor"),
        (
            lambda x: x,
            {"task": "ranking"},
            "of 'classification', 'regression', 'multilabel', got 'ranking'",
        ),
        (
            lambda x: x,
            {"task": "regression", "returns": "logits"},
            "returns='logits' does not suit a regression",
        ),
        (
            lambda x: x,
            {"task": "classification", "returns": "values"},
            "returns='values' does not suit a classifier",
        ),
        (
            lambda x: x.abs() + 1,
            {"returns": "log_probabilities"},
            "not be above 0, got outputs up to",
        ),
        (
            lambda x: {"maps": x[:, :, None], "whole": x.long(), "short": x[:3]},
            {},
            (
                r"None of the network's outputs \(maps \(12, 4, 1\), whole \(12, 4\), "
                r"short \(3, 4\)\) has the shape"
            ),
        ),
    ],
)
def test_outputs_that_cannot_be_explained(function, said, message):
    with pytest.raises(pg.InputError, match=message):
        form(function, **said)


def test_one_number_per_row_may_keep_further_dimensions():
    explanation = explain(Fixed(lambda x: x[:, :1, None]), TABLE)
    flat = explain(Fixed(lambda x: x[:, 0]), TABLE)
    assert np.abs(flat.values).max() > 0.1
    np.testing.assert_array_equal(explanation.values, flat.values)


def test_an_output_that_has_no_row_for_each_is_passed_over():
    explanation = explain(
        Fixed(lambda x: {"logits": torch.ones(7, 2), "hidden": x[:, :3]}), TABLE
    )
    assert explanation.meta["head"] == "hidden"


def test_one_of_several_outputs_is_named_unless_its_name_says_it():
    several_outputs = Fixed(lambda x: (x, 10 * x[:, :2]))
    with pytest.warns(
        pg.PermgradWarning,
        match=r"several outputs\. 0 is explained\. Pass head= to pg\.Model to choose "
        r"it or 1\.",
    ):
        explain(several_outputs, TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert explain(several_outputs, TABLE, head=1).meta["head"] == 1
        explain(Fixed(lambda x: {"hidden": x, "logits": x[:, :3]}), TABLE)


def test_outputs_inside_others_are_found_by_their_names():
    nested = Fixed(
        lambda x: {
            "state": (x[:, :, None], [x[:, :2]]),
            "main": {"logits": x[:, :3], "loss": x.sum()},
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation = explain(nested, TABLE)
        assert explanation.meta["head"] == "main.logits"
        assert explain(nested, TABLE, head="state.1.0").meta["task"] == "regression"
    plain = explain(Fixed(lambda x: x[:, :3]), TABLE, returns="logits")
    assert np.nanmax(np.abs(plain.values)) > 0.1
    np.testing.assert_array_equal(explanation.values, plain.values)
    with pytest.raises(pg.InputError, match=r"Did you mean 'main\.logits'"):
        explain(nested, TABLE, head="logits")


def test_two_values_that_are_taken_for_numbers_are_named():
    net = Fixed(lambda x: x[:, 0].sigmoid())
    y = 1 + np.arange(ROWS) % 2
    with pytest.warns(
        pg.PermgradWarning,
        match=r"y holds only 1 and 2, and is taken for numbers\. Pass class_names=",
    ):
        explain(net, TABLE, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            explain(net, TABLE, y, class_names=["1", "2"]).meta["task"]
            == "classification"
        )
        explain(net, TABLE, y, task="regression")


def test_targets_that_do_not_fit():
    net = Fixed(lambda x: x[:, :3])
    for y, declared, message in (
        (
            TABLE[:, :2].numpy(),
            {"task": "regression"},
            r"3 numbers per row, like the output, got the shape",
        ),
        (
            np.array(["a"] * ROWS),
            {"task": "regression"},
            "Pass such numbers, or task='classification'",
        ),
        (
            np.full((ROWS, 3), np.inf),
            {"task": "regression"},
            r"y has 36 non-finite values\. Leave those rows out",
        ),
        (
            np.full((ROWS, 3), 2),
            {"task": "classification"},
            r"one class per row, got the shape \(12, 3\)",
        ),
        (
            np.array(["b", "z"] * 6),
            {"class_names": ["a", "b", "c"]},
            r"names \(a, b, c\), got 'z'",
        ),
    ):
        with pytest.raises(pg.InputError, match=message):
            explain(net, TABLE, y, **declared)
    with pytest.raises(
        pg.InputError,
        match=r"class numbers from 0 to 2 or class names \(0, 1, 2\), got 3",
    ):
        explain(net, TABLE, np.full(ROWS, 3))
    with pytest.raises(pg.InputError, match="one value for each of the 12 rows"):
        explain(net, TABLE, np.zeros(5, dtype=int))
    with pytest.raises(pg.InputError, match=r"No output 9\. The outputs are 0, 1, 2"):
        explain(net, TABLE, target=9)
    named = explain(
        net, TABLE, np.array(["b", "a", "c"] * 4), class_names=["a", "b", "c"]
    )
    assert named.outputs == ("all", "a", "b", "c")


def test_class_names_come_before_class_numbers():
    named = form(lambda x: x[:, :2], class_names=["1", "2"])
    assert named.encode_target(np.array([1, 2, 1]), 3).tolist() == [0, 1, 0]
    assert named.encode_target(np.array([0.0, 1.0, 0.0]), 3).tolist() == [0, 1, 0]
    assert form(lambda x: x[:, :2], returns="logits").encode_target(
        np.array([True, False]), 2
    ).tolist() == [1, 0]


def test_a_target_is_a_position_or_a_class():
    net = Fixed(lambda x: x[:, :2])
    assert explain(
        net, TABLE, method="gradient", class_names=[10, 20], target=20
    ).outputs == ("20",)
    assert explain(
        net, TABLE, method="gradient", class_names=[10, 20], target=1
    ).outputs == ("20",)
    assert explain(
        net, TABLE, method="gradient", class_names=[10, 20], target=[0, "10"]
    ).outputs == ("10",)


def test_losses_and_readouts_agree_whatever_the_network_returns():
    """Logits, probabilities and log-probabilities of the same classifier give the same
    losses and probabilities.
    """
    kinds = [
        form(lambda x: x, returns="logits"),
        form(lambda x: x.softmax(1)),
        form(lambda x: x.log_softmax(1)),
    ]
    outputs = [TABLE.double(), TABLE.double().softmax(1), TABLE.double().log_softmax(1)]
    y = np.arange(ROWS) % 4
    for loss in ("cross_entropy", "brier", "zero_one"):
        rows = [
            kind.loss_rows(output, y, loss)
            for kind, output in zip(kinds, outputs, strict=True)
        ]
        np.testing.assert_allclose(rows[1], rows[0], atol=1e-10)
        np.testing.assert_allclose(rows[2], rows[0], atol=1e-10)
    for kind, output in zip(kinds, outputs, strict=True):
        np.testing.assert_allclose(kind.probabilities(output), outputs[1], atol=1e-12)
        np.testing.assert_allclose(
            kind.divergence_rows(output.flip(0), output),
            kinds[0].divergence_rows(outputs[0].flip(0), outputs[0]),
            atol=1e-10,
        )


def test_extreme_probabilities_stay_finite():
    kind = form(lambda x: x[:, 0].sigmoid(), CLASSES)
    extreme = torch.tensor([[0.0], [1.0], [0.5]])
    assert torch.isfinite(kind.logits(extreme)).all()
    assert np.isfinite(
        kind.loss_rows(extreme, np.array([1, 0, 1]), "cross_entropy")
    ).all()


def test_networks_that_predict_nonsense_are_named():
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(dim=1) / (x[:, 0] > -9)

    rows = TABLE.clone()
    rows[2, 0] = -10
    with pytest.raises(
        pg.InputError, match=r"(finite numbers, but|predicts NaN.* for) 1 of 12 rows"
    ):
        explain(Broken(), rows)


@pytest.mark.parametrize(
    "method",
    ["permutation", "ablation", "shapley", "lime", "gradient", "integrated_gradients"],
)
def test_nonsense_is_refused_by_every_method(method):
    rows = pd.DataFrame(
        TABLE.numpy().copy(), columns=list("abcd")
    )  # pandas before 3 would write into TABLE
    rows.loc[3, "a"] = np.nan
    with pytest.raises(
        pg.InputError, match=r"(finite numbers, but|predicts NaN.* for) 1 of 12 rows"
    ):
        explain(nn.Linear(4, 2), rows, method=method)


@pytest.mark.parametrize(
    "method", ["permutation", "ablation", "permgrad", "shapley", "lime"]
)
def test_a_row_is_no_background_for_itself(method):
    with pytest.raises(
        pg.InputError,
        match=r"A single row has no other row .*\. Pass background= with further",
    ):
        explain(nn.Linear(4, 2), TABLE[:1], method=method)
    assert (
        np.nanmax(
            np.abs(
                explain(
                    nn.Linear(4, 2), TABLE[:1], method=method, background=TABLE[1:]
                ).values
            )
        )
        > 0
    )


def test_networks_of_chance_are_named():
    class Dice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(dim=1) + torch.randn(len(x))

    with pytest.warns(
        pg.PermgradWarning, match="gives a row different outputs each time"
    ):
        explain(Dice(), TABLE)


def test_inputs_that_are_none():
    for inputs, message in (
        (None, "got None for 'input'"),
        ({}, "hold no tensor, array or table"),
        ([], "hold no tensor"),
    ):
        with pytest.raises(pg.InputError, match=message):
            explain(nn.Linear(4, 2), inputs)
    with pytest.raises(
        pg.InputError, match="X must be rows in memory, got the path 'x'"
    ):
        pg.explain(nn.Linear(4, 2), "x")
    assert np.isfinite(
        explain(nn.Linear(2, 1), [[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]]).values
    ).all()


def test_one_hot_targets_are_classes():
    explanation = explain(nn.Linear(4, 3), TABLE, np.eye(3)[np.arange(ROWS) % 3])
    twin = explain(nn.Linear(4, 3), TABLE, np.arange(ROWS) % 3)
    assert explanation.outputs == twin.outputs == ("all", "0", "1", "2")


def test_what_only_estimators_can_do_is_said():
    for options, message in (
        ({"method": "permgrad_paper"}, "Choose .*, 'permgrad', "),
        ({"layer": "nowhere"}, "layer must be one of 'head'"),
        (
            {"segments": "hexagons"},
            "segments must be one of 'pixels', 'grid', 'windows', 'superpixels'",
        ),
        ({"segments": {"table": "pixels"}}, "'table' is not an image"),
        ({"segments": {"imag": "pixels"}}, "Did you mean 'image'"),
        (
            {"segments": np.zeros((3, 3), dtype=int)},
            "one integer for each of its 6 × 6 pixels",
        ),
        ({"segments": ("grid", 0)}, "at least 1"),
    ):
        with pytest.raises(pg.InputError, match=message):
            explain(Two(), {"image": IMAGE, "table": TABLE}, **options)
    with pytest.raises(
        pg.InputError, match=r"The model must be a torch network, .* got builtins\.dict"
    ):
        pg.explain({}, TABLE)


# ---- players -------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_blending_and_sums_are_their_definitions(data):
    players = data.draw(st.integers(1, 4))
    shapes = data.draw(
        st.lists(
            st.lists(st.integers(1, 3), min_size=0, max_size=3), min_size=1, max_size=3
        )
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    segments = [torch.as_tensor(rng.integers(-1, players, shape)) for shape in shapes]
    names = tuple(f"p{k}" for k in range(players))
    space = PlayerSpace(
        names,
        ("m",) * players,
        tuple(f"i{k}" for k in range(len(shapes))),
        tuple(segments),
    )
    rows = [torch.as_tensor(rng.normal(size=(3, *shape))) for shape in shapes]
    donors = [torch.as_tensor(rng.normal(size=(3, *shape))) for shape in shapes]
    replaced = torch.as_tensor(rng.random((3, players)) < 0.5)
    subject = Subject()
    subject.outputs = OutputForm("regression", "values", 1, (), ("all",))
    subject.device = torch.device("cpu")
    subject.predict = lambda inputs: torch.cat(
        [row.reshape(len(row), -1) for row in inputs], 1
    )
    request: Any = SimpleNamespace(
        subject=subject,
        inputs=rows,
        donors=donors,
        space=space,
        batch_size=2,
        count=3,
        incremental=True,
    )
    game = Blend(request)
    every = np.arange(3)
    outputs = game.predict(every, every, replaced)
    for row in range(3):
        assert torch.equal(
            game.predict_one([row], [row], replaced[row].numpy())[0], outputs[row]
        )
    assert torch.equal(
        game.grid(every, every[:, None], ~replaced[:, None].numpy())[:, 0, 0], outputs
    )
    sizes = [tensor[0].numel() for tensor in rows]
    blended = [
        output_part.reshape(tensor.shape)
        for output_part, tensor in zip(outputs.split(sizes, dim=1), rows, strict=True)
    ]
    sums = np.zeros((3, players))
    for row_tensor, donor_tensor, mixed, owner in zip(
        rows, donors, blended, segments, strict=True
    ):
        for row in range(3):
            for position in np.ndindex(*owner.shape):
                player = int(owner[position])
                is_replaced = player >= 0 and bool(replaced[row, player])
                assert (
                    mixed[(row, *position)]
                    == (donor_tensor if is_replaced else row_tensor)[(row, *position)]
                )
                if player >= 0:
                    sums[row, player] += float(row_tensor[(row, *position)])
    np.testing.assert_allclose(space.sums(rows).numpy(), sums, atol=1e-12)
    owned = torch.cat([segment_map.reshape(-1) for segment_map in segments])
    assert space.sizes().tolist() == [
        int((owned == player).sum()) for player in range(players)
    ]


def test_levels_are_one_tree():
    space = build_space(("image", "table"), (IMAGE, TABLE), (None, None), ("grid", 2))
    grouped = space.grouped(
        {"left": ["image[0,0]", "image[1,0]"], "some": ["table[0]", "table[1]"]}
    )
    assert grouped.names == (
        "left",
        "image[0,1]",
        "image[1,1]",
        "some",
        "table[2]",
        "table[3]",
    )
    assert grouped.member(grouped.modalities()).tolist() == [0, 0, 0, 1, 1, 1]
    assert space.modalities().names == ("image", "table")
    assert space.only("table").names == ("table[0]", "table[1]", "table[2]", "table[3]")
    assert space.only("table").sums([IMAGE, TABLE]).shape == (ROWS, 4)
    for groups, message in (
        ({"a": ["nothing"]}, "Group 'a' names 'nothing', which is not a feature"),
        ({"a": ["table[0]"], "b": ["table[0]"]}, "in one group only"),
        ({"a": []}, "Group 'a' is empty"),
        ({"table[0]": ["table[1]"]}, "name of a feature outside it"),
    ):
        with pytest.raises(pg.InputError, match=message):
            space.grouped(groups)


# ---- several methods in one call -----------------------------------------------------


def test_each_input_by_its_own_method():
    net = Two()
    inputs = {"image": IMAGE, "table": TABLE}
    method_by_input = {
        "image": "permutation",
        "table": pg.methods.Ablation(baseline="zeros"),
    }
    call_options = {
        "segments": ("grid", 2),
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
    }
    explanation = explain_with(net, inputs, method=method_by_input, **call_options)
    assert explanation.method == "mixed"
    assert explanation.meta["methods"] == {"image": "permutation", "table": "ablation"}
    assert set(explanation.meta["units"]) == {"image", "table"}
    alone = pg.explain(
        net,
        inputs,
        method=pg.methods.Ablation(baseline="zeros"),
        scope="local",
        random_state=0,
        progress=False,
    )
    feature_indices = [explanation.names.index(f"table[{k}]") for k in range(4)]
    np.testing.assert_allclose(
        explanation.values[:, feature_indices],
        alone.values[:, [alone.names.index(f"table[{k}]") for k in range(4)]],
    )
    for modality in ("image", "table"):
        mine = [
            feature_modality == modality for feature_modality in explanation.modality
        ]
        np.testing.assert_allclose(explanation.parts["share"][:, mine].sum(axis=1), 1)
    with pytest.raises(pg.InputError, match="a different method"):
        explanation.by_modality()
    for method, message in (
        ({}, "empty dict"),
        ({"imag": "permutation"}, "Did you mean 'image'"),
        ({"image": "permutatio"}, "Did you mean 'permutation'"),
        ({"image": ("permutation", 3)}, "one of pg.methods, .* got tuple"),
        ({"table": "gradcam"}, "gradcam|convolution"),
    ):
        with pytest.raises(pg.InputError, match=message):
            pg.explain(net, inputs, method=method, progress=False)


def test_saved_and_loaded(tmp_path):
    explanation = explain(
        Two(), {"image": IMAGE, "table": TABLE}, CLASSES, method="permgrad"
    )
    explanation.save(tmp_path / "why")
    again = pg.Explanation.load(tmp_path / "why")
    pd.testing.assert_frame_equal(
        again.to_frame(), explanation.to_frame(), check_dtype=False
    )
    assert again.branches == explanation.branches
    assert set(again.maps) == set(explanation.maps)


# ---- what a stranger tried -----------------------------------------------------------


def test_several_labels_at_once_are_refused():
    labels = np.array([[1, 0, 1], [0, 0, 0]] * 6)
    assert explain(nn.Linear(4, 3), TABLE, labels).meta["task"] == "multilabel"
    assert (
        explain(nn.Linear(4, 3), TABLE, labels, task="regression").meta["unit"] == "y²"
    )


def test_target_picks_among_several_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(4, 3)
        y = pd.DataFrame(torch.randn(ROWS, 3).numpy(), columns=["u", "v", "w"])
    explanation = explain(net, TABLE, y, target="v")
    alone = explain(nn.Sequential(net, Fixed(lambda x: x[:, 1])), TABLE, y["v"])
    np.testing.assert_allclose(explanation.values, alone.values, rtol=1e-5, atol=1e-8)
    assert not np.allclose(explanation.values, explain(net, TABLE, y).values)
    picked = nn.Sequential(net, Fixed(lambda x: x[:, 1]))
    scores = explain(net, TABLE, y, scoring="r2", target="v")
    score = explain(picked, TABLE, y["v"], scoring="r2")
    np.testing.assert_allclose(scores.values, score.values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method", ["permutation", "permgrad", "shapley", "lime", "integrated_gradients"]
)
def test_a_background_of_nonsense_is_refused(method):
    background = TABLE.clone()
    background[3, 1] = torch.nan
    options = {"baseline": "background"} if method == "integrated_gradients" else {}
    with pytest.raises(pg.InputError, match=r"for the background.*\. Check the rows"):
        explain(nn.Linear(4, 2), TABLE, method=method, background=background, **options)


def test_a_background_that_the_network_does_not_take():
    net = nn.Sequential(nn.Embedding(3, 2), nn.Flatten(), nn.Linear(4, 2))
    codes = np.ones((ROWS, 2), dtype=np.int64)
    with pytest.raises(
        pg.InputError, match="failed on the background rows: it raised IndexError"
    ):
        explain(net, codes, background=codes + 5)


@pytest.mark.parametrize("method", ["integrated_gradients", "deeplift"])
def test_slopes_over_missing_values_are_refused(method):
    net = nn.Sequential(Fixed(lambda x: torch.nan_to_num(x) ** 2), nn.Linear(4, 2))
    rows = TABLE.clone()
    rows[2, 1] = torch.nan
    assert np.isfinite(
        explain(net, rows, method="shapley", background=TABLE).values
    ).all()
    with pytest.raises(pg.InputError, match="choose method='shapley'"):
        explain(net, rows, method=method)


def test_channels_are_found_where_they_are():
    for shape, last in (
        ((16, 16, 6), "x[15,15]"),
        ((6, 16, 16), "x[15,15]"),
        ((10, 12, 3), "x[9,11]"),
    ):
        net = Fixed(lambda x: x.flatten(1).sum(dim=1))
        explanation = pg.explain(
            pg.Model(net, segments="pixels"),
            torch.randn(5, *shape),
            method="gradient",
            progress=False,
        )
        assert explanation.names[-1] == last, shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.0}, "No output 1.0. The outputs are 0, 1"),
        ({"y": 1}, "y must have one value per row, got int 1"),
        ({"layer": ["a"]}, "names a part of the network, but Linear has no parts"),
        (
            {"groups": [["a"]]},
            "groups must be a mapping of names to lists of features, got",
        ),
        ({"scoring": lambda: 1.0, "y": CLASSES}, "Scorer '<lambda>' raised TypeError"),
        (
            {"scoring": lambda *_: "much", "y": CLASSES},
            "Scorer '<lambda>' raised ValueError",
        ),
        (
            {"y": np.array([np.nan] + [1.0] * (ROWS - 1))},
            r"y has 1 missing value\. Leave that row out",
        ),
        ({"background": TABLE[:0]}, "need at least one row, got none"),
        ({"background": (TABLE, TABLE)}, "structure of the inputs"),
    ],
)
def test_wrong_arguments_end_in_a_sentence(options, message):
    options = dict(options)
    with pytest.raises(pg.InputError, match=message):
        explain(nn.Linear(4, 2), TABLE, options.pop("y", None), **options)


def test_inputs_of_other_kinds():
    with pytest.raises(pg.InputError, match="Inputs must be dense"):
        explain(nn.Linear(4, 2), TABLE.to_sparse())
    with pytest.raises(pg.InputError, match="map of object for 'input'"):
        explain(nn.Linear(4, 2), map(float, range(ROWS)))
    assert np.isfinite(explain(nn.Linear(4, 2), TABLE.long()).values[:, 0]).all()


def test_what_was_inferred_is_told():
    explanation = explain(Fixed(lambda x: {"hidden": x, "logits": x[:, :3]}), TABLE)
    assert (
        explanation.meta["head"],
        explanation.meta["returns"],
        explanation.meta["output_inferred"],
    ) == ("logits", "logits", True)


# ---- segments and baselines ----------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "segments", "message"),
    [
        (
            TABLE,
            ("grid", 2),
            r"segments= cuts images, and none of the inputs is an image\. Leave it out",
        ),
        (
            IMAGE,
            np.full((6, 6), -1),
            "the mask of .* are below 0, so it has no segment",
        ),
    ],
)
def test_segments_that_cut_nothing(inputs, segments, message):
    with pytest.raises(pg.InputError, match=message):
        explain(Fixed(lambda x: x.flatten(1)[:, :2]), inputs, segments=segments)


def test_players_of_one_name_are_refused():
    frame = pd.DataFrame(np.ones((ROWS, 1)), columns=["image[0,0]"])
    with pytest.raises(
        pg.InputError,
        match=r"Two features have the name 'image\[0,0\]'\. Rename the column",
    ):
        build_space(
            ("image", "table"),
            (IMAGE, TABLE[:, :1]),
            (None, tuple(frame.columns)),
            ("grid", 2),
        )


def test_inputs_without_columns_or_pixels_are_one_player():
    numbers = torch.arange(float(ROWS))
    stack = torch.randn(ROWS, 2, 3, 4, 5)
    space = build_space(("number", "stack"), (numbers, stack), (None, None), None)
    assert space.names == ("number", "stack")
    np.testing.assert_allclose(
        space.sums([numbers.double(), stack.double()]).numpy(),
        np.stack(
            [numbers.double().numpy(), stack.double().flatten(1).sum(dim=1).numpy()],
            axis=1,
        ),
    )


def test_superpixels_do_not_depend_on_where_the_channels_stand():
    first = torch.randn(ROWS, 3, 8, 8)
    (first_segments,), (last_segments,) = (
        build_space(("image",), (images,), (None,), ("superpixels", 6)).segments
        for images in (first, first.permute(0, 2, 3, 1).contiguous())
    )
    assert len(first_segments.unique()) > 2
    assert torch.equal(
        first_segments[0] if first_segments.ndim == 3 else first_segments,
        last_segments[..., 0] if last_segments.ndim == 3 else last_segments,
    )


@pytest.mark.parametrize("kind", [torch.int64, torch.bool])
def test_summaries_of_whole_numbers_are_their_most_frequent(kind):
    rows = torch.tensor([[0, 1], [0, 1], [1, 1], [0, 0], [1, 1]]).to(kind)
    assert rows.double().mean(dim=0).tolist() == [0.4, 0.8], (
        "neither is the most frequent one"
    )
    for summarise in (mean_row, typical_row):
        summary_row = summarise(rows)
        assert summary_row.dtype == kind
        assert summary_row.tolist() == [[0, 1]]


def test_ablation_sets_one_value():
    with pytest.raises(
        pg.InputError, match="baseline must be one of 'typical', 'zeros', got 'mode'"
    ):
        explain(nn.Linear(4, 2), TABLE, method="ablation", n_repeats=1, baseline="mode")


def test_values_that_do_not_add_up_are_not_stacked():
    net = nn.Linear(4, 2)
    for method in ("gradient", "lime", "permutation"):
        explanation = explain(net, TABLE, method=method, scope="local")
        with pytest.raises(pg.InputError, match="waterfall needs values that add up"):
            explanation.plot.waterfall()
    mixed = pg.explain(
        Two(),
        (IMAGE, TABLE),
        method={"image": "gradient", "table": "lime"},
        progress=False,
    )
    for call in (mixed.to_shap, mixed.ranking):
        with pytest.raises(pg.InputError, match="a different method"):
            call()
