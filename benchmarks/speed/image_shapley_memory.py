"""Memory of Shapley values on an image network: the resident set's peak beside Captum's batched sampling.

    sh tests/foreign/install.sh .venv-foreign    # an environment that has timm
    .venv-foreign/bin/python -m benchmarks.speed.image_shapley_memory

timm's resnet10t, 160 × 160 pixels, 2 rows, 49 segments, a background of zeros. permgrad chooses its batches itself;
Captum's ``ShapleyValueSampling`` is run with several numbers of perturbations in a forward. The floor is the largest
peak among its batched settings that are as fast as its fastest one, up to 5 %. Each run is a process of its own, on one
thread, that imports its own library alone. The allocator makes peaks differ by some 10 % between runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks._results import markdown_table, parser, record

#: Perturbations in a forward that Captum is tried with; 2 rows each.
BATCHES = (1, 4, 8, 16)
SIDE, CELLS = 160, 7
PROGRAM = """
import json, resource, sys, time, warnings
import torch
warnings.simplefilter("ignore")
from networks import declare_operators
declare_operators()
import timm
torch.set_num_threads(1)
torch.manual_seed(0)
who, side, cells, batch, samples = sys.argv[1], *map(int, sys.argv[2:])
net = timm.create_model("resnet10t", num_classes=5).eval()
images = torch.randn(2, 3, side, side)
if who == "permgrad":
    import permgrad as pg
    pg.explain
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    started = time.process_time()
    found = pg.explain(net, images, method="shapley", background=torch.zeros(1, 3, side, side), target=0,
                       segments=("grid", cells, cells), max_permutations=2 * samples, random_state=0, progress=False)
    forwards = found.meta["model_rows"]
else:
    from captum.attr import ShapleyValueSampling
    cell = torch.arange(side) * cells // side
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    mask = (cell[:, None] * cells + cell[None])[None, None]
    started, forwards = time.process_time(), 2 * samples * cells ** 2
    with torch.no_grad():
        ShapleyValueSampling(net).attribute(images, baselines=0, target=0, feature_mask=mask, n_samples=samples,
                                            perturbations_per_eval=batch)
seconds = time.process_time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
print(json.dumps({"who": who, "perturbations in a forward": batch or "auto", "forwards": forwards,
                  "ms per forward": 1000 * seconds / forwards, "libraries, MB": libraries, "peak MB": peak}))
"""


def measure(who: str, batch: int, *, quick: bool) -> dict[str, object]:
    """Run one contestant in a process of its own."""
    side, cells, samples = (64, 3, 1) if quick else (SIDE, CELLS, 5)
    words = [sys.executable, "-c", PROGRAM, who, *map(str, (side, cells, batch, samples))]
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join(str(root / folder) for folder in ("src", "tests/foreign"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ended = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure, compare and record."""
    arguments = parser(__doc__).parse_args()
    lines = [measure("permgrad", 0, quick=arguments.quick)]
    lines += [measure("captum", batch, quick=arguments.quick) for batch in BATCHES]
    batched = [line for line in lines[1:] if line["perturbations in a forward"] != 1]
    fastest = min(float(str(line["ms per forward"])) for line in batched)
    as_fast = [line for line in batched if float(str(line["ms per forward"])) <= 1.05 * fastest]
    floor = max(float(str(line["peak MB"])) for line in as_fast)
    text = f"{markdown_table(lines)}\n\nFloor: {floor:.0f} MB."
    passed = float(str(lines[0]["peak MB"])) <= floor
    return record(arguments, "Shapley values of an image network: memory", text, lines, passed=passed, seeds=[0])


if __name__ == "__main__":
    sys.exit(main())
