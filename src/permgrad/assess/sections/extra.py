"""Additional sections of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class ExtraSection:
    """An additional section: a title, paragraphs, a picture. Only the title is required. ``tab`` is where it goes."""

    title: str
    text: Sequence[str] = ()
    drawing: Any = None
    drawing_text: str = ""
    tab: str = "details"
