"""A plain multilayer perceptron: what a network reaches without embeddings, images or ensembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from permgrad.evaluation.competitors.base import Array


@dataclass(frozen=True)
class MLPOptions:
    """Choices of the plain network; it stops after ``patience`` passes without a better validation loss."""

    units: tuple[int, ...] = (256, 256, 256)
    learning_rate: float = 1e-3
    batch_size: int = 256
    max_epochs: int = 200
    patience: int = 16
    epochs_without_validation: int = 30


class PlainMLP:
    """ReLU layers trained with Adam on standardised columns, stopped early by the loss of the validation rows."""

    def __init__(self, outputs: int, options: MLPOptions) -> None:
        self.outputs = outputs
        self.options = options
        self.epochs = 0
        self.best_epoch = 0

    def fit(self, X: Array, y: Array, held: tuple[Array, Array] | None) -> PlainMLP:
        """Train on rows; ``held`` are validation rows, or None."""
        rows = np.asarray(X, dtype=np.float64)
        self.center = rows.mean(axis=0)
        spread = rows.std(axis=0)
        self.factor = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0)
        self.y_center, self.y_scale = (0.0, 1.0) if self.outputs else (float(np.mean(y)), float(np.std(y)) or 1.0)
        train = (self._inputs(X), self._targets(y))
        validation = None if held is None else (self._inputs(held[0]), self._targets(held[1]))
        self.module = self._module(rows.shape[1])
        optimizer = torch.optim.Adam(self.module.parameters(), lr=self.options.learning_rate)
        best, best_loss = self._weights(), float("inf")
        last = self.options.max_epochs if validation else self.options.epochs_without_validation
        for epoch in range(last):
            self._pass(train, optimizer)
            self.epochs = epoch + 1
            if validation is None:
                best, self.best_epoch = self._weights(), epoch
                continue
            loss = self._loss(validation)
            if loss < best_loss:
                best, best_loss, self.best_epoch = self._weights(), loss, epoch
            elif epoch - self.best_epoch >= self.options.patience:
                break
        self.module.load_state_dict(best)
        return self

    def predict(self, X: Array) -> npt.NDArray[np.float64]:
        """Return values ``(rows,)`` in the units of y."""
        return np.asarray(self._outputs(X)[:, 0] * self.y_scale + self.y_center)

    def predict_proba(self, X: Array) -> npt.NDArray[np.float64]:
        """Return probabilities ``(rows, classes)``."""
        return functional.softmax(torch.from_numpy(self._outputs(X)), dim=1).numpy()

    def _module(self, inputs: int) -> Any:
        layers: list[nn.Module] = []
        for units in self.options.units:
            layers += [nn.Linear(inputs, units), nn.ReLU()]
            inputs = units
        return nn.Sequential(*layers, nn.Linear(inputs, self.outputs or 1))

    def _pass(self, train: tuple[Any, Any], optimizer: Any) -> None:
        self.module.train()
        for batch in torch.randperm(len(train[0])).split(self.options.batch_size):
            optimizer.zero_grad()
            self._criterion(self.module(train[0][batch]), train[1][batch]).backward()
            optimizer.step()

    def _loss(self, rows: tuple[Any, Any]) -> float:
        self.module.eval()
        with torch.no_grad():
            return float(self._criterion(self.module(rows[0]), rows[1]))

    def _criterion(self, outputs: Any, y: Any) -> Any:
        return functional.cross_entropy(outputs, y) if self.outputs else functional.mse_loss(outputs[:, 0], y)

    def _outputs(self, X: Array) -> npt.NDArray[np.float64]:
        self.module.eval()
        with torch.no_grad():
            return np.asarray(self.module(self._inputs(X)).numpy(), dtype=np.float64)

    def _inputs(self, X: Array) -> Any:
        scaled = (np.asarray(X, dtype=np.float64) - self.center) * self.factor
        return torch.from_numpy(scaled.astype(np.float32))

    def _targets(self, y: Array) -> Any:
        if self.outputs:
            return torch.from_numpy(np.asarray(y, dtype=np.int64))
        return torch.from_numpy(((np.asarray(y, dtype=np.float64) - self.y_center) / self.y_scale).astype(np.float32))

    def _weights(self) -> dict[str, Any]:
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}
