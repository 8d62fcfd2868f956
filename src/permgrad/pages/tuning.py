"""The page of a study: the best trial, the search, and the effect of each setting.

One offline HTML file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.numerals import number, percent
from permgrad.evaluation.metrics import metrics
from permgrad.pages.charts.chart import Chart, mark, padded, panel, plot
from permgrad.pages.charts.explained import signed_bars
from permgrad.pages.html import render_page
from permgrad.pages.views import (
    Builder,
    Cell,
    Fact,
    Mark,
    SectionView,
    as_count,
    built,
    figures_of,
    names,
    table_of,
)
from permgrad.pages.words import clean, duration, listed, value_text

#: Columns of the trials' table that are not settings.
OWN = ("trial", "state", "validation_loss", "epochs", "best_epoch", "seed", "reason")


def tuning_page(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return a study's page, from ``trials.csv`` and further facts (missing facts are
    left out).

    ``table, target, task, space, space_text, total, best, importances, curves, seconds,
    log_scales, starts_with, command, again, study, seed, split, test, has_report``.
    """
    best_trial = facts.get("best")
    count = len(table)
    total = facts.get("total", len(table))
    headline = f"None of {count} trial{'s' * (count != 1)} has succeeded yet."
    if best_trial is not None:
        headline = (
            f"Trial {best_trial} is the best of {count}: validation loss "
            f"{number(_loss(table, best_trial), 4)}."
        )
    counts = table["state"].value_counts()
    shown_facts = []
    for state in ("complete", "pruned", "failed"):
        if counts.get(state):
            shown_facts.append(Fact(f"{int(counts[state])}", state))
    spent = sum(float(value) for value in facts.get("seconds", {}).values() if value)
    if spent:
        shown_facts += [Fact(duration(spent), "training in total")]
    return render_page(
        title=str(facts.get("table", "study")),
        kind="permgrad tuning",
        headline=headline,
        second=_second(table, facts),
        facts=[*shown_facts, Fact(f"{len(settings_of(table))}", "settings searched")][
            :4
        ],
        warnings=[
            f"{count} of {total} trials are finished. Run the same command to resume."
        ]
        * (count < total),
        sections=built(_SECTIONS, table, facts),
    )


def settings_of(table: pd.DataFrame) -> list[str]:
    """Return the columns that are settings."""
    return [str(column_name) for column_name in table.columns if column_name not in OWN]


def _loss(table: pd.DataFrame, trial: int | None) -> float:
    losses = pd.to_numeric(table.loc[table["trial"] == trial, "validation_loss"])
    if len(losses):
        return float(losses.iloc[0])
    return math.nan


# ---- the first words -----------------------------------------------------------------
def _second(table: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    if facts.get("target"):
        words = f"Predicting {clean(facts['target'])}"
    else:
        words = "A search of settings"
    if facts.get("task"):
        words += f" ({facts['task']})"
    if facts.get("space_text"):
        words += f" with {clean(facts['space_text'])}."
    else:
        words += "."
    start = facts.get("starts_with")
    best_trial = facts.get("best")
    first = _loss(table, 0)
    if not start or best_trial is None or not math.isfinite(first):
        return words
    if best_trial == 0:
        return f"{words} No trial was better than {clean(start)} itself."
    if first:
        relative_gain = 1 - _loss(table, best_trial) / first
    else:
        relative_gain = 0.0
    itself = f"{clean(start[:1].upper() + start[1:])}, trial 0, has {number(first, 4)}"
    return f"{words} {itself}. The winner's loss is {relative_gain:.1%} smaller."


# ---- sections ------------------------------------------------------------------------
def _winner(
    section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    best_trial = facts.get("best")
    if best_trial is None:
        return
    if facts.get("has_report"):
        test_scores = facts.get("test", {})
        defined = [
            metric_name
            for metric_name in metrics
            if isinstance(test_scores.get(metric_name), (int, float))
        ]
        measured = [
            f"{metrics.get(metric_name).label} "
            f"{number(float(test_scores[metric_name]))}"
            for metric_name in defined
        ]
        section.text(
            Markup(
                "Its model, test metrics and explanation: <a "
                'href="report.html">report.html</a>. '
                'Its settings as a preset: <a href="preset.json">preset.json</a>.'
            ),
            f"On the test rows, which no trial used: {listed(measured)}."
            if measured
            else "",
        )
    winner_row = table.loc[table["trial"] == best_trial].iloc[0]
    settings = [
        setting_name
        for setting_name in settings_of(table)
        if not pd.isna(winner_row[setting_name])
    ]
    columns = [
        names(settings, "setting"),
        names(
            (value_text(winner_row[setting_name], 40) for setting_name in settings),
            f"trial {best_trial}",
        ),
    ]
    if facts.get("starts_with") and best_trial:
        first = table.loc[table["trial"] == 0].iloc[0]
        texts = [
            None
            if pd.isna(first[setting_name])
            else value_text(first[setting_name], 40)
            for setting_name in settings
        ]
        marks: list[Mark] = [
            "quiet" if str(first[setting_name]) == str(winner_row[setting_name]) else ""
            for setting_name in settings
        ]
        columns.append(names(texts, clean(facts["starts_with"]), marks))
    section.table(table_of("Settings of the winner", columns, sortable=False))
    if facts.get("again"):
        section.text("Train the same model again:")
        section.add("code", str(facts["again"]))


def _history(
    section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    if table["validation_loss"].notna().any():
        start = facts.get("starts_with")
        section.figure(
            tuning_history(table, reference=clean(start) if start else ""),
            "Each mark is a trial: its smallest loss on the validation rows. Pruned "
            "trials were stopped early, because at the same epoch half of the earlier "
            "trials were better. Values far worse than most are drawn at the upper "
            "edge.",
        )


def _importance(
    section: SectionView, _table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    if shares := facts.get("importances"):
        section.figure(
            signed_bars(
                list(shares),
                np.array([*shares.values()]),
                label="share of importance",
                write=percent,
            ),
            "How differently a setting is distributed among the best trials and among "
            "all (PED-ANOVA, Watanabe et al. 2023), over complete trials only. With "
            "few trials this is a hint, not a finding.",
        )


def _slices(
    section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    order = list(facts.get("importances", {}))
    usable = table[table["state"] != "failed"]
    shown = []
    for setting_name in settings_of(table):
        if usable[setting_name].notna().any():
            shown.append(setting_name)
    shown.sort(key=lambda name: order.index(name) if name in order else len(order))
    if shown:
        caption = (
            "Validation loss against the value of each setting, the most important "
            "first. Blue: early. Orange: late. Hollow: pruned. Ring: the winner. "
            "Trials without a setting are not in its panel."
        )
        if len(shown) > _MOST_SLICES:
            caption += f" The first {_MOST_SLICES} of {len(shown)} settings."
        drawn = tuning_slices(
            table, shown, log=facts.get("log_scales", ()), best=facts.get("best")
        )
        section.figure(drawn, caption)


def _curves(
    section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    curves = {}
    for trial, losses in facts.get("curves", {}).items():
        if len(losses):
            curves[int(trial)] = losses
    if curves:
        pruned = []
        for trial in table.loc[table["state"] == "pruned", "trial"]:
            pruned.append(int(trial))
        section.figure(
            trial_curves(curves, best=facts.get("best"), pruned=pruned),
            "Validation loss after each epoch. A cross marks where a trial was pruned.",
        )


def _trials(
    section: SectionView, table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    best_trial = facts.get("best")
    seconds = facts.get("seconds", {})
    marks: list[Mark] = []
    for trial, state in zip(table["trial"], table["state"], strict=True):
        mark: Mark = "best" if trial == best_trial else ""
        if state != "complete":
            mark = "quiet"
        marks.append(mark)

    columns = [
        figures_of("trial", table["trial"], as_count, marks),
        names(table["state"], "state", marks),
        figures_of("loss", table["validation_loss"], partial(number, digits=5), marks),
        figures_of("epochs", table["epochs"], as_count, marks),
        figures_of("seconds", map(seconds.get, table["trial"]), number, marks),
    ]
    for setting_name in settings_of(table):
        values = table[setting_name]
        heading = clean(setting_name)
        texts = []
        for value in values:
            if pd.isna(value):
                texts.append("")
            else:
                texts.append(value_text(value, 28))
        if all(
            isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            for value in values.dropna()
        ):
            columns.append(figures_of(heading, values, texts, marks))
        else:
            columns.append((heading, "text", list(map(Cell, texts, texts, marks))))
    if "reason" in table and table["reason"].notna().any():
        reasons = []
        for reason in table["reason"]:
            reasons.append(
                Cell("" if pd.isna(reason) else clean(reason), None, "quiet")
            )
        columns.append(("reason", "text", reasons))
    section.table(
        table_of(
            "Click a heading to sort. trials.csv has the same without times.", columns
        )
    )


def _origin(
    section: SectionView, _table: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    section.add("code", str(facts.get("command") or ""))
    section.text(
        "Settings are chosen by tree-structured Parzen estimators (Optuna) on the "
        "validation rows. Neither the trials "
        "nor the choice of the winner use the test rows."
    )
    labels = {"study": "study", "space": "space", "seed": "seed", "split": "split"}
    section.pairs(
        {
            words: facts[fact_name]
            for fact_name, words in labels.items()
            if facts.get(fact_name) is not None
        }
    )


_SECTIONS: tuple[Builder, ...] = (
    ("winner", "The winner", _winner),
    ("history", "History", _history),
    ("importance", "Which settings matter", _importance),
    ("slices", "Setting by setting", _slices),
    ("curves", "Learning curves", _curves),
    ("trials", "All trials", _trials),
    ("provenance", "What was run", _origin),
)


#: Slices in one figure.
_MOST_SLICES = 24
#: How far above the median, in distances of the best one from it, losses are still
#: drawn in place.
_WILD = 3.0
_MARKS: dict[str, dict[str, Any]] = {
    "complete": {"shape": "dot", "colour": "tabular"},
    "pruned": {"shape": "circle", "colour": "neutral"},
    "failed": {"shape": "cross", "colour": "negative"},
}


def loss_limits(losses: Floats) -> tuple[float, float]:
    """Return limits for good values.

    Values far worse than most are drawn at the upper edge.
    """
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return 0.0, 1.0
    lower_limit = float(finite.min())
    middle = float(np.median(finite))
    upper_limit = float(finite.max())
    if (
        len(finite) > 4
        and upper_limit - lower_limit > _WILD * 2 * (middle - lower_limit) > 0
    ):
        upper_limit = lower_limit + _WILD * (middle - lower_limit)
    return padded([lower_limit, upper_limit], 0.08)


def tuning_history(table: pd.DataFrame, *, reference: str = "") -> Chart:
    """Return each trial's validation loss and the best so far, from the columns
    ``trial, state, validation_loss``.

    ``reference`` names trial 0 if it is not an ordinary trial. A line shows its loss.
    """
    trials, losses, state = _columns(table)
    lower_limit, upper_limit = loss_limits(losses)
    shown = np.clip(
        losses, lower_limit, upper_limit - 0.025 * (upper_limit - lower_limit)
    )
    shown[state == "failed"] = upper_limit - 0.03 * (upper_limit - lower_limit)
    best_losses = np.minimum.accumulate(
        np.where((state == "complete") & np.isfinite(losses), losses, np.inf)
    )
    defined = np.isfinite(best_losses)
    marks = [
        mark(
            "line",
            x=trials[defined],
            y=best_losses[defined],
            colour="image",
            name="best so far",
        )
    ]
    words = []
    for state_name, mark_look in _MARKS.items():
        if (state_mask := state == state_name).any():
            marks.append(
                mark(
                    "dots",
                    x=trials[state_mask],
                    y=shown[state_mask],
                    name=state_name,
                    size=3.4,
                    **mark_look,
                )
            )
            words.append(f"{int(state_mask.sum())} {state_name}")
    described = f"{len(table)} trials: {', '.join(words)}."
    if reference and state[0] == "complete" and trials[0] == 0:
        state_name = f"{reference}: {number(float(losses[0]), 4)}"
        level = {"x": [trials[0], trials[-1]], "y": [losses[0], losses[0]]}
        marks.insert(
            0,
            mark(
                "line", **level, name=state_name, colour="muted", dashed=True, width=1
            ),
        )
    if defined.any():
        winner = int(np.argmin(best_losses))
        winning_trial = int(trials[winner])
        winning_loss = float(losses[winner])
        winner_text = f"trial {winning_trial}: {number(winning_loss, 4)}"
        marks.append(
            mark(
                "dots",
                x=[winning_trial],
                y=[winning_loss],
                colour="image",
                size=6,
                shape="circle",
                texts=[winner_text],
            )
        )
        described += (
            f" The best is trial {winning_trial} with {number(winning_loss, 3)}."
        )
    y = {"label": "validation loss", "domain": (lower_limit, upper_limit)}
    return plot(
        described, [panel({"label": "trial", "whole": True}, y, marks)], height=340
    )


class _TrialColumns(NamedTuple):
    """The trials of a study, ``(trials,)`` each."""

    numbers: Integers
    losses: Floats
    states: Array


def _columns(table: pd.DataFrame) -> _TrialColumns:
    """Return the trials' numbers, losses and states."""
    losses = pd.to_numeric(table["validation_loss"]).to_numpy(dtype=np.float64)
    return _TrialColumns(
        table["trial"].to_numpy(dtype=np.int64),
        losses,
        table["state"].to_numpy(dtype=object),
    )


def trial_curves(
    curves: Mapping[int, Sequence[float]],
    *,
    best: int | None = None,
    pruned: Sequence[int] = (),
) -> Chart:
    """Return the validation loss of all trials by epoch, the winner in front.

    A cross marks a pruned trial's end.
    """
    drawn = {
        trial: np.asarray(losses, dtype=np.float64)
        for trial, losses in curves.items()
        if len(losses)
    }
    marks = []
    pruned_ends = []
    for trial, losses in drawn.items():
        if trial != best:
            marks.append(
                mark(
                    "line",
                    x=np.arange(1, len(losses) + 1),
                    y=losses,
                    colour="neutral",
                    width=0.9,
                    opacity=0.5,
                )
            )
            if trial in pruned:
                pruned_ends += [(len(losses), losses[-1])]
    if pruned_ends:
        x, y = np.array(pruned_ends).T
        marks.append(
            mark("dots", x=x, y=y, shape="cross", colour="neutral", name="pruned")
        )
    words = f"Validation loss by epoch of {len(drawn)} trials"
    if best in drawn:
        losses = drawn[best]
        best_index = int(np.nanargmin(losses))
        marks.append(
            mark(
                "line",
                x=np.arange(1, len(losses) + 1),
                y=losses,
                width=2.2,
                name=f"trial {best}",
            )
        )
        marks.append(
            mark(
                "dots",
                x=[best_index + 1],
                y=[losses[best_index]],
                size=4.5,
                texts=[f"trial {best}, epoch {best_index + 1}"],
            )
        )
        words += f", trial {best} in front."
    y_axis = {
        "label": "validation loss",
        "domain": loss_limits(np.concatenate(list(drawn.values()))),
    }
    return plot(
        words, [panel({"label": "epoch", "whole": True}, y_axis, marks)], height=330
    )


def tuning_slices(
    table: pd.DataFrame,
    names: Sequence[str],
    *,
    log: Sequence[str] = (),
    best: int | None = None,
) -> Chart:
    """Return for each setting the trials' losses against its values, earlier and later
    ones, and the winner.

    ``log`` are settings with a logarithmic axis.
    """
    ended = table[table["state"] != "failed"]
    names = list(names)[:_MOST_SLICES]
    lower_limit, upper_limit = loss_limits(_columns(ended).losses)
    drawn = ended.assign(
        validation_loss=np.clip(
            _columns(ended).losses,
            lower_limit,
            upper_limit - 0.04 * (upper_limit - lower_limit),
        )
    )
    middle_trial = ended["trial"].median()
    panels = []
    for setting_name in names:
        shown = drawn[drawn[setting_name].notna()]
        values, (trials, losses, state) = (
            shown[setting_name].to_numpy(dtype=object),
            _columns(shown),
        )
        numeric = _are_numbers(values)
        x, axis = _axis_of(
            setting_name, values, trials, numeric=numeric, log=setting_name in log
        )
        pruned = state == "pruned"
        is_winner = trials == best
        looks = (
            (
                pruned,
                {"shape": "circle", "colour": "neutral", "size": 2.6, "name": "pruned"},
            ),
            (
                ~pruned & (trials <= middle_trial),
                {"shape": "dot", "colour": "tabular", "size": 3, "name": "early"},
            ),
            (
                ~pruned & (trials > middle_trial),
                {"shape": "dot", "colour": "image", "size": 3, "name": "late"},
            ),
            (
                is_winner,
                {"shape": "circle", "colour": "ink", "size": 6, "name": "the winner"},
            ),
        )
        marks = []
        for trial_mask, mark_look in looks:
            if trial_mask.any():
                marks.append(
                    mark("dots", x=x[trial_mask], y=losses[trial_mask], **mark_look)
                )
        panels.append(
            panel(axis, {"label": "loss", "domain": (lower_limit, upper_limit)}, marks)
        )
    words = (
        f"Validation loss against each of {len(names)} settings: "
        f"{', '.join(map(clean, names))}."
    )
    return plot(words, panels, columns=3, height=210, width=760)


def _are_numbers(values: Array) -> bool:
    """Return whether all values of a setting are numbers."""
    return all(
        isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        for value in values
    )


def _axis_of(
    name: str, values: Array, trials: Array, *, numeric: bool, log: bool
) -> tuple[Array, dict[str, Any]]:
    """Return where the values of a setting are drawn, and its axis."""
    axis: dict[str, Any] = {"label": clean(name)}
    if numeric:
        x = values.astype(np.float64)
        axis |= {"log": log and bool((x > 0).all())}
        axis |= {
            "whole": all(isinstance(value, (int, np.integer)) for value in values)
            and not axis["log"]
        }
    else:
        levels = sorted(set(map(str, values)), key=_order)
        # Equal choices are moved apart a little, by trial, so that each can be seen.
        x = (
            np.array([levels.index(str(value)) for value in values])
            + (trials * 0.618034 % 1 - 0.5) * 0.36
        )
        axis["names"] = levels
    return x, axis


def _order(text: str) -> tuple[bool, float, str]:
    """Sort numbers before words, and each among themselves."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text
