"""Networks to compare with: a plain one, and TabM and RealMLP of ``pytabkit``."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional

from permgrad.base.arrays import Array, Floats
from permgrad.models.libraries.job import Job
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.models.train.guard import sheltered


@dataclass(frozen=True)
class MLPOptions:
    """Options of the plain network.

    Training stops after ``patience`` epochs without a better validation loss.
    """

    units: tuple[int, ...] = (256, 256, 256)
    learning_rate: float = 1e-3
    batch_size: int = 256
    max_epochs: int = 200
    patience: int = 16
    epochs_without_validation: int = 30


class PlainMLP:
    """ReLU layers trained with Adam on standardised columns, stopped early by the loss
    of the validation rows.
    """

    def __init__(self, outputs: int, options: MLPOptions) -> None:
        self.outputs = outputs
        self.options = options
        self.epochs = 0
        self.best_epoch = 0

    def fit(self, X: Array, y: Array, held_out: tuple[Array, Array] | None) -> PlainMLP:
        """Train on rows. ``held_out`` are validation rows, or None."""
        feature_rows = np.asarray(X, dtype=np.float64)
        self.center = feature_rows.mean(axis=0)
        spread = feature_rows.std(axis=0)
        self.factor = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0)
        self.y_center, self.y_scale = (
            (0.0, 1.0) if self.outputs else (float(np.mean(y)), float(np.std(y)) or 1.0)
        )
        inputs = self._inputs(X)
        targets = self._targets(y)
        self.module = self._layers(feature_rows.shape[1])
        optimizer = torch.optim.Adam(
            self.module.parameters(), lr=self.options.learning_rate
        )
        best_state = copy.deepcopy(self.module.state_dict())
        best_loss = float("inf")
        epochs = self.options.epochs_without_validation
        if held_out:
            epochs = self.options.max_epochs
        for epoch in range(epochs):
            self.module.train()
            for batch in torch.randperm(len(inputs)).split(self.options.batch_size):
                optimizer.zero_grad()
                self._loss(self.module(inputs[batch]), targets[batch]).backward()
                optimizer.step()
            self.epochs = epoch + 1
            validation_loss = -float(epoch)
            if held_out is not None:
                validation_loss = float(
                    self._loss(self._outputs(held_out[0]), self._targets(held_out[1]))
                )
            if validation_loss < best_loss:
                best_state = copy.deepcopy(self.module.state_dict())
                best_loss = validation_loss
                self.best_epoch = epoch
            elif epoch - self.best_epoch >= self.options.patience:
                break
        self.module.load_state_dict(best_state)
        return self

    def _layers(self, columns: int) -> nn.Sequential:
        """Return the untrained network."""
        units = (columns, *self.options.units)
        layers: list[nn.Module] = []
        for sizes in pairwise(units):
            layers.extend((nn.Linear(*sizes), nn.ReLU()))
        return nn.Sequential(*layers, nn.Linear(units[-1], self.outputs or 1))

    def predict(self, X: Array) -> Floats:
        """Return values ``(rows,)`` in the units of y."""
        return self._outputs(X)[:, 0].double().numpy() * self.y_scale + self.y_center

    def predict_proba(self, X: Array) -> Floats:
        """Return probabilities ``(rows, classes)``."""
        return functional.softmax(self._outputs(X).double(), dim=1).numpy()

    def _loss(self, outputs: Any, y: Any) -> Any:
        if self.outputs:
            return functional.cross_entropy(outputs, y)
        return functional.mse_loss(outputs[:, 0], y)

    def _outputs(self, X: Array) -> torch.Tensor:
        self.module.eval()
        with torch.no_grad():
            outputs: torch.Tensor = self.module(self._inputs(X))
        return outputs

    def _inputs(self, X: Array) -> torch.Tensor:
        scaled = (np.asarray(X, dtype=np.float64) - self.center) * self.factor
        return torch.from_numpy(scaled.astype(np.float32))

    def _targets(self, y: Array) -> torch.Tensor:
        if self.outputs:
            return torch.from_numpy(np.asarray(y, dtype=np.int64))
        return torch.from_numpy(
            ((np.asarray(y, dtype=np.float64) - self.y_center) / self.y_scale).astype(
                np.float32
            )
        )


# ---- TabM and RealMLP, those of ``pytabkit`` -----------------------------------------
def fit_peer(job: Job) -> Quiet:
    """Fit a model of ``pytabkit``."""
    validation_data = {}
    if job.validation is not None:
        validation_data = {"X_val": _table(job.validation), "y_val": job.validation.y}
    # The library takes the thread count for fits and predictions from this argument.
    choices = {
        "device": "cpu",
        "random_state": job.seed,
        "n_threads": job.threads,
        "verbosity": 0,
        **job.options,
    }
    with _silent(job.seed):
        return Quiet(
            job.kind(**choices).fit(_table(job.train), job.train.y, **validation_data)
        )


class Quiet:
    """A fitted model of ``pytabkit`` whose predictions print nothing and leave the
    process unchanged.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, rows: Any) -> Array:
        """Return predicted values."""
        with _silent(0):
            return np.asarray(self.model.predict(_named(rows)))

    def predict_proba(self, rows: Any) -> Array:
        """Return probabilities ``(rows, classes)``."""
        with _silent(0):
            return np.asarray(self.model.predict_proba(_named(rows)))


@contextmanager
def _silent(seed: int) -> Iterator[None]:
    """Protect the process from the body, and silence the messages of the training
    library.
    """
    with sheltered(seed):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        yield


def _table(rows: BaselineRows) -> pd.DataFrame:
    return _named(rows.encoded)


def _named(rows: Any) -> pd.DataFrame:
    if hasattr(rows, "columns"):
        return rows
    return pd.DataFrame(rows, columns=[f"x{j}" for j in range(np.shape(rows)[1])])
