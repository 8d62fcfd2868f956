"""The page of a study: the best trial, the search, and the effect of each setting. One offline HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from permgrad.base.numerals import number, percent
from permgrad.evaluation.metrics import metrics
from permgrad.pages.charts.explained import signed_bars
from permgrad.pages.charts.study import MOST_SLICES, trial_curves, tuning_history, tuning_slices
from permgrad.pages.html import render_page
from permgrad.pages.views import Builder, Cell, Fact, Mark, SectionView, as_count, built, figures_of, names, table_of
from permgrad.pages.words import clean, duration, listed, value_text

#: Columns of the trials' table that are not settings.
OWN = ("trial", "state", "validation_loss", "epochs", "best_epoch", "seed", "reason")


def tuning_page(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return a study's page, from ``trials.csv`` and further facts (missing facts are left out).

    ``table, target, task, space, space_text, total, best, importances, curves, seconds, log_scales, starts_with,
    command, again, study, seed, split, test, has_report``.
    """
    best = facts.get("best")
    count, total = len(table), facts.get("total", len(table))
    headline = f"None of {count} trial{'s' * (count != 1)} has succeeded yet."
    if best is not None:
        headline = f"Trial {best} is the best of {count}: validation loss {number(_loss(table, best), 4)}."
    counts = table["state"].value_counts()
    chosen = [Fact(f"{int(counts[state])}", state) for state in ("complete", "pruned", "failed") if counts.get(state)]
    spent = sum(float(value) for value in facts.get("seconds", {}).values() if value)
    chosen += [Fact(duration(spent), "training in total")] if spent else []
    return render_page(
        title=str(facts.get("table", "study")),
        kind="permgrad tuning",
        headline=headline,
        second=_second(table, facts),
        facts=[*chosen, Fact(f"{len(settings_of(table))}", "settings searched")][:4],
        warnings=[f"{count} of {total} trials are finished. Run the same command to resume."] * (count < total),
        sections=built(_SECTIONS, table, facts),
    )


def settings_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that are settings."""
    return [str(name) for name in table.columns if name not in OWN]


def _loss(table: pd.DataFrame, trial: int | None) -> float:
    losses = pd.to_numeric(table.loc[table["trial"] == trial, "validation_loss"])
    return float(losses.iloc[0]) if len(losses) else math.nan


# ---- the first words -------------------------------------------------------------------------------------------------
def _second(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    words = f"Predicting {clean(facts['target'])}" if facts.get("target") else "A search of settings"
    words += f" ({facts['task']})" if facts.get("task") else ""
    words += f" with {clean(facts['space_text'])}." if facts.get("space_text") else "."
    start, best, first = facts.get("starts_with"), facts.get("best"), _loss(table, 0)
    if not start or best is None or not math.isfinite(first):
        return words
    if best == 0:
        return f"{words} No trial was better than {clean(start)} itself."
    gain = 1 - _loss(table, best) / first if first else 0.0
    itself = f"{clean(start[:1].upper() + start[1:])}, trial 0, has {number(first, 4)}"
    return f"{words} {itself}. The winner's loss is {gain:.1%} smaller."


# ---- sections --------------------------------------------------------------------------------------------------------
def _winner(section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    best = facts.get("best")
    if best is None:
        return
    if facts.get("has_report"):
        test = facts.get("test", {})
        defined = [name for name in metrics if isinstance(test.get(name), (int, float))]
        measured = [f"{metrics.get(name).label} {number(float(test[name]))}" for name in defined]
        section.text(
            Markup(
                'Its model, test metrics and explanation: <a href="report.html">report.html</a>. '
                'Its settings as a preset: <a href="preset.json">preset.json</a>.'
            ),
            f"On the test rows, which no trial used: {listed(measured)}." if measured else "",
        )
    row = table.loc[table["trial"] == best].iloc[0]
    settings = [name for name in settings_of(table) if not pd.isna(row[name])]
    columns = [names(settings, "setting"), names((value_text(row[name], 40) for name in settings), f"trial {best}")]
    if facts.get("starts_with") and best:
        first = table.loc[table["trial"] == 0].iloc[0]
        texts = [None if pd.isna(first[name]) else value_text(first[name], 40) for name in settings]
        marks: list[Mark] = ["quiet" if str(first[name]) == str(row[name]) else "" for name in settings]
        columns.append(names(texts, clean(facts["starts_with"]), marks))
    section.table(table_of("Settings of the winner", columns, sortable=False))
    if facts.get("again"):
        section.text("Train the same model again:")
        section.add("code", str(facts["again"]))


def _history(section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    if table["validation_loss"].notna().any():
        start = facts.get("starts_with")
        section.figure(
            tuning_history(table, reference=clean(start) if start else ""),
            "Each mark is a trial: its smallest loss on the validation rows. Pruned trials were stopped early, because "
            "at the same epoch half of the earlier trials were better. Values far worse than most are drawn at the "
            "upper edge.",
        )


def _importance(section: SectionView, _table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    if shares := facts.get("importances"):
        section.figure(
            signed_bars(list(shares), np.array([*shares.values()]), label="share of importance", write=percent),
            "How differently a setting is distributed among the best trials and among all (PED-ANOVA, Watanabe et al. "
            "2023), over complete trials only. With few trials this is a hint, not a finding.",
        )


def _slices(section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    order = list(facts.get("importances", {}))
    usable = table[table["state"] != "failed"]
    shown = [name for name in settings_of(table) if usable[name].notna().any()]
    shown.sort(key=lambda name: order.index(name) if name in order else len(order))
    if shown:
        caption = (
            "Validation loss against the value of each setting, the most important first. Blue: early. Orange: late. "
            "Hollow: pruned. Ring: the winner. Trials without a setting are not in its panel."
        )
        if len(shown) > MOST_SLICES:
            caption += f" The first {MOST_SLICES} of {len(shown)} settings."
        drawn = tuning_slices(table, shown, log=facts.get("log_scales", ()), best=facts.get("best"))
        section.figure(drawn, caption)


def _curves(section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    curves = {int(trial): losses for trial, losses in facts.get("curves", {}).items() if len(losses)}
    if curves:
        pruned = [int(trial) for trial in table.loc[table["state"] == "pruned", "trial"]]
        section.figure(
            trial_curves(curves, best=facts.get("best"), pruned=pruned),
            "Validation loss after each epoch. A cross marks where a trial was pruned.",
        )


def _trials(section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    best, seconds = facts.get("best"), facts.get("seconds", {})
    marks: list[Mark] = [
        "quiet" if state != "complete" else "best" if trial == best else ""
        for trial, state in zip(table["trial"], table["state"], strict=True)
    ]

    columns = [
        figures_of("trial", table["trial"], as_count, marks),
        names(table["state"], "state", marks),
        figures_of("loss", table["validation_loss"], partial(number, digits=5), marks),
        figures_of("epochs", table["epochs"], as_count, marks),
        figures_of("seconds", map(seconds.get, table["trial"]), number, marks),
    ]
    for name in settings_of(table):
        values, heading = table[name], clean(name)
        texts = ["" if pd.isna(value) else value_text(value, 28) for value in values]
        if all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in values.dropna()):
            columns.append(figures_of(heading, values, texts, marks))
        else:
            columns.append((heading, "text", list(map(Cell, texts, texts, marks))))
    if "reason" in table and table["reason"].notna().any():
        reasons = [Cell("" if pd.isna(reason) else clean(reason), None, "quiet") for reason in table["reason"]]
        columns.append(("reason", "text", reasons))
    section.table(table_of("Click a heading to sort. trials.csv has the same without times.", columns))


def _origin(section: SectionView, _table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    section.add("code", str(facts.get("command") or ""))
    section.text(
        "Settings are chosen by tree-structured Parzen estimators (Optuna) on the validation rows. Neither the trials "
        "nor the choice of the winner use the test rows."
    )
    labels = {"study": "study", "space": "space", "seed": "seed", "split": "split"}
    section.pairs({words: facts[name] for name, words in labels.items() if facts.get(name) is not None})


_SECTIONS: tuple[Builder, ...] = (
    ("winner", "The winner", _winner),
    ("history", "History", _history),
    ("importance", "Which settings matter", _importance),
    ("slices", "Setting by setting", _slices),
    ("curves", "Learning curves", _curves),
    ("trials", "All trials", _trials),
    ("provenance", "What was run", _origin),
)
