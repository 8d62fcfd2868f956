"""From the arguments of ``pg.explain`` to a ``Request``: the subject, its rows and its players, for any model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.attribution.arguments import (
    Arguments,
    resolve_loss,
    resolve_options,
    resolve_positive,
    resolve_scope,
    resolve_targets,
)
from permgrad.attribution.method import Method, Request, Scope, methods
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.conditional import check_conditional
from permgrad.attribution.subject.hybrid import HybridSubject
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, listed
from permgrad.base.random import resolve_seed
from permgrad.data.weights import check_weights
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

Tensors = tuple[Tensor, ...]

#: Options that describe a network, not the method, and that of any rows.
NETWORK_OPTIONS = ("head", "output_kind", "task", "class_names", "layer", "segments", "row_offset")
#: From this many explained rows on they serve as their own background.
_OWN_BACKGROUND = 200


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them: encoded once, for many calls with parts of a longer table."""

    rows: npt.NDArray[np.float32]  # ``(donors, encoded)``
    kind: str  # what ``meta["background"]["kind"]`` will say


def find_method(method: Any) -> tuple[Method, str]:
    """Return a method and its name: a registered one, or a Captum object behind the same face."""
    if isinstance(method, str):
        return methods.get(method)(), method
    adapted = CaptumMethod(method)
    return adapted, adapted.name


def build_request(arguments: Arguments, chosen: Method, name: str) -> Request:
    """Check and resolve every argument."""
    model = arguments.model
    if not isinstance(model, (HyNNClassifier, HyNNRegressor, nn.Module)):
        raise InputError(
            "model must be a fitted HyNNClassifier or HyNNRegressor, or a torch.nn.Module, however: it is a "
            f"{type(model).__module__}.{type(model).__qualname__}; fit one of permgrad's estimators on "
            "the same table, or wrap the prediction in a torch.nn.Module"
        )
    network = isinstance(model, nn.Module)
    # A class activation map has a layer of its own: the one that it reads.
    of_rows = [key for key in NETWORK_OPTIONS if key not in chosen.options] if network else ["row_offset"]
    settings = {key: value for key, value in arguments.options.items() if key in of_rows}
    hint = f"; for a network also: {', '.join(NETWORK_OPTIONS)}" if network else ""
    of_method = {key: value for key, value in arguments.options.items() if key not in settings}
    options = resolve_options(chosen, name, of_method, hint=hint)
    scope = resolve_scope(chosen, name, arguments.scope)
    rows = _read_network(arguments, name, scope, settings) if network else _read_table(arguments, scope, settings)
    row_offset, shared = settings.get("row_offset", 0), rows["donors"] is rows["inputs"]
    if not is_whole(row_offset) or row_offset < 0:
        raise InputError(
            "row_offset is the number of the first row explained within a longer table, "
            f"however: row_offset={row_offset!r}; pass an integer of at least 0"
        )
    if row_offset and shared:
        raise InputError(
            "row_offset explains one part of a longer table, so that donors must not come from the part itself, "
            f"however: row_offset={row_offset} and background=None; pass the same background= for every part"
        )
    subject, count, weight = rows["subject"], len(rows["inputs"][0]), arguments.sample_weight
    y = None if arguments.y is None else subject.encode_target(arguments.y, count)
    positive = resolve_positive(subject, arguments.positive, y)
    targets = resolve_targets(subject, arguments.target)
    if subject.task == "regression" and subject.count > 1:
        subject.chosen = targets
    return Request(
        **rows,
        scope=scope,
        options=options,
        row_offset=int(row_offset),
        y=y,
        positive=positive,
        targets=targets,
        loss=resolve_loss(subject, arguments.loss),
        sample_weight=None if weight is None else check_weights(weight, count),
        confidence=float(arguments.confidence),
        n_repeats=int(arguments.n_repeats),
        seed=resolve_seed(arguments.random_state),
        **{
            name: getattr(arguments, name)
            for name in ("output", "level", "scoring", "sampling", "batch_size", "progress")
        },
    )


def _own_background(inputs: Tensors, donors: Tensors, scope: Scope, settings: Mapping[str, Any]) -> Tensors:
    """Return the background, which is ``inputs`` itself where the rows explained were given as their own background.

    Not where they are one part of a longer table: they draw the donors that they draw among all of it.
    """
    same = len(inputs[0]) > 1 and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b.to(a.device)))
        for a, b in zip(donors, inputs, strict=True)
    )
    return inputs if same and scope == "global" and "row_offset" not in settings else donors


# ---- a torch network -------------------------------------------------------------------------------------------------


def _read_network(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    outputs = {key: settings.get(key) for key in ("head", "output_kind", "task", "class_names")}
    subject = NetworkSubject(arguments.model, arguments.inputs, arguments.y, **outputs)
    inputs, layer, segments = subject.inputs, settings.get("layer"), settings.get("segments")
    if arguments.sampling == "conditional":
        check_conditional(name, subject.input_names, inputs, layer)
    donors = inputs
    if arguments.background is not None:
        donors = _own_background(inputs, subject.read(arguments.background), scope, settings)
    subject.settle(None if donors is inputs else donors)
    if layer is not None:
        subject, inputs, donors, space = at_layer(subject, inputs, donors, layer, segments)
    else:
        space = build_space(subject.input_names, inputs, subject.columns, segments, subject.readings())
    if not len(space):
        shapes = shapes_in_words(subject.input_names, inputs)
        raise InputError(
            f"inputs must have a feature to explain, however: there is none ({shapes}); pass inputs with columns or "
            "pixels"
        )
    if arguments.level == "modality":
        space = space.modalities()
    elif arguments.level == "group":
        if arguments.groups is None:
            raise InputError(
                "level='group' needs groups, however: groups=None; pass groups={'name': ['feature', …]} with the names "
                f"of features ({', '.join(space.names[:5])}{', …' if len(space) > 5 else ''})"
            )
        space = space.grouped(arguments.groups)
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": space,
        "background_kind": "rows explained" if arguments.background is None else "given",
        "shapes": shapes_of(subject.input_names, inputs, segments, subject.readings()),
    }


# ---- a fitted estimator ----------------------------------------------------------------------------------------------


def _read_table(arguments: Arguments, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the subject, its encoded rows, background and players, as fields of a ``Request``."""
    subject = HybridSubject(arguments.model)
    inputs = subject.read(arguments.inputs)
    if len(inputs[0]) == 0:
        raise InputError("explain needs at least one row, however: inputs has none; pass the rows to explain")
    encoder, background, raw = subject.preprocessor, arguments.background, arguments.inputs
    encoded, kind = None, "rows explained"
    if isinstance(background, EncodedBackground):
        encoded, kind = background.rows, background.kind
    elif background is not None:
        encoded, kind = encode_background(subject.model, background), "given"
    elif len(inputs[0]) < _OWN_BACKGROUND or scope == "local":
        encoded, kind = subject.model.background_, "training rows"
    donors = inputs if encoded is None else (torch.from_numpy(np.ascontiguousarray(encoded)),)
    if background is not None and not isinstance(background, EncodedBackground):
        donors = _own_background(inputs, donors, scope, settings)
    if isinstance(raw, pd.DataFrame):
        raw = raw.reset_index(drop=True)
    else:
        raw = pd.DataFrame(np.asarray(raw), columns=list(encoder.feature_names_in_))
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _table_space(encoder, arguments.level, arguments.groups),
        "background_kind": kind,
        "raw": raw,
    }


def _table_space(encoder: Any, level: str, groups: Mapping[str, Iterable[str]] | None) -> PlayerSpace:
    """Return the players of an encoded table."""
    count = len(encoder.encoded_names_)
    members = {name: list(columns) for name, columns in getattr(encoder, "groups_", {}).items()}
    if level == "modality":
        players = {"table": np.arange(count)}
    else:
        players = dict(encoder.features(level if groups is None else "column"))
    owner = torch.full((count,), NOBODY, dtype=torch.int64)
    for index, columns in enumerate(players.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = index
    declared = members if level == "group" and groups is None else {}
    space = PlayerSpace(tuple(players), ("table",) * len(players), ("table",), (owner,), declared)
    if groups is None:
        return space
    variables = {column: name for name, columns in encoder.variables_.items() for column in columns}
    return space.grouped(groups, {column: variables.get(column, column) for column in space.names})


def encode_background(model: Any, background: Any) -> npt.NDArray[np.float32]:
    """Return rows for ``background=`` as a fitted estimator's network sees them."""
    trained = [str(name) for name in getattr(model, "feature_names_in_", ())]
    names = [str(name) for name in background.columns] if isinstance(background, pd.DataFrame) else trained
    if trained and names != trained and len(set(names)) == len(names):
        # Without names in training the number of columns alone counts.
        missing = [name for name in trained if name not in names]
        further = [name for name in names if name not in trained]
        pairs = (("lacks", missing), ("also has", further))
        faults = [f"{word} {listed(columns, show=repr)}" for word, columns in pairs if columns]
        raise InputError(
            "background must have the columns that the model was trained on, in their order, however: it "
            f"{' and '.join(faults) or 'has them in another order'}; pass "
            f"{'rows like the inputs' if missing else 'background[model.feature_names_in_]'}"
        )
    if hasattr(background, "__len__") and len(background) == 0:
        raise InputError("background must hold at least one row, however: it is empty; pass rows like the inputs")
    try:
        encoded: npt.NDArray[np.float32] = model.encode(background)
    except InputError as error:
        # The estimator speaks of X, which is not what is wrong here.
        words = " ".join(str(error).splitlines()).replace("however: X ", "however: it ")
        raise InputError(f"background{words[1:] if words.startswith('X ') else f': {words}'}") from error
    return encoded
