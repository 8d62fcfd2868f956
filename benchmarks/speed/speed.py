"""The speed page: one command, one table of how fast permgrad is beside its peers.

    PERMGRAD_DATA=/folder/with/tables python -m benchmarks.speed.speed [--quick] [--only
    SECTION ...] [--list]

Each section is a script of this folder whose ``measure(quick)`` returns lines; it runs
in a process of its own, with one thread, so that neither threads nor memory of one
disturb another. Within a section the contestants take turns. Times are processor time
unless a line says otherwise; ratios are medians of the rounds' ratios, with the least
and the largest beside them. What is equal on both sides, the work or the error of the
values, is said in each line. Peers that are not installed here are named as missing.
Two peers need environments of their own (TINTOlib, and the published network in Keras),
which are made the first time in ``benchmarks/.environments``; ``--no-environments``
leaves them out.

A finished section is kept in ``benchmarks/.speed`` and not measured again on the same
commit (``--again`` does); with ``--any-commit`` sections of other commits count too,
and the page says which commit each was measured on. With ``--into-page`` the page's
other sections stand as they are, also those of other machines. The table is written to
``benchmarks/results/speed.md`` and ``speed.json``, unless ``--quick``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._results import command, commit, shortened

HERE = Path(__file__).resolve().parents[1]
KEPT, RESULTS, ENVIRONMENTS = HERE / ".speed", HERE / "results", HERE / ".environments"


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: as given to ``--only``.
        title: heading on the page.
        module: script of this folder with ``measure(quick=...) -> list of lines``.
        minutes: what the full form takes about, on one core of 2026.
        environment: name of the environment of its own, or "" for permgrad's.
        data: whether it needs the folder that PERMGRAD_DATA names.
    """

    name: str
    title: str
    module: str
    minutes: float
    environment: str = ""
    data: bool = True


SECTIONS = {
    own.name: own
    for own in (
        Section("imaging", "Pictures of rows", "imaging_speed", 4, environment="tinto"),
        Section("training", "Training", "training_speed", 4, data=False),
        Section("keras", "The published system", "keras_speed", 15),
        Section("path-game", "Path game and permutation", "path_game_speed", 5),
        Section("loss-shapley", "Shapley values of the loss", "sage_speed", 8),
        Section("cam", "Class activation maps", "cam_speed", 2),
        Section(
            "integrated-gradients",
            "Integrated gradients",
            "integrated_gradients_speed",
            4,
        ),
        Section("shapley", "Shapley values of outputs", "shapley_speed", 12),
        Section("lime", "LIME", "lime_speed", 2),
        Section("growth", "Growth with rows and features", "growth", 6),
        Section("roofline", "Rate of arithmetic", "roofline", 2),
    )
}

#: What the environments are made of; permgrad itself is read from this checkout.
TINTO_PACKAGES = (
    "torch==2.13.0",
    "TINTOlib==1.3.1",
    "pandas<3",
    "scikit-learn==1.9.1",
    "numpy==2.4.6",
    "scipy==1.17.1",
)
#: Peers that are too old or too small to be extras of permgrad: put beside it for the
#: speed page alone.
PEER_PACKAGES = ("lime==0.2.0.1", "sage-importance==0.0.6")


# ---- one section ---------------------------------------------------------------------


def kept(section: Section, quick: bool, any_commit: bool) -> dict[str, Any] | None:
    """Return what was measured before, if it may stand."""
    file = KEPT / f"{section.name}{'-quick' if quick else ''}.json"
    if not file.exists():
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found if any_commit or found["commit"] == commit() else None


def interpreter(section: Section, make: bool) -> Path | None:
    """Return the Python that a section runs with, making its environment if allowed;
    None where there is none.
    """
    from benchmarks.speed.keras_peer import make_environment, python_of

    if not section.environment:
        return Path(sys.executable)
    folder = ENVIRONMENTS / section.environment
    return (
        make_environment(folder, TINTO_PACKAGES)
        if make
        else next(iter({python_of(folder)} & set(folder.glob("*/*"))), None)
    )


def add_peers() -> str:
    """Put the small peers into a folder of their own and return it; an empty text where
    that fails.
    """
    folder = ENVIRONMENTS / "peers"
    stamp = folder / "made-from.json"
    if not (
        stamp.exists()
        and json.loads(stamp.read_text(encoding="utf-8")) == list(PEER_PACKAGES)
    ):
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        done = subprocess.run(
            [*command, "--upgrade", "--target", str(folder), *PEER_PACKAGES],
            check=False,
            stdout=sys.stderr,
        )
        if done.returncode:
            return ""
        stamp.write_text(json.dumps(list(PEER_PACKAGES)) + "\n", encoding="utf-8")
    return str(folder)


def measure(section: Section, python: Path, peers: str, quick: bool) -> dict[str, Any]:
    """Measure a section in a process of its own and keep what it found; a failure is
    not kept.
    """
    out = KEPT / f"{section.name}{'-quick' if quick else ''}.json"
    KEPT.mkdir(exist_ok=True)
    threads = dict.fromkeys(
        (
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "NUMBA_NUM_THREADS",
        ),
        "1",
    )
    paths = [
        str(HERE.parent / "src"),
        str(HERE.parent),
        peers,
        os.environ.get("PYTHONPATH", ""),
    ]
    environment = {
        **os.environ,
        **threads,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    command = [
        str(python),
        "-W",
        "ignore",
        "-m",
        "benchmarks.speed.speed",
        "--section",
        section.name,
    ]
    begun, measured_on = time.time(), commit()
    partial = out.with_suffix(".part")
    done = subprocess.run(
        [*command, "--into", str(partial), *(["--quick"] if quick else [])],
        env=environment,
        check=False,
        stdout=sys.stderr,
    )
    if done.returncode:
        reason = (
            f"the section failed with exit code {done.returncode}; run it alone "
            "to see why"
        )
        return {
            "commit": measured_on,
            "lines": [],
            "failed": reason,
            "minutes": (time.time() - begun) / 60,
        }
    found = json.loads(partial.read_text(encoding="utf-8"))
    partial.unlink()
    found |= {
        "commit": measured_on,
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": machine(),
    }
    found["minutes"] = round((time.time() - begun) / 60, 1)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def measure_here(name: str, into: Path, quick: bool) -> None:
    """Do a section's work in this process: the child's side."""
    module = importlib.import_module(f"benchmarks.speed.{SECTIONS[name].module}")
    # A script whose figures are no comparison has its own rounds instead of a short
    # form.
    short = (
        {"quick": quick}
        if "quick" in inspect.signature(module.measure).parameters
        else {"rounds": 3}
        if quick
        else {}
    )
    lines = module.measure(**short)
    into.write_text(
        json.dumps({"lines": lines, "versions": versions()}) + "\n", encoding="utf-8"
    )


def versions() -> dict[str, str]:
    """Return the versions of everything compared that is installed here."""
    from importlib.metadata import PackageNotFoundError, version

    names = (
        "torch",
        "numpy",
        "scikit-learn",
        "captum",
        "shap",
        "shapiq",
        "lime",
        "sage-importance",
        "TINTOlib",
    )
    found = {"Python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# ---- the page ------------------------------------------------------------------------


def machine() -> str:
    """Return the processor's name and the number of cores."""
    name = platform.processor() or platform.machine()
    with_names = Path("/proc/cpuinfo")
    if with_names.exists():
        lines = with_names.read_text(encoding="utf-8").splitlines()
        name = next(
            (
                text.partition(":")[2].strip()
                for text in lines
                if text.startswith("model name")
            ),
            name,
        )
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def number(value: Any) -> str:
    """Write a number so that it can be compared by eye."""
    if value is None:
        return "–"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(lines: list[dict[str, Any]]) -> str:
    """Return the lines of a section as a Markdown table; figures that compare nobody
    keep their own columns.
    """
    if "ratio" not in lines[0]:
        names = list(dict.fromkeys(name for own in lines for name in own))
        bare = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        return "\n".join(
            bare
            + [
                "| " + " | ".join(number(own.get(name)) for name in names) + " |"
                for own in lines
            ]
        )
    head = (
        "| what | peer | equal | permgrad | peer's | unit | **times as fast** | "
        "least–most | rounds | note |"
    )
    rows = [head, "|" + "---|" * 10]
    for own in lines:
        ratio = "–" if own["ratio"] is None else f"**{number(own['ratio'])}**"
        spread = (
            "–" if own["low"] is None else f"{number(own['low'])}–{number(own['high'])}"
        )
        cells = [
            own["what"],
            own["peer"],
            own["equal"] or "–",
            number(own["ours"]),
            number(own["theirs"]),
        ]
        rows.append(
            "| "
            + " | ".join(
                [
                    *cells,
                    own["unit"] or "–",
                    ratio,
                    spread,
                    number(own["rounds"]),
                    own["note"],
                ]
            )
            + " |"
        )
    return "\n".join(rows)


def page(results: dict[str, dict[str, Any]], command: str) -> str:
    """Return the whole page."""
    head = (
        f"`{command}`, one thread unless a line says otherwise. Processor time; ratios "
        "are medians over rounds in which the contestants take turns, beside the least "
        "and the largest. *Equal work*: the same values on the same rows; *equal "
        "error*: the time after which the values are as near to the truth. A ratio "
        "below 1 says that the peer is faster."
    )
    parts = ["# Speed", head]
    every = {
        name: version
        for found in results.values()
        for name, version in found.get("versions", {}).items()
    }
    parts.append(
        "Versions: "
        + ", ".join(f"{name} {version}" for name, version in every.items())
        + "."
    )
    for name, found in results.items():
        parts.append(f"## {SECTIONS[name].title}")
        if found["lines"]:
            parts.append(table(found["lines"]))
        if found.get("failed"):
            parts.append(f"Not measured: {found['failed']}.")
        parts.append(
            f"Commit {found['commit']}, {found['minutes']:.1f} minutes{_where(found)}."
        )
    return "\n\n".join(parts) + "\n"


def _where(found: dict[str, Any]) -> str:
    return f", {found['date']}, {found['machine']}" if "machine" in found else ""


def recorded() -> dict[str, dict[str, Any]]:
    """Return the sections that stand on the page; each was measured on a machine of its
    own.
    """
    path = RESULTS / "speed.json"
    if not path.exists():
        return {}
    return dict(json.loads(path.read_text(encoding="utf-8"))["sections"])


def not_measured(why: str) -> dict[str, Any]:
    """Return what stands on the page for a section that cannot be measured here."""
    return {"commit": commit(), "lines": [], "failed": why, "minutes": 0.0}


def collect(
    chosen: list[str], arguments: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Measure the chosen sections, or read what was kept, one after the other."""
    results: dict[str, dict[str, Any]] = {}
    peers = "" if arguments.no_environments else add_peers()
    for name in chosen:
        section = SECTIONS[name]
        before = (
            None
            if arguments.again
            else kept(section, arguments.quick, arguments.any_commit)
        )
        if before is not None:
            print(
                f"{name}: kept from commit {before['commit']}",
                file=sys.stderr,
                flush=True,
            )
            results[name] = before
            continue
        if not (HERE / "speed" / f"{section.module}.py").exists():
            results[name] = not_measured(f"there is no {section.module}.py yet")
            continue
        if section.data and not os.environ.get("PERMGRAD_DATA"):
            results[name] = not_measured(
                "it needs the data sets, and PERMGRAD_DATA names no folder"
            )
            continue
        python = interpreter(section, make=not arguments.no_environments)
        if python is None or (name == "keras" and arguments.no_environments):
            results[name] = not_measured(
                "its environment is missing, and --no-environments forbids to make it"
            )
            continue
        print(f"{name}: about {section.minutes:g} minutes", file=sys.stderr, flush=True)
        results[name] = measure(section, python, peers, arguments.quick)
    return results


def main() -> int:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(SECTIONS),
        metavar="SECTION",
        help="these sections alone",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the short form: for a look and for the tests",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the sections and what each takes"
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="measure what was measured on this commit again",
    )
    parser.add_argument(
        "--any-commit",
        action="store_true",
        help="let sections stand that other commits measured",
    )
    parser.add_argument(
        "--into-page",
        action="store_true",
        help="let the page's other sections stand as they are",
    )
    parser.add_argument(
        "--no-environments",
        action="store_true",
        help="make no environments, download nothing",
    )
    parser.add_argument(
        "--no-record", action="store_true", help="do not write benchmarks/results"
    )
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.section:
        measure_here(arguments.section, arguments.into, arguments.quick)
        return 0
    chosen = [name for name in SECTIONS if not arguments.only or name in arguments.only]
    if arguments.list:
        for name in chosen:
            print(
                f"{name:22} {SECTIONS[name].minutes:4g} minutes  {SECTIONS[name].title}"
            )
        return 0
    total = sum(SECTIONS[name].minutes for name in chosen)
    print(
        f"about {total:g} minutes on an idle core, if nothing is kept",
        file=sys.stderr,
        flush=True,
    )
    results = collect(chosen, arguments)
    if arguments.into_page:
        known = recorded() | results
        results = {name: known[name] for name in SECTIONS if name in known}
    results = shortened(results)
    text = page(results, command())
    print(text)
    if not arguments.quick and not arguments.no_record:
        (RESULTS / "speed.md").write_text(text, encoding="utf-8")
        (RESULTS / "speed.json").write_text(
            json.dumps({"sections": results}, indent=1) + "\n", encoding="utf-8"
        )
    return 1 if any(found.get("failed") for found in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
