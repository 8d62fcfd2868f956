"""Does the page predict and explain a changed row as Python does?

Edits of seventeen models in Chromium.

    python -m verification.verify_what_if              # 200 edits of each model
    python -m verification.verify_what_if --quick      # 20 edits of each. Nothing is written
    python -m verification.verify_what_if --edits 20 --only members

Each model is trained for a moment, so that its numbers are not those of a start. A page
holds what a report holds for *What if*, makes the edits one after the other, and writes
its predictions, shares and times. Predictions must agree with ``predict_proba`` or
``predict`` within 1e-5 (of the largest in size, for numbers), shares with
``pg.explain`` within 1e-3 of the output's range. The time of an edit ends when its
waterfall is drawn and laid out. A model predicts in float32, and the page in float32
and float64: how far each is from the same network in float64 is shown as well.
"""

from __future__ import annotations

import argparse
import copy
import html
import json
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verification._verification import (
    RESULTS,
    Record,
    markdown_table,
)  # sets threads: before NumPy

# isort: split
import numpy as np
import pandas as pd
import torch

import permgrad as pg
from permgrad.assess.encoder_form import cells_of, encoder_form
from permgrad.assess.sections.photos import PhotoColumn, covered_scores
from permgrad.assess.sections.what_if import SEED, ChangeableRows, rows_of
from permgrad.attribution.request import tuned
from permgrad.data.encode.designs import text_parts, without
from permgrad.data.image_table import read_image
from permgrad.data.read.cells import as_frame
from permgrad.data.read.image_cells import ImageCell
from permgrad.evaluation.baselines.table_model import table_model
from permgrad.imaging.tinto import TintoLayout
from permgrad.models.estimators.prepared import EncodedRows
from permgrad.models.images import PATCHES
from permgrad.pages import whatif
from permgrad.pages.views import page_data

BROWSER = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
SCRIPTS = Path(whatif.__file__).parent / "templates" / "scripts"
#: Rows are changed this many times before another row is taken.
_EDITS_OF_ROW = 10
#: Training rows from which a page's few are drawn, of models that keep none.
_KEPT = 500
_RUN = """
const data = JSON.parse(document.getElementById("edits").textContent);
const made = Shares.make(data.content);
const results = [];
JSON.parse(data.rows).forEach(([place, changes], at) => {
  const start = performance.now();
  const result = made.explain(made.encode(place, changes), made.walks[data.later.includes(at) ? 2 : 0]);
  const outputs = result.base.length;
  const steps = made.players.map((name, p) => ({ name, value: result.values[p * outputs] }))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 12);
  const figure = document.getElementById("figure");
  const ends = { start: result.base[0], startName: "typical rows", end: result.prediction[0], endName: "changed row" };
  figure.replaceChildren(Charts.waterfall({ ...ends, steps }));
  figure.getBoundingClientRect();
  const ms = performance.now() - start;
  results.push({
    predicted: Array.from(made.network.predicted(result.outputs)), values: Array.from(result.values),
    errors: Array.from(result.errors), walks: result.walks, ms,
  });
});
document.getElementById("out").textContent = JSON.stringify(results);
"""


@dataclass(frozen=True)
class Case:
    """A model, and rows to take and to change."""

    model: Any
    rows: pd.DataFrame


def _table(rng: np.random.Generator, rows: int, numbers: int) -> pd.DataFrame:
    table = pd.DataFrame(
        rng.normal(size=(rows, numbers)).round(3),
        columns=[f"n{k}" for k in range(numbers)],
    )
    table["n1"] = np.exp(2 * table["n1"]).round(2)
    table["n2"] = rng.poisson(2, rows).astype(float)
    return table


def _mixed(
    rng: np.random.Generator, rows: int, numbers: int = 6, levels: int = 5
) -> pd.DataFrame:
    table = _table(rng, rows, numbers)
    table["colour"] = rng.choice([f"colour {k}" for k in range(levels)], rows)
    table["shop"] = rng.choice(
        ["a", "b", "c", 'odd <&">'], rows, p=[0.6, 0.2, 0.15, 0.05]
    )
    table["member"] = rng.choice(["yes", "no"], rows)
    table["paid"] = rng.random(rows) < 0.3
    table["when"] = pd.Timestamp("2021-02-03") + pd.to_timedelta(
        rng.integers(0, 900 * 24, rows), unit="h"
    )
    table.loc[rng.random(rows) < 0.1, "n0"] = np.nan
    table.loc[rng.random(rows) < 0.1, "n3"] = -9.0
    table.loc[rng.random(rows) < 0.1, "colour"] = None
    table.loc[rng.random(rows) < 0.05, "member"] = None
    return table


def _signal(table: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    numbers = table.filter(regex=r"^n\d+$").fillna(0).to_numpy()
    wave = (
        np.sin(2 * numbers[:, 0]) * (1 + 0.5 * np.tanh(numbers[:, 3]))
        + 0.4 * numbers[:, 4] * numbers[:, -1]
    )
    extra = (
        0.0
        if "colour" not in table
        else (table["colour"] == "colour 1").to_numpy() * 1.0
    )
    return wave + extra + 0.2 * rng.normal(size=len(table))


def members(epochs: int = 8) -> Case:
    """The default network on 25 numbers: eight members, embedded numbers, images."""
    rng = np.random.default_rng(1)
    table = _table(rng, 1500, 25)
    y = np.where(_signal(table, rng) > 0, "good", "bad")
    model = pg.HyNNClassifier(
        image="always", max_epochs=epochs, random_state=0, progress=False
    )
    return Case(model.fit(table, y), table)


def curve(epochs: int = 3) -> Case:
    """The network for ordered columns: convolutions along a row of 25 pixels, beside
    random kernels.
    """
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        np.cumsum(rng.normal(size=(600, 25)), axis=1),
        columns=[f"t{at}" for at in range(25)],
    )
    model = pg.HyNNRegressor(
        layout="given", max_epochs=epochs, random_state=0, progress=False
    )
    return Case(model.fit(table, table.to_numpy().max(axis=1)), table)


def channels(epochs: int = 3) -> Case:
    """Pictures of 2 × 4 pixels with three channels, and a category: convolutions and
    random kernels read all three.
    """
    rng = np.random.default_rng(8)
    names = [
        f"px_{row}_{column}_{one}"
        for row in range(2)
        for column in range(4)
        for one in "rgb"
    ]
    table = pd.DataFrame(rng.normal(size=(600, 24)).round(3), columns=names)
    red, green = (table.filter(regex=f"_{one}$").to_numpy() for one in "rg")
    table["site"] = rng.choice(["a", "b"], 600)
    model = pg.HyNNRegressor(
        layout="given", max_epochs=epochs, random_state=0, progress=False
    )
    return Case(
        model.fit(table, (red * green).sum(axis=1) + 2.0 * (table["site"] == "a")),
        table,
    )


def mixed(epochs: int = 3) -> Case:
    """The default network on numbers, categories, dates, yes and no, missing ones of
    two kinds; three classes.
    """
    rng = np.random.default_rng(2)
    table = _mixed(rng, 1200)
    y = np.digitize(_signal(table, rng), [-0.5, 0.5])
    model = pg.HyNNClassifier(
        max_epochs=epochs, random_state=0, progress=False, na=[-9], calibration="temperature",
        class_weight="balanced",
    )  # fmt: skip
    return Case(model.fit(table, y), table)


def routes(epochs: int = 3) -> Case:
    """A regression with a number that is a level, too: the length of a route, whose
    price is its own.
    """
    rng = np.random.default_rng(4)
    table, length = (
        _mixed(rng, 1500),
        np.sort(rng.choice(np.arange(100, 3000), 70, replace=False)),
    )
    at = rng.integers(0, 70, len(table))
    table["length"] = pd.Series(length[at], dtype="Int64").mask(at == 7)
    model = pg.HyNNRegressor(max_epochs=epochs, random_state=0, progress=False)
    model.fit(table, _signal(table, rng) + length[at] / 1000 + rng.normal(size=70)[at])
    assert {"length", "length=<score>"} <= set(model.preprocessor_.encoded_names_)
    return Case(model, table)


def levels(epochs: int = 3) -> Case:
    """A regression with scores: of a text, of over 60 levels with slopes and a centred
    number; layer normalisation.
    """
    rng = np.random.default_rng(3)
    table = _mixed(rng, 1500, levels=70)
    words = np.array(["red", "old", "<b>", "small", "cheap", "round"])
    table["note"] = [
        " ".join(rng.permutation(words)[:3]) + f" {row}" for row in range(len(table))
    ]
    effects = table["colour"].str[-1:].fillna("0").astype(int) / 9
    table["n2"] += 3 * effects
    extra = table["note"].str.contains("red") + effects * (1 + table["n4"])
    network = {"normalization": "layer", "fusion_units": (64, 32)}
    preset = {"base": "default", "max_levels": 60}
    model = pg.HyNNRegressor(
        preset=preset,
        max_epochs=epochs,
        network=network,
        random_state=0,
        progress=False,
    )
    model.fit(table, 5000 * (_signal(table, rng) + 2 * extra) + 1e5)
    assert {len(one) for one in model.preprocessor_.slopes_} == {2, 3}
    return Case(model, table)


def words(epochs: int = 3) -> Case:
    """Words are taken out of two texts: short ones with accents, marks and repeated
    words, long ones; three classes.
    """
    rng = np.random.default_rng(9)
    table = _mixed(rng, 900, 5)
    some = np.array(
        [
            "red",
            "red",
            "old",
            "ÉTÉ",
            "don't",
            "<b>",
            "small,",
            "(cheap)",
            "中文字",
            "Straße",
            "İstanbul",
            "ΟΔΟΣ",
            "co-op",
            "x_1",
        ]
    )
    table["note"] = [
        " ".join(rng.permutation(some)[: rng.integers(2, 9)]) + "\t!"
        for _ in range(len(table))
    ]
    table.loc[rng.random(len(table)) < 0.1, "note"] = None
    some = [
        f"{one}{end}" for one in "abcde" for end in ("n the", "lso", "nd", "ll", "way")
    ]
    ends, tales = (
        rng.choice(["well", "ill"], len(table)),
        rng.choice(some, (len(table), 70)),
    )
    table["story"] = [
        f"{' '.join(tale)}; all is {ends[row]}. {row}" for row, tale in enumerate(tales)
    ]
    extra = 2.0 * (ends == "well") + 3 * table["note"].str.contains("red|中").fillna(
        False
    ).astype(float)
    y = np.digitize(_signal(table, rng) + extra, [1.5, 3.5])
    kinds = {"note": "text", "story": "text"}
    return Case(
        pg.HyNNClassifier(
            max_epochs=epochs, kinds=kinds, random_state=0, progress=False
        ).fit(table, y),
        table,
    )


def paper(epochs: int = 2) -> Case:
    """The published network: TINTO's images of three channels, batch normalisation;
    isotonic calibration.
    """
    rng = np.random.default_rng(4)
    table = _mixed(rng, 800, 5)
    y = np.where(_signal(table, rng) > 0, "good", "bad")
    model = pg.HyNNClassifier(
        preset="paper", max_epochs=epochs, random_state=0, progress=False, calibration="isotonic", pixels=12,
        network={"activation": "gelu"},
    )  # fmt: skip
    return Case(model.fit(table, y), table)


def pixels(epochs: int = 3) -> Case:
    """Images alone, blurred, of normal scores; the fast preset."""
    rng = np.random.default_rng(5)
    table = _mixed(rng, 800, 8)
    layout = TintoLayout(12, blur=True, distance=1, steps=2)
    model = pg.HyNNRegressor(
        preset={"base": "fast", "numeric": "quantile"}, branches=("image",), layout=layout, pixels=12,
        max_epochs=epochs, random_state=0, progress=False, network={"pooling": (3, 1), "activation": "mish"},
    )  # fmt: skip
    return Case(model.fit(table, _signal(table, rng)), table)


def one_logit(epochs: int = 3) -> Case:
    """The table alone, one logit for two classes, weighted, standard scaling."""
    rng = np.random.default_rng(6)
    table = _mixed(rng, 800, 8)
    y = np.where(_signal(table, rng) > 0.8, "rare", "usual")
    model = pg.HyNNClassifier(
        preset="ig_example",
        max_epochs=epochs,
        random_state=0,
        progress=False,
        calibration="prior",
    )
    return Case(model.fit(table, y), table)


def dated(epochs: int = 3) -> Case:
    """The table alone, two dates of three centuries: one with its time, of the other
    only what returns.
    """
    rng = np.random.default_rng(8)
    table = _table(rng, 1600, 5)
    for name in ("seen", "due"):
        table[name] = pd.Timestamp("1890-01-01") + pd.to_timedelta(
            rng.integers(0, 210 * 365 * 24, len(table)), unit="h"
        )
    table.loc[rng.random(len(table)) < 0.1, "seen"] = pd.NaT
    y = (
        _signal(table, rng)
        + (table["due"].dt.dayofweek > 4)
        + (table["seen"].dt.month == 2) * 2.0
    )
    model = pg.HyNNRegressor(
        branches=("tabular",),
        kinds={"due": "calendar"},
        max_epochs=epochs,
        random_state=0,
        progress=False,
    )
    return Case(model.fit(table, y), table)


def photos(epochs: int = 4) -> Case:
    """Patches of photos of two sizes are covered, beside a table: the page has the
    scores of what is left.
    """
    rng = np.random.default_rng(7)
    table = _mixed(rng, 400, 5).drop(columns="when")
    side = rng.integers(0, 2, len(table))
    scans = [
        rng.integers(0, 60, (12, 12 + 4 * (row % 3 == 0), 3), np.uint8)
        for row in range(len(table))
    ]
    for scan, right in zip(scans, side, strict=True):
        scan[4:8, 1 + 6 * right : 5 + 6 * right, 0] = 250
    table["scan"] = pd.Series(scans, dtype=object).where(
        rng.random(len(table)) > 0.1, None
    )
    y = np.where(_signal(table, rng) + 3 * side - 1.5 > 0, "ill", "well")
    table = as_frame(table)  # as images, which can be compared
    model = pg.HyNNClassifier(max_epochs=epochs, random_state=0, progress=False).fit(
        table, y
    )
    return Case(model, table)


def beside(epochs: int = 3) -> Case:
    """A network with a line and trees beside its head; three classes."""
    rng = np.random.default_rng(10)
    table = _mixed(rng, 1200)
    branches = ("tabular", "image", "linear", "trees")
    model = pg.HyNNClassifier(
        branches=branches, max_epochs=epochs, random_state=0, progress=False
    )
    model.fit(table, np.digitize(_signal(table, rng), [-0.5, 0.5]))
    assert model.module_.paths == branches
    return Case(model, table)


def _boosted(
    name: str, task: Any, kind: str, seed: int, numbers: int = 6, **options: Any
) -> Case:
    rng = np.random.default_rng(seed)
    table = _mixed(rng, 1500, numbers)
    signal = _signal(table, rng)
    y = np.digitize(signal, [-0.5, 0.5]) if kind == "classes" else 2000 + 300 * signal
    if kind == "counts":
        y = rng.poisson(np.exp(0.5 * signal)).astype(float)
        options["loss"] = "poisson"
    model = table_model(task, name, random_state=0, **options).fit(table, y)
    return Case(model, table)


def trees(_: int = 0) -> Case:
    """Boosted trees of LightGBM: 300 rounds of 31 leaves, nearly 30 features, numbers
    far from 0.
    """
    settings = {"n_estimators": 300, "num_leaves": 31, "learning_rate": 0.05}
    return _boosted(
        "lightgbm",
        "regression",
        "numbers",
        11,
        19,
        settings=settings,
        validation_fraction=0,
    )


def classes(_: int = 0) -> Case:
    """Boosted trees of XGBoost: three classes."""
    return _boosted("xgboost", "classification", "classes", 12)


def counts(_: int = 0) -> Case:
    """Histogram boosting of counts."""
    return _boosted("histogram_boosting", "regression", "counts", 13)


def oblivious(_: int = 0) -> Case:
    """Boosted trees of CatBoost: three classes, of which each tree says all."""
    return _boosted("catboost", "classification", "classes", 14)


CASES: dict[str, Callable[..., Case]] = {
    one.__name__: one
    for one in (
        *(
            members,
            curve,
            channels,
            mixed,
            routes,
            levels,
            words,
            paper,
            pixels,
            one_logit,
            dated,
            photos,
        ),
        *(beside, trees, classes, counts, oblivious),
    )
}


# ---- edits ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Edits:
    """Listed rows, and changed rows ``frame``, each by the place of its listed row and
    the columns changed in it.

    ``cells``: of each changed row those that the page has in another form than the
    frame.
    """

    listed: pd.DataFrame
    frame: pd.DataFrame
    places: list[int]
    columns: list[list[str]]
    cells: list[dict[str, Any]]


def make_edits(case: Case, edits: int, seed: int = 0) -> Edits:
    """Change one feature after the other of a row, then of another row."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(case.rows), -(-edits // _EDITS_OF_ROW), replace=False)
    columns_read = encoder_form(case.model.preprocessor_)["columns"]
    # A page cannot read a text or an image: it sets levels that it knows, or none,
    # takes words out, or covers a patch.
    known = {
        form["name"]: {level for level, _ in form.get("levels", ())}
        for form in columns_read
        if "scores" in form and form["kind"] != "category"
    }
    schema = case.model.preprocessor_.schema_
    table = case.rows.iloc[rows].reset_index(drop=True)
    lines, places, columns, cells = [], [], [], []
    for number in range(edits):
        place, step = divmod(number, _EDITS_OF_ROW)
        if step == 0:
            current, changed, part = (
                table.astype(object).iloc[place].copy(),
                list[str](),
                dict[str, Any](),
            )
        else:
            name = str(rng.choice(table.columns))
            value = _other_value(case, name, rng)
            current[name] = value if name not in known or value in known[name] else None
            part.pop(name, None)
            if (
                name in known
                and pd.notna(table[name].iloc[place])
                and rng.random() < 0.8
            ):
                if schema[name].kind == "text":
                    current[name], part[name] = _without_some(
                        table[name].iloc[place], rng
                    )
                elif schema[name].kind == "image":
                    current[name], part[name] = (
                        table[name].iloc[place],
                        {"covered": int(rng.integers(PATCHES**2))},
                    )
            changed = list(dict.fromkeys([*changed, name]))
        lines.append(current.copy())
        places.append(place)
        columns.append(list(changed))
        cells.append(dict(part))
    frame = pd.DataFrame(lines).reset_index(drop=True)
    for name, kind in case.rows.dtypes.items():
        if kind.kind == "f":
            frame[name] = frame[name].astype(float)
        elif kind.kind == "M":
            frame[name] = pd.to_datetime(frame[name])
    for name in schema.of_kind("image"):
        frame[name] = pd.Series(
            [line[name] for line in lines], dtype=object
        )  # strings would lose the pixels
    return Edits(table, frame, places, columns, cells)


def _without_some(text: str, rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """Return a text without some of its words, and which they are."""
    parts, end, spans = text_parts(text), 0, []
    for part in parts:
        spans.append((end, end + len("".join(part))))
        end = spans[-1][1]
    gone = np.flatnonzero(
        rng.random(len(parts) // 2) < rng.choice([0.2, 0.5, 1.0])
    ).tolist() or [0]
    return without(text, [spans[2 * at + 1] for at in gone]), {"without": gone}


def _other_value(case: Case, name: str, rng: np.random.Generator) -> Any:
    column = case.rows[name]
    draw = rng.random()
    if column.dtype.kind == "b":
        return bool(draw < 0.5)
    if draw < 0.15 and column.dtype.kind in "fOM":
        return pd.NaT if column.dtype.kind == "M" else None
    if draw < 0.25 and column.dtype == object and name != "member":
        return "never seen"
    if draw < 0.4 and column.dtype.kind == "f":
        return float(np.round(3 * rng.normal(), 2))
    return column.iloc[int(rng.integers(len(column)))]


# ---- both sides ----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How far page and Python are apart, and what shows that the comparison is not of
    nothing.

    ``page_exact``, ``model_exact``: how far the predictions of each are from those of
    the network in float64.
    """

    predictions: float
    page_exact: float
    model_exact: float
    shares: float
    milliseconds: list[float]
    largest_share: float
    moved: float


def page(content: dict[str, Any], edits: Edits, encoder: Any, later: list[int]) -> str:
    """Return a page that makes the edits and writes what comes out."""
    cells = cells_of(encoder, edits.frame)
    changes = [
        {
            name: edits.cells[at].get(name, cells[name][at])
            for name in names
            if name in cells
        }
        for at, names in enumerate(edits.columns)
    ]
    rows = list(zip(edits.places, changes, strict=True))
    return scripted(
        page_data({"content": content, "later": later, "rows": json.dumps(rows)}), _RUN
    )


def scripted(data: str, script: str) -> str:
    """Return a page of data and a script that reads them, with the scripts of a
    report.
    """
    scripts = "\n".join(
        (SCRIPTS / name).read_text(encoding="utf-8")
        for name in ("charts.js", "page.js", "layers.js", "network.js", "shares.js")
    )
    return (
        '<!doctype html><meta charset="utf-8"><title>edits</title><pre '
        'id="out"></pre><div id="figure"></div><script type="application/json" '
        f'id="edits">{data}</script><script>{scripts}{script}</script>'
    )


def browse(text: str, folder: Path) -> list[dict[str, Any]]:
    """Open a page in Chromium and return what it wrote."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    assert BROWSER is not None, "no Chromium on this machine"
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
    ]
    command += [
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    written = re.search(r'<pre id="out">(.*?)</pre>', done.stdout, re.DOTALL)
    said = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    assert written, said or done.stderr[-2000:]
    assert written[1], said
    results: list[dict[str, Any]] = json.loads(html.unescape(written[1]))
    return results


def background_of(model: Any, rows: ChangeableRows) -> EncodedRows:
    """Return the page's background rows as ``pg.explain`` takes them."""
    names = list(model.preprocessor_.feature_names_in_)
    table = pd.DataFrame(np.zeros((len(rows.background), len(names))), columns=names)
    return EncodedRows(table, model.preprocessor_, rows.background)


def explained(
    model: Any, rows: Any, background: EncodedRows, walks: int
) -> pg.Explanation:
    """Return the explanation in Python whose values the page should have."""
    return pg.explain(
        model,
        rows,
        method=tuned(
            pg.methods.Shapley(tolerance=0, max_permutations=2 * walks),
            exact=0,
            same_orders=True,
        ),
        scale="probability",
        random_state=SEED,
        progress=False,
        # The first walks take the first of the rows.
        background=background.take(np.arange(min(walks, len(background)))),
    )


def check(case: Case, edits: int, folder: Path) -> Outcome:
    """Make edits in Chromium and compare."""
    model, made = case.model, make_edits(case, edits)
    later = list(range(3, edits, max(7, edits // 5)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listed = model.encode_rows(made.listed)
        rows = rows_of(
            model, listed, np.arange(len(listed)), background_rows=_kept(case)
        )
        content = whatif.what_if(
            model, rows, photos=_photos(model.preprocessor_, made.listed)
        )
        assert "form" in content, content
        results = browse(page(content, made, model.preprocessor_, later), folder)
        classes = hasattr(model, "classes_")
        changed = _changed(model, made)
        wanted = (
            model.predict_proba(changed) if classes else model.predict(changed)[:, None]
        )
        form, background = json.loads(content["form"]), background_of(model, rows)
        off = [
            _difference(
                results,
                at,
                explained(model, changed.take(at), background, results[at[0]]["walks"]),
                form,
            )
            for at in ([at for at in range(edits) if at not in later], later)
        ]
    predicted = np.array([result["predicted"] for result in results])
    scale = 1.0 if classes else max(1.0, float(np.abs(wanted).max()))
    exact = in_float64(model, changed.encoded)
    times = [
        result["ms"]
        for at, result in enumerate(results)
        if at not in later and at % _EDITS_OF_ROW
    ]
    pairs = (predicted, wanted), (predicted, exact), (wanted, exact)
    apart = [float(np.abs(one - other).max()) / scale for one, other in pairs]
    return Outcome(
        apart[0],
        apart[1],
        apart[2],
        max(pair[0] for pair in off),
        times,
        max(pair[1] for pair in off),
        float(np.abs(np.diff(wanted, axis=0)).max()) / scale,
    )


def _kept(case: Case) -> np.ndarray | None:
    """Return encoded training rows of a model that keeps none itself."""
    if hasattr(case.model, "background_"):
        return None
    encoded: np.ndarray = case.model.encode_rows(case.rows[:_KEPT]).encoded
    return encoded


def in_float64(model: Any, encoded: np.ndarray) -> np.ndarray:
    """Return what a model would predict of encoded rows ``(rows, outputs)`` if its
    network computed in float64.
    """
    if not hasattr(model, "module_"):  # trees do
        guess: np.ndarray = model.fitted_.guess(encoded)
        return guess if hasattr(model, "classes_") else guess[:, None]
    with torch.no_grad():
        outputs = (
            copy.deepcopy(model.module_)
            .double()(torch.from_numpy(encoded).double())
            .numpy()
        )
    if hasattr(model, "classes_"):
        return model.calibration_.probabilities(outputs)
    return outputs * model.target_scale_ + model.target_mean_


def _photos(encoder: Any, frame: pd.DataFrame) -> list[PhotoColumn]:
    """Return what a page has of the images of rows: their scores with each patch
    covered.
    """
    made = []
    for name in (
        one
        for one in encoder.schema_.of_kind("image")
        if one in encoder.scores_.columns
    ):
        rows = np.flatnonzero(frame[name].notna()).tolist()
        scores = {
            str(row): covered_scores(encoder, name, frame[name].iloc[row])
            for row in rows
        }
        made.append(PhotoColumn(name=name, covered=scores))
    return made


def _changed(model: Any, edits: Edits) -> EncodedRows:
    """Return the changed rows.

    Of images with a patch covered the pixels are covered before they are read.
    """
    encoder, rows = model.preprocessor_, model.encode_rows(edits.frame)
    for at, cells in enumerate(edits.cells):
        for name, cell in cells.items():
            if "covered" in cell:
                columns = [
                    place
                    for place in encoder.columns_of(name)
                    if encoder.kinds_[place] == "score"
                ]
                pixels = _covered_pixels(
                    encoder.images_.columns[name],
                    edits.frame[name].iloc[at],
                    cell["covered"],
                )
                vectors = encoder.images_.vectors(
                    name, [ImageCell(f"covered {at}", pixels)]
                )
                rows.encoded[at, columns] = encoder.scores_.of(name, vectors)
    return rows


def _covered_pixels(column: Any, cell: Any, patch: int) -> np.ndarray:
    """Return an image in the frame of its column, with one of 4 × 4 patches in its mean
    colour.
    """
    size = column.channels, column.height, column.width
    pixels = np.moveaxis(read_image(cell.source, *size, framed=True), 0, -1).copy()
    colour = read_image(cell.source, *size).mean(axis=(1, 2)).round()
    down, across = (np.arange(side) * PATCHES // side for side in pixels.shape[:2])
    pixels[np.ix_(down == patch // PATCHES, across == patch % PATCHES)] = colour.astype(
        np.uint8
    )
    return pixels


def _difference(
    results: list[dict[str, Any]],
    places: list[int],
    explanation: pg.Explanation,
    form: dict[str, Any],
) -> tuple[float, float]:
    """Return the largest difference of shares and of their errors, and the largest
    share, in ranges of the output.
    """
    names = [name for name, _ in form["players"]]
    assert explanation.meta["permutations"] == 2 * results[places[0]]["walks"]
    order = [explanation.names.index(name) for name in names]
    span = np.array(form["range"])
    if len(explanation.outputs) > len(span):  # one logit for two classes
        span = np.repeat(span, 2)
    off = largest = 0.0
    for key, theirs in (
        ("values", explanation.values),
        ("errors", explanation.std_error),
    ):
        ours = np.array([results[at][key] for at in places]).reshape(
            len(places), len(names), -1
        )
        off = max(off, float((np.abs(ours - theirs[:, order]) / span).max()))
        largest = max(largest, float((np.abs(theirs) / span).max()))
    return off, largest


def main() -> None:
    """Check all models and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--quick", action="store_true", help="20 edits of each model.")
    chosen = parser.parse_args()
    edits = 20 if chosen.quick else chosen.edits
    record = Record("A changed row in the page and in Python", 0)
    lines, worst = [], np.zeros(3)
    for name in chosen.only:
        with tempfile.TemporaryDirectory() as folder:
            outcome = check(CASES[name](), edits, Path(folder))
        median, high = np.quantile(outcome.milliseconds, [0.5, 0.9])
        exact = outcome.page_exact, outcome.model_exact
        off = [
            f"{value:.2g}"
            for value in (
                outcome.predictions,
                *exact,
                outcome.shares,
                outcome.largest_share,
                outcome.moved,
            )
        ]
        lines.append(
            [name, str(CASES[name].__doc__), *off, f"{median:.1f}", f"{high:.1f}"]
        )
        worst = np.maximum(worst, [outcome.predictions, outcome.shares, median])
    head = [
        "model",
        "what it is",
        "prediction off",
        "page to float64",
        "model to float64",
        "share off",
        "largest share",
        "largest change",
        "median ms",
        "90 % ms",
    ]
    record.write(f"{edits} edits of each of {len(lines)} models, in Chromium.")
    record.write(markdown_table(head, lines))
    record.floor(
        "largest difference of a prediction, times 1e5", 1e5 * float(worst[0]), 0
    )
    record.floor(
        "largest difference of a share, in thousandths of the range",
        1e3 * float(worst[1]),
        0,
    )
    record.floor(
        "largest median time of an edit with its waterfall, in ms",
        float(worst[2]),
        0,
        100,
    )
    complete = edits >= 200 and set(chosen.only) == set(CASES)
    raise SystemExit(record.close(RESULTS / "verify_what_if.md" if complete else None))


if __name__ == "__main__":
    main()
