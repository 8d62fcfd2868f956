"""The published network and notebook in Keras against permgrad: training per epoch, and
everything from CSV to report.

    PERMGRAD_DATA=/folder/with/tables python -m benchmarks.speed.keras_speed
    [--environment DIR] [--quick]

The peer is ``keras_peer.py``, in an environment that this script makes the first time
(a few minutes, about 2 GB). Both have the same layers and widths (preset ``paper``; the
numbers of parameters are compared), the same rows, batches of 32, AdamW and learning
rates; processor time, in processes of their own, which take turns.

*Training*: ``model.fit`` with the notebook's metrics, once more without any metric, and
once more in Keras' mixed precision of bfloat16; ours in float32. An epoch is its steps
and the validation after it. The peer's pictures are drawn beforehand, as in the
notebook; permgrad draws them in every step, and that is in its time. The first epoch is
left out on both sides: TensorFlow compiles in it.

*From CSV to report*: ``permgrad run puma --preset paper`` with batches of 32 against
the notebook's steps with as many epochs. Ours also explains with intervals and writes
an HTML report; the peer's plots and its search over 75 networks are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._results import data_folder, markdown_table, parser, record
from benchmarks.speed import keras_peer
from benchmarks.speed._speed import Line, line

BATCH, FLOORS = 32, {"training": 1.4, "notebook": 4.0}
AIMS = {"training": 4.0, "notebook": 10.0}
#: The peer's trainings, and what its answer calls them.
PEERS = {
    "as published": "published",
    "without metrics": "bare",
    "in bfloat16": "bfloat16",
}
TABLES = {"puma": "puma8NH.csv", "heloc": "heloc.csv"}


# ---- the data that both are given ----------------------------------------------------


def write_arrays(name: str, path: Path) -> int:
    """Write a table's rows, pictures and targets as both need them; return the number
    of outputs.
    """
    import numpy as np
    import torch

    from permgrad.data.datasets import load_dataset
    from permgrad.data.splitting import split_rows
    from permgrad.imaging import Renderer, fit_layout, make_layout

    data = load_dataset(name)
    y = data.frame[data.target].to_numpy()
    split = split_rows(len(y), y, task=data.task)
    X = data.frame.drop(columns=data.target).to_numpy(np.float32)
    low, high = X[split.train].min(axis=0), X[split.train].max(axis=0)
    X = (X - low) / np.where(high > low, high - low, 1)
    layout = fit_layout(make_layout("tinto", 20, 0), X[split.train], None, 0)
    limits = X[split.train].min(axis=0), X[split.train].max(axis=0)
    renderer = Renderer(layout, *limits, channels=3, scale=255)
    if data.task == "regression":
        mean, scale = y[split.train].mean(), y[split.train].std()
        target = ((y - mean) / scale).astype(np.float32)[:, None]
    else:
        target = (y[:, None] == np.unique(y)).astype(np.float32)
    arrays: dict[str, Any] = {
        "positions": layout.positions,
        "minimum": limits[0],
        "maximum": limits[1],
    }
    for part in ("train", "validation"):
        rows = getattr(split, part)
        drawn = renderer(torch.from_numpy(X[rows])).permute(0, 2, 3, 1)
        arrays |= {f"{part}_table": X[rows], f"{part}_target": target[rows]}
        # What a PNG holds: whole numbers.
        arrays[f"{part}_image"] = drawn.round().clamp(0, 255).byte().numpy()
    np.savez(path, **arrays)
    return int(target.shape[1])


def job(folder: Path, **more: Any) -> dict[str, Any]:
    """Return what both sides are asked, beside what is special to it."""
    from permgrad.models.estimators.presets import PAPER
    from permgrad.models.train.learner import TrainingOptions

    options = TrainingOptions(**PAPER.training)
    return {
        "sizes": PAPER.network.to_dict(),
        "pixels": 20,
        "learning_rate": options.learning_rate,
        "weight_decay": options.weight_decay,
        "batch_size": BATCH,
        "answer": str(folder / "answer.json"),
        **more,
    }


# ---- running -------------------------------------------------------------------------


def run(command: list[str], threads: int | None) -> tuple[float, float]:
    """Run a command and return its processor seconds and seconds; its text is shown
    only if it fails.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.endswith("_NUM_THREADS")
    }
    if threads is not None:
        environment |= {
            name: str(threads)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    after, taken = (
        resource.getrusage(resource.RUSAGE_CHILDREN),
        time.perf_counter() - begun,
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
        )
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, taken


def ask(command: list[str], work: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Give a job to a process of its own and return its answer, with the processor time
    of the whole process.
    """
    file = folder / "job.json"
    file.write_text(json.dumps(work), encoding="utf-8")
    processor, seconds = run([*command, str(file)], work["threads"])
    answer = json.loads(Path(work["answer"]).read_text(encoding="utf-8"))
    return {**answer, "process": (processor, seconds)}


def train_ours(work: dict[str, Any]) -> dict[str, Any]:
    """Train permgrad's network on the job's rows; runs in a process of its own."""
    import numpy as np
    import torch

    from permgrad.imaging import Renderer, StoredLayout
    from permgrad.models.estimators.presets import PAPER
    from permgrad.models.network.network import HybridNetwork
    from permgrad.models.network.network_summary import count_numbers
    from permgrad.models.train.learner import TrainingJob, TrainingOptions, train
    from permgrad.models.train.training_rows import Rows

    if work["threads"] is not None:
        torch.set_num_threads(work["threads"])
    arrays = np.load(work["arrays"])
    layout = StoredLayout(arrays["positions"], 20)
    renderer = Renderer(
        layout, arrays["minimum"], arrays["maximum"], channels=3, scale=255
    )

    def rows(part: str) -> Rows:
        target = torch.from_numpy(arrays[f"{part}_target"])
        y = target[:, 0] if work["outputs"] == 1 else target.argmax(dim=1)
        return Rows(torch.from_numpy(arrays[f"{part}_table"]), y, torch.ones(len(y)))

    torch.manual_seed(0)
    network = HybridNetwork(
        arrays["train_table"].shape[1],
        work["outputs"],
        PAPER.network,
        renderer=renderer,
    )
    marks = []

    def mark(_: object) -> None:
        marks.append((time.process_time(), time.perf_counter()))

    mark(None)
    options = TrainingOptions(
        **{
            **PAPER.training,
            "loss": "squared_error" if work["outputs"] == 1 else "cross_entropy",
            "batch_size": work["batch_size"],
            "max_epochs": work["epochs"],
            "patience": None,
            "precision": work["precision"],
        }
    )
    job = TrainingJob(
        network, rows("train"), rows("validation"), options, seed=0, progress=False
    )
    result = train(job, on_epoch=mark)
    taken = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]
    losses = [epoch["validation_loss"] for epoch in result.history]
    return {"epochs": taken, "parameters": count_numbers(network), "val_loss": losses}


# ---- training ------------------------------------------------------------------------


def measure_training(
    python: Path,
    tables: list[str],
    rounds: int,
    epochs: int,
    threads: tuple[int | None, ...] = (1, None),
) -> list[dict[str, Any]]:
    """Return a line for each table and number of threads: processor seconds per epoch,
    medians and spread.
    """
    found = []
    for name in tables:
        for number in threads:
            with tempfile.TemporaryDirectory() as place:
                found.append(
                    _compare_training(python, name, number, rounds, epochs, Path(place))
                )
                print(found[-1], flush=True)
    return found


def _compare_training(
    python: Path, name: str, threads: int | None, rounds: int, epochs: int, folder: Path
) -> dict[str, Any]:
    outputs = write_arrays(name, folder / "arrays.npz")
    work = job(
        folder,
        work="train",
        arrays=str(folder / "arrays.npz"),
        outputs=outputs,
        epochs=epochs,
        threads=threads,
    )
    peer_command = [str(python), str(Path(keras_peer.__file__)), "--job"]
    own_command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--ours"]

    taken: dict[str, list[list[float]]] = {who: [] for who in ("permgrad", *PEERS)}
    losses: dict[str, list[float]] = {who: [] for who in taken}
    for _ in range(rounds):
        ours = ask(own_command, {**work, "precision": "auto"}, folder)
        peer = ask(peer_command, work, folder)
        if ours["parameters"] != peer["parameters"]:
            raise RuntimeError(
                "both networks must have as many parameters, however: "
                f"{ours['parameters']}, {peer['parameters']}"
            )
        answers = {"permgrad": ours} | {who: peer[key] for who, key in PEERS.items()}
        for who, answer in answers.items():
            taken[who].append([epoch[0] for epoch in answer["epochs"][1:]])
            losses[who].append(min(answer["val_loss"]))
    middle = {
        who: statistics.median(itertools.chain(*epochs_of))
        for who, epochs_of in taken.items()
    }
    ratios = [
        statistics.median(a) / statistics.median(b)
        for a, b in zip(taken["as published"], taken["permgrad"], strict=True)
    ]
    return {
        "table": name,
        "threads": threads or f"default ({os.cpu_count()} cores)",
        "rows": ours.get("rows", peer["rows"]),
        "parameters": peer["parameters"],
        "permgrad, s per epoch": middle["permgrad"],
        **{f"Keras {who}, s per epoch": middle[who] for who in PEERS},
        "times as fast": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
        **{
            f"times as fast as {who}": middle[who] / middle["permgrad"]
            for who in PEERS
            if who != "as published"
        },
        "least validation losses": {
            who: [round(own, 4) for own in losses[who]] for who in losses
        },
        "rounds": rounds,
        "versions": peer["versions"],
    }


# ---- from CSV to report --------------------------------------------------------------


def measure_notebook(
    python: Path, rounds: int, threads: int | None = 1, most_epochs: int | None = None
) -> dict[str, Any]:
    """Return the whole processes' processor time, and the peer's single steps."""
    own_times, peer_times, steps, epochs = [], [], {}, 0
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            own_times.append(run_ours(folder, threads, number, most_epochs))
            epochs = (
                sum(1 for _ in (folder / "run" / "history.csv").open(encoding="utf-8"))
                - 1
            )
            table = data_folder()
            assert table is not None
            work = job(
                folder,
                work="notebook",
                table=str(table / TABLES["puma"]),
                target="values",
                outputs=1,
                epochs=epochs,
                threads=threads,
                seed=number,
            )
            answer = ask(
                [str(python), str(Path(keras_peer.__file__)), "--job"], work, folder
            )
            peer_times.append(answer["process"])
            for step, (processor, _) in answer["steps"].items():
                steps.setdefault(step, []).append(processor)
            print(
                f"round {number + 1}: permgrad {own_times[-1]}, peer {peer_times[-1]}, "
                f"{epochs} epochs",
                flush=True,
            )
    ratios = [peer[0] / own[0] for own, peer in zip(own_times, peer_times, strict=True)]
    clock = [peer[1] / own[1] for own, peer in zip(own_times, peer_times, strict=True)]
    return {
        "threads": threads or f"default ({os.cpu_count()} cores)",
        "epochs of the last round": epochs,
        "permgrad, processor s": statistics.median(own[0] for own in own_times),
        "Keras notebook, processor s": statistics.median(
            peer[0] for peer in peer_times
        ),
        "times as fast": statistics.median(ratios),
        "spread": (min(ratios), max(ratios)),
        "times as fast on the clock": statistics.median(clock),
        "rounds": rounds,
        "peer's steps, processor s": {
            step: statistics.median(own) for step, own in steps.items()
        },
    }


def run_ours(
    folder: Path, threads: int | None, seed: int, most_epochs: int | None
) -> tuple[float, float]:
    """Run the command line as a user would."""
    training = {"batch_size": BATCH} | (
        {} if most_epochs is None else {"max_epochs": most_epochs}
    )
    preset = folder / "batches.json"
    preset.write_text(json.dumps({"base": "paper", **training}), encoding="utf-8")
    command = [sys.executable, "-m", "permgrad", "run", "puma", "--preset", str(preset)]
    command += ["--out", str(folder / "run"), "--seed", str(seed), "--device", "cpu"]
    command += [] if threads is None else ["--threads", str(threads)]
    return run(command, threads)


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    python = keras_peer.make_environment(keras_peer.DEFAULT_ENVIRONMENT)
    lines = []
    for own in measure_training(
        python,
        ["puma"] if quick else list(TABLES),
        1 if quick else 2,
        2 if quick else 4,
        (1,),
    ):
        what = (
            f"an epoch of the paper network, batches of {BATCH}, {own['table']}, "
            f"threads: {own['threads']}"
        )
        ours, note = (
            own["permgrad, s per epoch"],
            "permgrad draws the pictures in each step",
        )
        for peer in PEERS:
            ratio = (
                "times as fast"
                if peer == "as published"
                else f"times as fast as {peer}"
            )
            theirs = own[f"Keras {peer}, s per epoch"]
            rest = {
                "ratio": own[ratio],
                "low": None,
                "high": None,
                "rounds": own["rounds"],
            }
            if peer == "as published":
                rest |= dict(zip(("low", "high"), own["spread"], strict=True))
            lines.append(
                {
                    **line(
                        what, f"Keras, model.fit {peer}", [ours], [theirs], note=note
                    ),
                    **rest,
                }
            )
    own = measure_notebook(python, 1, most_epochs=2 if quick else None)
    found = line(
        f"from CSV to report, puma, {own['epochs of the last round']} epochs in "
        f"batches of {BATCH}",
        "the notebook's steps in Keras",
        [own["permgrad, processor s"]],
        [own["Keras notebook, processor s"]],
        note="permgrad also gives intervals and writes a report",
    )
    spread = dict(zip(("low", "high"), own["spread"], strict=True))
    return [
        *lines,
        {**found, "ratio": own["times as fast"], **spread, "rounds": own["rounds"]},
    ]


# ---- the face ------------------------------------------------------------------------


def main() -> int:
    """Measure, print and record."""
    made: argparse.ArgumentParser = parser(__doc__)
    made.add_argument(
        "--environment", type=Path, default=keras_peer.DEFAULT_ENVIRONMENT
    )
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument(
        "--epochs",
        type=int,
        default=5,
        help="of each training that is timed; the first is left out",
    )
    made.add_argument("--only", choices=list(FLOORS), help="one of the two comparisons")
    made.add_argument("--ours", type=Path, help=argparse.SUPPRESS)
    arguments = made.parse_args()
    if arguments.ours:
        work = json.loads(arguments.ours.read_text(encoding="utf-8"))
        Path(work["answer"]).write_text(json.dumps(train_ours(work)), encoding="utf-8")
        return 0
    python = keras_peer.make_environment(arguments.environment)
    rounds = 1 if arguments.quick else arguments.rounds
    results: dict[str, Any] = {}
    if arguments.only != "notebook":
        tables = ["puma"] if arguments.quick else list(TABLES)
        results["training"] = measure_training(
            python, tables, rounds, 2 if arguments.quick else arguments.epochs
        )
    if arguments.only != "training":
        results["notebook"] = measure_notebook(
            python, rounds, most_epochs=2 if arguments.quick else None
        )
    return record(
        arguments,
        "The published system in Keras",
        text(results),
        results,
        passed=passed(results),
        seeds=[0],
    )


def passed(results: dict[str, Any]) -> bool:
    """Whether the floors are met: training on one thread on every table, and the whole
    process.
    """
    ratios = {
        "training": [
            line["times as fast"]
            for line in results.get("training", [])
            if line["threads"] == 1
        ]
    }
    ratios["notebook"] = (
        [results["notebook"]["times as fast"]] if "notebook" in results else []
    )
    return all(ratio >= FLOORS[name] for name, own in ratios.items() for ratio in own)


def text(results: dict[str, Any]) -> str:
    """Return what was measured as a page."""
    parts = []
    if "training" in results:
        lines = [
            {key: value for key, value in line.items() if key != "versions"}
            for line in results["training"]
        ]
        parts.append(
            f"Training, floor {FLOORS['training']:g} times, aim {AIMS['training']:g}."
        )
        parts.append(markdown_table(lines))
        parts.append(
            f"Peer: {', '.join(f'{name} {version}' for name, version in results['training'][0]['versions'].items())}."
        )
    if "notebook" in results:
        own = dict(results["notebook"])
        steps = own.pop("peer's steps, processor s")
        parts.append(
            f"From CSV to report, floor {FLOORS['notebook']:g} times, aim "
            f"{AIMS['notebook']:g}."
        )
        parts.append(
            markdown_table(
                [{"figure": name, "value": value} for name, value in own.items()]
            )
        )
        parts.append(
            markdown_table(
                [
                    {"step of the notebook": name, "processor s": value}
                    for name, value in steps.items()
                ]
            )
        )
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
