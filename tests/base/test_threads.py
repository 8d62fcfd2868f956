"""States that several threads change for a while."""

from __future__ import annotations

from permgrad.base.threads import together, turn


def test_the_first_changes_and_the_last_puts_back():
    event_log = []

    def change():
        event_log.append("changed")
        return lambda: event_log.append("put back")

    with together({"example": change}), together({"example": change}):
        assert event_log == ["changed"]
    assert event_log == ["changed", "put back"]


def test_a_turn_is_taken_as_often_inside_itself_as_one_likes():
    lock = turn()
    with lock, lock:
        pass
