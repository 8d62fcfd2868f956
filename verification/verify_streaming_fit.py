"""Training from Parquet files: memory does not grow with rows, and the model is as good
as the one that ``fit`` gives.

    python -m verification.verify_streaming_fit [--quick]

Memory: one epoch on N, 4N and 16N rows of 30 columns, each in a process of its own,
tabular branch, blocks of 50,000 rows; the peak of its resident memory may differ by 5 %
from the smallest table to the largest. Quality: HELOC, several seeds, loss on the
validation rows of a model fitted in memory, of one fitted from files in one block (it
is the same model, bit for bit), and of one fitted in blocks of a twelfth of the rows;
the same rows judge all three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pandas as pd
from benchmarks._results import data_folder, markdown_table, parser, record

COLUMNS, PIECE = 30, 125_000
MOST_GROWTH, MOST_WORSE = 0.05, 0.005


def write_table(folder: Path, rows: int) -> None:
    """Write a table in files of 125,000 rows, without ever holding it."""
    folder.mkdir()
    for number, start in enumerate(range(0, rows, PIECE)):
        rng = np.random.default_rng(number)
        count = min(PIECE, rows - start)
        values = rng.normal(size=(count, COLUMNS)).astype(np.float32)
        frame = pd.DataFrame(values, columns=[f"x{k}" for k in range(COLUMNS)])
        frame["x29"] = rng.choice(["red", "green", "blue"], count)
        frame["y"] = values[:, 0] + values[:, 1] * values[:, 2]
        frame.to_parquet(
            folder / f"{number:05}.parquet", row_group_size=12_500, index=False
        )


def one_epoch(folder: str) -> None:
    """Train for one epoch in this process and print what it took."""
    import resource

    import torch

    import permgrad as pg

    torch.set_num_threads(1)
    started, processor = time.perf_counter(), time.process_time()
    model = pg.HyNNRegressor(
        preset="fast",
        branches="tabular",
        max_epochs=1,
        batch_size=1024,
        random_state=0,
        progress=False,
        device="cpu",
    )
    model.fit_stream(folder, "y", block_rows=50_000)
    found = {
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "seconds": time.perf_counter() - started,
        "processor seconds": time.process_time() - processor,
        "validation loss": float(model.history_["validation_loss"].iloc[-1]),
    }
    print(json.dumps(found))


def memory(smallest: int) -> list[dict[str, Any]]:
    rows = []
    for times in (1, 4, 16):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "table")
            write_table(folder, times * smallest)
            size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
            ran = subprocess.run(
                [sys.executable, "-m", __spec__.name, "--one-epoch", str(folder)],
                capture_output=True,
                text=True,
                check=True,
            )
            found = json.loads(ran.stdout.strip().splitlines()[-1])
        rate = times * smallest / found["processor seconds"]
        rows.append(
            {
                "rows": times * smallest,
                "files MiB": size,
                **found,
                "rows/s, all passes": rate,
            }
        )
        print(rows[-1], flush=True)
    return rows


def quality(seeds: range, epochs: int | None) -> list[dict[str, Any]]:
    """Compare validation losses on HELOC."""
    import torch

    import permgrad as pg
    from permgrad.data.datasets import load_dataset
    from permgrad.data.splitting import split_rows

    torch.set_num_threads(1)
    heloc = load_dataset("heloc")
    features = [name for name in heloc.frame.columns if name != heloc.target]
    y = heloc.frame[heloc.target]
    rows = []
    for seed in seeds:
        split = split_rows(len(y), y.to_numpy(), task="classification", seed=seed)
        train, validation = (
            heloc.frame.iloc[part] for part in (split.train, split.validation)
        )
        options = {
            "na": heloc.na,
            "random_state": seed,
            "progress": False,
            "device": "cpu",
        }
        options |= {} if epochs is None else {"max_epochs": epochs}

        def best(model: Any) -> float:
            return float(model.history_["validation_loss"].min())

        with tempfile.TemporaryDirectory() as place:
            files, held = Path(place, "train"), Path(place, "validation.parquet")
            files.mkdir()
            for number, part in enumerate(np.array_split(np.arange(len(train)), 12)):
                train.iloc[part].to_parquet(
                    files / f"{number:02}.parquet", row_group_size=250, index=False
                )
            validation.to_parquet(held, index=False)
            whole = pg.HyNNClassifier(**options).fit(
                train[features],
                train[heloc.target],
                eval_set=(validation[features], validation[heloc.target]),
            )
            one = pg.HyNNClassifier(**options).fit_stream(
                files, heloc.target, validation=held
            )
            many = pg.HyNNClassifier(**options).fit_stream(
                files, heloc.target, validation=held, block_rows=len(train) // 12
            )
        apart = np.abs(
            one.encode_rows(validation[features]).encoded
            - whole.encode_rows(validation[features]).encoded
        ).max()
        rows.append(
            {
                "seed": seed,
                "in memory": best(whole),
                "one block": best(one),
                "12 blocks": best(many),
                "12 blocks − in memory": best(many) - best(whole),
                "encodings differ by": float(apart),
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--one-epoch", default=None, help="used by the script itself")
    arguments = made.parse_args()
    if arguments.one_epoch:
        one_epoch(arguments.one_epoch)
        return 0
    grown = memory(25_000 if arguments.quick else 250_000)
    peaks = [row["peak MiB"] for row in grown]
    growth = max(peaks) / peaks[0] - 1
    text = [
        markdown_table(grown),
        f"The peak grows by {growth:.1%} from the smallest table to the largest.",
    ]
    passed = growth <= MOST_GROWTH
    judged: list[dict[str, Any]] = []
    if data_folder() is not None:
        seeds = range(1 if arguments.quick else 3)
        judged = quality(seeds, 3 if arguments.quick else None)
        worse = float(np.mean([row["12 blocks − in memory"] for row in judged]))
        same = max(abs(row["one block"] - row["in memory"]) for row in judged)
        text += [
            markdown_table(judged),
            (
                f"On average, blocks change the validation loss by {worse:+.4f}; one "
                f"block by {same:.1e} at most."
            ),
        ]
        passed = passed and worse <= MOST_WORSE and (len(judged) == 1 or same < 0.02)
    return record(
        arguments,
        "Training from Parquet files: memory and quality",
        "\n\n".join(text),
        {"memory": grown, "quality": judged},
        passed=passed,
        seeds=[row["seed"] for row in judged],
    )


if __name__ == "__main__":
    raise SystemExit(main())
