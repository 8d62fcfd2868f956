"""From encoded columns to pictures.

Layouts need NumPy alone: what needs torch or matplotlib is imported when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from permgrad.imaging.assignment import AssignmentLayout, RandomLayout
from permgrad.imaging.layout import (
    Blur,
    GridLayout,
    Layout,
    Overlap,
    PlacedLayout,
    StoredLayout,
    fit_layout,
    layout_to_dict,
    layouts,
    make_layout,
)
from permgrad.imaging.path import GivenLayout, PathLayout
from permgrad.imaging.tinto import TintoLayout

if TYPE_CHECKING:
    from permgrad.imaging.foreign import ForeignRenderer
    from permgrad.imaging.picture import draw_layout
    from permgrad.imaging.render import Renderer

_LATER = {
    "Renderer": "permgrad.imaging.render",
    "ForeignRenderer": "permgrad.imaging.foreign",
    "draw_layout": "permgrad.imaging.picture",
}

__all__ = [
    "AssignmentLayout",
    "Blur",
    "ForeignRenderer",
    "GivenLayout",
    "GridLayout",
    "Layout",
    "Overlap",
    "PathLayout",
    "PlacedLayout",
    "RandomLayout",
    "Renderer",
    "StoredLayout",
    "TintoLayout",
    "draw_layout",
    "fit_layout",
    "layout_to_dict",
    "layouts",
    "make_layout",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'permgrad.imaging' has no attribute {name!r}")
