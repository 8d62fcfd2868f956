"""The fixed cases: data, models, torch networks, and what is computed with them by
public names of permgrad.

    python -m verification._fixed_cases list                             # names, and where permgrad comes from
    python -m verification._fixed_cases train MODELS                     # fit and save the models
    python -m verification._fixed_cases tables FOLDER                    # write the tables that commands are given
    python -m verification._fixed_cases cases MODELS OUT --names NAME…   # compute cases, one folder each
    python -m verification._fixed_cases read RESULTS OUT --names NAME…   # load saved explanations, write their frames

``old_against_new.py`` starts this file with PYTHONPATH of the one and the other
checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tests.shared.explaining import explain_with
from torch import Tensor, nn

import permgrad as pg

#: Every method, as the message about an unknown one lists them.
METHODS = (
    "permgrad", "permgrad_paper", "permutation", "ablation", "gradcam", "gradient", "integrated_gradients", "deeplift",
    "shapley", "lime", "aggregate",
)  # fmt: skip
SMALL = {"dense_units": (16, 16), "conv_filters": (4, 8), "fusion_units": (16,)}
TRAINING_ROWS, ROWS = 400, 520


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the features, mixed and with missing cells, and the targets of one table
    of fixed contents.
    """
    rng = np.random.default_rng(27)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS),
            "dose": rng.gamma(2.0, 1.5, ROWS).round(3),
            "pressure": rng.normal(120, 15, ROWS).round(1),
            "visits": rng.poisson(2.0, ROWS),
            "smoker": rng.random(ROWS) < 0.3,
            "region": rng.choice(
                ["north", "south", "east", "west"], ROWS, p=[0.4, 0.3, 0.2, 0.1]
            ),
            "grade": rng.choice(["a", "b", "c"], ROWS),
            "score": rng.normal(size=ROWS).round(4),
            "noise": rng.normal(size=ROWS).round(4),
        }
    )
    frame["weight"] = (70 + 0.2 * frame["age"] + 3 * rng.normal(size=ROWS)).round(1)
    signal = (
        0.04 * (frame["age"] - 54)
        + 0.5 * frame["dose"] * frame["smoker"]
        + frame["score"]
    )
    signal += frame["region"].map(
        {"north": -0.6, "south": 0.0, "east": 0.4, "west": 1.0}
    )
    signal += 0.02 * (frame["pressure"] - 120) * np.sign(frame["score"])
    targets = pd.DataFrame({"amount": (signal + 0.3 * rng.normal(size=ROWS)).round(4)})
    edges = np.quantile(targets["amount"], [0.45, 0.8])
    targets["kind"] = np.array(["low", "middle", "high"])[
        np.searchsorted(edges, targets["amount"])
    ]
    targets["ill"] = np.where(targets["amount"] > edges[0], "yes", "no")
    frame["dose"] = frame["dose"].where(rng.random(ROWS) > 0.12)
    frame["region"] = frame["region"].where(rng.random(ROWS) > 0.08)
    return frame, targets


@dataclass(frozen=True)
class Recipe:
    """How an estimator is trained: its class, its target and its settings."""

    kind: str
    target: str
    settings: Mapping[str, Any]

    def fit(self) -> Any:
        """Return the fitted estimator."""
        frame, targets = tables()
        settings = {
            "random_state": 3,
            "progress": False,
            "device": "cpu",
            **self.settings,
        }
        model = getattr(pg, self.kind)(**settings)
        return model.fit(frame[:TRAINING_ROWS], targets[self.target][:TRAINING_ROWS])


_FAST = {
    "preset": "fast",
    "branches": ("tabular", "image"),
    "pixels": 8,
    "network": SMALL,
    "max_epochs": 6,
}
RECIPES = {
    "hybrid": Recipe("HyNNClassifier", "kind", _FAST),
    "regressor": Recipe("HyNNRegressor", "amount", _FAST),
    "tabular": Recipe("HyNNClassifier", "ill", {**_FAST, "branches": ("tabular",)}),
    "image": Recipe(
        "HyNNClassifier",
        "ill",
        {**_FAST, "branches": ("image",), "layout": "tinto", "pixels": 12},
    ),
    "default": Recipe(
        "HyNNClassifier",
        "ill",
        {
            "preset": "default",
            "branches": ("tabular", "image"),
            "pixels": 8,
            "max_epochs": 2,
        },
    ),
    "paper": Recipe("HyNNRegressor", "amount", {"preset": "paper", "max_epochs": 1}),
}


class Fused(nn.Module):
    """An image and a clinical table, joined before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.image_branch = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.table_branch = nn.Sequential(nn.Linear(4, 8), nn.Tanh())
        self.fusion = nn.Identity()
        self.head = nn.Sequential(nn.Linear(96 + 8, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, image: Tensor, clinical: Tensor) -> Tensor:
        """Return three logits."""
        joined: Tensor = self.fusion(
            torch.cat([self.image_branch(image), self.table_branch(clinical)], dim=1)
        )
        logits: Tensor = self.head(joined)
        return logits


class Reader(nn.Module):
    """A sequence of vectors through attention and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.GRU(4, 6, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, words: Tensor) -> Tensor:
        """Return two logits."""
        mixed, _ = self.attention(words, words, words, need_weights=False)
        states, _ = self.recurrent(mixed)
        logits: Tensor = self.head(states[:, -1])
        return logits


def networks() -> dict[str, tuple[nn.Module, Any]]:
    """Return torch networks with weights of a fixed seed, larger than at the start of a
    training, and their inputs.
    """
    torch.manual_seed(27)
    found: dict[str, tuple[nn.Module, Any]] = {}
    rng = np.random.default_rng(5)
    clinical = pd.DataFrame(
        rng.normal(size=(ROWS, 4)), columns=["age", "dose", "weight", "height"]
    )
    clinical["weight"] += 0.8 * clinical["height"]
    image = rng.random((ROWS, 1, 12, 12)).astype(np.float32)
    found["fused"] = Fused(), {"image": image, "clinical": clinical}
    dense = nn.Sequential(
        nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 1)
    )
    found["dense"] = dense, clinical
    volume = nn.Sequential(
        nn.Conv3d(1, 3, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(2),
        nn.Flatten(),
        nn.Linear(24, 2),
    )
    found["volume"] = volume, rng.random((ROWS, 1, 6, 6, 6)).astype(np.float32)
    found["reader"] = Reader(), rng.normal(size=(ROWS, 5, 4)).astype(np.float32)
    for network, _ in found.values():
        with torch.no_grad():
            for weights in network.parameters():
                weights.mul_(2.0)
        network.eval()
    return found


def cut(inputs: Any, rows: slice) -> Any:
    """Return rows of inputs of any form."""
    if isinstance(inputs, dict):
        return {name: cut(own, rows) for name, own in inputs.items()}
    return (
        inputs.iloc[rows].reset_index(drop=True)
        if isinstance(inputs, pd.DataFrame)
        else inputs[rows]
    )


@dataclass(frozen=True)
class World:
    """The saved models and the data."""

    folder: Path

    @cache  # noqa: B019 — one world for each process
    def model(self, name: str) -> tuple[Any, Any, Any]:
        """Return a model, all its inputs and their targets."""
        if name in RECIPES:
            frame, targets = tables()
            return pg.load(self.folder / name), frame, targets[RECIPES[name].target]
        network, inputs = networks()[name]
        with torch.no_grad():
            given = [
                torch.as_tensor(np.asarray(own), dtype=torch.float32)
                for own in _listed(inputs)
            ]
            outputs = network(*given).numpy()
        noisy = outputs + np.random.default_rng(1).normal(size=outputs.shape)
        y = noisy.argmax(axis=1) if outputs.shape[1] > 1 else noisy[:, 0]
        return network, inputs, y

    def explain(
        self,
        model: str,
        rows: int,
        *,
        y: bool = True,
        background: int = 0,
        **options: Any,
    ) -> Any:
        """Explain the first rows that no estimator was trained on; a background are the
        first training rows.
        """
        found, inputs, targets = self.model(model)
        part = slice(TRAINING_ROWS, TRAINING_ROWS + rows)
        if background:
            options["background"] = cut(inputs, slice(0, background))
        if options.get("sample_weight") == "by row":
            options["sample_weight"] = 1.0 + np.arange(rows) % 3
        settings = {"random_state": 7, "progress": False, **options}
        return explain_with(
            found,
            cut(inputs, part),
            np.asarray(targets)[part] if y else None,
            **settings,
        )


def _listed(inputs: Any) -> list[Any]:
    return list(inputs.values()) if isinstance(inputs, dict) else [inputs]


def predictions(name: str, world: World) -> dict[str, Any]:
    """Return what a loaded estimator says of rows it was not trained on."""
    model, frame, _ = world.model(name)
    found = {"prediction": model.predict(frame[TRAINING_ROWS:])}
    if hasattr(model, "predict_proba"):
        found["values"] = model.predict_proba(frame[TRAINING_ROWS:])
    return {
        key: own.astype(str) if own.dtype.kind == "O" else own
        for key, own in found.items()
    }


def trained_again(name: str, _: World) -> dict[str, Any]:
    """Return what an estimator that was trained by this code says, and how its training
    went.
    """
    model, frame = RECIPES[name].fit(), tables()[0]
    predict = getattr(model, "predict_proba", model.predict)
    history = model.history_.drop(columns="seconds")
    return {
        "values": predict(frame[TRAINING_ROWS:]),
        "history": history.to_numpy(dtype=np.float64),
    }


def streamed(world: World, **options: Any) -> Any:
    """Explain a Parquet file in parts."""
    model, frame, targets = world.model("hybrid")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        frame.assign(kind=targets)[TRAINING_ROWS:].to_parquet(path, index=False)
        return pg.explain_stream(
            model,
            path,
            "kind",
            rows_per_part=50,
            random_state=7,
            progress=False,
            out=Path(folder) / "out",
            **options,
        )


def compared(_: World) -> pd.DataFrame:
    """Compare two small models by cross-validation."""
    frame, targets = tables()
    found = pg.compare(
        ["fast", "linear"], frame[:200], targets["ill"][:200], cv=2, progress=False
    )
    return pd.DataFrame(found.scores)


def captum(world: World) -> Any:
    """Explain by an object of Captum."""
    from captum.attr import IntegratedGradients

    network = world.model("dense")[0]
    return world.explain(
        "dense", 30, y=False, method=IntegratedGradients(network), background=20
    )


#: Calls that are refused: options of ``World.explain`` beside the model's name.
REFUSED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "method": ("hybrid", {"method": "nothing"}),
    "option": ("hybrid", {"method": "shapley", "tolerence": 0.1}),
    "sampling": ("hybrid", {"method": "shapley", "sampling": "conditional"}),
    "paper on a network": ("fused", {"method": "permgrad_paper"}),
    "target": ("hybrid", {"method": "gradient", "target": "none"}),
    "groups": ("hybrid", {"groups": {"a": ["age", "agee"]}}),
    "repeats": ("hybrid", {"n_repeats": 0}),
    "segments": ("fused", {"segments": ("grid", 0)}),
    "scope": ("fused", {"method": "gradcam", "scope": "everywhere"}),
    "layer": ("fused", {"method": "gradient", "layer": "nowhere"}),
}


def refusals(world: World) -> str:
    """Return the messages of calls that are refused."""
    said = []
    for name, (model, options) in REFUSED.items():
        try:
            world.explain(model, 20, **options)
        except (
            pg.InputError,
            TypeError,
        ) as error:  # the latter of an option that a method does not have
            said.append(f"{name}: {error}")
        else:
            said.append(f"{name}: NOT REFUSED")
    missing = [name for name in METHODS if name not in said[0]]
    listed = f"unlisted: {missing}" if missing else "all methods are listed"
    return "\n".join([*said, listed, *sorted(pg.__all__)])


Case = Callable[[World], Any]


def _explained(model: str, rows: int, **options: Any) -> Case:
    return lambda world: world.explain(model, rows, **options)


def cases() -> dict[str, Case]:
    """Return every case by name."""
    from verification._explanations import EXPLANATIONS

    found: dict[str, Case] = {
        name: _explained(model, rows, **own)
        for name, (model, rows, own) in EXPLANATIONS.items()
    }
    found |= {f"predict {name}": partial(predictions, name) for name in RECIPES}
    found |= {f"train {name}": partial(trained_again, name) for name in RECIPES}
    found["stream permgrad"] = lambda world: streamed(world, n_repeats=3)
    found["stream permutation"] = lambda world: streamed(
        world, method="permutation", n_repeats=3
    )
    found["stream gradient"] = lambda world: streamed(world, method="gradient")
    found["compare"] = compared
    found["captum"] = captum
    found["refusals"] = refusals
    named = {name.replace(" ", "-"): case for name, case in found.items()}
    assert len(named) == len(found), "two cases have one name"
    return named


def _keep(result: Any, folder: Path) -> None:
    """Write a result into a folder, each kind in its form."""
    if isinstance(result, pg.Explanation):
        result.save(folder / "explanation")
        write_frames(result, folder)
    elif isinstance(result, pd.DataFrame):
        result.to_csv(folder / "table.csv", index=False)
    elif isinstance(result, dict):
        np.savez(folder / "arrays.npz", **result)
    else:
        (folder / "said.txt").write_text(str(result), encoding="utf-8")


def write_frames(explanation: Any, folder: Path) -> None:
    """Write the tidy frame, and what the explanation says in sum."""
    explanation.to_frame().to_csv(folder / "frame.csv", index=False)
    if explanation.scope == "local":
        explanation.to_global().to_frame().to_csv(folder / "global.csv", index=False)
    if explanation.additive:
        explanation.by_modality().to_frame().to_csv(
            folder / "by_modality.csv", index=False
        )


def run_case(world: World, case: Case, folder: Path) -> None:
    """Compute a case and keep its result and the warnings; a failure is kept too."""
    folder.mkdir(parents=True)
    started = time.process_time()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _keep(case(world), folder)
        except Exception as error:  # noqa: BLE001 — whatever it is, it is this case's result
            (folder / "error.txt").write_text(
                f"{type(error).__name__}: {error}\n", encoding="utf-8"
            )
    told = [
        str(one.message) for one in said if issubclass(one.category, pg.PermgradWarning)
    ]
    (folder / "warnings.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
    (folder / "seconds.json").write_text(
        json.dumps({"seconds": time.process_time() - started}), encoding="utf-8"
    )


def train(folder: Path) -> None:
    """Fit and save all models."""
    for name, recipe in RECIPES.items():
        recipe.fit().save(folder / name)


def read(results: Path, out: Path, names: Iterable[str]) -> None:
    """Load saved explanations and write their frames."""
    for name in names:
        (out / name).mkdir(parents=True)
        write_frames(pg.Explanation.load(results / name / "explanation"), out / name)


def write_tables(folder: Path) -> None:
    """Write the tables that commands are given: every other row of a bundled data set,
    and the mixed one.
    """
    cancer = pg.load_dataset("breast_cancer")
    cancer.frame[::2].to_csv(folder / "cancer.csv", index=False)
    frame, targets = tables()
    frame.assign(amount=targets["amount"])[:TRAINING_ROWS].to_csv(
        folder / "mixed.csv", index=False
    )
    groups = {"body": ["age", "weight"], "place": ["region", "grade"]}
    (folder / "groups.json").write_text(json.dumps(groups), encoding="utf-8")


def main() -> int:
    """Do one part of the work."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("work", choices=["list", "train", "tables", "cases", "read"])
    options.add_argument("folders", nargs="*", type=Path)
    options.add_argument("--names", nargs="*", default=[])
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if arguments.work == "train":
        train(arguments.folders[0])
    elif arguments.work == "tables":
        write_tables(arguments.folders[0])
    elif arguments.work == "read":
        read(arguments.folders[0], arguments.folders[1], arguments.names)
    elif arguments.work == "list":
        print(json.dumps({"file": pg.__file__, "cases": list(cases())}))
    else:
        models, out = arguments.folders
        world, every = World(models), cases()
        for name in arguments.names:
            run_case(world, every[name], out / name)
            print(".", end="", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
