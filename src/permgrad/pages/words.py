"""How words, values and ranks are written in plots, on pages and in the terminal.
Numbers: ``base/numerals.py``.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from permgrad.base.arrays import Array
from permgrad.base.errors import in_reading_order, text_of
from permgrad.base.late import pd
from permgrad.base.numerals import fixed, number
from permgrad.base.sequences import values_at
from permgrad.data.tasks import task_of
from permgrad.models.losses import named_loss

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation
    from permgrad.attribution.explanation.ranks import Ranks
    from permgrad.attribution.missing import Missing
    from permgrad.evaluation.changes import Changes

#: Spaces, control characters, line ends and incomplete characters.
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


# ---- names ---------------------------------------------------------------------------
def clean(text: object) -> str:
    """Make any value printable on one line.

    Control characters and line ends become spaces. Signs that turn the order of letters
    are shown.
    """
    words = _BLANKS.sub(" ", text_of(text)).strip()
    return in_reading_order(words) or "(blank)"


def modalities_tested(explanation: Explanation, column: int = 0) -> list[str]:
    """Return the modality of each name that was tested for an output."""
    from permgrad.attribution.explanation.numbers import (
        tests_of,
    )  # an explanation has loaded it

    is_tested = np.isfinite(tests_of(explanation)[:, column]).tolist()
    return [
        modality
        for modality, tested in zip(explanation.modality, is_tested, strict=True)
        if tested
    ]


def shorten(text: object, width: int = 26) -> str:
    """Shorten a long name in the middle, because names often differ at their ends."""
    label = clean(text)
    if len(label) <= width:
        return label
    head_length = math.ceil((width - 1) * 0.55)
    return f"{label[:head_length]}…{label[len(label) - (width - 1 - head_length) :]}"


def labels_of(names: Sequence[object], width: int = 26) -> list[str]:
    """Shorten names.

    Where two would look the same, they show where they differ, or get a number.
    """
    labels = list(map(clean, names))
    short = [shorten(shown_name, width) for shown_name in names]
    for label in {label for label in short if short.count(label) > 1}:
        label_indices = []
        for label_index, other_label in enumerate(short):
            if other_label == label:
                label_indices.append(label_index)
        differ = []
        for letters in zip(*values_at(labels, label_indices), strict=False):
            differ.append(len(set(letters)) > 1)
        if True in differ:
            start = differ.index(True)
        else:
            start = 0
        head = width // 2
        for alike_index in label_indices if start > head else ():
            ending = labels[alike_index][start - 2 :]
            if len(ending) > width - head:
                ending = ending[: width - head - 1] + "…"
            short[alike_index] = f"{labels[alike_index][: head - 1]}…{ending}"
    result = []
    for position, label in enumerate(short):
        if short.count(label) > 1:
            number_mark = f"·{short[: position + 1].count(label)}"
        else:
            number_mark = ""
        result.append(
            f"{label[: width - len(number_mark)]}{number_mark}"
            if number_mark
            else label
        )
    return result


def names_apart(names: Iterable[object], width: int = 40) -> Callable[[object], str]:
    """Return what cuts each of some names so that it differs from all others."""
    long_names = []
    for long_name in dict.fromkeys(names):
        if len(clean(long_name)) > width:
            long_names.append(long_name)
    labels = dict(zip(long_names, labels_of(long_names, width), strict=True))
    return lambda name: labels.get(name) or clean(name)


def listed(words: Iterable[str], most: int | None = None) -> str:
    """Join words as in a sentence, ``a, b and c``.

    Words beyond ``most`` are only counted.
    """
    names = list(words)
    if most is not None and len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# ---- numbers -------------------------------------------------------------------------
def valued(
    names: Iterable[object],
    values: Iterable[float],
    write: Callable[[float], str] = number,
) -> str:
    """Write names with their values: ``a 0.100, b 0.200``."""
    return ", ".join(
        f"{clean(value_name)} {write(float(value))}"
        for value_name, value in zip(names, values, strict=True)
    )


def p_text(p_value: float) -> str:
    """Write a p-value."""
    if p_value < 0.001:
        return "< 0.001"
    return fixed(p_value)


def duration(seconds: float | None) -> str:
    """Write a time: ``0.04 s``, ``12 s``, ``3 min 4 s``, ``2 h 1 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    if minutes < 60:
        if minutes:
            return f"{minutes} min {seconds_left} s"
        return f"{seconds_left} s"
    return f"{minutes // 60} h {minutes % 60} min"


# ---- values --------------------------------------------------------------------------
def value_text(value: Any, width: int = 16) -> str:
    """Write a cell of the user's table."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return (
            f"{int(value)}".replace("-", "−")
            if abs(int(value)) < 10**width
            else number(float(value))
        )
    if isinstance(value, (float, np.floating)):
        single = float(value)
        if not math.isfinite(single):
            return "missing" if math.isnan(single) else str(value)
        if single.is_integer() and abs(single) < 1e7:
            return f"{int(single)}".replace("-", "−")
        # No trailing zeros.
        short = f"{single:.4g}"
        return (
            short.replace("-", "−")
            if float(short) == single and "e" not in short
            else number(single, 4)
        )
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "missing"
    words = value
    if isinstance(value, (dt.datetime, np.datetime64)):
        # A clock at midnight is that of a date alone, and seconds of 0 say nothing.
        words = str(pd.Timestamp(value)).removesuffix(" 00:00:00").removesuffix(":00")
    return shorten(words, width)


def plain_text(value: Any) -> str:
    """Write any value of a configuration."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = [
            f"{item_name}: {plain_text(item_value)}"
            for item_name, item_value in value.items()
        ]
    if isinstance(value, (list, tuple, set, frozenset)):
        return clean(", ".join(map(plain_text, value))) if value else "–"
    if isinstance(value, (float, np.floating)):
        return "–" if math.isnan(value) else f"{value:.6g}".replace("-", "−")
    return "–" if value is None else clean(value)


def texts_of(labels: Iterable[object]) -> Array:
    """Return labels as text, so that those of a file and of a model can be compared."""
    return np.array(list(map(str, labels)), dtype=object)


def confidence_words(explanation: Explanation | Missing | Changes) -> str:
    """Return the confidence level of an explanation's intervals: ``95 %``, ``99.99999
    %``, never rounded to 100.
    """
    level = float(explanation.meta.get("confidence", 0.95))
    if level <= 1 - 1e-14:
        return f"{100 * level:.12g}\u00a0%"
    return "almost 100\u00a0%"


def towards(explanation: Explanation, column: int) -> str:
    """Return which output an attribution is to, or which rows a loss is of.

    Empty if that needs no words.
    """
    outputs = explanation.outputs
    task = task_of(explanation.meta)
    is_only_number = len(outputs) == 1 and task is not None and task.numeric
    if outputs[column] == "all" or is_only_number:
        return ""
    return f"{'rows of' if outputs[0] == 'all' else 'towards'} {clean(outputs[column])}"


#: Words of scorers that are not written in small letters.
_SCORERS = {
    "roc": "ROC",
    "auc": "AUC",
    "r2": "R²",
    "f1": "F1",
    "d2": "D²",
    "ndcg": "NDCG",
}


def score_words(name: str) -> str:
    """Write what replacing does to a scorer of scikit-learn: ``fall of ROC AUC``,
    ``rise of mean squared error``.
    """
    words = clean(name).removeprefix("neg_").split("_")
    return (
        f"{'rise' if name.startswith('neg_') else 'fall'} of "
        f"{' '.join(_SCORERS.get(token, token) for token in words)}"
    )


def quantity_of(explanation: Explanation, column: int | None = None) -> str:
    """Return what the numbers are, with their unit if there is one.

    The column says which of several scorers.
    """
    if "scores" in explanation.meta and (
        column is not None or len(explanation.outputs) == 1
    ):
        return score_words(explanation.outputs[column or 0])
    quantity = explanation.meta.get("quantity") or explanation.scope.quantity
    quantity = clean(quantity).replace("_", " ")
    return in_unit(quantity, unit_name(explanation.meta))


def in_unit(quantity: str, unit: str) -> str:
    """Return a quantity with its unit.

    Examples:
        >>> in_unit("increase of the loss", "log loss"), in_unit("loss", "y")
        ('increase of the log loss', 'loss (y)')
    """
    if not unit or unit in quantity:
        return quantity
    if unit.endswith(" loss") and quantity.endswith("loss"):
        return quantity.removesuffix("loss") + unit
    return f"{quantity} ({unit})"


def unit_name(about: Mapping[str, Any]) -> str:
    """Return what the unit in ``meta`` is called. Empty if there is none.

    Few readers know nats: a log loss has its own name.
    """
    if not about.get("unit"):
        return ""
    unit_text = clean(about["unit"])
    if unit_text == "y²":
        return "squared error"
    if unit_text != "nats":
        return unit_text
    loss = named_loss(about.get("loss"))
    if loss is not None and loss.label.endswith(" loss"):
        return loss.label
    if loss is None and str(about.get("quantity", "loss")).endswith("loss"):
        return "log loss"
    return unit_text


def conditional_words(explanation: Explanation) -> str:
    """Say, without a full stop, what Shapley values of conditional draws mean.

    Empty for all others.
    """
    if (
        explanation.method == "shapley"
        and explanation.meta.get("sampling") == "conditional"
    ):
        return (
            "Values are conditional: setting a feature moves all others as they go "
            "with it"
        )
    return ""


def unit_words(explanation: Explanation) -> str:
    """Say what the unit of a loss means, or return an empty text."""
    loss = named_loss(explanation.meta.get("loss"))
    if loss is None or not loss.meaning:
        return ""
    return f"The loss is the {loss.label}: {loss.meaning}."


#: What the interval of a rank means.
RANKS = (
    "A rank such as 2–4 is certain only within these places ({confidence}, for all "
    "features at once), and “undecided” if all are possible. A feature can clearly "
    "matter and have an uncertain rank: it is compared with 0, its rank with all other "
    "features."
)
#: The order of so many features is tested at most, because every pair is. Fewest rows
#: of a summary with intervals.
MOST_ORDERED = 200
FEWEST_ROWS = 10


def shown_ranks(explanation: Explanation, column: int = 0) -> Ranks | None:
    """Return the ranks of a global explanation at the level of its intervals, or None
    without errors.
    """
    std_errors = explanation.std_error
    row_count = explanation.meta.get("rows_summarised", FEWEST_ROWS)
    if (
        std_errors is None
        or explanation.meta.get("methods")
        or not 1 < len(explanation.names) <= MOST_ORDERED
    ):
        return None
    if row_count < FEWEST_ROWS or not np.isfinite(std_errors[:, column]).any():
        return None
    from permgrad.attribution.explanation.ranks import (
        certain_ranks,  # loads torch, which a page of stored numbers does not need
    )

    player_indices = []
    for feature_name in explanation.ranking(column):
        player_indices.append(explanation.names.index(feature_name))
    return certain_ranks(
        explanation,
        player_indices,
        column,
        float(explanation.meta.get("confidence", 0.95)),
    )


def rank_texts(ranks: Ranks) -> list[str]:
    """Write the intervals of ranks: ``1``, ``2–4``, or ``undecided`` where every place
    is possible.
    """
    rank_ends = zip(ranks.low, ranks.high, strict=True)
    every = (1, len(ranks.names))
    return [
        "undecided"
        if rank_pair == every
        else "–".join(map(str, dict.fromkeys(rank_pair)))
        for rank_pair in rank_ends
    ]


def order_words(ranks: Ranks, most: int) -> str:
    """Write who can be told apart among the first: ``1 age; 2–4 income, bmi and dose;
    the rest``. Empty: nobody.
    """
    texts = list[str]()
    short_name = names_apart(ranks.names)
    # What has no importance may have any place, also where others stand above it.
    placed = (ranks.sets == 1) | (ranks.low > 1)
    rank_sets = ranks.sets[placed]
    placed_names = values_at(ranks.names, np.flatnonzero(placed))
    if (rank_sets == 1).all():
        return ""
    for rank_set in np.unique(rank_sets):
        members = np.flatnonzero(rank_sets == rank_set)
        first = members[0] + 1
        last_rank = members[-1] + 1
        count = len(members)
        ends = last_rank == len(rank_sets)
        if ends and first > 1 and (count > 1 or first > most):
            return "; ".join([*texts, "the rest"])
        if first > most:
            return "; ".join([*texts, "and so on"])
        labels = map(short_name, values_at(placed_names, members))
        # A name that is a number is not to be read as a rank.
        names = listed(
            [f"“{label}”" if label.isdigit() else label for label in labels], 4
        )
        texts.append(f"{first if count == 1 else f'{first}–{last_rank}'} {names}")
    return "; ".join(texts)


def training_words(explanation: Explanation) -> str:
    """Say how often the leading features would lead in another training, of an
    explanation of refits. Else nothing.
    """
    facts = explanation.meta.get("another_training")
    if not facts:
        return ""
    first = int(facts["first"])
    if first == 1:
        lead_words = "come first"
    else:
        lead_words = f"be among the first {'two' if first == 2 else 'three'}"
    leading = [
        feature_name
        for feature_name in explanation.ranking()
        if feature_name in facts["shares"]
    ][:first]
    fit_count = int(explanation.meta["refits"]["fits"])
    short_name = names_apart(explanation.names)
    texts = []
    for feature_name in leading:
        texts.append(training_text(facts["shares"][feature_name], fit_count))
    followers = []
    for follower_name, follower_text in zip(leading[1:], texts[1:], strict=True):
        followers.append(f"{short_name(follower_name)} in {follower_text}")
    sentence = listed(
        [
            f"{short_name(leading[0])} would {lead_words} in {texts[0]} of 100",
            *followers,
        ]
    )
    return f"In another training {sentence} (by {fit_count} refits)."


def training_text(share: float, fits: int) -> str:
    """Write in how many of 100 trainings something happens, no surer than so many
    refits can make it.

    If all refits agree, the next one does so with probability (refits + 1) / (refits +
    2) (Laplace's rule).
    """
    most_of_hundred = int(100 * (fits + 1) / (fits + 2))
    number = round(100 * share)
    if number > most_of_hundred:
        return f"more than {most_of_hundred}"
    if number < 100 - most_of_hundred:
        return f"fewer than {100 - most_of_hundred}"
    return str(number)
