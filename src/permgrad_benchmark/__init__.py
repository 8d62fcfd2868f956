"""The benchmark with known truth: suites of functions whose importances are known, and methods held against them.

A *suite* is a design (tables through hybrid networks; pairs of images and tables through a fused network). A *cell* is
one function and one seed of a suite: data are drawn, a network is trained, every contestant explains it, and what each
got right becomes records. A new function, contestant or metric is one registration and is then in every table.
"""

from permgrad_benchmark.contestants import Contestant, Scores, enrolled
from permgrad_benchmark.metrics import BenchmarkMetric, benchmark_metrics, metric_named
from permgrad_benchmark.records import ANY, COLUMNS, CellRecords, Record
from permgrad_benchmark.settings import Settings
from permgrad_benchmark.suites import Suite, load_suites, suites

__all__ = [
    "ANY",
    "COLUMNS",
    "BenchmarkMetric",
    "CellRecords",
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
