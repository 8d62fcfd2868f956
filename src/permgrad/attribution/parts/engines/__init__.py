"""Where the parts of a large explanation are computed: in this process, or on a Ray
cluster (docs/large-tables.md).

What a task computes depends on the task alone, so that results on all engines are equal
up to rounding. A further engine is one file: a class decorated with
``@engines.register("name")``, and one import here.
"""

from permgrad.attribution.parts.engines.engine import (
    Engine,
    LocalEngine,
    engines,
    make_engine,
    settle_model,
)
from permgrad.attribution.parts.engines.ray import RayEngine

__all__ = [
    "Engine",
    "LocalEngine",
    "RayEngine",
    "engines",
    "make_engine",
    "settle_model",
]
