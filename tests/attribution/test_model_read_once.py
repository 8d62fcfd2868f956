"""``pg.Model``: what it says of a model is what explanations do, and a model is read
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from explaining import explain_with
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.svm import LinearSVC
from torch import Tensor, nn

import permgrad as pg

ROWS = 60


class Counted:
    """A classifier that counts its calls."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.classes_ = model.classes_
        self.sizes = list[int]()

    def fit(self, X: Any, y: Any) -> Counted:
        return self

    def predict(self, X: Any) -> Any:
        self.sizes.append(len(X))
        return self.model.predict(X)

    def predict_proba(self, X: Any) -> Any:
        self.sizes.append(len(X))
        return self.model.predict_proba(X)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net(*layers: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*layers)


class ImageAndTable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Conv2d(1, 2, 3)
        self.table = nn.Linear(4, 3)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        return self.table(table) + self.image(image).mean(dim=(1, 2, 3))[:, None]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(20, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return (self.words(input_ids) * attention_mask[..., None]).sum(dim=1)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(4, 8)
        self.dose = nn.Linear(8, 1)
        self.kind = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        inside = self.shared(x).relu()
        return {"dose": self.dose(inside), "kind": self.kind(inside)}


class Quantiles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1, keepdim=True) + torch.tensor([[-1.0, 0.0, 1.0]])


def lightgbm() -> tuple[Any, Any, Any]:
    booster = pytest.importorskip("lightgbm")
    X, y = make_classification(ROWS * 3, 5, random_state=0)
    frame = pd.DataFrame(X, columns=list("abcde"))
    return (
        booster.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1).fit(
            frame, y
        ),
        frame,
        y,
    )


def forest() -> tuple[Any, Any, Any]:
    X, y = make_classification(
        ROWS, 5, n_classes=3, n_informative=4, n_redundant=0, random_state=0
    )
    return RandomForestClassifier(5, random_state=0).fit(X, y), X, y


def text() -> dict[str, Tensor]:
    ids = torch.randint(1, 20, (ROWS, 6), generator=torch.Generator().manual_seed(1))
    mask = (
        torch.arange(6)
        < torch.randint(3, 7, (ROWS, 1), generator=torch.Generator().manual_seed(2))
    ).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def own() -> tuple[Any, Any, Any]:
    X = pd.DataFrame(
        {
            "age": draw(ROWS).numpy(),
            "town": np.resize(["Ulm", "Bonn", "Trier", "Bonn"], ROWS),
        }
    )
    y = np.where(X["age"] > 0.3, "late", "on time")
    return (
        pg.HyNNClassifier(
            preset="fast", max_epochs=1, random_state=0, progress=False
        ).fit(X, y),
        X,
        y,
    )


CLASSES = np.arange(ROWS) % 3
#: A model, its rows and targets, and what is said of it.
CASES: dict[str, Callable[[], tuple[Any, Any, Any]]] = {
    "image and table": lambda: (ImageAndTable(), {"image": draw(ROWS, 1, 6, 6), "table": draw(ROWS, 4)}, CLASSES),
    "tokens and a mask": lambda: (Words(), text(), CLASSES),
    "series": lambda: (net(nn.Conv1d(2, 3, 3), nn.Flatten(), nn.Linear(24, 1)), draw(ROWS, 2, 10), draw(ROWS).numpy()),
    "two heads": lambda: (pg.Model(TwoHeads(), head="kind"), draw(ROWS, 4), CLASSES),
    "quantiles": lambda: (pg.Model(Quantiles(), returns="values"), draw(ROWS, 4), None),
    "held": lambda: (
        pg.Model(ImageAndTable(), hold="image"), {"image": draw(ROWS, 1, 6, 6), "table": draw(ROWS, 4)}, CLASSES,
    ),
    "segments": lambda: (
        pg.Model(net(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 2)), segments=("grid", 2)),
        draw(ROWS, 1, 6, 6), CLASSES % 2,
    ),
    "named classes": lambda: (pg.Model(net(nn.Linear(4, 3)), class_names=["low", "mid", "high"]), draw(ROWS, 4), None),
    "LightGBM": lightgbm,
    "forest": forest,
    "labels": lambda: (LinearSVC(random_state=0).fit(*forest()[1:]), *forest()[1:]),
    "regression": lambda: (
        LinearRegression().fit(draw(ROWS, 4).numpy(), draw(ROWS, seed=3).numpy()), draw(ROWS, 4).numpy(),
        draw(ROWS, seed=3).numpy(),
    ),
    "permgrad's own": own,
    "function": lambda: (lambda rows: np.asarray(rows)[:, 0], pd.DataFrame(draw(ROWS, 3).numpy()), None),
}  # fmt: skip


#: What is said of inputs.
INPUTS = {
    "image and table": "image (60 rows, image 6 × 6), table (4 columns)",
    "tokens and a mask": "input_ids (60 rows, tokens, 6 places), attention_mask (6 "
    "columns)",
    "series": "input (60 rows, series 10)",
    "two heads": "x (60 rows, 4 columns)",
    "segments": "input (60 rows, image 6 × 6)",
    "LightGBM": "table (180 rows, 5 columns)",
    "permgrad's own": "table (60 rows, 2 columns)",
    "function": "table (60 rows, 3 columns)",
}
#: Outputs in words, by what an explanation notes of them.
RETURNED = {"logits": "logits", "probabilities": "probabilities", "values": "numbers"}


#: Whose features are too many for Shapley values in a test.
MANY = ("tokens and a mask", "image and table")


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("name", CASES)
def test_what_it_says_is_what_an_explanation_does(name):
    model, X, y = CASES[name]()
    model = model if isinstance(model, pg.Model) else pg.Model(model)
    description = dict(
        line.split(": ", 1) for line in model.describe(X, y).splitlines()[1:]
    )
    kind = model.describe(X, y).splitlines()[0]
    explanation = pg.explain(
        model,
        X,
        y,
        method="permutation" if name in MANY else "shapley",
        scope="local",
    )
    assert kind.endswith(explanation.meta["task"])
    shown = description["features"].split(" and ")[0].split(", ")
    assert tuple(shown) == explanation.names[: len(shown)]
    assert str(len(explanation.names)) in description["features"] or len(
        explanation.names
    ) <= len(shown)
    assert f"{ROWS * (3 if name == 'LightGBM' else 1)} rows" in description["inputs"]
    modalities = list(dict.fromkeys(explanation.modality))
    assert description.get("modalities", modalities[0]).split(", ") == modalities
    assert description.get("held, and no features", "").split(", ") == (
        explanation.meta.get("held") or [""]
    )
    classes = explanation.meta["task"] == "classification"
    expected_names = (
        [str(output_name) for output_name in explanation.outputs]
        if classes or len(explanation.outputs) > 1
        else []
    )
    assert all(output_name in description["outputs"] for output_name in expected_names)
    assert description["inputs"] == INPUTS.get(name, description["inputs"])
    assert description["outputs"].startswith(
        "labels of"
        if name == "labels"
        else RETURNED[explanation.meta.get("returns", "logits")]
    )
    assert ("tokens" in description["inputs"]) == (
        explanation.meta.get("tokens") is not None
    )
    positive = pg.explain(model, X, y, method="permutation", n_repeats=2).meta.get(
        "positive"
    )
    assert description["outputs"].endswith(
        f"(positive: {positive})"
        if positive is not None
        else description["outputs"][-1]
    )
    assert ("positive" in description["outputs"]) == (positive is not None)
    if explanation.meta.get("head") is not None:
        assert explanation.meta["head"] in description["outputs"]
    if description.get("outputs are read so because") == "y holds classes":
        # predict has no y, so that these are numbers to it until the model says it.
        alone = pg.explain(model, X, method="permutation", scope="local", n_repeats=2)
        assert alone.meta["returns"] == "values"
        np.testing.assert_allclose(model.predict(X), alone.predictions, atol=1e-5)
        model = replace(model, returns=explanation.meta["returns"])
    np.testing.assert_allclose(
        model.predict(X)[:, : len(explanation.outputs)],
        explanation.predictions,
        atol=1e-5,
    )


@pytest.mark.parametrize("method", ["permgrad", "permutation"])
def test_a_second_explanation_pays_for_itself_alone(method):
    X, y = make_classification(200, 30, random_state=0)
    counted = Counted(RandomForestClassifier(10, random_state=0).fit(X, y))
    model = pg.Model(counted)
    spent = []
    explanations = []
    for _ in range(2):
        counted.sizes.clear()
        explanations.append(
            pg.explain(model, X, y, method=method, n_repeats=2, progress=False)
        )
        spent.append(list(counted.sizes))
    np.testing.assert_array_equal(explanations[0].values, explanations[1].values)
    assert len(spent[0]) > len(spent[1])
    # The rows themselves, and two donors of all features at once, equal rows once.
    first, edited = spent[1]
    assert first == 200
    assert 0.99 * 30 * 2 * 200 < edited <= 30 * 2 * 200
    assert explanations[1].meta["model_rows"] == 200 + 30 * 2 * 200


def test_a_model_is_called_at_most_nine_times():
    """To read it: a first look, other company and a row alone.

    Then the rows, and what is replaced in large batches.
    """
    X, y = make_classification(200, 30, random_state=0)
    counted = Counted(RandomForestClassifier(10, random_state=0).fit(X, y))
    explanation = pg.explain(counted, X, y, progress=False)
    assert explanation.meta["n_repeats"] == "auto"
    assert len(counted.sizes) <= 9
    assert len([size for size in counted.sizes if size > 200]) <= 6
    assert max(counted.sizes) <= 16384


@pytest.mark.filterwarnings("ignore::permgrad.PermgradWarning")
@pytest.mark.parametrize("name", CASES)
def test_rows_read_later_are_explained_as_if_first(name):
    model, X, y = CASES[name]()
    read = model if isinstance(model, pg.Model) else pg.Model(model)
    fresh = pg.Model(
        read.model,
        **{
            option_name: getattr(read, option_name)
            for option_name in ("class_names", "returns", "head", "hold", "segments")
        },
    )
    half = ROWS // 2
    first_rows = (
        {key: value[:half] for key, value in X.items()}
        if isinstance(X, dict)
        else X[:half]
    )
    later_rows = (
        {key: value[half:ROWS] for key, value in X.items()}
        if isinstance(X, dict)
        else X[half:ROWS]
    )
    call_options = {"method": "permutation", "n_repeats": 2, "progress": False}
    explain_with(read, first_rows, None if y is None else y[:half], **call_options)
    explanation = explain_with(
        read, later_rows, None if y is None else y[half:ROWS], **call_options
    )
    alone = explain_with(
        fresh, later_rows, None if y is None else y[half:ROWS], **call_options
    )
    np.testing.assert_allclose(explanation.values, alone.values, rtol=1e-6, atol=1e-9)
    assert explanation.names == alone.names
    assert np.nanmax(np.abs(explanation.values)) > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "classify"}, "task must be one of"),
        ({"returns": "scores"}, "returns must be one of"),
        ({"batch_size": 0}, "batch_size must be 'auto' or an integer of at least 1"),
    ],
)
def test_what_fits_no_model_is_refused(options, said):
    with pytest.raises(pg.InputError, match=said):
        pg.Model(nn.Linear(2, 1), **options)


def test_classes_and_models_within_are_refused():
    with pytest.raises(pg.InputError, match="got the class LinearRegression"):
        pg.Model(LinearRegression)
    with pytest.raises(pg.InputError, match=r"is a pg\.Model already"):
        pg.Model(pg.Model(nn.Linear(2, 1)))
