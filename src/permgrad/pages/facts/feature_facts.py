"""What the model relies on, and where single rows or copies say more than they can."""

from __future__ import annotations

from collections.abc import Sequence

from permgrad.base.numerals import number
from permgrad.data.encode.groups import PROPOSED
from permgrad.evaluation.leaks import ALONE
from permgrad.evaluation.related import MISSING, MOST_RELATED
from permgrad.models.losses import named_loss
from permgrad.pages.content import NAMED, PageContent
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.standing import Standing
from permgrad.pages.words import shorten

#: A nearly perfect model is one of a score from ``ALONE`` on, or from here on if one
#: feature has nearly all importance.
HIGH = 0.95
DOMINANT = 0.9
#: One column alone gives nearly all of a model's skill from this part of it on, and
#: much from this skill on, of 1.
NEARLY_ALL = 0.95
MUCH = 0.7
#: Few rows decide a score with this part of the squared error or log loss.
DECISIVE = 0.1
#: Features of so strong a correlation or association move together.
CLOSE = 0.9


# ---- what it relies on ---------------------------------------------------------------
def features(content: PageContent) -> Facts | None:
    """Which features clearly matter, and what the loss is without them."""
    explanation = content.explanation
    if explanation is None or (content.learnt and explanation.p_values is None):
        return None
    clear = content.clear_names
    facts: Facts = {
        "clear": len(clear),
        "of": len(explanation.names),
        "names": clear[:10],
        "target": content.target,
    }
    if not clear or not content.learnt:
        return facts | {"form": "none" if content.learnt else "unshown"}
    leading = clear[:NAMED]
    ranking = content.ranking
    lower_ends, upper_ends = (interval_ends[:, 0] for interval_ends in explanation.ci())
    known_loss = content.loss

    def fact(name: str) -> Facts:
        feature_index = explanation.names.index(name)
        estimates = []
        for numbers in (explanation.values[:, 0], lower_ends, upper_ends):
            estimates.append(float(numbers[feature_index]))
        if known_loss is not None:
            estimates = list(map(known_loss.without, estimates))
        return {
            "name": name,
            "place": ranking.index(name) + 1,
            "loss": estimates[0],
            "low": estimates[1],
            "high": estimates[2],
        }

    ranks = None if content.standing is None else content.standing.ranks
    if ranks is None:
        rank_sets = []
    else:
        rank_sets = [
            int(ranks.sets[ranks.names.index(feature_name)]) for feature_name in leading
        ]
    before = ranking[: ranking.index(leading[-1])]
    facts |= {
        "relies": "clearly relies" if ranking[0] not in leading else "relies most"
    }
    facts |= {
        "leading": list(map(fact, leading)),
        "uncertain": [
            fact(earlier_name) for earlier_name in before if earlier_name not in clear
        ],
    }
    undecided = []
    for feature_name, rank_set in zip(leading, rank_sets, strict=False):
        if rank_sets.count(rank_set) > 1:
            undecided.append(feature_name)
    facts |= {
        "undecided": undecided,
        "form": "clear" if known_loss is None else "losses",
    }
    if known_loss is None:
        return facts
    return facts | {
        "metric": known_loss.metric,
        "loss": known_loss.model,
        "constant": known_loss.constant,
    }


# ---- what makes the numbers doubtful -------------------------------------------------
def noted(content: PageContent) -> Facts | None:
    """The data card says of the leading feature when it is known."""
    leading_hint = content.ask(leading)
    if leading_hint is None or not leading_hint["notes"] or not content.learnt:
        return None
    return leading_hint


def leading(content: PageContent) -> Facts | None:
    """Return the feature with most of the importance: its ``share``, the ``notes`` on
    it, and how to leave it out. None where it does not clearly matter.
    """
    leakage_hint = (content.reading or {}).get("leakage")
    explanation = content.explanation
    standing = content.standing
    if not leakage_hint or explanation is None or standing is None:
        return None
    tested = standing.tested
    if tested is not None and leakage_hint["feature"] not in tested:
        return None
    columns = (explanation.groups or {}).get(
        leakage_hint["feature"], [leakage_hint["feature"]]
    )
    options = [
        option_word
        for column_name in columns
        for option_word in ("--drop", column_name)
    ]
    return {**leakage_hint, "of": len(explanation.names), "options": options}


def nearly_perfect(content: PageContent) -> Facts | None:
    """A score that models have which know the outcome, where no column was found that
    gives it away.
    """
    metric_name = content.task.skill
    value = content.test.get(metric_name)
    leading_hint = content.ask(leading)
    is_dominant = leading_hint is not None and leading_hint["share"] > DOMINANT
    if (
        value is None
        or value < (HIGH if is_dominant else ALONE)
        or len(content.test_rows.by_class) == 1
    ):
        return None
    if content.table.leaks:
        return None
    needs = content.table.unchecked
    facts = {"metric": metric_name, "value": value, "target": content.target}
    if is_dominant and leading_hint is not None:
        facts |= leading_hint
    else:
        facts |= {"feature": "", "options": []}
    return facts | {"form": needs or ("one" if is_dominant else "none"), "needs": needs}


def nearly_all(content: PageContent) -> Facts | None:
    """The column that the model relies on most gives alone nearly all of its skill,
    which is much.
    """
    alone = (content.reading or {}).get("alone")
    if alone is None or not content.learnt or alone["date"]:
        return None
    if content.table.leaks or content.ask(nearly_perfect) is not None:
        return None
    value = content.test.get(alone["metric"])
    classes = len(content.test_rows.by_class)
    if value is None or (content.task.has_classes and classes < 2):
        return None
    if content.task.has_classes:
        by_chance = 1 / classes
    else:
        by_chance = 0.0
    skills = []
    for score in (alone["score"], value):
        skills.append((score - by_chance) / (1 - by_chance))
    if skills[0] < MUCH or skills[0] < NEARLY_ALL * skills[1]:
        return None
    facts = {key: alone[key] for key in ("feature", "metric", "score")}
    options = ["--drop", alone["column"]]
    return {**facts, "value": value, "target": content.target, "options": options}


def few_rows_decide(content: PageContent) -> Facts | None:
    """A few rows make much of the squared error or log loss, or are predicted far
    outside the training targets.
    """
    stored = (content.metrics or {}).get("few_rows_decide")
    if not stored:
        return None
    named = stored["numbers"][:NAMED]
    predicted = stored["predicted"]
    texts = list(map(str, named))
    if predicted is not None:
        pairs = zip(named, predicted, strict=False)
        texts = []
        for row_number, guess in pairs:
            texts.append(f"{row_number} (predicted {number(guess)})")
    further_rows = stored["rows"] - len(named)
    facts: Facts = {
        **stored,
        "_names": _and_last(texts, further_rows),
    }
    if predicted is None:
        facts["_loss"] = "log loss"
    else:
        facts["_loss"] = "squared error"
    if stored["share"] < DECISIVE:
        return facts | {"form": "outside"}
    return facts | {"form": "range" if stored["outside"] else "decide"}


def few_rows_matter(content: PageContent) -> Facts | None:
    """A few rows make, or hide, the importance of a feature.

    That of the first such feature is told.
    """
    explanation = content.explanation
    if explanation is None:
        return None
    facts_by_feature = explanation.meta.get("few_rows", {})
    loss = named_loss(explanation.meta.get("loss"))
    if loss is None or not loss.by_few_rows or not facts_by_feature:
        return None
    larger = {
        name: max(
            float(value), float(facts_by_feature.get(name, {}).get("without", value))
        )
        for name, value in zip(explanation.names, explanation.values[:, 0], strict=True)
    }
    first = sorted(larger, key=lambda name: -larger[name])[:NAMED]
    name = next(
        (
            feature_name
            for feature_name in first
            if facts_by_feature.get(feature_name, {}).get("numbers")
        ),
        None,
    )
    if name is None:
        return None
    stored = facts_by_feature[name]
    named = list(map(str, stored["numbers"][:NAMED]))
    keys = ("rows", "of", "value", "without")
    facts: Facts = {key: stored[key] for key in keys}
    facts |= {"feature": shorten(str(name), 40), "_loss": loss.label}
    return facts | {"_names": _and_last(named, stored["rows"] - len(named))}


def _and_last(texts: Sequence[str], more: int) -> str:
    """Write names as a list whose last one has an "and" before it."""
    if more > 0:
        names = [*texts, f"{more} more"]
    else:
        names = list(texts)
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def by_absolute_errors(content: PageContent) -> Facts | None:
    """What the model relies on by absolute errors, where few rows decide the squared
    ones.
    """
    explanation = content.absolute
    if explanation is None:
        return None
    ranked = Standing(explanation).clear
    facts: Facts = {"clear": len(ranked), "of": len(explanation.names)}
    if not ranked:
        return facts | {"form": "none"}
    names = [shorten(str(feature_name), 40) for feature_name in ranked[:NAMED]]
    return facts | {"form": "clear", "_names": _and_last(names, 0)}


def impossible(content: PageContent) -> Facts | None:
    """Without one of features that move together, the model is worse than a constant:
    such rows do not occur.
    """
    explanation = content.explanation
    known_loss = content.loss
    if explanation is None or known_loss is None:
        return None
    without = dict(
        zip(
            explanation.names,
            map(known_loss.without, explanation.values[:, 0].tolist()),
            strict=True,
        )
    )
    pairs = []
    for related_pair in content.moving:
        if (
            related_pair["kind"] != MISSING
            and without[related_pair["feature"]] > known_loss.constant
            and abs(related_pair["strength"]) >= CLOSE
        ):
            pairs.append(related_pair)
    if not pairs:
        return None
    provenance = content.provenance
    options = list[str]()
    if (
        provenance is not None
        and provenance.folder
        and "--groups" not in provenance.command
        and len(without) <= MOST_RELATED
    ):
        options = ["--groups", f"{provenance.folder}/{PROPOSED}"]
    return {
        "pairs": pairs,
        "options": options,
        "form": "command" if options else "call",
    }


def related(content: PageContent) -> Facts | None:
    """Other features that clearly matter move with some."""
    impossible_pairs = (content.ask(impossible) or {}).get("pairs", ())
    pairs = []
    for related_pair in content.moving:
        if related_pair["feature"] not in {
            impossible_pair["feature"] for impossible_pair in impossible_pairs
        }:
            pairs.append(related_pair)
    if pairs:
        return {"pairs": pairs}
    return None
