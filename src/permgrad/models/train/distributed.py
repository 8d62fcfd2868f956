"""Training on several devices: one process for each, on torch's process groups.

The processes run this module, nothing of the caller's script, so that notebooks work too. They share each batch. The
first alone judges epochs, shows progress and writes checkpoints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from permgrad.base.errors import EnvironmentProblem, InputError, PermgradError
from permgrad.models.devices import full_float32
from permgrad.models.train.guard import sheltered
from permgrad.models.train.learner import DivergenceError, Learner, Team, TrainingJob, TrainingOutcome

_TASK, _RESULT, _ERROR, _MEETING = "task.pickle", "result.pt", "error.json", "meeting"
#: What an error of a process is raised as.
_KINDS: dict[str, type[PermgradError]] = {"InputError": InputError, "DivergenceError": DivergenceError}
_POLL_SECONDS, _GRACE_SECONDS = 0.05, 5.0


def train_together(job: TrainingJob, kind: str, devices: int, threads: int) -> TrainingOutcome:
    """Start a process for each device, of ``kind`` ``"cpu"`` or ``"cuda"``, wait for them, and return the outcome."""
    with tempfile.TemporaryDirectory(prefix="permgrad-training-") as name:
        folder = Path(name)
        try:
            (folder / _TASK).write_bytes(pickle.dumps((job, kind, devices, threads)))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            problem = f"Training on several devices needs a network and rows that can be pickled: {error}"
            hint = "Define your own layouts and image methods in a module, or pass devices=1."
            raise InputError(problem, hint=hint, code="PG031") from error
        _wait(folder, devices)
        state = torch.load(folder / _RESULT, weights_only=True)
    return TrainingOutcome(**state)


def _wait(folder: Path, devices: int) -> None:
    """Run the processes to their end. When one fails, or we are interrupted, all end."""
    with contextlib.ExitStack() as stack:
        processes = []
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109 — a plain string
        for rank in range(devices):
            errors = stack.enter_context((folder / f"stderr-{rank}").open("wb"))
            process = subprocess.Popen(  # noqa: S603 — this Python, our module, our folder
                [sys.executable, "-m", "permgrad.models.train.distributed", str(folder), str(rank)],
                env={**os.environ, "PYTHONPATH": paths},
                # Closed when we end, however we end: a process that reads the end of it ends too.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=None if rank == 0 else errors,
            )
            stack.callback(_end, process)
            processes.append(process)
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(_POLL_SECONDS)
        failed = [rank for rank, process in enumerate(processes) if process.poll()]
        if failed:
            time.sleep(_POLL_SECONDS)  # the first error is on its way into its file
            _raise(folder, failed[0], processes[failed[0]].returncode)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process end: by the end of its input, else by force."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _raise(folder: Path, rank: int, code: int) -> None:
    written = sorted(folder.glob(f"*-{_ERROR}"))
    if written:
        error = json.loads(written[0].read_text(encoding="utf-8"))
        raise _KINDS.get(error["kind"], EnvironmentProblem)(*error["args"])
    lines = (folder / f"stderr-{rank}").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = f": {lines[-1][:300]}" if lines else ""
    problem = f"Process {rank} of a training on several devices ended with code {code}{last}"
    hint = "Start again (a checkpoint_folder keeps what was done), or pass devices=1."
    raise EnvironmentProblem(problem, hint=hint, code="PG065")


def main(folder: Path, rank: int) -> int:
    """Do this process's share of the task in a folder. End with the process that started it."""

    def listen() -> None:
        # Not sys.stdin: its lock, held here, would keep the process from ending.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    try:
        # Our own file, written a moment ago into a folder that nobody else may open.
        task = pickle.loads((folder / _TASK).read_bytes())  # noqa: S301
        outcome = _work(folder, rank, *task)
        if rank == 0:
            torch.save(dataclasses.asdict(outcome), folder / _RESULT)
    except Exception as error:  # noqa: BLE001 — told to the user by the process that started us
        if not isinstance(error, PermgradError):
            problem = f"Training on several devices failed in process {rank}: {type(error).__name__}: {error}"
            error = EnvironmentProblem(problem, hint="Pass devices=1 to train on one.", code="PG065")
        return _tell(folder, rank, error)
    return 0


def _tell(folder: Path, rank: int, error: PermgradError) -> int:
    temporary = folder / f"{rank}.tmp"
    temporary.write_text(json.dumps({"kind": type(error).__name__, "args": error.args}), encoding="utf-8")
    temporary.replace(folder / f"{rank}-{_ERROR}")
    return 1


def _work(folder: Path, rank: int, job: TrainingJob, kind: str, devices: int, threads: int) -> TrainingOutcome:
    cpu = kind == "cpu"
    device = torch.device("cpu") if cpu else torch.device("cuda", rank)
    if cpu:
        torch.set_num_threads(threads)
    else:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "gloo" if cpu else "nccl", init_method=(folder / _MEETING).as_uri(), rank=rank, world_size=devices
    )
    try:
        with sheltered(job.seed), full_float32():
            outcome = Learner(job, device, Team(rank, devices, device)).run()
    finally:
        torch.distributed.destroy_process_group()
    return dataclasses.replace(outcome, best_state={name: value.cpu() for name, value in outcome.best_state.items()})


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2])))
