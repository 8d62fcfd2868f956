"""The sections of runs that were saved before every section had one form of file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from permgrad.assess.assessment import Assessment
from permgrad.assess.sections.cards import CardsSection
from permgrad.assess.sections.gradients import GradientSection
from permgrad.assess.sections.rows import ListedSection, LocalRows, SimilarRows
from permgrad.assess.sections.together import TogetherSection
from permgrad.assess.sections.what_if import ChangeableRows
from permgrad.assess.store import MARKED, put_together
from permgrad.attribution.explanation import Explanation
from permgrad.base.csv_files import read_csv
from permgrad.base.stored import read_json, read_npz

#: The file by which such a run is recognised.
MARK = Path("explanations") / "rows.json"


def read_first_format(content: Assessment, folder: Path) -> None:
    """Fill an assessment from the explanations of such a run."""
    store = folder / "explanations"
    facts, related = _json(store / "rows.json"), _json(store / "related.json")
    numbers = facts.get("swarm", [row["row"] for row in facts["rows"]])
    content.chosen, content.related, content.matrix = facts["rows"], related["pairs"], related.get("matrix")
    content.explained = _local(store / "integrated_gradients", numbers)
    content.maps = _local(store / "gradcam", numbers)
    if (store / "cards.json").is_file():
        cards, arrays = _json(store / "cards.json"), read_npz(store / "cards.npz")
        curves = {name: arrays[f"curve/{place}"] for place, name in enumerate(cards.pop("curves"))}
        content.cards = CardsSection(**cards, curves=curves, curve_rows=arrays["rows"])
    if (store / "listed.json").is_file():
        listed = _json(store / "listed.json")
        content.listed = _listed(listed, read_npz(store / "listed.npz"))
        content.notable = _local(store / "notable", listed["notable"])
    if (store / "together.json").is_file():
        together = _json(store / "together.json")
        together.pop("information", None)
        content.together = TogetherSection(**together, pairs=_explanation(store / "interactions"))
    if (store / "what_if.npz").is_file():
        changeable: dict[str, Any] = {**read_npz(store / "what_if.npz")}
        content.changeable = ChangeableRows(**changeable)
    if (store / "strongest.csv").is_file():
        names = (
            read_csv(store / "strongest.csv", header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
        )
        values = read_csv(store / "strongest.csv", header=None, skiprows=1, index_col=0)
        content.residual_features = values.set_axis(names[1:], axis=1).reset_index(drop=True)
    if (store / "integrated_gradients.json").is_file():
        text = dict.fromkeys(("level", "feature", "name"), str)
        table = read_csv(folder / "integrated_gradients.csv", dtype=text, keep_default_na=False)
        content.gradients = GradientSection(table=table, facts=_json(store / "integrated_gradients.json"))


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(path)
    return content


def _explanation(folder: Path) -> Explanation | None:
    return Explanation.load(folder) if folder.is_dir() else None


def _local(folder: Path, numbers: list[int]) -> LocalRows | None:
    explanation = _explanation(folder)
    return (
        None if explanation is None else LocalRows(explanation=explanation, numbers=numbers[: len(explanation.values)])
    )


def _listed(facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> ListedSection:
    identifiers, entry, similar = facts.get("identifiers"), facts.get("similar"), None
    if entry is not None:
        names = ("near", "distance", "beside", "beside_distance", "numbers", "truth")
        columns = {name: arrays[f"similar_{name}"] for name in names}
        table = _table(entry["table"], arrays, "similar")
        similar = SimilarRows(searched=entry["searched"], of=entry["of"], table=table, **columns)
    return ListedSection(
        table=_table(facts["table"], arrays, "value"),
        identifiers=None if identifiers is None else _table(identifiers, arrays, "identifier"),
        similar=similar,
        inside=arrays.get("inside"),
        groups={one["column"]: (arrays[f"group/{at}"], one["names"]) for at, one in enumerate(facts["groups"])},
        **{name: facts[name] for name in ("classes", "rows")},
        **{name: arrays[name] for name in ("numbers", "random", "truth", "predicted")},
    )


def _table(facts: list[dict[str, Any]], arrays: Mapping[str, Any], key: str) -> pd.DataFrame:
    table: pd.DataFrame = put_together({MARKED: "table", "key": key, "columns": facts, "rows": 0}, arrays, {})
    return table
