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

from permgrad.attribution.arguments import Arguments, resolve_options, resolve_scope
from permgrad.attribution.method import Method, Request, Scope, methods
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.players.segments import ImageShape, build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.conditional import check_conditional
from permgrad.attribution.subject.hybrid import HybridSubject
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.subject import Subject
from permgrad.base.checks import is_whole
from permgrad.base.errors import InputError, listed, suggest
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor

#: Options that describe a network, not the method, and that of any rows.
NETWORK_OPTIONS = ("head", "output_kind", "task", "class_names", "layer", "segments", "row_offset")
#: From this many explained rows on they serve as their own background.
_OWN_BACKGROUND = 200


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them: encoded once, for many calls with parts of a longer table."""

    rows: npt.NDArray[np.float32]  # ``(donors, encoded)``
    kind: str  # what ``meta["background"]["kind"]`` will say


@dataclass(frozen=True)
class _Rows:
    """The subject with the rows of one call, its background and its players, as ``Request`` has them."""

    subject: Subject
    inputs: tuple[Tensor, ...]
    donors: tuple[Tensor, ...]
    space: PlayerSpace
    background_kind: str
    raw: pd.DataFrame | None = None
    shapes: tuple[ImageShape | None, ...] = ()


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
    rows = (_read_network if network else _read_table)(arguments, name, scope, settings)
    row_offset = settings.get("row_offset", 0)
    _check_row_offset(row_offset, rows.donors is rows.inputs)
    common = arguments.common(rows.subject, len(rows.inputs[0]))
    rows.subject.choose(common["targets"])
    return Request(**vars(rows), scope=scope, options=options, row_offset=int(row_offset), **common)


def _own_background(
    inputs: tuple[Tensor, ...], donors: tuple[Tensor, ...], scope: Scope, *, is_part: bool
) -> tuple[Tensor, ...]:
    """Return the background, which is ``inputs`` itself where the rows explained were given as their own background.

    Not where they are one part of a longer table: they draw the donors that they draw among all of it.
    """
    pairs = list(zip(donors, inputs, strict=True))
    same = len(inputs[0]) > 1 and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b.to(a.device))) for a, b in pairs
    )
    return inputs if same and scope == "global" and not is_part else donors


def _check_row_offset(row_offset: Any, shared: bool) -> None:
    """Refuse a number that is no row number, and parts of a table that would be their own background."""
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


# ---- a torch network -------------------------------------------------------------------------------------------------


def _read_network(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> _Rows:
    outputs = {key: settings.get(key) for key in ("head", "output_kind", "task", "class_names")}
    subject = NetworkSubject(arguments.model, arguments.inputs, arguments.y, **outputs)
    inputs, layer, segments = subject.inputs, settings.get("layer"), settings.get("segments")
    if arguments.sampling == "conditional":
        check_conditional(name, subject.input_names, inputs, layer)
    donors = inputs
    if arguments.background is not None:
        donors = _own_background(inputs, subject.read(arguments.background), scope, is_part="row_offset" in settings)
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
    kind = "rows explained" if arguments.background is None else "given"
    shapes_of_inputs = shapes_of(subject.input_names, inputs, segments, subject.readings())
    return _Rows(subject, inputs, donors, _at_level(space, arguments), kind, shapes=shapes_of_inputs)


def _at_level(space: PlayerSpace, arguments: Arguments) -> PlayerSpace:
    """Return the players of the level asked for."""
    if arguments.level == "modality":
        return space.modalities()
    if arguments.level == "group":
        if arguments.groups is None:
            raise InputError(
                "level='group' needs groups, however: groups=None; pass groups={'name': ['feature', …]} with the names "
                f"of features ({', '.join(space.names[:5])}{', …' if len(space) > 5 else ''})"
            )
        return space.grouped(arguments.groups)
    return space


# ---- a fitted estimator ----------------------------------------------------------------------------------------------


def _read_table(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> _Rows:  # noqa: ARG001 — as for networks
    subject = HybridSubject(arguments.model)
    inputs = subject.read(arguments.inputs)
    rows = len(inputs[0])
    if rows == 0:
        raise InputError("explain needs at least one row, however: inputs has none; pass the rows to explain")
    players, groups = _players(subject, arguments.level, arguments.groups)
    donors, kind = inputs, "rows explained"
    background = arguments.background
    if isinstance(background, EncodedBackground):
        donors, kind = _tensors(background.rows), background.kind
    elif background is not None:
        rows_given = _tensors(encode_background(subject.model, background))
        donors, kind = _own_background(inputs, rows_given, scope, is_part="row_offset" in settings), "given"
    elif rows < _OWN_BACKGROUND or scope == "local":
        donors, kind = _tensors(subject.background), "training rows"
    owner = torch.full((inputs[0].shape[1],), NOBODY, dtype=torch.int64)
    for index, columns in enumerate(players.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = index
    space = PlayerSpace(tuple(players), ("table",) * len(players), ("table",), (owner,), groups)
    return _Rows(subject, inputs, donors, space, kind, raw=subject.raw_frame(arguments.inputs))


def _tensors(encoded: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
    return (torch.from_numpy(np.ascontiguousarray(encoded)),)


def _players(
    subject: HybridSubject, level: str, groups: Mapping[str, Iterable[str]] | None
) -> tuple[dict[str, npt.NDArray[np.intp]], dict[str, list[str]]]:
    """Return the encoded columns of each player, and the members of groups."""
    encoder = subject.preprocessor
    if level == "modality":
        return {"table": np.arange(len(encoder.encoded_names_), dtype=np.intp)}, {}
    if groups is None:
        declared = {name: list(members) for name, members in getattr(encoder, "groups_", {}).items()}
        return dict(encoder.features(level)), declared if level == "group" else {}
    return _grouped_players(dict(encoder.features("feature")), dict(encoder.features("column")), groups)


def _grouped_players(
    features: dict[str, npt.NDArray[np.intp]],
    columns: dict[str, npt.NDArray[np.intp]],
    groups: Mapping[str, Iterable[str]],
) -> tuple[dict[str, npt.NDArray[np.intp]], dict[str, list[str]]]:
    """Return one player for each group and one for each feature that is in none."""
    players: dict[str, npt.NDArray[np.intp]] = {}
    taken: dict[str, str] = {}
    owner: dict[int, str] = {}
    for group, members in groups.items():
        listed = [members] if isinstance(members, str) else [str(member) for member in members]
        for member in listed:
            if member not in features and member not in columns:
                raise InputError(
                    f"a group's members must be features of the model, however: group {group!r} has {member!r}"
                    f"{suggest(member, [*features, *columns])}; "
                    "name columns of the table"
                )
            if member in taken:
                raise InputError(
                    f"a feature may be in one group only, however: {member!r} is in {taken[member]!r} and {group!r}; "
                    "take it out of one"
                )
            taken[member] = str(group)
        if not listed:
            raise InputError(
                f"a group must have at least one feature, however: {group!r} is empty; "
                "name its features, or leave it out"
            )
        parts = [features[member] if member in features else columns[member] for member in listed]
        _take_columns(owner, str(group), dict(zip(listed, parts, strict=True)))
        players[str(group)] = np.unique(np.concatenate(parts)).astype(np.intp)
    for name, block in features.items():
        # A variable of which a group has some columns is what is left of it: no column is two players'.
        ungrouped = block[~np.isin(block, np.array(sorted(owner), dtype=np.intp))]
        if name in taken or (len(block) and not len(ungrouped)):
            continue
        if name in players:
            raise InputError(f"a group must not have the name of a feature outside it, however: {name!r}; rename it")
        players[name] = ungrouped
    return players, {name: [str(m) for m in ([v] if isinstance(v, str) else v)] for name, v in groups.items()}


def _take_columns(owner: dict[int, str], group: str, members: Mapping[str, npt.NDArray[np.intp]]) -> None:
    """Note which group each encoded column is in; a variable and a column of it must not be in two."""
    for member, columns in members.items():
        for column in columns.tolist():
            if owner.setdefault(column, group) != group:
                raise InputError(
                    f"a feature may be in one group only, however: columns of {member!r} are in {owner[column]!r} and "
                    f"{group!r}; take them out of one"
                )


def encode_background(model: Any, background: Any) -> npt.NDArray[np.float32]:
    """Return rows for ``background=`` as a fitted estimator's network sees them."""
    if isinstance(background, pd.DataFrame):
        _check_background_columns(model, background)
    if hasattr(background, "__len__") and len(background) == 0:
        raise InputError("background must hold at least one row, however: it is empty; pass rows like the inputs")
    try:
        encoded: npt.NDArray[np.float32] = model.encode(background)
    except InputError as error:
        # The estimator speaks of X, which is not what is wrong here.
        words = " ".join(str(error).splitlines()).replace("however: X ", "however: it ")
        raise InputError(f"background{words[1:] if words.startswith('X ') else f': {words}'}") from error
    return encoded


def _check_background_columns(model: Any, background: pd.DataFrame) -> None:
    """Refuse other columns than those of training; the number alone counts where it was trained without names."""
    trained = [str(name) for name in getattr(model, "feature_names_in_", ())]
    names = [str(name) for name in background.columns]
    if not trained or names == trained or len(set(names)) < len(names):
        return
    missing = [name for name in trained if name not in names]
    further = [name for name in names if name not in trained]
    faults = [
        f"{word} {listed(columns, show=repr)}"
        for word, columns in (("lacks", missing), ("also has", further))
        if columns
    ]
    raise InputError(
        "background must have the columns that the model was trained on, in their order, however: it "
        f"{' and '.join(faults) or 'has them in another order'}; pass "
        f"{'rows like the inputs' if missing else 'background[model.feature_names_in_]'}"
    )
