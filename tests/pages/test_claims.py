"""That a feature matters is said of the loss of true y alone."""

from __future__ import annotations

import numpy as np
import pytest

import permgrad as pg
from permgrad.pages.claims import OF_DIVERGENCE, OF_LOSS, OF_METHODS, claim_of

QUIET = {"progress": False, "random_state": 0}


def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 3))


def slope(X: np.ndarray) -> np.ndarray:
    return np.asarray(X)[:, 0] * 2.0


def explained(method: str, y=None) -> pg.Explanation:
    return pg.explain(
        pg.Model(slope, task="regression"), rows(), y, method=method, **QUIET
    )


def test_effects_on_outputs_and_on_the_loss_have_their_own_words():
    y = slope(rows()) + np.random.default_rng(1).normal(size=300)
    of_loss = explained("permgrad", y)
    of_games = explained("permgrad")
    of_curves = explained("ale", y)
    assert claim_of(of_loss) is OF_LOSS
    assert claim_of(of_games) is OF_DIVERGENCE
    assert claim_of(of_curves) is OF_METHODS
    clear = "1 of 3 features clearly"
    end = "(adjusted p-values below 0.05)."
    assert f"{clear} matters {end}\n" in of_loss.summary()
    changes = f"{clear} changes what the model says {end}"
    assert f"{changes} Whether rightly was not asked: pass y.\n" in of_games.summary()
    advice_text = "Whether rightly was not asked: pass y, with method='permgrad'."
    assert f"{changes} {advice_text}\n" in of_curves.summary()
    for curve_or_game in (of_games, of_curves):
        assert "matter" not in curve_or_game.summary()
        assert "clearly changes what the model says" in curve_or_game.to_html()


def test_scores_need_y_and_pairs_interact():
    y = slope(rows()) + np.random.default_rng(1).normal(size=300)
    model = pg.Model(slope, task="regression")
    assert claim_of(pg.explain(model, rows(), y, scoring="r2", **QUIET)) is OF_LOSS
    assert OF_LOSS.counted_pairs(1, "2 pairs") == "1 of 2 pairs clearly interacts"
    assert OF_METHODS.counted_pairs(2, "2 pairs") == (
        "2 of 2 pairs clearly act together on what the model says"
    )


@pytest.mark.parametrize("as_html", [False, True])
def test_a_model_that_is_no_better_than_a_constant_is_said_first(as_html):
    y = np.random.default_rng(2).normal(size=300)
    explanation = explained("permgrad", y)
    words = "The model is no better than a constant on these rows: its loss is "
    text = explanation.summary()
    if as_html:
        text = explanation.to_html().partition("</style>")[2]
        assert text.index(words) < text.index('class="pg-title"')
    else:
        assert text.startswith(words)
