"""What the user asked of ``permgrad run``, and what a command answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError
from permgrad.data.read.cells import MissingCodes
from permgrad.data.read.missing_texts import check_not_na
from permgrad.runs.run.declared_kinds import parse_kinds

TASKS = ("auto", "classification", "regression")
#: What may stand before the colon of a device.
DEFAULT_PARENT = Path("permgrad-runs")


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


def _parted(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return what stands between the commas of an option that may be given several times."""
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """What every command that trains on a table is asked.

    Attributes:
        table: Path of a file, or the name of a data set.
        target: The column to predict; exactly one, or none for a named data set, whose target is known.
        na: Texts of codes separated by commas, as given.
        not_na: Texts separated by commas, as given, that are categories, though they usually mean missing.
        identifier: Columns that name rows.
        kind: Texts ``COL=KIND``, as given.
        group: Column whose equal values stay together where rows are divided.
        positive: Of two classes the positive one; None: see ``runs.target.positive_label``.
        out: The folder; None: the command's own.
        overwrite: Begin anew where other files are.
    """

    table: str
    target: tuple[str, ...] = ()
    task: str = "auto"
    drop: tuple[str, ...] = ()
    identifier: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    na: tuple[str, ...] = ()
    not_na: tuple[str, ...] = ()
    groups: Path | None = None
    group: str | None = None
    positive: str | None = None
    out: Path | None = None
    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    overwrite: bool = False

    @property
    def name(self) -> str:
        """Name of the table without folder and endings."""
        return table_name(self.table)

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders that are read, by what they are; None: none is."""
        from permgrad.data.datasets import list_datasets

        return {"table": None if self.table in list_datasets() else Path(self.table), "groups file": self.groups}


@dataclass(frozen=True, kw_only=True)
class SplitRequest(TableRequest):
    """What a command is asked that divides a table into training, validation and test rows once.

    Attributes:
        test: File of test rows.
        validation: File of validation rows.
        time: Column to split by: the latest rows are the test rows.
    """

    test: Path | None = None
    validation: Path | None = None
    time: str | None = None
    split_seed: int = 42

    @property
    def files(self) -> dict[str, Path | None]:
        """The files and folders that are read, by what they are; None: none is."""
        return {**super().files, "test file": self.test, "validation file": self.validation}

    @property
    def names_of_rows(self) -> tuple[str, ...]:
        """The identifiers that stay as they are written; a time is read as a number, whatever else it is."""
        return tuple(name for name in self.identifier if name != self.time)


@dataclass(frozen=True, kw_only=True)
class RunRequest(SplitRequest):
    """The options of ``permgrad run``; see ``permgrad run --help``.

    Attributes:
        images: Columns that hold paths of images; the run then trains a network of images and a table.
        image_size: Height and width that images are brought to; None: their median size, at most 64.
        batch_size: Rows per training step; None: the preset's.
        baselines: Whether all baselines that take seconds are trained too.
        named_baselines: Baselines that are trained besides, such as those that take minutes.
        cost: What a false positive and a false negative cost, for a threshold chosen on held-out rows.
    """

    preset: str = "default"
    batch_size: int | None = None
    baselines: bool = False
    named_baselines: tuple[str, ...] = ()
    from_stage: str | None = None
    cost: tuple[float, float] | None = None
    images: tuple[str, ...] = ()
    image_size: int | None = None

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
        check_choice("task", self.task, TASKS)
        if len(self.target) > 1:
            given = " ".join(f"--target {name}" for name in self.target)
            raise InputError(f"a run predicts one column, however: {given}; run once for each target")
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
            for option, names in taken.items():
                if names.count(name) > (option == "--image"):
                    raise InputError(
                        f"a column of images has one role, however: --image {name} and {option} {name}; leave one out"
                    )
        if self.images and self.cost is not None:
            raise InputError("--cost belongs to runs without images, however: --image is given; leave one of them out")
        if self.images and self.batch_size is not None:
            raise InputError(
                "--batch-size belongs to runs without images, however: --image is given; leave one of them out"
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
        from permgrad.evaluation.competitors import baselines

        cheap = [name for name in baselines if self.baselines and not baselines.get(name).costly]
        return tuple(name for name in baselines if name in cheap or name in self.named_baselines)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.out if self.out is not None else DEFAULT_PARENT / f"{self.name}-{self.seed}"

    @property
    def na_codes(self) -> tuple[str, ...]:
        """The single codes of ``--na``."""
        return _parted(self.na)

    @property
    def kept_texts(self) -> tuple[str, ...]:
        """The single texts of ``--not-na``."""
        return _parted(self.not_na)

    @property
    def command(self) -> str:
        """The command line that asks for this, with only the options that differ from their defaults."""
        import shlex

        words = ["permgrad", "run", self.table]
        words += [word for name in self.target for word in ("--target", name)]
        if self.task != "auto":
            words += ["--task", self.task]
        words += [] if self.positive is None else ["--positive", self.positive]
        single: dict[str, Any] = {"--test": self.test, "--validation": self.validation, "--groups": self.groups}
        single |= {"--group": self.group, "--time": self.time, "--out": self.out}
        for repeated, values in (("--image", self.images), ("--drop", self.drop), ("--id", self.identifier)):
            words += [word for value in values for word in (repeated, value)]
        words += [word for value in self.kind for word in ("--kind", value)]
        words += [f"--na={','.join(self.na_codes)}"] if self.na_codes else []
        words += [f"--not-na={','.join(self.kept_texts)}"] if self.kept_texts else []
        words += [word for option, value in single.items() if value is not None for word in (option, str(value))]
        defaults = {
            "--preset": (self.preset, "default"),
            "--batch-size": (self.batch_size, None),
            "--seed": (self.seed, 0),
            "--split-seed": (self.split_seed, 42),
        }
        defaults |= {"--image-size": (self.image_size, None), "--device": (self.device, "auto")}
        defaults |= {"--threads": (self.threads, None)}
        words += [
            word for option, (value, usual) in defaults.items() if value != usual for word in (option, str(value))
        ]
        words += [] if self.cost is None else ["--cost", *(f"{cost:g}" for cost in self.cost)]
        words += ["--baselines"] if self.baselines else []
        words += [word for name in self.named_baselines for word in ("--baseline", name)]
        return shlex.join(words)


@dataclass(frozen=True)
class Outcome:
    """What a command answers.

    Attributes:
        facts: For ``--json``.
        text: For people.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
