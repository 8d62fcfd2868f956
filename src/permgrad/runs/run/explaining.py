"""The explanations of a run: what the model relies on, and a few rows looked at one by one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import PermgradWarning, by_count, counted
from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.base.random import generator
from permgrad.data.read.table import blank_codes
from permgrad.runs.run import gradients, images, related, strongest
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
#: Donors per row and feature, and the same of images, of which at most so many test rows are explained: an image costs
#: far more than a row of a table.
REPEATS = 10
IMAGE_REPEATS, MOST_IMAGE_ROWS = 5, 300
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


@dataclass(frozen=True)
class _Explained:
    """The test rows that a run explains, and how.

    Attributes:
        rows: As the model takes them, ``y`` their targets, ``numbers`` theirs in the file.
        predicted: What the model says of them.
    """

    model: Any
    inputs: Inputs
    folder: Path
    seed: int
    say: Callable[[str], None]
    rows: Any
    y: npt.NDArray[Any]
    numbers: npt.NDArray[np.int64]
    predicted: Mapping[str, npt.NDArray[Any]]
    cache: Cache

    @property
    def store(self) -> Path:
        return self.folder / "explanations"

    @property
    def classes(self) -> list[Any] | None:
        return self.model.classes_.tolist() if hasattr(self.model, "classes_") else None

    def explain(self, name: str | None, rows: Any, y: Any = None, **options: Any) -> Explanation:
        """Explain rows, and save the explanation under a name; None: it is only for what is computed from it."""
        from permgrad.attribution.explain import explain

        place = None if name is None else self.store / name
        options = {"random_state": self.seed, "positive": self.inputs.positive, **options}
        if isinstance(rows, pd.DataFrame) and name != "gradcam":
            return self.cache.explain(explain, self.model, rows, y, store=place, **options)
        compute = explain if isinstance(rows, pd.DataFrame) else images.explain_records
        explanation = compute(self.model, rows, y, **options)
        if place is not None:
            explanation.save(place, overwrite=True)
        return explanation


def explain_run(
    model: Any,
    inputs: Inputs,
    folder: Path,
    *,
    seed: int,
    say: Callable[[str], None],
    predicted: Mapping[str, npt.NDArray[Any]],
) -> None:
    """Explain a run's model on its test rows; writes ``explanations/``, ``importance.csv`` and ``branches.json``."""
    from permgrad.attribution.explanation import file_frame

    with_images = images.is_image_model(model)
    places = _explained_places(model, inputs, seed, say, most=MOST_IMAGE_ROWS if with_images else None)
    part = inputs.parts["test"]
    run = _Explained(
        model=model,
        inputs=inputs,
        folder=folder,
        seed=seed,
        say=say,
        rows=images.model_rows(part).take(places),
        y=part.y[places],
        numbers=part.rows[places],
        predicted={name: values[places] for name, values in predicted.items()},
        cache=Cache.of(folder),
    )
    main = run.explain("permgrad", run.rows, run.y, **({"n_repeats": IMAGE_REPEATS} if with_images else _width(run)))
    with atomic_path(folder / "importance.csv") as temporary:
        write_csv(file_frame(main), temporary)
    _write_related(run, main)
    if with_images:
        modalities = run.explain("modality", run.rows, run.y, level="modality")
        write_json_atomic(folder / "branches.json", images.inputs_importance(modalities))
    else:
        write_json_atomic(folder / "branches.json", _paths(run, main))
    chosen = choose_rows(run.predicted, run.y, run.classes)
    shown = np.array(list(chosen), dtype=np.int64)
    facts: dict[str, Any] = {"rows": [describe_row(run, place, why) for place, why in chosen.items()]}
    if with_images:
        run.explain("integrated_gradients", run.rows.take(shown), method="integrated_gradients")
    else:
        swarm = _explain_swarm(run, main, shown)
        facts["swarm"] = run.numbers[swarm]
    _write_maps(run, shown)
    write_json_atomic(run.store / "rows.json", facts)


def _explained_places(
    model: Any, inputs: Inputs, seed: int, say: Callable[[str], None], most: int | None
) -> npt.NDArray[np.int64]:
    """Return which test rows are explained: those of a class that the model knows, at most so many of them."""
    y = inputs.parts["test"].y
    places = np.arange(len(y)) if inputs.task == "regression" else np.flatnonzero(np.isin(y, model.classes_))
    if unknown := len(y) - len(places):
        rows = f"{counted(unknown, 'test row')} {by_count(unknown, 'has', 'have')} a class that no training row has"
        say(f"note: {rows}; {by_count(unknown, 'it is', 'they are')} not explained")
    if most is None or len(places) <= most:
        return places
    say(f"note: {most} of {len(places):,} test rows, drawn at random, are explained")
    return np.sort(generator(seed, "explained rows").permutation(places)[:most])


def _width(run: _Explained) -> dict[str, Any]:
    """Return what the number of features leaves time for."""
    features = len(run.model.preprocessor_.features())
    repeats, direction = donors_per_row(features), features <= MOST_DIRECTIONS
    if repeats < REPEATS:
        run.say(
            f"note: the table is wide, so each row gets {repeats} donors instead of {REPEATS}; intervals widen a little"
        )
    if not direction:
        run.say(f"note: the table is wide, so directions are left out (beyond {MOST_DIRECTIONS:,} features)")
    return {"n_repeats": repeats, "direction": direction}


def _paths(run: _Explained, main: Explanation) -> dict[str, Any]:
    """Return what ``branches.json`` holds of a hybrid network, and explain it as published."""
    paper = None
    if {"tabular", "image"} <= set(run.model.module_.paths):
        paper = run.explain("permgrad-paper", run.rows, run.y, method="permgrad-paper")
    return {**(main.branches or {}), "paper": None if paper is None else paper.branches}


def _explain_swarm(run: _Explained, main: Explanation, shown: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Explain the rows of the beeswarm, and write what helps to read them; return these rows, those shown first."""
    drawn = np.setdiff1d(generator(run.seed, "swarm rows").permutation(len(run.rows))[:SWARM_ROWS], shown)
    swarm = np.concatenate([shown, np.sort(drawn)])
    method = {"method": "integrated_gradients", "tolerance": SWARM_TOLERANCE}
    local = run.explain("integrated_gradients", run.rows.iloc[swarm], **method)
    output = 0 if run.classes is None else local.outputs.index(shown_output(run.inputs, run.classes, run.y))
    attributions = Attributions(local.names, local.values[:, :, output], swarm, local, output)
    if gradients.led(run.model):
        encoded, table = gradients.explain_all(run.explain, run.model, run.inputs, run.rows)
        names, sums = gradients.by_feature(encoded[0], run.model.preprocessor_)
        attributions = Attributions(names, sums, np.arange(len(run.rows)), encoded[0], 0)
        gradients.write(run.folder, encoded, table)
    if run.inputs.task == "regression":
        strongest.write(run.folder, main, run.rows, run.numbers, run.inputs.na_codes)
    write_json_atomic(run.store / FILE, reading_help(run.inputs, main, run.rows, run.y, attributions))
    return swarm


def _write_maps(run: _Explained, shown: npt.NDArray[np.int64]) -> None:
    """Explain the rows shown by class activation maps, if the network has an image to draw them on."""
    options: dict[str, Any] = {}
    if isinstance(run.rows, pd.DataFrame):
        if not ("image" in run.model.module_.paths and getattr(run.model.renderer_, "differentiable", True)):
            return
        options = {"variant": MAPS}
    with warnings.catch_warnings():
        # Maps of classes that a row does not have are often empty; of the predicted one the report says so itself.
        warnings.filterwarnings("ignore", "a class activation map should have cells above zero", PermgradWarning)
        run.explain("gradcam", run.rows.take(shown), method="gradcam", **options)


def _write_related(run: _Explained, main: Explanation) -> None:
    """Write which columns move with the features that clearly matter."""
    inputs, train = run.inputs, run.inputs.parts["train"].X
    names = main.clearly_matter()[: related.FEATURES]
    dates = inputs.schema.of_kind("date")
    cells = blank_codes(train.drop(columns=[name for name in dates if name in train]), list(inputs.na_codes))
    pairs = related.related_features(cells, names) if names else []
    write_json_atomic(run.store / related.FILE, {"rows": min(len(train), related.ROWS), "pairs": pairs})


# ---- single rows -----------------------------------------------------------------------------------------------------
def choose_rows(
    predicted: Mapping[str, npt.NDArray[Any]], y: npt.NDArray[Any], classes: list[Any] | None
) -> dict[int, str]:
    """Choose a few rows worth looking at: usual ones, and the one that the model gets most wrong."""
    chosen: dict[int, str] = {}
    if classes is None:
        predictions = predicted["prediction"]
        order = np.argsort(predictions, kind="stable")
        for share, why in ((0.1, "a low prediction"), (0.5, "a middling prediction"), (0.9, "a high prediction")):
            chosen.setdefault(int(order[min(int(share * len(order)), len(order) - 1)]), why)
        chosen.setdefault(int(np.abs(predictions - y).argmax()), "the row with the largest error")
        return chosen
    probabilities = predicted["probabilities"]
    place_of = {label: place for place, label in enumerate(classes)}
    truth = np.array([place_of[label] for label in y.tolist()])
    best = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(y)), truth]
    frequent = np.argsort(-np.bincount(truth, minlength=len(classes)), kind="stable")
    for label in frequent[: SHOWN_ROWS - 1]:
        right = np.flatnonzero((best == label) & (truth == label))
        if len(right):
            order = right[np.argsort(of_truth[right], kind="stable")]
            chosen[int(order[len(order) // 2])] = "a usual row of its class, predicted right"
    wrong = np.flatnonzero(best != truth)
    if len(wrong):
        chosen.setdefault(int(wrong[of_truth[wrong].argmin()]), "the row with the clearest wrong prediction")
    return chosen


def describe_row(run: _Explained, place: int, why: str) -> dict[str, Any]:
    """Return what the report says about a row."""
    truth = run.y[place].item()
    facts: dict[str, Any] = {"row": int(run.numbers[place]), "truth": truth, "why": why}
    if run.classes is None:
        facts |= {"prediction": float(run.predicted["prediction"][place]), "output": 0}
        words = f"predicted {facts['prediction']:.4g}"
    else:
        probabilities = run.predicted["probabilities"][place]
        best = int(probabilities.argmax())
        facts |= {"prediction": run.classes[best], "output": best, "probability": float(probabilities[best])}
        words = f"predicted {facts['prediction']} with {probabilities[best]:.2f}"
    shown = truth if not isinstance(truth, float) else f"{truth:.4g}"
    return facts | {"title": f"Row {run.numbers[place]}: {shown}, {words}"}
