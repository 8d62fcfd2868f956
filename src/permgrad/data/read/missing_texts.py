"""Texts that mean missing wherever they stand in a CSV file: what pandas takes so, and the errors of spreadsheets."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from permgrad.base.checks import check_names
from permgrad.base.errors import InputError, listed, shown
from permgrad.data.read.cells import MissingCodes

#: What a spreadsheet shows in the place of a value that it could not compute or look up: in English, then as German,
#: French, Spanish, Italian, Dutch and Portuguese ones show it where that is another word.
SPREADSHEET_ERRORS = (
    "#N/A", "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#FIELD!", "#BLOCKED!",
    "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#GETTING_DATA",
    "#NV", "#WERT!", "#BEZUG!", "#ZAHL!", "#ÜBERLAUF!", "#KALK!", "#FELD!", "#BLOCKIERT!", "#VERBINDEN!",
    "#VALEUR!", "#NOM?", "#NOMBRE!", "#NUL!", "#PROPAGATION!",
    "#¡VALOR!", "#¡REF!", "#¡DIV/0!", "#¿NOMBRE?", "#¡NUM!", "#¡NULO!",
    "#N/D", "#VALORE!", "#RIF!", "#NOME?", "#NULLO!",
    "#N/B", "#WAARDE!", "#VERW!", "#DEEL/0!", "#NAAM?", "#GETAL!", "#LEEG!",
    "#VALOR!", "#NÚM!", "#NULO!",
)  # fmt: skip

_OF_PANDAS = (
    "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN",
    "None", "n/a", "nan", "null",
)  # fmt: skip

#: A code that is declared for nothing, but is no mistake: its cells are missing before anybody looks for it.
MISSING_ANYWAY = frozenset((*SPREADSHEET_ERRORS, *_OF_PANDAS))


def missing_said(missing: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a sentence, or none, on the texts taken as missing, from the share of cells with each, by column."""
    columns: dict[str, dict[str, float]] = {}
    for name, words in missing.items():
        for word, share in words.items():
            columns.setdefault(word, {})[name] = share
    if not columns:
        return []
    usual = sorted(columns, key=lambda word: -max(columns[word].values()))
    phrases = []
    for word in usual:
        shares = sorted(columns[word].items(), key=lambda pair: -pair[1])
        cells = [f"{name} ({f'{100 * share:.3g}' if share >= 0.001 else 'under 0.1'} %)" for name, share in shares]
        phrases.append(f'"{word}" in {listed(cells, 3)}')
    fix = f'keep it with --not-na {shlex.quote(usual[0])} (in Python: not_na=["{usual[0]}"])'
    return [f"taken as missing: {listed(phrases)}; if a text is a level, {fix}"]


def check_not_na(texts: Iterable[str], na: MissingCodes) -> list[str]:
    """Return texts that are kept though they usually mean missing; others, or declared as missing, are refused."""
    names = list(check_names("not_na", texts, "pass for example not_na=['None']"))
    for name in names:
        if name not in MISSING_ANYWAY:
            raise InputError(
                f"Text {shown(name)} is not taken as missing, so there is nothing to keep. "
                f"The texts taken as missing are {', '.join(sorted(_OF_PANDAS))} and the errors of spreadsheets."
            )
        if name in na.labels:
            raise InputError(f"Text {shown(name)} is given as missing and as not missing. Leave one of the two out.")
    return names
