"""Fitted models in repositories of the Hugging Face Hub: the files of ``model.save`` and a model card."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from permgrad.assess.assessment import PLACES
from permgrad.assess.store import Store
from permgrad.base import __version__
from permgrad.base.checks import check_path
from permgrad.base.errors import InputError, listed, warn_user
from permgrad.base.files import atomic_path, writing
from permgrad.base.optional import optional
from permgrad.base.stored import TIMES
from permgrad.integrations.records import RunRecord
from permgrad.models.estimators.kept_rows import rows_in, without_rows
from permgrad.models.save.saving import load
from permgrad.models.save.writing import ARRAYS, DESCRIPTION, WEIGHTS
from permgrad.runs.requests import ReportRequest
from permgrad.runs.run.assessing import REPORT, look_of, rewrite_page

INSTALL = "permgrad[hub]"
CARD = "README.md"
#: Metrics in the card, where they exist, in this order.
_METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "rmse", "mae", "r2")


def save_for_hub(
    model: Any,
    folder: str | os.PathLike[str],
    *,
    license: str | None = None,  # noqa: A002 — the card's word
    keep_rows: bool = True,
) -> Path:
    """Write a folder in the form of a Hub repository: the model's files and a model card.

    Args:
        model: A fitted estimator, or the folder of a finished ``permgrad run``, whose test metrics, report and
            importances are then added.
        folder: A new or empty folder.
        license: The identifier of a licence for the card, for example ``"apache-2.0"``.
        keep_rows: Whether rows of the table go along: encoded ones in the model, and in a run's page as they were. The
            card counts them. Without them, explanations of few rows need ``background=``.

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
        fitted.save(temporary, keep_rows=keep_rows)
        for path in record.files() if record else ():
            if path.suffix in (".html", ".csv"):
                (temporary / path.name).write_bytes(path.read_bytes())
        model = fitted if keep_rows else without_rows(fitted)
        kept, held = rows_in(model)
        beside = f", and {held:,} that were held out of training, for intervals" if held else ""
        words = f"The model holds {kept + held:,} encoded rows of its training table, whose values can be read back"
        rows = [f"{words}: {kept:,} as the background of explanations{beside}."] if kept + held else []
        if record:
            look = look_of(record.record, ReportRequest(folder=Path(), keep_rows=keep_rows), None)
            rows += _rows_shown(record.folder) if look["keep_rows"] else []
            if not keep_rows:
                rewrite_page(record.folder, record.record, look, positive=None, out=temporary / REPORT)
        text = model_card(fitted, {} if record is None else record.metrics, license=license, rows=rows)
        (temporary / CARD).write_text(text, encoding="utf-8")
    if rows:
        warn_user(f"Rows of your table go along. {' '.join(rows)}", "Pass keep_rows=False without them.")
    return target


def push_to_hub(
    model: Any,
    repository: str,
    *,
    private: bool = True,
    license: str | None = None,  # noqa: A002 — the card's word
    keep_rows: bool = True,
    token: str | None = None,
    message: str = "Add a model of permgrad",
) -> str:
    """Push a fitted model to a repository of the Hugging Face Hub, with a model card.

    A model holds encoded rows of its training table, and the page of a run rows as they were. Whoever can read the
    repository can read these rows, so it is private unless you say otherwise. A warning counts them.

    Args:
        model: A fitted estimator, or the folder of a finished ``permgrad run``.
        repository: The repository, ``"user/name"``. It is made if it does not exist.
        private: Whether a new repository is private.
        license: The identifier of a licence for the card.
        keep_rows: Whether rows of the table go along, as for ``pg.save_for_hub``.
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
        folder = save_for_hub(model, Path(parent) / "model", license=license, keep_rows=keep_rows)
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
        files = [DESCRIPTION, ARRAYS, WEIGHTS, TIMES]
        folder = hub.snapshot_download(str(repository), revision=revision, token=token, allow_patterns=files)
    return load(folder, device=device)


def _rows_shown(folder: Path) -> list[str]:
    """Return a sentence on the rows that the page of a run shows, if it does."""
    shown = Store(folder).get(*PLACES["listed"])
    beside = f", and {len(shown.similar.numbers):,} training rows like them" if shown and shown.similar else ""
    words = f"The page {REPORT} holds {0 if shown is None else len(shown.numbers):,} test rows"
    return [f"{words} with their values and predictions{beside}."] if shown else []


def model_card(
    model: Any,
    metrics: Mapping[str, float],
    *,
    license: str | None = None,  # noqa: A002 — the card's word
    rows: Sequence[str] = (),
) -> str:
    """Return the text of a model card; ``metrics`` are those of a run, ``rows`` sentences on rows that go along."""
    classes = [str(one) for one in getattr(model, "classes_", ())]
    names = [str(one) for one in getattr(model, "feature_names_in_", ())]
    task = f"tabular-{'classification' if classes else 'regression'}"
    head = {"library_name": "permgrad", "pipeline_tag": task, "tags": ["permgrad", "tabular"]}
    head |= {"license": license} if license else {}
    # JSON is YAML too, and quotes whatever needs it.
    lines = ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", ""]
    lines += ["# A model of permgrad", "", f"A `{type(model).__name__}`, saved by permgrad {__version__}.", ""]
    if classes:
        lines += [f"- Classes: {_listed(classes)}"]
    lines += [f"- Columns: {_listed(names)}"] if names else []
    lines += [*(f"- {sentence}" for sentence in rows or ["No rows of its training table go along."]), ""]
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
