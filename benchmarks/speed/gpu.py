"""Processor against GPU: how fast, and how far apart the values are: rendering,
training, prediction, every method.

    python -m benchmarks.speed.gpu --out results [--device cuda] [--seconds 220]

Every section stands alone: what fails is reported with its traceback, and the others go
on; a section that would begin after the time is over is left out, and said so. Before a
GPU is timed, the same call runs once to warm up. Both sides draw the same donors (they
are counter-based), so that differences of values are rounding alone, unless a method
stops by its own estimate of precision. ``--device cpu`` runs the same code against
itself.
"""

from __future__ import annotations

import argparse
import copy
import datetime as dt
import importlib
import json
import os
import platform
import subprocess
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tests.shared.explaining import explain_with
from torch import Tensor, nn

import permgrad as pg
from benchmarks._results import command, commit, markdown_table, shortened
from permgrad.attribution import methods
from permgrad.imaging import Renderer, fit_layout, make_layout

COLUMNS = 23
Row = dict[str, Any]
#: What each method is asked for beyond its defaults, so that it ends in seconds on a
#: processor.
OPTIONS: dict[str, dict[str, Any]] = {
    "shapley": {"max_permutations": 50, "references": 30},
    "lime": {"samples": 200},
    "aggregate": {"members": ("permutation", "gradient")},
}
#: Rows explained on both sides; the GPU also explains ten times as many.
ROWS = {"shapley": 40, "lime": 40, "integrated_gradients": 100, "deeplift": 100}
USUAL_ROWS = 300
SECTION_SECONDS = 55
#: Methods that are fast enough for ten times the rows.
TENFOLD = (
    "permgrad",
    "permutation",
    "ablation",
    "gradient",
    "integrated_gradients",
    "deeplift",
    "gradcam",
)


class Bench:
    """The device under test, what was found, and the time that is left."""

    def __init__(self, device: str, seconds: float, scale: float) -> None:
        self.device = torch.device(device)
        self.scale = scale
        self.ends = time.perf_counter() + seconds
        self.sections: list[dict[str, Any]] = []
        self._models: dict[str, Any] = {}

    def left(self) -> float:
        return self.ends - time.perf_counter()

    def rows(self, count: int) -> int:
        return max(20, int(count * self.scale))

    def clock(
        self, work: Callable[[], Any], *, warm: bool = False
    ) -> tuple[Any, float]:
        """Return a result and its wall-clock seconds, what a GPU still has to do
        included.
        """
        if warm:
            work()
        self.wait()
        started = time.perf_counter()
        result = work()
        self.wait()
        return result, time.perf_counter() - started

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def on_device(self, model: Any) -> Any:
        """Return a copy of a fitted estimator, or of a network, on the device."""
        twin = copy.deepcopy(model)
        (twin.module_ if hasattr(twin, "module_") else twin).to(self.device)
        return twin

    def model(self, preset: str) -> Any:
        """Return an estimator fitted on the device and brought to the processor; made
        once.
        """
        if preset not in self._models:
            X, y = table(4000)
            options = {
                "max_epochs": 3,
                "random_state": 0,
                "progress": False,
                "device": self.device,
            }
            model = pg.HyNNClassifier(
                preset=preset, branches=("tabular", "image"), **options
            )
            model.fit(X, y)
            model.module_.to("cpu")
            self._models[preset] = model
        return self._models[preset]

    def over(self, started: float) -> bool:
        """Whether a section that began then must give the others their turn."""
        return self.left() <= 0 or time.perf_counter() - started > SECTION_SECONDS

    def section(self, name: str, work: Callable[[Bench], Iterator[Row]]) -> None:
        """Run a section as far as it goes; each of its rows is kept as soon as it is
        there.
        """
        found: dict[str, Any] = {
            "section": name,
            "rows": [],
            "error": None,
            "seconds": 0.0,
        }
        self.sections.append(found)
        print(f"== {name}", flush=True)
        if self.left() <= 0:
            found["error"] = "left out: the time is over"
            print(found["error"], flush=True)
            return
        started = time.perf_counter()
        try:
            for row in work(self):
                found["rows"].append(row)
                print(
                    "  "
                    + ", ".join(f"{key} {shown(value)}" for key, value in row.items()),
                    flush=True,
                )
                if self.over(started):
                    found["error"] = "cut short: its time is over"
                    break
        except Exception:  # noqa: BLE001 — one failure must not lose the rest
            found["error"] = traceback.format_exc()
            print(found["error"], flush=True)
        found["seconds"] = time.perf_counter() - started


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return numeric columns that depend on each other, and two classes, of the shape
    of HELOC.
    """
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(COLUMNS, COLUMNS)) * 0.3 + np.eye(
        COLUMNS
    )
    values = rng.normal(size=(rows, COLUMNS)) @ mixing
    signal = (
        values[:, 0]
        + values[:, 1] * values[:, 2]
        + np.sin(values[:, 3] * 2)
        + rng.normal(size=rows) * 0.5
    )
    return pd.DataFrame(values, columns=[f"x{k}" for k in range(COLUMNS)]), (
        signal > 0
    ).astype(int)


def distance(own: np.ndarray, reference: np.ndarray) -> float:
    """Return the largest difference as a share of the largest value."""
    both = np.isfinite(own) & np.isfinite(reference)
    if not np.array_equal(np.isfinite(own), np.isfinite(reference)):
        return float("nan")
    return float(
        np.abs(own[both] - reference[both]).max()
        / max(np.abs(reference[both]).max(), 1e-30)
    )


# ---- sections ------------------------------------------------------------------------


def arithmetic(bench: Bench) -> Iterator[Row]:
    """How fast each side multiplies matrices: what all other ratios are to be read
    against.
    """
    for name, device in (("processor", torch.device("cpu")), ("device", bench.device)):
        size = bench.rows(2048 if device.type == "cpu" else 8192)
        for dtype in (torch.float32, torch.bfloat16):
            left = torch.rand(size, size, device=device).to(dtype)
            _, seconds = bench.clock(lambda left=left: left @ left, warm=True)
            yield {
                "side": name,
                "type": str(dtype).removeprefix("torch."),
                "size": size,
                "TFLOP/s": 2 * size**3 / seconds / 1e12,
            }


def rendering(bench: Bench) -> Iterator[Row]:
    rows = bench.rows(20_000)
    encoded = np.random.default_rng(0).random((rows, COLUMNS)).astype(np.float32)
    kinds: dict[str, dict[str, Any]] = {
        "assignment": {},
        "tinto": {},
        "tinto, blurred": {"blur": True},
    }
    for name, options in kinds.items():
        layout = fit_layout(
            make_layout(name.partition(",")[0], 20, 0, **options),
            encoded[:1000],
            None,
            0,
        )
        renderer = Renderer(layout, encoded.min(axis=0), encoded.max(axis=0))
        given = torch.from_numpy(encoded)
        there = given.to(bench.device)
        reference, slow = bench.clock(lambda r=renderer, g=given: r(g), warm=True)
        images, fast = bench.clock(lambda r=renderer, t=there: r(t), warm=True)
        yield {
            "layout": name,
            "images": rows,
            "processor, images/s": rows / slow,
            "device, images/s": rows / fast,
            "times": slow / fast,
            "difference": distance(images.cpu().numpy(), reference.numpy()),
        }


def training(bench: Bench) -> Iterator[Row]:
    X, y = table(bench.rows(8000))
    for preset in ("paper", "default"):
        measured: dict[str, Row] = {}
        sides = [("processor", "cpu", "float32"), ("device", bench.device, "float32")]
        sides += [("device, bfloat16", bench.device, "bfloat16")]
        for name, device, precision in sides:
            # The first of two epochs pays for what is made once.
            model = pg.HyNNClassifier(
                preset={"base": preset, "precision": precision}, branches=("tabular", "image"), max_epochs=2,
                device=device, random_state=0, progress=False,
            ).fit(X, y)  # fmt: skip
            history = model.history_
            measured[name] = {
                "preset": preset,
                "side": name,
                "batch": model.training_options_["batch_size"],
                "seconds per epoch": float(history["seconds"].iloc[1:].median()),
                "rows/s": len(X) * 0.9 / float(history["seconds"].iloc[1:].median()),
                "validation loss": float(history["validation_loss"].iloc[1]),
            }
            row = measured[name]
            row["times"] = (
                measured["processor"]["seconds per epoch"] / row["seconds per epoch"]
            )
            yield row


def prediction(bench: Bench) -> Iterator[Row]:
    for preset in ("paper", "default"):
        model = bench.model(preset)
        twin = bench.on_device(model)
        X, _ = table(bench.rows(200_000), seed=1)
        few = bench.rows(8000)
        encoded = model.encode_rows(X).encoded
        reference, slow = bench.clock(
            lambda m=model, e=encoded[:few]: m.predict_encoded(e)
        )
        found, fast = bench.clock(
            lambda t=twin, e=encoded: t.predict_encoded(e), warm=True
        )
        yield {
            "preset": preset,
            "rows": len(X),
            "processor, rows/s": few / slow,
            "device, rows/s": len(X) / fast,
            "times": len(X) / fast / (few / slow),
            "difference": distance(found[:few], reference),
        }


def explain(
    model: Any, inputs: Any, y: Any, method: str, scope: str, **options: Any
) -> pg.Explanation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.PermgradWarning)
        given = {
            "random_state": 0,
            "n_repeats": 5,
            "progress": False,
            **OPTIONS.get(method, {}),
            **options,
        }
        return explain_with(model, inputs, y, method=method, scope=scope, **given)


def compare_methods(
    bench: Bench,
    model: Any,
    rows_of: Callable[[int], tuple[Any, Any, Any]],
    **options: Any,
) -> Iterator[Row]:
    """Explain the same rows on both sides, and ten times as many on the device."""
    twin = bench.on_device(model)
    for name in methods:
        for scope in methods.get(name).scopes:
            if name == "permgrad_paper" and isinstance(model, nn.Module):
                continue
            count = bench.rows(ROWS.get(name, USUAL_ROWS))
            try:
                yield one_method(
                    bench, model, twin, name, scope, count, rows_of, options
                )
            except pg.InputError:
                # this network does not have what the method reads, such as images
                continue
            except Exception as error:  # noqa: BLE001 — the other methods go on
                traceback.print_exc()
                yield {
                    "method": name,
                    "scope": scope,
                    "rows": count,
                    "failed": f"{type(error).__name__}: {error}"[:300],
                }


def one_method(
    bench: Bench,
    model: Any,
    twin: Any,
    name: str,
    scope: str,
    count: int,
    rows_of: Callable[[int], tuple[Any, Any, Any]],
    options: dict[str, Any],
) -> Row:
    inputs, y, background = rows_of(count)
    given = {"method": name, "scope": scope, "background": background, **options}
    reference, slow = bench.clock(lambda: explain(model, inputs, y, **given))
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found, fast = bench.clock(lambda: explain(twin, inputs, y, **given), warm=True)
    row: Row = {
        "method": name,
        "scope": scope,
        "rows": count,
        "processor, s": slow,
        "device, s": fast,
        "times": slow / fast,
        "difference": distance(found.values, reference.values),
    }
    row["difference of std"] = None
    if reference.std_error is not None and np.isfinite(reference.std_error).any():
        row["difference of std"] = distance(found.std_error, reference.std_error)
    if name in TENFOLD and scope == methods.get(name).scopes[0]:
        many, y, background = rows_of(10 * count)
        _, seconds = bench.clock(
            lambda: explain(twin, many, y, **{**given, "background": background})
        )
        row["ten times the rows: times"] = (10 * slow) / seconds
    if bench.device.type == "cuda":
        row["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def hybrid_methods(preset: str) -> Callable[[Bench], Iterator[Row]]:
    def work(bench: Bench) -> Iterator[Row]:
        X, y = table(10 * bench.rows(USUAL_ROWS), seed=2)
        background, _ = table(500, seed=3)
        yield from compare_methods(
            bench, bench.model(preset), lambda count: (X[:count], y[:count], background)
        )

    return work


class Fused(nn.Module):
    """Images and a table in one network, as people write them."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 49, 32),
        )
        self.mlp = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32))
        self.head = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, image: Tensor, clinical: Tensor) -> Tensor:
        return self.head(
            torch.cat([torch.relu(self.cnn(image)), self.mlp(clinical)], dim=1)
        )


def multimodal_rows(count: int) -> tuple[Tensor, Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(count, 1, 28, 28, generator=generator)
    clinical = torch.randn(count, 10, generator=generator)
    score = 4 * (images[:, 0, 8:20, 8:20].mean(dim=(1, 2)) - 0.5) * 12 + clinical[:, 0]
    return images, clinical, np.digitize(score.numpy(), [-0.7, 0.7])


def multimodal_methods(bench: Bench) -> Iterator[Row]:
    torch.manual_seed(0)
    images, clinical, y = multimodal_rows(max(10 * bench.rows(USUAL_ROWS), 1000))
    net = Fused().to(bench.device)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    truth = torch.as_tensor(y)
    for step in range(60):
        part = slice(step * 64 % 900, step * 64 % 900 + 64)
        outputs = net(images[part].to(bench.device), clinical[part].to(bench.device))
        optimizer.zero_grad()
        nn.functional.cross_entropy(outputs, truth[part].to(bench.device)).backward()
        optimizer.step()
    net = net.cpu().eval()

    def rows_of(count: int) -> tuple[Any, Any, Any]:
        return (
            {"image": images[:count], "clinical": clinical[:count]},
            y[:count],
            {"image": images[-200:], "clinical": clinical[-200:]},
        )

    yield from compare_methods(bench, net, rows_of, segments={"image": ("grid", 4)})


@contextmanager
def allowed_tf32() -> Iterator[None]:
    """Let TF32 through to explanations, which permgrad does not."""
    place: Any = importlib.import_module("permgrad.attribution.explain")
    kept, flags = (
        place.full_float32,
        (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
    )
    place.full_float32 = nullcontext
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        place.full_float32 = kept
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


def precision(bench: Bench) -> Iterator[Row]:
    """How far explanations in coarser precision are from float32 ones on the
    processor.
    """
    for preset in ("paper", "default"):
        model = bench.model(preset)
        X, y = table(bench.rows(USUAL_ROWS), seed=2)
        background, _ = table(500, seed=3)
        half = bench.on_device(model)
        half.module_.to(torch.bfloat16)
        for name in ("permgrad", "gradient", "integrated_gradients"):
            scope = methods.get(name).scopes[0]
            given = {"method": name, "scope": scope, "background": background}
            reference = explain(model, X, y, **given).values
            twin = bench.on_device(model)
            row: Row = {
                "preset": preset,
                "method": name,
                "float32": distance(explain(twin, X, y, **given).values, reference),
            }
            with allowed_tf32():
                row["TF32"] = distance(explain(twin, X, y, **given).values, reference)
            if name != "permgrad":  # the game keeps float32 in any case
                row["bfloat16"] = distance(
                    explain(half, X, y, **given).values.astype(float), reference
                )
            yield row
        encoded = torch.from_numpy(model.encode_rows(X).encoded)
        with torch.inference_mode():
            reference = model.module_(encoded).numpy()
            there = encoded.to(bench.device)
            row = {"preset": preset, "method": "(outputs)"}
            row["float32"] = distance(
                bench.on_device(model).predict_encoded(encoded.numpy()), reference
            )
            twin = bench.on_device(model).module_
            with allowed_tf32():
                row["TF32"] = distance(twin(there).cpu().numpy(), reference)
            with torch.autocast(bench.device.type, dtype=torch.bfloat16):
                row["bfloat16"] = distance(twin(there).float().cpu().numpy(), reference)
        yield row


def large(bench: Bench) -> Iterator[Row]:
    """The path game over many rows, on the device alone."""
    for preset, rows in (("paper", 20_000), ("default", 50_000)):
        twin = bench.on_device(bench.model(preset))
        X, y = table(bench.rows(rows), seed=4)
        background, _ = table(1000, seed=3)
        if bench.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        explanation, seconds = bench.clock(
            lambda t=twin, X=X, y=y, b=background: explain(
                t,
                X,
                y,
                "permgrad",
                "global",
                background=b,
                branches=False,
                direction=False,
            )
        )
        row: Row = {
            "preset": preset,
            "rows": len(X),
            "repeats": 5,
            "seconds": seconds,
            "replacements/s": len(X) * 5 * COLUMNS * 3 / seconds,
            "leading": ", ".join(explanation.ranking()[:4]),
        }
        if bench.device.type == "cuda":
            row["peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
        yield row


def repeatable(bench: Bench) -> Iterator[Row]:
    """Whether the same seed gives the same weights twice on the device, and the same
    explanation.
    """
    X, y = table(1000)
    models = [
        pg.HyNNClassifier(
            preset="fast",
            branches=("tabular", "image"),
            max_epochs=2,
            random_state=0,
            device=bench.device,
            progress=False,
        ).fit(X, y)
        for _ in range(2)
    ]
    pairs = zip(
        models[0].module_.state_dict().values(),
        models[1].module_.state_dict().values(),
        strict=True,
    )
    one, two = (
        explain(model, X[:200], y[:200], "permgrad", "global").values
        for model in models
    )
    yield {
        "weights equal": all(torch.equal(left, right) for left, right in pairs),
        "explanations equal": bool(np.array_equal(one, two)),
    }


SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "Matrix products": arithmetic,
    "Rendering": rendering,
    "Training": training,
    "Prediction": prediction,
    "Methods on the default network": hybrid_methods("default"),
    "Methods on images and a table in a plain network": multimodal_methods,
    "Precision of explanations": precision,
    "The path game over many rows": large,
    "The same seed twice": repeatable,
    "Methods on the paper network": hybrid_methods("paper"),
}


# ---- writing -------------------------------------------------------------------------


def head(device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {
        "command": command(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "commit": commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch uses "
        f"{torch.get_num_threads()} threads",
        "versions": f"permgrad {pg.__version__}, torch {torch.__version__}, NumPy "
        f"{np.__version__}, Python {platform.python_version()}",
        "device": str(device),
    }
    if device.type == "cuda":
        found["device"] = torch.cuda.get_device_name(device)
        found["CUDA"] = f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        try:
            asked = [
                "nvidia-smi",
                "--query-gpu=driver_version",
                "--format=csv,noheader",
            ]
            found["driver"] = subprocess.run(
                asked, capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            found["driver"] = "unknown"
    return found


def page(facts: dict[str, Any], sections: list[dict[str, Any]]) -> str:
    text = [
        "# Processor against GPU",
        "",
        *(f"- {key}: {value}" for key, value in facts.items()),
        "",
    ]
    text += [
        (
            "Times are wall-clock seconds, the device's after a warm-up; `times` is "
            "how often the device is faster."
        ),
        (
            "`difference` is the largest difference between the two sides' values, as "
            "a share of the largest value."
        ),
        "",
    ]
    for section in sections:
        text += [f"## {section['section']}", ""]
        if section["rows"]:
            names = dict.fromkeys(name for row in section["rows"] for name in row)
            text += [
                markdown_table(
                    [{name: row.get(name) for name in names} for row in section["rows"]]
                ),
                "",
            ]
        if section["error"]:
            text += ["```", section["error"].rstrip(), "```", ""]
    return "\n".join(text)


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parents[1] / "results",
        help="folder of the record",
    )
    made.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu"
    )
    made.add_argument(
        "--seconds", type=float, default=220.0, help="no section begins after this"
    )
    made.add_argument(
        "--scale", type=float, default=1.0, help="multiplies the numbers of rows"
    )
    made.add_argument(
        "--only",
        nargs="*",
        default=None,
        help="sections, by the beginning of their names",
    )
    arguments = made.parse_args()
    bench = Bench(arguments.device, arguments.seconds, arguments.scale)
    facts = head(bench.device)
    print(json.dumps(facts, indent=1), flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, work in SECTIONS.items():
        if arguments.only is None or any(
            name.startswith(start) for start in arguments.only
        ):
            bench.section(name, work)
            # After each section, so that nothing is lost when the machine is taken
            # away.
            text = json.dumps(
                shortened({**facts, "results": bench.sections}), indent=1, default=str
            )
            (arguments.out / "gpu.json").write_text(text + "\n", encoding="utf-8")
            (arguments.out / "gpu.md").write_text(
                shortened(page(facts, bench.sections)), encoding="utf-8"
            )
    failed = [one["section"] for one in bench.sections if one["error"]]
    print(
        f"{len(bench.sections) - len(failed)} sections whole; not whole: "
        f"{', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
