"""Why a model's numbers are taken for what they are: facts that are seen, never guessed
from a name of a class.

Several columns of unbounded numbers may be scores of classes, or targets of a
regression, actions, codes of an autoencoder. Without a reason they are plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    OneHotCategorical,
)
from torch.overrides import TorchFunctionMode

from permgrad.attribution.subject.tracing import name_of, tensors_in
from permgrad.base.errors import InputError
from permgrad.data.tasks import CLASSIFICATION, MULTILABEL, REGRESSION, Task


class Because(StrEnum):
    """Why outputs are taken for what they are.

    The values complete "outputs are read so because …".
    """

    STATED = "the call or the model states it"
    NAMES = "they have the names of classes"
    CLASSES = "y holds classes"
    LABELS = "y holds several labels"
    NUMBERS = "y holds numbers"
    ASKED = "the call speaks of classes"
    SUMS = "the probabilities of each row add up to 1"
    SOFTMAX = "the forward takes their softmax"
    LOGITS = "the network calls them logits"
    CONFIG = "the network's config.problem_type states it"
    DISTRIBUTION = "the network returns a distribution"
    ALONE = "there is one number for each row, and no y"
    NOTHING = (
        "nothing says that they are scores of classes (if they are, pass class_names= "
        "or returns='logits' to pg.Model)"
    )


class Sign(NamedTuple):
    """A sign of what numbers mean, and the task that follows from it."""

    task: Task
    because: Because


#: A call that speaks of classes, such as ``target="predicted"``.
CLASSES_ASKED = Sign(CLASSIFICATION, Because.ASKED)

#: Functions whose argument is scores of classes that exclude each other.
_SOFTMAX = frozenset(
    {
        "softmax",
        "log_softmax",
        "special_softmax",
        "special_log_softmax",
        "gumbel_softmax",
        "cross_entropy",
        "nll_loss",
    }
)
#: Tasks of the models of transformers.
_PROBLEMS = {
    "regression": Sign(REGRESSION, Because.CONFIG),
    "single_label_classification": Sign(CLASSIFICATION, Because.CONFIG),
    "multi_label_classification": Sign(MULTILABEL, Because.CONFIG),
}
#: What may be rounding, as a share of the scores.
_ROUNDING = 1e-3


def sign_of_outputs(
    module: Any, returned: Any, head: int | str | None, count: int
) -> Sign | None:
    """Return what a network itself says of its numbers, ``count`` for each row, or
    None.
    """
    if isinstance(returned, Distribution):
        return Sign(_task_of(returned, count), Because.DISTRIBUTION)
    if count == 1:  # networks call a number of a regression a logit, too
        return None
    problem = getattr(getattr(module, "config", None), "problem_type", None)
    if problem in _PROBLEMS:
        return _PROBLEMS[problem]
    if "logit" in str(head).rpartition(".")[2].lower():
        return Sign(CLASSIFICATION, Because.LOGITS)
    return None


def of_each_number(returned: Distribution) -> Distribution:
    """Return the distribution of single numbers behind one of several."""
    while isinstance(returned, Independent):
        returned = returned.base_dist
    return returned


def _task_of(returned: Distribution, count: int) -> Task:
    """Return the task of a network that returns a distribution for each row."""
    returned = of_each_number(returned)
    if isinstance(returned, (Categorical, OneHotCategorical)):
        return CLASSIFICATION
    if isinstance(returned, Bernoulli):
        if count > 1:
            return MULTILABEL
        return CLASSIFICATION
    return REGRESSION


class _Softmaxes(TorchFunctionMode):
    """Records what the softmaxes of one forward are taken of."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[Tensor] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch, with the mode off meanwhile."""
        options = kwargs or {}
        value = func(*args, **options)
        if name_of(func) in _SOFTMAX:
            self.scores += [
                tensor.detach().clone()
                for tensor in tensors_in(args, options)
                if tensor.is_floating_point()
            ]
        return value


class SoftmaxWatch:
    """Predicts as a network does, and sees whether it takes the softmax of what it
    returns.

    It may do so for a second output or for a loss. A softmax of anything else, as in
    attention, says nothing.
    """

    def __init__(
        self, predict: Callable[[Sequence[Tensor]], Tensor], *, watches: bool
    ) -> None:
        self.predict = predict
        self.watches = watches
        self.sign: Sign | None = None

    def __call__(self, rows: Sequence[Tensor]) -> Tensor:
        """Return the outputs of rows.

        Only the first call is watched: it costs memory.
        """
        if not self.watches:
            return self.predict(rows)
        self.watches = False
        watched = _Softmaxes()
        try:
            with watched:
                outputs = self.predict(rows)
        except (InputError, RuntimeError, TypeError):
            return self.predict(rows)  # as a network does that refuses to be watched
        if any(_are_scores(scores, outputs) for scores in watched.scores):
            self.sign = Sign(CLASSIFICATION, Because.SOFTMAX)
        return outputs


def _are_scores(scores: Tensor, outputs: Tensor) -> bool:
    """Return whether numbers are outputs up to a temperature, and up to a number that
    is added to each row.

    A network may have been called with some of the rows at a time.
    """
    count = scores.numel() // outputs.shape[1]
    if scores.numel() % outputs.shape[1] or not 0 < count <= len(outputs):
        return False
    theirs = scores.double().reshape(count, -1).cpu()
    theirs = theirs - theirs.mean(dim=1, keepdim=True)
    for output_block in outputs.double().cpu().split(count):
        own_scores = output_block - output_block.mean(dim=1, keepdim=True)
        if len(output_block) == count and _are_in_proportion(theirs, own_scores):
            return True
    return False


def _are_in_proportion(theirs: Tensor, ours: Tensor) -> bool:
    """Return whether numbers are others times a positive one, ``(rows, K)`` each."""
    squared_sum = float(ours.square().sum())
    if squared_sum == 0:
        return False
    # Of two numbers any other two are scores at some temperature, if there is one row.
    if len(ours) > 1:
        factor = float((ours * theirs).sum()) / squared_sum
    else:
        factor = 1.0
    residual = float((theirs - factor * ours).abs().max())
    return factor > 0 and residual <= _ROUNDING * factor * float(ours.abs().max())
