"""The benchmark: suites of functions with known importances, on which methods are
tested.

A *suite* is a design: tables through hybrid networks, or pairs of images and tables
through a fused network. A *cell* is one function and one seed of a suite. Data are
drawn, a network is trained, every contestant explains it, and the errors become
records. A new function, contestant or metric needs one registration.
"""

from permgrad_benchmark.contestants import Contestant, Scores, enrolled
from permgrad_benchmark.metrics import BenchmarkMetric, benchmark_metrics, metric_named
from permgrad_benchmark.records import ANY, COLUMNS, Record
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import Suite, load_suites, suites

__all__ = [
    "ANY",
    "COLUMNS",
    "BenchmarkMetric",
    "Contestant",
    "Record",
    "Scores",
    "Settings",
    "Suite",
    "benchmark_metrics",
    "enrolled",
    "load_suites",
    "metric_named",
    "suites",
]
