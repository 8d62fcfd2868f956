"""A model that decides at a threshold of its own: its page counts the classes that it
predicts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from explaining import explain_with
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from permgrad.assess.assess import assess
from permgrad.assess.assessment import Assessment
from permgrad.assess.read_model import ReadModel
from permgrad.assess.work import Work


class Careful(LogisticRegression):
    """Calls a row fine only if it is nearly sure, and ill with three classes alike."""

    def predict(self, X):
        table = self.predict_proba(X)
        weighted = table * np.array([0.1, *[1.0] * (table.shape[1] - 1)])
        return self.classes_[weighted.argmax(axis=1)]


def case(classes: int):
    rng = np.random.default_rng(classes)
    X = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc"))
    score = X["a"] + rng.normal(0, 0.7, 200)
    names = np.array(["fine", "ill", "worse"])
    y = names[np.digitize(score, [0.6] if classes == 2 else [0.3, 1.2])]
    return Careful().fit(X, y), X, y


@pytest.mark.parametrize("classes", [2, 3])
def test_the_page_counts_what_the_model_predicts(classes):
    model, X, y = case(classes)
    likeliest = model.classes_[model.predict_proba(X).argmax(axis=1)]
    assert (model.predict(X) != likeliest).mean() > 0.1, (
        "its decisions must differ from the most probable class"
    )
    read = ReadModel(model, X, y, n_repeats=2)
    content = assess(
        Work(
            read.model,
            read.rows,
            Assessment(title="t", target="y", task="classification", subject="m"),
        )
    )
    assert content.test["accuracy"] == pytest.approx(model.score(X, y))
    expected_matrix = confusion_matrix(y, model.predict(X), labels=model.classes_)
    np.testing.assert_array_equal(content.test["confusion_matrix"], expected_matrix)
    np.testing.assert_array_equal(content.predictions.best, model.predict(X))
    np.testing.assert_array_equal(
        np.asarray(content.listed.classes)[content.listed.called],
        model.predict(X)[content.listed.numbers],
    )
    overall = content.segments["overall"]
    assert overall == pytest.approx(model.score(X, y))
    wrong = next(
        chosen_row for chosen_row in content.chosen if "wrong" in chosen_row["why"]
    )
    assert wrong["prediction"] == model.predict(X)[wrong["row"]] != y[wrong["row"]]
    plain = LogisticRegression().fit(X, y)
    assert ReadModel(plain, X, y).model.called is None, (
        "nothing changes for other models"
    )


def test_the_predicted_output_of_a_row_is_the_models_own():
    model, X, _ = case(2)
    rows = X[
        model.predict(X) != model.classes_[model.predict_proba(X).argmax(axis=1)]
    ].iloc[:4]
    call = {
        "background": X.iloc[:20],
        "method": "shapley",
        "random_state": 0,
        "progress": False,
    }
    predicted = explain_with(model, rows, target="predicted", **call)
    named = explain_with(model, rows, target=model.predict(rows), **call)
    explanation_of_fine = explain_with(model, rows, target=["fine"] * len(rows), **call)
    np.testing.assert_allclose(predicted.values, named.values)
    assert not np.allclose(named.values, explanation_of_fine.values)
