"""Is permgrad first, or level with the first, on tables of known functions?

Runs the tabular suite (``permgrad benchmark tabular``) or reads a folder in which it
was run, and says: who is first among the methods that estimate the same truth (error of
importance shares; seeds are averaged, functions are the sample, level is what a 95 %
t-interval does not tell apart); who is first in telling relevant from irrelevant
features (top k, AUC, false discoveries and power, by p-values and by a common share);
bias and spread over seeds; errors against all four truths; stability over retrainings
and resamples; likeness to explanations of randomised networks.

Floor: ``permgrad`` and ``permgrad:conditional`` are first or level among the methods of
their estimand and on every measure of relevance.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarks._results import markdown_table, parser, record

from permgrad.runs.requests import BenchmarkRequest
from permgrad_benchmark import COLUMNS, Settings, load_suites
from permgrad_benchmark.run import run_benchmark
from permgrad_benchmark.standing import summarise
from permgrad_benchmark.suites.tabular.case import FULL
from permgrad_benchmark.truth import make_truth

OURS = ("permgrad", "permgrad:conditional")
DEPENDENCE = (
    "A p-value asks whether the *network* uses a feature. Where features are "
    "independent, using an irrelevant one does not change the expected loss, so that "
    "all false discoveries are chance. Where they depend on each other, the network "
    "does use irrelevant ones a little in place of relevant ones; marginal methods "
    "detect that and are counted as wrong, because the *function* does not. "
    "Conditional methods ask what the feature adds to the others, which is nothing. "
    "Ablation replaces by one value, so that its effects are about half as large and "
    "fewer are detected."
)
REPETITIONS = (
    "stability_kendall:retraining",
    "stability_kendall:resampling",
    "stability_spread:retraining",
    "stability_spread:resampling",
    "randomised:parameters",
    "randomised:labels",
)


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return standings with the columns that a reader needs."""
    return [
        {key: row[key] for key in ("method", "mean", "behind", "low", "high", "level")}
        for row in rows
    ]


def checks(
    summary: dict[str, Any], contestants: dict[str, Any]
) -> list[tuple[str, bool, str]]:
    """Return what is checked, whether it holds, and who is first."""
    found = []
    for name in OURS:
        rows = {
            row["method"]: row
            for row in summary["own"].get(contestants[name]["estimand"], [])
        }
        if name in rows:
            found.append(
                (f"{name} on its own truth", rows[name]["level"], next(iter(rows)))
            )
    for metric, listed in summary["relevance"].items():
        rows = {row["method"]: row for row in listed}
        found += [
            (f"{name}, {metric}", rows[name]["level"], listed[0]["method"])
            for name in OURS
            if name in rows
        ]
    return found


def means(frame: pd.DataFrame, metrics: tuple[str, ...]) -> str:
    """Return a table of means over cells, methods by metrics."""
    own = frame[frame["metric"].isin(metrics)]
    if own.empty:
        return "Not measured in this run."
    table = own.pivot_table(
        index="method", columns="metric", values="value", sort=False
    )
    return markdown_table(
        [{"method": name, **row} for name, row in table.to_dict(orient="index").items()]
    )


def by_dependence(frame: pd.DataFrame) -> str:
    """Return discoveries and coverage apart for functions of independent and of
    dependent features.
    """
    own = frame[
        frame["metric"].isin(("false_discovery_rate", "power", "interval_coverage"))
    ]
    kind = own["function"].map(
        lambda name: "dependent" if make_truth(name).correlated else "independent"
    )
    table = own.assign(features=kind).pivot_table(
        index=["features", "method"], columns="metric", values="value"
    )
    return markdown_table(table.reset_index().to_dict(orient="records"))


def page(
    frame: pd.DataFrame, summary: dict[str, Any], contestants: dict[str, Any]
) -> tuple[str, bool]:
    """Return the text of the record and whether the floor is met."""
    parts = []
    checked = checks(summary, contestants)
    parts.append(
        "## Floor\n\n"
        + markdown_table(
            [{"check": a, "first or level": b, "first": c} for a, b, c in checked]
        )
    )
    for estimand, rows in summary["own"].items():
        parts.append(
            f"## Error of shares among methods of {estimand}\n\n"
            + markdown_table(shown(rows))
        )
    for metric, rows in summary["relevance"].items():
        parts.append(f"## {metric}, all methods\n\n" + markdown_table(shown(rows)))
    parts.append(
        "## Discoveries by p-values and coverage, by the dependence of features\n\n"
        + DEPENDENCE
    )
    parts.append(by_dependence(frame))
    errors = frame[frame["metric"] == "share_error"].pivot_table(
        index="method", columns="estimand", values="value"
    )
    cross = [
        {"method": name, **row} for name, row in errors.to_dict(orient="index").items()
    ]
    parts.append(
        "## Error of shares against all four truths\n\n" + markdown_table(cross)
    )
    bias = (
        pd.DataFrame(summary["bias"])
        .groupby(["method", "estimand"])[["bias", "spread"]]
        .mean()
        .reset_index()
    )
    parts.append(
        "## Bias and spread over seeds, own truth\n\n"
        + markdown_table(bias.to_dict(orient="records"))
    )
    parts.append(
        "## Cost\n\n" + means(frame, ("seconds", "model_rows", "interval_coverage"))
    )
    parts.append("## Repetitions\n\n" + means(frame, REPETITIONS))
    network = frame[(frame["method"] == "network") & (frame["metric"] == "r_squared")]
    quality = (
        network.groupby("function", sort=False)["value"]
        .agg(["mean", "min"])
        .reset_index()
    )
    parts.append(
        "## Networks: R² against the noiseless function\n\n"
        + markdown_table(quality.to_dict(orient="records"))
    )
    return "\n\n".join(parts), all(held for _, held, _ in checked)


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--results",
        type=Path,
        nargs="+",
        help="folders of finished `permgrad benchmark tabular`",
    )
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--functions", nargs="+", default=[])
    options.add_argument("--no-peers", action="store_true")
    options.add_argument("--threads", type=int)
    arguments = options.parse_args()
    folders = arguments.results
    if folders is None:
        folders = [Path(tempfile.mkdtemp(prefix="permgrad-tabular-"))]
        run_benchmark(
            BenchmarkRequest(
                suite="tabular",
                out=folders[0],
                seeds=1 if arguments.quick else arguments.seeds,
                functions=tuple(arguments.functions),
                quick=arguments.quick,
                peers=not arguments.no_peers,
                threads=arguments.threads,
            )
        )
    frame = pd.concat([pd.read_csv(folder / "results.csv") for folder in folders])
    # The same figure in two folders counts once, as in the first.
    frame = frame.drop_duplicates([name for name in COLUMNS if name != "value"])
    frame = frame[frame["suite"] == "tabular"]
    contestants = load_suites().get("tabular").facts(Settings())["contestants"]
    summary = summarise(frame, contestants)
    text, passed = page(frame, summary, contestants)
    seeds = sorted(int(seed) for seed in frame["seed"].unique())
    count = frame["function"].nunique()
    head = (
        f"{count} functions, {len(seeds)} seeds each; networks of the default "
        f"preset, {vars(FULL)}.\n\n"
    )
    for folder in folders:
        asked = json.loads((folder / "benchmark.json").read_text(encoding="utf-8"))[
            "command"
        ]
        head += f"Figures of `{asked}`.\n\n"
    cells = frame.groupby("function")["seed"].nunique()
    if cells.min() < len(seeds):
        head += f"Not every function has every seed: {cells.to_dict()}.\n\n"
    return record(arguments, "Tables of known functions", head + text, summary,
                  passed=passed, seeds=seeds)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
