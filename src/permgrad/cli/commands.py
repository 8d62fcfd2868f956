"""The commands: options are the fields of a request; what answers it is loaded when the command is called.

A command ends with an exit code and, where something is wrong, a sentence.

Exit codes: 0 good; 1 a fault in permgrad; 2 wrong input; 3 the environment (network, disk, a missing extra);
130 interrupted.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, PermgradWarning
from permgrad.base.startup import loading, own_process
from permgrad.runs import requests
from permgrad.runs.requests import Option, Outcome, options_of, separated

app = typer.Typer(
    name="permgrad",
    help="Train networks on tables and images together, and see truthfully what drives them.",
    add_completion=False,
    rich_markup_mode=None,  # importing rich costs more time than everything else that --help does
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

#: More threads than any machine has cores for are a slip of the hand, and numeric libraries crash on far more.
_MOST_THREADS = 1024
_CSV_FORMULAS = Annotated[
    str,
    typer.Option(
        help="Texts in CSV files that a spreadsheet would take for formulas: quote puts a single quote before them, "
        "keep leaves them.",
        metavar="quote|keep",
    ),
]
_AS_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
_DEBUG = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]


def command(
    group: typer.Typer, request: type, name: str | None = None
) -> Callable[[Callable[[Any], Outcome]], Callable[[Any], Outcome]]:
    """Enter a command whose options are the fields of a request; its function answers such a request."""
    options, hints = options_of(request), get_type_hints(request)
    # Fields that hold several values, with the type of each; and flags such as --no-pruning, which turn a field off.
    lists = {name: get_args(hints[name])[0] for name in options if ... in get_args(hints[name])}
    negated = [name for name, one in options.items() if hints[name] is bool and (one.name or "").startswith("--no-")]

    def enter(function: Callable[[Any], Outcome]) -> Callable[[Any], Outcome]:
        def invoked(*, as_json: bool, debug: bool, csv_formulas: str | None = None, **values: Any) -> None:
            with _ending(csv_formulas, debug=debug):
                _use_threads(values.get("threads"))
                values |= {name: not values[name] for name in negated}
                values |= {name: _listed(name, options[name], kind, values[name]) for name, kind in lists.items()}
                outcome = function(request(**values))
                text = outcome.text
                if as_json:
                    from permgrad.base.files import json_text, plain

                    text = json_text(plain(dict(outcome.facts)))
                # A table on stdout ends its last line itself.
                sys.stdout.write(text if text.endswith("\n") and not as_json else f"{text}\n")

        # What typer makes options of.
        parameters = []
        for field, option in options.items():
            default, hint = getattr(request, field, inspect.Parameter.empty), hints[field]
            if field in lists:
                # A list that is not given is told from one that is empty.
                required = default is inspect.Parameter.empty
                hint, default = (list[str], default) if required else (list[str] | None, None)
            parameters.append(_parameter(field, option, hint, False if field in negated else default))
        if "overwrite" in options:  # a command that writes
            parameters.append(_keyword("csv_formulas", _CSV_FORMULAS, "quote"))
        parameters += [_keyword("as_json", _AS_JSON, False), _keyword("debug", _DEBUG, False)]
        invoked.__doc__, invoked.__name__ = function.__doc__, function.__name__
        invoked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        invoked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        group.command(name)(invoked)
        return function

    return enter


# ---- options ---------------------------------------------------------------------------------------------------------
def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, option: Option, hint: Any, default: Any) -> inspect.Parameter:
    facts: dict[str, Any] = {"help": option.text, "metavar": option.metavar}
    if hint in (Path, Path | None) or option.table:
        facts["parser"] = (table_path if hint is not str else named) if option.table else lambda text: Path(named(text))
    if option.positional:
        return _keyword(name, Annotated[hint, typer.Argument(**facts)], default)
    flags = [option.name or f"--{name.replace('_', '-')}"]
    return _keyword(name, Annotated[hint, typer.Option(*flags, min=option.least, max=option.most, **facts)], default)


def _listed(name: str, option: Option, kind: type, texts: Sequence[str] | None) -> tuple[Any, ...]:
    """Return the values of an option that may hold several."""
    values = tuple(texts or ())
    if option.lists in ("names", "entries"):
        values = separated(values)
        if texts and not values:
            raise InputError(
                "an option that lists names must hold at least one, however: it is empty; leave the option out"
            )
    if option.lists == "names":
        values = tuple(dict.fromkeys(values))
    if kind is not int:
        return values
    if strange := [text for text in values if not text.isdecimal()]:
        raise InputError(
            f"seeds of {name} must be whole numbers, however: --{name} has {strange[0]!r}; give for example 42,43,44"
        )
    return tuple(map(int, values))


def named(text: str) -> str:
    """Return a name as it is; an empty one, such as an unset variable leaves, would be the folder that one is in."""
    if not text:
        raise typer.BadParameter(
            "a file or folder must have a name, however: it is empty; name one, or a dot for the folder that you are in"
        )
    return text


def table_path(text: str) -> Path:
    """Return the path that a text names, or the name of a data set; ``./heloc`` is a file of such a name."""
    path = Path(named(text))
    return path if text == str(path) else path.absolute()


def _use_threads(threads: int | None) -> None:
    """Limit the threads of this process; it has to be said before the numeric libraries are loaded."""
    if threads is None:
        return
    if not 1 <= threads <= _MOST_THREADS:
        raise InputError(
            f"--threads must be 1…{_MOST_THREADS}, however: --threads {threads}; leave it out for as many as the "
            "machine is set to"
        )
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


# ---- what is said ----------------------------------------------------------------------------------------------------
def say(text: str) -> None:
    """Write one line on stderr; a reader that went away is no reason to fail."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 — the command line's voice


def _outcome(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the sentence for an error."""
    sentence = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermgradError):
        return error.exit_code, sentence
    if isinstance(error, KeyboardInterrupt):
        # Commands that know better what was done say so themselves.
        return 130, str(error) or "interrupted; the same command goes on after the last finished stage"
    if isinstance(error, MemoryError):
        return EnvironmentProblem.exit_code, "the work must fit into memory, however: there is not enough of it"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        sentence = (
            f"files must be readable and the disk writable, however: {where}{error.strerror or sentence}; "
            "mend this, or choose another place with --out"
        )
        return EnvironmentProblem.exit_code, sentence
    return 1, f"a fault in permgrad: {type(error).__name__}: {sentence}; run again with --debug and report it"


@contextmanager
def _plain_warnings(*, debug: bool) -> Iterator[None]:
    """Show permgrad's own warnings as plain lines; other libraries' are for developers, hence for ``--debug``."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if (debug or issubclass(category, PermgradWarning)) and text not in shown:
            shown.add(text)
            say(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("default" if debug else "ignore")
        warnings.simplefilter("always", PermgradWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _ending(formulas: str | None, *, debug: bool) -> Iterator[None]:
    """Turn errors of a command into one sentence on stderr and the exit code that fits."""
    try:
        with _plain_warnings(debug=debug), own_process(), csv_formulas(formulas):
            yield
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of stdout went away (`permgrad … | head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (Exception, KeyboardInterrupt) as error:
        code, sentence = _outcome(error)
        if debug:
            traceback.print_exc()
        say(f"error: {sentence}")
        raise typer.Exit(code) from error


# ---- the commands ----------------------------------------------------------------------------------------------------
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
