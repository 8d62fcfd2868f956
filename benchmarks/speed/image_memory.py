"""Memory of explaining images: the peak of every method on resnet-18, 32 rows of 160 ×
160, beside Captum's.

    sh tests/foreign/install.sh .venv-foreign    # an environment that has timm
    .venv-foreign/bin/python -m benchmarks.speed.image_memory

permgrad chooses its batches itself. Captum is run with several batch sizes, as many as
each of its methods has; the floor is the largest peak among those that are as fast as
its fastest one, up to 5 %, and 1 GB in all for every method of ours. Each run is a
process of its own, on one thread, that imports its own library alone: "peak" is the
highest resident set of the process, "above start" what the call added to the one before
it. How much work is asked for (steps, samples, orders) changes times, not peaks, and is
small here. Methods without a counterpart in Captum have the 1 GB.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks._results import RESULTS, markdown_table, parser, record

ROWS, SIDE, CELLS, FLOOR_MB = 32, 160, 4, 1000
RECORD = RESULTS / "image_memory.json"
#: Options of each method of ours, and the Captum method beside it with the batches that
#: it is tried with.
METHODS: dict[str, tuple[dict[str, object], str | None, tuple[int, ...]]] = {
    "gradient": ({"target": 0}, "Saliency", (1, 4, 32)),
    "smoothgrad": ({"target": 0, "samples": 2}, "NoiseTunnel", (1, 2)),
    "integrated_gradients": (
        {"target": 0, "steps": 2},
        "IntegratedGradients",
        (32, 64),
    ),
    "integrated_gradients, until settled": ({"target": 0, "max_steps": 8}, None, ()),
    "deeplift": ({"target": 0}, "DeepLift", (1, 4, 32)),
    "gradcam": ({"target": 0}, "LayerGradCam", (1, 4, 32)),
    "ablation": ({"target": 0, "scope": "local"}, "FeatureAblation", (1, 4, 8)),
    "permutation": ({"n_repeats": 1}, "FeaturePermutation", (1, 4)),
    "permgrad": ({"n_repeats": 1}, None, ()),
    "shapley": (
        {"target": 0, "max_permutations": 4, "references": 1},
        "ShapleyValueSampling",
        (1, 4, 8),
    ),
    "shapley, of the loss": (
        {"scope": "global", "n_repeats": 1, "references": 1},
        None,
        (),
    ),
    "lime": ({"target": 0, "samples": 20}, "Lime", (4, 8)),
    "aggregate": ({"members": ("gradient", "permutation"), "n_repeats": 1}, None, ()),
}
PROGRAM = """
import json, sys, time, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
from networks import declare_operators
declare_operators()
import timm
def memory(what):
    # Not getrusage: what the parent process held would count.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024
who, method, options, batch, rows, side, cells = json.loads(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(0)
net = timm.create_model("resnet18", num_classes=5).eval()
images, y = torch.randn(rows, 3, side, side), torch.arange(rows) % 5
if who == "permgrad":
    import permgrad as pg
    pg.explain
    def call():
        model = pg.Model(net, segments=("grid", cells, cells), task="classification", returns="logits")
        pg.explain(model, images, y, method=method, random_state=0, progress=False, **options)
else:
    from captum import attr
    from captum.attr import *
    cell = torch.arange(side) * cells // side
    mask = (cell[:, None] * cells + cell[None])[None, None]
    masked = {"feature_mask": mask, "perturbations_per_eval": batch}
    ways = {
        "NoiseTunnel": lambda: NoiseTunnel(Saliency(net)).attribute(images, nt_samples=2, nt_samples_batch_size=batch,
                                                                    target=0),
        "IntegratedGradients": lambda: IntegratedGradients(net).attribute(images, n_steps=2, target=0,
                                                                          internal_batch_size=batch),
        "FeatureAblation": lambda: FeatureAblation(net).attribute(images, target=0, **masked),
        "FeaturePermutation": lambda: FeaturePermutation(net).attribute(images, target=0, **masked),
        "ShapleyValueSampling": lambda: ShapleyValueSampling(net).attribute(images, target=0, n_samples=1, **masked),
    }
    by_rows = {
        "Saliency": lambda part: Saliency(net).attribute(part, target=0),
        "GradientShap": lambda part: GradientShap(net).attribute(part, images[:8], n_samples=2, target=0),
        "DeepLift": lambda part: DeepLift(net).attribute(part, target=0),
        "LayerGradCam": lambda part: LayerGradCam(net, net.layer4).attribute(part, target=0),
        "Lime": lambda part: Lime(net).attribute(part, target=0, feature_mask=mask, n_samples=20,
                                                 perturbations_per_eval=batch),
    }
    def call():
        if method in ways:
            with torch.set_grad_enabled(method in ("NoiseTunnel", "IntegratedGradients")):
                ways[method]()
        else:
            size = 1 if method == "Lime" else batch
            done = [by_rows[method](images[start : start + size].clone()).detach() for start in range(0, rows, size)]
before, started = memory("VmRSS:"), time.process_time()
call()
seconds, peak = time.process_time() - started, memory("VmHWM:")
print(json.dumps({"seconds": seconds, "above start, MB": peak - before, "peak, MB": peak}))
"""


def measure(
    who: str, method: str, options: object, batch: int, *, quick: bool
) -> dict[str, float]:
    """Run one call in a process of its own."""
    rows, side = (4, 64) if quick else (ROWS, SIDE)
    words = [
        sys.executable,
        "-c",
        PROGRAM,
        json.dumps([who, method, options, batch, rows, side, CELLS]),
    ]
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join(str(root / folder) for folder in ("src", "tests/foreign"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ended = subprocess.run(
        words, env=environment, check=True, capture_output=True, text=True
    )
    numbers: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return numbers


def compare(name: str, *, quick: bool) -> list[dict[str, object]]:
    """Return one line for ours and one for each batch size of Captum's."""
    options, peer, batches = METHODS[name]
    ours = measure("permgrad", name.split(",", maxsplit=1)[0], options, 0, quick=quick)
    theirs = {
        batch: measure("captum", peer, None, batch, quick=quick)
        for batch in batches
        if peer
    }
    fastest = min((each["seconds"] for each in theirs.values()), default=0.0)
    fast = {
        batch for batch, each in theirs.items() if each["seconds"] <= 1.05 * fastest
    }
    # What the libraries take by themselves is no part of a method: they are compared by
    # what a call adds.
    floor = max(
        (theirs[batch]["above start, MB"] for batch in fast), default=float("inf")
    )
    met = ours["peak, MB"] < FLOOR_MB and ours["above start, MB"] <= floor
    lines: list[dict[str, object]] = [
        {"method": name, "who": "permgrad", "batch": "auto", **ours, "floor met": met}
    ]
    for batch, each in theirs.items():
        which = "fastest" if batch in fast else None
        lines.append(
            {
                "method": f"  {peer}",
                "who": "captum",
                "batch": batch,
                **each,
                "floor met": which,
            }
        )
    return lines


def main() -> int:
    """Measure, compare and record."""
    made = parser(__doc__)
    made.add_argument(
        "--only",
        nargs="*",
        default=list(METHODS),
        choices=list(METHODS),
        help="these; the others as in the record",
    )
    arguments = made.parse_args()
    groups: dict[str, list[dict[str, object]]] = {}
    earlier = ""
    for name in arguments.only:
        groups[name] = compare(name, quick=arguments.quick)
        print(f"{name}: {groups[name]}", file=sys.stderr, flush=True)
    if set(groups) != set(METHODS) and RECORD.is_file() and not arguments.quick:
        groups = {**json.loads(RECORD.read_text(encoding="utf-8"))["results"], **groups}
        earlier = (
            " Methods that the command does not name were measured in an earlier run."
        )
    groups = {name: groups[name] for name in METHODS if name in groups}
    lines = [line for group in groups.values() for line in group]
    passed = all(line["floor met"] is not False for line in lines)
    text = (
        f"Floors: peak below {FLOOR_MB:,} MB in all; above the start no more than "
        f"Captum at its fastest setting.{earlier}\n\n{markdown_table(lines)}"
    )
    return record(
        arguments, "Memory of explaining images", text, groups, passed=passed, seeds=[0]
    )


if __name__ == "__main__":
    sys.exit(main())
