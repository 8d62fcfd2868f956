"""Shapley values on one thread: processor time to the same error, permgrad against shap
and Captum.

    OMP_NUM_THREADS=1 PERMGRAD_DATA=/folder/with/heloc.csv python -m
    benchmarks.speed.shapley_speed

The same network, test rows, 100 background rows and output for all: HELOC's 23 features
through hybrid networks (presets ``fast`` and ``default``) and through a plain MLP. The
truth is a long run of permgrad with other random numbers; that the peers converge to
the same values is seen in their error falling.

shap's KernelExplainer runs as it comes, which keeps the ten players that a lasso
selects, and with ``l1_reg=0``, which keeps all; its function is called in batches of
the size that permgrad uses. Captum's ShapleyValueSampling runs at its best: one
background row after the other as baseline (so that orders differ), and as many
perturbations in a forward as was found fastest. For each run of a peer the time that
permgrad takes to the same error is read from permgrad's own curve (log-log
interpolation; never below its cheapest run). A peer's ratio is the one at the run that
it is set up for by default (shap: its default number of coalitions; Captum: its 25
orders), and the others are shown.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from tests.shared.explaining import explain_with

import permgrad as pg
from benchmarks._results import markdown_table, parser, record
from benchmarks.speed._speed import Heloc, Line, is_there, missing, timed_errors

#: Least ratio to each peer at its default run.
FLOORS = {"shap KernelExplainer": 20.0, "captum ShapleyValueSampling": 3.0}
DEFAULTS = {"auto coalitions", "25 orders per background row"}


@dataclass
class Case:
    """A network, rows to explain and background rows, all as encoded tensors; column 1
    is explained.
    """

    name: str
    net: torch.nn.Module
    rows: torch.Tensor
    background: torch.Tensor


def heloc_cases(
    presets: list[str], rows: int, references: int, epochs: int
) -> list[Case]:
    """Return the hybrid networks and an MLP of the usual size, trained on HELOC's
    training rows.
    """
    frame, y, split, _ = heloc = Heloc.read()
    cases = []
    for preset in presets:
        model = pg.HyNNClassifier(
            preset=preset,
            branches=("tabular", "image"),
            max_epochs=epochs,
            random_state=0,
            progress=False,
        )
        heloc.fit(model)
        encoded = torch.as_tensor(model.encode_rows(frame).encoded)
        cases.append(
            _case(
                f"HyNN, preset {preset}",
                model.module_,
                encoded,
                split,
                rows,
                references,
            )
        )
        if len(cases) == 1:
            mlp = _mlp(
                encoded[split.train],
                torch.as_tensor((y[split.train] == model.classes_[1]).astype(np.int64)),
            )
            cases.append(
                _case("MLP 23–128–128–2", mlp, encoded, split, rows, references)
            )
    return cases


def _case(
    name: str,
    net: torch.nn.Module,
    encoded: torch.Tensor,
    split,
    rows: int,
    references: int,
) -> Case:
    chosen = np.random.default_rng(0).permutation(split.train)[:references]
    return Case(name, net.eval(), encoded[split.test[:rows]], encoded[chosen])


def _mlp(features: torch.Tensor, target: torch.Tensor) -> torch.nn.Module:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(features.shape[1], 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 2),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(10):
        for part in torch.randperm(len(features)).split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                net(features[part]), target[part]
            ).backward()
            optimizer.step()
    return net


# ---- contestants ---------------------------------------------------------------------


def ours(case: Case, **options: object) -> Callable[[int], np.ndarray]:
    """Return permgrad through its public call."""

    def work(seed: int) -> np.ndarray:
        given = {
            "background": case.background,
            "target": 1,
            "returns": "logits",
            "progress": False,
            **options,
        }
        found = explain_with(
            case.net, case.rows, method="shapley", random_state=seed, **given
        )
        return found.values[:, :, 0]

    return work


def kernel(
    case: Case, samples: int | str, **options: object
) -> Callable[[int], np.ndarray]:
    """Return shap's KernelExplainer over the background rows."""
    import shap

    explainer = shap.KernelExplainer(_predicting(case), case.background.numpy())

    def work(seed: int) -> np.ndarray:
        np.random.seed(seed)
        return explainer.shap_values(
            case.rows.numpy(), nsamples=samples, silent=True, **options
        )

    return work


def captum(case: Case, samples: int, per_forward: int) -> Callable[[int], np.ndarray]:
    """Return Captum's sampling, one background row after the other as baseline, each
    with its own orders.
    """
    from captum.attr import ShapleyValueSampling

    explainer = ShapleyValueSampling(case.net)

    def work(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        total = torch.zeros_like(case.rows)
        with torch.no_grad():
            for baseline in case.background:
                total += explainer.attribute(
                    case.rows,
                    baselines=baseline[None],
                    target=1,
                    n_samples=samples,
                    perturbations_per_eval=per_forward,
                )
        return (total / len(case.background)).numpy()

    return work


def _predicting(case: Case) -> Callable[[np.ndarray], np.ndarray]:
    """Return the explained output as a function of arrays, called in batches of the
    size that permgrad uses.
    """
    size = (
        256
        if any(isinstance(part, torch.nn.Conv2d) for part in case.net.modules())
        else 1024
    )

    def predict(array: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            tensor = torch.as_tensor(np.asarray(array), dtype=torch.float32)
            return torch.cat(
                [case.net(part)[:, 1] for part in tensor.split(size)]
            ).numpy()

    return predict


def shap_permutation(case: Case, rounds: int) -> Callable[[int], np.ndarray]:
    """Return shap's PermutationExplainer: so many orders, each with its reverse, over
    all background rows.
    """
    import shap

    features = case.rows.shape[1]
    masker = shap.maskers.Independent(
        case.background.numpy(), max_samples=len(case.background)
    )
    # What it compiles at the first call is compiled before the clock runs.
    shap.PermutationExplainer(_predicting(case), masker, seed=0)(
        case.rows[:1].numpy(), max_evals=2 * features + 1, silent=True
    )

    def work(seed: int) -> np.ndarray:
        explainer = shap.PermutationExplainer(_predicting(case), masker, seed=seed)
        return explainer(
            case.rows.numpy(), max_evals=rounds * (2 * features + 1), silent=True
        ).values

    return work


def shapiq_sampling(case: Case, budget: int) -> Callable[[int], np.ndarray]:
    """Return shapiq's TabularExplainer for plain Shapley values, with as many
    coalitions as ``budget``.
    """
    import shapiq

    rows = case.rows.numpy()

    def work(seed: int) -> np.ndarray:
        explainer = shapiq.TabularExplainer(
            _predicting(case),
            case.background.numpy(),
            imputer="marginal",
            index="SV",
            max_order=1,
            random_state=seed,
            sample_size=len(case.background),
        )
        found = [
            explainer.explain(row[None], budget=budget, random_state=seed)
            for row in rows
        ]
        return np.stack([own.get_n_order_values(1) for own in found])

    return work


# ---- measuring -----------------------------------------------------------------------


def measure_errors(
    work: Callable[[int], np.ndarray], truth: np.ndarray, seeds: range
) -> tuple[float, float]:
    """Return processor seconds per row, and the root mean square error; over several
    random seeds.
    """
    # Every contestant loads its libraries before the clock runs: the truth was
    # permgrad's first call.
    seconds, error = timed_errors(work, truth, seeds)
    return float(np.median(seconds)) / len(truth), error


def time_to(error: float, curve: list[tuple[float, float]]) -> float | None:
    """Return the least time of a curve of (seconds, error) that reaches an error; None
    if nothing does.
    """
    best = [(seconds, reached) for seconds, reached in sorted(curve)]
    front = [
        point
        for index, point in enumerate(best)
        if all(point[1] < other[1] for other in best[:index])
    ]
    for first, second in zip([None, *front], front, strict=False):
        if second[1] <= error:
            if first is None:
                return second[0]
            slope = np.log(second[0] / first[0]) / np.log(second[1] / first[1])
            return float(first[0] * np.exp(slope * np.log(error / first[1])))
    return None


def fastest_captum(case: Case) -> int:
    """Return how many perturbations per forward Captum is fastest with."""
    few = Case(case.name, case.net, case.rows, case.background[:5])
    rates = {}
    for size in (1, 4, 12, 24):
        work = captum(few, 1, size)
        work(0)
        started = time.process_time()
        work(1)
        rates[size] = time.process_time() - started
    return min(rates, key=rates.__getitem__)


def contestants(
    case: Case, quick: bool
) -> list[tuple[str, str, Callable[[int], np.ndarray]]]:
    """Return who runs: name, setting, and the call."""
    loose = {"tolerance": 0, "min_permutations": 2}
    runs = [
        ("permgrad", f"{most} orders", ours(case, max_permutations=most, **loose))
        for most in ((100, 200, 400, 800, 1600, 3200) if not quick else (100, 400))
    ]
    for name, options in (
        ("shap KernelExplainer", {}),
        ("shap KernelExplainer, l1_reg=0", {"l1_reg": 0}),
    ):
        counts = ((512, "auto") if options else ("auto",)) if not quick else (256,)
        runs += [
            (name, f"{samples} coalitions", kernel(case, samples, **options))
            for samples in counts
        ]
    if is_there("shapiq"):
        budgets = (512, 2048) if not quick else (128,)
        runs += [
            (
                "shapiq TabularExplainer",
                f"budget {budget}",
                shapiq_sampling(case, budget),
            )
            for budget in budgets
        ]
    for rounds in (2, 10) if not quick else (1,):
        label = f"{rounds} pairs of orders" + (" (its default)" if rounds == 10 else "")
        runs.append(
            ("shap PermutationExplainer", label, shap_permutation(case, rounds))
        )
    per_forward = fastest_captum(case)
    print(
        f"{case.name}: captum is fastest with {per_forward} perturbations per forward",
        flush=True,
    )
    runs += [
        (
            "captum ShapleyValueSampling",
            f"{samples} orders per background row",
            captum(case, samples, per_forward),
        )
        for samples in ((1, 5, 25) if not quick else (1,))
    ]
    return runs


def compare(case: Case, quick: bool) -> list[dict[str, object]]:
    """Return one line per run of every contestant."""
    seeds = range(1, 2 if quick else 3)
    truth = ours(case, tolerance=0, max_permutations=1200 if quick else 8000)(12345)
    lines: list[dict[str, object]] = []
    for who, setting, work in contestants(case, quick):
        seconds, error = measure_errors(work, truth, seeds)
        lines.append(
            {
                "network": case.name,
                "method": who,
                "setting": setting,
                "rows": len(truth),
                "s per row": seconds,
                "error": error,
            }
        )
        print(lines[-1], flush=True)
    curve = [
        (line["s per row"], line["error"])
        for line in lines
        if line["method"] == "permgrad"
    ]
    for line in lines:
        taken = (
            time_to(line["error"], curve)
            if line["method"] != "permgrad"
            else line["s per row"]
        )
        line["times permgrad's time"] = (
            None if taken is None else line["s per row"] / taken
        )
    return lines


def measure(*, quick: bool = False) -> list[Line]:
    """Return the lines of the speed page."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: list[Line] = []
    for case in heloc_cases(["fast"], 2 if quick else 128, 100, 1 if quick else 2):
        # A call costs us 10 to 40 ms whatever it explains, and a few rows of a small
        # network would not pay for it: the page says how many there are. A hybrid
        # network costs twenty times as much for each prediction.
        if not case.name.startswith("MLP"):
            case.rows = case.rows[:8]
        found += [
            _line(own) for own in compare(case, quick) if own["method"] != "permgrad"
        ]
    if not is_there("shapiq"):
        found.append(
            missing("Shapley values of a row, HELOC", "shapiq", "it is not installed")
        )
    return found


def _line(own: dict[str, object]) -> Line:
    """Return a run of a peer as a line of the speed page."""
    ratio: float | None = own["times permgrad's time"]
    return {
        "what": "Shapley values of a row, 23 features, 100 background rows, HELOC, "
        f"{own['network']}, {own['rows']} rows in a call",
        "peer": f"{own['method']}, {own['setting']}",
        "equal": "error",
        "unit": "s",
        "ours": None if ratio is None else own["s per row"] / ratio,
        "theirs": own["s per row"],
        "ratio": ratio,
        "low": None,
        "high": None,
        "rounds": 2,
        "note": f"root mean square error {own['error']:.1e}"
        + ("" if ratio else "; permgrad's longest run here was not as exact"),
    }


def main() -> int:
    """Measure and print."""
    options: argparse.ArgumentParser = parser(__doc__)
    options.add_argument("--presets", nargs="*", default=["fast", "default"])
    options.add_argument("--rows", type=int, default=8)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    lines = []
    for case in heloc_cases(arguments.presets, arguments.rows, 100, 3):
        lines += compare(case, arguments.quick)
    at_default = [line for line in lines if line["setting"] in DEFAULTS]
    passed = all(
        (line["times permgrad's time"] or 0) >= FLOORS.get(line["method"], 0)
        for line in at_default
    )
    text = markdown_table(lines)
    return record(
        arguments,
        "Shapley values: time to the same error",
        text,
        lines,
        passed=passed,
        seeds=[1, 2],
    )


if __name__ == "__main__":
    sys.exit(main())
