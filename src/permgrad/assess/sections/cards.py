"""One feature at a time: its values, its outcomes and the curves of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.assess.sections.photos import photo_columns, places_of
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.subject.scales import PROBABILITY
from permgrad.attribution.wide import level_effects, word_effects
from permgrad.base.errors import InputError
from permgrad.base.sequences import values_at
from permgrad.base.significance import LEVEL
from permgrad.data.read.table import blank_codes
from permgrad.data.types.as_one import as_features
from permgrad.evaluation.cards import Predict, Sample, feature_cards
from permgrad.evaluation.local_effects import (
    add_local_effects,
    local_effects,
    table_of_changes,
)

#: Rows whose values and outcomes a card shows. Of more, as many are drawn.
MOST_ROWS = 20_000


@storable
@dataclass(kw_only=True)
class CardsSection:
    """One feature at a time, see ``evaluation/cards.py``: the strongest of
    ``features``, on as many test ``rows``.

    ``curves``: predictions ``(curve_rows, points, outputs)`` of some rows by feature,
    with these rows' numbers. The outputs are ``classes``, or None for regression.
    ``changes``: how far predictions change with each feature, also with those without a
    card, as ``Explanation.effects`` says it. ``groups``: the columns of features that
    are no column, whose changes are those of each column.
    """

    cards: Sequence[dict[str, Any]]
    curves: Mapping[str, npt.NDArray[np.floating]]
    classes: Sequence[str] | None
    rows: int
    features: int
    curve_rows: npt.NDArray[np.integer] | Sequence[int] = ()
    changes: pd.DataFrame | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def cards(work: Work) -> None:
    """Fill ``cards``. The first of the drawn rows have curves."""
    main_explanation = work.content.explanation
    assert main_explanation is not None
    sample, predict, classes = card_sample(work)
    names = columns_by_rank(main_explanation, sample.table)
    features, curves = feature_cards(sample, names, np.arange(len(sample.raw)), predict)
    groups = _apart(names, sample)
    columns = dict[str, None]()
    for name in names:
        columns.update(dict.fromkeys(groups.get(name, (name,))))
    effects = local_effects(sample, list(columns), predict)
    add_local_effects(sample, features, curves, effects)
    for feature_card in features:
        feature_card.update(effects_of(work, feature_card["feature"], classes))
    unit = "y"
    if classes:
        unit = PROBABILITY.name
    count = max(map(len, curves.values()), default=0)
    work.put(
        cards=CardsSection(
            cards=features,
            curves={
                feature_name: feature_curves.astype(np.float32)
                for feature_name, feature_curves in curves.items()
            },
            classes=classes,
            rows=len(sample.raw),
            features=len(main_explanation.names),
            curve_rows=work.explained.numbers[work.drawn[:count]],
            changes=table_of_changes(effects, classes or ("all",), unit),
            groups=groups,
        )
    )


def _apart(names: Sequence[str], sample: Sample) -> dict[str, list[str]]:
    """Return the columns of features that are no column themselves: of groups."""
    groups = {}
    for name in names:
        if name in sample.members and name not in sample.table:
            members = sample.members[name]
            groups[name] = [column for column in members if column in sample.table]
    return groups


class CardSample(NamedTuple):
    """What the effects of a table's columns are measured on.

    Attributes:
        sample: Drawn rows.
        predict: Predicts them.
        classes: The classes whose probabilities are shown. None: a number.
    """

    sample: Sample
    predict: Predict
    classes: list[str] | None


def card_sample(work: Work) -> CardSample:
    """Return drawn rows, how they are predicted, and the classes whose probabilities
    are shown (None: a number).
    """
    main_explanation = work.content.explanation
    members = (
        work.members
        if main_explanation is not None and main_explanation.level.of_features
        else {}
    )  # of groups the columns are shown
    chosen_rows = work.drawn[:MOST_ROWS]
    sample_rows = work.explained.take(chosen_rows)
    predictions = work.seen.take(chosen_rows)
    raw_table = sample_rows.frame.reset_index(drop=True)
    classes = len(predictions.classes)
    # Of two classes the positive one is shown, else all. The outcome of a class is
    # whether a row has it.
    if classes == 2:
        outputs = [work.content.positive_place(predictions.classes)]
    else:
        outputs = list(range(max(classes, 1)))
    if classes:
        outcome = predictions.codes[:, None] == np.arange(classes)
    else:
        outcome = predictions.codes[:, None]
    sample = Sample(
        raw=raw_table,
        table=as_features(
            work.model.with_parts(blank_codes(raw_table, work.model.na)), members
        ),
        outcome=outcome[:, outputs].astype(np.float64),
        predicted=predictions.columns[:, outputs],
        numbers=work.model.dates(raw_table),
        outputs=outputs,
        dependence=sample_rows.dependence,
        texts=work.texts,
        parts=work.model.date_parts(raw_table),
        members=members,
    )
    predict = partial(work.model.predict_changed, sample_rows)
    return CardSample(
        sample,
        predict,
        values_at(predictions.classes, outputs) if predictions.classes else None,
    )


def columns_by_rank(main: Explanation, table: pd.DataFrame) -> list[str]:
    """Return the features of a ranking.

    Where these are groups of columns of the table, return the columns.
    """
    if main.level.of_features:
        return main.ranking()
    groups = main.groups or {}
    names = [
        column
        for feature_name in main.ranking()
        for column in groups.get(feature_name, (feature_name,))
    ]
    return [
        column_name
        for column_name in dict.fromkeys(names)
        if column_name in table.columns
    ]


def effects_of(work: Work, name: str, classes: Sequence[str] | None) -> dict[str, Any]:
    """Return what the words of a text do, the places of images, or the levels of a
    category of many, if it has scores.

    ``effects`` are entries with ``level, rows`` and, for each output, ``effect, low,
    high, clear``. ``words`` says whether they are those of words, ``picture`` is there
    for places, ``pooled`` how many further levels occur once.
    """
    encoder = work.model.encoder
    # An estimator of the user's reads the columns themselves.
    if encoder is None or not hasattr(work.model.model, "predict_encoded"):
        return {}
    if name not in encoder.scores_.columns or encoder.schema_[name].of.is_amount:
        return {}
    drawn_rows = work.explained.take(work.drawn[:MOST_ROWS])
    is_text = name in work.texts
    random_seed = work.budget.seed
    further = dict[str, Any]()
    related: dict[str, Any] = (
        {} if drawn_rows.dependence is None else dict([drawn_rows.dependence.argument])
    )
    try:
        if name in photo_columns(work):
            further = places_of(work, drawn_rows, name, related)
            if (table := further.pop("table", None)) is None:
                return further
            is_text = False
            table["clear"] = table["p_adjusted"] < LEVEL
        elif is_text:
            table = word_effects(
                work.model.model,
                drawn_rows.inputs,
                name,
                **related,
                random_state=random_seed,
            )
            table["clear"] = table["p_adjusted"] < LEVEL
        else:
            table = level_effects(
                work.model.model,
                drawn_rows.inputs,
                work.model.targets(drawn_rows),
                name,
                random_state=random_seed,
            )
            table["clear"] = (table["ci_low"] > 0) | (table["ci_high"] < 0)
    except InputError:  # pieces of words alone, or no level twice
        return {}
    entries = _entries(table, classes)
    return {
        "effects": entries,
        "words": is_text,
        **further,
        **{
            str(attribute_name): attribute
            for attribute_name, attribute in table.attrs.items()
        },
    }


def _entries(table: Any, classes: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return a table of effects as entries, each with a list over outputs."""
    entries: dict[str, dict[str, Any]] = {}
    table = table.rename(
        columns={table.columns[0]: "level", "ci_low": "low", "ci_high": "high"}
    )
    for line in table.to_dict("records"):
        if classes is None or line["output"] in classes:
            entry = entries.setdefault(
                line["level"], {"level": line["level"], "rows": line["rows"]}
            )
            for key in ("effect", "low", "high", "clear"):
                entry.setdefault(key, []).append(line[key])
    return list(entries.values())
