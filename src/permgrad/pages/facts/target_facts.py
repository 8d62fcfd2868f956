"""What is odd about the target, in facts for the first page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from permgrad.pages.content import PageContent
from permgrad.pages.words import listed, value_text


def target_facts(content: PageContent) -> list[dict[str, Any]]:
    """Say what is odd about a target of numbers.

    That are codes, cells far from all others and, of a model that learned nothing,
    zeros.
    """
    return [
        target_sign_facts(target_sign, content.target)
        for target_sign in content.table.target_signs
        if target_sign["form"] != "zeros" or not content.learnt
    ]


def target_sign_facts(sign: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Return the facts of one sign: its numbers, its words, and the option that
    helps.
    """
    facts: dict[str, Any] = {**sign, "target": target, "options": []}
    if sign["form"] == "codes":
        codes = [f"{target_code:g}" for target_code in sign["codes"]]
        facts["_codes"] = listed(codes)
        facts["options"] = ["--na", f"{target}={','.join(codes)}"]
    elif sign["form"] == "far":
        facts["_where"] = listed([sign_cell["where"] for sign_cell in sign["cells"]])
        cells = []
        for sign_cell in sign["cells"]:
            cells.append(
                f"{target} is {value_text(sign_cell['value'])} in {sign_cell['where']}"
            )
        facts["_cells"] = listed(cells)
    else:
        facts["part"] = "caution"
        if sign["whole"]:
            facts["form"] = "counts"
        else:
            facts["form"] = "amounts"
        if sign["whole"]:
            facts["options"] = ["--task", "counts"]
    return facts
