"""Are our pictures TINTOlib's, and how much faster are they drawn?

One run, one thread, the same rows.

For each of the six named data sets (columns as numbers, texts as whole-number codes) a
TINTO layout is fitted on the same training rows by TINTOlib 1.3.1 and by permgrad,
without a blur and with one (mean, maximum). The script

1. compares every pixel of a sample of test rows with the arrays TINTOlib writes in its
   npy format (bound: 1e-6, in float64, and in float32 on encoded values), and
2. measures rows per second of TINTOlib writing PNG files, of TINTOlib writing npy
   files, and of our renderer in float32 at batches of 2,048 rows; the ratio of medians
   over the repeats is printed. Floors: 200 (PNG) and 50 (npy), with and without a blur.

It ends with 1 if a picture differs or a floor is missed.

TINTOlib needs pandas below 3 and pillow below 13, so it lives in an environment of its
own::

    python -m venv .venv-tinto
    .venv-tinto/bin/pip install torch==2.13.0 TINTOlib==1.3.1 "pandas<3"
    scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 PERMGRAD_DATA=/path/to/data
    PYTHONPATH=src .venv-tinto/bin/python -m benchmarks.speed.imaging_speed

scikit-learn must be the version that permgrad runs with elsewhere: the projection is
its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Before torch and NumPy are imported: one thread each.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

from permgrad.imaging import Renderer, make_layout

SETS: dict[str, tuple[str, str, list[str]]] = {
    "heloc": ("heloc.csv", "RiskPerformance", []),
    "dengue": ("dengue.csv", "CLASSI_FIN", []),
    "covertype": ("covertype_sample.csv", "Cover_Type", []),
    "gas": ("gas.csv.gz", "gas", ["batch", "concentration"]),
    "puma": ("puma8NH.csv", "values", []),
    "bank": ("bank-full.csv", "y", []),
}
BLURS: dict[str, dict[str, Any]] = {
    "none": {},
    "mean": {"blur": True, "option": "mean"},
    "maximum": {"blur": True, "option": "maximum"},
}


def load(folder: Path, name: str) -> pd.DataFrame:
    """Return a data set's features as numbers: texts become whole-number codes, missing
    numbers the median.
    """
    file, target, others = SETS[name]
    table = pd.read_csv(folder / file).drop(columns=[target, *others])
    for column in table.columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = pd.factorize(table[column], sort=True)[0]
        table[column] = table[column].fillna(table[column].median())
    return table.astype(np.float64)


def tintolib_method(
    train: pd.DataFrame, file_format: str, options: dict[str, Any]
) -> Any:
    from sklearn.preprocessing import MinMaxScaler
    from TINTOlib.tinto import TINTO

    # A new scaler each time: TINTOlib's default is one object shared by all its
    # methods.
    method = TINTO(
        problem="unsupervised",
        pixels=20,
        format=file_format,
        cmap="binary",
        transformer=MinMaxScaler(),
        **options,
    )
    method.fit(train)
    return method


def written_arrays(method: Any, rows: pd.DataFrame) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        method.transform(rows, folder)
        return np.stack(
            [np.load(path) for path in sorted(Path(folder).glob("images/*.npy"))]
        )


def seconds_to_write(method: Any, rows: pd.DataFrame, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            method.transform(rows, folder)
            times.append(time.process_time() - start)
    return float(np.median(times)) / len(rows)


def seconds_to_render(renderer: Renderer, rows: np.ndarray, repeats: int) -> float:
    batch = torch.as_tensor(rows, dtype=torch.float32)
    # The same rows again and again until the batch is one that a network would be
    # given.
    batch = batch.repeat(-(-2048 // len(batch)), 1)[:2048].contiguous()
    times = []
    with torch.inference_mode():
        renderer(batch)
        for _ in range(repeats):
            calls = 5
            start = time.process_time()
            for _ in range(calls):
                renderer(batch)
            times.append((time.process_time() - start) / calls)
    return float(np.median(times)) / len(batch)


def compare(
    folder: Path, name: str, blur: str, rows: int, repeats: int
) -> dict[str, Any]:
    options = BLURS[blur]
    table = load(folder, name)
    train, test = train_test_split(table, test_size=0.2, random_state=42)
    train, test = train.reset_index(drop=True), test.iloc[:rows].reset_index(drop=True)
    values = train.to_numpy()
    layout = make_layout("tinto", 20, 0, **options).fit(values, list(train))
    renderer = Renderer(layout, values.min(axis=0), values.max(axis=0))

    arrays = tintolib_method(train, "npy", options)
    expected = written_arrays(arrays, test)
    drawn = renderer(torch.from_numpy(test.to_numpy().copy()))[:, 0].numpy()
    if not (expected.max() > 0.05 and np.ptp(expected, axis=0).max() > 0.02):
        raise RuntimeError(f"{name}: the pictures are trivial, nothing is compared")
    # What a network is given: columns standardised in float64, then stored in float32.
    mean, spread = (
        values.mean(axis=0),
        np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0),
    )
    encoded = ((values - mean) / spread).astype(np.float32)
    single = Renderer(layout, encoded.min(axis=0), encoded.max(axis=0))
    test_encoded = ((test.to_numpy() - mean) / spread).astype(np.float32)
    drawn_single = single(torch.from_numpy(test_encoded))[:, 0].numpy()
    ours = seconds_to_render(single, test_encoded, max(repeats, 5))
    npy = seconds_to_write(arrays, test, repeats)
    png = seconds_to_write(tintolib_method(train, "png", options), test, repeats)
    return {
        "set": name,
        "columns": table.shape[1],
        "blur": blur,
        "rows": len(test),
        "difference": float(np.abs(drawn - expected).max()),
        "difference_float32": float(np.abs(drawn_single - expected).max()),
        "ours_rows_per_second": 1 / ours,
        "npy_rows_per_second": 1 / npy,
        "png_rows_per_second": 1 / png,
        "png_ratio": png / ours,
        "npy_ratio": npy / ours,
    }


def measure(*, quick: bool = False) -> list[dict[str, Any]]:
    """Return the lines of the speed page."""
    from benchmarks.speed._speed import line

    folder, lines = Path(os.environ.get("PERMGRAD_DATA", "data")), []
    torch.set_num_threads(1)
    for name in ("puma",) if quick else ("puma", "heloc", "covertype"):
        for blur in ("none",) if quick else ("none", "mean"):
            found = [
                compare(folder, name, blur, 30 if quick else 300, 1)
                for _ in range(1 if quick else 3)
            ]
            apart = max(
                max(own["difference"], own["difference_float32"]) for own in found
            )
            for kind in ("png", "npy"):
                ours, theirs = (
                    [1e6 / own[f"{who}_rows_per_second"] for own in found]
                    for who in ("ours", kind)
                )
                what = (
                    f"a picture, {name} ({found[0]['columns']} columns), blur: {blur}"
                )
                note = f"pixels differ by at most {apart:.0e}; TINTOlib writes files"
                lines.append(
                    line(what, f"TINTOlib, {kind}", ours, theirs, unit="µs", note=note)
                )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=300, help="test rows that TINTOlib writes"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--blurs", nargs="+", default=list(BLURS), choices=list(BLURS))
    parser.add_argument("--json", type=Path, help="also write the results here")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("PERMGRAD_DATA", "data"))
    torch.set_num_threads(1)
    print(
        "rows per second of processor time, one thread; difference: largest over all "
        "pixels from TINTOlib's npy arrays"
    )
    head = (
        f"{'set':10} {'columns':>7} {'blur':8} {'difference':>10} {'in float32':>10} "
    )
    print(head + f"{'ours':>10} {'npy':>7} {'png':>7} {'ours/png':>9} {'ours/npy':>9}")
    results = []
    for name in arguments.sets:
        for blur in arguments.blurs:
            found = compare(folder, name, blur, arguments.rows, arguments.repeats)
            results.append(found)
            print(
                f"{name:10} {found['columns']:7d} {blur:8} {found['difference']:10.1e} "
                f"{found['difference_float32']:10.1e} "
                f"{found['ours_rows_per_second']:10.0f} "
                f"{found['npy_rows_per_second']:7.0f} "
                f"{found['png_rows_per_second']:7.0f} "
                f"{found['png_ratio']:9.0f} {found['npy_ratio']:9.0f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    equal = all(
        max(row["difference"], row["difference_float32"]) <= 1e-6 for row in results
    )
    fast = all(row["png_ratio"] >= 200 and row["npy_ratio"] >= 50 for row in results)
    print(
        f"equal within 1e-6: {'yes' if equal else 'NO'}; floors 200 (png) and 50 "
        f"(npy): {'met' if fast else 'MISSED'}"
    )
    return 0 if equal and fast else 1


if __name__ == "__main__":
    sys.exit(main())
