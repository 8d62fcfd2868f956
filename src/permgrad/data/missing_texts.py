"""Texts that mean missing wherever they stand in a CSV file: what pandas takes so, and the errors of spreadsheets."""

from __future__ import annotations

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
