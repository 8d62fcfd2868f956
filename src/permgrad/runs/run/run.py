"""``permgrad run``: train a network on a table, explain it, and write a report."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from permgrad.base.errors import by_count, unknown
from permgrad.base.significance import clearly
from permgrad.base.startup import loading
from permgrad.data.encode.encoding import surprises_told_once
from permgrad.evaluation.metrics import metrics as registry
from permgrad.report.ranks import training_words
from permgrad.report.sentences import (
    entries_of,
    is_hybrid,
    no_share_words,
    path_words,
    related_words,
)
from permgrad.report.units import advantage_in
from permgrad.runs.folder import folder as folders
from permgrad.runs.folder.documents import (
    BRANCHES,
    METRICS,
    read_json,
    read_metrics,
    read_table_of,
    saved_explanation,
)
from permgrad.runs.folder.folder import STAGES, believed, read_record, refuse_input
from permgrad.runs.requests import Outcome, RunRequest
from permgrad.runs.run.clock import Clock
from permgrad.runs.run.dividing import positive_words
from permgrad.runs.run.inputs import Inputs, configuration, load_inputs, refuse_early
from permgrad.runs.run.predicting import use_threads
from permgrad.runs.run.reading import GROUPS, RELATED

__all__ = ["RunRequest", "run_table"]

Say = Callable[[str], None]


def run_table(request: RunRequest, *, say: Say = print) -> Outcome:
    """Do a run, or the stages that are not finished. ``say`` takes lines on the progress.

    Raises:
        InputError: The options, the table or the folder cannot be used. Nothing was written.
        EnvironmentProblem: A problem of the disk or the network.
    """
    request.check()
    clock = Clock(limit=request.seconds_at_most, thorough=request.thorough)
    if request.from_stage in folders.STAGE_ALIASES:
        request = replace(request, from_stage=folders.STAGE_ALIASES[request.from_stage])
    settings = configuration(request)
    refuse_input(request.folder, request.files, names=folders.NAMES)
    if request.from_stage is not None and request.from_stage not in STAGES:
        raise unknown("--from", request.from_stage, folders.STAGE_WORDS)
    again = request.from_stage is not None or request.overwrite
    if not again and folders.find_finished(request.folder, settings) is not None:
        return summarise(request.folder, already=True)
    refuse_early(request)
    if request.needs_torch_to_check:
        _stages().check_model_options(request)
    started = time.perf_counter()
    # Before torch is loaded: a column that does not exist is refused within a second.
    inputs = load_inputs(request)
    reading = time.perf_counter() - started
    stages = _stages()
    resolved = stages.check_inputs(request, inputs)
    # Only after the table is checked: a wrong target must not lead to the advice to overwrite another run.
    if not request.overwrite:
        folders.check_free(request.folder, settings)
    if replaces_a_model(request):
        stages.rehearse(request, inputs)
    say(headline(inputs))
    tell = partial(_tell, clock, say)
    with (
        closing(clock.whole),
        folders.open_run(
            request.folder,
            settings,
            command=request.command,
            overwrite=request.overwrite,
            from_stage=request.from_stage,
        ) as folder,
        surprises_told_once(),
    ):
        # A resumed run computes with as many threads as before, so that its result is the same.
        use_threads(request.threads or folder.record["facts"].get("threads"))
        if folder.lost is not None:
            say(folder.lost.note())
        work = stages.RunWork(request, inputs, folder, tell, settings=resolved, clock=clock)
        for number, (name, stage) in enumerate(stages.STAGE_WORK.items(), start=1):
            if name in folder.finished_stages:
                tell(f"[{number}/{len(STAGES)}] {name}: finished before")
                continue
            tell(f"[{number}/{len(STAGES)}] {name}")
            # The table is read before there is a folder to write to.
            with folder.stage(name, reading if name == "data" else 0.0):
                stage(work)
            tell(f"  {name} took {folder.record['stages'][name]['seconds']:.1f} s")
    return summarise(request.folder)


def _tell(clock: Clock, say: Say, text: str) -> None:
    """Write a line in the place of that of progress, which comes again below it."""
    clock.whole.clear()
    say(text)


def _stages() -> Any:
    """Return the module of the stages, which loads torch."""
    with loading():
        from permgrad.runs.run import stages
    return stages


def replaces_a_model(request: RunRequest) -> bool:
    """Whether a run would replace a trained model."""
    record = read_record(request.folder)
    if record is None or "model" not in record["finished_stages"]:
        return False
    if request.from_stage is not None:
        return list(STAGES).index(request.from_stage) <= list(STAGES).index("model")
    return request.overwrite or "model" not in folders.whole_stages(request.folder, record)


def headline(inputs: Inputs) -> str:
    """Return a line on the table, the task and the split."""
    rows = ", ".join(f"{len(table.X):,} {part}" for part, table in inputs.parts.items())
    source = "table" if inputs.card is None else "data set"
    why = f"{inputs.task} of {inputs.target!r} ({inputs.task_reason})"
    return f"{source} {inputs.name}: {why}; rows: {rows} ({inputs.split})"


# ---- the summary -----------------------------------------------------------------------------------------------------
_PATHS = ("tabular", "image")
#: With more models each has a line instead of a column.
_MODELS_SIDE_BY_SIDE = 3


def summarise(folder: Path, *, already: bool = False) -> Outcome:
    """Return the summary of a finished run, read from its folder. ``already``: it was finished before."""
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
        # The first line of a feature is over all rows. A class may also be named "all".
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
        record = read_record(folder)
        if record is not None and "time" in record["facts"]:
            facts["time"] = record["facts"]["time"]
        lines = [f"This run is already finished ({folder}). Nothing was changed."] if already else []
        # Features that move together are named below, after the features.
        shown = [one for one in verdict if one["facts"]["kind"] != "related"]
        lines += [f"ALARM: {one['sentence']}" if one["facts"]["kind"] == "leak" else one["sentence"] for one in shown]
        learnt = all(one["facts"].get("learnt", True) for one in verdict)
        lines += _metric_lines(metrics)
        path = folder / "explanations" / GROUPS
        groups = path if path.is_file() and read_json(path) else None
        whole = advantage_in("squared_error" if metrics["task"] == "regression" else "cross_entropy", metrics)
        lines += _feature_lines(top, related, learnt=learnt, groups=groups, whole=whole)
        lines += _branch_lines(branches)
        if (refits := saved_explanation(folder, "refits")) is not None:
            lines.append(training_words(refits))
        return Outcome(facts, "\n".join([*lines, f"Report: {report}"]))


def _metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return lines on the quality of the models, the positive class, and thresholds."""
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
    lines += [*positive_words(metrics.get("positive"))]
    if not (stored := metrics.get("cuts")):
        return lines
    width = max(len(row["cut"]) for row in stored["test"])
    head = f"Threshold for {stored['positive']!r}:"
    lines.append(f"{head:<{width + 2}}  accuracy  balanced      F1")
    for row in stored["test"]:
        numbers = f"{row['accuracy']:>8.3f}  {row['balanced_accuracy']:>8.3f}  {row['f1']:>6.3f}"
        lines.append(f"  {row['cut']:<{width}}  {numbers}")
    return lines


def _feature_lines(
    top: Any,
    related: Sequence[Mapping[str, Any]] = (),
    most: int = 8,
    *,
    learnt: bool = True,
    groups: Path | None = None,
    whole: float | None = None,
) -> list[str]:
    """List the leading features. ``groups``: a file of columns that move together. ``whole``: the model's advantage."""
    adjusted_p = top["p_adjusted"] if "p_adjusted" in top else top["importance"] * math.nan
    clear, tests = clearly(top["importance"], adjusted_p), int(adjusted_p.notna().sum())
    whose = f"{len(top)} features" + ("" if learnt else ", of a model that learned nothing")
    lost = "how much the loss grows" if whole is None else "how much of its advantage over a constant the model loses"
    lines = [f"Most important of {whose} ({lost} when one is shuffled, 95 % interval):"]

    def written(number: float) -> str:
        return f"{number:.3g}" if whole is None else f"{100 * number / whole:z.1f} %"

    width = min(max((len(str(name)) for name in top["feature"].head(most)), default=0), 40)
    below = False
    for place, row in enumerate(top.head(most).to_dict(orient="records"), start=1):
        # The share of an effect that may be zero means nothing.
        paths = [name for name in _PATHS if name in row and min(row["ci_low"], row["importance"]) > 0]
        shares = ", ".join(f"{name} {row[name] / row['importance']:z.0%}" for name in paths)
        below |= "-" in shares
        interval = f"[{written(row['ci_low'])}, {written(row['ci_high'])}]"
        mark, name, value = "*" if clear[place - 1] else " ", str(row["feature"])[:40], written(row["importance"])
        lines.append(f"{mark} {place:>2}. {name:<{width}}  {value:>8}  {interval:<22} {shares}".rstrip())
    if clear.any():
        lines.append(
            f"  * clearly matters: p-value below 5 % after Holm's correction for {tests} features "
            f"({clear.sum()} {by_count(clear.sum(), 'does', 'do')})"
        )
    elif tests:
        lines.append(f"  None clearly matters: no p-value is below 5 % after Holm's correction for {tests} features.")
    named = top["feature"].head(most)[clear[:most]].astype(str).tolist()
    if words := related_words(related, named, lambda name: name[:40]):
        lines.append(f"  {words}")
        lines += [f"  To explain related columns as one feature, pass --groups {groups}."] if groups else []
    if below:
        lines.append("  (a share below 0 %: that path makes the loss of this feature larger)")
    return lines


def _branch_lines(branches: Mapping[str, Any]) -> list[str]:
    entries = entries_of(branches)
    if len(entries) < 2:
        return []
    what, whose, one = ("Paths", "Branch", "a path") if is_hybrid(entries) else ("Inputs", "Input", "an input")
    if words := path_words(entries):
        return [f"{what} (how much the loss grows when {one} is shuffled): {words}"]
    if why := no_share_words(branches):
        return [f"{whose} shares: none, because {why}"]
    shares = [
        f"{name} {'undefined' if facts['share'] is None else format(facts['share'], 'z.0%')}"
        for name, facts in entries.items()
    ]
    return [f"{whose} shares: {', '.join(shares)}"]
