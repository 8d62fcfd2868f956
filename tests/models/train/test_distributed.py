"""Two processes share each batch and give what one gives, up to rounding; what dies, fails or refuses says so."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import permgrad as pg
from permgrad.imaging import Renderer, StoredLayout
from permgrad.models.estimators.settings import count_devices
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train import distributed
from permgrad.models.train.learner import DivergenceError, Team, TrainingJob, TrainingOptions
from permgrad.models.train.rows import Rows
from permgrad.models.train.training import train


def rows(count: int = 150) -> Rows:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32))
    return Rows(x, (x[:, 0] + x[:, 1] * x[:, 2] > 0).long(), torch.linspace(0.5, 1.5, count))


def network(**options) -> HybridNetwork:
    small = {"dropout": 0.0, "conv_filters": (4, 4), "dense_units": (8,), "fusion_units": (8,)}
    plain = {"normalization": "none", "conv_normalization": "none"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = rows().x
        renderer = Renderer(StoredLayout([[k, 2 * k] for k in range(5)], 10), x.amin(dim=0), x.amax(dim=0))
        return HybridNetwork(5, 2, {**small, **plain, **options}, renderer=renderer)


# 150 rows in batches of 32: the last has 22, of which each device takes 11.
OPTIONS = TrainingOptions(batch_size=32, max_epochs=3, averaging=0.9, refinement=True, patience=None)


@pytest.fixture(scope="module")
def alone():
    net = network()
    return net, train(TrainingJob(net, rows(), rows(40), OPTIONS, seed=1, progress=False))


def assert_close(own, reference):
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-4, atol=1e-6, msg=name)


def test_two_devices_are_one(alone, tmp_path):
    start, net = network(), network()
    before = (dict(os.environ), torch.get_rng_state())
    job = TrainingJob(net, rows(), rows(40), OPTIONS, seed=1, progress=False, checkpoint_folder=tmp_path)
    found = train(job, devices=2)
    assert dict(os.environ) == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert_close(net, alone[0])
    moved = max((own - old).abs().max() for own, old in zip(net.parameters(), start.parameters(), strict=True))
    assert moved > 1e-3, "nothing was learned, so nothing was compared"
    for name in ("train_loss", "validation_loss", "learning_rate"):
        own, reference = ([record[name] for record in result.history] for result in (found, alone[1]))
        np.testing.assert_allclose(own, reference, rtol=1e-5)
    # Of two processes one has written; one alone can go on from it, and finds the training finished.
    assert [file.name for file in tmp_path.iterdir()] == ["training.pt"]
    resumed = network()
    train(TrainingJob(resumed, rows(), rows(40), OPTIONS, seed=1, progress=False, checkpoint_folder=tmp_path))
    assert_close(resumed, net)


@pytest.mark.slow
def test_a_script_without_a_guard_on_files(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"]).assign(y=lambda own: own["a"] - own["b"])
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=40, index=False)
    text = """
        import os, sys
        sys.stderr.write(f"script runs in {os.getpid()}\\n")
        import permgrad as pg
        model = pg.HyNNRegressor(
            preset="ig-example", loss=None, network={"dropout": 0.0}, max_epochs=2, batch_size=32, random_state=0,
            devices=2, device="cpu", progress=False,
        ).fit_stream("t.parquet", "y", block_rows=100)
        model.save("model")
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    ran = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("script runs in") == 1
    assert "Initializing distributed" not in ran.stderr
    two = pg.load(tmp_path / "model")
    one = pg.HyNNRegressor(**{**two.get_params(deep=False), "devices": 1})
    one.fit_stream(tmp_path / "t.parquet", "y", block_rows=100)
    own, reference = (model.predict(frame[["a", "b", "c"]]) for model in (two, one))
    assert reference.std() > 0.01
    np.testing.assert_allclose(own, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are looked for in /proc")
def test_processes_end_with_the_one_that_asked(tmp_path):
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_distributed import TrainingJob, TrainingOptions, network, rows, train
        options = TrainingOptions(batch_size=16, max_epochs=100_000, patience=None)
        place = {str(tmp_path)!r}
        train(TrainingJob(network(), rows(), None, options, seed=0, progress=False, checkpoint_folder=place), devices=2)
    """)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    asking = subprocess.Popen([sys.executable, "-c", script], env=environment)

    def working() -> int:
        known = [_bytes(process / "cmdline") for process in Path("/proc").iterdir() if process.name.isdecimal()]
        return sum(b"permgrad.models.train.distributed" in command and bytes(tmp_path) in command for command in known)

    try:
        _until((tmp_path / "training.pt").exists)
        assert working() == 2
    finally:
        asking.kill()
        asking.wait()
    _until(lambda: working() == 0)
    # What it had done is there for one device to go on from.
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    assert len(state["history"]) >= 1


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it has ended
        return b""


def _until(holds, seconds: float = 300) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.1)


def test_an_error_in_a_process_is_told(tmp_path):
    assert distributed._tell(tmp_path, 1, DivergenceError("Training diverged", "Lower …", "PG041")) == 1
    with pytest.raises(DivergenceError, match=r"^Training diverged. Lower … \[PG041\]$"):
        distributed._raise(tmp_path, 1, 1)
    assert distributed._tell(tmp_path, 0, pg.EnvironmentProblem("No space")) == 1
    with pytest.raises(pg.EnvironmentProblem, match=r"^No space\.$"):
        distributed._raise(tmp_path, 0, 1)


def test_a_process_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(distributed.sys, "executable", "/bin/false")
    with pytest.raises(
        pg.EnvironmentProblem, match=r"Process \d of a training on several devices ended with code 1\. Start again"
    ):
        train(TrainingJob(network(), rows(), None, OPTIONS, seed=0, progress=False), devices=2)


def test_what_cannot_be_shared_is_refused():
    with pytest.raises(pg.InputError, match="on_epoch cannot be called with several devices"):
        train(TrainingJob(network(), rows(), None, OPTIONS, seed=0), devices=2, on_epoch=lambda record: None)
    strange = network()
    strange.strange = lambda: None
    with pytest.raises(pg.InputError, match="can be pickled"):
        train(TrainingJob(strange, rows(), None, OPTIONS, seed=0), devices=2)


@pytest.mark.parametrize("devices", [0, 1.5, True, "two", None])
def test_devices_are_checked(devices):
    with pytest.raises(
        pg.InputError, match=r"devices must be 'auto' or an integer of at least 1, got .*. Pass devices=1"
    ):
        pg.HyNNClassifier(devices=devices).fit([[0.0], [1.0]], [0, 1])


def test_numbers_of_devices(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    cpu = torch.device("cpu")
    assert (count_devices("auto", cpu), count_devices(np.int64(3), cpu)) == (1, 3)
    assert count_devices(1, torch.device("cpu", 0)) == 1
    with pytest.raises(pg.InputError, match="names one device"):
        count_devices(2, torch.device("cpu", 0))
    with pytest.raises(pg.InputError, match="devices must be at most"):
        count_devices(torch.cuda.device_count() + 1, torch.device("cuda"))


def test_two_devices_need_nothing_more_than_torch():
    cpu = torch.device("cpu")
    assert [count_devices(devices, cpu) for devices in (2, "auto", 1)] == [2, 1, 1]


def test_shares_of_a_batch():
    numbers = torch.arange(10)
    batch = Rows(numbers[:, None].float(), numbers, torch.ones(10))
    shares = [Team(rank, 3, torch.device("cpu")).share(batch).y.tolist() for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert sum(Team(rank, 3, torch.device("cpu")).weight(len(own), 10) for rank, own in enumerate(shares)) == 1
    few = Team(1, 3, torch.device("cpu"))
    # Too few for two each: all compute the whole batch, and each counts a third.
    assert few.share(batch.take(slice(5))).y.tolist() == [0, 1, 2, 3, 4]
    assert few.weight(5, 5) == 1 / 3


def test_the_module_is_where_processes_look_for_it():
    assert Path(distributed.__file__).name == "distributed.py"
    assert distributed.__name__ == "permgrad.models.train.distributed"
