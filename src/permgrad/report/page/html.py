"""The page: one HTML file that asks nothing of the network; names and values from data are escaped by the template."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from permgrad.base.files import write_text_atomic
from permgrad.report import style
from permgrad.report.page import headline as first_words
from permgrad.report.page.sections import all_sections
from permgrad.report.words import clean

if TYPE_CHECKING:
    from permgrad.report.page.content import ReportContent
    from permgrad.report.page.views import Fact, SectionView


def write_report(path: str | os.PathLike[str], content: ReportContent) -> Path:
    """Write a report as one self-contained HTML file, in one step."""
    target = Path(path)
    write_text_atomic(target, render_report(content))
    return target


def render_report(content: ReportContent) -> str:
    """Return the report as HTML text."""
    return render_page(
        title=content.title,
        kind="permgrad report",
        headline=first_words.headline(content),
        second=first_words.second_sentence(content),
        facts=first_words.facts(content),
        warnings=content.warnings,
        sections=all_sections(content),
    )


def render_page(
    *,
    title: str,
    kind: str,
    headline: str,
    second: str = "",
    facts: Sequence[Fact] = (),
    warnings: Sequence[str] = (),
    sections: Sequence[SectionView] = (),
    more_css: str = "",
) -> str:
    """Return a page in the house style: one self-contained HTML file that asks nothing of the network."""
    from permgrad import __version__

    templates = resources.files("permgrad.report") / "templates"
    script = (templates / "report.js").read_text(encoding="utf-8").strip()
    light = "".join(f"--{name}:{colour};" for colour, name in style.VARIABLES.items())
    dark = "".join(f"--{name}:{style.DARK[colour]};" for colour, name in style.VARIABLES.items())
    # For light and for dark screens; paper is always light.
    colours = f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    text: str = _template().render(
        title=clean(title),
        kind=kind,
        headline=headline,
        second=second,
        facts=facts,
        warnings=[clean(warning) for warning in warnings],
        sections=[section for section in sections if section.blocks],
        version=__version__,
        css=colours + (templates / "report.css").read_text(encoding="utf-8") + more_css,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )
    return text


@lru_cache(maxsize=1)
def _template() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("permgrad.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")
