"""``permgrad run``: a table in; a trained network, an explanation and a report out."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from permgrad.base.errors import InputError, suggest
from permgrad.base.significance import clearly
from permgrad.base.startup import loading
from permgrad.data.encode.encoding import surprises_told_once
from permgrad.runs.folder import folder as folders
from permgrad.runs.folder.documents import BRANCHES, METRICS, read_json, read_metrics, read_table_of
from permgrad.runs.folder.folder import STAGES, believed, read_record, refuse_input
from permgrad.runs.requests import Outcome, RunRequest
from permgrad.runs.run.dividing import positive_words
from permgrad.runs.run.inputs import Inputs, configuration, load_inputs
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.reading import RELATED

__all__ = ["RunRequest", "run_table"]

Say = Callable[[str], None]


def run_table(request: RunRequest, *, say: Say = print) -> Outcome:
    """Do a run, or the part of it that is not done yet; ``say`` takes lines that tell how it goes.

    Raises:
        InputError: The options, the table or the folder cannot be used; nothing was written.
        EnvironmentProblem: The disk or the network does not allow it.
    """
    request.check()
    if request.from_stage in folders.STAGE_ALIASES:
        request = replace(request, from_stage=folders.STAGE_ALIASES[request.from_stage])
    settings = configuration(request)
    refuse_input(request.folder, request.files, names=folders.NAMES)
    if request.from_stage is not None and request.from_stage not in STAGES:
        raise InputError(
            f"--from must be one of {', '.join(folders.STAGE_WORDS)}, however: --from {request.from_stage}"
            f"{suggest(request.from_stage, folders.STAGE_WORDS)}"
        )
    again = request.from_stage is not None or request.overwrite
    if not again and folders.find_finished(request.folder, settings) is not None:
        return summarise(request.folder, already=True)
    with loading():
        from permgrad.runs.run import stages

        stages.check_model_options(request)
    use_threads(request.threads)
    started = time.perf_counter()
    inputs = load_inputs(request)
    reading = time.perf_counter() - started
    resolved = stages.check_inputs(request, inputs)
    # Only after the table: a mistyped target must not be answered with "overwrite the other run".
    if not request.overwrite:
        folders.check_free(request.folder, settings)
    if replaces_a_model(request):
        stages.rehearse(request, inputs)
    say(headline(inputs))
    with (
        folders.open_run(
            request.folder,
            settings,
            command=request.command,
            overwrite=request.overwrite,
            from_stage=request.from_stage,
        ) as folder,
        surprises_told_once(),
    ):
        if folder.lost is not None:
            say(folder.lost.note())
        work = stages.RunWork(request, inputs, folder, say, settings=resolved)
        for number, (name, stage) in enumerate(stages.STAGE_WORK.items(), start=1):
            if name in folder.finished_stages:
                say(f"[{number}/{len(STAGES)}] {name}: finished before")
                continue
            say(f"[{number}/{len(STAGES)}] {name}")
            # The table is read before there is a folder to write to.
            with folder.stage(name, reading if name == "data" else 0.0):
                stage(work)
            say(f"  {name} took {folder.record['stages'][name]['seconds']:.1f} s")
    return summarise(request.folder)


def replaces_a_model(request: RunRequest) -> bool:
    """Whether a run removes a trained model to make way for its own."""
    record = read_record(request.folder)
    if record is None or "model" not in record["finished_stages"]:
        return False
    if request.from_stage is not None:
        return list(STAGES).index(request.from_stage) <= list(STAGES).index("model")
    return request.overwrite or "model" not in folders.whole_stages(request.folder, record)


def headline(inputs: Inputs) -> str:
    """Say in a line what is learnt from what."""
    rows = ", ".join(f"{len(table.X):,} {part}" for part, table in inputs.parts.items())
    source = "table" if inputs.card is None else "data set"
    why = f"{inputs.task} of {inputs.target!r} ({inputs.task_reason})"
    return f"{source} {inputs.name}: {why}; rows: {rows} ({inputs.split})"


# ---- the summary -----------------------------------------------------------------------------------------------------
_PATHS = ("tabular", "image")
#: With more models each has a line instead of a column.
_MODELS_SIDE_BY_SIDE = 3


def summarise(folder: Path, *, already: bool = False) -> Outcome:
    """Return the summary of a finished run, read from its folder; ``already`` says that nothing was done now."""
    from permgrad.report.sentences import entries_of

    with believed(folder):
        metrics, branches = read_metrics(folder / METRICS), read_json(folder / BRANCHES)
        frame = read_table_of(
            folder / "importance.csv",
            "explanation",
            needs=("feature", "class", "importance", "ci_low", "ci_high", "p_value", "p_adjusted"),
            numbers=("importance", "ci_low", "ci_high", "p_value", "p_adjusted", *_PATHS),
            keep_default_na=False,
            na_values=[""],
            dtype={"class": str},
        )
        # The first line of a feature is that of all rows; a class may have its name.
        top = frame[frame["class"] == "all"].drop_duplicates("feature")
        top = top.sort_values("importance", ascending=False, kind="stable")
        related = read_json(folder / "explanations" / RELATED)["pairs"]
        report, verdict = folder / "report.html", metrics["verdict"]
        facts: dict[str, Any] = {
            "folder": os.fspath(folder),
            "report": os.fspath(report),
            "already_finished": already,
            **{name: metrics[name] for name in ("task", "rows", "test", "baselines", "verdict")},
            **{name: metrics[name] for name in ("positive", "never_predicted", "cuts") if name in metrics},
            "top_features": top.drop(columns=["class", "modality"]).head(10).to_dict(orient="records"),
            "branches": entries_of(branches),
        }
        lines = [f"This run is finished already; nothing was changed. ({folder})"] if already else []
        lines += [f"ALARM: {one['sentence']}" if one["facts"]["kind"] == "leak" else one["sentence"] for one in verdict]
        learnt = all(one["facts"].get("learnt", True) for one in verdict)
        lines += _metric_lines(metrics)
        lines += [*_feature_lines(top, related, learnt=learnt), *_branch_lines(branches)]
        return Outcome(facts, "\n".join([*lines, f"Report: {report}"]))


def _metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Say how good the models are, which class is the positive one, which are never predicted, and the cuts."""
    from permgrad.evaluation.metrics import metrics as registry
    from permgrad.evaluation.thresholds import never_predicted_words

    models = {"permgrad": metrics["test"], **metrics["baselines"]}
    labels = {one.name: one.label for one in registry.values() if one.name in metrics["test"]}
    if len(models) > _MODELS_SIDE_BY_SIDE:
        rows = list(models)
        columns = [
            (label, max(len(label), 8) + 2, [scores.get(name) for scores in models.values()])
            for name, label in labels.items()
        ]
    else:
        rows = list(labels.values())
        columns = [(model, 15, [scores.get(name) for name in labels]) for model, scores in models.items()]
    width = max(map(len, rows))
    lines = [f"Test rows ({metrics['rows']['test']:,}):"]
    lines.append(" " * (width + 2) + "".join(f"{head:>{size}}" for head, size, _ in columns))
    for place, row in enumerate(rows):
        texts = ["–" if cells[place] is None else f"{cells[place]:.4g}" for _, _, cells in columns]
        cells = "".join(f"{text:>{size}}" for text, (_, size, _) in zip(texts, columns, strict=True))
        lines.append(f"  {row:<{width}}{cells}")
    lines += [*positive_words(metrics.get("positive")), *never_predicted_words(metrics.get("never_predicted") or [])]
    if not (stored := metrics.get("cuts")):
        return lines
    width = max(len(row["cut"]) for row in stored["test"])
    lines.append(f"Where to say {stored['positive']!r}:{'':<{width - 12}}  accuracy  balanced      F1")
    for row in stored["test"]:
        numbers = f"{row['accuracy']:>8.3f}  {row['balanced_accuracy']:>8.3f}  {row['f1']:>6.3f}"
        lines.append(f"  {row['cut']:<{width}}  {numbers}")
    return lines


def _feature_lines(
    top: Any, related: Sequence[Mapping[str, Any]] = (), most: int = 8, *, learnt: bool = True
) -> list[str]:
    from permgrad.report.sentences import related_words

    adjusted_p = top["p_adjusted"] if "p_adjusted" in top else top["importance"] * math.nan
    clear, tests = clearly(top["importance"], adjusted_p), int(adjusted_p.notna().sum())
    whose = f"{len(top)} features" + ("" if learnt else ", by a model that has learnt nothing")
    lines = [f"Highest estimates of {whose} (rise of the loss when one is shuffled, 95 % interval):"]
    width = min(max((len(str(name)) for name in top["feature"].head(most)), default=0), 40)
    below = False
    for place, row in enumerate(top.head(most).to_dict(orient="records"), start=1):
        # A share of an effect that may be nothing says nothing.
        paths = [name for name in _PATHS if name in row and min(row["ci_low"], row["importance"]) > 0]
        shares = ", ".join(f"{name} {row[name] / row['importance']:z.0%}" for name in paths)
        below |= "-" in shares
        interval = f"[{row['ci_low']:.3g}, {row['ci_high']:.3g}]"
        mark, name, value = "*" if clear[place - 1] else " ", str(row["feature"])[:40], f"{row['importance']:.3g}"
        lines.append(f"{mark} {place:>2}. {name:<{width}}  {value:>8}  {interval:<22} {shares}".rstrip())
    if clear.any():
        lines.append(
            f"  * clearly matters: the p-value passes Holm's correction for {tests} features at 5 % ({clear.sum()} do)"
        )
    elif tests:
        lines.append(f"  None clearly matters: no p-value passes Holm's correction for {tests} features at 5 %.")
    named = top["feature"].head(most)[clear[:most]].astype(str).tolist()
    if words := related_words(related, named, lambda name: name[:40]):
        lines.append(f"  {words}")
    if below:
        lines.append("  (a share below 0 %: what that path says of the feature makes the loss larger)")
    return lines


def _branch_lines(branches: Mapping[str, Any]) -> list[str]:
    from permgrad.report.sentences import entries_of, is_hybrid, no_share_words, path_words

    entries = entries_of(branches)
    if len(entries) < 2:
        return []
    what, whose, one = ("Paths", "Branch", "a path") if is_hybrid(entries) else ("Inputs", "Input", "an input")
    if words := path_words(entries):
        return [f"{what} (rise of the loss when {one} is exchanged): {words}"]
    if why := no_share_words(branches):
        return [f"{whose} shares: none, because {why}"]
    shares = [
        f"{name} {'undefined' if facts['share'] is None else format(facts['share'], 'z.0%')}"
        for name, facts in entries.items()
    ]
    return [f"{whose} shares: {', '.join(shares)}"]
