"""Scopes and levels: names that carry facts, which explanations read once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.request import methods
from permgrad.attribution.request.method_call import resolve_method
from permgrad.attribution.scopes import (
    AUTO,
    GLOBAL,
    LOCAL,
    chosen_scope,
    is_by_row,
    levels,
    scopes,
    stated_scope,
)
from permgrad.base.errors import InputError

VALUES = np.array([[[2.0], [-1.0]], [[1.0], [3.0]]])


def explanation(**fields) -> pg.Explanation:
    return pg.Explanation(
        **{
            "values": VALUES,
            "names": ("a", "b"),
            "modality": ("table", "image"),
            "outputs": ("y",),
            "method": "shapley",
            "scope": "local",
            "additive": True,
            **fields,
        }
    )


@pytest.mark.parametrize("registry", [scopes, levels])
def test_each_is_its_name(registry) -> None:
    for name, entry in registry.items():
        assert entry == name == entry.name
        assert json.dumps(entry) == f'"{name}"'


def test_the_axes_of_a_scope_are_those_of_values() -> None:
    for scope in scopes.values():
        assert scope.by_row == ("rows" in scope.axes)
        values = VALUES.mean(axis=0) if scope is GLOBAL else VALUES
        assert explanation(scope=scope.name, values=values).scope is scope
        with pytest.raises(InputError, match=f"with scope='{scope}'"):
            explanation(scope=scope.name, values=values[0])


def test_the_scope_of_a_call_is_the_stated_one_or_the_usual_one() -> None:
    assert chosen_scope(AUTO, "local") is LOCAL
    assert chosen_scope("global", "local") is GLOBAL
    assert stated_scope(AUTO) is None
    assert stated_scope("local") is LOCAL
    assert not is_by_row(AUTO)
    assert is_by_row("local")
    choices = get_args(get_type_hints(pg.explain)["scope"])
    assert set(choices) == {AUTO, *scopes}


def test_every_method_has_registered_scopes_and_scales_of_them() -> None:
    for method in methods.values():
        assert set(method.scopes) <= set(scopes)
        assert set(method.scales) <= set(scopes)
    for method in (None, methods["permgrad"]()):
        assert resolve_method(method, AUTO)[0] is GLOBAL


@pytest.mark.parametrize(
    ("level", "words"),
    [("modality", "2 modalities"), ("column", "2 columns"), ("part", "2 parts")],
)
def test_levels_are_named_in_the_plural(level: str, words: str) -> None:
    assert words in repr(explanation(level=level))
    single = explanation(
        level=level, values=VALUES[:, :1], names=("a",), modality=("t",)
    )
    assert f"1 {level} " in repr(single)


def test_a_name_that_is_no_scope_or_level_is_refused() -> None:
    with pytest.raises(InputError, match="local"):
        explanation(scope="lokal")
    with pytest.raises(InputError, match="column"):
        explanation(level="columns")


def test_a_file_keeps_the_names(tmp_path) -> None:
    saved = explanation(level="group").save(tmp_path / "why")
    stored = next(tmp_path.rglob("*.json"))
    header = json.loads(stored.read_text(encoding="utf-8"))
    assert (header["scope"], header["level"]) == ("local", "group")
    loaded = pg.Explanation.load(saved)
    assert loaded.scope is LOCAL
    assert loaded.level.of_groups
    assert replace(loaded, values=VALUES.mean(axis=0), scope="global").scope is GLOBAL
