"""The tabs of the report. To add one, write a file with a ``TAB`` and list it here."""

from permgrad.pages.tabs import (
    changes,
    data,
    decisions,
    details,
    features,
    rows,
    summary,
    together,
    trust,
)
from permgrad.pages.views import Tab

#: In reading order.
TABS: tuple[Tab, ...] = (
    summary.TAB,
    features.TAB,
    together.TAB,
    rows.TAB,
    decisions.TAB,
    trust.TAB,
    changes.TAB,
    data.TAB,
    details.TAB,
)
