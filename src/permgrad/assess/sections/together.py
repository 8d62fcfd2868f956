"""What features and inputs do together: pairs of the most important features, or what inputs tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from permgrad.assess.budget import PREDICTION
from permgrad.assess.rows import Rows
from permgrad.assess.sections.cards import card_sample
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.numbers import of_order
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.explanation.pairs import pairs_of
from permgrad.attribution.method.permgrad import PermGrad
from permgrad.attribution.request import tuned
from permgrad.base.errors import InputError
from permgrad.evaluation.cards import pair_effects

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

    ``pairs`` is an explanation with interactions of order 2, ``effects`` are those of ``evaluation/cards.py``
    for some of them, of the outputs ``classes`` (None: regression). ``modalities`` explains whole inputs and their
    pairs.
    """

    pairs: Explanation | None = None
    effects: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] | None = None
    modalities: Explanation | None = None


def together(work: Work) -> None:
    """Fill ``together``, if there are enough rows and there is time."""
    main, drawn, clock, wanted = (
        work.content.explanation,
        work.drawn,
        work.budget.clock,
        work.budget.interactions,
    )
    assert main is not None
    if work.test.table is None:
        rows = work.explained.take(np.sort(drawn))
        if wanted != 0 and work.model.several_inputs:
            work.put(together=TogetherSection(modalities=_modalities(work, rows)))
        return
    single = main.level in ("feature", "group")
    names = main.ranking()[: FEATURES if wanted is None else wanted] if single else []
    count = len(names) + (len(names) < len(main.names))  # all others are one
    sets, most, predictions = (
        count * (count + 1) // 2,
        len(drawn),
        main.meta.get("model_rows"),
    )
    if wanted is None and work.model.encoder is not None:
        most = min(ROWS, most)
    elif wanted is None and isinstance(predictions, int):
        most = min(most, int(_SHARE * predictions) // (REPEATS * max(sets, 1)))
    if len(names) < 2 or most < (FEWEST_ROWS if wanted is None else 2):
        return
    # Pairs may take a tenth of the time that is left.
    if (
        wanted is None
        and clock.per_row * PREDICTION * most * REPEATS * sets > 0.1 * clock.left()
    ):
        clock.cut.append("pairs of features: they were not measured")
        return
    rows = work.explained.take(np.sort(drawn[:most]))
    pairs = work.model.explain(rows, rows.y, scope="global", **options_of(names, main))
    found = pairs_of(pairs)
    clear = [
        pair
        for pair, is_clear in zip(found.names, found.clear, strict=True)
        if is_clear and OTHERS not in pair
    ]
    sample, predict, classes = card_sample(work)
    effects = pair_effects(sample, clear, np.arange(len(sample.raw)), predict)
    work.put(together=TogetherSection(pairs=pairs, effects=effects, classes=classes))


def _modalities(work: Work, rows: Rows) -> Explanation | None:
    """Explain whole inputs and pairs of them, or return None where fewer than two can be replaced."""
    try:
        found = work.model.explain(
            rows,
            rows.y,
            method=PermGrad(order=2),
            groups="modality",
            scope="global",
            n_repeats=MODALITY_REPEATS,
        )
    except InputError:  # all inputs but one are held
        return None
    return found if len(of_order(found, 1).names) > 1 else None


def options_of(names: Sequence[str], main: Explanation) -> dict[str, Any]:
    """Return the arguments of ``pg.explain`` for pairs of some features of an explanation, and of all others as one."""
    groups = main.groups or {}
    method = tuned(PermGrad(order=2, pairs="all"), direction=False)
    options: dict[str, Any] = {"method": method, "n_repeats": REPEATS}
    others = [name for name in main.names if name not in names]
    alone = [*names, *others] if len(others) == 1 else names
    chosen = {name: members for name, members in groups.items() if name in alone}
    if len(others) > 1:
        chosen[OTHERS] = [
            column for name in others for column in groups.get(name, [name])
        ]
    return options | ({"groups": chosen} if chosen else {})
