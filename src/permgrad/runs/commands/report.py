"""The report of a run. It is made only from the files of the run's folder, so it can be rebuilt at any time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.files import plain, write_json_atomic, write_text_atomic, writing
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.data.types.positive import find_positive
from permgrad.report.page import content as page
from permgrad.report.page.content import ListedSection, LocalRows, ReportContent, RowSection
from permgrad.report.units import in_plain_units
from permgrad.runs.folder import documents
from permgrad.runs.folder.documents import read_json, read_table_of, saved_explanation
from permgrad.runs.folder.folder import RUN, STAGES, believed, lost_files, read_record
from permgrad.runs.options import THEMES
from permgrad.runs.report.several import models_of_run, read_run, report_runs
from permgrad.runs.requests import Outcome, ReportRequest
from permgrad.runs.run import answers, images
from permgrad.runs.run.gradients import SUMMARY
from permgrad.runs.run.judging import read_guesses
from permgrad.runs.run.reading import FILE as READING
from permgrad.runs.run.reading import RELATED
from permgrad.runs.run.strongest import read_strongest
from permgrad.runs.run.together import read_together

REPORT, SUMMARY_FILE = "report.html", "report.md"


def rebuild_reports(request: ReportRequest) -> Outcome:
    """Write a run's ``report.html`` again, or one page of several runs.

    Raises:
        InputError: A folder holds no run, or an unfinished one, or the runs cannot be compared.
        EnvironmentProblem: The page cannot be written.
    """
    folders = [Path(folder) for folder in request.folders]
    records = [_finished_record(folder) for folder in folders]
    if len(folders) == 1:
        return _rebuild(request, folders[0], records[0])
    if request.positive is not None:
        raise InputError("--positive does not apply to several runs", hint="Leave it out.", code="PG004")
    doubled = [folder for place, folder in enumerate(folders) if folder.resolve() in map(Path.resolve, folders[:place])]
    if doubled:
        raise InputError(f"{doubled[0]} is named twice", hint="Leave one out.", code="PG008")
    return report_runs(request, [read_run(*pair) for pair in zip(folders, records, strict=True)])


def _finished_record(path: Path) -> dict[str, Any]:
    """Return the record of a run that can be reported, or refuse the folder."""
    RUN.refuse_damaged(path, "Run again with --overwrite.")
    record = read_record(path)
    if record is None:
        what = "has no run.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(
            f"{path} {what}, so it is not a run's folder", hint="Pass the folder of permgrad run.", code="PG010"
        )
    missing = [stage for stage in STAGES if stage != "report" and stage not in record["finished_stages"]]
    if missing:
        raise InputError(
            f"Stage {missing[0]!r} is not finished in {path}",
            hint=f"Resume with `{command_for(path, record)}`",
            code="PG055",
        )
    lost = lost_files(path, record)
    if lost is not None and lost.stage != "report":
        raise InputError(
            f"In {path}, {lost.words()}", hint=f"Write it again with `{command_for(path, record)}`", code="PG052"
        )
    return record


def _rebuild(request: ReportRequest, path: Path, record: dict[str, Any]) -> Outcome:
    """Write one run's page, into its folder or elsewhere."""
    look = Look.of(record).changed(request.title, request.theme, what_if=request.what_if)
    options: dict[str, Any] = {"positive": request.positive, "look": look}
    if request.out is not None:
        from permgrad.runs.report.report import check_path

        target = check_path(request.out, overwrite=request.overwrite, flag="--overwrite")
        with writing(target, "Choose another --out."), believed(path):
            report = write_run_report(path, record, out=target, **options)
    else:
        fix = "copy the folder to a place where you may write"
        with writing(path, fix), hold_folder(path, fix), believed(path):
            report = write_run_report(path, record, **options)
    return Outcome({"report": os.fspath(report), "folder": os.fspath(path)}, f"Report: {report}")


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


def command_for(folder: Path, record: Mapping[str, Any]) -> str:
    """Return the command that made a run, for the present place of its folder."""
    try:
        words = shlex.split(str(record.get("command") or ""))
    except ValueError:  # the record was edited
        words = []
    words = words or ["permgrad", "run", "TABLE"]
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return shlex.join([*words, "--out", os.fspath(folder)])


def write_run_report(
    folder: Path,
    record: Mapping[str, Any],
    *,
    model: Any = None,
    positive: str | None = None,
    look: Look | None = None,
    out: Path | None = None,
) -> Path:
    """Write ``report.html`` and ``report.md`` into a run's folder, and its verdict into ``metrics.json``.

    With ``out``, only the page is written, to that file.
    """
    with loading():
        from permgrad.models.save.saving import load
        from permgrad.report.page.html import write_report
        from permgrad.report.page.verdict import markdown, verdict
        from permgrad.runs.run import changing

    model = load(folder / "model") if model is None else model
    content = report_content(folder, record, model)
    content = content if positive is None else _with_positive(content, positive, folder)
    content = replace(content, models=models_of_run(folder, content, record))
    look = Look.of(record) if look is None else look
    strongest = () if content.explanation is None else content.explanation.ranking()
    what_if = changing.page_content(folder / "explanations", model, strongest, large=look.what_if)
    content = replace(content, title=look.title or content.title, what_if=what_if)
    if out is not None:
        return write_report(out, content, theme=look.theme)
    content = replace(content, sentences=verdict(content))
    sentences = plain(content.sentences)
    write_report(folder / REPORT, content, theme=look.theme)
    write_text_atomic(folder / SUMMARY_FILE, markdown(content.title, sentences))
    if positive is None:
        write_json_atomic(folder / documents.METRICS, {**read_json(folder / documents.METRICS), "verdict": sentences})
    return folder / REPORT


def _with_positive(content: ReportContent, level: str, folder: Path) -> ReportContent:
    """Return the same with another positive class: metrics are computed again where predictions are stored."""
    from permgrad.evaluation.metrics import evaluate

    predictions, metrics = content.predictions, dict(content.metrics or {})
    assert predictions is not None
    classes = list(predictions.classes)
    label = classes[find_positive(classes, level)]
    anew = partial(evaluate, "classification", predictions.truth, classes=classes, positive=label)
    metrics["test"] = anew(probabilities=predictions.probabilities)
    assert content.data is not None
    assert content.data.class_counts is not None
    counts = content.data.class_counts["train"].reindex(classes).to_numpy(dtype=np.float64)
    constant = np.tile(counts / counts.sum(), (len(predictions.truth), 1))
    metrics["constant"] = {**content.constant, **anew(probabilities=constant)}
    if str(metrics["positive"]) != label:
        unknown = dict.fromkeys(("average_precision", "lift"))
        guesses = read_guesses(folder, classes, len(predictions.truth))
        metrics["validation"], metrics["not_kept"] = metrics["validation"] | unknown, []
        metrics["baselines"] = {
            name: entry
            | (
                {metric: anew(probabilities=guesses[name])[metric] for metric in unknown}
                if name in guesses
                else unknown
            )
            for name, entry in metrics["baselines"].items()
        }
    explanations = {name: getattr(content, name) for name in ("explanation", "local")}
    changed = {
        name: replace(entry, meta={**entry.meta, "positive": label})
        for name, entry in explanations.items()
        if entry is not None
    }
    return replace(content, metrics=metrics, positive=label, **changed)


def report_content(folder: Path, record: Mapping[str, Any], model: Any) -> ReportContent:
    """Collect the content of the report from the files of a run."""
    data, store = documents.read_data(folder / documents.DATA), folder / "explanations"
    names = ("permgrad", "permgrad-paper", "integrated_gradients", "gradcam")
    main, paper, local, maps = (saved_explanation(folder, name) for name in names)
    local = None if local is None else in_plain_units(local)
    with_images = images.is_image_model(model)
    rows = [] if local is None else _row_sections(read_json(store / "rows.json")["rows"], local, maps)
    if with_images:
        rows = [replace(section, pictures=images.overlays(section, local, maps)) for section in rows]
    metrics = documents.read_metrics(folder / documents.METRICS, data["task"])
    columns = documents.read_optional(folder / documents.COLUMNS) or {}
    related = read_json(store / RELATED)
    return ReportContent(
        title=data["table"],
        target=data["target"],
        task=cast("Any", data["task"]),
        metrics=metrics,
        positive=metrics.get("positive"),
        data=_data_section(data, columns),
        network=_network_section(record, model, with_images=with_images),
        training=_training_section(folder, model),
        predictions=_prediction_section(folder, data["task"], model, int(data["rows"]["test"])),
        explanation=main,
        refits=saved_explanation(folder, "refits"),
        compared={} if paper is None else {"permgrad-paper": paper},
        branches=read_json(folder / documents.BRANCHES),
        # A beeswarm of few rows is not useful.
        local=None if with_images else local,
        rows=rows,
        cards=answers.read_cards(store),
        listed=_listed_section(folder, local, maps),
        together=read_together(folder),
        gradients=_gradient_section(folder) if (store / "integrated_gradients.json").is_file() else None,
        reading=None if with_images else read_json(store / READING),
        related=related["pairs"],
        matrix=related.get("matrix"),
        segments=documents.read_optional(folder / documents.SEGMENTS),
        layout=_layout_section(folder) if not with_images and "image" in model.module_.paths else None,
        provenance=_provenance_section(record),
        extra=images.where_in_images(main) if with_images else (),
    )


def _data_section(data: Mapping[str, Any], columns: Mapping[str, Any]) -> page.DataSection:
    counts = data["class_counts"]
    card = data["card"] or {}
    return page.DataSection(
        rows=data["rows"],
        columns=pd.DataFrame(data["columns"]),
        split=data["split"],
        shared_rows=data["shared_rows"],
        blank_rows=data.get("blank_rows", 0),
        alike_rows=data["alike_rows"],
        class_counts=None if counts is None else pd.DataFrame.from_dict(counts, orient="index"),
        leaks=data["leaks"],
        drift=columns.get("drift", ()),
        described=columns,
        notes=[f"Task: {data['task']} ({data['task_reason']}).", *data["notes"], *card.get("notes", ())],
        card={name: str(card[name]) for name in ("title", "description", "home", "licence") if card.get(name)},
    )


def _network_section(record: Mapping[str, Any], model: Any, *, with_images: bool) -> page.NetworkSection:
    """Describe the network: its branches, its layers, and its images or a drawing of it."""
    from permgrad.models.network.summary import layer_rows

    module, notes, drawing = model.module_, [], None
    if with_images:
        layers = [
            (name.partition(".")[0], name.partition(".")[2] or name, repr(layer), sum(p.numel() for p in weights))
            for name, layer in module.named_modules()
            if name and not list(layer.children()) and (weights := list(layer.parameters()))
        ]
        notes = [
            f"Images of column {image.name}: {image.height} × {image.width} pixels, "
            f"{'red, green and blue' if image.channels == 3 else 'grey'}."
            for image in model.images_
        ]
        columns, options, branches = (
            ["part", "name", "layer", "parameters"],
            asdict(module.options),
            ("images", "table"),
        )
    else:
        layers = [(row.part, row.layer, " × ".join(map(str, row.shape)), row.parameters) for row in layer_rows(module)]
        columns, options = ["part", "layer", "shape per row", "parameters"], model.network_options_
        branches, drawing = tuple(module.paths), model.draw_network()
    return page.NetworkSection(
        preset=str(record["configuration"].get("preset", "")),
        branches=branches,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        drawing=drawing,
        summary=pd.DataFrame(layers, columns=columns),
        options={**options, **model.training_options_},
        notes=notes,
    )


def _training_section(folder: Path, model: Any) -> page.TrainingSection:
    loss = str(model.training_options_.get("loss", "loss"))
    units = {"cross_entropy": "cross-entropy, nats", "squared_error": "squared error of the standardised target"}
    needed = ("epoch", "seconds")
    history = read_table_of(folder / "history.csv", "model", needs=needed, numbers=needed, rows=len(model.history_))
    return page.TrainingSection(
        history=history,
        best_epoch=int(model.best_epoch_),
        seconds=float(history["seconds"].sum()),  # over all sessions of an interrupted training
        loss=units.get(loss, loss),
    )


def _prediction_section(folder: Path, task: str, model: Any, rows: int) -> page.PredictionSection:
    classes = [str(label) for label in getattr(model, "classes_", np.zeros(0)).tolist()]
    chances = [f"probability_{label}" for label in classes]
    table = read_table_of(
        folder / "predictions.csv",
        "model",
        needs=("row", "truth", "prediction", *chances),
        numbers=("row", *(chances or ("truth", "prediction"))),
        rows=rows,
        dtype={"truth": str, "prediction": str} if task == "classification" else None,
        keep_default_na=False,
    )
    if task == "regression":
        return page.PredictionSection(
            truth=table["truth"].to_numpy(),
            predictions=table["prediction"].to_numpy(),
            training_mean=float(model.target_mean_),
            strongest=read_strongest(folder, table["row"].to_numpy()),
        )
    probabilities = table[chances].to_numpy(dtype=np.float64)
    calibrated = getattr(model, "calibration_", None)
    return page.PredictionSection(
        truth=table["truth"].to_numpy(dtype=object),
        classes=classes,
        probabilities=probabilities,
        before_calibration=None if calibrated is None else before_calibration(calibrated, probabilities),
    )


def before_calibration(calibrated: Any, probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Return the probabilities before a calibration that can be undone, else None.

    ``p ∝ exp((z − shift) / temperature)`` determines the logits up to a constant, which does not change the softmax.
    """
    if calibrated.method not in ("prior", "temperature"):
        return None
    from scipy.special import softmax

    logits = np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None)) * calibrated.temperature
    uncalibrated = softmax(logits + (np.asarray(calibrated.shift) if calibrated.shift else 0.0), axis=1)
    return None if np.allclose(uncalibrated, probabilities, atol=1e-6) else uncalibrated


def _row_sections(rows: list[dict[str, Any]], local: Any, maps: Any) -> list[RowSection]:
    from permgrad.attribution.maps.drawn import MAP_NAMES

    name = MAP_NAMES["gradcam" if maps is None else maps.meta.get("variant", "gradcam")]
    sections = []
    for place, row in enumerate(rows):
        image = heat = None
        if maps is not None and {"cam", "images"} <= set(maps.maps):
            image, heat = maps.maps["images"][place], maps.maps["cam"][place, row["output"]]
        label = local.outputs[row["output"]]
        empty = " The activation map is zero everywhere: no part of the image supports this output."
        sections.append(
            RowSection(
                explanation=local,
                row=place,
                title=row["title"],
                output=row["output"],
                image=image,
                heat=heat,
                heat_title=f"{name} of the last convolution" + ("" if label == "all" else f", class {label}"),
                text=f"Chosen as {row['why']}." + (empty if heat is not None and not np.any(heat) else ""),
            )
        )
    return sections


def _listed_section(folder: Path, local: Any, maps: Any) -> ListedSection | None:
    """Return the listed rows with all their local explanations."""
    listed = answers.read_listed(folder / "explanations")
    if listed is None or local is None:
        return listed
    facts = read_json(folder / "explanations" / "rows.json")
    shown = [row["row"] for row in facts["rows"]]
    explained = [(local, facts.get("swarm", shown))]
    if listed.notable:
        explained.append((saved_explanation(folder, answers.NOTABLE), listed.notable))
    listed.local = [LocalRows(explanation=each, numbers=numbers) for each, numbers in explained if each is not None]
    if maps is not None:
        listed.maps = LocalRows(explanation=maps, numbers=facts.get("swarm", shown)[: len(maps.values)])
    return listed


def _gradient_section(folder: Path) -> page.GradientSection:
    text = dict.fromkeys(("level", "feature", "name"), str)
    table = read_table_of(
        folder / SUMMARY, "explanation", needs=tuple(text), numbers=(), dtype=text, keep_default_na=False
    )
    return page.GradientSection(table=table, facts=read_json(folder / "explanations" / "integrated_gradients.json"))


def _layout_section(folder: Path) -> page.LayoutSection:
    content = read_json(folder / "layout.json")
    columns = pd.DataFrame(content["positions"], columns=["row", "column"])
    columns.insert(0, "encoded column", content["columns"])
    text = "Each encoded column of the table has a pixel; the value of the column is the brightness of its pixel."
    return page.LayoutSection(
        drawing=documents.read_drawing(folder / "layout.svg", "layout"),
        name=content["name"],
        pixels=content["pixels"],
        table=columns,
        text=text,
    )


def _provenance_section(record: Mapping[str, Any]) -> page.ProvenanceSection:
    configuration = record["configuration"]
    return page.ProvenanceSection(
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
