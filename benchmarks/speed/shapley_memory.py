"""Memory of Shapley values of many rows: the resident set's peak while 100,000 rows
with 8 players are explained.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.shapley_memory

A multilayer perceptron 8–64–64–1, all 2⁸ coalitions with four background rows (over a
hundred million forwards), rows, results, intervals and the interpreter with its
libraries included. The rows alone take 3 MB; all coalitions of all rows at once would
take 3 GB, and their outputs another 0.4 GB.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import torch

import permgrad as pg
from benchmarks._results import markdown_table, parser, record

FLOOR_GB = 1.5


def main() -> int:
    """Measure and print."""
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = 2_000 if arguments.quick else 100_000
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 64),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 1),
    )
    inputs, background = torch.randn(rows, 8), torch.randn(4, 8)
    started = time.process_time()
    found = pg.explain(
        pg.Model(net, task="regression"),
        inputs,
        method="shapley",
        background=background,
        progress=False,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert np.isfinite(found.values).all()
    line = {
        "rows": rows,
        "players": 8,
        "forwards": found.meta["model_rows"],
        "processor seconds": time.process_time() - started,
        "completeness gap": found.meta["completeness_gap"],
        "peak resident set, GB": peak,
        "floor, GB": FLOOR_GB,
    }
    return record(
        arguments,
        "Shapley values: memory",
        markdown_table([line]),
        [line],
        passed=peak < FLOOR_GB,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
