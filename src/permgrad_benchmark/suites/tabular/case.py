"""What contestants of the tabular suite are given: a trained network, rows it has not
seen, and a meter of its use.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.base.arrays import Array, Floats, Integers
from permgrad.base.random import derive_seed, generator
from permgrad.evaluation.measures import draw_weights_anew
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad_benchmark.suites.suite import Meter, Sizes, SuiteCase
from permgrad_benchmark.truth import Truth


@dataclass(frozen=True)
class TabularSizes(Sizes):
    """How much of everything.

    ``train`` rows and at most ``epochs`` epochs to train on.
    """

    train: int
    epochs: int


FULL = TabularSizes(1000, 10, 250, 50, 20, 160, 5, train=4000, epochs=14)
QUICK = TabularSizes(200, 2, 20, 6, 6, 32, 2, train=400, epochs=3)
#: Rows along which curves are computed.
_CURVE_ROWS = 300


@dataclass(frozen=True, eq=False, kw_only=True)
class TabularCase(SuiteCase):
    """One network and the rows to explain: fresh ones, with targets of 0 and 1 for
    classification.
    """

    truth: Truth
    model: HyNNClassifier | HyNNRegressor
    X_train: pd.DataFrame
    y_train: Floats
    X: pd.DataFrame
    y: Floats
    sizes: TabularSizes

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        return self.truth.feature_names

    @property
    def classify(self) -> bool:
        """Whether there are classes."""
        return self.truth.task == "classification"

    @functools.cached_property
    def encoded(self) -> npt.NDArray[np.float32]:
        """The fresh rows as the network sees them ``(rows, encoded)``."""
        return self.model.encode_rows(self.X).encoded

    @functools.cached_property
    def background(self) -> npt.NDArray[np.float32]:
        """Training rows as the network sees them, in random order ``(rows,
        encoded)``.
        """
        order = generator(self.seed, "tabular background").permutation(
            len(self.X_train)
        )
        return self.model.encode_rows(self.X_train.iloc[order]).encoded

    @functools.cached_property
    def columns(self) -> dict[str, npt.NDArray[np.intp]]:
        """The encoded columns of each feature."""
        by_name = self.model.preprocessor_.features("feature")
        return {name: np.asarray(by_name[name], dtype=np.intp) for name in self.names}

    @functools.cached_property
    def owner(self) -> Integers:
        """The feature of each encoded column ``(encoded,)``."""
        owner = np.zeros(self.encoded.shape[1], dtype=np.int64)
        for position, name in enumerate(self.names):
            owner[self.columns[name]] = position
        return owner

    def stream(self, what: str) -> np.random.Generator:
        """Return a random stream for one purpose."""
        return generator(self.seed, "tabular benchmark", self.truth.name, what)

    def integer_seed(self, what: str) -> int:
        """Return a seed of 31 bits for other packages."""
        return (
            derive_seed(self.seed, "tabular benchmark", self.truth.name, what) % 2**31
        )

    # ---- the network as peers see it -------------------------------------------------
    def outputs(self, encoded: Array) -> Floats:
        """Return the network's outputs in y's units, or logits ``(rows, outputs)``, and
        count the rows.
        """
        self.meter.rows += len(encoded)
        raw = self.model.predict_encoded(encoded).astype(np.float64)
        return (
            raw
            if self.classify
            else raw * self.model.target_scale_ + self.model.target_mean_
        )

    def margin(self, encoded: Array) -> Floats:
        """Return the one number that is explained: y's units, or the log-odds of class
        1 ``(rows,)``.
        """
        outputs = self.outputs(encoded)
        return outputs[:, 1] - outputs[:, 0] if outputs.shape[1] == 2 else outputs[:, 0]

    def loss_of(self, margin: Floats, y: Floats) -> Floats:
        """Return each row's loss of a prediction on the scale of ``margin``
        ``(rows,)``.
        """
        if self.classify:
            return np.asarray(np.logaddexp(0.0, np.where(y == 1, -margin, margin)))
        return np.asarray((margin - y) ** 2)

    def module(self, *, flat: bool = False) -> nn.Module:
        """Return ``margin`` as a torch module that counts its rows: ``(rows,)`` for
        Captum, ``(rows, 1)`` for shap.
        """
        case = self

        class Margin(torch.nn.Module):
            """The network's one number for each encoded row."""

            def __init__(self) -> None:
                super().__init__()
                self.network = case.model.module_

            def forward(self, encoded: Tensor) -> Tensor:
                case.meter.rows += len(encoded)
                margin: Tensor = self.network(encoded)
                if not case.classify:
                    margin = margin * float(case.model.target_scale_) + float(
                        case.model.target_mean_
                    )
                elif margin.shape[1] == 2:
                    margin = margin[:, 1:] - margin[:, :1]
                return margin[:, 0] if flat else margin

        return Margin().eval()

    def tensor(self, encoded: Array) -> Tensor:
        """Return encoded rows as a new tensor."""
        return torch.from_numpy(np.array(encoded, dtype=np.float32))

    @property
    def module_explained(self) -> nn.Module:
        """The network."""
        return self.model.module_

    def curve_rows(
        self,
    ) -> tuple[npt.NDArray[np.float32], Callable[[Array], Floats], Mapping[str, Any]]:
        """Return encoded rows, their losses, and the encoded columns of each
        feature.
        """
        y = self.y[:_CURVE_ROWS]
        return (
            self.encoded[:_CURVE_ROWS],
            lambda encoded: self.loss_of(self.margin(encoded), y),
            self.columns,
        )


def fit_network(
    truth: Truth,
    seed: int,
    sizes: TabularSizes,
    *,
    network_seed: int | None = None,
    shuffled: bool = False,
) -> TabularCase:
    """Draw rows of a known function and train a hybrid network on them.

    ``network_seed`` is another seed of the network and the contestants. With
    ``shuffled`` training targets there is nothing to learn.
    """
    X_train, y_train = truth.sample(
        sizes.train, random_state=derive_seed(seed, "benchmark", "train") % 2**63
    )
    X, y = truth.sample(
        sizes.test, random_state=derive_seed(seed, "benchmark", "test") % 2**63
    )
    if shuffled:
        y_train = generator(seed, "benchmark", "shuffled").permutation(y_train)
    case_seed = seed if network_seed is None else network_seed
    kind = HyNNClassifier if truth.task == "classification" else HyNNRegressor
    # With both paths, which some methods need.
    model = kind(
        max_epochs=sizes.epochs,
        branches=("tabular", "image"),
        device="cpu",
        random_state=case_seed,
        progress=False,
    )
    target = y_train.astype(np.int64) if truth.task == "classification" else y_train
    model.fit(X_train, target)
    return TabularCase(
        truth=truth,
        model=model,
        X_train=X_train,
        y_train=y_train,
        X=X,
        y=y,
        seed=case_seed,
        sizes=sizes,
    )


def randomised(case: TabularCase) -> TabularCase:
    """Return the case with the network's weights drawn anew, as before any training."""
    model = copy.deepcopy(case.model)
    draw_weights_anew(model.module_, derive_seed(case.seed, "benchmark", "randomised"))
    return _replaced(case, model=model)


def resampled(case: TabularCase, number: int) -> TabularCase:
    """Return the case with the fresh rows drawn again with replacement, and another
    seed of the contestants.
    """
    rows = generator(case.seed, "benchmark", "resample", number).integers(
        0, len(case.X), len(case.X)
    )
    seed = derive_seed(case.seed, "benchmark", "resample", number) % 2**31
    X = case.X.iloc[rows].reset_index(drop=True)
    return _replaced(case, X=X, y=case.y[rows], seed=seed)


def _replaced(case: TabularCase, **changes: Any) -> TabularCase:
    return replace(case, meter=Meter(), **changes)
