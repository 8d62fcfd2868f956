"""The published network for UCI Bank Marketing, preset ``ig_example``: ranking, time,
and the accuracy of every cut.

    PERMGRAD_DATA=… python -m benchmarks.quality.ig_example

Split 80/20, stratified, ``random_state=42``. Floor: mean ROC-AUC over five seeds at
least 0.927, each training under one minute. The published code cuts the logit at 0.5;
with a weighted loss the logit of equal odds is log(pos_weight). Thresholds "chosen"
come from a second fit per seed, on 90 % of the training rows, and from its other 10 %;
they, and the two calibrations, are judged on the same test rows. ``--published`` adds
the published schedule, minutes per seed.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from permgrad.evaluation.metrics import evaluate
from permgrad.evaluation.thresholds import choose_threshold, metrics_at

AUC_FLOOR, SECONDS_FLOOR = 0.927, 60.0
COST = {"false_negative": 8.0, "false_positive": 1.0}


def fit(X: Any, y: Any, seed: int, **options: Any) -> tuple[Any, float]:
    """Return the fitted model and the seconds that fitting took."""
    start = time.perf_counter()
    model = pg.HyNNClassifier(
        **{"preset": "ig_example", "random_state": seed, "progress": False, **options}
    ).fit(X, y)
    return model, time.perf_counter() - start


def cuts_of(model: Any, X: Any, y: Any) -> dict[str, dict[str, Any]]:
    """Return what each fixed cut of the logit makes of the test rows."""
    logit = model.predict_encoded(model.encode_rows(X).encoded)[:, 0]
    shift = float(np.log(model.class_weights_[1] / model.class_weights_[0]))
    values = {
        "logit 0": 0.0,
        "logit 0.5, as published": 0.5,
        f"logit log {np.exp(shift):.2f}": shift,
    }
    return {name: metrics_at(y, logit, value) for name, value in values.items()}


def chosen_cuts(
    X: Any, y: Any, X_test: Any, y_test: Any, seed: int
) -> dict[str, dict[str, Any]]:
    """Choose thresholds on rows held out of training, and measure them on the test
    rows.
    """
    X_train, X_held, y_train, y_held = train_test_split(
        X, y, test_size=0.1, stratify=y, random_state=seed
    )
    model, _ = fit(X_train, y_train, seed)
    held, test = (model.predict_proba(rows)[:, 1] for rows in (X_held, X_test))
    found: dict[str, dict[str, Any]] = {}
    for by in ("f1", "balanced_accuracy", "cost"):
        cost = COST if by == "cost" else None
        threshold = choose_threshold(y_held, held, by=by, cost=cost)
        found[f"chosen for {by}"] = metrics_at(y_test, test, threshold.value, COST)
    return found


def one_seed(parts: Any, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Train, and measure everything on the test rows."""
    X, X_test, y, y_test = parts
    model, seconds = fit(X, y, seed, **options)
    assert model.module_.encoded == 51
    scores = model.predict_proba(X_test)[:, 1]
    truth = y_test == "yes"
    found = {
        "seed": seed,
        "roc_auc": float(roc_auc_score(truth, scores)),
        "average_precision": float(average_precision_score(truth, scores)),
        "lift": evaluate(
            "classification",
            truth,
            probabilities=model.predict_proba(X_test),
            classes=[False, True],
        )["lift"],
        "seconds": seconds,
        "cuts": cuts_of(model, X_test, y_test)
        | (chosen_cuts(X, y, X_test, y_test, seed) if not options else {}),
    }
    if not options:
        found["log_loss"] = {"none": float(log_loss(truth, scores))}
        for calibration in ("prior", "temperature", "isotonic"):
            other, _ = fit(X, y, seed, calibration=calibration, validation_fraction=0.1)
            found["log_loss"][calibration] = float(
                log_loss(truth, other.predict_proba(X_test)[:, 1])
            )
    return found


def summary_of(rows: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the tables of one preset, and the means behind them."""
    names = ("roc_auc", "average_precision", "lift", "seconds")
    means = {name: statistics.mean(row[name] for row in rows) for name in names}
    seeds = [{name: row[name] for name in ("seed", *names)} for row in rows] + [
        {"seed": "mean", **means}
    ]
    cuts = []
    for cut in rows[0]["cuts"]:
        mean = {
            name: statistics.mean(row["cuts"][cut][name] for row in rows)
            for name in (
                "accuracy",
                "balanced_accuracy",
                "precision",
                "recall",
                "f1",
                "called",
            )
        }
        cuts.append({"cut": cut, **mean})
    matrix = np.mean(
        [row["cuts"]["logit log 7.55"]["confusion_matrix"] for row in rows], axis=0
    )
    text = f"{markdown_table(seeds)}\n\n{markdown_table(cuts)}\n\n"
    text += (
        "Confusion matrix at log 7.55, mean over seeds (rows are truth, no and "
        f"yes): {matrix.round(1).tolist()}.\n"
    )
    if "log_loss" in rows[0]:
        losses = {
            name: statistics.mean(row["log_loss"][name] for row in rows)
            for name in rows[0]["log_loss"]
        }
        text += (
            "\nTest log loss by calibration (those other than none train on 90 % "
            "of the training rows):\n\n"
        )
        text += markdown_table([losses]) + "\n"
        means["log_loss"] = losses
    return text, {"means": means, "cuts": cuts, "rows": rows}


def main() -> int:
    """Measure and record."""
    arguments_of = parser(__doc__)
    arguments_of.add_argument(
        "--published", action="store_true", help="also the published schedule"
    )
    arguments = arguments_of.parse_args()
    frame = pg.load_dataset("bank").frame
    X, y = frame.drop(columns="y"), frame["y"].to_numpy()
    parts = train_test_split(X, y, test_size=0.2, stratify=y, random_state=42)
    seeds = range(1 if arguments.quick else 5)
    rows = [one_seed(parts, seed, {}) for seed in seeds]
    text, found = summary_of(rows)
    majority = float(np.mean(parts[3] == "no"))
    text = (
        f"{len(parts[2])} training and {len(parts[3])} test rows; "
        f"{torch.get_num_threads()} thread(s).\n"
        f"Always no: accuracy {majority:.4f}.\n\n{text}"
    )
    data: dict[str, Any] = {"ig_example": found, "majority": majority}
    if arguments.published:
        more, data["ig_example_published"] = summary_of(
            [
                one_seed(parts, seed, {"preset": "ig_example_published"})
                for seed in seeds
            ]
        )
        text += f"\n## The published schedule (`ig_example_published`)\n\n{more}"
    slowest = max(row["seconds"] for row in rows)
    passed = found["means"]["roc_auc"] >= AUC_FLOOR and slowest < SECONDS_FLOOR
    return record(
        arguments,
        "The ig_example on bank",
        text.rstrip(),
        data,
        passed=passed,
        seeds=list(seeds),
    )


if __name__ == "__main__":
    raise SystemExit(main())
