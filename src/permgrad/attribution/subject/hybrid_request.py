"""From the arguments of ``pg.explain`` to a ``Request``, for permgrad's own estimators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from permgrad.attribution.arguments import LEVELS, Arguments, resolve_options, resolve_scope
from permgrad.attribution.method import Method, Request, Scope
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.subject.hybrid import HybridSubject
from permgrad.base.checks import check_choice, is_whole
from permgrad.base.errors import InputError, listed, suggest

#: From this many explained rows on they serve as their own background.
_OWN_BACKGROUND = 200


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them: encoded once, for many calls with parts of a longer table.

    Attributes:
        rows: ``(donors, encoded)``.
        kind: what ``meta["background"]["kind"]`` will say.
    """

    rows: npt.NDArray[np.float32]
    kind: str


def hybrid_request(arguments: Arguments, chosen: Method, name: str) -> Request:
    """Check and resolve every argument for a fitted ``HyNNClassifier`` or ``HyNNRegressor``.

    Raises:
        InputError: an argument cannot be used; nothing has been computed.
    """
    subject = HybridSubject(arguments.model)
    encoded = subject.encode(arguments.inputs)
    rows = len(encoded)
    if rows == 0:
        raise InputError("explain needs at least one row, however: inputs has none; pass the rows to explain")
    given = dict(arguments.options)
    row_offset = given.pop("row_offset", 0)
    options = resolve_options(chosen, name, given)
    scope = resolve_scope(chosen, name, arguments.scope)
    players, named_groups = _players(subject, arguments.level, arguments.groups)
    donors, kind = _background(subject, arguments.background, rows, scope)
    if scope == "global" and _is_own_background(arguments, donors, encoded):
        donors = None
    check_row_offset(row_offset, donors is None)
    inputs = (torch.from_numpy(np.ascontiguousarray(encoded)),)
    return Request(
        subject=subject,
        encoded=encoded,
        raw=subject.raw_frame(arguments.inputs),
        background=donors,
        background_kind=kind,
        players=players,
        groups=named_groups,
        scope=scope,
        level=arguments.level,
        row_offset=int(row_offset),
        options=options,
        inputs=inputs,
        donors=inputs if donors is None else (torch.from_numpy(np.ascontiguousarray(donors)),),
        space=_space(players, encoded.shape[1], named_groups),
        **arguments.common(subject, rows),
    )


def _space(players: dict[str, npt.NDArray[np.intp]], columns: int, groups: dict[str, list[str]]) -> PlayerSpace:
    owner = torch.full((columns,), NOBODY, dtype=torch.int64)
    for index, own in enumerate(players.values()):
        owner[torch.as_tensor(own, dtype=torch.int64)] = index
    return PlayerSpace(tuple(players), ("table",) * len(players), ("table",), (owner,), groups)


def _players(
    subject: HybridSubject, level: str, groups: Mapping[str, Iterable[str]] | None
) -> tuple[dict[str, npt.NDArray[np.intp]], dict[str, list[str]]]:
    check_choice("level", level, LEVELS)
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
        rest = block[~np.isin(block, np.array(sorted(owner), dtype=np.intp))]
        if name in taken or (len(block) and not len(rest)):
            continue
        if name in players:
            raise InputError(f"a group must not have the name of a feature outside it, however: {name!r}; rename it")
        players[name] = rest
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


def _is_own_background(
    arguments: Arguments, donors: npt.NDArray[np.float32] | None, encoded: npt.NDArray[np.float32]
) -> bool:
    """Return whether the rows explained were given as their own background.

    Not where they are one part of a longer table: they draw the donors that they draw among all of it.
    """
    is_part = "row_offset" in arguments.options or isinstance(arguments.background, EncodedBackground)
    if donors is None or arguments.background is None or is_part or len(encoded) < 2:
        return False
    return bool(np.array_equal(donors, encoded))


def _background(
    subject: HybridSubject, background: Any, rows: int, scope: Scope
) -> tuple[npt.NDArray[np.float32] | None, str]:
    if isinstance(background, EncodedBackground):
        return background.rows, background.kind
    if background is not None:
        return encode_background(subject.model, background), "given"
    if rows >= _OWN_BACKGROUND and scope == "global":
        return None, "rows explained"
    return subject.background, "training rows"


def encode_background(model: Any, background: Any) -> npt.NDArray[np.float32]:
    """Return rows for ``background=`` as a fitted estimator's network sees them.

    Raises:
        InputError: they are none, have other columns than in training, or a cell cannot be read; it says of which rows.
    """
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
    given = [str(name) for name in background.columns]
    if not trained or given == trained or len(set(given)) < len(given):
        return
    missing = [name for name in trained if name not in given]
    further = [name for name in given if name not in trained]
    faults = [f"{word} {listed(own, show=repr)}" for word, own in (("lacks", missing), ("also has", further)) if own]
    raise InputError(
        "background must have the columns that the model was trained on, in their order, however: it "
        f"{' and '.join(faults) or 'has them in another order'}; pass "
        f"{'rows like the inputs' if missing else 'background[model.feature_names_in_]'}"
    )


def check_row_offset(row_offset: Any, shared: bool) -> None:
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
