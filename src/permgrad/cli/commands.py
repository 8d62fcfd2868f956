"""The commands: options are the fields of a request, and what answers it is loaded when the command is called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from permgrad.base.startup import loading
from permgrad.cli.command import app, command, say
from permgrad.runs import requests
from permgrad.runs.requests import Outcome


@command(app, requests.BenchmarkRequest)
def benchmark(request: requests.BenchmarkRequest) -> Outcome:
    """Hold every method against functions whose true importances are known.

    The same command goes on where an interrupted one stopped; more seeds or functions add to what is there.
    """
    with loading():
        from permgrad_benchmark.run import run_benchmark
    return run_benchmark(request, say=say)


@command(app, requests.CompareRequest)
def compare(request: requests.CompareRequest) -> Outcome:
    """Compare models on one table by cross-validation: which is best, and do they rely on the same features?

    The same command goes on where an interrupted one stopped, and does nothing when all is done.
    """
    with loading():
        from permgrad.runs.compare.compare import compare_table
    return compare_table(request, say=say)


@command(app, requests.ExplainRequest)
def explain(request: requests.ExplainRequest) -> Outcome:
    """Explain a trained model on the rows of a table; if the target column is there, the loss is explained."""
    with loading():
        from permgrad.runs.commands.explain import explain_table
    return explain_table(request)


@command(app, requests.PredictRequest)
def predict(request: requests.PredictRequest) -> Outcome:
    """Predict the rows of a table with a trained model; columns are matched by name."""
    with loading():
        from permgrad.runs.commands.predict import predict_table
    return predict_table(request)


@command(app, requests.ReportRequest)
def report(request: requests.ReportRequest) -> Outcome:
    """Build a run's report.html again from the files in its folder.

    It reads run.json, data.json, layout.json, layout.svg, model/, metrics.json, history.csv, predictions.csv,
    explanations/, integrated_gradients.csv and branches.json, not importance.csv and split.npz, which hold the same
    numbers and rows for others.
    """
    with loading():
        from permgrad.runs.commands.report import rebuild_report
    return rebuild_report(request.folder, positive=request.positive)


@command(app, requests.RunRequest)
def run(request: requests.RunRequest) -> Outcome:
    """Train a network on a table, explain it, and write a report.

    The same command goes on where an interrupted run stopped, and does nothing when the run is finished.
    """
    with loading():
        from permgrad.runs.run.run import run_table
    return run_table(request, say=say)


@command(app, requests.TuneRequest)
def tune(request: requests.TuneRequest) -> Outcome:
    """Try many settings on validation rows, and export the best as a finished run.

    The same command goes on after an interruption, and may run several times at once to share the work; test rows
    are looked at once, at the end, for the winner.
    """
    with loading():
        from permgrad.runs.tune.tune import tune_table
    return tune_table(request, say=say)


# ---- data sets -------------------------------------------------------------------------------------------------------
datasets_app = typer.Typer(help="Named data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets")


@dataclass(frozen=True, kw_only=True)
class _ListRequest:
    """``permgrad datasets list`` has no options."""


@command(datasets_app, _ListRequest, "list")
def datasets_list(_: _ListRequest) -> Outcome:
    """List the named data sets: target, size, licence, home, and whether they are on this machine."""
    from permgrad.data.datasets import cache_folder, get_card, list_datasets

    folders = [Path(folder) for folder in (os.environ.get("PERMGRAD_DATA"), cache_folder()) if folder]
    width = max(map(len, list_datasets()))
    facts, lines = [], []
    for name in list_datasets():
        card = get_card(name)
        files = [folder / card.file_name for folder in folders if card.file_name is not None]
        where = next((os.fspath(file) for file in files if file.is_file()), None)
        where = "scikit-learn" if card.file_name is None else where
        facts.append({**card.to_dict(), "on_this_machine": where is not None, "where": where})
        fact, here = facts[-1], "not here" if where is None else f"here ({where})"
        size = f"{fact['rows']:,} × {fact['columns']}"
        lines.append(f"{name:<{width}}  {size:>13}  {fact['task']:<14}  target {fact['target']}; {here}")
        lines.append(f"{'':<{width}}  {fact['title']}; {fact['licence']}; {fact['home']}")
    return Outcome({"datasets": facts, "cache": os.fspath(cache_folder())}, "\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class _FetchRequest:
    """The options of ``permgrad datasets fetch``."""

    names: tuple[str, ...] = requests.argument("Names of data sets, or all.", "NAME...")


@command(datasets_app, _FetchRequest, "fetch")
def datasets_fetch(request: _FetchRequest) -> Outcome:
    """Bring named data sets to this machine and check their content."""
    from permgrad.data.datasets import fetch_dataset, get_card, list_datasets

    names = list_datasets() if request.names == ("all",) else list(request.names)
    for name in names:
        get_card(name)  # an unknown name is refused before anything is fetched
    facts = {}
    for name in names:
        say(f"{name} ...")
        file = fetch_dataset(name)
        facts[name] = "scikit-learn" if file is None else os.fspath(file)
    return Outcome({"datasets": facts}, "\n".join(f"{name}: {where}" for name, where in facts.items()))
