"""What the terminal shows of a finished run."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.assess.assessment import Assessment, entries_of, is_hybrid
from permgrad.base.csv_files import read_csv
from permgrad.base.errors import as_lines, by_count, listed, option_of, printable
from permgrad.base.folders import believed
from permgrad.base.numerals import compact, number
from permgrad.base.significance import clearly
from permgrad.base.stored import TIMES, read_json
from permgrad.data.encode.groups import PROPOSED
from permgrad.evaluation.class_order import metrics_in
from permgrad.pages.sentences import path_shares, path_words
from permgrad.pages.units import Loss, advantage, loss_without
from permgrad.pages.verdict import PARTS
from permgrad.pages.words import labels_of, training_words
from permgrad.runs.folder.documents import BRANCHES, METRICS, saved_explanation
from permgrad.runs.folder.folder import read_record
from permgrad.runs.requests import Outcome
from permgrad.runs.run.splitting import POSITIVE

if TYPE_CHECKING:
    import pandas as pd

#: With more models each has a line instead of a column.
_MODELS_SIDE_BY_SIDE = 3
#: Features that are listed.
_SHOWN = 8


def read_summary(folder: Path, *, already: bool = False) -> Outcome:
    """Return the summary of a finished run by its files. ``already``: it was finished before."""
    with believed(folder):
        metrics, texts = read_json(folder / METRICS), {"feature": str, "class": str}
        content = Assessment(
            title=folder.name, target="", task=metrics["task"], metrics=metrics
        )
        content.branches = read_json(folder / BRANCHES)
        ranking = read_csv(
            folder / "importance.csv",
            keep_default_na=False,
            na_values=[""],
            dtype=texts,
        )
        content.refits = saved_explanation(folder, "refits")
        times = (
            read_json(folder / TIMES)["baselines"] if (folder / TIMES).is_file() else {}
        )
        time = (read_record(folder) or {"facts": {}})["facts"].get("time")
        grouped = bool(read_json(folder / PROPOSED))
        return summarise(
            folder,
            content,
            ranking,
            times=times,
            time=time,
            grouped=grouped,
            already=already,
        )


def summarise(
    folder: Path,
    content: Assessment,
    ranking: pd.DataFrame,
    *,
    times: Mapping[str, Mapping[str, float]],
    time: Any,
    grouped: bool,
    already: bool = False,
) -> Outcome:
    """Return the summary of a finished run.

    ``ranking``: what ``importance.csv`` holds. ``times``: of the baselines' fits. ``time``: what the run took, and what
    its limit cut. ``grouped``: whether the file of columns that move together names any.
    """
    stored = content.metrics or {}
    # The first line of a feature is over all rows. A class may also be named "all".
    top = ranking[ranking["class"] == "all"].drop_duplicates("feature")
    top = top.sort_values("importance", ascending=False, kind="stable")
    report, verdict, baselines = (
        folder / "report.html",
        stored["verdict"],
        stored["baselines"],
    )
    kinds = {one["facts"]["kind"]: one for one in verdict}
    loss = "squared_error" if stored["task"] == "regression" else "cross_entropy"
    of_loss = {"loss": loss, "quantity": "increase of the loss"}
    whole, without = advantage(of_loss, stored), loss_without(of_loss, stored)
    facts: dict[str, Any] = {
        "folder": os.fspath(folder),
        "report": os.fspath(report),
        "already_finished": already,
        **{name: stored[name] for name in ("task", "rows", "test", "verdict")},
        "baselines": {
            name: {**one, **times.get(name, {})} for name, one in baselines.items()
        },
        **{
            name: stored[name]
            for name in ("positive", "decision", "never_predicted", "cuts")
            if name in stored
        },
        "importance_unit": f"increase of the {'squared error' if loss == 'squared_error' else 'log loss'}",
        "loss": without
        and {
            "metric": without.metric,
            "model": without.model,
            "constant": without.constant,
        },
        "top_features": [
            row
            if without is None
            else row | {"without": without.without(row["importance"])}
            for row in top.drop(columns=["class", "modality"])
            .head(10)
            .to_dict(orient="records")
        ],
        "branches": entries_of(content.paths),
    }
    facts |= {"changes": kinds["changes"]["facts"]} if "changes" in kinds else {}
    facts |= {} if time is None else {"time": time}
    lines = (
        [f"This run is already finished ({folder}). Nothing was changed."]
        if already
        else []
    )
    lines += _sentences(verdict)
    learnt = all(one["facts"].get("learnt", True) for one in verdict)
    lines += _metric_lines(stored)
    related = kinds["related"]["sentence"] if "related" in kinds else ""
    groups = (
        folder / PROPOSED
        if grouped and {"related", "impossible"} & kinds.keys()
        else None
    )
    lines += _feature_lines(
        top, learnt=learnt, loss=without, whole=whole, related=related, groups=groups
    )
    lines += _branch_lines(content.paths)
    lines += [] if content.refits is None else [training_words(content.refits)]
    return Outcome(facts, as_lines([*lines, f"Report: {report}"]))


def _sentences(verdict: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sentences of the first page. Features that move together are named after the list of features."""
    shown = [
        one
        for one in verdict
        if one["facts"]["part"] in PARTS and one["facts"]["kind"] != "related"
    ]
    return [
        "ALARM: " * (one["facts"]["part"] == "alarm") + one["sentence"] for one in shown
    ]


def _metric_lines(measured: Mapping[str, Any]) -> list[str]:
    """Return lines on the quality of the models, the positive class, and thresholds."""
    models = {
        measured.get("model", "network"): measured["test"],
        **measured["baselines"],
    }
    labels = {one.name: one.label for one in metrics_in(measured["test"])}
    if len(models) > _MODELS_SIDE_BY_SIDE:
        rows = list(models)
        columns = [
            (
                label,
                max(len(label), 8) + 2,
                [scores.get(name) for scores in models.values()],
            )
            for name, label in labels.items()
        ]
    else:
        rows = list(labels.values())
        columns = [
            (model, 15, [scores.get(name) for name in labels])
            for model, scores in models.items()
        ]
    width = max(map(len, rows))
    lines = [f"Test rows ({measured['rows']['test']:,}):"]
    lines.append(
        " " * (width + 2) + "".join(f"{head:>{size}}" for head, size, _ in columns)
    )
    for place, row in enumerate(rows):
        texts = [
            "–" if cells[place] is None else compact(cells[place], 4)
            for _, _, cells in columns
        ]
        cells = "".join(
            f"{text:>{size}}" for text, (_, size, _) in zip(texts, columns, strict=True)
        )
        lines.append(f"  {row:<{width}}{cells}")
    if measured.get("positive") is not None:
        lines.append(POSITIVE.format(str(measured["positive"])))
    if not (stored := measured.get("cuts")):
        return lines
    width = max(len(row["cut"]) for row in stored["test"])
    head = f"Threshold for {stored['positive']!r}:"
    lines.append(f"{head:<{width + 2}}  accuracy  balanced      F1")
    for row in stored["test"]:
        numbers = f"{row['accuracy']:>8.3f}  {row['balanced_accuracy']:>8.3f}  {row['f1']:>6.3f}"
        lines.append(f"  {row['cut']:<{width}}  {numbers}")
    return lines


def _feature_lines(
    top: pd.DataFrame,
    *,
    learnt: bool = True,
    loss: Loss | None = None,
    whole: float | None = None,
    related: str = "",
    groups: Path | None = None,
) -> list[str]:
    """List the leading features. ``loss``, ``whole``: the model's and its advantage. ``groups``: a file for related."""
    whose = f"{len(top)} features" + (
        "" if learnt else ", of a model that is not clearly better than a constant"
    )
    idle = (top[["importance", "ci_low", "ci_high"]] == 0).all(axis=1)
    unused, top = top["feature"][idle], top[~idle]
    adjusted_p = (
        top["p_adjusted"] if "p_adjusted" in top else top["importance"] * math.nan
    )
    clear = clearly(top["importance"], adjusted_p, whole)
    measured = "how much the loss grows when one is shuffled"
    if loss is not None:
        measured = f"{loss.label} without it, now {number(loss.model, 4)}, of a constant {number(loss.constant, 4)}"
    lines = [f"Most important of {whose} ({measured}; 95 % interval):"]
    names = labels_of(
        [printable(str(name)) for name in top["feature"].head(_SHOWN)], 40
    )
    width = max(map(len, names), default=0)
    for place, row in enumerate(top.head(_SHOWN).to_dict(orient="records"), start=1):
        ends = [row[name] for name in ("importance", "ci_low", "ci_high")]
        value, low, high = [
            number(end) if loss is None else number(loss.without(end), 4)
            for end in ends
        ]
        mark = "*" if clear[place - 1] else " "
        lines.append(
            f"{mark} {place:>2}. {names[place - 1]:<{width}}  {value:>8}  [{low}, {high}]"
        )
    if len(unused):
        lines.append(
            f"  Not used by the model: {listed([printable(str(name)) for name in unused], _SHOWN)}."
        )
    if clear.any():
        count = f"{clear.sum()} {by_count(clear.sum(), 'does', 'do')}"
        lines.append(
            f"  * clearly matters: p-value below 5 % after Holm's correction ({count})"
        )
    lines += [f"  {related}"] * bool(related)
    lines += [
        f"  To explain related columns as one feature, pass {option_of('--groups', groups)}."
    ] * bool(groups)
    return lines


def _branch_lines(branches: Mapping[str, Any]) -> list[str]:
    entries = entries_of(branches)
    if len(entries) < 2:
        return []
    whose = "Branch" if is_hybrid(entries) else "Input"
    if words := path_words(entries):
        return [
            f"{whose} shares: none, because they would not be parts of a whole: {words}"
        ]
    shares = path_shares(entries)
    return (
        [
            f"{whose} shares: {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}"
        ]
        if shares
        else []
    )
