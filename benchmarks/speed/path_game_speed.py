"""Speed of the path game against scikit-learn's permutation importance, in one run, on
one thread.

Equal work: HELOC's test rows (published split), 23 features, 5 repeats, the `paper`
network. Ours plays three coalitions (table, image, both) and gives intervals;
scikit-learn's plays one. Two peers: `sklearn.inspection.permutation_importance` over a
plain PyTorch forward of the same module at batch 2,048, and over permgrad's own
`predict_proba`. HELOC's codes −7, −8, −9 are left as numbers, as in the published work,
so that 23 features are 23 encoded columns for everybody. Scikit-learn's log loss cuts
probabilities at 2e-16, ours does not: where a barely trained network is sure of itself
on replaced values, importances differ.

    PERMGRAD_DATA=../shared/data python -m benchmarks.speed.path_game_speed [--runs 5]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance
from tests.shared.explaining import explain_with

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc, Line, line, take_turns

REPEATS = 5
PLAIN, PREDICT = (
    "scikit-learn over a plain forward, batches of 2,048",
    "scikit-learn over permgrad's predict",
)
GAME, DENSE = "path game (3 coalitions, intervals)", "the same, dense"
#: Least, and wished for, number of times scikit-learn takes as long.
FLOORS, AIMS = {PLAIN: 8.0, PREDICT: 3.0}, {PLAIN: 20.0, PREDICT: 6.0}


class PlainForward(ClassifierMixin, BaseEstimator):
    """The module called as anyone would call it: whole batches of 2,048 encoded rows,
    no gradient.
    """

    def __init__(self, module, classes):
        self.module, self.classes_ = module, classes

    def fit(self, X, y):  # noqa: ARG002 — scikit-learn asks for it
        return self

    def predict_proba(self, X):
        with torch.no_grad():
            parts = [
                self.module(part)
                for part in torch.as_tensor(X, dtype=torch.float32).split(2048)
            ]
            return torch.softmax(torch.cat(parts).double(), dim=1).numpy()

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def trained(epochs: int = 3):
    """Return the paper network after a few epochs on HELOC's training rows, the test
    rows and their labels.
    """
    heloc = Heloc.read()
    model = pg.HyNNClassifier(
        preset="paper", max_epochs=epochs, random_state=0, progress=False
    )
    return heloc.fit(model), heloc.tested(), heloc.y[heloc.split.test]


def captum_permutation(model, encoded: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean rise of each row's loss by Captum's FeaturePermutation, a batch
    of all rows at once.
    """
    from captum.attr import FeaturePermutation

    target = torch.as_tensor((y == model.classes_[1]).astype(np.int64))

    def losses(rows: torch.Tensor) -> torch.Tensor:
        parts = zip(rows.split(256), target.split(256), strict=True)
        with torch.no_grad():
            return torch.cat(
                [
                    torch.nn.functional.cross_entropy(
                        model.module_(x), t, reduction="none"
                    )
                    for x, t in parts
                ]
            )

    peer, rows = FeaturePermutation(losses), torch.as_tensor(encoded)
    found = [-peer.attribute(rows).mean(dim=0) for _ in range(REPEATS)]
    return torch.stack(found).mean(dim=0).numpy()


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    model, X, y = trained(1 if quick else 3)
    count = 100 if quick else 500
    X, y = X[:count], y[:count]
    encoded = model.encode_rows(X).encoded
    plain = PlainForward(model.module_, model.classes_)
    given = {"n_repeats": REPEATS, "random_state": 0, "scoring": "neg_log_loss"}
    peers = {
        "scikit-learn, permutation_importance over a plain forward, batches of 2,048": lambda: (
            permutation_importance(plain, encoded, y, **given)
        ),
        "scikit-learn, permutation_importance over permgrad's predict": lambda: (
            permutation_importance(model, X, y, **given)
        ),
        "Captum FeaturePermutation, batches of 256": lambda: captum_permutation(
            model, encoded, y
        ),
    }
    game = {
        "n_repeats": REPEATS,
        "random_state": 0,
        "direction": False,
        "progress": False,
    }
    mine = {
        "path game": lambda: explain_with(model, X, y, **game),
        "permutation": lambda: pg.explain(
            model, X, y, method="permutation", n_repeats=REPEATS, progress=False
        ),
    }
    taken = take_turns({**mine, **peers}, 1 if quick else 2)
    on = f"{len(X):,} HELOC rows, 23 features, {REPEATS} repeats, paper network"
    lines = [
        line(
            f"path game, {on}",
            name,
            taken["path game"],
            taken[name],
            note="one coalition of our three, no intervals",
        )
        for name in peers
    ]
    first = next(iter(peers))
    return [
        *lines,
        line(f"method='permutation', {on}", first, taken["permutation"], taken[first]),
    ]


def check(runs: int) -> tuple[list[dict[str, object]], str]:
    """Return one line per contestant over all test rows, and what the run was;
    contestants take turns.
    """
    model, X, y = trained()
    encoded = model.encode_rows(X).encoded
    if encoded.shape[1] != 23:
        raise SystemExit(
            f"23 encoded columns are expected, however: {encoded.shape[1]}"
        )
    game = {
        "n_repeats": REPEATS,
        "random_state": 0,
        "direction": False,
        "progress": False,
    }
    peer = {"n_repeats": REPEATS, "random_state": 0, "scoring": "neg_log_loss"}
    plain = PlainForward(model.module_, model.classes_)
    work = {
        GAME: lambda n: explain_with(model, X[:n], y[:n], **game),
        "the same, with directions": lambda n: explain_with(
            model, X[:n], y[:n], **{**game, "direction": True}
        ),
        DENSE: lambda n: explain_with(model, X[:n], y[:n], **game, incremental=False),
        PLAIN: lambda n: permutation_importance(plain, encoded[:n], y[:n], **peer),
        PREDICT: lambda n: permutation_importance(model, X[:n], y[:n], **peer),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    found = {}
    for number in range(runs + 1):
        for name, call in work.items():
            started = time.process_time()
            found[name] = call(
                len(X) if number else 50
            )  # a few rows first, so that nobody pays for loading
            if number:
                taken[name].append(time.process_time() - started)
    first = taken[GAME]
    lines = []
    for name, took in taken.items():
        ratios = [other / own for other, own in zip(took, first, strict=True)]
        spread = f"{min(took):.2f}–{max(took):.2f}"
        lines.append(
            {
                "who": name,
                "s": statistics.median(took),
                "least–most": spread,
                "times the path game's time": statistics.median(ratios),
            }
        )
    ours, theirs, dense = (
        found[GAME].values[:, 0],
        found[PLAIN].importances_mean,
        found[DENSE].values[:, 0],
    )
    text = (
        f"HELOC, {len(X):,} test rows, 23 features, {REPEATS} repeats, `paper` "
        f"network, one thread, {runs} rounds, processor time, scikit-learn "
        f"{sklearn.__version__}. Correlation of our importances and scikit-learn's "
        f"{np.corrcoef(ours, theirs)[0, 1]:.4f}; largest difference from the dense "
        f"reference {np.abs(ours - dense).max() / np.log(2):.1e} of the loss scale."
    )
    return lines, text


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    options.add_argument("--runs", type=int, default=5)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    lines, text = check(1 if arguments.quick else arguments.runs)
    ratio = {line["who"]: line["times the path game's time"] for line in lines}
    passed = all(ratio[name] >= floor for name, floor in FLOORS.items())
    wanted = "; ".join(
        f"{name}: floor {floor:g}, aim {AIMS[name]:g}" for name, floor in FLOORS.items()
    )
    text = f"{text}\n\n{wanted}.\n\n{markdown_table(lines)}"
    return record(
        arguments,
        "Path game against permutation importance",
        text,
        lines,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    raise SystemExit(main())
