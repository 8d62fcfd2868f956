"""The look of everything that is drawn or written: one place for colours, type and spacing.

Colours are told apart with every common colour vision and in grey: the two paths are a blue and an orange of different
lightness. The report swaps the light tokens for dark ones by name, so that figures follow the reader's setting.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from permgrad.base.threads import warning_filters

INK = "#20272b"
MUTED = "#667077"
RULE = "#dfddd4"
PAPER = "#fdfcf9"
TABULAR = "#2a6a8e"
IMAGE = "#dd9637"
INTERACTION = "#8b7fa8"
NEUTRAL = "#8a9499"
POSITIVE = "#2b6b8f"
NEGATIVE = "#c8643c"
FIXED_DARK = "#20262a"
FIXED_LIGHT = "#ffffff"
"""Text on coloured cells: these two stay as they are when the page turns dark."""

PATH_COLOURS = {"tabular": TABULAR, "image": IMAGE, "table": TABULAR, "interaction": INTERACTION}
SERIES = ("#2c6d90", "#de9838", "#3f8f74", "#a8527f", "#76a9c6", "#7a6a3f", "#6c62a3", "#b7b1a3")
"""Colours of classes and lines, after Okabe and Ito (2008), quieter; line styles tell them apart beyond eight."""

LINE_STYLES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))

DARK = {
    INK: "#e8e6df",
    MUTED: "#9fa8ab",
    RULE: "#3a4145",
    PAPER: "#191d20",
    TABULAR: "#6fb0d2",
    IMAGE: "#e7ad5f",
    INTERACTION: "#ada2c9",
    NEUTRAL: "#8c979c",
    POSITIVE: "#70b1d3",
    NEGATIVE: "#e58a63",
    **dict(
        zip(
            SERIES,
            ("#6eafd1", "#e8ae60", "#69bd9f", "#d585ad", "#93bdd6", "#b5a371", "#a29ad6", "#c5c0b4"),
            strict=True,
        )
    ),
}
"""Light token to dark token."""

VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    TABULAR: "tabular",
    IMAGE: "image",
    INTERACTION: "interaction",
    NEUTRAL: "neutral",
    POSITIVE: "positive",
    NEGATIVE: "negative",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}
"""Token to the name of its CSS variable."""

SANS = ("Inter", "Source Sans 3", "Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Emoji",
)

WIDTH = 7.2
"""Width of an ordinary figure in inches."""
ROW = 0.27
"""Height of one row of bars in inches."""

SIZE_TITLE, SIZE_LABEL, SIZE_SMALL = 11.0, 9.0, 8.0


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """Return the installed families in order of preference; DejaVu Sans, which matplotlib brings, is always there."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    # One preferred family, then DejaVu for signs it lacks, then whatever other scripts this machine can draw.
    preferred = next((name for name in SANS if name in installed), "DejaVu Sans")
    return (*dict.fromkeys([preferred, "DejaVu Sans"]), *(name for name in OTHER_SCRIPTS if name in installed))


def settings() -> dict[str, Any]:
    """Return the matplotlib settings of the house style."""
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "axes.formatter.use_mathtext": False,
        "axes.formatter.useoffset": False,
        "axes.grid": False,
        "axes.labelcolor": MUTED,
        "axes.labelsize": SIZE_LABEL,
        "axes.linewidth": 0.8,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlepad": 9.0,
        "axes.titlesize": SIZE_TITLE,
        "axes.titleweight": "bold",
        "axes.unicode_minus": True,
        "figure.facecolor": "none",
        "figure.dpi": 160.0,  # also of pictures inside a drawing, which itself has no dots
        "font.family": list(fonts()),
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
        "text.usetex": False,
        "xtick.color": RULE,
        "xtick.labelcolor": MUTED,
        "xtick.labelsize": SIZE_SMALL,
        "xtick.major.size": 3.0,
        "xtick.major.width": 0.8,
        "ytick.color": RULE,
        "ytick.labelcolor": MUTED,
        "ytick.labelsize": SIZE_SMALL,
        "ytick.major.size": 3.0,
        "ytick.major.width": 0.8,
    }


_drawing = threading.local()


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, whatever the user's settings are, and put theirs back, also after an error.

    Inside itself it does nothing: setting some 300 options and putting them back takes time with each figure.
    """
    if getattr(_drawing, "in_style", False):
        yield
        return
    _drawing.in_style = True
    try:
        # Matplotlib's settings are the process's, as the filters are: threads draw one after the other.
        with warning_filters, _house_style():
            yield
    finally:
        _drawing.in_style = False


@contextmanager
def _house_style() -> Iterator[None]:
    import matplotlib as mpl

    defaults: dict[Any, Any] = dict(mpl.rcParamsDefault)
    base = {key: value for key, value in defaults.items() if not key.startswith(("backend", "webagg"))} | settings()
    with warnings.catch_warnings():
        # A name in a script that no installed font has is drawn as boxes; a warning per sign would not help.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings("ignore", category=mpl.MatplotlibDeprecationWarning)
        with mpl.rc_context():
            mpl.rcParams.update(base)
            yield


def sequential() -> Any:
    """Return the colour map from paper to blue, for amounts."""
    return _colour_map("sequential", "#f4f2ea", "#a9c8d8", "#4c8aad", "#1d5171")


def diverging() -> Any:
    """Return the colour map orange – paper – blue, for signed numbers around 0."""
    return _colour_map("diverging", "#a3441f", "#d98b62", "#f2d9c6", "#f6f4ee", "#c4dae5", "#6ba0bd", "#1d5171")


def low_to_high() -> Any:
    """Return the colour map of feature values, low to high; both ends stand out on light and on dark paper."""
    return _colour_map("values", "#3f7fb0", "#8d8fa3", "#e08a3c")


def heat() -> Any:
    """Return the colour map of activation maps; lightness rises with the value."""
    return _colour_map("heat", "#15181f", "#5b2a4f", "#b5443f", "#ec9a3c", "#fbf0c0")


def _colour_map(name: str, *colours: str) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(f"permgrad_{name}", colours)
