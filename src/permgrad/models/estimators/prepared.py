"""Rows on their way into training: encoded, and together with everything that a training needs."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad.base.errors import InputError, listed
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_notes import fused_columns
from permgrad.models.train.learner import Course, EpochWatcher
from permgrad.models.train.training import train


def encode_training(encoder: TableEncoder, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return training rows as the network sees them. A table without a column that varies is refused."""
    encoded = np.ascontiguousarray(encoder.transform(frame), dtype=np.float32)
    if encoded.shape[1] == 0:
        fused = fused_columns(encoder.schema_)
        why = (
            f" as float64: {listed(list(fused.values()))}"
            if fused
            else f" ({listed(list(map(str, frame.columns)), 5, repr)})"
        )
        hint = f"declare kinds={{{next(iter(fused))!r}: 'categorical'}}, or add columns" if fused else "add columns"
        raise InputError(
            "X must have a column that varies and is not an identifier, "
            f"but none of its {frame.shape[1]} feature(s) does{why}",
            hint=hint,
            code="PG017",
        )
    return encoded


class EncodedFrame(pd.DataFrame):
    """Rows with what an encoder makes of them, so that a model encodes them once. Cut-outs are plain frames."""

    _metadata = ["encoder", "encoded"]  # noqa: RUF012 — pandas reads it so
    encoder: TableEncoder
    encoded: npt.NDArray[np.float32]

    @classmethod
    def of(cls, frame: pd.DataFrame, encoder: TableEncoder) -> EncodedFrame:
        """Encode the rows of a frame."""
        rows = cls(frame)
        rows.encoder, rows.encoded = encoder, np.ascontiguousarray(encoder.transform(frame), dtype=np.float32)
        return rows


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What is ready for training. ``validation_weight`` is of the validation rows without that of their classes."""

    course: Course
    device: torch.device
    devices: int
    validation_weight: npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class FitRows:
    """Rows as the network sees them ``(rows, encoded)`` float32, the target as it was given, and weights of mean 1."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[Any]
    weights: npt.NDArray[np.float64]


def train_model(
    model: Any,
    work: Prepared,
    checkpoint_folder: str | os.PathLike[str] | None = None,
    on_epoch: EpochWatcher | None = None,
) -> None:
    """Train a model's network and keep how it went: ``history_``, ``best_epoch_``, ``training_options_``."""
    course = dataclasses.replace(work.course, checkpoint_folder=checkpoint_folder)
    outcome = train(course, work.device, devices=work.devices, on_epoch=on_epoch)
    history = pd.DataFrame(outcome.history)
    model.history_ = history.assign(epoch=history["epoch"].astype(int))
    model.best_epoch_ = outcome.best_epoch
    model.training_options_ = dataclasses.asdict(course.options)
