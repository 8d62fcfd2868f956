"""What the terminal shows of a finished run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from permgrad.assess.assessment import Assessment, entries_of, is_hybrid
from permgrad.base.csv_files import read_csv
from permgrad.base.errors import as_lines, by_count, option_of, printable
from permgrad.base.folders import believed
from permgrad.base.numerals import compact, number
from permgrad.base.significance import UNMOVED, clearly, features_tested
from permgrad.base.stored import TIMES, read_json
from permgrad.evaluation.class_order import metrics_in
from permgrad.pages.sentences import no_share_words, path_words, related_words
from permgrad.pages.units import advantage
from permgrad.pages.words import labels_of, training_words
from permgrad.runs.folder.documents import BRANCHES, GROUPS, METRICS, saved_explanation
from permgrad.runs.folder.folder import read_record
from permgrad.runs.requests import Outcome
from permgrad.runs.run.splitting import POSITIVE

if TYPE_CHECKING:
    import pandas as pd

_PATHS = ("tabular", "image")
#: With more models each has a line instead of a column.
_MODELS_SIDE_BY_SIDE = 3
#: Features that are listed.
_SHOWN = 8


def read_summary(folder: Path, *, already: bool = False) -> Outcome:
    """Return the summary of a finished run by its files. ``already``: it was finished before."""
    with believed(folder):
        metrics, texts = read_json(folder / METRICS), {"feature": str, "class": str}
        content = Assessment(title=folder.name, target="", task=metrics["task"], metrics=metrics)
        content.branches = read_json(folder / BRANCHES)
        ranking = read_csv(folder / "importance.csv", keep_default_na=False, na_values=[""], dtype=texts)
        related = read_json(folder / "explanations" / "related.json")
        content.related = related["pairs"] if isinstance(related, dict) else related  # of the first format
        content.refits = saved_explanation(folder, "refits")
        times = read_json(folder / TIMES)["baselines"] if (folder / TIMES).is_file() else {}
        time = (read_record(folder) or {"facts": {}})["facts"].get("time")
        grouped = bool(read_json(folder / GROUPS))
        return summarise(folder, content, ranking, times=times, time=time, grouped=grouped, already=already)


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
    metrics = content.metrics or {}
    # The first line of a feature is over all rows. A class may also be named "all".
    top = ranking[ranking["class"] == "all"].drop_duplicates("feature")
    top = top.sort_values("importance", ascending=False, kind="stable")
    report, verdict, baselines = folder / "report.html", metrics["verdict"], metrics["baselines"]
    loss = "squared_error" if metrics["task"] == "regression" else "cross_entropy"
    whole = advantage({"loss": loss, "quantity": "increase of the loss"}, metrics)
    facts: dict[str, Any] = {
        "folder": os.fspath(folder),
        "report": os.fspath(report),
        "already_finished": already,
        **{name: metrics[name] for name in ("task", "rows", "test", "verdict")},
        "baselines": {name: {**one, **times.get(name, {})} for name, one in baselines.items()},
        **{name: metrics[name] for name in ("positive", "never_predicted", "cuts") if name in metrics},
        "importance_unit": f"increase of the {'squared error' if loss == 'squared_error' else 'log loss'}",
        "advantage": whole,  # what the shares on the page are of, in the same unit
        "top_features": top.drop(columns=["class", "modality"]).head(10).to_dict(orient="records"),
        "branches": entries_of(content.paths),
    }
    if changes := [one["facts"] for one in verdict if one["facts"]["kind"] == "changes"]:
        facts["changes"] = changes[0]
    if time is not None:
        facts["time"] = time
    lines = [f"This run is already finished ({folder}). Nothing was changed."] if already else []
    # Features that move together are named below, after the features.
    shown = [one for one in verdict if one["facts"]["kind"] != "related"]
    lines += [f"ALARM: {one['sentence']}" if one["facts"]["part"] == "alarm" else one["sentence"] for one in shown]
    learnt = all(one["facts"].get("learnt", True) for one in verdict)
    lines += _metric_lines(metrics)
    groups = folder / GROUPS if grouped else None
    lines += _feature_lines(top, content.related, learnt=learnt, groups=groups, whole=whole)
    lines += _branch_lines(content.paths)
    lines += [] if content.refits is None else [training_words(content.refits)]
    return Outcome(facts, as_lines([*lines, f"Report: {report}"]))


def _metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return lines on the quality of the models, the positive class, and thresholds."""
    models = {metrics.get("model", "permgrad"): metrics["test"], **metrics["baselines"]}
    labels = {one.name: one.label for one in metrics_in(metrics["test"])}
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
        texts = ["–" if cells[place] is None else compact(cells[place], 4) for _, _, cells in columns]
        cells = "".join(f"{text:>{size}}" for text, (_, size, _) in zip(texts, columns, strict=True))
        lines.append(f"  {row:<{width}}{cells}")
    if metrics.get("positive") is not None:
        lines.append(POSITIVE.format(str(metrics["positive"])))
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
    *,
    learnt: bool = True,
    groups: Path | None = None,
    whole: float | None = None,
) -> list[str]:
    """List the leading features. ``groups``: a file of columns that move together. ``whole``: the model's advantage."""
    adjusted_p = top["p_adjusted"] if "p_adjusted" in top else top["importance"] * math.nan
    clear, modalities = clearly(top["importance"], adjusted_p, whole), top.get("modality", adjusted_p * 0)
    moves = (top["importance"] != 0) | (top.get("std_error", adjusted_p) > 0)
    tests = features_tested(modalities[adjusted_p.notna() & moves].tolist())
    whose = f"{len(top)} features" + ("" if learnt else ", of a model that is not clearly better than a constant")
    lost = "how much the loss grows" if whole is None else "how much of its advantage over a constant the model loses"
    lines = [f"Most important of {whose} ({lost} when one is shuffled, 95 % interval):"]

    names = labels_of(top["feature"].map(str).map(printable).head(_SHOWN), 40)
    width = max(map(len, names), default=0)
    below = False
    for place, row in enumerate(top.head(_SHOWN).to_dict(orient="records"), start=1):
        # The share of an effect that may be zero means nothing.
        paths = [name for name in _PATHS if name in row and min(row["ci_low"], row["importance"]) > 0]
        paths = paths if len(paths) == len(_PATHS) else []  # of one path, it is all
        shares = ", ".join(f"{name} {row[name] / row['importance']:z.0%}" for name in paths)
        below |= "-" in shares
        numbers = [row[name] for name in ("importance", "ci_low", "ci_high")]
        value, low, high = [number(n) if whole is None else f"{100 * n / whole:z.1f} %" for n in numbers]
        mark, interval = "*" if clear[place - 1] else " ", f"[{low}, {high}]"
        lines.append(f"{mark} {place:>2}. {names[place - 1]:<{width}}  {value:>8}  {interval:<22} {shares}".rstrip())
    if clear.any():
        lines.append(
            f"  * clearly matters: p-value below 5 % after Holm's correction for {tests} "
            f"({clear.sum()} {by_count(clear.sum(), 'does', 'do')})"
        )
    elif len(adjusted_p) and adjusted_p.notna().all():
        none = f"no p-value is below 5 % after Holm's correction for {tests}" if moves.any() else UNMOVED
        lines.append(f"  None clearly matters: {none}.")
    named = top["feature"].head(_SHOWN)[clear[:_SHOWN]].astype(str).tolist()
    if words := related_words(related, named):
        lines.append(f"  {words}")
        lines += (
            [f"  To explain related columns as one feature, pass {option_of('--groups', groups)}."] if groups else []
        )
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
