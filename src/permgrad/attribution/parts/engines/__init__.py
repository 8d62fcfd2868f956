"""Where the parts of a large explanation are computed: in this process, or on a Ray cluster.

An engine takes tasks and one function, and gives back the results in any order. What a task computes depends on the
task alone, never on who computes it or when, so that results on all engines are equal up to rounding; a task that is
computed twice, because a worker died, is counted once (docs/reproducibility.md).

A further engine is one file: a class decorated with ``@engines.register("name")``, and one import here.
"""

from permgrad.attribution.parts.engines.base import Engine, LocalEngine, engines, make_engine, settle_model
from permgrad.attribution.parts.engines.ray import RayEngine

__all__ = ["Engine", "LocalEngine", "RayEngine", "engines", "make_engine", "settle_model"]
