"""The alarms about a table in sentences."""

from __future__ import annotations

from permgrad.evaluation.table_alarms import TableAlarms
from permgrad.pages.facts.column_facts import leak_facts, together_facts
from permgrad.pages.facts.target_facts import target_sign_facts
from permgrad.pages.findings import say


def alarm_sentences(target: str, alarms: TableAlarms) -> list[str]:
    """Say what is alarming about the table of a target."""
    sentences = []
    for cell_facts in alarms.cells:
        if cell_facts.get("part") == "alarm":
            sentences.append(str(cell_facts["words"]))
    if alarms.leaks:
        sentences.append(say("leak", leak_facts(target, alarms.leaks)))
    if alarms.together is not None and alarms.together["clear"]:
        sentences.append(say("together", together_facts(alarms.together)))
    for sign in alarms.target_signs:
        facts = target_sign_facts(sign, target)
        if "part" not in facts:
            sentences.append(say("target", facts))
    return sentences
