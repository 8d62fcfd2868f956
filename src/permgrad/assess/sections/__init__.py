"""The sections of an assessment, in the order in which they are computed. A new one is a file, named in this list."""

from permgrad.assess.sections import (  # noqa: F401, I001 — importing registers a section, in this order
    scores,
    segments,
    ranking,
    rows,
    gradients,
    beside_data,
    cards,
    together,
    what_if,
    refits,
    refinement,
)
