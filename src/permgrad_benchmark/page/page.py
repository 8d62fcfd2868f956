"""The page of the benchmark: every method beside the known truth, one offline HTML file.

Which way a metric is good, and what range it can have, is read from the metrics' registry; nothing here knows a metric
by name but the shares, their errors and the time, which have pictures of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from permgrad.report import plots
from permgrad.report.page.html import render_page
from permgrad.report.page.views import Cell, Fact, SectionView, TableView, cell
from permgrad.report.words import clean, listed, number
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

Kind = Literal["text", "number"]

#: Metrics that say how good the network is.
_NETWORKS = ("accuracy", "r_squared")
_ERROR, _RELATIVE, _TIME = "share_error", "relative_error", "seconds"
_COSTS = ("seconds", "model_rows")
#: Methods in one picture beyond which only those that compete are named.
_MOST_NAMED = 12
#: Lines of a table beyond which it is left to ``results.csv``.
_MOST_LINES = 2500
_HOW_TO_READ = (
    (
        "Truth",
        (
            "The functions are known, so what each input is worth can be computed from the function itself. There is "
            "more than one right answer, because importance means different things; each column says which is meant."
        ),
    ),
    (
        "Bold and ≈",
        (
            "The best of a column is bold. ≈ marks methods that cannot be told from it: the 95 % interval of their "
            "mean difference over functions, seeds averaged first, includes 0. Only functions that all compared "
            "methods have count for both marks."
        ),
    ),
    (
        "Grey",
        (
            "A method in a grey cell estimates another quantity than the column's. Its figure says how far the two "
            "quantities are apart, not how good the method is."
        ),
    ),
    (
        "Oracle",
        "The same method on the known function instead of the network: what it still gets wrong is its own doing.",
    ),
)


def benchmark_page(frame: pd.DataFrame, facts: Mapping[str, Any]) -> str:
    """Return the benchmark's page as one HTML file that asks nothing of the network.

    Args:
        frame: ``results.csv``: ``suite, function, seed, method, estimand, metric, value``.
        facts: what ``results.json`` says beside the numbers: ``command, started, settings, versions``, and ``suites``
            with the title, functions, contestants and estimands of each.

    Raises:
        InputError: The frame has other columns, or a metric that the registry does not know.

    Examples:
        >>> rows = [("tabular", "linear", 0, "permgrad", "total", "share_error", 0.01)]
        >>> columns = ["suite", "function", "seed", "method", "estimand", "metric", "value"]
        >>> benchmark_page(pd.DataFrame(rows, columns=columns), {})[:15]
        '<!doctype html>'
    """
    suites = suites_of(frame, facts)
    sections = [section for suite in suites for section in _suite_sections(suite, prefixed=len(suites) > 1)]
    sections += [_reading(frame), _provenance(facts)]
    return render_page(
        title="Benchmark",
        kind="permgrad benchmark",
        headline=_headline(suites),
        second=" ".join(sentence for suite in suites for sentence in [_lead(suite)] if sentence),
        facts=_facts(frame),
        warnings=out_of_range(frame),
        sections=[section for section in sections if section.blocks],
        more_css=CSS,
    )


# ---- the first words -------------------------------------------------------------------------------------------------
def _headline(suites: Sequence[SuiteResults]) -> str:
    methods = len({method for suite in suites for method in suite.methods})
    functions = sum(len(suite.functions) for suite in suites)
    return (
        f"{methods} method{'s' * (methods != 1)} held against known truth on {functions} "
        f"function{'s' * (functions != 1)}."
    )


def _lead(suite: SuiteResults) -> str:
    """Say which method has the smallest error against each truth, among those that estimate it."""
    metric = metric_named(_ERROR)
    sentences = []
    for estimand in suite.estimands:
        cells = _competitors(suite, _ERROR, estimand)
        best, level = leaders(suite, _ERROR, cells, estimand)
        if best is not None:
            level_words = f", level with {len(level)} other{'s' * (len(level) != 1)}" if level else ""
            sentences.append(
                f"against {_words_of(estimand)} {suite.label(best)} ({number(float(cells[best].mean()))}{level_words})"
            )
    return f"Smallest {metric.label}, {suite.name}: {listed(sentences)}." if sentences else ""


def _facts(frame: pd.DataFrame) -> list[Fact]:
    cells = len(frame[["suite", "function", "seed"]].drop_duplicates())
    seeds = frame["seed"].nunique()
    facts = [Fact(f"{frame['function'].nunique()}", "functions"), Fact(f"{seeds}", f"seed{'s' * (seeds != 1)}")]
    return [*facts, Fact(f"{cells}", "networks or data sets"), Fact(f"{len(frame):,}", "figures")]


def _undefined(frame: pd.DataFrame) -> str:
    missing = frame[frame["value"].isna()]
    if missing.empty:
        return ""
    names = listed([metric_named(name).label for name in dict.fromkeys(missing["metric"])][:5])
    return f"{len(missing)} of {len(frame):,} figures are undefined and left out of means: {names}."


# ---- one suite -------------------------------------------------------------------------------------------------------
def _suite_sections(suite: SuiteResults, *, prefixed: bool) -> list[SectionView]:
    builders: list[tuple[str, str, Callable[[SuiteResults, SectionView], None]]] = [
        ("functions", "Function by function", _bars),
        ("errors", "Error against the truth", _errors),
        ("time", "Error against time", _cost),
        ("ranks", "What all methods can be ranked by", _ranked),
        ("crossed", "Each method against each truth", _crossed),
        ("networks", "The networks themselves", _networks),
        ("seeds", "All seeds", _all_seeds),
    ]
    sections = []
    for anchor, title, build in builders:
        section = SectionView(f"{suite.name}-{anchor}", f"{suite.name}: {title}" if prefixed else title)
        build(suite, section)
        sections.append(section)
    return sections


def _bars(suite: SuiteResults, section: SectionView) -> None:
    panels = share_panels(suite)
    if not panels:
        return
    section.text(
        f"{clean(suite.title)}. Each bar, or the colour of each cell, is a share of the importance that a method "
        "gives, the mean over seeds; dots are single seeds. Grey on top is the truth, and lines carry it down: solid "
        "the first, dashed the second. A diamond is the method's oracle: the same method on the true function."
    )
    notes = suite.facts.get("function_notes", {})
    for function, title, panel in panels:
        section.heading(title)
        section.text(clean(notes[function]) if function in notes else "")
        section.blocks.append(("figure", panel))


def _errors(suite: SuiteResults, section: SectionView) -> None:
    """One table for each truth: methods by functions, the mean over seeds, oracles beneath their methods."""
    for estimand, metric in product(suite.estimands, map(metric_named, (_ERROR, _RELATIVE))):
        rows = _error_rows(suite, metric, estimand)
        if not rows:
            continue
        columns: list[tuple[str, Kind]] = [("method", "text"), ("mean", "number"), ("range", "number")]
        columns += [(clean(name), "number") for name in suite.functions]
        words = clean(suite.facts.get("estimands", {}).get(estimand, "as the suite states it"))
        caption = (
            f"{metric.label.capitalize()} against the truth “{_words_of(estimand)}”: {words}. "
            f"{_direction(metric)}; mean over {len(suite.seeds)} seed{'s' * (len(suite.seeds) != 1)}."
        )
        section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 18))


def _error_rows(suite: SuiteResults, metric: BenchmarkMetric, estimand: str) -> list[list[Cell]]:
    records = suite.select(metric.name, estimand=estimand)
    table = records.pivot_table(index="method", columns="function", values="value", aggfunc="mean")
    competing = _competitors(suite, metric.name, estimand)
    best, level = leaders(suite, metric.name, competing, estimand)
    rows = []
    means = {method: float(suite.cells(metric.name, method, estimand).mean()) for method in suite.methods}
    order = best_first(metric, means)
    for method in [name for name in order if name in competing] + [name for name in order if name not in competing]:
        for name in (method, f"{ORACLE}{method}"):
            if name not in table.index:
                continue
            values = records.loc[records["method"] == name, "value"]
            oracle = name.startswith(ORACLE)
            quiet = oracle or method not in competing
            mark: Literal["", "best", "quiet"] = "best" if name == best else "quiet" if quiet else ""
            row = [Cell(clean(suite.label(name)), clean(suite.label(name)).casefold(), "quiet" if quiet else "")]
            row.append(_marked(float(values.mean()), mark, level=name in level))
            row.append(Cell(_span(values), float(values.mean()) if values.notna().any() else None, "quiet"))
            for function in suite.functions:
                value = float(table[function][name]) if function in table.columns else math.nan
                row.append(_marked(value, "quiet" if quiet else "", digits=2))
            rows.append(row)
    return rows


def _cost(suite: SuiteResults, section: SectionView) -> None:
    error, time = metric_named(_ERROR), metric_named(_TIME)
    for estimand in suite.estimands:
        points = {}
        for method in suite.methods:
            y, x = suite.cells(_ERROR, method, estimand), suite.cells(_TIME, method, ANY)
            both = pd.concat([x.rename("x"), y.rename("y")], axis=1).dropna()
            if (both["x"] > 0).any():
                points[suite.label(method)] = (both["x"].to_numpy(), both["y"].to_numpy())
        if not points:
            continue
        competing = _competitors(suite, _ERROR, estimand)
        quiet = tuple(suite.label(method) for method in suite.methods if method not in competing)
        words = {"x_label": time.label, "y_label": f"{error.label} ({_words_of(estimand)})"}
        drawn = plots.tradeoff(points, **words, quiet=quiet, name_quiet=len(points) <= _MOST_NAMED)
        caption = "Lower left is better. Large marks are means, small dots single functions and seeds"
        caption += "; grey: estimates another quantity." if quiet else "."
        section.figure(drawn, f"Against the truth “{_words_of(estimand)}”. {caption}", timed=True)


def _ranked(suite: SuiteResults, section: SectionView) -> None:
    """One table of all metrics by which methods of different estimands may be ranked."""
    metrics = [
        (name, described)
        for name, described in suite.metrics()
        if described.ranks_across and described.direction != "none"
    ]
    columns: list[tuple[str, Kind]] = [("method", "text"), ("estimates", "text")]
    columns += [(_heading(name), "number") for name, _ in metrics]
    by_metric = {name: _by_method(suite, name) for name, _ in metrics}
    best = {name: leaders(suite, name, by_metric[name], ANY) for name, _ in metrics}
    rows = []
    for method in _ranked_order(suite, by_metric):
        row = [Cell(clean(suite.label(method)), clean(suite.label(method)).casefold())]
        row.append(cell(_words_of(suite.own_estimand(method))))
        for name, _ in metrics:
            first, level = best[name]
            mean = by_metric[name].get(method, math.nan)
            row.append(_marked(mean, "best" if method == first else "", level=method in level))
        rows.append(row)
    if metrics and rows:
        caption = (
            "Means over functions and seeds; click a heading to sort. ↑ higher is better, ↓ lower is better, "
            "→ nearest to the stated value."
        )
        section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 18))
        section.items([f"{metric_label(name)} ({ends(metric)}){_note(metric)}" for name, metric in metrics])
    missing = [f"{name} ({', '.join(packages)})" for name, packages in suite.facts.get("left_out", {}).items()]
    section.text(f"Left out, because a package is not installed: {listed(missing)}." if missing else "")


def _ranked_order(suite: SuiteResults, by_metric: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return methods by the first metric that is no cost, best first; those without any figure are left out."""
    present = [method for method in suite.methods if any(method in values for values in by_metric.values())]
    leading = next((name for name in by_metric if name not in _COSTS), None)
    if leading is None:
        return present
    return best_first(metric_named(leading), {name: by_metric[leading].get(name, math.nan) for name in present})


def _crossed(suite: SuiteResults, section: SectionView) -> None:
    """For each other metric a table of methods by truths."""
    for name, metric in suite.metrics():
        if metric.ranks_across or metric.direction == "none" or metric.name in _NETWORKS:
            continue
        estimands = [column for column in [*suite.estimands, ANY] if len(suite.select(name, estimand=column))]
        columns: list[tuple[str, Kind]] = [("method", "text"), ("estimates", "text")]
        columns += [(_words_of(estimand), "number") for estimand in estimands]
        competing = {estimand: _competitors(suite, name, estimand) for estimand in estimands}
        best = {estimand: leaders(suite, name, competing[estimand], estimand) for estimand in estimands}
        rows = []
        for method in suite.methods:
            values = {estimand: suite.cells(name, method, estimand) for estimand in estimands}
            if not any(len(column) for column in values.values()):
                continue
            row = [Cell(clean(suite.label(method)), clean(suite.label(method)).casefold())]
            row.append(cell(_words_of(suite.own_estimand(method))))
            for estimand, column in values.items():
                first, level = best[estimand]
                mark: Literal["", "best", "quiet"] = "best" if method == first else ""
                mark = mark if method in competing[estimand] else "quiet"
                row.append(_marked(float(column.mean()) if len(column) else math.nan, mark, level=method in level))
            rows.append(row)
        words = metric_label(name).capitalize()
        caption = f"{words} against each truth ({ends(metric)}). {_direction(metric)}{_note(metric)}."
        section.table(TableView(caption, columns, rows, sortable=True, tall=len(rows) > 18))


def _networks(suite: SuiteResults, section: SectionView) -> None:
    metrics = [metric for _, metric in suite.metrics() if metric.name in _NETWORKS]
    rows = []
    for function in suite.functions:
        row = [cell(clean(function))]
        for metric in metrics:
            values = suite.select(metric.name, function=function, method=NETWORK)["value"]
            values = values if len(values) else suite.select(metric.name, function=function)["value"]
            row += [cell(float(values.mean()) if len(values) else math.nan), Cell(_span(values), None, "quiet")]
        rows.append(row)
    if not metrics:
        return
    section.text("No method can tell the truth of a function that its network has not learnt.")
    columns: list[tuple[str, Kind]] = [("function", "text")]
    for metric in metrics:
        columns += [(_heading(metric.name), "number"), ("range over seeds", "number")]
    section.table(TableView("How well each function was learnt, on test rows.", columns, rows, sortable=True))


def _all_seeds(suite: SuiteResults, section: SectionView) -> None:
    """Every figure of the leading metrics, a column for each seed, folded away."""
    for metric in dict.fromkeys(metric for _, metric in suite.metrics()):
        records = suite.frame[suite.frame["metric"].str.partition(":")[0] == metric.name]
        if records.empty:
            continue
        keys = ["function", "method", "estimand", "metric"]
        table = records.groupby([*keys, "seed"], sort=False)["value"].mean().unstack("seed")  # noqa: PD010 — keeps undefined lines
        if len(table) > _MOST_LINES:
            section.text(f"{metric.label.capitalize()}: {len(table):,} lines, which stand in results.csv.")
            continue
        parted = any(":" in str(name) for *_, name in table.index)
        rows = []
        for (function, method, estimand, name), values in zip(table.index, table.to_numpy(), strict=True):
            row = [cell(clean(function)), cell(clean(method)), cell(_words_of(str(estimand)))]
            row += [cell(clean(str(name).partition(":")[2]))] if parted else []
            rows.append([*row, *(cell(float(value)) for value in values)])
        columns: list[tuple[str, Kind]] = [("function", "text"), ("method", "text"), ("truth", "text")]
        columns += [("part", "text")] if parted else []
        columns += [(f"seed {seed}", "number") for seed in table.columns]
        caption = f"{metric.label.capitalize()} ({ends(metric)}), every seed."
        timed = metric.name == _TIME
        view = TableView(caption, columns, rows, sortable=True, tall=len(rows) > 14, timed=timed)
        section.table(view, f"{metric.label} ({len(rows)})")


# ---- pieces ----------------------------------------------------------------------------------------------------------
def _competitors(suite: SuiteResults, name: str, estimand: str) -> dict[str, pd.Series[Any]]:
    """Return the values by (function, seed) of the methods that estimate this truth; all, where none says it does."""
    everyone = {method: suite.cells(name, method, estimand) for method in suite.methods}
    everyone = {method: values for method, values in everyone.items() if values.notna().any()}
    if metric_named(name).ranks_across or estimand == ANY:
        return everyone
    fair = {method: values for method, values in everyone.items() if suite.own_estimand(method) == estimand}
    return fair or everyone


def _by_method(suite: SuiteResults, name: str) -> dict[str, float]:
    """Return each method's mean of a metric, where it has one."""
    means = {method: float(suite.select(name, method=method)["value"].mean()) for method in suite.methods}
    return {method: mean for method, mean in means.items() if math.isfinite(mean)}


def _marked(
    value: float, mark: Literal["", "best", "own", "quiet"] = "", *, level: bool = False, digits: int = 3
) -> Cell:
    text = number(value, digits) + (" ≈" if level else "")
    return Cell(text, value if math.isfinite(value) else None, mark)


def _span(values: pd.Series[Any]) -> str:
    finite = values.dropna().to_numpy(dtype=np.float64)
    return f"{number(float(finite.min()), 2)} to {number(float(finite.max()), 2)}" if len(finite) else "–"


def _heading(name: str) -> str:
    metric = metric_named(name)
    arrow = {"higher": "↑", "lower": "↓", "nominal": f"→ {metric.nominal}"}.get(metric.direction, "")
    return f"{metric_label(name)} {arrow}".strip()


def _direction(metric: BenchmarkMetric) -> str:
    words = {"higher": "Higher is better", "lower": "Lower is better", "nominal": f"Best near {metric.nominal}"}
    return words.get(metric.direction, "A fact, neither good nor bad")


def _note(metric: BenchmarkMetric) -> str:
    return f"; {metric.note}" if metric.note else ""


def _words_of(estimand: str) -> str:
    return "–" if estimand == ANY else clean(estimand).replace("_", " ")


def _reading(frame: pd.DataFrame) -> SectionView:
    section = SectionView("reading", "How to read this")
    section.blocks.append(("terms", list(_HOW_TO_READ)))
    section.text(_undefined(frame))
    return section


def _provenance(facts: Mapping[str, Any]) -> SectionView:
    section = SectionView("run", "What was run")
    section.code(str(facts.get("command", "")))
    pairs = {"started": facts.get("started"), "versions": facts.get("versions"), "settings": facts.get("settings")}
    section.pairs({name: value for name, value in pairs.items() if value})
    notes = {
        f"{name}, {method}": of_method["note"]
        for name, suite in facts.get("suites", {}).items()
        for method, of_method in suite.get("contestants", {}).items()
        if of_method.get("note")
    }
    section.pairs(notes, "Notes on methods")
    return section
