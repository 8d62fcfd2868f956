"""The raw data of the most important features, compared with the attributions of the
model.

Rows of these features are counted by level, with the mean outcome and the mean
attribution of each level. An attribution is relative to a baseline and given all other
features, so the two may disagree and both be right.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
#: Very wide tables are not ranked by raw association. Their leading features are
#: compared with each other alone.
MOST_RANKED = 1000
#: A feature with a larger share of the importance than this may leak the outcome.
DOMINANT = 0.4
#: An outcome depends on a feature if the means of its levels differ with a p-value
#: below this.
CHANCE = 0.01
#: Rows of a level that are needed to compare signs.
FEWEST = 30


def beside_data(work: Work) -> None:
    """Fill ``reading``: what the raw data say of the most important features, beside
    what the model does with them.
    """
    main_explanation = work.content.explanation
    explained_rows = work.explained
    attributions = _attributions(work)
    assert main_explanation is not None
    if not main_explanation.level.of_features or attributions is None:
        return
    names, values, row_indices, source, output_index = attributions
    label = source.outputs[output_index]
    about = f" to {label}" * (label != "all")
    columns = {}
    for column_index, feature_name in enumerate(names):
        columns[str(feature_name)] = values[:, column_index]
    words, outcome = _outcome(work, label)
    blanked = as_features(
        work.model.with_parts(blank_codes(explained_rows.frame, work.model.na)),
        work.members,
    )
    # Of many classes, the importances on the rows of the class. Attributions to two
    # classes differ only in sign, and are of all rows.
    output = _output_of(main_explanation, label)
    ranking = []
    for ranked_name in main_explanation.ranking(output):
        if ranked_name in blanked.columns:
            ranking.append(ranked_name)
    if len(ranking) <= MOST_RANKED:
        looked_at = ranking
    else:
        looked_at = ranking[:FEATURES]
    levels_by_feature = _levels(work, blanked, looked_at)
    association = _associations(levels_by_feature, outcome, explained_rows.dependence)
    compared = _Compared(
        words,
        outcome,
        association,
        sorted(association, key=lambda name: -association[name][0]),
        told_features(main_explanation, output),
    )
    features = []
    for model_rank, ranked_feature in enumerate(ranking[:FEATURES], start=1):
        levels = levels_by_feature[ranked_feature]
        if levels is not None:
            table = level_table(
                levels,
                outcome,
                columns.get(ranked_feature),
                row_indices,
                explained_rows.dependence,
            )
            features.append(compared.of(ranked_feature, model_rank, table))
    work.put(
        reading={
            "outcome": words,
            "overall": float(outcome.mean()),
            "rows": len(outcome),
            "attribution": f"mean attribution{about} by "
            f"{source.method.replace('_', ' ')}",
            "baseline": str(source.meta.get("baseline", "")),
            "class": main_explanation.outputs[output] if output else None,
            "features": features,
            "leakage": leakage_hint(main_explanation, work.card_notes),
            "alone": _first_alone(work, main_explanation),
        }
    )


@dataclass(frozen=True)
class _Compared:
    """What the raw data say of features.

    Attributes:
        words: The outcome in words.
        outcome: Of each row, ``(rows,)``.
        association: By feature, the share of the outcome that goes along with it, and
            its p-value.
        by_data: The features by falling association.
        deserving: Those that deserve words.
    """

    words: str
    outcome: Floats
    association: Mapping[str, tuple[float, float]]
    by_data: list[str]
    deserving: Collection[str]

    def of(self, feature: str, rank: int, table: Any) -> dict[str, Any]:
        """Return the facts of a feature by its rank for the model, and what is worth a
        note in the table of its levels.
        """
        share, p_value = self.association[feature]
        rank_by_data = self.by_data.index(feature) + 1
        notes: list[str] = []
        if feature in self.deserving:
            notes = sign_notes(feature, table, float(self.outcome.mean()), self.words)
            if rank < rank_by_data or p_value < CHANCE:
                notes += rank_notes(
                    feature, rank, (rank_by_data, share), len(self.by_data)
                )
        return {
            "feature": feature,
            "rank": rank,
            "association": share,
            "rank_by_association": rank_by_data,
            "levels": table,
            "notes": notes,
        }


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
    associations: dict[str, tuple[float, float]] = {}
    for name, levels in cut.items():
        if levels is not None:
            associations[name] = explained_share(levels[0], outcome, count)
    return associations


def _first_alone(work: Work, main: Explanation) -> dict[str, Any] | None:
    """Return how well the feature that the model relies on most predicts alone, and
    whether it is a date.

    None: that is not known, or it is no single column.
    """
    train = work.train
    test = work.test
    model = work.model
    if train is None or train.table is None or test.table is None:
        return None
    feature = main.ranking()[0]
    date_features = model.date_parts(test.table)
    dates = model.dates(test.table)
    if feature in date_features:
        column = date_features[feature][0]
    else:
        column = feature
    if len(main.names) < 2 or column not in test.table.columns:
        return None
    codes = model.codes(train), model.codes(test)
    sides = []
    for table, values in zip((train.table, test.table), codes, strict=True):
        sides.append((table[column], values))
    with keeping_warnings():
        alone_scores = told_by(sides[0], sides[1], model.task, model.na)
    if alone_scores is None:
        return None
    return {
        "feature": feature,
        "column": column,
        "date": column in dates,
        **alone_scores,
    }


def _levels(
    work: Work, blanked: pd.DataFrame, names: Sequence[str]
) -> dict[str, Levels | None]:
    """Return the levels by which the rows explained are counted, of each feature named.

    None: it has none.
    """
    undated = work.undated
    frame = work.explained.frame
    assert undated is not None
    countable = undated.columns.drop(work.texts, errors="ignore")
    levels_by_feature = {}
    for feature_name in names:
        if feature_name in countable:
            levels_by_feature[feature_name] = levels_of(blanked[feature_name])
        else:
            levels_by_feature[feature_name] = None
    worded_features = []
    for feature_name in work.model.date_parts(frame):
        if isinstance(blanked[feature_name].dtype, pd.CategoricalDtype):
            worded_features.append(feature_name)
    if worded_features:
        moments = work.model.dates(frame)
    else:
        moments = {}
    return levels_by_feature | {
        feature_name: dated_levels(blanked[feature_name], moments[feature_name])
        for feature_name in worded_features
        if feature_name in names
    }


def _attributions(
    work: Work,
) -> tuple[Sequence[str], Floats, Integers, Explanation, int] | None:
    """Return attributions of features to the positive one of two classes, else to the
    most frequent one.

    Returns names, values ``(rows, features)``, places of the rows among those
    explained, the explanation and its output.
    """
    if work.all_rows is not None:
        names, feature_sums = by_feature(work.all_rows, work.model.encoder)
        return names, feature_sums, np.arange(len(work.explained)), work.all_rows, 0
    if work.content.explained is None:
        return None
    local = work.content.explained.explanation
    model = work.model
    output = 0
    if model.classes and len(local.outputs) > 1:
        counts = np.bincount(work.seen.codes, minlength=len(model.classes))
        if len(model.classes) == 2:
            label = model.positive
        else:
            label = None
        output = local.outputs.index(
            model.classes[int(counts.argmax())] if label is None else label
        )
    return local.names, local.values[:, :, output], work.explained_places, local, output


def told_features(main: Explanation, output: int) -> set[str]:
    """Return the features whose importance for an output deserves sentences: clearly
    there, and not small.
    """
    values = np.maximum(np.nan_to_num(main.values[:, output]), 0)
    with np.errstate(invalid="ignore"):
        shares = values / values.sum()
    lower_ends, upper_ends = (interval_ends[:, output] for interval_ends in main.ci())
    facts = {}
    for feature_index, feature_name in enumerate(main.names):
        facts[feature_name] = (
            float(lower_ends[feature_index]),
            float(upper_ends[feature_index]),
            float(shares[feature_index]),
        )
    return {
        feature_name
        for feature_name in clearly_matter(main, output)
        if deserves_words(*facts[feature_name])
    }


def explained_share(
    codes: Integers, outcome: Floats, independent: float | None = None
) -> tuple[float, float]:
    """Return the share of the outcome's variance that lies between levels (the
    correlation ratio η²).

    The second number is the p-value of an F test of whether the outcome's mean differs
    between levels, with as many ``independent`` rows (None: all).
    """
    total = float(((outcome - outcome.mean()) ** 2).sum())
    if total == 0:
        return 0.0, 1.0
    counts = np.bincount(codes)
    level_sums = np.bincount(codes, weights=outcome)
    means = level_sums / np.maximum(counts, 1)
    share = float((counts * (means - outcome.mean()) ** 2).sum() / total)
    levels = int((counts > 0).sum())
    independent_rows = independent or len(codes)
    if levels < 2 or independent_rows <= levels:
        return share, 1.0
    if share >= 1:
        return share, 0.0
    ratio = share / (levels - 1) / ((1 - share) / (independent_rows - levels))
    return share, float(special.fdtrc(levels - 1, independent_rows - levels, ratio))


# ---- sentences -----------------------------------------------------------------------
def sign_notes(
    name: str,
    table: Sequence[dict[str, Any]],
    overall: float,
    outcome_words: str = "outcome",
) -> list[str]:
    """Return a sentence on the levels at which attribution and raw association disagree
    in sign.

    Both are compared with their mean over rows, since an attribution's 0 is the
    baseline and not the average row. A level counts if both differ from their mean by
    more than two standard errors, and each by at least 5 % of the sum over levels (rows
    times absolute difference).
    """
    explained = []
    for level_row in table:
        if level_row["attribution"] is not None and level_row["explained"] >= FEWEST:
            explained.append(level_row)
    if len(explained) < 2:
        return []
    facts = pd.DataFrame(explained)
    raw_differences = facts["outcome"] - overall
    attributed = facts["attribution"] - np.average(
        facts["attribution"], weights=facts["explained"]
    )
    clear = raw_differences * attributed < 0
    for differences, error, counts in (
        (raw_differences, "deviation", "rows"),
        (attributed, "attribution_error", "explained"),
    ):
        sizes = differences.abs() * facts[counts]
        beyond = differences.abs() - 2 * facts[error]
        if sizes.sum() > 0:
            shares = sizes / sizes.sum()
        else:
            shares = sizes
        deserving = []
        for lower_end, share in zip(beyond, shares, strict=True):
            deserving.append(deserves_words(lower_end, math.inf, share))
        clear &= np.array(deserving)
    sentences = []
    for level_index in np.flatnonzero(clear):
        side_word, direction_word = (
            ("below", "up") if raw_differences[level_index] < 0 else ("above", "down")
        )
        amount = compact(abs(float(raw_differences[level_index])), 2)
        sentences.append(
            f"Where {name} is {facts['level'][level_index]}, the {outcome_words} is "
            f"{amount} {side_word} its average, but there it moves the prediction "
            f"{direction_word}, compared with other rows."
        )
    reason = (
        "The reason can be features that go along with it, or an error of the model."
    )
    if sentences:
        return [" ".join([*sentences, reason])]
    return []


def rank_notes(
    name: str, rank: int, by_data: tuple[int, float], features: int
) -> list[str]:
    """Return a sentence if a feature's ranks by model and by data are far apart."""
    rank_by_data, explained = by_data
    if abs(rank - rank_by_data) < max(3, round(features / 3)):
        return []
    relies_more = rank < rank_by_data
    # Reliance below the association is worth a sentence only if there is a clear
    # association.
    if not relies_more and explained < LEAST_SHARE:
        return []
    words = (
        f"{name} is number {rank} for the model, but number {rank_by_data} of "
        f"{features} by how far it alone explains the outcome ({100 * explained:.1f} % "
        f"of its variance). The model relies on it {'more' if relies_more else 'less'} "
        "than that suggests. Interactions or related features can cause this."
    )
    return [words]


def leakage_hint(
    main: Explanation, card_notes: Mapping[str, Sequence[str]]
) -> dict[str, Any] | None:
    """Return a hint if one of several features has most of the importance, which can be
    a sign of leakage.

    Not of a photo, which many a model is made to read alone. Importances below 0 count
    as 0. ``card_notes``: what the data card says of columns.
    """
    values = np.maximum(np.nan_to_num(main.values[:, 0]), 0)
    if len(main.names) < 4 or not values.any():
        return None
    feature_index = int(values.argmax())
    share = float(values.max() / values.sum())
    feature_name = main.names[feature_index]
    is_photo = main.modality[feature_index] == "photo"
    notes = list(card_notes.get(feature_name, ()))
    if (share <= DOMINANT or is_photo) and not (
        notes and feature_name == main.ranking()[0]
    ):
        return None
    return {"feature": feature_name, "share": share, "notes": notes}
