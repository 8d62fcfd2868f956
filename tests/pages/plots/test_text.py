"""The plot of a text: words in the colour of their values, as a picture and as HTML."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from explaining import explain_with
from matplotlib.figure import Figure
from torch import nn

import permgrad as pg
from permgrad.base.errors import InputError
from permgrad.pages.plots.text import _laid_out

TEXTS = ['a <b>bold</b> "claim" & more', "dull", "a fine $10 claim", "long " * 60]


class Bag(nn.Module):
    """A sum of one number for each word."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(20, 1, padding_idx=0).double()

    def forward(self, input_ids):
        """Return the sum."""
        return self.words(input_ids).sum(1)


@pytest.fixture(scope="module")
def explanation():
    """Explain four texts."""
    vocabulary = {
        word: word_index + 1
        for word_index, word in enumerate(dict.fromkeys(" ".join(TEXTS).split()))
    }
    net = Bag()

    def tokenizer(text):
        return [vocabulary[word] for word in text.split()]

    options = {
        "method": "permutation",
        "scope": "local",
        "n_repeats": 1,
        "task": "regression",
    }
    return explain_with(
        net, TEXTS, random_state=0, progress=False, tokenizer=tokenizer, **options
    )


def test_words_and_values_are_in_the_html_and_escaped(explanation):
    """All words of the row and no others, in order; nothing of the text is markup."""
    html = explanation.plot.text(row=0).to_html()
    assert "<b>" not in html
    assert re.findall(r'">([^<]*)</span>', html)[:5] == [
        "a",
        "&lt;b&gt;bold&lt;/b&gt;",
        "&quot;claim&quot;",
        "&amp;",
        "more",
    ]
    assert html.count("<span") == html.count("</span>") == 6  # and the legend
    assert explanation.plot.text(row=1).to_html().count("<span") == 2
    assert "&lt;i&gt;" in explanation.plot.text(row=1, title="<i>").to_html()


def test_colours_follow_signs(explanation):
    """The strongest word has the end of the scale on its side of 0."""
    values = explanation.values[0, :5, 0]
    strongest = abs(values).argmax()
    colours = re.findall(
        r"background:(#\w+);color", explanation.plot.text(row=0).to_html()
    )
    assert colours[strongest] == ("#1d5171" if values[strongest] > 0 else "#a3441f")
    assert len(set(colours)) > 2


def test_the_picture_is_saved_and_says_what_it_shows(explanation, tmp_path):
    """PNG and SVG are written; the description names the strongest words."""
    figure = explanation.plot.text(row=2)
    for ending in ("png", "svg"):
        assert figure.save(tmp_path / f"text.{ending}").stat().st_size > 1000
    assert figure.description.startswith("4 words. Strongest:")
    assert explanation.plot.text(row=-1).get_figheight() > figure.get_figheight()


def test_words_stay_within_their_lines():
    """Words do not overlap, and no line is wider than the picture."""
    boxes, lines = _laid_out(["word", "w" * 40, "x"] * 12)
    assert lines > 2
    for (left, line, width), (following, next_line, _) in itertools.pairwise(boxes):
        assert line != next_line or left + width < following
    assert max(left + width for left, _, width in boxes) < 7.2 * 72


def test_what_has_no_words_is_refused(explanation):
    """Other features, groups and global explanations have no text."""
    with pytest.raises(InputError, match="shows single rows"):
        explanation.to_global().plot.text()
    table = pg.explain(
        pg.Model(nn.Linear(2, 1), task="regression"),
        torch.rand(9, 2),
        method="shapley",
        progress=False,
    )
    with pytest.raises(InputError, match="shows tokens, but"):
        table.plot.text()


def test_words_are_as_wide_as_the_users_axes(explanation):
    figure = Figure(figsize=(4, 3))
    axes, other_axes = figure.subplots(1, 2)
    assert explanation.plot.text(row=0, ax=axes) is axes
    sizes = {text.get_fontsize() for text in axes.texts}
    assert len(axes.texts) > 1
    assert max(sizes) < explanation.plot.text(row=0).axes[0].texts[0].get_fontsize() / 2
    assert not other_axes.has_data()
