"""The command line: thin. Each command checks nothing itself, it calls ``permgrad.runs`` and reports how that ended.

Only the standard library and typer are imported here, so that ``permgrad --help`` answers at once.

Exit codes: 0 good; 1 a fault in permgrad; 2 wrong input; 3 the environment (network, disk, a missing extra);
130 interrupted.
"""

from __future__ import annotations

import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, PermgradWarning
from permgrad.base.interrupts import uninterrupted_end
from permgrad.base.startup import loading, own_process
from permgrad.cli import options
from permgrad.cli.tune import add_tune

app = typer.Typer(
    name="permgrad",
    help="Train networks on tables and images together, and see truthfully what drives them.",
    add_completion=False,
    rich_markup_mode=None,  # importing rich costs more time than everything else that --help does
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
datasets_app = typer.Typer(help="Named data sets.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(datasets_app, name="datasets")


#: More threads than any machine has cores for are a slip of the hand, and numeric libraries crash on far more.
_MOST_THREADS = 1024


# --- how a command ends -----------------------------------------------------------------------------------------------


def _say(text: str) -> None:
    """Write one line on stderr; a reader that went away is no reason to fail."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201 — the command line's voice


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _outcome(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the sentence for an error."""
    if isinstance(error, PermgradError):
        return error.exit_code, _one_line(error)
    if isinstance(error, KeyboardInterrupt):
        # Commands that know better what was done say so themselves.
        return 130, str(error) or "interrupted; the same command goes on after the last finished stage"
    if isinstance(error, MemoryError):
        return EnvironmentProblem.exit_code, "the work must fit into memory, however: there is not enough of it"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        sentence = (
            f"files must be readable and the disk writable, however: {where}{error.strerror or _one_line(error)}; "
            "mend this, or choose another place with --out"
        )
        return EnvironmentProblem.exit_code, sentence
    return 1, f"a fault in permgrad: {type(error).__name__}: {_one_line(error)}; run again with --debug and report it"


@contextmanager
def _plain_warnings(debug: bool) -> Iterator[None]:
    """Show permgrad's own warnings as plain lines; other libraries' are for developers, hence for ``--debug``."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if (debug or issubclass(category, PermgradWarning)) and text not in said:
            said.add(text)
            _say(f"warning: {text}")

    with warnings.catch_warnings():
        warnings.simplefilter("default" if debug else "ignore")
        warnings.simplefilter("always", PermgradWarning)
        warnings.showwarning = show
        yield


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Turn errors of a command into one sentence on stderr and the exit code that fits."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        debug = bool(kwargs.get("debug"))
        try:
            with _plain_warnings(debug), own_process(), csv_formulas(kwargs.get("csv_formulas")):
                function(*args, **kwargs)
                sys.stdout.flush()
        except typer.Exit:
            raise
        except BrokenPipeError:
            # The reader of stdout went away (`permgrad … | head`): nothing is wrong, and nothing more can be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (Exception, KeyboardInterrupt) as error:
            code, sentence = _outcome(error)
            if debug:
                traceback.print_exc()
            _say(f"error: {sentence}")
            raise typer.Exit(code) from error

    return guarded


def _print(text: str) -> None:
    print(text)  # noqa: T201 — what the user asked for


def _tell(result: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print a command's result: one JSON object, or text for a person."""
    if as_json:
        from permgrad.base.files import json_text, plain

        _print(json_text(plain(dict(result))))
    else:
        _print(text)


def _use_threads(threads: int | None) -> None:
    """Limit the threads of this process; it has to be said before the numeric libraries are loaded."""
    if threads is not None:
        if not 1 <= threads <= _MOST_THREADS:
            raise InputError(
                f"--threads must be 1…{_MOST_THREADS}, however: --threads {threads}; leave it out for as many as the "
                "machine is set to"
            )
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)


# --- commands ---------------------------------------------------------------------------------------------------------


def _show_version(asked: bool) -> None:
    if asked:
        from permgrad import __version__

        _print(f"permgrad {__version__}")
        raise typer.Exit


@app.callback()
def _main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train networks on tables and images together, and see truthfully what drives them."""


@app.command()
@_command
def run(
    table: options.Table,
    target: options.Target = None,
    task: options.Task = "auto",
    positive: options.Positive = None,
    image: Annotated[
        list[str] | None,
        typer.Option(help="Column of paths of images beside the table; may be given several times.", metavar="COL"),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Pixels that images are brought to (default: their median, at most 64).", min=8, max=1024),
    ] = None,
    test: options.Test = None,
    validation: options.Validation = None,
    drop: options.Drop = None,
    row_id: options.RowId = None,
    kind: options.ColumnKind = None,
    na: options.MissingCodes = None,
    not_na: options.NotMissing = None,
    groups: options.Groups = None,
    group: options.Group = None,
    time: options.Time = None,
    out: Annotated[Path | None, options.folder("permgrad-runs/<table>-<seed>", what="Folder of the run")] = None,
    preset: Annotated[str, typer.Option(help="Network and training: default, fast, paper, ...")] = "default",
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per training step (default: the preset's).", metavar="ROWS", min=2)
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also train trees, a linear model and a plain MLP, for comparison.")
    ] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Also train this one, such as tabm or realmlp (minutes); may be repeated.", metavar="NAME"),
    ] = None,
    seed: options.Seed = 0,
    split_seed: options.SplitSeed = 42,
    device: options.Device = "auto",
    threads: options.Threads = None,
    cost: Annotated[
        tuple[float, float] | None,
        typer.Option(help="What a false and a missed positive cost: adds the threshold of least cost.", metavar="A B"),
    ] = None,
    from_stage: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Do this stage and all after it again: data, layout, model, explain, report.",
            metavar="STAGE",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    csv_formulas: options.CsvFormulas = "quote",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Train a network on a table, explain it, and write a report.

    The same command goes on where an interrupted run stopped, and does nothing when the run is finished.
    """
    _use_threads(threads)
    with loading():
        from permgrad.runs.run.run import RunRequest, run_table

    outcome = run_table(
        RunRequest(
            table=table,
            target=tuple(target or ()),
            task=task,
            positive=positive,
            test=test,
            validation=validation,
            drop=tuple(drop or ()),
            identifier=tuple(row_id or ()),
            kind=tuple(kind or ()),
            na=tuple(na or ()),
            not_na=tuple(not_na or ()),
            groups=groups,
            group=group,
            time=time,
            out=out,
            preset=preset,
            batch_size=batch_size,
            baselines=baselines,
            named_baselines=tuple(baseline or ()),
            seed=seed,
            split_seed=split_seed,
            device=device,
            threads=threads,
            from_stage=from_stage,
            overwrite=overwrite,
            cost=cost,
            images=tuple(image or ()),
            image_size=image_size,
        ),
        say=_say,
    )
    _tell(outcome.facts, outcome.text, as_json=as_json)


@app.command()
@_command
def predict(
    model_folder: options.ModelFolder,
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE",
            parser=options.table_path,
            help="CSV or Parquet file, folder of Parquet files, or named data set, to predict.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.named_path,
            help="CSV file to write (default: <table>-predictions.csv here; - for stdout); with --stream a folder of "
            "Parquet files (default: <table>-predictions here).",
            metavar="PATH",
        ),
    ] = None,
    stream: options.Stream = None,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    csv_formulas: options.CsvFormulas = "quote",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Predict the rows of a table with a trained model; columns are matched by name."""
    _use_threads(threads)
    with loading():
        from permgrad.runs.commands.predict import predict_table

    outcome = predict_table(model_folder, table, out=out, overwrite=overwrite, threads=threads, stream=stream)
    if str(out) == "-" and not as_json:
        sys.stdout.write(outcome.text)
    else:
        _tell(outcome.facts, outcome.text, as_json=as_json)


@app.command()
@_command
def explain(
    model_folder: options.ModelFolder,
    table: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TABLE]",
            parser=options.table_path,
            help="CSV or Parquet file, folder of Parquet files, or named data set, to explain (default: the test rows "
            "of the model's run).",
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="How to explain: permgrad, permutation, integrated_gradients, ...")] = (
        "permgrad"
    ),
    row: Annotated[int | None, typer.Option(help="Explain this row only, counted from 0.", min=0)] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Explain the rows with this value only; may be given several times.", metavar="COL=VALUE"),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="For integrated_gradients: median, mean, zeros, background or class:<label>."),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Output to explain: a class (default: all).", metavar="CLASS")
    ] = None,
    y: Annotated[
        str | None, typer.Option(help="Column of targets (default: that of the model's run).", metavar="COL")
    ] = None,
    positive: options.Positive = None,
    scope: Annotated[str, typer.Option(help="auto, global or local.")] = "auto",
    repeats: Annotated[int, typer.Option(help="Number of donors per row, for the methods that draw.", min=1)] = 10,
    stream: options.Stream = None,
    rows: Annotated[
        int | None, typer.Option(help="Explain so many rows, drawn from the whole Parquet table.", min=1)
    ] = None,
    form: Annotated[
        str, typer.Option(help="Files of single rows, with --stream: tidy, or wide (a column for each feature).")
    ] = "tidy",
    engine: options.Engine = "local",
    workers: options.Workers = None,
    ray_address: options.RayAddress = None,
    seed: options.Seed = 0,
    out: Annotated[Path | None, options.folder("<table>-<method> here, with -row<N>", what="Folder to write")] = None,
    overwrite: options.Overwrite = False,
    threads: options.Threads = None,
    csv_formulas: options.CsvFormulas = "quote",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Explain a trained model on the rows of a table; if the target column is there, the loss is explained."""
    _use_threads(threads)
    with loading():
        from permgrad.runs.commands.explain import ExplainRequest, explain_table

    outcome = explain_table(
        ExplainRequest(
            model_folder=model_folder,
            table=table,
            method=method,
            row=row,
            where=tuple(where or ()),
            baseline=baseline,
            target=tuple(target or ()),
            scope=scope,
            repeats=repeats,
            stream=stream,
            rows=rows,
            form=form,
            y=y,
            positive=positive,
            engine=engine,
            workers=workers,
            address=ray_address,
            seed=seed,
            out=out,
            overwrite=overwrite,
            threads=threads,
        )
    )
    _tell(outcome.facts, outcome.text, as_json=as_json)


@app.command()
@_command
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", parser=options.named_path, help="A run's folder.")],
    positive: options.Positive = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Build a run's report.html again from the files in its folder.

    It reads run.json, data.json, layout.json, layout.svg, model/, metrics.json, history.csv, predictions.csv,
    explanations/, integrated_gradients.csv and branches.json, not importance.csv and split.npz, which hold the same
    numbers and rows for others.
    """
    with loading():
        from permgrad.runs.commands.report import rebuild_report

    outcome = rebuild_report(folder, positive=positive)
    _tell(outcome.facts, outcome.text, as_json=as_json)


@app.command()
@_command
def benchmark(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="multimodal, tabular or all.")],
    out: Annotated[Path | None, options.folder("permgrad-runs/benchmark-<suite>")] = None,
    seeds: Annotated[
        int | None, typer.Option(help="How many seeds, from 0 (default: 3; 1 with --quick).", min=1)
    ] = None,
    functions: Annotated[
        list[str] | None,
        typer.Option(help="Known functions, separated by commas (default: all).", metavar="NAMES"),
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help="Methods, separated by commas (default: all).", metavar="NAMES")
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            help="Image set of the multimodal suite, or one for each image, separated by a comma: organamnist, "
            "organcmnist, another MedMNIST set, or FILE.npz in their form.",
            metavar="SETS",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Less of everything, to see that it runs; no results.")
    ] = False,
    no_peers: Annotated[bool, typer.Option("--no-peers", help="Leave other packages' methods out.")] = False,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    csv_formulas: options.CsvFormulas = "quote",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Hold every method against functions whose true importances are known.

    The same command goes on where an interrupted one stopped; more seeds or functions add to what is there.
    """
    _use_threads(threads)
    with loading():
        from permgrad_benchmark.run import BenchmarkRequest, run_benchmark

    outcome = run_benchmark(
        BenchmarkRequest(
            suite=suite,
            out=out,
            seeds=seeds,
            functions=_names(functions),
            methods=_names(methods),
            images=_names(images),
            quick=quick,
            peers=not no_peers,
            threads=threads,
            overwrite=overwrite,
        ),
        say=_say,
    )
    _tell(outcome.facts, outcome.text, as_json=as_json)


@app.command()
@_command
def compare(
    table: options.Table,
    target: options.Target = None,
    task: options.Task = "auto",
    positive: options.Positive = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            help="Presets (or preset files; default:tabular and default:image are one branch alone) and baselines, "
            "separated by commas (default: default,lightgbm,random_forest,linear).",
            metavar="NAMES",
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds (default: 5).", metavar="K")] = None,
    repeats: Annotated[int, typer.Option(help="How often the rows are divided into folds.", metavar="R")] = 1,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            help="Seeds of 60/20/20 splits in the place of folds, separated by commas, such as 42,43,44.",
            metavar="SEEDS",
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="What decides (default: roc_auc, accuracy or rmse, by the task).")
    ] = None,
    explain: Annotated[bool, typer.Option(help="Also ask what each model relies on.")] = True,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="How to explain, separated by commas (default: permutation,permgrad). permutation is always played; "
            "permgrad, ablation, gradient, integrated_gradients, deeplift and shapley apply to networks only.",
            metavar="NAMES",
        ),
    ] = None,
    drop: options.Drop = None,
    row_id: Annotated[
        list[str] | None, typer.Option("--id", help="Column that names rows: not a feature.", metavar="COL")
    ] = None,
    kind: options.ColumnKind = None,
    na: options.MissingCodes = None,
    not_na: options.NotMissing = None,
    groups: options.Groups = None,
    group: Annotated[
        str | None, typer.Option(help="Column whose equal values stay in one fold.", metavar="COL")
    ] = None,
    out: Annotated[Path | None, options.folder("permgrad-runs/compare-<table>-<seed>")] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds, models and explanations.", min=0)] = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    csv_formulas: options.CsvFormulas = "quote",
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Compare models on one table by cross-validation: which is best, and do they rely on the same features?

    The same command goes on where an interrupted one stopped, and does nothing when all is done.
    """
    _use_threads(threads)
    with loading():
        from permgrad.runs.compare.compare import CompareRequest, compare_table, parse_seeds

    outcome = compare_table(
        CompareRequest(
            table=table,
            target=tuple(target or ()),
            task=task,
            positive=positive,
            models=_names(models, once=False),
            folds=folds,
            repeats=repeats,
            splits=parse_seeds(_names(splits, once=False)),
            metric=metric,
            explain=explain,
            methods=_names(method),
            drop=tuple(drop or ()),
            identifier=tuple(row_id or ()),
            kind=tuple(kind or ()),
            na=tuple(na or ()),
            not_na=tuple(not_na or ()),
            groups=groups,
            group=group,
            out=out,
            seed=seed,
            device=device,
            threads=threads,
            overwrite=overwrite,
        ),
        say=_say,
    )
    _tell(outcome.facts, outcome.text, as_json=as_json)


def _names(given: list[str] | None, *, once: bool = True) -> tuple[str, ...]:
    """Return the names in an option that may be given several times, each with several names between commas."""
    names = tuple(name.strip() for text in given or () for name in text.split(",") if name.strip())
    names = tuple(dict.fromkeys(names)) if once else names
    if given and not names:
        raise InputError(
            "an option that lists names must hold at least one, however: it is empty; leave the option out"
        )
    return names


@datasets_app.command("list")
@_command
def datasets_list(as_json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List the named data sets: target, size, licence, home, and whether they are on this machine."""
    from permgrad.runs.commands.named import list_named

    outcome = list_named()
    _tell(outcome.facts, outcome.text, as_json=as_json)


@datasets_app.command("fetch")
@_command
def datasets_fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names of data sets, or all.")],
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Bring named data sets to this machine and check their content."""
    from permgrad.runs.commands.named import fetch_named

    outcome = fetch_named(names, say=_say)
    _tell(outcome.facts, outcome.text, as_json=as_json)


add_tune(app, _command, say=_say, tell=_tell, use_threads=_use_threads)


def main() -> None:
    """Run the command line and end the process; the entry point of the ``permgrad`` program."""
    with uninterrupted_end():
        app(prog_name="permgrad")
