"""Rows that readers of a page may change, as the page needs them, and what the words of their texts do."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from permgrad.assess.assessment import Assessment
from permgrad.assess.encoder_form import cells_of, encoder_form
from permgrad.assess.network_form import Weights, model_form
from permgrad.assess.sections.rows import LocalRows
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.shapley.method import Shapley
from permgrad.attribution.request import tuned
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.wide import divide
from permgrad.base.arrays import Floats
from permgrad.base.errors import keeping_warnings
from permgrad.data.types.as_one import adjacent_dummies, columns_as_one
from permgrad.models.estimators.calibration import class_logits
from permgrad.models.estimators.kept_rows import ComparedRows, rows_compared, rows_in
from permgrad.models.estimators.prepared import EncodedRows
from permgrad.models.row_background import rows_to_compare

#: Bytes of weights, as text, above which a page has them only if asked for.
MOST_BYTES = 4_000_000
#: Features that have a share of their own. The others share one.
MOST_PLAYERS = 30
#: Seed of the orders and of the background rows.
SEED = 0
#: Walks after which values are shown at last, or the next rounds of one for each background row. They are those of
#: ``method="shapley"``.
WALKS = (100, 200)
#: Rows whose words are told apart.
MOST_TEXTS = 20
#: Walks after which values may be shown at first, and before all background rows have one.
_FIRST, _EARLY = (8, 6, 4, 3, 2), (25, 50)
#: Multiplications that one edit may take before values are shown.
_MOST_PRODUCTS = 80e6
#: A share of a whole whose multiples lie evenly in it.
GOLDEN = 0.6180339887498949
#: Multiplications in the time of a row's way through a tree.
_STEPS = 40
#: Rows that readers may change, at most.
MOST_ROWS = 300
#: Features that have inputs.
MOST_INPUTS = 60
#: Encoded numbers of all these rows together, and rows that are there at least.
_ROW_NUMBERS, _LEAST_ROWS = 60_000, 20


@storable
@dataclass(frozen=True)
class ChangeableRows:
    """Rows that readers may change.

    Attributes:
        numbers: each row's number in its file.
        encoded: the rows as the network sees them, ``(rows, encoded)``.
        columns: positions of the raw columns that have inputs, the strongest first.
        cells: what these columns hold, ``(rows, columns)``: numbers, seconds, 0 and 1, or the position of a level.
        missing: the kind of missing of each of these cells, 0 where there is a value.
        background: encoded training rows that parts are compared with, ``(background rows, encoded)``. None of a model
            that keeps no rows, or that no page can run.
        spread: the range of what is explained over all training rows that it keeps, ``(outputs,)``.
        together: columns that are one feature, such as the dummies of a category, which change together.
        remains: of the error of a mean over the background rows, which were drawn from more. 0: they are all.
        texts: the columns of free text that have scores.
    """

    numbers: npt.NDArray[np.int64]
    encoded: npt.NDArray[np.float32]
    columns: npt.NDArray[np.int64]
    cells: npt.NDArray[np.float64]
    missing: npt.NDArray[np.uint8]
    background: npt.NDArray[np.float32]
    spread: npt.NDArray[np.float64]
    texts: pd.DataFrame | None = None
    remains: float = 0.0
    together: Sequence[Sequence[str]] = ()


def rows_of(
    model: Any,
    rows: EncodedRows,
    numbers: npt.ArrayLike,
    ranking: Sequence[str] = (),
    kept: npt.NDArray[np.float32] | None = None,
) -> ChangeableRows:
    """Return encoded rows of a model in the form of the page. Of wide tables only the first.

    Columns of the strongest features come first. ``kept``: encoded training rows. None: those that the model keeps.
    """
    encoder = model.preprocessor_
    most = min(len(rows), max(_LEAST_ROWS, _ROW_NUMBERS // max(len(encoder.slots_), 1)))
    rows = rows.take(np.arange(most))
    names, features = encoder.feature_names_in_, encoder.features("feature")
    place = {name: at for at, name in enumerate(names)}
    ordered = [
        place[column]
        for name in ranking
        if name in features
        for column in encoder.raw_columns_of(name)
    ]
    seen = set(encoder.feature_of_.tolist())
    columns = [at for at in dict.fromkeys([*ordered, *sorted(seen)]) if at in seen][
        :MOST_INPUTS
    ]
    values, kinds = (
        np.zeros((most, len(columns))),
        np.zeros((most, len(columns)), dtype=np.uint8),
    )
    by_name = cells_of(encoder, rows.table)
    forms = {form["name"]: form for form in encoder_form(encoder)["columns"]}
    for at, column in enumerate(columns):
        levels = {
            level: code
            for code, (level, _) in enumerate(forms[names[column]].get("levels", ()))
        }
        for row, cell in enumerate(by_name[names[column]]):
            if isinstance(cell, list):
                kinds[row, at] = cell[0]
            else:
                values[row, at] = (
                    levels.get(cell, len(levels)) if isinstance(cell, str) else cell
                )
    shown, texts = np.asarray(numbers)[:most], None
    if free := [
        name
        for name in encoder.schema_.of_kind("text")
        if name in encoder.scores_.columns
    ]:
        texts = rows.table[free].reset_index(drop=True)
    background, spread, remains = background_of(
        model, getattr(model, "background_", rows.encoded[:0]) if kept is None else kept
    )
    return ChangeableRows(
        numbers=shown,
        encoded=rows.encoded,
        columns=np.array(columns, dtype=np.int64),
        cells=values,
        missing=kinds,
        background=background,
        spread=np.array(spread),
        texts=texts,
        remains=remains,
        together=_together(rows),
    )


def _together(rows: EncodedRows) -> list[list[str]]:
    """Return the columns that are one feature, as counterfactuals in Python have them."""
    blocks = [list(map(str, block)) for block in rows.encoder.groups_.values()]
    taken = {name for block in blocks for name in block}
    frame = rows.table.rename(columns=str)
    found = columns_as_one(frame.drop(columns=list(taken & {*frame.columns})))
    blocks += [list(map(str, block)) for block in found.values()]
    taken |= {name for block in blocks for name in block}
    blocks += adjacent_dummies(frame, taken)
    return [block for block in blocks if len(block) > 1]


def changeable(work: Work) -> None:
    """Fill ``changeable``: the rows explained, so that a row is divided in one way, and drawn ones."""
    main, notable = work.content.explanation, work.content.notable
    assert main is not None
    noted = np.flatnonzero(
        np.isin(work.explained.numbers, [] if notable is None else notable.numbers)
    )
    places = pd.unique(np.concatenate([work.explained_places, noted, work.drawn]))
    rows = work.explained.take(places[:MOST_ROWS])
    kept = work.model.kept_rows()
    work.put(
        changeable=rows_of(
            work.model.model, rows.inputs, rows.numbers, main.ranking(), kept
        )
    )


# ---- words of texts --------------------------------------------------------------------------------------------------
def words(work: Work) -> None:
    """Fill ``words`` of a model that its page can run: what each word of some texts does to the prediction."""
    weights: Weights = []
    rows = work.content.changeable
    with suppress(NotImplementedError):  # of a model that no page can run
        model_form(work.model.model, weights)
        if (
            rows is not None
            and len(rows.background)
            and bytes_of(weights) <= MOST_BYTES
        ):
            work.put(words=word_parts(work.content, work.model.model))


def bytes_of(weights: Weights) -> int:
    """Return the size of matrices as base64 in a page."""
    return 4 * -(-4 * sum(part.size for part in weights) // 3)


def word_parts(content: Assessment, model: Any) -> LocalRows | None:
    """Return the words of the texts of some rows, which share what *What if* gives to each text. None: no texts."""
    encoder, rows, listed = model.preprocessor_, content.changeable, content.listed
    texts = [
        name
        for name in encoder.schema_.of_kind("text")
        if name in encoder.scores_.columns
    ]
    if rows is None or listed is None or not texts:
        return None
    place = {number: at for at, number in enumerate(rows.numbers.tolist())}
    table = listed.table.set_axis(np.asarray(listed.numbers).tolist())
    table = table.assign(
        **dict.fromkeys(encoder.schema_.of_kind("image"))
    )  # their files may be gone, and the rows are encoded
    printed = (
        []
        if content.explained is None
        else content.explained.numbers[: len(content.chosen or ())]
    )
    shown = [
        number
        for number in dict.fromkeys([*printed, *sorted(table.index)])
        if number in place
    ]
    shown = [number for number in shown if number in table.index][:MOST_TEXTS]
    parts = [
        _divided(model, table.loc[[one]], rows.encoded[[place[one]]], rows.background)
        for one in shown
    ]
    return (
        LocalRows(explanation=_one_below_the_other(parts), numbers=shown)
        if shown
        else None
    )


def _divided(
    model: Any,
    table: pd.DataFrame,
    encoded: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
) -> Explanation:
    """Return a row's prediction divided among its features as *What if* divides it, and its texts among their words."""
    encoder, names = model.preprocessor_, list(model.preprocessor_.feature_names_in_)
    # What is listed of a date is what it says, and the date itself as its trend.
    trends = {
        part.column: name
        for name, part in encoder.date_parts_.items()
        if part.part == "trend"
    }
    table = table.assign(
        **{
            date: table[name]
            for date, name in trends.items()
            if name in table and date not in table
        }
    )
    donors = EncodedRows(
        pd.DataFrame(np.zeros((len(background), len(names))), columns=names),
        encoder,
        background,
    )
    method = tuned(
        Shapley(tolerance=0, max_permutations=2 * WALKS[0]), exact=0, same_orders=False
    )
    arguments = Arguments(
        model, EncodedRows(table.reindex(columns=names), encoder, encoded), method=method, scale="probability",
        background=donors, random_state=SEED, progress=False,
    )  # fmt: skip
    with keeping_warnings():
        return divide(arguments, method)


def _one_below_the_other(parts: Sequence[Explanation]) -> Explanation:
    """Return explanations of one row each as one of all rows. Players that a row does not have are 0 and missing."""
    players = dict(
        pair for one in parts for pair in zip(one.names, one.modality, strict=True)
    )
    places = {name: place for place, name in enumerate(players)}
    values, std = np.zeros((2, len(parts), len(players), len(parts[0].outputs)))
    for row, one in enumerate(parts):
        own = [places[name] for name in one.names]
        values[row, own], std[row, own] = (
            one.values[0],
            one.std_error[0] if one.std_error is not None else 0.0,
        )
    table = pd.concat([one.feature_values for one in parts], ignore_index=True)[
        list(players)
    ]
    meta = {
        **parts[0].meta,
        "by_input": {
            name: about for one in parts for name, about in one.meta["by_input"].items()
        },
    }
    names, modality = tuple(players), tuple(players.values())
    left: dict[str, Any] = dict.fromkeys(
        ("low", "high", "p_values", "base_values", "predictions")
    )
    return replace(
        parts[0],
        values=values,
        std_error=std,
        names=names,
        modality=modality,
        feature_values=table,
        meta=meta,
        **left,
    )


# ---- the rows that parts are compared with ---------------------------------------------------------------------------
def background_of(
    model: Any, kept: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], list[float], float]:
    """Return the rows that a model compares single rows with, how far outputs range, and what remains of their error.

    The first walks of a page take some of the rows, so that they come in an order in which the first ones are from all
    over the table. ``kept``: encoded training rows.
    """
    try:
        model_form(model, [])
    except NotImplementedError:
        return kept[:0], [], 0.0
    compared: ComparedRows | None = getattr(model, "compared_", None)
    if compared is not None and not len(kept):
        kept = compared.encoded
    if not len(kept):
        return kept, [], 0.0
    if compared is not None:
        rows, count = compared.encoded, compared.drawn_from
    elif rows_in(model)[0]:
        rows, count = kept[rows_compared(model)], len(kept)
    else:
        rows, count = kept[rows_to_compare(kept)], len(kept)
    step = next(
        size
        for size in range(max(1, round(GOLDEN * len(rows))), len(rows) + 1)
        if gcd(size, len(rows)) == 1
    )
    rows = rows[np.arange(len(rows)) * step % len(rows)]
    remains = max(0.0, 1 - len(np.unique(rows, axis=0)) / count) ** 0.5
    return rows, np.ptp(_explained(model, kept), axis=0).tolist(), remains


def _explained(model: Any, rows: npt.NDArray[np.float32]) -> Floats:
    """Return what a page explains of encoded rows: probabilities, or predicted numbers."""
    outputs = model.predict_encoded(rows)
    if hasattr(model, "classes_"):
        return np.asarray(softmax(class_logits(outputs), axis=1))
    scale = getattr(model, "target_scale_", 1.0)
    return np.asarray(outputs * scale + getattr(model, "target_mean_", 0.0))


def walks_of(form: dict[str, Any], players: int, rows: int) -> list[int]:
    """Return the numbers of walks after which a page shows values: at first as many as one edit has time for.

    An edit changes half of the coalitions of its walks: an order and its reverse hold each feature in as many steps as
    there are players. ``rows``: those that a row is compared with, each of which has a walk of the later ones.
    """
    places: list[Any] = []
    if form["head"] is not None:
        layers = [
            *(form["table"] or {"layers": []})["layers"][1:],
            *form["head"]["layers"],
        ]
        places = [
            layer["weight"] for layer in layers if layer["kind"] in ("dense", "members")
        ]
        places += [
            place
            for path in ("tabular", "image")
            if (place := form["head"]["first"][path])
        ]
    products = sum(
        int(np.prod(place["shape"][-2:])) * form["members"] for place in places
    )
    products += _STEPS * sum(
        len(branch["roots"]) for branch in form["beside"] if branch["kind"] == "trees"
    )
    products *= players
    in_time = [count for count in _FIRST if count * products <= _MOST_PRODUCTS]
    first = in_time[0] if in_time else _FIRST[-1]
    early = [count for count in (first, *_EARLY) if first <= count < rows]
    later = [-(-count // rows) * rows for count in WALKS]
    return sorted({*early, rows, *later})
