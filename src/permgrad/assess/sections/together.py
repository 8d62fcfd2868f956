"""What features and inputs do together: pairs of the most important features, or what
inputs tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from permgrad.assess.assessed_rows import Rows
from permgrad.assess.budget import PREDICTION
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

#: By default pairs of so many features, and of all others as one, are measured on so
#: many rows with so many donors: 200 rows with two donors take a third longer, and
#: their intervals are a tenth wider.
FEATURES = 8
ROWS = 300
REPEATS = 1
#: Rows below which no pair would be clear, and donors of each row where inputs are left
#: out.
FEWEST_ROWS = 50
MODALITY_REPEATS = 5
#: Predictions for pairs of a model that permgrad did not train, as a share of those for
#: the importances.
_SHARE = 0.2


@storable
@dataclass(kw_only=True)
class TogetherSection:
    """What features and modalities do together.

    ``pairs`` is an explanation with interactions of order 2, ``effects`` are those of
    ``evaluation/cards.py`` for some of them, of the outputs ``classes`` (None:
    regression). ``modalities`` explains whole inputs and their pairs.
    """

    pairs: Explanation | None = None
    effects: Sequence[Mapping[str, Any]] = ()
    classes: Sequence[str] | None = None
    modalities: Explanation | None = None


def together(work: Work) -> None:
    """Fill ``together``, if there are enough rows and there is time."""
    main_explanation = work.content.explanation
    drawn = work.drawn
    clock = work.budget.clock
    wanted_features = work.budget.interactions
    assert main_explanation is not None
    if work.test.table is None:
        drawn_rows = work.explained.take(np.sort(drawn))
        if wanted_features != 0 and work.model.several_inputs:
            work.put(together=TogetherSection(modalities=_modalities(work, drawn_rows)))
        return
    level = main_explanation.level
    single = level.of_features or level.of_groups
    if single:
        names = main_explanation.ranking()[
            : FEATURES if wanted_features is None else wanted_features
        ]
    else:
        names = []
    count = len(names) + (
        len(names) < len(main_explanation.names)
    )  # all others are one
    set_count = count * (count + 1) // 2
    max_rows = len(drawn)
    predictions = main_explanation.meta.get("model_rows")
    if wanted_features is None and work.model.encoder is not None:
        max_rows = min(ROWS, max_rows)
    elif wanted_features is None and isinstance(predictions, int):
        max_rows = min(
            max_rows, int(_SHARE * predictions) // (REPEATS * max(set_count, 1))
        )
    if len(names) < 2 or max_rows < (FEWEST_ROWS if wanted_features is None else 2):
        return
    # Pairs may take a tenth of the time that is left.
    if (
        wanted_features is None
        and clock.per_row * PREDICTION * max_rows * REPEATS * set_count
        > 0.1 * clock.left()
    ):
        clock.cut.append("pairs of features: they were not measured")
        return
    drawn_rows = work.explained.take(np.sort(drawn[:max_rows]))
    pairs = work.model.explain(
        drawn_rows, drawn_rows.y, scope="global", **options_of(names, main_explanation)
    )
    measured_pairs = pairs_of(pairs)
    clear = []
    for feature_pair, is_clear in zip(
        measured_pairs.names, measured_pairs.clear, strict=True
    ):
        if is_clear and OTHERS not in feature_pair:
            clear.append(feature_pair)
    sample, predict, classes = card_sample(work)
    effects = pair_effects(sample, clear, np.arange(len(sample.raw)), predict)
    work.put(together=TogetherSection(pairs=pairs, effects=effects, classes=classes))


def _modalities(work: Work, rows: Rows) -> Explanation | None:
    """Explain whole inputs and pairs of them, or return None where fewer than two can
    be replaced.
    """
    try:
        explanation = work.model.explain(
            rows,
            rows.y,
            method=PermGrad(order=2),
            groups="modality",
            scope="global",
            n_repeats=MODALITY_REPEATS,
        )
    except InputError:  # all inputs but one are held
        return None
    if len(of_order(explanation, 1).names) > 1:
        return explanation
    return None


def options_of(names: Sequence[str], main: Explanation) -> dict[str, Any]:
    """Return the arguments of ``pg.explain`` for pairs of some features of an
    explanation, and of all others as one.
    """
    groups = main.groups or {}
    method = tuned(PermGrad(order=2, pairs="all"), direction=False)
    options: dict[str, Any] = {"method": method, "n_repeats": REPEATS}
    other_features = [
        feature_name for feature_name in main.names if feature_name not in names
    ]
    alone = [*names, *other_features] if len(other_features) == 1 else names
    chosen_groups = {
        group_name: members
        for group_name, members in groups.items()
        if group_name in alone
    }
    if len(other_features) > 1:
        chosen_groups[OTHERS] = [
            column
            for feature_name in other_features
            for column in groups.get(feature_name, [feature_name])
        ]
    return options | ({"groups": chosen_groups} if chosen_groups else {})
