"""How good the model is on groups of rows, by every column."""

from __future__ import annotations

from permgrad.assess.work import Work
from permgrad.base.errors import keeping_warnings
from permgrad.evaluation.calibration import holds
from permgrad.evaluation.segments import find_segments


def segments(work: Work) -> None:
    """Fill ``segments``, see ``permgrad.evaluation.segments``."""
    predicted = work.predictions
    if predicted.inside is None:
        covered = None
    else:
        covered = holds(predicted.codes, predicted.inside)
    with keeping_warnings():
        groups = find_segments(
            work.test.frame,
            predicted.scored,
            positive=work.content.positive_place(predicted.classes),
            na=work.model.na,
            covered=covered,
            dependence=work.test.dependence,
            labels_only=predicted.labels_only,
            seed=work.budget.seed,
        )
    work.put(segments=groups)
