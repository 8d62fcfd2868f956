"""The look of plots and pages: one place for colours, type and spacing.

Colours differ with every common colour vision and in grey: the two paths are a blue and
an orange of different lightness. The figures of a page name them, and follow the
reader's setting.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from permgrad.base.threads import warning_filters

#: Name of each colour's CSS variable to the colour on light and on dark paper. The
#: muted series colours, after Okabe and Ito (2008), are for classes and lines. Beyond
#: eight, line styles differ.
TOKENS = {
    "ink": ("#20272b", "#e8e6df"),
    "muted": ("#667077", "#9fa8ab"),
    "rule": ("#dfddd4", "#3a4145"),
    "paper": ("#fdfcf9", "#191d20"),
    "tabular": ("#2a6a8e", "#6fb0d2"),
    "image": ("#dd9637", "#e7ad5f"),
    "interaction": ("#8b7fa8", "#ada2c9"),
    "neutral": ("#8a9499", "#8c979c"),
    "positive": ("#2b6b8f", "#70b1d3"),
    "negative": ("#c8643c", "#e58a63"),
    "series-0": ("#2c6d90", "#6eafd1"),
    "series-1": ("#de9838", "#e8ae60"),
    "series-2": ("#3f8f74", "#69bd9f"),
    "series-3": ("#a8527f", "#d585ad"),
    "series-4": ("#76a9c6", "#93bdd6"),
    "series-5": ("#7a6a3f", "#b5a371"),
    "series-6": ("#6c62a3", "#a29ad6"),
    "series-7": ("#b7b1a3", "#c5c0b4"),
}
#: A colour on light paper to the name of its variable, and to the colour on dark paper.
VARIABLES = {light: token_name for token_name, (light, _) in TOKENS.items()}
DARK = dict(TOKENS.values())
(
    INK,
    MUTED,
    RULE,
    PAPER,
    TABULAR,
    IMAGE,
    INTERACTION,
    NEUTRAL,
    POSITIVE,
    NEGATIVE,
    *SERIES,
) = VARIABLES
#: Texts on coloured cells, which do not change on a dark page.
FIXED_DARK = "#20262a"
FIXED_LIGHT = "#ffffff"
LINE_STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

#: Colour and line style of the first classes or lines. Further ones begin again.
LINES: list[dict[str, Any]] = [
    {"color": colour, "linestyle": line_style}
    for line_style in LINE_STYLES
    for colour in SERIES
]

SANS = (
    "Inter",
    "Source Sans 3",
    "Helvetica Neue",
    "Helvetica",
    "Arial",
    "Liberation Sans",
    "DejaVu Sans",
)
OTHER_SCRIPTS = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Source Han Sans SC",
        "WenQuanYi Zen Hei",
        "Hiragino Sans",
    ),
    *(
        "PingFang SC",
        "Microsoft YaHei",
        "Malgun Gothic",
        "Noto Sans Arabic",
        "Noto Sans Devanagari",
        "Noto Emoji",
    ),
)

#: Width of an ordinary figure and height of one row of bars in inches.
WIDTH = 7.2
ROW = 0.27
SIZE_TITLE = 11.0
SIZE_LABEL = 9.0
SIZE_SMALL = 8.0


@lru_cache(maxsize=1)
def _settings() -> dict[Any, Any]:
    """Return matplotlib's defaults with the house style."""
    import matplotlib as mpl
    from matplotlib import font_manager

    # One preferred family, then DejaVu (part of matplotlib) for missing characters,
    # then fonts for other scripts.
    installed = set(font_manager.get_font_names())
    preferred = next(
        (font_name for font_name in SANS if font_name in installed), "DejaVu Sans"
    )
    families = [
        *dict.fromkeys([preferred, "DejaVu Sans"]),
        *(script_font for script_font in OTHER_SCRIPTS if script_font in installed),
    ]
    ticks = {
        "color": RULE,
        "labelcolor": MUTED,
        "labelsize": SIZE_SMALL,
        "major.size": 3.0,
    }
    defaults: dict[Any, Any] = dict(mpl.rcParamsDefault)
    return {
        **{
            setting_key: value
            for setting_key, value in defaults.items()
            if not setting_key.startswith(("backend", "webagg"))
        },
        "axes.axisbelow": True,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "axes.formatter.useoffset": False,
        "axes.labelcolor": MUTED,
        "axes.labelsize": SIZE_LABEL,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlepad": 9.0,
        "axes.titlesize": SIZE_TITLE,
        "axes.titleweight": "bold",
        "figure.facecolor": "none",
        "figure.dpi": 160.0,  # also of pixel images inside a vector drawing
        "font.family": families,
        "font.size": SIZE_LABEL,
        "grid.color": RULE,
        "grid.linewidth": 0.7,
        "hatch.linewidth": 0.6,
        "image.interpolation": "nearest",
        "legend.fontsize": SIZE_LABEL,
        "legend.frameon": False,
        "legend.labelcolor": INK,
        "lines.linewidth": 1.6,
        "pdf.fonttype": 42,
        "savefig.dpi": 160.0,
        "savefig.facecolor": PAPER,
        "svg.fonttype": "none",
        "svg.hashsalt": "permgrad",
        "text.color": INK,
        "text.parse_math": False,
        **{
            f"{axis}tick.{tick_setting}": value
            for axis in "xy"
            for tick_setting, value in ticks.items()
        },
    }


_drawing = threading.local()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, and restore the user's settings afterwards, also after
    an error.

    A nested use does nothing: setting and restoring some 300 options takes time for
    each figure.
    """
    if getattr(_drawing, "in_style", False):
        yield
        return
    import matplotlib as mpl

    _drawing.in_style = True
    try:
        # Matplotlib's settings and warning filters belong to the process, so threads
        # draw one after the other.
        with warning_filters, warnings.catch_warnings(), mpl.rc_context():
            # Characters without an installed font become boxes. A warning for each
            # would not help.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            warnings.filterwarnings("ignore", category=mpl.MatplotlibDeprecationWarning)
            mpl.rcParams.update(_settings())
            yield
    finally:
        _drawing.in_style = False


#: The colours of each map, evenly spread.
MAPS = {
    # From paper to blue, for amounts.
    "sequential": ("#f4f2ea", "#a9c8d8", "#4c8aad", "#1d5171"),
    # Orange – paper – blue, for signed numbers around 0.
    "diverging": (
        "#a3441f",
        "#d98b62",
        "#f2d9c6",
        "#f6f4ee",
        "#c4dae5",
        "#6ba0bd",
        "#1d5171",
    ),
    # The same without its ends: a dark line can be read on it.
    "shade": ("#d98b62", "#f2d9c6", "#f6f4ee", "#c4dae5", "#6ba0bd"),
    # Feature values, low to high. Both ends stand out on light and on dark paper.
    "values": ("#3f7fb0", "#8d8fa3", "#e08a3c"),
    # Activation maps. Lightness rises with the value.
    "heat": ("#15181f", "#5b2a4f", "#b5443f", "#ec9a3c", "#fbf0c0"),
}


def rgb(colour: str) -> tuple[float, ...]:
    """Return red, green and blue of a colour such as ``"#2a6a8e"``, from 0 to 1."""
    return tuple(
        int(colour[position : position + 2], 16) / 255 for position in (1, 3, 5)
    )


def colour_map(name: str) -> Any:
    """Return a colour map: ``"sequential"``, ``"diverging"``, ``"shade"``, ``"values"``
    or ``"heat"``.
    """
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"permgrad_{name}", MAPS[name])
