"""How far predicted probabilities are off."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from permgrad.base.random import generator
from permgrad.evaluation.calibration import ClassCurve, Reliability, reliability
from permgrad.pages.content import PageContent
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.facts.score_facts import FEW_ROWS, UNEVEN
from permgrad.pages.words import texts_of

#: A calibration error deserves a warning if it is this many times that of chance, and
#: no smaller than this, which is shown as 0.0 %.
TIMES_CHANCE = 1.5
LEAST_CALIBRATION_ERROR = 0.0005
#: Of frequent classes it is at least so large. Of rare ones it is at least this part of
#: the share that they have.
OFF_BY = 0.03
OFF_PART = 0.2
#: Of a rare class, as many times too many, or too few, are predicted as deserves to be
#: said.
LEAST_RATIO = 1.25
#: Chance explains a calibration error unless it happens less often than this.
BEYOND_CHANCE = 0.001


def curves_of(content: PageContent) -> list[ClassCurve]:
    """Return the reliability curve of each class, of two classes that of the positive
    one.

    The list is empty where there are no probabilities.
    """
    scored = content.predictions
    if scored is None or content.weights or not len(scored.truth):
        return []
    if scored.probabilities is None:
        return []
    truth = texts_of(scored.truth)
    classes = texts_of(scored.classes)
    positions = list(range(len(classes)))
    if len(classes) == 2:
        positions = [content.positive_place(scored.classes)]
    curves = []
    for position in positions:
        is_class = truth == classes[position]
        by_time = []
        for table in (scored.probabilities, scored.before_calibration):
            if table is not None:
                chances = np.clip(table[:, position].astype(np.float64), 0, 1)
                curve = reliability(is_class, chances, content.dependence)
                by_time.append((chances, curve))
        (chances, curve), *earlier = by_time
        before = earlier[0][1] if earlier else None
        curves.append(ClassCurve(classes[position], chances, curve, before))
    return curves


def beyond_chance(curves: Sequence[Reliability], error: float) -> bool:
    """Whether fewer than 1 in 1,000 calibrated models with the same probabilities would
    have so large an error.
    """
    stream = generator(0, "calibration by chance")
    draws = 5000
    drawn = np.zeros(draws)
    for curve in curves:
        observed = (
            stream.binomial(
                curve.rows, np.clip(curve.predicted, 0, 1), (draws, len(curve.rows))
            )
            / curve.rows
        )
        distances = np.abs(observed - curve.predicted) * curve.widening
        drawn += distances @ curve.rows / curve.rows.sum() / len(curves)
    return bool(np.mean(drawn >= error) < BEYOND_CHANCE)


def calibration(content: PageContent) -> Facts | None:
    """Probabilities are off, by more than chance explains and by enough to matter."""
    curves = content.ask(curves_of)
    if not curves or curves[0].curve.rows.sum() < FEW_ROWS:
        return None
    facts = content.ask(calibration_facts)
    if facts is None or facts["off"] != "clearly":
        return None
    if len(content.test_rows.by_class) < 2:
        return None
    return facts


def how_far_off(curves: Sequence[Reliability]) -> str:
    """Return whether probabilities are off ``"clearly"``, by ``"little"`` or ``"not
    clearly"``.
    """
    error, chance = (
        float(np.mean([getattr(curve, error_name) for curve in curves]))
        for error_name in ("error", "chance")
    )
    shares = [float(curve.observed @ curve.rows / curve.rows.sum()) for curve in curves]
    rarer = float(np.mean([min(share, 1 - share) for share in shares]))
    too_many = len(curves) == 1 and times_too_many(curves[0]) is not None
    is_far = error > TIMES_CHANCE * chance and beyond_chance(curves, error)
    if not is_far and not too_many:
        return "not clearly"
    least = max(min(OFF_BY, OFF_PART * rarer), LEAST_CALIBRATION_ERROR)
    if too_many or error >= least:
        return "clearly"
    return "little"


def times_too_many(curve: Reliability) -> float | None:
    """Return how many times as many rows of a rare class are predicted as there are.

    None: about as many, or chance.
    """
    row_count = int(curve.rows.sum())
    there = float(curve.observed @ curve.rows)
    expected = float(curve.predicted @ curve.rows)
    if not 0 < there <= UNEVEN * row_count or expected <= 0:
        return None
    doubt = float(curve.rows @ (curve.predicted * (1 - curve.predicted)))
    scaled_distance = abs(there - expected) / max(
        math.sqrt(doubt) * curve.widening, 1e-300
    )
    ratio = expected / there
    by_chance = math.erfc(scaled_distance / math.sqrt(2)) >= BEYOND_CHANCE
    alike = 1 / LEAST_RATIO < ratio < LEAST_RATIO
    if by_chance or alike:
        return None
    return ratio


def calibration_facts(content: PageContent) -> Facts | None:
    """Return the error of probabilities, that of chance, and of two classes the bin
    that is off most.

    None: there are no probabilities.
    """
    curves = [class_curve.curve for class_curve in content.ask(curves_of)]
    if not curves:
        return None
    error, chance = (
        float(np.mean([getattr(curve, error_name) for curve in curves]))
        for error_name in ("error", "chance")
    )
    facts: Facts = {
        "error": error,
        "chance": chance,
        "form": "mean" if len(curves) > 1 else "one",
        "off": how_far_off(curves),
    }
    curve = curves[0]
    times = times_too_many(curve) if len(curves) == 1 else None
    if times is not None and content.predictions is not None:
        names = content.predictions.classes
        return facts | {
            "form": "ratio",
            "times": times,
            "class": str(names[content.positive_place(names)]),
            "all": int(curve.rows.sum()),
            "there": round(float(curve.observed @ curve.rows)),
            "expected": round(float(curve.predicted @ curve.rows)),
        }
    bins_off = np.flatnonzero(
        (curve.predicted < curve.low) | (curve.predicted > curve.high)
    )
    classes = () if content.predictions is None else content.predictions.classes
    if len(classes) != 2 or not len(bins_off) or error <= TIMES_CHANCE * chance:
        return facts
    worst = bins_off[
        int(
            np.argmax(
                np.abs(curve.observed - curve.predicted)[bins_off]
                * curve.rows[bins_off]
            )
        )
    ]
    facts |= {
        "rows": int(curve.rows[worst]),
        "class": str(classes[content.positive_place(classes)]),
    }
    return facts | {
        "form": "bin",
        "predicted": float(curve.predicted[worst]),
        "observed": float(curve.observed[worst]),
    }
