"""*What if* in the tab Rows: a row's values are changed, and the network in the page predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from permgrad.pages.tab import Tab
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.pages.views import SectionView


def what_if_section(section: SectionView, content: Assessment) -> None:
    """Say what the panel does, or why there is none."""
    if content.what_if is None:
        return
    if "form" not in content.what_if:
        section.text(clean(content.what_if["reason"]), "The curves of the tab Features show what single changes do.")
        return
    count, listed = len(content.what_if["rows"]), 0 if content.listed is None else len(content.listed.numbers)
    which = "They are listed by “can be changed” under “Show”. " if 0 < count < listed else ""
    section.text(
        "Choose a row above, open “What if?” and change its values. You see at once how the prediction changes, and "
        f"what it comes from. {count:,} of the test rows can be changed. {which}This needs JavaScript. The trained "
        "network is inside this page, so nothing leaves your computer. All other values stay as they are, also where "
        "values usually change together."
    )


def with_what_if(tab: Tab) -> Tab:
    """Return a tab with the section behind its first one, and with the panel's scripts."""

    def data(content: Assessment) -> Mapping[str, Any] | None:
        before = tab.data(content)
        if content.what_if is None:
            return before
        classes = [] if content.predictions is None else content.predictions.classes
        positive = content.positive_place(classes) if len(classes) == 2 else None
        shown = {**content.what_if, "positive": positive}
        if (columns := shown.get("columns")) is not None:
            shown["columns"] = [columns[at] for at in content.by_rank(column["name"] for column in columns)]
        return {**(before or {}), "whatIf": shown}

    first, *others = tab.sections
    section = ("what-if", "What if", what_if_section)
    scripts = (*tab.scripts, "layers.js", "network.js", "shares.js", "whatif.js")

    def title(content: Assessment) -> str:
        return "Rows & what if" if (content.what_if or {}).get("form") else "Rows"

    return replace(tab, title=title, sections=(first, section, *others), data=data, scripts=scripts)
