"""How a field of a request is written on the command line, and the names that options
take.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, unknown
from permgrad.data.read.addresses import table_address
from permgrad.data.tasks import OF_RUNS
from permgrad.models.branches import branches

Names = tuple[str, ...]
TASKS = ("auto", *OF_RUNS)
#: Names of methods, presets and so on, known without importing them. Words in capitals
#: stand for any text.
DATA_SETS = (
    "bank",
    "breast_cancer",
    "covertype",
    "dengue",
    "diabetes",
    "gas",
    "heloc",
    "puma",
)
PRESETS = (
    "default",
    "fast",
    "paper",
    "ig_example",
    "ig_example_published",
    "FILE.json",
)
#: What a preset file says, beside its base.
PRESET_SETTINGS = (
    *(
        "layout",
        "numeric",
        "network",
        "branches",
        "beside",
        "class_weight",
        "validation_fraction",
        "pairs_as_levels",
        "seeks_order",
        "max_levels",
        "background_size",
    ),
    *(
        "max_epochs",
        "batch_size",
        "learning_rate",
        "optimizer",
        "weight_decay",
        "schedule",
        "schedule_unit",
        "patience",
        "kept_from",
        "loss",
        "averaging",
        "label_smoothing",
        "refinement",
        "precision",
    ),
)
BASELINES = (
    *(
        "random_forest",
        "extra_trees",
        "bagging",
        "lightgbm",
        "xgboost",
        "catboost",
        "histogram_boosting",
        "linear",
    ),
    *("mlp", "tabm", "realmlp"),
)
#: What stands for the baselines that a run trains where none is named.
USUAL = "usual"
#: What stands for the rows that a model was trained on where no table is named.
TRAINING_ROWS = "training"
#: The placeholders of options that may stand without a value, and the value that they
#: then have.
ALONE = {"[NAMES]": USUAL, "[TABLE]": TRAINING_ROWS}
#: Encoders by name. A folder holds one of texts.
TEXT_ENCODERS = ("all-minilm-l6-v2",)
IMAGE_ENCODERS = ("efficientnet-lite0",)
#: The model of a run: permgrad's network, a baseline, the best of all, what a function
#: of the user's returns, a file.
MODELS = ("network", "auto", *BASELINES[:-3], "MODULE:FUNCTION", "FILE.onnx")
#: Those that are trained without weights of rows.
UNWEIGHED = ("auto", *BASELINES[-3:])
LAYOUTS = ("tinto", "assignment", "path", "lattice", "given", "random")
#: Models whose settings are searched.
TUNED = (
    "network",
    "random_forest",
    "extra_trees",
    "lightgbm",
    "xgboost",
    "catboost",
    "histogram_boosting",
)
METHODS = (
    # The name with a hyphen stands where no line of --help ends.
    *(
        "permgrad",
        "permgrad_paper",
        "permutation",
        "ablation",
        "shapley",
        "lime",
        "gradient",
        "smoothgrad",
    ),
    *("integrated_gradients", "deeplift", "gradcam", "ale", "aggregate"),
)
METRICS = (
    *(
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "roc_auc",
        "average_precision",
        "lift",
        "log_loss",
    ),
    *("rmse", "mae", "mse", "mape", "r2"),
)
#: Options that are listed last, in this order.
_LAST = (
    *(
        "seed",
        "time_limit",
        "max_rows",
        "device",
        "threads",
        "baselines",
        "cost",
        "threshold",
        "trials",
        "storage",
        "space",
    ),
    *("keep_rows", "from_stage", "overwrite", "open_page"),
)


@dataclass(frozen=True)
class Option:
    """How a field of a request is written on the command line.

    ``lists`` says how several values are written. ``"each"``: one option for each.
    ``"names"``: also with commas, each once. ``"codes"``: with commas that are not
    split. ``table``: a file, or a named data set. ``short``: one letter with its dash.
    ``place``: the default place to write. ``choices``: the values, of which those with
    a word in capitals are patterns, and ``named`` whether the text names them.
    ``panel``: its heading in the help, if not that of its name. ``branches``: whether
    branches of a network may follow a value, as in ``default:tabular``.
    ``changes_result``: whether work with another value is other work.
    """

    text: str
    metavar: str | None = None
    name: str | None = None
    least: int | None = None
    most: int | None = None
    positional: bool = False
    lists: str = "each"
    table: bool = False
    place: str = ""
    choices: Names = ()
    short: str = ""
    named: bool = False
    branches: bool = False
    panel: str = ""
    changes_result: bool = True

    def flag(self, field: str) -> str:
        """Return how a field is written, as ``--no-rows`` or
        ``--explain/--no-explain``.
        """
        return self.name or f"--{field.replace('_', '-')}"

    def check(self, flag: str, value: Any) -> None:
        """Refuse a value that is none of the choices, and a number that is too low or
        too high.
        """
        if value is None:
            return
        if self.least is not None and not self.least <= value <= (
            self.most or math.inf
        ):
            if self.most is None:
                bound_words = f"at least {self.least}"
            else:
                bound_words = f"from {self.least} to {self.most}"
            raise InputError(f"{flag} must be {bound_words}, got {value}", code="PG002")
        if self.branches:
            value = split_preset(value)[0]
        patterns = [choice for choice in self.choices if re.search("[A-Z]", choice)]
        names = [choice for choice in self.choices if choice not in patterns]
        fits_pattern = any(
            re.fullmatch(re.sub("[A-Z]+", ".+", re.escape(pattern)), str(value))
            for pattern in patterns
        )
        if names and str(value) not in names and not fits_pattern:
            raise unknown(flag, value, names, patterns)


def option(text: str, default: Any, metavar: str | None = None, /, **facts: Any) -> Any:
    """Return a field with an option on the command line."""
    return field(default=default, metadata={"option": Option(text, metavar, **facts)})


def argument(
    text: str,
    metavar: str,
    /,
    *,
    table: bool = False,
    choices: Names = (),
    **facts: Any,
) -> Any:
    """Return a field with an argument on the command line.

    Without a ``default`` it is required.
    """
    return field(
        metadata={
            "option": Option(
                text, metavar, positional=True, table=table, choices=choices
            )
        },
        **facts,
    )


def output(default_folder: str, what: str = "Folder") -> Any:
    """Return a field that names the folder to write."""
    return option(
        f"{what} (default: {default_folder}).",
        None,
        "DIR",
        place=default_folder,
        changes_result=False,
    )


def split_preset(text: str) -> tuple[str, Names]:
    """Return a preset's name, and the branches that follow it:
    ``default:tabular+image``. None: all that it has.
    """
    preset_name, colon, branch_text = text.rpartition(":")
    names = tuple(branch_text.split("+"))
    is_preset = preset_name in PRESETS or preset_name.endswith(".json")
    if not colon or not (is_preset or set(names) <= {*branches}):
        return text, ()
    for name in names:
        check_choice(f"branch of preset {preset_name!r}", name, branches)
    return preset_name, tuple(dict.fromkeys(names))


def data_sets() -> Collection[str]:
    """Return the names of data sets, without loading them: who registers another one
    has loaded them.
    """
    loaded = sys.modules.get("permgrad.data.datasets")
    names: Collection[str]
    if loaded is None:
        names = DATA_SETS
    else:
        names = loaded.list_datasets()
    return names


def options_of(request: Any) -> dict[str, Option]:
    """Return the options of a request, or of its class, by field.

    Options of computing come last.
    """
    options = {}
    for entry in fields(request):
        if "option" in entry.metadata:
            options[entry.name] = entry.metadata["option"]
    return dict(
        sorted(
            options.items(),
            key=lambda item: _LAST.index(item[0]) if item[0] in _LAST else -1,
        )
    )


def is_file(name: str) -> bool:
    """Whether ``--model`` names a file with a fitted model."""
    return bool(Path(name).suffix) and ":" not in Path(name).name


#: Endings that the name of a table does not keep.
TABLE_ENDINGS = (
    *(".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq", ".xlsx", ".xlsm"),
    *(".feather", ".arrow", ".orc", ".jsonl", ".ndjson", ".dta", ".sas7bdat"),
    *(".sav", ".zsav", ".por", ".ods"),
    *(".db", ".sqlite", ".sqlite3", ".duckdb", ".ddb"),
)


def table_name(table: str | Path) -> str:
    """Return a table's name without folder and endings: ``data/heloc.csv.gz`` is
    ``heloc``.
    """
    address = table_address(table)
    if address.sheet is not None:
        return address.sheet
    # The folder may be ".".
    name = address.file.name or address.file.resolve().name
    for ending in TABLE_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


#: What ``--groups`` says where each column is a feature.
NO_GROUPS = "none"
#: Fields that may name a file.
_NAMING = ("table", "test", "groups", "preset", "model", "models", "space")


def file_of(field: str, value: Any) -> Path | None:
    """Return the file or folder that a value of a field names. None: it names none."""
    if field not in _NAMING or value is None or str(value) == NO_GROUPS:
        return None
    if field == "table":
        if value in DATA_SETS:
            return None
        return table_address(value).file
    preset_text = split_preset(str(value))[0]
    is_path = (
        isinstance(value, Path)
        or preset_text.endswith(".json")
        or (field == "model" and is_file(preset_text))
    )
    if is_path:
        return table_address(preset_text).file
    return None


class CommandRequest:
    """Base of several requests: the folder to write, and the command line that makes
    the same request.
    """

    command_name: ClassVar[str]
    out: Path | None

    @property
    def folder(self) -> Path:
        """The folder to write."""
        if self.out is not None:
            return self.out
        folder_pattern = options_of(self)[
            "out"
        ].place  # such as permgrad-runs/<table>-<seed>
        return Path(
            re.sub(
                "<(.+?)>",
                lambda field: table_name(str(getattr(self, field[1]))),
                folder_pattern,
            )
        )

    @property
    def files(self) -> dict[str, Path]:
        """The files and folders to read, by role."""
        paths_by_role: dict[str, Path] = {}
        for option_name in options_of(self):
            value = getattr(self, option_name)
            if isinstance(value, tuple):
                roles = {f"preset {preset_name}": preset_name for preset_name in value}
            else:
                roles = {option_name: value}
            paths_by_role |= {
                role_name: file_path
                for role_name, role_value in roles.items()
                if (file_path := file_of(option_name, role_value)) is not None
            }
        return {
            f"{role_name} file"
            if role_name in ("groups", "test", "model")
            else role_name: file_path
            for role_name, file_path in paths_by_role.items()
        }

    @property
    def columns(self) -> dict[str, Names]:
        """The columns that options name, by option, such as ``--drop``."""
        named = {}
        for option_name, entry in options_of(self).items():
            if entry.metavar == "COL":
                value = getattr(self, option_name)
                if isinstance(value, tuple):
                    several = value
                elif value is None:
                    several = ()
                else:
                    several = (value,)
                named[entry.flag(option_name)] = several
        return named

    @property
    def command(self) -> str:
        """The command line of this request, without defaults and without a password."""
        words = ["permgrad", self.command_name]
        defaults = {entry.name: entry.default for entry in fields(self)}  # type: ignore[arg-type]
        for option_name, entry in options_of(self).items():
            value = getattr(self, f"shown_{option_name}", getattr(self, option_name))
            option_flag = entry.flag(option_name)
            if entry.positional:
                words.append(str(value))
            elif value == defaults[option_name] or option_name in (
                "from_stage",
                "overwrite",
                "open_page",
            ):  # they belong to one call
                continue
            elif isinstance(value, bool):
                words.append(
                    option_flag.rpartition("/")[2]
                    if defaults[option_name]
                    else option_flag
                )
            elif not isinstance(value, tuple):
                words += [option_flag, str(value)]
            elif value == (ALONE.get(entry.metavar or ""),):
                words.append(option_flag)
            elif entry.lists == "codes":
                words += [f"{option_flag}={codes.strip()}" for codes in value]
            elif entry.lists != "each":
                words += [option_flag, ",".join(map(str, value))]
            elif isinstance(value[0], float):
                words += [option_flag, *(f"{number:g}" for number in value)]
            else:
                words += [
                    command_word
                    for list_value in value
                    for command_word in (option_flag, str(list_value))
                ]
        return shlex.join(words)


def separated(texts: Iterable[str]) -> Names:
    """Return the texts between the commas of an option that may be repeated."""
    return tuple(
        option_part.strip()
        for option_text in texts
        for option_part in option_text.split(",")
        if option_part.strip()
    )
