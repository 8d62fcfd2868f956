"""What is alarming about the table of a run, before any model has seen it."""

from __future__ import annotations

import numpy as np

from permgrad.base.frames import stacked
from permgrad.base.sequences import values_at
from permgrad.data.types.column_types import with_categories
from permgrad.evaluation.table_alarms import TableAlarms, table_alarms
from permgrad.runs.run.run_inputs import Inputs
from permgrad.runs.run.run_splitting import PARTS


def alarms_of(inputs: Inputs) -> TableAlarms:
    """Look at the divided table of a run."""
    train, validation, test_part = values_at(inputs.parts, PARTS)
    tables = []
    for table_part in (train, validation, test_part):
        tables.append(with_categories(table_part.frame, inputs.feature_types))
    held_out = stacked(tables[1:]), np.concatenate([validation.y, test_part.y])
    return table_alarms(
        (tables[0], train.y),
        held_out,
        inputs.task,
        inputs.na,
        cells=inputs.cells,
        target_signs=inputs.target_signs,
        together=inputs.together,
    )
