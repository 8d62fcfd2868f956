"""The tab Models: this model and others on the same rows."""

from permgrad.pages.side_by_side import reliance, standing
from permgrad.pages.views import Tab

TAB = Tab(
    name="models",
    title="Models",
    sections=(
        ("side-by-side", "Which is best", lambda section, _, models: standing(section, models), "models"),
        (
            "reliance",
            "Do they rely on the same features?",
            lambda section, _, models: reliance(section, models),
            "models",
        ),
    ),
)
