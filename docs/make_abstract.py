"""Makes the picture of the method, table to ranking, from a trained network: a part of
``make pictures``.

python docs/make_abstract.py [--out docs/pictures/method.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from sklearn.datasets import make_friedman1

import permgrad as pg

PICTURE = Path(__file__).resolve().parent / "pictures" / "method.png"
TABLE, IMAGE, CHANGED, INK = "#0072b2", "#e69f00", "#d55e00", "#222222"
SHOWN_ROWS, SHOWN_COLUMNS = 7, 6
#: Numbers above it stand on cells too dark for dark letters.
DARK = 0.7


def table_panel(axes: Any, encoded: np.ndarray, names: list[str], at: int) -> None:
    """Draw cells of a few rows, the replaced column framed."""
    cells = encoded[:SHOWN_ROWS, :SHOWN_COLUMNS]
    axes.imshow(cells, cmap="Greys", vmin=-0.6, vmax=1.8, aspect="auto")
    for row, column in np.ndindex(*cells.shape):
        axes.text(
            column,
            row,
            f"{cells[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if cells[row, column] > DARK else INK,
        )
    axes.set_xticks(range(SHOWN_COLUMNS), names[:SHOWN_COLUMNS], fontsize=8.5)
    axes.xaxis.tick_top()
    axes.set_yticks([1, 4], ["this row", "a donor"], fontsize=8)
    axes.tick_params(length=0)
    for row, color in ((1, INK), (4, CHANGED)):
        axes.add_patch(
            Rectangle(
                (at - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=color, linewidth=2
            )
        )
    # Between two columns, where it hides no number.
    arrow = {"arrowstyle": "-|>", "color": CHANGED, "linewidth": 1.8, "shrinkA": 0}
    axes.annotate("", (at + 0.5, 1.5), (at + 0.5, 3.5), arrowprops=arrow)


def schematic(axes: Any) -> None:
    """Draw both branches, the head and the loss."""
    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.axis("off")
    boxes = {
        "dense branch": (0.2, 7.3, TABLE),
        "convolutional\nbranch": (0.2, 2.0, IMAGE),
        "head": (5.6, 4.75, INK),
    }
    for words, (left, bottom, color) in boxes.items():
        width = 3.9 if color != INK else 1.9
        shape = FancyBboxPatch(
            (left, bottom),
            width,
            1.6,
            boxstyle="round,pad=0.15",
            fc="white",
            ec=color,
            lw=1.8,
        )
        axes.add_patch(shape)
        axes.text(
            left + width / 2,
            bottom + 0.8,
            words,
            ha="center",
            va="center",
            fontsize=8.5,
            color=INK,
        )
    for start, end in (
        ((4.3, 8.0), (5.6, 6.4)),
        ((4.3, 2.9), (5.6, 4.8)),
        ((7.7, 5.55), (8.4, 5.55)),
    ):
        axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=13, color=INK, lw=1.2
            )
        )
    axes.text(8.5, 5.55, "loss", ha="left", va="center", fontsize=9)
    axes.text(
        5,
        0.35,
        "the same donor in both paths",
        ha="center",
        fontsize=8.5,
        color=CHANGED,
    )


def ranking_panel(axes: Any, explanation: Any) -> None:
    """Draw the total effects with their intervals, divided between the paths."""
    frame = explanation.to_frame().sort_values("importance")
    places = np.arange(len(frame))
    for path, color in (("tabular", TABLE), ("image", IMAGE)):
        before = 0 if path == "tabular" else frame["tabular"].clip(lower=0)
        axes.barh(
            places, frame[path].clip(lower=0), left=before, color=color, height=0.62
        )
    error = np.stack(
        [frame["importance"] - frame["ci_low"], frame["ci_high"] - frame["importance"]]
    )
    style = {"fmt": "none", "ecolor": INK, "elinewidth": 1.2, "capsize": 2}
    axes.errorbar(frame["importance"], places, xerr=error.clip(0), **style)
    axes.set_yticks(places, frame["feature"], fontsize=8)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.set_xlabel("increase of the squared error, 95 % interval", fontsize=8)
    for place, (words, color) in enumerate(
        (("read from the table", TABLE), ("read from the image", IMAGE))
    ):
        axes.text(
            0.98,
            0.04 + 0.08 * place,
            words,
            color=color,
            fontsize=8.5,
            ha="right",
            transform=axes.transAxes,
        )


def draw(path: Path) -> None:
    """Train a hybrid network on a table, explain it, and write the picture."""
    X, y = make_friedman1(2500, n_features=10, noise=1.0, random_state=0)
    X = pd.DataFrame(X, columns=[f"x{column + 1}" for column in range(10)])
    options = {"branches": ("tabular", "image"), "layout": "tinto", "max_epochs": 25}
    model = pg.HyNNRegressor(
        preset="fast", random_state=0, progress=False, **options
    ).fit(X[:1500], y[:1500])
    explanation = pg.explain(model, X[1500:], y[1500:], progress=False)
    encoded = model.encode_rows(X[1500:]).encoded
    with torch.no_grad():
        image = model.renderer_(torch.as_tensor(encoded[1:2], dtype=torch.float32))[
            0
        ].numpy()

    figure = plt.figure(figsize=(13, 4.3))
    grid = figure.add_gridspec(
        2,
        4,
        width_ratios=[1.25, 0.75, 1.25, 1.2],
        left=0.05,
        right=0.985,
        bottom=0.12,
        top=0.8,
    )
    table_panel(figure.add_subplot(grid[:, 0]), X[1500:].to_numpy(), list(X), at=3)
    picture, curve = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    picture.imshow(image.mean(axis=0), cmap="Greys")
    curve.plot(np.asarray(encoded)[1], color=INK, linewidth=1.2)
    for axes, words in (
        (picture, "an image of the row"),
        (curve, "or a curve of its columns"),
    ):
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(words, fontsize=8.5)
    schematic(figure.add_subplot(grid[:, 2]))
    ranking_panel(figure.add_subplot(grid[:, 3]), explanation)
    titles = (
        (0.14, "1. A column is taken\nfrom a donor row"),
        (0.385, "2. Each row is also\nan image or a curve"),
        (0.585, "3. One branch reads the table,\none the image or curve"),
        (0.865, "4. One ranking,\nwith intervals"),
    )
    for place, words in titles:
        figure.text(
            place,
            0.985,
            words,
            ha="center",
            va="top",
            fontsize=11,
            weight="bold",
            color=INK,
        )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=PICTURE, help="the file to write")
    arguments = parser.parse_args()
    draw(arguments.out)
    print(f"written: {arguments.out}")  # noqa: T201 — a script


if __name__ == "__main__":
    main()
