"""``permgrad benchmark``."""

from __future__ import annotations

from permgrad.base.startup import loading
from permgrad.cli.command import app, command, say
from permgrad.runs.requests import BenchmarkRequest, Outcome


@command(app, BenchmarkRequest)
def benchmark(request: BenchmarkRequest) -> Outcome:
    """Hold every method against functions whose true importances are known.

    The same command goes on where an interrupted one stopped; more seeds or functions add to what is there.
    """
    with loading():
        from permgrad_benchmark.run import run_benchmark
    return run_benchmark(request, say=say)
