"""Tables whose page advises a command, which is run as it is printed, by a shell."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

#: The command of this environment, in the place of ``permgrad``.
_PERMGRAD = shlex.join([sys.executable, "-m", "permgrad"])


def _noise(rng: np.random.Generator, rows: int = 400) -> pd.DataFrame:
    table = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    return table.assign(
        y=np.where(table["a"] + rng.normal(size=rows) > 0, "ja", "nein")
    )


def tables() -> Iterator[tuple[str, pd.DataFrame, str, tuple[str, ...]]]:
    """Yield a name, a table, its target and further options, with names of columns that
    a shell would change.
    """
    rng = np.random.default_rng(0)
    for name in ("it's", "-x", "a,b", "x=1", 'ü "$HOME"', "*"):
        table = _noise(rng)
        yield (
            f"a leak called {name}",
            table.assign(**{name: (table["y"] == "ja") * 1}),
            "y",
            ("--drop=c",),
        )
    for name in ("my id", "-id"):
        table, person = _noise(rng), np.arange(400) // 4
        state = rng.normal(size=100)[person]
        table = table.assign(
            y=np.where(state + 0.1 * rng.normal(size=400) > 0, "ja", "nein"), z=state
        )
        yield f"persons called {name}", table.assign(**{name: person}), "y", ()
    table = _noise(rng, 900)
    score = np.clip(
        np.round(3 + table["a"] + table["b"] + 0.6 * rng.normal(size=900)), 1, 5
    ).astype(int)
    yield (
        "classes in an order",
        table.drop(columns="y").assign(**{"-y": score}),
        "-y",
        ("--seed", "3"),
    )
    table, first, second = (
        _noise(rng),
        rng.choice(list("pqrs"), 400),
        rng.choice(list("uvw"), 400),
    )
    crossed = [
        f"{(ord(one) + ord(other)) % 3}"
        for one, other in zip(first, second, strict=True)
    ]
    yield "two categories", table.assign(g=first, h=second, y=crossed), "y", ()
    table = _noise(rng, 2000)
    late = (table["y"] == "ja") * 3.6 + rng.normal(size=2000)
    yield "nearly perfect", table.assign(late=late), "y", ()


def faults_of_advice() -> tuple[int, list[str]]:
    """Run each table, then what its page advises.

    Return how many commands were advised, and which did not end well.
    """
    advised, faults = 0, list[str]()
    with tempfile.TemporaryDirectory() as place:
        for number, (name, table, target, options) in enumerate(tables()):
            table.to_csv(Path(place) / f"table {number}.csv", index=False)
            words = [
                f"table {number}.csv",
                f"--target={target}",
                "--model=lightgbm",
                f"--out=run {number}",
                "-q",
                *options,
            ]
            made = subprocess.run(
                [*shlex.split(_PERMGRAD), "run", *words],
                cwd=place,
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                faults.append(f"{name}: the run ended in {made.stderr.strip()}")
                continue
            stored = json.loads(
                (Path(place) / f"run {number}" / "metrics.json").read_text(
                    encoding="utf-8"
                )
            )
            command = stored["verdict"][-1]["facts"].get("command")
            if command is None:
                faults.append(f"{name}: no command is advised")
                continue
            advised += 1
            typed = _PERMGRAD + command.removeprefix("permgrad")
            ended = subprocess.run(
                ["sh", "-c", typed],
                cwd=place,
                capture_output=True,
                text=True,
                check=False,
            )
            if ended.returncode:
                faults.append(f"{name}: {command} ended in {ended.stderr.strip()}")
    return advised, faults
