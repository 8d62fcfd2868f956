"""The tabs of the report. To add one, write a file with a ``TAB`` and list it here."""

from permgrad.pages.tab import Tab
from permgrad.pages.tabs import changes, data, decisions, details, features, models, rows, summary, together, trust

#: In reading order.
TABS: tuple[Tab, ...] = (
    summary.TAB,
    features.TAB,
    together.TAB,
    rows.TAB,
    decisions.TAB,
    trust.TAB,
    models.TAB,
    changes.TAB,
    data.TAB,
    details.TAB,
)
