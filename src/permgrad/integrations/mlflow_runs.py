"""Finished runs in MLflow."""

from __future__ import annotations

import os
import re

from permgrad.base.late import optional
from permgrad.integrations.records import RunRecord

#: MLflow's names of metrics and parameters.
_NO_NAME = re.compile(r"[^\w\-. /]")


def log_to_mlflow(
    run: str | os.PathLike[str],
    *,
    experiment: str = "permgrad",
    tracking_uri: str | None = None,
    name: str | None = None,
) -> str:
    """Log a finished ``permgrad run`` to MLflow: parameters, metrics, training curves,
    figures, report and model.

    MLflow's own settings and active run are not changed.

    Args:
        run: The folder of the run.
        experiment: The experiment. It is made if there is none of that name.
        tracking_uri: Where MLflow keeps its runs, for example a server's address. None:
            as MLflow is set.
        name: The run's name in MLflow. None: the name of the folder.

    Returns:
        The identifier of the run in MLflow.

    Raises:
        InputError: ``run`` is not the folder of a finished run.
        EnvironmentProblem: MLflow is not installed (``pip install
            'permgrad[mlflow]'``).

    Examples:
        >>> pg.integrations.log_to_mlflow(
        ...     "permgrad-runs/heloc-0", experiment="credit"
        ... )  # doctest: +SKIP
    """
    record = RunRecord.read(run)
    mlflow = optional("mlflow", "permgrad[mlflow]")
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    existing = client.get_experiment_by_name(experiment)
    if existing is None:
        experiment_identifier = client.create_experiment(experiment)
    else:
        experiment_identifier = existing.experiment_id
    identifier = str(
        client.create_run(
            experiment_identifier, run_name=name or record.name
        ).info.run_id
    )
    status = "FAILED"
    try:
        for key, value in record.parameters.items():
            client.log_param(identifier, _NO_NAME.sub("_", key), value)
        for key, number in record.metrics.items():
            client.log_metric(identifier, _NO_NAME.sub("_", key), number)
        for epoch, numbers in record.epochs():
            points = [
                mlflow.entities.Metric(f"epochs.{key}", number, 0, epoch)
                for key, number in numbers.items()
            ]
            client.log_batch(identifier, metrics=points)
        for method, picture in record.pictures():
            client.log_image(identifier, picture, f"figures/{method}.png")
        for path in record.files():
            client.log_artifact(identifier, str(path))
        client.log_artifacts(identifier, str(record.folder / "model"), "model")
        status = "FINISHED"
    finally:
        client.set_terminated(identifier, status)
    return identifier
