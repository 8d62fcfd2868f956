"""The page: one HTML file that works offline.

The template escapes names and values from the data.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from permgrad.base import __version__, style
from permgrad.base.errors import in_reading_order
from permgrad.pages.charts.picture_chart import bars_svg
from permgrad.pages.content import PageContent
from permgrad.pages.effects import effect_lines
from permgrad.pages.tabs import TABS
from permgrad.pages.tabs.summary import glance, picture_of
from permgrad.pages.verdict import PARTS, markdown, verdict
from permgrad.pages.views import SectionView, TabView, page_data, tab_view
from permgrad.pages.words import clean

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.pages.views import Fact, FigureView

#: Scripts of every page, in order. Those of tabs follow.
SCRIPTS = ("tables.js", "charts.js", "figures.js", "page.js")
#: Comments and indentation of scripts. The page leaves them out.
_COMMENTS = re.compile(r"/\*\*.*?\*/ ?|^ *//[^\n]*$", re.DOTALL | re.MULTILINE)
_INDENTS = re.compile(r"\n\s+")
_TEMPLATES = resources.files("permgrad.pages") / "templates"
#: Names of scores with a hyphen, such as ROC-AUC, at which a line must not break.
_HYPHENED = re.compile(r"\b[A-Z]{2,}-[A-Z]{2,}\b")


def unbroken(text: str) -> Markup:
    """Return a text whose names with a hyphen stay on one line."""
    escaped = str(escape(text))
    return Markup(  # noqa: S704 — it was escaped before
        _HYPHENED.sub(r'<span class="whole">\g<0></span>', escaped)
    )


_TEMPLATES_OF_PAGES = jinja2.Environment(
    loader=jinja2.PackageLoader("permgrad.pages", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES_OF_PAGES.filters["unbroken"] = unbroken
_PAGE = _TEMPLATES_OF_PAGES.get_template("report.html")


def in_short(content: PageContent) -> tuple[str, str]:
    """Return the first sentences as Markdown, and the picture beside them as SVG."""
    sentences = verdict(content)
    effects = effect_lines(content)
    chart = content.ask(picture_of)
    if chart is None:
        return markdown(content.title, sentences, effects), ""
    return markdown(content.title, sentences, effects, chart.words), bars_svg(chart)


def render_report(content: Assessment) -> str:
    """Return the report as HTML text."""
    content = PageContent.of(content)
    sentences = verdict(content)
    tab_views = [tab_view(tab_entry, content) for tab_entry in TABS]
    glance(pictures := SectionView("glance", "At a glance"), content)
    # Name, heading and sentences of each part of the verdict, without its first
    # sentence.
    later = [
        sentence_entry
        for sentence_entry in sentences
        if sentence_entry["facts"].get("kind") != "skill"
    ]
    verdict_parts: list[tuple[str, str, list[str]]] = []
    for part_name, heading in PARTS.items():
        if part_sentences := [
            _shown(sentence_entry)
            for sentence_entry in later
            if sentence_entry["facts"].get("part") == part_name
        ]:
            verdict_parts.append(
                (
                    part_name,
                    "What it uses"
                    if part_name == "features" and not content.learnt
                    else heading,
                    part_sentences,
                )
            )
    spoken = [spoken_part for spoken_part, _, _ in verdict_parts]
    links = _links(tab_views, sentences, spoken)
    return render_page(
        title=content.title,
        kind="permgrad report",
        headline=next(
            (
                sentence_entry["sentence"]
                for sentence_entry in sentences
                if sentence_entry not in later
            ),
            "",
        ),
        verdict=verdict_parts,
        links=links,
        warnings=content.warnings,
        tabs=tab_views,
        beside_figures=pictures.pictures,
    )


def _links(
    tabs: Sequence[TabView], sentences: Sequence[Any], spoken: Sequence[str]
) -> dict[str, list[tuple[str, str]]]:
    """Return links, words and anchor, by the part of the verdict that they follow.

    Those of no part have the name "".
    """
    titles = {
        section.anchor: (tab.title, section.title)
        for tab in tabs
        for section in tab.sections
    }
    links: dict[str, list[tuple[str, str]]] = {}
    for question, verdict_part, anchor in _QUESTIONS:
        if anchor in titles:
            name = ""
            words = question
            if verdict_part in spoken:
                name = verdict_part
                words = ": ".join(titles[anchor])
            links.setdefault(name, []).append((words, anchor))
    for facts in (verdict_sentence["facts"] for verdict_sentence in sentences):
        anchors = (
            ("related",)
            if facts["kind"] == "related"
            else _HELP.get(facts.get("reason", ""), ())
        )
        shown = [
            (": ".join(titles[anchor]), anchor)
            for anchor in anchors
            if anchor in titles
        ]
        links.setdefault(facts["part"], []).extend(shown)
    return links


def _shown(sentence_entry: Mapping[str, Any]) -> str:
    """Return a sentence with its command as code."""
    command = sentence_entry["facts"].get("command", "")
    return escape(sentence_entry["sentence"].removesuffix(command)) + Markup(
        "<code>{}</code>"
    ).format(command) * bool(command)


#: Readers' questions, each with the part of the verdict that answers it, and the
#: section that says more.
_QUESTIONS = (
    ("What matters?", "features", "drivers"),
    ("What changed?", "changes", "what-changed"),
    (PARTS["groups"], "groups", "segments"),
    ("Is it reliable?", "caution", "caveats"),
    ("Why does a row get its prediction?", "", "single-rows"),
    ("What if a value were different?", "", "what-if"),
    ("Where to set the threshold?", "", "threshold"),
    ("How large are errors?", "", "tolerance"),
)
#: Sections that help with each advice of the verdict.
_HELP = {
    "use": ("one-by-one", "single-rows"),
    "leak": ("leaks",),
    "nearly_perfect": ("leaks", "drivers"),
    "noted": ("drivers",),
    "in_order": ("scores",),
    "skill": ("scores", "drivers"),
    "one_class": ("table",),
    "few_rows": ("table",),
    "baselines": ("scores",),
    "together": ("table",),
    "cells": ("table",),
    "duplicates": ("table",),
    "drift": ("columns",),
    "never_predicted": ("threshold",),
    "worse_log_loss": ("calibration",),
    "calibration": ("calibration",),
}


def render_page(
    *,
    title: str,
    kind: str,
    headline: str,
    second: str = "",
    verdict: Sequence[tuple[str, str, Sequence[str]]] = (),
    links: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    facts: Sequence[Fact] = (),
    warnings: Sequence[str] = (),
    sections: Sequence[SectionView] = (),
    tabs: Sequence[TabView] = (),
    beside_figures: Sequence[FigureView] = (),
    more_css: str = "",
) -> str:
    """Return a page in the house style: one HTML file that works offline.

    It has either sections or tabs.

    ``verdict`` has the name, the heading and the sentences of each of its parts,
    ``links`` words and anchors that follow them, and ``beside_figures`` figures that
    stand beside them.
    """
    sections = [section for section in sections if section.blocks]
    tabs = [
        tab_shown
        for tab_index, tab_shown in enumerate(tabs)
        if tab_shown.sections or tab_index == 0
    ]  # the first one has the verdict
    shown = [
        *sections,
        *(section for shown_tab in tabs for section in shown_tab.sections),
    ]
    views = [
        *beside_figures,
        *(figure_view for section in shown for figure_view in section.pictures),
    ]
    data = _data_of(views, tabs)
    script = _script(tabs)
    page_html = _PAGE.render(
        title=clean(title),
        kind=kind,
        headline=headline,
        second=second,
        verdict=verdict,
        links=links or {},
        facts=facts,
        warnings=list(map(clean, warnings)),
        sections=sections,
        tabs=tabs,
        beside=beside_figures,
        version=__version__,
        css=_styles(views, more_css),
        page_data=base64.b64encode(zlib.compress(data.encode())).decode(
            "ascii"
        ),  # ``Page.start`` reads it
        data_of=lambda view: page_data(view.chart.spec()),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(
            "ascii"
        ),
    )
    return in_reading_order(page_html)


def _styles(views: Sequence[FigureView], more_css: str) -> str:
    """Return the style sheet of a page."""
    css = _colours() + (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    css += more_css
    if any(view.inputs for view in views):
        css += (_TEMPLATES / "notebook.css").read_text(encoding="utf-8")
    return css


def _data_of(views: Sequence[FigureView], tabs: Sequence[TabView]) -> str:
    """Return the data of the figures and the tabs, as the page reads them."""
    # Those of times are in their figures, so that pages can be compared without them.
    figures = {}
    for view in views:
        if view.chart and not view.timed:
            figures[view.anchor] = view.chart.spec()
    return page_data(
        {
            "figures": figures,
            **{tab.name: tab.data for tab in tabs if tab.data is not None},
        }
    )


def _colours() -> str:
    """Return the colours for light and dark screens. Paper is always light."""
    light = "".join(f"--{name}:{colour};" for colour, name in style.VARIABLES.items())
    dark = "".join(
        f"--{name}:{style.DARK[colour]};" for colour, name in style.VARIABLES.items()
    )
    return (
        f":root{{{light}}}\n@media screen and "
        f"(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    )


def _script(tabs: Sequence[TabView]) -> str:
    """Return the scripts of every page and those of its tabs, each only once."""
    names = dict.fromkeys([*SCRIPTS, *(name for tab in tabs for name in tab.scripts)])
    scripts = []
    for name in names:
        scripts.append((_TEMPLATES / "scripts" / name).read_text(encoding="utf-8"))
    return _INDENTS.sub(
        "\n", _COMMENTS.sub("", "\n".join([*scripts, "Page.start();"]))
    ).strip()
