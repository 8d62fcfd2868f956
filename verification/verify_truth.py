"""Does the ranking agree with the truth, where the truth is known?

Networks of the default preset are trained on functions whose permutation effects have a
closed form. Reported for each: R² against the noiseless function, the share of the
relevant features among the top k, and the share error (root mean square difference of
importance shares, clipped at 0 and normalised) of ``permgrad`` and, on the same network
and rows, of ``permgrad_paper``. Floors, for ``permgrad`` on every network: top k of the
relevant 1.0, share error at most 0.01.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from benchmarks._results import markdown_table, parser, record
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.attribution import methods
from permgrad.evaluation.ranking import spearman
from permgrad_benchmark.metrics import share_error, top_k_recovery
from permgrad_benchmark.truth import make_truth

FUNCTIONS = ("friedman1", "linear20", "product", "xor_like")
MOST_SHARE_ERROR = 0.01
LEAST_RELEVANT_SHARE = 0.005


def true_effects(name: str) -> tuple[np.ndarray, int]:
    """Return the true effects in order of the features and the number of relevant ones,
    which must all count.
    """
    truth = make_truth(name)
    effects = truth.known("total_effect").values
    relevant = len(truth.relevant)
    if (
        not (effects[:relevant] >= LEAST_RELEVANT_SHARE * effects.sum()).all()
        or (effects[relevant:] != 0).any()
    ):
        raise RuntimeError(
            f"{name}: a relevant effect is below {LEAST_RELEVANT_SHARE:.1%} of the "
            "total, or an irrelevant one is not 0"
        )
    return effects, relevant


def fit(name: str, seed: int, rows: int, **parameters: Any) -> pg.HyNNRegressor:
    """Train on ``rows`` rows of a known function."""
    X, y = make_truth(name).sample(rows, random_state=10_000 + seed)
    return pg.HyNNRegressor(random_state=seed, progress=False, **parameters).fit(X, y)


def judge(
    model: pg.HyNNRegressor,
    name: str,
    seed: int,
    rows: int,
    method: str,
    **options: Any,
) -> dict[str, float]:
    """Explain fresh rows and compare with the truth."""
    effects, relevant = true_effects(name)
    X, y = make_truth(name).sample(rows, random_state=20_000 + seed)
    explanation = explain_with(
        model, X, y, method=method, random_state=seed, progress=False, **options
    )
    values = np.nan_to_num(explanation.values[:, 0])
    return {
        "top_k": top_k_recovery(effects, values, relevant),
        "share_error": share_error(effects, values),
        "spearman": spearman(effects, values),
    }


def r_squared(model: pg.HyNNRegressor, name: str, seed: int, rows: int) -> float:
    """Return R² against the noiseless function on the rows that are explained."""
    truth = make_truth(name)
    X, _ = truth.sample(rows, random_state=20_000 + seed)
    wanted = truth.function(X)
    return float(1 - np.mean((model.predict(X) - wanted) ** 2) / np.var(wanted))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--functions", nargs="+", default=list(FUNCTIONS))
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument(
        "--rows",
        type=int,
        default=10_000,
        help="training rows, a tenth of which stops the training",
    )
    options.add_argument("--test-rows", type=int, default=5_000)
    options.add_argument("--preset", default="default")
    arguments = options.parse_args()
    seeds = range(1 if arguments.quick else arguments.seeds)
    compared = [name for name in ("permgrad", "permgrad_paper") if name in methods]
    found: list[dict[str, Any]] = []
    for name in arguments.functions:
        for seed in seeds:
            started = time.perf_counter()
            model = fit(name, seed, arguments.rows, preset=arguments.preset)
            row: dict[str, Any] = {
                "function": name,
                "noise": make_truth(name).noise,
                "seed": seed,
                "R²": r_squared(model, name, seed, arguments.test_rows),
            }
            for method in compared:
                judged = judge(model, name, seed, arguments.test_rows, method)
                row |= {f"{method} {key}": value for key, value in judged.items()}
            row["seconds"] = round(time.perf_counter() - started, 1)
            found.append(row)
            print(row, flush=True)
    passed = all(
        row["permgrad top_k"] == 1.0 and row["permgrad share_error"] <= MOST_SHARE_ERROR
        for row in found
    )
    text = (
        f"Preset {arguments.preset}, {arguments.rows} training rows, "
        f"{arguments.test_rows} fresh rows explained, "
        "10 repeats. R² is against the noiseless function on the rows explained.\n\n"
        + markdown_table(found)
    )
    for method in compared:
        worst = max(row[f"{method} share_error"] for row in found)
        mean = {
            key: np.mean([row[f"{method} {key}"] for row in found])
            for key in ("top_k", "share_error", "spearman")
        }
        text += (
            f"\n\n{method}: mean top k {mean['top_k']:.3f}, mean share error "
            f"{mean['share_error']:.4f} "
            f"(worst {worst:.4f}), mean Spearman {mean['spearman']:.3f}."
        )
    return record(
        arguments, "Known truth", text, found, passed=passed, seeds=list(seeds)
    )


if __name__ == "__main__":
    sys.exit(main())
