"""The benchmark with known truth: suites of functions whose importances are known, and methods held against them.

A *suite* is a design (tables through hybrid networks; pairs of images and tables through a fused network). A *cell* is
one function and one seed of a suite: data are drawn, a network is trained, every contestant explains it, and what each
got right becomes records. A new function, contestant or metric is one registration and is then in every table.
"""

from permgrad.evaluation.benchmark.contestants import Contestant, Scores, enrolled
from permgrad.evaluation.benchmark.metrics import BenchmarkMetric, benchmark_metrics, metric_named
from permgrad.evaluation.benchmark.records import ANY, COLUMNS, Record, Records
from permgrad.evaluation.benchmark.settings import Settings
from permgrad.evaluation.benchmark.suites import Suite, load_suites, suites

__all__ = [
    "ANY",
    "COLUMNS",
    "BenchmarkMetric",
    "Contestant",
    "Record",
    "Records",
    "Scores",
    "Settings",
    "Suite",
    "benchmark_metrics",
    "enrolled",
    "load_suites",
    "metric_named",
    "suites",
]
