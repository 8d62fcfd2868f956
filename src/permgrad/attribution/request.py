"""Turn the arguments of ``pg.explain`` into a ``Request``: check each once, then read the subject, rows and players."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import compress
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from permgrad.attribution.method import Method, Request, Scope, methods, refuse_interactions, with_options
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.players.segments import build_space, shapes_of
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.conditional import check_conditional
from permgrad.attribution.subject.hybrid import HybridSubject
from permgrad.attribution.subject.inner import at_layer
from permgrad.attribution.subject.inputs import shapes_in_words
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.outputs import as_target
from permgrad.attribution.subject.predictor import PredictorSubject
from permgrad.attribution.subject.row_target import each_row_by_itself, outputs_of
from permgrad.attribution.subject.subject import Subject
from permgrad.attribution.subject.tokens import Roles, find_roles, follow_masks, read_texts, replaced, with_tokens
from permgrad.attribution.top import check_top
from permgrad.base.checks import check_choice, check_confidence, check_flag, check_number, check_whole, is_whole
from permgrad.base.errors import InputError, counted, did_you_mean, listed, shown
from permgrad.base.late import is_frame, pd
from permgrad.base.random import resolve_seed
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.data.weights import check_weights
from permgrad.models.losses import FITS, TELLING, OtherLoss, TargetRows, losses, read_loss, risk_sets

Tensors = tuple[Tensor, ...]

SAMPLINGS = ("marginal", "conditional")
LEVELS = ("column", "feature", "group", "modality")

#: Options that describe a network, not the method, and the number of the first row.
NETWORK_OPTIONS = ("head", "output_kind", "task", "class_names", "layer", "segments", "reduce", "row_target",
                   "row_offset", "hold", "tokens", "tokenizer", "replace")  # fmt: skip
#: Options that describe any other predictor, and those that describe a fitted estimator of permgrad.
PREDICTOR_OPTIONS = ("output_kind", "task", "class_names", "reduce", "row_target", "row_offset")
ESTIMATOR_OPTIONS = ("row_target", "row_offset")
#: At least this many explained rows serve as their own background.
_OWN_BACKGROUND = 200
#: Rows on which a callable loss is tried out before any work starts.
_TRIED = 256


@dataclass(frozen=True)
class Arguments:
    """The user's arguments, unchanged. ``pg.explain`` says what each means."""

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
    loss: Any = "auto"
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
        """Refuse arguments that fit no model, before anything is read. With ``groups``, the groups are the players."""
        method, options = with_options(self.method, self.options)
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "options", options)
        check_choice("level", self.level, LEVELS)
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_choice("output", self.output, ("logit", "probability"))
        check_confidence(self.confidence)
        check_whole("n_repeats", self.n_repeats, "pass for example 10")
        automatic = isinstance(self.batch_size, str) and self.batch_size == "auto"
        if not automatic and not (is_whole(self.batch_size) and self.batch_size >= 1):
            raise InputError(
                f"batch_size must be 'auto' or an integer of at least 1, got {shown(self.batch_size)}",
                hint="Pass for example 'auto'.",
                code="PG002",
            )
        groups: Any = self.groups
        if groups is not None and not isinstance(groups, Mapping):
            raise InputError(
                f"groups must map names to lists of features, got {type(groups).__name__}",
                hint="Pass groups={'name': ['feature', …]}.",
                code="PG001",
            )
        for name, members in (groups or {}).items():
            if not isinstance(members, Iterable) or isinstance(members, (bytes, Mapping)):
                raise InputError(
                    f"Group {name!r} must be a list of features, got {shown(members)}",
                    hint=f"Pass groups={{{name!r}: ['feature', …]}}.",
                    code="PG001",
                )
        if groups and self.level in ("column", "modality"):
            players = "every column" if self.level == "column" else "every input"
            raise InputError(
                f"groups= cannot be used with level={self.level!r}, which explains {players} separately",
                hint="Leave one of them out.",
                code="PG006",
            )
        if groups is not None and self.level == "feature":
            object.__setattr__(self, "level", "group")


@dataclass(frozen=True)
class EncodedBackground:
    """Rows for ``background=`` as the network sees them, encoded once for many calls with parts of a longer table."""

    rows: npt.NDArray[np.float32]  # ``(donors, encoded)``
    kind: str  # the value of ``meta["background"]["kind"]``


def find_method(method: Any) -> tuple[Method, str]:
    """Return a method and its name: a registered one, or an adapted Captum object."""
    if isinstance(method, str):
        return methods.get(method)(), method
    adapted = CaptumMethod(method)
    return adapted, adapted.name


class NoMethod:
    """Stands in for a method in calls of ``build_request`` that have none."""

    scopes: ClassVar[tuple[Scope, ...]] = ("global", "local")
    options: ClassVar[Mapping[str, Any]] = {}

    def __call__(self, request: Request) -> Any:
        """Refuse to compute anything."""
        raise NotImplementedError


def is_estimator(model: Any) -> bool:
    """Return whether a model is an estimator of permgrad. Their module is not loaded for other models."""
    module = sys.modules.get("permgrad.models.estimators.hynn")
    return module is not None and isinstance(model, (module.HyNNClassifier, module.HyNNRegressor))


def _check_row_offset(row_offset: Any, *, shared: bool) -> int:
    """Return the number of the first row within a longer table. ``shared``: explained rows are also the donors."""
    if not is_whole(row_offset) or row_offset < 0:
        raise InputError(
            f"row_offset must be an integer of at least 0, got {shown(row_offset)}",
            hint="Pass the number of the first explained row within the longer table.",
            code="PG002",
        )
    if row_offset and shared:
        raise InputError(
            f"row_offset={row_offset} needs a background: donors must not come from the explained part of the table",
            hint="Pass the same background= for every part.",
            code="PG006",
        )
    return int(row_offset)


def build_request(arguments: Arguments, chosen: Method, name: str) -> Request:
    """Check and resolve every argument."""
    model = arguments.model
    network, fitted = isinstance(model, nn.Module), is_estimator(model)
    read = _read_network if network else _read_table if fitted else _read_predictor
    # In a class activation map, layer= is the layer that the method reads.
    further = NETWORK_OPTIONS if network else ESTIMATOR_OPTIONS if fitted else PREDICTOR_OPTIONS
    of_rows = [key for key in further if key not in chosen.options]
    settings = {key: value for key, value in arguments.options.items() if key in of_rows}
    hint = "" if fitted else f" A {'network' if network else 'predictor'} also takes: {', '.join(further)}."
    of_method = {key: value for key, value in arguments.options.items() if key not in settings}
    scope = resolve_scope(chosen, name, arguments.scope)
    check_top(arguments.options, name, scope, scores=arguments.scoring is not None)
    options = resolve_options(chosen, name, of_method, hint=hint)
    used = (arguments.scoring is not None, arguments.sampling != "marginal", options.get("ensure_top") is not None)
    for argument in compress(("scoring=", "sampling=", "ensure_top="), used):
        refuse_interactions(options, argument)
    rows = read(arguments, name, scope, settings)
    row_offset = _check_row_offset(settings.get("row_offset", 0), shared=rows["donors"] is rows["inputs"])
    subject, count, weight = rows["subject"], len(rows["inputs"][0]), arguments.sample_weight
    loss = resolve_loss(subject, arguments.loss)
    y, classes = read_y(subject, arguments.y, loss, rows["inputs"])
    positive = resolve_positive(subject, arguments.positive, classes)
    targets = resolve_targets(subject, arguments.target)
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
        positive=positive,
        positive_by_y=arguments.positive is None and classes is not None and subject.background_classes is None,
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
    """Return ``inputs`` itself where the background equals it, else the background.

    One part of a longer table keeps its background: it draws the same donors as in a call with all rows.
    """
    same = len(inputs[0]) > 1 and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b.to(a.device)))
        for a, b in zip(donors, inputs, strict=True)
    )
    return inputs if same and scope == "global" and "row_offset" not in settings else donors


# ---- single arguments ------------------------------------------------------------------------------------------------


def resolve_options(chosen: Method, method: str, options: dict[str, Any], *, hint: str = "") -> dict[str, Any]:
    """Return the method's options: the user's values in place of its defaults. Unknown options are refused.

    A method whose ``options`` hold ``"**"`` takes any option, because they are another library's.
    """
    if "**" in chosen.options:
        return dict(options)
    parameters = {each.name for each in fields(Arguments)} - {"model", "inputs", "y", "method", "options"}
    for name, value in options.items():
        if name not in chosen.options:
            choices = ", ".join(chosen.options)
            known = f"Leave it out. Its options are: {choices}." if choices else "Leave it out. It has no options."
            near = did_you_mean(name, [*chosen.options, *sorted(parameters)], known)
            raise InputError(
                f"method={method!r} has no option {name!r} (got {name}={shown(value)})",
                hint=f"{near}{hint}",
                code="PG004",
            )
    for name, default in chosen.options.items():
        if isinstance(default, bool) and name in options:
            check_flag(name, options[name])
    chosen_options = {**chosen.options, **options}
    if "interactions" in chosen_options:
        check_whole("interactions", chosen_options["interactions"], "pass 2 for pairs")
    if "workers" in chosen_options:
        if chosen_options.get("tolerance") is not None:
            check_number("tolerance", chosen_options["tolerance"], "pass for example 0.01, or None")
        check_whole("workers", chosen_options["workers"], "pass for example 2")
    return chosen_options


def resolve_scope(chosen: Method, method: str, scope: Literal["auto", "global", "local"]) -> Scope:
    """Return the scope. ``"auto"`` is the method's first."""
    check_choice("scope", scope, ("auto", "global", "local"))
    if scope == "auto":
        return chosen.scopes[0]
    if scope not in chosen.scopes:
        raise InputError(
            f"method={method!r} only works with scope={chosen.scopes[0]!r}, got {scope!r}",
            hint="Leave scope out" + (" and call .to_global() on the result." if scope == "global" else "."),
            code="PG004",
        )
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
            # A number outside the positions may still be the name of a class.
            positions.append(names.index(str(one)))
        else:
            last = "0" if count == 1 else "0 or 1" if count == 2 else f"0 to {count - 1}"
            classes = f", a class ({', '.join(names[:7])})" if subject.task == "classification" else ""
            raise InputError(
                f"target must be one of the {counted(count, 'output')}, got {shown(one)}",
                hint=f"Pass {last}{classes} or None for all outputs.",
                code="PG035",
            )
    if not positions:
        raise InputError("target names no output", hint="Pass None to explain all outputs.", code="PG005")
    return tuple(dict.fromkeys(positions))


def check_row_target(arguments: Arguments, chosen: Method, scope: Scope) -> None:
    """Refuse calls that do not explain an output of each row."""
    if scope != "local":
        raise InputError(
            "row_target picks an output for each row, but a global importance does not explain single rows",
            hint="Pass scope='local', or choose a method such as 'shapley'.",
            code="PG006",
        )
    if "**" in chosen.options:
        raise InputError(
            "row_target works only with permgrad's own methods, not with a Captum object",
            hint="Pass target= instead.",
            code="PG004",
        )
    if arguments.target is not None:
        raise InputError(
            "row_target and target both choose the output to explain", hint="Leave one of them out.", code="PG006"
        )


def resolve_positive(subject: Subject, positive: Any, y: npt.NDArray[Any] | None) -> str | None:
    """Return the name of the positive one of two classes, or None where there are not two.

    The default is the rarer class: among the training rows that an estimator keeps, or in ``y`` for a network.
    """
    names = subject.class_names
    if positive is not None:
        return names[find_positive(names, positive)]
    if len(names) != 2:
        return None
    codes = y if subject.background_classes is None else subject.background_classes
    return names[1 if codes is None else usual_positive(names, codes)]


def resolve_loss(subject: Subject, loss: Any) -> str | OtherLoss:
    """Return the loss: the task's usual one for ``"auto"``. A loss of another task is refused."""
    read, usual = read_loss(loss), read_loss(subject.usual_loss)
    if isinstance(read, OtherLoss):
        name = "" if read.returned else "quantile"
    else:
        check_choice("loss", read, ("auto", *losses.names()))
        if read in ("auto", usual):
            return usual
        name = read
    if name and name not in FITS[subject.task]:
        raise InputError(
            f"loss={loss!r} cannot be used for {subject.task}",
            hint=f"Pass one of {', '.join(FITS[subject.task])} or 'auto'.",
            code="PG036",
        )
    return read


def task_of_loss(loss: Any) -> str | None:
    """Return the task that a loss implies, or None."""
    read = read_loss(loss)
    return TELLING.get(read) if isinstance(read, str) else None if read.returned else "regression"


def read_y(
    subject: Subject, y: Any, loss: str | OtherLoss, inputs: Tensors
) -> tuple[Any, npt.NDArray[np.int64] | None]:
    """Return y as the loss takes it, and the class of each row (None where there are no classes)."""
    if y is None:
        return None, None
    count = len(inputs[0])
    if loss == "cox":
        return risk_sets(outputs_of(subject, inputs), survival(subject, y, count)), None
    if not isinstance(loss, OtherLoss) or not loss.returned:
        encoded = subject.encode_target(y, count)
        if loss in ("poisson", "poisson_log") and (encoded < 0).any():
            raise InputError(
                f"loss={loss!r} needs y of at least 0, got {encoded.min():g}", hint="Pass another loss.", code="PG036"
            )
        return encoded, encoded if subject.task == "classification" else None
    targets, classes = TargetRows(y, count), None
    if subject.task == "classification":
        try:
            classes = subject.encode_target(y, count)
        except InputError:
            # Only the loss knows what y means.
            subject.class_names = ()
    few = [tensor[:_TRIED] for tensor in inputs]
    subject.loss_rows(outputs_of(subject, few), targets[: len(few[0])], loss)
    return targets, classes


def survival(subject: Subject, y: Any, count: int) -> npt.NDArray[np.float64]:
    """Return times and events, ``(rows, 2)``."""
    values = as_target(y)
    if values.shape != (count, 2) or values.dtype.kind not in "fiubO" or subject.count != 1:
        raise InputError(
            f"loss='cox' needs one output and y with a time and an event for {counted(count, 'row')}, got "
            f"{counted(subject.count, 'output')} and y of shape {values.shape}",
            hint="Pass y of shape (rows, 2).",
            code="PG007",
        )
    cells = pd.DataFrame(values).apply(pd.to_numeric, errors="coerce")
    numbers: npt.NDArray[np.float64] = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(numbers).all() or not np.isin(numbers[:, 1], (0, 1)).all() or not numbers[:, 1].any():
        raise InputError(
            "loss='cox' needs finite times and events of 0 (censored) or 1, with at least one 1",
            hint="Pass the time in the first column of y and the event in the second.",
            code="PG036",
        )
    return numbers


# ---- a torch network -------------------------------------------------------------------------------------------------


def _read_network(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    outputs = {key: settings.get(key) for key in ("head", "output_kind", "task", "class_names", "reduce")}
    outputs["task"] = outputs["task"] or task_of_loss(arguments.loss)
    tokenizer, replacement = settings.get("tokenizer"), settings.get("replace", "donor")
    given, texts, added = read_texts(arguments.model, arguments.inputs, tokenizer)
    subject = NetworkSubject(arguments.model, given, arguments.y, **outputs)
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
        raise InputError(
            f"inputs have no feature to explain ({words})",
            hint="Pass inputs with at least one column or pixel.",
            code="PG007",
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
    """Return the players of the requested level."""
    if arguments.level == "modality":
        return space.modalities()
    if arguments.level == "group":
        if arguments.groups is None:
            raise InputError(
                "level='group' needs groups=",
                hint="Pass groups={'name': ['feature', …]} with names of features "
                f"({', '.join(space.names[:5])}{', …' if len(space) > 5 else ''}).",
                code="PG005",
            )
        return space.grouped(arguments.groups)
    return space


# ---- any other predictor ---------------------------------------------------------------------------------------------


def _read_predictor(arguments: Arguments, name: str, scope: Scope, settings: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """Return the subject, its rows, background and players, as fields of a ``Request``."""
    outputs = {key: settings.get(key) for key in ("output_kind", "task", "class_names", "reduce")}
    outputs["task"] = outputs["task"] or task_of_loss(arguments.loss)
    subject = PredictorSubject(arguments.model, arguments.inputs, arguments.y, **outputs)
    if subject.call.ranks and arguments.y is not None and (arguments.loss, arguments.scoring) == ("auto", None):
        raise InputError(
            "The scores of a ranker are not on the scale of y, so there is no default loss",
            hint="Leave y out, or pass loss= a function (outputs, y) -> (rows,).",
            code="PG036",
        )
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
        raise InputError("inputs has no rows", hint="Pass the rows to explain.", code="PG013")
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
    if is_frame(raw):
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
        encoded: npt.NDArray[np.float32] = model.encode(background)
    except InputError as error:
        # The estimator calls these rows X.
        problem, hint = (re.sub(r"(?<!['\w])X(?!['\w])", "background", text) for text in (error.problem, error.hint))
        problem = " ".join(problem.splitlines())
        problem = problem if "background" in problem else f"background: {problem}"
        raise InputError(problem, hint=hint, code=error.code) from error
    return encoded
