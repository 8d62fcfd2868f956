"""Finished runs in Weights & Biases."""

from __future__ import annotations

import os
from typing import Any

from permgrad.base.late import optional
from permgrad.integrations.records import RunRecord


def log_to_wandb(
    run: str | os.PathLike[str],
    *,
    project: str = "permgrad",
    name: str | None = None,
    init: dict[str, Any] | None = None,
) -> str:
    """Log a finished ``permgrad run`` to Weights & Biases: settings, metrics, curves,
    figures, report and model.

    Args:
        run: The folder of the run.
        project: The project.
        name: The run's name there. None: the name of the folder.
        init: Further arguments of ``wandb.init``, for example ``{"mode": "offline",
            "dir": "logs"}``: files are written to this folder, and nothing is sent.

    Returns:
        The identifier of the run in Weights & Biases.

    Raises:
        InputError: ``run`` is not the folder of a finished run.
        EnvironmentProblem: wandb is not installed (``pip install 'permgrad[wandb]'``).

    Examples:
        >>> pg.integrations.log_to_wandb(
        ...     "permgrad-runs/heloc-0", init={"mode": "offline"}
        ... )  # doctest: +SKIP
    """
    record = RunRecord.read(run)
    wandb = optional("wandb", "permgrad[wandb]")
    with wandb.init(
        project=project,
        name=name or record.name,
        config=record.parameters,
        **(init or {}),
    ) as logged:
        for epoch, numbers in record.epochs():
            logged.log(
                {f"epochs/{key}": number for key, number in numbers.items()}, step=epoch
            )
        logged.summary.update(record.metrics)
        pictures = {}
        for method, picture in record.pictures():
            pictures[f"figures/{method}"] = wandb.Image(picture)
        logged.log(
            {
                **pictures,
                "report": wandb.Html(str(record.folder / "report.html"), inject=False),
            }
        )
        model = wandb.Artifact(f"model-{logged.id}", type="model")
        model.add_dir(str(record.folder / "model"))
        for path in record.files():
            model.add_file(str(path), name=f"run/{path.name}")
        logged.log_artifact(model)
        return str(logged.id)
