"""The arguments of each command, as one table of fields.

The command line is made from it.

The command line imports this before it knows which command is called, so that it
imports nothing heavy.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permgrad.base.checks import check_choice
from permgrad.base.errors import Fault, InputError, did_you_mean, refusing, synonym
from permgrad.base.late import pd
from permgrad.data.tasks import of_counts
from permgrad.models.branches import branches, refuse_without_rows
from permgrad.runs.options import (
    BASELINES,
    DATA_SETS,
    IMAGE_ENCODERS,
    LAYOUTS,
    METHODS,
    METRICS,
    MODELS,
    PRESETS,
    TASKS,
    TEXT_ENCODERS,
    TUNED,
    UNWEIGHED,
    USUAL,
    CommandRequest,
    Names,
    argument,
    option,
    options_of,
    output,
    separated,
    split_preset,
    table_name,
)

if TYPE_CHECKING:
    from permgrad.data.kinds.column import Kind

DATABASE = "study.db"
DEFAULT_SPACE = "default"
#: Every row of a run is explained, and training sees all rows: ``--max-rows all``.
ALL_ROWS = "all"
#: Choices of ``--kind`` as the help has them, which loads no table. ``constant`` is not
#: among them: use ``--drop`` for a column without effect.
KINDS: tuple[Kind, ...] = (
    "numeric",
    "categorical",
    "boolean",
    "date",
    "calendar",
    "text",
    "image",
    "identifier",
)


# ---- several commands ----------------------------------------------------------------
def run_of(folder: Path) -> Path:
    """Return the run's folder, from that folder or from the model folder in it."""
    if (folder / "model").is_dir():
        return folder
    return folder.parent


_SEED = "Seed of all random numbers."
_MODEL = "A run's folder, or the model folder in it."
_PARQUET = "CSV, Excel or Parquet file, folder of Parquet files, or named data set, to"
_TABLE = "CSV, Excel or Parquet file, or named data set (permgrad datasets list)."
_SHEET = "Sheet of Excel files (default: the first)."
_OPEN = "Open the report in a browser."
_GROUPS = (
    'JSON of columns that act as one: {"name": ["column", ...]}; none: not even copies.'
)


def _cost() -> Any:
    """Return the field of what errors cost."""
    text = "Cost of a false positive and of a false negative: sets the threshold."
    return option(text, None, "A B")


def _threshold() -> Any:
    """Return the field of the threshold."""
    text = "Probability of the positive class from which on it is predicted."
    return option(text, None, "P")


#: Options of a run that exclude each other.
_EXCLUSIVE = (
    ("refits", "time_limit"),
    *(("weight", other_option) for other_option in ("cost", "sensitive", "refits")),
    *(("offset", other_option) for other_option in ("sensitive", "refits")),
    ("row_group", "time"),
    ("cost", "threshold"),
)
#: Values of options that were not passed. A number 0 was.
_NOT_PASSED: tuple[Any, ...] = (None, (), "")


@dataclass(frozen=True, kw_only=True)
class ThreadedRequest:
    """The arguments of every command that computes something."""

    threads: int | None = option(
        "Threads to compute with (default: as the machine is set).",
        None,
        least=1,
        most=1024,
        changes_result=False,
    )


@dataclass(frozen=True, kw_only=True)
class ComputingRequest(ThreadedRequest):
    """The arguments of every command that computes something and writes a folder."""

    overwrite: bool = option(
        "Replace the folder that is there.", False, changes_result=False
    )


@dataclass(frozen=True, kw_only=True)
class TableRequest(ComputingRequest, CommandRequest):
    """The arguments of every command that trains on a table."""

    command_name: ClassVar[str] = "run"
    table: str = argument(_TABLE, "TABLE", table=True, choices=DATA_SETS)
    target: Names = option("Column to predict (known for named data sets).", (), "COL")
    task: str = option(
        "auto, classification, regression or counts.",
        "auto",
        "TASK",
        choices=TASKS,
        named=True,
    )
    positive: str | None = option(
        "The positive class of two (default: the rarer one).", None, "LEVEL"
    )
    drop: Names = option("Column to leave out (repeatable).", (), "COL")
    identifier: Names = option(
        "Column that names rows, no feature (repeatable).", (), "COL", name="--id"
    )
    kind: Names = option(f"{', '.join(KINDS)}.", (), "COL=KIND")
    na: Names = option(
        "Codes that mean missing, such as -9,-8 or COL=-9 (repeatable).",
        (),
        "CODES",
        lists="codes",
    )
    not_na: Names = option(
        "Texts that do not mean missing, such as None,NA.", (), "TEXTS", lists="codes"
    )
    groups: Path | None = option(_GROUPS, None, "FILE")
    row_group: str | None = option(
        "Column of rows that belong together, no feature.", None, "COL"
    )
    sheet: str | None = option(_SHEET, None, "NAME")
    out: Path | None = output("permgrad-runs/<table>-<seed>")
    seed: int = option(_SEED, 0, least=0)
    device: str = option(
        "auto, cpu, cuda, cuda:1 or mps.", "auto", "NAME", changes_result=False
    )

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of columns by ``--kind``.

        A name may contain equal signs, a kind does not.
        """
        if not self.kind:
            return {}
        from permgrad.data.kinds.column import kinds as column_kinds  # loads NumPy

        choices = list(KINDS)
        for registered_name, column_kind in column_kinds.items():
            if column_kind.varies and registered_name not in choices:
                choices.append(registered_name)
        kinds: dict[str, Kind] = {}
        for kind_text in self.kind:
            column, equals_sign, kind_word = (
                stripped_part.strip() for stripped_part in kind_text.rpartition("=")
            )
            if not equals_sign or not column:
                problem = f"--kind must have the form COL=KIND, got {kind_text!r}"
                raise InputError(
                    problem,
                    hint="For example: --kind postcode=categorical.",
                    code="PG001",
                )
            meant = synonym(kind_word, choices) or kind_word
            check_choice(f"kind of column {column!r}", meant, choices)
            if kinds.setdefault(column, meant) != meant:
                problem = (
                    f"Column {column!r} has two kinds: --kind "
                    f"{column}={kinds[column]} and --kind {column}={meant}"
                )
                raise InputError(problem, hint="Leave one of them out.", code="PG006")
        return kinds

    def run_request(self, preset: str = "default", **changed: Any) -> RunRequest:
        """Return the request of a run on the same table, which reads and refuses the
        same.
        """
        if of_counts(self.task):
            problem = (
                "--task counts is for permgrad run, not for permgrad "
                f"{self.command_name}"
            )
            raise InputError(
                problem, hint="Leave it out, or pass --task regression.", code="PG004"
            )
        names = {entry.name for entry in fields(self)} & {
            entry.name for entry in fields(RunRequest)
        }
        shared = {field_name: getattr(self, field_name) for field_name in names} | {
            "overwrite": False,
            "preset": preset,
        }
        return RunRequest(**(shared | changed))


@dataclass(frozen=True, kw_only=True)
class SplitRequest(TableRequest):
    """The arguments of a command that splits a table once into training, validation and
    test rows.
    """

    test: Path | None = option("File with the test rows.", None, "FILE")
    time: str | None = option(
        "Column to split by: the latest rows become the test rows.", None, "COL"
    )
    encoder: Names = option(
        f"{', '.join((*TEXT_ENCODERS, *IMAGE_ENCODERS))} or a folder (repeatable).",
        (),
        "NAME",
    )
    keep_rows: bool = option(
        "Leave rows out of the saved model and the report.", True, name="--no-rows"
    )

    @property
    def text_encoder(self) -> str | None:
        """What reads texts beside their words. A folder holds one of texts."""
        return self._encoder(of_images=False)

    @property
    def image_encoder(self) -> str | None:
        """What reads images."""
        return self._encoder(of_images=True)

    def _encoder(self, *, of_images: bool) -> str | None:
        for encoder_name in self.encoder:
            if not Path(encoder_name).is_dir():
                check_choice(
                    "--encoder",
                    encoder_name,
                    (*TEXT_ENCODERS, *IMAGE_ENCODERS),
                    ["FOLDER"],
                )
        encoder_names = []
        for distinct_encoder in dict.fromkeys(self.encoder):
            if (distinct_encoder in IMAGE_ENCODERS) is of_images:
                encoder_names.append(distinct_encoder)
        if len(encoder_names) > 1:
            problem = (
                f"--encoder {encoder_names[0]} and --encoder {encoder_names[1]} "
                "read the same columns"
            )
            raise InputError(problem, hint="Leave one of them out.", code="PG006")
        if encoder_names:
            return encoder_names[0]
        return None


# ---- run -----------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class RunRequest(SplitRequest):
    """The options of ``permgrad run``."""

    model: str = option(
        "network, auto, lightgbm, linear, ..., MODULE:FUNCTION or FILE.onnx.",
        "network",
        "NAME",
        choices=MODELS,
        short="-m",
        named=True,
    )
    preset: str = option(
        "default, fast, paper, ..., FILE.json; one branch: default:tabular.",
        "default",
        "NAME",
        choices=PRESETS,
        named=True,
        branches=True,
    )
    baselines: Names = option(
        "Train others for comparison: the usual ones, or NAMES.",
        (),
        "[NAMES]",
        lists="names",
        choices=(USUAL, *BASELINES),
        named=True,
    )
    cost: tuple[float, float] | None = _cost()
    threshold: float | None = _threshold()
    refits: int | None = option(
        "Train N networks more: what would other trainings say?",
        None,
        "N",
        least=5,
        most=1000,
    )
    sensitive: Names = option(
        "Column by whose levels the model is judged (repeatable).", (), "COL"
    )
    weight: str | None = option("Column of weights of rows, no feature.", None, "COL")
    offset: str | None = option(
        "Column of log exposures, for --task counts.", None, "COL"
    )
    time_limit: str | None = option(
        "Time for the complete run: seconds, 90s, 5m or 1h.", None, "TIME"
    )
    max_rows: str | None = option(
        "Explain at most N test rows; all: train on and explain all.", None, "N"
    )
    from_stage: str | None = option(
        "Repeat from data, layout, model, explanation or report.",
        None,
        "STAGE",
        name="--from",
        choices=("data", "layout", "model", "explain", "explanation", "report"),
        named=True,
        changes_result=False,
    )
    open_page: bool = option(_OPEN, False, name="--open", changes_result=False)

    @refusing
    def check(self) -> Iterator[Fault]:
        """Refuse unknown options and contradictions before any file is read, and before
        anything heavy is imported.
        """
        options = options_of(self)
        options["task"].check("task", self.task)
        for baseline_name in self.baselines:
            options["baselines"].check("--baselines", baseline_name)
        # Whether this machine has the device, torch says.
        if not re.fullmatch(r"auto|cpu|mps|(cuda|gpu)(:\d+)?", self.device):
            names = ("auto", "cpu", "cuda") + ("mps",) * (sys.platform == "darwin")
            problem = (
                f"device must be one of {', '.join(map(repr, names))}, got "
                f"{self.device!r}"
            )
            yield (
                problem,
                did_you_mean(self.device, names, "Pass cpu, or leave it out."),
                "PG064",
            )
        # These refuse what cannot be read.
        _ = (
            self.seconds_at_most,
            self.rows_at_most,
            self.kinds,
            self.weighed,
            self.text_encoder,
            self.image_encoder,
        )
        self._check_rows()
        for first_name, other_name in _EXCLUSIVE:
            if all(
                getattr(self, option_name) not in _NOT_PASSED
                for option_name in (first_name, other_name)
            ):
                problem = (
                    f"{options[first_name].flag(first_name)} and "
                    f"{options[other_name].flag(other_name)} cannot be combined"
                )
                yield problem, "Leave one of them out.", "PG006"
        if len(self.target) > 1:
            targets = " ".join(f"--target {target_name}" for target_name in self.target)
            problem = f"A run predicts one column, got {targets}"
            yield problem, "Run once for each target.", "PG006"
        yield from self._decision_faults()
        if self.na or self.not_na:
            from permgrad.data.read.cells import MissingCodes
            from permgrad.data.read.reading import check_not_na

            check_not_na(separated(self.not_na), MissingCodes.of(separated(self.na)))
        if self.model != "network":
            from permgrad.runs.run.choosing import (
                check_model,
            )  # most runs train the network

            check_model(self)
        if named := [
            named_baseline
            for named_baseline in self.baselines
            if named_baseline != USUAL
        ]:
            from permgrad.evaluation.baselines.fitting import check_available

            check_available(named)

    def _decision_faults(self) -> Iterator[Fault]:
        """Refuse costs and a threshold that are none."""
        if self.cost is not None and not (
            min(self.cost) >= 0 and 0 < sum(self.cost) < float("inf")
        ):
            problem = (
                "--cost must be two finite numbers of at least 0, not both 0, "
                f"got {self.cost[0]:g} {self.cost[1]:g}"
            )
            yield problem, "For example: --cost 1 5.", "PG002"
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            problem = (
                f"--threshold must be a number from 0 to 1, got {self.threshold:g}"
            )
            yield problem, "For example: --threshold 0.2.", "PG002"

    def _check_rows(self) -> None:
        """Refuse to leave out rows that a named branch holds."""
        if not self.keep_rows:
            for branch_name in self.branches:
                refuse_without_rows(branches[branch_name])

    @property
    def network(self) -> str:
        """The preset without branches."""
        return split_preset(self.preset)[0]

    @property
    def branches(self) -> Names:
        """The branches that follow the preset. None: those that it has."""
        return split_preset(self.preset)[1]

    @property
    def thorough(self) -> bool:
        """Whether training sees all rows and all test rows are explained, however long
        it takes.
        """
        return self.max_rows == ALL_ROWS

    @property
    def rows_at_most(self) -> int | None:
        """How many test rows are explained at most, if a number says so."""
        if self.max_rows is None or self.thorough:
            return None
        if not self.max_rows.isdecimal() or int(self.max_rows) < 2:
            problem = (
                "--max-rows must be a whole number of at least 2, or "
                f"{ALL_ROWS}, got {self.max_rows!r}"
            )
            raise InputError(problem, hint="For example: --max-rows 500.", code="PG002")
        return int(self.max_rows)

    @property
    def seconds_at_most(self) -> float:
        """The seconds that the run may take: infinite without ``--time-limit``."""
        if self.time_limit is None:
            return math.inf
        if self.thorough:
            problem = f"--max-rows {ALL_ROWS} and --time-limit cannot be combined"
            raise InputError(problem, hint="Leave one of them out.", code="PG006")
        limit = self.time_limit.strip()
        try:
            if re.fullmatch(r"\d+(?:\.\d+)?", limit):
                seconds = float(limit)
            else:
                seconds = pd.Timedelta(limit).total_seconds()
        except ValueError:
            seconds = math.nan
        if not 1 <= seconds < math.inf:
            problem = (
                "--time-limit must be a time of at least a second, got "
                f"{self.time_limit!r}"
            )
            raise InputError(
                problem,
                hint="For example: --time-limit 300, 5m or 1h30m.",
                code="PG002",
            )
        return seconds

    @property
    def weighed(self) -> bool:
        """Whether rows have weights. Refuses models that are not trained with them."""
        if self.offset is not None and not of_counts(self.task):
            raise InputError(
                "--offset is for --task counts",
                hint="Add it, or leave --offset out.",
                code="PG006",
            )
        if self.weight is not None:
            weight_flag = "--weight"
        elif self.offset is not None:
            weight_flag = "--offset"
        else:
            weight_flag = ""
        without = []
        for model_name in (self.model, *self.baselines):
            if weight_flag and model_name in UNWEIGHED:
                without.append(model_name)
        if without:
            problem = (
                f"{weight_flag} and the model {without[0]} cannot be combined: "
                "it is not trained with weights"
            )
            raise InputError(
                problem,
                hint=f"Choose another model, or leave {weight_flag} out.",
                code="PG006",
            )
        return bool(weight_flag)

    @property
    def wanted_baselines(self) -> Names:
        """Names of the baselines to train, in the order of tables."""
        if not self.baselines:
            return ()
        from permgrad.evaluation.baselines.fitting import baselines

        usual = []
        for baseline in baselines.values():
            if USUAL in self.baselines and not baseline.costly:
                usual.append(baseline.name)
        wanted_names = {*usual, *self.baselines} - {
            self.model
        }  # which is trained anyway
        if self.weighed:
            wanted_names -= {*UNWEIGHED}
        else:
            wanted_names -= set()
        return tuple(
            baseline_name
            for baseline_name in baselines
            if baseline_name in wanted_names
        )


# ---- compare, tune -------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class CompareRequest(TableRequest):
    """The options of ``permgrad compare``."""

    command_name = "compare"
    out: Path | None = output("permgrad-runs/compare-<table>-<seed>")
    models: Names = option(
        "Presets (default:tabular: one branch), preset files and baselines, with "
        "commas (default: default,lightgbm,random_forest,linear).",
        (),
        "NAMES",
        lists="names",
    )
    cv: str = option("Folds: 5, or 5x3 to divide three times.", "5", "K|KxR")
    metric: str | None = option(
        "Metric that decides (default: roc_auc, accuracy or rmse, by the task).",
        None,
        choices=METRICS,
        changes_result=False,
    )
    explain: bool = option(
        "Also show what each model relies on.", True, name="--explain/--no-explain"
    )
    cost: tuple[float, float] | None = _cost()
    threshold: float | None = _threshold()


@dataclass(frozen=True, kw_only=True)
class TuneRequest(SplitRequest):
    """The options of ``permgrad tune``."""

    command_name = "tune"
    out: Path | None = output("permgrad-runs/<table>-tuned-<seed>")
    trials: int | None = option(
        "Number of finished trials in all (default: that of the space).",
        None,
        "N",
        least=1,
        changes_result=False,
    )
    storage: str | None = option(
        "URL of the study's database (default: sqlite:///DIR/study.db).",
        None,
        "URL",
        changes_result=False,
    )
    model: str = option(
        "Model whose settings are searched.", "network", choices=TUNED, short="-m"
    )
    cost: tuple[float, float] | None = _cost()
    threshold: float | None = _threshold()
    space: str = option(
        "Search space (docs/tuning.md).",
        DEFAULT_SPACE,
        choices=(DEFAULT_SPACE, "paper", "FILE.json"),
    )

    def check(self) -> None:
        """Refuse unknown options and contradictions before any file is read."""
        if self.model != "network" and self.space == "paper":
            problem = (
                f"--space paper is for permgrad's network, and --model is {self.model}"
            )
            raise InputError(problem, hint="Leave one of them out.", code="PG006")
        self.run_request().check()

    @property
    def study(self) -> str:
        """The study's name in the database: processes that are called alike, in other
        folders too, share one.
        """
        return f"{table_name(self.table)}-{self.model}-{self.seed}"

    @property
    def url(self) -> str:
        """The storage."""
        if self.storage is not None:
            return self.storage
        return f"sqlite:///{(self.folder / DATABASE).absolute()}"

    @property
    def shown_storage(self) -> str | None:
        """The storage of the request, without a password."""
        from permgrad.tuning.study import without_password

        if self.storage is None:
            return None
        return without_password(self.storage)


# ---- images --------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ImagesRequest(TableRequest):
    """The options of ``permgrad images``."""

    command_name = "images"
    out: Path | None = output("permgrad-runs/<table>-images-<seed>")
    layout: str = option("Which column gets which pixel.", "tinto", choices=LAYOUTS)
    pixels: int = option(
        "Side of the images; larger where columns need it.", 20, least=1, most=4096
    )


# ---- predict, explain, report --------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class PredictRequest(ComputingRequest):
    """The options of ``permgrad predict``."""

    writes_csv: ClassVar[bool] = True
    model_folder: Path = argument(_MODEL, "MODEL_DIR")
    table: Path = argument(
        f"{_PARQUET} predict.", "TABLE", table=True, choices=DATA_SETS
    )
    sheet: str | None = option(_SHEET, None, "NAME")
    out: Path | None = option(
        "CSV file (default: <table>-predictions.csv here; -: stdout), or the folder of "
        "a table read in parts.",
        None,
        "PATH",
    )
    coverage: float | None = option(
        "Add intervals or sets of classes that hold this share of truths, such as 0.9.",
        None,
        "SHARE",
    )
    by_class: bool = option(
        "With --coverage: the share holds within each class.", False
    )
    threshold: float | None = option(
        "Probability of the positive class from which on it is predicted.", None, "P"
    )
    reasons: int | None = option(
        "Add the N strongest reasons of each prediction.", None, "N", least=1, most=50
    )
    against: Path | None = option(
        "Also say how the rows differ from those of training, or of TABLE.",
        None,
        "[TABLE]",
    )
    strict: bool = option(
        "Refuse a table with cells that cannot be read (default: they are missing).",
        False,
    )
    stream: bool | None = option(
        "Read Parquet in parts (default: folders, and files of 1 GB and more).",
        None,
        name="--stream/--no-stream",
    )


@dataclass(frozen=True, kw_only=True)
class ExplainRequest(ComputingRequest):
    """The options of ``permgrad explain``.

    ``test_rows`` ``(rows,)``: the rows of the table to explain, else all.
    """

    model_folder: Path = argument(
        f"{_MODEL[:-1]}; or a model in an ONNX file (docs/any-model.md).", "MODEL"
    )
    table: Path | None = argument(
        f"{_PARQUET} explain (default: the test rows of the model's run).",
        "TABLE",
        default=None,
        table=True,
        choices=DATA_SETS,
    )
    method: str = option("How to explain.", "permgrad", choices=METHODS)
    further: Names = option(
        "Argument of pg.explain or option of the method, such as scope=local "
        "(repeatable).",
        (),
        "NAME=VALUE",
        name="--option",
    )
    row: int | None = option("Explain only this row, counted from 0.", None, least=0)
    target: Names = option(
        "Output to explain, such as a class (repeatable; default: all).",
        (),
        "NAME",
        panel="Explanation",
    )
    max_rows: int | None = option(
        "Explain at most N rows, drawn at random.", None, "N", least=1
    )
    groups: Path | None = option(_GROUPS, None, "FILE", panel="Explanation")
    donors: int | None = option(
        "Donors of each row, for the methods that draw (default: as many as pay, 2 to "
        "10).",
        None,
        least=1,
        most=1000,
        name="--repeats",
    )
    engine: str = option(
        "Compute in this process, or in several or on a cluster.",
        "local",
        choices=("local", "ray"),
    )
    workers: int | None = option("With --engine ray: number of workers.", None, least=1)
    address: str | None = option(
        "With --engine ray: the cluster's head, as host:port or auto.",
        None,
        "ADDRESS",
        name="--ray-address",
    )
    seed: int = option(_SEED, 0, least=0)
    out: Path | None = output("<table>-<method> here, with -row<N>", "Folder to write")
    test_rows: Any = None
    sheet: str | None = None

    @property
    def said(self) -> dict[str, str]:
        """The values of ``--option`` by name, as written."""
        pairs = (option_text.partition("=") for option_text in self.further)
        return {
            option_name.strip().replace("-", "_"): value
            for option_name, _, value in pairs
        }

    @property
    def y(self) -> str | None:
        """The column of targets, if it is another than that of the model's run:
        ``--option y=COL``.
        """
        return self.said.get("y")

    @property
    def scope(self) -> str:
        """Whether all rows together are explained, or each row: ``--option
        scope=local``.
        """
        return self.said.get("scope", "auto")

    @property
    def source(self) -> Path:
        """The table, once it is known."""
        assert self.table is not None, "test rows of the run are looked up first"
        return self.table

    @property
    def folder(self) -> Path:
        """The folder to write."""
        if self.out is not None:
            return self.out
        if self.row is None:
            row_suffix = ""
        else:
            row_suffix = f"-row{self.row}"
        if self.table is None:
            named = run_of(self.model_folder)
        else:
            named = self.table
        return Path(f"{table_name(named)}-{self.method}{row_suffix}")


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """The options of ``permgrad report``."""

    folder: Path = argument("A run's folder.", "RUN")
    against: Path | None = option(
        "An earlier run: also report what changed since.", None, "RUN"
    )
    methods: bool = option(
        "Print a paragraph on methods for a paper, with BibTeX; write nothing.", False
    )
    title: str | None = option(
        "Title of the report (default: the table's name).", None, "TEXT"
    )
    keep_rows: bool = option(
        "Leave single rows out of the report.", True, name="--no-rows"
    )
    out: Path | None = option(
        "HTML file to write (default: report.html in the run's folder).", None, "FILE"
    )
    open_page: bool = option(_OPEN, False, name="--open")


# ---- demo ----------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class DemoRequest(ComputingRequest):
    """The options of ``permgrad demo``."""

    out: Path = option("Folder of the run.", Path("permgrad-runs/demo"), "DIR")
    open_page: bool = option(_OPEN, False, name="--open")


# ---- benchmark -----------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest(ComputingRequest, CommandRequest):
    """The options of ``permgrad benchmark``.

    Without names, all of the suite are used.
    """

    command_name: ClassVar[str] = "benchmark"
    suite: str = argument(
        "Suite to run.", "SUITE", choices=("multimodal", "tabular", "all")
    )
    out: Path | None = output("permgrad-runs/benchmark-<suite>")
    seeds: int | None = option(
        "Number of seeds, from 0 (default: 3; 1 with --quick).", None, least=1
    )
    functions: Names = option(
        "Known functions, or MODULE:FUNCTION, with commas (default: all, or few).",
        (),
        "NAMES",
        lists="names",
    )
    methods: Names = option(
        "Methods, or MODULE:CLASS, with commas (default: all).",
        (),
        "NAMES",
        lists="names",
    )
    images: Names = option(
        "Image set of the multimodal suite, or one for each image, with a comma "
        "between: organamnist, organcmnist, "
        "another MedMNIST set, or FILE.npz in their form.",
        (),
        "SETS",
        name="--image-sets",
        lists="names",
    )
    quick: bool = option(
        "A small trial to see that it runs; its figures are no results.", False
    )
    peers: bool = option(
        "Leave out the methods of other packages.", True, name="--no-peers"
    )


@dataclass(frozen=True)
class Outcome:
    """The result of a command: facts for ``--json``, and text for people."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
