"""Ranks with their intervals, as text, plots and pages write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from permgrad.pages.words import listed, names_apart

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.explanation.ranks import Ranks

#: What the interval of a rank means.
RANKS = (
    "A rank such as 2–4 is certain only within these places ({confidence}, for all features at once), and “undecided” "
    "if all are possible. A feature can clearly matter and have an uncertain rank: it is compared with 0, its rank "
    "with all other features."
)
#: The order of so many features is tested at most, because every pair is. Fewest rows of a summary with intervals.
MOST_ORDERED, FEWEST_ROWS = 200, 10


def shown_ranks(explanation: Explanation, column: int = 0) -> Ranks | None:
    """Return the ranks of a global explanation at the level of its intervals, or None without errors."""
    std, rows = explanation.std, explanation.meta.get("rows_summarised", FEWEST_ROWS)
    if std is None or explanation.meta.get("methods") or not 1 < len(explanation.names) <= MOST_ORDERED:
        return None
    if rows < FEWEST_ROWS or not np.isfinite(std[:, column]).any():
        return None
    from permgrad.attribution.explanation.ranks import (
        certain_ranks,  # loads torch, which a page of stored numbers does not need
    )

    places = [explanation.names.index(name) for name in explanation.ranking(column)]
    return certain_ranks(explanation, places, column, float(explanation.meta.get("confidence", 0.95)))


def rank_texts(ranks: Ranks) -> list[str]:
    """Write the intervals of ranks: ``1``, ``2–4``, or ``undecided`` where every place is possible."""
    ends, every = zip(ranks.low, ranks.high, strict=True), (1, len(ranks.names))
    return ["undecided" if pair == every else "–".join(map(str, dict.fromkeys(pair))) for pair in ends]


def order_words(ranks: Ranks, most: int) -> str:
    """Write who can be told apart among the first: ``1 age; 2–4 income, bmi and dose; the rest``. Empty: nobody."""
    texts, show = list[str](), names_apart(ranks.names)
    if (ranks.sets == 1).all():
        return ""
    for members in (np.flatnonzero(ranks.sets == number) for number in np.unique(ranks.sets)):
        first, last, count = members[0] + 1, members[-1] + 1, len(members)
        if last == len(ranks.names) and first > 1 and (count > 1 or first > most):
            return "; ".join([*texts, "the rest"])
        if first > most:
            return "; ".join([*texts, "and so on"])
        labels = (show(ranks.names[place]) for place in members)
        # A name that is a number is not to be read as a rank.
        names = listed([f"“{label}”" if label.isdigit() else label for label in labels], 4)
        texts.append(f"{first if count == 1 else f'{first}–{last}'} {names}")
    return "; ".join(texts)


def training_words(explanation: Explanation) -> str:
    """Say how often the leading features would lead in another training, of an explanation of refits. Else nothing."""
    facts = explanation.meta.get("another_training")
    if not facts:
        return ""
    first = int(facts["first"])
    places = "come first" if first == 1 else f"be among the first {'two' if first == 2 else 'three'}"
    leading = [name for name in explanation.ranking() if name in facts["shares"]][:first]
    fits = int(explanation.meta["refits"]["fits"])
    show, texts = names_apart(explanation.names), [training_text(facts["shares"][name], fits) for name in leading]
    followers = [f"{show(name)} in {text}" for name, text in zip(leading[1:], texts[1:], strict=True)]
    sentence = listed([f"{show(leading[0])} would {places} in {texts[0]} of 100", *followers])
    return f"In another training {sentence} (by {fits} refits)."


def training_text(share: float, fits: int) -> str:
    """Write in how many of 100 trainings something happens, no surer than so many refits can make it.

    If all refits agree, the next one does so with probability (refits + 1) / (refits + 2) (Laplace's rule).
    """
    most = int(100 * (fits + 1) / (fits + 2))
    number = round(100 * share)
    return f"more than {most}" if number > most else f"fewer than {100 - most}" if number < 100 - most else str(number)
