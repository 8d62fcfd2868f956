import pytest

import permgrad as pg

wandb = pytest.importorskip("wandb")


def test_a_run_is_logged_offline(finished, tmp_path):
    identifier = pg.integrations.log_to_wandb(
        finished,
        init={
            "mode": "offline",
            "dir": tmp_path,
            "settings": wandb.Settings(silent=True),
        },
    )
    wandb.teardown()  # its service has then written everything
    [folder] = (tmp_path / "wandb").glob(f"offline-run-*-{identifier}")
    files = {
        path.relative_to(folder / "files").as_posix()
        for path in (folder / "files").rglob("*.*")
    }
    assert any(name.startswith("media/images/figures/permgrad_") for name in files)
    assert any(name.startswith("media/html/report_") for name in files)
    written = (folder / f"run-{identifier}.wandb").read_bytes()
    for name in (
        b"test.accuracy",
        b"epochs/train_loss",
        b"weights.safetensors",
        b"importance.csv",
    ):
        assert name in written
    assert wandb.run is None
