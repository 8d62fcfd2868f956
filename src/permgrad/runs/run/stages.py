"""The five stages of a run.

Each reads the files of earlier stages and writes its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from permgrad.assess.assess import fill
from permgrad.assess.sections.data import groups_by_part
from permgrad.assess.sections.provenance import this_machine
from permgrad.base.arrays import Floats, Integers
from permgrad.base.csv_files import write_csv
from permgrad.base.dependence import Dependence
from permgrad.base.errors import by_count, counted, listed
from permgrad.base.files import plain, write_text_atomic
from permgrad.base.folders import believed
from permgrad.base.random import generator
from permgrad.base.sequences import values_at
from permgrad.base.stored import write_npz
from permgrad.base.versions import versions
from permgrad.data.encode.groups import PROPOSED
from permgrad.data.types.column_types import with_categories
from permgrad.evaluation.column_summary import summary_of
from permgrad.evaluation.drift import compare_parts
from permgrad.evaluation.related import MOST_RELATED, related_columns
from permgrad.imaging.layout import StoredLayout, extent, layout_to_dict
from permgrad.models.estimators.building import place_columns
from permgrad.models.estimators.order import Order
from permgrad.models.estimators.settings import choose_device, resolve_settings
from permgrad.pages.alarms import alarm_sentences
from permgrad.pages.verdict import first_sentence
from permgrad.pages.words import training_words
from permgrad.runs.options import data_sets, separated
from permgrad.runs.run.assessing import write_page
from permgrad.runs.run.clock import MOST_HELD
from permgrad.runs.run.others import fit_other
from permgrad.runs.run.run_alarms import alarms_of
from permgrad.runs.run.run_splitting import PARTS
from permgrad.runs.run.run_training import expect_baselines, train_network
from permgrad.runs.run.run_work import RunWork
from permgrad.runs.run_documents import COLUMNS, DATA, TRAINING
from permgrad.runs.run_folder import EFFECTS

LAYOUT = "layout.json"


# ---- data ----------------------------------------------------------------------------
def _frequent(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return the classes with their numbers of rows, the most frequent first."""
    sums = {}
    for class_name, counts_by_part in counts.items():
        sums[class_name] = sum(counts_by_part.values())
    texts = []
    for class_name in sorted(sums, key=lambda class_name: -sums[class_name]):
        texts.append(f"{class_name} ({sums[class_name]:,})")
    return listed(texts, 8)


def _sources(request: Any) -> dict[str, str]:
    """Return paths that are valid from any folder, or names of data sets, by role."""
    sources = {}
    for source_role in ("table", "test"):
        source_path = getattr(request, source_role)
        if source_path is None:
            continue
        if source_path not in data_sets():
            source_path = Path(source_path).absolute()
        sources[source_role] = os.fspath(source_path)
    return sources


def data_stage(work: RunWork) -> None:
    """Write the types of the columns and the split."""
    inputs = work.inputs
    request = work.request
    shown, columns = inputs.described
    for shown_line in shown.splitlines():
        work.say(f"  {shown_line}")
    counts = inputs.class_counts
    if counts is not None:
        work.say(f"  classes of {inputs.target!r}: {_frequent(counts)}")
    notes = work.notes
    for work_note in notes:
        work.say(f"note: {work_note}")
    alarms = alarms_of(inputs)
    for sentence in alarm_sentences(inputs.target, alarms):
        work.say(f"ALARM: {sentence}")
    content = _content_of_data(work, columns)
    content |= {"notes": notes, "leaks": alarms.leaks, "class_counts": counts}
    work.write(DATA, content)
    _write_columns(work)
    write_npz(
        work.folder.path / "split.npz",
        {part_name: inputs.parts[part_name].numbers for part_name in PARTS},
    )
    threads = torch.get_num_threads()
    machine = (
        f"{this_machine()}, {counted(threads, 'thread')}, device "
        f"{choose_device(request.device)}"
    )
    work.folder.record["facts"].update(
        plain(
            {
                "versions": versions(),
                "machine": machine,
                "threads": threads,
                "sources": _sources(request),
            }
        )
    )


#: Fields of the inputs that are stored as they are.
_STORED = (
    "target",
    "task",
    "task_reason",
    "split",
    "groups",
    "units",
    "shared_rows",
    "shared_expected",
    "blank_rows",
    "alike_rows",
    "decimal",
    "texts",
    "together",
    "cells",
    "target_signs",
)


def _content_of_data(work: RunWork, columns: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is stored of the data, whose ``columns`` are described."""
    inputs = work.inputs
    request = work.request
    content: dict[str, Any] = {
        "table": inputs.name,
        **{field_name: getattr(inputs, field_name) for field_name in _STORED},
        "rows": {part_name: len(inputs.parts[part_name]) for part_name in PARTS},
        "row_groups": groups_by_part(inputs.parts),
        "columns": columns,
        "identifiers": list(request.identifier),
        "weight": request.weight,
        "na": list(inputs.na),
        "not_na": list(separated(request.not_na)),
        "pairs": {
            pair_name: list(pair_parts)
            for pair_name, pair_parts in inputs.pairs.items()
        },
        "card": None if inputs.card is None else inputs.card.to_dict(),
        "positive": plain(inputs.positive),
    }
    if request.offset is not None:
        content["offset"] = request.offset
    return content


def _write_columns(work: RunWork) -> None:
    """Write how the columns differ between the training and the test rows, and the
    summary of the training rows.
    """
    inputs = work.inputs
    train, _, test_part = values_at(inputs.parts, PARTS)
    train_table = with_categories(train.frame, inputs.feature_types)
    compared = compare_parts(
        train_table,
        with_categories(test_part.frame, inputs.feature_types),
        targets=(inputs.target, train.y, test_part.y),
        na=inputs.na,
        dependence=Dependence.of_both(train.dependence, test_part.dependence),
    )
    # Test rows are later by the split.
    compared["drift"] = [
        drift_entry
        for drift_entry in compared["drift"]
        if drift_entry["column"] != work.request.time
    ]
    work.write(COLUMNS, compared)
    with_target = train_table.assign(**{str(inputs.target): train.y})
    work.write(
        TRAINING,
        summary_of(with_target, na=inputs.na, dependence=train.dependence),
    )


# ---- layout --------------------------------------------------------------------------
def layout_stage(work: RunWork) -> None:
    """Place the encoded columns on the pixel grid, and draw the grid, if their image is
    drawn.
    """
    if work.chosen != "network":
        work.write(LAYOUT, {"order": None})
        return
    model, encoded_rows = work.untrained
    settings = resolve_settings(model.get_params(deep=False), model.task)
    _, layout = place_columns(
        model, settings, encoded_rows.encoded, work.inputs.parts["train"].y
    )
    names = list(encoded_rows.encoder.encoded_names_)
    order = model.order_
    content: dict[str, Any] = {"order": None if order is None else asdict(order)}
    if order is not None and order.found:
        work.say(f"  {order.sentence(model.task)}")
    if layout is not None:
        if layout.pixels > 20:
            work.say(
                f"note: the image has {extent(layout.shape)}, to hold {len(names)} "
                "columns"
            )
        from permgrad.imaging.picture import (
            layout_svg,
        )  # loads matplotlib, which few networks need

        write_text_atomic(work.folder.path / "layout.svg", layout_svg(layout, names))
        content |= {**layout_to_dict(layout), "columns": names}
    work.write(LAYOUT, content)


# ---- model ---------------------------------------------------------------------------
def model_stage(work: RunWork) -> None:
    """Train the model, evaluate it on validation and test rows, and train the baselines
    if requested.

    Only validation rows of known classes stop the training.
    """
    request = work.request
    folder = work.folder
    rows_by_part = work.inputs.parts
    model = work.untrained[0]
    if work.chosen == "network":
        with believed(folder.path):
            placed = work.read(LAYOUT)
            layout = StoredLayout.from_dict(placed) if "positions" in placed else None
        model.set_params(
            layout=layout, **({"image": "never"} if layout is None else {})
        )
        model.order_ = Order(**placed["order"]) if placed.get("order") else None
    for later_part in PARTS[1:]:
        work.encoded[later_part] = model.encode_rows(rows_by_part[later_part].inputs)
    judging = np.flatnonzero(work.inputs.learned)
    if len(judging) > MOST_HELD and not work.clock.thorough:
        # A random part of very many rows is enough to compare epochs by.
        judging = judging[
            np.sort(
                generator(request.seed, "rows that judge").permutation(len(judging))[
                    :MOST_HELD
                ]
            )
        ]
    baseline_seconds = expect_baselines(work) if request.wanted_baselines else 0.0
    if work.chosen == "network":
        train_network(work, *work.untrained, judging, baseline_seconds)
    else:
        fit_other(work, judging, baseline_seconds)
    folder.record["facts"]["time"] = work.clock.facts()
    work.model = model
    work.inputs.parts["validation"] = replace(
        rows_by_part["validation"], outputs=_held_out_outputs(work, judging)
    )
    model.save(folder.path / "model", overwrite=True, keep_rows=request.keep_rows)
    work.measure()
    if work.chosen != "network":
        work.say(f"  {first_sentence(work.assessing.content)}")
    if count := int((~work.inputs.learned).sum()):
        row_words = (
            f"{counted(count, 'validation row')} "
            f"{by_count(count, 'has', 'have')} a class that no training row has"
        )
        work.say(
            f"note: {row_words}; {by_count(count, 'it is', 'they are')} not used to "
            "stop the training"
        )


def _held_out_outputs(work: RunWork, judging: Integers) -> Floats | None:
    """Return what judges the validation rows where some have taught branches: what fits
    say that left them out, of others the model.
    """
    held_out_outputs = getattr(work.model, "held_out_outputs_", None)
    if held_out_outputs is None:
        return None
    outputs = work.model.predict_encoded(work.encoded["validation"].encoded)
    outputs = outputs.astype(np.float64)
    outputs[judging] = held_out_outputs
    return outputs


# ---- explanation and report ----------------------------------------------------------
def explanation_stage(work: RunWork) -> None:
    """Explain a run's model on its test rows.

    Writes ``explanations/``, ``importance.csv``, ``effects.csv`` and ``branches.json``.
    """
    folder = work.folder.path
    with work.clock.whole.part("explanation"):
        content = fill(work.assessing, ("explanation",))
    write_csv(work.importances, folder / "importance.csv")
    if content.cards is not None and content.cards.changes is not None:
        effects = content.cards.changes
        counts = effects.columns.intersection(["rows", "groups"])
        write_csv(effects.astype(dict.fromkeys(counts, np.int64)), folder / EFFECTS)
    if content.gradients is not None:
        write_csv(content.gradients.table, folder / "integrated_gradients.csv")
    cells = work.assessing.undated
    assert cells is not None
    # Groups of columns that move together, in the form of --groups. Very wide tables
    # are not compared.
    if 1 < cells.shape[1] <= MOST_RELATED and len(cells) > 3:
        related_groups = related_columns(cells)
    else:
        related_groups = {}
    members = work.assessing.members
    work.write(
        PROPOSED,
        {
            group_name: [
                member_name
                for group_column in names
                for member_name in members.get(group_column, (group_column,))
            ]
            for group_name, names in related_groups.items()
        },
    )
    if content.refits is not None:
        work.say(f"  {training_words(content.refits)}")


def report_stage(work: RunWork) -> None:
    """Write the page. Its title stays in the record."""
    record = work.folder.record
    # What was cut from a training of an earlier session stays.
    earlier = [
        words
        for words in record["facts"].get("time", {}).get("cut", ())
        if words.startswith("training")
    ]
    work.clock.cut = list(dict.fromkeys([*earlier, *work.clock.cut]))
    for words in work.clock.cut:
        work.say(f"note: the time limit cut the {words}")
    record["facts"]["time"] = work.clock.facts()
    with work.clock.whole.part("report"):
        write_page(work.folder.path, work.page)


STAGE_WORK: dict[str, Callable[[RunWork], Any]] = {
    "data": data_stage,
    "layout": layout_stage,
    "model": model_stage,
    "explanation": explanation_stage,
    "report": report_stage,
}
