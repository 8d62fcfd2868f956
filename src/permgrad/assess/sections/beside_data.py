"""The raw data of the most important features, compared with the attributions of the model.

Rows of these features are counted by level, with the mean outcome and the mean attribution of each level. An
attribution is relative to a baseline and given all other features, so the two may disagree and both be right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from permgrad.assess.sections.gradients import by_feature
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.arrays import Floats, Integers
from permgrad.base.dependence import Dependence
from permgrad.base.errors import keeping_warnings
from permgrad.base.numerals import compact
from permgrad.base.significance import LEAST_SHARE, deserves_words
from permgrad.data.read.table import blank_codes
from permgrad.data.types.as_one import as_features
from permgrad.evaluation.cards import dated_levels
from permgrad.evaluation.leaks import told_by
from permgrad.evaluation.levels import Levels, level_table, levels_of

#: Number of features that are looked at.
FEATURES = 6
#: Very wide tables are not ranked by raw association. Their leading features are compared with each other alone.
MOST_RANKED = 1000
#: A feature with a larger share of the importance than this may leak the outcome.
DOMINANT = 0.4
#: An outcome depends on a feature if the means of its levels differ with a p-value below this.
CHANCE = 0.01
#: Rows of a level that are needed to compare signs.
FEWEST = 30


def beside_data(work: Work) -> None:
    """Fill ``reading``: what the raw data say of the most important features, beside what the model does with them."""
    main, rows, attributions = (
        work.content.explanation,
        work.explained,
        _attributions(work),
    )
    assert main is not None
    if main.level != "feature" or attributions is None:
        return
    names, values, places, source, place = attributions
    label = source.outputs[place]
    about = f" to {label}" * (label != "all")
    columns = {str(name): values[:, at] for at, name in enumerate(names)}
    words, outcome = _outcome(work, label)
    blanked = as_features(
        work.model.with_parts(blank_codes(rows.frame, work.model.na)), work.members
    )
    # Of many classes, the importances on the rows of the class. Attributions to two classes differ only in sign, and
    # are of all rows.
    output = _output_of(main, label)
    ranking = [name for name in main.ranking(output) if name in blanked.columns]
    looked_at = ranking if len(ranking) <= MOST_RANKED else ranking[:FEATURES]
    cut = _levels(work, blanked, looked_at)
    association = _associations(cut, outcome, rows.dependence)
    by_data = sorted(association, key=lambda name: -association[name][0])
    deserving = told_features(main, output)
    features = []
    for rank, name in enumerate(ranking[:FEATURES], start=1):
        levels = cut[name]
        if levels is None:
            continue
        table = level_table(levels, outcome, columns.get(name), places, rows.dependence)
        rank_by_data, (share, p_value) = by_data.index(name) + 1, association[name]
        notes: list[str] = []
        if name in deserving:
            notes = sign_notes(name, table, float(outcome.mean()), words)
            if rank < rank_by_data or p_value < CHANCE:
                notes += rank_notes(name, rank, (rank_by_data, share), len(by_data))
        facts = {
            "feature": name,
            "rank": rank,
            "association": share,
            "rank_by_association": rank_by_data,
        }
        features.append(facts | {"levels": table, "notes": notes})
    work.put(
        reading={
            "outcome": words,
            "overall": float(outcome.mean()),
            "rows": len(outcome),
            "attribution": f"mean attribution{about} by {source.method.replace('_', ' ')}",
            "baseline": str(source.meta.get("baseline", "")),
            "class": main.outputs[output] if output else None,
            "features": features,
            "leakage": leakage_hint(main, work.card_notes),
            "alone": _first_alone(work, main),
        }
    )


def _outcome(work: Work, label: str) -> tuple[str, Floats]:
    """Return the outcome of the rows, and what it is in words."""
    if work.model.classes:
        words = f"share of {work.content.target} = {label}"
        return words, np.array(work.seen.truth == label, dtype=np.float64)
    codes = np.asarray(work.seen.codes, dtype=np.float64)
    return f"mean {work.content.target}", codes


def _output_of(main: Explanation, label: str) -> int:
    """Return the position of a class among many in an explanation, else that of all."""
    of_classes = main.outputs[1:]
    if len(of_classes) > 2 and label in of_classes:
        return 1 + of_classes.index(label)
    return 0


def _associations(
    cut: Mapping[str, Levels | None], outcome: Floats, dependence: Dependence | None
) -> dict[str, tuple[float, float]]:
    """Return how much of the outcome each feature's levels explain, and the p-value."""
    every = np.ones(len(outcome), dtype=bool)
    count = None
    if dependence is not None:
        count = dependence.rows(every, dependence.correlation(outcome))
    return {
        name: explained_share(levels[0], outcome, count)
        for name, levels in cut.items()
        if levels is not None
    }


def _first_alone(work: Work, main: Explanation) -> dict[str, Any] | None:
    """Return how well the feature that the model relies on most predicts alone, and whether it is a date.

    None: that is not known, or it is no single column.
    """
    train, test, model = work.train, work.test, work.model
    if train is None or train.table is None or test.table is None:
        return None
    if model.task not in ("classification", "regression"):
        return None
    feature = main.ranking()[0]
    parts, dates = model.date_parts(test.table), model.dates(test.table)
    column = parts[feature][0] if feature in parts else feature
    if len(main.names) < 2 or column not in test.table.columns:
        return None
    codes = model.codes(train), model.codes(test)
    sides = [
        (table[column], values)
        for table, values in zip((train.table, test.table), codes, strict=True)
    ]
    with keeping_warnings():
        told = told_by(sides[0], sides[1], model.task, model.na)
    if told is None:
        return None
    return {"feature": feature, "column": column, "date": column in dates, **told}


def _levels(
    work: Work, blanked: pd.DataFrame, names: Sequence[str]
) -> dict[str, Levels | None]:
    """Return the levels by which the rows explained are counted, of each feature named. None: it has none."""
    undated, frame = work.undated, work.explained.frame
    assert undated is not None
    countable = undated.columns.drop(work.texts, errors="ignore")
    cut = {
        name: levels_of(blanked[name]) if name in countable else None for name in names
    }
    said = [
        name
        for name in work.model.date_parts(frame)
        if isinstance(blanked[name].dtype, pd.CategoricalDtype)
    ]
    moments = work.model.dates(frame) if said else {}
    return cut | {
        name: dated_levels(blanked[name], moments[name])
        for name in said
        if name in names
    }


def _attributions(
    work: Work,
) -> tuple[Sequence[str], Floats, Integers, Explanation, int] | None:
    """Return attributions of features to the positive one of two classes, else to the most frequent one.

    Returns names, values ``(rows, features)``, places of the rows among those explained, the explanation and its
    output.
    """
    if work.all_rows is not None:
        names, sums = by_feature(work.all_rows, work.model.encoder)
        return names, sums, np.arange(len(work.explained)), work.all_rows, 0
    if work.content.explained is None:
        return None
    local, model, output = work.content.explained.explanation, work.model, 0
    if model.classes and len(local.outputs) > 1:
        counts = np.bincount(work.seen.codes, minlength=len(model.classes))
        label = model.positive if len(model.classes) == 2 else None
        output = local.outputs.index(
            model.classes[int(counts.argmax())] if label is None else label
        )
    return local.names, local.values[:, :, output], work.explained_places, local, output


def told_features(main: Explanation, output: int) -> set[str]:
    """Return the features whose importance for an output deserves sentences: clearly there, and not small."""
    values = np.maximum(np.nan_to_num(main.values[:, output]), 0)
    with np.errstate(invalid="ignore"):
        shares = values / values.sum()
    low, high = (ends[:, output] for ends in main.ci())
    facts = {
        name: (float(low[at]), float(high[at]), float(shares[at]))
        for at, name in enumerate(main.names)
    }
    return {
        name for name in clearly_matter(main, output) if deserves_words(*facts[name])
    }


def explained_share(
    codes: Integers, outcome: Floats, independent: float | None = None
) -> tuple[float, float]:
    """Return the share of the outcome's variance that lies between levels (the correlation ratio η²).

    The second number is the p-value of an F test of whether the outcome's mean differs between levels, with as many
    ``independent`` rows (None: all).
    """
    total = float(((outcome - outcome.mean()) ** 2).sum())
    if total == 0:
        return 0.0, 1.0
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=outcome)
    means = sums / np.maximum(counts, 1)
    share = float((counts * (means - outcome.mean()) ** 2).sum() / total)
    levels, rows = int((counts > 0).sum()), independent or len(codes)
    if levels < 2 or rows <= levels:
        return share, 1.0
    if share >= 1:
        return share, 0.0
    ratio = share / (levels - 1) / ((1 - share) / (rows - levels))
    return share, float(special.fdtrc(levels - 1, rows - levels, ratio))


# ---- sentences -------------------------------------------------------------------------------------------------------
def sign_notes(
    name: str,
    table: Sequence[dict[str, Any]],
    overall: float,
    outcome_words: str = "outcome",
) -> list[str]:
    """Return a sentence on the levels at which attribution and raw association disagree in sign.

    Both are compared with their mean over rows, since an attribution's 0 is the baseline and not the average row. A
    level counts if both differ from their mean by more than two standard errors, and each by at least 5 % of the sum
    over levels (rows times absolute difference).
    """
    explained = [
        row
        for row in table
        if row["attribution"] is not None and row["explained"] >= FEWEST
    ]
    if len(explained) < 2:
        return []
    facts = pd.DataFrame(explained)
    raw = facts["outcome"] - overall
    attributed = facts["attribution"] - np.average(
        facts["attribution"], weights=facts["explained"]
    )
    clear = raw * attributed < 0
    for differences, error, counts in (
        (raw, "deviation", "rows"),
        (attributed, "attribution_error", "explained"),
    ):
        sizes = differences.abs() * facts[counts]
        beyond = differences.abs() - 2 * facts[error]
        shares = sizes / sizes.sum() if sizes.sum() > 0 else sizes
        deserving = [
            deserves_words(low, math.inf, share)
            for low, share in zip(beyond, shares, strict=True)
        ]
        clear &= np.array(deserving)
    sentences = []
    for place in np.flatnonzero(clear):
        side, way = ("below", "up") if raw[place] < 0 else ("above", "down")
        amount = compact(abs(float(raw[place])), 2)
        sentences.append(
            f"Where {name} is {facts['level'][place]}, the {outcome_words} is {amount} {side} its "
            f"average, but there it moves the prediction {way}, compared with other rows."
        )
    why = "The reason can be features that go along with it, or an error of the model."
    return [" ".join([*sentences, why])] if sentences else []


def rank_notes(
    name: str, rank: int, by_data: tuple[int, float], features: int
) -> list[str]:
    """Return a sentence if a feature's ranks by model and by data are far apart."""
    rank_by_data, explained = by_data
    if abs(rank - rank_by_data) < max(3, round(features / 3)):
        return []
    more = rank < rank_by_data
    # Reliance below the association is worth a sentence only if there is a clear association.
    if not more and explained < LEAST_SHARE:
        return []
    words = (
        f"{name} is number {rank} for the model, but number {rank_by_data} of {features} by how far it alone explains "
        f"the outcome ({100 * explained:.1f} % of its variance). The model relies on it {'more' if more else 'less'} "
        "than that suggests. Interactions or related features can cause this."
    )
    return [words]


def leakage_hint(
    main: Explanation, card_notes: Mapping[str, Sequence[str]]
) -> dict[str, Any] | None:
    """Return a hint if one of several features has most of the importance, which can be a sign of leakage.

    Not of a photo, which many a model is made to read alone. Importances below 0 count as 0. ``card_notes``: what the
    data card says of columns.
    """
    values = np.maximum(np.nan_to_num(main.values[:, 0]), 0)
    if len(main.names) < 4 or not values.any():
        return None
    place, share = int(values.argmax()), float(values.max() / values.sum())
    name, is_photo = main.names[place], main.modality[place] == "photo"
    notes = list(card_notes.get(name, ()))
    if (share <= DOMINANT or is_photo) and not (notes and name == main.ranking()[0]):
        return None
    return {"feature": name, "share": share, "notes": notes}
