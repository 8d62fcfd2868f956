"""``pg.explain``: check every argument before any work starts, then run one method."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import NoneType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import MIXED
from permgrad.attribution.explanation.explanation_files import OF_ROWS
from permgrad.attribution.method.captum import CaptumMethod
from permgrad.attribution.model import Model
from permgrad.attribution.request import Configured, Method, Request, methods, name_of
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.method_registry import changed_options
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.request.takes import without_unread
from permgrad.attribution.scopes import GLOBAL, LOCAL, Scope, chosen_scope
from permgrad.attribution.subject.composed import of_composed
from permgrad.attribution.subject.examples import Gathered, drawn_rows
from permgrad.attribution.subject.network import ForwardError
from permgrad.attribution.subject.scales import ScaleName
from permgrad.attribution.typed_options import as_typed
from permgrad.base.arrays import Array, Floats
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, shown, unknown
from permgrad.base.frames import taken
from permgrad.base.late import is_frame, pd
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import ProgressMode
from permgrad.base.random import resolve_seed
from permgrad.base.registry import registered
from permgrad.base.threads import captum_turn
from permgrad.data.types.findings import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32


def _taken_by(name: str, keywords: Mapping[str, Any]) -> str:
    """Say which object of a call takes an argument that ``explain`` does not."""
    if name in inspect.signature(Model).parameters:
        return f"It is said of the model: pg.Model(model, {name}=...)."
    argument = keywords.get("method")
    named = [argument] if isinstance(argument, str) else []
    for method_name in [*named, *methods]:
        method = methods.get(registered(method_name, methods))
        if isinstance(method, type) and name in getattr(method, "options", ()):
            return f"It is an option of the method: {as_typed(method, **{name: ...})}."
    return ""


@partial(with_near_names, taken_by=_taken_by)
def explain(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    method: str | Mapping[str, Any] | Any = "permgrad",
    target: int | str | Iterable[int | str] | None = None,
    scope: Literal["auto", "global", "local"] = "auto",
    scale: ScaleName = "auto",
    groups: Mapping[str, Iterable[str]] | Literal["modality"] | None = None,
    background: Any = None,
    loss: str | tuple[str, float] | Callable[[Any, Any], Any] = "auto",
    scoring: Any = None,
    sample_weight: npt.ArrayLike | None = None,
    row_groups: Any = None,
    row_time: Any = None,
    max_rows: int | None = None,
    n_repeats: int | Literal["auto"] = "auto",
    confidence: float = 0.95,
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Explanation:
    """Explain which features a model relies on: an estimator of permgrad, a torch
    network or any predictor on a table.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, a ``torch.nn.Module``,
            any predictor on a table (a fitted estimator or booster, or a function of
            rows), or a ``pg.Model``, which also says how it is read.
        X: the rows to explain. For an estimator: a DataFrame or array with the columns
            of ``fit``. For a network: the arguments of its forward, rows first, as a
            dict by parameter name (or the only argument it needs), a tuple, or a single
            tensor, array or frame. Tables are ``(rows, columns)``, images ``(rows,
            [channels,] height, width)``. Also a ``DataLoader``, a ``Dataset`` or a list
            of examples, with ``y`` from their pairs or the key ``labels``.
        y: the targets. With targets, global games measure the loss. Without, they
            measure the divergence from the model's own prediction. Labels or masks
            ``(rows, …)`` are compared with a network's outputs by place. −100 and 255
            there mean no label.
        method: the name of a method, a method with options such as
            ``pg.methods.Shapley(max_permutations=200)``, or a Captum attribution
            object, alone or in a pair with a dict of the options of its call.
            ``"permgrad"`` is the path game (of modalities, for a network). A dict
            chooses a method for each input, and the values keep the units of their
            method.
        target: outputs to explain, by position or class name. None: all.
            ``"predicted"``, ``"true"`` or an array ``(rows,)`` of classes: one output
            of each row, explained row by row.
        scope: ``"global"``: one number per feature. ``"local"``: one per row and
            feature. ``"auto"``: the method's default, and local where ``target`` names
            an output of each row.
        scale: on which outputs of a classifier are explained (regression: y's units).
            ``"auto"``: probabilities for single rows, unless the method needs another
            scale (DeepLIFT, Grad-CAM), which ``summary()`` then says. ``"logit"``: of
            two classes the log-odds of the positive one, however a model returns them,
            of labels those of each, of more classes the log probability of each less
            their mean. ``"raw"``: what the model returns.
        groups: columns that act as one: group name to feature names. ``"modality"``: a
            network's inputs, or an estimator's table, texts and photos, are the
            features. ``{}``: raw columns. None: features (columns that encode one
            variable or repeat another are one, what a date says are several, such as
            its weekday, and an image's are its segments).
        background: rows that donors or baselines are drawn from, in the form of ``X``.
            Default: the rows explained if there are at least 200, else the training
            rows kept in the model. For a network: the rows explained.
        loss: loss computed for each row. ``"auto"`` is the model's own (cross entropy,
            or squared error in units of y²). Else a name of ``losses``, ``("quantile",
            0.9)`` (also with a level for each output), or a callable ``(outputs, y) ->
            (rows,)``. The callable gets the model's outputs, float64 ``(rows,
            outputs)``, and y unchanged.
        scoring: one or several names of scikit-learn scorers, or callables
            ``(estimator, X, y)``. The importance is then the decrease of the score.
            Scorers see the model, the labels of y and the edited rows (of torch
            networks the numbers of the rows, of permgrad's own estimators the rows as
            they are). The error is NaN, with a warning, where the score is undefined
            without some rows (a class of one row).
        sample_weight: weights of the rows explained, ``(rows,)``. They also weigh the
            donors, where these are the rows explained.
        row_groups: rows that depend on each other, such as those of one patient: a
            label per row ``(rows,)``, or the name of a column, which the model need not
            use. Standard errors then count groups instead of rows, and donors come from
            other groups. Below four groups there are no intervals.
        row_time: the time of each row, ``(rows,)`` numbers or dates, or the name of a
            column. Neighbours in time may then depend on each other: standard errors
            follow from how long effects are related to themselves, and donors are at
            least a tenth of the times away.
        max_rows: explain at most so many of the rows, drawn at random, which takes as
            much less time. None: all (of a ``DataLoader``, a ``Dataset`` or a list of
            examples 2,000).
        n_repeats: donors per row and feature, for methods that draw them one by one.
            ``"auto"``: two, or of few rows as many as make 1,000 pairs, and up to ten
            for the features whose interval is wider than a twentieth of the largest
            importance, as long as the noise of the draws is more than a quarter of the
            variance (``meta["repeats"]``). Attributions of rows, interactions and
            scores have ten.
        confidence: confidence level of the intervals.
        random_state: seed. The same seed gives the same donors for any batch size,
            order, threads or partition.
        progress: a bar on stderr. With ``"auto"`` and a stderr that is not a terminal:
            a line every 30 seconds, once an explanation takes more than 10.

    Returns:
        An ``Explanation``.

    Raises:
        InputError: an argument cannot be used. Nothing has been computed.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 3))
        >>> y = X[:, 0] * 2
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0)
        >>> model = model.fit(X, y)
        >>> explanation = pg.explain(model, X, y, n_repeats=2)
        >>> explanation.ranking()[0]
        'x0'
    """
    return answer(Arguments(**locals()))


def answer(arguments: Arguments) -> Explanation:
    """Return the explanation that arguments ask for."""
    explanation = _answer(arguments)
    if arguments.gathered is not None:
        _note_examples(explanation, arguments.gathered)
    return explanation


def _note_examples(explanation: Explanation, gathered_rows: Gathered) -> None:
    """Note how many examples of a set are explained, and which."""
    explanation.meta["rows_drawn"] = gathered_rows.facts
    if explanation.scope.by_row and gathered_rows.places is not None:
        explanation.meta["rows"] = gathered_rows.places.tolist()


def _answer(arguments: Arguments) -> Explanation:
    if isinstance(arguments.X, (str, os.PathLike)):
        problem = (
            f"X must be rows in memory, got the path {shown(os.fspath(arguments.X))}"
        )
        hint = (
            "Call pg.explain_stream for Parquet files, or read the file with "
            "pg.read_table."
        )
        raise InputError(problem, hint=hint, code="PG001")
    if is_frame(arguments.X):
        related = {
            argument_name: getattr(arguments, argument_name)
            for argument_name in ("y", "sample_weight", "row_groups", "row_time")
        }
        tell_of_other_order(arguments.X, **related)
    if arguments.max_rows is not None:
        return explain_some(arguments, answer)
    with sparing(), full_float32():
        if isinstance(arguments.method, Mapping):
            return explain_mixed(arguments)
        chosen_method, method_name = find_method(arguments.method)
        # Captum's hooks on a network affect every call of it, also those that read it.
        with captum_turn if isinstance(chosen_method, CaptumMethod) else nullcontext():
            request = build_request(arguments, chosen_method, method_name)
            try:
                with request.subject.steady(request.inputs):
                    explanation = _run(chosen_method, request, method_name)
            except ForwardError as error:
                raise of_composed(
                    error, request.subject, request.inputs, request.donors
                ) from error.__cause__
            explanation.meta["digests"] = digests_of(request)
        options = (
            changed_options(chosen_method)
            if isinstance(chosen_method, Configured)
            else chosen_method.settings()
        )
        kept_options = {
            option_name: value
            for option_name, value in options.items()
            if _is_plain(value)
        }
        lost_options = [
            option_name for option_name in options if option_name not in kept_options
        ]
        explanation.meta.update(
            ({"options": kept_options} if kept_options else {})
            | ({"options_not_kept": lost_options} if lost_options else {})
        )
        return explanation


def _run(chosen_method: Any, request: Request, name: str) -> Explanation:
    """Return what a method makes of a request."""
    if request.scoring is None:
        explanation: Explanation = chosen_method(request)
        return explanation
    # scikit-learn is slow to load
    from permgrad.attribution.replace.scoring import explain_scores

    return explain_scores(request, name)


def find_method(method: Any) -> tuple[Any, str]:
    """Return a method and its name: a registered one by name, class or object, or an
    adapted Captum object.
    """
    if isinstance(method, str):
        method_name = method if method in methods else registered(method, methods)
        if method_name not in methods:
            raise unknown("method", method, methods)
        return methods[method_name](), method_name
    if isinstance(method, type) and issubclass(method, Configured):
        method = method()
    if isinstance(method, Configured):
        return method, name_of(method)
    method_arguments = (
        method
        if isinstance(method, tuple)
        and len(method) == 2
        and isinstance(method[1], Mapping)
        else (method,)
    )
    adapted = CaptumMethod(*method_arguments)
    return adapted, adapted.name


def explain_some(
    arguments: Arguments, explained: Callable[[Arguments], Explanation]
) -> Explanation:
    """Explain at most ``max_rows`` of the rows.

    Args:
        arguments: The user's, with ``max_rows``.
        explained: Explains arguments with these rows alone.
    """
    seed = resolve_seed(arguments.random_state)
    first = arguments.X
    while isinstance(first, (dict, tuple)):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    count = len(first)
    row_positions = drawn_rows(count, int(arguments.max_rows), seed)
    changed = dict[str, Any]()
    by_row = tuple(getattr(arguments.target, "shape", ())) == (count,)
    names = (
        "X",
        "y",
        "sample_weight",
        "row_groups",
        "row_time",
        *(("target",) if by_row else ()),
    )
    for argument_name in names if len(row_positions) < count else ():
        value = getattr(arguments, argument_name)
        if not isinstance(value, (str, NoneType)):
            changed[argument_name] = taken(value, row_positions, count)
    explanation = explained(
        replace(arguments, **changed, random_state=seed, max_rows=None)
    )
    explanation.meta["rows_drawn"] = {"rows": len(row_positions), "of": count}
    explanation.meta.update(
        {"rows": row_positions.tolist()} if explanation.scope.by_row else {}
    )
    return explanation


def _is_plain(value: Any) -> bool:
    """Return whether JSON can store an option of a call."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(
            isinstance(entry_key, str) and _is_plain(entry_value)
            for entry_key, entry_value in value.items()
        )
    return value is None or type(value) in (bool, int, float, str)


# ---- a method for each input: each keeps its unit, and values are never added across i
def explain_mixed(arguments: Arguments) -> Explanation:
    """Explain each input that is a key of ``method`` by its method.

    All others stay unchanged.
    """
    input_methods: Mapping[Any, Any] = arguments.method
    if not input_methods:
        problem = "method= is an empty dict and must name at least one input"
        raise InputError(
            problem, hint="Pass for example {'image': 'gradcam'}.", code="PG005"
        )
    resolved_methods = {}
    for input_name, value in input_methods.items():
        resolved_methods[str(input_name)] = find_method(value)
    used = [method for method, _ in resolved_methods.values()]
    scope = _common_scope(arguments.scope, used)
    arguments = replace(arguments, random_state=resolve_seed(arguments.random_state))
    input_explanations = {}
    for input_name, method_and_label in resolved_methods.items():
        input_explanations[input_name] = _explain_input(
            arguments, input_name, *method_and_label, scope=scope, used=used
        )
    return _combine(input_explanations, scope)


def _common_scope(stated_scope: str, used: Sequence[Method]) -> Scope:
    if all(LOCAL in method.scopes for method in used):
        usual = LOCAL
    else:
        usual = GLOBAL
    return chosen_scope(stated_scope, usual)


def _explain_input(
    arguments: Arguments,
    name: str,
    method: Method,
    label: str,
    *,
    scope: Scope,
    used: Sequence[Method],
) -> Explanation:
    if scope in method.scopes:
        method_scope = scope
    else:
        method_scope = method.scopes[0]
    arguments = without_unread(arguments, method, used)
    request = build_request(
        replace(arguments, method=label, scope=method_scope),
        method,
        label,
        caller_name="mixed",
    )
    check_choice("input", name, dict.fromkeys(request.space.modality))
    explanation = method(replace(request, space=request.space.only(name)))
    if name not in explanation.modality:
        problem = f"method={label!r} cannot explain input {name!r}"
        raise InputError(problem, hint="Choose another method for it.", code="PG034")
    if explanation.scope.by_row and not scope.by_row:
        return explanation.to_global()
    return explanation


def _groups_of(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """Return the groups of all parts."""
    groups: dict[str, Any] = {}
    for explanation in explanations:
        groups |= explanation.groups
    return groups


def _maps_of(explanations: list[Explanation]) -> dict[str, Any]:
    """Return the maps of all parts, renumbered."""
    maps: dict[str, Any] = {}
    for explanation in explanations:
        maps |= _renumbered(explanation, explanations)
    return maps


def _combine(explanations: dict[str, Explanation], scope: Scope) -> Explanation:
    """Combine the explanations into one.

    Outputs that a method does not explain are NaN.
    """
    input_explanations = list(explanations.values())
    outputs = tuple(
        dict.fromkeys(
            output
            for input_explanation in input_explanations
            for output in input_explanation.outputs
        )
    )

    def beside(arrays: Iterable[Floats | None]) -> Floats:
        widened_arrays = []
        for modality_explanation, array in zip(input_explanations, arrays, strict=True):
            widened_arrays.append(
                np.full((*modality_explanation.values.shape[:-1], len(outputs)), np.nan)
            )
            if array is not None:
                widened_arrays[-1][
                    ...,
                    list(map(outputs.index, modality_explanation.outputs)),
                ] = array
        return np.concatenate(widened_arrays, axis=-2)

    alike = all(
        input_explanation.predictions is not None
        and input_explanation.outputs == outputs
        for input_explanation in input_explanations
    )
    names = ["values", "std_error", "low", "high"]
    if not scope.by_row:
        names.append("p_values")
    fields: dict[str, Any] = {}
    for field_name in names:
        fields[field_name] = beside(
            getattr(input_explanation, field_name)
            for input_explanation in input_explanations
        )
    frames = []
    for input_explanation in input_explanations:
        if input_explanation.feature_values is not None:
            frames.append(input_explanation.feature_values)
    return Explanation(
        **fields,
        names=tuple(
            player_name
            for input_explanation in input_explanations
            for player_name in input_explanation.names
        ),
        modality=tuple(
            modality
            for input_explanation in input_explanations
            for modality in input_explanation.modality
        ),
        outputs=outputs,
        method=MIXED,
        scope=scope,
        parts={"share": beside(map(_shares, input_explanations))},
        level=input_explanations[0].level,
        groups=_groups_of(input_explanations),
        feature_values=pd.concat(frames, axis=1) if frames else None,
        predictions=input_explanations[0].predictions if alike else None,
        maps=_maps_of(input_explanations),
        meta=_facts(explanations),
    )


def _shares(input_explanation: Explanation) -> Floats:
    """Return shares of the sum over players, or 0 where all are 0."""
    values = np.abs(input_explanation.values)
    total = values.sum(axis=-2, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def _facts(explanations: Mapping[str, Explanation]) -> dict[str, Any]:
    """Return the facts that the parts have in common, and those of each part."""
    common = (
        "seed",
        "rows_explained",
        "background",
        "confidence",
        "task",
        "versions",
        "independent",
        *OF_ROWS[1:],
    )
    metas = {}
    for input_name, input_explanation in explanations.items():
        metas[input_name] = input_explanation.meta
    first = next(iter(metas.values()))
    repeats = [input_meta.get("n_repeats", 1) for input_meta in metas.values()]
    return {
        **{fact_name: first[fact_name] for fact_name in common if fact_name in first},
        "methods": {
            input_name: input_explanation.method
            for input_name, input_explanation in explanations.items()
        },
        "units": {
            input_name: input_meta.get("unit", "")
            for input_name, input_meta in metas.items()
        },
        "quantities": {
            input_name: input_meta.get("quantity", "")
            for input_name, input_meta in metas.items()
        },
        "quantity": "different for each modality (see quantities)",
        "unit": "different for each modality (see units)",
        "n_repeats": "auto" if "auto" in repeats else max(repeats),
        "seconds": sum(
            float(input_meta.get("seconds", 0.0)) for input_meta in metas.values()
        ),
        "by_input": metas,
    }


def _renumbered(
    input_explanation: Explanation, all_explanations: Sequence[Explanation]
) -> dict[str, Array]:
    """Return a part's maps, with segments numbered by the players of the complete
    explanation.
    """
    before = sum(
        len(other_explanation.names)
        for other_explanation in all_explanations[
            : [
                other_explanation is input_explanation
                for other_explanation in all_explanations
            ].index(True)
        ]
    )
    numbered_maps = {}
    for map_name, array in input_explanation.maps.items():
        kind_and_input = map_name.split(":", 1)
        if (
            len(kind_and_input) == 2
            and kind_and_input[1] not in input_explanation.modality
        ):
            continue
        if kind_and_input[0] == "segments":
            numbered_maps[map_name] = np.where(array >= 0, array + before, array)
        else:
            numbered_maps[map_name] = array
    return numbered_maps
