"""The tabular suite: known functions of independent and correlated features, through
hybrid networks.

Each function states four truths. A method is scored on its own and on all four. A new
function is a class with ``@truths.register(name)`` in ``permgrad_benchmark.truth``. A
new method of permgrad enrols itself. A peer is an entry in ``peers``.
"""

from permgrad_benchmark.suites.tabular import ours, peers
from permgrad_benchmark.suites.tabular.suite import TabularSuite

__all__ = ["TabularSuite", "ours", "peers"]
