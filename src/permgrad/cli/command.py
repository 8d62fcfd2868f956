"""How a command is made: its options from the fields of its request, its end as an exit code and a sentence.

Exit codes: 0 good; 1 a fault in permgrad; 2 wrong input; 3 the environment (network, disk, a missing extra);
130 interrupted.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from permgrad.base.csv_files import csv_formulas
from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError, PermgradWarning
from permgrad.base.startup import own_process
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

    def enter(function: Callable[[Any], Outcome]) -> Callable[[Any], Outcome]:
        def invoked(*, as_json: bool, debug: bool, csv_formulas: str | None = None, **values: Any) -> None:
            with _ending(csv_formulas, debug=debug):
                _use_threads(values.get("threads"))
                outcome = function(request(**_converted(request, values)))
                text = outcome.text
                if as_json:
                    from permgrad.base.files import json_text, plain

                    text = json_text(plain(dict(outcome.facts)))
                # A table on stdout ends its last line itself.
                sys.stdout.write(text if text.endswith("\n") and not as_json else f"{text}\n")

        parameters = _parameters(request)
        invoked.__doc__, invoked.__name__ = function.__doc__, function.__name__
        invoked.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        invoked.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        group.command(name)(invoked)
        return function

    return enter


# ---- options ---------------------------------------------------------------------------------------------------------
def _parameters(request: type) -> list[inspect.Parameter]:
    """Return what typer makes options of: the fields of a request, and what every command takes."""
    hints, options = get_type_hints(request), options_of(request)
    parameters = [_parameter(name, option, hints[name], request) for name, option in options.items()]
    if "overwrite" in options:  # a command that writes
        parameters.append(_keyword("csv_formulas", _CSV_FORMULAS, "quote"))
    return [*parameters, _keyword("as_json", _AS_JSON, False), _keyword("debug", _DEBUG, False)]


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, option: Option, hint: Any, request: Any) -> inspect.Parameter:
    default = getattr(request, name, inspect.Parameter.empty)
    facts: dict[str, Any] = {"help": option.text, "metavar": option.metavar}
    if hint in (Path, Path | None) or option.table:
        facts["parser"] = (table_path if hint is not str else named) if option.table else lambda text: Path(named(text))
    if hint is bool and _turns_off(option):
        default = False
    if _is_list(hint):
        # A list that is not given is told from one that is empty.
        required = default is inspect.Parameter.empty
        hint, default = (list[str], default) if required else (list[str] | None, None)
    if option.positional:
        return _keyword(name, Annotated[hint, typer.Argument(**facts)], default)
    flags = [option.name or f"--{name.replace('_', '-')}"]
    return _keyword(name, Annotated[hint, typer.Option(*flags, min=option.least, max=option.most, **facts)], default)


def _turns_off(option: Option) -> bool:
    """Whether an option says that something is not done, such as ``--no-pruning``."""
    return (option.name or "").startswith("--no-")


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple and get_args(hint)[-1] is ...


def _converted(request: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of options as the fields of a request hold them."""
    hints, options = get_type_hints(request), options_of(request)
    for name, value in values.items():
        if hints[name] is bool and _turns_off(options[name]):
            values[name] = not value
        if not _is_list(hints[name]):
            continue
        values[name] = texts = tuple(value or ())
        if options[name].lists in ("names", "entries"):
            texts = separated(texts)
            if value and not texts:
                raise InputError(
                    "an option that lists names must hold at least one, however: it is empty; leave the option out"
                )
            values[name] = tuple(dict.fromkeys(texts)) if options[name].lists == "names" else texts
        if get_args(hints[name])[0] is int:
            if strange := [text for text in texts if not text.isdecimal()]:
                raise InputError(
                    f"seeds of {name} must be whole numbers, however: --{name} has {strange[0]!r}; give for example "
                    "42,43,44"
                )
            values[name] = tuple(map(int, texts))
    return values


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
