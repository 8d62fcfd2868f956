"""From the arguments of ``pg.explain`` to a ``Request``: each checked once, then the subject, its rows and players."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.attribution.method import Method, Request, Scope, methods
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.conditional import check_conditional
from permgrad.attribution.subject.hybrid import HybridSubject
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import each_row_by_itself
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.tokens import Roles, find_roles, follow_masks, read_texts, replaced, with_tokens
from permgrad.base.checks import check_choice, check_confidence, check_flag, check_number, check_whole, is_whole
from permgrad.base.errors import InputError, listed, shown, suggest
from permgrad.base.random import resolve_seed
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.data.weights import check_weights
from permgrad.models.estimators.hynn import HyNNClassifier, HyNNRegressor
from permgrad.models.losses import losses

Tensors = tuple[Tensor, ...]

SAMPLINGS = ("marginal", "conditional")
LEVELS = ("column", "feature", "group", "modality")

#: Options that describe a network, not the method, and that of any rows.
NETWORK_OPTIONS = ("head", "output_kind", "task", "class_names", "layer", "segments", "reduce", "row_target",
                   "row_offset", "hold", "tokens", "tokenizer", "replace")  # fmt: skip
#: Options that describe any other predictor, and those of a fitted estimator of permgrad.
PREDICTOR_OPTIONS = ("output_kind", "task", "class_names", "row_target", "row_offset")
ESTIMATOR_OPTIONS = ("row_target", "row_offset")
#: From this many explained rows on they serve as their own background.
_OWN_BACKGROUND = 200


@dataclass(frozen=True)
class Arguments:
    """What the user passed, unchanged; see ``pg.explain`` for what each means."""

    model: Any = None
    inputs: Any = None
    y: Any = None
    method: Any = "permgrad"
    scope: Any = "auto"
    target: int | str | Iterable[int | str] | None = None
    output: Any = "logit"
    level: str = "feature"
    groups: Mapping[str, Iterable[str]] | None = None
    background: Any = None
    sampling: Any = "marginal"
    loss: str = "auto"
    scoring: Any = None
    sample_weight: Any = None
    confidence: float = 0.95
    n_repeats: int = 10
    batch_size: int | Literal["auto"] = "auto"
    random_state: Any = None
    progress: Any = "auto"
    positive: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be used with no model, before anything is read; groups that are given are the players."""
        check_choice("level", self.level, LEVELS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_choice("output", self.output, ("logit", "probability"))
        check_confidence(self.confidence)
        check_whole("n_repeats", self.n_repeats, "pass for example 10")
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        if not automatic and not (is_whole(self.batch_size) and self.batch_size >= 1):
            raise InputError(
                f"batch_size must be 'auto' or an integer of at least 1, however: batch_size={shown(self.batch_size)}; "
                "pass for example 'auto'"
            )
        groups: Any = self.groups
        if groups is not None and not isinstance(groups, Mapping):
            raise InputError(
                "groups must map names to lists of features, however: it is "
                f"{type(groups).__name__}; pass groups={{'name': ['feature', …]}}"
            )
        for name, members in (groups or {}).items():
            if not isinstance(members, Iterable) or isinstance(members, (bytes, Mapping)):
                raise InputError(
                    f"a group must list its features, however: group {name!r} is {shown(members)}; pass "
                    f"groups={{{name!r}: ['feature', …]}}"
                )
        if groups and self.level in ("column", "modality"):
            players = "each column a player" if self.level == "column" else "whole inputs players"
            raise InputError(
                f"groups= says which features are one player, however: level={self.level!r} makes {players}; leave one "
                "of them out"
            )
        if groups is not None and self.level == "feature":
            object.__setattr__(self, "level", "group")


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
    network, fitted = isinstance(model, nn.Module), isinstance(model, (HyNNClassifier, HyNNRegressor))
    read = _read_network if network else _read_table if fitted else _read_predictor
    # A class activation map has a layer of its own: the one that it reads.
    further = NETWORK_OPTIONS if network else ESTIMATOR_OPTIONS if fitted else PREDICTOR_OPTIONS
    of_rows = [key for key in further if key not in chosen.options]
    settings = {key: value for key, value in arguments.options.items() if key in of_rows}
    hint = "" if fitted else f"; for a {'network' if network else 'predictor'} also: {', '.join(further)}"
    of_method = {key: value for key, value in arguments.options.items() if key not in settings}
    options = resolve_options(chosen, name, of_method, hint=hint)
    scope = resolve_scope(chosen, name, arguments.scope)
    rows = read(arguments, name, scope, settings)
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
    loss, targets = resolve_loss(subject, arguments.loss), resolve_targets(subject, arguments.target)
    if subject.task == "regression" and subject.count > 1:
        subject.loss_columns = targets
    if settings.get("row_target") is not None:
        check_row_target(arguments, chosen, scope)
        rows |= {"targets": (0,), **each_row_by_itself(rows, settings["row_target"], y, arguments.output)}
    return Request(
        **{"targets": targets, **rows},
        scope=scope,
        options=options,
        row_offset=int(row_offset),
        y=y,
        positive=positive,
        loss=loss,
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


# ---- single arguments ------------------------------------------------------------------------------------------------


def resolve_options(chosen: Method, method: str, options: dict[str, Any], *, hint: str = "") -> dict[str, Any]:
    """Return the method's options, the user's over its defaults; unknown ones are refused, with a hint at others.

    A method whose ``options`` hold ``"**"`` takes any: they are another library's.
    """
    if "**" in chosen.options:
        return dict(options)
    parameters = {each.name for each in fields(Arguments)} - {"model", "inputs", "y", "method", "options"}
    for name, value in options.items():
        if name not in chosen.options:
            listed = ", ".join(chosen.options) or "none"
            raise InputError(
                f"options of method={method!r} are: {listed}, however: {name}={shown(value)} is not one of them"
                f"{suggest(name, [*chosen.options, *sorted(parameters)])}; leave it out{hint}"
            )
    for name, default in chosen.options.items():
        if isinstance(default, bool) and name in options:
            check_flag(name, options[name])
    chosen_options = {**chosen.options, **options}
    if "workers" in chosen_options:
        if chosen_options.get("tolerance") is not None:
            check_number("tolerance", chosen_options["tolerance"], "pass for example 0.01, or None")
        check_whole("workers", chosen_options["workers"], "pass for example 2")
    return chosen_options


def resolve_scope(chosen: Method, method: str, scope: Literal["auto", "global", "local"]) -> Scope:
    """Return the scope, the method's first where it is left to it."""
    check_choice("scope", scope, ("auto", "global", "local"))
    if scope == "auto":
        return chosen.scopes[0]
    if scope not in chosen.scopes:
        hint = "; summarise it with .to_global()" if scope == "global" else "; leave it out"
        raise InputError(f"method={method!r} gives scope={chosen.scopes[0]!r}, however: scope={scope!r}{hint}")
    return scope


def resolve_targets(subject: Subject, target: Any) -> tuple[int, ...]:
    """Return the positions of the outputs asked for."""
    names = subject.output_names
    count = len(names)
    if target is None:
        return tuple(range(count))
    wanted = list(target) if isinstance(target, Iterable) and not isinstance(target, str) else [target]
    positions: list[int] = []
    for one in wanted:
        if is_whole(one) and 0 <= int(one) < count:
            positions.append(int(one))
        elif isinstance(one, (str, int, np.integer)) and not isinstance(one, bool) and str(one) in names:
            # A number that is no position may still be the name of a class.
            positions.append(names.index(str(one)))
        else:
            last = f"0…{count - 1}" if count > 1 else "0"
            listed = f" or a class ({', '.join(names[:7])})" if subject.task == "classification" else ""
            raise InputError(
                f"target must be one of the {count} outputs, however: target={shown(one)}; "
                f"pass target={last}{listed} or None"
            )
    if not positions:
        raise InputError("target must name at least one output, however: it is empty; pass None for all")
    return tuple(dict.fromkeys(positions))


def check_row_target(arguments: Arguments, chosen: Method, scope: Scope) -> None:
    """Refuse calls that explain no output row by row."""
    if scope != "local":
        raise InputError(
            "row_target picks the output that is explained of each row, and a global importance has none. Pass "
            "scope='local', or a method such as 'shapley'."
        )
    if "**" in chosen.options:
        raise InputError("row_target works with permgrad's own methods. Pass target= to explain with a Captum object.")
    if arguments.target is not None:
        raise InputError("row_target and target both say which output is explained. Leave one of them out.")


def resolve_positive(subject: Subject, positive: Any, y: npt.NDArray[Any] | None) -> str | None:
    """Return the name of the positive one of two classes; None where there are not two.

    Unless it is said it is the rarer one among the training rows that an estimator keeps, for a network in ``y``.
    """
    names = subject.class_names
    if positive is not None:
        return names[find_positive(names, positive)]
    if len(names) != 2:
        return None
    codes = y if subject.background_classes is None else subject.background_classes
    return names[1 if codes is None else usual_positive(names, codes)]


def resolve_loss(subject: Subject, loss: str) -> str:
    """Return the loss's registered name, the task's usual one for ``"auto"``; one of the other task is refused."""
    check_choice("loss", loss, ("auto", *losses.names()))
    fits = {"classification": ("cross_entropy", "brier", "zero_one"), "regression": ("squared_error", "absolute_error")}
    if loss == "auto":
        return subject.usual_loss
    if loss in fits["regression" if subject.task == "classification" else "classification"]:
        raise InputError(
            f"loss must fit the task, however: loss={loss!r} and the task is {subject.task}; pass one of "
            f"{', '.join(fits[subject.task])} or 'auto'"
        )
    return loss


# ---- a torch network -------------------------------------------------------------------------------------------------


def _read_network(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    outputs = {key: settings.get(key) for key in ("head", "output_kind", "task", "class_names", "reduce")}
    tokenizer, replacement = settings.get("tokenizer"), settings.get("replace", "donor")
    given, texts, added = read_texts(arguments.model, arguments.inputs, tokenizer)
    subject = NetworkSubject(arguments.model, given, arguments.y, **outputs)
    layer, segments, readings = settings.get("layer"), settings.get("segments"), subject.readings()
    if arguments.sampling == "conditional":
        check_conditional(name, subject.input_names, subject.inputs, layer)
    roles: Roles | None = None
    if layer is None:
        roles = find_roles(subject, readings, settings.get("hold"), settings.get("tokens"), added)
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
    if not len(space):
        words = shapes_in_words(subject.input_names, inputs)
        raise InputError(
            f"inputs must have a feature to explain, however: there is none ({words}); pass inputs with columns or "
            "pixels"
        )
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": _at_level(space, arguments),
        "background_kind": "rows explained" if arguments.background is None else "given",
        "shapes": shapes,
    }


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


# ---- any other predictor ---------------------------------------------------------------------------------------------


def _read_predictor(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    said = {key: settings.get(key) for key in ("output_kind", "task", "class_names")}
    subject = PredictorSubject(arguments.model, arguments.inputs, arguments.y, **said)
    donors: Tensors = subject.inputs
    if arguments.background is not None:
        donors = _own_background(subject.inputs, subject.read(arguments.background), scope, settings)
    names = subject.form.names
    space = PlayerSpace(names, ("table",) * len(names), ("table",), (torch.arange(len(names)),))
    return {
        "subject": subject,
        "inputs": subject.inputs,
        "donors": donors,
        "space": _at_level(space, arguments),
        "background_kind": "rows explained" if arguments.background is None else "given",
        "raw": subject.form.frame(subject.inputs[0]),
    }


# ---- a fitted estimator ----------------------------------------------------------------------------------------------


def _read_table(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
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
    level, groups, count = arguments.level, arguments.groups, len(encoder.encoded_names_)
    players = {"table": np.arange(count)}
    if level != "modality":
        players = dict(encoder.features(level if groups is None else "column"))
    owner = torch.full((count,), NOBODY, dtype=torch.int64)
    for index, columns in enumerate(players.values()):
        owner[torch.as_tensor(columns, dtype=torch.int64)] = index
    members = getattr(encoder, "groups_", {}) if level == "group" and groups is None else {}
    declared = {name: list(columns) for name, columns in members.items()}
    space = PlayerSpace(tuple(players), ("table",) * len(players), ("table",), (owner,), declared)
    if groups is not None:
        variables = {column: name for name, columns in encoder.variables_.items() for column in columns}
        space = space.grouped(groups, {column: variables.get(column, column) for column in space.names})
    if isinstance(raw, pd.DataFrame):
        raw = raw.reset_index(drop=True)
    else:
        raw = pd.DataFrame(np.asarray(raw), columns=list(encoder.feature_names_in_))
    return {
        "subject": subject,
        "inputs": inputs,
        "donors": donors,
        "space": space,
        "background_kind": kind,
        "raw": raw,
    }


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
