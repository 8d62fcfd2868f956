"""The workflow of the presets that are explained by integrated gradients first: plain network, two uneven classes.

With a weighted loss the network's logit is not the log odds of the data, so where to cut it is a choice of its own.
Training with weight w for the second class shifts the logit by log w (Elkan 2001, theorem 2); the published example
cuts at 0.5, which is neither that nor the middle. Here all these cuts are reported, beside thresholds chosen on
held-out rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.files import atomic_path, write_json_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from permgrad.attribution.explanation import Explanation
    from permgrad.evaluation.thresholds import Criterion
    from permgrad.runs.run.inputs import Inputs

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

#: The cut of the published example, on the logit.
PUBLISHED_CUT = 0.5
#: Share of the training rows that is held out to choose thresholds on.
HELD_OUT = 0.1
SUMMARY = "integrated_gradients.csv"
#: A row that could stand in the table, and the published choice, where no category has any level.
BASELINES = ("median", "zeros")
#: What the report says of each.
_REPORTED = (
    "baseline_name",
    "baseline",
    "unit",
    "rule",
    "completeness_gap",
    "quadrature_error",
    "output_range",
    "steps",
    "mean_steps",
)


def leads(preset: Any) -> bool:
    """Whether a preset's runs are explained by integrated gradients first: one logit, the table alone.

    Examples:
        >>> leads("ig-example"), leads("default")
        (True, False)
    """
    from permgrad.models.estimators.presets import get_preset

    settings = get_preset(preset)
    return bool(settings.network.single_logit) and tuple(settings.branches) == ("tabular",)


def led(model: Any) -> bool:
    """Whether a fitted model was made by such a preset."""
    options = getattr(model, "network_options_", {})
    return (
        hasattr(model, "classes_") and bool(options.get("single_logit")) and tuple(model.module_.paths) == ("tabular",)
    )


def divide(n: int, y: npt.NDArray[Any], seed: int) -> dict[str, Rows]:
    """Split as published, 80/20 and stratified; of the 80 a tenth is held out of training to choose thresholds on.

    Args:
        n: Number of rows.
        y: Classes ``(n,)``.
        seed: ``random_state`` of both splits.
    """
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
def scores_at(positive: Flags, decided: Flags) -> dict[str, float]:
    """Return accuracy, balanced accuracy, precision, recall and F1 of decisions; undefined ratios are 0.

    Examples:
        >>> scores_at(np.array([True, False, False, False]), np.array([True, True, False, False]))["accuracy"]
        0.75
    """
    hit, miss = int((positive & decided).sum()), int((positive & ~decided).sum())
    false, right = int((~positive & decided).sum()), int((~positive & ~decided).sum())
    recall, specificity = hit / max(hit + miss, 1), right / max(false + right, 1)
    return {
        "accuracy": (hit + right) / max(len(positive), 1),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": hit / max(hit + false, 1),
        "recall": recall,
        "f1": 2 * hit / max(2 * hit + miss + false, 1),
    }


def choose_cut(logits: Floats, positive: Flags, aim: Criterion, cost: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return the cut that is best on some rows; a row is called positive when its logit is above the cut.

    It is that of ``evaluation.thresholds``, but always finite, and one class alone is enough: then all rows are called
    what they are.

    Examples:
        >>> choose_cut(np.array([0.0, 1.0, 2.0, 3.0]), np.array([False, False, True, True]), "f1")
        1.5
    """
    from permgrad.evaluation.thresholds import choose_threshold

    if positive.all() or not positive.any():
        value = -np.inf if positive.all() else np.inf
    else:
        prices = {"false_positive": cost[0], "false_negative": cost[1]} if aim == "cost" else None
        value = choose_threshold(positive, logits, by=aim, cost=prices, positive=True).value
    if np.isinf(value):
        return float(logits.min() - 1) if value < 0 else float(logits.max() + 1)
    # A threshold calls its own value positive, a cut of the logit does not; they differ between neighbouring floats.
    return float(np.nextafter(value, -np.inf)) if value in logits else float(value)


def cuts(model: Any, inputs: Inputs, cost: tuple[float, float] | None = None) -> dict[str, Any]:
    """Measure every cut of the logit on the test rows.

    Args:
        model: A fitted classifier of two classes.
        inputs: The run's tables; thresholds are chosen on the validation rows, which training did not learn from.
        cost: What a false positive and a false negative cost, if the user said.

    Returns:
        ``{"positive", "shift", "held_out_rows", "cost", "test": [{"cut", "logit", "accuracy", ...}]}``.
    """
    place = model.classes_.tolist().index(inputs.positive)
    label = model.classes_[place].item()
    logits = {part: _logits(model, inputs.parts[part].X, place) for part in ("validation", "test")}
    truth = {part: np.asarray(inputs.parts[part].y == label) for part in ("validation", "test")}
    weights = np.ones(2) if model.class_weights_ is None else np.asarray(model.class_weights_, dtype=np.float64)
    shift = float(np.log(weights[place]) - np.log(weights[1 - place]))
    named_cuts: list[tuple[str, float]] = [("logit 0", 0.0), ("logit 0.5, as published", PUBLISHED_CUT)]
    named_cuts.append((f"logit {shift:.3f}: corrected for the class weight", shift))
    aims: dict[Criterion, str] = {"f1": "F1", "balanced_accuracy": "balanced accuracy"}
    aims |= {} if cost is None else {"cost": f"cost ({cost[0]:g} for a false {label}, {cost[1]:g} for a missed one)"}
    for aim, words in aims.items():
        cut = choose_cut(logits["validation"], truth["validation"], aim, cost or (1.0, 1.0))
        named_cuts.append((f"best {words} on held-out rows", cut))
    lines = [
        {"cut": name, "logit": value, **scores_at(truth["test"], logits["test"] > value)} for name, value in named_cuts
    ]
    # The majority is that of the training rows, as a person without a model would guess.
    usual = float(np.mean(inputs.parts["train"].y == label)) > 0.5
    majority = scores_at(truth["test"], np.full(len(truth["test"]), usual))
    lines.append({"cut": "majority class, no model", "logit": None, **majority})
    return {
        "positive": label,
        "share_positive": float(truth["test"].mean()),
        "shift": shift,
        "held_out_rows": len(truth["validation"]),
        "cost": None if cost is None else list(cost),
        "test": lines,
    }


def _logits(model: Any, X: pd.DataFrame, place: int) -> Floats:
    """Return the log odds of one of two classes, as the network gives them."""
    outputs = np.asarray(model.predict_encoded(model.encode(X)), dtype=np.float64)
    if outputs.shape[1] == 1:
        return np.asarray(outputs[:, 0] if place == 1 else -outputs[:, 0])
    return np.asarray(outputs[:, place] - outputs[:, 1 - place])


# ---- integrated gradients of all test rows ---------------------------------------------------------------------------
def explain_all(
    explain: Callable[..., Explanation], model: Any, inputs: Inputs, X: pd.DataFrame
) -> tuple[list[Explanation], pd.DataFrame]:
    """Explain every test row from each of ``BASELINES``, and sum up over rows for encoded inputs and for features."""
    label = str(model.classes_[model.classes_.tolist().index(inputs.positive)])
    options = {"method": "integrated_gradients", "players": "encoded", "target": label}
    explanations = [explain(None, X, baseline=baseline, **options) for baseline in BASELINES]
    tables = [summary(encoded, model.preprocessor_) for encoded in explanations]
    for baseline, table in zip(BASELINES, tables, strict=True):
        table.insert(0, "baseline", baseline)
    return explanations, pd.concat(tables, ignore_index=True)


def write(folder: Path, explanations: list[Explanation], table: pd.DataFrame) -> None:
    """Write the summary of integrated gradients over all test rows, and what the report says about it."""
    with atomic_path(folder / SUMMARY) as temporary:
        write_csv(table, temporary)
    facts = {
        "output": explanations[0].outputs[0],
        "rows": len(explanations[0].values),
        "baselines": [{name: encoded.meta.get(name) for name in _REPORTED} for encoded in explanations],
    }
    write_json_atomic(folder / "explanations" / "integrated_gradients.json", facts)


def by_feature(encoded: Explanation, encoder: Any) -> tuple[list[str], Floats]:
    """Add up the encoded inputs of each feature: names, and ``(rows, features)`` for the first output."""
    names = [str(name) for name in encoder.features()]
    columns = [np.asarray(places, dtype=np.intp) for places in encoder.features().values()]
    return names, np.stack([encoded.values[:, places, 0].sum(axis=1) for places in columns], axis=1)


def summary(encoded: Explanation, encoder: Any) -> pd.DataFrame:
    """Return one line for each encoded input, then one for each feature."""
    names, sums = by_feature(encoded, encoder)
    owner = {int(column): name for name, places in encoder.features().items() for column in places}
    inputs = _summary(encoded.values[:, :, 0], list(encoded.names))
    inputs.insert(0, "feature", [owner[column] for column in range(len(inputs))])
    features = _summary(sums, names)
    features.insert(0, "feature", names)
    inputs.insert(0, "level", "input")
    features.insert(0, "level", "feature")
    return pd.concat([inputs, features], ignore_index=True)


def _summary(values: Floats, names: list[str]) -> pd.DataFrame:
    total = values.sum(axis=0)
    norm = float(np.abs(total).sum())
    return pd.DataFrame(
        {
            "name": names,
            "mean": values.mean(axis=0),
            "mean_absolute": np.abs(values).mean(axis=0),
            "published": total / norm if norm > 0 else np.zeros_like(total),
        }
    )
