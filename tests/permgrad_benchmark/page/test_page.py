"""The benchmark's page: bars as in results.csv, tables that read the metrics'
direction, and no request.
"""

from __future__ import annotations

import html
import io
import re

import numpy as np
import pandas as pd
import pytest
from browsing import needs_browser, visit
from tests.pages.conftest import HOSTILE

from permgrad.base.errors import InputError
from permgrad_benchmark.page.data import leaders, suites_of
from permgrad_benchmark.page.page import benchmark_page

COLUMNS = ["suite", "function", "seed", "method", "estimand", "metric", "value"]
PARTS = ("X1", "X2", "X3", "X4")
PUBLISHED = {
    "F0": (1, 0, 0, 0), "F1": (0, 1, 0, 0), "F2": (0, 0, 1, 0), "F3": (0, 0, 0, 1),
    "F4": (0.5, 0.5, 0, 0), "F5": (0, 0, 0.5, 0.5), "F6": (0.25, 0.25, 0.25, 0.25), "F7": (1, 0, 0, 0),
}  # fmt: skip
EFFECT = {**PUBLISHED, "F5": (0, 0, 0.56, 0.44)}
METHODS = {"permgrad": 0.01, "shapley": 0.008, "gradient": 0.06, "random": 0.4}
TOTALS = {
    "permgrad": "total",
    "permutation": "total",
    "shapley": "shapley",
    "gradient": "any",
}


def results() -> pd.DataFrame:
    """Invented figures of both suites, with three seeds."""
    rng = np.random.default_rng(0)
    rows: list[tuple] = []
    for function in PUBLISHED:
        for seed in range(3):
            first = ("multimodal", function, seed)
            rows.append((*first, "network", "any", "accuracy", rng.uniform(0.9, 1)))
            for estimand, truth in (("published", PUBLISHED), ("effect", EFFECT)):
                rows += [
                    (
                        *first,
                        "truth",
                        estimand,
                        f"truth_share:{part_name}",
                        float(share),
                    )
                    for part_name, share in zip(PARTS, truth[function], strict=True)
                ]
            for method, spread in METHODS.items():
                for name in (method, f"oracle:{method}"):
                    shares = np.abs(
                        np.array(EFFECT[function]) + rng.normal(0, spread, 4)
                    )
                    shares /= shares.sum()
                    rows += [
                        (*first, name, "any", f"share:{part_name}", share)
                        for part_name, share in zip(PARTS, shares, strict=True)
                    ]
                    for estimand, truth in (
                        ("published", PUBLISHED),
                        ("effect", EFFECT),
                    ):
                        error = float(
                            np.sqrt(np.mean((shares - np.array(truth[function])) ** 2))
                        )
                        rows.append((*first, name, estimand, "share_error", error))
                rows.append((*first, method, "any", "seconds", rng.uniform(0.1, 5)))
    for function in ("linear", "xor"):
        for seed in range(3):
            first = ("tabular", function, seed)
            rows += [
                (*first, "truth", "total", f"truth_share:x{k}", float(k == 0))
                for k in range(12)
            ]
            for method in TOTALS:
                for estimand in ("total", "shapley"):
                    rows.append(
                        (
                            *first,
                            method,
                            estimand,
                            "share_error",
                            rng.uniform(0.01, 0.1),
                        )
                    )
                    rows.append(
                        (*first, method, estimand, "spearman", rng.uniform(0.5, 1))
                    )
                good = method in ("permgrad", "permutation")
                rows.append(
                    (
                        *first,
                        method,
                        "any",
                        "false_discovery_rate",
                        0.02 if good else 0.5 + 0.1 * seed,
                    )
                )
                rows.append((*first, method, "any", "power:share", 0.5 + 0.1 * good))
                rows.append(
                    (*first, method, "any", "power", 1.0 if good else 0.3 + 0.1 * seed)
                )
                shares = rng.dirichlet(np.ones(12))
                rows += [
                    (*first, method, "any", f"share:x{k}", float(share))
                    for k, share in enumerate(shares)
                ]
                rows.append(
                    (
                        *first,
                        method,
                        "total",
                        "interval_coverage",
                        0.95 if good else 0.7,
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def facts() -> dict:
    contestants = {
        name: {"label": name, "estimand": total_estimand, "kind": "ours", "note": ""}
        for name, total_estimand in TOTALS.items()
    }
    return {
        "command": "permgrad benchmark all",
        "versions": {"permgrad": "0"},
        "suites": {
            "multimodal": {
                "title": "Two images and two tables",
                "functions": list(PUBLISHED),
            },
            "tabular": {
                "title": "Known functions",
                "contestants": contestants,
                "estimands": {"total": "the total effect"},
            },
        },
    }


@pytest.fixture(name="frame", scope="module")
def _frame() -> pd.DataFrame:
    return results()


@pytest.fixture(name="page", scope="module")
def _page(frame) -> str:
    return benchmark_page(frame, facts())


def bars_of(text: str) -> pd.DataFrame:
    """The numbers that the elements of a page carry."""
    found_bars = []
    for kind, attributes in re.findall(
        r'<(?:rect|circle|polygon) class="(bar|seed|oracle)"([^>]*)>', text
    ):
        bar_fields = {
            name: html.unescape(value)
            for name, value in re.findall(r'data-([a-z]+)="([^"]*)"', attributes)
        }
        found_bars.append({"kind": kind, **bar_fields})
    return pd.DataFrame(found_bars).astype({"value": float})


def compare(text: str, stored: pd.DataFrame) -> int:
    """Compare every bar and dot with the stored results; return how many bars there
    were.
    """
    drawn = bars_of(text)
    stored = stored[stored["suite"] == "multimodal"]
    stored = stored.assign(part=stored["metric"].str.partition(":")[2])
    shares = stored[
        stored["metric"].str.match(r"(truth_)?share:")
        & ~stored["method"].str.startswith("oracle:")
    ]
    keys = ["function", "method", "estimand", "part"]
    means = shares.groupby(keys)["value"].mean()
    bars = drawn[drawn["kind"] == "bar"]
    bars = bars.assign(estimand=bars["estimand"].fillna("any")).set_index(keys)["value"]
    assert bars.index.is_unique
    pd.testing.assert_series_equal(bars.sort_index(), means.sort_index(), rtol=1e-12)
    seeds = drawn[drawn["kind"] == "seed"]
    assert len(seeds) == len(shares)
    seeds = seeds.assign(
        estimand=seeds["estimand"].fillna("any"), seed=seeds["seed"].astype(int)
    )
    left = seeds.set_index([*keys, "seed"])["value"].sort_index()
    right = shares.set_index([*keys, "seed"])["value"].sort_index()
    pd.testing.assert_series_equal(left, right, rtol=1e-12)
    return len(bars)


# ---- bars ----------------------------------------------------------------------------
def test_every_bar_and_every_seed_is_that_of_the_results(page, frame):
    written = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert compare(page, written) == 8 * 4 * (2 + len(METHODS))
    oracles = bars_of(page).query("kind == 'oracle'")
    assert len(oracles) == 8 * 4 * len(METHODS)
    assert set(oracles["method"]) == {f"oracle:{name}" for name in METHODS}


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_bars_without_a_message_or_a_request(page, frame, tmp_path):
    page_visit = visit(page, tmp_path)
    assert compare(page_visit.page, frame) == 8 * 4 * (2 + len(METHODS)), (
        "as the browser has them"
    )
    assert page_visit.said == []
    assert page_visit.requests == []


def test_many_features_are_cells_with_their_numbers(page, frame):
    cell_matches = re.findall(r'<rect class="cell"([^>]*)>', page)
    cells = [
        {
            k: html.unescape(v)
            for k, v in re.findall(r'data-([a-z]+)="([^"]*)"', cell_match)
        }
        for cell_match in cell_matches
    ]
    assert len(cells) == 2 * 12 * (1 + len(TOTALS))
    means = (
        frame[frame["suite"] == "tabular"]
        .groupby(["function", "method", "metric"])["value"]
        .mean()
    )
    for cell_fields in cells:
        metric = "truth_share" if cell_fields["method"] == "truth" else "share"
        expected = means[
            cell_fields["function"],
            cell_fields["method"],
            f"{metric}:{cell_fields['part']}",
        ]
        assert float(cell_fields["value"]) == pytest.approx(expected, rel=1e-12)


def test_a_bar_is_as_long_as_its_number(page):
    for value, width in re.findall(
        r'class="bar"[^>]*data-value="([^"]+)"[^>]*width="([^"]+)"', page
    ):
        assert float(width) == pytest.approx(84 * float(value), abs=0.01)


# ---- tables --------------------------------------------------------------------------
def table(page: str, caption: str) -> pd.DataFrame:
    whole_match = re.search(
        rf"<table[^>]*>\s*<caption><span>{caption}.*?</table>", page, flags=re.DOTALL
    )
    assert whole_match, caption
    text = re.sub(r"</?button[^>]*>", "", whole_match.group())
    heads = [
        html.unescape(head) for head in re.findall(r"<th scope[^>]*>([^<]*)<", text)
    ]
    rows = [
        re.findall(r"<td[^>]*>([^<]*)<", row)
        for row in re.findall(r"<tr>(<td.*?)</tr>", text, flags=re.DOTALL)
    ]
    return pd.DataFrame(
        [[html.unescape(cell) for cell in row] for row in rows], columns=heads
    )


def best_of(page: str, caption: str) -> list[str]:
    whole_match = re.search(
        rf"<table[^>]*>\s*<caption><span>{caption}.*?</table>", page, flags=re.DOTALL
    )
    rows = re.findall(r"<tr>(<td.*?)</tr>", whole_match.group(), flags=re.DOTALL)
    return [
        re.search(r"<td[^>]*>([^<]*)<", row).group(1) for row in rows if ' best"' in row
    ]


def test_error_tables_hold_the_means_and_mark_the_best(page, frame):
    errors = table(
        page, "Error of importance shares against the truth “effect”"
    ).set_index("method")
    error_rows = frame.query(
        "suite == 'multimodal' and metric == 'share_error' and estimand == 'effect'"
    )
    means = error_rows.groupby("method")["value"].mean()
    for method in METHODS:
        assert float(errors.loc[method, "mean"].split()[0]) == pytest.approx(
            means[method], rel=0.01
        )
        assert float(errors.loc[f"{method}, oracle", "mean"]) == pytest.approx(
            means[f"oracle:{method}"], rel=0.01
        )
        f5 = error_rows.query("method == @method and function == 'F5'")["value"].mean()
        assert float(errors.loc[method, "F5"]) == pytest.approx(f5, rel=0.06)


def test_methods_of_another_estimand_are_not_compared(page, frame):
    total_rows = frame.query(
        "suite == 'tabular' and metric == 'share_error' and estimand == 'total'"
    )
    means = total_rows.groupby("method")["value"].mean()
    assert best_of(
        page, "Error of importance shares against the truth “total”: the total effect"
    ) == [means[["permgrad", "permutation"]].idxmin()]
    assert best_of(page, "Error of importance shares against the truth “shapley”") == [
        "shapley"
    ]


def test_direction_comes_from_the_registry(page):
    for caption, text in (
        ("Means over functions and seeds", "false discoveries ↓"),
        ("Means over functions", "power ↑"),
    ):
        whole_match = re.search(
            rf"<caption><span>{caption}.*?</table>",
            page[page.index('id="tabular-ranks"') :],
            flags=re.DOTALL,
        )
        assert text in whole_match.group()
    assert "false discoveries (0 to 1)" in page
    assert (
        "Coverage of 95 % intervals against each truth (0 to 1). Best near 0.95" in page
    )
    assert "0.0200 ≈" in page, "what cannot be told from the best is marked"


def test_the_best_stand_first_and_the_compared_before_all_others(page, frame):
    errors = table(page, "Error of importance shares against the truth “effect”")[
        "method"
    ]
    error_rows = frame.query(
        "suite == 'multimodal' and metric == 'share_error' and estimand == 'effect'"
    )
    means = error_rows.groupby("method")["value"].mean()[list(METHODS)].sort_values()
    assert [name for name in errors if "oracle" not in name] == list(means.index)
    totals = table(page, "Error of importance shares against the truth “total”")[
        "method"
    ].tolist()
    assert set(totals[:2]) == {"permgrad", "permutation"}


def test_leaders_use_direction_and_differences_over_functions():
    rng = np.random.default_rng(0)
    rows = []
    for function in range(6):
        for seed in range(3):
            base = 0.1 * function
            wobble = rng.uniform(-0.005, 0.005)
            values = {
                "low": base,
                "near": base + (0.004 if function % 2 else -0.003),
                "high": base + 0.4 + wobble,
            }
            for metric in ("share_error", "auc", "share:a"):
                rows += [
                    ("s", f"f{function}", seed, name, "any", metric, value)
                    for name, value in values.items()
                ]
    suite = suites_of(pd.DataFrame(rows, columns=COLUMNS), {})[0]
    assert leaders(suite, "share_error", ["low", "near", "high"], "any") == (
        "low",
        ["near"],
    )
    assert leaders(suite, "auc", ["low", "near", "high"], "any") == ("high", [])
    assert leaders(suite, "share:a", ["low", "near"], "any") == (None, []), (
        "a fact is never better"
    )
    assert leaders(suite, "power", ["low"], "any") == (None, [])


def test_variants_of_a_metric_have_columns_of_their_own(page):
    start = page.index('id="tabular-ranks"')
    heads = re.findall(r"<th[^>]*><button[^>]*>([^<]+)<", page[start : start + 6000])
    assert "power ↑" in heads
    assert "power (share) ↑" in heads


# ---- odd content ---------------------------------------------------------------------
@pytest.mark.slow
def test_undefined_and_impossible_figures_are_said_to_be_so(frame):
    changed = frame.copy()
    changed.loc[changed.index[changed["metric"] == "power"][0], "value"] = np.nan
    changed.loc[changed.index[changed["metric"] == "power"][1], "value"] = 1.5
    page = benchmark_page(changed, {})
    assert "1 of " in page
    assert "figures are undefined and left out of means: power." in page
    assert "values of power lie outside its range 0 to 1." in page


@pytest.mark.slow
def test_hostile_names_stay_text(frame):
    names = dict(zip(METHODS, [name for name in HOSTILE if name][:4], strict=True))
    changed = frame.assign(
        method=frame["method"].map(lambda name: names.get(name, name))
    )
    page = benchmark_page(changed, {})
    assert "<script>alert" not in page
    assert "onerror=alert(1)>" not in page.replace("&gt;", ">").replace(
        "&lt;img src=x onerror=alert(1)>", ""
    )
    assert set(names.values()) <= set(bars_of(page)["method"])


def test_wrong_tables_are_refused(frame):
    with pytest.raises(
        InputError,
        match=r"benchmark metric cannot be 'shar_error'. Did you mean 'share_error'\?",
    ):
        benchmark_page(frame.replace({"metric": {"share_error": "shar_error"}}), {})


def test_one_suite_one_seed_one_method():
    row = ("tabular", "linear", 0, "permgrad", "total", "share_error", 0.01)
    page = benchmark_page(pd.DataFrame([row], columns=COLUMNS), {})
    assert "1 method compared with known importances on 1 function." in page
    assert "Error against the truth" in page
