"""Read model, rows, background and players: ``build_request`` makes a ``Request`` of
the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.request.arguments import (
    REPEATS,
    Arguments,
    EncodedBackground,
    RowsToCompare,
    check_conditional,
    fields_of,
    loss_at_places,
    read_y,
    resolve_loss,
    resolve_method,
    resolve_positive,
    resolve_scale,
    resolve_targets,
    row_target_of,
    said_of_outputs,
    titles_of_channels,
)
from permgrad.attribution.request.method_registry import Method
from permgrad.attribution.request.related_rows import read_units, with_columns
from permgrad.attribution.request.request import Request
from permgrad.attribution.request.takes import (
    is_estimator,
    kind_of_model,
    refuse_apart,
    said_of,
)
from permgrad.attribution.scopes import AUTO, LOCAL, Level, Scope
from permgrad.attribution.subject.encoded import EncodedPredictor, HybridSubject
from permgrad.attribution.subject.functions import as_network
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.places import unfit
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import each_row_by_itself, outputs_of
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.tokens import (
    Roles,
    find_roles,
    follow_tokens,
    pad_of,
    with_tokens,
    without_starts,
)
from permgrad.attribution.subject.vocabulary import speller_of
from permgrad.attribution.subject.word_tokens import Words, as_tokens
from permgrad.base.arrays import Array, Floats, Floats32, Integers
from permgrad.base.errors import InputError, listed, warn_user
from permgrad.base.late import is_frame
from permgrad.base.progress import Progress
from permgrad.base.random import resolve_seed
from permgrad.data.kinds.column import modalities
from permgrad.data.types.as_one import columns_as_one
from permgrad.data.types.findings import as_one_found
from permgrad.data.weights import check_weights
from permgrad.models.estimators.kept_rows import (
    TRAINING_ROWS,
    ComparedRows,
    kept_rows,
    rows_compared,
)
from permgrad.models.losses import Loss

Tensors = tuple[Tensor, ...]
#: At least this many explained rows serve as their own background.
_OWN_BACKGROUND = 200
#: Outputs that are explained one by one where nobody asks for them.
_MOST_OUTPUTS = 100


def build_request(
    arguments: Arguments,
    chosen_method: Method | None,
    name: str,
    *,
    caller_name: str = "",
    decided: bool = True,
) -> Request:
    """Check and resolve every argument.

    ``decided``: the share of errors is that of the classes a model decides for.

    ``chosen_method`` is the method. None: what is asked needs none. ``caller_name``:
    who asks, one of ``takes.CALLERS``.
    """
    # Longer than most functions: the order of the steps is what there is to read here.
    arguments = _of_networks(arguments)
    related = arguments.row_groups is not None or arguments.row_time is not None
    if related:
        arguments = with_columns(arguments)
    scope, options = resolve_method(chosen_method, arguments.scope)
    call_facts = said_of(arguments, scope, options, caller_name)
    refuse_apart(chosen_method, name, call_facts)
    reads = {**options, "by_word": getattr(chosen_method, "by_word", True)}
    request_fields = _READERS[kind_of_model(arguments.model.model)](
        arguments, scope, reads
    )
    subject = request_fields["subject"]
    count = len(request_fields["inputs"][0])
    weight = arguments.sample_weight
    scale = resolve_scale(chosen_method, scope, arguments.scale, subject.outputs)
    names = scale.names(subject.outputs)
    if subject.place is not None:
        refuse_apart(chosen_method, name, call_facts | {"masks": "y of masks"})
    resolved_loss, arguments = _loss_asked(subject, arguments)
    if resolved_loss.of_decision and decided:
        request_fields["subject"] = subject = _deciding(subject, arguments, scope)
    row_target = None
    if arguments.target is not None:
        row_target = row_target_of(arguments.target, names, count)
        if row_target is not None and _is_by_row(
            arguments, chosen_method, scope, caller_name
        ):
            return build_request(
                replace(arguments, scope=LOCAL), chosen_method, name, decided=decided
            )
    targets = resolve_targets(names, arguments.target if row_target is None else None)
    scored = arguments.scoring is not None
    y, classes = read_y(
        subject,
        arguments.y,
        resolved_loss,
        request_fields["inputs"],
        targets,
        scored=scored,
    )
    if not scope.by_row and not (resolved_loss.returned or scored):
        _check_classes(subject, request_fields["inputs"], classes)
    if subject.outputs.count > 1:
        resolved_loss = _loss_of(subject, resolved_loss, targets)
    positive = resolve_positive(subject, arguments.model.positive, classes)
    if arguments.target is None and _is_scaled(chosen_method, scope):
        decided_by_y = _positive_by_y(arguments, subject, classes)
        targets = scale.usual(subject.outputs, None if decided_by_y else positive)
        _refuse_many_outputs(subject, chosen_method, name, len(targets))
    if row_target is not None:
        asked_facts = call_facts | {"row target": "a target for each row"}
        refuse_apart(chosen_method, name, asked_facts)
        request_fields |= {
            "targets": (0,),
            **each_row_by_itself(request_fields, row_target, classes, scale),
        }
    reason = _scale_reason(arguments, chosen_method)
    # ``missing_modalities`` has scorers besides.
    y_fields = _of_y(
        subject, arguments, y, classes, by_scorers=scored or chosen_method is None
    )
    return Request(
        **{"targets": targets, **request_fields, **y_fields, **_draws(arguments)},
        scope=scope,
        scale=scale,
        scale_reason=reason,
        positive=positive,
        loss=resolved_loss,
        sample_weight=None if weight is None else check_weights(weight, count),
        units=read_units(arguments, count) if related else None,
        **fields_of(chosen_method, options),
        found=arguments.model.found,
    )


def _scale_reason(arguments: Arguments, chosen_method: Method | None) -> str:
    """Return why the method explains on the scale that it chose, if it did."""
    if arguments.scale != "auto" or chosen_method is None:
        return ""
    return chosen_method.scale_reason


def _is_scaled(chosen_method: Method | None, scope: Scope) -> bool:
    """Return whether the outputs explained are those of a scale."""
    return chosen_method is None or scope in chosen_method.scales


def _of_networks(arguments: Arguments) -> Arguments:
    """Return arguments whose model is a network where it is a function of tensors."""
    model = arguments.model
    if is_estimator(model.model):
        network_model = model
    else:
        network_model = as_network(model, arguments.X)
    if network_model is model:
        return arguments
    return replace(arguments, model=network_model)


def _loss_asked(subject: Subject, arguments: Arguments) -> tuple[Loss, Arguments]:
    """Return the loss of a call, and its arguments without what that says already.

    Of maps it is the mean over places unless it is the user's.
    """
    if subject.outputs.of_labels:  # whose logits are infinite
        arguments = replace(arguments, scale="probability")
    place_form = subject.place
    layout = subject.layout
    if callable(arguments.loss) or not subject.by_place:
        return resolve_loss(subject.outputs, arguments.loss), arguments
    if place_form is None or layout is None:
        raise unfit(subject.output_shape, arguments.y)
    place_loss = loss_at_places(place_form, layout, arguments.loss, arguments.target)
    return place_loss, replace(arguments, target=None)


def _refuse_many_outputs(
    subject: Subject, chosen_method: Method | None, name: str, count: int
) -> None:
    """Refuse more outputs than anybody looks at, each of which takes as long as one."""
    if count <= _MOST_OUTPUTS or not getattr(chosen_method, "by_output", False):
        return
    target_words = "target= one of them, or a few"
    classes = subject.outputs.kind != "values"
    if classes:
        hint = f'Pass target="predicted", or {target_words}'
    else:
        hint = f"Pass {target_words}"
    problem = f"{name} would explain {count:,} outputs one by one"
    raise InputError(problem, hint=hint, code="PG005")


def _is_by_row(
    arguments: Arguments, chosen_method: Method | None, scope: Scope, caller_name: str
) -> bool:
    """Return whether an output of each row is explained row by row, where nobody says
    how.
    """
    can_be_local = chosen_method is not None and LOCAL in chosen_method.scopes
    return (
        not scope.by_row
        and arguments.scope == AUTO
        and not caller_name
        and can_be_local
    )


def _deciding(subject: Subject, arguments: Arguments, scope: Scope) -> Subject:
    """Return a subject whose outputs are the classes that the model decides for, where
    errors are counted.
    """
    if not scope.by_row and arguments.y is not None:
        return subject.deciding()
    return subject


def _loss_of(subject: Subject, loss: Loss, targets: tuple[int, ...]) -> Loss:
    """Return the loss of some of several outputs.

    Of numbers it is the mean over these.
    """
    if not subject.task.has_classes:
        subject.outputs = replace(subject.outputs, loss_columns=targets)
    if len(targets) == 1:
        return loss.of_output(targets[0])
    return loss


def _of_y(
    subject: Subject,
    arguments: Arguments,
    y: Array | None,
    classes: Integers | None,
    *,
    by_scorers: bool,
) -> dict[str, Any]:
    """Return the fields of a request that say what the classes of y are.

    ``by_scorers``: who reads their labels.
    """
    if by_scorers and classes is not None:
        labels = subject.outputs.labels_in(arguments.y, classes)
    else:
        labels = None
    return {
        "y": y,
        "classes": None if classes is y else classes,
        "labels": labels,
        "positive_by_y": _positive_by_y(arguments, subject, classes),
    }


def _positive_by_y(
    arguments: Arguments, subject: Subject, classes: Integers | None
) -> bool:
    """Return whether the rows of this call alone say which class is the positive
    one.
    """
    silent = arguments.model.positive is None and subject.background_classes is None
    return silent and classes is not None


def _draws(arguments: Arguments) -> dict[str, Any]:
    """Return the fields of a request that are as the user says: how much is drawn, and
    how it is shown.
    """
    automatic = isinstance(arguments.n_repeats, str)
    return {
        "row_offset": arguments.row_offset or 0,
        "confidence": float(arguments.confidence),
        "n_repeats": REPEATS if automatic else int(arguments.n_repeats),
        "automatic": automatic,
        "seed": resolve_seed(arguments.random_state),
        "batch_size": arguments.model.batch_size,
        **{
            field_name: getattr(arguments, field_name)
            for field_name in ("level", "scoring", "progress")
        },
    }


def _drawn_from(arguments: Arguments) -> int:
    """Return of how many rows a background was chosen, 0 where that is not known."""
    background = arguments.background
    if isinstance(background, RowsToCompare):
        return background.drawn_from or 0
    return 0


def _background_of(arguments: Arguments) -> tuple[Any, str]:
    """Return the rows that are passed as a background, or None, and what its rows are
    called.
    """
    background = arguments.background
    if background is None:
        return None, "rows explained"
    if isinstance(background, RowsToCompare):
        return background.rows, background.kind
    return background, "given"


def _own_background(
    inputs: Tensors, donors: Tensors, scope: Scope, *, is_part: bool
) -> Tensors:
    """Return ``inputs`` itself where the background equals it, else the background.

    One part of a longer table keeps its background: it draws the same donors as in a
    call with all rows.
    """
    is_same = len(inputs[0]) > 1 and all(
        a.shape == b.shape
        and a.dtype == b.dtype
        and bool(torch.equal(a, b.to(a.device)))
        for a, b in zip(donors, inputs, strict=True)
    )
    if is_same and not scope.by_row and not is_part:
        return inputs
    return donors


# ---- a torch network -----------------------------------------------------------------
def _read_network(
    arguments: Arguments, scope: Scope, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a
    ``Request``.

    Each of three steps calls the network a few times, which may be slow.
    """
    with Progress(3, "reading the network", arguments.progress) as progress:
        return _network_fields(arguments, scope, options, progress.advance)


def _network_fields(
    arguments: Arguments,
    scope: Scope,
    options: Mapping[str, Any],
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Return what ``_read_network`` does, and call ``advance`` after each step."""
    model = arguments.model
    tokenizer = arguments.model.tokenizer
    vocabulary = model.vocabulary
    speller = speller_of(tokenizer, vocabulary)
    padding_token = pad_of(model.model, speller) or 0
    token_rows, texts, added = as_tokens(
        arguments.X, tokenizer, model.model, padding_token
    )
    subject, already_known = _network_subject(arguments, token_rows)
    advance()
    layer = model.layer
    segments = model.segments
    readings = subject.readings()
    titles = titles_of_channels(model.channel_names)
    if options.get("sampling") == "conditional":
        check_conditional(subject.input_names, subject.inputs)
    roles: Roles | None = None
    if layer is None:
        roles = find_roles(subject, model.hold, added, segments)
        by_word = options.get("by_word", True)
        token_cuts = with_tokens(
            subject, roles, tokenizer, texts, vocabulary=vocabulary, by_word=by_word
        )
    inputs = donors = subject.inputs
    background, kind = _background_of(arguments)
    if background is not None:
        donors = _own_background(
            inputs,
            subject.read(_tokenised(subject, tokenizer, padding_token, background)),
            scope,
            is_part=arguments.row_offset is not None,
        )
    if not already_known:
        subject.settle(None if donors is inputs else donors)
    advance()
    if layer is not None:
        subject, inputs, donors, space = at_layer(
            subject, inputs, donors, layer, segments
        )
        readings = subject.readings()
    elif roles is not None:
        columns = [*(form_leaf.columns for form_leaf in subject.form.leaves), None][
            : len(inputs)
        ]
        space = build_space(
            subject.input_names, inputs, columns, segments, readings, token_cuts, titles
        )
        space = follow_tokens(space, roles, subject)
        space = without_starts(space, roles, subject, speller)
    shapes = shapes_of(subject.input_names, inputs, segments, readings, titles)
    if roles is not None:
        # Inputs that hold a row's tokens are not drawn.
        shapes = tuple(
            shape if input_index < len(roles.names) else None
            for input_index, shape in enumerate(shapes)
        )
    if not len(space):
        words = shapes_in_words(subject.input_names, inputs)
        problem = f"X has no feature to explain ({words})"
        raise InputError(
            problem, hint="Pass X with at least one column or pixel.", code="PG007"
        )
    advance()
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _at_level(space, arguments, options),
        "background_kind": kind,
        "drawn_from": _drawn_from(arguments),
        "shapes": shapes,
    }


def _tokenised(
    subject: NetworkSubject, tokenizer: Any, pad: int, background: Any
) -> Any:
    """Return a background with texts as ids, as many a row as those explained have.

    Where words are features the subject reads texts itself.
    """
    if isinstance(subject.form.tokens, Words):
        return background
    token_ids, texts, added = as_tokens(background, tokenizer, subject.module, pad)
    pads_left = getattr(tokenizer, "padding_side", "right") == "left"
    for input_name in (*texts, *added):
        width = subject.inputs[subject.input_names.index(input_name)].shape[1]
        lacking = max(0, width - token_ids[input_name].shape[1])
        if pads_left:
            padding_ends = (lacking, 0)
        else:
            padding_ends = (0, lacking)
        filled = functional.pad(
            token_ids[input_name], padding_ends, value=0 if input_name in added else pad
        )
        if pads_left:
            token_ids[input_name] = filled[:, -width:]
        else:
            token_ids[input_name] = filled[:, :width]
    return token_ids


def _network_subject(
    arguments: Arguments, token_rows: Any
) -> tuple[NetworkSubject, bool]:
    """Return the network with its rows, and whether an earlier call of the same
    ``Model`` found out how it is read.
    """
    model = arguments.model
    y = arguments.y
    output_facts = said_of_outputs(
        model, arguments.loss, classes=arguments.speaks_of_classes
    )
    outputs = {"head": model.head, **output_facts}
    weight = next(iter(model.model.parameters()), None)
    cache_key = (
        "network",
        y is None,
        outputs["task"],
        outputs["classes"],
        *(() if weight is None else (weight.dtype, weight.device)),
    )
    if (
        cache_key in model.found
        and (again := model.found[cache_key].with_rows(token_rows)) is not None
    ):
        return again, True
    subject = NetworkSubject(
        model.model, token_rows, y, **outputs, batch_size=model.batch_size
    )
    if subject.place is None:  # what masks mean is said by their rows
        model.found[cache_key] = subject.without_rows()
    return subject, False


def _at_level(
    space: PlayerSpace, arguments: Arguments, options: Mapping[str, Any]
) -> PlayerSpace:
    """Return the players of the requested level, in the blocks that a method asks
    for.
    """
    if isinstance(blocks := options.get("blocks"), Mapping):
        return space.in_blocks(blocks)
    if arguments.level.of_modalities:
        return space.modalities()
    if arguments.level.of_groups:
        return space.grouped(arguments.groups)
    return space


# ---- any other predictor -------------------------------------------------------------
def predictor_key(
    task: str | None, *, y: bool, classes: bool
) -> tuple[str, bool, str | None, bool]:
    """Return under what a ``Model`` keeps how its predictor was read.

    ``y``: with targets. ``classes``: for a call that speaks of classes.
    """
    return "predictor", y, task, classes


def _read_predictor(
    arguments: Arguments, scope: Scope, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a ``Request``.

    The players of a model of another library with an encoder of permgrad are raw
    columns.
    """
    model = arguments.model
    encoded = hasattr(model.model, "of_encoded")
    # How a model is read is found out once for each ``Model``.
    output_facts = said_of_outputs(
        model,
        "auto" if encoded else arguments.loss,
        classes=arguments.speaks_of_classes,
    )
    cache_key = predictor_key(
        output_facts["task"], y=arguments.y is not None, classes=output_facts["classes"]
    )
    known_subject = model.found.get(cache_key)
    subject: Any = (
        None if known_subject is None else known_subject.with_rows(arguments.X)
    )
    if subject is None:
        subject_class = EncodedPredictor if encoded else PredictorSubject
        subject = subject_class(
            model.model,
            arguments.X,
            arguments.y,
            **output_facts,
            batch_size=model.batch_size,
            **(
                {}
                if encoded
                else {"cache": model.cache, "progress": arguments.progress}
            ),
        )
        model.found[cache_key] = subject.to_send()
    if (
        subject.call.ranks
        and arguments.y is not None
        and (arguments.loss, arguments.scoring) == ("auto", None)
    ):
        problem = (
            "The scores of a ranker are not on the scale of y, so there is no "
            "default loss"
        )
        raise InputError(
            problem,
            hint="Leave y out, or pass loss= a function (outputs, y) -> (rows,).",
            code="PG036",
        )
    donors: Tensors = subject.inputs
    background, kind = _background_of(arguments)
    compared: ComparedRows | None = None
    if encoded and scope.by_row and background is None:
        compared = model.model.compared_
    if compared is not None:
        donors = subject.read_encoded(compared.encoded)
        kind = TRAINING_ROWS
    elif background is not None:
        donors = _own_background(
            subject.inputs,
            subject.read(background),
            scope,
            is_part=arguments.row_offset is not None,
        )
    as_one: dict[str, list[str]] = {}
    if encoded:
        space = _table_space(subject.preprocessor, arguments, options)
        as_one = subject.preprocessor.groups_ if arguments.level.of_features else {}
    else:
        names = subject.form.names
        space = PlayerSpace(
            names, ("table",) * len(names), ("table",), (torch.arange(len(names)),)
        )
        if arguments.level.of_features and subject.form.named:
            # The background of a table in parts is the same for all of them.
            as_one = columns_as_one(subject.form.frame(donors[0]))
        space = _at_level(
            space.grouped(as_one) if as_one else space, arguments, options
        )
    for finding in as_one_found(as_one) if as_one and not encoded else ():
        warn_user(finding.text())
    return {
        "subject": subject,
        "inputs": subject.inputs,
        "donors": donors,
        "space": space,
        "as_one": as_one,
        "background_kind": kind,
        "compared": None if compared is None else np.arange(len(donors[0])),
        "drawn_from": _drawn_from(arguments)
        if compared is None
        else compared.drawn_from,
        "raw": subject.table(arguments.X)
        if encoded
        else subject.form.frame(subject.inputs[0]),
    }


# ---- a fitted estimator --------------------------------------------------------------
def _read_table(
    arguments: Arguments, scope: Scope, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the subject, its encoded rows, background and players, as fields of a
    ``Request``.
    """
    subject = HybridSubject(arguments.model.model)
    inputs = subject.read(arguments.X)
    if len(inputs[0]) == 0:
        raise InputError(
            "X has no rows", hint="Pass the rows to explain.", code="PG013"
        )
    encoder = subject.preprocessor
    background, kind = _background_of(arguments)
    encoded = None
    if isinstance(background, EncodedBackground):
        encoded = background.rows
        kind = background.kind
    elif background is not None:
        encoded = encode_background(subject.model, background)
    elif len(inputs[0]) < _OWN_BACKGROUND or scope.by_row:
        encoded = kept_rows(subject.model)
        kind = TRAINING_ROWS
    if encoded is None:
        donors = inputs
    else:
        donors = (torch.from_numpy(np.ascontiguousarray(encoded)),)
    if background is not None and not isinstance(background, EncodedBackground):
        donors = _own_background(
            inputs, donors, scope, is_part=arguments.row_offset is not None
        )
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _table_space(encoder, arguments, options),
        "as_one": encoder.groups_ if arguments.level.of_features else {},
        "background_kind": kind,
        "drawn_from": _drawn_from(arguments),
        "compared": rows_compared(subject.model)
        if kind == TRAINING_ROWS and scope.by_row
        else None,
        "raw": subject.table(arguments.X),
    }


def _table_space(
    encoder: Any, arguments: Arguments, options: Mapping[str, Any]
) -> PlayerSpace:
    """Return the players of an encoder's columns: features, raw columns, groups of
    them, or the kinds of columns.
    """
    count = len(encoder.encoded_names_)
    level = arguments.level
    if level.of_groups:
        groups = arguments.groups
    else:
        groups = None
    players, modality = _table_players(encoder, level)
    if groups is not None:
        # What a date says is a feature outside groups, too.
        parts_by_player = {}
        for player_name, column_indices in players.items():
            parts_by_player[player_name] = encoder.parts_by_name(player_name) or {
                player_name: column_indices
            }
        modality = tuple(
            player_modality
            for player_modality, split in zip(
                modality, parts_by_player.values(), strict=True
            )
            for _ in split
        )
        players = {}
        for split in parts_by_player.values():
            for part_name, column_indices in split.items():
                players[part_name] = column_indices
        groups = _with_parts(encoder, groups)
    owner = torch.full((count,), NOBODY, dtype=torch.int64)
    for index, columns in enumerate(players.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = index
    space = PlayerSpace(tuple(players), modality, ("table",), (owner,))
    if isinstance(blocks := options.get("blocks"), Mapping):
        return space.in_blocks(blocks)
    if groups is not None:
        declared = {
            column: group_name
            for group_name, columns in encoder.groups_.items()
            for column in columns
        }
        space = space.grouped(
            groups, {column: declared.get(column, column) for column in space.names}
        )
    return space


def _with_parts(encoder: Any, groups: Any) -> Any:
    """Return groups in which a date stands for all that it says.

    What is no mapping of lists is refused later.
    """
    if not encoder.date_parts_ or not isinstance(groups, Mapping):
        return groups
    listed_of = {}
    for group_name, group_members in groups.items():
        if isinstance(group_members, str):
            listed_of[group_name] = [group_members]
        else:
            listed_of[group_name] = group_members
    return {
        group_name: [
            member_part
            for member in members
            for member_part in encoder.parts_by_name(str(member)) or (member,)
        ]
        if isinstance(members, (list, tuple))
        else members
        for group_name, members in listed_of.items()
    }


def _table_players(
    encoder: Any, level: Level
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the encoded columns of each player, and the modality of each."""
    kinds = []
    for column_schema in encoder.schema_:
        kinds.append(column_schema.of.modality)
    if level.of_modalities:
        column_modalities = np.array(kinds)[encoder.feature_of_]
        places_of = {}
        for modality_name in modalities():
            places_of[modality_name] = np.flatnonzero(
                column_modalities == modality_name
            )
        places_of = {
            modality_name: column_indices
            for modality_name, column_indices in places_of.items()
            if len(column_indices)
        } or {"table": np.arange(0)}
        return places_of, tuple(places_of)
    players = dict(encoder.features(level.encoded_as))
    kind_of = dict(zip(encoder.feature_names_in_, kinds, strict=True))
    player_kinds = (
        [kind_of[column] for column in encoder.raw_columns_of(player_name)]
        for player_name in players
    )
    return players, tuple(
        "+".join(dict.fromkeys(column_kinds)) for column_kinds in player_kinds
    )


def encode_background(model: Any, background: Any) -> Floats32:
    """Return rows for ``background=`` as a fitted estimator's network sees them."""
    trained = []
    for column_name in getattr(model, "feature_names_in_", ()):
        trained.append(str(column_name))
    if is_frame(background):
        names = [str(column_name) for column_name in background.columns]
    else:
        names = trained
    if trained and names != trained and len(set(names)) == len(names):
        # Without names in training, only the number of columns is checked.
        missing = [column_name for column_name in trained if column_name not in names]
        further = [column_name for column_name in names if column_name not in trained]
        pairs = (("lacks", missing), ("also has", further))
        faults = []
        for fault_word, columns in pairs:
            if columns:
                faults.append(f"{fault_word} {listed(columns, show=repr)}")
        if missing:
            hint = "Pass rows like X."
        else:
            hint = "Pass background[model.feature_names_in_]."
        raise InputError(
            "background must have the columns of the training data in the same order, "
            f"but it {' and '.join(faults) or 'has them in another order'}",
            hint=hint,
            code="PG038",
        )
    if hasattr(background, "__len__") and len(background) == 0:
        raise InputError(
            "background has no rows", hint="Pass rows like X.", code="PG038"
        )
    try:
        encoded: Floats32 = model.encode_rows(background).encoded
    except InputError as error:
        # The estimator calls these rows X.
        problem, hint = (
            re.sub(r"(?<!['\w])X(?!['\w])", "background", message_text)
            for message_text in (error.problem, error.hint)
        )
        problem = " ".join(problem.splitlines())
        if "background" not in problem:
            problem = f"background: {problem}"
        raise InputError(problem, hint=hint, code=error.code) from error
    return encoded


# ---- scores of classes? quantiles and thresholds do not predict y as such ------------
#: Rows that are looked at, at most.
_LOOKED_AT = 256
#: Rows of a class, which at least two must have. Of fewer, columns may be in one order
#: by chance, or all be right.
_FEW_OF_CLASS = 5
#: Standard errors by which the loss must exceed that of the classes' frequencies, where
#: columns are in no order.
_ERRORS = 3.0
#: Where all tell their class from others better than this they are scores, too sure of
#: themselves at worst.
_TOLD = 0.51
#: Decimals of the logarithm of a probability. The next may be rounding.
_DECIMALS = 6


def _check_classes(subject: Subject, inputs: Tensors, classes: Integers | None) -> None:
    """Refuse or name outputs that are no scores of classes by all that y says.

    What the user declared is not asked.
    """
    output_form = subject.outputs
    if output_form.count == 1 and classes is not None and output_form.inferred:
        _check_side(subject, inputs, classes)
    numbered = tuple(map(str, range(output_form.count)))
    if (
        classes is None
        or output_form.kind != "logits"
        or not output_form.by_values
        or output_form.count < 2
    ):
        return
    if output_form.class_names != numbered:
        return
    outputs = (
        outputs_of(subject, [tensor[:_LOOKED_AT] for tensor in inputs])
        .double()
        .cpu()
        .numpy()
    )
    y = classes[:_LOOKED_AT]
    finite = np.isfinite(outputs).all(axis=1)
    outputs = outputs[finite]
    y = y[finite]
    counts = np.bincount(y, minlength=output_form.count)
    if (counts >= _FEW_OF_CLASS).sum() < 2:
        return
    score = outputs - outputs.max(axis=1, keepdims=True)
    score = (score - np.log(np.exp(score).sum(axis=1, keepdims=True))).round(_DECIMALS)
    excess = np.log(counts[y] / len(y)) - score[np.arange(len(y)), y]
    if excess.mean() <= 0:
        return
    steps = np.diff(outputs, axis=1)
    directions = []
    for direction_name, is_monotone in (("rise", steps > 0), ("fall", steps < 0)):
        if is_monotone.all():
            directions.append(direction_name)
    if output_form.count > 2 and directions:
        problem = (
            f"The {output_form.count} outputs {directions[0]} from column to column in "
            "every row, and as scores of classes they "
            "predict y worse than its frequencies"
        )
        hint = (
            "Pass loss=('quantile', levels) for quantiles, or returns='values' or "
            "returns='logits' to pg.Model for others"
        )
        raise InputError(problem, hint=hint, code="PG015")
    smallest_chance = min(
        _told(score[:, k], y == k) for k in np.flatnonzero(counts >= _FEW_OF_CLASS)
    )
    if (
        excess.mean() > _ERRORS * excess.std() / len(y) ** 0.5
        and smallest_chance < _TOLD
    ):
        warn_user(
            f"The {output_form.count} outputs are taken for logits of the classes 0 … "
            f"{output_form.count - 1}, but predict y worse "
            "than its frequencies. Pass class_names= in their order to pg.Model, or "
            "returns='values' for other numbers."
        )


def _check_side(subject: Subject, inputs: Tensors, classes: Integers) -> None:
    """Warn of a column that ranks the rows of its class below those of the other."""
    y = classes[:_LOOKED_AT]
    names = subject.outputs.class_names
    counts = np.bincount(y, minlength=2)
    if counts.min() < _FEW_OF_CLASS:
        return
    tried_inputs = [tensor[:_LOOKED_AT] for tensor in inputs]
    score = outputs_of(subject, tried_inputs).double().cpu().numpy()[:, 0]
    if not np.isfinite(score).all():
        return
    error = ((len(y) + 1) / (12 * counts.prod())) ** 0.5
    if _told(score, y == 1) < 0.5 - _ERRORS * error:
        warn_user(
            f"The output is taken for that of class {names[1]!r}, but is larger in "
            f"rows of {names[0]!r}. If it is the probability of {names[0]!r}, pass "
            f"class_names={[names[1], names[0]]!r} to pg.Model."
        )


def _told(score: Floats, own_class_mask: np.ndarray) -> float:
    """Return the chance that a row of the class has a higher score than another (a tie
    counts half).
    """
    other_scores = np.sort(score[~own_class_mask])
    below, up_to = (
        np.searchsorted(other_scores, score[own_class_mask], search_side)
        for search_side in ("left", "right")
    )
    return float((below + up_to).mean() / 2 / len(other_scores))


_READERS = {
    "network": _read_network,
    "estimator": _read_table,
    "predictor": _read_predictor,
}
