"""What a method does not take, and what does not go together, is refused by one
function, in one form of sentence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.linear_model import LinearRegression
from torch import nn
from usual_methods import USUAL

import permgrad as pg
from permgrad.attribution import methods
from permgrad.attribution.request.method_registry import MODELS, OF_METHODS
from permgrad.attribution.request.takes import APART, CALLERS, said_of, takes

M = pg.methods
X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
Y = X["a"].to_numpy() * 2
LINEAR = LinearRegression().fit(X, Y)
NET = nn.Linear(3, 2)
ROWS = torch.tensor(X.to_numpy(), dtype=torch.float32)
CLASSES = torch.arange(60) % 2
PLACES = np.arange(60)


class Attributor:
    """An object of Captum's kind."""

    def attribute(self, inputs):
        return inputs


#: The call, its code and its message.
OF_TABLES: list[tuple[dict[str, Any], str, str]] = [
    (
        {"method": "gradient"},
        "PG034",
        "method='gradient' does not take a LinearRegression, which is no network.",
    ),
    (
        {"method": "gradcam"},
        "PG034",
        "method='gradcam' does not take a LinearRegression, which is no network.",
    ),
    (
        {"method": "permgrad_paper"},
        "PG034",
        "method='permgrad_paper' does not take a LinearRegression, which",
    ),
    (
        {"loss": "auc"},
        "PG003",
        "loss='auc' is a score, and a loss is of each row. Pass scoring='roc_auc'.",
    ),
    (
        {"loss": "r2"},
        "PG003",
        "loss='r2' is a score, and a loss is of each row. Pass scoring='r2'.",
    ),
    ({"loss": "mse"}, "PG003", "No loss 'mse'. Did you mean 'squared_error'?"),
    ({"loss": "huber"}, "PG003", "loss must be one of 'auto', 'cross_entropy',"),
    (
        {"method": Attributor()},
        "PG034",
        "method='captum.Attributor' does not take a LinearRegression, which",
    ),
    (
        {"method": "ale", "scope": "local"},
        "PG004",
        "method='ale' does not take scope='local'. Leave it out.",
    ),
    (
        {"method": "lime", "scope": "global"},
        "PG004",
        (
            "method='lime' does not take scope='global'. Leave it out and call "
            ".to_global() on the result."
        ),
    ),
    (
        {"method": "shapley", "scoring": "r2"},
        "PG004",
        (
            "method='shapley' does not take scoring=. Leave it out, or choose "
            "'ablation', 'permgrad' or 'permutation'."
        ),
    ),
    (
        {"method": M.Permutation(order=2), "scope": "local"},
        "PG004",
        (
            "method='permutation' does not take order=2 with scope='local'. Leave it "
            "out, or choose 'shapley'."
        ),
    ),
    (
        {"groups": "modality"},
        "PG004",
        "method='permgrad' does not take groups='modality' for a table, which is one",
    ),
    (
        {"scoring": "r2", "scope": "local"},
        "PG006",
        "scope='local' does not take scoring=. Leave one of them out.",
    ),
    (
        {"scoring": "r2", "method": M.PermGrad(order=2)},
        "PG006",
        "scoring= does not take order=2.",
    ),
    (
        {"scoring": "r2", "loss": lambda f, y: (f[:, 0] - y) ** 2},
        "PG006",
        "a callable loss= does not take scoring=.",
    ),
    (
        {"method": M.Permutation(order=2, sampling="conditional")},
        "PG006",
        "sampling='conditional' does not take order=2.",
    ),
    (
        {"method": M.Shapley(order=2, blocks="modality")},
        "PG006",
        "blocks= does not take order=2.",
    ),
    (
        {"method": M.Shapley(blocks={"u": ["a"]}), "groups": {"v": ["a", "b"]}},
        "PG006",
        "blocks= does not take groups=.",
    ),
    (
        {"method": {"table": M.Shapley(order=2)}},
        "PG006",
        "a dict of methods does not take order=2. Leave it out.",
    ),
    (
        {"row_groups": PLACES // 3, "row_time": PLACES},
        "PG006",
        (
            "row_groups= does not take row_time=. Pass row_groups if rows of different "
            "groups are independent, else row_ti"
        ),
    ),
    (
        {"layer": "x"},
        "PG004",
        "a LinearRegression, which is no network does not take layer=. Leave it out.",
    ),
    (
        {"segments": "pixels"},
        "PG004",
        "a LinearRegression, which is no network does not take segments=.",
    ),
    (
        {"method": "ale", "engine": "ray"},
        "PG004",
        "method='ale' does not take engine= with scope='global'.",
    ),
    (
        {"scoring": "r2", "engine": "ray"},
        "PG006",
        "engine= does not take scoring=. Leave it out.",
    ),
    (
        {"method": {"table": "lime"}, "engine": "ray"},
        "PG006",
        "engine= does not take a dict of methods.",
    ),
    (
        {"method": M.PermGrad(order=2), "engine": "ray"},
        "PG006",
        "engine= does not take order=2.",
    ),
    (
        {"method": M.PermGrad(tolerance=0.1), "engine": "ray"},
        "PG006",
        "engine= with scope='global' does not take tol",
    ),
    (
        {"loss": lambda f, y: (f[:, 0] - y) ** 2, "engine": "ray"},
        "PG006",
        "engine= does not take a callable loss=.",
    ),
]
OF_NETWORKS: list[tuple[dict[str, Any], str, str]] = [
    (
        {"method": "permgrad_paper"},
        "PG034",
        "method='permgrad_paper' does not take a torch network. Choose 'ablation'",
    ),
    (
        {"method": M.IntegratedGradients(players="encoded")},
        "PG004",
        "a torch network does not take players='encoded'.",
    ),
    (
        {"method": "permutation", "target": "predicted", "scope": "global"},
        "PG006",
        (
            "scope='global' does not take a target for each row. Pass target= one "
            "output, or scope='local' for one of each"
        ),
    ),
    (
        {"target": "predicted", "method": Attributor()},
        "PG004",
        "method='captum.Attributor' does not take a target for",
    ),
    (
        {"layer": "0", "method": M.Permutation(sampling="conditional")},
        "PG006",
        "sampling='conditional' does not take l",
    ),
    (
        {"groups": "modality", "method": M.PermGrad(sampling="conditional")},
        "PG006",
        "sampling='conditional' does not take groups='modality'. Leave one of them out.",
    ),
]


@pytest.mark.parametrize(
    ("table", "call", "code", "message"),
    [
        *((True, *refusal) for refusal in OF_TABLES),
        *((False, *refusal) for refusal in OF_NETWORKS),
    ],
)
def test_what_does_not_go_together_is_refused(table, call, code, message):
    model, rows, y = (LINEAR, X, Y) if table else (NET, ROWS, CLASSES)
    with pytest.raises(pg.InputError) as caught:
        explain_with(model, rows, y, progress=False, **call)
    assert caught.value.code == code
    assert str(caught.value).casefold().startswith(message.casefold())


def test_estimators_are_fitted_and_have_no_say_in_what_they_return():
    estimator = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, Y)
    for declared, message in (
        (
            {"task": "regression"},
            r"^An estimator of permgrad does not take task=\. Leave it out\. \[PG004\]",
        ),
        ({"hold": ("table",)}, r"^An estimator of permgrad does not take hold=\."),
    ):
        with pytest.raises(pg.InputError, match=message):
            pg.explain(pg.Model(estimator, **declared), X, Y)
    with pytest.raises(
        pg.InputError,
        match=r"^An estimator of permgrad does not take a dict of methods\.",
    ):
        pg.explain(estimator, X, Y, method={"table": "permutation"})


def test_methods_declare_keys_that_exist():
    for name in methods:
        assert methods.get(name).takes <= set(OF_METHODS), name
    stated_keys: set[str] = set()
    for caller in ("", *CALLERS):
        for scope in ("global", "local"):
            for groups in ("modality", {"v": ["a"]}):
                call_arguments = pg.attribution.request.arguments.Arguments(
                    pg.Model(
                        NET, head="h", hold=("x",), segments="pixels", layer="0", channel_names={"x": ["a"]}, cache="c", vocabulary=["a"],
                    ), X, Y, groups=groups, sample_weight=Y, scoring="r2", row_groups=Y, row_time=Y, loss="brier",
                )  # fmt: skip
                options = {
                    "order": 2,
                    "sampling": "conditional",
                    "blocks": {},
                    "players": "encoded",
                    "tolerance": 0.1,
                }
                stated_keys |= set(said_of(call_arguments, scope, options, caller))
    more = {
        "masks",
        "row target",
        "own loss",
        "level loss",
        "mixed",
        "tokenizer",
        "task",
        "class_names",
        "returns",
    }
    assert {key for pair in APART for key in pair} <= stated_keys | more | set(MODELS)


def test_every_method_takes_what_is_explained_with_it():
    assert all(
        any(takes(methods.get(name), model) for model in MODELS) for name in USUAL
    )
