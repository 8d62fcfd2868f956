"""The first example of README files, from the start of Python to its output: permgrad
beside five other packages.

    python -m benchmarks.speed.first_output --peers /path/to/venv/bin/python

``--peers`` is the Python of an environment with ``shap``, ``xgboost``, ``captum``,
``interpret``, ``skrub`` and ``autogluon.tabular``. Packages that it does not have are
left out, and the record says so.

Each example is the first of the package's README (skrub: of its site), in a fresh
process with warm files, ended by its output. Processes take turns, and the two packages
that fit many models run once. Examples that download a table get one of the same size:
20,640 × 8 for shap, and the table of permgrad's example for AutoGluon, which is fitted
as by default, not with ``presets="best"``. The time is that of the whole process: it
holds imports, fitting and explaining. README's words, code and pictures are counted in
the description that the package brings along.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._results import markdown_table, parser, record

README = Path(__file__).resolve().parents[2] / "README.md"
_TABLE = """
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
"""
#: The examples of other packages: the package that is needed, and its code.
PEERS = {
    "shap (trees)": (
        "shap",
        """
import matplotlib
matplotlib.use("Agg")
import xgboost
import shap
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(20640, 8)), columns=list("abcdefgh"))
y = (X["a"] * X["b"] + X["c"]).to_numpy() + rng.normal(size=20640)
model = xgboost.XGBRegressor().fit(X, y)
explainer = shap.Explainer(model)
shap_values = explainer(X)
shap.plots.waterfall(shap_values[0], show=False)
matplotlib.pyplot.savefig("waterfall.png")
""",
    ),
    "Captum (a network)": (
        "captum",
        """
import numpy as np
import torch
import torch.nn as nn
from captum.attr import (
    GradientShap, DeepLift, DeepLiftShap, IntegratedGradients, LayerConductance, NeuronConductance, NoiseTunnel,
)
class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1 = nn.Linear(3, 3)
        self.relu = nn.ReLU()
        self.lin2 = nn.Linear(3, 2)
    def forward(self, input):
        return self.lin2(self.relu(self.lin1(input)))
model = ToyModel()
model.eval()
torch.manual_seed(123)
np.random.seed(123)
input = torch.rand(2, 3)
baseline = torch.zeros(2, 3)
ig = IntegratedGradients(model)
attributions, delta = ig.attribute(input, baseline, target=0, return_convergence_delta=True)
print("IG Attributions:", attributions)
print("Convergence Delta:", delta)
""",
    ),
    "InterpretML (fits its own model)": (
        "interpret",
        f"""
from interpret.glassbox import ExplainableBoostingClassifier
{_TABLE}
ebm = ExplainableBoostingClassifier()
ebm.fit(X_train, y_train)
print(ebm.explain_global().data())
""",
    ),
    "skrub (no model)": (
        "skrub",
        f"""
{_TABLE}
from skrub import TableReport
print(len(TableReport(X).html()))
""",
    ),
    "AutoGluon (fits its own models)": (
        "autogluon.tabular",
        f"""
{_TABLE}
from autogluon.tabular import TabularPredictor
predictor = TabularPredictor(label="class", verbosity=0).fit(X_train.assign(**{{"class": y_train}}))
print(predictor.predict(X_test))
""",
    ),
}
_DESCRIPTION = """
import importlib.metadata as m, json, sys
try:
    facts = m.metadata(sys.argv[1])
    print(json.dumps([m.version(sys.argv[1]), facts.get_payload() or facts.get("Description") or ""]))
except m.PackageNotFoundError:
    print("null")
"""


def examples() -> dict[str, str]:
    """Return the first example of README on a fitted model, and that on a network."""
    blocks = re.findall(
        r"^```python\n(.*?)^```",
        README.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    network = next(block for block in blocks if "import torch" in block)
    # Up to its first output.
    network = (
        "import permgrad as pg\n"
        + network.partition("print(shares.summary())")[0]
        + "print(shares.summary())\n"
    )
    return {"**permgrad** (a forest)": blocks[0], "**permgrad** (a network)": network}


def taken(python: str, program: Path) -> tuple[float, float]:
    """Return the seconds by the clock, and of the processor, that a program takes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [python, program.name], cwd=program.parent, check=True, capture_output=True
    )
    wall, after = (
        time.perf_counter() - started,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def size_of(text: str) -> dict[str, Any]:
    """Return how many words and pictures a README has, and how many words stand before
    its first code.
    """
    words = re.sub(r"<[^>]+>|\]\([^)]*\)", " ", text)
    before = re.split(r"^```|^\.\. code|^>>> ", words, maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    return {
        "words": len(words.split()),
        "before the first code": len(before.split()),
        "pictures": len(
            re.findall(r"!\[|<img|^\.\. image::|^\.\. figure::", text, re.MULTILINE)
        ),
    }


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a line for each example."""
    lines: list[dict[str, Any]] = []
    programs: dict[str, tuple[str, str]] = {
        name: (sys.executable, code) for name, code in examples().items()
    }
    sizes = dict.fromkeys(programs, size_of(README.read_text(encoding="utf-8")))
    versions: dict[str, str] = dict.fromkeys(programs, "")
    for name, (package, code) in PEERS.items() if arguments.peers else ():
        asked = subprocess.run(
            [arguments.peers, "-c", _DESCRIPTION, package],
            check=True,
            capture_output=True,
            text=True,
        )
        facts = json.loads(asked.stdout)
        if (
            facts is None
            or package in arguments.without
            or (arguments.quick and "fits its own" in name)
        ):
            print(f"left out: {package}", file=sys.stderr)
            continue
        versions[name], sizes[name] = facts[0], size_of(facts[1])
        programs[name] = (arguments.peers, code)
    rounds = 1 if arguments.quick else arguments.rounds
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds + (not arguments.quick)):
            for name, (python, code) in programs.items():
                program = Path(folder, f"{abs(hash(name))}.py")
                program.write_text(code, encoding="utf-8")
                # The first round only warms files. What takes minutes runs once.
                if "fits its own" in name and number != rounds:
                    continue
                result = taken(python, program)
                if number or arguments.quick:
                    seconds[name].append(result)
    for name, pairs in seconds.items():
        wall, processor = zip(*pairs, strict=True)
        size = (
            sizes[name]
            if sizes[name]["words"] > 100
            else dict.fromkeys(sizes[name], "not brought along")
        )
        lines.append(
            {
                "first example of": f"{name} {versions[name]}".strip(),
                "seconds": round(statistics.median(wall), 2),
                "shortest": round(min(wall), 2),
                "processor seconds": round(min(processor), 2),
                **size,
            }
        )
    return lines


def main() -> int:
    """Measure, print and record."""
    options = parser(__doc__)
    options.add_argument(
        "--peers", help="the Python of an environment with the other packages"
    )
    options.add_argument(
        "--without",
        nargs="*",
        default=(),
        metavar="PACKAGE",
        help="leave out, such as interpret",
    )
    options.add_argument(
        "--rounds", type=int, default=5, help="how often each example runs"
    )
    arguments = options.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    lines = measure(arguments)
    title = "Time to the first output of README's first example"
    text = (
        "Seconds by the clock are the median of the rounds and the shortest, "
        "processor seconds the least."
    )
    load = (
        f"{os.getloadavg()[2]:.0f} other processes on {os.cpu_count()} processors"
        if os.getloadavg()[2] > 2
        else ""
    )
    text += (
        f" The machine was busy ({load}): compare the processor seconds."
        if load
        else ""
    )
    text = f"{markdown_table(lines)}\n\n{text}"
    return record(arguments, title, text, lines, passed=None, seeds="none")


if __name__ == "__main__":
    sys.exit(main())
