"""The tab Changes: what changed since an earlier run."""

from permgrad.pages.changes import what_changed
from permgrad.pages.views import Tab

TAB = Tab(
    name="changes",
    title="Changes",
    sections=(("what-changed", "What changed", lambda section, _, found: what_changed(section, found), "changes"),),
)
