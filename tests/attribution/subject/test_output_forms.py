"""What a network's outputs are taken for: every kind and width against formulas,
targets and what is inferred.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with

import permgrad as pg
from permgrad.attribution.request.asked_outputs import resolve_loss
from permgrad.attribution.subject.heads import _flat, pick_head
from permgrad.attribution.subject.outputs import (
    OutputForm,
    _infer_kind,
    as_target,
    is_one_hot,
    label_place,
    output_range,
    resolve_outputs,
)
from permgrad.attribution.subject.scales import LOGIT, PROBABILITY, RAW

ROWS = 7
SCORES = np.random.default_rng(0).normal(size=(ROWS, 3)) * 2
OTHER = np.random.default_rng(1).normal(size=(ROWS, 3)) * 2
Y = np.array([0, 1, 2, 0, 2, 1, 1])


def shares_of(scores: np.ndarray) -> np.ndarray:
    """Return the probability of every class by the definition."""
    if scores.shape[1] == 1:
        positive_share = 1 / (1 + np.exp(-scores))
        return np.concatenate([1 - positive_share, positive_share], axis=1)
    raised = np.exp(scores)
    return raised / raised.sum(axis=1, keepdims=True)


def given_as(kind: str, scores: np.ndarray) -> torch.Tensor:
    """Return what a network with these scores gives, if it gives this kind."""
    shares = shares_of(scores)[:, -scores.shape[1] :]
    return torch.from_numpy(
        {
            "logits": scores,
            "probabilities": shares,
            "log_probabilities": np.log(shares),
        }[kind]
    )


CASES = [
    ("logits", 1),
    ("logits", 2),
    ("logits", 3),
    ("probabilities", 1),
    ("probabilities", 3),
]
CASES += [("log_probabilities", 1), ("log_probabilities", 2), ("log_probabilities", 3)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]} {case[1]}")
def form(
    request,
) -> tuple[OutputForm, torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Return the form, outputs and others, and the probabilities that they stand
    for.
    """
    kind, count = request.param
    names = tuple("abc"[: max(count, 2)])
    output_form = OutputForm(
        "classification",
        kind,
        count,
        names,
        names if count > 1 else names[1:],
        inferred=False,
    )
    class_scores = SCORES[:, :count]
    other_scores = OTHER[:, :count]
    return (
        output_form,
        given_as(kind, class_scores),
        given_as(kind, other_scores),
        shares_of(class_scores),
        shares_of(other_scores),
    )


def test_probabilities_logits_and_readouts(form):
    output_form, outputs, _, shares, _ = form
    np.testing.assert_allclose(output_form.probabilities(outputs), shares, rtol=1e-12)
    returned_shares = shares[:, -output_form.count :]
    np.testing.assert_allclose(
        output_form.own_probabilities(outputs), returned_shares, rtol=1e-12
    )
    np.testing.assert_allclose(
        PROBABILITY.read(output_form, outputs), shares, rtol=1e-12
    )
    logits = output_form.logits(outputs)
    np.testing.assert_allclose(shares_of(logits.numpy()), shares, rtol=1e-9)
    logs = np.log(shares)
    centred = logs - logs.mean(axis=1, keepdims=True)
    expected_logits = 2 * centred if len(output_form.class_names) == 2 else centred
    np.testing.assert_allclose(
        LOGIT.read(output_form, outputs), expected_logits, rtol=1e-9, atol=1e-12
    )
    assert torch.equal(RAW.read(output_form, outputs), outputs)
    if output_form.kind == "logits" or (
        output_form.kind == "log_probabilities" and output_form.count > 1
    ):
        assert torch.equal(logits, outputs)
    leaf = outputs.clone().requires_grad_()
    (slope,) = torch.autograd.grad(
        LOGIT.read(output_form, leaf)[:, 0].sum()
        + output_form.probabilities(leaf)[:, 0].sum(),
        leaf,
    )
    assert torch.isfinite(slope).all()


def test_losses_and_divergences(form):
    output_form, outputs, other_outputs, shares, other_shares = form
    y = Y % len(output_form.class_names)
    true_shares = shares[np.arange(ROWS), y]
    np.testing.assert_allclose(
        output_form.loss_rows(outputs, y, "cross_entropy"),
        -np.log(true_shares),
        rtol=1e-9,
    )
    eye = np.eye(len(output_form.class_names))[y]
    brier = ((shares - eye) ** 2).sum(axis=1)
    assert output_form.loss_rows(outputs, y, "brier") == pytest.approx(
        brier
    ) or output_form.loss_rows(outputs, y, "brier") == pytest.approx(brier / 2)
    expected = (other_shares * (np.log(other_shares) - np.log(shares))).sum(axis=1)
    assert expected.min() > 1e-3
    np.testing.assert_allclose(
        output_form.divergence_rows(outputs, other_outputs), expected, rtol=1e-9
    )
    np.testing.assert_allclose(
        output_form.divergence_rows(outputs, outputs), 0, atol=1e-15
    )


@pytest.mark.parametrize("columns", [(), (1,), (0, 2)])
def test_a_regression_of_several_numbers_is_their_mean(columns):
    output_form = OutputForm(
        "regression", "values", 3, (), ("0", "1", "2"), loss_columns=columns
    )
    outputs = torch.from_numpy(SCORES)
    other_outputs = torch.from_numpy(OTHER)
    used_columns = list(columns or range(3))
    squared = (SCORES - OTHER)[:, used_columns] ** 2
    np.testing.assert_allclose(
        output_form.loss_rows(outputs, OTHER, "squared_error"),
        squared.mean(axis=1),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        output_form.divergence_rows(outputs, other_outputs),
        squared.mean(axis=1),
        rtol=1e-12,
    )
    absolute = np.abs(SCORES - OTHER)[:, used_columns]
    np.testing.assert_allclose(
        output_form.loss_rows(outputs, OTHER, "absolute_error"),
        absolute.mean(axis=1),
        rtol=1e-12,
    )
    for scale in (PROBABILITY, LOGIT, RAW):
        assert torch.equal(scale.read(output_form, outputs), outputs)
    single = OutputForm("regression", "values", 1, (), ("all",), inferred=False)
    np.testing.assert_allclose(
        single.loss_rows(outputs[:, :1], OTHER[:, 0], "squared_error"),
        (SCORES - OTHER)[:, 0] ** 2,
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_probabilities_have_finite_logits(dtype):
    for count in (1, 2):
        names = ("a", "b")
        output_form = OutputForm(
            "classification",
            "probabilities",
            count,
            names,
            names[-count:],
            inferred=False,
        )
        outputs = torch.tensor([[0.0], [1.0], [0.5]], dtype=dtype)
        outputs = outputs if count == 1 else torch.cat([1 - outputs, outputs], dim=1)
        logits = output_form.logits(outputs)
        assert torch.isfinite(logits).all()
        differences = logits[:, 0] if count == 1 else logits[:, 1] - logits[:, 0]
        assert differences[0] < -10
        assert differences[1] > 10
        assert differences[2] == 0


@pytest.mark.parametrize(
    ("dtype", "largest"), [(torch.float32, 80.0), (torch.float64, 700.0)]
)
def test_one_log_probability_gives_its_logit_to_the_last_digits(dtype, largest):
    output_form = OutputForm(
        "classification", "log_probabilities", 1, ("a", "b"), ("b",), inferred=False
    )
    logits = torch.linspace(-largest, largest, 41, dtype=dtype)[
        :, None
    ].requires_grad_()
    outputs = torch.nn.functional.logsigmoid(logits)
    assert (outputs.exp() == 1).any(), "the probability itself is 1 to the last digit"
    computed_logits = output_form.logits(outputs)
    torch.testing.assert_close(
        computed_logits, logits, rtol=16 * torch.finfo(dtype).eps, atol=1e-6
    )
    torch.testing.assert_close(
        output_form.own_probabilities(outputs), torch.sigmoid(logits)
    )
    (slope,) = torch.autograd.grad(computed_logits.sum(), logits)
    torch.testing.assert_close(slope, torch.ones_like(slope), rtol=1e-4, atol=1e-4)
    assert torch.isfinite(output_form.logits(torch.zeros(1, 1, dtype=dtype))).all(), (
        "where p was rounded to 1"
    )


@pytest.mark.parametrize(
    "method", ["gradient", "shapley", "permutation", "integrated_gradients"]
)
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_a_network_of_one_log_probability_is_explained_as_one_of_logits(method, output):
    attributions = []
    for kind, last in (
        ("logits", torch.nn.Identity()),
        ("log_probabilities", torch.nn.LogSigmoid()),
    ):
        torch.manual_seed(0)
        net = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1), last
        ).double()
        options = {
            "method": method,
            "scale": output,
            "returns": kind,
            "random_state": 0,
            "progress": False,
        }
        attributions.append(explain_with(net, SCORES, Y % 2, **options).values)
    assert np.nanmax(np.abs(attributions[0])) > 1e-2
    np.testing.assert_allclose(attributions[1], attributions[0], rtol=1e-6, atol=1e-8)


# ---- targets -------------------------------------------------------------------------


def classifier(*names: str) -> OutputForm:
    return OutputForm(
        "classification", "logits", len(names), names, names, inferred=False
    )


@pytest.mark.parametrize(
    ("y", "names", "expected"),
    [
        ([0, 2, 1], ("a", "b", "c"), [0, 2, 1]),
        ([0.0, 2.0, 1.0], ("a", "b", "c"), [0, 2, 1]),
        (["c", "a", "b"], ("a", "b", "c"), [2, 0, 1]),
        ([[1], [2], [1]], ("1", "2"), [0, 1, 0]),
        ([2, 1, 2], ("1", "2"), [1, 0, 1]),
        ([0, 1, 0], ("1", "2"), [0, 1, 0]),
        ([0.0, 1.0, 0.0], ("1", "2"), [0, 1, 0]),
        ([0, 1, 2], ("2", "1", "0"), [2, 1, 0]),
        ([0.0, 1.0, 2.0], ("2", "1", "0"), [2, 1, 0]),
        (
            torch.tensor([0.0, 1.0, 2.0], dtype=torch.bfloat16),
            ("2", "1", "0"),
            [2, 1, 0],
        ),
        ([True, False, True], ("1", "0"), [0, 1, 0]),
        ([2, 1, 2], ("1.0", "2.0"), [1, 0, 1]),
        ([0.5, 1.5, 0.5], ("0.5", "1.5"), [0, 1, 0]),
        ([True, False, True], ("no", "yes"), [1, 0, 1]),
        (np.eye(3)[[2, 0, 1]], ("a", "b", "c"), [2, 0, 1]),
        (torch.tensor([1, 0, 1]), ("a", "b"), [1, 0, 1]),
        (
            torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.bfloat16),
            ("a", "b"),
            [1, 0, 1],
        ),
        (pd.Series(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
    ],
)
def test_classes_are_numbers_or_names(y, names, expected):
    encoded_target = classifier(*names).encode_target(y, 3)
    assert encoded_target.dtype == np.int64
    assert encoded_target.tolist() == expected


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([0, 1, 3], "class numbers from 0 to 2 or class names .*, got 3"),
        ([0, 1, -1], "got -1"),
        ([0, 1, 0.5], "got 0.5"),
        (["a", "b", "d"], "got 'd'"),
        ([0, 1, np.inf], "got inf"),
        ([0, np.nan, np.nan], "y has 2 missing values"),
        ([0, 1], "one value for each of the 3 rows"),
        (np.ones((3, 2)), "one class per row"),
        ("a", "one value per row"),
        ([[0], [1, 2], [3]], "entries differ in shape"),
    ],
)
def test_classes_that_there_are_not(y, said):
    """What is told is the first that is neither a name nor a number of a class."""
    with pytest.raises(pg.InputError, match=said):
        classifier("a", "b", "c").encode_target(y, 3)


@pytest.mark.parametrize(
    ("y", "strange"), [([1, 2, 3], 3), ([0, 1, 5], 5), ([2, 0, 1], 0)]
)
def test_names_that_look_like_numbers(y, strange):
    """With names 1 and 2 the numbers 0 and 1 are classes as well, but not beside
    a 2.
    """
    with pytest.raises(pg.InputError, match=rf"got {strange}\."):
        classifier("1", "2").encode_target(y, 3)


def test_numbers_to_be_predicted():
    single = OutputForm("regression", "values", 1, (), ("all",), inferred=False)
    double = OutputForm("regression", "values", 2, (), ("0", "1"), inferred=False)
    for y in (
        [1, 2, 3],
        [[1], [2], [3]],
        torch.tensor([1.0, 2.0, 3.0]),
        pd.Series([1, 2, 3]),
    ):
        encoded_target = single.encode_target(y, 3)
        assert (encoded_target.dtype, encoded_target.tolist()) == (
            np.float64,
            [1.0, 2.0, 3.0],
        )
    assert double.encode_target([[1, 2], [3, 4], [5, 6]], 3).tolist() == [
        [1.0, 2.0],
        [3.0, 4.0],
        [5.0, 6.0],
    ]
    for output_form, y, message in (
        (single, np.ones((3, 2)), "y must have 1 number per row, like the output"),
        (double, [1, 2, 3], "y must have 2 numbers per row, like the output"),
        (single, ["a", "b", "c"], "y must have 1 number per row"),
        (single, [1.0, np.inf, 2.0], "y has 1 non-finite value"),
        (single, [1.0, np.nan, 2.0], r"y has 1 missing value\. Leave that row out"),
    ):
        with pytest.raises(pg.InputError, match=message):
            output_form.encode_target(y, 3)


def test_single_columns_and_one_hot_rows():
    assert as_target([[1], [2]]).shape == (2,)
    assert as_target(np.ones((2, 1, 1))).shape == (2, 1, 1)
    assert as_target([[1, 2], [3, 4]]).shape == (2, 2)
    for wrong in (
        np.ones((3, 1)),
        np.zeros((3, 2)),
        np.full((3, 2), 0.5),
        np.ones(3),
        np.array([["a", "b"]]),
    ):
        assert not is_one_hot(wrong)
    assert not is_one_hot(np.array([[2, -1], [0, 1]])), (
        "the sum alone does not make it one"
    )
    assert is_one_hot(np.array([[True, False], [False, True]]))


# ---- what is inferred ----------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_kinds_are_told_by_their_sums(dtype):
    shares = shares_of(np.random.default_rng(0).normal(size=(50, 4)))
    assert _infer_kind(torch.from_numpy(shares).to(dtype)) == "probabilities"
    assert (
        _infer_kind(torch.from_numpy(np.log(shares)).to(dtype)) == "log_probabilities"
    )
    for wrong in (
        1.1 * shares,
        shares - 0.3,
        np.log(shares) + 0.3,
        np.log(shares) - 0.3,
        shares - 1,
    ):
        assert _infer_kind(torch.from_numpy(wrong).to(dtype)) == "logits"
    column = torch.tensor([[0.0], [0.3], [1.0]], dtype=dtype)
    assert _infer_kind(column) == "probabilities"
    for wrong in (column + 0.1, column - 0.1):
        assert _infer_kind(wrong) == "logits"


def resolved(outputs, y=None, **options) -> OutputForm:
    call_options = {"kind": None, "task": None, "class_names": None} | options
    return resolve_outputs(
        torch.as_tensor(outputs, dtype=torch.float64), y, **call_options
    )


@pytest.mark.parametrize(
    ("columns", "y", "options", "task", "names", "classes"),
    [
        (1, None, {}, "regression", ("all",), ()),
        (1, [0, 1, 1], {}, "classification", ("0", "1"), ("0", "1")),
        (1, [0.5, 1.0, 1.0], {}, "regression", ("all",), ()),
        (1, ["a", "b", "b"], {}, "classification", ("0", "1"), ("0", "1")),
        (
            1,
            None,
            {"class_names": ["no", "yes"]},
            "classification",
            ("no", "yes"),
            ("no", "yes"),
        ),
        (1, None, {"kind": "logits"}, "classification", ("0", "1"), ("0", "1")),
        (1, [0, 1, 1], {"kind": "values"}, "regression", ("all",), ()),
        (2, None, {}, "regression", ("0", "1"), ()),
        (3, [[0.5, 1, 2]] * 3, {}, "regression", ("0", "1", "2"), ()),
        (3, [0, 1, 2], {}, "classification", ("0", "1", "2"), ("0", "1", "2")),
        (3, np.eye(3), {}, "classification", ("0", "1", "2"), ("0", "1", "2")),
        (2, None, {"task": "regression"}, "regression", ("0", "1"), ()),
        (
            2,
            pd.DataFrame({"u": [1.5, 2, 3], "v": [1, 2, 3]}),
            {},
            "regression",
            ("u", "v"),
            (),
        ),
        (
            2,
            None,
            {"class_names": ["a", "b"]},
            "classification",
            ("a", "b"),
            ("a", "b"),
        ),
    ],
)
def test_task_and_names(columns, y, options, task, names, classes):
    output_form = resolved(SCORES[:3, :columns], y, **options)
    assert (
        output_form.task,
        output_form.output_names,
        output_form.class_names,
        output_form.count,
    ) == (
        task,
        names,
        classes,
        columns,
    )
    assert output_form.kind == ("values" if task == "regression" else "logits")
    assert output_form.inferred
    assert not resolved(SCORES[:, :1], task="regression", kind="values").inferred


@pytest.mark.parametrize(
    ("outputs", "options", "said"),
    [
        (SCORES, {"kind": "logit"}, "Did you mean 'logits'"),
        (SCORES, {"task": "regresion"}, "Did you mean 'regression'"),
        (
            SCORES,
            {"task": "regression", "kind": "logits"},
            "returns='logits' does not suit a regression",
        ),
        (
            SCORES,
            {"task": "classification", "kind": "values"},
            "returns='values' does not suit a classifier",
        ),
        (
            SCORES,
            {"kind": "probabilities"},
            "Probabilities must lie within 0 … 1, got outputs from -",
        ),
        (
            np.abs(SCORES),
            {"kind": "log_probabilities"},
            "Log-probabilities must not be above 0, got outputs",
        ),
        (SCORES, {"class_names": ["a", "b"]}, "class_names must be 3 different names"),
        (
            SCORES,
            {"class_names": ["a", "b", "a"]},
            "class_names must be 3 different names",
        ),
        (
            SCORES[:, :1],
            {"class_names": ["a"]},
            "class_names must be 2 different names",
        ),
    ],
)
def test_what_is_said_must_fit(outputs, options, said):
    with pytest.raises(pg.InputError, match=said):
        resolved(outputs, **options)


def test_several_labels_at_once_are_told_by_y():
    form = resolved(SCORES, np.array([[1, 1, 0]] * ROWS))
    assert (form.task, form.kind, str(resolve_loss(form, "auto"))) == (
        "multilabel",
        "logits",
        "multilabel_cross_entropy",
    )


# ---- shapes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "rows", "expected"),
    [
        ((5,), 5, (5, 1)), ((5, 2), 5, (5, 2)), ((5, 1, 1), 5, (5, 1)), ((5, 1, 1, 1), 5, (5, 1)), ((), 1, (1, 1)),
        ((3,), 1, (1, 3)), ((1,), 1, (1, 1)), ((1, 4), 1, (1, 4)), ((5, 2, 1), 5, None), ((4,), 5, None),
        ((5, 0), 5, None), ((2, 5), 5, None), ((), 2, None),
    ],
)  # fmt: skip
def test_outputs_are_a_row_of_numbers_for_each_row(shape, rows, expected):
    output = torch.arange(int(np.prod(shape)), dtype=torch.float32).reshape(shape)
    if expected is None:
        with pytest.raises(
            pg.InputError,
            match=r"out must have the shape \(rows,\) or \(rows, outputs\)",
        ):
            _flat(output, rows, "out", by_place=False)
        return
    found = _flat(output, rows, "out", by_place=False)
    assert tuple(found.shape) == expected
    assert found.flatten().tolist() == output.flatten().tolist()


def _of_masks(net, images, y, **options):
    quarters = np.kron(np.arange(4).reshape(2, 2), np.ones((3, 3), dtype=int))
    call_options = {
        "method": "permutation",
        "random_state": 0,
        "progress": False,
        "segments": quarters,
    }
    return explain_with(net.eval(), images, y, **{**call_options, **options})


def _masked(classes):
    torch.manual_seed(0)
    images = torch.rand(6, 1, 6, 6)
    masks = (images[:, 0] > 0.5).long() + (classes > 1) * (images[:, 0] > 0.8).long()
    return torch.nn.Conv2d(1, classes, 3, padding=1), images, masks


def test_masks_are_compared_with_maps_pixel_by_pixel_as_torch_compares_them():
    net, images, masks = _masked(3)
    flat = torch.nn.Sequential(net, torch.nn.Flatten())
    binary = _masked(1)

    def pixels(rows, y):
        maps = torch.as_tensor(rows).reshape(-1, 3, 6, 6)
        truth = torch.as_tensor(y).reshape(-1, 6, 6)
        return (
            torch.nn.functional.cross_entropy(maps, truth, reduction="none")
            .mean((1, 2))
            .numpy()
        )

    def switches(rows, y):
        maps = torch.as_tensor(rows)
        truth = torch.as_tensor(y).double().flatten(1)
        return torch.nn.functional.binary_cross_entropy_with_logits(
            maps, truth, reduction="none"
        ).mean(1)

    expected_explanation = _of_masks(flat, images, masks, loss=pixels)
    assert np.abs(expected_explanation.values).min() > 1e-6
    for y in (masks, masks.numpy(), masks[:, None]):
        np.testing.assert_allclose(
            _of_masks(net, images, y).values, expected_explanation.values, atol=1e-13
        )
        np.testing.assert_allclose(
            _of_masks(net, images, y, loss="cross_entropy").values,
            expected_explanation.values,
            atol=1e-13,
        )
        np.testing.assert_allclose(
            _of_masks(net, images, y, loss=pixels).values,
            expected_explanation.values,
            atol=1e-13,
        )
    assert _of_masks(net, images, masks).outputs == ("all",)
    chances = _of_masks(
        torch.nn.Sequential(net, torch.nn.Softmax(dim=1)), images, masks
    )
    np.testing.assert_allclose(chances.values, expected_explanation.values, atol=1e-6)
    binary_network, rows, y = binary
    expected_explanation = _of_masks(
        torch.nn.Sequential(binary_network, torch.nn.Flatten()), rows, y, loss=switches
    )
    np.testing.assert_allclose(
        _of_masks(binary_network, rows, y[:, None].float()).values,
        expected_explanation.values,
        atol=1e-13,
    )
    errors = _of_masks(
        binary_network, rows, rows[:, 0], loss="absolute_error"
    )  # such as depths
    assert errors.meta["loss"] == "absolute_error, mean over places"


def test_masks_that_do_not_fit_are_refused_with_a_hint_that_works():
    net, images, masks = _masked(3)
    for y in (masks[:, :3], masks[:, :, :5]):
        size = ", ".join(map(str, y.shape[1:]))
        with pytest.raises(pg.InputError) as refused:
            _of_masks(net, images, y)
        assert str(refused.value) == (
            f"y (rows, {size}) does not fit the network's output (rows, 3, 6, 6). Pass "
            "y (rows, 6, 6) with a label at each place, or (rows, 3, 6, 6) with 0 or 1 "
            "for each label: pg.explain(net, X, y). To compare others, pass loss= a "
            "function (outputs, y) -> (rows,). [PG007]"
        )
    with pytest.raises(
        pg.InputError,
        match=r"^y must hold class numbers from 0 to 2 or class names .* got 5",
    ):
        _of_masks(net, images, masks + 5)
    for options in (
        {"method": "gradient"},
        {"method": "shapley"},
        {"scoring": "accuracy"},
    ):
        with pytest.raises(
            pg.InputError, match="or choose method='permutation' without scoring="
        ):
            _of_masks(net, images, masks, **options)


def test_outputs_of_other_kinds():
    assert _flat(torch.tensor([1, 2]), 2, "out", by_place=False).dtype == torch.float32
    for wrong in (
        torch.ones(2, 2, dtype=torch.complex64),
        torch.ones(2, 2).to_sparse(),
    ):
        with pytest.raises(
            pg.InputError, match="out must be a dense tensor of real numbers"
        ):
            _flat(wrong, 2, "out", by_place=False)
    outputs_by_name = {
        "loss": torch.ones(()),
        "logits": torch.ones(2, 3),
        "hidden": torch.ones(2, 5),
    }
    assert pick_head(outputs_by_name, None, 2)[1] == "logits"
    assert pick_head(outputs_by_name, "hidden", 2)[0].shape == (2, 5)
    assert pick_head((torch.ones(2, 5), torch.ones(2, 3)), 1, 2)[0].shape == (2, 3)
    with pytest.raises(pg.InputError, match="Did you mean 'hidden'"):
        pick_head(outputs_by_name, "hiden", 2)
    with pytest.raises(pg.InputError, match="None of the network's outputs"):
        pick_head({"loss": torch.ones(())}, None, 2)


def test_a_class_is_found_by_its_name_as_a_number_too():
    label_positions = [
        label_place(label, {"1": 0, "2.0": 1}) for label in ("1", 1.0, True, 2, 2.5)
    ]
    assert label_positions == [0, 0, 0, 1, -1]


def test_a_range_is_1_where_outputs_vary_by_rounding_only():
    outputs = torch.tensor([[0.25, 1.0], [0.25 + 1e-7, 3.0]], dtype=torch.float64)
    assert output_range(outputs, torch.float32, alike=False).tolist() == [1.0, 2.0]
