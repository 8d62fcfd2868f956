"""The tabs of the report: what is listed fits together."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources

from tests.pages.conftest import NAMES, report_content

from permgrad.assess.assessment import Assessment
from permgrad.base.numerals import percent
from permgrad.pages.html import render_page, render_report
from permgrad.pages.tabs import TABS
from permgrad.pages.views import SectionView, Tab, tab_view


def test_tabs_are_named_apart_from_sections_and_their_scripts_exist():
    tabs = [tab.name for tab in TABS]
    anchors = [anchor for tab in TABS for anchor, *_ in tab.sections]
    assert len(tabs) == len(set(tabs)) >= 7
    assert not set(tabs) & set(anchors)
    shared = {anchor for anchor in anchors if anchors.count(anchor) > 1}
    assert shared == {"paths"}, "either in Features or in Details"
    folder = resources.files("permgrad.pages") / "templates" / "scripts"
    assert all((folder / name).is_file() for tab in TABS for name in tab.scripts)


def test_empty_sections_and_tabs_are_left_out_but_for_the_first():
    content = Assessment(title="t", target="y", task="regression")
    empty = ("a", "A", lambda section, _: None)
    full = ("b", "B", lambda section, _: section.text("words"))
    kinds = {"one": [empty], "two": [empty, full], "three": [empty]}
    views = [
        tab_view(Tab(name=name, title=name, sections=sections), content)
        for name, sections in kinds.items()
    ]
    page = render_page(title="t", kind="test", headline="h", tabs=views)
    assert re.findall(r'data-tab="(\w+)"', page) == ["one", "two"]
    assert re.findall(r'<section id="(\w+)"', page) == ["b"]


def test_a_place_for_a_script_stands_where_it_was_made():
    section = SectionView("a", "A")
    section.live("view")
    section.text("after")
    assert section.blocks == [("live", "view"), ("text", "after")]


def test_paths_and_maps_are_in_details_if_the_image_hardly_counts(undrawn):
    content = report_content(NAMES[:3])
    shares = [0.3, 0.01]
    for share, tab in zip(shares, ("features", "details"), strict=True):
        branches = {
            name: dict(entry) if isinstance(entry, dict) else entry
            for name, entry in content.paths.items()
        }
        branches["image"]["share"] = share
        branches["tabular"]["share"] = 1 - share
        content.branches = branches
        assert content.image_counts == (share > 0.05)
        page = render_report(content)
        panel = page[page.index(f'data-tab="{tab}"') :].split("data-tab=")[1]
        assert '<section id="paths"' in panel
        assert ('<section id="maps"' in page) == (share < 0.05)


def test_trees_are_a_path_among_the_features_where_they_count(undrawn):
    content = report_content(NAMES[:3])
    entry = {**content.paths["tabular"], "share_low": 0.2, "share_high": 0.9}
    for share, tab in ((0.3, "features"), (0.01, "details")):
        content.branches = {
            "tabular": {**entry, "share": 1 - share},
            "trees": {**entry, "share": share},
        }
        assert not content.image_counts
        page = render_report(content)
        panel = page[page.index(f'data-tab="{tab}"') :].split("data-tab=")[1]
        assert "Branch by branch" in panel
        assert f"tree branch {percent(share)} (20\u00a0% to 90\u00a0%)" in panel
        assert "loss that both cause together" in panel


def test_shares_of_kinds_of_columns_are_always_among_the_features(undrawn):
    content = report_content(NAMES[:3])
    paths = {**content.paths, "image": {**content.paths["image"], "share": 0.01}}
    content.explanation = replace(content.explanation, branches=paths)
    content.branches = {
        name: {**content.paths["image"], "share": 0.5} for name in ("table", "photo")
    }
    assert not content.image_counts
    page = render_report(content)
    features, details = (
        page[page.index(f'data-tab="{tab}"') :].split("data-tab=")[1]
        for tab in ("features", "details")
    )
    assert "Input by input" in features
    assert "such as a row's photos" in features.replace("&#39;", "'")
    assert '<section id="paths"' not in details
    assert '<section id="maps"' in details
