"""An explanation in words: its headline, its circumstances, its ranked features, and a summary of them as text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.assess.assessment import PATHS
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.orders import sizes_of
from permgrad.attribution.explanation.ranks import freedoms_of
from permgrad.attribution.explanation.statistics import FEWEST_UNITS
from permgrad.attribution.subject.scales import LOG_ODDS, words_of_unit
from permgrad.base.errors import counted
from permgrad.base.numerals import number, numbers, percent
from permgrad.base.significance import LEVEL
from permgrad.pages.choices import as_global, largest, pick_output
from permgrad.pages.claims import claim_of
from permgrad.pages.moved import moved_words
from permgrad.pages.words import (
    FEWEST_ROWS,
    clean,
    conditional_words,
    confidence_words,
    labels_of,
    listed,
    names_apart,
    order_words,
    p_text,
    quantity_of,
    shorten,
    shown_ranks,
    training_words,
    unit_name,
    value_text,
)

if TYPE_CHECKING:
    from permgrad.attribution.counterfactuals import Counterfactuals
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.missing import Missing
    from permgrad.evaluation.changes import Changes


#: Up to so many rows, intervals are said to be rough.
ROUGH = 20
#: Below so many degrees of freedom at an end of the interval, few rows carry an effect.
FEW_CARRY = 3.0
_NAMED = 3
#: Maps whose layers are named.
_MAPS = 5


class RankedLine(NamedTuple):
    """A feature of a list: its position, name, importance as text, interval (NaN: none), and whether it matters."""

    place: int
    name: str
    text: str
    low: float
    high: float
    interval: str
    clear: bool


#: A line of a summary, and its facts: their kind, and of a feature its importance.
Told = tuple[str, dict[str, Any]]


def summary(
    explanation: Explanation, *, target: str | int | None = None, top_n: int = 5
) -> str:
    """Return an explanation as a few lines of text. See ``Explanation.summary``."""
    return "\n".join(line for line, _ in told(explanation, target, top_n))


def told(explanation: Explanation, target: str | int | None, top_n: int) -> list[Told]:
    """Return the lines of a summary, each with its facts. Pairs have a list of their own behind that of features."""
    if len(orders := np.unique(explanation.order)) > 1 and orders[0] == 1:
        heading: Told = ("Only together:", {"kind": "title"})
        pairs = [
            one
            for order in orders[1:]
            for one in told(of_order(explanation, int(order)), target, top_n)
        ]
        of_pairs = [
            one for one in pairs if one[1]["kind"] in ("clear", "feature", "more")
        ]
        return [*told(of_order(explanation, 1), target, top_n), heading, *of_pairs]
    local = explanation.scope == "local"
    column = pick_output(explanation, target)
    shown = as_global(explanation)
    clear = clear_names(shown, column)
    one = local and len(explanation.values) == 1
    rows: dict[str, str] = {} if one else {"no skill": no_better(shown)}
    rows |= {
        "quantity": _measured(explanation, column),
        "scale": words_of_unit(explanation.meta).strip(),
        "rows": circumstances(explanation if one else shown),
    }
    if one:
        rows["class"] = shown_class(explanation, column)
    else:
        rows["few rows"] = _of_few_rows(shown)
        if clear is not None:
            rows["clear"] = _clearly(shown, len(clear))
    lines = _opening(explanation, rows, column)
    lines += _listed(explanation, shown, column, clear, top_n, one=one)
    if not one:
        lines += _closing(explanation, shown, column, top_n)
    return [
        (line.rstrip().replace("\u00a0", " "), facts) for line, facts in lines if line
    ]


def _opening(
    explanation: Explanation, rows: Mapping[str, str], column: int
) -> list[Told]:
    """Return the lines before the list of features."""
    about = {
        "method": explanation.method,
        "output": explanation.outputs[column],
        "unit": explanation.meta.get("unit"),
    }
    lines: list[Told] = []
    for kind, words in rows.items():
        facts: dict[str, Any] = {"kind": kind}
        if kind == "quantity":
            facts |= about
        lines.append((words, facts))
    return lines


def _clearly(shown: Explanation, count: int) -> str:
    """Return how many features clearly matter, and what the claim rests on."""
    words = f"{clearly_words(shown, count)} (adjusted p-values below 0.05)."
    return f"{words} {claim_of(shown).note}".rstrip()


def _closing(
    explanation: Explanation, shown: Explanation, column: int, top_n: int
) -> list[Told]:
    """Return the lines behind the list of features."""
    local = explanation.scope == "local"
    ends = {
        "class" if local else "shares": shown_class(explanation, column)
        if local
        else shares_words(shown)
    }
    ends |= {
        "order": order_sentence(shown, column, top_n),
        "training": training_words(explanation),
    }
    return [(words, {"kind": kind}) for kind, words in ends.items()]


def _listed(
    explanation: Explanation,
    shown: Explanation,
    column: int,
    clear: Sequence[str] | None,
    top_n: int,
    *,
    one: bool,
) -> Iterator[Told]:
    """Yield the largest features of each list, below its title."""
    values = np.asarray(
        explanation.values[0, :, column] if one else sizes_of(shown, column),
        dtype=np.float64,
    )
    for title, places in lists_of(shown):
        order = places[
            largest(np.abs(values[places]) if one else values[places], top_n)
        ]
        yield f"{title}:" if title else "Largest:", {"kind": "title"}
        yield from (
            _moved(explanation, column, values, order)
            if one
            else _ranked(explanation, shown, column, order, clear)
        )
        if len(order) < len(places):
            yield f"  and {len(places) - len(order)} more", {"kind": "more"}


def _ranked(
    explanation: Explanation,
    shown: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[Told]:
    """Yield features over all rows, ``shown``: of local explanations by mean size, which the signed mean follows."""
    several = explanation.scope == "local" and shown.meta.get("summary") == "mean_abs"
    means = (
        explanation.to_global("mean").values[:, column]
        if several
        else shown.values[:, column]
    )
    ranked = list(ranked_lines(shown, column, order, clear))
    width = max((len(line.name) for line in ranked), default=0)
    tests = (
        np.full(shown.values.shape, np.nan)
        if shown.p_values is None
        else shown.p_values
    )
    for line in ranked:
        mean, untested = (
            float(means[line.place]),
            bool(np.isnan(tests[line.place, column])),
        )
        interval = f"  ({line.interval})" if line.interval else ""
        unlike = "different from" if shown.order[line.place] > 1 else "above"
        corrected = " after correction" * (line.low > 0)
        doubt = (
            ""
            if clear is None or line.clear or untested
            else f"  not clearly {unlike} 0{corrected}"
        )
        signed = (
            f"  signed mean {number(mean)}"
            if several and mean != shown.values[line.place, column]
            else ""
        )
        facts = {
            "kind": "feature",
            "feature": shown.names[line.place],
            "importance": shown.values[line.place, column],
        }
        facts |= {"mean": mean} if several else {}
        words = f"  {line.name:{width}}  {line.text}{interval}{doubt}{signed}"
        yield words, {**facts, "ci_low": line.low, "ci_high": line.high}


def _moved(
    explanation: Explanation,
    column: int,
    values: npt.NDArray[np.float64],
    order: npt.NDArray[np.intp],
) -> Iterator[Told]:
    """Yield how far features moved the output of one row."""
    show = names_apart(explanation.names)
    frame, moves = (
        explanation.feature_values,
        str(explanation.meta.get("quantity")).startswith("output minus"),
    )
    share = moves and explanation.meta.get("unit") == "probability"
    what = "the output"
    if moves and explanation.meta.get("unit") in ("probability", LOG_ODDS):
        unit = explanation.meta["unit"]
        what = f"the {unit} of {shorten(explanation.outputs[column], 40)}"
    points, sizes = " points" * share, np.abs(values[order]) * (100 if share else 1)
    for place, text in zip(order.tolist(), numbers(sizes), strict=True):
        name = explanation.names[place]
        label = show(name)
        if frame is not None and name in frame.columns:
            label += f" = {value_text(frame[name].iloc[0])}"
        way = (
            ("raises", "lowers")[int(values[place] < 0)]
            if values[place]
            else "does not change"
        )
        by, sign = (
            f" by {text}{points}" if values[place] else "",
            "−" * int(values[place] < 0),
        )
        line = f"  {label} {way} {what}{by}" if moves else f"  {label}  {sign}{text}"
        yield line, {"kind": "feature", "feature": name, "importance": values[place]}


def no_better(explanation: Explanation) -> str:
    """Say that the model is no better than a constant, where both losses are known, or nothing."""
    losses = [explanation.meta.get(name) for name in ("model_loss", "loss_scale")]
    loss, constant = (math.nan if value is None else float(value) for value in losses)
    # The constant is the best for these very rows: with few of them it is better than any model.
    if not loss >= constant or _rows(explanation) < FEWEST_ROWS:
        return ""
    unit = f" ({unit_name(explanation.meta)})" if explanation.meta.get("unit") else ""
    return (
        f"The model is no better than a constant on these rows: its loss is {number(loss)}, that of the best constant "
        f"{number(constant)}{unit}."
    )


def _rows(explanation: Explanation) -> float:
    """Return the number of rows that a global explanation is over, infinite if it is not known."""
    rows = explanation.meta.get(
        "rows_summarised", explanation.meta.get("rows_explained")
    )
    return rows if isinstance(rows, int) else math.inf


def _units(explanation: Explanation) -> float:
    """Return the number of rows, or of groups or times where rows depend on each other, infinite if it is not known."""
    about = explanation.meta.get("independent")
    return about["count"] if isinstance(about, Mapping) else _rows(explanation)


def _too_few(explanation: Explanation) -> bool:
    """Whether the rows are too few for intervals: under four, or few rows explained singly."""
    few = explanation.meta.get("rows_summarised", FEWEST_ROWS) < FEWEST_ROWS
    return few or _units(explanation) < FEWEST_UNITS


def _of_few_rows(explanation: Explanation) -> str:
    """Say what fewer than four rows or groups cannot tell, or nothing."""
    count, about = _units(explanation), explanation.meta.get("independent")
    if (
        count >= FEWEST_UNITS
        or explanation.scope != "global"
        or explanation.std_error is None
    ):
        return ""
    what = (
        "rows"
        if about is None
        else {"row_groups": "groups of rows", "row_time": "times"}[about["by"]]
    )
    start, them = (
        ("A single row has", "it")
        if what == "rows" and count == 1
        else (f"Fewer than 4 {what} have", "them")
    )
    what = claim_of(explanation).one
    return f"{start} no intervals: what {what} in other rows, and its order, cannot be told from {them}."


def shares_words(explanation: Explanation) -> str:
    """Say how much of the total each modality or path has, or nothing."""
    entries = (explanation.branches or {}).items()
    shares = {
        name: entry.get("share")
        for name, entry in entries
        if isinstance(entry, Mapping) and "share" in entry
    }
    if not shares or None in shares.values():
        return ""
    whose = "branches" if set(shares) <= {*PATHS} else "inputs"
    return f"Shares of the {whose}: {', '.join(f'{clean(name)} {percent(share)}' for name, share in shares.items())}."


def shown_class(explanation: Explanation, column: int) -> str:
    """Say why one of two classes is shown, where its frequency in y decided."""
    positive = explanation.meta.get("positive")
    if (
        explanation.meta.get("positive_by") != "y"
        or explanation.outputs[column] != positive
    ):
        return ""
    return f"{clean(positive)} is shown because it is the rarer class in y. Pass target= for the other one."


def order_sentence(explanation: Explanation, column: int, most: int) -> str:
    """Return a sentence: how certain the order is."""
    ranks = (
        None if _units(explanation) < FEWEST_UNITS else shown_ranks(explanation, column)
    )
    if ranks is None:
        return ""
    words = order_words(ranks, most)
    return (
        f"Order at {confidence_words(explanation)} confidence: {words}."
        if words
        else "The order is not certain."
    )


def lists_of(explanation: Explanation) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """Return titles and players of the lists of bars: one for each modality if methods, and thus units, differ."""
    methods = explanation.meta.get("methods")
    if not isinstance(methods, Mapping):
        return [("", np.arange(len(explanation.names)))]
    modality, units = (
        np.asarray(explanation.modality, dtype=object),
        explanation.meta.get("units") or {},
    )
    names = dict.fromkeys(explanation.modality)
    words = {
        name: ", ".join(clean(each[name]) for each in (methods, units) if name in each)
        for name in names
    }
    return [
        (f"{clean(name)} ({words[name]})", np.flatnonzero(modality == name))
        for name in names
    ]


def ranked_lines(
    explanation: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[RankedLine]:
    """Yield the features at some positions, in their order."""
    low, high = (end[:, column] for end in explanation.ci())
    names = labels_of([explanation.names[place] for place in order], 40)
    few = _too_few(explanation)
    for name, alike, place in zip(
        names, numbers(explanation.values[order, column]), order, strict=True
    ):
        start, end = float(low[place]), float(high[place])
        interval = (
            f"{number(start)} to {number(end)}"
            if math.isfinite(start + end) and not few
            else ""
        )
        # Written as coarsely as the largest, a value that is not 0 can look like it, outside its narrow interval.
        narrow = (
            bool(interval)
            and start * end > 0
            and end - start < 10.0 ** -len(alike.partition(".")[2])
        )
        text = number(float(explanation.values[place, column])) if narrow else alike
        matters = bool(clear) and explanation.names[place] in (clear or ())
        yield RankedLine(int(place), name, text, start, end, interval, matters)


def headline(explanation: Explanation, column: int) -> str:
    """Return the method, its quantity and the output, for a title."""
    name = explanation.outputs[column]
    about = ", all rows" if name == "all" else f", {clean(name)}"
    about = "" if len(explanation.outputs) == 1 or _scored(explanation) else about
    units = isinstance(explanation.meta.get("methods"), Mapping)
    quantity = "a method for each input" if units else quantity_of(explanation, column)
    return f"{clean(explanation.method)}: {quantity}{about}"


def _scored(explanation: Explanation) -> bool:
    """Whether the outputs are scorers, which the quantity names."""
    return "scores" in explanation.meta


def _layers_of_maps(meta: Mapping[str, Any]) -> Iterator[str]:
    """Yield at which layer the map of each image was read, and its cells."""
    layers, shapes = meta.get("layer"), meta.get("layer_shape")
    if isinstance(layers, Mapping) and isinstance(shapes, Mapping):
        for name, layer in itertools.islice(layers.items(), _MAPS):
            cells = " × ".join(map(str, shapes[name][1:]))
            image = f" of {clean(name)}" if len(layers) > 1 else ""
            yield f"Map{image} read at layer {clean(layer)!r} ({cells} cells)"
        if len(layers) > _MAPS:
            yield f"{len(layers) - _MAPS} further maps"


def _without_label(places: Any) -> str:
    """Say how many places of y are left out."""
    if not places or not places["void"]:
        return ""
    return (
        f"{places['void']:,} of {places['of']:,} places have no label and are left out"
    )


def circumstances(explanation: Explanation) -> str:
    """Return sentences: the number of rows, the background or baseline, and the level of the intervals."""
    meta, parts = explanation.meta, []
    if refits := meta.get("refits"):
        parts.append(
            f"{refits['fits']} trainings on parts of {counted(refits['rows'], 'row')}"
        )
    rows = meta.get("rows_summarised", meta.get("rows_explained"))
    if explanation.scope == "global" and isinstance(rows, int):
        equal = meta.get("equal_rows")
        weighted = (
            f", weighted (worth {equal:,.0f} rows of equal weight)"
            if isinstance(equal, float)
            else ""
        )
        parts.append(f"{counted(rows, 'row')} explained{weighted}")
    if meta.get("summary"):
        means = {"mean_abs": "means of absolute values", "mean": "means"}
        parts.append(f"Values are {means.get(meta['summary'], 'sums')} over the rows")
    background = meta.get("background")
    if isinstance(meta.get("baseline"), str):
        parts.append(f"Baseline: {shorten(meta['baseline'], 80)}")
    elif isinstance(background, Mapping) and "rows" in background:
        kind, count = clean(background.get("kind", "rows")), clean(background["rows"])
        words = {"rows explained": "the same rows", "given": f"{count} rows"}
        parts.append(f"Background: {words.get(kind, f'{count} {kind}')}")
    parts += _layers_of_maps(meta)
    if conditional := conditional_words(explanation):
        parts.append(conditional)
    elif meta.get("sampling") == "conditional":
        parts.append("Conditional sampling")
        if unfit := meta.get("residuals_dependent"):
            parts.append(
                f"The draws do not fit {counted(len(unfit), 'feature')}: do not trust their p-values"
            )
    parts.append(part_words(meta.get("part")))
    parts.append(_without_label(meta.get("places")))
    has_intervals = explanation.low is not None and np.isfinite(explanation.low).any()
    if explanation.scope == "global" and has_intervals and not _too_few(explanation):
        parts.append(
            f"Intervals: {confidence_words(explanation)}{rough_words(explanation)}"
        )
        parts.append(units_words(explanation.meta))
    return " ".join(f"{part}." for part in parts if part)


def part_words(part: Mapping[str, Any] | None) -> str:
    """Say, without a full stop, what is explained where that is not the whole model, or nothing.

    Examples:
        >>> part_words({"paths": ["tabular"], "without": "trees", "share": 0.834})[:49]
        'The model without its trees, which have no slopes'
    """
    if part is None:
        return ""
    share = part.get("share")
    known = isinstance(share, float) and math.isfinite(share)
    size = (
        f": {percent(share)} of the variance of its outputs on these rows"
        if known
        else ""
    )
    return f"The model without its {clean(part['without'])}, which have no slopes{size}"


def rough_words(explanation: Explanation) -> str:
    """Say that intervals are rough, with few rows or where few rows carry an effect, or nothing."""
    if min(_rows(explanation), explanation.meta.get("equal_rows", math.inf)) <= ROUGH:
        return ", rough with so few rows"
    low, high = explanation.ci()
    if explanation.std_error is None:
        return ""
    widths = np.fmax(high - explanation.values, explanation.values - low)[:, 0]
    freedom = freedoms_of(
        widths,
        explanation.std_error[:, 0],
        float(explanation.meta.get("confidence", 0.95)),
    )
    carried = int((freedom < FEW_CARRY).sum())
    return (
        f", rough for {carried} of {len(explanation.names)}, whose effect few rows carry"
        if carried
        else ""
    )


def units_words(meta: Mapping[str, object]) -> str:
    """Say how many independent groups or times are behind the intervals, or nothing."""
    about = meta.get("independent")
    if not isinstance(about, Mapping):
        return ""
    count = clean(about["count"])
    if about["by"] == "row_groups":
        return f"{count} independent groups of rows are behind the intervals"
    stretch = (
        f", over {about['related_times']} times or less"
        if "related_times" in about
        else ""
    )
    return f"Intervals allow for neighbours in time that are related ({count} times{stretch})"


def clear_names(explanation: Explanation, column: int) -> list[str] | None:
    """Return the names whose effect is clearly not 0, or None without a test, as of mean sizes, always above 0."""
    tests = explanation.p_values
    if (
        tests is None
        or not np.isfinite(tests[:, column]).any()
        or explanation.meta.get("methods")
    ):
        return None
    if _units(explanation) < FEWEST_UNITS:  # what is exactly 0 has a p-value
        return None
    return (
        None
        if explanation.meta.get("summary") == "mean_abs"
        else clearly_matter(explanation, column)
    )


def players_words(explanation: Explanation) -> str:
    """Count the features, or the inputs where each input is one, or the interactions where these are alone."""
    if (explanation.order > 1).all():
        return counted(
            len(explanation.names),
            "pair" if explanation.order.max() == 2 else "interaction",
        )
    return counted(
        len(explanation.names),
        "input" if explanation.level == "modality" else "feature",
    )


def clearly_words(explanation: Explanation, count: int) -> str:
    """Say of how many features the effect is clearly not 0, as ``claims`` allows."""
    claim, players = claim_of(explanation), players_words(explanation)
    if (explanation.order > 1).all():
        return claim.counted_pairs(count, players)
    return claim.counted(count, players)


def _measured(explanation: Explanation, column: int) -> str:
    """Return a sentence: the quantity that the method measures."""
    if isinstance(explanation.meta.get("methods"), Mapping):
        return "A different method explains each input."
    name = explanation.outputs[column]
    what = (
        "class " if explanation.meta.get("task") == "classification" else "output "
    ) * name.isdecimal()
    lone = len(explanation.outputs) == 1 and "scale" not in explanation.meta
    none = lone or name == "all" or _scored(explanation)
    output = "" if none else f" for {what}{clean(name)}"
    measured = quantity_of(explanation, column).replace(
        "loss (nats)", "loss (nats of cross-entropy)"
    )
    return f"{clean(explanation.method)} measures the {measured}{output}."


def missing_summary(result: Missing, measure: str, top_n: int) -> str:
    """Return the loss, or a score, of subsets of modalities as lines of text, the best first."""
    values, _, low, high = result.measures[measure]
    unit = (
        f" ({unit_name(result.meta)})"
        if measure == "loss" and "unit" in result.meta
        else ""
    )
    lines = [f"The {clean(measure)}{unit} with only some modalities present."]
    if held := result.meta.get("held"):
        lines.append(f"Always present: {', '.join(map(clean, held))}.")
    if isinstance(result.meta.get("rows"), int):
        lines.append(
            f"{counted(result.meta['rows'], 'row')}. Intervals: {confidence_words(result)}."
        )
    order = largest(values if measure != "loss" else -values, top_n)
    names = labels_of([result.names[place] for place in order], 40)
    for name, text, place in zip(names, numbers(values[order]), order, strict=True):
        ends = (float(low[place]), float(high[place]))
        interval = (
            f"  ({number(ends[0])} to {number(ends[1])})"
            if math.isfinite(sum(ends))
            else ""
        )
        lines.append(f"  {name:{max(map(len, names))}}  {text}{interval}")
    if len(order) < len(values):
        lines.append(f"  and {len(values) - len(order)} more")
    return "\n".join(lines).replace("\u00a0", " ")


def counterfactuals_summary(result: Counterfactuals, row: str = "the row") -> str:
    """Return what would have to differ in a row as lines of text, a block for each result."""
    goal, found, notes = counterfactuals_words(result, row)
    lines = [goal]
    for place, (changes, about) in enumerate(found, 1):
        first, *others = [*changes, *about]
        lines += [f"{place:3}. {first}", *(f"     {line}" for line in others)]
    return "\n".join([*lines, *notes]).replace("\u00a0", " ")


def counterfactuals_words(
    result: Counterfactuals, row: str
) -> tuple[str, list[tuple[list[str], list[str]]], list[str]]:
    """Return what is wanted, the changes of each result with sentences on it, and notes on all."""
    measures, meta = result.measures, result.meta
    limited, found = "with a probability of" in meta["words"], []
    for place, changed in enumerate(result.changed):
        changes = [
            f"{clean(name)} {value_text(cells.iloc[0])} → {value_text(cells.iloc[place + 1])}"
            for name, cells in result.cells.loc[:, changed].items()
        ]
        chance = f"{'the ' * limited}probability {'asked for is ' * limited}"
        share = (
            f" ({chance}{number(measures['probability'][place])})"
            if "probability" in measures
            else ""
        )
        about = [
            f"Then the model predicts {value_text(measures['prediction'][place])}{share}."
        ]
        distance, to_data = (
            number(measures[name][place]) for name in ("distance", "to_data")
        )
        if np.isfinite(measures["to_data"][place]):
            usual = percent(measures["plausibility"][place])
            about.append(
                f"Distance from the row: {distance}. The nearest row with that outcome is {to_data} away, and {usual} "
                "of such rows are at least as far from theirs."
            )
        found.append((changes, about))
    notes = [clean(meta["reason"])] if "reason" in meta else []
    notes.append(
        f"{meta['outcome_rows']:,} of the {meta['rows']:,} nearest rows have such an outcome."
    )
    if found:
        notes.append(
            "Distances add up over columns: numbers in median absolute deviations, other cells as 1."
        )
    return (
        f"The model predicts {value_text(meta['prediction'])} for {row}. To {clean(meta['words'])}:",
        found,
        notes,
    )


def changes_summary(result: Changes) -> str:
    """Return what changed between two samples as lines of text: columns first, then the loss or the outputs."""
    kinds = {
        str(kind): some.to_dict("records")
        for kind, some in result.lines.groupby("kind", sort=False)
    }
    importance, lines = kinds.pop("importance", []), []
    if "drift" in result.meta:
        lines.append(moved_words(result.meta["drift"]))
    if kinds:
        old, new = result.meta["rows"]
        both = (
            f"{old:,} rows, the same for both"
            if result.meta["same_rows"]
            else f"{old:,} old and {new:,} new rows"
        )
        lines += [
            changes_words(result),
            f"{both}. Intervals: {confidence_words(result)}.",
        ]
    clear = _clear(importance)
    of_features = f"Importance: {len(clear)} of {counted(len(importance), 'feature')} changed clearly"
    titles = {
        "score": "Scores",
        "output": "Means of outputs",
        "importance": of_features,
    }
    shown: dict[str, Sequence[Mapping[Any, Any]]] = {
        **kinds,
        **({"importance": clear} if importance else {}),
    }
    for kind, some in shown.items():
        lines.append(f"{titles[kind]}{':' if some else '.'}")
        names = labels_of([line["name"] for line in some], 40)
        for name, line in zip(names, some, strict=True):
            lines.append(
                f"  {name:{max(map(len, names))}}  {_change(line)}, p {p_text(line['p_holm'])}"
            )
    return "\n".join(line for line in lines if line).replace("\u00a0", " ")


def changes_words(result: Changes) -> str:
    """Return a sentence: how the loss changed, or, without targets, how the outputs did."""
    lines = result.lines.to_dict("records")
    if outputs := [line for line in lines if line["kind"] == "output"]:
        return outputs_words(outputs)
    loss = next(line for line in lines if line["kind"] == "score")
    moved = loss["p_holm"] < LEVEL
    sign = -1.0 if moved and loss["change"] < 0 else 1.0
    if loss["ci_low"] == loss["ci_high"] == 0:
        return f"The loss ({unit_name(result.meta)}) is the same in every row."
    verb = ("fell" if sign < 0 else "rose") if moved else "changed"
    where = " on the same rows" * result.meta["same_rows"]
    unit = unit_name(result.meta)
    return f"The loss ({unit}) {verb} by {_change(loss, sign)}{where}{'' if moved else ', which may be chance'}."


def outputs_words(lines: Sequence[Mapping[Any, Any]]) -> str:
    """Say how the means of outputs changed: those that changed clearly, the largest change first."""
    some = _clear(lines)[:_NAMED]
    moved = bool(some)
    words = []
    for line in some or lines[:1]:
        sign = -1.0 if moved and line["change"] < 0 else 1.0
        verb = "changed"
        if moved:
            verb = "fell" if sign < 0 else "rose"
        words.append(f"{clean(line['name'])} {verb} by {_change(line, sign)}")
    others = len(_clear(lines)) - len(some)
    more = f", and {counted(others, 'more output')} changed clearly" * bool(others)
    if moved:
        return f"On average, {listed(words)}{more}."
    if len(lines) > 1:
        return "No output changed clearly on average."
    return f"On average, {words[0]}, which may be chance."


def _clear(lines: Sequence[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """Return the lines of clear changes, the largest first."""
    return sorted(
        (line for line in lines if line["p_holm"] < LEVEL),
        key=lambda line: -abs(line["change"]),
    )


def _change(line: Mapping[Any, Any], sign: float = 1.0) -> str:
    """Write a change with its interval, or, with sign −1, a fall as a positive number."""
    low, high = sorted(sign * line[end] for end in ("ci_low", "ci_high"))
    return f"{number(sign * line['change'])} ({number(low)} to {number(high)})"
