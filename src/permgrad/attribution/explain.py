"""``pg.explain``: every argument is checked and resolved here, before any work starts; then one method runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad._errors import InputError, suggest, unknown
from permgrad._random import resolve_seed
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Method, Request, Scope, methods
from permgrad.attribution.subject import HybridSubject

_LEVELS = ("column", "feature", "group", "modality")
#: From this many explained rows on they serve as their own background.
_OWN_BACKGROUND = 200


def explain(
    model: Any,
    inputs: Any,
    y: Any = None,
    *,
    method: str = "permgrad",
    scope: Literal["auto", "global", "local"] = "auto",
    target: int | str | Iterable[int | str] | None = None,
    output: Literal["logit", "probability"] = "logit",
    level: Literal["column", "feature", "group", "modality"] = "feature",
    groups: Mapping[str, Iterable[str]] | None = None,
    background: Any = None,
    sampling: Literal["marginal", "conditional"] = "marginal",
    loss: str = "auto",
    scoring: Any = None,
    sample_weight: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    n_repeats: int = 10,
    batch_size: int | Literal["auto"] = "auto",
    random_state: Any = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> Explanation:
    """Explain what a fitted model relies on.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``.
        inputs: the rows to explain, a DataFrame or array with the columns of ``fit``.
        y: their targets. With them, global games measure the loss; without, the divergence from the model's own
            prediction.
        method: a registered method; ``"permgrad"`` is the path game.
        scope: ``"global"``: one number per feature; ``"local"``: one per row and feature; ``"auto"``: the method's own.
        target: outputs to explain, by position or class name; None is all.
        output: ``"logit"`` or ``"probability"`` of a classifier, for methods that explain the output (regression: y's
            units).
        level: ``"feature"`` (a variable that arrived as a one-hot block is one feature), ``"column"`` (raw columns),
            ``"group"``, ``"modality"``.
        groups: columns that act, and are drawn, as one: group name to feature names. Implies ``level="group"``.
        background: rows that donors or baselines are drawn from. Default: the rows explained if there are at least 200,
            else the training rows kept in the model.
        sampling: ``"marginal"``, or ``"conditional"``: replacement values fit the rest of the row.
        loss: of each row; ``"auto"`` is the model's own (cross entropy; squared error in the units of y²).
        scoring: one scikit-learn scorer's name, or several, or callables: importance is then the fall of the score.
        sample_weight: weights of the rows explained, ``(rows,)``.
        confidence: of the intervals.
        n_repeats: donors per row and feature.
        batch_size: rows per forward; ``"auto"`` fits the cache and halves when memory does not suffice.
        random_state: seed; the same seed gives the same donors whatever the batch size, order, threads or partition.
        progress: a bar on stderr; ``"auto"`` only where stderr is a terminal.
        **options: the method's own options.

    Returns:
        An ``Explanation``.

    Raises:
        InputError: an argument cannot be used; nothing has been computed.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 3)); y = X[:, 0] * 2
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X, y, random_state=0, n_repeats=2)
        >>> explanation.ranking()[0]
        'x0'
    """
    # Importing the package registers every method.
    import permgrad.attribution as _registered  # noqa: F401

    chosen = methods.get(method)
    subject = _subject(model)
    if background is not None and isinstance(background, (int, float, str)):
        raise InputError(f"background must be rows like inputs, however: background={background!r}; pass a table")
    encoded = subject.encode(inputs)
    rows = len(encoded)
    if rows == 0:
        raise InputError("explain needs at least one row, however: inputs has none")
    row_offset = options.pop("row_offset", 0)
    _check_numbers(confidence, n_repeats, batch_size)
    resolved = _options(chosen, method, options)
    own_scope = _scope(chosen, method, scope)
    level = "group" if groups is not None and level == "feature" else level
    players, named_groups = _players(subject, level, groups)
    donors, kind = _background(subject, background, rows, own_scope)
    _check_row_offset(row_offset, donors)
    if sampling not in ("marginal", "conditional"):
        raise unknown("sampling", sampling, ("marginal", "conditional"))
    if output not in ("logit", "probability"):
        raise unknown("output", output, ("logit", "probability"))
    request = Request(
        subject=subject,
        encoded=encoded,
        raw=subject.raw_frame(inputs),
        y=None if y is None else subject.encode_target(y, rows),
        background=donors,
        background_kind=kind,
        players=players,
        groups=named_groups,
        scope=own_scope,
        targets=_targets(subject, target),
        output=output,
        level=level,
        sampling=sampling,
        loss=_loss(subject, loss),
        sample_weight=_weights(sample_weight, rows),
        confidence=float(confidence),
        n_repeats=int(n_repeats),
        batch_size=batch_size,
        seed=resolve_seed(random_state),
        progress=progress,
        row_offset=int(row_offset),
        options=resolved,
    )
    if scoring is not None:
        from permgrad.attribution.scoring import explain_scores

        return explain_scores(request, method, scoring)
    return chosen()(request)


def _subject(model: Any) -> HybridSubject:
    from permgrad.models.estimators import HyNNClassifier, HyNNRegressor

    if isinstance(model, type):
        raise InputError(f"model must be a fitted model, however: {model.__name__} is a class; make one and fit it")
    if not isinstance(model, (HyNNClassifier, HyNNRegressor)):
        raise InputError(
            "model must be a fitted HyNNClassifier or HyNNRegressor, however: it is a "
            f"{type(model).__module__}.{type(model).__qualname__}; fit one of permgrad's estimators on the same table"
        )
    return HybridSubject(model)


def _check_numbers(confidence: float, n_repeats: int, batch_size: int | str) -> None:
    if not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise InputError(
            f"confidence must lie between 0 and 1, however: confidence={confidence!r}; pass for example 0.95"
        )
    if isinstance(n_repeats, bool) or not isinstance(n_repeats, (int, np.integer)) or n_repeats < 1:
        raise InputError(f"n_repeats must be an integer of at least 1, however: n_repeats={n_repeats!r}")
    whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if batch_size != "auto" and not (whole and int(batch_size) >= 1):
        raise InputError(f"batch_size must be 'auto' or an integer of at least 1, however: batch_size={batch_size!r}")


def _check_row_offset(row_offset: Any, donors: npt.NDArray[np.float32] | None) -> None:
    whole = isinstance(row_offset, (int, np.integer)) and not isinstance(row_offset, bool)
    if not whole or row_offset < 0:
        raise InputError(
            "row_offset is the number of the first row explained within a longer table, "
            f"however: row_offset={row_offset!r}; pass an integer of at least 0"
        )
    if row_offset and donors is None:
        raise InputError(
            "row_offset explains one part of a longer table, so that donors must not come from the part itself, "
            f"however: row_offset={row_offset} and background=None; pass the same background= for every part"
        )


def _options(chosen: type[Method], method: str, options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name not in chosen.options:
            known = ", ".join(chosen.options) or "none"
            raise InputError(
                f"options of method={method!r} are: {known}, however: {name}={value!r} is not one of them"
                f"{suggest(name, [*chosen.options, *_PARAMETERS])}"
            )
    return {**chosen.options, **options}


_PARAMETERS = (
    "scope", "target", "output", "level", "groups", "background", "sampling", "loss", "scoring", "sample_weight",
    "confidence", "n_repeats", "batch_size", "random_state", "progress",
)  # fmt: skip


def _scope(chosen: type[Method], method: str, scope: Literal["auto", "global", "local"]) -> Scope:
    if scope == "auto":
        return chosen.scopes[0]
    if scope not in ("global", "local"):
        raise unknown("scope", scope, ("auto", "global", "local"))
    if scope not in chosen.scopes:
        hint = "; summarise it with .to_global()" if scope == "global" else ""
        raise InputError(f"method={method!r} gives scope={chosen.scopes[0]!r}, however: scope={scope!r}{hint}")
    return scope


def _players(
    subject: HybridSubject, level: str, groups: Mapping[str, Iterable[str]] | None
) -> tuple[dict[str, npt.NDArray[np.intp]], dict[str, list[str]]]:
    if level not in _LEVELS:
        raise unknown("level", level, _LEVELS)
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
    for group, members in groups.items():
        listed = [members] if isinstance(members, str) else [str(member) for member in members]
        for member in listed:
            if member not in features and member not in columns:
                raise InputError(
                    f"a group's members must be features of the model, however: group {group!r} has {member!r}"
                    f"{suggest(member, [*features, *columns])}"
                )
            if member in taken:
                raise InputError(
                    f"a feature may be in one group only, however: {member!r} is in {taken[member]!r} and {group!r}"
                )
            taken[member] = str(group)
        if not listed:
            raise InputError(f"a group must have at least one feature, however: {group!r} is empty")
        parts = [features[member] if member in features else columns[member] for member in listed]
        players[str(group)] = np.unique(np.concatenate(parts)).astype(np.intp)
    inside = {int(column) for block in players.values() for column in block}
    for name, block in features.items():
        if name in taken or (len(block) and inside.issuperset(int(column) for column in block)):
            continue
        if name in players:
            raise InputError(f"a group must not have the name of a feature outside it, however: {name!r}; rename it")
        players[name] = block
    return players, {name: [str(m) for m in ([v] if isinstance(v, str) else v)] for name, v in groups.items()}


def _background(
    subject: HybridSubject, background: Any, rows: int, scope: Scope
) -> tuple[npt.NDArray[np.float32] | None, str]:
    if background is not None:
        donors = subject.encode(background)
        if len(donors) == 0:
            raise InputError("background must hold at least one row, however: it is empty")
        return donors, "given"
    if rows >= _OWN_BACKGROUND and scope == "global":
        return None, "rows explained"
    return subject.background, "training rows"


def _targets(subject: HybridSubject, target: Any) -> tuple[int, ...]:
    names = subject.output_names
    count = len(names)
    if target is None:
        return tuple(range(count))
    wanted = [target] if isinstance(target, (int, str, np.integer)) else list(target)
    found = []
    for one in wanted:
        if isinstance(one, (int, np.integer)) and not isinstance(one, bool) and 0 <= int(one) < count:
            found.append(int(one))
        elif isinstance(one, str) and one in names:
            found.append(names.index(one))
        else:
            last = f"0…{count - 1}" if count > 1 else "0"
            listed = f" or a class ({', '.join(names[:7])})" if subject.task == "classification" else ""
            raise InputError(
                f"target must be one of the {count} outputs, however: target={one!r}; "
                f"pass target={last}{listed} or None"
            )
    if not found:
        raise InputError("target must name at least one output, however: it is empty; pass None for all")
    return tuple(found)


def _loss(subject: HybridSubject, loss: str) -> str:
    resolved = subject.resolve_loss(loss)
    fits = {"classification": ("cross_entropy", "brier", "zero_one"), "regression": ("squared_error", "absolute_error")}
    other = "regression" if subject.task == "classification" else "classification"
    if resolved in fits[other]:
        raise InputError(
            f"loss must fit the task, however: loss={loss!r} and the task is {subject.task}; pass one of "
            f"{', '.join(fits[subject.task])} or 'auto'"
        )
    return resolved


def _weights(sample_weight: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.float64] | None:
    if sample_weight is None:
        return None
    weights = np.array(sample_weight, dtype=np.float64)
    if weights.shape != (rows,):
        raise InputError(
            f"sample_weight must have one number for each of the {rows} rows, however: its shape is {weights.shape}"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise InputError(
            "sample_weight must be finite, at least 0 and not all 0, however: it is not; check the weights"
        )
    return weights
