"""What a run's folder tells MLflow and Weights & Biases: parameters, metrics, training, figures and files."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from permgrad.attribution.explanation import Explanation
from permgrad.base.checks import check_path, is_number
from permgrad.base.optional import optional
from permgrad.base.stored import read_json
from permgrad.runs.folder.documents import METRICS
from permgrad.runs.folder.folder import RECORD, finished_record

#: Longest text of a parameter.
_MOST = 250


@dataclass(frozen=True)
class RunRecord:
    """A finished run: ``metrics`` are plain numbers such as ``test.accuracy``, ``history`` is one line per epoch."""

    folder: Path
    record: dict[str, Any]
    parameters: dict[str, str]
    metrics: dict[str, float]
    history: pd.DataFrame

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> RunRecord:
        """Read the folder of ``permgrad run``.

        Raises:
            InputError: It is no folder of a run, or the run is not finished.
        """
        path = check_path("run", folder)
        record = finished_record(path)
        parameters = {
            name: str(value)[:_MOST] for name, value in record["configuration"].items() if value not in (None, [], {})
        }
        metrics = dict(_numbers(read_json(path / METRICS)))
        trained = path / "history.csv"  # only networks have one
        history = pd.read_csv(trained) if trained.is_file() else pd.DataFrame({"epoch": []})
        return cls(path, record, parameters, metrics, history)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def epochs(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield each epoch with its losses and learning rate."""
        for line in self.history.to_dict("records"):
            numbers = {str(name): float(value) for name, value in line.items() if math.isfinite(value)}
            yield int(numbers.pop("epoch")), numbers

    def pictures(self) -> Iterator[tuple[str, Image.Image]]:
        """Yield the plot of each explanation, by the name of its method."""
        for path in sorted((self.folder / "explanations").glob("*/explanation.json")):
            file = io.BytesIO()
            Explanation.load(path.parent).plot().savefig(file, format="png")
            yield path.parent.name, Image.open(file, formats=("PNG",))

    def files(self) -> list[Path]:
        """Return the report, the importances and the metrics."""
        names = ("report.html", "importance.csv", "metrics.json", RECORD)
        return [self.folder / name for name in names if (self.folder / name).is_file()]


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of ``metrics.json`` that describe the model and its baselines."""
    parts = {name: metrics[name] for name in ("rows", "validation", "test")}
    parts |= {f"baselines.{name}": scores for name, scores in metrics["baselines"].items()}
    for part, scores in parts.items():
        for name, value in scores.items():
            if is_number(value) and math.isfinite(value):
                yield f"{part}.{name}", float(value)


def log_to_wandb(
    run: str | os.PathLike[str], *, project: str = "permgrad", name: str | None = None, **options: Any
) -> str:
    """Log a finished ``permgrad run`` to Weights & Biases: settings, metrics, curves, figures, report and model.

    Args:
        run: The folder of the run.
        project: The project.
        name: The run's name there. None: the name of the folder.
        **options: Further arguments of ``wandb.init``, for example ``mode="offline"`` (files are written to a folder
            and nothing is sent) and ``dir``, that folder.

    Returns:
        The identifier of the run in Weights & Biases.

    Raises:
        InputError: ``run`` is not the folder of a finished run.
        EnvironmentProblem: wandb is not installed (``pip install 'permgrad[wandb]'``).

    Examples:
        >>> pg.log_to_wandb("permgrad-runs/heloc-0", project="credit", mode="offline")  # doctest: +SKIP
    """
    record = RunRecord.read(run)
    wandb = optional("wandb", "permgrad[wandb]")
    with wandb.init(project=project, name=name or record.name, config=record.parameters, **options) as logged:
        for epoch, numbers in record.epochs():
            logged.log({f"epochs/{key}": number for key, number in numbers.items()}, step=epoch)
        logged.summary.update(record.metrics)
        pictures = {f"figures/{method}": wandb.Image(picture) for method, picture in record.pictures()}
        logged.log({**pictures, "report": wandb.Html(str(record.folder / "report.html"), inject=False)})
        model = wandb.Artifact(f"model-{logged.id}", type="model")
        model.add_dir(str(record.folder / "model"))
        for path in record.files():
            model.add_file(str(path), name=f"run/{path.name}")
        logged.log_artifact(model)
        return str(logged.id)


#: MLflow's names of metrics and parameters.
_NO_NAME = re.compile(r"[^\w\-. /]")


def log_to_mlflow(
    run: str | os.PathLike[str],
    *,
    experiment: str = "permgrad",
    tracking_uri: str | None = None,
    name: str | None = None,
) -> str:
    """Log a finished ``permgrad run`` to MLflow: parameters, metrics, training curves, figures, report and model.

    MLflow's own settings and active run are not changed.

    Args:
        run: The folder of the run.
        experiment: The experiment. It is made if there is none of that name.
        tracking_uri: Where MLflow keeps its runs, for example a server's address. None: as MLflow is set.
        name: The run's name in MLflow. None: the name of the folder.

    Returns:
        The identifier of the run in MLflow.

    Raises:
        InputError: ``run`` is not the folder of a finished run.
        EnvironmentProblem: MLflow is not installed (``pip install 'permgrad[mlflow]'``).

    Examples:
        >>> pg.log_to_mlflow("permgrad-runs/heloc-0", experiment="credit")  # doctest: +SKIP
    """
    record = RunRecord.read(run)
    mlflow = optional("mlflow", "permgrad[mlflow]")
    client = mlflow.MlflowClient(tracking_uri=tracking_uri)
    existing = client.get_experiment_by_name(experiment)
    place = client.create_experiment(experiment) if existing is None else existing.experiment_id
    identifier = str(client.create_run(place, run_name=name or record.name).info.run_id)
    status = "FAILED"
    try:
        for key, value in record.parameters.items():
            client.log_param(identifier, _NO_NAME.sub("_", key), value)
        for key, number in record.metrics.items():
            client.log_metric(identifier, _NO_NAME.sub("_", key), number)
        for epoch, numbers in record.epochs():
            points = [mlflow.entities.Metric(f"epochs.{key}", number, 0, epoch) for key, number in numbers.items()]
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
