"""What the tabs Features and Rows show of any model on a table. Other inputs have no values to search or change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.attribution.explanation import Explanation
from permgrad.base.errors import keeping_warnings
from permgrad.base.random import generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.evaluation import listing
from permgrad.evaluation.cards import Predict, Sample, feature_cards
from permgrad.evaluation.cells import cells_of
from permgrad.evaluation.segments import groups_of_rows
from permgrad.report.page.content import CardsSection, ListedSection, LocalRows, SimilarRows
from permgrad.runs.report.measured import Measured, Train
from permgrad.runs.run.answers import (
    MOST_CARD_ROWS,
    MOST_COLUMNS,
    SIMILAR_COLUMNS,
    TrainingRows,
    outcome_columns,
    shown_outputs,
    similar_rows,
)

Places = npt.NDArray[np.int64]


def card_sample(measured: Measured, table: pd.DataFrame, seed: int) -> tuple[Sample, Predict, Places, list[int]]:
    """Return drawn rows, how they are predicted, their places, and the outputs shown."""
    drawn = generator(seed, "swarm rows").permutation(measured.rows)[:MOST_CARD_ROWS]
    classes = list(measured.classes) or None
    outputs = shown_outputs(classes, measured.positive)
    raw = table.iloc[drawn].reset_index(drop=True)
    guess = measured.guess if measured.classes else measured.guess[:, None]
    sample = Sample(
        raw=raw,
        table=raw,
        outcome=outcome_columns(measured.truth[drawn], classes)[:, outputs],
        predicted=guess[drawn][:, outputs],
        numbers=_dates(raw),
    )

    def predict(_places: Places, changed: pd.DataFrame) -> npt.NDArray[np.float64]:
        predicted = measured.predict_table(changed)
        return (predicted if measured.classes else predicted[:, None])[:, outputs]

    return sample, predict, drawn, outputs


def _dates(table: pd.DataFrame) -> dict[str, npt.NDArray[np.float64]]:
    """Return the columns of dates, also those written as text, in seconds."""
    texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    cells = {name: cells_of(table[name], str(name)) for name in texts}
    return {name: one.values for name, one in cells.items() if one.kind == "date" and one.values is not None}


def cards_of(measured: Measured, table: pd.DataFrame, main: Explanation, seed: int) -> CardsSection:
    """Compute the cards of the strongest features on the rows that are reported."""
    sample, predict, drawn, outputs = card_sample(measured, table, seed)
    names = main.ranking() if main.level == "feature" else _columns_by_rank(main, table)
    cards, curves = feature_cards(sample, names, np.arange(len(sample.raw)), predict)
    count = max((len(each) for each in curves.values()), default=0)
    return CardsSection(
        cards=cards,
        curves=curves,
        classes=[measured.classes[place] for place in outputs] if measured.classes else None,
        rows=len(sample.raw),
        features=len(main.names),
        curve_rows=drawn[:count],
    )


def _columns_by_rank(main: Explanation, table: pd.DataFrame) -> list[str]:
    """Return the columns of a table, those of the most important feature or group first."""
    groups = main.groups or {}
    names = [column for name in main.ranking() for column in groups.get(name, (name,))]
    return [name for name in dict.fromkeys(names) if name in table.columns]


def listed_of(
    measured: Measured,
    table: pd.DataFrame,
    train: Train | None,
    main: Explanation,
    explained: Sequence[LocalRows],
    *,
    seed: int,
) -> ListedSection:
    """Choose the rows of the list, with their values, predictions, explanations and similar rows."""
    drawn = generator(seed, "swarm rows").permutation(measured.rows)
    with_parts = [int(number) for one in explained for number in one.numbers]
    listed = listing.choose_listed(drawn, with_parts)
    names = _columns_by_rank(main, table)[:MOST_COLUMNS]
    guess = measured.guess if measured.classes else measured.guess[:, None]
    truth = measured.places if measured.classes else measured.truth
    with keeping_warnings():
        groups = groups_of_rows(table, listed.places, names)
    return ListedSection(
        table=table.iloc[listed.places][names].reset_index(drop=True),
        numbers=listed.places,
        random=listed.random,
        truth=truth[listed.places],
        predicted=guess[listed.places],
        inside=None if measured.inside is None else measured.inside[listed.places],
        classes=list(measured.classes) or None,
        rows=measured.rows,
        notable=list(explained[1].numbers) if len(explained) > 1 else [],
        local=list(explained),
        identifiers=_labels(measured.inputs, listed.places, names),
        similar=_similar(table, train, names[:SIMILAR_COLUMNS], listed.places, seed),
        groups=groups,
    )


def _labels(rows: Any, places: Places, taken: Sequence[str]) -> pd.DataFrame | None:
    """Return the index of some rows of a pandas table as text, or None where it only counts them."""
    index = getattr(rows, "index", None)
    if not isinstance(index, pd.Index) or index.equals(pd.RangeIndex(len(index))):
        return None
    labels = index[places].to_frame(index=False).astype(str)
    labels.columns = [f"index {name}" if isinstance(name, int) else str(name) for name in labels.columns]
    labels = labels.rename(columns={"index 0": "index"} if labels.shape[1] == 1 else {})
    return labels[[name for name in labels.columns if name not in taken]]


def _similar(
    table: pd.DataFrame, train: Train | None, names: Sequence[str], places: Places, seed: int
) -> SimilarRows | None:
    """Return the training rows and the listed rows nearest to each listed row, or None without a training table."""
    if train is None or train.table is None:
        return None
    with keeping_warnings():
        encoder = TableEncoder("standard").fit(train.table)
        rows = TrainingRows(train.table, train.codes, np.arange(train.rows))
        return similar_rows(table.iloc[places], rows, encoder.transform, names, seed=seed)
