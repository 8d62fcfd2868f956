"""Runs that are explained by integrated gradients first: a plain network and two classes of unequal size.

With a weighted loss the network's logit is not the log odds of the data: weight w for the second class shifts it by log
w (Elkan 2001, theorem 2). The published example uses the threshold 0.5, which is neither that nor the middle. All these
thresholds are reported, with thresholds chosen on held-out rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.runs.run.reading import Attributions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from permgrad.attribution.explanation import Explanation
    from permgrad.evaluation.thresholds import Criterion
    from permgrad.runs.run.inputs import Inputs

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

#: The threshold of the published example, on the logit.
PUBLISHED_CUT = 0.5
#: Share of the training rows that is held out to choose thresholds.
HELD_OUT = 0.1
OUTCOMES = ("false_positive", "false_negative")
MEASURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
SUMMARY = "integrated_gradients.csv"
#: A row that could occur in the table, and the published choice, where no category has any level.
BASELINES = ("median", "zeros")
#: How the report describes each.
_REPORTED = (
    *("baseline_name", "baseline", "unit", "rule", "completeness_gap", "quadrature_error"),
    *("output_range", "steps", "mean_steps"),
)


#: Presets that read the row as a table and as an image. Their settings need not be loaded, and with them torch.
_HYBRID = ("default", "thorough", "fast", "paper")


def leads(preset: Any) -> bool:
    """Whether runs of a preset are explained by integrated gradients first: one logit, the table alone."""
    if preset in _HYBRID:
        return False
    from permgrad.models.estimators.presets import get_preset

    settings = get_preset(preset)
    return bool(settings.network.single_logit) and tuple(settings.branches) == ("tabular",)


def divide(n: int, y: npt.NDArray[Any], seed: int) -> dict[str, Rows]:
    """Split as published, 80/20 and stratified. A tenth of the 80 is held out of training to choose thresholds."""
    from sklearn.model_selection import train_test_split

    def halve(rows: Rows, share: float) -> tuple[Rows, Rows]:
        counts = np.unique(y[rows], return_counts=True)[1]
        enough = counts.min() >= 2 and int(np.ceil(len(rows) * share)) >= len(counts)
        first, second = train_test_split(rows, test_size=share, random_state=seed, stratify=y[rows] if enough else None)
        return first, second

    learned, test = halve(np.arange(n, dtype=np.int64), 0.2)
    train, held = halve(learned, HELD_OUT)
    return {"train": train, "validation": held, "test": test}


# ---- cuts ------------------------------------------------------------------------------------------------------------
def cuts(model: Any, inputs: Inputs, cost: tuple[float, float] | None = None) -> dict[str, Any] | None:
    """Measure every threshold of the logit on the test rows. Thresholds are chosen on the validation rows.

    ``cost``: cost of a false positive and of a false negative. Returns None if all rows have one class.
    """
    from permgrad.evaluation.thresholds import choose_threshold, metrics_at

    place = model.classes_.tolist().index(inputs.positive)
    label = model.classes_[place].item()
    logits: dict[str, Floats] = {}
    for part in ("validation", "test"):
        outputs = np.asarray(model.predict_encoded(model.encode(inputs.parts[part].X)), dtype=np.float64)
        # The log odds of the positive class, as the network returns them.
        second = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        logits[part] = second if place == 1 else -second
    truth = {part: np.asarray(inputs.parts[part].y == label) for part in logits}
    if any(len(np.unique(positive)) < 2 for positive in truth.values()):
        return None
    weights = np.ones(2) if model.class_weights_ is None else np.asarray(model.class_weights_, dtype=np.float64)
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
    usual = float(np.mean(inputs.parts["train"].y == label)) > 0.5
    majority = line("majority class, no model", None, np.full(len(truth["test"]), float(usual)))
    return {
        "positive": label,
        "share_positive": float(truth["test"].mean()),
        "shift": shift,
        "held_out_rows": len(truth["validation"]),
        "cost": None if cost is None else list(cost),
        "test": [*(line(name, value, logits["test"]) for name, value in named_cuts), majority],
    }


# ---- integrated gradients of all test rows ---------------------------------------------------------------------------
def explain_all(
    explain: Callable[..., Explanation], model: Any, inputs: Inputs, X: pd.DataFrame, folder: Path
) -> Attributions:
    """Explain every test row from each of ``BASELINES``. Write sums over rows and the data of the report.

    Returns:
        The attributions of features from the first baseline.
    """
    label = str(model.classes_[model.classes_.tolist().index(inputs.positive)])
    options = {"method": "integrated_gradients", "players": "encoded", "target": label}
    explanations = {baseline: explain(None, X, baseline=baseline, **options) for baseline in BASELINES}
    tables = [summary(baseline, encoded, model.preprocessor_) for baseline, encoded in explanations.items()]
    with atomic_path(folder / SUMMARY) as temporary:
        write_csv(pd.concat(tables, ignore_index=True), temporary)
    first = explanations[BASELINES[0]]
    facts = {
        "output": first.outputs[0],
        "rows": len(first.values),
        "baselines": [{name: one.meta.get(name) for name in _REPORTED} for one in explanations.values()],
    }
    write_json_atomic(folder / "explanations" / "integrated_gradients.json", facts)
    names, sums = by_feature(first, model.preprocessor_)
    return Attributions(names, sums, np.arange(len(X)), first, 0)


def by_feature(encoded: Explanation, encoder: Any) -> tuple[list[str], Floats]:
    """Add up the encoded inputs of each feature: names, and ``(rows, features)`` for the first output."""
    names = [str(name) for name in encoder.features()]
    columns = [np.asarray(places, dtype=np.intp) for places in encoder.features().values()]
    return names, np.stack([encoded.values[:, places, 0].sum(axis=1) for places in columns], axis=1)


def summary(baseline: str, encoded: Explanation, encoder: Any) -> pd.DataFrame:
    """Return one line for each encoded input, then one for each feature."""
    names, sums = by_feature(encoded, encoder)
    owner = {int(column): name for name, places in encoder.features().items() for column in places}
    owners = [owner[column] for column in range(encoded.values.shape[1])]
    sides = ("input", owners, encoded.names, encoded.values[:, :, 0]), ("feature", names, names, sums)
    tables = []
    for level, features, shown, values in sides:
        total, norm = values.sum(axis=0), float(np.abs(values.sum(axis=0)).sum())
        facts = {"baseline": baseline, "level": level, "feature": features, "name": list(shown)}
        means = {"mean": values.mean(axis=0), "mean_absolute": np.abs(values).mean(axis=0)}
        tables.append(pd.DataFrame({**facts, **means, "published": total / norm if norm > 0 else 0.0 * total}))
    return pd.concat(tables, ignore_index=True)
