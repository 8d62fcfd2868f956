"""Memory of predict and explain on Parquet: does the resident peak grow with the rows
of the table?

    OMP_NUM_THREADS=1 python -m verification.verify_streaming

Tables of N, 4 N and 16 N rows (16 N is 32 million, 5 GB) with 30 features, of which one is
text and one whole numbers, in files of 125,000 rows. Each command runs in a process of
its own, as a user types it: ``permgrad predict RUN FOLDER`` and ``permgrad explain RUN
FOLDER --max-rows 50000``, which explains a sample of 50,000 receivers of the whole
table; beside them ``permgrad explain RUN FOLDER --method gradient``, which writes the
explanation of every row. What is measured is the resident set of that process, looked
at twice a second, and its largest one as the system counts it (``ru_maxrss``),
interpreter and libraries included. The network has the tabular branch alone. Files are
written a row group at a time and linked, so that the smaller tables are the first files
of the largest one.

The level is the median over the second half of the process. Peaks say less: blocks of
a batch come and go by what the allocator has left, so that the peak of one command on
one table was 514, 538 and 547 MB in three runs, as far apart as those of tables of
different sizes.

Floors: the levels of the three sizes differ by less than 5 %, and all peaks stay below
1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from benchmarks._results import markdown_table, parser, record

FEATURES, FILES, ROWS_PER_FILE, ROWS_PER_GROUP, RECEIVERS = (
    30,
    256,
    125_000,
    25_000,
    50_000,
)
MOST_DIFFERENCE, MOST_GB = 0.05, 1.5
#: Seconds from one look at the resident set to the next.
LOOKED_AT = 0.5
LEVELS = ("north", "east", "south", "west")
PRESET = {"base": "fast", "branches": ["tabular"], "max_epochs": 5}


def rows(number: int, count: int) -> pa.Table:
    """Return ``count`` rows that depend on ``number`` alone."""
    rng = np.random.default_rng([42, number])
    numbers = rng.normal(size=(FEATURES - 2, count)).astype(np.float32)
    whole, level = (
        rng.integers(0, 50, count),
        rng.integers(0, len(LEVELS), count).astype(np.int32),
    )
    y = (
        numbers[0]
        + numbers[1] * numbers[2]
        + (level == 1)
        + 0.02 * whole
        + rng.normal(scale=0.3, size=count)
    )
    columns: dict[str, Any] = {f"x{place}": own for place, own in enumerate(numbers)}
    columns |= {
        "whole": whole,
        "region": pa.DictionaryArray.from_arrays(level, pa.array(LEVELS)),
    }
    return pa.table({**columns, "y": y})


def write_files(
    folder: Path, files: int, rows_per_file: int, rows_per_group: int
) -> None:
    """Write the files of the largest table; one row group is in memory at a time."""
    folder.mkdir(parents=True)
    groups = rows_per_file // rows_per_group
    for file in range(files):
        first = rows(file * groups, rows_per_group)
        with pq.ParquetWriter(folder / f"{file:04d}.parquet", first.schema) as writer:
            writer.write_table(first)
            for group in range(1, groups):
                writer.write_table(rows(file * groups + group, rows_per_group))


def linked(source: Path, target: Path, files: int) -> Path:
    """Make a folder of the first files of another."""
    target.mkdir()
    for path in sorted(source.iterdir())[:files]:
        os.link(path, target / path.name)
    return target


def resident_bytes(process: int) -> int:
    """Return the resident set of a process, 0 for one that has ended."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measured(*words: object) -> dict[str, float]:
    """Run ``permgrad`` with these words and return its level and its peak of memory,
    processor seconds and time on the clock.
    """
    started = time.perf_counter()
    command = [sys.executable, "-m", "permgrad", *map(str, words)]
    resident = list[int]()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        ended = 0
        while not ended:
            resident.append(resident_bytes(process.pid))
            time.sleep(LOOKED_AT)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {process.returncode}: "
                f"{errors.read().decode()}"
            )
    return {
        "level GB": median(resident[len(resident) // 2 :]) / 2**30,
        "peak GB": usage.ru_maxrss / 2**20,
        "processor seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.perf_counter() - started,
    }


def measure(
    folder: Path, sizes: list[int], rows_per_file: int, receivers: int
) -> list[dict[str, Any]]:
    """Run both commands on tables of the first ``sizes`` files."""
    sample = folder / "sample.parquet"
    pq.write_table(rows(10**6, 5_000), sample)
    (folder / "preset.json").write_text(json.dumps(PRESET))
    run = folder / "run"
    measured(
        "run",
        sample,
        "--target",
        "y",
        "--preset",
        folder / "preset.json",
        "--out",
        run,
        "--threads",
        1,
    )
    lines = []
    for files in sizes:
        table = linked(folder / "all", folder / f"first-{files}", files)
        options = {
            "predict": (),
            "explain": ("--max-rows", receivers),
            "explain rows": ("--method", "gradient"),
        }
        for name, own in options.items():
            out = folder / f"{name}-{files}"
            command = name.split()[0]
            found = measured(command, run, table, "--out", out, "--threads", 1, *own)
            counted = {
                "rows": files * rows_per_file,
                "predicted or explained": rows_done(name, out),
            }
            lines.append({"command": name, **counted, **found})
            print(lines[-1], flush=True)
            shutil.rmtree(out)
    return lines


def rows_done(name: str, out: Path) -> int:
    """Return how many rows a command says it did, or wrote."""
    if name == "explain":
        facts = json.loads((out / "explanation.json").read_text())
        return int(facts["meta"]["rows_explained"])
    folder = out if name == "predict" else out / "local"
    lines = sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))
    # What is explained of each row has a line for each feature.
    return lines if name == "predict" else lines // FEATURES


def verdict(lines: list[dict[str, Any]], receivers: int) -> tuple[str, bool]:
    """Return what is said of the peaks, and whether the floors are met."""
    said, passed = [], True
    for name in ("predict", "explain", "explain rows"):
        own = [line for line in lines if line["command"] == name]
        peaks = [line["peak GB"] for line in own]
        levels = [line["level GB"] for line in own]
        difference = max(levels) / min(levels) - 1
        complete = all(
            line["predicted or explained"]
            == (min(receivers, line["rows"]) if name == "explain" else line["rows"])
            for line in own
        )
        met = difference < MOST_DIFFERENCE and max(peaks) < MOST_GB and complete
        passed &= met
        said.append(
            f"- {name}: levels differ by {100 * difference:.1f} % (floor "
            f"{100 * MOST_DIFFERENCE:.0f} %), the largest peak is "
            f"{max(peaks):.3f} GB (floor {MOST_GB} GB), "
            f"{'every row counted' if complete else 'ROWS ARE MISSING'}: "
            f"{'met' if met else 'MISSED'}"
        )
    return "\n".join(said), passed


def main() -> int:
    """Measure and print."""
    made: argparse.ArgumentParser = parser(__doc__)
    made.add_argument(
        "--folder",
        type=Path,
        help="where the tables are written (default: a temporary folder)",
    )
    arguments = made.parse_args()
    files, per_file, per_group, receivers = (
        FILES,
        ROWS_PER_FILE,
        ROWS_PER_GROUP,
        RECEIVERS,
    )
    if arguments.quick:
        files, per_file, per_group, receivers = 16, 2_000, 1_000, 3_000
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        started = time.process_time()
        write_files(Path(place, "all"), files, per_file, per_group)
        size = sum(path.stat().st_size for path in Path(place, "all").iterdir()) / 2**30
        writing = time.process_time() - started
        lines = measure(
            Path(place), [files // 16, files // 4, files], per_file, receivers
        )
    said, passed = verdict(lines, receivers)
    about = (
        f"{FEATURES} features, files of {per_file:,} rows, {size:.2f} GB of Parquet, "
        f"written in {writing:.0f} s of processor time."
    )
    text = "\n\n".join([about, markdown_table(lines), said])
    return record(
        arguments,
        "Predict and explain from Parquet: memory",
        text,
        lines,
        passed=passed,
        seeds=[42],
    )


if __name__ == "__main__":
    sys.exit(main())
