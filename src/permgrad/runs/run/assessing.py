"""A run's assessment: computed stage by stage or read from its folder, and its page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.assess import completed
from permgrad.assess.assessment import PLACES, Assessment
from permgrad.assess.predictions import Predictions, before_calibration
from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.assess.store import Store
from permgrad.base.files import plain, write_json_atomic, write_text_atomic
from permgrad.base.stored import read_json, read_npz
from permgrad.data.tasks import Task, tasks
from permgrad.pages.content import PageContent
from permgrad.pages.html import in_short, render_report
from permgrad.pages.verdict import PICTURE, verdict
from permgrad.pages.whatif import with_what_if
from permgrad.runs import run_documents as documents
from permgrad.runs.options import split_preset

REPORT = "report.html"
SUMMARY_FILE = "report.md"
#: The baselines' predictions for the test rows, with row numbers and classes in order.
BASELINE_PREDICTIONS = "baseline_predictions.npz"


# ---- files ---------------------------------------------------------------------------
def read_assessment(folder: Path, model: Any) -> Assessment:
    """Return what the folder of a run holds of its assessment."""
    data_facts = read_json(folder / documents.DATA)
    metrics = read_json(folder / documents.METRICS)
    content = Assessment(
        title=data_facts["table"],
        target=data_facts["target"],
        task=tasks.get(data_facts["task"]),
        positive=metrics.get("positive"),
        data=data_section(data_facts, read_json(folder / documents.COLUMNS)),
        subject=getattr(model, "label", ""),
    )
    for field_name, store_place in PLACES.items():
        if (value := Store(folder).get(*store_place)) is not None:
            setattr(content, field_name, value)
    weights = None
    if content.weights is not None:
        weights = np.asarray(content.weights["weights"], dtype=np.float64)
    table = documents.read_predictions(folder, data_facts)
    of_counts = "poisson_deviance" in (metrics.get("test") or {})
    predictions = _predictions_of(table, model, content.task, of_counts=of_counts)
    content.predictions = replace(predictions, weights=weights)
    if (folder / BASELINE_PREDICTIONS).exists():
        arrays = read_npz(folder / BASELINE_PREDICTIONS)
        guesses = {}
        for array_name, array in arrays.items():
            if array_name not in ("row", "classes"):
                guesses[array_name] = array
        content.guesses = guesses
    return content


def _predictions_of(
    table: pd.DataFrame, model: Any, task: Task, *, of_counts: bool
) -> Predictions:
    """Return the predictions for test rows as their file has them."""
    if task.numeric:
        return Predictions(
            truth=table["truth"].to_numpy(),
            guess=table["prediction"].to_numpy(dtype=np.float64),
            training_mean=float(model.training_mean_),
            counts=of_counts,
        )
    classes = tuple(map(str, model.classes_.tolist()))
    columns = [f"probability_{label}" for label in classes]
    guess = table[columns].to_numpy(dtype=np.float64)
    decision = model.decision_
    return Predictions(
        truth=table["truth"].to_numpy(dtype=object),
        classes=classes,
        guess=guess,
        before_calibration=before_calibration(
            getattr(model, "calibration_", None), guess
        ),
        called=None if decision is None else decision.called(guess),
        decision=decision,
    )


def data_section(data: Mapping[str, Any], columns: Mapping[str, Any]) -> DataSection:
    """Return what ``data.json`` and ``columns.json`` say of the table."""
    counts = data["class_counts"]
    data_card = data["card"] or {}
    shared_names = (
        "rows",
        "split",
        "shared_rows",
        "blank_rows",
        "alike_rows",
        "shared_expected",
        "leaks",
        "together",
        "cells",
        "target_signs",
    )
    return DataSection(
        **{field_name: data[field_name] for field_name in shared_names},
        # Earlier runs do not have them.
        row_groups=data.get("row_groups"),
        columns=pd.DataFrame(data["columns"]),
        class_counts=None
        if counts is None
        else pd.DataFrame.from_dict(counts, orient="index"),
        drift=columns.get("drift", ()),
        described=columns,
        notes=[
            f"Task: {data['task']} ({data['task_reason']}).",
            *data["notes"],
            *data_card.get("notes", ()),
        ],
        card={
            card_field: str(data_card[card_field])
            for card_field in ("title", "description", "home", "licence")
            if data_card.get(card_field)
        },
    )


# ---- the page ------------------------------------------------------------------------
def look_of(
    record: Mapping[str, Any], *, keep_rows: bool, title: str | None = None
) -> dict[str, Any]:
    """Return the title of a run's page, and whether it holds single rows.

    What the user does not ask for now is as the record keeps it.
    """
    stored_look = {"title": None, "keep_rows": True} | record["facts"].get("page", {})
    return {
        "title": stored_look["title"] if title is None else title,
        "keep_rows": keep_rows and stored_look["keep_rows"],
    }


def provenance_of(folder: Path, record: Mapping[str, Any]) -> ProvenanceSection:
    """Return what was run, as the record of a run says it."""
    configuration = record["configuration"]
    facts = record["facts"]
    return ProvenanceSection(
        command=record.get("command", ""),
        folder=os.fspath(folder),
        seed=configuration.get("seed"),
        versions=facts.get("versions", {}),
        machine=facts.get("machine", ""),
        configuration=configuration,
        configuration_hash=record["configuration_hash"],
        cut=facts.get("time", {}).get("cut", ()),
    )


def page_of(
    folder: Path,
    record: Mapping[str, Any],
    content: Assessment,
    model: Any,
    look: Mapping[str, Any],
) -> PageContent:
    """Return what the page of a run tells."""
    layout = folder / "layout.svg"
    if layout.is_file():
        drawing = layout.read_text(encoding="utf-8", errors="replace")
    else:
        drawing = None
    preset = split_preset(record["configuration"].get("preset", ""))[0]
    content = completed(content, model, preset=preset, layout=drawing)
    content = with_what_if(content, model, large=False, keep_rows=look["keep_rows"])
    title = look["title"] or content.title
    provenance = provenance_of(folder, record)
    return PageContent.of(replace(content, title=title, provenance=provenance))


def write_page(folder: Path, content: PageContent) -> None:
    """Write ``report.html``, ``report.md`` and its picture into a run's folder, and its
    verdict into the metrics.
    """
    write_text_atomic(folder / REPORT, render_report(content))
    summary_text, picture = in_short(content)
    if picture:
        write_text_atomic(folder / PICTURE, picture)
    write_text_atomic(folder / SUMMARY_FILE, summary_text)
    metrics = {**(content.metrics or {}), "verdict": plain(verdict(content))}
    write_json_atomic(folder / documents.METRICS, metrics)
