"""What the terminal shows of a finished run."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.assess.assessment import (
    Assessment,
    entries_of,
    is_hybrid,
    titles_of,
)
from permgrad.base.csv_files import read_csv
from permgrad.base.errors import as_lines, by_count, listed, option_of, printable
from permgrad.base.folders import believed
from permgrad.base.numerals import compact, number
from permgrad.base.stored import TIMES, read_json
from permgrad.data.encode.groups import PROPOSED
from permgrad.evaluation.class_order import metrics_in
from permgrad.models.losses import named_loss, usual_loss
from permgrad.pages.content import PageContent
from permgrad.pages.sentences import path_shares, path_words
from permgrad.pages.units import Loss, loss_without
from permgrad.pages.verdict import PARTS
from permgrad.pages.words import labels_of, training_words
from permgrad.runs.requests import Outcome
from permgrad.runs.run.run_splitting import POSITIVE
from permgrad.runs.run_documents import BRANCHES, METRICS, saved_explanation
from permgrad.runs.run_folder import read_record

if TYPE_CHECKING:
    import pandas as pd

#: With more models each has a line instead of a column.
_MODELS_SIDE_BY_SIDE = 3
#: Features that are listed.
_SHOWN = 8


def read_summary(folder: Path, *, already: bool = False) -> Outcome:
    """Return the summary of a finished run by its files.

    ``already``: it was finished before.
    """
    with believed(folder):
        metrics = read_json(folder / METRICS)
        texts = {"feature": str, "class": str}
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
        content.explanation = saved_explanation(folder, "permgrad")
        content.refits = saved_explanation(folder, "refits")
        if (folder / TIMES).is_file():
            times = read_json(folder / TIMES)["baselines"]
        else:
            times = {}
        time_facts = (read_record(folder) or {"facts": {}})["facts"].get("time")
        grouped = bool(read_json(folder / PROPOSED))
        return summarise(
            folder,
            PageContent.of(content),
            metrics["verdict"],
            ranking,
            times=times,
            time=time_facts,
            grouped=grouped,
            already=already,
        )


def summarise(
    folder: Path,
    content: PageContent,
    verdict: Sequence[Mapping[str, Any]],
    ranking: pd.DataFrame,
    *,
    times: Mapping[str, Mapping[str, float]],
    time: Any,
    grouped: bool,
    already: bool = False,
) -> Outcome:
    """Return the summary of a finished run.

    ``verdict``: its sentences. ``ranking``: what ``importance.csv`` holds. ``times``:
    of the baselines' fits. ``time``: what the run took, and what its limit cut.
    ``grouped``: whether the file of columns that move together names any.
    """
    stored: Mapping[str, Any] = content.metrics or {}
    # The first line of a feature is over all rows. A class may also be named "all".
    top_features = ranking[ranking["class"] == "all"].drop_duplicates("feature")
    top_features = top_features.sort_values(
        "importance", ascending=False, kind="stable"
    )
    report = folder / "report.html"
    kinds = {entry["facts"]["kind"]: entry for entry in verdict}
    loss = usual_loss(stored["task"])
    if content.explanation is not None:
        loss = named_loss(content.explanation.meta.get("loss")) or loss
    without = content.loss
    if content.explanation is None:  # of a table of importances alone
        about = {"loss": loss.name, "quantity": "increase of the loss"}
        without = loss_without(about, stored)
    facts: dict[str, Any] = {
        "folder": os.fspath(folder),
        "report": os.fspath(report),
        "already_finished": already,
        "verdict": verdict,
        **_facts_of_metrics(stored, times),
        "importance_unit": f"increase of the {loss.label}",
        **_facts_of_losses(without, top_features),
        "branches": entries_of(content.paths),
    }
    if "changes" in kinds:
        facts["changes"] = kinds["changes"]["facts"]
    if time is not None:
        facts["time"] = time
    lines = list[str]()
    if already:
        lines.append(f"This run is already finished ({folder}). Nothing was changed.")
    lines += _sentences(verdict)
    lines += _metric_lines(stored)
    related = kinds["related"]["sentence"] if "related" in kinds else ""
    grouped = grouped and not kinds.keys().isdisjoint({"related", "impossible"})
    lines += _feature_lines(
        top_features,
        learnt=all(entry["facts"].get("learnt", True) for entry in verdict),
        loss=without,
        clear=content.clear_names,
        related=related,
        groups=folder / PROPOSED if grouped else None,
    )
    lines += _branch_lines(content.paths)
    if content.refits is not None:
        lines.append(training_words(content.refits))
    return Outcome(facts, as_lines([*lines, f"Report: {report}"]))


def _facts_of_metrics(
    stored: Mapping[str, Any], times: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Return what ``metrics.json`` holds and a program asks for, the baselines with
    their times.
    """
    optional = ("positive", "decision", "never_predicted", "cuts")
    fact_names = ("task", "rows", "test", *filter(stored.__contains__, optional))
    facts = {fact_name: stored[fact_name] for fact_name in fact_names}
    facts["baselines"] = {
        baseline_name: {**baseline_facts, **times.get(baseline_name, {})}
        for baseline_name, baseline_facts in stored["baselines"].items()
    }
    return facts


def _facts_of_losses(
    without: Loss | None, top_features: pd.DataFrame
) -> dict[str, Any]:
    """Return the loss of the model and of a constant, and the first features, with the
    loss without each.
    """
    rows = (
        top_features.drop(columns=["class", "modality"])
        .head(10)
        .to_dict(orient="records")
    )
    if without is None:
        return {"loss": None, "top_features": rows}
    for feature_row in rows:
        feature_row["without"] = without.without(feature_row["importance"])
    loss_facts = {
        "metric": without.metric,
        "model": without.model,
        "constant": without.constant,
    }
    return {"loss": loss_facts, "top_features": rows}


def _sentences(verdict: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sentences of the first page.

    Features that move together are named after the list of features.
    """
    shown = []
    for sentence_entry in verdict:
        if (
            sentence_entry["facts"]["part"] in PARTS
            and sentence_entry["facts"]["kind"] != "related"
        ):
            shown.append(sentence_entry)
    return [
        "ALARM: " * (sentence_entry["facts"]["part"] == "alarm")
        + sentence_entry["sentence"]
        for sentence_entry in shown
    ]


def _metric_lines(measured: Mapping[str, Any]) -> list[str]:
    """Return lines on the quality of the models, the positive class, and thresholds."""
    models = {
        measured.get("model", "network"): measured["test"],
        **measured["baselines"],
    }
    labels = {metric.name: metric.label for metric in metrics_in(measured["test"])}
    if len(models) > _MODELS_SIDE_BY_SIDE:
        line_labels = list(models)
        columns = []
        for metric_name, label in labels.items():
            columns.append(
                (
                    label,
                    max(len(label), 8) + 2,
                    [scores.get(metric_name) for scores in models.values()],
                )
            )
    else:
        line_labels = list(labels.values())
        columns = []
        for model, scores in models.items():
            columns.append((model, 15, list(map(scores.get, labels))))
    width = max(map(len, line_labels))
    lines = [f"Test rows ({measured['rows']['test']:,}):"]
    lines.append(
        " " * (width + 2)
        + "".join(
            f"{column_head:>{column_width}}" for column_head, column_width, _ in columns
        )
    )
    for line_index, line_label in enumerate(line_labels):
        texts = [
            "–" if cells[line_index] is None else compact(cells[line_index], 4)
            for _, _, cells in columns
        ]
        cells = "".join(
            f"{cell_text:>{cell_width}}"
            for cell_text, (_, cell_width, _) in zip(texts, columns, strict=True)
        )
        lines.append(f"  {line_label:<{width}}{cells}")
    if measured.get("positive") is not None:
        lines.append(POSITIVE.format(str(measured["positive"])))
    if not (stored := measured.get("cuts")):
        return lines
    width = max(len(cut_row["cut"]) for cut_row in stored["test"])
    cut_heading = f"Threshold for {stored['positive']!r}:"
    lines.append(f"{cut_heading:<{width + 2}}  accuracy  balanced      F1")
    for cut_facts in stored["test"]:
        numbers = (
            f"{cut_facts['accuracy']:>8.3f}  "
            f"{cut_facts['balanced_accuracy']:>8.3f}  {cut_facts['f1']:>6.3f}"
        )
        lines.append(f"  {cut_facts['cut']:<{width}}  {numbers}")
    return lines


def _feature_lines(
    top: pd.DataFrame,
    *,
    learnt: bool = True,
    loss: Loss | None = None,
    clear: Collection[str] = (),
    related: str = "",
    groups: Path | None = None,
) -> list[str]:
    """List the leading features.

    ``clear``: those that clearly matter. ``groups``: a file for related.
    """
    whose = f"{len(top)} features" + (
        "" if learnt else ", of a model that is not clearly better than a constant"
    )
    is_idle = (top[["importance", "ci_low", "ci_high"]] == 0).all(axis=1)
    unused = top["feature"][is_idle]
    top = top[~is_idle]
    measured = "how much the loss grows when one is shuffled"
    if loss is not None:
        measured = (
            f"{loss.label} without it, now {number(loss.model, 4)}, of a "
            f"constant {number(loss.constant, 4)}"
        )
    lines = [f"Most important of {whose} ({measured}; 95 % interval):"]
    names = labels_of(
        [printable(str(feature_name)) for feature_name in top["feature"].head(_SHOWN)],
        40,
    )
    width = max(map(len, names), default=0)
    for feature_rank, feature_row in enumerate(
        top.head(_SHOWN).to_dict(orient="records"), start=1
    ):
        importance_ends = []
        for column_name in ("importance", "ci_low", "ci_high"):
            importance_ends.append(feature_row[column_name])
        value, lower_text, upper_text = [
            number(end_value) if loss is None else number(loss.without(end_value), 4)
            for end_value in importance_ends
        ]
        if feature_row["feature"] in clear:
            clear_mark = "*"
        else:
            clear_mark = " "
        lines.append(
            f"{clear_mark} {feature_rank:>2}. {names[feature_rank - 1]:<{width}}  "
            f"{value:>8}  [{lower_text}, {upper_text}]"
        )
    if len(unused):
        unused_names = [printable(str(feature_name)) for feature_name in unused]
        lines.append(f"  Not used by the model: {listed(unused_names, _SHOWN)}.")
    if clear:
        count = f"{len(clear)} {by_count(len(clear), 'does', 'do')}"
        lines.append(
            f"  * clearly matters: p-value below 5 % after Holm's correction ({count})"
        )
    lines += [f"  {related}"] * bool(related)
    lines += [
        (
            "  To explain related columns as one feature, pass "
            f"{option_of('--groups', groups)}."
        )
    ] * bool(groups)
    return lines


def _branch_lines(branches: Mapping[str, Any]) -> list[str]:
    entries = entries_of(branches)
    if len(entries) < 2:
        return []
    if is_hybrid(entries):
        whose = "Branch"
    else:
        whose = "Input"
    if words := path_words(entries):
        return [
            f"{whose} shares: none, because they would not be parts of a whole: {words}"
        ]
    shares = path_shares(entries)
    if shares:
        share_texts = []
        titles = titles_of(shares)
        for branch_name, share in shares.items():
            share_texts.append(f"{titles[branch_name]} {share:.0%}")
        return [f"{whose} shares: {', '.join(share_texts)}"]
    return []
