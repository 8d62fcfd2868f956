"""The report of a run, made from the files in its folder alone, so that it can be made again at any time."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from permgrad.base.errors import InputError
from permgrad.base.files import writing
from permgrad.base.locks import hold_folder
from permgrad.base.startup import loading
from permgrad.data.types.positive import find_positive
from permgrad.evaluation.thresholds import never_predicted_words
from permgrad.report.page import content as page
from permgrad.report.page.content import ReportContent, RowSection
from permgrad.runs.folder import documents
from permgrad.runs.folder.documents import read_json, read_table_of, saved_explanation
from permgrad.runs.folder.folder import RUN, STAGES, believed, lost_files, read_record
from permgrad.runs.requests import Outcome
from permgrad.runs.run import images
from permgrad.runs.run.explaining import read_strongest
from permgrad.runs.run.gradients import SUMMARY
from permgrad.runs.run.judging import leak_words, read_guesses
from permgrad.runs.run.reading import FILE as READING
from permgrad.runs.run.reading import RELATED

REPORT = "report.html"


def rebuild_report(folder: str | os.PathLike[str], *, positive: str | None = None) -> Outcome:
    """Write a run's ``report.html`` again; of two classes the page speaks of ``positive``, or of the run's own.

    Raises:
        InputError: The folder holds no run, or one that is not explained yet; or there is no such class.
        EnvironmentProblem: The folder cannot be written.
    """
    path = Path(folder)
    RUN.refuse_damaged(path, "run again with --overwrite")
    record = read_record(path)
    if record is None:
        what = "has no run.json" if path.is_dir() else "is a file" if path.exists() else "does not exist"
        raise InputError(
            f"report needs a run's folder, however: {path} {what}; give the folder that permgrad run wrote"
        )
    missing = [stage for stage in STAGES if stage != "report" and stage not in record["finished_stages"]]
    if missing:
        raise InputError(
            f"a report needs a run whose stages are finished, however: {missing[0]!r} is not finished in {path}; "
            f"go on with: {command_for(path, record)}"
        )
    lost = lost_files(path, record)
    if lost is not None and lost.stage != "report":
        raise InputError(
            f"a report needs a run whose files are whole, however: {lost.words()} in {path}; write them again with: "
            f"{command_for(path, record)}"
        )
    fix = "copy the folder to a place where you may write"
    with writing("the report must be written beside the run", path, fix), hold_folder(path, fix), believed(path):
        report = write_run_report(path, record, positive=positive)
    return Outcome({"report": os.fspath(report), "folder": os.fspath(path)}, f"Report: {report}")


def command_for(folder: Path, record: Mapping[str, Any]) -> str:
    """Return the command that a run was asked for with, for the folder where the run is now."""
    try:
        words = shlex.split(str(record.get("command") or ""))
    except ValueError:  # of a record that somebody has changed
        words = []
    words = words or ["permgrad", "run", "TABLE"]
    if "--out" in words:
        place = words.index("--out")
        del words[place : place + 2]
    return shlex.join([*words, "--out", os.fspath(folder)])


def write_run_report(
    folder: Path, record: Mapping[str, Any], *, model: Any = None, positive: str | None = None
) -> Path:
    """Write ``report.html`` into a run's folder."""
    with loading():
        from permgrad.models.save.saving import load
        from permgrad.report.page.html import write_report

    content = report_content(folder, record, load(folder / "model") if model is None else model)
    write_report(folder / REPORT, content if positive is None else _with_positive(content, positive, folder))
    return folder / REPORT


def _with_positive(content: ReportContent, level: str, folder: Path) -> ReportContent:
    """Return the same with another positive class: metrics that speak of it anew, where predictions are kept."""
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
    """Gather what the report shows from the files of a run."""
    data, store = documents.read_data(folder / documents.DATA), folder / "explanations"
    names = ("permgrad", "permgrad-paper", "integrated_gradients", "gradcam")
    main, paper, local, maps = (saved_explanation(folder, name) for name in names)
    with_images = images.is_image_model(model)
    rows = [] if local is None else _row_sections(read_json(store / "rows.json")["rows"], local, maps)
    if with_images:
        rows = [replace(section, pictures=images.overlays(section, local, maps)) for section in rows]
    metrics = documents.read_metrics(folder / documents.METRICS, data["task"])
    alarm = leak_words(data["target"], data["leaks"])
    warnings = [f"Alarm: {alarm}"] if alarm else []
    if count := data["shared_rows"]:
        share = f"{count} of {data['rows']['test']} test rows ({count / data['rows']['test']:.1%})"
        warnings += [f"{share} also stand in the training rows: every figure on the test rows is a little too good."]
    return ReportContent(
        title=data["table"],
        target=data["target"],
        task=cast("Any", data["task"]),
        metrics=metrics,
        positive=metrics.get("positive"),
        data=_data_section(data),
        network=_network_section(record, model, with_images=with_images),
        training=_training_section(folder, model),
        predictions=_prediction_section(folder, data["task"], model, int(data["rows"]["test"])),
        explanation=main,
        compared={} if paper is None else {"permgrad-paper": paper},
        branches=read_json(folder / documents.BRANCHES),
        # Of few rows a beeswarm shows nothing.
        local=None if with_images else local,
        rows=rows,
        gradients=_gradient_section(folder) if (store / "integrated_gradients.json").is_file() else None,
        reading=None if with_images else read_json(store / READING),
        related=read_json(store / RELATED)["pairs"],
        layout=_layout_section(folder) if not with_images and "image" in model.module_.paths else None,
        provenance=_provenance_section(record),
        warnings=[*warnings, *never_predicted_words(metrics.get("never_predicted") or [])],
        extra=images.where_in_images(main) if with_images else (),
    )


def _data_section(data: Mapping[str, Any]) -> page.DataSection:
    counts = data["class_counts"]
    card = data["card"] or {}
    return page.DataSection(
        rows=data["rows"],
        columns=pd.DataFrame(data["columns"]),
        split=data["split"],
        shared_rows=data["shared_rows"],
        alike_rows=data["alike_rows"],
        class_counts=None if counts is None else pd.DataFrame.from_dict(counts, orient="index"),
        notes=[f"Task: {data['task']} ({data['task_reason']}).", *data["notes"], *card.get("notes", ())],
        card={name: str(card[name]) for name in ("title", "description", "home", "licence") if card.get(name)},
    )


def _network_section(record: Mapping[str, Any], model: Any, *, with_images: bool) -> page.NetworkSection:
    """Describe the network: its branches, its layers with weights, and the images it takes or a drawing of it."""
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
        seconds=float(history["seconds"].sum()),  # over all sessions, if the training was interrupted
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
    """Return what probabilities were before a calibration that can be undone; None for others, and for none.

    ``p ∝ exp((z − shift) / temperature)`` gives the logits back but for a constant, which the softmax does not see.
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
        empty = " The activation map is zero everywhere: no part of the image speaks for this output."
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
