"""The tab Together: which features and modalities work together, and how."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.base.errors import by_count, counted
from permgrad.base.numerals import number, numbers, percent
from permgrad.models.losses import named_loss
from permgrad.pages.charts.explained import interactions
from permgrad.pages.content import PageContent
from permgrad.pages.views import (
    SectionView,
    Tab,
    figures_of,
    intervals_of,
    names,
    packed,
    table_of,
)
from permgrad.pages.words import (
    clean,
    confidence_words,
    names_apart,
    p_text,
    quantity_of,
)

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.explanation.pairs import RankedPairs

#: Pairs in a table, and in the page's data.
_LISTED = 20
_MOST = 200


def nothing_together(content: Assessment) -> str:
    """Return a sentence if pairs were looked at and none is clear.

    The tab is then left out.
    """
    if content.together is None:
        explanation = None
    else:
        explanation = content.together.pairs
    if explanation is None or pairs_of(explanation).clear.any():
        return ""
    return f"No pair of features clearly works together. {looked_at(explanation)}"


def looked_at(explanation: Explanation) -> str:
    """Return which pairs were looked at, and a bound on the others."""
    about = explanation.meta.get("interactions", {})
    count = int((explanation.order == 2).sum())
    total = int(about.get("candidates", count))
    if count == total:
        players = len(of_order(explanation, 1).names)
        whose = f"{players} features"
        if OTHERS in explanation.names:
            whose = (
                f"the {players - 1} most important features, and of all others as one,"
            )
        pairs_looked_at = by_count(
            total,
            f"The only pair of {whose} was",
            f"All {total:,} pairs of {whose} were",
        )
        return f"{pairs_looked_at} looked at."
    words = (
        f"{count:,} of {total:,} pairs ({percent(count / total)}) were measured, "
        "chosen by a pilot on fewer rows."
    )
    if bound := about.get("bound"):
        words += (
            " With 95\u00a0% certainty no other pair is further from 0 than "
            f"{number(float(bound))}."
        )
    return words


def meaning(value: float, kind: str) -> str:
    """Return what the sign of an interaction says."""
    if kind != "loss":
        return "they act together on the output"
    if value < 0:
        return (
            "each needs the other, since shuffling both costs less than the sum of "
            "shuffling each"
        )
    return (
        "one can stand in for the other, since shuffling both costs more than the "
        "sum of shuffling each"
    )


def _kind(explanation: Explanation) -> str:
    """Return ``"loss"`` for what two replacements do beyond each, else ``"output"``."""
    about = explanation.meta.get("interactions", {})
    if about.get("index") == "Moebius":
        return "loss"
    return "output"


def leading_words(pairs: RankedPairs, kind: str) -> str:
    """Return how many pairs are clear, and what the strongest one says."""
    count = int(pairs.clear.sum())
    strongest = int(np.flatnonzero(pairs.clear)[0])
    pair_text = " and ".join(
        map(names_apart(chain(*pairs.names)), pairs.names[strongest])
    )
    interval = f"{number(pairs.low[strongest])} to {number(pairs.high[strongest])}"
    return (
        f"{counted(count, 'pair')} of {len(pairs.names):,} clearly "
        f"{by_count(count, 'interacts', 'interact')}. Strongest: {pair_text} "
        f"({number(pairs.values[strongest])}, {interval}): "
        f"{meaning(float(pairs.values[strongest]), kind)}."
    )


def pairs(section: SectionView, content: PageContent, explanation: Explanation) -> None:
    """The pairs with their intervals, the clear ones first."""
    if content.ask(nothing_together):
        return
    ranked = pairs_of(explanation)
    effect_kind = _kind(explanation)
    picture_side, words_side = section.columns()
    words_side.text(leading_words(ranked, effect_kind), looked_at(explanation))
    if effect_kind == "loss":
        words_side.text(
            "The interaction of two features is how much the loss grows when both are "
            "shuffled, minus what each does alone. 0 means that their effects add up. "
            "Two features that move together can have a value although the model only "
            "adds them up, because shuffling one breaks their connection."
        )
        loss = named_loss(explanation.meta.get("loss"))
        if loss is None or not loss.effects_add:
            words_side.text(
                "This loss also bends by itself: where two effects on the prediction "
                "merely add up, the value can differ from 0. What the pair adds to "
                "both single effects (below) shows if the prediction needs both."
            )
    if effect_kind == "loss":
        colours = " Orange: both together cost less than the sum of each. Blue: more."
    else:
        colours = ""
    picture_side.figure(
        interactions(explanation),
        f"Interaction of each pair: {quantity_of(explanation)}. Framed: clear "
        f"(adjusted p below 0.05).{colours}",
    )


def listed(section: SectionView, content: PageContent, _: Explanation) -> None:
    """The pairs in numbers, which the script lists."""
    if not content.ask(nothing_together):
        section.live("pairs")


def _table(ranked: RankedPairs, explanation: Explanation) -> Any:
    listed_slice = slice(0, _LISTED)
    words = [" × ".join(map(clean, name_pair)) for name_pair in ranked.names]
    columns = [
        names(
            words[listed_slice],
            "pair",
            ["best" if clear else "" for clear in ranked.clear[listed_slice]],
        ),
        figures_of(
            "interaction",
            ranked.values[listed_slice],
            numbers(ranked.values)[listed_slice],
        ),
        intervals_of(
            ranked.low[listed_slice],
            ranked.high[listed_slice],
            level=confidence_words(explanation),
        ),
        figures_of("adjusted\u00a0p", ranked.p_adjusted[listed_slice], p_text),
    ]
    if len(words) <= _LISTED:
        hidden_words = ""
    else:
        hidden_words = f" The first {_LISTED} of {len(words):,}."
    return table_of(
        "Pairs, the strongest first. Bold: clear (adjusted p below "
        f"0.05).{hidden_words}",
        columns,
    )


def effects(section: SectionView, *_: Any) -> None:
    """The prediction by the values of two features, for the strongest clear pairs."""
    section.live("effect")


def modalities(section: SectionView, _: Assessment, explanation: Explanation) -> None:
    """What the loss loses without each input, alone and behind all others, and what two
    do together.
    """
    ranked = pairs_of(explanation)
    single = of_order(explanation, 1)
    if not ranked.clear.any():
        clear = "No pair of inputs clearly works together."
    else:
        clear = leading_words(ranked, "loss")
    section.text(clear)
    assert single.low is not None, "the loss over all rows has intervals"
    assert single.high is not None, "as above"
    columns = [
        names(single.names, "input"),
        figures_of("importance", single.values[:, 0]),
        intervals_of(
            single.low[:, 0], single.high[:, 0], level=confidence_words(explanation)
        ),
        figures_of("alone", single.parts["alone"][:, 0]),
        figures_of("last", single.parts["last"][:, 0]),
    ]
    section.table(
        table_of(
            f"Inputs: {quantity_of(explanation)}. Alone: only this input comes from "
            "other rows. Last: all others come from other rows already. The importance "
            "is the mean of both, taken over all orders.",
            columns,
        )
    )
    section.table(_table(ranked, explanation))
    section.text(
        "An input is left out by giving the model that of other rows. This cannot show "
        "what one input says about the "
        "other: a model trained on one of them alone may know more."
    )


def live_data(content: PageContent) -> dict[str, Any] | None:
    """Return the pairs and effects for the script."""
    together = content.together
    if together is None:
        explanation = None
    else:
        explanation = together.pairs
    if together is None or explanation is None or content.ask(nothing_together):
        return None
    ranked = pairs_of(explanation)
    shown_slice = slice(0, _MOST)
    return {
        "pairs": [
            list(map(clean, name_pair)) for name_pair in ranked.names[shown_slice]
        ],
        "value": ranked.values[shown_slice],
        "low": ranked.low[shown_slice],
        "high": ranked.high[shown_slice],
        "p": ranked.p_adjusted[shown_slice],
        "clear": ranked.clear[shown_slice].tolist(),
        "order": list(map(clean, explanation.ranking())),
        "quantity": quantity_of(explanation),
        "confidence": confidence_words(explanation),
        "kind": _kind(explanation),
        "all": len(ranked.names),
        "target": clean(content.target),
        "classes": None
        if together.classes is None
        else list(map(clean, together.classes)),
        "effects": [
            {
                "pair": list(map(clean, effect["pair"])),
                "axes": [
                    {**axis, "label": list(map(clean, axis["label"]))}
                    for axis in effect["axes"]
                ],
                "shape": np.shape(effect["mean"]),
                "mean": packed(effect["mean"]),
                "dots": packed(effect["dots"]),
                "rows": effect["rows"],
            }
            for effect in together.effects
        ],
    }


TAB = Tab(
    name="together",
    title="Together",
    sections=(
        ("pairs", "Which features work together", pairs, "together.pairs"),
        ("pair-list", "Pair by pair", listed, "together.pairs"),
        ("pair-effects", "Two features at a time", effects, "together.effects"),
        ("modalities", "What each modality tells", modalities, "together.modalities"),
    ),
    halves=("pair-list", "pair-effects"),
    data=live_data,
    scripts=("panels.js", "together.js"),
)
