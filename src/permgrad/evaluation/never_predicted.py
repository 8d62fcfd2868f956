"""Classes that a model never predicts, and from which probability on it would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from permgrad.base.errors import listed
from permgrad.base.files import plain
from permgrad.evaluation.thresholds import choose_threshold


def never_predicted(
    classes: Sequence[Any] | npt.NDArray[Any],
    validation: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
    test: tuple[npt.NDArray[Any], npt.NDArray[np.float64]],
) -> list[dict[str, Any]]:
    """Return facts about each class that some test rows have and no test row is predicted to have, the largest first.

    Args:
        classes: The model's classes, in its order.
        validation: Truth ``(rows,)`` and probabilities ``(rows, classes)`` of rows that a threshold is chosen on.
        test: The same of the test rows.

    Returns:
        ``{"class", "rows", "threshold", "found", "called"}``: how many rows have the class; the probability from which
        to predict it, the best for balanced accuracy on the validation rows (None: they do not tell); how many of the
        rows are then found, and how many rows are then predicted to have the class.

    Examples:
        >>> y = np.array(["bad", "good", "good", "good"])
        >>> rows = (y, np.array([[0.4, 0.6], [0.1, 0.9], [0.1, 0.9], [0.2, 0.8]]))
        >>> never_predicted(["bad", "good"], rows, rows)
        [{'class': 'bad', 'rows': 1, 'threshold': 0.30000000000000004, 'found': 1, 'called': 1}]
    """
    found: list[dict[str, Any]] = []
    if not len(test[0]):
        return found
    predicted = np.unique(test[1].argmax(axis=1))
    for place, label in enumerate(classes):
        own, held = test[0] == label, validation[0] == label
        if place in predicted or not own.any():
            continue
        facts = {"class": plain(label), "rows": int(own.sum()), "threshold": None, "found": None, "called": None}
        if held.any() and not held.all():
            cut = choose_threshold(held, validation[1][:, place], by="balanced_accuracy", positive=True)
            called = cut.apply(test[1][:, place])
            if np.isfinite(cut.value):
                facts |= {"threshold": cut.value, "found": int((called & own).sum()), "called": int(called.sum())}
        found.append(facts)
    return sorted(found, key=lambda facts: -facts["rows"])


def never_predicted_words(found: Sequence[dict[str, Any]], most: int = 3) -> list[str]:
    """Return a sentence or two for each class that is never predicted; of many classes for the largest.

    Examples:
        >>> facts = {"class": "bad", "rows": 104, "threshold": 0.2134, "found": 81, "called": 180}
        >>> never_predicted_words([facts])[0].split(". ")[0]
        "The model finds 0 of 104 'bad': no test row is predicted so"
    """
    said = []
    for facts in found[:most]:
        label = repr(str(facts["class"]))
        words = f"The model finds 0 of {facts['rows']:,} {label}: no test row is predicted so."
        if facts["threshold"] is not None and facts["found"]:
            precision = 100 * facts["found"] / facts["called"]
            words += (
                f" With a threshold of {facts['threshold']:.3g} for its probability, the best for balanced accuracy on "
                f"validation rows, it finds {facts['found']:,} of them; {precision:.0f} % of the rows predicted "
                f"{label} are then right."
            )
        said.append(words)
    if len(found) > most:
        others = [str(facts["class"]) for facts in found[most:]]
        said.append(f"It never predicts {len(others)} more classes either: {listed(others, show=repr)}.")
    return said
