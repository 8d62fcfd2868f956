"""What is alarming about a table before any model has seen it: for run, compare and
tune.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from permgrad.base.arrays import Array
from permgrad.base.frames import stacked
from permgrad.data.types.column_types import with_categories
from permgrad.evaluation.leaks import columns_that_tell
from permgrad.evaluation.metrics import Task
from permgrad.pages.facts import leak_facts, together_facts
from permgrad.pages.findings import say
from permgrad.pages.target_facts import target_sign_facts
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.splitting import PARTS


@dataclass(frozen=True)
class TableAlarms:
    """Columns that tell the target, and the sentences of all alarms."""

    leaks: Sequence[Mapping[str, Any]]
    sentences: Sequence[str]


def table_alarms(
    target: str,
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
    task: Task,
    na: Any,
    *,
    cells: Sequence[Mapping[str, Any]] = (),
    signs: Sequence[Mapping[str, Any]] = (),
    together: Mapping[str, Any] | None = None,
) -> TableAlarms:
    """Look at a table that is divided once.

    Args:
        target: its name.
        learned: rows, from which columns that tell the target are learned, and their
            targets.
        held_out: other rows, on which these are tried.
        task: what is predicted.
        na: codes of missing cells.
        cells: how cells were read that are odd.
        signs: what is odd about the target (``target_signs``).
        together: which rows may belong together (``kept_together``).
    """
    leaks = columns_that_tell(learned, held_out, task, na)
    sentences = [str(fact["words"]) for fact in cells if fact.get("part") == "alarm"]
    if leaks:
        sentences.append(say("leak", leak_facts(target, leaks)))
    if together is not None and together["clear"]:
        sentences.append(say("together", together_facts(together)))
    for sign in signs:
        facts = target_sign_facts(sign, target)
        if "part" not in facts:
            sentences.append(say("target", facts))
    return TableAlarms(leaks, sentences)


def alarms_of(inputs: Inputs) -> TableAlarms:
    """Look at the divided table of a run."""
    train, validation, test_part = (inputs.parts[part_name] for part_name in PARTS)
    tables = []
    for table_part in (train, validation, test_part):
        tables.append(with_categories(table_part.frame, inputs.feature_types))
    held_out = stacked(tables[1:]), np.concatenate([validation.y, test_part.y])
    return table_alarms(
        inputs.target,
        (tables[0], train.y),
        held_out,
        inputs.task,
        inputs.na,
        cells=inputs.cells,
        signs=inputs.target_signs,
        together=inputs.together,
    )
