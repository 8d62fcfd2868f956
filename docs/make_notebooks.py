"""Makes a notebook, and a small picture, of each script of the gallery: ``make
notebooks``.

    python docs/make_notebooks.py               # examples/notebooks
    python docs/make_notebooks.py --thumbnails  # also runs them, and writes
    docs/pictures/gallery

The notebooks have no outputs, and their bytes follow from the scripts alone. A test
compares them. The small pictures stand in the gallery of a site that is built without
running its scripts (``GALLERY=0``).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GALLERY, NOTEBOOKS = ROOT / "examples" / "gallery", ROOT / "examples" / "notebooks"
THUMBNAILS = ROOT / "docs" / "pictures" / "gallery"
#: What only concerns the gallery.
_SETTING = re.compile(r"^# sphinx_gallery_.*\n+", re.MULTILINE)
_HEADING = re.compile(r"^(.+)\n(=+|-+)$", re.MULTILINE)
_LINK = re.compile(r"`([^`<]+?)\s+<([^>]+)>`__?", re.DOTALL)
_PAGE = re.compile(r":doc:`([^`<]+?)\s*</([^>]+)>`", re.DOTALL)
SIZE = 400, 280


def markdown(text: str) -> str:
    """Return reStructuredText as the scripts write it (headings, code, links) in
    Markdown.
    """
    text = _PAGE.sub(
        lambda it: f"[{' '.join(it[1].split())}](../../docs/{it[2]}.md)", text
    )
    text = _LINK.sub(lambda it: f"[{' '.join(it[1].split())}]({it[2]})", text)
    text = _HEADING.sub(lambda it: ("# " if it[2][0] == "=" else "## ") + it[1], text)
    return text.replace("``", "`").strip()


def cells(script: str) -> list[tuple[str, str]]:
    """Return the cells of a script: ``("markdown" or "code", text)``."""
    tree = ast.parse(script)
    head = ast.get_docstring(tree)
    assert head is not None
    found = [("markdown", markdown(head))]
    below = "\n".join(script.split("\n")[tree.body[0].end_lineno :])
    for block in re.split(r"^# %%.*\n", _SETTING.sub("", below), flags=re.MULTILINE):
        lines = block.split("\n")
        words = next(
            (at for at, line in enumerate(lines) if not line.startswith("#")),
            len(lines),
        )
        text = markdown(
            "\n".join(
                line.removeprefix("#").removeprefix(" ") for line in lines[:words]
            )
        )
        code = "\n".join(lines[words:]).strip()
        found += [("markdown", text)] * bool(text) + [("code", code)] * bool(code)
    return found


def notebook(script: str) -> str:
    """Return the notebook of a script as a file: format 4.4, no outputs."""
    made: list[dict[str, Any]] = []
    for kind, text in cells(script):
        cell: dict[str, Any] = {
            "cell_type": kind,
            "metadata": {},
            "source": text.splitlines(keepends=True),
        }
        made.append(
            cell
            if kind == "markdown"
            else {**cell, "execution_count": None, "outputs": []}
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    content = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def notebooks() -> Iterator[tuple[Path, str]]:
    """Yield the path and the content of each notebook."""
    for script in sorted(GALLERY.glob("plot_*.py")):
        name = script.stem.removeprefix("plot_")
        yield NOTEBOOKS / f"{name}.ipynb", notebook(script.read_text(encoding="utf-8"))


def run(content: str, name: str) -> Iterator[Any]:
    """Run the cells of a notebook one after another, and yield what the last expression
    of each gives, or None.
    """
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(json.loads(content)["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        tree, value, place = (
            ast.parse("".join(cell["source"])),
            None,
            f"{name}, cell {number}",
        )
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, place, "exec"), space)  # noqa: S102 — our own notebooks
        if last is not None:
            value = eval(compile(ast.Expression(last.value), place, "eval"), space)  # noqa: S307 — the same
        yield value


def thumbnail(content: str, name: str) -> bytes:
    """Return the first figure of a notebook as a small PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    from permgrad.pages.plots import PlotFigure

    taken = io.BytesIO()
    plt.close("all")
    plt.show = lambda *_, **__: None
    for value in run(content, name):
        if isinstance(value, PlotFigure):
            value.save(THUMBNAILS / "figure.png")
            taken.write((THUMBNAILS / "figure.png").read_bytes())
            (THUMBNAILS / "figure.png").unlink()
        elif plt.get_fignums():
            plt.savefig(taken, format="png", dpi=110)
        if taken.tell():
            break
    plt.close("all")
    with Image.open(taken) as figure:
        small = figure.convert("RGB")
    small.thumbnail(SIZE)
    page = Image.new("RGB", SIZE, "white")
    page.paste(small, ((SIZE[0] - small.width) // 2, (SIZE[1] - small.height) // 2))
    file = io.BytesIO()
    page.quantize(64).save(file, format="PNG", optimize=True)
    return file.getvalue()


def main() -> None:
    """Write the notebooks, and the small pictures if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--thumbnails",
        action="store_true",
        help="also run them, and write the small pictures",
    )
    arguments = parser.parse_args()
    NOTEBOOKS.mkdir(exist_ok=True)
    for path, content in notebooks():
        path.write_text(content, encoding="utf-8")
        print(f"written: {path}")  # noqa: T201 — a script
        if arguments.thumbnails:
            THUMBNAILS.mkdir(exist_ok=True)
            with contextlib.redirect_stdout(io.StringIO()):
                picture = thumbnail(content, path.name)
            (THUMBNAILS / f"{path.stem}.png").write_bytes(picture)


if __name__ == "__main__":
    main()
