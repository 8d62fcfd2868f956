"""Beside what the model does with a feature: what the data say about it, and where the two disagree.

Rows of the leading features are counted level by level, with the mean outcome and the mean attribution of each. An
attribution is relative to a baseline and given all other features: the two may disagree without either being wrong.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.significance import LEAST_SHARE, deserves_words

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.runs.run.inputs import Inputs

Floats = npt.NDArray[np.float64]

FILE = "reading.json"
#: Features that are looked at, levels of each that are shown, and parts that numbers are cut into.
FEATURES, LEVELS, PARTS = 6, 12, 6
#: Very wide tables are not ranked by raw association; their leading features are compared with each other alone.
MOST_RANKED = 1000
#: A feature with more of the summed importance than this may know the outcome.
DOMINANT = 0.4
#: An outcome goes along with a feature if its levels' means differ with a p-value below this.
CHANCE = 0.01
#: Rows of a level that are needed to compare signs.
FEWEST = 30
RELATED = "related.json"
#: From here on a feature is said to move with another. At 0.5 they have a quarter of their variance in common, and
#: regression coefficients begin to suffer (correlations of 0.5 to 0.7: Dormann et al., Ecography 36, 2013).
LEAST = 0.5
#: Features that are compared with all others, rows that are looked at, and columns that are no numbers, at most.
RELATED_FEATURES, ROWS, CATEGORIES = 8, 2000, 500


def reading_help(
    inputs: Inputs, main: Explanation, X: pd.DataFrame, y: npt.NDArray[Any], attributions: Attributions
) -> dict[str, Any]:
    """Return what ``explanations/reading.json`` holds."""
    from permgrad.data.read.table import blank_codes

    names, values, places, source, place = attributions
    label = source.outputs[place]
    about = "" if label == "all" else f" to {label}"
    columns = {str(name): values[:, at] for at, name in enumerate(names)}
    words, outcome = outcome_of(inputs, y, label)
    blanked = blank_codes(X, list(inputs.na_codes))
    output = like_output(main, label)
    ranking = [name for name in main.ranking(output) if name in blanked.columns]
    looked_at = ranking if len(ranking) <= MOST_RANKED else ranking[:FEATURES]
    # Dates written as text have nearly as many values as there are rows.
    dates = set(inputs.schema.of_kind("date"))
    cut = {name: None if name in dates else levels_of(blanked[name]) for name in looked_at}
    association = {name: explained_share(levels[0], outcome) for name, levels in cut.items() if levels is not None}
    by_data = sorted(association, key=lambda name: -association[name])
    shares = importance_shares(main, output)
    deserving = told_features(main, output, shares)
    features = []
    for rank, name in enumerate(ranking[:FEATURES], start=1):
        levels = cut[name]
        if levels is None:
            continue
        table = level_table(levels, outcome, columns.get(name), places)
        rank_by_data = by_data.index(name) + 1
        notes = sign_notes(name, table, float(outcome.mean())) if name in deserving else []
        if name in deserving and (rank < rank_by_data or goes_along(levels[0], outcome)):
            notes += rank_notes(name, (rank, shares[name]), (rank_by_data, association[name]), len(by_data))
        features.append(
            {
                "feature": name,
                "share": shares.get(name),
                "rank": rank,
                "association": association[name],
                "rank_by_association": rank_by_data,
                "levels": table,
                "notes": notes,
            }
        )
    return {
        "outcome": words,
        "overall": float(outcome.mean()),
        "rows": len(outcome),
        "attribution": f"mean attribution{about} by {source.method.replace('_', ' ')}",
        "baseline": str(source.meta.get("baseline", "")),
        "class": main.outputs[output] if output else None,
        "features": features,
        "leakage": leakage_hint(inputs, main, importance_shares(main)),
    }


def like_output(main: Explanation, label: str) -> int:
    """Return the position of the importances that compare with attributions to a class: of many, those on its rows.

    Attributions to one of two classes are those to the other with the sign turned, and concern all rows.
    """
    classes = main.outputs[1:]
    return 1 + classes.index(label) if len(classes) > 2 and label in classes else 0


def told_features(main: Explanation, output: int, shares: dict[str, float]) -> set[str]:
    """Return the features whose importance for an output deserves sentences: clearly there, and not small."""
    low, high = (ends[:, output] for ends in main.ci())
    ends = {name: (float(low[place]), float(high[place])) for place, name in enumerate(main.names)}
    clear = main.clearly_matter(output)
    return {name for name in clear if deserves_words(*ends[name], shares.get(name, math.nan))}


class Attributions(NamedTuple):
    """Local attributions of one output ``(rows, features)``, of rows at some ``places`` among those explained."""

    names: Sequence[str]
    values: Floats
    places: npt.NDArray[np.int64]
    source: Explanation
    output: int


def outcome_of(inputs: Inputs, y: npt.NDArray[Any], label: str) -> tuple[str, Floats]:
    """Return the outcome as one number per row, and what it is."""
    if inputs.task == "regression":
        return f"mean {inputs.target}", np.asarray(y, dtype=np.float64)
    return f"share of {inputs.target} = {label}", np.array([str(value) == label for value in y.tolist()], dtype=float)


# ---- levels ----------------------------------------------------------------------------------------------------------
Levels = tuple[npt.NDArray[np.int64], list[str]]


def levels_of(values: pd.Series[Any]) -> Levels | None:
    """Return each row's level and the levels' names: quantile ranges of numbers, frequent values of all else."""
    if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind in "mM":
        return None
    missing = values.isna().to_numpy()
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)
    if numeric and values.nunique() > LEVELS:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        present = numbers[~missing]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, PARTS + 1)[1:-1], method="inverted_cdf"))
        edges = edges[edges < present.max()]
        codes = np.searchsorted(edges, numbers, side="left")
        digits = 6 if np.all(edges == np.round(edges)) else 3
        written = [f"{edge:.{digits}g}".replace("-", "−") for edge in edges]
        names = [f"up to {written[0]}"] if written else ["all"]
        names += [f"over {low} to {high}" for low, high in pairwise(written)]
        names += [f"above {written[-1]}"] if written else []
    else:
        texts = values.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value)).astype(object)
        counts = texts[~missing].value_counts()
        shown = counts.index[: LEVELS if len(counts) <= LEVELS else LEVELS - 1].tolist()
        if numeric:
            shown.sort(key=float)
        codes = pd.Index(shown, dtype=object).get_indexer(texts)
        codes = np.where(codes < 0, len(shown), codes)
        further = len(counts) - len(shown)
        names = [*shown, f"{further} others"] if further else shown
    if missing.any():
        codes = np.where(missing, len(names), codes)
        names = [*names, "missing"]
    return codes.astype(np.int64), names


def level_table(
    levels: Levels, outcome: Floats, attribution: Floats | None, places: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return for each level its rows, their mean outcome and their mean attribution, both with standard errors."""
    codes, names = levels
    explained = codes[places]
    counts, seen = (np.bincount(chosen, minlength=len(names)) for chosen in (codes, explained))
    outcomes = _means(outcome, codes, counts)
    attributions = [(None, None)] * len(names) if attribution is None else _means(attribution, explained, seen)
    return [
        {
            "level": name,
            "rows": int(counts[code]),
            "share": float(counts[code] / len(codes)),
            "outcome": outcomes[code][0],
            "deviation": outcomes[code][1],
            "attribution": attributions[code][0],
            "attribution_error": attributions[code][1],
            "explained": int(seen[code]),
        }
        for code, name in enumerate(names)
    ]


def _means(
    values: Floats, codes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> list[tuple[float | None, float | None]]:
    """Return each level's mean and its standard error, None where it has too few rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(codes, weights=values, minlength=len(counts)) / counts
        squares = np.bincount(codes, weights=(values - means[codes]) ** 2, minlength=len(counts))
        errors = np.sqrt(squares / (counts - 1) / counts)
    return [
        (float(mean) if count else None, float(error) if count > 1 else None)
        for mean, error, count in zip(means, errors, counts, strict=True)
    ]


def explained_share(codes: npt.NDArray[np.int64], outcome: Floats) -> float:
    """Return the share of the outcome's variance that lies between levels (the correlation ratio η²)."""
    total = float(((outcome - outcome.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=outcome)
    means = sums / np.maximum(counts, 1)
    return float((counts * (means - outcome.mean()) ** 2).sum() / total)


# ---- sentences -------------------------------------------------------------------------------------------------------
def goes_along(codes: npt.NDArray[np.int64], outcome: Floats) -> bool:
    """Whether the outcome's mean differs between levels by more than chance would have it: an F test at 1 %."""
    from scipy.stats import f as f_distribution

    levels, rows = len(np.unique(codes)), len(codes)
    if levels < 2 or rows <= levels:
        return False
    share = explained_share(codes, outcome)
    if share >= 1:
        return True
    ratio = share / (levels - 1) / ((1 - share) / (rows - levels))
    return bool(f_distribution.sf(ratio, levels - 1, rows - levels) < CHANCE)


def sign_notes(name: str, table: Sequence[dict[str, Any]], overall: float) -> list[str]:
    """Say at which levels attribution and raw association disagree in sign, and by how much.

    Both are compared with their own mean over rows, since an attribution's 0 is the baseline and not the average row. A
    level counts where both differ from their mean by more than two standard errors, and each by at least 5 % of what
    all levels together do (rows times absolute difference).
    """
    explained = [row for row in table if row["attribution"] is not None and row["explained"] >= FEWEST]
    if len(explained) < 2:
        return []
    facts = pd.DataFrame(explained)
    raw = facts["outcome"] - overall
    attributed = facts["attribution"] - np.average(facts["attribution"], weights=facts["explained"])
    clear = raw * attributed < 0
    for differences, error, counts in ((raw, "deviation", "rows"), (attributed, "attribution_error", "explained")):
        sizes = differences.abs() * facts[counts]
        beyond = differences.abs() - 2 * facts[error]
        shares = sizes / sizes.sum() if sizes.sum() > 0 else sizes
        deserving = [deserves_words(low, math.inf, share) for low, share in zip(beyond, shares, strict=True)]
        clear &= np.array(deserving)
    opposite = []
    for place in np.flatnonzero(clear):
        side, way = ("below", "above") if raw[place] < 0 else ("above", "below")
        opposite.append(
            f"{facts['level'][place]} (outcome {abs(raw[place]):.2g} {side} its average, attribution "
            f"{abs(attributed[place]):.2g} {way} its own)"
        )
    words = (
        f"Attribution and raw association disagree in sign for {name} at {'; '.join(opposite)}: other features "
        "that go with this level explain its raw mean, or the model is wrong here."
    )
    return [words] if opposite else []


def rank_notes(name: str, by_model: tuple[int, float], by_data: tuple[int, float], features: int) -> list[str]:
    """Say that a feature's ranks disagree, where they lie far apart."""
    (rank, share), (rank_by_data, explained) = by_model, by_data
    if abs(rank - rank_by_data) < max(3, round(features / 3)):
        return []
    more = rank < rank_by_data
    # That the model relies on a feature less than its association suggests needs an association worth a word.
    if not more and explained < LEAST_SHARE:
        return []
    words = (
        f"They disagree in rank: {name} is number {rank} for the model, with {100 * share:.0f} % of the importance, "
        f"and number {rank_by_data} of {features} by raw association, with {100 * explained:.1f} % of the outcome's "
        f"variance; the model relies on it {'more' if more else 'less'} than its own association suggests, as it may "
        "through interactions or through related features."
    )
    return [words]


def importance_shares(main: Explanation, output: int = 0) -> dict[str, float]:
    """Return each feature's share of an output's summed importance; effects below 0 count as 0."""
    values = np.maximum(np.nan_to_num(main.values[:, output]), 0)
    total = float(values.sum())
    return {} if total == 0 else dict(zip(main.names, (values / total).tolist(), strict=True))


def leakage_hint(inputs: Inputs, main: Explanation, shares: dict[str, float]) -> dict[str, Any] | None:
    """Return a hint if one of several features has most of the importance, as one that knows the outcome would have."""
    if len(main.names) < 4 or not shares:
        return None
    name, share = max(shares.items(), key=lambda item: item[1])
    card_notes = [] if inputs.card is None else [note for note in inputs.card.notes if note.split(" ")[0] == name]
    if share <= DOMINANT and not (card_notes and name == main.ranking()[0]):
        return None
    text = (
        f"{name} has {share:.0%} of the summed positive importances of all {len(main.names)} features. If its "
        "value is known only after the outcome, or is made from it, every figure here is too good for a forecast. "
        f"The same run without it: --drop {shlex.quote(name)}"
    )
    return {"feature": name, "share": share, "text": text, "notes": card_notes}


# ---- features that move together -------------------------------------------------------------------------------------
def related_features(frame: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the columns that move with some of the features, for each feature the closest first.

    Numbers are compared by the correlation of their ranks (Spearman 1904); categories by Cramér's V, corrected for its
    bias (Bergsma, Journal of the Korean Statistical Society 42, 2013); of a number and a category V is the root of the
    share of the ranks' variance that lies between levels. 0: nothing to do with each other; 1: one gives the other.
    """
    if len(frame) > ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, ROWS).astype(np.int64)]
    bases = _bases(frame, names)
    chosen = [name for name in names if name in bases][:RELATED_FEATURES]
    rows = len(frame)
    if rows < 4 or not chosen:
        return []
    from scipy.stats import t

    # What none of so many pairs of unrelated columns reaches, at 5 %.
    chance = float(t.isf(0.025 / max(len(chosen) * (len(bases) - 1), 1), rows - 2))
    least = max(LEAST, chance / math.sqrt(rows - 2 + chance**2))
    numbers = [name for name, basis in bases.items() if basis.shape[1] == 1]
    stacked = np.column_stack([bases[name] for name in numbers]) if numbers else np.zeros((rows, 0))
    pairs = []
    for name in chosen:
        # Of numbers all at once: a wide table has thousands.
        products = bases[name].T @ stacked
        levels = bases[name].shape[1]
        squared = (products**2).sum(axis=0) - (levels - 1) / (rows - 1)
        with_numbers = products.ravel() if levels == 1 else np.sqrt(np.clip(squared, 0.0, 1.0))
        strengths = dict(zip(numbers, with_numbers.tolist(), strict=True))
        strengths |= {other: _corrected(bases[name], basis) for other, basis in bases.items() if basis.shape[1] > 1}
        related = [(other, value) for other, value in strengths.items() if other != name and abs(value) >= least]
        for other, strength in sorted(related, key=lambda pair: -abs(pair[1])):
            kind = "correlation" if levels == bases[other].shape[1] == 1 else "association"
            pairs.append({"feature": name, "other": other, "strength": strength, "kind": kind})
    return pairs


def _bases(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Floats]:
    """Return for each column an orthonormal basis of what it says ``(rows, 1 or levels)``: its ranks, or its levels."""
    bases: dict[str, Floats] = {}
    numeric = [name for name in frame.columns if pd.api.types.is_numeric_dtype(frame[name].dtype)]
    cells = frame[numeric].to_numpy(dtype=np.float64, na_value=np.nan)
    places = pd.DataFrame(cells).rank()
    ranks: Floats = (places - places.mean()).fillna(0.0).to_numpy()
    sizes = np.sqrt((ranks**2).sum(axis=0))
    bases |= {name: (ranks[:, [at]] / sizes[at]) for at, name in enumerate(numeric) if sizes[at] > 0}
    categories = [name for name in frame.columns if name not in set(numeric)]
    wanted = [name for name in names if name in categories]
    for name in [*wanted, *(other for other in categories if other not in wanted)][:CATEGORIES]:
        levels = levels_of(frame[name])
        # A column of which each row has a value of its own says nothing that could come again.
        if levels is None or len(levels[1]) < 2 or frame[name].nunique() > len(frame) / 2:
            continue
        indicators = np.eye(len(levels[1]))[levels[0]]
        indicators = indicators[:, indicators.any(axis=0)]
        if indicators.shape[1] > 1:
            bases[name] = indicators / np.sqrt(indicators.sum(axis=0))
    return bases


def _corrected(first: Floats, second: Floats) -> float:
    """Return the corrected V of two columns, of which the second has levels."""
    rows, freedom = len(first), [max(basis.shape[1] - 1, 1) for basis in (first, second)]
    squared = float(((first.T @ second) ** 2).sum()) - (first.shape[1] > 1)
    smallest = min(count - count**2 / (rows - 1) for count in freedom) if first.shape[1] > 1 else 1.0
    return math.sqrt(min(max(squared - freedom[0] * freedom[1] / (rows - 1), 0.0) / max(smallest, 1e-9), 1.0))
