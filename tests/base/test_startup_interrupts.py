"""When Ctrl-C counts: while libraries start processes it waits, on the way out it no longer counts."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from permgrad.attribution.parts.engines.ray import session
from permgrad.base.startup import interrupts_wait, uninterrupted_end

pytestmark = pytest.mark.usefixtures("ctrl_c_counts")


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def held(body) -> None:
    with interrupts_wait():
        body()


def test_the_body_comes_to_its_end_and_then_ctrl_c_counts():
    done = []

    def body():
        press()
        done.append("the rest of the body")

    with pytest.raises(KeyboardInterrupt):
        held(body)
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    done = []

    def body():
        press()
        done.append("the first waits")
        press()
        done.append("the second too")

    with pytest.raises(KeyboardInterrupt):
        held(body)
    assert done == ["the first waits"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_an_error_wins_and_the_error_is_its_context():
    def body():
        press()
        raise OSError("no disk")

    with pytest.raises(KeyboardInterrupt) as caught:
        held(body)
    assert isinstance(caught.value.__context__, OSError)


def test_ray_is_started_and_ended_whole(monkeypatch):
    """A session that Ctrl-C meets while it starts is there whole, and then ended whole."""
    done = []

    def start(**_):
        press()
        done.append("started")

    def shutdown():
        press()
        done.append("ended")

    def work():
        with session(workers=1, address=None):
            done.append("at work")

    stand_in = SimpleNamespace(is_initialized=lambda: False, init=start, shutdown=shutdown)
    monkeypatch.setattr("permgrad.attribution.parts.engines.ray.import_ray", lambda: stand_in)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["started", "ended"]


def test_a_handler_of_the_users_is_called_and_stays():
    heard = []

    def handler(*arguments):
        heard.append(arguments)

    signal.signal(signal.SIGINT, handler)
    with interrupts_wait():
        press()
        assert not heard
    assert [number for number, _ in heard] == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("kept", [signal.SIG_IGN, signal.SIG_DFL], ids=["ignored", "system"])
def test_what_is_no_function_stays(kept):
    signal.signal(signal.SIGINT, kept)
    with interrupts_wait():
        assert signal.getsignal(signal.SIGINT) is kept
    assert signal.getsignal(signal.SIGINT) is kept


@pytest.mark.parametrize("manager", [interrupts_wait, uninterrupted_end])
def test_other_threads_change_no_handler(manager):
    seen = []

    def work():
        with manager():
            seen.append(signal.getsignal(signal.SIGINT))
        seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler] * 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["datasets", "list"], id="done"),
        pytest.param(["explain", "absent", "absent.csv"], id="refused", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_on_the_way_out_changes_nothing(words):
    found = {}
    for program in ("main()", "app()"):
        code = f"""
import atexit, os, signal, sys
from permgrad.cli import app, main
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv[1:] = {words!r}
{program}
"""
        found[program] = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    ended, interrupted = found.values()
    assert "KeyboardInterrupt" in interrupted.stderr, "the precondition: it arrives while the process ends"
    assert ended.returncode == (2 if "absent" in words else 0)
    assert "KeyboardInterrupt" not in ended.stderr
    assert ended.stdout == interrupted.stdout
    assert interrupted.stderr.startswith(ended.stderr)


def test_ctrl_c_in_code_made_from_text_leaves_the_exit_code(tmp_path):
    """Of ``python -m``, which would else be that of a process that was ended by the signal."""
    codes = {}
    for manager in ("uninterrupted_end", "nullcontext"):
        code = f"""
import signal, sys
from contextlib import nullcontext, suppress
from permgrad.base.startup import uninterrupted_end
signal.signal(signal.SIGINT, signal.default_int_handler)
with {manager}():
    with suppress(KeyboardInterrupt):
        exec("signal.raise_signal(signal.SIGINT)")
    sys.exit(130)
"""
        (tmp_path / f"{manager}.py").write_text(code, encoding="utf-8")
        words = [sys.executable, "-m", manager]
        codes[manager] = subprocess.run(words, check=False, capture_output=True, cwd=tmp_path).returncode
    if sys.version_info < (3, 14):  # newer ones take no note of it
        assert codes["nullcontext"] == -signal.SIGINT, "the precondition: Python has taken note of it"
    assert codes["uninterrupted_end"] == 130
