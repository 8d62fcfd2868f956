"""The explanations of a run: what the model relies on, and a few rows looked at one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import PermgradWarning, by_count, counted
from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.base.random import generator
from permgrad.runs.run import gradients, related, strongest
from permgrad.runs.run.cache import Cache
from permgrad.runs.run.reading import FILE, Attributions, reading_help, shown_output

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.runs.run.inputs import Inputs

#: Rows explained one by one in the report, and rows behind its beeswarm.
SHOWN_ROWS = 4
SWARM_ROWS = 200
#: Share of the output's range within which their attributions have settled. What the report draws and says shows less;
#: with the method's own default these rows would take half as long again.
SWARM_TOLERANCE = 0.005
#: Donors per row and feature.
REPEATS = 10
#: The kind of class activation map that the report shows. Of the three it tells classes apart best: on Covertype its
#: maps differ about twice as much between classes as between two trainings, where the image path carries 3 % of the
#: branch weights; Grad-CAM's differ less (verification/verify_classes.py).
MAPS = "layercam"
#: Features up to which each one's direction is traced; beyond, that would take longer than the ranking.
MOST_DIRECTIONS = 2000


def donors_per_row(features: int) -> int:
    """Return how many donors each row gets: fewer for very wide tables, where time would grow with every column.

    The intervals hold for any number of donors; fewer make them a little wider.

    Examples:
        >>> [donors_per_row(features) for features in (10, 1000, 3000, 10_000)]
        [10, 10, 3, 2]
    """
    return REPEATS if features <= 1000 else max(2, REPEATS * 1000 // features)


def explain_run(model: Any, inputs: Inputs, folder: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """Explain a run's model on its test rows; writes ``explanations/``, ``importance.csv`` and ``branches.json``.

    Args:
        model: The fitted estimator.
        inputs: The run's tables.
        folder: The run's folder.
        seed: Seed of donors and chosen rows.
        say: Takes lines that tell how it goes.
    """
    from permgrad.attribution.explain import explain
    from permgrad.attribution.explanation import file_frame

    test = inputs.parts["test"]
    known = np.ones(len(test.y), dtype=bool) if inputs.task == "regression" else np.isin(test.y, model.classes_)
    say_unknown(say, int((~known).sum()))
    X, y, rows = test.X[known], test.y[known], test.rows[known]
    store = folder / "explanations"
    features = len(model.preprocessor_.features())
    repeats, direction = donors_per_row(features), features <= MOST_DIRECTIONS
    if repeats < REPEATS:
        say(
            f"note: the table is wide, so each row gets {repeats} donors instead of {REPEATS}; intervals widen a little"
        )
    if not direction:
        say(f"note: the table is wide, so directions are left out (beyond {MOST_DIRECTIONS:,} features)")
    cache = Cache.of(folder)
    shared: dict[str, Any] = {"random_state": seed, "positive": inputs.positive}
    main = cache.explain(explain, model, X, y, n_repeats=repeats, direction=direction, **shared)
    main.save(store / "permgrad", overwrite=True)
    with atomic_path(folder / "importance.csv") as temporary:
        write_csv(file_frame(main), temporary)
    if inputs.task == "regression":
        strongest.write(folder, main, X, rows, inputs.na_codes)
    branches: dict[str, Any] = dict(main.branches or {})
    paper = None
    if {"tabular", "image"} <= set(model.module_.paths):
        paper = cache.explain(explain, model, X, y, method="permgrad-paper", **shared)
        paper.save(store / "permgrad-paper", overwrite=True)
    branches["paper"] = None if paper is None else paper.branches
    write_json_atomic(folder / "branches.json", branches)
    chosen = choose_rows(model, X, y)
    others = np.setdiff1d(
        generator(seed, "swarm rows").permutation(len(X))[:SWARM_ROWS], [place for place, _ in chosen]
    )
    swarm = np.concatenate([np.array([place for place, _ in chosen], dtype=np.int64), np.sort(others)])
    local = cache.explain(
        explain, model, X.iloc[swarm], method="integrated_gradients", tolerance=SWARM_TOLERANCE, **shared
    )
    local.save(store / "integrated_gradients", overwrite=True)
    attributions = attributions_of(model, inputs, y, local, swarm)
    if gradients.led(model):
        found, frame = gradients.explain_all(explain, cache, model, inputs, X, seed=seed)
        names, sums = gradients.by_feature(found[0], model.preprocessor_)
        attributions = Attributions(names, sums, np.arange(len(X)), found[0], 0)
        write_gradients(folder, found, frame)
    write_related(store, main, inputs.parts["train"].X, inputs)
    write_json_atomic(store / FILE, reading_help(inputs, main, X, y, attributions))
    if "image" in model.module_.paths and getattr(model.renderer_, "differentiable", True):
        with warnings.catch_warnings():
            # Maps of classes that a row does not have are often empty; of the predicted one the report says so itself.
            warnings.filterwarnings("ignore", "a class activation map should have cells above zero", PermgradWarning)
            maps = explain(
                model, X.iloc[[place for place, _ in chosen]], method="gradcam", variant=MAPS, random_state=seed
            )
        maps.save(store / "gradcam", overwrite=True)
    described = [describe_row(model, X, y, rows, place, why) for place, why in chosen]
    write_json_atomic(store / "rows.json", {"rows": described, "swarm": rows[swarm]})


def write_related(store: Path, main: Explanation, X: pd.DataFrame, inputs: Inputs) -> None:
    """Write which columns move with the features that clearly matter."""
    from permgrad.data.read.table import blank_codes

    names = main.clearly_matter()[: related.FEATURES]
    dates = inputs.schema.of_kind("date")
    known = blank_codes(X.drop(columns=[name for name in dates if name in X]), list(inputs.na_codes))
    pairs = related.related_features(known, names) if names else []
    write_json_atomic(store / related.FILE, {"rows": min(len(X), related.ROWS), "pairs": pairs})


def say_unknown(say: Callable[[str], None], count: int) -> None:
    """Say how many test rows are of a class that the model does not know."""
    if count:
        said = f"{counted(count, 'test row')} {by_count(count, 'has', 'have')} a class that no training row has"
        say(f"note: {said}; {by_count(count, 'it is', 'they are')} not explained")


def attributions_of(
    model: Any,
    inputs: Inputs,
    y: npt.NDArray[Any],
    local: Explanation,
    places: npt.NDArray[np.int64],
) -> Attributions:
    """Return the local attributions that stand beside the raw data in the report."""
    output = 0
    if hasattr(model, "classes_"):
        output = local.outputs.index(shown_output(inputs, model.classes_.tolist(), y))
    return Attributions(local.names, local.values[:, :, output], places, local, output)


def write_gradients(folder: Path, found: list[Explanation], frame: pd.DataFrame) -> None:
    """Write the summary of integrated gradients over all test rows, and what the report says about it."""
    with atomic_path(folder / gradients.SUMMARY) as temporary:
        write_csv(frame, temporary)
    kept = (
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
    facts = {
        "output": found[0].outputs[0],
        "rows": len(found[0].values),
        "baselines": [{name: encoded.meta.get(name) for name in kept} for encoded in found],
    }
    write_json_atomic(folder / "explanations" / "integrated_gradients.json", facts)


def choose_rows(model: Any, X: Any, y: npt.NDArray[Any]) -> list[tuple[int, str]]:
    """Choose a few rows worth looking at: usual ones, and the one that the model gets most wrong.

    Returns:
        Position among the rows, and why the row was chosen.
    """
    chosen: dict[int, str] = {}
    if hasattr(model, "classes_"):
        probabilities = model.predict_proba(X)
        place_of = {label: place for place, label in enumerate(model.classes_.tolist())}
        truth = np.array([place_of[label] for label in y.tolist()])
        predicted = probabilities.argmax(axis=1)
        of_truth = probabilities[np.arange(len(y)), truth]
        frequent = np.argsort(-np.bincount(truth, minlength=len(place_of)), kind="stable")
        for label in frequent[: SHOWN_ROWS - 1]:
            right = np.flatnonzero((predicted == label) & (truth == label))
            if len(right):
                order = right[np.argsort(of_truth[right], kind="stable")]
                chosen[int(order[len(order) // 2])] = "a usual row of its class, predicted right"
        wrong = np.flatnonzero(predicted != truth)
        if len(wrong):
            chosen.setdefault(int(wrong[of_truth[wrong].argmin()]), "the row with the clearest wrong prediction")
    else:
        predictions = model.predict(X)
        order = np.argsort(predictions, kind="stable")
        for share, why in ((0.1, "a low prediction"), (0.5, "a middling prediction"), (0.9, "a high prediction")):
            chosen.setdefault(int(order[min(int(share * len(order)), len(order) - 1)]), why)
        chosen.setdefault(int(np.abs(predictions - y).argmax()), "the row with the largest error")
    return list(chosen.items())


def describe_row(
    model: Any, X: Any, y: npt.NDArray[Any], rows: npt.NDArray[np.int64], place: int, why: str
) -> dict[str, Any]:
    """Return what the report says about a row."""
    one = X.take([place])
    truth = y[place].item()
    facts: dict[str, Any] = {"row": int(rows[place]), "truth": truth, "why": why}
    if hasattr(model, "classes_"):
        probabilities = model.predict_proba(one)[0]
        best = int(probabilities.argmax())
        facts |= {"prediction": model.classes_[best].item(), "output": best, "probability": float(probabilities[best])}
        said = f"predicted {facts['prediction']} with {probabilities[best]:.2f}"
    else:
        facts |= {"prediction": float(model.predict(one)[0]), "output": 0}
        said = f"predicted {facts['prediction']:.4g}"
    shown = truth if not isinstance(truth, float) else f"{truth:.4g}"
    return facts | {"title": f"Row {rows[place]}: {shown}, {said}"}


def saved_explanation(folder: Path, method: str) -> Explanation | None:
    """Return an explanation of a run's folder, or None if it has none by this method."""
    from permgrad.attribution.explanation import Explanation

    source = folder / "explanations" / method
    return Explanation.load(source) if source.is_dir() else None
