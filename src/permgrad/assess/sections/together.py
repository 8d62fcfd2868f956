"""What features and inputs do together: pairs of the most important features, or what images and a table tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.sections.cards import card_sample
from permgrad.assess.store import storable
from permgrad.assess.work import Work, section
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.orders import OTHERS, pairs_of
from permgrad.evaluation.pair_effects import pair_effects

#: By default pairs of so many features, and of all others as one, are measured on so many rows with so many donors: 200
#: rows with two donors take a third longer, and their intervals are a tenth wider.
FEATURES, ROWS, REPEATS = 8, 300, 1
#: Rows below which no pair would be clear, and donors of each row where inputs are left out.
FEWEST_ROWS, MODALITY_REPEATS = 50, 5
#: Predictions for pairs of a model that permgrad did not train, as a share of those for the importances.
_SHARE = 0.2


@storable
@dataclass(kw_only=True)
class TogetherSection:
    """What features and modalities do together.

    ``pairs`` is an explanation with interactions of order 2, ``effects`` are those of ``evaluation/pair_effects.py``
    for some of them, of the outputs ``classes`` (None: regression). ``information`` is what ``Missing.information``
    returned.
    """

    pairs: Explanation | None = None
    effects: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] | None = None
    information: pd.DataFrame | None = None


@section()
def together(work: Work) -> None:
    """Fill ``together``, if there are enough rows and there is time."""
    main, wanted = work.content.explanation, work.budget.interactions
    assert main is not None
    if work.test.table is None or work.model.images:
        information = None if wanted == 0 else work.model.information(_measured_rows(work), MODALITY_REPEATS)
        if information is not None:
            work.put(together=TogetherSection(information=information))
        return
    single = main.level in ("feature", "group")
    names = main.ranking()[: FEATURES if wanted is None else wanted] if single else []
    count = sets_of(names, main.names)
    most = _most_rows(work, main, count)
    if len(names) < 2 or most < (FEWEST_ROWS if wanted is None else 2):
        return
    if wanted is None and not work.budget.pairs_in_time(most, REPEATS, count):
        return
    rows = _measured_rows(work, most)
    pairs = work.model.explain(rows, rows.y, method="permgrad", scope="global", **options_of(names, main))
    sample, predict, classes = card_sample(work)
    effects = pair_effects(sample, clear_pairs(pairs), np.arange(len(sample.raw)), predict)
    work.put(together=TogetherSection(pairs=pairs, effects=effects, classes=classes))


def _measured_rows(work: Work, most: int | None = None) -> Any:
    """Return the first of the drawn rows, in their order."""
    return work.explained.take(np.sort(work.drawn[:most]))


def _most_rows(work: Work, main: Explanation, sets: int) -> int:
    """Return on how many rows pairs are measured."""
    rows, predictions = len(work.drawn), main.meta.get("model_rows")
    if work.budget.interactions is not None:
        return rows
    if work.model.encoder is not None:
        return min(ROWS, rows)
    if isinstance(predictions, int):
        return min(rows, int(_SHARE * predictions) // (REPEATS * max(sets, 1)))
    return rows


def sets_of(names: Sequence[str], features: Sequence[str]) -> int:
    """Return how many sets of one or two are replaced for pairs of some features and all others as one."""
    count = len(names) + (len(names) < len(features))
    return count * (count + 1) // 2


def options_of(names: Sequence[str], main: Explanation) -> dict[str, Any]:
    """Return the arguments of ``pg.explain`` for pairs of some features of an explanation, and of all others as one."""
    groups = main.groups or {}
    options: dict[str, Any] = {"interactions": 2, "pairs": "all", "n_repeats": REPEATS, "direction": False}
    others = [name for name in main.names if name not in names]
    alone = [*names, *others] if len(others) == 1 else names
    chosen = {name: members for name, members in groups.items() if name in alone}
    if len(others) > 1:
        chosen[OTHERS] = [column for name in others for column in groups.get(name, [name])]
    return options | ({"groups": chosen} if chosen else {})


def clear_pairs(explanation: Explanation) -> list[tuple[str, str]]:
    """Return the pairs of single features that clearly interact, the strongest first."""
    found = pairs_of(explanation)
    return [names for names, clear in zip(found.names, found.clear, strict=True) if clear and OTHERS not in names]
