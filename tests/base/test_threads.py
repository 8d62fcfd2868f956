"""States that several threads change for a while."""

from __future__ import annotations

from permgrad.base.threads import together, turn


def test_the_first_changes_and_the_last_puts_back():
    seen = []

    def change():
        seen.append("changed")
        return lambda: seen.append("put back")

    with together({"example": change}), together({"example": change}):
        assert seen == ["changed"]
    assert seen == ["changed", "put back"]


def test_a_turn_is_taken_as_often_inside_itself_as_one_likes():
    lock = turn()
    with lock, lock:
        pass
