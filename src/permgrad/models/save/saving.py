"""Loading fitted models. Nothing executes on load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Any

from permgrad.base.checks import check_choice, check_kind, check_path
from permgrad.base.errors import InputError, error_in_words, shown, turned
from permgrad.base.folders import DAMAGE
from permgrad.base.near_names import with_near_names
from permgrad.base.stored import is_intact
from permgrad.models.save.model_folders import DESCRIPTION, damaged, read_description

#: What reads a model, by the kind in its description. Networks alone load torch.
_NETWORKS = "permgrad.models.save.networks"
_OTHERS = dict.fromkeys(
    ("TableClassifier", "TableRegressor"), "permgrad.evaluation.baselines.table_model"
)
#: What code of the user's own may be for, and the argument of the estimator that was
#: it.
_ENCODERS = {
    "image": "an image_encoder",
    "text": "a text_encoder",
    "layout": "a layout",
}


@with_near_names
def load(
    folder: str | os.PathLike[str],
    *,
    encoders: Mapping[str, Any] | None = None,
    device: Any = "auto",
) -> Any:
    """Read a fitted estimator that ``save`` wrote. Its predictions are the same.

    It reads rows as ``permgrad predict`` does: columns by name, in any order, and
    records as a list of dicts. Unknown columns are left out with a warning, and cells
    that cannot be read count as missing. No error has a value of a row.

    Args:
        folder: the model's folder, or that of the run it is in.
        encoders: code of the user's own that the model was fitted with, as code is
            never stored: ``"image"`` for its ``image_encoder``, ``"text"`` for its
            ``text_encoder``, ``"layout"`` for the callable ``X -> images`` or the
            TINTOlib method that was its ``layout``.
        device: where the network goes: ``"auto"``, ``"cpu"``, ``"cuda"`` (or
            ``"gpu"``), ``"mps"``.

    Raises:
        InputError: The folder is not a model. A file is missing, damaged, holds a
            pickle, or is of a newer version. The model needs one of the ``encoders``,
            or does not use it. The device cannot be used.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from permgrad import HyNNRegressor
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> model = HyNNRegressor(preset="fast", max_epochs=1, random_state=0)
        >>> model = model.fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     model.save(f"{parent}/model")
        ...     bool((load(f"{parent}/model").predict(X) == model.predict(X)).all())
        True
    """
    model = load_trusting(folder, encoders=encoders, device=device)
    model.by_name_ = True
    return model


def load_trusting(
    folder: str | os.PathLike[str],
    *,
    encoders: Mapping[str, Any] | None = None,
    device: Any = "auto",
    trust: Sequence[str] = (),
) -> Any:
    """Do what ``load`` does.

    ``trust``: types of the user's own estimator that skops may load, too.
    """
    source = check_path("folder", folder)
    if not (device is None or (isinstance(device, str) and device in ("auto", "cpu"))):
        from permgrad.models.estimators.settings import choose_device  # loads torch

        choose_device(device)
    if (
        not (source / DESCRIPTION).exists()
        and (source / "model" / DESCRIPTION).exists()
    ):
        source /= "model"  # of a run
    description = read_description(source)
    user_code = _checked_encoders(encoders)
    if not is_intact(description):
        raise damaged(source / DESCRIPTION, "its seal differs from its content")
    _check_used(user_code, description)
    reader = _OTHERS.get(str(description.get("estimator")), _NETWORKS)
    with _read_as_said(source):
        return import_module(reader).restore(
            source, description, user_code=user_code, device=device, trust=trust
        )


def _checked_encoders(encoders: Any) -> dict[str, Any]:
    """Return the user's own code by what it is for. Refuse other names."""
    example = "Pass for example encoders={'text': function}."
    check_kind("encoders", encoders, (Mapping, NoneType), "None or a mapping", example)
    for encoder_name in encoders or {}:
        check_choice("encoder in encoders", encoder_name, _ENCODERS)
    checked_encoders: dict[str, Any] = {}
    for given_name, value in (encoders or {}).items():
        if value is not None:
            checked_encoders[given_name] = value
    return checked_encoders


def _check_used(user_code: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    """Refuse code of the user's own that a model does not need."""
    drawn = description.get("renderer")
    is_used = {
        "layout": isinstance(drawn, Mapping) and drawn.get("kind") == "foreign",
        "image": _has_own_encoder(description),
        "text": bool(description.get("own_text_encoder")),
    }
    for unused_name in (code_name for code_name in user_code if not is_used[code_name]):
        whose = f"models fitted with {_ENCODERS[unused_name]} of the user's own"
        problem = (
            f"encoders[{unused_name!r}] is only for {whose}, got "
            f"{shown(user_code[unused_name])}"
        )
        raise InputError(problem, hint="Call pg.load(folder).", code="PG004")


def _read_as_said(source: Path) -> AbstractContextManager[None]:
    """Say which description does not say what its version says, of the errors that this
    leads to in the body.
    """
    which = f"Part of {DESCRIPTION} in {source} is missing or damaged"
    return turned(
        lambda error: InputError(
            f"{which} ({error_in_words(error)})", "Save the model again.", "PG052"
        ),
        *DAMAGE,
    )


def _has_own_encoder(description: Mapping[str, Any]) -> bool:
    columns = description.get("images_of_columns")
    return isinstance(columns, Mapping) and any(
        isinstance(column_content, Mapping) and column_content.get("encoder") == "own"
        for column_content in columns.values()
    )
