"""Rows on their way into training: encoded, and together with everything that a
training needs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import NoneType
from typing import TYPE_CHECKING, Any

import pandas as pd

from permgrad.base.arrays import Floats, Floats32, Integers
from permgrad.base.checks import check_kind, check_path
from permgrad.base.dependence import Dependence
from permgrad.base.errors import InputError, listed
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_types import with_categories
from permgrad.data.types.findings import fused_columns

if TYPE_CHECKING:  # a model of another library is read without torch
    import torch
    from torch import nn

    from permgrad.models.train.learner import TrainingJob


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedRows:
    """Rows with what a model's encoder makes of them, so that they are encoded once.

    Estimators of permgrad take them in the place of a frame, and so does
    ``permgrad.explain``. ``encode_rows`` of a model returns them.

    Attributes:
        table: the rows as they were passed, ``(rows, features)``, numbers that are
            categories with a categorical type.
        encoder: what encoded them. A model with another encoder encodes the table
            again.
        encoded: float32 ``(rows, encoded)``.

    Examples:
        >>> table = pd.DataFrame({"age": [31.0, 40.0, 60.0]})
        >>> encoder = TableEncoder("minmax").fit(table)
        >>> rows = EncodedRows(table, encoder, encoder.transform(table))
        >>> len(rows), rows.take([2, 0]).encoded.tolist()
        (3, [[1.0], [0.0]])
    """

    table: pd.DataFrame
    encoder: TableEncoder
    encoded: Floats32

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "table", with_categories(self.table, self.encoder.schema_)
        )

    def __len__(self) -> int:
        return len(self.table)

    def take(self, places: Any) -> EncodedRows:
        """Return the rows at some places, which are not encoded again."""
        return EncodedRows(self.table.iloc[places], self.encoder, self.encoded[places])


def nothing_varies(frame: pd.DataFrame, encoder: TableEncoder) -> InputError:
    """Return the error for training rows without a column that varies."""
    explanation = f" ({listed(list(map(str, frame.columns)), 5, repr)})"
    suggestion = "add columns"
    if fused := fused_columns(encoder.schema_):
        explanation = f" as float64: {listed(list(fused.values()))}"
        suggestion = (
            f"declare kinds={{{next(iter(fused))!r}: 'categorical'}}, or add columns"
        )
    problem = (
        "X must have a column that varies and is not an identifier, "
        f"but none of its {frame.shape[1]} feature(s) does{explanation}"
    )
    return InputError(problem, hint=suggestion, code="PG017")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What ``prepare`` of an estimator returns and ``train`` takes.

    Attributes:
        job: the network, its rows and how it is trained.
        module: the network as it stands in the estimator's ``module_``.
        device: where it is trained.
        validation_weight: weights of the validation rows, ``(rows,)``, without those of
            their classes.
        dependence: which validation rows depend on each other, where that is known.
        units: which of the training and then validation rows belong together
            ``(rows,)``, where branches may be fitted to all of them, each row left out
            by one of several fits. None: validation rows are nobody's to learn from.
        random_kernels: how many are fitted after training.
        beside: branches beside the network that are then tried, and whether they are
            kept in any case.
    """

    job: TrainingJob
    module: nn.Module
    device: torch.device
    validation_weight: Floats
    dependence: Dependence | None = None
    units: Integers | None = None
    random_kernels: int = 0
    beside: tuple[str, ...] = ()
    beside_by_name: bool = False

    def with_epochs(self, most: int, row_parts: int = 1) -> Prepared:
        """Return the same training of at most so many epochs, each on one of
        ``row_parts`` of the rows in turn.
        """
        from permgrad.models.train.training_rows import Rows

        options = dataclasses.replace(self.job.options, max_epochs=most)
        training_rows = self.job.train_rows
        if isinstance(training_rows, Rows):
            training_rows = dataclasses.replace(training_rows, parts=row_parts)
        return dataclasses.replace(
            self,
            job=dataclasses.replace(
                self.job, options=options, train_rows=training_rows
            ),
        )


def check_hooks(checkpoint_folder: Any, on_epoch: Any) -> None:
    """Refuse a folder of checkpoints, or a watcher of epochs, that cannot be one."""
    if checkpoint_folder is not None:
        check_path("checkpoint_folder", checkpoint_folder)
    hook_hint = "Pass a function, or leave it out."
    check_kind(
        "on_epoch",
        on_epoch,
        (Callable, NoneType),
        "a function of one epoch's line of the history",
        hook_hint,
    )
