"""Options of a method are typed fields, and what their types alone say is checked by
them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import ClassVar, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import permgrad as pg
from permgrad.attribution.request import (
    Configured,
    Request,
    Scope,
    configured,
    methods,
    setting,
    tuned,
)
from permgrad.attribution.request.method_call import resolve_method
from permgrad.attribution.request.result import build
from permgrad.base.errors import InputError

X = np.random.default_rng(0).normal(size=(30, 2))


class Shifted(Configured):
    """A method whose values are one of its options."""

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    side: Literal["left", "right"] = "left"
    signed: bool = True
    smooth: bool | Literal["auto"] = "auto"
    size: float = 2.0
    power: int = setting(default=1)

    def __call__(self, request: Request) -> pg.Explanation:
        """Compute the explanation."""
        assert request.method is self
        shape = (request.count, len(request.space), len(request.targets))
        values = np.full(shape, self.size**self.power)
        return build(request, "shifted", values, {"quantity": "a", "seconds": 0.0})


@pytest.fixture(autouse=True)
def registered():
    methods.register("shifted")(Shifted)
    yield
    del methods["shifted"]


def shifted(method: Configured) -> np.ndarray:
    return pg.explain(lambda rows: rows[:, 0], X, method=method, progress=False).values[
        :, 0, 0
    ]


def test_a_method_reads_its_options_and_settings_as_fields():
    assert (shifted(Shifted(size=3.0)) == 3.0).all()
    assert (shifted(tuned(Shifted(size=3.0), power=2)) == 9.0).all()
    assert Shifted.options == {
        "side": "left",
        "signed": True,
        "smooth": "auto",
        "size": 2.0,
    }
    assert Shifted.inner == {"power": 1}
    with pytest.raises(TypeError, match="power"):
        Shifted(power=2)
    with pytest.raises(TypeError, match="no inner setting size"):
        tuned(Shifted(), size=1.0)
    assert Shifted(size=3.0).settings()["power"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"side": "up"},
            r"^side must be one of 'left', 'right', got 'up'|^side .*left",
        ),
        ({"side": ["left"]}, "^side"),
        ({"signed": 1}, "^signed must be True or False, got 1"),
        ({"smooth": "never"}, "^smooth must be 'auto', True or False, got 'never'"),
    ],
)
def test_what_a_type_does_not_hold_is_refused_in_words(options, message):
    with pytest.raises(InputError, match=message):
        shifted(Shifted(**options))


@pytest.mark.parametrize("name", list(methods))
def test_every_option_of_every_method_is_checked_by_its_type(name):
    method_class = methods[name]
    types = get_type_hints(method_class)
    checked = 0
    for entry in fields(method_class()):
        option_type = types[entry.name]
        if get_origin(option_type) is Literal:
            assert entry.default in get_args(option_type)
            wrong = "neither"
        elif option_type is bool:
            wrong = 1
        else:
            continue
        checked += 1
        with pytest.raises(InputError, match=f"^{entry.name} "):
            resolve_method(configured(name, {entry.name: wrong}), "auto")
    settings = resolve_method(method_class(), "auto")[1]
    assert set(settings) == {*method_class.options, *method_class.inner}
    assert checked or name in ("aggregate", "ale", "deeplift", "lime")
