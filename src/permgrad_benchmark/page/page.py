"""The page of the benchmark: every method compared with known importances, in one
offline HTML file.

The direction and range of a metric come from the registry of metrics. Only the shares,
their errors and the time are known by name here, because they have separate pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.numerals import number
from permgrad.pages.charts.model_charts import tradeoff
from permgrad.pages.html import render_page
from permgrad.pages.views import (
    Builder,
    Cell,
    Column,
    Fact,
    Mark,
    SectionView,
    built,
    figures_of,
    names,
    table_of,
)
from permgrad.pages.words import clean, listed
from permgrad_benchmark.metrics import BenchmarkMetric, metric_named
from permgrad_benchmark.page.bars import CSS, share_panels
from permgrad_benchmark.page.data import (
    NETWORK,
    ORACLE,
    SuiteResults,
    best_first,
    ends,
    leaders,
    metric_label,
    out_of_range,
    suites_of,
)
from permgrad_benchmark.records import ANY

#: Metrics of the network's quality.
_NETWORKS = ("accuracy", "r_squared")
_ERROR, _RELATIVE, _TIME = "share_error", "relative_error", "seconds"
_COSTS = ("seconds", "model_rows")
#: Methods in one picture beyond which only those that compete are named.
_MOST_NAMED = 12
#: Lines of a table beyond which it is left to ``results.csv``.
_MOST_LINES = 2500
_HOW_TO_READ = {
    "Truth": (
        "The functions are known, so the importance of each input can be computed from "
        "the function itself. There is more than one right answer, because importance "
        "has several definitions. Each column names its definition."
    ),
    "Bold and ≈": (
        "The best of a column is bold. ≈ marks methods without a significant "
        "difference from it: the 95 % interval of their mean difference over "
        "functions, averaged over seeds first, includes 0. Both marks use only "
        "functions that all compared methods have."
    ),
    "Grey": (
        "A method in a grey cell estimates another quantity than the column's. Its "
        "figure says how far the two quantities are apart, not how good the method is."
    ),
    "Oracle": (
        "The same method on the known function instead of the network. Its errors are "
        "due to the method alone."
    ),
}


def benchmark_page(frame: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return the benchmark's page as one HTML file that works offline.

    Args:
        frame: ``results.csv``: ``suite, function, seed, method, estimand, metric,
            value``.
        facts: the other content of ``results.json``: ``command, started, settings,
            versions``, and ``suites`` with the title, functions, contestants and
            estimands of each.

    Raises:
        InputError: The frame has other columns, or a metric that the registry does not
            know.

    Examples:
        >>> rows = [("tabular", "linear", 0, "permgrad", "total", "share_error", 0.01)]
        >>> names = "suite function seed method estimand metric value".split()
        >>> benchmark_page(pd.DataFrame(rows, columns=names), {})[:15]
        '<!doctype html>'
    """
    suites = suites_of(frame, facts)
    methods = len({method for suite in suites for method in suite.methods})
    functions, seeds = (
        sum(len(suite.functions) for suite in suites),
        frame["seed"].nunique(),
    )
    headline = (
        f"{methods} method{'s' * (methods != 1)} compared with known "
        f"importances on {functions} "
    )
    headline += f"function{'s' * (functions != 1)}."
    key_figures = {
        "functions": frame["function"].nunique(),
        f"seed{'s' * (seeds != 1)}": seeds,
        "networks or data sets": len(
            frame[["suite", "function", "seed"]].drop_duplicates()
        ),
        "figures": f"{len(frame):,}",
    }
    sections = [
        section
        for suite in suites
        for section in _suite_sections(suite, prefixed=len(suites) > 1)
    ]
    last: list[Builder] = [
        ("reading", "How to read this", _reading),
        ("run", "What was run", _provenance),
    ]
    return render_page(
        title="Benchmark",
        kind="permgrad benchmark",
        headline=headline,
        second=" ".join(
            sentence for suite in suites for sentence in [_lead(suite)] if sentence
        ),
        facts=[Fact(str(value), label) for label, value in key_figures.items()],
        warnings=out_of_range(frame),
        sections=[*sections, *built(last, frame, facts)],
        more_css=CSS,
    )


# ---- the first words -----------------------------------------------------------------
def _lead(suite: SuiteResults) -> str:
    """Say which method has the smallest error against each truth, among those that
    estimate it.
    """
    metric = metric_named(_ERROR)
    sentences = []
    for estimand in suite.estimands:
        cells = _compared(suite, _ERROR, estimand)
        best, level = leaders(suite, _ERROR, cells, estimand)
        if best is not None:
            level_words = (
                f", level with {len(level)} other{'s' * (len(level) != 1)}"
                if level
                else ""
            )
            sentences.append(
                f"against {_words_of(estimand)} {suite.label(best)} "
                f"({number(float(cells[best].mean()))}{level_words})"
            )
    return (
        f"Smallest {metric.label}, {suite.name}: {listed(sentences)}."
        if sentences
        else ""
    )


# ---- one suite -----------------------------------------------------------------------
def _suite_sections(suite: SuiteResults, *, prefixed: bool) -> list[SectionView]:
    builders = (
        ("functions", "Function by function", _bars),
        ("errors", "Error against the truth", _errors),
        ("time", "Error against time", _cost),
        ("ranks", "What all methods can be ranked by", _ranked),
        ("crossed", "Each method against each truth", _crossed),
        ("networks", "The networks themselves", _networks),
        ("seeds", "All seeds", _all_seeds),
    )
    prefix = f"{suite.name}: " * prefixed
    return built(
        [
            (f"{suite.name}-{anchor}", prefix + title, fill)
            for anchor, title, fill in builders
        ],
        suite,
    )


def _bars(section: SectionView, suite: SuiteResults) -> None:
    panels = share_panels(suite)
    if not panels:
        return
    section.text(
        f"{clean(suite.title)}. Each bar, or the colour of each cell, is a method's "
        "share of importance, as the mean over seeds. Dots are single seeds. The truth "
        "is grey on top and continues as lines: the first solid, the second dashed. A "
        "diamond is the method's oracle: the same method on the true function."
    )
    notes = suite.facts.get("function_notes", {})
    for function, title, panel in panels:
        section.add("heading", title)
        section.text(clean(notes[function]) if function in notes else "")
        section.blocks.append(("figure", panel))


def _errors(section: SectionView, suite: SuiteResults) -> None:
    """One table for each truth: methods by functions, the mean over seeds, oracles
    beneath their methods.
    """
    for estimand, metric in product(
        suite.estimands, map(metric_named, (_ERROR, _RELATIVE))
    ):
        records = suite.select(metric.name, estimand=estimand)
        table = records.pivot_table(
            index="method", columns="function", values="value", aggfunc="mean"
        )
        competing = _compared(suite, metric.name, estimand)
        best, level = leaders(suite, metric.name, competing, estimand)
        means = {
            method: float(suite.cells(metric.name, method, estimand).mean())
            for method in suite.methods
        }
        order = sorted(
            best_first(metric, means), key=lambda method: method not in competing
        )
        lines = [
            name
            for method in order
            for name in (method, f"{ORACLE}{method}")
            if name in table.index
        ]
        grey: list[Mark] = ["" if name in competing else "quiet" for name in lines]
        marks: list[Mark] = [
            "best" if name == best else mark
            for name, mark in zip(lines, grey, strict=True)
        ]
        values = [records.loc[records["method"] == name, "value"] for name in lines]
        averages = [float(one.mean()) for one in values]
        columns = [
            names(map(suite.label, lines), "method", grey),
            _marked("mean", averages, marks, [name in level for name in lines]),
            figures_of("range", averages, list(map(_span, values)), "quiet"),
        ]
        for function in suite.functions:
            at = (
                table[function][lines]
                if function in table.columns
                else [None] * len(lines)
            )
            columns.append(
                figures_of(clean(function), at, partial(number, digits=2), grey)
            )
        words = clean(
            suite.facts.get("estimands", {}).get(estimand, "as the suite states it")
        )
        caption = (
            f"{metric.label.capitalize()} against the truth “{_words_of(estimand)}”: "
            f"{words}. {_direction(metric)}; mean over {len(suite.seeds)} "
            f"seed{'s' * (len(suite.seeds) != 1)}."
        )
        section.table(table_of(caption, columns))


def _cost(section: SectionView, suite: SuiteResults) -> None:
    error, time = metric_named(_ERROR), metric_named(_TIME)
    for estimand in suite.estimands:
        points = {}
        for method in suite.methods:
            y, x = (
                suite.cells(_ERROR, method, estimand),
                suite.cells(_TIME, method, ANY),
            )
            both = pd.concat([x.rename("x"), y.rename("y")], axis=1).dropna()
            if (both["x"] > 0).any():
                points[suite.label(method)] = (
                    both["x"].to_numpy(),
                    both["y"].to_numpy(),
                )
        if not points:
            continue
        competing = _compared(suite, _ERROR, estimand)
        quiet = tuple(
            suite.label(method) for method in suite.methods if method not in competing
        )
        words: dict[str, Any] = {
            "x_label": time.label,
            "y_label": f"{error.label} ({_words_of(estimand)})",
        }
        drawn = tradeoff(
            points, **words, quiet=quiet, name_quiet=len(points) <= _MOST_NAMED
        )
        caption = (
            "Lower left is better. Large marks are means, small dots single "
            "functions and seeds"
        )
        caption += ". Grey methods estimate another quantity." if quiet else "."
        section.figure(
            drawn, f"Against the truth “{_words_of(estimand)}”. {caption}", timed=True
        )


def _ranked(section: SectionView, suite: SuiteResults) -> None:
    """One table of all metrics by which methods of different estimands may be
    ranked.
    """
    metrics = [
        (name, described)
        for name, described in suite.metrics()
        if described.ranks_across and described.direction != "none"
    ]
    by_metric: dict[
        str, dict[str, float]
    ] = {}  # each method's mean of a metric, where it has one
    for name, _ in metrics:
        means = {
            method: float(suite.select(name, method=method)["value"].mean())
            for method in suite.methods
        }
        by_metric[name] = {
            method: mean for method, mean in means.items() if math.isfinite(mean)
        }
    # By the first metric that is no cost, best first. Methods without any figure are
    # left out.
    order = [
        method
        for method in suite.methods
        if any(method in values for values in by_metric.values())
    ]
    if leading := next((name for name in by_metric if name not in _COSTS), None):
        order = best_first(
            metric_named(leading),
            {name: by_metric[leading].get(name, math.nan) for name in order},
        )
    if metrics and order:
        columns = _methods(suite, order)
        for name, means in by_metric.items():
            best, level = leaders(suite, name, means, ANY)
            marks: list[Mark] = ["best" if method == best else "" for method in order]
            columns.append(
                _marked(
                    _heading(name),
                    map(means.get, order),
                    marks,
                    [one in level for one in order],
                )
            )
        caption = (
            "Means over functions and seeds. Click a heading to sort. ↑ higher is "
            "better, ↓ lower is better, → nearest to the stated value."
        )
        section.table(table_of(caption, columns))
        section.items(
            [
                f"{metric_label(name)} ({ends(metric)}){_note(metric)}"
                for name, metric in metrics
            ]
        )
    missing = [
        f"{name} ({', '.join(packages)})"
        for name, packages in suite.facts.get("left_out", {}).items()
    ]
    section.text(
        f"Left out, because a package is not installed: {listed(missing)}."
        if missing
        else ""
    )


def _crossed(section: SectionView, suite: SuiteResults) -> None:
    """For each other metric a table of methods by truths."""
    for name, metric in suite.metrics():
        if (
            metric.ranks_across
            or metric.direction == "none"
            or metric.name in _NETWORKS
        ):
            continue
        estimands = [
            column
            for column in [*suite.estimands, ANY]
            if len(suite.select(name, estimand=column))
        ]
        cells = {
            estimand: {
                method: float(values.mean())
                for method in suite.methods
                if len(values := suite.cells(name, method, estimand))
            }
            for estimand in estimands
        }
        order = [
            method
            for method in suite.methods
            if any(method in means for means in cells.values())
        ]
        columns = _methods(suite, order)
        for estimand, means in cells.items():
            competing = _compared(suite, name, estimand)
            best, level = leaders(suite, name, competing, estimand)
            marks: list[Mark] = [
                "quiet" if method not in competing else "best" if method == best else ""
                for method in order
            ]
            heading = _words_of(estimand)
            columns.append(
                _marked(
                    heading,
                    map(means.get, order),
                    marks,
                    [method in level for method in order],
                )
            )
        words = metric_label(name).capitalize()
        caption = (
            f"{words} against each truth ({ends(metric)}). "
            f"{_direction(metric)}{_note(metric)}."
        )
        section.table(table_of(caption, columns))


def _networks(section: SectionView, suite: SuiteResults) -> None:
    metrics = [metric for _, metric in suite.metrics() if metric.name in _NETWORKS]
    if not metrics:
        return
    section.text(
        "If a network has not learned a function, no method can find its true "
        "importances."
    )
    columns = [names(suite.functions, "function")]
    for metric in metrics:
        every = [
            suite.select(metric.name, function=function) for function in suite.functions
        ]
        of_network = [records[records["method"] == NETWORK] for records in every]
        values = [
            (one if len(one) else some)["value"]
            for one, some in zip(of_network, every, strict=True)
        ]
        means = [float(one.mean()) if len(one) else math.nan for one in values]
        columns.append(figures_of(_heading(metric.name), means))
        columns.append(
            (
                "range over seeds",
                "number",
                [Cell(_span(one), None, "quiet") for one in values],
            )
        )
    section.table(
        table_of("How well the networks learned each function, on test rows.", columns)
    )


def _all_seeds(section: SectionView, suite: SuiteResults) -> None:
    """Every figure of the leading metrics, a column for each seed, folded away."""
    for metric in dict.fromkeys(metric for _, metric in suite.metrics()):
        records = suite.frame[
            suite.frame["metric"].str.partition(":")[0] == metric.name
        ]
        if records.empty:
            continue
        keys = ["function", "method", "estimand", "metric"]
        table = (
            records.groupby([*keys, "seed"], sort=False)["value"].mean().unstack("seed")  # noqa: PD010 — keeps undefined lines
        )
        if len(table) > _MOST_LINES:
            section.text(
                f"{metric.label.capitalize()}: {len(table):,} lines, see results.csv."
            )
            continue
        functions, methods, estimands, variants = (
            table.index.get_level_values(key) for key in keys
        )
        parts = [str(name).partition(":")[2] for name in variants]
        columns = [names(functions, "function"), names(methods, "method")]
        columns += [
            names(map(_words_of, map(str, estimands)), "truth"),
            *([names(parts, "part")] * any(parts)),
        ]
        columns += [figures_of(f"seed {seed}", table[seed]) for seed in table.columns]
        caption = f"{metric.label.capitalize()} ({ends(metric)}), every seed."
        view = replace(table_of(caption, columns), timed=metric.name == _TIME)
        section.table(view, f"{metric.label} ({len(table)})")


# ---- pieces --------------------------------------------------------------------------
def _compared(
    suite: SuiteResults, name: str, estimand: str
) -> dict[str, pd.Series[Any]]:
    """Return the values by (function, seed) of the methods that estimate this truth.

    All, where none says it does.
    """
    everyone = {method: suite.cells(name, method, estimand) for method in suite.methods}
    everyone = {
        method: values for method, values in everyone.items() if values.notna().any()
    }
    if metric_named(name).ranks_across or estimand == ANY:
        return everyone
    fair = {
        method: values
        for method, values in everyone.items()
        if suite.own_estimand(method) == estimand
    }
    return fair or everyone


def _methods(suite: SuiteResults, order: Sequence[str]) -> list[Column]:
    """Return columns of methods and of what they estimate."""
    estimates = (_words_of(suite.own_estimand(method)) for method in order)
    return [names(map(suite.label, order), "method"), names(estimates, "estimates")]


def _marked(
    heading: str, values: Iterable[Any], marks: Sequence[Mark], level: Sequence[bool]
) -> Column:
    """Return a column of numbers in which ≈ marks those level with the best."""
    array = np.asarray(list(values), dtype=np.float64).tolist()
    texts = [
        number(value) + " ≈" * alike for value, alike in zip(array, level, strict=True)
    ]
    return figures_of(heading, array, texts, marks)


def _span(values: pd.Series[Any]) -> str:
    finite = values.dropna().to_numpy(dtype=np.float64)
    return (
        f"{number(float(finite.min()), 2)} to {number(float(finite.max()), 2)}"
        if len(finite)
        else "–"
    )


def _heading(name: str) -> str:
    metric = metric_named(name)
    arrow = {"higher": "↑", "lower": "↓", "nominal": f"→ {metric.nominal}"}.get(
        metric.direction, ""
    )
    return f"{metric_label(name)} {arrow}".strip()


def _direction(metric: BenchmarkMetric) -> str:
    words = {
        "higher": "Higher is better",
        "lower": "Lower is better",
        "nominal": f"Best near {metric.nominal}",
    }
    return words.get(metric.direction, "A fact, neither good nor bad")


def _note(metric: BenchmarkMetric) -> str:
    return f": {metric.note}" if metric.note else ""


def _words_of(estimand: str) -> str:
    return "–" if estimand == ANY else clean(estimand).replace("_", " ")


def _reading(
    section: SectionView, frame: pd.DataFrame, _facts: Mapping[str, Any]
) -> None:
    section.add("terms", _HOW_TO_READ.items())
    missing = frame[frame["value"].isna()]
    if len(missing):
        labels = listed(
            [metric_named(name).label for name in dict.fromkeys(missing["metric"])][:5]
        )
        section.text(
            f"{len(missing)} of {len(frame):,} figures are undefined and left out of "
            f"means: {labels}."
        )


def _provenance(
    section: SectionView, _frame: pd.DataFrame, facts: Mapping[str, Any]
) -> None:
    section.add("code", str(facts.get("command", "")))
    pairs = {
        "started": facts.get("started"),
        "versions": facts.get("versions"),
        "settings": facts.get("settings"),
    }
    section.pairs({name: value for name, value in pairs.items() if value})
    notes = {
        f"{name}, {method}": of_method["note"]
        for name, suite in facts.get("suites", {}).items()
        for method, of_method in suite.get("contestants", {}).items()
        if of_method.get("note")
    }
    section.pairs(notes, "Notes on methods")
