"""Every argument of every public function, given every kind of value that it is not
meant for.
"""

from __future__ import annotations

import inspect
from functools import partial
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from hostile_arguments import check_argument, working_in
from torch import nn

import permgrad as pg
from permgrad.attribution import methods

pytestmark = pytest.mark.usefixtures("small_baselines_file")
#: A word is a path, a name of a table, a code for missing, a title or a label.
WORDS = {"out", "folder", "name", "na", "title", "label", "checkpoint_folder"}
#: Any number of digits seeds a stream, or is more than there is to do at once, or is a
#: code.
LONG = {"random_state", "batch_size", "na"}
#: Methods with an option of many values take long: they are asked for little.
LITTLE: dict[str, dict[str, Any]] = {
    "shapley": {"max_permutations": 8},
    "aggregate": {"members": ("gradient", "permutation")},
    "lime": {"samples": 40},
    "smoothgrad": {"samples": 2},
    "integrated_gradients": {"max_steps": 8},
}


def meant(name: str) -> tuple[str, ...]:
    accepted_kinds = ("word",) * (name in WORDS) + ("number of 401 digits",) * (
        name in LONG
    )
    return accepted_kinds + ("network",) * (name in ("image_encoder", "text_encoder"))


def parameters(function: Any, *without: str) -> list[str]:
    known_parameters = inspect.signature(function).parameters.values()
    return [
        parameter.name
        for parameter in known_parameters
        if parameter.kind is not parameter.VAR_KEYWORD
        and parameter.name not in {"self", *without}
    ]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")).assign(
        d=rng.choice(list("xyz"), 60)
    )
    y = (table["a"] > 0).astype(int)
    options = {
        "preset": "fast",
        "image": "always",
        "max_epochs": 1,
        "random_state": 0,
        "progress": False,
    }
    model = pg.HyNNClassifier(**options).fit(table, y)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    convolution = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    half = torch.tensor([0, 1] * 3)
    base_folder = tmp_path_factory.mktemp("files")
    table.assign(y=y).to_parquet(base_folder / "table.parquet", index=False)
    table.assign(y=y).to_csv(base_folder / "table.csv", index=False)
    model.save(base_folder / "model")
    return SimpleNamespace(
        table=table,
        y=y,
        model=model,
        place=base_folder,
        hybrid=(model, table[:8], y[:8]),
        network=(network, torch.randn(6, 3), half),
        picture=(convolution, torch.rand(6, 1, 8, 8), half),
    )


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Any) -> Any:
    with working_in(tmp_path):
        yield
    plt.close("all")


# ---- explain -------------------------------------------------------------------------
@pytest.mark.parametrize("name", parameters(pg.explain))
@pytest.mark.parametrize("kind", ["hybrid", "network"])
def test_explain(case: Any, kind: str, name: str) -> None:
    model, inputs, y = getattr(case, kind)
    usual = {
        "model": model,
        "X": inputs,
        "y": y,
        "method": "permutation",
        "n_repeats": 1,
        "random_state": 0,
    }
    ends = check_argument(
        lambda own: pg.explain(**{**usual, name: own}), takes=meant(name)
    )
    assert "refused" in ends.values()


@pytest.mark.parametrize("name", parameters(pg.Model))
@pytest.mark.parametrize("kind", ["hybrid", "network"])
def test_model(case: Any, kind: str, name: str) -> None:
    model, *rows = getattr(case, kind)
    usual = {"method": "permutation", "n_repeats": 1, "random_state": 0}
    ends = check_argument(
        lambda own: pg.explain(pg.Model(**{"model": model, name: own}), *rows, **usual),
        takes=meant(name),
    )
    assert "refused" in ends.values()


OPTIONS = [
    (name, option)
    for name in methods
    for option in methods.get(name).options
    if option != "**"
]


# Each option of the hybrid network, and of one of the others: each method meets both.
@pytest.mark.parametrize(
    ("kind", "method", "option"),
    [
        (("hybrid", "network", "picture")[option_index % 3], *option_case)
        for option_index, option_case in enumerate(OPTIONS)
    ],
)
def test_options_of_methods(case: Any, kind: str, method: str, option: str) -> None:
    usual = {**LITTLE.get(method, {}), "n_repeats": 1, "random_state": 0}
    ends = check_argument(
        lambda own: explain_with(
            *getattr(case, kind), method=method, **{**usual, option: own}
        )
    )
    assert "refused" in ends.values()


@pytest.mark.parametrize("name", parameters(pg.explain_stream))
def test_explain_stream(case: Any, name: str) -> None:
    usual: dict[str, Any] = {
        "model": case.model,
        "source": case.place / "table.parquet",
        "y": "y",
        "progress": False,
    }
    check_argument(
        lambda own: pg.explain_stream(**{**usual, "n_repeats": 1, name: own}),
        takes=meant(name),
    )


# ---- explanations --------------------------------------------------------------------
def call(function: Any, usual: dict[str, Any], name: str, value: Any) -> None:
    """Call a function; a figure that it returns is closed."""
    function(**{**usual, name: value})
    plt.close("all")


def explained(case: Any, method: str) -> Any:
    return pg.explain(*case.hybrid, method=method, n_repeats=2, random_state=0)


@pytest.mark.parametrize("method", ["permgrad", "gradcam"])
@pytest.mark.parametrize(
    "name", ["output_index", "ranking", "save", "to_global", "load"]
)
def test_explanations(case: Any, method: str, name: str) -> None:
    explanation = explained(case, method)
    function = getattr(explanation, name)
    for parameter_name in parameters(function):
        usual = (
            {"folder": "saved"} if name == "save" and parameter_name != "folder" else {}
        )
        check_argument(
            partial(call, function, usual, parameter_name), takes=meant(parameter_name)
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["permgrad", pytest.param("gradcam", marks=pytest.mark.slow)]
)
def test_plots(case: Any, method: str) -> None:
    explanation = explained(case, method)
    drawn = 0
    for name in dir(explanation.plot):
        function = getattr(explanation.plot, name)
        if name.startswith("_") or not callable(function):
            continue
        usual = {}
        if "feature" in parameters(function):
            usual = {"feature": explanation.names[0]}
        try:
            function(**usual)
        except pg.InputError:
            continue  # not of this explanation
        drawn += 1
        for parameter_name in parameters(function):
            check_argument(
                partial(call, function, usual, parameter_name),
                takes=meant(parameter_name),
            )
    assert drawn >= 4


# ---- estimators, comparisons, files --------------------------------------------------
@pytest.mark.parametrize("name", parameters(pg.HyNNClassifier))
def test_estimators(case: Any, name: str) -> None:
    usual = {"max_epochs": 1, "random_state": 0, "progress": False, "preset": "fast"}
    check_argument(
        lambda own: pg.HyNNClassifier(**{**usual, name: own}).fit(case.table, case.y),
        takes=meant(name),
    )


@pytest.mark.parametrize("name", ["X", "y", "sample_weight", "eval_set"])
def test_fit(case: Any, name: str) -> None:
    usual = {"X": case.table, "y": case.table["a"]}
    model = pg.HyNNRegressor(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    check_argument(lambda own: model.fit(**{**usual, name: own}))


@pytest.mark.parametrize("name", parameters(pg.HyNNClassifier.fit_stream))
def test_fit_stream(case: Any, name: str) -> None:
    if name == "on_epoch":
        pytest.skip("a function of the user's own may raise what it likes")
    usual = {"path": case.place / "table.parquet", "target": "y"}
    model = pg.HyNNClassifier(
        preset="fast", max_epochs=1, random_state=0, progress=False
    )
    check_argument(
        lambda own: model.fit_stream(**{**usual, name: own}), takes=meant(name)
    )


@pytest.mark.parametrize("name", ["predict", "predict_proba", "encode_rows"])
def test_prediction(case: Any, name: str) -> None:
    assert set(check_argument(getattr(case.model, name)).values()) == {"refused"}


@pytest.mark.parametrize("name", parameters(pg.compare, "progress"))
def test_compare(case: Any, name: str, in_order: dict[str, Any]) -> None:
    check_argument(lambda own: pg.compare(**{**in_order, name: own}), takes=meant(name))


@pytest.fixture(scope="module")
def in_order(case: Any) -> dict[str, Any]:
    """Arguments of a comparison.

    The precondition: with each of them in order, it is made.
    """
    options: dict[str, Any] = {
        "X": case.table,
        "y": case.y,
        "models": ("linear", "histogram_boosting"),
        "cv": 2,
    }
    options |= {"explain": False, "progress": False, "random_state": 0}
    pg.compare(**options)
    return options


@pytest.mark.parametrize("name", parameters(pg.read_table))
def test_read_table(case: Any, name: str) -> None:
    usual = {"path": case.place / "table.csv"}
    check_argument(lambda own: pg.read_table(**{**usual, name: own}), takes=meant(name))


@pytest.mark.parametrize("name", parameters(pg.load))
def test_load(case: Any, name: str) -> None:
    usual = {"folder": case.place / "model"}
    assert (
        check_argument(lambda own: pg.load(**{**usual, name: own}))["word"] == "refused"
    )


def test_load_dataset() -> None:
    assert set(check_argument(pg.load_dataset).values()) == {"refused"}
