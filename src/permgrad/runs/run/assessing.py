"""A run's assessment: computed stage by stage or read from its folder, and its page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from permgrad.assess.assess import completed, fill
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget
from permgrad.assess.first_format import MARK, read_first_format
from permgrad.assess.model import Network
from permgrad.assess.predictions import Predictions, before_calibration
from permgrad.assess.sections.data import DataSection
from permgrad.assess.sections.provenance import ProvenanceSection
from permgrad.assess.sections.scores import with_positive
from permgrad.assess.store import Store
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import file_frame
from permgrad.base.csv_files import write_csv
from permgrad.base.errors import InputError
from permgrad.base.files import atomic_path, plain, write_json_atomic, write_text_atomic
from permgrad.base.stored import read_npz
from permgrad.evaluation.related import related_columns
from permgrad.models.save.saving import load
from permgrad.pages.html import write_report
from permgrad.pages.ranks import training_words
from permgrad.pages.verdict import markdown, verdict
from permgrad.pages.whatif import with_what_if
from permgrad.runs.folder import documents
from permgrad.runs.folder.documents import read_json, read_table_of
from permgrad.runs.folder.folder import CACHE
from permgrad.runs.options import THEMES
from permgrad.runs.refits import explain_refits
from permgrad.runs.run.predicting import cache_of
from permgrad.runs.run.summary import Summary

if TYPE_CHECKING:
    from permgrad.runs.run.stages import RunWork

REPORT, SUMMARY_FILE = "report.html", "report.md"
#: The baselines' predictions for the test rows.
BASELINE_PREDICTIONS = "baseline_predictions.npz"
#: Columns of a table in which groups are searched for, at most.
_MOST_COMPARED = 1000


# ---- computed --------------------------------------------------------------------------------------------------------
def assessing(run: RunWork) -> Work:
    """Return what the sections of a run are computed from. What earlier sessions stored of them is read."""
    inputs, request, folder = run.inputs, run.request, run.folder.path
    positive = None if inputs.positive is None else str(inputs.positive)
    network = Network.of(
        run.model,
        positive=positive,
        options={"positive": inputs.positive},
        seed=request.seed,
        cache=cache_of(folder),
    )
    content = Assessment(title=inputs.name, target=inputs.target, task=inputs.task, positive=inputs.positive)
    if "model" in run.folder.finished_stages:
        content = read_assessment(folder, run.folder.record, run.model)
    content.data = data_section(run.data, run.columns)
    notes: dict[str, list[str]] = {}
    for note in () if inputs.card is None else inputs.card.notes:
        notes.setdefault(note.split(" ")[0], []).append(note)
    parts = {part: replace(rows, inputs=run.rows(part)) for part, rows in inputs.parts.items()}
    return Work(
        network,
        parts["test"],
        content,
        run.budget,
        train=parts["train"],
        validation=parts["validation"],
        store=Store(folder),
        fit_others=run.fit_baselines if request.wanted_baselines else None,
        refit=lambda count: _refit(run, count),
        card_notes=notes,
    )


def explanation_stage(run: RunWork) -> None:
    """Explain a run's model on its test rows. Writes ``explanations/``, ``importance.csv`` and ``branches.json``."""
    work, folder = run.assessing, run.folder.path
    with run.clock.whole.part("explanation"):
        content = fill(work, ("explanation",))
    assert content.explanation is not None
    tables = {"importance.csv": file_frame(content.explanation)}
    tables |= {} if content.gradients is None else {"integrated_gradients.csv": content.gradients.table}
    for name, table in tables.items():
        with atomic_path(folder / name) as temporary:
            write_csv(table, temporary)
    cells = work.undated
    assert cells is not None
    # Groups of columns that move together, in the form of --groups. Very wide tables are not compared.
    groups = related_columns(cells) if 1 < cells.shape[1] <= _MOST_COMPARED and len(cells) > 3 else {}
    write_json_atomic(folder / documents.GROUPS, groups)
    if content.refits is not None:
        run.say(f"  {training_words(content.refits)}")


def _refit(run: RunWork, refits: int) -> Explanation:
    """Repeat the training on parts of its rows. A run that was stopped resumes with the next part."""
    parts = [run.inputs.parts[part] for part in ("train", "validation")]
    run.say(f"  refits: {refits} trainings on parts of {sum(map(len, parts)):,} rows")
    return explain_refits(
        clone(run.model).set_params(layout=None, device=run.request.device),
        pd.concat([part.table for part in parts], ignore_index=True),
        np.concatenate([part.y for part in parts]),
        refits=refits,
        positive=run.inputs.positive,
        n_repeats=Budget().ranking_options(1, len(run.model.preprocessor_.features()), some=False)["n_repeats"],
        random_state=run.request.seed,
        out=run.folder.path / CACHE / "refits",
        overwrite=False,
    )


def write_guesses(folder: Path, content: Assessment, rows: npt.NDArray[np.int64]) -> None:
    """Write the baselines' predictions for the test rows, with row numbers and classes in order."""
    assert content.predictions is not None
    facts: dict[str, npt.NDArray[Any]] = {"row": rows}
    if content.predictions.classes:
        facts["classes"] = np.asarray(content.predictions.classes)
    with atomic_path(folder / BASELINE_PREDICTIONS) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **facts, **content.guesses)  # type: ignore[arg-type]


def summary_of(folder: Path, work: Work) -> Summary:
    """Return what the terminal shows of a finished run."""
    content = work.content
    if content.explanation is None:
        raise InputError(f"{folder} has no explanation", hint="Run again with --from explanation.", code="PG052")
    groups = read_json(folder / documents.GROUPS)
    frame = file_frame(content.explanation)
    return Summary(content.metrics or {}, content.branches or {}, frame, content.related, groups, content.refits)


# ---- read ------------------------------------------------------------------------------------------------------------
def read_assessment(folder: Path, record: Mapping[str, Any], model: Any) -> Assessment:
    """Return what the folder of a run holds of its assessment."""
    data = documents.read_data(folder / documents.DATA)
    metrics = documents.read_metrics(folder / documents.METRICS, data["task"])
    content = Assessment(
        title=data["table"],
        target=data["target"],
        task=cast("Any", data["task"]),
        positive=metrics.get("positive"),
        data=data_section(data, documents.read_optional(folder / documents.COLUMNS) or {}),
        provenance=_provenance(record),
    )
    content.read(Store(folder))
    if (folder / MARK).is_file():
        read_first_format(content, folder)
    epochs = ("epoch", "seconds")
    read_table_of(folder / "history.csv", "model", needs=epochs, numbers=epochs, rows=len(model.history_))
    content.predictions = _read_predictions(folder, data, model)
    content.guesses = read_guesses(folder, content.predictions.classes, len(content.predictions))
    return content


def data_section(data: Mapping[str, Any], columns: Mapping[str, Any]) -> DataSection:
    """Return what ``data.json`` and ``columns.json`` say of the table."""
    counts, card = data["class_counts"], data["card"] or {}
    return DataSection(
        rows=data["rows"],
        columns=pd.DataFrame(data["columns"]),
        split=data["split"],
        shared_rows=data["shared_rows"],
        blank_rows=data["blank_rows"],
        alike_rows=data["alike_rows"],
        class_counts=None if counts is None else pd.DataFrame.from_dict(counts, orient="index"),
        leaks=data["leaks"],
        drift=columns.get("drift", ()),
        described=columns,
        notes=[f"Task: {data['task']} ({data['task_reason']}).", *data["notes"], *card.get("notes", ())],
        card={name: str(card[name]) for name in ("title", "description", "home", "licence") if card.get(name)},
    )


def _read_predictions(folder: Path, data: Mapping[str, Any], model: Any) -> Predictions:
    classes = tuple(str(label) for label in getattr(model, "classes_", np.zeros(0)).tolist())
    chances = [f"probability_{label}" for label in classes]
    table = documents.read_predictions(folder, data, chances)
    if data["task"] == "regression":
        numbers, mean = table["prediction"].to_numpy(dtype=np.float64), float(model.target_mean_)
        return Predictions(truth=table["truth"].to_numpy(), guess=numbers, training_mean=mean)
    guess = table[chances].to_numpy(dtype=np.float64)
    return Predictions(
        truth=table["truth"].to_numpy(dtype=object),
        classes=classes,
        guess=guess,
        before_calibration=before_calibration(getattr(model, "calibration_", None), guess),
    )


def read_guesses(folder: Path, classes: tuple[str, ...], rows: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return each baseline's probabilities ``(rows, classes)``, or numbers ``(rows,)``, for the test rows.

    Empty: none are stored.
    """
    path = folder / BASELINE_PREDICTIONS
    if not path.exists():
        return {}
    try:
        guesses = read_npz(path)
        labels = guesses.pop("classes").tolist() if len(classes) else []
    except (KeyError, ValueError):
        guesses, labels = {}, []
    guesses.pop("row", None)
    shape = (rows, len(labels)) if labels else (rows,)
    usable = labels == list(classes) and all(
        table.shape == shape and table.dtype.kind == "f" and np.isfinite(table).all() for table in guesses.values()
    )
    if not usable:
        raise InputError(f"{path} is damaged", hint="Run again with --from model.", code="PG052")
    return guesses


def _provenance(record: Mapping[str, Any]) -> ProvenanceSection:
    configuration = record["configuration"]
    return ProvenanceSection(
        command=record.get("command", ""),
        seed=configuration.get("seed"),
        split_seed=configuration.get("split_seed"),
        started=record.get("started", ""),
        seconds={name: facts["seconds"] for name, facts in record["stages"].items()},
        versions=record["facts"].get("versions", {}),
        machine=record["facts"].get("machine", ""),
        configuration=configuration,
        configuration_hash=record["configuration_hash"],
    )


# ---- the page --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Look:
    """Title and theme of a run's page, and whether it holds a network of any size. ``run.json`` keeps them."""

    title: str | None = None
    theme: str = "auto"
    what_if: bool = False

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Look:
        """Return what a record keeps."""
        stored = record["facts"].get("page")
        stored = stored if isinstance(stored, Mapping) else {}
        title, theme = stored.get("title"), stored.get("theme")
        what_if = stored.get("what_if") is True
        return cls(title if isinstance(title, str) else None, theme if theme in THEMES else "auto", what_if)

    def changed(self, title: str | None, theme: str | None, *, what_if: bool = False) -> Look:
        """Return the same with what the user asks for now."""
        return Look(
            self.title if title is None else title, self.theme if theme is None else theme, what_if or self.what_if
        )


def write_page(
    folder: Path,
    record: Mapping[str, Any],
    content: Assessment,
    model: Any,
    look: Look,
    *,
    out: Path | None = None,
    judged: bool = True,
) -> Path:
    """Write ``report.html`` and ``report.md`` into a run's folder, and its verdict into the metrics (``judged``).

    With ``out``, only the page is written, to that file.
    """
    layout, configuration = folder / "layout.svg", record["configuration"]
    drawing = documents.read_drawing(layout, "layout") if layout.is_file() else None
    preset, seed = str(configuration.get("preset", "")), int(configuration.get("seed") or 0)
    stored = content
    content = completed(content, model, seed=seed, preset=preset, layout=drawing)
    content = with_what_if(content, model, large=look.what_if)
    content = replace(content, title=look.title or content.title, provenance=_provenance(record))
    if out is not None:
        return write_report(out, content, theme=look.theme)
    content = replace(content, sentences=verdict(content))
    sentences = plain(content.sentences)
    write_report(folder / REPORT, content, theme=look.theme)
    write_text_atomic(folder / SUMMARY_FILE, markdown(content.title, sentences))
    if judged:
        stored.metrics = {**(content.metrics or {}), "verdict": sentences}
        write_json_atomic(folder / documents.METRICS, stored.metrics)
    return folder / REPORT


def rewrite_page(
    folder: Path, record: Mapping[str, Any], look: Look, *, positive: str | None = None, out: Path | None = None
) -> Path:
    """Write the page of a finished run again from its files, also for another positive class."""
    model = load(folder / "model")
    content = read_assessment(folder, record, model)
    content = content if positive is None else with_positive(content, positive)
    return write_page(folder, record, content, model, look, out=out, judged=positive is None)
