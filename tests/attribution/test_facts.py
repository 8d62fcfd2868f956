"""The facts that every explanation carries: which there are, what they say, that their
numbers are possible.
"""

from __future__ import annotations

import platform
import time
import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import Tensor, nn
from usual_methods import CASES, few_draws

import permgrad as pg
from permgrad.attribution import methods
from permgrad.attribution.explain import _combine, _common_scope
from permgrad.attribution.request import LOCAL

ROWS = 12
REPEATS = 2
BACKGROUND = 40


class Pair(nn.Module):
    """A picture beside a table."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, picture: Tensor, table: Tensor) -> Tensor:
        return self.head(torch.cat([self.encoder(picture), table], dim=1))


@pytest.fixture(scope="module", params=["classification", "regression", "network"])
def case(request) -> tuple[str, Any, Any, Any, Any]:
    """Return the kind, a model, rows, what is to be predicted, and background rows."""
    rng = np.random.default_rng(0)
    if request.param == "network":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = Pair().eval()
            inputs, background = (
                {"picture": torch.randn(rows, 1, 4, 4), "table": torch.randn(rows, 2)}
                for rows in (ROWS, BACKGROUND)
            )
        return (
            request.param,
            net,
            inputs,
            (inputs["table"][:, 0] > 0).long().numpy(),
            background,
        )
    X = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    y: Any = X["a"] + X["b"] * X["c"]
    estimator: Any = pg.HyNNRegressor
    if request.param == "classification":
        estimator = pg.HyNNClassifier
        y = np.where(y > 0, "up", "down")
    model = estimator(
        preset="fast", image="always", max_epochs=1, random_state=0, progress=False
    ).fit(X, y)
    return request.param, model, X[:ROWS], np.asarray(y)[:ROWS], X[-BACKGROUND:]


def explain(case, name: str, scope: str, **options: Any) -> pg.Explanation:
    _, model, rows, y, background = case
    call_options = {
        "random_state": 5,
        "n_repeats": REPEATS,
        "progress": False,
        "confidence": 0.9,
        "background": background,
        "scale": "auto",
    }
    call_options |= few_draws(name) | options
    if case[0] == "network":
        call_options.setdefault("returns", "logits")
    if scope == "global":
        call_options.setdefault("y", y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            model,
            rows,
            call_options.pop("y", None),
            method=name,
            scope=scope,
            **call_options,
        )


COMMON = {
    "seed", "n_repeats", "rows_explained", "background", "sampling", "digests", "confidence", "task", "paths",
    "versions", "quantity", "unit", "seconds",
}  # fmt: skip
NETWORK = {"read_as", "head", "returns", "output_inferred", "read_so_because", "held"}
LOSSES = {"loss", "loss_scale", "model_loss", "repeats", "model_rows", "classes_by"}
INTEGRAL = {
    "baseline", "baseline_name", "baseline_rows", "completeness_gap", "output_range", "gradient_evaluations", "rule",
}  # fmt: skip
SHAPLEY = {
    "baseline",
    "structure",
    "estimator",
    "permutations",
    "completeness_gap",
    "model_rows",
}
REPLACED = "output minus the mean output with the feature replaced"
BASELINE = "output minus the output at the baseline"


@dataclass(frozen=True)
class Told:
    """What a method says of its call on one scope.

    ``keys`` are facts of every model, ``of_hybrid`` and ``of_network`` further ones.
    ``quantity`` and ``unit``: what the numbers are, where a unit "loss" is that of the
    loss, and "probability" and "logit" are y of a regression. ``repeats``: how many are
    counted where others count two.
    """

    keys: set[str]
    quantity: str
    unit: str
    of_hybrid: set[str] = field(default_factory=set)
    of_network: set[str] = field(default_factory=set)
    on_a_scale: str = ""  # the quantity where inputs are numbers on a scale
    repeats: int = REPEATS


def game(**further: Any) -> dict[str, Told]:
    """Return what methods say that replace a player and look at the loss."""
    return {
        "global": Told(
            LOSSES,
            "increase of the loss",
            "loss",
            of_hybrid={"not_identifiable"},
            **further,
        ),
        "local": Told({"model_rows"}, REPLACED, "probability", **further),
    }


#: One record for each method and scope. A new method may have none.
TOLD: dict[str, dict[str, Told]] = {
    "permgrad": game(),
    "permutation": game(),
    # One value replaces.
    "ablation": game(repeats=1, of_network={"baseline"}),
    "ale": {
        "global": Told(
            {"model_rows", "left_out", "direction_label"},
            "standard deviation of the accumulated local effect",
            "logit",
        )
    },
    "aggregate": {
        "global": Told(
            {"members", "member_quantities", "left_out", "model_rows"},
            "mean share of the importance over methods",
            "share",
        )
    },
    "deeplift": {
        "local": Told(INTEGRAL | {"model_rows", "references"}, BASELINE, "logit")
    },
    "gradcam": {
        "local": Told(
            {"variant", "layer", "upsample", "rectified", "empty_maps"},
            "",
            "",
            of_hybrid={"background_share"},
            of_network={"without_map", "model_rows", "layer_shape"},
        )
    },
    "gradient": {
        "local": Told(
            {"signed", "model_rows", "gradient_evaluations"},
            "absolute slope of the output",
            "probability per unit of the input",
        )
    },
    "smoothgrad": {
        "local": Told(
            {
                "signed",
                "model_rows",
                "gradient_evaluations",
                "samples",
                "noise",
                "variant",
            },
            "absolute mean slope of the output near the row",
            "probability per unit of the input",
        )
    },
    "integrated_gradients": {
        "local": Told(
            INTEGRAL
            | {"quadrature_error", "steps", "mean_steps", "model_rows", "tolerance"},
            BASELINE,
            "probability",
            of_hybrid={"players"},
        )
    },
    "lime": {
        "local": Told(
            {
                "baseline",
                "neighbourhood",
                "samples",
                "kernel_width",
                "ridge",
                "local_r2",
                "local_r2_mean",
                "model_rows",
            },
            "effect of keeping the feature in a linear model around the row",
            "probability",
            on_a_scale="change per standard deviation in a linear model around the row",
        )
    },
    "permgrad_paper": {
        "global": Told(
            {
                "loss",
                "argmax_class",
                "transposed",
                "layer",
                "base_loss",
                "branch_weights",
                "permutation",
                "gradcam",
                "empty_maps",
            },
            "weighted sum of min–max scaled permutation importance and Grad-CAM, as "
            "published",
            "none",
            repeats=5,  # its shuffles
        )
    },
    "shapley": {
        "local": Told(
            SHAPLEY | {"baseline_rows", "mean_permutations", "output_range"},
            "output minus the mean output over the background",
            "probability",
        ),
        "global": Told(
            SHAPLEY | {"loss", "loss_scale", "model_loss", "game", "classes_by"},
            "part of the decrease of the loss",
            "loss",
        ),
    },
}


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_every_method_tells_the_same_facts(case, name, scope):
    kind = case[0]
    if kind == "network" and name == "permgrad_paper":
        pytest.skip("the published method is for hybrid networks alone")
    begun = time.perf_counter()
    meta = explain(case, name, scope).meta
    elapsed = time.perf_counter() - begun
    told = TOLD.get(name, {}).get(scope)
    if told is None:
        assert set(meta) >= COMMON
        return
    expected = COMMON | told.keys
    expected |= told.of_network | NETWORK if kind == "network" else told.of_hybrid
    expected |= {"scale"} if scope == "local" else set()
    if kind != "regression":
        expected |= {"positive"}
        expected |= {"scale_reason"} if methods.get(name).scale_reason else set()
    assert set(meta) - {"options", "options_not_kept"} == expected
    assert 0 < meta["seconds"] < elapsed
    assert {key: meta[key] for key in ("seed", "n_repeats", "rows_explained", "sampling", "confidence")} == {
        "seed": 5, "n_repeats": told.repeats, "rows_explained": ROWS, "sampling": "marginal",
        "confidence": 0.9,
    }  # fmt: skip
    assert meta["background"] == {"kind": "given", "rows": BACKGROUND}
    assert meta["task"] == ("regression" if kind == "regression" else "classification")
    assert meta["paths"] == ([] if kind == "network" else ["tabular", "image"])
    assert meta["versions"] == {
        "permgrad": pg.__version__, "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(),
    }  # fmt: skip
    if told.quantity:
        quantity, unit = told.quantity, told.unit
        if kind == "network" and told.on_a_scale:
            quantity = told.on_a_scale
        unit = {"loss": "y²" if kind == "regression" else "nats"}.get(unit, unit)
        for scale in ("logit", "probability"):
            unit = unit.replace(scale, "y") if kind == "regression" else unit
        unit = "log-odds" if unit == "logit" else unit
        assert (meta["quantity"], meta["unit"]) == (quantity, unit)
    if "loss" in meta:
        assert meta["loss"] == (
            "squared_error" if kind == "regression" else "cross_entropy"
        )
    assert meta.get("classes_by", "y") == "y"
    for key in ("model_rows", "gradient_evaluations", "baseline_rows", "samples"):
        assert isinstance(meta.get(key, 1), int), key
        assert meta.get(key, 1) >= 1
    for key in ("completeness_gap", "quadrature_error"):
        assert 0 <= meta.get(key, 0.0) < 0.2, key
    assert all(value > 0 for value in meta.get("output_range", [1.0]))


@pytest.mark.parametrize("name", ["permgrad", "permutation", "ablation", "shapley"])
def test_without_y_classes_are_predicted_and_the_loss_is_a_divergence(case, name):
    meta = explain(case, name, "global", y=None).meta
    assert meta["classes_by"] == "predicted class"
    assert meta["loss"] == "divergence"
    assert meta["unit"] == ("y²" if case[0] == "regression" else "nats")
    assert "divergence" in meta["quantity"]
    assert np.isnan(meta["loss_scale"])


@pytest.mark.parametrize("name", ["permgrad", "permutation", "ablation", "shapley"])
def test_other_losses_have_units_of_their_own(case, name):
    loss, unit = (
        ("absolute_error", "y") if case[0] == "regression" else ("brier", "brier")
    )
    meta = explain(case, name, "global", loss=loss).meta
    assert (meta["loss"], meta["unit"]) == (loss, unit)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        method_case
        for method_case in CASES
        if method_case[1] == "local" and method_case[0] != "gradcam"
    ],
)
def test_probabilities_are_told_as_such(case, name, scope):
    if case[0] == "regression":
        pytest.skip("a regression has no probabilities")
    explanation = explain(case, name, scope, scale="probability")
    assert explanation.meta["scale"] == "probability"
    assert explanation.meta["unit"].startswith("probability")
    if explanation.predictions is not None:
        np.testing.assert_allclose(explanation.predictions.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("references", [1, 3])
@pytest.mark.parametrize(
    ("name", "options"), [("deeplift", {}), ("integrated_gradients", {"steps": 4})]
)
def test_backward_passes_are_counted_row_by_row(case, name, options, references):
    options = options | {"baseline": "background", "references": references}
    for size in ("auto", 5):
        meta = explain(case, name, "local", batch_size=size, **options).meta
        assert meta["gradient_evaluations"] == ROWS * references * options.get(
            "steps", 1
        )
        assert meta["baseline_rows"] == references
        assert meta["model_rows"] > meta["gradient_evaluations"]
    assert explain(case, "gradient", "local").meta["gradient_evaluations"] == ROWS


# ---- a method for each input ---------------------------------------------------------


def side(
    name: str, outputs: tuple[str, ...], seed: int, **fields: Any
) -> pg.Explanation:
    """Return the explanation of one input with two players."""
    rng = np.random.default_rng(seed)
    shape = (4, 2, len(outputs))
    values = rng.normal(size=shape)
    facts = {
        "seed": 3, "rows_explained": 4, "background": {"kind": "given", "rows": 9}, "confidence": 0.9,
        "task": "classification", "versions": {}, "unit": f"unit of {name}", "quantity": f"quantity of {name}",
        "n_repeats": 2 + seed, "seconds": 1.5 + seed,
    } | fields.pop("meta", {})  # fmt: skip
    explanation_fields = {
        "std_error": rng.random(shape),
        "maps": {f"segments:{name}": np.array([[-1, 0], [1, 1]]), f"images:{name}": rng.random((4, 2, 2))},
        "groups": {f"group of {name}": [f"{name}[0]"]}, "predictions": np.ones((4, len(outputs))),
        "feature_values": pd.DataFrame({f"{name}[0]": range(4)}),
    } | fields  # fmt: skip
    return pg.Explanation(
        values,
        (f"{name}[0]", f"{name}[1]"),
        (name, name),
        outputs,
        f"method of {name}",
        "local",
        meta=facts,
        **explanation_fields,
    )


def test_methods_of_their_own_stand_side_by_side():
    """Each keeps its numbers; an output that one does not give is unknown; shares are
    within an input alone.
    """
    first = side("a", ("no", "yes"), 0)
    second = side("b", ("yes", "all"), 1)
    expected_entries = dict(second.maps)
    second.maps.clear()
    second.maps.update({"maps:elsewhere": np.zeros((2, 2)), **expected_entries})
    combined = _combine({"a": first, "b": second}, LOCAL)
    assert (combined.method, combined.scope, combined.level) == (
        "mixed",
        "local",
        "feature",
    )
    assert combined.names == (*first.names, *second.names)
    assert combined.modality == ("a", "a", "b", "b")
    assert combined.outputs == ("no", "yes", "all")
    np.testing.assert_array_equal(combined.values[:, :2, :2], first.values)
    np.testing.assert_array_equal(combined.values[:, 2:, 1:], second.values)
    assert np.isnan(combined.values[:, :2, 2]).all()
    assert np.isnan(combined.values[:, 2:, 0]).all()
    np.testing.assert_array_equal(combined.std_error[:, 2:, 1:], second.std_error)
    for name in ("low", "high"):
        assert np.isnan(getattr(combined, name)).all(), "neither gives one"
    assert combined.p_values is None, "no single row is tested"
    absolute = np.abs(first.values)
    np.testing.assert_allclose(
        combined.parts["share"][:, :2, :2],
        absolute / absolute.sum(axis=1, keepdims=True),
    )
    assert set(combined.groups) == {"group of a", "group of b"}
    assert combined.feature_values.columns.tolist() == ["a[0]", "b[0]"]
    assert combined.predictions is None, "of other outputs"
    assert set(combined.maps) == {"segments:a", "images:a", "segments:b", "images:b"}
    np.testing.assert_array_equal(combined.maps["segments:a"], [[-1, 0], [1, 1]])
    np.testing.assert_array_equal(combined.maps["segments:b"], [[-1, 2], [3, 3]])
    np.testing.assert_array_equal(combined.maps["images:b"], second.maps["images:b"])
    expected_entries = (
        "seed",
        "rows_explained",
        "background",
        "confidence",
        "task",
        "versions",
    )
    assert {name: combined.meta[name] for name in expected_entries} == {
        name: first.meta[name] for name in expected_entries
    }
    assert combined.meta["methods"] == {"a": "method of a", "b": "method of b"}
    assert combined.meta["units"] == {"a": "unit of a", "b": "unit of b"}
    assert combined.meta["quantities"] == {"a": "quantity of a", "b": "quantity of b"}
    assert (combined.meta["n_repeats"], combined.meta["seconds"]) == (3, 4.0)
    assert combined.meta["by_input"] == {"a": first.meta, "b": second.meta}
    assert (combined.meta["quantity"], combined.meta["unit"]) == (
        "different for each modality (see quantities)", ("different for each modality "
                                                        "(see units)")
    )  # fmt: skip


def test_what_all_methods_give_alike_is_given():
    first = side("a", ("y",), 0, low=np.zeros((4, 2, 1)), feature_values=None, maps={})
    second = side("b", ("y",), 1, feature_values=None, meta={"unit": "y"})
    second.values[0] = 0
    combined = _combine({"a": first, "b": second}, LOCAL)
    np.testing.assert_array_equal(combined.predictions, first.predictions)
    assert combined.feature_values is None
    np.testing.assert_array_equal(combined.low[:, :2], first.low)
    assert np.isnan(combined.low[:, 2:]).all()
    np.testing.assert_array_equal(combined.parts["share"][0, 2:], 0)
    bare = side("b", ("y",), 1, predictions=None)
    assert _combine({"a": first, "b": bare}, LOCAL).predictions is None


@pytest.mark.parametrize(
    ("scope", "scopes", "expected"),
    [
        ("auto", (("local", "global"), ("local",)), "local"),
        ("auto", (("local",), ("global",)), "global"),
        ("global", (("local",), ("local",)), "global"),
        ("local", (("local",), ("global",)), "local"),
    ],
)
def test_the_common_scope_is_local_if_all_can_be(scope, scopes, expected):
    assert (
        _common_scope(
            scope, [SimpleNamespace(scopes=method_scopes) for method_scopes in scopes]
        )
        == expected
    )


# ---- what values are compared with ---------------------------------------------------


@pytest.mark.parametrize("given", ["background", "own"])
@pytest.mark.parametrize(
    "name", ["zeros", "mean", "median", "background", "one row", "rows"]
)
@pytest.mark.parametrize(
    ("method", "options"), [("deeplift", {}), ("integrated_gradients", {"steps": 2})]
)
def test_the_baseline_is_told_by_name_and_in_words(case, method, options, name, given):
    kind, model, _, _, background = case
    baseline: Any = name
    if name in ("one row", "rows"):
        count = 1 if name == "one row" else 3
        first = (
            {key: tensor[:count] for key, tensor in background.items()}
            if kind == "network"
            else background[:count]
        )
        baseline = first
    background_option = {} if given == "background" else {"background": None}
    explanation = explain(
        case,
        method,
        "local",
        baseline=baseline,
        references=5,
        **options,
        **background_option,
    )
    background_count = BACKGROUND
    where = "background rows"
    if given == "own":
        background_count, where = (
            (ROWS, "rows explained")
            if kind == "network"
            else (len(model.background_), "training rows")
        )
    network = kind == "network"
    words = {
        "zeros": "every input at 0" if network else "every encoded input at 0",
        "mean": f"mean of {'each input' if network else 'the encoded inputs'} over "
        f"{background_count} {where}",
        "median": f"median of {'each input' if network else 'numbers and most frequent level'} over {background_count} {where}",
        "background": f"average over 5 of {background_count} {where} (expected "
        "gradients)",
        "one row": "a row given by the user",
        "rows": "average over 3 rows given by the user",
    }[name]
    assert explanation.meta["baseline"] == words
    assert explanation.meta["baseline_name"] == (
        name if isinstance(baseline, str) else "given"
    )
    assert explanation.meta["baseline_rows"] == {"background": 5, "rows": 3}.get(
        name, 1
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"), [("deeplift", {}), ("integrated_gradients", {"steps": 2})]
)
def test_all_background_rows_are_told_where_all_are_taken(case, method, options):
    explanation = explain(
        case, method, "local", baseline="background", references=BACKGROUND, **options
    )
    assert (
        explanation.meta["baseline"]
        == f"average over {BACKGROUND} background rows (expected gradients)"
    )
    drawn = [
        explain(
            case,
            method,
            "local",
            baseline="background",
            references=5,
            random_state=seed,
            **options,
        ).base_values
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2]), "which rows are taken is drawn"
