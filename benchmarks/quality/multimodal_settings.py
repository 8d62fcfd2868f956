"""Why the networks of the multimodal suite are trained as they are: one setting changed
at a time.

Judged on pairs of training images that were held out (a fifth of them); test images
take no part. Accuracy, and the error of the gradient's modality shares against the
published truth, which shows weights on inputs that the label does not need and encoded
features of unlike size.
"""

from __future__ import annotations

import os

# Before torch and NumPy are imported: one thread, so that processor time means
# something.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks._results import markdown_table, parser, record
from permgrad.base.random import generator
from permgrad_benchmark import Settings
from permgrad_benchmark.metrics import share_error
from permgrad_benchmark.suites.multimodal import MultimodalSuite, true_importance
from permgrad_benchmark.suites.multimodal.case import FULL, make_case
from permgrad_benchmark.suites.multimodal.pairs import PairsDesign
from permgrad_benchmark.suites.multimodal.suite import IMAGE_SETS
from permgrad_benchmark.suites.multimodal.training import FULL as TRAINING
from permgrad_benchmark.suites.multimodal.training import QUICK, accuracy, train


def hold_out(design: PairsDesign) -> PairsDesign:
    """Return the design with a fifth of the training images as test images: what
    settings are chosen on.
    """
    cuts = [round(0.8 * len(images)) for images in design.training]
    first, second = (
        (images[:cut], images[cut:])
        for images, cut in zip(design.training, cuts, strict=True)
    )
    return replace(design, training=(first[0], second[0]), test=(first[1], second[1]))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--functions", nargs="+", default=["F0", "F6", "F7"])
    options.add_argument(
        "--images",
        nargs="+",
        default=list(IMAGE_SETS),
        help="one MedMNIST set or two, or files",
    )
    arguments = options.parse_args()
    torch.set_num_threads(1)
    chosen = QUICK if arguments.quick else TRAINING
    variants = {
        "as chosen": chosen,
        "no noise on pixels": replace(chosen, pixel_noise=0.0),
        "weight decay 0.01": replace(chosen, weight_decay=0.01),
        "head's first layer: weight decay 0.01": replace(chosen, fusion_decay=0.01),
        "no penalty on correlations": replace(chosen, decorrelation=0.0),
        "one pair per image": replace(chosen, pairings=1),
        "half the epochs": replace(chosen, epochs=chosen.epochs // 2),
    }
    suite = MultimodalSuite(tuple(arguments.images))
    settings = Settings(scale="quick" if arguments.quick else "full", progress=False)
    rows: list[dict[str, Any]] = []
    for name, training in variants.items():
        row: dict[str, Any] = {"settings": name}
        for function in arguments.functions:
            right, wrong = [], []
            for seed in range(arguments.seeds):
                design = hold_out(suite.design(function, seed, settings))
                network = train(design, seed, training)
                pairs = design.draw(
                    design.test, 6_000, generator(seed, "validation pairs")
                )
                right.append(accuracy(network, design, pairs))
                case = make_case(design, network, pairs, seed, FULL)
                fused = case.fused.clone().requires_grad_()
                (slopes,) = torch.autograd.grad(case.head()(fused).sum(), fused)
                shares = (
                    slopes.abs().mean(dim=0).reshape(4, -1).sum(dim=1).double().numpy()
                )
                wrong.append(
                    share_error(
                        true_importance(
                            design.function, design.population(), "published"
                        ),
                        shares,
                    )
                )
            row |= {
                f"{function} accuracy": float(np.mean(right)),
                f"{function} gradient": float(np.mean(wrong)),
            }
        rows.append(row)
        print(row, flush=True)
    text = (
        "Mean accuracy on pairs of held-out training images (a fifth of them), and "
        "mean error of the gradient's "
        "modality shares against the published truth.\n\n" + markdown_table(rows)
    )
    return record(
        arguments, "Multimodal suite: choice of training settings", text, rows, passed=True,
        seeds=list(range(arguments.seeds)),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
