"""Read model, rows, background and players: ``build_request`` makes a ``Request`` of the arguments."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from itertools import compress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.request.arguments import (
    Arguments,
    EncodedBackground,
    check_conditional,
    check_row_offset,
    check_row_target,
    read_y,
    resolve_loss,
    resolve_options,
    resolve_positive,
    resolve_scope,
    resolve_targets,
    task_of_loss,
)
from permgrad.attribution.request.classes import check_classes
from permgrad.attribution.request.registry import Method, refuse_interactions
from permgrad.attribution.request.related import read_units, with_columns
from permgrad.attribution.request.request import Request, Scope
from permgrad.attribution.subject.encoded import KINDS, EncodedPredictor, HybridSubject
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import each_row_by_itself
from permgrad.attribution.subject.tokens import Roles, find_roles, follow_masks, replaced, vocabulary_of, with_tokens
from permgrad.attribution.subject.words import as_tokens
from permgrad.base.arrays import Floats32
from permgrad.base.errors import InputError, listed, warn_user
from permgrad.base.late import is_frame
from permgrad.base.random import resolve_seed
from permgrad.data.types.as_one import as_one_said, columns_as_one
from permgrad.data.weights import check_weights
from permgrad.models.estimators.kept_rows import kept_rows
from permgrad.models.losses import of_output

Tensors = tuple[Tensor, ...]
#: Options that describe a network, not the method, and the number of the first row.
NETWORK_OPTIONS: tuple[str, ...] = (
    "head", "output_kind", "task", "class_names", "layer", "segments", "reduce", "row_target", "row_offset", "hold",
    "tokens", "tokenizer", "replace",
)  # fmt: skip
#: Options that describe any other predictor, and those that describe a fitted estimator of permgrad.
PREDICTOR_OPTIONS = ("output_kind", "task", "class_names", "reduce", "row_target", "row_offset")
ESTIMATOR_OPTIONS = ("row_target", "row_offset")
#: At least this many explained rows serve as their own background.
_OWN_BACKGROUND = 200


def is_estimator(model: Any) -> bool:
    """Return whether a model is an estimator of permgrad. Their module is not loaded for other models."""
    module = sys.modules.get("permgrad.models.estimators.hynn")
    return module is not None and isinstance(model, (module.HyNNClassifier, module.HyNNRegressor))


def build_request(arguments: Arguments, chosen: Method, name: str, *, decided: bool = True) -> Request:
    """Check and resolve every argument. ``decided``: the share of errors is that of the classes a model decides for."""
    arguments = with_columns(arguments)
    read, further, kind = _reader(arguments.model)
    # In a class activation map, layer= is the layer that the method reads.
    settings, of_method = _parted(arguments.options, set(further) - set(chosen.options))
    scope = resolve_scope(chosen, name, arguments.scope)
    hint = f" A {kind} also takes: {', '.join(further)}." if kind else ""
    options = _options(arguments, chosen, name, of_method, hint)
    rows = read(arguments, name, scope, settings)
    row_offset = check_row_offset(settings.get("row_offset", 0), shared=rows["donors"] is rows["inputs"])
    subject, count, weight = rows["subject"], len(rows["inputs"][0]), arguments.sample_weight
    if subject.of_labels:  # whose logits are infinite
        arguments = replace(arguments, output="probability")
    if subject.place is not None:
        _check_masks(arguments, scope)
    loss = resolve_loss(subject, arguments.loss)
    if loss == "zero_one" and scope == "global" and arguments.y is not None and decided:
        rows["subject"] = subject = subject.deciding()
    targets = resolve_targets(subject, arguments.target)
    y, classes = read_y(subject, arguments.y, loss, rows["inputs"], targets, scored=arguments.scoring is not None)
    if scope == "global" and classes is not None and isinstance(loss, str) and arguments.scoring is None:
        check_classes(subject, rows["inputs"], classes)
    loss = of_output(loss, targets[0]) if len(targets) == 1 < subject.count else loss
    positive = resolve_positive(subject, arguments.positive, classes)
    if subject.task != "classification" and subject.count > 1:
        subject.loss_columns = targets
    if settings.get("row_target") is not None:
        check_row_target(arguments, chosen, scope)
        rows |= {"targets": (0,), **each_row_by_itself(rows, settings["row_target"], classes, arguments.output)}
    return Request(
        **{"targets": targets, **rows},
        scope=scope,
        options=options,
        row_offset=row_offset,
        y=y,
        classes=None if classes is y else classes,
        labels=None if classes is None else subject.labels_in(arguments.y, classes),
        positive=positive,
        positive_by_y=arguments.positive is None and classes is not None and subject.background_classes is None,
        loss=loss,
        sample_weight=None if weight is None else check_weights(weight, count),
        units=read_units(arguments, count),
        confidence=float(arguments.confidence),
        n_repeats=int(arguments.n_repeats),
        seed=resolve_seed(arguments.random_state),
        **{
            name: getattr(arguments, name)
            for name in ("output", "level", "scoring", "sampling", "batch_size", "progress")
        },
    )


def _parted(options: Mapping[str, Any], of_rows: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of these names, and the others."""
    own = {key: value for key, value in options.items() if key in of_rows}
    return own, {key: value for key, value in options.items() if key not in of_rows}


def _options(arguments: Arguments, chosen: Method, name: str, given: dict[str, Any], hint: str) -> dict[str, Any]:
    """Return the method's options, and refuse those that do not go together."""
    options = resolve_options(chosen, name, given, hint=hint)
    used = (arguments.scoring is not None, arguments.sampling != "marginal")
    for argument in compress(("scoring=", "sampling="), used):
        refuse_interactions(options, argument)
    return options


def _check_masks(arguments: Arguments, scope: Scope) -> None:
    """Refuse masks as y where no loss is measured."""
    if scope == "local" or arguments.scoring is not None:
        problem = "Masks as y are compared with maps by a loss, which scoring= and local methods do not use"
        hint = "Pass reduce='mean', 'max' or 'sum' and no y, or choose method='permutation' without scoring="
        raise InputError(problem, hint=hint, code="PG006")


def _reader(model: Any) -> tuple[Callable[..., dict[str, Any]], tuple[str, ...], str]:
    """Return what reads the arguments for a model, its own options, and what to call it beside them."""
    if isinstance(model, nn.Module):
        return _read_network, NETWORK_OPTIONS, "network"
    if is_estimator(model):
        return _read_table, ESTIMATOR_OPTIONS, ""
    return _read_predictor, PREDICTOR_OPTIONS, "predictor"


def _own_background(inputs: Tensors, donors: Tensors, scope: Scope, settings: Mapping[str, Any]) -> Tensors:
    """Return ``inputs`` itself where the background equals it, else the background.

    One part of a longer table keeps its background: it draws the same donors as in a call with all rows.
    """
    same = len(inputs[0]) > 1 and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b.to(a.device)))
        for a, b in zip(donors, inputs, strict=True)
    )
    return inputs if same and scope == "global" and "row_offset" not in settings else donors


# ---- a torch network -------------------------------------------------------------------------------------------------
def _read_network(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    outputs = {key: settings.get(key) for key in ("head", "output_kind", "task", "class_names", "reduce")}
    outputs["task"] = outputs["task"] or task_of_loss(arguments.loss)
    tokenizer, replacement = settings.get("tokenizer"), settings.get("replace", "donor")
    pad = vocabulary_of(arguments.model, tokenizer)["pad"] or 0
    given, texts, added = as_tokens(arguments.inputs, tokenizer, arguments.model, pad)
    subject = NetworkSubject(arguments.model, given, arguments.y, **outputs, batch_size=arguments.batch_size)
    layer, segments, readings = settings.get("layer"), settings.get("segments"), subject.readings()
    if arguments.sampling == "conditional":
        check_conditional(name, subject.input_names, subject.inputs, layer)
    roles: Roles | None = None
    if layer is None:
        roles = find_roles(subject, settings.get("hold"), settings.get("tokens"), added)
        cuts = with_tokens(subject, roles, replacement, tokenizer, texts)
    inputs = donors = subject.inputs
    if arguments.background is not None:
        donors = _own_background(inputs, subject.read(arguments.background), scope, settings)
    subject.settle(None if donors is inputs else donors)
    if layer is not None:
        subject, inputs, donors, space = at_layer(subject, inputs, donors, layer, segments)
        readings = subject.readings()
    elif roles is not None:
        columns = [*(leaf.columns for leaf in subject.form.leaves), None][: len(inputs)]
        space = build_space(subject.input_names, inputs, columns, segments, readings, cuts)
        space = follow_masks(space, roles, subject)
        donors = replaced(subject, roles, donors, space, replacement, tokenizer)
    shapes = shapes_of(subject.input_names, inputs, segments, readings)
    if roles is not None:
        # Inputs that hold a row's tokens are not drawn.
        shapes = tuple(shape if place < len(roles.names) else None for place, shape in enumerate(shapes))
    if not len(space):
        words = shapes_in_words(subject.input_names, inputs)
        problem = f"inputs have no feature to explain ({words})"
        raise InputError(problem, hint="Pass inputs with at least one column or pixel.", code="PG007")
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _at_level(space, arguments),
        "background_kind": "rows explained" if arguments.background is None else "given",
        "shapes": shapes,
    }


def _at_level(space: PlayerSpace, arguments: Arguments) -> PlayerSpace:
    """Return the players of the requested level."""
    if arguments.level == "modality":
        return space.modalities()
    if arguments.level == "group":
        if arguments.groups is None:
            hint = (
                "Pass groups={'name': ['feature', …]} with names of features "
                f"({', '.join(space.names[:5])}{', …' if len(space) > 5 else ''})."
            )
            raise InputError("level='group' needs groups=", hint=hint, code="PG005")
        return space.grouped(arguments.groups)
    return space.in_blocks(arguments.groups) if arguments.groups else space


# ---- any other predictor ---------------------------------------------------------------------------------------------
def _read_predictor(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return the subject, its rows, background and players, as fields of a ``Request``.

    The players of a model of another library with an encoder of permgrad are raw columns.
    """
    outputs = {key: settings.get(key) for key in ("output_kind", "task", "class_names", "reduce")}
    outputs["batch_size"] = arguments.batch_size
    encoded = hasattr(arguments.model, "of_encoded")
    if not encoded:
        outputs["task"] = outputs["task"] or task_of_loss(arguments.loss)
    kind = EncodedPredictor if encoded else PredictorSubject
    subject: Any = kind(arguments.model, arguments.inputs, arguments.y, **outputs)
    if subject.call.ranks and arguments.y is not None and (arguments.loss, arguments.scoring) == ("auto", None):
        problem = "The scores of a ranker are not on the scale of y, so there is no default loss"
        raise InputError(problem, hint="Leave y out, or pass loss= a function (outputs, y) -> (rows,).", code="PG036")
    donors: Tensors = subject.inputs
    if arguments.background is not None:
        donors = _own_background(subject.inputs, subject.read(arguments.background), scope, settings)
    as_one: dict[str, list[str]] = {}
    if encoded:
        space = _table_space(subject.preprocessor, arguments.level, arguments.groups)
        as_one = subject.preprocessor.variables_ if arguments.groups is None and arguments.level == "feature" else {}
    else:
        names = subject.form.names
        space = PlayerSpace(names, ("table",) * len(names), ("table",), (torch.arange(len(names)),))
        if arguments.groups is None and arguments.level == "feature" and subject.form.named:
            # The background of a table in parts is the same for all of them.
            as_one = columns_as_one(subject.form.frame(donors[0]))
        space = space.grouped(as_one) if as_one else _at_level(space, arguments)
    if as_one and not encoded:
        warn_user(as_one_said(as_one, "To explain each by itself, pass groups={}."))
    return {
        "subject": subject,
        "inputs": subject.inputs,
        "donors": donors,
        "space": space,
        "as_one": as_one,
        "background_kind": "rows explained" if arguments.background is None else "given",
        "raw": subject.table(arguments.inputs) if encoded else subject.form.frame(subject.inputs[0]),
    }


# ---- a fitted estimator ----------------------------------------------------------------------------------------------
def _read_table(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return the subject, its encoded rows, background and players, as fields of a ``Request``."""
    subject = HybridSubject(arguments.model)
    inputs = subject.read(arguments.inputs)
    if len(inputs[0]) == 0:
        raise InputError("inputs has no rows", hint="Pass the rows to explain.", code="PG013")
    encoder, background = subject.preprocessor, arguments.background
    encoded, kind = None, "rows explained"
    if isinstance(background, EncodedBackground):
        encoded, kind = background.rows, background.kind
    elif background is not None:
        encoded, kind = encode_background(subject.model, background), "given"
    elif len(inputs[0]) < _OWN_BACKGROUND or scope == "local":
        encoded, kind = kept_rows(subject.model), "training rows"
    donors = inputs if encoded is None else (torch.from_numpy(np.ascontiguousarray(encoded)),)
    if background is not None and not isinstance(background, EncodedBackground):
        donors = _own_background(inputs, donors, scope, settings)
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _table_space(encoder, arguments.level, arguments.groups),
        "as_one": encoder.variables_ if arguments.groups is None and arguments.level == "feature" else {},
        "background_kind": kind,
        "raw": subject.table(arguments.inputs),
    }


def _table_space(encoder: Any, level: str, groups: Any) -> PlayerSpace:
    """Return the players of an encoder's columns: columns, groups of them, or the kinds: table, text and photo."""
    count = len(encoder.encoded_names_)
    level = "column" if groups is not None and not groups and level == "feature" else level
    players, modality = _table_players(encoder, "column" if groups and level == "group" else level)
    owner = torch.full((count,), NOBODY, dtype=torch.int64)
    for index, columns in enumerate(players.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = index
    members = getattr(encoder, "groups_", {}) if level == "group" and groups is None else {}
    declared = {name: list(columns) for name, columns in members.items()}
    space = PlayerSpace(tuple(players), modality, ("table",), (owner,), declared)
    if groups and level == "feature":
        space = space.in_blocks(groups)
    elif groups:
        variables = {column: name for name, columns in encoder.variables_.items() for column in columns}
        space = space.grouped(groups, {column: variables.get(column, column) for column in space.names})
    return space


def _table_players(encoder: Any, level: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the encoded columns of each player, and the modality of each."""
    kinds = [KINDS.get(one.kind, "table") for one in encoder.schema_]
    if level == "modality":
        of = np.array(kinds)[encoder.feature_of_]
        places_of = {kind: np.flatnonzero(of == kind) for kind in ("table", *KINDS.values())}
        places_of = {kind: places for kind, places in places_of.items() if len(places)} or {"table": np.arange(0)}
        return places_of, tuple(places_of)
    players = dict(encoder.features(level))
    kind_of = dict(zip(encoder.feature_names_in_, kinds, strict=True))
    each = ([kind_of[column] for column in encoder.raw_columns_of(name)] for name in players)
    return players, tuple("+".join(dict.fromkeys(some)) for some in each)


def encode_background(model: Any, background: Any) -> Floats32:
    """Return rows for ``background=`` as a fitted estimator's network sees them."""
    trained = [str(name) for name in getattr(model, "feature_names_in_", ())]
    names = [str(name) for name in background.columns] if is_frame(background) else trained
    if trained and names != trained and len(set(names)) == len(names):
        # Without names in training, only the number of columns is checked.
        missing = [name for name in trained if name not in names]
        further = [name for name in names if name not in trained]
        pairs = (("lacks", missing), ("also has", further))
        faults = [f"{word} {listed(columns, show=repr)}" for word, columns in pairs if columns]
        raise InputError(
            "background must have the columns of the training data in the same order, but it "
            f"{' and '.join(faults) or 'has them in another order'}",
            hint=f"Pass {'rows like the inputs' if missing else 'background[model.feature_names_in_]'}.",
            code="PG038",
        )
    if hasattr(background, "__len__") and len(background) == 0:
        raise InputError("background has no rows", hint="Pass rows like the inputs.", code="PG038")
    try:
        encoded: Floats32 = model.encode(background)
    except InputError as error:
        # The estimator calls these rows X.
        problem, hint = (re.sub(r"(?<!['\w])X(?!['\w])", "background", text) for text in (error.problem, error.hint))
        problem = " ".join(problem.splitlines())
        problem = problem if "background" in problem else f"background: {problem}"
        raise InputError(problem, hint=hint, code=error.code) from error
    return encoded
