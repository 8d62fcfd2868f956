"""The scales on which an output is explained.

What a scale computes and what its numbers are called is said here alone.

``"probability"``: of each class. ``"logit"``: of two classes the log-odds of one, of
labels that may overlap those of each, of more classes the logarithm of each one's
probability less its mean over the classes, so that what moves all alike is 0.
``"raw"``: what the model returns. One model that returns scores, one score or
probabilities has the same probabilities and logits. Numbers of a regression are in the
units of y on every scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from permgrad.attribution.subject.outputs import OutputForm

#: Bytes of a number of single precision, in which scales are computed at least.
_LEAST_BYTES = 4

ScaleName = Literal["auto", "probability", "logit", "raw"]


@dataclass(frozen=True, eq=False)
class Scale:
    """What is explained of a classifier's outputs.

    Attributes:
        name: What ``scale=`` takes.
        compute: Makes the explained numbers ``(b, outputs)`` of what the model
            returned, ``(b, K)``, differentiably.
        linear: Whether they are linear in the outputs of a network that returns logits.
        of_classes: Whether it is a scale of classes alone.
    """

    name: Literal["probability", "logit", "raw"]
    compute: Callable[[OutputForm, Tensor], Tensor]
    linear: bool
    of_classes: bool = True

    def read(self, form: OutputForm, outputs: Tensor) -> Tensor:
        """Return the numbers explained, ``(b, names)``, of what the model returned,
        ``(b, K)``.
        """
        if form.kind == "values":
            return form.in_units_of_y(outputs)
        # Half precision would round probabilities once more, by more than many an
        # effect.
        is_half = outputs.is_floating_point() and outputs.element_size() < _LEAST_BYTES
        return self.compute(form, outputs.float() if is_half else outputs)

    def names(self, form: OutputForm) -> tuple[str, ...]:
        """Return the names of the numbers explained: of one column that is returned for
        two classes, only its own.
        """
        if self is RAW and form.one_column:
            return form.class_names[1:]
        return form.output_names

    def usual(self, form: OutputForm, positive: str | None) -> tuple[int, ...]:
        """Return the places of the outputs that are explained where nobody names any.

        The log-odds of two classes differ in sign alone, so that one says it all: the
        positive class, or the second one where it is None, so that a row is explained
        alike among whichever rows.
        """
        if self is LOGIT and len(form.class_names) == 2:
            return (1 if positive is None else form.class_names.index(positive),)
        return tuple(range(len(self.names(form))))

    def unit(self, form: OutputForm) -> str:
        """Return what the numbers are called."""
        if form.task.numeric:
            return "y"
        if self is LOGIT and (len(form.class_names) == 2 or not form.class_names):
            return LOG_ODDS
        return {RAW: RAW_OUTPUT}.get(self, self.name)

    def sum_is_constant(self, form: OutputForm) -> bool:
        """Return whether the numbers of every row have the same sum.

        Probabilities that a model returns need not add up to exactly 1.
        """
        if not form.task.has_classes or form.kind == "values":
            return False
        computed = form.kind in ("logits", "log_probabilities")
        return self is LOGIT or (self is PROBABILITY and computed)


def _probabilities(form: OutputForm, outputs: Tensor) -> Tensor:
    if form.task.has_classes:
        return form.probabilities(outputs)
    return form.own_probabilities(outputs)


def _logits(form: OutputForm, outputs: Tensor) -> Tensor:
    scores = form.logits(outputs)
    if form.task.labels_overlap:
        return scores
    if form.count > 2:
        return scores - scores.mean(dim=1, keepdim=True)
    if form.count == 2:
        log_odds = scores[:, 1:] - scores[:, :1]
    else:
        log_odds = scores
    return log_odds * log_odds.new_tensor([-1.0, 1.0])


def _returned(form: OutputForm, outputs: Tensor) -> Tensor:
    return form.returned(outputs)


PROBABILITY = Scale("probability", _probabilities, linear=False)
LOGIT = Scale("logit", _logits, linear=True)
RAW = Scale("raw", _returned, linear=True, of_classes=False)
SCALES: dict[str, Scale] = {scale.name: scale for scale in (PROBABILITY, LOGIT, RAW)}
#: What ``scale=`` takes. ``"auto"`` is the method's own.
SCALE_NAMES = ("auto", *SCALES)

#: Units of logits of two classes, and of what a model returns.
LOG_ODDS = "log-odds"
RAW_OUTPUT = "raw output"
_UNIT_WORDS = {
    LOG_ODDS: "Log-odds of 0 are a probability of 50\u00a0%, 1 is 73\u00a0%, and −1 is "
    "27\u00a0%.",
    LOGIT.name: "A logit is the logarithm of a class's probability, less its mean over "
    "all classes.",
    RAW_OUTPUT: "Raw outputs are what the model returns.",
}


def is_probability(about: Mapping[str, Any]) -> bool:
    """Return whether an explanation's numbers are probabilities, by its ``meta``."""
    return about.get("unit") == PROBABILITY.name


def words_of_unit(about: Mapping[str, Any]) -> str:
    """Return what an explanation's numbers mean by its ``meta``, as a sentence behind
    another. Empty without a scale.
    """
    words = _UNIT_WORDS.get(str(about.get("unit")), "")
    reason = about.get("scale_reason")
    if words and reason:
        words += f" {reason}."
    if words:
        return f" {words}"
    return ""
