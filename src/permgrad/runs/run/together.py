"""What the tab Together of a run shows: pairs of its most important features, and what images and a table tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.files import write_json_atomic
from permgrad.evaluation.pair_effects import pair_effects
from permgrad.report.choices import OTHERS, pairs_of
from permgrad.report.page.content import TogetherSection
from permgrad.runs.folder.documents import read_optional, saved_explanation
from permgrad.runs.run import answers, images

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.runs.run.explaining import _Explained

#: Files of the pairs and of their effects.
INTERACTIONS, TOGETHER = "interactions", "together.json"
#: By default pairs of so many features, and of all others as one, are measured on so many rows with so many donors: 200
#: rows with two donors take a third longer, and their intervals are a tenth wider.
FEATURES, ROWS, REPEATS = 8, 300, 1
#: Rows below which no pair would be clear, and donors of each row where inputs are left out.
FEWEST_ROWS, MODALITY_REPEATS = 50, 5
#: Predictions of a row compared with a training step on it, and the share of the time left that they may take.
_PREDICTION, _SHARE = 0.35, 0.1


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


def write_together(run: _Explained, main: Explanation, drawn: npt.NDArray[np.int64]) -> None:
    """Measure how features work together, or images and a table, and write it. ``drawn`` permutes the rows."""
    options = {"n_repeats": MODALITY_REPEATS, "random_state": run.work.request.seed}
    if run.work.request.images:
        frame = images.information_of(run.model, run.rows, run.y, **options)
        if frame is not None:
            write_json_atomic(run.store / TOGETHER, {"information": frame.to_dict("list")})
        return
    wanted = run.work.request.interactions
    names, clock = main.ranking()[: FEATURES if wanted is None else wanted], run.work.clock
    rows = min(ROWS, len(drawn)) if wanted is None else len(drawn)
    if len(names) < 2 or rows < (FEWEST_ROWS if wanted is None else 2):
        return
    expected = clock.per_row * _PREDICTION * rows * REPEATS * sets_of(names, main.names)
    if wanted is None and expected > _SHARE * clock.left():
        clock.cut.append("pairs of features: they were not measured")
        return
    places = np.sort(drawn[:rows])
    pairs = run.explain(INTERACTIONS, run.rows.iloc[places], run.y[places], **options_of(names, main))
    sample, predict, outputs = answers.card_sample(run, drawn)
    effects = pair_effects(sample, clear_pairs(pairs), np.arange(len(sample.raw)), predict)
    classes = None if run.classes is None else [str(run.classes[place]) for place in outputs]
    write_json_atomic(run.store / TOGETHER, {"effects": effects, "classes": classes})


def read_together(folder: Path) -> TogetherSection | None:
    """Return what a run's folder has of this, or None."""
    stored = read_optional(folder / "explanations" / TOGETHER)
    if stored is None:
        return None
    frame = stored.get("information")
    return TogetherSection(
        pairs=saved_explanation(folder, INTERACTIONS),
        effects=stored.get("effects", ()),
        classes=stored.get("classes"),
        information=None if frame is None else pd.DataFrame(frame),
    )
