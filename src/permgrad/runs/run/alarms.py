"""What is alarming about a table before any model has seen it: for run, compare and tune."""

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
from permgrad.pages.facts import leak_facts
from permgrad.pages.findings import say
from permgrad.runs.run.inputs import Inputs
from permgrad.runs.run.splitting import PARTS


@dataclass(frozen=True)
class TableAlarms:
    """Columns that tell the target, and the sentences of all alarms."""

    leaks: Sequence[Mapping[str, Any]]
    sentences: Sequence[str]


def leak_alarms(
    target: str,
    learned: tuple[pd.DataFrame, Array],
    held_out: tuple[pd.DataFrame, Array],
    task: Task,
    na: Any,
) -> TableAlarms:
    """Look for columns that tell the target, learned from some rows, on others."""
    leaks = columns_that_tell(learned, held_out, task, na)
    sentences = [say("leak", leak_facts(target, leaks))] if leaks else []
    return TableAlarms(leaks, sentences)


def alarms_of(inputs: Inputs) -> TableAlarms:
    """Look at the divided table of a run."""
    train, held, test = (inputs.parts[part] for part in PARTS)
    tables = [
        with_categories(part.frame, inputs.feature_types)
        for part in (train, held, test)
    ]
    held_out = stacked(tables[1:]), np.concatenate([held.y, test.y])
    found = leak_alarms(
        inputs.target, (tables[0], train.y), held_out, inputs.task, inputs.na
    )
    cells = [fact["words"] for fact in inputs.cells if fact.get("part") == "alarm"]
    return TableAlarms(found.leaks, [*cells, *found.sentences])
