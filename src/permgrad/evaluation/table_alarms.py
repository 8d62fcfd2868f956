"""What is alarming about a table before any model has seen it.

``permgrad run``, ``compare`` and ``tune`` ask this, and ``pg.report``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.data.read.table import blank_codes
from permgrad.data.tasks import Task
from permgrad.evaluation.kept_together import rows_together
from permgrad.evaluation.leaks import columns_that_tell


@dataclass(frozen=True, kw_only=True)
class TableAlarms:
    """What is alarming about a table.

    Attributes:
        leaks: columns that tell the target (``columns_that_tell``).
        together: which rows may belong together (``kept_together``), where some do.
        target_signs: what is odd about the target (``target_signs``).
        cells: how cells were read that are odd.
    """

    leaks: Sequence[Mapping[str, Any]]
    together: Mapping[str, Any] | None = None
    target_signs: Sequence[Mapping[str, Any]] = ()
    cells: Sequence[Mapping[str, Any]] = ()


def table_alarms(
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
    task: Task,
    na: Any,
    *,
    classes: Sequence[Any] = (),
    **noticed: Any,
) -> TableAlarms:
    """Look at a table that is divided.

    Args:
        learned: rows, from which columns that tell the target are learned, and their
            targets.
        held_out: other rows, on which these are tried.
        task: what is predicted.
        na: codes of missing cells.
        classes: the labels, if targets are their numbers.
        noticed: the other fields of ``TableAlarms``, which are looked at where the
            table is read.
    """
    leaks = columns_that_tell(learned, held_out, task, na, classes)
    return TableAlarms(leaks=leaks, **noticed)


def shared_on_both_sides(
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
    task: Task,
    na: Any,
    *,
    named: Sequence[str] = (),
    but_for: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Return facts on rows that may belong together and are on both sides, or None.

    Arguments are those of ``table_alarms``. ``named`` columns name something, and those
    in ``but_for`` are not looked at.
    """
    shared_groups = [learned[0].rename(columns=str), held_out[0].rename(columns=str)]
    table = pd.concat(shared_groups, join="inner", ignore_index=True)
    y = np.concatenate([np.asarray(learned[1]), np.asarray(held_out[1])])
    is_learned = np.arange(len(table)) < len(learned[0])
    features = [name for name in table.columns if name not in named]
    together = rows_together(
        blank_codes(table, na),
        y,
        task,
        is_learned,
        ~is_learned,
        features,
        named,
        but_for,
    )
    if together is None or not together.shared:
        return None
    return together.facts()
