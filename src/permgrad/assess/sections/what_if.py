"""Rows that readers of a page may change, as the page needs them, and what the words of
their texts do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from math import gcd
from typing import Any, NamedTuple

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
from permgrad.base.sequences import positions_of
from permgrad.data.types.as_one import adjacent_dummies, columns_as_one
from permgrad.models.branches import joined_branches
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
#: Walks after which values are shown at last, or the next rounds of one for each
#: background row. They are those of ``method="shapley"``.
WALKS = (100, 200)
#: Rows whose words are told apart.
MOST_TEXTS = 20
#: Walks after which values may be shown at first, and before all background rows have
#: one.
_FIRST = (8, 6, 4, 3, 2)
_EARLY = (25, 50)
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
_ROW_NUMBERS = 60_000
_LEAST_ROWS = 20


@storable
@dataclass(frozen=True)
class ChangeableRows:
    """Rows that readers may change.

    Attributes:
        numbers: each row's number in its file.
        encoded: the rows as the network sees them, ``(rows, encoded)``.
        columns: positions of the raw columns that have inputs, the strongest first.
        cells: what these columns hold, ``(rows, columns)``: numbers, seconds, 0 and 1,
            or the position of a level.
        missing: the kind of missing of each of these cells, 0 where there is a value.
        background: encoded training rows that parts are compared with, ``(background
            rows, encoded)``. None of a model that keeps no rows, or that no page can
            run.
        spread: the range of what is explained over all training rows that it keeps,
            ``(outputs,)``.
        together: columns that are one feature, such as the dummies of a category, which
            change together.
        remains: of the error of a mean over the background rows, which were drawn from
            more. 0: they are all.
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
    background_rows: npt.NDArray[np.float32] | None = None,
) -> ChangeableRows:
    """Return encoded rows of a model in the form of the page.

    Of wide tables only the first.

    Columns of the strongest features come first. ``background_rows``: encoded training
    rows. None: those that the model keeps.
    """
    encoder = model.preprocessor_
    max_rows = min(
        len(rows), max(_LEAST_ROWS, _ROW_NUMBERS // max(len(encoder.slots_), 1))
    )
    rows = rows.take(np.arange(max_rows))
    names = encoder.feature_names_in_
    forms = {}
    for column_form in encoder_form(encoder)["columns"]:
        forms[column_form["name"]] = column_form
    columns = _columns_with_inputs(encoder, ranking, forms)
    by_name = cells_of(encoder, rows.table)
    values = np.zeros((max_rows, len(columns)))
    kinds = np.zeros((max_rows, len(columns)), dtype=np.uint8)
    for input_index, column in enumerate(columns):
        values[:, input_index], kinds[:, input_index] = _read_cells(
            by_name[names[column]], forms[names[column]].get("levels", ())
        )
    free_texts = []
    for column_name in encoder.schema_.of_modality("text"):
        if column_name in encoder.scores_.columns:
            free_texts.append(column_name)
    texts = None
    if free_texts:
        texts = rows.table[free_texts].reset_index(drop=True)
    if background_rows is None:
        background_rows = getattr(model, "background_", rows.encoded[:0])
    background, spread, remains = background_of(model, background_rows)
    return ChangeableRows(
        numbers=np.asarray(numbers)[:max_rows],
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


def _read_cells(
    cells: Iterable[Any], levels: Iterable[tuple[Any, Any]]
) -> tuple[list[float], list[int]]:
    """Return the number of each cell of a column, or the position of its level behind
    those known, and the kind of missing.
    """
    codes = {level: level_code for level_code, (level, _) in enumerate(levels)}
    values = []
    kinds = []
    for cell_value in cells:
        value = cell_value
        kind = 0
        if isinstance(cell_value, list):
            value = 0.0
            kind = cell_value[0]
        elif isinstance(cell_value, str):
            value = codes.get(cell_value, len(codes))
        values.append(value)
        kinds.append(kind)
    return values, kinds


def _columns_with_inputs(
    encoder: Any, ranking: Sequence[str], forms: Mapping[str, Any]
) -> list[int]:
    """Return the positions of the raw columns that have inputs: of those with a form
    the first, with those of the strongest features before all others.
    """
    names = list(encoder.feature_names_in_)
    features = encoder.features("feature")
    ordered: list[int] = []
    for feature_name in ranking:
        if feature_name in features:
            raw_columns = encoder.raw_columns_of(feature_name)
            ordered += [names.index(column) for column in raw_columns]
    ordered += sorted(set(encoder.feature_of_.tolist()))
    with_form = [column for column in dict.fromkeys(ordered) if names[column] in forms]
    return with_form[:MOST_INPUTS]


def _together(rows: EncodedRows) -> list[list[str]]:
    """Return the columns that are one feature, as counterfactuals in Python have
    them.
    """
    blocks = [list(map(str, block)) for block in rows.encoder.groups_.values()]
    used_names = set()
    for block in blocks:
        for name in block:
            used_names.add(name)
    frame = rows.table.rename(columns=str)
    joined_columns = columns_as_one(
        frame.drop(columns=list(used_names & {*frame.columns}))
    )
    blocks += [list(map(str, block)) for block in joined_columns.values()]
    used_names |= set(chain.from_iterable(blocks))
    blocks += adjacent_dummies(frame, used_names)
    return [block for block in blocks if len(block) > 1]


def changeable(work: Work) -> None:
    """Fill ``changeable``: the rows explained, so that a row is divided in one way, and
    drawn ones.
    """
    main_explanation = work.content.explanation
    notable = work.content.notable
    assert main_explanation is not None
    noted = np.flatnonzero(
        np.isin(work.explained.numbers, [] if notable is None else notable.numbers)
    )
    row_positions = pd.unique(
        np.concatenate([work.explained_places, noted, work.drawn])
    )
    changeable_rows = work.explained.take(row_positions[:MOST_ROWS])
    background_rows = work.model.kept_rows()
    work.put(
        changeable=rows_of(
            work.model.model,
            changeable_rows.inputs,
            changeable_rows.numbers,
            main_explanation.ranking(),
            background_rows,
        )
    )


# ---- words of texts ------------------------------------------------------------------
def words(work: Work) -> None:
    """Fill ``words`` of a model that its page can run: what each word of some texts
    does to the prediction.
    """
    weights: Weights = []
    changeable_rows = work.content.changeable
    with suppress(NotImplementedError):  # of a model that no page can run
        model_form(work.model.model, weights)
        if (
            changeable_rows is not None
            and len(changeable_rows.background)
            and bytes_of(weights) <= MOST_BYTES
        ):
            work.put(words=word_parts(work.content, work.model.model))


def bytes_of(weights: Weights) -> int:
    """Return the size of matrices as base64 in a page."""
    return 4 * -(-4 * sum(weight_array.size for weight_array in weights) // 3)


def word_parts(content: Assessment, model: Any) -> LocalRows | None:
    """Return the words of the texts of some rows, which share what *What if* gives to
    each text. None: no texts.
    """
    encoder = model.preprocessor_
    changeable_rows = content.changeable
    listed = content.listed
    texts = [
        column_name
        for column_name in encoder.schema_.of_modality("text")
        if column_name in encoder.scores_.columns
    ]
    if changeable_rows is None or listed is None or not texts:
        return None
    row_position = positions_of(changeable_rows.numbers.tolist())
    table = listed.table.set_axis(np.asarray(listed.numbers).tolist())
    table = table.assign(
        **dict.fromkeys(encoder.schema_.of_modality("photo"))
    )  # their files may be gone, and the rows are encoded
    printed = (
        []
        if content.explained is None
        else content.explained.numbers[: len(content.chosen or ())]
    )
    shown = [
        number
        for number in dict.fromkeys([*printed, *sorted(table.index)])
        if number in row_position
    ]
    shown = [number for number in shown if number in table.index][:MOST_TEXTS]
    row_explanations = [
        _divided(
            model,
            table.loc[[row_number]],
            changeable_rows.encoded[[row_position[row_number]]],
            changeable_rows.background,
        )
        for row_number in shown
    ]
    return (
        LocalRows(explanation=_one_below_the_other(row_explanations), numbers=shown)
        if shown
        else None
    )


def _divided(
    model: Any,
    table: pd.DataFrame,
    encoded: npt.NDArray[np.float32],
    background: npt.NDArray[np.float32],
) -> Explanation:
    """Return a row's prediction divided among its features as *What if* divides it, and
    its texts among their words.
    """
    encoder = model.preprocessor_
    names = list(model.preprocessor_.feature_names_in_)
    # What is listed of a date is what it says, and the date itself as its trend.
    trends = {}
    for feature_name, date_part in encoder.date_parts_.items():
        if date_part.part == "trend":
            trends[date_part.column] = feature_name
    table = table.assign(
        **{
            date_column: table[feature_name]
            for date_column, feature_name in trends.items()
            if feature_name in table and date_column not in table
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
        model,
        EncodedRows(table.reindex(columns=names), encoder, encoded),
        method=method,
        scale="probability",
        background=donors,
        random_state=SEED,
        progress=False,
    )
    with keeping_warnings():
        return divide(arguments, method)


def _one_below_the_other(explanations: Sequence[Explanation]) -> Explanation:
    """Return explanations of one row each as one of all rows.

    Players that a row does not have are 0 and missing.
    """
    players = dict(
        named_player
        for explanation in explanations
        for named_player in zip(explanation.names, explanation.modality, strict=True)
    )
    player_positions = {}
    for player_index, player_name in enumerate(players):
        player_positions[player_name] = player_index
    values, std_errors = np.zeros(
        (2, len(explanations), len(players), len(explanations[0].outputs))
    )
    for row_index, row_explanation in enumerate(explanations):
        own_positions = []
        for player_name in row_explanation.names:
            own_positions.append(player_positions[player_name])
        values[row_index, own_positions] = row_explanation.values[0]
        if row_explanation.std_error is not None:
            std_errors[row_index, own_positions] = row_explanation.std_error[0]
        else:
            std_errors[row_index, own_positions] = 0.0
    table = pd.concat(
        [each_explanation.feature_values for each_explanation in explanations],
        ignore_index=True,
    )[list(players)]
    merged_meta = {
        **explanations[0].meta,
        "by_input": {
            input_name: about
            for input_explanation in explanations
            for input_name, about in input_explanation.meta["by_input"].items()
        },
    }
    names = tuple(players)
    modality = tuple(players.values())
    cleared_fields: dict[str, Any] = dict.fromkeys(
        ("low", "high", "p_values", "base_values", "predictions")
    )
    return replace(
        explanations[0],
        values=values,
        std_error=std_errors,
        names=names,
        modality=modality,
        feature_values=table,
        meta=merged_meta,
        **cleared_fields,
    )


class PageBackground(NamedTuple):
    """The rows that a model compares single rows with on a page.

    Attributes:
        rows: ``(rows, encoded)``.
        spread: How far each output ranges.
        remains: What remains of their error.
    """

    rows: npt.NDArray[np.float32]
    spread: list[float]
    remains: float


# ---- the rows that parts are compared with -------------------------------------------
def background_of(model: Any, encoded_rows: npt.NDArray[np.float32]) -> PageBackground:
    """Return the rows that a model compares single rows with, how far outputs range,
    and what remains of their error.

    The first walks of a page take some of the rows, so that they come in an order in
    which the first ones are from all over the table. ``encoded_rows``: encoded training
    rows.
    """
    try:
        model_form(model, [])
    except NotImplementedError:
        return PageBackground(encoded_rows[:0], [], 0.0)
    compared: ComparedRows | None = getattr(model, "compared_", None)
    if compared is not None and not len(encoded_rows):
        encoded_rows = compared.encoded
    if not len(encoded_rows):
        return PageBackground(encoded_rows, [], 0.0)
    if compared is not None:
        rows = compared.encoded
        count = compared.drawn_from
    elif rows_in(model)[0]:
        rows = encoded_rows[rows_compared(model)]
        count = len(encoded_rows)
    else:
        rows = encoded_rows[rows_to_compare(encoded_rows)]
        count = len(encoded_rows)
    step = next(
        size
        for size in range(max(1, round(GOLDEN * len(rows))), len(rows) + 1)
        if gcd(size, len(rows)) == 1
    )
    rows = rows[np.arange(len(rows)) * step % len(rows)]
    remains = max(0.0, 1 - len(np.unique(rows, axis=0)) / count) ** 0.5
    return PageBackground(
        rows, np.ptp(_explained(model, encoded_rows), axis=0).tolist(), remains
    )


def _explained(model: Any, rows: npt.NDArray[np.float32]) -> Floats:
    """Return what a page explains of encoded rows: probabilities, or predicted
    numbers.
    """
    outputs = model.predict_encoded(rows)
    if hasattr(model, "classes_"):
        return np.asarray(softmax(class_logits(outputs), axis=1))
    scale = getattr(model, "target_scale_", 1.0)
    return np.asarray(outputs * scale + getattr(model, "target_mean_", 0.0))


def walks_of(form: dict[str, Any], players: int, rows: int) -> list[int]:
    """Return the numbers of walks after which a page shows values: at first as many as
    one edit has time for.

    An edit changes half of the coalitions of its walks: an order and its reverse hold
    each feature in as many steps as there are players. ``rows``: those that a row is
    compared with, each of which has a walk of the later ones.
    """
    weight_arrays: list[Any] = []
    if form["head"] is not None:
        layers = [
            *(form["table"] or {"layers": []})["layers"][1:],
            *form["head"]["layers"],
        ]
        weight_arrays = []
        for layer in layers:
            if layer["kind"] in ("dense", "members"):
                weight_arrays.append(layer["weight"])
        weight_arrays += [
            weight_array
            for path in joined_branches()
            if (weight_array := form["head"]["first"][path])
        ]
    products = sum(
        int(np.prod(layer_weight["shape"][-2:])) * form["members"]
        for layer_weight in weight_arrays
    )
    products += _STEPS * sum(len(branch.get("roots", ())) for branch in form["beside"])
    products *= players
    in_time = [count for count in _FIRST if count * products <= _MOST_PRODUCTS]
    if in_time:
        first = in_time[0]
    else:
        first = _FIRST[-1]
    early = [count for count in (first, *_EARLY) if first <= count < rows]
    later = [-(-count // rows) * rows for count in WALKS]
    return sorted({*early, rows, *later})
