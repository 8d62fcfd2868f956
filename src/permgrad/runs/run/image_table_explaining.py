"""The explanations of a network of images and a table: what a run writes, and what ``permgrad explain`` asks for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from permgrad.base.csv_files import write_csv
from permgrad.base.errors import PermgradWarning
from permgrad.base.files import atomic_path, write_json_atomic
from permgrad.base.random import generator
from permgrad.runs.run.explaining import choose_rows, describe_row, say_unknown, write_related
from permgrad.runs.run.inputs import Inputs

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.models.estimators.image_table import ImageTableModel, Records

#: Test rows behind the importances of a run, and donors of each: an image costs far more than a row of a table.
MOST_ROWS = 300
REPEATS = 5
#: Patches on each side of an image in a run's ranking, few enough to stand beside the table's columns.
RANKED_PATCHES = 4


def explain_records(
    model: ImageTableModel, records: Records, y: npt.NDArray[Any] | None, **options: Any
) -> Explanation:
    """Explain a network of images and a table with its raw columns, and segments of its images, as players.

    Args:
        model: the fitted model.
        records: rows to explain.
        y: their targets as the model's classes or numbers, or None.
        **options: as in ``pg.explain``.
    """
    from permgrad.attribution.explain import explain

    given: dict[str, Any] = {"background": model.background(), "task": model.task, "progress": "auto"}
    if model.task == "classification":
        given |= {"output_kind": "logits", "class_names": [str(label) for label in model.classes_.tolist()]}
        # By name: numbers of classes would be taken for names where classes are 1, 2, 3 and no row is of the first.
        y = None if y is None else np.array([str(own) for own in np.asarray(y).astype(model.classes_.dtype).tolist()])
    if options.get("level") != "modality":
        given["groups"] = model.groups_
        # One grid for all methods: a patch has the same name and place wherever it is met.
        given["segments"] = ("grid", RANKED_PATCHES)
    inputs = model.inputs(records)
    found = explain(model.module_, inputs, y, **{**given, **options})
    if found.scope == "global":
        # What holds for all rows is drawn on their mean image.
        means = {f"images:{own.name}": inputs[own.name].mean(axis=0, keepdims=True) for own in model.images_}
        found = replace(found, maps=means | found.maps)
    if found.scope == "local" and found.level != "modality":
        names = [name for name in found.names if name in records.table.columns]
        found = replace(found, feature_values=records.table[names].reset_index(drop=True) if names else None)
    # A group of one raw column's encoded columns is that column: what people call a feature.
    return replace(found, level="feature", groups={}) if found.level == "group" else found


def explain_run(model: ImageTableModel, inputs: Inputs, folder: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """Explain a run's network on its test rows; writes ``explanations/``, ``importance.csv`` and ``branches.json``.

    ``branches.json`` holds the importance of each input of the network in the place of a hybrid network's paths.
    """
    from permgrad.attribution.explanation import file_frame
    from permgrad.runs.run.image_table import records_of

    part = inputs.parts["test"]
    known = np.ones(len(part.y), dtype=bool) if inputs.task == "regression" else np.isin(part.y, model.classes_)
    say_unknown(say, int((~known).sum()))
    places = np.flatnonzero(known)
    if len(places) > MOST_ROWS:
        say(f"note: {MOST_ROWS} of {len(places):,} test rows, drawn at random, are explained")
        places = np.sort(generator(seed, "explained rows").permutation(places)[:MOST_ROWS])
    records, rows = records_of(part).take(places), part.rows[places]
    y = part.y[places]
    store = folder / "explanations"
    shared: dict[str, Any] = {"random_state": seed, "positive": inputs.positive}
    main = explain_records(model, records, y, n_repeats=REPEATS, **shared)
    main.save(store / "permgrad", overwrite=True)
    with atomic_path(folder / "importance.csv") as temporary:
        write_csv(file_frame(main), temporary)
    write_related(store, main, records_of(inputs.parts["train"]).table, inputs)
    whole = explain_records(model, records, y, level="modality", **shared)
    whole.save(store / "modality", overwrite=True)
    write_json_atomic(folder / "branches.json", branches_of(whole))
    chosen = choose_rows(model, records, y)
    shown = np.array([place for place, _ in chosen], dtype=np.int64)
    local = explain_records(model, records.take(shown), None, method="integrated_gradients", **shared)
    local.save(store / "integrated_gradients", overwrite=True)
    with warnings.catch_warnings():
        # Maps of classes that a row does not have are often empty; of the predicted one the report says so itself.
        warnings.filterwarnings("ignore", "a class activation map should have cells above zero", PermgradWarning)
        maps = explain_records(model, records.take(shown), None, method="gradcam", **shared)
    maps.save(store / "gradcam", overwrite=True)
    described = [describe_row(model, records, y, rows, place, why) for place, why in chosen]
    write_json_atomic(store / "rows.json", {"rows": described})


def branches_of(whole: Explanation) -> dict[str, Any]:
    """Return the importance of whole inputs as ``branches.json`` holds it: importance, interval, share, alone, last."""
    if whole.branches:
        return dict(whole.branches)
    low, high = whole.ci()
    entries: dict[str, Any] = {}
    for place, name in enumerate(whole.names):
        entries[name] = {"importance": whole.values[place, 0], "ci_low": low[place, 0], "ci_high": high[place, 0]}
        entries[name] |= {part: values[place, 0] for part, values in whole.parts.items()}
    return entries


def image_inputs(explanation: Explanation) -> list[str]:
    """Return the image inputs over which an explanation can be drawn."""
    kinds = ("maps:", "segments:")
    found = [key.partition(":")[2] for key in explanation.maps if key.startswith(kinds)]
    return [name for name in dict.fromkeys(found) if name]


def image_plots(explanation: Explanation, **options: Any) -> Mapping[str, Any]:
    """Return an overlay for each image input, by input."""
    return {name: explanation.plot.image(input=name, **options) for name in image_inputs(explanation)}
