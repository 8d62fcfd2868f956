"""The steps of a training take hardly any new pages from the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import numpy as np, torch
import permgrad.models.train.learner as training
from permgrad.models.train.training_rows import Rows
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.network.network import HybridNetwork

torch.set_num_threads(1)
layout = StoredLayout([[row, 3 * row % 20] for row in range(0, 16, 2)], 20)
network = HybridNetwork(8, 1, renderer=Renderer(layout, [0.0] * 8, [1.0] * 8, channels=3, scale=255))
rows = Rows(torch.rand(640, 8), torch.rand(640), torch.ones(640))
options = training.TrainingOptions(loss="squared_error", batch_size=32)
for block in (100, training._BLOCK):
    training._BLOCK = block
    learner = training.Learner(training.TrainingJob(network, rows, None, options, seed=0))
    order = list(learner.start_epoch())
    for number, batch in enumerate(order):
        learner.step(batch, number)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number, batch in enumerate(order):
        learner.step(batch, number)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / len(order))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the thresholds are glibc's"
)
def test_freed_blocks_are_taken_again():
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    printed_text = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout
    without, kept_faults = map(float, printed_text.split())
    if without < 100:
        pytest.skip(
            f"this C library keeps freed memory by itself ({without} page faults in a "
            "step)"
        )
    assert kept_faults < without / 5
