"""Runs the package on the pretended device, in a process of its own, and prints what
differs from the processor.

    python on_pretended.py [narrow]

With ``narrow`` the device has no float64, as Apple's has none.
Prints one JSON object: for each kind of work, a case's name to the largest difference
as a share of the largest value, or to an error's text.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
import torch
from pretended import LACKING, NAME, install

#: Before anything is computed: torch counts devices once.
DEVICE = install()

from explaining import explain_with  # noqa: E402 — beside this script
from strangers import STRANGERS  # noqa: E402
from torch.utils._pytree import tree_map  # noqa: E402
from usual_methods import USUAL  # noqa: E402

import permgrad as pg  # noqa: E402
from permgrad.attribution import methods  # noqa: E402
from permgrad.data.partitions import Part  # noqa: E402
from permgrad.imaging import Renderer, StoredLayout, fit_layout, make_layout  # noqa: E402
from permgrad.models.devices import WITHOUT_FLOAT64, WithoutFloat64  # noqa: E402
from permgrad.models.network.network import HybridNetwork  # noqa: E402
from permgrad.models.train.learner import (  # noqa: E402
    Learner,
    TrainingJob,
    TrainingOptions,
)
from permgrad.models.train.training_rows import Rows, StreamedRows  # noqa: E402

FEW: dict[str, dict[str, Any]] = {
    "shapley": {
        "min_permutations": 2,
        "max_permutations": 4,
        "tolerance": 0.5,
        "references": 4,
    },
    "lime": {"samples": 30},
    "smoothgrad": {"samples": 2},
    "integrated_gradients": {"max_steps": 8},
}
# The members of an aggregate are methods that have cases of their own: two of them, of
# one scope each, are enough here.
FAST = {**FEW, "aggregate": {"members": ("gradient", "permutation")}}
ROWS = 6
Cases = Iterator[tuple[str, float]]


def explain(
    model: Any, inputs: Any, y: Any, method: str, scope: str, **options: Any
) -> np.ndarray:
    # With seed 0, smoothgrad moves one of 24 rows so near to a bend that the rounding
    # of a processor decides its slope.
    explain_options = {
        "random_state": 1,
        "n_repeats": 2,
        "progress": False,
        **FAST.get(method, {}),
        **options,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        return explain_with(
            model, inputs, y, method=method, scope=scope, **explain_options
        ).values


def difference(own_values: np.ndarray, reference: np.ndarray) -> float:
    assert own_values.shape == reference.shape
    assert np.array_equal(np.isnan(own_values), np.isnan(reference))
    largest = float(np.nanmax(np.abs(reference)))
    assert largest > 0, "nothing to compare"
    return float(np.nanmax(np.abs(own_values - reference))) / largest


def table() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], 200)
    signal = X["a"] + (X["colour"] == "red") * 2 + X["b"] * X["c"]
    return (
        X,
        signal.to_numpy(),
        np.array(["no", "maybe", "yes"])[np.digitize(signal, [-0.3, 1.0])],
    )


def hybrid() -> Cases:
    X, numbers, labels = table()
    kinds: dict[str, tuple[Any, np.ndarray, dict[str, Any]]] = {
        "paper": (
            pg.HyNNClassifier,
            labels,
            {"preset": "paper", "network": {"conv_filters": (4, 8)}},
        ),
        "default": (
            pg.HyNNClassifier,
            labels,
            {
                "branches": ("tabular", "image"),
                "network": {"conv_filters": (4, 8), "members": 2},
            },
        ),
        "beside": (
            pg.HyNNClassifier,
            labels,
            {"branches": ("tabular", "linear", "trees"), "network": {"members": 2}},
        ),
        "regression": (
            pg.HyNNRegressor,
            numbers,
            {"preset": "ig_example", "loss": None},
        ),
    }
    for kind, (estimator, y, options) in kinds.items():
        model = estimator(
            max_epochs=1, random_state=0, progress=False, device="cpu", **options
        ).fit(X, y)
        twin = copy.deepcopy(model)
        twin.module_.to(DEVICE)
        encoded = model.encode_rows(X).encoded
        yield (
            f"{kind} predict",
            difference(twin.predict_encoded(encoded), model.predict_encoded(encoded)),
        )
        method_names = (
            ("permgrad", "permgrad_paper", "integrated_gradients", "gradcam")
            if kind == "paper"
            else ("permgrad",)
        )
        for name in USUAL if kind == "default" else method_names:
            for scope in methods.get(name).scopes:
                both_values = [
                    explain(network, X[:ROWS], y[:ROWS], name, scope)
                    for network in (twin, model)
                ]
                yield f"{kind} {name} {scope}", difference(*both_values)
        if kind not in ("default", "beside"):
            continue
        conditional = [
            explain(
                network,
                X[:ROWS],
                y[:ROWS],
                "permgrad",
                "global",
                sampling="conditional",
            )
            for network in (twin, model)
        ]
        yield f"{kind} conditional", difference(*conditional)


def networks() -> Cases:
    for stranger, options in {
        "images_first": {"segments": ("grid", 2)},
        "embedded_codes": {},
    }.items():
        if LACKING and stranger == "embedded_codes":
            continue  # float64 is asked for in the same places
        net, inputs, y = STRANGERS[stranger]()
        inputs = tree_map(lambda leaf: leaf[:ROWS], inputs)
        y = y[:ROWS]
        twin = copy.deepcopy(net).to(DEVICE)
        there = tree_map(
            lambda leaf: leaf.to(DEVICE) if isinstance(leaf, torch.Tensor) else leaf,
            inputs,
        )
        for name in USUAL:
            for scope in methods.get(name).scopes:
                try:
                    reference = explain(net, inputs, y, name, scope, **options)
                except pg.InputError:
                    continue  # what this network does not have on the processor either
                yield (
                    f"{stranger} {name} {scope}",
                    difference(
                        explain(twin, inputs, y, name, scope, **options), reference
                    ),
                )
                if stranger == "images_first" and name in (
                    "permgrad",
                    "gradient",
                    "lime",
                ):  # rows that are there already
                    twin_values = explain(twin, there, y, name, scope, **options)
                    yield (
                        f"{stranger} {name} {scope}, rows",
                        difference(twin_values, reference),
                    )
    net, inputs, y = STRANGERS["images_first"]()
    twin = copy.deepcopy(net).to(DEVICE)
    twin_values = [
        explain(network, inputs, y, "shapley", "local", layer="cnn.3")
        for network in (twin, net)
    ]
    yield "layer", difference(*twin_values)


def training() -> Cases:
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(130, 5)).astype(np.float32))
    y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()
    rows = Rows(x, y, torch.ones(len(x)))
    renderer = Renderer(
        StoredLayout([[k, 2 * k] for k in range(5)], 10), x.amin(dim=0), x.amax(dim=0)
    )
    for kind, options in {
        "plain": {},
        "members": {"members": 2, "normalization": "none"},
    }.items():
        trained_outputs = []
        for device in (DEVICE, torch.device("cpu")):
            torch.manual_seed(0)
            network = HybridNetwork(
                5, 2, {"dropout": 0.0, **options}, renderer=renderer
            ).to(device)
            settings = TrainingOptions(
                batch_size=32,
                max_epochs=2,
                averaging=0.9,
                refinement=True,
                precision="float32",
            )
            learner = Learner(TrainingJob(network, rows, rows, settings, 0), device)
            learner.optimizer = torch.optim.AdamW(
                network.parameters(), lr=1e-3
            )  # the fused one is for real devices
            for _ in range(2):
                for number, batch in enumerate(learner.start_epoch()):
                    learner.step(batch, number)
                learner.end_epoch()
            trained_outputs.append(
                np.array([record["validation_loss"] for record in learner.history])
            )
        yield kind, difference(*trained_outputs)
    for block_rows in (40, 200):  # rows read from files, in blocks and at once
        streamed = StreamedRows(
            [Part(0, "", 0, 1, 0, len(x))], len(x), lambda _: iter([rows]), block_rows
        )
        there, here = (
            list(streamed.to(device).batches(32, 0, 0))
            for device in (DEVICE, torch.device("cpu"))
        )
        assert all(batch.x.device == DEVICE for batch in there)
        joined = [
            torch.cat([batch.x for batch in batches]).cpu().numpy()
            for batches in (there, here)
        ]
        yield f"blocks of {block_rows}", difference(*joined)


def rendering() -> Cases:
    encoded = np.random.default_rng(0).random((60, 7)).astype(np.float32)
    encoded_rows = torch.from_numpy(encoded)
    cases: dict[str, dict[str, Any]] = {
        "assignment": {},
        "random": {},
        "tinto": {},
        "tinto blur mean": {"blur": True},
        "tinto blur maximum": {"blur": True, "option": "maximum"},
    }
    for name, options in cases.items():
        layout = fit_layout(
            make_layout(name.partition(" ")[0], 6, 0, **options), encoded, None, 0
        )
        renderer = Renderer(
            layout, encoded.min(axis=0), encoded.max(axis=0), channels=3
        )
        rendered_images = []
        slopes = []
        for device in (DEVICE, torch.device("cpu")):
            rows = encoded_rows.to(device).requires_grad_()
            images = renderer(rows)
            (gradient,) = torch.autograd.grad(images.square().sum(), rows)
            slopes.append(gradient.detach().cpu().numpy())
            rendered_images.append(
                renderer(encoded_rows.to(device)).detach().cpu().numpy()
            )
        yield name, difference(*rendered_images)
        yield f"{name}, slopes", difference(*slopes)


def main() -> None:
    torch.set_num_threads(1)
    works: dict[str, Callable[[], Cases]] = {
        "hybrid": hybrid, "networks": networks, "training": training, "rendering": rendering,
    }  # fmt: skip
    if "narrow" in sys.argv:
        LACKING.add(torch.float64)
        WITHOUT_FLOAT64.add(NAME)
    results: dict[str, dict[str, Any]] = {}
    for work, cases in works.items():
        result = results[work] = {}
        try:
            with (
                WithoutFloat64()
            ):  # as in training, whose parts some cases call by themselves
                for name, value in cases():
                    result[name] = value
        except Exception as error:  # noqa: BLE001 — the test that reads this shows it
            result["failed"] = (
                f"after {list(result)[-1:]}: {type(error).__name__}: {str(error)[:800]}"
            )
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
