"""The reference, made from the code: public names, methods, presets, plots, files,
commands and error codes.

``pages()`` returns the text of each page by its name; ``site_pages`` writes them into
``docs/reference/``. They are in reStructuredText, the language of the docstrings.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import typer
from error_codes import CODES

import permgrad
from permgrad import integrations
from permgrad.attribution import methods
from permgrad.cli import app
from permgrad.data.datasets import get_card, list_datasets
from permgrad.evaluation.metrics import metrics
from permgrad.models.estimators.presets import presets
from permgrad.runs.run_folder import STAGES

#: What the files of a run's folder hold. A file that has no entry stops the build.
FILES = {
    "run.json": "The configuration with its hash, the finished stages, versions and "
    "the command.",
    "data.json": "The kind of each column, the notes on them and the roles of columns.",
    "columns.json": "How each column is distributed in the training and the test rows, "
    "and how far they differ.",
    "training.json": "The values of each column in the training rows, for ``permgrad "
    "predict --against``.",
    "split.npz": "The row numbers of the training, validation and test rows.",
    "layout.json": "The pixel of each encoded column.",
    "layout.svg": "A picture of the layout.",
    "model": "The trained model: weights as safetensors, all else as JSON and npz. "
    "Loading it executes nothing.",
    "metrics.json": "Metrics on validation and test rows, of a constant prediction and "
    "of the baselines. "
    "``verdict`` has the first sentences of the report.",
    "history.csv": "The learning curves.",
    "times.json": "With baselines: how long each took to fit.",
    "predictions.csv": "The predictions for the test rows, with intervals or sets of "
    "classes.",
    "segments.json": "The scores of groups of test rows by every feature.",
    "baseline_predictions.npz": "With baselines: their predictions for the test rows, "
    "by name.",
    ".checkpoint": "The state of an unfinished training. It is removed when training "
    "ends.",
    ".explanations": "Explanations that were computed before, so that they need not be "
    "computed again.",
    "explanations": "All explanations, for ``pg.Explanation.load``.",
    "importance.csv": "One line per feature and class: importance, standard error, "
    "interval, p-values, paths.",
    "effects.csv": "How far the prediction changes with each feature: from, to, change, "
    "interval, rows and groups of rows.",
    "integrated_gradients.csv": "Integrated gradients of the strongest features.",
    "branches.json": "How much each path of the network contributes, with intervals.",
    "report.md": "The first sentences of the report, as text.",
    "report.svg": "The picture in ``report.md``: what the model relies on.",
    "report.html": "The report. It is one file and works offline.",
}
EXIT_CODES = (
    "Exit codes: 0 success, 1 a fault in permgrad, 2 wrong input, 3 the environment "
    "(network, disk, missing package), "
    "130 interrupted.\n"
)
#: Bases whose members the pages of public classes leave out.
OTHER_BASES = (
    *(
        "Exception",
        "UserWarning",
        "BaseEstimator",
        "ClassifierMixin",
        "RegressorMixin",
        "TransformerMixin",
    ),
    "TableEncoder",
)
FOLDERS = ("model", "explanations", ".checkpoint", ".explanations")


# ---- text ----------------------------------------------------------------------------
def title(text: str, sign: str = "=") -> str:
    """Return a heading."""
    return f"{text}\n{sign * len(text)}\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells wrap."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
    for row in (heads, *rows):
        lines += [
            f"   {'* -' if k == 0 else '  -'} {cell}" for k, cell in enumerate(row)
        ]
    return "\n".join(lines) + "\n"


def toctree(names: Iterable[str]) -> str:
    """Return a list of pages."""
    return (
        "\n".join(
            [".. toctree::", "   :maxdepth: 1", "", *(f"   {name}" for name in names)]
        )
        + "\n"
    )


def code(value: Any) -> str:
    """Return a value as code."""
    return f"``{value!r}``"


def plain(text: str) -> str:
    """Return a text of the command line, whose signs mean nothing here."""
    return re.sub(r"([\\*`|_])", r"\\\1", " ".join(text.split()))


def first_sentence(entry: Any) -> str:
    """Return the first sentence of a docstring, which stands in one paragraph."""
    paragraph = " ".join((inspect.getdoc(entry) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`][.:;]) ", paragraph)[0].rstrip(".:;") + "."


# ---- Python --------------------------------------------------------------------------
def public_names() -> list[str]:
    """Return the public names of the package."""
    return sorted(
        (name for name in permgrad.__all__ if not name.startswith("_")), key=str.lower
    )


def result_of(function: Any) -> type | None:
    """Return the class of what a function returns, if it has no page of its own."""
    result = getattr(
        inspect.getmodule(function),
        str(inspect.signature(function).return_annotation),
        None,
    )
    ours = inspect.isclass(result) and result.__module__.startswith("permgrad.")
    return result if ours and result.__name__ not in permgrad.__all__ else None


def fields_of(entry: type) -> str:
    """Return the option that leaves out the fields of a class, which its docstring
    describes.
    """
    names = (
        ", ".join(field.name for field in fields(entry)) if is_dataclass(entry) else ""
    )
    return f"   :exclude-members: {names}" if names else ""


def python_page(name: str) -> str:
    """Return the page of a public name."""
    entry, lines = (
        getattr(permgrad, name),
        [title(f"pg.{name}"), ".. currentmodule:: permgrad\n"],
    )
    if inspect.ismodule(entry):
        names = [f"- :class:`{one} <permgrad.methods.{one}>`" for one in entry.__all__]
        return "\n".join(
            [*lines[:1], f".. automodule:: {entry.__name__}\n", *names, ""]
        )
    if not inspect.isclass(entry):
        lines += [f".. autofunction:: {name}\n"]
        if (result := result_of(entry)) is not None:
            lines += [
                f".. autoclass:: {result.__module__}.{result.__name__}",
                "   :members:",
                fields_of(result),
                "",
            ]
        return "\n".join(lines)
    lines += [f".. autoclass:: {name}", "   :members:"]
    if entry.__base__ is not object:
        lines += [f"   :inherited-members: {', '.join(OTHER_BASES)}"]
    return "\n".join([*lines, fields_of(entry), ""])


def integrations_page() -> str:
    """Return the page of the functions for other tools."""
    lines = [
        title("pg.integrations"),
        ":doc:`/integrations` shows how they are used.\n",
    ]
    lines += [
        ".. currentmodule:: permgrad.integrations\n",
        *(f".. autofunction:: {one}\n" for one in dir(integrations)),
    ]
    return "\n".join(lines)


# ---- methods, presets, plots ---------------------------------------------------------
def method_page(name: str) -> str:
    """Return the page of a method: how it is called, its options, what it computes."""
    method = methods.get(name)
    scopes = " or ".join(f"``{scope}``" for scope in method.scopes)
    call = (
        [f'explanation = pg.explain(model, X, y, method="{name}")']
        if "global" in method.scopes
        else []
    )
    call = call or [f'explanation = pg.explain(model, X, method="{name}")']
    lines = [
        title(name),
        ".. code-block:: python\n",
        *(f"   {line}" for line in call),
        "",
    ]
    lines += [
        f"Results are {scopes}"
        + (" (the first is the default)." if len(method.scopes) > 1 else ".")
        + "\n"
    ]
    lines += [
        ".. currentmodule:: permgrad\n",
        f".. autoclass:: permgrad.methods.{method.__name__}\n",
    ]
    return "\n".join(lines)


def flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the settings of a preset by name, those in groups as ``group.name``."""
    settings: dict[str, Any] = {}
    for name, value in facts.items():
        nested = isinstance(value, Mapping)
        settings |= (
            flat(value, f"{before}{name}.") if nested else {before + name: value}
        )
    return settings


def presets_page() -> str:
    """Return a table with the settings of each preset."""
    text = title("Presets") + (
        "\nA preset names a network and its training: ``--preset NAME`` on the command "
        'line, ``preset="NAME"`` in '
        "Python. "
        "A JSON file that names another preset as its ``base`` and replaces some of "
        "these settings works in the same "
        "places, and in Python a mapping with the same content.\n\n"
    )
    settings = {name: flat(presets.get(name).to_dict()) for name in presets}
    every = list(dict.fromkeys(one for known in settings.values() for one in known))
    rows = [
        (
            f"``{one}``",
            *(code(known[one]) if one in known else "" for known in settings.values()),
        )
        for one in every
    ]
    return text + table(("setting", *settings), rows)


def plots_page() -> str:
    """Return a page of the plots of an explanation and of their figures."""
    lines = [
        title("Plots"),
        "``explanation.plot()`` draws the plot that suits the explanation.\n",
    ]
    lines += [
        ".. autoclass:: permgrad.pages.plots.plot_methods.PlotAccessor\n   :members:\n"
    ]
    lines += [
        title("Figures", "-"),
        (
            ".. autoclass:: permgrad.base.figures.PlotFigure\n   :members: save, show, "
            "to_svg, to_html\n"
        ),
    ]
    return "\n".join(lines)


# ---- data sets, metrics, files -------------------------------------------------------
def datasets_page() -> str:
    """Return a table of the named data sets."""
    cards = [(name, get_card(name).to_dict()) for name in list_datasets()]
    rows = [
        (
            f"``{name}``",
            plain(card["title"]),
            f"{card['rows']:,} × {card['columns']}",
            card["task"],
            f"``{card['target']}``",
            plain(card["licence"]),
        )
        for name, card in cards
    ]
    about = (
        "\n``permgrad run NAME`` and ``pg.load_dataset(NAME)`` take these names. "
        "``permgrad datasets fetch NAME`` "
        "downloads one. ``permgrad datasets list`` also shows where each comes "
        "from.\n\n"
    )
    return (
        title("Data sets")
        + about
        + table(("name", "title", "rows × columns", "task", "target", "licence"), rows)
    )


def metrics_page() -> str:
    """Return a table of the metrics."""
    rows = [
        (f"``{one.name}``", plain(one.label), one.task, f"{one.direction} is better")
        for one in metrics.values()
    ]
    return (
        title("Metrics")
        + "\nA metric that the rows do not define is ``null`` in files.\n\n"
        + table(("name", "title", "task", "direction"), rows)
    )


def files_page() -> str:
    """Return a table of the files of a run's folder, by stage."""
    written = {name for names in STAGES.values() for name in names} | {"run.json"}
    if written != set(FILES):
        raise ValueError(
            f"FILES in {__file__} must describe what a run writes: "
            f"{sorted(written ^ set(FILES))}"
        )
    stages = {"every stage": ("run.json",), **STAGES}
    rows = [
        (f"``{name}{'/' if name in FOLDERS else ''}``", stage, FILES[name])
        for stage, names in stages.items()
        for name in names
    ]
    about = "\n``permgrad run`` writes these files into its folder, stage by stage.\n\n"
    return title("Files of a run") + about + table(("file", "stage", "content"), rows)


# ---- commands, errors ----------------------------------------------------------------
def commands(group: Any = None, before: str = "permgrad") -> dict[str, Any]:
    """Return the commands with their names, those of groups too."""
    group = group or typer.main.get_command(app)
    entries: dict[str, Any] = {}
    for name, command in group.commands.items():
        if command.hidden:
            continue
        place = f"{before} {name}"
        entries |= (
            commands(command, place)
            if hasattr(command, "commands")
            else {place: command}
        )
    return entries


def command_page(name: str, command: Any) -> str:
    """Return the page of a command: what it does, its arguments and options."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [
        one
        for one in command.params
        if one.param_type_name == "option" and not one.hidden
    ]
    usage = " ".join(
        [name, *(one.metavar or one.name.upper() for one in arguments), "[OPTIONS]"]
    )
    lines = [title(name), ".. code-block:: console\n", f"   {usage}\n"]
    lines += [
        plain(paragraph) + "\n"
        for paragraph in (command.help or "").split("\f")[0].split("\n\n")
    ]
    lines += [f".. program:: {name}\n"]
    for one in arguments:
        lines += [
            f".. option:: {one.metavar or one.name.upper()}\n",
            f"   {plain(getattr(one, 'help', '') or '')}\n",
        ]
    for one in options:
        flags = [*one.opts, *one.secondary_opts]
        shown = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
        lines += [
            f".. option:: {', '.join(flag + shown for flag in flags)}\n",
            f"   {plain(one.help or '')}",
        ]
        if (
            not one.is_flag
            and one.default not in (None, (), [])
            and "default" not in (one.help or "")
        ):
            lines += [f"   The default is ``{one.default}``."]
        lines += [""]
    return "\n".join(lines)


def errors_page() -> str:
    """Return a page with a section for each error code."""
    text = title("Error codes") + (
        "\nEvery error states the problem and then what to do about it. Most end with "
        "a code, such as ``[PG012]``, "
        "that stays the same in every version. In Python the code is "
        "``error.code``.\n\n"
    )
    for code_name, entry in CODES.items():
        text += (
            f".. _{code_name.lower()}:\n\n{title(f'{code_name}: {entry.title}', '-')}\n"
        )
        text += f"{entry.meaning}\n\n**What to do.** {entry.remedy}\n\n".replace(
            "`", "``"
        )
    return text


# ---- all -----------------------------------------------------------------------------
def pages() -> dict[str, str]:
    """Return every page of the reference by its name."""
    found = {f"python/{name}": python_page(name) for name in public_names()} | {
        "python/integrations": integrations_page()
    }
    found |= {f"methods/{name}": method_page(name) for name in methods}
    found |= {
        f"commands/{name.replace(' ', '-')}": command_page(name, one)
        for name, one in commands().items()
    }
    called = [name.replace(" ", "-") for name in commands()]
    about = (
        "``import permgrad as pg``. These are the public names. Everything else "
        "may change in any version.\n"
    )
    lists = [
        ("python", "Python", about, [*public_names(), "integrations"]),
        (
            "methods",
            "Methods",
            (
                ":doc:`/methods` compares them. ``pg.explain`` takes their options by "
                "name.\n"
            ),
            methods,
        ),
        ("commands", "Command line", EXIT_CODES, called),
    ]
    found |= {
        f"{place}/index": "\n".join([title(head), text, toctree(of)])
        for place, head, text, of in lists
    }
    found |= {
        "presets": presets_page(),
        "plots": plots_page(),
        "data-sets": datasets_page(),
        "metrics": metrics_page(),
    }
    return found | {"files": files_page(), "errors": errors_page()}
