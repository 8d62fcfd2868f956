"""Scripts in processes of their own, forked from one that has imported what nearly all
of them import.

A new Python takes two to three seconds of processor time to import torch, pandas and
scikit-learn. The process that is forked runs nothing else, so a script meets the
libraries as a new Python would.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

_IMPORTED = [
    "permgrad.attribution.explain",
    "permgrad.models.estimators.hynn",
    "permgrad.evaluation.baselines",
]
_IMPORTED += ["permgrad.pages.report", "sklearn.ensemble", "matplotlib.pyplot"]


def run_script(
    script: Path, *words: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as ``python script words`` would, in ``cwd``, and wait for its end.

    What it prints is kept there.
    """
    if not hasattr(os, "fork"):
        command = [sys.executable, str(script), *words]
        return subprocess.run(
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True
        )
    stream_files = [cwd / f"{script.stem}.{name}" for name in ("stdout", "stderr")]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    process = context.Process(
        target=_run,
        args=([str(script), *words], cwd, dict(env or os.environ), stream_files),
    )
    process.start()
    process.join(500)
    process.kill()  # where it has not ended by itself
    process.join()
    return subprocess.CompletedProcess(
        words,
        process.exitcode or 0,
        *(path.read_text("utf-8") for path in stream_files),
    )


def _run(
    words: list[str], cwd: Path, env: dict[str, str], stream_files: list[Path]
) -> None:
    for stream, path in enumerate(stream_files, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), stream)
    os.environ.clear()
    os.environ.update(env)
    if "MPLBACKEND" in env:
        mpl.use(env["MPLBACKEND"])
    # The path of a new Python begins with the script's folder, and lacks those that
    # pytest adds.
    tests = Path(__file__).resolve().parents[1]
    added = {tests.parent, tests / "shared", Path.cwd()}
    sys.path[:] = [
        str(Path(words[0]).parent),
        *(
            import_path
            for import_path in sys.path
            if Path(import_path).resolve() not in added
        ),
    ]
    sys.argv[:] = words
    os.chdir(cwd)
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
