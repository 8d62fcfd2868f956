"""Single rows: typical and wrong ones, their attributions and maps, and a list with
values and rows like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.assessed_model import predictions_of_row
from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import FEW_ROWS, SHOWN_ROWS
from permgrad.assess.predictions import Predictions
from permgrad.assess.sections.cards import columns_by_rank
from permgrad.assess.sections.photos import photos
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.gradcam import GradCam
from permgrad.base.arrays import Array, Booleans, Floats, Integers
from permgrad.base.errors import keeping_warnings
from permgrad.base.numerals import number, percent
from permgrad.base.random import generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation.segments import groups_of_rows

#: The kind of class activation map of hybrid networks. It separates classes best of the
#: three: on Covertype its maps differ about twice as much between classes as between
#: two trainings, where the image path has 3 % of the branch weights. Those of Grad-CAM
#: differ less (verification/verify_classes.py).
MAPS: Literal["layercam"] = "layercam"
#: Columns of listed rows that are stored, and those of similar rows.
MOST_COLUMNS = 60
SIMILAR_COLUMNS = 5


@storable
@dataclass(kw_only=True)
class LocalRows:
    """A local explanation, and the numbers of its rows in their file."""

    explanation: Explanation
    numbers: Sequence[int]


@dataclass(kw_only=True)
class RowSection:
    """One explained row: the position ``row`` in a local explanation.

    ``output`` is the output shown (None: the predicted one). ``image`` is the rendered
    row ``(height, width)``, ``heat`` its activation map. ``maps`` are those of images
    that users provide.
    """

    explanation: Explanation
    row: int
    title: str = ""
    output: Any = None
    image: npt.NDArray[np.floating] | None = None
    heat: npt.NDArray[np.floating] | None = None
    heat_title: str = ""
    text: str = ""
    maps: Explanation | None = None


@storable
@dataclass(kw_only=True)
class SimilarRows:
    """Rows like the listed ones, by their distance in the encoded table: of training,
    and ``beside`` them in the list.

    ``near`` ``(rows, k)`` are positions in the similar training rows, which have
    ``numbers`` in their file, ``truth`` (the code of a class, or the target) and a
    ``table`` of raw values. ``searched`` of all training rows were compared.
    """

    near: npt.NDArray[np.integer]
    distance: npt.NDArray[np.floating]
    beside: npt.NDArray[np.integer]
    beside_distance: npt.NDArray[np.floating]
    numbers: npt.NDArray[np.integer]
    truth: npt.NDArray[Any]
    table: pd.DataFrame
    searched: int
    of: int


@storable
@dataclass(kw_only=True)
class ListedSection:
    """Single test rows: raw values of the strongest features, truth (the code of a
    class, or the target), predictions.

    ``predicted`` ``(rows, outputs)`` are probabilities or the prediction. ``numbers``
    are those of the rows in their file, ``random`` says which were drawn at random from
    all ``rows``. ``inside`` are the ends of their intervals ``(rows, 2)``, or whether
    each class is in their set ``(rows, classes)``. ``groups`` are those of the tab
    Trust, by column: each row's group, and the groups' names. ``local`` are the
    explanations of listed rows, ``maps`` their activation maps: fields of the
    assessment. ``called`` are the predicted classes (None: the most probable ones).
    """

    table: pd.DataFrame
    numbers: npt.NDArray[np.integer]
    random: npt.NDArray[np.bool_]
    truth: npt.NDArray[Any]
    predicted: npt.NDArray[np.floating]
    classes: Sequence[str] | None
    rows: int
    identifiers: pd.DataFrame | None = None
    similar: SimilarRows | None = None
    inside: npt.NDArray[Any] | None = None
    groups: Mapping[str, tuple[npt.NDArray[np.integer], Sequence[str]]] = field(
        default_factory=dict
    )
    local: Sequence[LocalRows] = ()
    maps: LocalRows | None = None
    called: npt.NDArray[np.integer] | None = None


# ---- chosen rows and their attributions ----------------------------------------------
def single_rows(work: Work) -> None:
    """Fill ``chosen`` and ``explained``: a few rows that are typical or wrong, and more
    for the plot of all.
    """
    predictions = work.seen
    drawn = work.drawn
    numbers = work.explained.numbers
    chosen_rows = choose_rows(predictions)
    shown = np.array(list(chosen_rows), dtype=np.int64)
    main_explanation = work.content.explanation
    if main_explanation is None or work.model.has_slopes:
        predictions_by_row = 0
    else:
        predictions_by_row = predictions_of_row(len(main_explanation.names))
    if work.test.table is not None:
        max_explained = work.budget.swarm_rows(
            len(predictions.classes), predictions_by_row
        )
    else:
        max_explained = FEW_ROWS
    further = np.setdiff1d(drawn[:max_explained], shown)
    work.explained_places = np.concatenate([shown, np.sort(further)])
    described = []
    for row_index, reason in chosen_rows.items():
        facts: dict[str, Any] = {"row": int(numbers[row_index]), "why": reason}
        if predictions.classes:
            decided_class = int(predictions.scored.decided[row_index])
            facts |= {
                "truth": predictions.truth[row_index],
                "prediction": predictions.classes[decided_class],
                "output": decided_class,
            }
            facts["probability"] = float(predictions.guess[row_index, decided_class])
            words = (
                f"{facts['truth']}, predicted {facts['prediction']} "
                f"({percent(facts['probability'])})"
            )
        else:
            facts |= {
                "truth": float(predictions.codes[row_index]),
                "prediction": float(predictions.guess[row_index]),
                "output": 0,
            }
            words = (
                f"{number(facts['truth'], 4)}, predicted "
                f"{number(facts['prediction'], 4)}"
            )
        described.append(facts | {"title": f"Row {facts['row']}: {words}"})
    explained_rows = work.explained.take(work.explained_places)
    explanation = work.model.attribute(explained_rows)
    work.put(
        chosen=described,
        explained=LocalRows(
            explanation=explanation, numbers=explained_rows.numbers.tolist()
        ),
    )


def maps(work: Work) -> None:
    """Fill ``maps``: activation maps of the rows shown."""
    shown_rows = work.explained.take(
        work.explained_places[: len(work.content.chosen or ())]
    )
    with keeping_warnings():  # maps of classes that a row does not have are often empty
        drawn = work.model.explain(shown_rows, method=GradCam(variant=MAPS))
    work.put(maps=LocalRows(explanation=drawn, numbers=shown_rows.numbers.tolist()))


def choose_rows(predictions: Predictions) -> dict[int, str]:
    """Choose a few interesting rows: typical ones, and the one with the worst
    prediction.
    """
    chosen_rows: dict[int, str] = {}
    truth = predictions.codes
    guess = predictions.guess
    if not predictions.classes:
        order = np.argsort(guess, kind="stable")
        for share, reason in (
            (0.1, "a low prediction"),
            (0.5, "a middling prediction"),
            (0.9, "a high prediction"),
        ):
            chosen_rows.setdefault(int(order[int(share * len(order))]), reason)
        chosen_rows.setdefault(
            int(np.abs(guess - truth).argmax()), "the row with the largest error"
        )
        return chosen_rows
    decided_classes = predictions.scored.decided
    of_truth = guess[np.arange(len(truth)), truth]
    frequent = np.argsort(
        -np.bincount(truth, minlength=len(predictions.classes)), kind="stable"
    )
    for label in frequent[: SHOWN_ROWS - 1]:
        right = np.flatnonzero((decided_classes == label) & (truth == label))
        if len(right):
            order = right[np.argsort(of_truth[right], kind="stable")]
            chosen_rows[int(order[len(order) // 2])] = (
                "a usual row of its class, predicted right"
            )
    wrong = np.flatnonzero(decided_classes != truth)
    if len(wrong):
        chosen_rows.setdefault(
            int(wrong[of_truth[wrong].argmin()]),
            "the row with the clearest wrong prediction",
        )
    return chosen_rows


# ---- the list ------------------------------------------------------------------------
def listed(work: Work) -> None:
    """Fill ``listed``, with ``photos`` where rows have any.

    Explain the wrong and unsure rows in it as ``notable``.
    """
    main_explanation = work.content.explanation
    explained_rows = work.explained
    predictions = work.seen
    assert main_explanation is not None
    explained = work.explained_places.tolist()
    unsure = notable_rows(predictions.guess, predictions.codes, predictions.called)
    row_indices, random = choose_listed(work.drawn, [*explained[:SHOWN_ROWS], *unsure])
    further = np.array(
        [row_index for row_index in unsure if row_index not in set(explained)],
        dtype=np.int64,
    )
    if len(further):
        taken_rows = explained_rows.take(further)
        attributions = work.model.attribute(taken_rows)
        work.put(
            notable=LocalRows(
                explanation=attributions, numbers=taken_rows.numbers.tolist()
            )
        )
    taken_rows = explained_rows.take(row_indices)
    taken_predictions = predictions.take(row_indices)
    shown = work.model.with_parts(taken_rows.frame)
    names = [
        feature_name
        for feature_name in columns_by_rank(main_explanation, shown)
        if feature_name in shown.columns
    ][:MOST_COLUMNS]
    columns = []
    for column_name in names:
        if column_name in taken_rows.frame.columns:
            columns.append(column_name)
    with keeping_warnings():
        groups = groups_of_rows(
            work.test.frame, work.places[row_indices], columns, work.model.na
        )
    named = taken_rows.identifiers
    work.put(
        listed=ListedSection(
            table=shown[names].reset_index(drop=True),
            identifiers=None
            if named is None or not len(named.columns)
            else named.reset_index(drop=True),
            numbers=taken_rows.numbers,
            random=random,
            truth=taken_predictions.codes,
            predicted=taken_predictions.columns,
            inside=taken_predictions.inside,
            called=taken_predictions.called,
            classes=list(taken_predictions.classes) or None,
            rows=len(explained_rows),
            similar=_similar(work, taken_rows, names[:SIMILAR_COLUMNS]),
            groups=groups,
        )
    )
    encoder = work.model.encoder
    if encoder is not None and encoder.schema_.of_modality("photo"):
        photos(work)


def _similar(work: Work, rows: Rows, names: Sequence[str]) -> SimilarRows | None:
    """Return the training rows and the listed rows nearest to each listed row.

    None: there is no training table.
    """
    train = work.train
    random_seed = work.budget.seed
    if train is None or train.table is None:
        return None
    with keeping_warnings():
        encoder = work.model.encoder or TableEncoder("standard").fit(train.table)
        columns = len(encoder.encoded_names_)
        if not columns:
            return None
        count = min(len(train), _MOST_SEARCHED, max(100, _MOST_NUMBERS // columns))
        searched_rows = train.take(
            np.sort(
                generator(random_seed, "similar rows").permutation(len(train))[:count]
            )
        )
        test_rows, known_rows = (
            np.asarray(
                encoder.transform(part_rows.table)
                if work.model.encoder is None
                else part_rows.inputs.encoded,
                dtype=np.float32,
            )
            for part_rows in (rows, searched_rows)
        )
        nearest_indices, distance = nearest_rows(test_rows, known_rows)
    beside_indices, beside_distance = nearest_rows(
        test_rows, test_rows, 2, same=np.arange(len(test_rows))
    )
    used_indices, position = np.unique(nearest_indices, return_inverse=True)
    similar_rows = searched_rows.take(used_indices)
    return SimilarRows(
        searched=len(searched_rows),
        of=len(train),
        near=position.reshape(nearest_indices.shape),
        distance=distance,
        beside=beside_indices,
        beside_distance=beside_distance,
        numbers=similar_rows.numbers,
        truth=work.model.codes(similar_rows),
        table=work.model.with_parts(similar_rows.frame)[list(names)].reset_index(
            drop=True
        ),
    )


# ---- which rows are listed, and rows like them ---------------------------------------
#: Rows that are listed. Up to so many of them are there as wrong or unsure ones, the
#: others are drawn at random.
MOST_LISTED = 1000
MOST_WRONG = 24
MOST_UNSURE = 16
#: Similar rows shown for each row, rows that are searched for them, and numbers of
#: their encoded table.
NEAREST = 3
_MOST_SEARCHED = 20_000
_MOST_NUMBERS = 2_000_000
#: Parts of a prediction that are stored. The others are added up.
MOST_PARTS = 20
#: Distances computed at once.
_AT_ONCE = 2**22


def choose_listed(
    drawn: Integers, notable: Sequence[int] = ()
) -> tuple[Integers, Booleans]:
    """Choose rows of a permutation ``drawn``: all if they are few, else the notable
    ones and a sample.

    Returns their positions, rising, and which of them were drawn at random: those that
    the sample has.
    """
    if len(drawn) <= MOST_LISTED:
        return np.arange(len(drawn), dtype=np.int64), np.ones(len(drawn), dtype=bool)
    special = np.unique(np.asarray(notable, dtype=np.int64))
    random = drawn[: MOST_LISTED - len(special)]
    listed_rows = np.union1d(special, random).astype(np.int64)
    return listed_rows, np.isin(listed_rows, random)


def notable_rows(
    predicted: Floats, truth: Array, called: Array | None = None
) -> list[int]:
    """Return the rows that deserve an explanation: the clearest errors, and those of
    which the model is least sure.

    ``predicted``: probabilities ``(rows, classes)`` with the codes of the true classes,
    or numbers ``(rows,)`` with the true ones. ``called``: the predicted classes (None:
    the most probable ones). The wrongly predicted rows come with the surest mistake
    first, then rows by the lead of the most probable class.
    """
    if predicted.ndim == 1:
        wrong = np.argsort(-np.abs(predicted - truth), kind="stable")
        return wrong[:MOST_WRONG].tolist()
    if called is None:
        decided_classes = predicted.argmax(axis=1)
    else:
        decided_classes = called
    row_indices = np.arange(len(truth))
    wrong = np.flatnonzero(decided_classes != truth)
    wrong = wrong[
        np.argsort(
            (predicted[row_indices, truth] - predicted[row_indices, decided_classes])[
                wrong
            ],
            kind="stable",
        )
    ]
    ordered = np.sort(predicted, axis=1)
    if predicted.shape[1] > 1:
        class_lead = ordered[:, -1] - ordered[:, -2]
    else:
        class_lead = ordered[:, -1]
    unsure = np.argsort(class_lead, kind="stable")
    return list(
        dict.fromkeys([*wrong[:MOST_WRONG].tolist(), *unsure[:MOST_UNSURE].tolist()])
    )


class StrongestParts(NamedTuple):
    """The largest attributions of each row, the largest first.

    Attributes:
        features: Their positions, ``(rows, parts)``.
        values: Their values, ``(rows, parts)``.
        remaining_sum: The sum of all others, ``(rows,)``.
    """

    features: Integers
    values: Floats
    remaining_sum: Floats


# ---- parts of a prediction -----------------------------------------------------------
def strongest_parts(values: Floats, most: int = MOST_PARTS) -> StrongestParts:
    """Return the largest attributions of each row ``(rows, features)``, the largest
    first.

    Returns their features ``(rows, parts)``, their values, and the sum of all others
    ``(rows,)``.
    """
    count = min(most, values.shape[1])
    order = np.argsort(-np.abs(np.nan_to_num(values)), axis=1, kind="stable")[:, :count]
    taken_values = np.take_along_axis(values, order, axis=1)
    return StrongestParts(
        order.astype(np.int64),
        taken_values,
        values.sum(axis=1) - taken_values.sum(axis=1),
    )


# ---- rows like it --------------------------------------------------------------------
def nearest_rows(
    queries: Array, pool: Array, count: int = NEAREST, *, same: Integers | None = None
) -> tuple[Integers, Floats]:
    """Return the positions in ``pool`` of the rows nearest to each query, and their
    distances, ``(queries, count)``.

    The distance is Euclidean over encoded columns. ``same``: each query's own position
    in the pool, which is left out. Equally near rows come in the order of the pool.
    There are fewer columns if the pool is smaller.
    """
    count = min(count, len(pool) - (same is not None))
    if count < 1:
        return np.zeros((len(queries), 0), dtype=np.int64), np.zeros((len(queries), 0))
    # In single precision from a common middle: enough to find candidates, whose
    # distances are computed again.
    middle = pool.mean(axis=0, dtype=np.float64)
    short = (pool - middle).astype(np.float32)
    squares = np.einsum("ij,ij->i", short, short)
    nearest_indices = np.empty((len(queries), count), dtype=np.int64)
    distances = np.empty((len(queries), count))
    step_size = max(1, _AT_ONCE // len(pool))
    candidates = min(4 * count + 4, len(pool))
    for start in range(0, len(queries), step_size):
        query_slice = slice(start, min(start + step_size, len(queries)))
        squared_gaps = (
            squares[None]
            - 2 * (queries[query_slice] - middle).astype(np.float32) @ short.T
        )
        if same is not None:
            squared_gaps[np.arange(squared_gaps.shape[0]), same[query_slice]] = np.inf
        nearest_candidates = np.sort(
            np.argpartition(squared_gaps, candidates - 1, axis=1)[:, :candidates],
            axis=1,
        )
        exact = np.sqrt(
            (
                (
                    queries[query_slice, None].astype(np.float64)
                    - pool[nearest_candidates]
                )
                ** 2
            ).sum(axis=2)
        )
        if same is not None:
            exact[nearest_candidates == same[query_slice, None]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        nearest_indices[query_slice] = np.take_along_axis(nearest_candidates, order, 1)
        distances[query_slice] = np.take_along_axis(exact, order, 1)
    return nearest_indices, distances
