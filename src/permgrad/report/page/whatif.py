"""*What if*: what the page needs to predict a changed row, and to divide its prediction among the features.

The network itself is in the page (``network_form``), with its encoder (``encoder_form``), a few background rows, and
the orders in which players join. The values of the page are those of

    pg.explain(model, row, method="shapley", background=…, output="probability", exact=0, same_orders=True,
               max_permutations=2 * walks, tolerance=0, random_state=0)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.special import softmax

from permgrad.attribution.method.shapley.sampled import shared_orders
from permgrad.base.random import generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.image_table import ImageTableModel
from permgrad.report.page.encoder_form import cells_of, encoder_form
from permgrad.report.page.network_form import NoFormError, Weights, network_form
from permgrad.report.page.page_data import packed
from permgrad.report.words import clean

#: Bytes of weights, as text, above which they are left out unless asked for.
MOST_BYTES = 4_000_000
#: Features that have a share of their own. The others share one.
MOST_PLAYERS = 30
#: The name of what the others share.
OTHERS = "all other features"
#: Seed of the orders and of the background rows.
SEED = 0
#: Walks after which values are shown, behind one for each background row. They are rounds of ``method="shapley"``.
WALKS = (24, 48, 96, 192)
#: Features that have inputs.
MOST_INPUTS = 60
#: Encoded numbers of all these rows together, and rows that are there at least.
_ROW_NUMBERS, _LEAST_ROWS = 60_000, 20
#: How many background rows there may be: divisors of 24, the walks of a round.
_BACKGROUND = (8, 6, 4, 3, 2)
#: Multiplications that one edit may take before values are shown, and sets of background rows that are compared.
_MOST_PRODUCTS, _CANDIDATES = 80e6, 2000


@dataclass(frozen=True)
class ChangeableRows:
    """Rows that readers may change.

    Attributes:
        numbers: each row's number in its file.
        encoded: the rows as the network sees them, ``(rows, encoded)``.
        columns: positions of the raw columns that have inputs, the strongest first.
        cells: what these columns hold, ``(rows, columns)``: numbers, seconds, 0 and 1, or the position of a level.
        missing: the kind of missing of each of these cells, 0 where there is a value.
        fixed: of a network that also reads images, what they become, ``(rows, units)``. The images do not change.
    """

    numbers: npt.NDArray[np.int64]
    encoded: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int64]
    cells: npt.NDArray[np.float64]
    missing: npt.NDArray[np.uint8]
    fixed: npt.NDArray[np.float32] | None = None


def rows_of(model: Any, rows: Any, numbers: npt.ArrayLike | None = None, ranking: Sequence[str] = ()) -> ChangeableRows:
    """Return rows of a frame, or of ``Records`` of a model of images and a table. Of wide tables only the first."""
    encoder = model.preprocessor_
    most = min(len(rows), max(_LEAST_ROWS, _ROW_NUMBERS // max(len(encoder.slots_), 1)))
    fixed = None
    if isinstance(model, ImageTableModel):
        rows = rows.take(list(range(most)))
        frame = rows.table
        tensors = [torch.from_numpy(np.asarray(value, dtype=np.float32)) for value in model.inputs(rows).values()]
        with torch.inference_mode():
            fixed, encoded = model.module_.image_branch(*tensors[:-1]).numpy(), tensors[-1].numpy()
    else:
        frame = rows.iloc[:most]
        encoded = np.asarray(model.encode(frame), dtype=np.float32)
    columns = _shown_columns(encoder, ranking)
    cells, missing = _cells(encoder, frame, columns)
    places = np.arange(most) if numbers is None else np.asarray(numbers)[:most]
    return ChangeableRows(places, encoded, np.array(columns, dtype=np.int64), cells, missing, fixed)


def _shown_columns(encoder: TableEncoder, ranking: Sequence[str]) -> list[int]:
    """Return the raw columns that have inputs, those of the strongest features first."""
    place = {name: at for at, name in enumerate(encoder.feature_names_in_)}
    features = encoder.features("feature")
    ordered = [place[column] for name in ranking if name in features for column in encoder.raw_columns_of(name)]
    seen = set(encoder.feature_of_.tolist())
    return [at for at in dict.fromkeys([*ordered, *sorted(seen)]) if at in seen][:MOST_INPUTS]


def _cells(
    encoder: TableEncoder, frame: pd.DataFrame, columns: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Return cells as numbers, and their kinds of missing."""
    values, kinds = np.zeros((len(frame), len(columns))), np.zeros((len(frame), len(columns)), dtype=np.uint8)
    by_name = cells_of(encoder, frame)
    forms = {form["name"]: form for form in encoder_form(encoder)["columns"]}
    for at, column in enumerate(columns):
        name = encoder.feature_names_in_[column]
        levels = {level: place for place, (level, _) in enumerate(forms[name].get("levels", ()))}
        for row, cell in enumerate(by_name[name]):
            if isinstance(cell, list):
                kinds[row, at] = cell[0]
            else:
                values[row, at] = levels.get(cell, len(levels)) if isinstance(cell, str) else cell
    return values, kinds


def what_if(model: Any, rows: ChangeableRows, ranking: Sequence[str] = (), *, large: bool = False) -> dict[str, Any]:
    """Return what the page needs to run a fitted model, or ``{"reason": ...}`` if it cannot or should not.

    Args:
        model: any model. Only permgrad's networks can run in a page.
        rows: the rows that readers may change.
        ranking: features, the most important first. The first 30 have their own share of a prediction.
        large: whether weights of more than 4 MB are included.
    """
    weights = Weights()
    try:
        network = network_form(model, weights)
    except NoFormError as error:
        return {"reason": f"This model cannot run inside the page: {error}."}
    if weights.bytes > MOST_BYTES and not large:
        return {
            "reason": f"The network is not in this page, because its weights take {weights.bytes / 1e6:.1f} MB, more "
            f"than {MOST_BYTES / 1e6:.0f} MB. The option --what-if (what_if=True in Python) includes them."
        }
    encoder = model.preprocessor_
    groups = players(encoder, ranking)
    background, spread = background_rows(model, how_many(network, len(groups)))
    form = {
        "network": network,
        "encoder": encoder_form(encoder),
        "players": [[name, columns] for name, columns in groups.items()],
        "walks": [len(background), *WALKS],
        "range": spread,
    }
    return {
        "form": json.dumps(form, separators=(",", ":")),  # as text, so that no number of it is rounded
        "weights": weights.packed(),
        "background": packed(background),
        "orders": packed(shared_orders(SEED, len(groups), WALKS[-1]), "u2"),
        **_listed(rows, encoder),
    }


def _listed(rows: ChangeableRows, encoder: TableEncoder) -> dict[str, Any]:
    """Return the rows in two tables, columns of 0 and 1 in bytes and the others as numbers, and the cells of inputs."""
    numeric = np.zeros(len(encoder.slots_), dtype=bool)
    numeric[encoder.numeric_columns_] = True
    numeric |= ~np.isin(rows.encoded, (0.0, 1.0)).all(axis=0)
    kinds = {form["name"]: form["kind"] for form in encoder_form(encoder)["columns"]}
    columns = []
    for at, column in enumerate(rows.columns.tolist()):
        name, values = encoder.feature_names_in_[column], rows.cells[:, at]
        packing = {"category": "u2", "boolean": "u1", "date": "f8"}.get(kinds[name], "f4")
        columns.append(
            {
                "name": name,
                "label": clean(name),
                "values": packed(values, packing),
                **({"missing": packed(rows.missing[:, at], "u1")} if rows.missing[:, at].any() else {}),
            }
        )
    return {
        "rows": rows.numbers,
        "numeric": packed(np.flatnonzero(numeric), "u2"),
        "numbers": packed(rows.encoded[:, numeric]),
        "flags": packed(rows.encoded[:, ~numeric], "u1"),
        "columns": columns,
        **({} if rows.fixed is None else {"fixed": packed(rows.fixed)}),
    }


def players(encoder: TableEncoder, ranking: Sequence[str] = ()) -> dict[str, list[int]]:
    """Return the features that share a prediction, with their encoded columns: the first ones, and all others as one.

    ``pg.explain`` takes the same as ``groups=``, with ``level="group"``.
    """
    features = {name: columns.tolist() for name, columns in encoder.features("feature").items() if len(columns)}
    if len(features) <= MOST_PLAYERS:
        return features
    ranked = [name for name in ranking if name in features] + [name for name in features if name not in set(ranking)]
    first = set(ranked[: MOST_PLAYERS - 1])
    others = sorted(column for name, columns in features.items() if name not in first for column in columns)
    return {name: columns for name, columns in features.items() if name in first} | {OTHERS: others}


def how_many(network: Mapping[str, Any], count: int) -> int:
    """Return the number of background rows with which one edit is divided among ``count`` players in time.

    An edit changes half of the coalitions of its walks: an order and its reverse hold each feature in ``count`` steps.
    """
    layers = [*(network["table"] or {"layers": []})["layers"][1:], *network["head"]["layers"]]
    first = [network["head"]["first"][path] for path in ("tabular", "image")]
    shapes = [layer["weight"]["shape"] for layer in layers if layer["kind"] in ("dense", "members")]
    products = sum(int(np.prod(shape[-2:])) * network["members"] for shape in shapes)
    products += sum(int(np.prod(place["shape"][-2:])) * network["members"] for place in first if place)
    return next((rows for rows in _BACKGROUND if rows * count * products <= _MOST_PRODUCTS), _BACKGROUND[-1])


def background_rows(model: Any, count: int) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Return encoded rows whose mean prediction is close to that of all background rows, and the outputs' range."""
    if isinstance(model, ImageTableModel):
        encoded = np.asarray(model.background_[model.table_input], dtype=np.float32)
        inputs = model.background()
        tensors = [torch.from_numpy(np.asarray(value, dtype=np.float32)) for value in inputs.values()]
        with torch.inference_mode():
            outputs = model.module_(*tensors).numpy()
    else:
        encoded = model.background_
        outputs = model.predict_encoded(encoded)
    if hasattr(model, "classes_"):
        explained = softmax(class_logits(outputs), axis=1)
    else:
        explained = outputs * getattr(model, "target_scale_", 1.0) + getattr(model, "target_mean_", 0.0)
    rng, most = generator(SEED, "what if"), min(count, len(encoded))
    sets = np.stack([rng.choice(len(encoded), most, replace=False) for _ in range(_CANDIDATES)])
    off = np.abs(explained[sets].mean(axis=1) - explained.mean(axis=0)).sum(axis=1)
    return encoded[np.sort(sets[int(off.argmin())])], np.ptp(explained, axis=0).tolist()
