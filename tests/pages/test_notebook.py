"""What a notebook shows of an explanation, and its few lines of text."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.pages.conftest import HOSTILE

from permgrad import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.errors import InputError

GRID = (np.arange(8)[:, None] // 4 * 2 + np.arange(8)[None] // 4).astype(np.int64)
NAMES = (*(f"scan[{r},{c}]" for r in range(2) for c in range(2)), "age", "dose")


def ranked(
    values=(2.0, 1.0, 0.5),
    p_values=(0.001, 0.3, 0.02),
    names=("a", "b", "c"),
    **changes,
) -> Explanation:
    values = np.array(values)[:, None]
    p_values = None if p_values is None else np.array(p_values)[:, None]
    ends = {"low": values - 0.4, "high": values + 0.4}
    meta = {"quantity": "increase of the loss"}
    fields = {**ends, "p_values": p_values, "meta": meta} | changes
    return Explanation(
        values,
        names,
        ("table",) * len(names),
        ("all",),
        "permutation",
        "global",
        **fields,
    )


def local(rows: int = 3, side: int = 8, **changes) -> Explanation:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, 6, 2))
    fields = {
        "values": values,
        "names": NAMES,
        "modality": ("scan",) * 4 + ("table",) * 2,
        "outputs": ("ill", "well"),
        "method": "shapley",
        "scope": "local",
        "additive": True,
        "base_values": np.full((rows, 2), 0.5),
        "predictions": 0.5 + values.sum(axis=1),
        "feature_values": pd.DataFrame(
            {"age": rng.integers(20, 80, rows), "dose": rng.uniform(size=rows)}
        ),
        "maps": {
            "images:scan": rng.uniform(size=(rows, 3, side, side)),
            "segments:scan": np.repeat(np.repeat(GRID, side // 8, 0), side // 8, 1)[
                None
            ],
        },
        "meta": {"unit": "logit"},
    }
    return Explanation(**{**fields, **changes})


def bars(page: str) -> list[tuple[str, list[tuple[float, float]], str]]:
    """Return name, pieces as (left, width) in percent, and number of each row."""
    rows = re.findall(
        r'<th[^>]*>([^<]*)</th>(.*?)<td class="pg-number">([^<]*)', page, re.DOTALL
    )
    piece = r'pg-bar" style="left:([\d.]+)%;width:([\d.]+)%'
    return [
        (name, [(float(a), float(b)) for a, b in re.findall(piece, row)], text.strip())
        for name, row, text in rows
    ]


# ---- all rows ------------------------------------------------------------------------
def test_bars_of_all_rows_fall_and_have_the_lengths_of_their_values():
    page = ranked((1.0, 2.0, 0.5))._repr_html_()
    (a, first), (b, second), (c, third) = [
        (name, pieces[0][1]) for name, pieces, _ in bars(page)
    ]
    assert (a, b, c) == ("b", "a", "c")
    assert first == pytest.approx(2 * second, abs=0.02)
    assert second == pytest.approx(2 * third, abs=0.02)
    assert page.count("pg-whisker") == 3 + page.count(".pg-whisker"), (
        "an interval on each bar"
    )


def test_only_names_that_pass_after_adjusting_are_bold():
    explanation = ranked((2.0, 1.0, 0.5), (0.001, 0.04, 0.02))
    uncorrected = ranked((2.0, 1.0, 0.5), (0.001, 0.04, 0.03))
    assert clearly_matter(explanation) == ["a", "b", "c"], (
        "Holm's steps: 0.003, 0.04, 0.04"
    )
    assert clearly_matter(uncorrected) == ["a"], (
        "a precondition: all three pass uncorrected"
    )
    assert re.findall(r'class="pg-clear">([^<]*)', uncorrected.to_html()) == ["a"]
    assert "1 of 3 features clearly matters" in uncorrected.to_html()
    assert "1 of 3 features clearly matters" in uncorrected.summary()
    assert uncorrected.summary().count("not clearly above 0") == 2


def test_the_words_say_that_the_correction_is_within_modalities():
    explanation = ranked((2.0, 1.0, 0.5), (0.02, 0.04, 0.02))
    assert "adjusted for all of them (Holm)" in explanation.to_html()
    explanation = dataclasses.replace(
        explanation, modality=("scan", "scan", "clinical")
    )
    assert clearly_matter(explanation) == ["a", "b", "c"], (
        "c at 2.5 %, then a and b at 5 %"
    )
    assert (
        "adjusted within each modality and for their number (Holm)"
        in explanation.to_html()
    )
    explanation = dataclasses.replace(
        explanation, p_values=np.array([[0.03], [0.04], [0.03]])
    )
    assert clearly_matter(explanation) == []


def test_parts_that_add_up_share_a_bar():
    path_parts = {
        "tabular": np.array([[1.5], [1.0], [0.5]]),
        "image": np.array([[0.5], [0.0], [0.0]]),
    }
    page = ranked(parts=path_parts).to_html()
    pieces = bars(page)[0][1]
    assert len(pieces) == 2
    assert pieces[0][1] == pytest.approx(3 * pieces[1][1], abs=0.03)
    assert "Parts of each bar" in page


def test_many_features_are_counted_and_undefined_is_a_dash():
    values = np.linspace(1, 2, 20)
    values[0] = np.nan
    explanation = ranked(
        values,
        None,
        tuple(f"x{feature_number}" for feature_number in range(20)),
        low=None,
        high=None,
    )
    rows = bars(explanation.to_html())
    assert rows[-1][0] == "5 more not shown"
    assert len(rows) == 16
    undefined = ranked((np.nan, 1.0, 0.5), None, low=None, high=None)
    assert bars(undefined.to_html())[-1][2] == "–"
    assert "clearly" not in undefined.to_html() + undefined.summary(), (
        "no test, no verdict"
    )


def test_a_mean_of_sizes_gives_no_verdict():
    summed = local(rows=8).to_global()
    assert clearly_matter(summed), "a precondition: p-values of a mean of sizes pass"
    assert "clearly" not in summed.to_html() + summed.summary() + local().summary()


# ---- one row -------------------------------------------------------------------------
def test_steps_lead_from_the_baseline_to_the_row_and_an_image_is_one_step():
    explanation = local()
    rows = bars(explanation.to_html(row=1, target="ill"))
    values = explanation.values[1, :, 0]
    assert [name.split(" = ")[0] for name, *_ in rows if "=" in name] == sorted(
        ("age", "dose"), key=lambda name: -abs(values[NAMES.index(name)])
    )
    assert rows[0][0] == "baseline"
    assert rows[-2][0] == "scan, all of it"
    assert rows[-1][0] == "this row"
    steps = [pieces[0][1] for _, pieces, _ in rows if pieces]
    expected = np.abs(
        [*sorted(values[4:], key=lambda value: -abs(value)), values[:4].sum()]
    )
    assert np.array(steps) / steps[0] == pytest.approx(expected / expected[0], abs=2e-3)
    assert "not attributed" not in explanation.to_html(row=1)
    short = local(predictions=explanation.predictions + 1)
    assert "not attributed" in short.to_html(row=1)


def test_images_and_bars_have_one_scale_and_the_largest_value_is_its_end():
    explanation = local()
    page = explanation.to_html(target="ill")
    assert page.count("<img") == 2
    assert f"−{np.abs(explanation.values[0, :, 0]).max():.2f}" in page
    assert "The scale is the same" in page


def test_the_first_of_many_rows_is_shown_with_how_to_choose_another():
    explanation = local()
    assert "row 0 of 3" in explanation._repr_html_()
    assert "to_html(row=1)" in explanation._repr_html_()
    assert "to_html(row=" not in explanation.to_html(row=2)
    assert "row 2 of 3" in explanation.to_html(row=-1)
    assert explanation.to_html(row=1)._repr_html_() == explanation.to_html(row=1), (
        "shown as it is in a notebook"
    )


def test_values_that_do_not_add_up_are_bars_from_zero():
    rows = bars(local(additive=False).to_html(row=0))
    assert [name.split(" = ")[0] for name, *_ in rows] != ["baseline"]
    assert len(rows) == 2


def test_activation_maps_are_shown_on_their_own():
    maps = {
        "images": np.random.default_rng(0).uniform(size=(3, 8, 8)),
        "cam": np.ones((3, 2, 4, 4)),
    }
    page = local(maps=maps, additive=False).to_html()
    assert "activation map over it" in page
    assert "The scale is the same" not in page


def test_words_have_the_scale_of_everything_else_and_are_one_step():
    words = pd.DataFrame(
        {"note[0]": ["a <b>good</b>", "bad"], "note[1]": ["day", None], "age": [40, 50]}
    )
    values = np.array([[0.4, -0.2, 0.8], [-0.8, 0.0, 0.1]])[..., None]
    explanation = Explanation(
        values, ("note[0]", "note[1]", "age"), ("note", "note", "table"), ("all",), "shapley", "local", additive=True,
        feature_values=words, meta={"tokens": {"input": "note"}},
    )  # fmt: skip
    page = explanation.to_html(row=0)
    spans = re.findall(
        r'<span style="background:rgba\([^)]*,([\d.]+)\)" '
        r'title="([^"]*)">([^<]*)</span>',
        page,
    )
    assert [(float(shade), word) for shade, _, word in spans] == [
        (pytest.approx(0.65 / 2, abs=1e-3), "a &lt;b&gt;good&lt;/b&gt;"),
        (pytest.approx(0.65 / 4, abs=1e-3), "day"),
    ]
    assert [name for name, *_ in bars(page)] == [
        "baseline",
        "age = 40",
        "note, all of it",
        "this row",
    ]
    assert "day" not in explanation.to_html(row=1), "a word that the row does not have"


def series(values, count: int = 2, time: int = 40, name: str = "ecg") -> Explanation:
    values, windows = (
        np.asarray(values, dtype=float),
        np.arange(time) * len(values) // time,
    )
    return Explanation(
        np.tile(values[:, None], (2, 1, 1)), tuple(f"{name}[{player_index}]" for player_index in range(len(values))), (name,) * len(values),
        ("all",), "shapley", "local", additive=True,
        maps={f"images:{name}": np.random.default_rng(0).normal(size=(2, count, time)),
              f"segments:{name}": np.broadcast_to(windows, (count, time))},
        meta={"read_as": {name: {"size": [time], "channels": 0}}},
    )  # fmt: skip


def test_a_series_is_lines_on_the_colours_of_its_windows_and_one_step():
    page = series((0.4, -0.8, 0.0, 0.2)).to_html(row=1)
    first, second = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    window_pattern = (
        r'<rect x="([\d.]+)" width="([\d.]+)" height="100" '
        r'fill="rgba\([^)]*,([\d.]+)\)"><title>([^<]*)'
    )
    assert re.findall(window_pattern, first) == re.findall(window_pattern, second)
    assert [
        tuple(map(float, window_match[:3]))
        for window_match in re.findall(window_pattern, first)
    ] == [
        (0, 250, pytest.approx(0.65 / 2, abs=1e-3)),
        (250, 250, pytest.approx(0.65, abs=1e-3)),
        (750, 250, pytest.approx(0.65 / 4, abs=1e-3)),
    ]
    assert len(re.search(r'points="([^"]*)"', first)[1].split()) == 40
    assert "ecg, channel 1" in page
    assert [name for name, *_ in bars(page)] == [
        "baseline",
        "ecg, all of it",
        "this row",
    ]


def test_long_series_of_many_channels_stay_small_pieces():
    rng = np.random.default_rng(0)
    explanation = series(np.zeros(1), count=30, time=9_000, name=HOSTILE[1])
    numbers = {f"segments:{HOSTILE[1]}": np.arange(270_000).reshape(30, 9_000)}
    values = rng.normal(size=(2, 270_000, 1))
    names = tuple(map(str, range(270_000)))
    every = Explanation(
        values,
        names,
        (HOSTILE[1],) * 270_000,
        ("all",),
        "gradient",
        "local",
        maps={**explanation.maps, **numbers},
        meta=explanation.meta,
    )
    page = every.to_html()
    assert page.count("<svg") == 4
    assert "26 more channels not shown" in page
    assert "<script" not in page
    assert len(page) < 200_000


def test_a_volume_is_three_slices_through_its_strongest_block():
    blocks = np.arange(8).reshape(2, 2, 2).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    page = Explanation(
        (np.arange(8) == 5.0)[None, :, None], tuple("abcdefgh"), ("scan",) * 8, ("all",), "shapley", "local",
        additive=True, maps={"images:scan": np.ones((1, 1, 8, 8, 8)), "segments:scan": blocks[None]},
    ).to_html()  # fmt: skip
    assert page.count("<img") == 3
    cuts = [
        int(cut)
        for cut in re.findall(
            r"<figcaption>scan at (?:depth|row|column) (\d), attribution over it", page
        )
    ]
    assert blocks[tuple(cuts)] == 5
    assert "scan, all of it" in page


def test_a_held_input_is_no_step():
    maps = local().maps
    held_out_maps = {
        "images:held": maps["images:scan"],
        "segments:held": np.full((1, 8, 8), -1),
    }
    page = local(maps=maps | held_out_maps).to_html()
    assert page == local().to_html()
    assert "scan, all of it" in page


def test_each_method_of_its_own_has_its_own_bars():
    meta = {
        "methods": {"scan": "gradcam", "table": "shapley"},
        "units": {"scan": "map", "table": "logit"},
    }
    page = local(method="mixed", meta=meta).to_html()
    assert "scan (gradcam, map)" in page
    assert "table (shapley, logit)" in page
    assert "scan (gradcam, map):" in local(method="mixed", meta=meta).summary()


# ---- safety --------------------------------------------------------------------------
def test_names_are_escaped_and_nothing_runs():
    names = tuple(f"{name_index}{name}" for name_index, name in enumerate(HOSTILE))
    page = ranked(
        np.arange(1.0, len(names) + 1), None, names, low=None, high=None
    ).to_html()
    for text in (
        page,
        local(outputs=(HOSTILE[1], HOSTILE[2]), meta={"unit": HOSTILE[1]}).to_html(),
    ):
        assert "<script" not in text
        assert "<img src=x" not in text
        assert not re.search(r'<[^>]*\sonmouseover="', text)
        assert "http" not in text


def test_large_images_stay_small_pieces():
    rng = np.random.default_rng(0)
    page = local(side=512, maps={
        "images:scan": rng.uniform(size=(3, 3, 512, 512)), "segments:scan": np.kron(GRID, np.ones((64, 64), int))[None]
    }).to_html()  # fmt: skip
    assert page.count("<img") == 2, "a precondition: noise, which no format makes small"
    assert len(page) < 200_000


BAD = [
    (ranked(), {"row": 0}),
    (local(), {"row": 3}),
    (local(), {"row": "1"}),
    (local(), {"target": "none"}),
    (ranked(), {"target": 5}),
]


@pytest.mark.parametrize(("explanation", "options"), BAD)
def test_bad_choices_are_refused(explanation, options):
    with pytest.raises(InputError):
        explanation.to_html(**options)
    if "target" in options:
        with pytest.raises(InputError):
            explanation.summary(**options)


@needs_browser
@pytest.mark.slow
def test_a_browser_finds_nothing_to_say(tmp_path):
    views = [
        explanation.to_html()
        for explanation in (local(), ranked(), series((1.0, -2.0)))
    ]
    page_visit = visit(f"<!doctype html><meta charset=utf-8>{''.join(views)}", tmp_path)
    assert "this row" in page_visit.page
    assert not page_visit.said
    assert not page_visit.requests
