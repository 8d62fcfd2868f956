"""The verdict: a few plain sentences that come first, each with the facts behind it.

Page, ``report.md``, ``metrics.json``, the terminal and ``permgrad run --json`` have the
same sentences. ``FINDINGS`` is the table of them. A new sentence is a line in it, a
function in a file of ``facts``, and a template in ``findings``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from permgrad.assess.assessment import Assessment
from permgrad.pages.content import PageContent
from permgrad.pages.effects import EFFECTS_WORDS
from permgrad.pages.facts import (
    calibration_facts,
    column_facts,
    feature_facts,
    group_facts,
    score_facts,
)
from permgrad.pages.facts.finding_facts import Facts
from permgrad.pages.facts.target_facts import target_facts
from permgrad.pages.findings import ADVICE, Writer, say
from permgrad.pages.words import clean

#: Where a sentence goes: an alarm, how good the model is, what changed since an earlier
#: run, what it relies on, how it treats the levels of a column, a caution, what to do
#: next, or the tab Trust alone.
Part = Literal[
    "alarm", "score", "changes", "features", "groups", "caution", "next", "trust"
]
#: A sentence and the facts behind it, with their ``kind`` and ``part``.
Sentence = dict[str, Any]

#: Most alarms and cautions of the first page. The others are in the tab Trust.
MOST_CAUTIONS = 3
#: Escapes what Markdown would take for markup.
_MARKUP = {ord(letter): f"\\{letter}" for letter in "\\`*_[]<>#|"}


class Finding(NamedTuple):
    """A line of the table: its kind and part, and what finds the facts, several times
    or not at all.
    """

    kind: str
    part: Part
    find: Callable[[PageContent], Facts | Sequence[Facts] | None]


#: In reading order, which is that in which a finding makes what follows doubtful. The
#: first that has advice decides what to do next. The words are in ``findings``.
FINDINGS: tuple[Finding, ...] = (
    Finding("leak", "alarm", column_facts.leak),
    Finding("cells", "caution", column_facts.cells),
    Finding("together", "alarm", partial(column_facts.together, clear=True)),
    Finding("target", "alarm", target_facts),
    Finding("skill", "score", score_facts.skill),
    Finding("constant", "score", score_facts.over_constant),
    Finding("finds", "score", score_facts.finds),
    Finding("baselines", "score", score_facts.baselines),
    Finding("changes", "changes", score_facts.changes),
    Finding("features", "features", feature_facts.features),
    Finding("by_absolute_errors", "features", feature_facts.by_absolute_errors),
    Finding("levels", "groups", group_facts.levels),
    # Of a model that is nearly always right a single row makes much of the loss.
    Finding("nearly_perfect", "caution", feature_facts.nearly_perfect),
    Finding("nearly_all", "caution", feature_facts.nearly_all),
    Finding("few_rows_decide", "caution", feature_facts.few_rows_decide),
    Finding("few_rows_matter", "caution", feature_facts.few_rows_matter),
    Finding("noted", "caution", feature_facts.noted),
    Finding("together", "caution", partial(column_facts.together, clear=False)),
    Finding("duplicates", "caution", column_facts.copies),
    Finding("dated", "caution", column_facts.dated),
    Finding("impossible", "caution", feature_facts.impossible),
    Finding("one_class", "caution", score_facts.one_class),
    Finding("quantile", "caution", score_facts.quantile),
    Finding("in_order", "caution", score_facts.in_order),
    Finding("cut", "caution", score_facts.cut),
    Finding("few_rows", "caution", score_facts.few_rows),
    Finding("unseen", "caution", column_facts.unseen),
    Finding("rare", "caution", score_facts.rare),
    Finding("skewed", "caution", group_facts.skewed),
    Finding("worse_log_loss", "caution", score_facts.worse_log_loss),
    Finding("worse", "groups", group_facts.worse),
    Finding("never_predicted", "caution", group_facts.never_predicted),
    Finding("calibration", "caution", calibration_facts.calibration),
    Finding("drift", "caution", column_facts.drift),
    Finding("weights", "caution", score_facts.weights),
    Finding("related", "caution", feature_facts.related),
    Finding("dependence", "trust", column_facts.dependence),
)
#: Headings of the parts of the first page, in reading order.
PARTS: dict[Part, str] = {
    "alarm": "Alarm",
    "score": "How good it is",
    "changes": "What changed",
    "features": "What it relies on",
    "groups": "Groups of rows",
    "caution": "What to be wary of",
    "next": "What to do next",
}


# ---- the verdict ---------------------------------------------------------------------
def verdict(content: Assessment) -> list[Sentence]:
    """Return the sentences in reading order, with those of the tab Trust alone before
    the last, on what to do next.

    Each is ``{"sentence", "facts"}``. ``facts`` has ``kind``, ``part`` and the numbers
    of the sentence.
    """
    return PageContent.of(content).ask(_verdict)


def _verdict(content: PageContent) -> list[Sentence]:
    first_page: list[tuple[Finding, Facts]] = []
    sentences = list[Sentence]()
    cautions = 0
    for finding, finding_facts in _spoken(content):
        part_name = finding_facts.get("part", finding.part)
        cautions += part_name in ("alarm", "caution")
        if part_name == "caution" and cautions > MOST_CAUTIONS:
            part_name = "trust"
        if part_name != "trust":
            first_page += [(finding, finding_facts)]
        known_facts = {}
        for fact_name, value in finding_facts.items():
            if not fact_name.startswith("_"):
                known_facts[fact_name] = value
        words = say(finding.kind, finding_facts)
        sentences.append(
            {
                "sentence": words,
                "facts": {"kind": finding.kind, "part": part_name, **known_facts},
            }
        )
    reading_order = [*PARTS, "trust"]
    sentences.sort(key=lambda spoken: reading_order.index(spoken["facts"]["part"]))
    return [*sentences, _next(content, first_page)]


def _spoken(content: PageContent) -> Iterator[tuple[Finding, Facts]]:
    """Yield what holds, in the order of the table."""
    for finding in FINDINGS:
        found_facts = content.ask(finding.find)
        if not found_facts:
            continue
        if isinstance(found_facts, dict):
            yield finding, found_facts
            continue
        for single_facts in found_facts:
            yield finding, single_facts


def first_sentence(content: Assessment) -> str:
    """Return how good the model is."""
    return say("skill", score_facts.skill(PageContent.of(content)))


def _next(
    content: PageContent, first_page: Sequence[tuple[Finding, Facts]]
) -> Sentence:
    """Advise one thing: that of the first finding which has advice, with the whole
    command where one follows.
    """
    reason = "use"
    words = "Look in the report at how each feature acts, and at single predictions"
    command = ""
    kinds = {finding.kind for finding, _ in first_page}
    for finding, finding_facts in first_page:
        if finding.kind == "skill" and "few_rows_decide" in kinds:
            continue  # whether it is better than a constant is decided by few rows
        advice = Writer(finding_facts).sentence(ADVICE.get(finding.kind, ""))
        if advice:
            reason = finding.kind
            words = advice
            command = _again(content, finding_facts.get("options", ()))
            break
        if finding.kind == "baselines" and finding_facts["form"] == "behind":
            reason = "baselines"
            words = (
                "For predictions alone, use "
                f"{Writer(finding_facts).sentence('{best:model}')}"
            )
    advice_facts = {"kind": "next", "part": "next", "reason": reason} | (
        {"command": command} if command else {}
    )
    return {
        "sentence": f"{words}: {command}" if command else f"{words}.",
        "facts": advice_facts,
    }


def _again(content: PageContent, options: Sequence[str]) -> str:
    """Return the command of the run with further options and a folder of its own.

    Empty where there is none.
    """
    provenance = content.provenance
    if (
        not options
        or provenance is None
        or not provenance.folder
        or not provenance.command.startswith("permgrad run ")
    ):
        return ""
    words = []
    command_words = iter(shlex.split(provenance.command))
    for command_word in command_words:
        if command_word == "--out" or command_word == options[0] in (
            "--task",
            "--threshold",
        ):  # once
            next(command_words)
        else:
            words.append(command_word)
    suffix = {
        "--na": "coded",
        "--drop": "without",
        "--row-group": "together",
        "--groups": "grouped",
        "--time": "by-time",
        "--threshold": "threshold",
    }.get(options[0].partition("=")[0], options[-1])
    return shlex.join([*words, *options, "--out", f"{provenance.folder}-{suffix}"])


def markdown(
    title: str,
    sentences: Sequence[Mapping[str, Any]],
    effects: Sequence[Sequence[str]] = (),
    picture: str | None = None,
) -> str:
    """Write a verdict as Markdown: the score first, then a list for each part, and a
    table of ``effects``.

    ``picture``: what is seen in the file ``PICTURE`` beside it.

    Examples:
        >>> facts = {"It is good.": {"part": "score"}, "Beware.": {"part": "caution"}}
        >>> sentences = []
        >>> for words, about in facts.items():
        ...     sentences.append({"sentence": words, "facts": about})
        >>> print(markdown("heloc", sentences))
        # heloc
        <BLANKLINE>
        It is good.
        <BLANKLINE>
        ## What to be wary of
        <BLANKLINE>
        - Beware.
        <BLANKLINE>
    """
    lines = [f"# {clean(title).translate(_MARKUP)}", ""]
    for part_name, heading in PARTS.items():
        part_sentences = []
        for sentence_entry in sentences:
            if sentence_entry["facts"].get("part") == part_name:
                part_sentences.append(_marked(sentence_entry))
        if part_name == "score" and part_sentences:
            lines += ["\n\n".join(part_sentences), ""]
            if picture is not None:
                lines += [f"![{clean(picture).translate(_MARKUP)}]({PICTURE})", ""]
        elif part_sentences:
            lines += [
                f"## {heading}",
                "",
                *(f"- {sentence_text}" for sentence_text in part_sentences),
                "",
            ]
        if part_name == "features" and effects:
            table_rows = []
            for effect_row in effects:
                table_rows.append(
                    "| "
                    + " | ".join(
                        clean(cell_text).translate(_MARKUP) for cell_text in effect_row
                    )
                    + " |"
                )
            lines += [
                table_rows[0],
                "|---" * len(effects[0]) + "|",
                *table_rows[1:],
                "",
                EFFECTS_WORDS,
                "",
            ]
    return "\n".join(lines)


def _marked(sentence_entry: Mapping[str, Any]) -> str:
    """Return a sentence that Markdown does not change, with its command as code."""
    command = sentence_entry["facts"].get("command", "")
    words = clean(sentence_entry["sentence"].removesuffix(command)).translate(_MARKUP)
    if command:
        return f"{words} `{clean(command)}`"
    return words


#: The picture beside ``report.md``.
PICTURE = "report.svg"
