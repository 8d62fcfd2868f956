"""Thresholds of two classes: of the network's logit, and those chosen on held-out rows.

With a weighted loss the network's logit is not the log odds of the data: weight w for the second class shifts it by log
w (Elkan 2001, theorem 2). The published example uses the threshold 0.5, which is neither that nor the middle. All these
thresholds are reported, with thresholds chosen on held-out rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.assess.predictions import Predictions
from permgrad.assess.rows import Rows
from permgrad.assess.work import Work
from permgrad.base.arrays import Floats
from permgrad.evaluation.thresholds import Criterion, choose_threshold, metrics_at

#: The threshold of the published example, on the logit.
PUBLISHED_CUT = 0.5
OUTCOMES = ("false_positive", "false_negative")
MEASURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")


def cuts(work: Work, validation: tuple[Rows, Predictions], test: tuple[Rows, Predictions]) -> dict[str, Any] | None:
    """Measure every threshold of the logit on the test rows. Thresholds are chosen on the validation rows.

    Returns None if all rows have one class, or weights.
    """
    network, cost = work.model.model, work.budget.cost
    classes, positive = work.model.classes, str(work.model.positive)
    place = classes.index(positive) if positive in classes else 1
    label = work.model.labels[place]
    logits: dict[str, Floats] = {}
    for part, (rows, _) in (("validation", validation), ("test", test)):
        outputs = np.asarray(network.predict_encoded(rows.inputs.encoded), dtype=np.float64)
        # The log odds of the positive class, as the network returns them.
        second = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        logits[part] = second if place == 1 else -second
    truth = {"validation": validation[1].codes == place, "test": test[1].codes == place}
    if work.test.weights is not None or any(len(np.unique(positive)) < 2 for positive in truth.values()):
        return None
    weights = np.ones(2) if network.class_weights_ is None else np.asarray(network.class_weights_, dtype=np.float64)
    shift = float(np.log(weights[place]) - np.log(weights[1 - place]))
    named_cuts: list[tuple[str, float]] = [("logit 0", 0.0), ("logit 0.5, as published", PUBLISHED_CUT)]
    if shift:
        named_cuts.append((f"logit {shift:.3f}: corrected for the class weight", shift))
    aims: dict[Criterion, str] = {"f1": "F1", "balanced_accuracy": "balanced accuracy"}
    aims |= {} if cost is None else {"cost": f"cost ({cost[0]:g} for a false {label}, {cost[1]:g} for a missed one)"}
    for aim, words in aims.items():
        prices = dict(zip(OUTCOMES, cost, strict=False)) if aim == "cost" and cost is not None else None
        chosen = choose_threshold(truth["validation"], logits["validation"], by=aim, cost=prices, positive=True)
        named_cuts.append((f"best {words} on held-out rows", chosen.value))

    def line(name: str, value: float | None, scores: Floats) -> dict[str, Any]:
        measured = metrics_at(truth["test"], scores, 0.5 if value is None else value, positive=True)
        shown = {metric: measured[metric] or 0.0 for metric in MEASURES}
        return {"cut": name, "logit": value if value is not None and np.isfinite(value) else None, **shown}

    # The majority class of the training rows: the best guess without a model.
    assert work.train is not None
    usual = float(np.mean(work.model.codes(work.train) == place)) > 0.5
    majority = line("majority class, no model", None, np.full(len(truth["test"]), float(usual)))
    return {
        "positive": label,
        "share_positive": float(truth["test"].mean()),
        "shift": shift,
        "held_out_rows": len(truth["validation"]),
        "cost": None if cost is None else list(cost),
        "test": [*(line(name, value, logits["test"]) for name, value in named_cuts), majority],
    }
