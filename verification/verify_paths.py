"""Are the effects and path shares true, or do they only add up?

1. Every effect again, slowly: a copy of the *raw* table is edited (the donor's cells of
   a feature or group, texts and missing values too, are copied), and ``predict`` /
   ``predict_proba`` of the estimator gives Δ_both; for one path alone the whole network
   is run with the edited encoded rows in that path and the original ones in the other.
   No cache, no boxes. Means over rows and over the rows of each class are compared with
   ``pg.explain``; and single pairs, one row explained alone, on a copy of the network
   in float64, so that nothing is left to rounding.
2. Networks with weights set by hand, f = a·x(table) + b·x(image), against the closed
   forms φ_table = 2a(a+b)σ², φ_image = 2b(a+b)σ², interaction 4abσ², and exactly 0 for
   a path that the head ignores.

Floors: the largest difference is at most 1e-5 of the loss scale (the loss of the
constant predictor), for single pairs in float64 1e-8.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd
import torch
from benchmarks._results import data_folder, markdown_table, parser, record
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution.replace.donors import Lenders
from permgrad.imaging.tinto import TintoLayout
from permgrad.models.network.network import HybridNetwork

TOLERANCE = 1e-5
PAIR_TOLERANCE = 1e-8
PARTS = ("total", "tabular", "image", "interaction")


# ---- a table with everything in it ---------------------------------------------------


def mixed_table(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table with numbers, texts, booleans, dates, missing values and a
    constant, and a target in numbers.
    """
    rng = np.random.default_rng(seed)
    number = rng.normal(size=(rows, 6))
    colour = rng.choice(["red", "green", "blue"], rows)
    flag = rng.random(rows) < 0.4
    y = (
        number[:, 0]
        + number[:, 1] * number[:, 2]
        + 2.0 * (colour == "red")
        - flag
        + 0.3 * rng.normal(size=rows)
    )
    table = pd.DataFrame(number, columns=list("abcdef"))
    # A copy up to noise lies on the same pixel as its original in a projection.
    table["g"] = table["a"] + 0.01 * rng.normal(size=rows)
    table["colour"] = colour
    table["flag"] = flag
    table["day"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(
        rng.integers(0, 900, rows), unit="D"
    )
    table["always"] = 7.0
    table.loc[rng.random(rows) < 0.2, "b"] = np.nan
    table.loc[rng.random(rows) < 0.1, "colour"] = None
    return table, y


def three_classes(y: np.ndarray) -> np.ndarray:
    return np.array(["low", "middle", "high"], dtype=object)[
        np.digitize(y, np.quantile(y, [0.4, 0.8]))
    ]


# ---- the slow way --------------------------------------------------------------------


def edited_table(
    table: pd.DataFrame,
    columns: Iterable[str],
    donors: pd.DataFrame,
    numbers: np.ndarray,
) -> pd.DataFrame:
    """Return a copy of the raw table with the donors' cells in the named columns."""
    edited = table.copy()
    for column in columns:
        edited[column] = donors[column].iloc[numbers].set_axis(edited.index)
    return edited


def players_of(model: Any, name: str) -> list[str]:
    """Return the raw columns of a feature, or itself if it is what a date says."""
    encoder = model.preprocessor_
    return [name] if name in encoder.date_parts_ else encoder.raw_columns_of(name)


def edited_rows(
    model: Any,
    table: pd.DataFrame,
    columns: Iterable[str],
    donors: pd.DataFrame,
    numbers: np.ndarray,
) -> Any:
    """Return the table with the donors' cells, encoded where only what their dates say
    is taken.
    """
    parts = {
        name: part
        for name, part in model.preprocessor_.date_parts_.items()
        if name in columns
    }
    edited = edited_table(
        table, [name for name in columns if name not in parts], donors, numbers
    )
    if not parts:
        return edited
    rows = model.encode_rows(edited)
    for date, _, places in parts.values():
        rows.encoded[:, places] = model.encode_rows(
            edited_table(table, [date], donors, numbers)
        ).encoded[:, places]
    return rows


def row_losses(model: Any, y: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return the loss of each row from what ``predict`` (numbers) or ``predict_proba``
    (classes) gives.
    """
    if hasattr(model, "classes_"):
        place = {label: index for index, label in enumerate(model.classes_.tolist())}
        return -np.log(
            outputs[np.arange(len(y)), [place[label] for label in y.tolist()]]
        )
    return (y - outputs) ** 2


def public_outputs(model: Any, table: pd.DataFrame) -> np.ndarray:
    return (
        model.predict_proba(table)
        if hasattr(model, "classes_")
        else model.predict(table)
    )


def in_float64(model: Any) -> Any:
    """Return a copy of the model whose network computes in float64."""
    exact = copy.deepcopy(model)
    exact.module_.double()
    return exact


def encoded_tensor(model: Any, table: Any) -> torch.Tensor:
    """Return rows as the network reads them, in its precision."""
    dtype = next(model.module_.parameters()).dtype
    return torch.from_numpy(model.encode_rows(table).encoded).to(dtype)


def network_outputs(
    model: Any, rows: torch.Tensor, changed: torch.Tensor, paths: Iterable[str]
) -> np.ndarray:
    """Return what the whole network gives with the edited rows in some paths and the
    original rows in the others.
    """
    network: HybridNetwork = model.module_
    with torch.no_grad():
        raw = network.fuse(
            {
                own: network.embed(own, changed if own in paths else rows)
                for own in network.paths
            }
        )
    if hasattr(model, "classes_"):
        return torch.softmax(raw.double(), dim=1).numpy()
    return raw[:, 0].double().numpy() * model.target_scale_ + model.target_mean_


def slow_effects(
    model: Any,
    table: pd.DataFrame,
    y: np.ndarray,
    columns: list[str],
    donors: pd.DataFrame,
    numbers: np.ndarray,
) -> np.ndarray:
    """Return total, a share for each path and interaction of each row against its
    donor, ``(rows, 2 + paths)``.
    """
    edited = edited_rows(model, table, columns, donors, numbers)
    paths = model.module_.paths
    rows = encoded_tensor(model, table)
    changed = encoded_tensor(model, edited)
    plain = [network_outputs(model, rows, changed, own) for own in ((), paths)]
    outputs = plain
    if (
        next(model.module_.parameters()).dtype == torch.float32
    ):  # ``predict`` computes in it
        outputs = [public_outputs(model, own) for own in (table, edited)]
    before, after = (row_losses(model, y, values) for values in outputs)
    both = after - before
    if len(paths) == 1:
        return np.stack([both, both], axis=1)
    # ``predict`` rounds otherwise than the network's layers one by one: a difference is
    # taken within one of the two.
    before = row_losses(model, y, plain[0])

    def effect(own: frozenset[str]) -> np.ndarray:
        return (
            row_losses(model, y, network_outputs(model, rows, changed, own)) - before
            if own
            else 0.0 * before
        )

    effects = {
        own: effect(own)
        for size in range(len(paths))
        for own in map(frozenset, combinations(paths, size))
    }
    effects[frozenset(paths)] = both
    # Shapley's own form: the mean over all orders in which the paths are replaced.
    orders = list(permutations(paths))
    shares = []
    for path in paths:
        before_it = [frozenset(order[: order.index(path)]) for order in orders]
        shares.append(
            np.mean([effects[own | {path}] - effects[own] for own in before_it], axis=0)
        )
    return np.stack(
        [both, *shares, both - sum(effects[frozenset({path})] for path in paths)],
        axis=1,
    )


def largest_difference(
    model: Any,
    table: pd.DataFrame,
    y: np.ndarray,
    *,
    background: pd.DataFrame | None = None,
    groups: Mapping[str, list[str]] | None = None,
    repeats: int = 2,
    seed: int = 5,
    single_rows: int = 4,
    **options: Any,
) -> dict[str, Any]:
    """Compare every feature, class and part of ``pg.explain`` with the slow way; in
    units of the loss scale.
    """
    shared = background is None
    donors = table if background is None else background
    common = {
        "groups": groups,
        "random_state": seed,
        "progress": False,
        "branches": False,
        "direction": False,
        **options,
    }
    explained = explain_with(
        model, table, y, background=background, n_repeats=repeats, **common
    )
    scale = explained.meta["loss_scale"]
    names = ["total", *explained.parts]
    found = np.stack([explained.values, *explained.parts.values()], axis=-1)
    worst = largest = 0.0
    numbers = np.arange(len(table))
    for position, name in enumerate(explained.names):
        columns = (
            list(groups[name]) if groups and name in groups else players_of(model, name)
        )
        pairs = []
        for repeat in range(repeats):
            chosen = Lenders(len(donors), shared).draw(seed, name, repeat, numbers)
            pairs.append(slow_effects(model, table, y, columns, donors, chosen))
        effects = np.mean(pairs, axis=0)
        for column, output in enumerate(explained.outputs):
            member = (
                np.ones(len(y), bool)
                if output == "all"
                else np.array([str(label) == output for label in y])
            )
            if member.any():
                difference = np.abs(
                    found[position, column] - effects[member].mean(axis=0)
                ).max()
                worst = max(worst, float(difference) / scale)
        largest = max(largest, float(np.abs(effects.mean(axis=0)).max()) / scale)
    return {
        "features": len(explained.names),
        "parts": len(names),
        "largest effect": largest,
        "difference of means": worst,
        "difference of single pairs": None
        if shared
        else largest_difference_of_pairs(
            model, table[:single_rows], y, donors, groups, seed, scale, common
        ),
    }


def largest_difference_of_pairs(
    model: Any,
    table: pd.DataFrame,
    y: np.ndarray,
    donors: pd.DataFrame,
    groups: Mapping[str, list[str]] | None,
    seed: int,
    scale: float,
    common: Mapping[str, Any],
) -> float:
    """Explain each row of a short table alone, against one donor, in float64."""
    exact, worst = in_float64(model), 0.0
    for row in range(len(table)):
        own = table.iloc[[row]], y[[row]]
        one = explain_with(
            exact, *own, background=donors, n_repeats=1, row_offset=row, **common
        )
        for position, name in enumerate(one.names):
            columns = (
                list(groups[name])
                if groups and name in groups
                else players_of(model, name)
            )
            donor = Lenders(len(donors), False).draw(seed, name, 0, np.array([row]))
            expected = slow_effects(exact, *own, columns, donors, donor)[0]
            found = np.array(
                [
                    one.values[position, 0],
                    *(part[position, 0] for part in one.parts.values()),
                ]
            )
            worst = max(worst, float(np.abs(found - expected).max()) / scale)
    return worst


# ---- networks to compare on ----------------------------------------------------------


def shifted_squares(encoded: np.ndarray) -> np.ndarray:
    """Draw pictures in somebody else's way: squares and neighbours' products, 3 ×
    encoded columns.
    """
    return np.stack(
        [encoded, encoded**2 / 4, encoded * np.roll(encoded, 1, axis=1) / 4], axis=1
    )


def configurations() -> dict[str, dict[str, Any]]:
    """Return what is varied: presets, layouts with and without collisions and blur,
    single branches.
    """
    few = {"max_epochs": 3}
    return {
        "default": {**few, "branches": ("tabular", "image")},
        "fast": {**few, "branches": ("tabular", "image")},
        "fast, random layout": {**few, "preset": "fast", "layout": "random"},
        "paper": {**few, "preset": "paper", "learning_rate": 1e-3},
        "paper, 5 pixels": {**few, "preset": "paper", "pixels": 5},
        "paper, blurred mean": {**few, "layout": TintoLayout(20, blur=True, option="mean", distance=1)},
        "paper, blurred maximum": {**few, "layout": TintoLayout(12, blur=True, option="maximum")},
        "default, table alone": {**few, "branches": ("tabular",)},
        "default, image alone": {**few, "branches": ("image",)},
        "fast, pooling 3 of 11 pixels": {
            **few, "preset": "fast", "branches": ("tabular", "image"), "pixels": 11,
            "network": {"pooling": [3, 1], "kernel_size": 5, "image_units": [8], "conv_normalization": "batch"},
        },
        "fast, somebody else's pictures": {**few, "preset": "fast", "layout": shifted_squares},
    }  # fmt: skip


def _parameters(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "preset": name.split(",", maxsplit=1)[0],
        **parameters,
        "random_state": 0,
        "progress": False,
    }


def compare_on_mixed_table(
    name: str, task: str, rows: int, seed: int
) -> dict[str, Any]:
    """Train a little on the mixed table and compare: own rows and a background as
    donors, and groups.
    """
    table, numbers = mixed_table(2 * rows, seed)
    y = numbers if task == "regression" else three_classes(numbers)
    estimator = pg.HyNNRegressor if task == "regression" else pg.HyNNClassifier
    model = estimator(**_parameters(name, configurations()[name])).fit(
        table[:rows], y[:rows]
    )
    explained = table[rows:].reset_index(drop=True), y[rows:]
    groups = {"pair": ["a", "colour"], "calendar": ["day"]}
    results = [
        largest_difference(model, *explained),
        largest_difference(model, *explained, background=table[:150]),
        largest_difference(model, *explained, background=table[:150], groups=groups),
    ]
    collisions = 0
    if "image" in model.module_.paths and hasattr(model.renderer_, "positions"):
        positions = model.renderer_.positions
        collisions = len(positions) - len(np.unique(positions, axis=0))
    return {
        "table": "mixed",
        "network": name,
        "task": task,
        "collisions": collisions,
        "largest effect": max(result["largest effect"] for result in results),
        "means": max(result["difference of means"] for result in results),
        "pairs": max(result["difference of single pairs"] or 0.0 for result in results),
    }


def compare_on_data(name: str, preset: str, rows: int) -> dict[str, Any]:
    """Train a little on a named data set and compare on test rows, with its missing
    codes and its groups.
    """
    from permgrad.data.datasets import load_dataset
    from permgrad.data.splitting import split_rows

    data = load_dataset(name)
    table, y = data.X, data.y.to_numpy()
    split = split_rows(len(table), y, task=data.task)
    estimator = pg.HyNNRegressor if data.task == "regression" else pg.HyNNClassifier
    model = estimator(
        preset=preset, branches=("tabular", "image"), max_epochs=3, random_state=0, progress=False,
        na=data.card.na or None, groups=data.card.groups or None,
    )  # fmt: skip
    train, test = split.train[: 4 * rows], split.test[:rows]
    model.fit(table.iloc[train], y[train])
    result = largest_difference(
        model, table.iloc[test].reset_index(drop=True), y[test], repeats=1
    )
    return {
        "table": name,
        "network": preset,
        "task": data.task,
        "collisions": None,
        "largest effect": result["largest effect"],
        "means": result["difference of means"],
        "pairs": None,
    }


# ---- weights set by hand -------------------------------------------------------------


def hand_set(
    table_slopes: Iterable[float], image_slopes: Iterable[float]
) -> pg.HyNNRegressor:
    """Return a fitted regressor whose network is f = Σ_j a_j·x_j (read in the table) +
    Σ_j b_j·x_j (read in the image).

    x is the encoded row; ReLU units come in pairs, relu(t) − relu(−t) = t.
    """
    a, b = np.array(list(table_slopes)), np.array(list(image_slopes))
    features = len(a)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, features))
    network = {
        "dense_units": [2 * features], "conv_filters": [2], "kernel_size": 1, "pooling": [1], "fusion_units": [],
        "activation": "relu", "image_units": [], "numeric_embedding": "none",
        "normalization": "none", "conv_normalization": "none",
    }  # fmt: skip
    preset = {"base": "fast", "numeric": "standard"}
    model = pg.HyNNRegressor(
        preset=preset,
        branches=("tabular", "image"),
        network=network,
        max_epochs=1,
        random_state=0,
        progress=False,
    )
    model.fit(X, X.sum(axis=1))
    module, renderer = model.module_, model.renderer_
    model.target_mean_, model.target_scale_ = 0.0, 1.0
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        first = module.table_branch.layers[0]
        for j in range(features):
            first.weight[2 * j, j], first.weight[2 * j + 1, j] = 1.0, -1.0
        convolution = module.image_branch[0]
        convolution.weight[0], convolution.weight[1] = 1.0, -1.0
        head = module.head[0]
        side = renderer.height
        for j in range(features):
            head.weight[0, 2 * j], head.weight[0, 2 * j + 1] = a[j], -a[j]
            low, high = float(renderer.minimum[j]), float(renderer.maximum[j])
            row, column = renderer.positions[j]
            pixel = 2 * features + int(row) * side + int(column)
            # The pixel shows (x − low) / (high − low).
            head.weight[0, pixel] = b[j] * (high - low)
            head.weight[0, pixel + side * side] = -b[j] * (high - low)
            head.bias[0] += b[j] * low
    return model


def closed_forms(
    a: list[float], b: list[float], rows: int, repeats: int, seed: int
) -> dict[str, Any]:
    """Compare a hand-set network with its closed forms: exactly on the pairs drawn, and
    in expectation.
    """
    model = hand_set(a, b)
    scales = np.linspace(1.0, 2.0, len(a))
    X = np.random.default_rng(seed).normal(size=(rows, len(a))) * scales
    encoded = model.encode_rows(X).encoded.astype(np.float64)
    slopes = np.array(a) + np.array(b)
    y = encoded @ slopes
    explained = pg.explain(
        model, X, y, random_state=seed, n_repeats=repeats, progress=False
    )
    # The encoder is linear here: (x − mean) / standard deviation of the training rows.
    sigma2 = (
        scales
        * np.ptp(
            model.encode_rows(
                np.stack([np.zeros(len(a)), np.ones(len(a))])
            ).encoded.astype(np.float64),
            axis=0,
        )
    ) ** 2
    first, second = np.array(a), np.array(b)
    # With both paths together worth (a + b)², the table's share of one pair is a(a +
    # b)·(x′ − x)².
    factors = {
        "total": (first + second) ** 2,
        "tabular": first * (first + second),
        "image": second * (first + second),
        "interaction": 2 * first * second,
    }
    drawn = np.array(
        [
            np.mean(
                [
                    (
                        encoded[
                            Lenders(rows, True).draw(
                                seed, name, repeat, np.arange(rows)
                            ),
                            j,
                        ]
                        - encoded[:, j]
                    )
                    ** 2
                    for repeat in range(repeats)
                ]
            )
            for j, name in enumerate(explained.names)
        ]
    )
    scale = explained.meta["loss_scale"]
    exact, standardised, zero = 0.0, 0.0, True
    for part, factor in factors.items():
        value = (explained.values if part == "total" else explained.parts[part])[:, 0]
        error = (explained.std_error if part == "total" else explained.part_std[part])[
            :, 0
        ]
        exact = max(exact, float(np.abs(value - factor * drawn).max()) / scale)
        live = np.abs(factor) > 0
        if live.any():
            deviation = np.abs(value - 2 * factor * sigma2)[live] / error[live]
            standardised = max(standardised, float(deviation.max()))
        zero = zero and bool((value[~live] == 0).all())
    return {
        "a": str(a),
        "b": str(b),
        "difference on the pairs drawn": exact,
        "largest distance from the closed form in standard errors": standardised,
        "ignored paths exactly 0": zero,
    }


CLOSED = (
    ([1.0, 0.5, -1.5], [2.0, 0.25, 0.5]),
    ([1.0, 2.0], [0.0, 0.0]),
    ([0.0, 0.0], [1.0, -0.5]),
    ([1.0, 0.0], [0.0, 1.0]),
)


def main() -> int:
    arguments = parser(__doc__).parse_args()
    # Three epochs are too few for anything but comparing two ways of computing one
    # number.
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # From 200 rows on they are their own background.
    rows = 210 if arguments.quick else 400
    found = []
    for name in configurations():
        for task in (
            ("classification",) if arguments.quick else ("classification", "regression")
        ):
            found.append(compare_on_mixed_table(name, task, rows, seed=0))
            print(found[-1], flush=True)
    if data_folder() and not arguments.quick:
        for name in ("heloc", "dengue", "covertype", "gas", "puma", "bank"):
            for preset in ("default", "paper"):
                found.append(compare_on_data(name, preset, rows))
                print(found[-1], flush=True)
    closed = [
        closed_forms(a, b, rows=500 if arguments.quick else 5000, repeats=10, seed=1)
        for a, b in CLOSED
    ]
    passed = (
        all(row["means"] <= TOLERANCE and row["largest effect"] > 1e-3 for row in found)
        and all((row["pairs"] or 0.0) <= PAIR_TOLERANCE for row in found)
        and all(row["difference on the pairs drawn"] <= TOLERANCE for row in closed)
        and all(
            row["largest distance from the closed form in standard errors"] < 4
            for row in closed
        )
        and all(row["ignored paths exactly 0"] for row in closed)
    )
    text = (
        "Largest difference from the slow recomputation, in units of the loss scale: "
        "means over rows (of each class "
        "and overall, all parts), and single pairs in float64.\n\n"
        + markdown_table(found)
        + "\n\nWeights set by hand, "
        "f = Σ a·x(table) + Σ b·x(image):\n\n" + markdown_table(closed)
    )
    return record(
        arguments,
        "Path shares are true",
        text,
        {"dense": found, "closed forms": closed},
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
