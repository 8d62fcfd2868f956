"""Fitted models in repositories of the Hugging Face Hub: the files of ``model.save`` and a model card."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import permgrad
from permgrad.base.checks import check_path
from permgrad.base.errors import InputError, listed
from permgrad.base.files import atomic_path, writing
from permgrad.base.optional import optional
from permgrad.integrations.records import RunRecord
from permgrad.models.save.saving import load
from permgrad.models.save.writing import ARRAYS, DESCRIPTION, WEIGHTS

INSTALL = "permgrad[hub]"
CARD = "README.md"
#: Metrics in the card, where they exist, in this order.
_METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "rmse", "mae", "r2")


def save_for_hub(model: Any, folder: str | os.PathLike[str], *, license: str | None = None) -> Path:  # noqa: A002 — the card's word
    """Write a folder in the form of a Hub repository: the model's files and a model card.

    Args:
        model: A fitted estimator, or the folder of a finished ``permgrad run``, whose test metrics, report and
            importances are then added.
        folder: A new or empty folder.
        license: The identifier of a licence for the card, for example ``"apache-2.0"``.

    Returns:
        The folder. ``pg.load_from_hub`` reads it.

    Raises:
        InputError: The model cannot be saved, or the folder is not empty.

    Examples:
        >>> import numpy as np, permgrad as pg, tempfile
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     repository = pg.save_for_hub(model, f"{parent}/model")
        ...     bool((pg.load_from_hub(repository).predict(X) == model.predict(X)).all())
        True
    """
    target = check_path("folder", folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} is not empty.", hint="Choose a new folder.", code="PG050")
    record = RunRecord.read(model) if isinstance(model, (str, os.PathLike)) else None
    fitted = load(record.folder / "model", device="cpu") if record else model
    if not hasattr(fitted, "save"):
        hint = "Pass a fitted estimator of permgrad, or the folder of a run."
        raise InputError(f"{type(fitted).__name__} cannot be saved.", hint=hint, code="PG001")
    with writing(target, "choose another folder"), atomic_path(target, folder=True) as temporary:
        fitted.save(temporary)
        for path in record.files() if record else ():
            if path.suffix in (".html", ".csv"):
                (temporary / path.name).write_bytes(path.read_bytes())
        text = model_card(fitted, {} if record is None else record.metrics, license=license)
        (temporary / CARD).write_text(text, encoding="utf-8")
    return target


def push_to_hub(
    model: Any,
    repository: str,
    *,
    private: bool = True,
    license: str | None = None,  # noqa: A002 — the card's word
    token: str | None = None,
    message: str = "Add a model of permgrad",
) -> str:
    """Push a fitted model to a repository of the Hugging Face Hub, with a model card.

    A saved model holds up to 1,000 encoded rows of its training table, as the background of explanations. Whoever can
    read the repository can read these rows, so the repository is private unless you say otherwise.

    Args:
        model: A fitted estimator, or the folder of a finished ``permgrad run``.
        repository: The repository, ``"user/name"``. It is made if it does not exist.
        private: Whether a new repository is private.
        license: The identifier of a licence for the card.
        token: An access token. None: that of ``hf auth login``.
        message: The message of the commit.

    Returns:
        The address of the commit.

    Raises:
        InputError: The model cannot be saved.
        EnvironmentProblem: huggingface_hub is not installed (``pip install 'permgrad[hub]'``).

    Examples:
        >>> pg.push_to_hub(model, "my-name/my-model")  # doctest: +SKIP
    """
    api = optional("huggingface_hub", INSTALL).HfApi(token=token)
    with tempfile.TemporaryDirectory() as parent:
        folder = save_for_hub(model, Path(parent) / "model", license=license)
        api.create_repo(repo_id=repository, repo_type="model", private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=str(folder), commit_message=message))


def load_from_hub(
    repository: str | os.PathLike[str], *, revision: str | None = None, token: str | None = None, device: Any = "auto"
) -> Any:
    """Load a fitted model from a repository of the Hugging Face Hub, or from a folder in its form.

    The files hold weights, numbers and JSON. Nothing in them is executed.

    Args:
        repository: The repository, ``"user/name"``, or the path of a folder.
        revision: A branch, tag or commit. None: the newest.
        token: An access token for a private repository. None: that of ``hf auth login``.
        device: Where the network goes, as for ``pg.load``.

    Raises:
        InputError: The repository holds no model of permgrad, or a damaged one.
        EnvironmentProblem: huggingface_hub is not installed (``pip install 'permgrad[hub]'``).

    Examples:
        >>> import numpy as np, permgrad as pg, tempfile
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     folder = pg.save_for_hub(model, f"{parent}/model")
        ...     pg.load_from_hub(folder).predict(X[:2]).shape
        (2,)
    """
    folder = Path(repository)
    if not folder.is_dir():
        hub = optional("huggingface_hub", INSTALL)
        files = [DESCRIPTION, ARRAYS, WEIGHTS]
        folder = hub.snapshot_download(str(repository), revision=revision, token=token, allow_patterns=files)
    return load(folder, device=device)


def model_card(model: Any, metrics: Mapping[str, float], *, license: str | None = None) -> str:  # noqa: A002
    """Return the text of a model card; ``metrics`` are those of a run."""
    classes = [str(one) for one in getattr(model, "classes_", ())]
    names = [str(one) for one in getattr(model, "feature_names_in_", ())]
    task = f"tabular-{'classification' if classes else 'regression'}"
    head = {"library_name": "permgrad", "pipeline_tag": task, "tags": ["permgrad", "tabular"]}
    head |= {"license": license} if license else {}
    # JSON is YAML too, and quotes whatever needs it.
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", ""]
    lines += ["# A model of permgrad", "", f"A `{type(model).__name__}`, saved by permgrad {permgrad.__version__}.", ""]
    if classes:
        lines += [f"- Classes: {_listed(classes)}"]
    lines += [f"- Columns: {_listed(names)}"] if names else []
    rows = len(next(iter(model.background_.values())) if isinstance(model.background_, Mapping) else model.background_)
    lines += [f"- The model holds {rows:,} encoded rows of its training table as the background of explanations.", ""]
    scores = [(name, metrics[f"test.{name}"]) for name in _METRICS if f"test.{name}" in metrics]
    if scores:
        count = int(metrics["rows.test"])
        lines += [f"## Metrics on {count:,} test rows", "", "| metric | value |", "|---|---|"]
        lines += [*(f"| {name} | {value:.4g} |" for name, value in scores), ""]
    lines += ["## Use", "", "```python", "import permgrad as pg", "", 'model = pg.load_from_hub("user/name")']
    lines += ["model.predict(X)", "pg.explain(model, X).ranking()", "```", ""]
    return "\n".join(lines)


def _listed(names: list[str]) -> str:
    """Return names as code; a line break or a backtick in a name would end it."""
    shown = [" ".join(name.replace("`", "'").split()) for name in names]
    return listed([f"`{name}`" for name in shown], 50)
