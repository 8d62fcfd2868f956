"""``pg.explain``: check every argument before any work starts, then run one method."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from types import NoneType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import nn

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.captum import find_method
from permgrad.attribution.method.mixed import explain_mixed
from permgrad.attribution.request import refuse_interactions
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.result import digests_of
from permgrad.attribution.subject.memory import check_memory
from permgrad.base.checks import check_whole
from permgrad.base.errors import InputError, shown
from permgrad.base.frames import taken
from permgrad.base.random import resolve_seed, uniform
from permgrad.base.threads import captum_turn
from permgrad.data.types.column_notes import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32


def explain(
    model: Any,
    inputs: Any,
    y: Any = None,
    *,
    method: str | Mapping[str, Any] | Any = "permgrad",
    scope: Literal["auto", "global", "local"] = "auto",
    target: int | str | Iterable[int | str] | None = None,
    output: Literal["logit", "probability"] = "logit",
    level: Literal["column", "feature", "group", "modality", "part"] = "feature",
    groups: Mapping[str, Iterable[str]] | None = None,
    background: Any = None,
    sampling: Literal["marginal", "conditional"] = "marginal",
    loss: str | tuple[str, float] | Callable[[Any, Any], Any] = "auto",
    scoring: Any = None,
    sample_weight: npt.ArrayLike | None = None,
    row_groups: Any = None,
    row_time: Any = None,
    confidence: float = 0.95,
    n_repeats: int = 10,
    batch_size: int | Literal["auto"] = "auto",
    random_state: Any = None,
    progress: bool | Literal["auto"] = "auto",
    positive: Any = None,
    **options: Any,
) -> Explanation:
    """Explain which features a model relies on: an estimator of permgrad, a torch network or any predictor on a table.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, a ``torch.nn.Module``, or any predictor on a table: a
            fitted estimator or booster, or a function of rows (docs/any-model.md).
        inputs: the rows to explain. For an estimator: a DataFrame or array with the columns of ``fit``. For a network:
            the arguments of its forward, rows first, as a dict by parameter name (or the only argument it needs), a
            tuple, or a single tensor, array or frame. Tables are ``(rows, columns)``, images
            ``(rows, [channels,] height, width)``. For an estimator or predictor also the path of a Parquet file, or of
            a folder of them, which need not fit in memory. ``out``, ``rows``, ``form`` and ``engine`` of
            ``pg.explain_stream`` are then options.
        y: the targets (the name of their column where ``inputs`` is a path). With targets, global games measure the
            loss. Without, they measure the divergence from the model's own prediction.
        method: the name of a method, a method with options such as ``pg.methods.Shapley(max_permutations=200)``, or a
            Captum attribution object. ``"permgrad"`` is the path game (of modalities, for a network). A dict chooses a
            method for each input, and the values keep the units of their method.
        scope: ``"global"``: one number per feature. ``"local"``: one per row and feature. ``"auto"``: the method's
            default.
        target: outputs to explain, by position or class name. None: all.
        output: ``"logit"`` or ``"probability"`` of a classifier, for methods that explain the output (regression: y's
            units).
        level: ``"feature"`` (a one-hot block is one feature, what a date says are several, such as its weekday, and an
            image's features are its segments), ``"column"`` (raw columns), ``"group"`` or ``"modality"`` (a network's
            inputs, an estimator's table, texts and images). ``"part"``: of one row of an estimator, the words of its
            texts and the patches of its images beside its other features (Shapley values; parts add up to their
            column).
        groups: columns that are replaced together: group name to feature names. Implies ``level="group"``. Only
            ``level="group"`` or ``"feature"`` may be passed with it.
        background: rows that donors or baselines are drawn from, in the form of ``inputs``. Default: the rows explained
            if there are at least 200, else the training rows kept in the model. For a network: the rows explained.
        sampling: ``"marginal"`` or ``"conditional"``. Conditional replacement values fit the rest of the row. Only
            ``permgrad`` and ``permutation`` take it, for estimators, for torch networks with one input
            ``(rows, columns)``, and for predictors on tables whose columns have at most 100 levels.
            ``meta["residuals_dependent"]`` lists features for which the drawn values do not fit.
        loss: loss computed for each row. ``"auto"`` is the model's own (cross entropy, or squared error in units of
            y²). Else a name of ``losses``, ``("quantile", 0.9)`` (also with a level for each output), or a callable
            ``(outputs, y) -> (rows,)``. The callable gets the model's outputs, float64 ``(rows, outputs)``, and y
            unchanged.
        scoring: one or several names of scikit-learn scorers, or callables ``(estimator, X, y)``. The importance is
            then the decrease of the score. Scorers see the model, the labels of y and the edited rows (of torch
            networks the numbers of the rows, of permgrad's own estimators the rows as they are). The error is NaN, with
            a warning, where the score is undefined without some rows (a class of one row).
        sample_weight: weights of the rows explained, ``(rows,)``. They also weigh the donors, where these are the rows
            explained.
        row_groups: rows that depend on each other, such as those of one patient: a label per row ``(rows,)``, or the
            name of a column, which the model need not use. Standard errors then count groups instead of rows, and
            donors come from other groups. Below four groups there are no intervals.
        row_time: the time of each row, ``(rows,)`` numbers or dates, or the name of a column. Neighbours in time may
            then depend on each other: standard errors follow from how long effects are related to themselves, and
            donors are at least a tenth of the times away.
        confidence: confidence level of the intervals.
        n_repeats: donors per row and feature, for methods that draw them one by one.
        batch_size: rows per forward. ``"auto"`` fits the cache, and is halved when memory runs out.
        random_state: seed. The same seed gives the same donors for any batch size, order, threads or partition.
        progress: a bar on stderr. With ``"auto"`` and a stderr that is not a terminal: a line every 30 seconds, once an
            explanation takes more than 10.
        positive: the class that plots show where they show one of two. No value changes. Default: the rarer class in
            the training rows that an estimator keeps, or in ``y``. Of equally frequent classes: 1, yes or true, else
            the second. Without both it is the second class, so a local result with ``y`` may show another class.
        **options: options of the method, and these:

            ``rows``: how many of the rows to explain, drawn at random, which takes as much less time.
            ``row_offset``: number of the first row, where ``inputs`` is one part of a longer table.
            ``engine="ray"``: explain parts of the rows in ``workers`` processes, here or on the cluster at ``address``,
            with the same result (docs/cluster.md).

            Options for a network, inferred where they are left out:

            ``segments``: how to divide images (``"pixels"``, ``("grid", 7)``, ``"superpixels"`` or a mask) and series
            (``("windows", 10)``, ``"channels"``, or ``("windows", 10, "channels")`` for both). A dict sets it by input.
            ``layer``: explain the output of a named layer, or of several, instead of the inputs.
            ``head``: which of several outputs to explain.
            ``output_kind``: ``"logits"``, ``"probabilities"``, ``"log_probabilities"`` or ``"values"``.
            ``task`` and ``class_names``: the task and the names of the classes, or of several numbers.
            ``hold``: inputs that are never replaced and are not features. Masks and lengths are held by default.
            ``tokens``: the input of token ids, each position a feature.
            ``replace``: the replacement of a token: ``"donor"`` (a background row's), ``"pad"``, ``"mask"`` or an id.
            ``tokenizer``: of Hugging Face, or a function from text to ids. Words are then features, and a list of
            texts is an input.
            ``row_target``: explain one output of each row: ``"predicted"``, ``"true"`` or a class per row ``(rows,)``.
            ``reduce``: how a model's maps ``(rows, K, …)`` become K outputs: ``"mean"``, ``"max"`` or ``"sum"``. A
            network's maps are compared with masks ``(rows, …)`` as ``y`` place by place if it is left out.

    Returns:
        An ``Explanation``.

    Raises:
        InputError: an argument cannot be used. Nothing has been computed.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(300, 3)); y = X[:, 0] * 2
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=3, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X, y, random_state=0, n_repeats=2)
        >>> explanation.ranking()[0]
        'x0'
    """
    arguments = Arguments(**locals())
    if isinstance(model, type):
        problem = f"model must be a fitted model, got the class {model.__name__}"
        raise InputError(problem, hint="Create an instance and fit it.", code="PG031")
    if background is not None and isinstance(background, (int, float, str, os.PathLike)):
        problem = f"background must be rows like inputs, got {shown(background)}"
        raise InputError(problem, hint="Pass a table.", code="PG038")
    if level == "part":
        from permgrad.attribution.wide import explain_parts  # loads pandas

        return explain_parts(arguments)
    if isinstance(inputs, (str, os.PathLike)) and not isinstance(model, nn.Module):
        from permgrad.attribution.parts.stream import explain_stream

        passed = ("model", "inputs", "y", "options")
        further = {name: value for name, value in vars(arguments).items() if name not in passed}
        return explain_stream(model, inputs, y, **arguments.options, **further)
    tell_of_other_order(inputs, y=y, sample_weight=sample_weight, row_groups=row_groups, row_time=row_time)
    if (count := arguments.options.pop("rows", None)) is not None:
        return _explain_some(arguments, check_whole("rows", count, "pass how many to explain"))
    engine = arguments.options.pop("engine", "local")
    with sparing(), full_float32():
        if not isinstance(engine, str) or engine != "local":
            return _explain_on(engine, arguments)
        if isinstance(method, Mapping):
            return explain_mixed(arguments)
        chosen, name = find_method(arguments.method)
        # Captum's hooks on a network affect every call of it, also those that read it.
        with nullcontext() if isinstance(arguments.method, str) else captum_turn:
            request = build_request(arguments, chosen, name)
            with check_memory(request.subject, request.inputs):
                if request.scoring is None:
                    explanation = chosen(request)
                else:
                    from permgrad.attribution.replace.scoring import explain_scores  # scikit-learn is slow to load

                    explanation = explain_scores(request, name)
            explanation.meta["digests"] = digests_of(request)
        kept = {name: value for name, value in arguments.options.items() if _is_plain(value)}
        lost = [name for name in arguments.options if name not in kept]
        explanation.meta.update(({"options": kept} if kept else {}) | ({"options_not_kept": lost} if lost else {}))
        return explanation


def _explain_some(arguments: Arguments, count: int) -> Explanation:
    """Explain rows that depend only on the seed and their numbers, as of a table in parts."""
    given, seed = {**vars(arguments), **arguments.options}, resolve_seed(arguments.random_state)
    del given["options"]
    first = given["inputs"]
    while isinstance(first, (dict, tuple)):
        first = next(iter(first.values() if isinstance(first, dict) else first))
    order = np.argsort(uniform(seed, ("receivers",), np.arange(len(first))), kind="stable")
    places = np.sort(order[:count])
    for name in ("inputs", "y", "sample_weight", "row_target", "row_groups", "row_time"):
        if len(places) < len(first) and not isinstance(given.get(name), (str, int, NoneType)):
            given[name] = taken(given[name], places, len(first))
    explanation = explain(**given | {"random_state": seed})
    explanation.meta["rows_drawn"] = {"rows": len(places), "of": len(first)}
    explanation.meta.update({"rows": places.tolist()} if explanation.scope == "local" else {})
    return explanation


def _explain_on(engine: Any, arguments: Arguments) -> Explanation:
    from permgrad.attribution.parts.engines import LocalEngine, make_engine
    from permgrad.attribution.parts.engines.frames import explain_on

    if not isinstance(engine, LocalEngine) and engine != "local":
        if arguments.options.get("row_target") is not None:
            raise InputError("row_target cannot be used with engine=", hint="Leave engine= out.", code="PG006")
        if callable(arguments.loss):
            problem = "A callable loss cannot be used with engine="
            raise InputError(problem, hint="Leave engine= out, or pass the name of a loss.", code="PG006")
        refuse_interactions(arguments.options, "engine=")
    workers, address = (arguments.options.pop(name, None) for name in ("workers", "address"))
    made = make_engine(engine, workers=workers, address=address)
    if isinstance(made, LocalEngine):
        shared = dict(vars(arguments))
        return explain(**shared.pop("options"), **shared)
    if not isinstance(arguments.method, str) or arguments.scoring is not None:
        argument = "scoring=" if isinstance(arguments.method, str) else f"method={arguments.method!r}"
        problem = f"engine= needs one registered method and no scores, got {argument}"
        raise InputError(problem, hint="Leave one of them out.", code="PG006")
    chosen, name = find_method(arguments.method)
    return explain_on(made, build_request(arguments, chosen, name), name)


def _is_plain(value: Any) -> bool:
    """Return whether JSON can store an option of a call."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(one) for key, one in value.items())
    return value is None or type(value) in (bool, int, float, str)
