"""Methods of a paper: a paragraph to paste, with the numbers of a run, and its
references as BibTeX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from permgrad.base import __version__
from permgrad.base.errors import counted
from permgrad.base.numerals import fixed, number
from permgrad.evaluation.metrics import metrics
from permgrad.models.losses import named_loss
from permgrad.pages.content import PageContent
from permgrad.pages.facts.score_facts import in_percent, skill
from permgrad.pages.findings import WRITTEN
from permgrad.pages.summaries import units_words
from permgrad.pages.words import clean, listed

if TYPE_CHECKING:
    from permgrad.attribution.explanation import Explanation

#: Parts of a table as a paper names them.
_PARTS = {"train": "training", "validation": "validation", "test": "test"}
#: Columns with the most missing cells that are named.
_NAMED = 3
#: What the paragraph cites. The first entry is that of ``CITATION.cff``.
BIBTEX = f"""@software{{permgrad,
  title   = {{permgrad: explain any model of tables, images, series or text}},
  author  = {{{{The permgrad developers}}}},
  version = {{{__version__}}}
}}
@article{{apley2020,
  title   = {{Visualizing the effects of predictor variables in black box supervised
             learning models}},
  author  = {{Apley, Daniel W. and Zhu, Jingyu}},
  journal = {{Journal of the Royal Statistical Society: Series B}},
  volume  = {{82}}, number = {{4}}, pages = {{1059--1086}}, year = {{2020}}
}}
@article{{fisher2019,
  title   = {{All models are wrong, but many are useful: Learning a variable's
             importance by studying an entire class of prediction models
             simultaneously}},
  author  = {{Fisher, Aaron and Rudin, Cynthia and Dominici, Francesca}},
  journal = {{Journal of Machine Learning Research}},
  volume  = {{20}}, number = {{177}}, pages = {{1--81}}, year = {{2019}}
}}
@article{{holm1979,
  title   = {{A simple sequentially rejective multiple test procedure}},
  author  = {{Holm, Sture}},
  journal = {{Scandinavian Journal of Statistics}},
  volume  = {{6}}, number = {{2}}, pages = {{65--70}}, year = {{1979}}
}}"""


def methods_text(content: PageContent) -> str:
    """Return a paragraph on data, model and importance, with the numbers of the
    assessment. What is not known is left out.
    """
    sentences = [
        *_of_data(content),
        *_of_model(content),
        *_of_importance(content.explanation),
    ]
    if content.cards is not None and content.cards.changes is not None:
        sentences.append(
            "Changes of the prediction are accumulated local effects [apley2020], "
            "between the quartiles of a number, and from the most frequent level of "
            "any other feature"
        )
    return " ".join(f"{sentence}." for sentence in sentences)


def _of_data(content: PageContent) -> list[str]:
    """Say which rows there were, how they were divided, and what was missing."""
    data = content.data
    if data is None:
        return []
    parts = []
    total = 0
    for part, count in data.rows.items():
        if count is not None:
            total += count
            parts.append(
                f"{counted(count, f'{_PARTS[part]} row')}{_who(content, part)}"
            )
    target = clean(content.target)
    if len(parts) == 1:  # those of a model that was trained elsewhere
        sentences = [f"The data are {parts[0]}"]
    else:
        sentences = [f"The data have {counted(total, 'row')} with a value of {target}"]
        sentences.append(f"They were divided into {listed(parts)}")
        if data.split:
            sentences[-1] += f" ({data.split.rpartition('; ')[2]})"
    # Inputs of a network have no counts of missing cells.
    if data.columns is None or "missing" not in data.columns:
        return sentences
    return [*sentences, _missing(content)]


def _who(content: PageContent, part: str) -> str:
    """Write of how many groups the rows of a part are, and how many have the event."""
    assert content.data is not None
    words = []
    groups = content.data.row_groups or {}
    if part in groups:
        name = clean(groups["name"])
        words.append(f"{counted(groups[part], 'group')} by {name}")
    counts = content.data.class_counts
    if counts is not None and part in counts and len(counts) <= _NAMED:
        names = list(map(str, counts.index))
        events = names
        if str(content.positive) in names and len(names) == len(("event", "none")):
            events = [str(content.positive)]
        for event in events:
            count = int(counts[part].iloc[names.index(event)])
            words.append(f"{count:,} with {clean(content.target)} = {clean(event)}")
    if words:
        return f" ({', '.join(words)})"
    return ""


def _missing(content: PageContent) -> str:
    """Say which columns lack values, of those that the model reads."""
    assert content.data is not None
    columns = content.data.columns
    assert columns is not None
    if "used" in columns:
        columns = columns[columns["used"].astype(bool)]
    base = content.data.rows.get("train") or 0
    rows = "training rows"
    if not base:
        base = content.data.rows.get("test") or 1
        rows = "test rows"
    lacking = columns[columns["missing"] > 0].nlargest(_NAMED, "missing")
    if not len(lacking):
        return f"No values were missing in the {len(columns):,} columns of the {rows}"
    shares = []
    for name, count in zip(lacking["name"], lacking["missing"], strict=True):
        shares.append(f"{clean(name)} ({fixed(100 * count / base, 1)} %)")
    lacking_columns = int((columns["missing"] > 0).sum())
    most = "most of all in " * (lacking_columns > len(shares))
    return (
        f"Values were missing in {lacking_columns:,} of {len(columns):,} columns of "
        f"the {rows}: {most}{listed(shares)}"
    )


def _of_model(content: PageContent) -> list[str]:
    """Say what was trained or explained, with which versions, and how good it is."""
    provenance = content.provenance
    versions: Mapping[str, str] = {}
    settings: Mapping[str, Any] = {}
    preset = ""
    if provenance is not None:
        versions = provenance.versions
        settings = provenance.configuration
        if not content.subject:
            preset = str(settings.get("preset", ""))
    model = "a network of permgrad"
    if content.subject:
        model = clean(content.subject)
    if preset:
        model += f" (preset {preset})"
    sentence = f"The model is {model}"
    listed_versions = _versions(versions)
    # A model that came as it is was trained elsewhere, and the seed is not its own.
    is_given = content.in_python or str(settings.get("model")).endswith(".onnx")
    if is_given:
        sentence += f", explained with {listed_versions or 'permgrad'}"
    else:
        if provenance is not None and provenance.seed is not None:
            sentence += f", trained with seed {provenance.seed}"
        if listed_versions:
            sentence += f", with {listed_versions}"
    return [f"{sentence} [permgrad]", *_of_score(content)]


def _versions(versions: Mapping[str, str]) -> str:
    """Write the versions, but for that of what draws."""
    texts = []
    for package, version in versions.items():
        if package != "matplotlib":
            texts.append(f"{package} {version}")
    return listed(texts)


def _of_score(content: PageContent) -> list[str]:
    """Say how good the model is on the test rows, and how it decides."""
    facts = content.ask(skill)
    sentences = []
    if "metric" in facts:
        label = metrics.get(facts["metric"]).label
        words = f"On the test rows, it has {label} {number(facts['value'])}"
        if facts["ci_low"] is not None:
            ends = f"{number(facts['ci_low'])} to {number(facts['ci_high'])}"
            words += f" (95 % interval {ends}"
            if facts["groups"] is not None:
                words += f", by {facts['groups']:,} groups"
            words += ")"
        sentences.append(words)
    elif facts.get("pairs"):
        scores = WRITTEN["pairs"](facts["pairs"], facts)
        sentences.append(
            "On the test rows, it is not clearly better than a constant that ignores "
            f"the features ({scores})"
        )
    decision = (content.metrics or {}).get("decision")
    if decision:
        threshold = in_percent(decision["threshold"])
        sentences.append(
            f"A row is predicted as {clean(decision['positive'])} from a probability "
            f"of {threshold} on"
        )
    return sentences


def _of_importance(explanation: Explanation | None) -> list[str]:
    """Say how importance is defined and tested."""
    if explanation is None or "increase" not in str(explanation.meta.get("quantity")):
        return []
    about = explanation.meta
    loss = named_loss(about.get("loss"))
    label = clean(about.get("loss"))
    if loss is not None:
        label = loss.label
    rows = about.get("rows_explained")
    of_rows = ""
    if isinstance(rows, int):
        of_rows = f"of {counted(rows, 'test row')} "
    definition = (
        f"The importance of a feature is how much the mean {label} {of_rows}"
        "grows when the feature takes the value of another row drawn at random "
        f"[fisher2019]{_draws(about)}"
    )
    sentences = [definition]
    if explanation.p_values is not None:
        confidence = fixed(100 * float(about.get("confidence", 0.95)), 0)
        sentences.append(
            f"Intervals are at {confidence} %, and p-values of no importance are "
            f"adjusted for {counted(len(explanation.names), 'feature')} by Holm's "
            "method [holm1979]; below 0.05, a feature is said to matter"
        )
    return [*sentences, *filter(None, [units_words(about)])]


def _draws(about: Mapping[str, Any]) -> str:
    """Write how many draws each row has, and the seed."""
    repeats = about.get("repeats", about.get("n_repeats"))
    if isinstance(repeats, Mapping):
        counts: Iterable[Any] = repeats.values()
    else:
        counts = (repeats,)
    numbers = []
    for count in counts:
        if isinstance(count, int):
            numbers.append(count)
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    draws = f"{low} to {high} draws"
    if low == high:
        draws = counted(high, "draw")
    return f", by {draws} a row (seed {about.get('seed', 0)})"
