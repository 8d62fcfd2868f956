"""Speed of the path game against scikit-learn's permutation importance, in one run, on one thread.

Equal work: HELOC's test rows (published split), 23 features, 5 repeats, the `paper` network. Ours plays three
coalitions (table, image, both) and gives intervals; scikit-learn's plays one. Two peers:
`sklearn.inspection.permutation_importance` over a plain PyTorch forward of the same module at batch 2,048, and over
permgrad's own `predict_proba`. HELOC's codes −7, −8, −9 are left as numbers, as in the published work, so that 23
features are 23 encoded columns for everybody.

    PERMGRAD_DATA=../shared/data python benchmarks/path_game_speed.py [--runs 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

import permgrad as pg
from _speed import Line, line, take_turns
from permgrad.data.datasets import load_dataset
from permgrad.data.splitting import split_rows

REPEATS = 5


class PlainForward(ClassifierMixin, BaseEstimator):
    """The module called as anyone would call it: whole batches of 2,048 encoded rows, no gradient."""

    def __init__(self, module, classes):
        self.module, self.classes_ = module, classes

    def fit(self, X, y):  # noqa: ARG002 — scikit-learn asks for it
        return self

    def predict_proba(self, X):
        with torch.no_grad():
            parts = [self.module(part) for part in torch.as_tensor(X, dtype=torch.float32).split(2048)]
            return torch.softmax(torch.cat(parts).double(), dim=1).numpy()

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def trained(epochs: int = 3):
    """Return the paper network after a few epochs on HELOC's training rows, the test rows and their labels."""
    data = load_dataset("heloc")
    X, y = data.frame.drop(columns=data.target), data.frame[data.target]
    split = split_rows(len(X), y.to_numpy(), task="classification")
    model = pg.HyNNClassifier(preset="paper", max_epochs=epochs, random_state=0, progress=False)
    model.fit(X.iloc[split.train], y.iloc[split.train])
    return model, X.iloc[split.test].reset_index(drop=True), y.iloc[split.test].to_numpy()


def captum_permutation(model, encoded: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean rise of each row's loss by Captum's FeaturePermutation, a batch of all rows at once."""
    from captum.attr import FeaturePermutation

    target = torch.as_tensor((y == model.classes_[1]).astype(np.int64))

    def losses(rows: torch.Tensor) -> torch.Tensor:
        parts = zip(rows.split(256), target.split(256), strict=True)
        with torch.no_grad():
            return torch.cat(
                [torch.nn.functional.cross_entropy(model.module_(x), t, reduction="none") for x, t in parts]
            )

    peer, rows = FeaturePermutation(losses), torch.as_tensor(encoded)
    found = [-peer.attribute(rows).mean(dim=0) for _ in range(REPEATS)]
    return torch.stack(found).mean(dim=0).numpy()


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    model, X, y = trained(1 if quick else 3)
    count = 100 if quick else 1000
    X, y = X[:count], y[:count]
    encoded = model.encode(X)
    plain = PlainForward(model.module_, model.classes_)
    given = {"n_repeats": REPEATS, "random_state": 0, "scoring": "neg_log_loss"}
    peers = {
        "scikit-learn, permutation_importance over a plain forward, batches of 2,048": lambda: permutation_importance(
            plain, encoded, y, **given
        ),
        "scikit-learn, permutation_importance over permgrad's predict": lambda: permutation_importance(
            model, X, y, **given
        ),
        "Captum FeaturePermutation, batches of 256": lambda: captum_permutation(model, encoded, y),
    }
    game = {"n_repeats": REPEATS, "random_state": 0, "direction": False, "progress": False}
    mine = {
        "path game": lambda: pg.explain(model, X, y, **game),
        "permutation": lambda: pg.explain(model, X, y, method="permutation", n_repeats=REPEATS, progress=False),
    }
    taken = take_turns({**mine, **peers}, 1 if quick else 2)
    on = f"{len(X):,} HELOC rows, 23 features, {REPEATS} repeats, paper network"
    lines = [
        line(f"path game, {on}", name, taken["path game"], taken[name], note="one coalition of our three, no intervals")
        for name in peers
    ]
    first = next(iter(peers))
    return [*lines, line(f"method='permutation', {on}", first, taken["permutation"], taken[first])]


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, X_test, y_test = trained()
    encoded = model.encode(X_test)
    if encoded.shape[1] != 23:
        raise SystemExit(f"23 encoded columns are expected, however: {encoded.shape[1]}")
    plain = PlainForward(model.module_, model.classes_)
    work = {
        "path game (3 coalitions, intervals)": lambda: pg.explain(
            model, X_test, y_test, n_repeats=REPEATS, random_state=0, direction=False, progress=False
        ),
        "the same, dense": lambda: pg.explain(
            model, X_test, y_test, n_repeats=REPEATS, random_state=0, direction=False, progress=False, incremental=False
        ),
        "scikit-learn over plain forward, batch 2,048": lambda: permutation_importance(
            plain, encoded, y_test, n_repeats=REPEATS, random_state=0, scoring="neg_log_loss"
        ),
        "scikit-learn over permgrad's predict": lambda: permutation_importance(
            model, X_test, y_test, n_repeats=REPEATS, random_state=0, scoring="neg_log_loss"
        ),
    }
    seconds = {name: [] for name in work}
    results = {}
    for run in range(args.runs + 1):
        for name, call in work.items():
            took, results[name] = timed(call)
            if run:  # the first round warms up
                seconds[name].append(took)
    ours = results["path game (3 coalitions, intervals)"].values[:, 0]
    theirs = results["scikit-learn over plain forward, batch 2,048"].importances_mean
    print(f"HELOC, {len(X_test)} test rows, 23 features, {REPEATS} repeats, one thread, {args.runs} runs, alternating")
    print(f"python {platform.python_version()}, torch {torch.__version__}, scikit-learn {sklearn.__version__}")
    print(f"correlation of ours and scikit-learn's importances: {np.corrcoef(ours, theirs)[0, 1]:.4f}")
    first = seconds["path game (3 coalitions, intervals)"]
    rows = {}
    for name, took in seconds.items():
        ratios = [other / own for other, own in zip(took, first, strict=True)]
        rows[name] = {
            "median_s": statistics.median(took),
            "min_s": min(took),
            "max_s": max(took),
            "ratio_to_path_game": statistics.median(ratios),
        }
        print(
            f"{name:48s} {statistics.median(took):7.2f} s ({min(took):.2f}–{max(took):.2f})   "
            f"{statistics.median(ratios):5.2f} × the path game's time"
        )
    if args.json:
        with open(args.json, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
