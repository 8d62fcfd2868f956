"""Several models on the same rows: other models that a run trained, or models that the user passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from permgrad.assess.assessment import Assessment
from permgrad.assess.model import EvaluatedModel
from permgrad.assess.rows import Rows
from permgrad.assess.sections.ranking import explain_model
from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.evaluation.baselines.fitting import baselines
from permgrad.evaluation.changes import Changes
from permgrad.evaluation.side_by_side import SideBySide, side_by_side

#: The name of a run's network among the models.
NETWORK = "network"


def compared_models(work: Work, others: Sequence[tuple[EvaluatedModel, Rows]]) -> SideBySide | None:
    """Compare a model that is assessed already with others on the same rows."""
    if not others:
        return None
    first, content = work.model, work.content
    explanations, guesses = {first.name: content.explanation}, {first.name: work.predictions.guess}
    called = {} if work.predictions.called is None else {first.name: work.predictions.called}
    for one, rows in others:
        order = [one.classes.index(name) for name in first.classes]
        predicted = one.predict(rows)
        guesses[one.name] = predicted.guess[:, order] if order else predicted.guess
        if predicted.called is not None:
            called[one.name] = np.argsort(order)[predicted.called]
        explanations[one.name] = explain_model(replace(work, model=one, test=rows, content=replace(content)))
    return side_by_side(
        first.task,
        work.predictions.truth,
        guesses,
        classes=first.classes,
        positive=first.positive,
        reference=first.name,
        seed=work.budget.seed,
        called=called,
        dependence=work.test.dependence,
        weights=work.predictions.weights,
        explanations={name: one for name, one in explanations.items() if one is not None},
    )


def trained_models(content: Assessment, *, seed: int) -> SideBySide:
    """Return a run's network and its baselines side by side."""
    predictions = content.predictions
    assert predictions is not None
    labels = {name: baselines.get(name).label if name in baselines else name for name in content.guesses}
    return side_by_side(
        content.task,
        predictions.truth,
        {NETWORK: predictions.guess, **content.guesses},
        classes=predictions.classes,
        positive=content.positive,
        reference=NETWORK,
        seed=seed,
        dependence=content.dependence,
        weights=predictions.weights,
        shown={NETWORK: "this network", **labels},
        explanations={} if content.explanation is None else {NETWORK: content.explanation},
    )


storable(Changes)
