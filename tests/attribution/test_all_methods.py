"""What every registered method must do, whatever it computes: a new method is met here
through the registry.
"""

from __future__ import annotations

import logging
import random
import warnings
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from torch import nn
from usual_methods import CASES, USUAL, few_draws

import permgrad as pg
from permgrad.attribution import methods

ROWS = 16


class BlownUpError(Exception):
    """Raised in the middle of a computation."""


def make_data() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], 300)
    signal = X["a"] + (X["colour"] == "red") * 2 + X["b"] * X["c"]
    return (
        X,
        signal.to_numpy(),
        np.array(["no", "maybe", "yes"])[np.digitize(signal, [-0.3, 1.0])],
    )


X, NUMBERS, LABELS = make_data()


@pytest.fixture(scope="module", params=["classification", "regression", "members"])
def fitted(request) -> tuple[Any, np.ndarray]:
    estimator, y = (
        (pg.HyNNRegressor, NUMBERS)
        if request.param == "regression"
        else (pg.HyNNClassifier, LABELS)
    )
    # Dropout and batch normalisation behave otherwise in train mode, so leaving it on
    # would be seen.
    network = {"dropout": 0.3, "normalization": "batch", "conv_normalization": "batch"}
    if request.param == "members":
        network |= {"normalization": "none", "members": 3}
    model = estimator(
        preset="fast",
        image="always",
        network=network,
        max_epochs=3,
        random_state=0,
        progress=False,
    ).fit(X, y)
    return model, y[:ROWS]


def explain(
    model: Any, y: np.ndarray, name: str, scope: str, **options: Any
) -> pg.Explanation:
    call_options = {
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **few_draws(name),
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            model, X[:ROWS], y, method=name, scope=scope, **call_options
        )


@pytest.fixture(scope="module")
def plain(fitted):
    """Explanations with nothing else said, each of them made once."""
    return cache(partial(explain, *fitted))


def numbers(explanation: pg.Explanation) -> np.ndarray:
    """Return everything that may depend on chance, as one array."""
    arrays = [explanation.values, *explanation.parts.values()]
    if explanation.std_error is not None:
        arrays.append(explanation.std_error)
    return np.concatenate([np.nan_to_num(array).ravel() for array in arrays])


# ---- what must be as before ----------------------------------------------------------


def state_of(model: Any) -> dict[str, Any]:
    """Return a copy of everything a method could leave behind on the model and in the
    process.
    """
    module: nn.Module = model.module_
    hooks = {
        f"{name}.{kind}": len(getattr(submodule, kind))
        for name, submodule in module.named_modules()
        for kind in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_backward_hooks",
            "_backward_pre_hooks",
        )
    }
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {
        "hooks": hooks,
        "tensor hooks": {
            name: len(tensor._backward_hooks or ()) for name, tensor in tensors.items()
        },
        "modes": {
            name: submodule.training for name, submodule in module.named_modules()
        },
        "requires_grad": {
            name: tensor.requires_grad for name, tensor in tensors.items()
        },
        "grad": {
            name: tensor.grad is None for name, tensor in module.named_parameters()
        },
        "weights": {
            name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()
        },
        "background": model.background_.tobytes(),
        "attributes": sorted(vars(model)),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "threads": torch.get_num_threads(),
        "grad enabled": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "filters": list(warnings.filters),
        "logging": (logging.getLogger().level, list(logging.getLogger().handlers)),
        "error handling": np.geterr(),
    }


def assert_untouched(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name, value in before.items():
        assert after[name] == value, name


@pytest.fixture
def unusual(fitted):
    """A model whose user has put one part into train mode and frozen another."""
    model, y = fitted
    module = model.module_
    assert not module.training
    module.table_branch.train()
    module.head[0].weight.requires_grad_(False)
    yield model, y
    module.eval()
    module.head[0].weight.requires_grad_(True)


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize(("name", "scope"), CASES)
def test_nothing_is_left_behind(unusual, name, scope):
    model, y = unusual
    inputs = X[:ROWS].copy()
    target = y.copy()
    background = X[100:150].copy()
    originals = [inputs.copy(), target.copy(), background.copy()]
    before = state_of(model)
    call_options = {
        "method": name,
        "scope": scope,
        "random_state": 0,
        "n_repeats": 2,
        "progress": False,
        **few_draws(name),
    }
    explanation = explain_with(
        model, inputs, target, background=background, **call_options
    )
    assert_untouched(before, state_of(model))
    pd.testing.assert_frame_equal(inputs, originals[0])
    np.testing.assert_array_equal(target, originals[1])
    pd.testing.assert_frame_equal(background, originals[2])
    # Modes do not change the numbers either.
    model.module_.eval()
    again = explain_with(model, inputs, target, background=background, **call_options)
    np.testing.assert_array_equal(numbers(explanation), numbers(again))


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_nothing_is_left_behind_after_an_error(unusual, name, scope, monkeypatch):
    model, y = unusual
    calls = 0
    bomb = None
    plain_forward = nn.Linear.forward

    def forward(self: nn.Linear, *arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == bomb:
            raise BlownUpError
        return plain_forward(self, *arguments)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    explain(model, y, name, scope)
    assert calls > 0
    before = state_of(model)
    for bomb in (1, max(1, calls // 2), calls):  # noqa: B007 — forward reads it
        calls = 0
        with pytest.raises(BlownUpError):
            explain(model, y, name, scope)
        assert_untouched(before, state_of(model))


# ---- chance --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_chance(fitted, plain, name, scope):
    """Repeatable; None differs; an integer reproduces; a generator advances.

    Without chance all are equal.

    The seed that ``None`` chose is told.
    """
    model, y = fitted

    def drawn(random_state: Any) -> np.ndarray:
        return numbers(explain(model, y, name, scope, random_state=random_state))

    first = numbers(plain(name, scope))
    by_chance = not np.array_equal(first, drawn(1))
    assert by_chance == (name in BY_CHANCE) or name not in SETTLED
    unseeded = explain(model, y, name, scope, random_state=None)
    if not by_chance:
        np.testing.assert_array_equal(numbers(unseeded), first)
        return
    np.testing.assert_array_equal(first, drawn(0))
    generator = np.random.default_rng(5)
    twin = np.random.default_rng(5)
    first_draw = drawn(generator)
    two = drawn(generator)
    np.testing.assert_array_equal(first_draw, drawn(twin))
    np.testing.assert_array_equal(two, drawn(twin))
    assert not np.array_equal(first_draw, two)
    np.testing.assert_array_equal(drawn(unseeded.meta["seed"]), numbers(unseeded))
    assert not np.array_equal(drawn(None), numbers(unseeded))


#: Methods of which it is known whether they draw by chance with their default options.
BY_CHANCE = {"permgrad", "permutation", "permgrad_paper", "smoothgrad"}
SETTLED = {
    *BY_CHANCE,
    "ablation",
    "gradcam",
    "integrated_gradients",
    "gradient",
    "deeplift",
}


# ---- the result ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_the_result_is_whole(plain, name, scope, tmp_path):
    explanation = plain(name, scope)
    assert explanation.method == name
    assert explanation.scope == scope
    assert explanation.names == ("a", "b", "c", "colour")
    assert set(explanation.modality) == {"table"}
    for key in (
        "seed",
        "quantity",
        "unit",
        "background",
        "versions",
        "n_repeats",
        "seconds",
    ):
        assert key in explanation.meta, key
    assert np.abs(explanation.values).max() > 0
    frame = explanation.to_frame()
    columns = [
        "feature",
        "modality",
        "class",
        "importance",
        "std_error",
        "ci_low",
        "ci_high",
        "p_value",
        "p_adjusted",
    ]
    if scope == "local":
        columns = ["row", *columns]
    assert list(frame.columns)[: len(columns)] == columns
    has_p_value = frame["p_value"].notna()
    outside = (frame["ci_low"] > 0) | (frame["ci_high"] < 0)
    assert ((frame["p_value"] < 0.05) == outside)[has_p_value].all()
    explanation.save(tmp_path / "saved")
    pd.testing.assert_frame_equal(
        pg.Explanation.load(tmp_path / "saved").to_frame(), frame, check_dtype=False
    )


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_the_batch_size_changes_nothing(fitted, plain, name, scope):
    model, y = fitted
    full_explanation = plain(name, scope)
    scale = max(
        1.0,
        float(full_explanation.meta.get("loss_scale") or 0),
        float(np.abs(full_explanation.values).max()),
    )
    cut = explain(model, y, name, scope, batch_size=5)
    np.testing.assert_allclose(
        numbers(cut), numbers(full_explanation), rtol=0, atol=1e-5 * scale
    )


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_groups_are_players(fitted, plain, name, scope):
    model, y = fitted
    explanation = explain(
        model, y, name, scope, groups={"pair": ["b", "c"], "colour": ["colour"]}
    )
    assert set(explanation.names) == {"pair", "colour", "a"}
    single = plain(name, scope)
    if methods.get(name).options.get("baseline") is not None or name in {
        "permgrad",
        "permutation",
    }:
        # A group of one feature is that feature; donors are keyed by the player's name.
        colour_values = explanation.values[..., explanation.names.index("colour"), :]
        np.testing.assert_allclose(
            colour_values,
            single.values[..., single.names.index("colour"), :],
            atol=1e-6,
        )


@pytest.mark.parametrize("name", USUAL)
def test_unknown_options_are_refused(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'strange_option'"):
        methods.get(name)(strange_option=1)
