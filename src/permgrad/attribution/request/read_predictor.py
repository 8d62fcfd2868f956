"""Read any other predictor: a model of another library, or a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.request.asked_outputs import said_of_outputs
from permgrad.attribution.request.encoded_features import table_space
from permgrad.attribution.request.method_call import MethodCall
from permgrad.attribution.request.read_rows import (
    Background,
    ReadRows,
    at_level,
    donors_for,
    passed_background,
)
from permgrad.attribution.subject.encoded import EncodedPredictor
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.subject_rows import SubjectRows
from permgrad.base.errors import InputError, warn_user
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.findings import as_one_found
from permgrad.models.estimators.kept_rows import TRAINING_ROWS


def predictor_key(
    task: str | None, *, y: bool, classes: bool
) -> tuple[str, bool, str | None, bool]:
    """Return under what a ``pg.Model`` keeps how its predictor was read.

    Args:
        task: That the call says. None: it says none.
        y: Whether there are targets.
        classes: Whether the call speaks of classes.
    """
    return "predictor", y, task, classes


def read_predictor(call: MethodCall) -> ReadRows:
    """Return a predictor with its rows, background and features.

    The features of a model of another library with an encoder of permgrad are raw
    columns.

    Raises:
        InputError: The predictor does not take the rows, or ranks them and no loss is
            named.
    """
    subject = _read_model(call)
    background = _read_background(call, subject)
    if _has_encoder(call):
        space = table_space(subject.preprocessor, call)
        as_one: Mapping[str, list[str]] = {}
        if call.arguments.level.of_features:
            as_one = subject.preprocessor.groups_
        raw = subject.table(call.arguments.X)
    else:
        as_one = _found_as_one(call, subject, background)
        space = _column_space(call, subject.form.names, as_one)
        for finding in as_one_found(as_one):
            warn_user(finding.text())
        raw = subject.form.frame(subject.inputs[0])
    explained = SubjectRows(subject, subject.inputs, background.donors, space)
    return ReadRows(explained, background, as_one, raw)


def _has_encoder(call: MethodCall) -> bool:
    """Return whether the model is one of another library with an encoder of
    permgrad.
    """
    return hasattr(call.arguments.model.model, "of_encoded")


def _read_model(call: MethodCall) -> Any:
    """Return the predictor with the rows explained.

    How it is read is found out once for each ``pg.Model``.
    """
    arguments = call.arguments
    model = arguments.model
    encoded = _has_encoder(call)
    loss = arguments.loss
    if encoded:
        loss = "auto"
    output_facts = said_of_outputs(model, loss, classes=arguments.speaks_of_classes)
    cache_key = predictor_key(
        output_facts["task"], y=arguments.y is not None, classes=output_facts["classes"]
    )
    subject: Any = None
    if cache_key in model.found:
        subject = model.found[cache_key].with_rows(arguments.X)
    if subject is None:
        output_facts["batch_size"] = model.batch_size
        rows = (model.model, arguments.X, arguments.y)
        if encoded:
            subject = EncodedPredictor(*rows, **output_facts)
        else:
            subject = PredictorSubject(
                *rows, **output_facts, cache=model.cache, progress=arguments.progress
            )
        model.found[cache_key] = subject.to_send()
    measures_by_default = arguments.loss == "auto" and arguments.scoring is None
    if subject.call.ranks and arguments.y is not None and measures_by_default:
        problem = (
            "The scores of a ranker are not on the scale of y, so there is no "
            "default loss"
        )
        raise InputError(
            problem,
            hint="Leave y out, or pass loss= a function (outputs, y) -> (rows,).",
            code="PG036",
        )
    return subject


def _read_background(call: MethodCall, subject: Any) -> Background:
    """Return the rows to compare with: the user's, else those that the model keeps for
    single rows, else the rows explained.
    """
    passed = passed_background(call)
    if passed.rows is not None:
        donors = donors_for(subject.inputs, subject.read(passed.rows), call)
        return Background(donors, passed.kind, passed.drawn_from)
    compared = None
    if _has_encoder(call) and call.scope.by_row:
        compared = call.arguments.model.model.compared_
    if compared is None:
        return Background(subject.inputs, passed.kind)
    donors = subject.read_encoded(compared.encoded)
    positions = np.arange(len(donors[0]))
    return Background(donors, TRAINING_ROWS, compared.drawn_from, positions)


def _found_as_one(
    call: MethodCall, subject: Any, background: Background
) -> Mapping[str, list[str]]:
    """Return the columns that say one thing, by the name of their feature."""
    if not call.arguments.level.of_features or not subject.form.named:
        return {}
    # The background of a table in parts is the same for all of them.
    return columns_as_one(subject.form.frame(background.donors[0]))


def _column_space(
    call: MethodCall, names: tuple[str, ...], as_one: Mapping[str, list[str]]
) -> PlayerSpace:
    """Return the players of a table's columns."""
    count = len(names)
    space = PlayerSpace(names, ("table",) * count, ("table",), (torch.arange(count),))
    if as_one:
        space = space.grouped(as_one)
    return at_level(space, call)
