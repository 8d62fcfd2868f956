"""An explanation in words: its headline, its circumstances, its ranked features, and a
summary of them as text.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.assess.assessment import are_paths, titles_of
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.orders import sizes_of
from permgrad.attribution.explanation.ranks import freedoms_of
from permgrad.attribution.explanation.statistics import FEWEST_UNITS
from permgrad.attribution.subject.scales import (
    LOG_ODDS,
    is_probability,
    words_of_unit,
)
from permgrad.base.errors import counted
from permgrad.base.numerals import number, numbers, percent
from permgrad.base.sequences import values_at
from permgrad.base.significance import LEVEL
from permgrad.data.tasks import REGRESSION, task_of
from permgrad.models.branches import title_of
from permgrad.models.losses import named_loss
from permgrad.pages.choices import as_global, largest, pick_output
from permgrad.pages.claims import claim_of
from permgrad.pages.moved import moved_words
from permgrad.pages.words import (
    FEWEST_ROWS,
    clean,
    conditional_words,
    confidence_words,
    in_unit,
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
    """A feature of a list: its position, name, importance as text, interval (NaN:
    none), and whether it matters.
    """

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
    return "\n".join(
        summary_line for summary_line, _ in told(explanation, target, top_n)
    )


def told(explanation: Explanation, target: str | int | None, top_n: int) -> list[Told]:
    """Return the lines of a summary, each with its facts.

    Pairs have a list of their own behind that of features.
    """
    if len(orders := np.unique(explanation.order)) > 1 and orders[0] == 1:
        heading: Told = ("Only together:", {"kind": "title"})
        pairs = []
        for order in orders[1:]:
            pairs.extend(told(of_order(explanation, int(order)), target, top_n))
        of_pairs = [
            pair_line
            for pair_line in pairs
            if pair_line[1]["kind"] in ("clear", "feature", "more")
        ]
        return [*told(of_order(explanation, 1), target, top_n), heading, *of_pairs]
    local = explanation.scope.by_row
    column = pick_output(explanation, target)
    shown = as_global(explanation)
    clear = clear_names(shown, column)
    is_single_row = local and len(explanation.values) == 1
    line_words: dict[str, str] = {} if is_single_row else {"no skill": no_better(shown)}
    line_words |= {
        "quantity": _measured(explanation, column),
        "scale": words_of_unit(explanation.meta).strip(),
        "rows": circumstances(explanation if is_single_row else shown),
        "trained by": _trained_by(explanation.meta),
    }
    if is_single_row:
        line_words["class"] = shown_class(explanation, column)
    else:
        line_words["few rows"] = _of_few_rows(shown)
        if clear is not None:
            line_words["clear"] = _clearly(shown, len(clear))
    lines = _opening(explanation, line_words, column)
    lines += _listed(
        explanation, shown, column, clear, top_n, is_single_row=is_single_row
    )
    if not is_single_row:
        lines += _closing(explanation, shown, column, top_n)
    return [
        (summary_line.rstrip().replace("\u00a0", " "), facts)
        for summary_line, facts in lines
        if summary_line
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
    local = explanation.scope.by_row
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
    is_single_row: bool,
) -> Iterator[Told]:
    """Yield the largest features of each list, below its title."""
    values = np.asarray(
        explanation.values[0, :, column] if is_single_row else sizes_of(shown, column),
        dtype=np.float64,
    )
    for title, player_indices in lists_of(shown):
        order = player_indices[
            largest(
                np.abs(values[player_indices])
                if is_single_row
                else values[player_indices],
                top_n,
            )
        ]
        yield f"{title}:" if title else "Largest:", {"kind": "title"}
        yield from (
            _moved(explanation, column, values, order)
            if is_single_row
            else _ranked(explanation, shown, column, order, clear)
        )
        if len(order) < len(player_indices):
            yield f"  and {len(player_indices) - len(order)} more", {"kind": "more"}


def _ranked(
    explanation: Explanation,
    shown: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[Told]:
    """Yield features over all rows, ``shown``: of local explanations by mean size,
    which the signed mean follows.
    """
    several = explanation.scope.by_row and shown.meta.get("summary") == "mean_abs"
    means = (
        explanation.to_global("mean").values[:, column]
        if several
        else shown.values[:, column]
    )
    ranked = list(ranked_lines(shown, column, order, clear))
    width = max((len(ranked_line.name) for ranked_line in ranked), default=0)
    tests = (
        np.full(shown.values.shape, np.nan)
        if shown.p_values is None
        else shown.p_values
    )
    for feature_line in ranked:
        signed_mean = float(means[feature_line.place])
        untested = bool(np.isnan(tests[feature_line.place, column]))
        interval = f"  ({feature_line.interval})" if feature_line.interval else ""
        unlike = "different from" if shown.order[feature_line.place] > 1 else "above"
        corrected = " after correction" * (feature_line.low > 0)
        doubt = (
            ""
            if clear is None or feature_line.clear or untested
            else f"  not clearly {unlike} 0{corrected}"
        )
        signed = (
            f"  signed mean {number(signed_mean)}"
            if several and signed_mean != shown.values[feature_line.place, column]
            else ""
        )
        facts = {
            "kind": "feature",
            "feature": shown.names[feature_line.place],
            "importance": shown.values[feature_line.place, column],
        }
        facts |= {"mean": signed_mean} if several else {}
        words = (
            f"  {feature_line.name:{width}}  "
            f"{feature_line.text}{interval}{doubt}{signed}"
        )
        yield words, {**facts, "ci_low": feature_line.low, "ci_high": feature_line.high}


def _moved(
    explanation: Explanation,
    column: int,
    values: npt.NDArray[np.float64],
    order: npt.NDArray[np.intp],
) -> Iterator[Told]:
    """Yield how far features moved the output of one row."""
    short_name = names_apart(explanation.names)
    frame = explanation.feature_values
    moves = str(explanation.meta.get("quantity")).startswith("output minus")
    share = moves and is_probability(explanation.meta)
    moved_words = "the output"
    if share or (moves and explanation.meta.get("unit") == LOG_ODDS):
        unit_words = explanation.meta["unit"]
        moved_words = f"the {unit_words} of {shorten(explanation.outputs[column], 40)}"
    points = " points" * share
    sizes = np.abs(values[order]) * (100 if share else 1)
    for player_index, size_text in zip(order.tolist(), numbers(sizes), strict=True):
        feature_name = explanation.names[player_index]
        label = short_name(feature_name)
        if frame is not None and feature_name in frame.columns:
            label += f" = {value_text(frame[feature_name].iloc[0])}"
        if values[player_index]:
            verb_form = ("raises", "lowers")[int(values[player_index] < 0)]
        else:
            verb_form = "does not change"
        if values[player_index]:
            amount_words = f" by {size_text}{points}"
        else:
            amount_words = ""
        sign_text = "−" * int(values[player_index] < 0)
        if moves:
            line_text = f"  {label} {verb_form} {moved_words}{amount_words}"
        else:
            line_text = f"  {label}  {sign_text}{size_text}"
        yield (
            line_text,
            {
                "kind": "feature",
                "feature": feature_name,
                "importance": values[player_index],
            },
        )


def no_better(explanation: Explanation) -> str:
    """Say that the model is no better than a constant, where both losses are known, or
    nothing.
    """
    losses = []
    for loss_key in ("model_loss", "loss_scale"):
        losses.append(explanation.meta.get(loss_key))
    model_loss, constant = (
        math.nan if value is None else float(value) for value in losses
    )
    # The constant is the best for these very rows: with few of them it is better than
    # any model.
    if not model_loss >= constant or _rows(explanation) < FEWEST_ROWS:
        return ""
    if explanation.meta.get("unit"):
        unit_words = f" ({unit_name(explanation.meta)})"
    else:
        unit_words = ""
    return (
        "The model is no better than a constant on these rows: its loss is "
        f"{number(model_loss)}, that of the best constant "
        f"{number(constant)}{unit_words}."
    )


def _rows(explanation: Explanation) -> float:
    """Return the number of rows that a global explanation is over, infinite if it is
    not known.
    """
    row_count = explanation.meta.get(
        "rows_summarised", explanation.meta.get("rows_explained")
    )
    if isinstance(row_count, int):
        return row_count
    return math.inf


def _trained_by(meta: Mapping[str, Any]) -> str:
    """Say that the model was trained by another loss than the one measured."""
    loss = named_loss(meta.get("loss"))
    if not meta.get("trained_by") or loss is None or not loss.of_variance:
        return ""
    return (
        f"The model was trained by another loss ({meta['trained_by']}) than the "
        f"{loss.label}, which is measured here. Pass loss= a function (outputs, y) -> "
        "(rows,) to measure another."
    )


def _units(explanation: Explanation) -> float:
    """Return the number of rows, or of groups or times where rows depend on each other,
    infinite if it is not known.
    """
    about = explanation.meta.get("independent")
    if isinstance(about, Mapping):
        return about["count"]
    return _rows(explanation)


def _too_few(explanation: Explanation) -> bool:
    """Whether the rows are too few for intervals: under four, or few rows explained
    singly.
    """
    has_few_rows = explanation.meta.get("rows_summarised", FEWEST_ROWS) < FEWEST_ROWS
    return has_few_rows or _units(explanation) < FEWEST_UNITS


def _of_few_rows(explanation: Explanation) -> str:
    """Say what fewer than four rows or groups cannot tell, or nothing."""
    count = _units(explanation)
    about = explanation.meta.get("independent")
    if (
        count >= FEWEST_UNITS
        or explanation.scope.by_row
        or explanation.std_error is None
    ):
        return ""
    if about is None:
        unit_kind = "rows"
    else:
        unit_kind = {"row_groups": "groups of rows", "row_time": "times"}[about["by"]]
    start, pronoun = (
        ("A single row has", "it")
        if unit_kind == "rows" and count == 1
        else (f"Fewer than 4 {unit_kind} have", "them")
    )
    unit_kind = claim_of(explanation).one
    return (
        f"{start} no intervals: what {unit_kind} in other rows, and its order, "
        f"cannot be told from {pronoun}."
    )


def shares_words(explanation: Explanation) -> str:
    """Say how much of the total each modality or path has, or nothing."""
    entries = (explanation.branches or {}).items()
    shares = {}
    for branch_name, entry in entries:
        if isinstance(entry, Mapping) and "share" in entry:
            shares[branch_name] = entry.get("share")
    if not shares or None in shares.values():
        return ""
    whose = "branches" if are_paths(shares) else "inputs"
    titles = titles_of(shares)
    branch_shares = []
    for branch, share in shares.items():
        branch_shares.append(f"{clean(titles[branch])} {percent(share)}")
    return f"Shares of the {whose}: {', '.join(branch_shares)}."


def shown_class(explanation: Explanation, column: int) -> str:
    """Say why one of two classes is shown, where its frequency in y decided."""
    positive = explanation.meta.get("positive")
    if (
        explanation.meta.get("positive_by") != "y"
        or explanation.outputs[column] != positive
    ):
        return ""
    return (
        f"{clean(positive)} is shown because it is the rarer class in y. Pass "
        "target= for the other one."
    )


def order_sentence(explanation: Explanation, column: int, most: int) -> str:
    """Return a sentence: how certain the order is."""
    if _units(explanation) < FEWEST_UNITS:
        ranks = None
    else:
        ranks = shown_ranks(explanation, column)
    if ranks is None:
        return ""
    words = order_words(ranks, most)
    if words:
        return f"Order at {confidence_words(explanation)} confidence: {words}."
    return "The order is not certain."


def lists_of(explanation: Explanation) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """Return titles and players of the lists of bars: one for each modality if methods,
    and thus units, differ.
    """
    methods = explanation.meta.get("methods")
    if not isinstance(methods, Mapping):
        return [("", np.arange(len(explanation.names)))]
    modality = np.asarray(explanation.modality, dtype=object)
    units = explanation.meta.get("units") or {}
    names = dict.fromkeys(explanation.modality)
    words = {}
    for modality_name in names:
        words[modality_name] = ", ".join(
            clean(words_by_input[modality_name])
            for words_by_input in (methods, units)
            if modality_name in words_by_input
        )
    return [
        (
            f"{clean(modality_name)} ({words[modality_name]})",
            np.flatnonzero(modality == modality_name),
        )
        for modality_name in names
    ]


def ranked_lines(
    explanation: Explanation,
    column: int,
    order: npt.NDArray[np.intp],
    clear: Sequence[str] | None,
) -> Iterator[RankedLine]:
    """Yield the features at some positions, in their order."""
    lower_ends, upper_ends = (
        interval_ends[:, column] for interval_ends in explanation.ci()
    )
    names = labels_of(values_at(explanation.names, order), 40)
    has_few_rows = _too_few(explanation)
    for player_name, alike, ranked_player in zip(
        names, numbers(explanation.values[order, column]), order, strict=True
    ):
        start = float(lower_ends[ranked_player])
        end_value = float(upper_ends[ranked_player])
        if math.isfinite(start + end_value) and not has_few_rows:
            interval = f"{number(start)} to {number(end_value)}"
        else:
            interval = ""
        # Written as coarsely as the largest, a value that is not 0 can look like it,
        # outside its narrow interval.
        narrow = (
            bool(interval)
            and start * end_value > 0
            and end_value - start < 10.0 ** -len(alike.partition(".")[2])
        )
        if narrow:
            value_words = number(float(explanation.values[ranked_player, column]))
        else:
            value_words = alike
        matters = bool(clear) and explanation.names[ranked_player] in (clear or ())
        yield RankedLine(
            int(ranked_player),
            player_name,
            value_words,
            start,
            end_value,
            interval,
            matters,
        )


def headline(explanation: Explanation, column: int) -> str:
    """Return the method, its quantity and the output, for a title."""
    output_name = explanation.outputs[column]
    if output_name == "all":
        about = ", all rows"
    else:
        about = f", {clean(output_name)}"
    if len(explanation.outputs) == 1 or _scored(explanation):
        about = ""
    units = isinstance(explanation.meta.get("methods"), Mapping)
    if units:
        quantity = "a method for each input"
    else:
        quantity = quantity_of(explanation, column)
    return f"{clean(explanation.method)}: {quantity}{about}"


def _scored(explanation: Explanation) -> bool:
    """Whether the outputs are scorers, which the quantity names."""
    return "scores" in explanation.meta


def _layers_of_maps(meta: Mapping[str, Any]) -> Iterator[str]:
    """Yield at which layer the map of each image was read, and its cells."""
    layers = meta.get("layer")
    shapes = meta.get("layer_shape")
    if isinstance(layers, Mapping) and isinstance(shapes, Mapping):
        for input_name, layer in itertools.islice(layers.items(), _MAPS):
            cells = " × ".join(map(str, shapes[input_name][1:]))
            if len(layers) > 1:
                image = f" of {clean(input_name)}"
            else:
                image = ""
            yield f"Map{image} read at layer {clean(layer)!r} ({cells} cells)"
        if len(layers) > _MAPS:
            yield f"{len(layers) - _MAPS} further maps"


def _without_label(label_counts: Any) -> str:
    """Say how many places of y are left out."""
    if not label_counts or not label_counts["void"]:
        return ""
    return (
        f"{label_counts['void']:,} of {label_counts['of']:,} places have no label "
        "and are left out"
    )


def circumstances(explanation: Explanation) -> str:
    """Return sentences: the number of rows, the background or baseline, and the level
    of the intervals.
    """
    call_facts = explanation.meta
    sentences = []
    if refits := call_facts.get("refits"):
        sentences.append(
            f"{refits['fits']} trainings on parts of {counted(refits['rows'], 'row')}"
        )
    row_count = call_facts.get("rows_summarised", call_facts.get("rows_explained"))
    if not explanation.scope.by_row and isinstance(row_count, int):
        equal = call_facts.get("equal_rows")
        weighted = (
            f", weighted (worth {equal:,.0f} rows of equal weight)"
            if isinstance(equal, float)
            else ""
        )
        sentences.append(f"{counted(row_count, 'row')} explained{weighted}")
    if call_facts.get("summary"):
        means = {"mean_abs": "means of absolute values", "mean": "means"}
        sentences.append(
            f"Values are {means.get(call_facts['summary'], 'sums')} over the rows"
        )
    background = call_facts.get("background")
    if isinstance(call_facts.get("baseline"), str):
        sentences.append(f"Baseline: {shorten(call_facts['baseline'], 80)}")
    elif isinstance(background, Mapping) and "rows" in background:
        row_kind = clean(background.get("kind", "rows"))
        count = clean(background["rows"])
        words = {"rows explained": "the same rows", "given": f"{count} rows"}
        sentences.append(f"Background: {words.get(row_kind, f'{count} {row_kind}')}")
    sentences += _layers_of_maps(call_facts)
    if conditional := conditional_words(explanation):
        sentences.append(conditional)
    elif call_facts.get("sampling") == "conditional":
        sentences.append("Conditional sampling")
        if unfit := call_facts.get("residuals_dependent"):
            sentences.append(
                f"The draws do not fit {counted(len(unfit), 'feature')}: do not trust "
                "their p-values"
            )
    sentences.append(part_words(call_facts.get("part")))
    sentences.append(_without_label(call_facts.get("places")))
    has_intervals = explanation.low is not None and np.isfinite(explanation.low).any()
    if not explanation.scope.by_row and has_intervals and not _too_few(explanation):
        sentences.append(
            f"Intervals: {confidence_words(explanation)}{rough_words(explanation)}"
        )
        sentences.append(units_words(explanation.meta))
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def part_words(part_facts: Mapping[str, Any] | None) -> str:
    """Say, without a full stop, what is explained where that is not the whole model, or
    nothing.

    Examples:
        >>> part_words({"paths": ["tabular"], "without": "trees", "share": 0.834})[:49]
        'The model without its tree branch, which has no s'
    """
    if part_facts is None:
        return ""
    share = part_facts.get("share")
    is_known = isinstance(share, float) and math.isfinite(share)
    if is_known:
        share_note = f": {percent(share)} of the variance of its outputs on these rows"
    else:
        share_note = ""
    titles = []
    for branch_name in part_facts["without"].split(", "):
        titles.append(clean(title_of(branch_name)))
    if len(titles) == 1:
        verb = "has"
    else:
        verb = "have"
    return f"The model without its {listed(titles)}, which {verb} no slopes{share_note}"


def rough_words(explanation: Explanation) -> str:
    """Say that intervals are rough, with few rows or where few rows carry an effect, or
    nothing.
    """
    if min(_rows(explanation), explanation.meta.get("equal_rows", math.inf)) <= ROUGH:
        return ", inexact with so few rows"
    lower_ends, upper_ends = explanation.ci()
    if explanation.std_error is None:
        return ""
    widths = np.fmax(upper_ends - explanation.values, explanation.values - lower_ends)[
        :, 0
    ]
    freedom = freedoms_of(
        widths,
        explanation.std_error[:, 0],
        float(explanation.meta.get("confidence", 0.95)),
    )
    carried = int((freedom < FEW_CARRY).sum())
    if carried:
        return (
            f", inexact for {carried} of {len(explanation.names)}, whose effect few "
            "rows carry"
        )
    return ""


def units_words(meta: Mapping[str, object]) -> str:
    """Say how many independent groups or times are behind the intervals, or nothing."""
    about = meta.get("independent")
    if not isinstance(about, Mapping):
        return ""
    count = clean(about["count"])
    if about["by"] == "row_groups":
        return f"{count} independent groups of rows are behind the intervals"
    if "related_times" in about:
        stretch = f", over {about['related_times']} times or less"
    else:
        stretch = ""
    return (
        f"Intervals allow for neighbours in time that are related ({count} "
        f"times{stretch})"
    )


def clear_names(explanation: Explanation, column: int) -> list[str] | None:
    """Return the names whose effect is clearly not 0, or None without a test, as of
    mean sizes, always above 0.
    """
    tests = explanation.p_values
    if (
        tests is None
        or not np.isfinite(tests[:, column]).any()
        or explanation.meta.get("methods")
    ):
        return None
    if _units(explanation) < FEWEST_UNITS:  # what is exactly 0 has a p-value
        return None
    if explanation.meta.get("summary") == "mean_abs":
        return None
    return clearly_matter(explanation, column)


def players_words(explanation: Explanation) -> str:
    """Count the features, or the inputs where each input is one, or the interactions
    where these are alone.
    """
    if (explanation.order > 1).all():
        return counted(
            len(explanation.names),
            "pair" if explanation.order.max() == 2 else "interaction",
        )
    return counted(
        len(explanation.names),
        explanation.level.word,
    )


def clearly_words(explanation: Explanation, count: int) -> str:
    """Say of how many features the effect is clearly not 0, as ``claims`` allows."""
    claim = claim_of(explanation)
    players = players_words(explanation)
    if (explanation.order > 1).all():
        return claim.counted_pairs(count, players)
    return claim.counted(count, players)


def _measured(explanation: Explanation, column: int) -> str:
    """Return a sentence: the quantity that the method measures."""
    if isinstance(explanation.meta.get("methods"), Mapping):
        return "A different method explains each input."
    output_name = explanation.outputs[column]
    task = task_of(explanation.meta)
    output_kind = ""
    if output_name.isdecimal():
        output_kind = f"{(task or REGRESSION).output} "
    is_single_output = len(explanation.outputs) == 1 and "scale" not in explanation.meta
    has_no_output = is_single_output or output_name == "all" or _scored(explanation)
    if has_no_output:
        output = ""
    else:
        output = f" for {output_kind}{clean(output_name)}"
    measured = quantity_of(explanation, column)
    loss = named_loss(explanation.meta.get("loss"))
    if loss is not None and loss.label.endswith("loss"):
        measured = measured.replace(f"loss ({loss.unit})", loss.label)
    return f"{clean(explanation.method)} measures the {measured}{output}."


def missing_summary(result: Missing, measure: str, top_n: int) -> str:
    """Return the loss, or a score, of subsets of modalities as lines of text, the best
    first.
    """
    values, _, lower_ends, upper_ends = result.measures[measure]
    measured = clean(measure)
    if measure == "loss":
        measured = in_unit(measured, unit_name(result.meta))
    lines = [f"The {measured} with only some modalities present."]
    if held_modalities := result.meta.get("held"):
        lines.append(f"Always present: {', '.join(map(clean, held_modalities))}.")
    if isinstance(result.meta.get("rows"), int):
        lines.append(
            f"{counted(result.meta['rows'], 'row')}. Intervals: "
            f"{confidence_words(result)}."
        )
    order = largest(values if measure != "loss" else -values, top_n)
    names = labels_of(values_at(result.names, order), 40)
    for subset_name, value_words, ordered_index in zip(
        names, numbers(values[order]), order, strict=True
    ):
        interval_ends = (
            float(lower_ends[ordered_index]),
            float(upper_ends[ordered_index]),
        )
        if math.isfinite(sum(interval_ends)):
            interval = f"  ({number(interval_ends[0])} to {number(interval_ends[1])})"
        else:
            interval = ""
        lines.append(f"  {subset_name:{max(map(len, names))}}  {value_words}{interval}")
    if len(order) < len(values):
        lines.append(f"  and {len(values) - len(order)} more")
    return "\n".join(lines).replace("\u00a0", " ")


def counterfactuals_summary(result: Counterfactuals, row: str = "the row") -> str:
    """Return what would have to differ in a row as lines of text, a block for each
    result.
    """
    goal_words, described_results, notes = counterfactuals_words(result, row)
    lines = [goal_words]
    for result_number, (changes, about) in enumerate(described_results, 1):
        first, *other_lines = [*changes, *about]
        lines += [
            f"{result_number:3}. {first}",
            *(f"     {result_line}" for result_line in other_lines),
        ]
    return "\n".join([*lines, *notes]).replace("\u00a0", " ")


class CounterfactualWords(NamedTuple):
    """Counterfactuals in words.

    Attributes:
        goal: What is wanted.
        results: The changes of each result, with sentences on it.
        notes: Notes on all.
    """

    goal: str
    results: list[tuple[list[str], list[str]]]
    notes: list[str]


def counterfactuals_words(result: Counterfactuals, row: str) -> CounterfactualWords:
    """Return what is wanted, the changes of each result with sentences on it, and notes
    on all.
    """
    measures = result.measures
    call_facts = result.meta
    limited = "with a probability of" in call_facts["words"]
    described_results = []
    for result_index, changed in enumerate(result.changed):
        changes = []
        for column_name, cells in result.cells.loc[:, changed].items():
            changes.append(
                f"{clean(column_name)} {value_text(cells.iloc[0])} → "
                f"{value_text(cells.iloc[result_index + 1])}"
            )
        chance = f"{'the ' * limited}probability {'asked for is ' * limited}"
        if "probability" in measures:
            share = f" ({chance}{number(measures['probability'][result_index])})"
        else:
            share = ""
        about = [
            (
                "Then the model predicts "
                f"{value_text(measures['prediction'][result_index])}{share}."
            )
        ]
        distance = number(measures["distance"][result_index])
        to_data = number(measures["to_data"][result_index])
        if np.isfinite(measures["to_data"][result_index]):
            usual = percent(measures["plausibility"][result_index])
            about.append(
                f"Distance from the row: {distance}. The nearest row with that outcome "
                f"is {to_data} away, and {usual} "
                "of such rows are at least as far from theirs."
            )
        described_results.append((changes, about))
    if "reason" in call_facts:
        notes = [clean(call_facts["reason"])]
    else:
        notes = []
    notes.append(
        f"{call_facts['outcome_rows']:,} of the {call_facts['rows']:,} nearest rows "
        "have such an outcome."
    )
    if described_results:
        notes.append(
            "Distances add up over columns: numbers in median absolute deviations, "
            "other cells as 1."
        )
    return CounterfactualWords(
        (
            f"The model predicts {value_text(call_facts['prediction'])} for {row}. To "
            f"{clean(call_facts['words'])}:"
        ),
        described_results,
        notes,
    )


def changes_summary(result: Changes) -> str:
    """Return what changed between two samples as lines of text: columns first, then the
    loss or the outputs.
    """
    kinds = {}
    for line_kind, lines_of_kind in result.lines.groupby("kind", sort=False):
        kinds[str(line_kind)] = lines_of_kind.to_dict("records")
    importance = kinds.pop("importance", [])
    lines = []
    if "drift" in result.meta:
        lines.append(moved_words(result.meta["drift"]))
    if kinds:
        old_rows, new_rows = result.meta["rows"]
        if result.meta["same_rows"]:
            row_words = f"{old_rows:,} rows, the same for both"
        else:
            row_words = f"{old_rows:,} old and {new_rows:,} new rows"
        lines += [
            changes_words(result),
            f"{row_words}. Intervals: {confidence_words(result)}.",
        ]
    clear = _clear(importance)
    of_features = (
        f"Importance: {len(clear)} of {counted(len(importance), 'feature')} "
        "changed clearly"
    )
    titles = {
        "score": "Scores",
        "output": "Means of outputs",
        "importance": of_features,
    }
    shown: dict[str, Sequence[Mapping[Any, Any]]] = {
        **kinds,
        **({"importance": clear} if importance else {}),
    }
    for shown_kind, shown_lines in shown.items():
        lines.append(f"{titles[shown_kind]}{':' if shown_lines else '.'}")
        names = labels_of([change_line["name"] for change_line in shown_lines], 40)
        for line_name, shown_line in zip(names, shown_lines, strict=True):
            lines.append(
                f"  {line_name:{max(map(len, names))}}  {_change(shown_line)}, p "
                f"{p_text(shown_line['p_holm'])}"
            )
    return "\n".join(summary_line for summary_line in lines if summary_line).replace(
        "\u00a0", " "
    )


def changes_words(result: Changes) -> str:
    """Return a sentence: how the loss changed, or, without targets, how the outputs
    did.
    """
    lines = result.lines.to_dict("records")
    if outputs := [line for line in lines if line["kind"] == "output"]:
        return outputs_words(outputs)
    loss = next(line for line in lines if line["kind"] == "score")
    moved = loss["p_holm"] < LEVEL
    if moved and loss["change"] < 0:
        change_sign = -1.0
    else:
        change_sign = 1.0
    measured = in_unit("loss", unit_name(result.meta))
    if loss["ci_low"] == loss["ci_high"] == 0:
        return f"The {measured} is the same in every row."
    if moved:
        if change_sign < 0:
            verb = "fell"
        else:
            verb = "rose"
    else:
        verb = "changed"
    where = " on the same rows" * result.meta["same_rows"]
    if moved:
        doubt = ""
    else:
        doubt = ", which may be chance"
    return f"The {measured} {verb} by {_change(loss, change_sign)}{where}{doubt}."


def outputs_words(lines: Sequence[Mapping[Any, Any]]) -> str:
    """Say how the means of outputs changed: those that changed clearly, the largest
    change first.
    """
    clear_lines = _clear(lines)[:_NAMED]
    moved = bool(clear_lines)
    words = []
    for line in clear_lines or lines[:1]:
        if moved and line["change"] < 0:
            sign = -1.0
        else:
            sign = 1.0
        verb = "changed"
        if moved:
            if sign < 0:
                verb = "fell"
            else:
                verb = "rose"
        words.append(f"{clean(line['name'])} {verb} by {_change(line, sign)}")
    further_count = len(_clear(lines)) - len(clear_lines)
    more = f", and {counted(further_count, 'more output')} changed clearly" * bool(
        further_count
    )
    if moved:
        return f"On average, {listed(words)}{more}."
    if len(lines) > 1:
        return "No output changed clearly on average."
    return f"On average, {words[0]}, which may be chance."


def _clear(lines: Sequence[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """Return the lines of clear changes, the largest first."""
    return sorted(
        (change_line for change_line in lines if change_line["p_holm"] < LEVEL),
        key=lambda line: -abs(line["change"]),
    )


def _change(line: Mapping[Any, Any], sign: float = 1.0) -> str:
    """Write a change with its interval, or, with sign −1, a fall as a positive
    number.
    """
    lower_end, upper_end = sorted(
        sign * line[end_name] for end_name in ("ci_low", "ci_high")
    )
    return (
        f"{number(sign * line['change'])} ({number(lower_end)} to {number(upper_end)})"
    )
