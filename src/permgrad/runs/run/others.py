"""Models of other libraries that a run trains in the place of its network, and which of them is best (``auto``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from permgrad.assess.budget import PAIR
from permgrad.base.numerals import number
from permgrad.base.progress import readable
from permgrad.evaluation.baselines.fitting import baselines
from permgrad.evaluation.baselines.table_model import TableModel, table_model
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.choosing import estimator_of
from permgrad.runs.run.inputs import Inputs

if TYPE_CHECKING:
    from permgrad.runs.run.stages import RunWork

#: Rows on which the seconds of a prediction are measured.
_MEASURED = 1000


def make_other(request: RunRequest, inputs: Inputs) -> TableModel:
    """Return the unfitted model of ``--model``."""
    return table_model(
        inputs.task,
        estimator_of(request.model) if ":" in request.model else request.model,
        encoding=inputs.encoder_options,
        text_encoder=request.text_encoder,
        image_encoder=request.image_encoder,
        random_state=request.seed,
        threads=torch.get_num_threads(),
        device=request.device,
    )


def trusted(request: RunRequest) -> list[str]:
    """Return the types of the user's estimator, which a run that resumes may load again."""
    if ":" not in request.model:
        return []
    from skops import io

    return list(io.get_untrusted_types(data=io.dumps(estimator_of(request.model))))


def fit_other(work: RunWork, judging: npt.NDArray[np.int64], others: float) -> None:
    """Train another model than the network. ``judging``: validation rows. ``others``: seconds of the baselines."""
    (model, train), parts = work.untrained, work.inputs.parts
    held, between = work.encoded["validation"].take(judging), parts["validation"].dependence
    eval_set = held, parts["validation"].y[judging]
    with work.clock.whole.part("training"):
        model.fit(train, parts["train"].y, eval_set, dependence=None if between is None else between.take(judging))
    work.say(f"  {model.label} was fitted in {readable(model.fitted_.seconds)}")
    work.model = model
    test = work.encoded["test"].table.iloc[:_MEASURED]
    started = time.perf_counter()
    model.predict_parts(test)
    work.clock.per_row = (time.perf_counter() - started) / len(test) / PAIR
