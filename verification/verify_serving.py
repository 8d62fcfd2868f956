"""Does the application of docs/serving.md answer as ``predict`` does, under load and with
wrong requests?

    python -m verification.verify_serving             # 1,000 requests, two minutes
    python -m verification.verify_serving --quick     # 40 requests

It needs fastapi and uvicorn, which permgrad does not install. A network and a model of
LightGBM are trained on a table with numbers, levels and missing cells and saved, and
the application of the page is started with each as the page says. Floors: answers of
one row, four at a time, are equal to ``predict``, with a median of at most 20 ms. Wrong
rows, missing columns, and bodies of 10 MB are refused with a status from 400 to 499 and
a message that has neither a trace nor a value of the row. Unseen levels are answered. A
stop while requests are answered ends within ten seconds with no trace.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks._results import markdown_table, parser, record

import permgrad as pg

PAGE = Path(__file__).resolve().parents[1] / "docs" / "serving.md"
MOST_SECONDS = 0.020
MOST_SECONDS_TO_STOP = 10
#: A value that no message may have.
SECRET = "Rumpelstilz"
#: What the application prints, beside it.
PRINTED = "printed.txt"


def application() -> str:
    """Return the application of the page."""
    return re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[
        0
    ]


def table(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Return rows with numbers, levels, booleans and missing cells."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "height in cm": rng.normal(170, 9, rows).round(1),
            "town": rng.choice(["Ulm", "Bonn", "Trier"], rows),
            "smokes": rng.choice([True, False], rows),
            "visits": rng.poisson(3, rows),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "height in cm"] = np.nan
    return frame


def save_model(folder: Path, kind: str = "network") -> None:
    """Train a model, and write it and the application into a folder."""
    rows = table()
    y = np.where(rows["visits"] + (rows["town"] == "Ulm") > 3, "often", "rarely")
    (folder / "app.py").write_text(application(), encoding="utf-8")
    if kind == "network":
        model = pg.HyNNClassifier(
            preset="fast", max_epochs=3, random_state=0, progress=False
        )
        model.fit(rows, y).save(folder / "model")
        return
    rows.assign(comes=y).to_csv(folder / "rows.csv", index=False)
    options = ["--target", "comes", "--model", kind, "--out", str(folder / "run")]
    command = [sys.executable, "-m", "permgrad", "run", str(folder / "rows.csv")]
    subprocess.run(command + options, check=True, capture_output=True)
    (folder / "run" / "model").rename(folder / "model")


@contextmanager
def served(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start the application, and wait until it is healthy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    # A file, as a pipe that nobody reads is full after a thousand lines.
    with (
        (folder / PRINTED).open("w", encoding="utf-8") as printed,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=printed,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            for _ in range(600):
                if process.poll() is not None:
                    break
                try:
                    if ask(port, "GET", "/health")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.1)
            yield process, port
        finally:
            process.kill()


def ask(port: int, verb: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Return the status and the answer of one request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(verb, path, content, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON has them."""
    return json.loads(rows.to_json(orient="records"))


def in_process(folder: Path, requests: int) -> float:
    """Return the mean processor seconds of one row without a server."""
    rows = records(table(requests, seed=1))
    model = pg.load(folder / "model")
    model.predict_parts(rows[:1])
    began = time.process_time()
    for row in rows:
        model.predict_parts([row])
    return (time.process_time() - began) / requests


def equal_answers(port: int, folder: Path, requests: int) -> tuple[int, list[float]]:
    """Return how many answers of one row, four at a time, are those of ``predict``, and
    the seconds of each.
    """
    rows = records(table(requests, seed=1))
    model = pg.load(folder / "model")
    expected = model.predict_proba(rows)
    seconds = []

    def answer(place: int) -> bool:
        began = time.perf_counter()
        status, parts = ask(port, "POST", "/predict", [rows[place]])
        seconds.append(time.perf_counter() - began)
        return status == 200 and parts["probabilities"] == [expected[place].tolist()]

    answer(0)
    seconds.clear()
    with ThreadPoolExecutor(4) as pool:
        equal = sum(pool.map(answer, range(requests)))
    reasons = model.reasons(rows[:3], n=2).to_dict("records")
    status, told = ask(port, "POST", "/reasons?n=2", rows[:3])
    assert status == 200
    assert [one["reason_1"] for one in told] == [one["reason_1"] for one in reasons]
    return equal, seconds


def wrong_requests() -> dict[str, Any]:
    """Return bodies that must be refused."""
    (row,) = records(table(1, seed=2))
    lacking = {name: value for name, value in row.items() if name != "town"}
    return {
        "text for a number": [row | {"height in cm": SECRET}],
        "a list as a cell": [row | {"town": [SECRET]}],
        "a missing column": [lacking],
        "one row of two lacks a column": [row, lacking],
        "half a character": [row | {"town": SECRET + "\ud800"}],
        "nested": b"[" * 100_000,
        "no list": row,
        "no JSON": b'[{"town": "' + SECRET.encode(),
        "no rows": [],
        "numbers": [1, 2],
        "10 MB": [row | {"town": SECRET * 1_000_000}],
    }


def refused(port: int) -> list[str]:
    """Return which wrong requests are not refused in words."""
    wrong = []
    for name, body in wrong_requests().items():
        status, answer = ask(port, "POST", "/predict", body)
        words = json.dumps(answer)
        if not 400 <= status < 500 or SECRET in words or "Traceback" in words:
            wrong.append(f"{name}: {status} {words[:200]}")
    return wrong


def unseen(port: int, folder: Path) -> bool:
    """Return whether unseen levels and further columns are answered as by
    ``predict``.
    """
    (row,) = records(table(1, seed=3))
    row |= {"town": "Kiel", "further": SECRET}
    status, parts = ask(port, "POST", "/predict", [row])
    expected = pg.load(folder / "model").predict_proba([row])
    return status == 200 and parts["probabilities"] == expected.tolist()


def stopped(
    process: subprocess.Popen[bytes], port: int, folder: Path
) -> tuple[float, str]:
    """Stop the application while it answers, and return the seconds it took and what it
    printed.
    """
    rows = records(table(200, seed=4))

    def keep_asking() -> None:
        try:
            for _ in range(1000):
                ask(port, "POST", "/predict", rows)
        except (OSError, ValueError):
            pass

    askers = [threading.Thread(target=keep_asking, daemon=True) for _ in range(4)]
    for asker in askers:
        asker.start()
    time.sleep(0.5)
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    ended = time.perf_counter() - began
    for asker in askers:
        asker.join(60)
    return ended, (folder / PRINTED).read_text(encoding="utf-8")


def main() -> int:
    """Write the record, and return 1 where a floor does not hold."""
    arguments = parser(__doc__).parse_args()
    requests = 40 if arguments.quick else 1000
    rows = []
    for kind in ("network", "lightgbm"):
        with tempfile.TemporaryDirectory() as name:
            rows.append(served_well(Path(name), kind, requests))
    cores = os.cpu_count()
    text = (
        f"Requests of one row, four at a time, from a process on the same {cores} "
        f"processors; load of the machine {os.getloadavg()[0]:.1f} at the end. One "
        "process of uvicorn with one thread for arithmetic. Times in ms; *in process* "
        "is the processor time of a row without a server.\n\n"
        f"{markdown_table(rows)}\n\n"
        f"Floors: every answer equal, a median of at most {1000 * MOST_SECONDS:.0f} ms, "
        f"no wrong request of {len(wrong_requests())} answered, unseen levels answered "
        "as by `predict`, a stop in at most ten seconds, no trace and no value printed."
    )
    passed = all(row["floors met"] for row in rows)
    title = "The application of docs/serving.md"
    return record(arguments, title, text, rows, passed=passed, seeds=[0, 1, 2, 3, 4])


def served_well(folder: Path, kind: str, requests: int) -> dict[str, Any]:
    """Return what holds of one model."""
    save_model(folder, kind)
    with served(folder) as (process, port):
        equal, seconds = equal_answers(port, folder, requests)
        wrong = refused(port)
        answered = unseen(port, folder)
        ended, printed = stopped(process, port, folder)
    clean = "Traceback" not in printed and SECRET not in printed
    if not clean:
        print(printed[-3000:], file=sys.stderr)
    middle = statistics.median(seconds)
    met = equal == requests and not wrong and answered and clean
    return {
        "model": kind,
        "requests": requests,
        "equal": equal,
        "median": 1000 * middle,
        "95 of 100 within": 1000 * float(np.quantile(seconds, 0.95)),
        "in process": 1000 * in_process(folder, requests),
        "not refused": ", ".join(wrong) or "none",
        "unseen levels": answered,
        "stop, s": ended,
        "clean": clean,
        "floors met": met and ended < MOST_SECONDS_TO_STOP and middle <= MOST_SECONDS,
    }


if __name__ == "__main__":
    raise SystemExit(main())
