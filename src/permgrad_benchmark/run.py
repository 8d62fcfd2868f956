"""``permgrad benchmark``: test every method on functions with known importances, cell
by cell, into one folder.

The folder holds ``benchmark.json`` (the request), ``cells/`` (one file per finished
suite, function and seed), ``results.csv``, ``results.json`` and ``report.html``. An
interrupted run resumes with the next cell. More seeds or functions add to the results.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad import __version__
from permgrad.base.checks import check_choice, check_whole
from permgrad.base.csv_files import read_csv
from permgrad.base.errors import InputError, counted
from permgrad.base.files import write_text_atomic, writing
from permgrad.base.folders import FolderKind, believed, now
from permgrad.base.progress import readable
from permgrad.base.registry import Registry
from permgrad.base.versions import versions
from permgrad.runs.requests import BenchmarkRequest, Outcome
from permgrad.runs.run.predicting import use_threads
from permgrad_benchmark import Settings, Suite, benchmark_metrics, load_suites
from permgrad_benchmark.own import enter_own
from permgrad_benchmark.page.page import benchmark_page
from permgrad_benchmark.records import (
    CELLS,
    RESULTS_JSON,
    RESULTS_TABLE,
    frame_of,
    read_cell,
    write_cell,
    write_records,
)
from permgrad_benchmark.standing import summarise

RECORD, REPORT = "benchmark.json", "report.html"
FOLDER = FolderKind(
    "benchmark", (RECORD, RESULTS_TABLE, RESULTS_JSON, REPORT, CELLS), empty="all"
)
EVERY = "all"
#: Packages whose versions are recorded. Peers that are not installed are absent.
_PACKAGES = ("torch", "numpy", "scikit-learn", "captum", "shap", "lightgbm")

Say = Callable[[str], None]
Cell = tuple[str, str, int]


def run_benchmark(request: BenchmarkRequest, *, say: Say = print) -> Outcome:
    """Do a benchmark, or the part of it that is not done yet."""
    registry = load_suites()
    check_choice("suite", request.suite, [*registry, EVERY])
    if request.seeds is not None:
        check_whole("seeds", request.seeds, "for example: --seeds 3")
    if request.images and request.suite not in ("multimodal", EVERY):
        problem = f"The suite {request.suite!r} has no images"
        raise InputError(
            problem, "Leave --image-sets out, or choose multimodal.", "PG004"
        )
    chosen = [
        registry.get(name)
        for name in (list(registry) if request.suite == EVERY else [request.suite])
    ]
    request, own_files = enter_own(request, chosen)
    same = {
        name: getattr(request, name)
        for name in ("methods", "images", "peers", "threads")
    }
    settings = Settings(scale="quick" if request.quick else "full", **same)
    cells = _cells(request, settings, chosen)
    folder = request.folder
    configuration = {"version": __version__, **settings.to_dict()}
    if own_files:
        configuration["own"] = own_files
    if not request.overwrite:
        FOLDER.find(folder, configuration)
        if FOLDER.finished(folder, configuration) and not _missing(folder, cells):
            with believed(folder):
                return _outcome(folder, already=True)
    use_threads(request.threads)
    for name in dict.fromkeys(suite for suite, _, _ in cells):
        registry.get(name).check(
            settings
        )  # missing data are reported before a folder is made
    with FOLDER.open(
        folder, configuration, command=request.command, overwrite=request.overwrite
    ) as record:
        # Compute the cells that are missing, and say how long the others will take.
        missing = _missing(folder, cells)
        before = (
            f", {len(cells) - len(missing)} finished before"
            if len(missing) < len(cells)
            else ""
        )
        say(f"{counted(len(cells), 'cell')} (one function and one seed each){before}.")
        started = time.perf_counter()
        for number, (suite, function, seed) in enumerate(missing, start=1):
            began = time.perf_counter()
            records = registry.get(suite).run(function, seed, settings)
            with writing(folder):
                write_cell(folder, suite, function, seed, records)
            ended = time.perf_counter()
            left = (ended - started) / number * (len(missing) - number)
            rest = f", about {readable(left)} left" if left else ""
            say(
                f"[{number}/{len(missing)}] {suite} {function}, seed {seed}: "
                f"{ended - began:.1f} s{rest}"
            )
        _write_results(folder, registry, settings, record)
        FOLDER.finish(folder, record, now())
    return _outcome(folder)


# ---- what is to be done --------------------------------------------------------------
def _cells(
    request: BenchmarkRequest, settings: Settings, chosen: list[Suite]
) -> list[Cell]:
    """List the requested cells, seed by seed, so that an interrupted run has every
    function of the first seeds.
    """
    functions = list(
        dict.fromkeys(name for suite in chosen for name in suite.functions)
    )
    for name in request.functions:
        check_choice("function", name, functions)
    everyone = replace(settings, methods=(), peers=True)
    contestants = list(
        dict.fromkeys(name for suite in chosen for name in suite.methods(everyone))
    )
    for name in request.methods:
        check_choice("method", name, contestants)
    usual = 1 if request.quick else 3
    return [
        (suite.name, function, seed)
        for suite in chosen
        for seed in range(usual if request.seeds is None else request.seeds)
        for function in suite.functions
        if function
        in (
            request.functions
            or (suite.quick_functions if request.quick else suite.functions)
        )
    ]


def _missing(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in cells if read_cell(folder, *cell) is None]


def _stored_cells(folder: Path, registry: Registry[Suite]) -> list[Cell]:
    """List the finished cells of a folder, in the order of suites, functions and
    seeds.
    """
    cells: list[Cell] = []
    for suite in registry:
        names = [path.stem for path in (folder / CELLS / suite).glob("*.json")]
        split = [
            (function, int(seed))
            for function, _, seed in (name.rpartition("-") for name in names)
        ]
        order = {
            function: place
            for place, function in enumerate(registry.get(suite).functions)
        }
        in_order = [cell for cell in split if cell[0] in order]
        cells += [
            (suite, *cell)
            for cell in sorted(in_order, key=lambda cell: (order[cell[0]], cell[1]))
        ]
    return cells


# ---- what it leaves ------------------------------------------------------------------
def _write_results(
    folder: Path,
    registry: Registry[Suite],
    settings: Settings,
    record: Mapping[str, Any],
) -> None:
    """Write the tables and the page from all finished cells."""
    records = [
        record
        for cell in _stored_cells(folder, registry)
        for record in read_cell(folder, *cell) or ()
    ]
    frame = frame_of(records)
    described = {}
    for name in dict.fromkeys(frame["suite"]):
        suite = registry.get(name)
        suite_facts = suite.facts(settings)
        described[name] = {
            "title": suite.title,
            "functions": list(suite.functions),
            **suite_facts,
            "summary": summarise(
                frame[frame["suite"] == name], suite_facts.get("contestants", {})
            ),
        }
    facts = {
        "command": record["command"],
        "started": record["started"],
        "settings": {**settings.to_dict(), "threads": settings.threads},
        "versions": versions(_PACKAGES),
        "suites": described,
        "metrics": {
            metric.name: metric.facts() for metric in benchmark_metrics.values()
        },
    }
    with writing(folder):
        write_records(folder, records, facts)
        write_text_atomic(folder / REPORT, benchmark_page(frame, facts))


def _outcome(folder: Path, *, already: bool = False) -> Outcome:
    """Say where the results are, and the figures that matter most."""
    frame = read_csv(folder / RESULTS_TABLE)
    cells = len(frame[["suite", "function", "seed"]].drop_duplicates())
    facts = {
        "folder": os.fspath(folder),
        "results": os.fspath(folder / RESULTS_TABLE),
        "report": os.fspath(folder / REPORT),
        "already_finished": already,
        "cells": cells,
        "rows": len(frame),
    }
    lines = (
        [f"This benchmark is already finished ({folder}). Nothing was changed."]
        if already
        else []
    )
    lines += [
        *_table_lines(frame),
        f"Results: {folder / RESULTS_TABLE} ({cells} cells, {len(frame):,} figures)",
    ]
    return Outcome(facts, "\n".join([*lines, f"Report: {folder / REPORT}"]))


def _table_lines(frame: pd.DataFrame) -> list[str]:
    """Show the mean share error of each method against each truth, best first."""
    lines: list[str] = []
    errors = frame[frame["metric"] == "share_error"]
    for suite, of_suite in errors.groupby("suite", sort=False):
        table = of_suite.pivot_table(
            index="method",
            columns="estimand",
            values="value",
            aggfunc="mean",
            sort=False,
        )
        table = table.sort_values(str(table.columns[0]), kind="stable")
        lines.append(
            f"{suite}: mean error of importance shares, by the truth it is compared "
            "with"
        )
        lines += [
            "  " + line
            for line in table.to_string(
                float_format="{:.4f}".format, na_rep="–"
            ).splitlines()
        ]
    return lines
