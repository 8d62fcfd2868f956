"""*What if*: what the page needs to predict a changed row, and to divide its prediction
among the features.

The model itself is in the page (``model_form``), with its encoder (``encoder_form``), a
few background rows, and the orders in which players join. The values of the page are
those of

    pg.explain(model, row, method=Shapley(max_permutations=2 * walks, tolerance=0),
    background=…, scale="probability")

with the same orders of features for every row.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, cast

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
from permgrad.assess.stored_facts import PageModel
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.orders import OTHERS
from permgrad.attribution.method.shapley.sampled import shared_orders
from permgrad.attribution.subject.scales import is_probability
from permgrad.base.arrays import Array, Floats
from permgrad.base.sequences import positions_of
from permgrad.data.encode.designs import Words, text_parts, words_in
from permgrad.data.encode.encoding import TableEncoder
from permgrad.data.kinds.column import kinds
from permgrad.data.types.identifiers import LONGEST_READ
from permgrad.pages.views import packed
from permgrad.pages.words import clean

#: Signs that texts may take in a page, with their vocabulary.
MOST_SIGNS = 1_000_000


def text_forms(encoder: TableEncoder, frame: pd.DataFrame) -> dict[str, Any]:
    """Return what scores the texts of rows without some of their words, by column: see
    ``Texts`` in network.js.

    ``rows`` have a text, its parts (``designs.text_parts``), and all ``entries`` that
    can be left in it, each with its rarity and its weights, as many rows as take a
    million signs. ``mean`` is that of scores. ``None``: the page cannot read such
    texts.
    """
    forms: dict[str, Any] = {}
    signs_left = MOST_SIGNS
    for column_name in (
        text_column for text_column in frame if text_column in encoder.scores_.columns
    ):
        forms[column_name], signs_left = _form_of(
            encoder, frame, column_name, signs_left
        )
    return forms


def _form_of(
    encoder: TableEncoder, frame: pd.DataFrame, name: str, room: int
) -> tuple[dict[str, Any] | None, int]:
    """Return the form of one column's texts, and how much room is left."""
    designs = {
        design_kind: (design, weights)
        for design_kind, design, weights in encoder.scores_.columns[name]
    }
    word_design, weights = designs.get("words", (None, None))
    if (
        not isinstance(word_design, Words)
        or weights is None
        or not set(designs) <= {"words", "levels"}
    ):
        return None, room
    value_width = 1 + encoder.scores_.outputs
    used_entries: dict[str, dict[str, None]] = {
        part_name: {} for part_name in word_design.parts
    }
    unused = {
        part_name: set(vocabulary)
        for part_name, (vocabulary, _) in word_design.parts.items()
    }
    row_indices = list[int]()
    texts = list[list[Any]]()
    distinct, index = encoder.texts_of(frame, name)
    for row_index in np.flatnonzero(index >= 0).tolist():
        row_text = distinct[index[row_index]]
        split_text = text_parts(row_text)
        new_entries = {
            part_name: [
                entry
                for entry in _entries[part_name](split_text)
                if entry in unused[part_name]
            ]
            for part_name in unused
        }
        signs = len(row_text) + 3 * len(split_text)
        for part_entries in new_entries.values():
            signs += sum(len(entry) + 5 * value_width for entry in part_entries)
        if not _reads_alike(row_text) or signs > room:
            continue
        room -= signs
        row_indices.append(row_index)
        texts.append(list(map(_in_one_line, split_text)))
        for entry_part, found_entries in new_entries.items():
            used_entries[entry_part] |= dict.fromkeys(found_entries)
            unused[entry_part].difference_update(found_entries)
    column_form = {
        "rows": row_indices,
        "texts": texts,
        "mean": packed(encoder.scores_.means.get(name, np.zeros(value_width - 1))),
        **_entries_shown(word_design, weights, used_entries),
    }
    return column_form, room


def _in_one_line(text_piece: Any) -> Any:
    """Return a piece of a text without line breaks and tabulators."""
    if isinstance(text_piece, str):
        return re.sub(r"\s", " ", text_piece)
    return text_piece


def _entries_shown(
    design: Words, weights: Array, used_entries: Mapping[str, Iterable[str]]
) -> dict[str, Any]:
    """Return the entries of each part of a design that stand in a row that is shown,
    with their rarity and their weights.
    """
    shown = {}
    part_ends = np.cumsum([len(rarity) for _, rarity in design.parts.values()])
    blocks = np.split(weights, part_ends[:-1])
    for (part_name, (vocabulary, rarity)), block in zip(
        design.parts.items(), blocks, strict=True
    ):
        entries = list(used_entries[part_name])
        numbers = pd.DataFrame(np.column_stack([rarity, block]), index=vocabulary)
        shown[part_name] = {
            "entries": entries,
            "numbers": packed(numbers.loc[entries]),
        }
    return shown


def _reads_alike(text: str) -> bool:
    """Whether the words of a text are found in it whole and in lower case, as a
    vocabulary reads it.
    """
    lower_text = text.lower()
    alike = [text[begin:word_end].lower() for begin, word_end in words_in(text)] == [
        lower_text[begin:lower_end] for begin, lower_end in words_in(lower_text)
    ]
    return alike and len(text) <= LONGEST_READ


def _words_left(split_text: list[Any]) -> list[str]:
    """Return all words and pairs of words that can stand in a text without some of its
    parts.
    """
    word_runs = [
        [word_text.lower() for word_text in word_run[::2]]
        for word_run in split_text[1::2]
    ]
    pairs = [
        word_pair
        for word_run in word_runs
        for word_pair in itertools.pairwise(word_run)
    ]
    pairs += [
        (earlier_run[-1], later_run[0])
        for earlier_run, later_run in itertools.combinations(word_runs, 2)
    ]
    return list(
        dict.fromkeys(
            [
                *chain.from_iterable(word_runs),
                *(f"{first_word} {second_word}" for first_word, second_word in pairs),
            ]
        )
    )


def _pieces_left(split_text: list[Any]) -> list[str]:
    """Return all pieces of words, of two to five signs, that can stand in a text
    without some of its parts.
    """
    segments = ["".join(segment_parts).lower() for segment_parts in split_text]
    joined_text = "".join(segments)
    segment_ends = np.cumsum(list(map(len, segments))).tolist()
    cut_spans = list(zip(segment_ends[:-1:2], segment_ends[1::2], strict=True))
    pieces: dict[str, None] = {}
    for begin, word_end in (
        word_match.span() for word_match in re.finditer(r"\S+", joined_text)
    ):
        starts = [
            begin,
            *(cut_end for _, cut_end in cut_spans if begin < cut_end < word_end),
        ]
        stops = [
            word_end,
            *(cut_start for cut_start, _ in cut_spans if begin < cut_start < word_end),
        ]
        for piece_size in range(2, 6):
            for position in range(begin, word_end - piece_size + 1):
                pieces[joined_text[position : position + piece_size]] = None
        pieces |= {
            " " + joined_text[piece_start : piece_start + piece_size]: None
            for piece_size in range(1, 5)
            for piece_start in starts
            if piece_start + piece_size <= word_end
        }
        pieces |= {
            joined_text[piece_end - piece_size : piece_end] + " ": None
            for piece_size in range(1, 5)
            for piece_end in stops
            if piece_end - piece_size >= begin
        }
        pieces |= {
            f" {joined_text[position:to]} ": None
            for position in starts
            for to in stops
            if 0 < to - position < 4
        }
    return list(pieces)


_entries = {"words": _words_left, "pieces": _pieces_left}


def with_what_if(
    content: Assessment, model: Any, *, large: bool, keep_rows: bool = True
) -> Assessment:
    """Return an assessment with what its page needs for *What if*, or why it cannot,
    where rows are listed.

    Without ``keep_rows``, nothing of a single row is left in it but predictions and
    their truth.
    """
    if not keep_rows:
        # An assessment with statistics of rows, and no values, parts, pictures or
        # curves of single ones.
        cards = content.cards
        together = content.together
        shows_rows = bool(content.listed is not None or content.rows)
        reason = (
            "This page was written without rows (--no-rows, keep_rows=False in "
            "Python), so it shows no single ones."
        )
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
            "what_if": {"reason": reason} if shows_rows else None,
        }
        if cards is not None:
            shown = [
                {**feature_card, "examples": None}
                if "examples" in feature_card
                else feature_card
                for feature_card in cards.cards
            ]
            curves = {
                feature_name: curves[:0]
                for feature_name, curves in cards.curves.items()
            }
            changed["cards"] = replace(cards, cards=shown, curves=curves)
        if together is not None:
            changed["together"] = replace(
                together,
                effects=[
                    {**pair_effect, "dots": [[], []]}
                    for pair_effect in together.effects
                ],
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
    what_if_data = what_if(
        model, content.changeable, strongest, large=large, photos=content.photos
    )
    if "form" in what_if_data:
        what_if_data |= _computed(content, content.changeable, what_if_data)
    words = (
        None
        if "form" not in what_if_data
        else content.words or word_parts(content, model)
    )
    page_model = cast("PageModel", what_if_data)
    return replace(content, what_if=page_model, words=words)


def what_if(
    model: Any,
    rows: ChangeableRows,
    ranking: Sequence[str] = (),
    *,
    large: bool = False,
    photos: Sequence[PhotoColumn] = (),
) -> dict[str, Any]:
    """Return what the page needs to run a fitted model, or ``{"reason": ...}`` if it
    cannot or should not.

    Args:
        model: any model. Only permgrad's networks and boosted trees can run in a page.
        rows: the rows that readers may change.
        ranking: features, the most important first. The first 30 have their own share
            of a prediction.
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
            "reason": "The model was saved without rows of its training table, which "
            "parts are compared with."
        }
    if (weight_bytes := bytes_of(weights)) > MOST_BYTES and not large:
        return {
            "reason": "The model is not in this page, because its weights take "
            f"{weight_bytes / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f} MB."
        }
    encoder = model.preprocessor_
    ranks = {}
    for feature_rank, feature_name in enumerate(ranking):
        ranks[feature_name] = feature_rank
    # The features that share a prediction, with their encoded columns: the first ones,
    # and all others as one. ``pg.explain`` takes the same as ``groups=``.
    groups = {}
    for feature_name, columns in encoder.features("feature").items():
        if len(columns):
            groups[feature_name] = columns.tolist()
    if len(groups) > MOST_PLAYERS:
        first = set(
            sorted(groups, key=lambda name: ranks.get(name, len(ranks)))[
                : MOST_PLAYERS - 1
            ]
        )
        other_columns = sorted(
            column
            for feature_name, columns in groups.items()
            if feature_name not in first
            for column in columns
        )
        groups = {
            feature_name: columns
            for feature_name, columns in groups.items()
            if feature_name in first
        } | {OTHERS: other_columns}
    background = rows.background
    walks = walks_of(network, len(groups), len(background))
    page_form = {
        "network": network,
        "encoder": encoder_form(encoder),
        "players": [
            [feature_name, columns] for feature_name, columns in groups.items()
        ],
        "walks": walks,
        "range": rows.spread.tolist(),
        "remains": rows.remains,
    }
    if encoder.date_parts_:
        page_form["dated"] = {
            feature_name: [date_part.column, date_part.part]
            for feature_name, date_part in encoder.date_parts_.items()
        }
    return {
        "form": json.dumps(
            page_form, separators=(",", ":")
        ),  # as text, so that no number of it is rounded
        "weights": packed(np.concatenate(weights)),
        "background": packed(background),
        "orders": packed(shared_orders(SEED, len(groups), walks[-1]), "u2"),
        "together": list(map(list, rows.together)),
        **_listed(rows, encoder),
        **({} if rows.texts is None else {"texts": text_forms(encoder, rows.texts)}),
        **({"photos": _covered(rows, photos)} if photos else {}),
    }


def _computed(
    content: Assessment, rows: ChangeableRows, page_data: dict[str, Any]
) -> dict[str, Any]:
    """Return the Shapley values that Python computed of rows, which a page shows until
    a row is changed.
    """
    players = json.loads(page_data["form"])["players"]
    encoder_places = positions_of(rows.numbers.tolist())
    row_positions: list[int] = []
    values: list[Floats] = []
    errors: list[Floats] = []
    bases: list[Floats] = []
    for local in (content.explained, content.notable):
        if local is None or not _is_of_page(local.explanation):
            continue
        local_explanation = local.explanation
        of_player = _players_of(local_explanation.names, [name for name, _ in players])
        for row_index, number in enumerate(map(int, local.numbers)):
            if number not in encoder_places:
                continue
            row_positions.append(encoder_places[number])
            values.append(of_player @ local_explanation.values[row_index])
            errors.append(
                np.sqrt(
                    of_player @ np.asarray(local_explanation.std_error)[row_index] ** 2
                )
            )
            shape = np.asarray(local_explanation.predictions).shape
            bases.append(
                np.broadcast_to(np.asarray(local_explanation.base_values), shape)[
                    row_index
                ]
            )
    if not row_positions:
        return {}
    return {
        "computed": {
            "rows": row_positions,
            "values": packed(np.array(values)),
            "errors": packed(np.array(errors)),
            "base": packed(np.array(bases)),
        }
    }


def _is_of_page(explanation: Explanation) -> bool:
    """Whether an explanation is of what a page explains: all of a row's prediction,
    with errors.
    """
    is_prediction = (
        is_probability(explanation.meta) or explanation.meta.get("unit") == "y"
    )
    return (
        explanation.method == "shapley"
        and is_prediction
        and explanation.std_error is not None
        and explanation.base_values is not None
        and explanation.predictions is not None
    )


def _players_of(names: Sequence[str], players: Sequence[str]) -> Floats:
    """Return which features each player of a page is, ``(players, features)``: the last
    one may be all others.
    """
    of_player = np.zeros((len(players), len(names)))
    for feature_index, name in enumerate(names):
        if name in players:
            player = name
        else:
            player = OTHERS
        if player in players:  # a feature without numbers changes nothing
            of_player[players.index(player), feature_index] = 1.0
    return of_player


def _listed(rows: ChangeableRows, encoder: TableEncoder) -> dict[str, Any]:
    """Return the rows in two tables, columns of 0 and 1 in bytes and the others as
    numbers, and the cells of inputs.
    """
    numeric = np.zeros(len(encoder.slots_), dtype=bool)
    numeric[encoder.numeric_columns_] = True
    numeric |= ~np.isin(rows.encoded, (0.0, 1.0)).all(axis=0)
    packings = {}
    for column_kind in kinds.values():
        if column_kind.form is not None:
            packings[column_kind.form.name] = column_kind.form.packing
    forms = {}
    for column_form in encoder_form(encoder)["columns"]:
        forms[column_form["name"]] = column_form["kind"]
    columns = []
    for input_index, column in enumerate(rows.columns.tolist()):
        feature_name = encoder.feature_names_in_[column]
        values = rows.cells[:, input_index]
        packing = packings[forms[feature_name]]
        columns.append(
            {
                "name": feature_name,
                "label": clean(feature_name),
                "values": packed(values, packing),
                **(
                    {"missing": packed(rows.missing[:, input_index], "u1")}
                    if rows.missing[:, input_index].any()
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
    """Return the scores of rows' images with one patch covered, by column, with the
    places of the rows.
    """
    row_position = {}
    for row_index, number in enumerate(rows.numbers.tolist()):
        row_position[str(number)] = row_index
    covered_data = {}
    for column in photos:
        scores_by_row = {}
        for number, scores in column.covered.items():
            if number in row_position:
                scores_by_row[row_position[number]] = scores
        covered_data[column.name] = {
            "rows": list(scores_by_row),
            "scores": packed(np.array([*scores_by_row.values()])),
        }
    return covered_data
