"""Are shuffled curves read as curves, and do local maps stand where the curve says
something? On MNIST-1D.

Five draws of MNIST-1D (Greydanus & Kobak 2020; package mnist1d), 4,000 training and
1,000 test rows of 40 columns, shuffled anew in each. The default network is trained,
and its test rows are explained: what share of the absolute attributions to the
predicted class is inside the span of the row's digit? The span is known: the generator
is run twice with one seed, once without noise. Outside there is only noise.
``benchmarks.quality.orders`` compares accuracies.

    python -m verification.verify_order
    python -m verification.verify_order --quick    # one draw, 100 rows

Floors: accuracy .975 in each draw; the image alone at least .25 better in the order
that was found than in a random one (both as the convolutions for curves read them); and
a larger share inside for the attributions of single rows that the page shows
(integrated gradients) than for Grad-CAM as published, in each draw.
"""

from __future__ import annotations

import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from benchmarks._results import markdown_table, parser, record
from mnist1d.data import get_dataset_args, make_dataset
from tests.shared.explaining import explain_with

import permgrad as pg
from permgrad.base.late import pd
from permgrad.imaging.layout import StoredLayout

METHODS: dict[str, dict[str, Any]] = {
    "integrated gradients (the page's)": {"method": "integrated_gradients"},
    "permgrad, local": {"method": "permgrad", "scope": "local"},
    "Shapley values": {"method": "shapley", "max_permutations": 20},
    "DeepLIFT": {"method": "deeplift"},
    "gradient": {"method": "gradient"},
    "Grad-CAM as published": {"method": "gradcam"},
    "HiResCAM": {"method": "gradcam", "variant": "hirescam"},
    "LayerCAM": {"method": "gradcam", "variant": "layercam"},
}
OWN, PUBLISHED = "integrated gradients (the page's)", "Grad-CAM as published"


def draw(seed: int) -> dict[str, Any]:
    """Return a draw of MNIST-1D with ``span``, bool ``(test rows, 40)``: where the
    digit stands in each row.
    """
    made, clean = (make_dataset(arguments(seed, noise)) for noise in (True, False))
    assert (made["y"] == clean["y"]).all(), "both runs draw the same random numbers"
    bare = clean["x_test"].round(12)
    levels, counts = np.unique(bare, return_counts=True)
    return {**made, "span": bare != levels[counts.argmax()]}


def arguments(seed: int, noise: bool) -> Any:
    made = get_dataset_args()
    made.seed = 42 + seed
    if not noise:
        made.corr_noise_scale = made.iid_noise_scale = made.shear_scale = 0.0
    return made


def of_draw(seed: int, rows: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Return accuracies and seconds of a draw, and the share of each method inside the
    span.
    """
    made = draw(seed)
    order = np.random.default_rng(seed).permutation(made["x"].shape[1])
    names = [f"c{place}" for place in range(len(order))]
    X, X_test = (
        pd.DataFrame(made[part][:, order], columns=names) for part in ("x", "x_test")
    )
    y, y_test, span = made["y"], made["y_test"], made["span"][:, order]
    started = time.process_time()
    model = pg.HyNNClassifier(random_state=seed, progress=False).fit(X, y)
    line: dict[str, Any] = {
        "draw": seed,
        "order found": model.order_.found,
        "gain foretold": model.order_.gain,
    }
    line["seconds"] = time.process_time() - started
    line["neighbours right"] = neighbours(model, order)
    line["accuracy"] = model.score(X_test, y_test)
    for name, layout in (
        ("image alone", "path"),
        ("image alone, random order", shuffled(model, seed)),
    ):
        alone = pg.HyNNClassifier(
            branches=("image",), layout=layout, random_state=seed, progress=False
        )
        line[name] = alone.fit(X, y).score(X_test, y_test)
    print(line, file=sys.stderr, flush=True)
    shares = {
        "random": inside(
            np.random.default_rng(seed).normal(size=(rows, len(order))), span[:rows]
        )
    }
    for name, options in METHODS.items():
        explained = explain_with(
            model,
            X_test[:rows],
            y_test[:rows] if options.get("scope") else None,
            random_state=seed,
            progress=False,
            **options,
            **{} if options.get("scope") else {"target": "predicted"},
        )
        shares[name] = inside(explained.values[:, :, 0], span[:rows])
        print(f"draw {seed}: {name} {shares[name]:.3f}", file=sys.stderr, flush=True)
    return line, shares


def shuffled(model: Any, seed: int) -> Any:
    """Return the network's layout with its columns in a random order."""
    layout = model.renderer_.layout
    positions = np.random.default_rng(seed).permutation(layout.positions)
    return StoredLayout(positions, layout.pixels, shape=layout.shape, name=layout.name)


def neighbours(model: Any, order: np.ndarray) -> float:
    """Return the share of neighbours in the network's order that are neighbours of the
    curve.
    """
    places = order[np.argsort(model.renderer_.layout.positions[:, 1])]
    return float((np.abs(np.diff(places)) == 1).mean())


def inside(values: np.ndarray, span: np.ndarray) -> float:
    """Return the share of absolute values inside the span, mean over rows that have
    any.
    """
    sizes = np.abs(values)
    total = sizes.sum(axis=1)
    return float(((sizes * span).sum(axis=1)[total > 0] / total[total > 0]).mean())


def main() -> int:
    given = parser(__doc__).parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    seeds, rows = (range(1), 100) if given.quick else (range(5), 200)
    lines, shares = zip(*[of_draw(seed, rows) for seed in seeds], strict=True)
    table = [
        {"attributions": name, "share inside the digit": float(np.mean([one[name] for one in shares])),
         "smallest": min(one[name] for one in shares), "largest": max(one[name] for one in shares)}
        for name in shares[0]
    ]  # fmt: skip
    accurate = all(line["accuracy"] >= 0.975 for line in lines)
    accurate &= all(
        line["image alone"] - line["image alone, random order"] >= 0.25
        for line in lines
    )
    ahead = all(one[OWN] > one[PUBLISHED] for one in shares)
    span = np.mean([one["random"] for one in shares])
    text = (
        f"{markdown_table(lines)}\n\n## Local maps\n\nMean over {rows} test rows of "
        "each draw, attributions to the "
        "predicted class (permgrad: to the loss of the true one). Random values have "
        f"{span:.0%} inside the digit.\n\n"
        f"{markdown_table(sorted(table, key=lambda row: -row['share inside the digit']))}"
    )
    data = {"draws": lines, "shares": shares}
    title, passed = "Shuffled curves: MNIST-1D", accurate and ahead
    return record(
        given, title, text, data, passed=passed, seeds=list(seeds), name="verify_order"
    )


if __name__ == "__main__":
    raise SystemExit(main())
