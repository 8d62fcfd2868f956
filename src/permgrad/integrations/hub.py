"""Fitted models in repositories of the Hugging Face Hub: the files of ``model.save``,
pushed and loaded.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from permgrad.attribution.model import as_model
from permgrad.base.errors import InputError, warn_user
from permgrad.base.late import optional
from permgrad.base.stored import TIMES
from permgrad.models.estimators.kept_rows import count_rows
from permgrad.models.save.model_folders import ARRAYS, DESCRIPTION, WEIGHTS
from permgrad.models.save.saving import load

_INSTALL = "permgrad[hub]"


def push_to_hub(
    model: Any,
    repository: str,
    *,
    private: bool = True,
    keep_rows: bool = True,
    token: str | None = None,
) -> str:
    """Push a fitted model to a repository of the Hugging Face Hub.

    A model holds encoded rows of its training table. Whoever can read the repository
    can read these rows, so it is private unless you say otherwise. A warning counts
    them.

    Args:
        model: A fitted estimator, or a ``pg.Model`` of one.
        repository: The repository, ``"user/name"``. It is made if it does not exist.
        private: Whether a new repository is private.
        keep_rows: Whether encoded rows of the table go along. Without them,
            explanations of few rows need ``background=``.
        token: An access token. None: that of ``hf auth login``.

    Returns:
        The address of the commit.

    Raises:
        InputError: The model cannot be saved.
        EnvironmentProblem: huggingface_hub is not installed (``pip install
            'permgrad[hub]'``).

    Examples:
        >>> pg.integrations.push_to_hub(model, "my-name/my-model")  # doctest: +SKIP
    """
    model = as_model(model).model
    if not hasattr(model, "save"):
        hint = (
            "Pass a fitted estimator of permgrad, such as pg.load of a run's model "
            "folder."
        )
        raise InputError(
            f"{type(model).__name__} cannot be saved.", hint=hint, code="PG001"
        )
    api = optional("huggingface_hub", _INSTALL).HfApi(token=token)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        model.save(folder, keep_rows=keep_rows)
        api.create_repo(
            repo_id=repository, repo_type="model", private=private, exist_ok=True
        )
        if keep_rows:
            count = count_rows(model)
        else:
            count = 0
        if count:
            fact = (
                f"{count:,} encoded rows of your table go along, whose values can "
                "be read back."
            )
            warn_user(fact, "Pass keep_rows=False without them.")
        return str(
            api.upload_folder(
                repo_id=repository,
                folder_path=str(folder),
                commit_message="Add a model",
            )
        )


def load_from_hub(
    repository: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    device: Any = "auto",
) -> Any:
    """Load a fitted model from a repository of the Hugging Face Hub.

    The files hold weights, numbers and JSON. Nothing in them is executed.

    Args:
        repository: The repository, ``"user/name"``.
        revision: A branch, tag or commit. None: the newest.
        token: An access token for a private repository. None: that of ``hf auth
            login``.
        device: Where the network goes, as for ``pg.load``.

    Raises:
        InputError: The repository holds no model of permgrad, or a damaged one.
        EnvironmentProblem: huggingface_hub is not installed (``pip install
            'permgrad[hub]'``).

    Examples:
        >>> model = pg.integrations.load_from_hub("my-name/my-model")  # doctest: +SKIP
    """
    hub = optional("huggingface_hub", _INSTALL)
    files = [DESCRIPTION, ARRAYS, WEIGHTS, TIMES]
    cached = hub.snapshot_download(
        repository, revision=revision, token=token, allow_patterns=files
    )
    # Files of the cache are links, which a saved folder may not hold.
    with tempfile.TemporaryDirectory() as folder:
        for name in files:
            if (file := Path(cached, name)).is_file():
                shutil.copyfile(file, Path(folder, name))
        return load(folder, device=device)
