import json

import pytest

import permgrad as pg

mlflow = pytest.importorskip("mlflow")


def test_a_run_is_logged_with_its_metrics_curves_figures_report_and_model(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    address = (tmp_path / "mlruns").as_uri()
    before = mlflow.get_tracking_uri()
    identifier = pg.integrations.log_to_mlflow(
        finished, tracking_uri=address, experiment="ill"
    )
    client = mlflow.MlflowClient(tracking_uri=address)
    run = client.get_run(identifier)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert run.data.metrics["test.accuracy"] == metrics["test"]["accuracy"] > 0.5
    assert run.data.params["preset"] == "fast"
    losses = client.get_metric_history(identifier, "epochs.train_loss")
    assert [loss.step for loss in losses] == list(range(1, len(losses) + 1))
    assert len(losses) > 1
    folder = tmp_path / "back"
    client.download_artifacts(identifier, "", str(folder.mkdir() or folder))
    assert {"report.html", "importance.csv", "model", "figures"} <= {
        path.name for path in folder.iterdir()
    }
    assert (folder / "figures" / "permgrad.png").read_bytes().startswith(b"\x89PNG")
    assert list(pg.load(folder / "model").classes_) == ["no", "yes"]
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(pg.InputError, match="not a run's folder"):
        pg.integrations.log_to_mlflow(tmp_path)
