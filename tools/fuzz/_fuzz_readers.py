"""The readers of saved files that ``fuzz_readers.py`` tries: what they start from, how
they read, what seals a file.

A reader is one function of a folder: it reads what lies there as users' commands do,
and uses what it got a little, for what is let in must be of use. It may end well or in
a permgrad error. Each has valid folders to start from, and says how checksums are
renewed after a change, so that what lies behind them is reached.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from explaining import explain_with

from tools.fuzz._fuzz_mutations import Files

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests" / "shared"))

SMALL = {"dense_units": [4], "conv_filters": [2], "fusion_units": [4]}


@dataclass(frozen=True)
class Reader:
    """One reader of saved files.

    Attributes:
        name: on the command line.
        make: writes valid folders below a place and returns them.
        read: reads a folder; the second argument holds what ``prepare`` made.
        seal: renews checksums.
        prepare: makes once, in the process that reads, what reading needs besides the
            folder.
    """

    name: str
    make: Callable[[Path], list[Files]]
    read: Callable[[Path, Any], None]
    seal: Callable[[Files], Files] = lambda files: files
    prepare: Callable[[Path], Any] = lambda _: None


readers: dict[str, Reader] = {}


def enrol(reader: Reader) -> Reader:
    """Add a reader under its name."""
    readers[reader.name] = reader
    return reader


def content_of(folder: Path, *, leave_out: tuple[str, ...] = ()) -> Files:
    """Return the files of a folder by their names in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(leave_out)
    }


def table(rows: int = 40, seed: int = 0) -> pd.DataFrame:
    """Return a small table with numbers, levels, missing cells, dates and yes and
    no.
    """
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": draw.normal(size=rows), "b": draw.choice(["x", "y", "z"], rows)}
    )
    frame["c"] = draw.integers(0, 3, rows).astype(float)
    frame.loc[::7, "c"] = np.nan
    frame["day"] = pd.date_range("2020-01-01", periods=rows).astype(str)
    frame["no"] = draw.random(rows) < 0.5
    return frame


def outcome(frame: pd.DataFrame) -> Any:
    """Return two classes that the table tells."""
    return np.where(frame["a"] + (frame["b"] == "x") > 0.3, "yes", "no")


def sha(content: bytes) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def edited(files: Files, name: str, change: Callable[[Any], Any]) -> Files:
    """Return the files with one JSON document changed, if it is one."""
    with suppress(KeyError, ValueError, TypeError, AttributeError, RecursionError):
        document = change(json.loads(files[name]))
        return {**files, name: json.dumps(document).encode("utf-8", "surrogatepass")}
    return files


def sealed_again(files: Files, name: str) -> Files:
    """Renew the seal of a description."""
    from permgrad.base.stored import sealed

    return edited(files, name, sealed)


# ---- models --------------------------------------------------------------------------


def seal_model(files: Files, below: str = "") -> Files:
    """Renew the checksums of a model's files, then the seal."""

    def renew(document: Any) -> Any:
        names = ("arrays.npz", "weights.safetensors")
        return {
            **document,
            "checksums": {
                name: sha(files[below + name])
                for name in names
                if below + name in files
            },
        }

    return sealed_again(
        edited(files, f"{below}model.json", renew), f"{below}model.json"
    )


def make_models(place: Path) -> list[Files]:
    """Save a classifier on both paths, a regression of members on the table alone, one
    drawn by TINTO.
    """
    import permgrad as pg

    X = table()
    shared = {"max_epochs": 1, "progress": False, "random_state": 0}
    fast, default, paper = (
        {"base": name, "background_size": 12} for name in ("fast", "default", "paper")
    )
    grouped = {"one": ["a", "b"]}
    models = [
        pg.HyNNClassifier(preset=fast, image="always", network=SMALL, **shared).fit(
            X, outcome(X)
        ),
        pg.HyNNRegressor(
            preset=default,
            network={**SMALL, "members": 2},
            branches=("tabular",),
            **shared,
        ).fit(X[["a", "b"]], X["a"]),
        pg.HyNNClassifier(
            preset=paper,
            network=SMALL,
            branches=("image",),
            pixels=8,
            na=[-9],
            groups=grouped,
            **shared,
        ).fit(X, X["c"].fillna(0).astype(int)),
    ]
    found = []
    for number, model in enumerate(models):
        model.save(place / str(number))
        found.append(content_of(place / str(number)))
    return found


def use_model(folder: Path, rows: pd.DataFrame) -> None:
    """Load a model, predict rows and explain two of them."""
    import permgrad as pg

    model = pg.load(folder)
    repr(model)
    own = rows[[name for name in model.preprocessor_.feature_names_in_ if name in rows]]
    model.predict(own)
    if hasattr(model, "classes_"):
        model.predict_proba(own)
    pg.explain(
        model,
        own.iloc[:2],
        method="permutation",
        n_repeats=1,
        random_state=0,
        progress=False,
    ).to_frame()
    model.save(folder / "again")


enrol(Reader("model", make_models, use_model, seal_model, lambda _: table(6, seed=1)))


def write_images(folder: Path, rows: int) -> pd.DataFrame:
    """Write small images, grey and in colours, and return a table that names them."""
    from PIL import Image

    draw = np.random.default_rng(0)
    frame = table(rows)[["a", "b"]].assign(
        scan=[f"{number}.png" for number in range(rows)]
    )
    for number in range(rows):
        shape = (9, 8, 3) if number % 2 else (9, 8)
        top = 120 + 136 * (number % 2)
        Image.fromarray(draw.integers(0, top, shape, dtype=np.uint8)).save(
            folder / f"{number}.png"
        )
    return frame


def make_image_models(place: Path) -> list[Files]:
    """Save a classifier and a regression that read images, and return them."""
    import permgrad as pg

    folder = place / "images"
    folder.mkdir()
    frame = write_images(folder, 16)
    frame["scan"] = [str(folder / name) for name in frame["scan"]]
    found: list[Files] = []
    preset = {"base": "fast", "background_size": 8}
    options = {
        "preset": preset,
        "network": {"conv_filters": [2], "dense_units": [4], "fusion_units": [4]},
    }
    bright = np.arange(16) % 2
    for kind, y in (
        (pg.HyNNClassifier, bright),
        (pg.HyNNRegressor, bright + 0.01 * np.arange(16)),
    ):
        model = kind(**options, max_epochs=1, random_state=0, progress=False).fit(
            frame, y
        )
        model.save(place / kind.__name__)
        found.append(content_of(place / kind.__name__))
    return found


def use_image_model(folder: Path, rows: Any) -> None:
    """Load a model that reads images, predict rows, and explain them."""
    import permgrad as pg

    model = pg.load(folder)
    options = {
        "method": "permutation",
        "n_repeats": 1,
        "random_state": 0,
        "progress": False,
    }
    model.predict(rows)
    explain_with(model, rows, **options).to_frame()
    model.save(folder / "again")


def prepare_images(place: Path) -> Any:
    """Return two rows with images."""
    frame = write_images(place, 2)
    return frame.assign(scan=[str(place / name) for name in frame["scan"]])


enrol(
    Reader(
        "image-model", make_image_models, use_image_model, seal_model, prepare_images
    )
)


# ---- explanations --------------------------------------------------------------------


def make_explanations(place: Path) -> list[Files]:
    """Save explanations of all the kinds of parts: global with branches, of rows, with
    maps.
    """
    import permgrad as pg

    X = table()
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=SMALL,
        max_epochs=1,
        progress=False,
        random_state=0,
        pixels=5,
    )
    model.fit(X, outcome(X))
    made = [
        pg.explain(
            model,
            X,
            outcome(X),
            method="permgrad",
            n_repeats=2,
            random_state=0,
            progress=False,
        ),
        pg.explain(
            model,
            X.iloc[:3],
            method="integrated_gradients",
            random_state=0,
            progress=False,
        ),
        pg.explain(model, X.iloc[:2], method="gradcam", random_state=0, progress=False),
    ]
    found = []
    for number, explanation in enumerate(made):
        found.append(content_of(explanation.save(place / str(number))))
    return found


def use_explanation(folder: Path, _: Any) -> None:
    """Load an explanation, and look at it as a notebook does."""
    import permgrad as pg

    explanation = pg.Explanation.load(folder)
    repr(explanation)
    explanation.to_frame()
    with suppress(pg.InputError):
        explanation.ranking()
    if explanation.scope == "local":
        explanation.to_global()
    elif explanation.additive:
        explanation.by_modality()
    explanation.save(folder / "again")


enrol(Reader(
    "explanation", make_explanations, use_explanation, lambda files: sealed_again(files, "explanation.json")
))  # fmt: skip


class Stream:
    """A model and a table in three parts, for explanations that are gone on with."""

    def __init__(self, place: Path) -> None:
        import permgrad as pg

        X = table(60)
        small = {
            "network": SMALL,
            "max_epochs": 1,
            "progress": False,
            "random_state": 0,
        }
        preset = {"base": "fast", "background_size": 8}
        self.model = pg.HyNNClassifier(
            preset=preset, branches=("tabular",), **small
        ).fit(X, outcome(X))
        X.assign(y=outcome(X)).to_parquet(
            place / "table.parquet", row_group_size=20, index=False
        )
        self.table = place / "table.parquet"

    def explain(self, out: Path, scope: str) -> Any:
        """Explain into a folder, or go on with what is there."""
        import permgrad as pg

        method = {"global": "permutation", "local": "integrated_gradients"}[scope]
        options = {"random_state": 0, "progress": False, "rows_per_part": 20}
        options |= {"n_repeats": 1} if scope == "global" else {}
        return pg.explain_stream(self.model, self.table, "y" if scope == "global" else None, out=out, method=method,
                                 scope=scope, **options)  # fmt: skip

    def stop_early(self, out: Path, scope: str) -> None:
        """Leave the folder of an explanation whose last step was not done."""
        from unittest import mock

        from permgrad.attribution.parts import stream

        with (
            mock.patch.object(stream, "merge", side_effect=KeyboardInterrupt),
            suppress(KeyboardInterrupt),
        ):
            self.explain(out, scope)


def make_streams(place: Path) -> list[Files]:
    """Return folders of streamed explanations, finished and not, global and of rows."""
    stream = Stream(place)
    found = []
    for scope in ("global", "local"):
        stream.stop_early(place / f"{scope}-begun", scope)
        stream.explain(place / f"{scope}-done", scope)
        found += [content_of(place / f"{scope}-{state}") for state in ("begun", "done")]
    return found


def use_stream(folder: Path, stream: Stream) -> None:
    """Go on with a streamed explanation."""
    scope = "local" if (folder / "local").is_dir() else "global"
    stream.explain(folder, scope).to_frame()


enrol(Reader(
    "streamed", make_streams, use_stream, lambda files: sealed_again(files, "explanation.json"), Stream
))  # fmt: skip


# ---- folders of runs -----------------------------------------------------------------


def train_runs(place: Path) -> list[Path]:
    """Train two small runs: classes on both paths, and numbers with gradients."""
    from invoking import call

    preset = {
        "base": "fast",
        "network": SMALL,
        "max_epochs": 2,
        "branches": ["tabular", "image"],
    }
    preset["seeks_order"] = False  # the image is drawn
    (place / "preset.json").write_text(json.dumps(preset), encoding="utf-8")
    X = table(60)
    X.assign(
        outcome=outcome(X), code=[f"case {number}" for number in range(60)]
    ).to_csv(place / "ill.csv", index=False)
    words = (
        "--target",
        "outcome",
        "--id",
        "code",
        "--preset",
        place / "preset.json",
        "--out",
        place / "ill",
    )
    call("run", place / "ill.csv", *words)
    X.assign(score=X["a"] + (X["b"] == "x"))[["a", "b", "score"]].to_csv(
        place / "score.csv", index=False
    )
    single = {"base": "ig_example", "network": {"dense_units": [4]}, "max_epochs": 1}
    (place / "single.json").write_text(json.dumps(single), encoding="utf-8")
    call(
        "run",
        place / "ill.csv",
        "--target",
        "outcome",
        "--preset",
        place / "single.json",
        "--out",
        place / "single",
    )
    return [place / "ill", place / "single"]


def make_runs(place: Path) -> list[Files]:
    """Return the folders of runs, without pages and pictures, which are written and
    never read.
    """
    found = []
    for folder in train_runs(place):
        files = content_of(folder, leave_out=("report.html",))
        found.append(
            {
                name: content
                for name, content in files.items()
                if not name.startswith(".explanations")
            }
        )
    return found


def seal_run(files: Files) -> Files:
    """Renew the checksums of a run's model and explanations."""
    files = seal_model(files, "model/")
    for name in list(files):
        if name.endswith("explanation.json"):
            files = sealed_again(files, name)
        if name.endswith("sums.json"):
            own = name.removesuffix("sums.json")
            sums = {
                file.rpartition("/")[2]: sha(content)
                for file, content in files.items()
                if file.startswith(own)
            }
            files = {
                **files,
                name: json.dumps(
                    {file: sums[file] for file in sums if file != "sums.json"}
                ).encode(),
            }
    return files


def use_report(folder: Path, _: Any) -> None:
    """Make a run's page again."""
    from permgrad.runs.commands.report_command import rebuild_report
    from permgrad.runs.requests import ReportRequest
    from permgrad.runs.run.run_summary import read_summary

    rebuild_report(ReportRequest(folder=folder))
    read_summary(folder)


enrol(Reader("report", make_runs, use_report, seal_run))


def make_explained(place: Path) -> list[Files]:
    """Return the folders of runs with the explanations kept in them."""
    return [
        content_of(folder, leave_out=("report.html", ".svg"))
        for folder in train_runs(place)
    ]


def use_explain(folder: Path, rows: Path) -> None:
    """Do what ``permgrad explain`` and ``predict`` read of a run's folder."""
    from permgrad.runs.commands.explain_command import explain_table
    from permgrad.runs.commands.predict import predict_table
    from permgrad.runs.requests import ExplainRequest, PredictRequest

    request = {"model_folder": folder, "table": rows, "repeats": 1, "threads": 1}
    predict_table(PredictRequest(model_folder=folder, table=rows, out=Path("-")))
    explain_table(
        ExplainRequest(**request, method="permutation", row=1, out=folder / "one")
    )


def prepare_rows(place: Path) -> Path:
    """Write three rows with their target."""
    X = table(3)
    X.assign(outcome=outcome(X), code=["a", "b", "c"]).to_csv(
        place / "rows.csv", index=False
    )
    return place / "rows.csv"


enrol(Reader("explain", make_explained, use_explain, seal_run, prepare_rows))


def make_pairs(place: Path) -> list[Files]:
    """Return two equal folders of results of every kind that ``tools/diff_runs.py``
    compares.
    """
    import permgrad as pg

    X = table()
    folder = place / "results"
    folder.mkdir()
    model = pg.HyNNClassifier(
        preset="fast",
        image="always",
        network=SMALL,
        max_epochs=1,
        progress=False,
        random_state=0,
    )
    model.fit(X, outcome(X)).save(folder / "model")
    X.to_csv(folder / "predictions.csv", index=False)
    X.to_parquet(folder / "part.parquet")
    (folder / "run.json").write_text(
        json.dumps({"started": "now", "values": [1, 2.5, None, {"a": "2 s"}]})
    )
    (folder / "report.html").write_text(
        "<p>2020-01-01 10:00 took 3 s</p>\n<code>x</code>\n"
    )
    (folder / "layout.svg").write_text("<svg><text>a</text></svg>\n")
    (folder / "other.bin").write_bytes(bytes(range(256)))
    files = content_of(folder)
    return [
        {
            f"{side}/{name}": content
            for side in ("one", "two")
            for name, content in files.items()
        }
    ]


def use_diff(folder: Path, _: Any) -> None:
    """Compare two folders of results."""
    from tools.diff_runs import differences, in_words

    in_words(*differences(folder / "one", folder / "two"))


enrol(Reader("diff", make_pairs, use_diff))


def make_cells(place: Path) -> list[Files]:
    """Return folders of a comparison and of a benchmark that are gone on with, and of a
    study.
    """
    from permgrad.base.files import write_json_atomic
    from permgrad.runs.commands.tune import STUDY, TUNE_RECORD
    from permgrad.runs.compare.compared_cells import ComparisonCell, cell_path
    from permgrad_benchmark.records import Record, write_cell, write_records

    (place / "compared").mkdir()
    values = {
        "names": ["a"],
        "importance": [1.0],
        "std_error": [0.1],
        "ci_low": [0.9],
        "ci_high": [1.1],
    }
    rows = {"train": 3, "test": 2}
    cell = ComparisonCell(
        "fast", "0", rows, {"accuracy": 0.5}, 1.0, 1.0, 1.0, {"permgrad": values}
    )
    write_json_atomic(
        cell_path(place / "compared", cell.model, cell.fold), asdict(cell)
    )
    record = {
        "schema_version": 1,
        "configuration_hash": "x",
        "configuration": {"folds": 2, "models": ["fast"]},
    }
    (place / "compared" / "comparison.json").write_text(
        json.dumps({**record, "finished": None, "started": "now"})
    )
    (place / "measured").mkdir()
    records = [
        Record.of(
            "tabular", "linear20", 0, "permgrad", "total_effect", "share_error", 0.002
        )
    ]
    write_cell(place / "measured", "tabular", "linear20", 0, records)
    write_records(place / "measured", records, {})
    (place / "measured" / "benchmark.json").write_text(
        json.dumps({**record, "finished": "now", "command": ""})
    )
    (place / "tuned").mkdir()
    identity = {"space": {"name": "fast", "parameters": []}, "table": "x", "seed": 0}
    record = STUDY.new_record(
        identity, "permgrad tune", storage=None, study="x", finished=None
    )
    (place / "tuned" / TUNE_RECORD).write_text(json.dumps(record))
    return [content_of(place / name) for name in ("compared", "measured", "tuned")]


def use_cells(folder: Path, _: Any) -> None:
    """Read what commands read of the folder that they go on in."""
    from permgrad.runs.commands.tune import STUDY
    from permgrad.runs.compare.compared_cells import FOLDER, read_cell
    from permgrad.runs.run_folder import RUN
    from permgrad_benchmark import records
    from permgrad_benchmark import run as benchmark

    asked = {"folds": 2, "models": ["fast"]}
    read_cell(folder, "fast", "0")
    FOLDER.finished(folder, asked)
    records.read_cell(folder, "tabular", "linear20", 0)
    if (folder / "benchmark.json").is_file() and benchmark.FOLDER.finished(
        folder, asked
    ):
        benchmark._outcome(folder)
    for check in (
        lambda: FOLDER.find(folder, asked),
        lambda: benchmark.FOLDER.find(folder, asked),
        lambda: STUDY.find(folder, {"table": "y"}, storage=None, study="x"),
        lambda: RUN.finished(folder, asked),
    ):
        with suppress(sys.modules["permgrad.base.errors"].PermgradError):
            check()


enrol(Reader("folders", make_cells, use_cells))


# ---- what users write ----------------------------------------------------------------


def make_settings(_: Path) -> list[Files]:
    """Return presets, search spaces and groups."""
    from permgrad.models.estimators.presets import presets

    space = {
        "base": "default",
        "parameters": {
            "learning_rate": {"low": 0.0001, "high": 0.01, "log": True},
            "network.dropout": {"low": 0.0, "high": 0.4, "step": 0.05},
            "network.dense_units.width": {"low": 64, "high": 512, "step": 64},
            "network.dense_units.depth": {"low": 1, "high": 4},
            "layout": {"choices": ["assignment", "tinto"]},
        },
    }
    found = [
        {"preset.json": json.dumps(presets.get(name).to_dict()).encode()}
        for name in list(presets)
    ]
    found += [{"preset.json": b'{"base": "fast", "max_epochs": 2}'}]
    found += [
        {"space.json": json.dumps(space).encode()},
        {"groups.json": b'{"one": ["a", "b"], "two": ["c"]}'},
    ]
    return [*found, {"groups.csv": b"column,group\na,one\nb,one\nc,two\n"}]


def use_settings(folder: Path, _: Any) -> None:
    """Read presets, spaces and groups, and check their values as commands do."""
    from permgrad.base.errors import PermgradError
    from permgrad.data.encode.groups import read_groups
    from permgrad.models.estimators.presets import get_preset
    from permgrad.tuning.spaces import check_preset, get_space

    for name, read in (
        ("preset.json", lambda path: check_preset(get_preset(path).to_dict())),
        ("space.json", lambda path: get_space(str(path))),
        ("groups.json", read_groups),
        ("groups.csv", read_groups),
    ):
        with suppress(PermgradError):
            if (folder / name).exists():
                read(folder / name)


enrol(Reader("presets", make_settings, use_settings))


def checkpoints(folder: Path | None, epochs: int = 2) -> Any:
    """Train a small network, from what is in a folder."""
    import permgrad as pg

    X = table(30)[["a", "b"]]
    network = {"dense_units": [4], "fusion_units": [4], "members": 2}
    made = pg.HyNNRegressor(
        preset="default",
        branches=("tabular",),
        network=network,
        max_epochs=epochs,
        batch_size=16,
        progress=False,
        random_state=0,
    )
    return made.fit(X, X["a"], checkpoint_folder=folder)


def make_checkpoints(place: Path) -> list[Files]:
    """Return the state of a training that is at its end, and of one that is not."""
    from unittest import mock

    from permgrad.models.train import checkpoint as training_loop

    checkpoints(place / "done")
    written: list[bytes] = []
    real = training_loop.write_checkpoint

    def keep(path: Path, learner: Any) -> None:
        real(path, learner)
        written.append(path.read_bytes())

    with mock.patch.object(training_loop, "write_checkpoint", keep):
        checkpoints(place / "begun")
    return [content_of(place / "done"), {"pt": written[0]}]


def use_checkpoint(folder: Path, _: Any) -> None:
    """Go on with a training."""
    checkpoints(folder).predict(table(3)[["a", "b"]])


enrol(Reader("checkpoint", make_checkpoints, use_checkpoint))


# ---- tables and images ---------------------------------------------------------------


def make_csv(_: Path) -> list[Files]:
    """Return CSV files as people write them."""
    X = table(12)
    found = [
        X.to_csv(index=False).encode(),
        X.to_csv(index=False, sep=";", decimal=",").encode("utf-16"),
    ]
    found += [
        X.to_csv(index=False, quoting=1).encode(),
        b"a\tb\n1\tx\n2\t\n",
        b'a|b\r\n1|"x\ny"\r\n2|z\r\n',
    ]
    found += ["name,größe\nÄ,1\n".encode("latin-1"), b"\xef\xbb\xbfa,b\n1,2\n"]
    return [{"table.csv": content} for content in [*found, gzip.compress(found[0])]]


def use_table(folder: Path, _: Any) -> None:
    """Read a table, tell its columns' types, and encode it."""
    from permgrad.data.encode.encoding import TableEncoder
    from permgrad.data.read.table import read_table
    from permgrad.data.types.column_types import infer_schema

    found = next(folder.iterdir(), folder / "table.csv")
    frame = read_table(found, na=["-9", "?"])
    infer_schema(frame)
    if len(frame) * frame.shape[1] < 20_000:
        TableEncoder().fit_transform(frame)


enrol(Reader("csv", make_csv, use_table))


def make_parquet(place: Path) -> list[Files]:
    """Return Parquet files as pandas and pyarrow write them, and a folder of two of
    them.
    """
    X = table(12).assign(
        kind=pd.Categorical(["p", "q"] * 6),
        when=pd.date_range("2020-01-01", periods=12),
    )
    X["whole"] = pd.array([1, None] * 6, dtype="Int64")
    (place / "parts" / "year=2020").mkdir(parents=True)
    X.to_parquet(place / "plain.parquet", index=False, row_group_size=5)
    X.set_index("a").to_parquet(place / "named.parquet")
    X.rename_axis("n").to_parquet(place / "range.parquet")
    X.to_parquet(place / "parts" / "year=2020" / "0.parquet")
    X.to_parquet(place / "parts" / "year=2020" / "1.parquet", compression="gzip")
    return [
        {name: (place / name).read_bytes()}
        for name in ("plain.parquet", "named.parquet", "range.parquet")
    ] + [content_of(place / "parts")]


def use_parquet(folder: Path, _: Any) -> None:
    """Read a table whole and in parts."""
    from permgrad.base.errors import PermgradError
    from permgrad.data.partitions import open_partitioned
    from permgrad.data.read.table import read_table

    with suppress(PermgradError):
        opened = open_partitioned(folder, rows_per_part=5)
        opened.check_cells(opened.columns, "leave it out")
        opened.read_all()
        for part in opened.parts[:3]:
            list(opened.batches(part, 2))
    for found in sorted(folder.rglob("*.parquet"))[:1]:
        frame = read_table(found)
        if len(frame) * frame.shape[1] < 20_000:
            with suppress(PermgradError):
                use_frame(frame)


def use_frame(frame: pd.DataFrame) -> None:
    """Encode a table."""
    from permgrad.data.encode.encoding import TableEncoder

    TableEncoder().fit_transform(frame)


enrol(Reader("parquet", make_parquet, use_parquet))


def make_image_tables(place: Path) -> list[Files]:
    """Return tables that name images, of several kinds."""
    from PIL import Image

    frame = write_images(place, 2)
    frame.to_csv(place / "table.csv", index=False)
    found = [content_of(place)]
    grey = np.arange(72, dtype=np.uint16).reshape(9, 8) * 900
    written = io.BytesIO()
    Image.fromarray(grey).save(written, "PNG")
    real = io.BytesIO()
    Image.fromarray((grey / 65535).astype(np.float32)).save(real, "TIFF")
    jpeg = io.BytesIO()
    Image.fromarray((grey // 256).astype(np.uint8)).save(jpeg, "JPEG")
    found.append({**found[0], "0.png": written.getvalue(), "1.png": real.getvalue()})
    found.append({**found[0], "0.png": jpeg.getvalue()})
    return found


def use_image_table(folder: Path, _: Any) -> None:
    """Read a table and the images that it names."""
    from permgrad.data.image_table import check_image_cells, pages_said
    from permgrad.data.read.table import read_table

    frame = read_table(folder / "table.csv")
    if "scan" in frame:
        files = [folder / str(cell) for cell in frame["scan"].dropna()[:50]]
        check_image_cells("scan", list(map(str, files)))
        pages_said("scan", files)


enrol(Reader("images", make_image_tables, use_image_table))


def make_medmnist(_: Path) -> list[Files]:
    """Return files as MedMNIST has them, and the features that the benchmark keeps."""
    found = []
    for shape, save in (((3, 8, 8), np.savez), ((2, 8, 8, 3), np.savez_compressed)):
        arrays = {
            f"{part}_images": np.ones(shape, np.uint8)
            for part in ("train", "val", "test")
        }
        arrays |= {
            f"{part}_labels": np.zeros((shape[0], 1), np.int64)
            for part in ("train", "val", "test")
        }
        written = io.BytesIO()
        save(written, **arrays)
        found.append({"set.npz": written.getvalue()})
    return found


def use_medmnist(folder: Path, _: Any) -> None:
    """Read a file of images."""
    from permgrad_benchmark.suites.multimodal.autoencoder import load_medmnist

    load_medmnist(folder / "set.npz")


enrol(Reader("medmnist", make_medmnist, use_medmnist))


def write_folder(files: Files, place: Path) -> None:
    """Write a case below a place; names that lead out of it or are no names are left
    out.
    """
    for name, content in files.items():
        path = place / name
        with suppress(OSError, ValueError):
            if ".." not in path.parts and path.is_relative_to(place):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def corpus(reader: Reader) -> list[Files]:
    """Return the valid folders of a reader."""
    place = Path(tempfile.mkdtemp(prefix="permgrad-corpus-"))
    try:
        return reader.make(place)
    finally:
        shutil.rmtree(place)
