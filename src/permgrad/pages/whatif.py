"""*What if*: what the page needs to predict a changed row, and to divide its prediction among the features.

The model itself is in the page (``model_form``), with its encoder (``encoder_form``), a few background rows, and
the orders in which players join. The values of the page are those of

    pg.explain(model, row, method=Shapley(max_permutations=2 * walks, tolerance=0), background=…, scale="probability")

with the same orders of features for every row.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.assessment import Assessment
from permgrad.assess.encoder_form import encoder_form
from permgrad.assess.network_form import Weights, model_form
from permgrad.assess.sections.photos import PhotoColumn
from permgrad.assess.sections.what_if import (
    MOST_BYTES,
    MOST_PLAYERS,
    SEED,
    ChangeableRows,
    bytes_of,
    walks_of,
    word_parts,
)
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.method.shapley.sampled import shared_orders
from permgrad.base.arrays import Floats
from permgrad.data.encode.designs import Words, text_parts, words_in
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.types.identifiers import LONGEST_READ
from permgrad.pages.views import packed
from permgrad.pages.words import clean

#: Signs that texts may take in a page, with their vocabulary.
MOST_SIGNS = 1_000_000


def text_forms(encoder: TableEncoder, frame: pd.DataFrame) -> dict[str, Any]:
    """Return what scores the texts of rows without some of their words, by column: see ``Texts`` in network.js.

    ``rows`` have a text, its parts (``designs.text_parts``), and all ``entries`` that can be left in it, each with its
    rarity and its weights, as many rows as take a million signs. ``mean`` is that of scores. ``None``: the page cannot
    read such texts.
    """
    forms: dict[str, Any] = {}
    room = MOST_SIGNS
    for name in (one for one in frame if one in encoder.scores_.columns):
        forms[name], room = _form_of(encoder, frame, name, room)
    return forms


def _form_of(
    encoder: TableEncoder, frame: pd.DataFrame, name: str, room: int
) -> tuple[dict[str, Any] | None, int]:
    """Return the form of one column's texts, and how much room is left."""
    designs = {
        kind: (design, weights)
        for kind, design, weights in encoder.scores_.columns[name]
    }
    known, weights = designs.get("words", (None, None))
    if (
        not isinstance(known, Words)
        or weights is None
        or not set(designs) <= {"words", "levels"}
    ):
        return None, room
    wide = 1 + encoder.scores_.outputs
    used: dict[str, dict[str, None]] = {part: {} for part in known.parts}
    unused = {part: set(vocabulary) for part, (vocabulary, _) in known.parts.items()}
    rows, texts = list[int](), list[list[Any]]()
    distinct, index = encoder.texts_of(frame, name)
    for row in np.flatnonzero(index >= 0).tolist():
        text = distinct[index[row]]
        parts = text_parts(text)
        new = {
            part: [entry for entry in _entries[part](parts) if entry in unused[part]]
            for part in unused
        }
        signs = (
            len(text)
            + 3 * len(parts)
            + sum(len(entry) + 5 * wide for some in new.values() for entry in some)
        )
        if _reads_alike(text) and signs <= room:
            room -= signs
            rows.append(row)
            texts.append(
                [
                    re.sub(r"\s", " ", part) if isinstance(part, str) else part
                    for part in parts
                ]
            )
            for part, some in new.items():
                used[part] |= dict.fromkeys(some)
                unused[part].difference_update(some)
    form = {
        "rows": rows,
        "texts": texts,
        "mean": packed(encoder.scores_.means.get(name, np.zeros(wide - 1))),
    }
    ends = np.cumsum([len(rarity) for _, rarity in known.parts.values()])
    for (part, (vocabulary, rarity)), block in zip(
        known.parts.items(), np.split(weights, ends[:-1]), strict=True
    ):
        numbers = pd.DataFrame(np.column_stack([rarity, block]), index=vocabulary).loc[
            list(used[part])
        ]
        form[part] = {"entries": list(used[part]), "numbers": packed(numbers)}
    return form, room


def _reads_alike(text: str) -> bool:
    """Whether the words of a text are found in it whole and in lower case, as a vocabulary reads it."""
    low = text.lower()
    alike = [text[begin:end].lower() for begin, end in words_in(text)] == [
        low[begin:end] for begin, end in words_in(low)
    ]
    return alike and len(text) <= LONGEST_READ


def _words_left(parts: list[Any]) -> list[str]:
    """Return all words and pairs of words that can stand in a text without some of its parts."""
    runs = [[word.lower() for word in run[::2]] for run in parts[1::2]]
    pairs = [pair for run in runs for pair in itertools.pairwise(run)]
    pairs += [(one[-1], other[0]) for one, other in itertools.combinations(runs, 2)]
    return list(
        dict.fromkeys(
            [
                *(word for run in runs for word in run),
                *(f"{one} {other}" for one, other in pairs),
            ]
        )
    )


def _pieces_left(parts: list[Any]) -> list[str]:
    """Return all pieces of words, of two to five signs, that can stand in a text without some of its parts."""
    segments = ["".join(part).lower() for part in parts]
    text, ends = "".join(segments), np.cumsum([len(one) for one in segments]).tolist()
    cuts = list(zip(ends[:-1:2], ends[1::2], strict=True))
    pieces: dict[str, None] = {}
    for begin, end in (one.span() for one in re.finditer(r"\S+", text)):
        starts = [begin, *(high for _, high in cuts if begin < high < end)]
        stops = [end, *(low for low, _ in cuts if begin < low < end)]
        pieces |= {
            text[at : at + size]: None
            for size in range(2, 6)
            for at in range(begin, end - size + 1)
        }
        pieces |= {
            " " + text[at : at + size]: None
            for size in range(1, 5)
            for at in starts
            if at + size <= end
        }
        pieces |= {
            text[at - size : at] + " ": None
            for size in range(1, 5)
            for at in stops
            if at - size >= begin
        }
        pieces |= {
            f" {text[at:to]} ": None for at in starts for to in stops if 0 < to - at < 4
        }
    return list(pieces)


_entries = {"words": _words_left, "pieces": _pieces_left}


def with_what_if(
    content: Assessment, model: Any, *, large: bool, keep_rows: bool = True
) -> Assessment:
    """Return an assessment with what its page needs for *What if*, or why it cannot, where rows are listed.

    Without ``keep_rows``, nothing of a single row is left in it but predictions and their truth.
    """
    if not keep_rows:
        # An assessment with statistics of rows, and no values, parts, pictures or curves of single ones.
        cards, together, said = (
            content.cards,
            content.together,
            bool(content.listed is not None or content.rows),
        )
        reason = "This page was written without rows (--no-rows, keep_rows=False in Python), so it shows no single ones."
        changed: dict[str, Any] = dict.fromkeys(
            (
                "chosen",
                "explained",
                "notable",
                "maps",
                "local",
                "listed",
                "changeable",
                "words",
            )
        )
        changed |= {
            "rows": (),
            "photos": (),
            "residual_features": None,
            "what_if": {"reason": reason} if said else None,
        }
        if cards is not None:
            shown = [
                {**card, "examples": None} if "examples" in card else card
                for card in cards.cards
            ]
            curves = {name: curves[:0] for name, curves in cards.curves.items()}
            changed["cards"] = replace(cards, cards=shown, curves=curves)
        if together is not None:
            changed["together"] = replace(
                together,
                effects=[{**one, "dots": [[], []]} for one in together.effects],
            )
        return replace(content, **changed, keep_rows=False)
    if content.listed is None:
        return content
    if content.changeable is None:
        which = "only the networks of permgrad and boosted trees can"
        return replace(
            content,
            what_if={"reason": f"This model cannot run inside the page: {which}."},
        )
    strongest = () if content.explanation is None else content.explanation.ranking()
    found = what_if(
        model, content.changeable, strongest, large=large, photos=content.photos
    )
    if "form" in found:
        found |= _computed(content, content.changeable, found)
    words = None if "form" not in found else content.words or word_parts(content, model)
    return replace(content, what_if=found, words=words)


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
        model: any model. Only permgrad's networks and boosted trees can run in a page.
        rows: the rows that readers may change.
        ranking: features, the most important first. The first 30 have their own share of a prediction.
        large: whether weights of more than 4 MB are included.
        photos: scores of images with a patch covered.
    """
    weights: Weights = []
    try:
        network = model_form(model, weights)
    except NotImplementedError as error:
        return {"reason": f"This model cannot run inside the page: {error}."}
    if not len(rows.background):
        return {
            "reason": "The model was saved without rows of its training table, which parts are compared with."
        }
    if (size := bytes_of(weights)) > MOST_BYTES and not large:
        return {
            "reason": f"The model is not in this page, because its weights take {size / 1e6:.1f} MB, more "
            f"than {MOST_BYTES / 1e6:.0f} MB."
        }
    encoder, ranks = (
        model.preprocessor_,
        {name: place for place, name in enumerate(ranking)},
    )
    # The features that share a prediction, with their encoded columns: the first ones, and all others as one.
    # ``pg.explain`` takes the same as ``groups=``.
    groups = {
        name: columns.tolist()
        for name, columns in encoder.features("feature").items()
        if len(columns)
    }
    if len(groups) > MOST_PLAYERS:
        first = set(
            sorted(groups, key=lambda name: ranks.get(name, len(ranks)))[
                : MOST_PLAYERS - 1
            ]
        )
        others = sorted(
            column
            for name, columns in groups.items()
            if name not in first
            for column in columns
        )
        groups = {
            name: columns for name, columns in groups.items() if name in first
        } | {OTHERS: others}
    background = rows.background
    walks = walks_of(network, len(groups), len(background))
    form = {
        "network": network,
        "encoder": encoder_form(encoder),
        "players": [[name, columns] for name, columns in groups.items()],
        "walks": walks,
        "range": rows.spread.tolist(),
        "remains": rows.remains,
    }
    if encoder.date_parts_:
        form["dated"] = {
            name: [one.column, one.part] for name, one in encoder.date_parts_.items()
        }
    return {
        "form": json.dumps(
            form, separators=(",", ":")
        ),  # as text, so that no number of it is rounded
        "weights": packed(np.concatenate(weights)),
        "background": packed(background),
        "orders": packed(shared_orders(SEED, len(groups), walks[-1]), "u2"),
        "together": [list(block) for block in rows.together],
        **_listed(rows, encoder),
        **({} if rows.texts is None else {"texts": text_forms(encoder, rows.texts)}),
        **({"photos": _covered(rows, photos)} if photos else {}),
    }


def _computed(
    content: Assessment, rows: ChangeableRows, found: dict[str, Any]
) -> dict[str, Any]:
    """Return the Shapley values that Python computed of rows, which a page shows until a row is changed."""
    players = json.loads(found["form"])["players"]
    encoder_places = {number: at for at, number in enumerate(rows.numbers.tolist())}
    places: list[int] = []
    values: list[Floats] = []
    errors: list[Floats] = []
    bases: list[Floats] = []
    for local in (content.explained, content.notable):
        if local is None or not _is_of_page(local.explanation):
            continue
        own = local.explanation
        of_player = _players_of(own.names, [name for name, _ in players])
        for at, number in enumerate(map(int, local.numbers)):
            if number not in encoder_places:
                continue
            places.append(encoder_places[number])
            values.append(of_player @ own.values[at])
            errors.append(np.sqrt(of_player @ np.asarray(own.std_error)[at] ** 2))
            shape = np.asarray(own.predictions).shape
            bases.append(np.broadcast_to(np.asarray(own.base_values), shape)[at])
    if not places:
        return {}
    return {
        "computed": {
            "rows": places,
            "values": packed(np.array(values)),
            "errors": packed(np.array(errors)),
            "base": packed(np.array(bases)),
        }
    }


def _is_of_page(explanation: Explanation) -> bool:
    """Whether an explanation is of what a page explains: all of a row's prediction, with errors."""
    unit = explanation.meta.get("unit")
    return (
        explanation.method == "shapley"
        and unit in ("probability", "y")
        and explanation.std_error is not None
        and explanation.base_values is not None
        and explanation.predictions is not None
    )


def _players_of(names: Sequence[str], players: Sequence[str]) -> Floats:
    """Return which features each player of a page is, ``(players, features)``: the last one may be all others."""
    of_player = np.zeros((len(players), len(names)))
    for at, name in enumerate(names):
        player = name if name in players else OTHERS
        if player in players:  # a feature without numbers changes nothing
            of_player[players.index(player), at] = 1.0
    return of_player


def _listed(rows: ChangeableRows, encoder: TableEncoder) -> dict[str, Any]:
    """Return the rows in two tables, columns of 0 and 1 in bytes and the others as numbers, and the cells of inputs."""
    numeric = np.zeros(len(encoder.slots_), dtype=bool)
    numeric[encoder.numeric_columns_] = True
    numeric |= ~np.isin(rows.encoded, (0.0, 1.0)).all(axis=0)
    kinds = {form["name"]: form["kind"] for form in encoder_form(encoder)["columns"]}
    columns = []
    for at, column in enumerate(rows.columns.tolist()):
        name, values = encoder.feature_names_in_[column], rows.cells[:, at]
        packing = {"category": "u2", "boolean": "u1", "date": "f8"}.get(
            kinds[name], "f4"
        )
        columns.append(
            {
                "name": name,
                "label": clean(name),
                "values": packed(values, packing),
                **(
                    {"missing": packed(rows.missing[:, at], "u1")}
                    if rows.missing[:, at].any()
                    else {}
                ),
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
        kept = {
            place[number]: scores
            for number, scores in column.covered.items()
            if number in place
        }
        found[column.name] = {
            "rows": list(kept),
            "scores": packed(np.array([*kept.values()])),
        }
    return found
