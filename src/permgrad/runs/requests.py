"""What each command is asked: one table of fields, of which the command line, requests and the command shown are made.

The command line reads this before it knows which command is called, so that it imports nothing heavy.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permgrad.base.errors import InputError, unknown

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Kind

TASKS = ("auto", "classification", "regression")
DEFAULT_PARENT = Path("permgrad-runs")
DATABASE, STUDY_NAME, DEFAULT_SPACE = "study.db", "permgrad", "default"
#: Options that stand behind the others, in this order.
_LAST = (
    *("seed", "split_seed", "image_size", "device", "threads", "cost", "baselines", "named_baselines"),
    *("trials", "storage", "study", "space", "pruning", "from_stage", "overwrite"),
)
#: What ``--kind`` may say. A constant column is what its cells say; who wants one without effect leaves it out.
KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "date", "identifier")


# ---- options ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Option:
    """How a field of a request is written on the command line.

    ``lists`` says how several values are written: ``"each"``, an option for each; ``"names"``, also with commas, each
    once; ``"entries"``, the same where a name may come twice; ``"codes"``, with commas that stay. ``table``: a file, or
    a named data set.
    """

    text: str
    name: str | None = None
    metavar: str | None = None
    least: int | None = None
    most: int | None = None
    positional: bool = False
    lists: str = "each"
    table: bool = False


def option(text: str, default: Any, /, **facts: Any) -> Any:
    """Return a field with an option on the command line."""
    return field(default=default, metadata={"option": Option(text, **facts)})


def argument(text: str, metavar: str, /, **facts: Any) -> Any:
    """Return a field with an argument on the command line; without a ``default`` it must be given."""
    metadata = {"option": Option(text, metavar=metavar, positional=True, table=facts.pop("table", False))}
    return field(metadata=metadata, **facts)


def output(default: str, what: str = "Folder") -> Any:
    """Return a field that names the folder to write."""
    return option(f"{what} (default: {default}).", None, metavar="DIR")


def options_of(request: Any) -> dict[str, Option]:
    """Return the options of a request, or of its class, by field: how something is computed stands behind what is."""
    options = {entry.name: entry.metadata["option"] for entry in fields(request) if "option" in entry.metadata}
    return dict(sorted(options.items(), key=lambda item: _LAST.index(item[0]) if item[0] in _LAST else -1))


def command_line(command: str, request: Any, **shown: Any) -> str:
    """Return the command line that asks for a request, with only the options that differ from their defaults.

    Args:
        command: Its name.
        request: What is asked.
        **shown: Values to be shown in the place of the request's own.
    """
    words = ["permgrad", command]
    defaults = {entry.name: entry.default for entry in fields(request)}
    for name, option in options_of(request).items():
        value = shown.get(name, getattr(request, name))
        flag = option.name or f"--{name.replace('_', '-')}"
        if option.positional:
            words.append(str(value))
        elif value == defaults[name] or name in ("from_stage", "overwrite"):  # they belong to one call
            continue
        elif isinstance(value, bool):
            words.append(flag.rpartition("/")[2] if defaults[name] else flag)
        elif not isinstance(value, tuple):
            words += [flag, str(value)]
        elif option.lists == "codes":
            words.append(f"{flag}={','.join(separated(value))}")
        elif option.lists != "each":
            words += [flag, ",".join(map(str, value))]
        elif isinstance(value[0], float):
            words += [flag, *(f"{number:g}" for number in value)]
        else:
            words += [word for entry in value for word in (flag, str(entry))]
    return shlex.join(words)


def separated(texts: Iterable[str]) -> tuple[str, ...]:
    """Return what stands between the commas of an option that may be given several times."""
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


# ---- several commands ------------------------------------------------------------------------------------------------
def table_name(table: str | Path) -> str:
    """Return a table's name without folder and endings.

    Examples:
        >>> table_name("data/heloc.csv.gz")
        'heloc'
    """
    # A folder may be named by a dot.
    name = Path(table).name or Path(table).resolve().name
    for ending in (".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def parse_kinds(texts: Sequence[str]) -> dict[str, Kind]:
    """Read what was given with ``--kind``; a name may hold equal signs, a kind does not.

    Raises:
        InputError: Another form, an unknown kind, or two kinds for one column.

    Examples:
        >>> parse_kinds(["postcode=categorical", "a=b=numeric"])
        {'postcode': 'categorical', 'a=b': 'numeric'}
    """
    kinds: dict[str, Kind] = {}
    for text in texts:
        name, sign, word = (part.strip() for part in text.rpartition("="))
        if not sign or not name:
            raise InputError(
                f"--kind must have the form COL=KIND, however: --kind {text!r}; give for example "
                "--kind postcode=categorical"
            )
        kind = next((known for known in KINDS if known == word), None)
        if kind is None:
            raise unknown(f"kind of column {name!r}", word, KINDS)
        if kinds.setdefault(name, kind) != kind:
            raise InputError(
                f"a column has one kind, however: --kind {name}={kinds[name]} and --kind {name}={kind}; leave one out"
            )
    return kinds


_THREADS = "Number of threads to compute with, at least 1 (default: as the machine is set)."
_STREAM = (
    "Read Parquet in parts, so that memory does not grow with rows; goes on where it was stopped (default: for "
    "folders, and for files of 1 GB and more once unpacked)."
)
_POSITIVE = "Of two classes the positive one (default: the rarer)."
_SEED = "Seed of everything random but the split."
_MODEL = "A run's folder, or the model folder in it."
_PARQUET = "CSV or Parquet file, folder of Parquet files, or named data set, to"


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """What every command that trains on a table is asked."""

    command_name: ClassVar[str] = "run"
    table: str = argument("A CSV or Parquet file, or a named data set (permgrad datasets list).", "TABLE", table=True)
    target: tuple[str, ...] = option("Column to predict (known for named data sets).", (), metavar="COL")
    task: str = option("auto, classification or regression.", "auto")
    positive: str | None = option(_POSITIVE, None, metavar="LEVEL")
    drop: tuple[str, ...] = option("Column to leave out; may be given several times.", (), metavar="COL")
    identifier: tuple[str, ...] = option(
        "Column that names rows: not a feature, kept in predictions.", (), name="--id", metavar="COL"
    )
    kind: tuple[str, ...] = option(
        "What a column is: numeric, categorical, boolean, date or identifier; may be given several times.",
        (),
        metavar="COL=KIND",
    )
    na: tuple[str, ...] = option(
        "Codes that mean missing, separated by commas, such as -9,-8,-7.", (), metavar="CODES", lists="codes"
    )
    not_na: tuple[str, ...] = option(
        "Texts that are categories though they usually mean missing, such as None,NA.",
        (),
        metavar="TEXTS",
        lists="codes",
    )
    groups: Path | None = option(
        'JSON file of columns that act as one feature: {"name": ["column", ...]}.', None, metavar="FILE"
    )
    group: str | None = option("Column whose equal values stay in one part of the split.", None, metavar="COL")
    out: Path | None = output("permgrad-runs/<table>-<seed>")
    seed: int = option(_SEED, 0, least=0)
    device: str = option("Where to compute: auto, cpu, cuda (or gpu; one of several: cuda:1) or mps.", "auto")
    threads: int | None = option(_THREADS, None)
    overwrite: bool = option("Replace what is there.", False)

    @property
    def name(self) -> str:
        """Name of the table without folder and endings."""
        return table_name(self.table)

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders that are read, by what they are; None: none is."""
        from permgrad.data.datasets import list_datasets

        return {"table": None if self.table in list_datasets() else Path(self.table), "groups file": self.groups}

    @property
    def na_codes(self) -> tuple[str, ...]:
        """The single codes of ``--na``."""
        return separated(self.na)

    @property
    def kept_texts(self) -> tuple[str, ...]:
        """The single texts of ``--not-na``."""
        return separated(self.not_na)

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        return command_line(self.command_name, self)

    def shared_with(self, kind: type[TableRequest]) -> dict[str, Any]:
        """Return the fields that another request has as well, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(kind)}


@dataclass(frozen=True, kw_only=True)
class SplitRequest(TableRequest):
    """What a command is asked that divides a table into training, validation and test rows once."""

    test: Path | None = option("Test rows of your own.", None, metavar="FILE")
    validation: Path | None = option("Validation rows of your own.", None, metavar="FILE")
    time: str | None = option("Column to split by: the latest rows become the test rows.", None, metavar="COL")
    split_seed: int = option("Seed of the split.", 42, least=0, most=2**32 - 1)

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders that are read, by what they are; None: none is."""
        return {**super().files, "test file": self.test, "validation file": self.validation}

    @property
    def names_of_rows(self) -> tuple[str, ...]:
        """The identifiers that stay as they are written; a time is read as a number, whatever else it is."""
        return tuple(name for name in self.identifier if name != self.time)


# ---- run -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class RunRequest(SplitRequest):
    """The options of ``permgrad run``."""

    out: Path | None = output("permgrad-runs/<table>-<seed>", "Folder of the run")
    images: tuple[str, ...] = option(
        "Column of paths of images beside the table; may be given several times.", (), name="--image", metavar="COL"
    )
    image_size: int | None = option(
        "Pixels that images are brought to (default: their median, at most 64).", None, least=8, most=1024
    )
    preset: str = option("Network and training: default, fast, paper, ...", "default")
    batch_size: int | None = option("Rows per training step (default: the preset's).", None, metavar="ROWS", least=2)
    baselines: bool = option("Also train trees, a linear model and a plain MLP, for comparison.", False)
    named_baselines: tuple[str, ...] = option(
        "Also train this one, such as tabm or realmlp (minutes); may be repeated.",
        (),
        name="--baseline",
        metavar="NAME",
    )
    cost: tuple[float, float] | None = option(
        "What a false and a missed positive cost: adds the threshold of least cost.", None, metavar="A B"
    )
    from_stage: str | None = option(
        "Do this stage and all after it again: data, layout, model, explain, report.",
        None,
        name="--from",
        metavar="STAGE",
    )

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders that are read, by what they are; None: none is."""
        return {**super().files, "preset": Path(self.preset) if self.preset.endswith(".json") else None}

    def check(self) -> None:
        """Refuse what can be refused before any file is read.

        Raises:
            InputError: Options that are unknown or do not go together.
            EnvironmentProblem: A baseline that is named has no library here.
        """
        from permgrad.base.checks import check_choice
        from permgrad.data.read.cells import MissingCodes
        from permgrad.data.read.missing_texts import check_not_na

        check_choice("task", self.task, TASKS)
        if len(self.target) > 1:
            targets = " ".join(f"--target {name}" for name in self.target)
            raise InputError(f"a run predicts one column, however: {targets}; run once for each target")
        if self.group is not None and self.time is not None:
            raise InputError(
                "rows are split by --group or by --time, however: both are given; leave one of them out "
                "(a group that lies in one period stays together with --time as well)"
            )
        if self.cost is not None and not (min(self.cost) >= 0 and 0 < sum(self.cost) < float("inf")):
            raise InputError(
                "costs must be two numbers of at least 0, not both 0 and with a finite sum, however: --cost "
                f"{self.cost[0]:g} {self.cost[1]:g}; give for example --cost 1 5"
            )
        self._check_images()
        parse_kinds(self.kind)
        check_not_na(self.kept_texts, MissingCodes.of(self.na_codes))
        if self.named_baselines:
            from permgrad.evaluation.competitors import check_available

            check_available(self.named_baselines)

    def _check_images(self) -> None:
        for name in self.images:
            taken = {"--target": self.target, "--drop": self.drop, "--id": self.identifier, "--image": self.images}
            for flag, names in taken.items():
                if names.count(name) > (flag == "--image"):
                    raise InputError(
                        f"a column of images has one role, however: --image {name} and {flag} {name}; leave one out"
                    )
        for flag, value in (("--cost", self.cost), ("--batch-size", self.batch_size)):
            if self.images and value is not None:
                raise InputError(
                    f"{flag} belongs to runs without images, however: --image is given; leave one of them out"
                )
        if not self.images and self.image_size is not None:
            raise InputError("--image-size belongs to --image, however: no --image is given; name the column of paths")

    @property
    def named_columns(self) -> tuple[str, ...]:
        """The columns that an option names: they are read, also where they only number the rows."""
        single = [name for name in (self.group, self.time) if name is not None]
        return (*self.target, *self.drop, *self.identifier, *parse_kinds(self.kind), *self.images, *single)

    @property
    def wanted_baselines(self) -> tuple[str, ...]:
        """Names of the baselines to train, in the order of tables."""
        if not self.baselines and not self.named_baselines:
            return ()
        from permgrad.evaluation.competitors import competitors

        cheap = [name for name in competitors if self.baselines and not competitors.get(name).costly]
        return tuple(name for name in competitors if name in cheap or name in self.named_baselines)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"{self.name}-{self.seed}"


# ---- compare, tune ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class CompareRequest(TableRequest):
    """The options of ``permgrad compare``."""

    command_name = "compare"
    identifier: tuple[str, ...] = option("Column that names rows: not a feature.", (), name="--id", metavar="COL")
    group: str | None = option("Column whose equal values stay in one fold.", None, metavar="COL")
    out: Path | None = output("permgrad-runs/compare-<table>-<seed>")
    seed: int = option("Seed of folds, models and explanations.", 0, least=0)
    models: tuple[str, ...] = option(
        "Presets (or preset files; default:tabular and default:image are one branch alone) and baselines, separated by "
        "commas (default: default,lightgbm,random_forest,linear).",
        (),
        metavar="NAMES",
        lists="entries",
    )
    folds: int | None = option("Number of folds (default: 5).", None, metavar="K")
    repeats: int = option("How often the rows are divided into folds.", 1, metavar="R")
    splits: tuple[int, ...] = option(
        "Seeds of 60/20/20 splits in the place of folds, separated by commas, such as 42,43,44.",
        (),
        metavar="SEEDS",
        lists="entries",
    )
    metric: str | None = option("What decides (default: roc_auc, accuracy or rmse, by the task).", None)
    explain: bool = option("Also ask what each model relies on.", True, name="--explain/--no-explain")
    methods: tuple[str, ...] = option(
        "How to explain, separated by commas (default: permutation,permgrad). permutation is always played; permgrad, "
        "ablation, gradient, integrated_gradients, deeplift and shapley apply to networks only.",
        (),
        name="--method",
        metavar="NAMES",
        lists="names",
    )

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"compare-{self.name}-{self.seed}"

    def run_request(self) -> RunRequest:
        """Return the request of a run on the same table: what it reads and refuses is the same."""
        kept = (self.group,) if self.group is not None and self.group not in self.identifier else ()
        changed: dict[str, Any] = {"identifier": (*self.identifier, *kept), "group": None}
        changed |= {"out": None, "threads": None, "overwrite": False}
        return RunRequest(**(self.shared_with(TableRequest) | changed))


@dataclass(frozen=True, kw_only=True)
class TuneRequest(SplitRequest):
    """The options of ``permgrad tune``."""

    out: Path | None = output("permgrad-runs/<table>-tuned-<seed>")
    trials: int | None = option("The study's total of finished trials (default: as the space says).", None, metavar="N")
    storage: str | None = option("URL of the study's database (default: sqlite:///DIR/study.db).", None, metavar="URL")
    study: str = option("The study's name in the database.", STUDY_NAME)
    space: str = option("What is searched: default, paper, or a JSON file (docs/tuning.md).", DEFAULT_SPACE)
    pruning: bool = option("Train every trial to its end.", True, name="--no-pruning")

    def check(self) -> None:
        """Refuse what can be refused before any file is read.

        Raises:
            InputError: Options that are unknown or do not go together.
        """
        if self.trials is not None and self.trials < 1:
            raise InputError(
                f"a study has at least one trial, however: --trials {self.trials}; give for example --trials 30"
            )
        if not self.study.strip():
            raise InputError("a study must have a name, however: --study is empty; leave the option out")
        self.run_request("default").check()

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"{self.name}-tuned-{self.seed}"

    @property
    def url(self) -> str:
        """The storage."""
        return self.storage if self.storage is not None else f"sqlite:///{(self.folder / DATABASE).absolute()}"

    @property
    def shown_storage(self) -> str | None:
        """The storage that was asked for, without a password."""
        from permgrad.tuning.study import without_password

        return None if self.storage is None else without_password(self.storage)

    def run_request(self, preset: str, seed: int | None = None) -> RunRequest:
        """Return the run of one preset and seed on the same rows."""
        changed = {"out": self.folder, "seed": self.seed if seed is None else seed, "overwrite": False}
        return RunRequest(preset=preset, **(self.shared_with(SplitRequest) | changed))

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        return command_line("tune", self, storage=self.shown_storage)


# ---- predict, explain, report ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """The options of ``permgrad predict``."""

    model_folder: Path = argument(_MODEL, "MODEL_DIR")
    table: Path = argument(f"{_PARQUET} predict.", "TABLE", table=True)
    out: Path | None = option(
        "CSV file to write (default: <table>-predictions.csv here; - for stdout); with --stream a folder of Parquet "
        "files (default: <table>-predictions here).",
        None,
        metavar="PATH",
    )
    stream: bool | None = option(_STREAM, None, name="--stream/--no-stream")
    overwrite: bool = option("Replace what is there.", False)
    threads: int | None = option(_THREADS, None)


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """The options of ``permgrad explain``.

    Attributes:
        test_rows: Numbers ``(rows,)`` of the rows of ``table`` that are meant; None: all.
    """

    model_folder: Path = argument(_MODEL, "MODEL_DIR")
    table: Path | None = argument(
        f"{_PARQUET} explain (default: the test rows of the model's run).", "[TABLE]", default=None, table=True
    )
    method: str = option("How to explain: permgrad, permutation, integrated_gradients, ...", "permgrad")
    row: int | None = option("Explain this row only, counted from 0.", None, least=0)
    where: tuple[str, ...] = option(
        "Explain the rows with this value only; may be given several times.", (), metavar="COL=VALUE"
    )
    baseline: str | None = option("For integrated_gradients: median, mean, zeros, background or class:<label>.", None)
    target: tuple[str, ...] = option("Output to explain: a class (default: all).", (), metavar="CLASS")
    y: str | None = option("Column of targets (default: that of the model's run).", None, metavar="COL")
    positive: str | None = option(_POSITIVE, None, metavar="LEVEL")
    scope: str = option("auto, global or local.", "auto")
    repeats: int = option("Number of donors per row, for the methods that draw.", 10, least=1)
    stream: bool | None = option(_STREAM, None, name="--stream/--no-stream")
    rows: int | None = option("Explain so many rows, drawn from the whole Parquet table.", None, least=1)
    form: str = option("Files of single rows, with --stream: tidy, or wide (a column for each feature).", "tidy")
    engine: str = option("Who computes: local (this process), or ray (several processes, or a cluster).", "local")
    workers: int | None = option(
        "With --engine ray: how many work at a time (default: one per GPU, or per processor).", None, least=1
    )
    address: str | None = option(
        "With --engine ray: the cluster's head, as host:port or auto (default: RAY_ADDRESS, else this machine).",
        None,
        name="--ray-address",
        metavar="ADDRESS",
    )
    seed: int = option(_SEED, 0, least=0)
    out: Path | None = output("<table>-<method> here, with -row<N>", "Folder to write")
    overwrite: bool = option("Replace what is there.", False)
    threads: int | None = option(_THREADS, None)
    test_rows: Any = None

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


def run_of(folder: Path) -> Path:
    """Return the folder of the run that a model's folder belongs to; that of a run is its own."""
    return folder if (folder / "model").is_dir() else folder.parent


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """The options of ``permgrad report``."""

    folder: Path = argument("A run's folder.", "DIR")
    positive: str | None = option(_POSITIVE, None, metavar="LEVEL")


# ---- benchmark ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest:
    """The options of ``permgrad benchmark``; names that are left out mean all of the suite."""

    suite: str = argument("multimodal, tabular or all.", "SUITE")
    out: Path | None = output("permgrad-runs/benchmark-<suite>")
    seeds: int | None = option("How many seeds, from 0 (default: 3; 1 with --quick).", None, least=1)
    functions: tuple[str, ...] = option(
        "Known functions, separated by commas (default: all).", (), metavar="NAMES", lists="names"
    )
    methods: tuple[str, ...] = option(
        "Methods, separated by commas (default: all).", (), metavar="NAMES", lists="names"
    )
    images: tuple[str, ...] = option(
        "Image set of the multimodal suite, or one for each image, separated by a comma: organamnist, organcmnist, "
        "another MedMNIST set, or FILE.npz in their form.",
        (),
        metavar="SETS",
        lists="names",
    )
    quick: bool = option("Less of everything, to see that it runs; no results.", False)
    peers: bool = option("Leave other packages' methods out.", True, name="--no-peers")
    threads: int | None = option(_THREADS, None)
    overwrite: bool = option("Replace what is there.", False)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"benchmark-{self.suite}"

    @property
    def seed_list(self) -> range:
        """The seeds: three, or one with ``quick``, where their number is not given."""
        return range((1 if self.quick else 3) if self.seeds is None else self.seeds)

    @property
    def command(self) -> str:
        """The command line that asks for this."""
        return command_line("benchmark", self)


@dataclass(frozen=True)
class Outcome:
    """What a command answers: facts for ``--json``, and text for people."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
