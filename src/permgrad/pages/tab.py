"""A tab of the report, and how one is built from the report's content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from permgrad.pages.views import SectionView

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment

#: Anchor and title of a section, and the function that adds its blocks, from the section and the content. A fourth
#: entry is the field of the content, or of one of its fields, without which the section is left out. The function then
#: takes it too.
Section = tuple[str, str, Callable[..., None]] | tuple[str, str, Callable[..., None], str]


@dataclass(frozen=True, kw_only=True)
class Tab:
    """A tab: ``name`` is its anchor (``#rows``) and the key of its data in the page.

    ``title`` can depend on the content. ``sections`` make the static page. Their anchors are unique in the report,
    and no section is named like a tab. ``data`` returns what the tab's script needs, as JSON (pack large arrays with
    ``page_data.packed``), or None for nothing. ``scripts`` are files in ``templates/scripts``. They register with
    ``Page.tab(name, ...)``.

    Examples:
        >>> def words(section, content):
        ...     with section.live("list"):  # the script fills it, see page.js
        ...         section.text(f"What predicts {content.target}.")
        >>> tab = Tab(name="features", title="Features", sections=[("list", "All features", words)])
        >>> from permgrad.assess.assessment import Assessment
        >>> tab_view(tab, Assessment(title="t", target="price", task="regression")).sections[0].blocks
        [('live', ('list', [('text', 'What predicts price.')]))]
    """

    name: str
    title: str | Callable[[Assessment], str]
    sections: Sequence[Section]
    data: Callable[[Assessment], Mapping[str, Any] | None] = lambda _: None
    scripts: Sequence[str] = ()


@dataclass(frozen=True)
class TabView:
    """A tab with its blocks and its data."""

    name: str
    title: str
    sections: Sequence[SectionView]
    data: Mapping[str, Any] | None = None
    scripts: Sequence[str] = ()


def tab_view(tab: Tab, content: Assessment) -> TabView:
    """Build a tab of the sections that have content."""
    sections: list[SectionView] = []
    for anchor, heading, fill, *needs in tab.sections:
        needed: Any = content
        for name in (name for path in needs for name in path.split(".")):
            needed = getattr(needed, name, None)
        if needed is not None and (not isinstance(needed, Sized) or len(needed)):
            sections.append(section := SectionView(anchor, heading))
            fill(section, content, *[needed for _ in needs])
    title = tab.title if isinstance(tab.title, str) else tab.title(content)
    shown = [section for section in sections if section.blocks]
    return TabView(tab.name, title, shown, tab.data(content), tab.scripts)
