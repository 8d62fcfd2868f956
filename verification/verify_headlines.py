"""Do headlines name features that have no effect?

*Tables.* 300 rows, 5 relevant and 25 irrelevant features: 5 irrelevant ones correlate
with a relevant one (0.5 to 0.9), 5 with each other (0.6), 15 are independent of every
other feature. Half of the tables are regressions, half have two classes. A table counts
as wrong when its headline names one of the 15: those have no effect that any correct
sentence could report. *Noise.* The same features, and a target that depends on none: a
table counts as wrong when its headline names any.

Every table goes through what ``permgrad run`` does up to the headline: its split into
training, validation and test rows, the estimator it makes, the explanation of the 60
test rows, and the sentence of the report. Drawings, further methods and files are left
out; for the first tables of each kind the whole command is run too, and must name the
same features. That a page puts "no better than a constant" in the place of this
sentence, as it mostly does on noise, is not counted in its favour.

    python -m verification.verify_headlines                  # about 15 minutes of processor time
    python -m verification.verify_headlines --preset fast    # about 5 minutes
    python -m verification.verify_headlines --quick          # a few tables, preset fast; nothing is written
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from permgrad.attribution.explanation.explanation import clearly_matter
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
from permgrad import Explanation
from permgrad.assess.assessment import Assessment
from permgrad.attribution.request import tuned
from permgrad.data.types.findings import told_of_columns
from permgrad.pages.content import PageContent
from permgrad.pages.facts.feature_facts import features
from permgrad.pages.findings import say
from permgrad.runs.requests import RunRequest
from permgrad.runs.run.run import run_table
from permgrad.runs.run.run_inputs import load_inputs
from permgrad.runs.run.run_training import make_estimator
from permgrad.runs.run_documents import saved_explanation

ROWS, RELEVANT, WITH_RELEVANT, TOGETHER, ALONE = 300, 5, 5, 5, 15
NAMES = [
    *(f"relevant{place}" for place in range(RELEVANT)),
    *(f"follower{place}" for place in range(WITH_RELEVANT)),
    *(f"together{place}" for place in range(TOGETHER)),
    *(f"alone{place}" for place in range(ALONE)),
]
WEIGHTS = np.array([1.5, 1.2, 1.0, 0.8, 0.6])


def draw(seed: int, number: int, *, noise: bool) -> tuple[pd.DataFrame, str]:
    """Return a table with its target ``y``, and its task."""
    rng = np.random.default_rng([seed, number, int(noise)])
    relevant = rng.normal(size=(ROWS, RELEVANT))
    ties = rng.uniform(0.5, 0.9, WITH_RELEVANT)
    followers = ties * relevant + np.sqrt(1 - ties**2) * rng.normal(
        size=(ROWS, WITH_RELEVANT)
    )
    together = np.sqrt(0.6) * rng.normal(size=(ROWS, 1)) + np.sqrt(0.4) * rng.normal(
        size=(ROWS, TOGETHER)
    )
    alone = rng.normal(size=(ROWS, ALONE))
    alone[:, ::3] = np.exp(alone[:, ::3])  # some of them skewed
    alone[:, 1::3] = alone[:, 1::3] > 0.5  # and some with two values
    signal = np.sin(relevant[:, 0] * 1.5) * WEIGHTS[0] + relevant[:, 1:] @ WEIGHTS[1:]
    signal = np.zeros(ROWS) if noise else signal / signal.std()
    frame = pd.DataFrame(
        np.column_stack([relevant, followers, together, alone]), columns=NAMES
    )
    frame = frame[rng.permutation(NAMES)]
    blurred = signal + 0.5 * rng.normal(size=ROWS)
    task = ("regression", "classification")[number % 2]
    return frame.assign(
        y=blurred if task == "regression" else np.where(blurred > 0, "yes", "no")
    ), task


def request_of(
    folder: Path, frame: pd.DataFrame, preset: str, number: int
) -> RunRequest:
    """Write a table and return the request of ``permgrad run`` for it."""
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    return RunRequest(
        table=str(path),
        target=("y",),
        out=folder / "run",
        preset=preset,
        seed=number,
        device="cpu",
    )


def headline(request: RunRequest) -> tuple[Explanation, str]:
    """Return the explanation of the test rows, and the headline's sentence about the
    features.
    """
    inputs = load_inputs(request)
    train, held, test = (inputs.parts[part] for part in ("train", "validation", "test"))
    with told_of_columns():
        model = make_estimator(request, inputs)
        eval_set = held.frame[inputs.learned], held.y[inputs.learned]  # as the run does
        model.fit(train.frame, train.y, eval_set=eval_set)
    found = pg.explain(
        model,
        test.frame,
        test.y,
        method=tuned(pg.methods.PermGrad(), direction=False),
        random_state=request.seed,
        progress=False,
    )
    content = Assessment(title="t", target="y", task=inputs.task, explanation=found)
    return found, say("features", features(PageContent.of(content)) or {})


def whole_run(request: RunRequest) -> list[str]:
    """Return the names of the headline of a whole run."""
    run_table(request, say=lambda _: None)
    explanation = saved_explanation(request.folder, "permgrad")
    assert explanation is not None
    return clearly_matter(explanation)[:3]


def look_at(
    tables: int, preset: str, seed: int, *, noise: bool, whole: int
) -> list[dict[str, object]]:
    """Return what the headline of each table says."""
    found: list[dict[str, object]] = []
    for number in range(tables):
        frame, task = draw(seed, number, noise=noise)
        with tempfile.TemporaryDirectory() as folder:
            request = request_of(Path(folder), frame, preset, number)
            explanation, sentence = headline(request)
            named = clearly_matter(explanation)[:3]
            if number < whole:
                assert whole_run(request) == named, (
                    "the whole run must name the same features"
                )
        assert all(name in sentence for name in named)
        assert explanation.p_values is not None
        alone = [
            explanation.names.index(name)
            for name in NAMES
            if groups_of([name]) == {"alone"}
        ]
        found.append(
            {
                "task": task,
                "named": named,
                "clear": clearly_matter(explanation),
                "test_rows": explanation.meta["rows_explained"],
                "p_of_independent": explanation.p_values[alone, 0].round(6).tolist(),
                "above_0": (explanation.values[alone, 0] > 0).tolist(),
            }
        )
        if sys.stderr.isatty() or number % 20 == 19:
            print(f"{number + 1} of {tables}", file=sys.stderr, flush=True)
    return found


def groups_of(names: list[str]) -> set[str]:
    """Return the kinds of features among names."""
    return {name.rstrip("0123456789") for name in names}


def main(arguments: list[str] | None = None) -> int:
    """Run the check; 1 where a floor is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few tables, preset fast; nothing is written",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="default", choices=("default", "fast"))
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--noise", type=int, default=100)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tables, noise = (4, 4) if options.quick else (options.tables, options.noise)
    preset = "fast" if options.quick else options.preset
    record = Record(
        f"Headlines name no feature without an effect: preset {preset}", options.seed
    )
    plans = [("tables", preset, tables, False), ("noise", preset, noise, True)]
    for kind, own, count, is_noise in plans:
        found = look_at(
            count, own, options.seed, noise=is_noise, whole=0 if options.quick else 2
        )
        report(record, kind, own, found)
    return record.close(
        None if options.quick else RESULTS / f"verify_headlines_{preset}.md"
    )


def report(
    record: Record, kind: str, preset: str, found: list[dict[str, object]]
) -> None:
    """Write what the headlines of one kind of table say, and compare it with its
    floor.
    """
    named = [groups_of(list(own["named"])) for own in found]  # type: ignore[call-overload]
    clear = [groups_of(list(own["clear"])) for own in found]  # type: ignore[call-overload]
    count = len(found)
    record.write(
        f"## {kind.capitalize()}, preset {preset}: {count} tables, "
        f"{found[0]['test_rows']} test rows each"
    )
    rows = [
        [words, sum(group in own for own in named), sum(group in own for own in clear)]
        for words, group in (
            ("relevant", "relevant"),
            ("correlated with a relevant one", "follower"),
            ("correlated with irrelevant ones", "together"),
            ("independent of every other", "alone"),
        )
    ]
    rows.append(["any", sum(map(bool, named)), sum(map(bool, clear))])
    record.write(
        markdown_table(
            [
                "tables that name a feature that is",
                "in the headline",
                "among all marked",
            ],
            rows,
        )
    )
    p_values = np.array([own["p_of_independent"] for own in found])
    above = np.array([own["above_0"] for own in found])
    tail = 0.05 / len(NAMES)
    record.write(
        f"Of the {p_values.size:,} p-values of independent features "
        f"{100 * np.mean(p_values < 0.05):.2f} % are below 0.05 and "
        f"{100 * np.mean(p_values < tail):.3f} % below {tail:.5f} (0.05 / 30), where "
        "Holm's first step looks; with an estimate above 0 these are "
        f"{100 * np.mean((p_values < 0.05) & above):.2f} % and "
        f"{100 * np.mean((p_values < tail) & above):.3f} %."
    )
    # 16 of 200 and 9 of 100; in proportion, rounded up, where there are fewer tables.
    if kind == "noise":
        record.floor(
            "noise: headlines that name any",
            float(rows[4][1]),
            0,
            float(np.ceil(0.09 * count)),
        )
        return
    record.floor(
        "headlines that name an independent one",
        float(rows[3][1]),
        0,
        float(np.ceil(0.08 * count)),
    )
    record.floor(
        "headlines that name a relevant one", float(rows[0][1]), 0.5 * count, count
    )


if __name__ == "__main__":
    sys.exit(main())
