"""``pg.explain``: every argument is checked and resolved here, before any work starts; then one method runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, Literal

import numpy.typing as npt
from torch import nn

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.mixed import explain_mixed
from permgrad.attribution.replace.scoring import explain_scores
from permgrad.attribution.request import Arguments, build_request, find_method
from permgrad.base.errors import InputError, shown
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
    positive: Any = None,
    **options: Any,
) -> Explanation:
    """Explain what a model relies on: a fitted estimator of permgrad, or any torch network as it is.

    Args:
        model: a fitted ``HyNNClassifier`` or ``HyNNRegressor``, a ``torch.nn.Module``, or any predictor on a table: a
            fitted estimator or booster, or a function of rows (docs/any-model.md).
        inputs: the rows to explain. For an estimator a DataFrame or array with the columns of ``fit``. For a network
            what its forward takes, rows first: a dict by parameter name (or the only argument it needs), a tuple, or
            a single tensor, array or frame; tables ``(rows, columns)``, images ``(rows, [channels,] height, width)``.
            For an estimator also the path of a Parquet file, or of a folder of them, which need not fit in memory: see
            ``pg.explain_stream``, whose ``out, rows, form, engine`` are then options.
        y: their targets (the name of their column where ``inputs`` is a path). With them, global games measure the
            loss; without, the divergence from the model's own prediction.
        method: a registered method; ``"permgrad"`` is the path game (of modalities, for a network). A Captum
            attribution object is a method too. A dict gives each input its own method; values keep their own units.
        scope: ``"global"``: one number per feature; ``"local"``: one per row and feature; ``"auto"``: the method's own.
        target: outputs to explain, by position or class name; None is all.
        output: ``"logit"`` or ``"probability"`` of a classifier, for methods that explain the output (regression: y's
            units).
        level: ``"feature"`` (a variable that arrived as a one-hot block is one feature; an image's features are its
            segments), ``"column"`` (raw columns), ``"group"``, ``"modality"``.
        groups: columns that act, and are drawn, as one: group name to feature names. Implies ``level="group"``;
            with another level than that or ``"feature"`` they are refused.
        background: rows that donors or baselines are drawn from, in the form of ``inputs``. Default: the rows explained
            if there are at least 200, else the training rows kept in the model; for a network the rows explained.
        sampling: ``"marginal"``, or ``"conditional"``: replacement values fit the rest of the row (``permgrad`` and
            ``permutation``; other methods refuse it; of torch networks, those with one input ``(rows, columns)``; of
            predictors, any table whose columns have at most 100 levels).
            ``meta["residuals_dependent"]`` lists features for which the values drawn do not fit after all.
        loss: of each row; ``"auto"`` is the model's own (cross entropy; squared error in the units of y²).
        scoring: one scikit-learn scorer's name, or several, or callables: importance is then the fall of the score.
            Its error is NaN, with a warning, where the score is undefined without some rows (a class of one row).
        sample_weight: weights of the rows explained, ``(rows,)``.
        confidence: of the intervals.
        n_repeats: donors per row and feature, for methods that draw them one by one.
        batch_size: rows per forward; ``"auto"`` fits the cache and halves when memory does not suffice.
        random_state: seed; the same seed gives the same donors whatever the batch size, order, threads or partition.
        progress: a bar on stderr; ``"auto"``: where stderr is no terminal, a line every 30 seconds of an explanation
            that takes more than 10.
        positive: of two classes the one that plots show where they show one; no value changes. None: the rarer one, in
            the training rows that an estimator keeps or in ``y``; of equal ones 1, yes or true; else the second.
        **options: the method's own options, and ``row_offset``: the number of the first row where ``inputs`` is one
            part of a longer table. ``engine="ray"`` lets ``workers`` processes, here or on the cluster at ``address``,
            explain parts of the rows; the result is the same (docs/cluster.md). For a network also ``segments``: how
            images are cut (``"pixels"``, ``("grid", 7)``,
            ``"superpixels"`` or a mask; a dict by input); ``layer``: explain the output of a named layer in place of
            the inputs; ``head``: which of several outputs; ``output_kind``: ``"logits"``, ``"probabilities"``,
            ``"log_probabilities"`` or ``"values"``; ``task``; ``class_names``. What is not said is inferred.
            ``hold``: inputs that stay with their row and are no features (masks and lengths are by themselves);
            ``tokens``: the input of token ids (found by itself), each place a feature; ``replace``: what replaces a
            token, ``"donor"`` (a background row's), ``"pad"``, ``"mask"`` or the id of a token.
            ``tokenizer``: of Hugging Face, or a function of a text that returns ids: words are then features, and a
            list of texts is an input.
            ``row_target``: explain one output of each row, ``"predicted"``, ``"true"`` or a class per row ``(rows,)``;
            ``reduce``: how a network's maps ``(rows, K, …)`` become K outputs, ``"mean"``, ``"max"`` or ``"sum"``.

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
    arguments = Arguments(**locals())
    if isinstance(model, type):
        raise InputError(f"model must be a fitted model, however: {model.__name__} is a class; make one and fit it")
    if background is not None and isinstance(background, (int, float, str, os.PathLike)):
        raise InputError(f"background must be rows like inputs, however: background={shown(background)}; pass a table")
    if isinstance(inputs, (str, os.PathLike)) and not isinstance(model, nn.Module):
        from permgrad.attribution.parts.stream import explain_stream

        further = {
            name: value for name, value in vars(arguments).items() if name not in ("model", "inputs", "y", "options")
        }
        return explain_stream(model, inputs, y, **options, **further)
    tell_of_other_order(inputs, y=y, sample_weight=sample_weight)
    engine = arguments.options.pop("engine", "local")
    with sparing(), full_float32():
        if not isinstance(engine, str) or engine != "local":
            return _explain_on(engine, arguments)
        if isinstance(method, Mapping):
            return explain_mixed(arguments)
        chosen, name = find_method(method)
        # Captum's hooks on a network are met by whoever calls it, also to read it.
        with nullcontext() if isinstance(method, str) else captum_turn:
            request = build_request(arguments, chosen, name)
            explanation = chosen(request) if request.scoring is None else explain_scores(request, name)
        explanation.meta.update(_options_kept(arguments.options))
        return explanation


def _explain_on(engine: Any, arguments: Arguments) -> Explanation:
    """Explain rows in memory in parts."""
    from permgrad.attribution.parts.engines import LocalEngine, make_engine
    from permgrad.attribution.parts.engines.frames import explain_on

    if arguments.options.get("row_target") is not None:
        raise InputError("row_target explains rows in this process. Leave engine= out.")
    workers, address = (arguments.options.pop(name, None) for name in ("workers", "address"))
    made = make_engine(engine, workers=workers, address=address)
    if isinstance(made, LocalEngine):
        shared = dict(vars(arguments))
        return explain(**shared.pop("options"), **shared)
    if not isinstance(arguments.method, str) or arguments.scoring is not None:
        argument = "scoring=" if isinstance(arguments.method, str) else f"method={arguments.method!r}"
        raise InputError(
            f"an engine takes one registered method and no scores, however: {argument} is given; leave it or engine= "
            "out"
        )
    chosen, name = find_method(arguments.method)
    return explain_on(made, build_request(arguments, chosen, name), name)


def _options_kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that JSON can hold, and the names of all others, for an explanation's ``meta``."""

    def plain(value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return all(map(plain, value))
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(one) for key, one in value.items())
        return value is None or type(value) in (bool, int, float, str)

    kept = {name: value for name, value in options.items() if plain(value)}
    lost = [name for name in options if name not in kept]
    return ({"options": kept} if kept else {}) | ({"options_not_kept": lost} if lost else {})
