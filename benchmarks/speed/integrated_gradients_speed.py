"""Integrated gradients on one thread against Captum's, at 50 steps: time, memory, gaps
and errors, in one run.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/tables python -m
    benchmarks.speed.integrated_gradients_speed

Two networks: the published example on bank (51–80–30–10–1, rectifiers, dropout 0.3, 30
epochs, batches of 512) over all 9,043 test rows, and preset ``default`` (both paths) on
HELOC. Both contestants explain the same output of the same module for the same encoded
rows from the baseline of zeros; permgrad is timed through ``pg.explain``, with checks,
encoding of the table and everything its result holds. They take turns; medians of
processor time. Peak memory is measured in a process of its own for each: the highest
resident set during the call over what was there before it.

Since permgrad's sums are right to rounding by the way it integrates, the gap says
nothing about its single values: the errors of both are therefore measured too, against
a midpoint sum of several thousand gradients in float64.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc, Line, line, take_turns
from permgrad.data.datasets import load_dataset
from permgrad.models.estimators.presets import Preset
from permgrad.models.network.network import HybridNetwork
from permgrad.models.network.options import NetworkOptions

STEPS, INTERNAL_BATCH = 50, 4096
CATEGORIES = [
    "job",
    "marital",
    "education",
    "default",
    "housing",
    "loan",
    "contact",
    "month",
    "poutcome",
]
NETWORK = NetworkOptions(
    dense_units=(80, 30, 10),
    fusion_units=(),
    dropout=0.3,
    normalization="none",
    initializer="glorot_uniform",
)


def bank_model(epochs: int = 30) -> tuple[pg.HyNNClassifier, Any, int]:
    """Return the published example's network with one output, the test rows, and the
    position of its output.
    """
    from sklearn.model_selection import train_test_split

    data = load_dataset("bank")
    frame, y = data.frame.drop(columns=data.target), data.frame[data.target].to_numpy()
    training, test = train_test_split(
        np.arange(len(frame)), test_size=0.2, random_state=42, stratify=y
    )
    model = pg.HyNNClassifier(
        preset=Preset("assignment", "standard", NETWORK, {"batch_size": 512}),
        branches=("tabular",),
        kinds=dict.fromkeys(CATEGORIES, "categorical"),
        max_epochs=1,
        random_state=0,
        progress=False,
    ).fit(frame.iloc[training], y[training])
    # One output, the logit of "yes"; the training loop is the published one.
    encoded, yes = (
        model.encode_rows(frame.iloc[training]).encoded,
        (y[training] == model.classes_[1]),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.module_ = one_logit(
            torch.from_numpy(encoded), torch.from_numpy(yes).float()[:, None], epochs
        )
    return model, frame.iloc[test].reset_index(drop=True), 1


def one_logit(rows: torch.Tensor, target: torch.Tensor, epochs: int) -> HybridNetwork:
    """Train the network with the weighted loss of the published example."""
    net = HybridNetwork(rows.shape[1], 1, NETWORK, paths=("tabular",))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(7.55))
    for _ in range(epochs):
        for part in torch.randperm(len(rows)).split(512):
            optimizer.zero_grad()
            loss(net(rows[part]), target[part]).backward()
            optimizer.step()
    return net.eval()


def heloc_model(rows: int, epochs: int = 6) -> tuple[pg.HyNNClassifier, Any, int]:
    """Return preset ``default`` after a few epochs on HELOC, some test rows, and the
    position of the output.
    """
    heloc = Heloc.read()
    model = pg.HyNNClassifier(
        branches=("tabular", "image"),
        random_state=0,
        progress=False,
        max_epochs=epochs,
        na=heloc.na,
    )
    return heloc.fit(model), heloc.tested(rows), 1


def ours(model: pg.HyNNClassifier, rows: Any, target: int) -> np.ndarray:
    """Return permgrad's attributions of encoded columns ``(rows, encoded)``."""
    explanation = pg.explain(
        model,
        rows,
        method=pg.methods.IntegratedGradients(baseline="zeros", players="encoded"),
        target=target if model.module_.outputs > 1 else 0,
        scale="raw",  # as Captum's
        progress=False,
    )
    return explanation.values[:, :, 0]


def captum(model: pg.HyNNClassifier, rows: Any, target: int) -> np.ndarray:
    """Return Captum's attributions of the same output."""
    from captum.attr import IntegratedGradients

    net, encoded = model.module_, torch.from_numpy(model.encode_rows(rows).encoded)
    column = target if net.outputs > 1 else 0
    baseline = torch.zeros(1, encoded.shape[1]).expand_as(encoded)
    found = IntegratedGradients(lambda x: net(x)[:, column]).attribute(
        encoded, baseline, n_steps=STEPS, internal_batch_size=INTERNAL_BATCH
    )
    return found.detach().numpy()


CONTESTANTS = {"permgrad": ours, "captum": captum}


def reference(
    model: pg.HyNNClassifier, rows: Any, target: int, steps: int
) -> np.ndarray:
    """Return attributions by a midpoint sum of many gradients in float64."""
    net = copy.deepcopy(model.module_).double()
    encoded = torch.from_numpy(model.encode_rows(rows).encoded).double()
    column = target if net.outputs > 1 else 0
    total = torch.zeros_like(encoded)
    for step in range(steps):
        points = (encoded * ((step + 0.5) / steps)).requires_grad_()
        total += torch.autograd.grad(net(points)[:, column].sum(), points)[0]
    return (total / steps * encoded).numpy()


def gaps(
    model: pg.HyNNClassifier, rows: Any, target: int, values: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return |Σ attributions − (f(x) − f(baseline))| of each row, and the range of f
    over the rows.
    """
    net, encoded = model.module_, torch.from_numpy(model.encode_rows(rows).encoded)
    column = target if net.outputs > 1 else 0
    with torch.no_grad():
        output = net(encoded)[:, column].double().numpy()
        base = float(net(torch.zeros(1, encoded.shape[1]))[0, column])
    return np.abs(values.sum(axis=1, dtype=np.float64) - (output - base)), float(
        np.ptp(output)
    )


# ---- memory, in a process of its own -------------------------------------------------


def resident(name: str) -> float:
    """Return a line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(
        int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")
    )


def measure_memory(name: str, file: str) -> None:
    """Print the peak of one call over what was resident before it; a short call first
    loads what is loaded once.
    """
    torch.set_num_threads(1)
    model, rows, target = torch.load(file, weights_only=False)
    CONTESTANTS[name](model, rows[:20], target)
    # Sets the peak to what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = resident("VmRSS")
    CONTESTANTS[name](model, rows, target)
    print(json.dumps(resident("VmHWM") - before))


def peak_memory(name: str, file: Path) -> float:
    """Run ``measure_memory`` in a fresh process; the file is the one that this script
    has just written.
    """
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        __spec__.name,
        "--measure",
        name,
        "--file",
        str(file),
    ]
    return float(
        subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    )


# ---- the comparison ------------------------------------------------------------------


def compare(
    label: str,
    subject: tuple[pg.HyNNClassifier, Any, int],
    rounds: int,
    some: int,
    steps: int,
) -> list[dict[str, Any]]:
    """Return one line for each contestant."""
    model, rows, target = subject
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    values: dict[str, np.ndarray] = {}
    for number in range(rounds + 1):
        for name, work in CONTESTANTS.items():
            started = time.process_time()
            values[name] = work(model, rows, target)
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - started)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "subject.pt"
        torch.save(subject, file)
        memory = {name: peak_memory(name, file) for name in CONTESTANTS}
    truth = reference(model, rows[:some], target, steps)
    middle = {name: statistics.median(own) for name, own in seconds.items()}
    found = []
    for name, own in values.items():
        gap, spread = gaps(model, rows, target, own)
        error = np.abs(own[:some] - truth).max(axis=1)
        found.append(
            {
                "network": label,
                "method": name,
                "rows": len(rows),
                "seconds": middle[name],
                "times captum's speed": middle["captum"] / middle[name],
                "MB over the data": memory[name],
                "largest gap": float(gap.max()),
                "mean gap": float(gap.mean()),
                "largest gap, % of range": 100 * float(gap.max()) / spread,
                "largest error of a value": float(error.max()),
                "mean of the rows' largest errors": float(error.mean()),
            }
        )
    return found


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page: two networks against Captum."""
    torch.set_num_threads(1)
    lines = []
    subjects = [("bank 51–80–30–10–1", bank_model(2 if quick else 30), 3)]
    if not quick:
        # The speed does not depend on how long a network was trained.
        subjects.append(("HELOC, preset default", heloc_model(100, epochs=1), 2))
    for label, (model, rows, target), rounds in subjects:
        given = rows[:200] if quick else rows
        values: dict[str, np.ndarray] = {}

        def one(
            name: str,
            given: Any = given,
            model: Any = model,
            target: int = target,
            into: Any = values,
        ) -> None:
            into[name] = CONTESTANTS[name](model, given, target)

        calls = {name: (lambda name=name, one=one: one(name)) for name in CONTESTANTS}
        taken = take_turns(calls, 1 if quick else rounds)
        truth = reference(model, given[:20], target, 500)
        error = {
            name: float(np.abs(own[:20] - truth).max()) for name, own in values.items()
        }
        note = (
            f"largest error of a value: permgrad {error['permgrad']:.1e}, Captum "
            f"{error['captum']:.1e}"
        )
        peer = f"Captum, {STEPS} steps, batches of {INTERNAL_BATCH:,}"
        ours, theirs = (
            [own / len(given) * 1000 for own in taken[name]] for name in CONTESTANTS
        )
        what = f"integrated gradients of a row, {label}"
        lines.append(line(what, peer, ours, theirs, unit="ms", note=note))
    return lines + expected_gradients(*subjects[0][1], quick=quick)


def expected_gradients(
    model: pg.HyNNClassifier, rows: Any, target: int, *, quick: bool
) -> list[Line]:
    """Return the line of expected gradients (the mean over 100 background rows) against
    shap's GradientExplainer.

    shap draws pairs of a background row and a point of the line; its draws are as many
    as it needs to be as near to the truth as permgrad is, or 5,000 a row if that does
    not do.
    """
    import shap

    net, column = model.module_, target if model.module_.outputs > 1 else 0
    some = rows[: 5 if quick else 20].reset_index(drop=True)
    references = rows[-100:].reset_index(drop=True)
    encoded, background = (
        torch.from_numpy(model.encode_rows(part).encoded) for part in (some, references)
    )

    def own() -> np.ndarray:
        found = pg.explain(
            model,
            some,
            method=pg.methods.IntegratedGradients(
                baseline="background", references=len(references), players="encoded"
            ),
            background=references,
            target=column,
            scale="raw",
            progress=False,
        )
        return found.values[:, :, 0]

    truth = _expected_gradients(
        copy.deepcopy(net).double(), encoded.double(), background.double(), column
    )
    explainer = shap.GradientExplainer(net, background)
    draws, theirs_error = 200, np.inf
    error = float(np.sqrt(np.mean((own() - truth) ** 2)))

    def theirs(count: int) -> np.ndarray:
        return np.asarray(
            explainer.shap_values(encoded, nsamples=count, rseed=0)
        ).reshape(truth.shape)

    while draws < (400 if quick else 5_000):
        theirs_error = float(np.sqrt(np.mean((theirs(draws) - truth) ** 2)))
        if theirs_error <= error:
            break
        draws = min(5_000, draws * 5)
    taken = take_turns({"own": own, "shap": lambda: theirs(draws)}, 1 if quick else 3)
    ours, other = (
        [1000 * seconds / len(some) for seconds in taken[name]]
        for name in ("own", "shap")
    )
    note = (
        f"root mean square error: permgrad {error:.1e}, shap {theirs_error:.1e} "
        f"with {draws:,} draws"
    )
    peer = "shap GradientExplainer"
    what = "expected gradients of a row, bank, 100 background rows"
    return [line(what, peer, ours, other, unit="ms", equal="error", note=note)]


def _expected_gradients(
    net: torch.nn.Module,
    encoded: torch.Tensor,
    background: torch.Tensor,
    column: int,
    steps: int = 100,
) -> np.ndarray:
    """Return a midpoint sum over every background row in float64."""
    total = torch.zeros_like(encoded)
    for base in background:
        for part in range(steps):
            points = (base + (encoded - base) * ((part + 0.5) / steps)).requires_grad_()
            total += torch.autograd.grad(net(points)[:, column].sum(), points)[0] * (
                encoded - base
            )
    return (total / steps / len(background)).numpy()


def main() -> int:
    """Measure, print and record."""
    made: argparse.ArgumentParser = parser(__doc__)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--measure", choices=list(CONTESTANTS), help=argparse.SUPPRESS)
    made.add_argument("--file", help=argparse.SUPPRESS)
    arguments = made.parse_args()
    warnings.simplefilter("ignore")
    if arguments.measure:
        measure_memory(arguments.measure, arguments.file)
        return 0
    torch.set_num_threads(1)
    rounds = 1 if arguments.quick else arguments.rounds
    found = compare("bank 51–80–30–10–1", bank_model(), rounds, 100, 4000)
    own, peer = found
    passed = (
        own["times captum's speed"] >= 3
        and own["largest gap"] <= peer["largest gap"]
        and own["mean gap"] <= peer["mean gap"]
        and own["MB over the data"] <= peer["MB over the data"]
        and own["largest gap, % of range"] <= 0.5
    )
    if not arguments.quick:
        found += compare(
            "HELOC, preset default", heloc_model(500), max(1, rounds // 2), 20, 1000
        )
    text = (
        f"Captum: {STEPS} steps, internal_batch_size={INTERNAL_BATCH}. Gaps and errors "
        f"in logits; medians of {rounds} rounds of processor time, one thread. The "
        "floor is for bank: 3 times as fast, no larger gap (largest, mean), no more "
        "memory, and a largest gap of 0.5 % of the range of f.\n\n"
        + markdown_table(found)
    )
    return record(
        arguments,
        "Integrated gradients: speed, memory, completeness",
        text,
        found,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
