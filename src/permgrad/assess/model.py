"""A model and what sections ask of it: its predictions, explanations, and the parts of it that can be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from permgrad.assess.cache import Cache
from permgrad.assess.predictions import COVERAGE, Predictions, before_calibration
from permgrad.assess.rows import Rows
from permgrad.attribution.explain import explain
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.image_rows import explain_records, information_of
from permgrad.attribution.request import Request
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Array, Floats
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.frames import as_library
from permgrad.base.random import generator
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.column_types import read_numbers
from permgrad.data.types.positive import find_positive, usual_positive
from permgrad.evaluation.cells import cells_of
from permgrad.evaluation.metrics import Task, evaluate

#: Tolerance of the attributions of single rows, as a share of the output's range. A page shows less detail than this.
#: With the method's own default these rows would take half as long again.
TOLERANCE, TOLERANCE_OF_NOTABLE = 0.005, 0.02
#: Shapley values of predictors: standard error as a share of the output's range, most orders, background rows.
_SHAPLEY: dict[str, Any] = {"method": "shapley", "tolerance": 0.02, "max_permutations": 200, "references": 50}
#: Arguments that only a loss over all rows has.
_GLOBAL_ONLY = ("loss", "confidence", "n_repeats", "sampling")
#: Rows that replace features in attributions of single rows.
_BACKGROUND = 200


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """A model and what sections ask of it. What a model does not have is None or empty.

    Attributes:
        name: the model's name for people.
        model: as the user passed it.
        task: ``"classification"`` or ``"regression"``.
        classes: names of the classes, empty for regression.
        labels: the classes as the targets hold them.
        positive: the name of the positive one of two classes.
        options: further arguments of ``pg.explain``.
        seed: seed of explanations.
        cache: where explanations of a saved model are kept.
        labels_only: it returns classes without probabilities.
        subject: what a page calls it, where permgrad did not train it.
        encoder: the encoder of its table, with the codes of missing cells ``na_codes``.
        width: the number of features of that table.
        paths: the branches that read the table of a row.
        images, pixels: how many images each row has, and the number of their pixels.
        draws_maps: activation maps can be drawn.
        has_slopes: its outputs have gradients.
        has_one_logit: a plain network of two classes with one logit, which is explained by its gradients first.
    """

    name: str
    model: Any
    task: Task
    classes: tuple[str, ...]
    labels: Sequence[Any] = ()
    positive: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    cache: Cache = field(default_factory=Cache)
    labels_only: bool = False
    subject: str = ""
    encoder: TableEncoder | None = None
    na_codes: Sequence[Any] = ()
    width: int = 0
    paths: tuple[str, ...] = ()
    images: int = 0
    pixels: int = 0
    draws_maps: bool = False
    has_slopes: bool = False
    has_one_logit: bool = False

    @property
    def positive_label(self) -> Any:
        """The positive class as the targets hold it."""
        return None if self.positive is None else self.labels[self.classes.index(self.positive)]

    def targets(self, rows: Rows) -> Array:
        """Return the targets of rows: classes as ``labels`` has them, or numbers ``(rows,)``."""
        return np.asarray(rows.y if rows.truth is None else rows.truth)

    def truth(self, rows: Rows) -> Array:
        """Return the targets as names of classes, or numbers ``(rows,)``."""
        if not self.classes:
            return np.asarray(self.targets(rows), dtype=np.float64)
        return np.array([str(label) for label in self.targets(rows).tolist()], dtype=object)

    def codes(self, rows: Rows) -> Array:
        """Return the targets as positions of classes (-1: none of them), or numbers ``(rows,)``."""
        truth = self.truth(rows)
        return pd.Index(self.classes).get_indexer(pd.Index(truth)) if self.classes else truth

    def measure(self, guess: Floats, rows: Rows) -> dict[str, Any]:
        """Return every metric of predictions for rows."""
        truth = self.targets(rows)
        if self.task == "regression":
            return evaluate("regression", truth, predictions=guess)
        options: dict[str, Any] = {"classes": self.labels, "positive": self.positive_label}
        if self.labels_only:
            options["predictions"] = np.asarray(self.labels, dtype=object)[guess.argmax(axis=1)]
        else:
            options["probabilities"] = guess
        return evaluate("classification", truth, **options)

    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows, with intervals or sets where the model has them."""
        raise NotImplementedError

    def predict_changed(self, rows: Rows, table: pd.DataFrame) -> Floats:
        """Return predictions ``(rows, outputs)`` for rows whose table was changed."""
        raise NotImplementedError

    def explain(self, rows: Rows, y: Any = None, **options: Any) -> Explanation:
        """Explain some rows by a method, with ``y`` of a global one."""
        return self._explain(rows, y, **{**self.options, "random_state": self.seed, **options})

    def _explain(self, rows: Rows, y: Any, **options: Any) -> Explanation:
        return explain(self.model, rows.inputs, y, **options)

    def attribute(self, rows: Rows, *, tolerance: float = TOLERANCE) -> Explanation:
        """Return attributions of single rows: integrated gradients, or Shapley values where there is no gradient."""
        options = {name: value for name, value in self.options.items() if name not in _GLOBAL_ONLY}
        options |= self._local_options() | {"random_state": self.seed, "scope": "local"}
        if self.has_slopes:
            with keeping_warnings():
                try:
                    return self._explain(rows, None, **self._slopes(tolerance), **options)
                except InputError:  # images drawn by a function, tokens without embeddings
                    pass
        return self._explain(rows, None, **_SHAPLEY, **options)

    def _local_options(self) -> dict[str, Any]:
        """Return the arguments of ``pg.explain`` that describe the model where no targets do."""
        return {}

    def _slopes(self, tolerance: float) -> dict[str, Any]:  # noqa: ARG002 — of a network that permgrad did not train
        return {"method": "integrated_gradients"}

    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates as numbers."""
        raise NotImplementedError

    def information(self, rows: Rows, repeats: int) -> pd.DataFrame | None:
        """Return what the inputs tell alone, together and only together. None: one input, or too few rows."""
        raise NotImplementedError


# ---- the networks of permgrad ----------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Network(EvaluatedModel):
    """A network that permgrad trained: with its encoder, its training, its paths, its images."""

    @classmethod
    def of(cls, model: Any, **facts: Any) -> Network:
        """Return a fitted ``HyNNClassifier``, ``HyNNRegressor`` or ``ImageTableModel``."""
        labels = model.classes_.tolist() if hasattr(model, "classes_") else []
        names = tuple(map(str, labels))
        if len(names) == 2 and facts.get("positive") is None:
            # The one that the user names, else the rarer one in the training rows that the model keeps.
            named = facts.get("options", {}).get("positive")
            rarer = usual_positive(labels, np.asarray(model.background_target_) == labels[1])
            facts["positive"] = names[rarer if named is None else find_positive(labels, named)]
        images, paths = getattr(model, "images_", ()), tuple(getattr(model.module_, "paths", ()))
        renderer, options = getattr(model, "renderer_", None), getattr(model, "network_options_", {})
        return cls(
            model=model,
            task="classification" if labels else "regression",
            classes=names,
            labels=labels,
            encoder=model.preprocessor_,
            na_codes=[] if model.na_codes is None else model.na_codes,
            width=len(model.groups_ if images else model.preprocessor_.features()),
            paths=paths,
            images=len(images),
            pixels=sum(int(image.height * image.width * image.channels) for image in images),
            draws_maps=bool(images) or ("image" in paths and getattr(renderer, "differentiable", True)),
            has_slopes=True,
            has_one_logit=bool(options.get("single_logit")) and paths == ("tabular",) and len(names) == 2,
            **{"name": type(model).__name__, **facts},
        )

    def predict(self, rows: Rows) -> Predictions:
        """Return predictions for rows, with intervals or sets where the model has held-out rows."""
        parts = self.model.predict_parts(rows.inputs, self._coverage)
        guess = parts["probabilities" if self.classes else "prediction"]
        return Predictions(
            truth=self.truth(rows),
            guess=guess,
            classes=self.classes,
            positive=self.positive,
            inside=parts.get("inside"),
            training_mean=None if self.classes else float(self.model.target_mean_),
            before_calibration=before_calibration(getattr(self.model, "calibration_", None), guess),
        )

    @property
    def _coverage(self) -> float | None:
        """The coverage of intervals and sets, or None if too few rows were held out."""
        held_out = getattr(self.model, "held_out_", None)
        return COVERAGE if held_out is not None and len(held_out.scores) >= held_out.fewest(COVERAGE) else None

    def predict_changed(self, rows: Rows, table: pd.DataFrame) -> Floats:
        """Return predictions ``(rows, outputs)`` for rows whose table was changed. Their images stay."""
        changed = rows.inputs.with_table(table) if self.images else table
        guess = self.model.predict_proba(changed) if self.classes else self.model.predict(changed)
        return np.asarray(guess) if self.classes else np.asarray(guess)[:, None]

    def _explain(self, rows: Rows, y: Any, **options: Any) -> Explanation:
        if self.images:
            return explain_records(self.model, rows.inputs, y, **options)
        if options["method"] == "gradcam":
            return explain(self.model, rows.inputs, y, **options)
        return self.cache.explain(explain, self.model, rows.inputs, y, **options)

    def _slopes(self, tolerance: float) -> dict[str, Any]:
        return {"method": "integrated_gradients"} | ({} if self.images else {"tolerance": tolerance})

    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates as numbers."""
        assert self.encoder is not None
        columns = [column for column in self.encoder.schema_ if column.kind == "date" and column.name in table]
        return {column.name: read_numbers(table[column.name], column, self.encoder.codes_)[0] for column in columns}

    def information(self, rows: Rows, repeats: int) -> pd.DataFrame | None:
        """Return what the images and the table tell alone, both and only together."""
        if not self.images:
            return None
        return information_of(self.model, rows.inputs, rows.y, random_state=self.seed, n_repeats=repeats)


# ---- any other model -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Foreign(EvaluatedModel):
    """Any other model, read as ``pg.explain`` reads it.

    Attributes:
        request: the arguments as permgrad reads them.
        rows: the rows that they are of, with numbers from 0.
        guess: the predictions for these rows.
        output: the position of the output that was picked of several, else None.
    """

    request: Request
    rows: Rows
    guess: Floats
    output: int | None = None

    def predict(self, rows: Rows) -> Predictions:
        """Return the predictions for some of the rows."""
        return Predictions(
            truth=self.truth(rows),
            guess=self.guess[rows.numbers],
            classes=self.classes,
            positive=self.positive,
            labels_only=self.labels_only,
        )

    def predict_changed(self, rows: Rows, table: pd.DataFrame) -> Floats:  # noqa: ARG002 — the table is all of a row
        """Return predictions ``(rows, outputs)`` for a table of rows like those reported."""
        subject, request = self.request.subject, self.request
        if isinstance(self.model, nn.Module):
            inputs: Any = (torch.as_tensor(table.to_numpy(dtype=np.float64), dtype=request.inputs[0].dtype),)
        else:
            library: Any = type(self.rows.inputs).__module__.partition(".")[0]
            known = library in ("pandas", "polars", "pyarrow")
            inputs = subject.read(as_library(table, library) if known else table.to_numpy())
        guess = np.asarray(subject.predicted(outputs_of(subject, inputs)), dtype=np.float64)
        guess = guess if self.output is None else column_of(guess, self.output)
        if subject.task == "multilabel":
            return np.column_stack([1 - guess, guess])
        return guess if self.classes else guess.reshape(-1, 1)

    def _local_options(self) -> dict[str, Any]:
        """Return the task, the kind of the outputs, the output and the background, which targets would tell."""
        subject = self.request.subject
        options = {"task": self.options.get("task", subject.task)}
        options |= {} if self.output is None else {"target": self.output}  # names come from y
        if self.options.get("background") is None:
            drawn = generator(self.seed, "background").permutation(len(self.rows))[:_BACKGROUND]
            options["background"] = self.rows.take(np.sort(drawn)).inputs
        if subject.task != "regression":
            options["output_kind"] = self.options.get("output_kind", subject.kind)
        return options

    def dates(self, table: pd.DataFrame) -> dict[str, Floats]:
        """Return the columns of dates, also those written as text, in seconds."""
        texts = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
        cells = {name: cells_of(table[name], str(name)) for name in texts}
        return {name: one.values for name, one in cells.items() if one.kind == "date" and one.values is not None}

    def information(self, rows: Rows, repeats: int) -> pd.DataFrame | None:
        """Return what the inputs of a network tell, if there are several and the target allows it."""
        if len(self.request.inputs) < 2 or not isinstance(self.model, nn.Module):
            return None
        from permgrad.attribution.missing import missing  # few models have several inputs

        dropped = ("target", "groups", "sampling", "positive", "n_repeats")
        options = {name: value for name, value in self.options.items() if name not in dropped}
        options |= {"random_state": self.seed, "n_repeats": repeats}
        try:
            result = missing(self.model, rows.inputs, rows.y, **options)
            return result.information(result.modalities[0])
        except InputError:  # one input that can be missing, too few rows, or a target without such an information
            return None


def column_of(guess: Floats, position: int) -> Floats:
    """Return the predictions of one output ``(rows,)``."""
    columns = guess if guess.ndim == 2 else guess[:, None]
    return np.asarray(columns[:, 0 if columns.shape[1] == 1 else position])
