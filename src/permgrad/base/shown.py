"""How results are put into words and drawn: the pages attach it to the results, which
hold numbers only.

So no result depends on a page, and a page is loaded when a result is first shown.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: The dotted name of the function for each kind of result and way to show it, such as
#: ``"Missing.plot"``.
views: dict[str, str] = {}


def show(view: str, *args: Any, **options: Any) -> Any:
    """Call the function that shows a result in this way, see ``views``."""
    module, _, function = views[view].rpartition(".")
    return getattr(import_module(module), function)(*args, **options)


def in_words(result: Any) -> str:
    """Return the summary of a result as HTML, for the ``_repr_html_`` of its class."""
    from html import escape  # takes longer than the rest of this file

    return f"<pre>{escape(result.summary())}</pre>"
