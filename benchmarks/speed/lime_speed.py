"""LIME on one thread: permgrad's rate against that of its bare forwards, and against
Captum's Lime.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.lime_speed

Networks and rows are those of ``shapley_speed.py``: HELOC's 23 features through a
hybrid network and through a plain MLP, 1,000 neighbours of each row. *Bare forwards*
are the network alone on the very neighbours that permgrad evaluates, laid out in memory
beforehand, in batches of the same size. Captum's Lime fits one row after the other; its
perturbations per forward are those it was found fastest with. The contestants take
turns; medians of processor time.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from tests.shared.explaining import explain_with

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Line, is_there, line, missing, take_turns
from benchmarks.speed.shapley_speed import Case, heloc_cases

SAMPLES, BARE_FLOOR, PEER_FLOOR = 1000, 0.70, 3.0


def timed(work: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def ours(case: Case, rows: torch.Tensor) -> pg.Explanation:
    """Explain rows through the public call."""
    given = {
        "background": case.background,
        "target": 1,
        "returns": "logits",
        "progress": False,
    }
    return explain_with(
        case.net,
        rows,
        method="lime",
        random_state=0,
        neighbourhood="coalition",
        samples=SAMPLES,
        **given,
    )


def neighbours(case: Case, rows: torch.Tensor) -> list[torch.Tensor]:
    """Return the batches that the network is called with while permgrad explains the
    rows.
    """
    seen: list[torch.Tensor] = []
    handle = case.net.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].clone())
    )
    try:
        ours(case, rows)
    finally:
        handle.remove()
    return seen


def bare(case: Case, batches: list[torch.Tensor]) -> None:
    """Call the network alone."""
    with torch.no_grad():
        for batch in batches:
            case.net(batch)


def captum(case: Case, rows: torch.Tensor, per_forward: int) -> None:
    """Fit Captum's linear models, one row after the other, as its interface has it."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import Lime

    explainer = Lime(case.net, interpretable_model=SkLearnRidge(alpha=1.0))
    for row, baseline in zip(rows, case.background, strict=False):
        explainer.attribute(
            row[None],
            baselines=baseline[None],
            target=1,
            n_samples=SAMPLES,
            perturbations_per_eval=per_forward,
        )


def compare(case: Case, rows: int, rounds: int) -> dict[str, object]:
    """Return the rates of one network."""
    many, few = case.rows[:rows], case.rows[:3]
    batches = neighbours(case, many)
    evaluated = sum(map(len, batches))
    per_forward = min(
        (100, 500, 1000), key=lambda size: timed(lambda: captum(case, few[:1], size))
    )
    seconds: dict[str, list[float]] = {"permgrad": [], "bare": [], "captum": []}
    for number in range(rounds + 1):
        taken = {
            "permgrad": timed(lambda: ours(case, many)) / len(many),
            "bare": timed(lambda: bare(case, batches)) / len(many),
            "captum": timed(lambda: captum(case, few, per_forward)) / len(few),
        }
        for name, own in taken.items():
            if number:
                seconds[name].append(own)
    median = {name: statistics.median(own) for name, own in seconds.items()}
    return {
        "network": case.name,
        "rows": len(many),
        "forwards per row": evaluated / len(many),
        "permgrad, ms per row": 1000 * median["permgrad"],
        "bare forwards, ms per row": 1000 * median["bare"],
        "share of the bare rate": median["bare"] / median["permgrad"],
        "captum, ms per row": 1000 * median["captum"],
        "captum's perturbations per forward": per_forward,
        "times as fast as captum": median["captum"] / median["permgrad"],
    }


def lime_package(case: Case, rows: torch.Tensor) -> None:
    """Fit the linear models of the package ``lime``, one row after the other, on as
    many neighbours.
    """
    from lime.lime_tabular import LimeTabularExplainer

    def predict(array: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = torch.as_tensor(array, dtype=torch.float32).split(256)
            return (
                torch.cat([torch.softmax(case.net(part), dim=1) for part in parts])
                .double()
                .numpy()
            )

    explainer = LimeTabularExplainer(
        case.background.numpy(), discretize_continuous=False, random_state=0
    )
    for row in rows.numpy():
        explainer.explain_instance(
            row, predict, num_features=len(row), num_samples=SAMPLES
        )


def lines_of(case: Case, rounds: int) -> list[Line]:
    """Return the lines of the speed page for one network."""
    many = case.rows if case.name.startswith("MLP") else case.rows[:20]
    few = case.rows[:3]
    size = min((100, 500), key=lambda size: timed(lambda: captum(case, few[:1], size)))
    calls: dict[str, Callable[[], object]] = {
        "permgrad": lambda: ours(case, many),
        "captum": lambda: captum(case, few, size),
    }
    if is_there("lime"):
        calls["lime"] = lambda: lime_package(case, few)
    count = {"permgrad": len(many), "captum": len(few), "lime": len(few)}
    taken = take_turns(calls, rounds)
    per_row = {
        name: [1000 * own / count[name] for own in found]
        for name, found in taken.items()
    }
    what = f"LIME of a row, {SAMPLES:,} neighbours, {case.name}"
    note = f"{size} perturbations in a forward, the faster of 100 and 500"
    lines = [
        line(
            what,
            "Captum Lime",
            per_row["permgrad"],
            per_row["captum"],
            unit="ms",
            note=note,
        )
    ]
    if "lime" not in per_row:
        return [*lines, missing(what, "lime", "the package lime is not installed")]
    note = "as many neighbours, which it draws around the row; forwards of 256 rows"
    return [
        *lines,
        line(what, "lime", per_row["permgrad"], per_row["lime"], unit="ms", note=note),
    ]


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    cases = heloc_cases(["fast"], 20 if quick else 100, 100, 1)
    return [own for case in cases for own in lines_of(case, 1 if quick else 3)]


def main() -> int:
    """Measure and print."""
    arguments = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows, rounds = (20, 1) if arguments.quick else (200, 5)
    lines = []
    for case in heloc_cases(["fast"], rows, 100, 1):
        lines.append(
            compare(
                case,
                rows if case.name.startswith("MLP") else max(5, rows // 10),
                rounds,
            )
        )
        print(lines[-1], flush=True)
    passed = all(
        line["share of the bare rate"] >= BARE_FLOOR
        and line["times as fast as captum"] >= PEER_FLOOR
        for line in lines
    )
    text = "\n\n".join(
        markdown_table(
            [
                {"figure": name, line["network"]: value}
                for name, value in line.items()
                if name != "network"
            ]
        )
        for line in lines
    )
    assert np.isfinite([line["permgrad, ms per row"] for line in lines]).all()
    return record(
        arguments,
        "LIME: rate of bare forwards, and Captum",
        text,
        lines,
        passed=passed,
        seeds=[0],
    )


if __name__ == "__main__":
    sys.exit(main())
