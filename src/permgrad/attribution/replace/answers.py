"""The model as a scorer sees it: its own methods, its rows and the labels of y, with answers that are computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from permgrad.attribution.request import Request
from permgrad.attribution.subject.row_target import outputs_of
from permgrad.base.arrays import Array, Floats, Integers

#: Methods whose answers are stored. A scorer that names one of them takes its rows nowhere else.
STORED = ("predict", "predict_proba", "decision_function")


class Answers:
    """What a model answers for some rows, ``(rows, *)``, each method when it is first asked.

    ``predicted``: what the game predicted for them. ``receivers``: numbers of the rows that they were made of.
    ``edited`` makes them. ``imagined``: no model predicted this, so that all methods answer what follows from it.
    """

    def __init__(
        self,
        request: Request,
        predicted: Floats,
        receivers: Integers,
        edited: Callable[[], Sequence[Tensor]],
        *,
        imagined: bool = False,
    ) -> None:
        self.request, self.receivers, self.edited = request, receivers, edited
        self.subject: Any = request.subject
        self.task = request.subject.task
        self.labels = request.labels
        self.model: Any = getattr(self.subject, "predictor", self.subject.model)
        self._stored: dict[str, Array] = {}
        call: Any = getattr(self.subject, "call", None)
        labelled = getattr(call, "labels", None) is not None
        one_hot = labelled and call.one_hot
        #: whether labels are those of the model's own ``predict``, which the game has not asked for
        self.asks_model = self.task != "regression" and labelled and not one_hot and not imagined
        if imagined and self.task == "classification":
            self._stored["decision_function"] = predicted[:, 1] if predicted.shape[1] == 2 else predicted
        if self.task == "regression":
            self._stored["predict"] = predicted[:, 0] if predicted.shape[1] == 1 else predicted
        elif not one_hot:
            self._stored["predict_proba"] = predicted
        if self.task != "regression" and not self.asks_model:
            self._stored["predict"] = self._named(predicted)

    def offers(self, method: str) -> bool:
        """Return whether the model has a method."""
        return method in self._stored or method == "predict" or hasattr(self.model, method)

    def of(self, method: str) -> Array:
        """Return the answers of a method, one for each row."""
        if method not in self._stored:
            if method == "predict":
                chosen = self.subject.deciding()
                outputs = outputs_of(chosen, self.tensors, self.subject.table_batch)
                self._stored[method] = self._named(chosen.predicted(outputs))
            else:
                self._stored[method] = self.subject.asked(method, self.tensors)
        return self._stored[method]

    @cached_property
    def tensors(self) -> Sequence[Tensor]:
        """The rows as the subject reads them."""
        return self.edited()

    def rows(self, places: Integers) -> Any:
        """Return some rows in the user's form. Of an estimator of permgrad and of a network they are not edited."""
        if hasattr(self.subject, "predictor"):
            return self.subject.form.write(self.tensors[0][places])
        receivers, raw = self.receivers[places], self.request.raw
        return receivers if raw is None else raw.iloc[receivers].reset_index(drop=True)

    def _named(self, predicted: Floats) -> Array:
        """Return the labels of predicted probabilities, as y holds them."""
        if self.task == "multilabel":
            return (predicted >= 0.5).astype(np.int64)
        assert self.labels is not None, "classes have labels"
        named: Array = self.labels[predicted.argmax(axis=1)]
        return named


def _offered(method: str) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    decorator: Callable[..., Callable[..., Array]] = available_if(lambda shown: shown.answers.offers(method))
    return decorator


class ShownModel(BaseEstimator):
    """The user's model, whose answers for the rows ``shown`` are stored. Everything else is the model's own."""

    def __init__(self, answers: Answers, places: Integers, shown: Any) -> None:
        self.answers, self.places, self.shown = answers, places, shown

    @_offered("predict")
    def predict(self, X: Any) -> Array:
        """Return the labels, or numbers, of rows."""
        return self._answer("predict", X)

    @_offered("predict_proba")
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of rows."""
        return self._answer("predict_proba", X)

    @_offered("decision_function")
    def decision_function(self, X: Any) -> Array:
        """Return the scores of rows."""
        return self._answer("decision_function", X)

    def _answer(self, method: str, X: Any) -> Array:
        if X is not self.shown and hasattr(self.answers.model, method):
            other: Array = getattr(self.answers.model, method)(X)
            return other
        return self.answers.of(method)[self.places]

    @property
    def classes_(self) -> Any:
        """The labels of the classes, as y holds them."""
        answers = self.answers
        if answers.task == "multilabel":
            # By these classes scikit-learn tells that a row may have several.
            return [np.array([0, 1])] * len(answers.subject.output_names)
        if answers.labels is None:
            raise AttributeError("classes_")
        return answers.labels

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "answers" or self.answers.model is None:
            raise AttributeError(name)
        return getattr(self.answers.model, name)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.answers.task == "regression":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        else:
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags


def needs_rows(scorer: Any) -> bool:
    """Return whether a scorer may read its rows. scikit-learn's own hand them to one method of the model."""
    asked = getattr(scorer, "_response_method", None)
    return not set((asked,) if isinstance(asked, str) else asked or ("",)) <= set(STORED)
