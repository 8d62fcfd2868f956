"""*What if*: what the page needs to predict a changed row, and to divide its prediction among the features.

The network itself is in the page (``network_form``), with its encoder (``encoder_form``), a few background rows, and
the orders in which players join. The values of the page are those of

    pg.explain(model, row, method="shapley", background=…, output="probability", exact=0, same_orders=True,
               max_permutations=2 * walks, tolerance=0, random_state=0)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from permgrad.assess.assessment import Assessment
from permgrad.assess.encoder_form import encoder_form
from permgrad.assess.network_form import Weights, network_form
from permgrad.assess.photo_column import PhotoColumn
from permgrad.assess.sections.rows import RowSection
from permgrad.assess.sections.what_if import (
    MOST_BYTES,
    MOST_PLAYERS,
    SEED,
    WALKS,
    ChangeableRows,
    background_of,
    bytes_of,
    divided,
    word_parts,
)
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.method.shapley.sampled import shared_orders
from permgrad.data.encode.encoding import TableEncoder
from permgrad.models.estimators.kept_rows import rows_in
from permgrad.pages.page_data import packed
from permgrad.pages.text_form import text_forms
from permgrad.pages.words import clean


def with_what_if(content: Assessment, model: Any, *, large: bool, keep_rows: bool = True) -> Assessment:
    """Return an assessment with what its page needs for *What if*, or why it cannot, where rows are listed.

    Without ``keep_rows``, nothing of a single row is left in it but predictions and their truth.
    """
    if not keep_rows:
        return _without_rows(content)
    if content.listed is None:
        return content
    if content.changeable is None:
        return replace(
            content, what_if={"reason": "This model cannot run inside the page: only the networks of permgrad can."}
        )
    strongest = () if content.explanation is None else content.explanation.ranking()
    found = what_if(model, content.changeable, strongest, large=large, photos=content.photos)
    words = None if "form" not in found else content.words or word_parts(content, model)
    return replace(content, what_if=found, words=words, rows=_divided_alike(content, model, found))


def _divided_alike(content: Assessment, model: Any, found: Mapping[str, Any]) -> Sequence[RowSection]:
    """Return the rows of the printed page divided as *What if* divides them: same output, players and background.

    Those of a page without *What if* stay as they are stored.
    """
    rows, places = content.changeable, [row.row for row in content.rows]
    if rows is None or content.explained is None or "form" not in found:
        return content.rows
    numbers = [content.explained.numbers[place] for place in places]
    table = content.explained.explanation.feature_values
    if table is None or not numbers or rows.numbers[places].tolist() != numbers:
        return content.rows
    encoder, form = model.preprocessor_, json.loads(found["form"])
    known, (background, _) = {name for name, _ in form["players"]}, background_of(model)
    options: dict[str, Any] = {"same_orders": True}
    if OTHERS in known:
        rest = [name for name, held in encoder.features("feature").items() if len(held) and name not in known]
        groups = {OTHERS: [column for name in rest for column in encoder.raw_columns_of(name)]}
        options |= {"level": "group", "groups": groups}
    explanation = divided(model, table.iloc[places], rows.encoded[places], background, **options)
    before = ", before calibration," if form["network"]["result"].get("calibration") else ""
    typical = f"the mean prediction{before} of {len(background)} typical training rows"
    explanation = replace(explanation, meta={**explanation.meta, "baseline": typical})
    return [replace(row, explanation=explanation, row=place) for place, row in enumerate(content.rows)]


def _without_rows(content: Assessment) -> Assessment:
    """Return an assessment with statistics of rows, and no values, parts, pictures or curves of single ones."""
    cards, together, said = content.cards, content.together, bool(content.listed is not None or content.rows)
    words = "This page was written without rows (--no-rows, keep_rows=False in Python), so it shows no single ones."
    changed: dict[str, Any] = dict.fromkeys(
        ("chosen", "explained", "notable", "maps", "local", "listed", "changeable", "words")
    )
    changed |= {"rows": (), "photos": (), "residual_features": None, "what_if": {"reason": words} if said else None}
    if cards is not None:
        shown = [{**card, "examples": None} if "examples" in card else card for card in cards.cards]
        curves = {name: curves[:0] for name, curves in cards.curves.items()}
        changed["cards"] = replace(cards, cards=shown, curves=curves)
    if together is not None:
        changed["together"] = replace(together, effects=[{**one, "dots": [[], []]} for one in together.effects])
    return replace(content, **changed, keep_rows=False)


def what_if(
    model: Any,
    rows: ChangeableRows,
    ranking: Sequence[str] = (),
    *,
    large: bool = False,
    photos: Sequence[PhotoColumn] = (),
) -> dict[str, Any]:
    """Return what the page needs to run a fitted model, or ``{"reason": ...}`` if it cannot or should not.

    Args:
        model: any model. Only permgrad's networks can run in a page.
        rows: the rows that readers may change.
        ranking: features, the most important first. The first 30 have their own share of a prediction.
        large: whether weights of more than 4 MB are included.
        photos: scores of images with a patch covered.
    """
    weights: Weights = []
    try:
        network = network_form(model, weights)
    except NotImplementedError as error:
        return {"reason": f"This model cannot run inside the page: {error}."}
    if not rows_in(model)[0]:
        return {"reason": "The model was saved without rows of its training table, which parts are compared with."}
    if (size := bytes_of(weights)) > MOST_BYTES and not large:
        return {
            "reason": f"The network is not in this page, because its weights take {size / 1e6:.1f} MB, more "
            f"than {MOST_BYTES / 1e6:.0f} MB. The option --what-if (what_if=True in Python) includes them."
        }
    encoder, ranks = model.preprocessor_, {name: place for place, name in enumerate(ranking)}
    # The features that share a prediction, with their encoded columns: the first ones, and all others as one.
    # ``pg.explain`` takes the same as ``groups=``, with ``level="group"``.
    groups = {name: columns.tolist() for name, columns in encoder.features("feature").items() if len(columns)}
    if len(groups) > MOST_PLAYERS:
        first = set(sorted(groups, key=lambda name: ranks.get(name, len(ranks)))[: MOST_PLAYERS - 1])
        others = sorted(column for name, columns in groups.items() if name not in first for column in columns)
        groups = {name: columns for name, columns in groups.items() if name in first} | {OTHERS: others}
    background, spread = background_of(model)
    form = {
        "network": network,
        "encoder": encoder_form(encoder),
        "players": [[name, columns] for name, columns in groups.items()],
        "walks": [len(background), *WALKS],
        "range": spread,
    }
    return {
        "form": json.dumps(form, separators=(",", ":")),  # as text, so that no number of it is rounded
        "weights": packed(np.concatenate(weights)),
        "background": packed(background),
        "orders": packed(shared_orders(SEED, len(groups), WALKS[-1]), "u2"),
        **_listed(rows, encoder),
        **({} if rows.texts is None else {"texts": text_forms(encoder, rows.texts)}),
        **({"photos": _covered(rows, photos)} if photos else {}),
    }


def _listed(rows: ChangeableRows, encoder: TableEncoder) -> dict[str, Any]:
    """Return the rows in two tables, columns of 0 and 1 in bytes and the others as numbers, and the cells of inputs."""
    numeric = np.zeros(len(encoder.slots_), dtype=bool)
    numeric[encoder.numeric_columns_] = True
    numeric |= ~np.isin(rows.encoded, (0.0, 1.0)).all(axis=0)
    kinds = {form["name"]: form["kind"] for form in encoder_form(encoder)["columns"]}
    columns = []
    for at, column in enumerate(rows.columns.tolist()):
        name, values = encoder.feature_names_in_[column], rows.cells[:, at]
        packing = {"category": "u2", "boolean": "u1", "date": "f8"}.get(kinds[name], "f4")
        columns.append(
            {
                "name": name,
                "label": clean(name),
                "values": packed(values, packing),
                **({"missing": packed(rows.missing[:, at], "u1")} if rows.missing[:, at].any() else {}),
            }
        )
    return {
        "rows": rows.numbers,
        "numeric": packed(np.flatnonzero(numeric), "u2"),
        "numbers": packed(rows.encoded[:, numeric]),
        "flags": packed(rows.encoded[:, ~numeric], "u1"),
        "columns": columns,
    }


def _covered(rows: ChangeableRows, photos: Sequence[PhotoColumn]) -> dict[str, Any]:
    """Return the scores of rows' images with one patch covered, by column, with the places of the rows."""
    place = {str(number): at for at, number in enumerate(rows.numbers.tolist())}
    found = {}
    for column in photos:
        kept = {place[number]: scores for number, scores in column.covered.items() if number in place}
        found[column.name] = {"rows": list(kept), "scores": packed(np.array([*kept.values()]))}
    return found
