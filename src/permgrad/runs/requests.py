"""What each command is asked: one table of fields, of which the command line, requests and the command shown are made.

The command line reads this before it knows which command is called, so that it imports nothing heavy.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from permgrad.base.errors import InputError, unknown

if TYPE_CHECKING:
    from permgrad.data.types.column_types import Kind

TASKS = ("auto", "classification", "regression")
DATABASE, STUDY_NAME, DEFAULT_SPACE = "study.db", "permgrad", "default"
#: Options that stand behind the others, in this order.
_LAST = (
    *("seed", "split_seed", "image_size", "device", "threads", "cost", "baselines", "named_baselines"),
    *("trials", "storage", "study", "space", "pruning", "from_stage", "overwrite"),
)
#: What ``--kind`` may say. A constant column is what its cells say; who wants one without effect leaves it out.
KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "date", "identifier")
Names = tuple[str, ...]


# ---- options ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Option:
    """How a field of a request is written on the command line.

    ``lists`` says how several values are written: ``"each"``, an option for each; ``"names"``, also with commas, each
    once; ``"entries"``, the same where a name may come twice; ``"codes"``, with commas that stay. ``table``: a file, or
    a named data set. ``place``: what is written where nothing is named.
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


def option(text: str, default: Any, metavar: str | None = None, /, **facts: Any) -> Any:
    """Return a field with an option on the command line."""
    return field(default=default, metadata={"option": Option(text, metavar, **facts)})


def argument(text: str, metavar: str, /, *, table: bool = False, **facts: Any) -> Any:
    """Return a field with an argument on the command line; without a ``default`` it must be given."""
    return field(metadata={"option": Option(text, metavar, positional=True, table=table)}, **facts)


def output(place: str, what: str = "Folder") -> Any:
    """Return a field that names the folder to write."""
    return option(f"{what} (default: {place}).", None, "DIR", place=place)


def options_of(request: Any) -> dict[str, Option]:
    """Return the options of a request, or of its class, by field: how something is computed stands behind what is."""
    options = {entry.name: entry.metadata["option"] for entry in fields(request) if "option" in entry.metadata}
    return dict(sorted(options.items(), key=lambda item: _LAST.index(item[0]) if item[0] in _LAST else -1))


class CommandRequest:
    """What several requests have: the folder to write, and the command line that asks for the same."""

    command_name: ClassVar[str]
    out: Path | None

    @property
    def folder(self) -> Path:
        """The folder to write."""
        if self.out is not None:
            return self.out
        # A table is named without folder and endings.
        place = options_of(self)["out"].place.replace("<table>", "<name>")
        return Path(re.sub("<(.+?)>", lambda word: str(getattr(self, word[1])), place))

    @property
    def command(self) -> str:
        """The command line that asks for this, without what are defaults, and without a password."""
        words = ["permgrad", self.command_name]
        defaults = {entry.name: entry.default for entry in fields(self)}  # type: ignore[arg-type]
        for name, entry in options_of(self).items():
            value = getattr(self, f"shown_{name}", getattr(self, name))
            flag = entry.name or f"--{name.replace('_', '-')}"
            if entry.positional:
                words.append(str(value))
            elif value == defaults[name] or name in ("from_stage", "overwrite"):  # they belong to one call
                continue
            elif isinstance(value, bool):
                words.append(flag.rpartition("/")[2] if defaults[name] else flag)
            elif not isinstance(value, tuple):
                words += [flag, str(value)]
            elif entry.lists == "codes":
                words.append(f"{flag}={','.join(separated(value))}")
            elif entry.lists != "each":
                words += [flag, ",".join(map(str, value))]
            elif isinstance(value[0], float):
                words += [flag, *(f"{number:g}" for number in value)]
            else:
                words += [word for each in value for word in (flag, str(each))]
        return shlex.join(words)


def separated(texts: Iterable[str]) -> Names:
    """Return what stands between the commas of an option that may be given several times."""
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


# ---- several commands ------------------------------------------------------------------------------------------------
def table_name(table: str | Path) -> str:
    """Return a table's name without folder and endings: ``data/heloc.csv.gz`` is ``heloc``."""
    # A folder may be named by a dot.
    name = Path(table).name or Path(table).resolve().name
    for ending in (".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return name


def run_of(folder: Path) -> Path:
    """Return the folder of the run that a model's folder belongs to; that of a run is its own."""
    return folder if (folder / "model").is_dir() else folder.parent


_THREADS = "Number of threads to compute with, at least 1 (default: as the machine is set)."
_STREAM = (
    "Read Parquet in parts, so that memory does not grow with rows; goes on where it was stopped (default: for "
    "folders, and for files of 1 GB and more once unpacked)."
)
_POSITIVE = "Of two classes the positive one (default: the rarer)."
_SEED = "Seed of everything random but the split."
_MODEL = "A run's folder, or the model folder in it."
_FILES = " (ONNX, LightGBM, XGBoost, CatBoost or skops; docs/any-model.md)"
_PARQUET = "CSV or Parquet file, folder of Parquet files, or named data set, to"
_KIND = "What a column is: numeric, categorical, boolean, date or identifier; may be given several times."
_NOT_NA = "Texts that are categories though they usually mean missing, such as None,NA."
_GROUPS = 'JSON file of columns that act as one feature: {"name": ["column", ...]}.'


@dataclass(frozen=True, kw_only=True)
class TableRequest(CommandRequest):
    """What every command that trains on a table is asked."""

    command_name: ClassVar[str] = "run"
    table: str = argument("A CSV or Parquet file, or a named data set (permgrad datasets list).", "TABLE", table=True)
    target: Names = option("Column to predict (known for named data sets).", (), "COL")
    task: str = option("auto, classification or regression.", "auto")
    positive: str | None = option(_POSITIVE, None, "LEVEL")
    drop: Names = option("Column to leave out; may be given several times.", (), "COL")
    identifier: Names = option("Column that names rows: not a feature, kept in predictions.", (), "COL", name="--id")
    kind: Names = option(_KIND, (), "COL=KIND")
    na: Names = option("Codes that mean missing, separated by commas, such as -9,-8,-7.", (), "CODES", lists="codes")
    not_na: Names = option(_NOT_NA, (), "TEXTS", lists="codes")
    groups: Path | None = option(_GROUPS, None, "FILE")
    group: str | None = option("Column whose equal values stay in one part of the split.", None, "COL")
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

        files = {f"{role} file": getattr(self, role, None) for role in ("groups", "test", "validation")}
        preset = str(getattr(self, "preset", ""))
        files["preset"] = Path(preset) if preset.endswith(".json") else None
        return {"table": None if self.table in list_datasets() else Path(self.table), **files}

    @property
    def na_codes(self) -> Names:
        """The single codes of ``--na``."""
        return separated(self.na)

    @property
    def kept_texts(self) -> Names:
        """The single texts of ``--not-na``."""
        return separated(self.not_na)

    @property
    def kinds(self) -> dict[str, Kind]:
        """What ``--kind`` says of columns; a name may hold equal signs, a kind does not."""
        kinds: dict[str, Kind] = {}
        for text in self.kind:
            name, sign, word = (part.strip() for part in text.rpartition("="))
            if not sign or not name:
                raise InputError(
                    f"--kind must have the form COL=KIND, however: --kind {text!r}; give for example "
                    "--kind postcode=categorical"
                )
            kind = next((kind for kind in KINDS if kind == word), None)
            if kind is None:
                raise unknown(f"kind of column {name!r}", word, KINDS)
            if kinds.setdefault(name, kind) != kind:
                raise InputError(
                    f"a column has one kind, however: --kind {name}={kinds[name]} and --kind {name}={kind}; leave one "
                    "out"
                )
        return kinds

    def shared_with(self, kind: type[TableRequest]) -> dict[str, Any]:
        """Return the fields that another request has as well, by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(kind)}


@dataclass(frozen=True, kw_only=True)
class SplitRequest(TableRequest):
    """What a command is asked that divides a table into training, validation and test rows once."""

    test: Path | None = option("Test rows of your own.", None, "FILE")
    validation: Path | None = option("Validation rows of your own.", None, "FILE")
    time: str | None = option("Column to split by: the latest rows become the test rows.", None, "COL")
    split_seed: int = option("Seed of the split.", 42, least=0, most=2**32 - 1)

    @property
    def names_of_rows(self) -> Names:
        """The identifiers that stay as they are written; a time is read as a number, whatever else it is."""
        return tuple(name for name in self.identifier if name != self.time)


# ---- run -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class RunRequest(SplitRequest):
    """The options of ``permgrad run``."""

    out: Path | None = output("permgrad-runs/<table>-<seed>", "Folder of the run")
    images: Names = option(
        "Column of paths of images beside the table; may be given several times.", (), "COL", name="--image"
    )
    image_size: int | None = option(
        "Pixels that images are brought to (default: their median, at most 64).", None, least=8, most=1024
    )
    preset: str = option("Network and training: default, fast, paper, ...", "default")
    batch_size: int | None = option("Rows per training step (default: the preset's).", None, "ROWS", least=2)
    baselines: bool = option("Also train trees, a linear model and a plain MLP, for comparison.", False)
    named_baselines: Names = option(
        "Also train this one, such as tabm or realmlp (minutes); may be repeated.", (), "NAME", name="--baseline"
    )
    cost: tuple[float, float] | None = option(
        "What a false and a missed positive cost: adds the threshold of least cost.", None, "A B"
    )
    from_stage: str | None = option(
        "Do this stage and all after it again: data, layout, model, explain, report.", None, "STAGE", name="--from"
    )

    def check(self) -> None:
        """Refuse options that are unknown or do not go together, before any file is read."""
        from permgrad.base.checks import check_choice
        from permgrad.data.read.cells import MissingCodes
        from permgrad.data.read.reading import check_not_na

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
        _ = self.kinds
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
    def wanted_baselines(self) -> Names:
        """Names of the baselines to train, in the order of tables."""
        if not self.baselines and not self.named_baselines:
            return ()
        from permgrad.evaluation.competitors import competitors

        cheap = [one.name for one in competitors.values() if self.baselines and not one.costly]
        return tuple(name for name in competitors if name in cheap or name in self.named_baselines)


# ---- compare, tune ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class CompareRequest(TableRequest):
    """The options of ``permgrad compare``."""

    command_name = "compare"
    identifier: Names = option("Column that names rows: not a feature.", (), "COL", name="--id")
    group: str | None = option("Column whose equal values stay in one fold.", None, "COL")
    out: Path | None = output("permgrad-runs/compare-<table>-<seed>")
    seed: int = option("Seed of folds, models and explanations.", 0, least=0)
    models: Names = option(
        "Presets (or preset files; default:tabular and default:image are one branch alone) and baselines, separated by "
        "commas (default: default,lightgbm,random_forest,linear).",
        (),
        "NAMES",
        lists="entries",
    )
    folds: int | None = option("Number of folds (default: 5).", None, "K")
    repeats: int = option("How often the rows are divided into folds.", 1, "R")
    splits: tuple[int, ...] = option(
        "Seeds of 60/20/20 splits in the place of folds, separated by commas, such as 42,43,44.",
        (),
        "SEEDS",
        lists="entries",
    )
    metric: str | None = option("What decides (default: roc_auc, accuracy or rmse, by the task).", None)
    explain: bool = option("Also ask what each model relies on.", True, name="--explain/--no-explain")
    methods: Names = option(
        "How to explain, separated by commas (default: permutation,permgrad). permutation is always played; permgrad, "
        "ablation, gradient, integrated_gradients, deeplift and shapley apply to networks only.",
        (),
        "NAMES",
        name="--method",
        lists="names",
    )

    def run_request(self) -> RunRequest:
        """Return the request of a run on the same table: what it reads and refuses is the same."""
        grouping = (self.group,) if self.group is not None and self.group not in self.identifier else ()
        changed: dict[str, Any] = {"identifier": (*self.identifier, *grouping), "group": None}
        changed |= {"out": None, "threads": None, "overwrite": False}
        return RunRequest(**(self.shared_with(TableRequest) | changed))


@dataclass(frozen=True, kw_only=True)
class TuneRequest(SplitRequest):
    """The options of ``permgrad tune``."""

    command_name = "tune"
    out: Path | None = output("permgrad-runs/<table>-tuned-<seed>")
    trials: int | None = option("The study's total of finished trials (default: as the space says).", None, "N")
    storage: str | None = option("URL of the study's database (default: sqlite:///DIR/study.db).", None, "URL")
    study: str = option("The study's name in the database.", STUDY_NAME)
    space: str = option("What is searched: default, paper, or a JSON file (docs/tuning.md).", DEFAULT_SPACE)
    pruning: bool = option("Train every trial to its end.", True, name="--no-pruning")

    def check(self) -> None:
        """Refuse options that are unknown or do not go together, before any file is read."""
        if self.trials is not None and self.trials < 1:
            raise InputError(
                f"a study has at least one trial, however: --trials {self.trials}; give for example --trials 30"
            )
        if not self.study.strip():
            raise InputError("a study must have a name, however: --study is empty; leave the option out")
        self.run_request("default").check()

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
        "PATH",
    )
    stream: bool | None = option(_STREAM, None, name="--stream/--no-stream")
    overwrite: bool = option("Replace what is there.", False)
    threads: int | None = option(_THREADS, None)


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """The options of ``permgrad explain``; of its table ``test_rows`` ``(rows,)`` are meant, or all."""

    model_folder: Path = argument(f"{_MODEL[:-1]}; or a model file{_FILES}.", "MODEL")
    table: Path | None = argument(
        f"{_PARQUET} explain (default: the test rows of the model's run).", "[TABLE]", default=None, table=True
    )
    method: str = option("How to explain: permgrad, permutation, integrated_gradients, ...", "permgrad")
    row: int | None = option("Explain this row only, counted from 0.", None, least=0)
    where: Names = option("Explain the rows with this value only; may be given several times.", (), "COL=VALUE")
    baseline: str | None = option("For integrated_gradients: median, mean, zeros, background or class:<label>.", None)
    target: Names = option("Output to explain: a class (default: all).", (), "CLASS")
    y: str | None = option("Column of targets (default: that of the model's run).", None, "COL")
    classes: Names = option(
        "Classes of a model file that does not name them, in the order of its outputs, such as no,yes.",
        (),
        "NAMES",
        lists="entries",
    )
    trust: Names = option("Type in a skops file to load; may be given several times.", (), "TYPE")
    positive: str | None = option(_POSITIVE, None, "LEVEL")
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
        "ADDRESS",
        name="--ray-address",
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


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """The options of ``permgrad report``."""

    folder: Path = argument("A run's folder.", "DIR")
    positive: str | None = option(_POSITIVE, None, "LEVEL")


# ---- benchmark ---------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class BenchmarkRequest(CommandRequest):
    """The options of ``permgrad benchmark``; names that are left out mean all of the suite."""

    command_name: ClassVar[str] = "benchmark"
    suite: str = argument("multimodal, tabular or all.", "SUITE")
    out: Path | None = output("permgrad-runs/benchmark-<suite>")
    seeds: int | None = option("How many seeds, from 0 (default: 3; 1 with --quick).", None, least=1)
    functions: Names = option("Known functions, separated by commas (default: all).", (), "NAMES", lists="names")
    methods: Names = option("Methods, separated by commas (default: all).", (), "NAMES", lists="names")
    images: Names = option(
        "Image set of the multimodal suite, or one for each image, separated by a comma: organamnist, organcmnist, "
        "another MedMNIST set, or FILE.npz in their form.",
        (),
        "SETS",
        lists="names",
    )
    quick: bool = option("Less of everything, to see that it runs; no results.", False)
    peers: bool = option("Leave other packages' methods out.", True, name="--no-peers")
    threads: int | None = option(_THREADS, None)
    overwrite: bool = option("Replace what is there.", False)

    @property
    def seed_list(self) -> range:
        """The seeds: three, or one with ``quick``, where their number is not given."""
        return range((1 if self.quick else 3) if self.seeds is None else self.seeds)


@dataclass(frozen=True)
class Outcome:
    """What a command answers: facts for ``--json``, and text for people."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
