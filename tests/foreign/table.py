"""What each method does with each network of another library, and the table of it for
the documentation.

``.venv-foreign/bin/python tests/foreign/table.py`` writes
``benchmarks/results/foreign_networks.{json,md}``.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import permgrad as pg
from permgrad.attribution import methods

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "shared")]
from explaining import explain_with  # noqa: E402 — beside this script
from networks import NETWORKS, ROWS, build  # noqa: E402 — beside this script
from untouched import assert_untouched, state_of  # noqa: E402 — as above
from usual_methods import few_draws  # noqa: E402 — as above

#: Methods of a fitted estimator of permgrad, or of several explanations.
METHODS = tuple(name for name in methods if name not in ("permgrad_paper", "aggregate"))
#: A refusal names what to do instead.
REMEDY = re.compile(
    r"\b(choose|pass|wrap|mend|name|use|leave|give|explain)\b", re.IGNORECASE
)
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def short(name: str) -> dict[str, Any]:
    """Return options of a method with which it takes little time, and no background."""
    method = methods.get(name)
    options: dict[str, Any] = {"n_repeats": 1, **few_draws(name, max_permutations=20)}
    if method.by_output and "baseline" in method.options:
        options["baseline"] = "zeros"
    return options


def outcome(name: str, method: str) -> tuple[pg.Explanation | None, str]:
    """Return the explanation, or None and why it was refused."""
    net, inputs = build(name)
    y = np.arange(ROWS) % 2
    before = state_of(net, inputs)
    options = {"background": inputs, **short(method)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explanation = explain_with(
                net,
                inputs,
                y,
                method=method,
                random_state=0,
                progress=False,
                task="classification",
                returns="logits",
                **options,
            )
    except pg.InputError as error:
        explanation = None
        reason = str(error)
    else:
        reason = ""
    assert_untouched(before, state_of(net, inputs))
    return explanation, reason


def main() -> None:
    """Write the table."""
    cells: dict[str, dict[str, str]] = {}
    packages = dict.fromkeys(package for package, _ in NETWORKS.values())
    for name in NETWORKS:
        cells[name] = {}
        for method in METHODS:
            explanation, reason = outcome(name, method)
            layer = (
                ""
                if explanation is None or method != "gradcam"
                else f" ({explanation.meta['layer']})"
            )
            cells[name][method] = (
                f"done{layer}" if explanation is not None else f"refused: {reason}"
            )
            print(f"{name}, {method}: {cells[name][method]}", flush=True)  # noqa: T201 — a script
    versions = {
        package: metadata.version(package.replace("_", "-"))
        for package in (*packages, "torch", "permgrad")
    }
    (RESULTS / "foreign_networks.json").write_text(
        json.dumps({"versions": versions, "cells": cells}, indent=1) + "\n"
    )
    (RESULTS / "foreign_networks.md").write_text(page(cells, versions))


def page(cells: dict[str, dict[str, str]], versions: dict[str, str]) -> str:
    """Return the table, with the reasons of refusals below it."""
    lines = [
        "# Networks of other libraries, explained by every method",
        "",
        (
            "Written by `tests/foreign/table.py`. A number is the reason of a refusal, "
            "below."
        ),
        "",
        *numbered(cells),
    ]
    maps = {
        name: row["gradcam"][6:-1]
        for name, row in cells.items()
        if row["gradcam"].startswith("done (")
    }
    lines += [
        "",
        "Where the maps of gradcam are read:",
        "",
        *(f"- {name}: `{layer}`" for name, layer in maps.items()),
    ]
    lines += [
        "",
        "With "
        + ", ".join(f"{package} {version}" for package, version in versions.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def numbered(cells: dict[str, dict[str, str]]) -> list[str]:
    """Return a table of networks and methods, with the reasons of refusals below it."""
    reasons: dict[str, int] = {}
    lines = [
        "| network | " + " | ".join(METHODS) + " |",
        "|---" * (len(METHODS) + 1) + "|",
    ]
    for name, row in cells.items():
        shown = []
        for own in row.values():
            reason = own.removeprefix("refused: ")
            shown.append(
                "done"
                if own.startswith("done")
                else str(reasons.setdefault(reason, len(reasons) + 1))
            )
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    lines += [
        "",
        "Refused:",
        "",
        *(f"{number}. {reason}" for reason, number in reasons.items()),
    ]
    return lines


if __name__ == "__main__":
    main()
