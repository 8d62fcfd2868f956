"""Features as the page's scripts read them: the list with its intervals, and a card for each of the strongest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.numerals import number, percent
from permgrad.data.read.dates import date_text
from permgrad.pages.page_data import packed
from permgrad.pages.ranks import RANKS, rank_texts, shown_ranks
from permgrad.pages.sentences import dominant_words, left_words
from permgrad.pages.units import advantage, error_without
from permgrad.pages.words import clean, confidence_words, quantity_of, value_text

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.assess.sections.cards import CardsSection
    from permgrad.attribution.explanation import Explanation

#: Features in the script's list, and numbers of all curves together.
_LISTED, _NUMBERS = 5000, 60_000


def features_data(content: Assessment) -> dict[str, Any] | None:
    """Return the list of features and their cards, or None without an explanation."""
    explanation = content.explanation
    if explanation is None:
        return None
    total_advantage = advantage(explanation.meta, content.metrics or {})
    order = [explanation.names.index(name) for name in explanation.ranking()]
    names = [explanation.names[place] for place in order]
    data: dict[str, Any] = {
        "target": clean(content.target),
        "quantity": quantity_of(explanation),
        "confidence": confidence_words(explanation),
        "level": explanation.level,
        "ranks": RANKS.format(confidence=confidence_words(explanation)),
        "of": len(names),
        "list": _list(explanation, order[:_LISTED]),
        "share": None if total_advantage is None else 100 / total_advantage,
        "cards": [],
    }
    if total_advantage is not None and (without := error_without(explanation, content.metrics or {})) is not None:
        data["list"]["without"] = [without(float(value)) for value in data["list"]["importance"]]
    if (stored := content.cards) is not None:
        # Of fewer rows where there are many numbers.
        numbers = sum(curves.shape[1] * curves.shape[2] for curves in stored.curves.values())
        most = max(8, _NUMBERS // max(numbers, 1))
        listed = {} if content.listed is None else {int(row): at for at, row in enumerate(content.listed.numbers)}
        data["cards"] = _cards(stored, content, {name: place for place, name in enumerate(names)}, most)
        data["classes"] = None if stored.classes is None else [clean(name) for name in stored.classes]
        data["rows"] = stored.rows
        data["curveRows"] = [listed.get(int(number), -1) for number in list(stored.curve_rows)[:most]]
    return data


def _list(explanation: Explanation, order: list[int]) -> dict[str, Any]:
    """Return the columns of the list: importance over all rows, its interval and p-values, and by class."""
    low, high = (end[order, 0] for end in explanation.ci())
    clear = set(explanation.clearly_matter())
    by_class = len(explanation.outputs) > 2
    ranks = shown_ranks(explanation)
    columns: dict[str, Any] = {
        "ranks": None if ranks is None else rank_texts(ranks),
        "name": [clean(explanation.names[place]) for place in order],
        "importance": explanation.values[order, 0],
        "low": low,
        "high": high,
        "clear": [explanation.names[place] in clear for place in order],
        "outputs": [clean(name) for name in explanation.outputs[1:]] if by_class else [],
        "byClass": explanation.values[order, 1:] if by_class else [],
    }
    for name, p_values in (("p", explanation.p_values), ("adjusted", explanation.p_adjusted)):
        columns[name] = None if p_values is None else p_values[order, 0]
    return columns


def _cards(section: CardsSection, content: Assessment, places: dict[str, int], most: int) -> list[dict[str, Any]]:
    """Return the cards by rank, with the curves of ``most`` rows, notes, and the features that each moves with."""
    notes = {one["feature"]: one.get("notes", []) for one in (content.reading or {}).get("features", ())}
    if (hint := (content.reading or {}).get("leakage")) is not None:
        notes[hint["feature"]] = [dominant_words(hint, list(places)), *notes.get(hint["feature"], ())]
    cards = []
    of_groups = len(places)  # columns of groups are not in the list, and have the places after it
    for one in map(section.cards.__getitem__, content.by_rank(card["feature"] for card in section.cards)):
        feature = one["feature"]
        card = {name: value for name, value in one.items() if name != "feature"}
        card |= {"name": clean(feature), "place": places.get(feature, of_groups)}
        of_groups += feature not in places
        if "label" in card:
            card["label"] = [clean(text) for text in card["label"]]
        if "effects" in card:
            card["effects"] = [entry | {"level": clean(entry["level"])} for entry in card["effects"]]
        if "outcome" in card:
            card["outcome"] = [entry | {"level": clean(entry["level"])} for entry in card["outcome"]]
        if feature in section.curves:
            curves = np.asarray(section.curves[feature])[:most]
            low, high = (float(curves.min()), float(curves.max())) if len(curves) else (0.0, 1.0)
            steps = (curves - low) / (high - low or 1.0) * 65535  # 16-bit steps from the lowest to the highest value
            card["curves"] = {"low": low, "high": high, **packed(steps.round(), "u2")}
        if "leaves" in card:
            card["leaves"] = left_texts(one, section)
        card["notes"] = [clean(note) for note in notes.get(feature, ())]
        card["related"] = [clean(pair["other"]) for pair in content.related if pair["feature"] == feature][:8]
        cards.append(card)
    return cards


def effect_lines(content: Assessment, most: int = 5) -> list[list[str]]:
    """Return a table: what predictions are at both ends of the curves of the first features, as charts draw them.

    Of several classes, the one is shown that a feature moves most.
    """
    explanation, stored = content.explanation, content.cards
    if explanation is None or stored is None or not content.learnt:
        return []
    cards = {card["feature"]: card for card in stored.cards if "ale" in card}
    classes = stored.classes or ()
    lines = [_effect_line(cards[name], classes) for name in explanation.clearly_matter() if name in cards][:most]
    of = "probabilities" if classes else "predictions"
    of += f" of {classes[0]}" if len(classes) == 1 else ""
    head = ["Feature", "Value", f"Mean effect ({of})", "Local effect with 95 % intervals"]
    return [head, *lines] if lines else []


def _effect_line(card: Mapping[str, Any], classes: Sequence[str]) -> list[str]:
    """Return what is written of one card: its name, both ends, the mean effect and the local one."""
    means, spots, write = np.asarray(card["mean"]), card["ale"]["at"], percent if classes else number
    output = int(np.ptp(means, axis=0).argmax())
    axis = card["at"] if card["numeric"] else np.arange(len(means))
    # Where both curves are drawn.
    at = np.array([axis[0], axis[-1]], dtype=np.float64).clip(spots[0], spots[-1])
    curves = (np.array(card["ale"][key], dtype=np.float64)[:, output] for key in ("mean", "low", "high"))
    local = [np.interp(at, spots, curve) for curve in curves]
    say = date_text if card["dates"] else value_text
    named = map(say, at) if card["numeric"] else (card["label"][round(place)] for place in at)
    name = card["feature"] + (f" (class {classes[output]})" if len(classes) > 1 else "")
    single = map(write, np.interp(at, axis, means[:, output]))
    ends = [f"{write(mean)} ({write(low)} to {write(high)})" for mean, low, high in zip(*local, strict=True)]
    return [name, *(" → ".join(both) for both in (named, single, ends))]


def left_texts(card: Mapping[str, Any], section: CardsSection) -> list[str]:
    """Return for each output where the mean curve of a card leaves the data, in words."""
    shares, leaves = section.classes is not None, card["leaves"]
    return [left_words(card["feature"], leaves, at, shares=shares) for at in range(len(leaves["clear"]))]
