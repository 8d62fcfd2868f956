"""The commands.

Their options are the fields of a request. Code for a command is imported when it is
called.

Exit codes: 0 success, 1 a fault in permgrad, 2 wrong input, 3 the environment (network,
disk, a missing extra), 130 interrupted. Every error is one line on stderr: ``error:
Problem. Hint. [PG012]``.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperGroup

from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import InputError, PermgradWarning, did_you_mean
from permgrad.base.processors import prepare_threads
from permgrad.base.registry import registered
from permgrad.base.startup import loading, own_process
from permgrad.base.typed import typed_for
from permgrad.cli.terminal import (
    PANELS,
    HelpfulCommand,
    completion_of,
    described,
    open_page,
    outcome_of_error,
    put,
    say,
    tell,
)
from permgrad.runs import requests
from permgrad.runs.options import (
    PRESET_SETTINGS,
    Option,
    argument,
    options_of,
    separated,
)
from permgrad.runs.requests import Outcome
from permgrad.runs.row_requests import CounterfactualsRequest, McpRequest
from permgrad.runs.run.early import check_model, refuse_early, refuse_other_columns

#: What typer raises for options that cannot be parsed.
_UsageError: Any = typer.BadParameter.__mro__[1]
#: Share of its letters that a misspelt option has in common with the one meant.
_TYPO = 0.85
_USAGE_CODES = {
    "NoSuchOption": "PG003",
    "MissingParameter": "PG005",
    "BadOptionUsage": "PG005",
    "UsageError": "PG003",
}


def _is_typo(error: Any) -> bool:
    """Return whether an unknown option is nearly one that the command has: it is then
    sought nowhere else.
    """
    return any(
        SequenceMatcher(None, error.option_name, flag).ratio() >= _TYPO
        for flag in error.possibilities or ()
    )


def _flags(command: Any) -> set[str]:
    """Return the options of a command as they are written."""
    flags = set[str]()
    for parameter in getattr(command, "params", ()):
        flags.update(parameter.opts)
    return flags


class _Commands(TyperGroup):
    """The group of all commands, whose usage errors look like other errors."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order in which people need them."""
        first = (
            "demo",
            "run",
            "explain",
            "predict",
            "counterfactuals",
            "report",
            "compare",
            "tune",
        )
        return [
            *first,
            *(
                command_name
                for command_name in super().list_commands(ctx)
                if command_name not in first
            ),
        ]

    def place_of(self, flag: str, context: Any) -> str:
        """Say where an option belongs that a command does not have. Empty: nowhere."""
        setting_name = flag.removeprefix("--").replace("-", "_")
        takes_preset = context is not None and "--preset" in _flags(context.command)
        if takes_preset and setting_name in PRESET_SETTINGS:
            return "It is a setting of a preset: --preset FILE.json."
        names = []
        for command_name in self.list_commands(context):
            if flag in _flags(self.commands.get(command_name)):
                names.append(f"permgrad {command_name}")
        if names:
            return f"It is an option of {' and '.join(names)}."
        return ""

    def main(self, *args: Any, **options: Any) -> None:
        """Run a command and end the process.

        Errors of parsing are shown as all others: one line, a hint and a code.
        """
        try:
            sys.exit(super().main(*args, **{**options, "standalone_mode": False}))
        except typer.Abort:  # Ctrl-C while options are parsed
            sys.exit(130)
        except _UsageError as error:
            error_kind = type(error).__name__
            if error_kind == "NoArgsIsHelpError":  # the help is the answer
                error.show()
                sys.exit(error.exit_code)
            if error.ctx:
                command_path = error.ctx.command_path
            else:
                command_path = " ".join(["permgrad", *sys.argv[1:2]])
            suggestion = did_you_mean(
                getattr(error, "option_name", ""),
                getattr(error, "possibilities", None) or (),
            )
            if error_kind == "NoSuchOption" and not _is_typo(error):
                suggestion = self.place_of(error.option_name, error.ctx) or suggestion
            suggestion = suggestion or _several_values(error)
            full_hint = f"{suggestion} See '{command_path} --help'.".lstrip()
            if error_kind == "NoSuchOption":
                problem = error.message
            else:
                problem = error.format_message()
            problem = problem.partition(", unable to parse")[0].rstrip(".")
            problem = re.sub(
                "Invalid value for '(.+)': Input should be a valid",
                r"\1 must be a valid",
                problem,
            )
            problem = re.sub("Invalid value for '(.+)': ", r"\1: ", problem)
            problem = problem.replace(
                "Got unexpected extra argument(s)", "Unexpected further argument"
            )
            fail(
                str(
                    InputError(
                        problem, full_hint, _USAGE_CODES.get(error_kind, "PG001")
                    )
                )
            )
            sys.exit(InputError.exit_code)


def _several_values(error: Any) -> str:
    """Say how an option of several values is written, or nothing of others."""
    option = getattr(error, "param", None)
    # Where values are missing, the error has only the option's name.
    flag = getattr(error, "option_name", None)
    for parameter in getattr(error.ctx and error.ctx.command, "params", ()):
        if option is None and flag in parameter.opts:
            option = parameter
    if option is None or option.nargs < 2:
        return ""
    return f"Write {option.opts[0]} {option.metavar}, with a blank between them."


app = typer.Typer(
    name="permgrad",
    cls=_Commands,
    help="Explain what any model relies on, and train networks on tables and images.",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    # importing rich costs more time than everything else that --help does
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

_CSV_FORMULAS = Annotated[
    str,
    typer.Option(
        help="Texts in CSV files that a spreadsheet would run as formulas: quote puts "
        "a single quote before them, keep does not change them.",
        metavar="quote|keep",
        rich_help_panel="Output",
    ),
]
_AS_JSON = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on stdout instead of text.",
        rich_help_panel="Output",
    ),
]
_QUIET = Annotated[
    bool,
    typer.Option(
        "-q",
        "--quiet",
        help="Hide progress; show the result and problems.",
        rich_help_panel="Output",
    ),
]
_DEBUG = Annotated[
    bool,
    typer.Option(
        "--debug", help="Show the full traceback of an error.", rich_help_panel="Output"
    ),
]


def _parameters_of(
    request: Any,
    options: Mapping[str, Any],
    lists: Collection[str],
    negated: Collection[str],
) -> list[inspect.Parameter]:
    """Return the parameters of a command, one for each field of its request."""
    hints = get_type_hints(request)
    parameters = []
    for field, option in options.items():
        default = getattr(request, field, inspect.Parameter.empty)
        hint = hints[field]
        if field in lists:
            # None means that the option is missing, an empty list that it is empty.
            required = default is inspect.Parameter.empty
            hint, default = (
                (list[str], default) if required else (list[str] | None, None)
            )
        parameters.append(
            _parameter(field, option, hint, False if field in negated else default)
        )
    return parameters


def command(
    *examples: str, group: typer.Typer = app
) -> Callable[[Callable[[Any], Outcome]], Callable[[Any], Outcome]]:
    """Register a command that is called as its function, whose options are the fields
    of the request that it takes.
    """

    def enter(function: Callable[[Any], Outcome]) -> Callable[[Any], Outcome]:
        request: Any = next(iter(get_type_hints(function).values()))
        options = options_of(request)
        hints = get_type_hints(request)
        # Fields that hold several names, and flags such as --no-rows, which turn one
        # off.
        lists = {
            field_name for field_name in options if ... in get_args(hints[field_name])
        }
        negated = [
            field_name
            for field_name, field_option in options.items()
            if hints[field_name] is bool
            and (field_option.name or "").startswith("--no-")
        ]

        def invoked(
            *,
            as_json: bool,
            quiet: bool,
            debug: bool,
            csv_formulas: str | None = None,
            **values: Any,
        ) -> None:
            with (
                _plain_output(csv_formulas, quiet=quiet, debug=debug),
                typed_for(function.__name__),
            ):
                values = _checked(
                    options,
                    lists,
                    values
                    | {field_name: not values[field_name] for field_name in negated},
                )
                prepare_threads(values.get("threads"))
                outcome = function(request(**values))
                output_text = outcome.text
                if as_json:
                    from permgrad.base.files import json_text, plain

                    output_text = json_text(plain(dict(outcome.facts)))
                if output_text:
                    put(output_text)
                if values.get("open_page"):
                    open_page(outcome.facts["report"])

        # Typer makes options of these parameters.
        parameters = _parameters_of(request, options, lists, negated)
        if getattr(request, "writes_csv", False):
            parameters.append(_keyword("csv_formulas", _CSV_FORMULAS, "quote"))
        parameters += [
            _keyword("as_json", _AS_JSON, False),
            _keyword("quiet", _QUIET, False),
        ]
        parameters.append(_keyword("debug", _DEBUG, False))
        invoked.__doc__ = function.__doc__
        invoked.__name__ = function.__name__
        invoked.__annotations__ = {
            parameter.name: parameter.annotation for parameter in parameters
        }
        invoked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command_name = function.__name__.removeprefix("datasets_")
        group.command(command_name, cls=HelpfulCommand, epilog="\n".join(examples))(
            invoked
        )
        return function

    return enter


# ---- options -------------------------------------------------------------------------
def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _parameter(name: str, option: Option, hint: Any, default: Any) -> inspect.Parameter:
    help_text, metavar = described(option)
    facts: dict[str, Any] = {
        "help": help_text,
        "metavar": metavar,
        "autocompletion": completion_of(option),
    }
    if hint in (int, int | None) and metavar is None:
        facts["metavar"] = "N"
    if hint in (Path, Path | None) or option.table:
        if option.table:
            if hint is not str:
                facts["parser"] = table_path
            else:
                facts["parser"] = named
        else:
            facts["parser"] = lambda text: Path(named(text))
    if option.positional:
        facts.setdefault("parser", named)
        return _keyword(name, Annotated[hint, typer.Argument(**facts)], default)
    flags = [*([option.short] if option.short else []), option.flag(name)]
    panel = option.panel or next(
        (panel for panel, fields in PANELS.items() if name in fields), "Data"
    )
    facts |= {"rich_help_panel": panel, "show_default": not option.named}
    return _keyword(name, Annotated[hint, typer.Option(*flags, **facts)], default)


def _checked(
    options: Mapping[str, Option], lists: Collection[str], values: dict[str, Any]
) -> dict[str, Any]:
    """Return the values of a request: as tuples of those in ``lists``.

    Unknown names, and numbers out of range, are refused before anything heavy is
    imported. Names in lists with commas are refused by the command.
    """
    checked = dict(values)
    for field_name, option in options.items():
        # Without the form that turns it off.
        option_flag = option.flag(field_name).partition("/")[0]
        is_split = option.lists == "names"
        if field_name in lists:
            texts = tuple(values[field_name] or ())
        else:
            texts = (values[field_name],)
        if option.choices and not option.table:
            texts = tuple(
                choice_text and registered(choice_text, option.choices)
                for choice_text in texts
            )
            if field_name in lists:
                checked[field_name] = texts
            else:
                checked[field_name] = texts[0]
        if (option.choices or option.least is not None) and not (
            option.table or is_split
        ):
            for option_value in texts:
                option.check(
                    (option.positional and option.metavar) or option_flag, option_value
                )
        if field_name not in lists:
            continue
        if is_split:
            checked[field_name] = tuple(dict.fromkeys(separated(texts)))
        else:
            checked[field_name] = texts
        if texts and not checked[field_name]:
            raise InputError(
                f"{option_flag} is empty",
                hint="List at least one name, or leave it out.",
                code="PG005",
            )
    return checked


def named(text: str) -> str:
    """Return a name unchanged.

    Refuse an empty one (an unset variable): it would mean the current folder.
    """
    if not text:
        raise typer.BadParameter("the name is empty")
    return text


def table_path(text: str) -> Path:
    """Return a path, or the name of a data set.

    ``./heloc`` is a file, ``heloc`` a data set.
    """
    table_file = Path(named(text))
    if text == str(table_file):
        return table_file
    return table_file.absolute()


# ---- output --------------------------------------------------------------------------
def fail(sentence: str) -> None:
    """Write an error on stderr."""
    say(sentence, "error:", "red")


@contextmanager
def _plain_output(formulas: str | None, *, quiet: bool, debug: bool) -> Iterator[None]:
    """Write warnings of a command as lines, and turn an error into one line on stderr
    and its exit code.
    """
    shown: set[str] = set()

    def show(
        message: Warning | str, category: type[Warning], *_: Any, **__: Any
    ) -> None:
        message_text = " ".join(str(message).split())
        # Those of other libraries are shown with --debug only.
        if (
            debug or issubclass(category, PermgradWarning)
        ) and message_text not in shown:
            shown.add(message_text)
            say(message_text, "warning:", "yellow")

    try:
        with (
            warnings.catch_warnings(),
            own_process(quiet=quiet, tell=tell),
            csv_formulas(formulas),
        ):
            warnings.simplefilter("default" if debug else "ignore")
            warnings.simplefilter("always", PermgradWarning)
            warnings.showwarning = show
            yield
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader closed stdout (`permgrad … | head`). That is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (Exception, KeyboardInterrupt) as error:
        exit_code, sentence = outcome_of_error(error)
        if debug:
            for traceback_line in traceback.format_exc().splitlines():
                say(traceback_line)
        fail(sentence)
        raise typer.Exit(exit_code) from error


# ---- the commands --------------------------------------------------------------------
@command("permgrad benchmark tabular --quick --out benchmark-trial")
def benchmark(request: requests.BenchmarkRequest) -> Outcome:
    """Compare every method with functions whose importances are known.

    Run the same command to resume after an interruption. More seeds or functions add to
    the results.
    """
    with loading():
        from permgrad_benchmark.run import run_benchmark
    return run_benchmark(request, say=tell)


@command(
    "permgrad compare patients.csv --target outcome",
    "permgrad compare patients.csv --target outcome --models default,linear --cv 10",
)
def compare(request: requests.CompareRequest) -> Outcome:
    """Compare models on one table by cross-validation.

    The result says which model is best, and whether the models rely on the same
    features. Run the same command to resume after an interruption. It does nothing when
    the comparison is finished.
    """
    refuse_early(request.run_request())
    with loading():
        from permgrad.runs.compare.compare import compare_table
    return compare_table(request, say=tell)


@command(
    "permgrad counterfactuals permgrad-runs/patients-0 --row 17",
    "permgrad counterfactuals permgrad-runs/patients-0 new.csv --row 3 --want well",
)
def counterfactuals(request: CounterfactualsRequest) -> Outcome:
    """Find what would have to differ in a row for a model to predict something else.

    Each alternative is predicted again, with few changes, to cells that the table has.
    It says what the model would predict, not what would happen if someone changed these
    things.
    """
    _ = request.explained, request.limits  # which refuse what cannot be read
    if not request.model_folder.is_file():
        check_model(request.model_folder)
    with loading():
        from permgrad.runs.commands.row_questions import write_counterfactuals
    return write_counterfactuals(request)


@command(
    "permgrad explain permgrad-runs/patients-0",
    "permgrad explain permgrad-runs/patients-0 new.csv --method shapley --row 17",
    "permgrad explain model.onnx patients.csv --option y=outcome",
)
def explain(request: requests.ExplainRequest) -> Outcome:
    """Explain a trained model on the rows of a table.

    If the table has the target column, the loss is explained.
    """
    if not request.model_folder.is_file():
        check_model(request.model_folder)
    with loading():
        from permgrad.runs.commands.explain_command import explain_table
    return explain_table(request)


@command("permgrad images patients.csv --target outcome --out pictures")
def images(request: requests.ImagesRequest) -> Outcome:
    """Write each row of a table as an image, as the image branch of a network sees it.

    The folder gets a grey PNG file for each row, images.csv with files and targets, and
    layout.svg, which says where each column is. Run the same command to resume after an
    interruption.
    """
    refuse_early(request.run_request())
    with loading():
        from permgrad.runs.commands.images_command import write_images
    return write_images(request, say=tell)


@command(
    "permgrad predict permgrad-runs/patients-0 new.csv",
    "permgrad predict permgrad-runs/patients-0 new.csv --out - | head",
)
def predict(request: requests.PredictRequest) -> Outcome:
    """Predict the rows of a table with a trained model.

    Columns are matched by name.
    """
    check_model(request.model_folder)
    refuse_other_columns(request.model_folder, request.table)
    with loading():
        from permgrad.runs.commands.predict import predict_table
    return predict_table(request)


@command("permgrad report permgrad-runs/patients-0 --open")
def report(request: requests.ReportRequest) -> Outcome:
    """Build a run's report.html again from the files in its folder.

    It reads run.json, data.json, layout.json, layout.svg, model/, metrics.json,
    history.csv, predictions.csv, explanations/, integrated_gradients.csv and
    branches.json. It does not read importance.csv and split.npz.
    """
    with loading():
        from permgrad.runs.commands.report_command import rebuild_report
    return rebuild_report(request)


@command(
    "permgrad run patients.csv --target outcome",
    "permgrad run patients.csv --target outcome --id patient --baselines --open",
)
def run(request: requests.RunRequest) -> Outcome:
    """Train a network on a table, explain it, and write a report.

    The same command resumes after an interruption, and does nothing when the run is
    finished.
    """
    request.check()  # before anything heavy is imported
    refuse_early(request)
    with loading():
        from permgrad.runs.run.run import run_table
    return run_table(request, say=tell)


@command("permgrad tune patients.csv --target outcome --trials 30")
def tune(request: requests.TuneRequest) -> Outcome:
    """Search for better settings on validation rows.

    The best settings become a finished run. Run the same command to resume after an
    interruption, or several times at once to share the work. Test rows are used once,
    at the end, for the best settings.
    """
    refuse_early(request.run_request())
    with loading():
        from permgrad.runs.commands.tune import tune_table
    return tune_table(request, say=tell)


@command("permgrad demo", "permgrad demo --open")
def demo(request: requests.DemoRequest) -> Outcome:
    """Train and explain a network on a small table, to see what you get.

    It takes less than a minute.

    The table comes with permgrad.
    """
    with loading():
        from permgrad.runs.run.run import run_demo
    return run_demo(request, say=tell)


@command("permgrad mcp --folder work")
def mcp(request: McpRequest) -> Outcome:
    """Serve permgrad's tools to a program over the Model Context Protocol, on stdin and
    stdout.

    They describe a table, run, compare, and explain rows, with the results of --json
    (docs/for-programs.md). Tables are files in the folder, unless
    --no-tables-in-folder. Nothing is written outside it.
    """
    from permgrad.base.late import optional

    folder = request.folder.resolve()
    if not folder.is_dir():
        raise InputError(
            f"{request.folder} is no folder",
            hint="Make it, or name another --folder.",
            code="PG010",
        )
    optional("mcp", "permgrad[agents]")
    from permgrad.cli.server import serve

    serve(folder, request.threads, tables_in_folder=request.tables_in_folder)
    return Outcome()


# ---- data sets -----------------------------------------------------------------------
datasets_app = typer.Typer(
    help="Named data sets.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(datasets_app, name="datasets")


@dataclass(frozen=True, kw_only=True)
class _ListRequest:
    """``permgrad datasets list`` has no options."""


@command(group=datasets_app)
def datasets_list(_: _ListRequest) -> Outcome:
    """List the named data sets: target, size, licence, home, and whether they are
    downloaded.
    """
    from permgrad.data.datasets import cache_folder, get_card, list_datasets

    folders = []
    for folder in (os.environ.get("PERMGRAD_DATA"), cache_folder()):
        if folder:
            folders.append(Path(folder))
    width = max(map(len, list_datasets()))
    facts = []
    lines = []
    for data_set_name in list_datasets():
        data_card = get_card(data_set_name)
        files = []
        for folder in folders:
            if data_card.file_name is not None:
                files.append(folder / data_card.file_name)
        where = next(
            (os.fspath(data_file) for data_file in files if data_file.is_file()), None
        )
        if data_card.file_name is None:
            where = "scikit-learn"
        facts.append(
            {
                **data_card.to_dict(),
                "on_this_machine": where is not None,
                "where": where,
            }
        )
        card_facts = facts[-1]
        if where is None:
            location_note = "not here"
        else:
            location_note = f"here ({where})"
        table_size = f"{card_facts['rows']:,} × {card_facts['columns']}"
        lines.append(
            f"{data_set_name:<{width}}  {table_size:>13}  {card_facts['task']:<14}  "
            f"target {card_facts['target']}; {location_note}"
        )
        lines.append(
            f"{'':<{width}}  {card_facts['title']}; {card_facts['licence']}; "
            f"{card_facts['home']}"
        )
    return Outcome(
        {"datasets": facts, "cache": os.fspath(cache_folder())}, "\n".join(lines)
    )


@dataclass(frozen=True, kw_only=True)
class _FetchRequest:
    """The options of ``permgrad datasets fetch``."""

    names: tuple[str, ...] = argument("Names of data sets, or all.", "NAME...")


@command(group=datasets_app)
def datasets_fetch(request: _FetchRequest) -> Outcome:
    """Download named data sets and check their content."""
    from permgrad.data.datasets import fetch_dataset, get_card, list_datasets

    if request.names == ("all",):
        names = list_datasets()
    else:
        names = list(request.names)
    for data_set_name in names:
        get_card(data_set_name)  # refuse an unknown name before anything is downloaded
    facts = {}  # where each data set is
    for data_set_name in names:
        tell(f"{data_set_name} ...")
        data_file = fetch_dataset(data_set_name)
        if data_file is None:  # it comes with scikit-learn
            facts[data_set_name] = "scikit-learn"
        else:
            facts[data_set_name] = os.fspath(data_file)
    return Outcome(
        {"datasets": facts},
        "\n".join(f"{fetched_name}: {where}" for fetched_name, where in facts.items()),
    )
