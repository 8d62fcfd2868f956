"""Images of the rows that a page lists, as a section stores them."""

from __future__ import annotations

from dataclasses import dataclass, field

from permgrad.assess.store import storable
from permgrad.base.arrays import Array


@storable
@dataclass(kw_only=True)
class PhotoColumn:
    """Images of listed rows, in 4 × 4 patches, row by row. Rows are known by their numbers as text.

    ``small``: JPEGs in base64 by cell. ``covered``: scores ``(patches, scores)`` of a row's image with one patch
    covered. ``parts`` ``(patches + 1, outputs)``: what the patches add to a row's outputs, and the largest standard
    error of one of them.
    """

    name: str
    small: dict[str, str] = field(default_factory=dict)
    covered: dict[str, Array] = field(default_factory=dict)
    parts: dict[str, Array] = field(default_factory=dict)
