"""How far a long explanation is: a line every half minute where stderr is no terminal,
for every method.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from usual_methods import USUAL

import permgrad as pg
from permgrad.attribution.method.shapley import sampled
from permgrad.base import progress as _progress
from permgrad.base.progress import (
    Progress,
    Quicker,
    Whole,
    progress_line,
    readable,
    whole,
    with_fewer_rows,
)
from permgrad.base.typed import typed_for


class Written(io.StringIO):
    """A stream that says when a line was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = threading.Semaphore(0)

    def flush(self) -> None:
        self.lines.release()


def hurried(monkeypatch) -> Written:
    """Return a stream in the place of stderr, to which lines are written at once;
    pytest's own comes with each test.
    """
    stream = Written()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(_progress, "FIRST", 0.0)
    monkeypatch.setattr(_progress, "AGAIN", 0.005)
    return stream


def test_lines_say_how_far_a_long_work_is(monkeypatch):
    stderr = hurried(monkeypatch)
    with Progress(4, "shapley") as bar:
        assert stderr.lines.acquire(timeout=60)
        bar.advance()
        while "%" not in stderr.getvalue():
            assert stderr.lines.acquire(timeout=60)
    lines = stderr.getvalue().splitlines()
    assert lines[0].startswith("shapley: begun ")
    assert any(
        line.startswith("shapley: 25 % done after ") and line.endswith(" left")
        for line in lines
    )
    for thread in threading.enumerate():
        if thread.name == "permgrad-progress":
            thread.join(60)
            assert not thread.is_alive(), "nothing is written afterwards"


@pytest.mark.parametrize(("mode", "options"), [(False, {}), ("auto", {"lines": False})])
def test_nothing_is_written_unasked(monkeypatch, mode, options):
    stderr = hurried(monkeypatch)
    with Progress(4, "shapley", mode, **options) as bar:
        bar.advance()
        assert not stderr.lines.acquire(timeout=0.05)
    assert stderr.getvalue() == ""


def test_a_notebooks_cell_shows_a_line_that_is_rewritten(monkeypatch):
    stream = type("OutStream", (Written,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr("sys.stderr", stream)
    assert not stream.isatty()
    monkeypatch.setattr(_progress, "SHOWN", 0.01)
    with Progress(4, "shapley") as bar:
        bar.note("nearly there")
        assert stream.getvalue() == "", "nothing is shown of a short work"
        while not stream.getvalue():
            assert stream.lines.acquire(timeout=60), "a step may take long"
        assert stream.getvalue().splitlines()[-1].startswith("shapley: 0%|")
        bar.advance(2.96)
        bar.show()
        line = stream.getvalue().splitlines()[-1]
        assert re.match(r"shapley: 74%\|.*\| \d+ (s|min|h) left, nearly there", line)
    assert stream.getvalue().rstrip(" ").endswith("\r"), "the line goes away"


def test_a_short_work_shows_no_bar_unasked(monkeypatch):
    stream = Written()
    stream.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(4, "shapley") as bar:
        for _ in range(4):
            bar.advance()
    assert stream.getvalue() == ""
    assert _progress.SHOWN == 3
    with Progress(4, "shapley", True):
        assert "shapley: 0%|" in stream.getvalue()


def test_a_work_of_more_than_a_minute_says_at_once_what_takes_less(monkeypatch, hands):
    stream = Written()
    monkeypatch.setattr("sys.stderr", stream)
    with Progress(200, "permgrad", lines=False) as bar:
        hands[0] += 5
        bar.advance(2)
    assert stream.getvalue() == "", "lines are not wanted"
    for quicker, advice in (
        ([], ""),
        (
            [Quicker("groups", "modality", "takes", 0.04)],
            ". In Python, groups='modality' takes about 20 s",
        ),
        (
            [Quicker("groups", "modality", "takes", 0.04), *with_fewer_rows(2000)],
            (
                ". In Python, groups='modality' takes about 20 s, "
                "max_rows=200 explains a random part in about 50 s"
            ),
        ),
    ):
        stream.truncate(0)
        stream.seek(0)
        with Progress(200, "permgrad", True) as bar:
            bar.quicker = quicker
            hands[0] += 0.5
            bar.advance(1)
            assert "left" not in stream.getvalue(), "too soon to tell"
            hands[0] += 4.5
            bar.advance(1)
            hands[0] += 5
            bar.advance(2)
        said = re.findall(r"permgrad: about [^\r\n]*", stream.getvalue())
        assert said == [f"permgrad: about 8.2 min left{advice}"]


def test_what_takes_less_fits_the_call(monkeypatch):
    """Inputs as features where there are several, fewer rows where there are many."""
    bars = []
    monkeypatch.setattr(
        Progress, "advance", lambda self, _steps=1: bars.append(self.quicker)
    )
    torch.manual_seed(0)

    class Two(torch.nn.Module):
        def forward(self, first, second):
            return first.sum(dim=1) + second.sum(dim=1)

    inputs = {"first": torch.randn(120, 8), "second": torch.randn(120, 4)}
    options = {"n_repeats": 1, "random_state": 0}
    pg.explain(Two(), inputs, torch.randn(120), **options)
    assert [
        Quicker("groups", "modality", "takes", 2 / 12),
        Quicker("max_rows", 12, "explains a random part in", 0.1),
    ] in bars
    bars.clear()
    pg.explain(Two(), inputs, torch.randn(120), groups="modality", **options)
    assert bars[-1] == with_fewer_rows(120)
    assert all(len(quicker) < 2 for quicker in bars)
    few = {name: rows[:20] for name, rows in inputs.items()}
    pg.explain(Two(), few, method="integrated_gradients", random_state=0)
    assert bars[-1] == []


@pytest.mark.parametrize("method", ["permgrad", "shapley"])
def test_a_slow_network_counts_from_its_first_calls_on(monkeypatch, method):
    """What is read and what is explained have a total before the first batch."""
    totals = []
    init = Progress.__init__

    def watched(self, total, label, *args, **options):
        init(self, total, label, *args, **options)
        totals.append((label, total, calls[0]))

    monkeypatch.setattr(Progress, "__init__", watched)
    calls = [0]
    begun = []
    prefers = sampled.prefers_designs

    def preferring(*arguments):
        begun.append([label for label, _, _ in totals])
        return prefers(*arguments)

    monkeypatch.setattr(sampled, "prefers_designs", preferring)

    class Slow(torch.nn.Module):
        def forward(self, x):
            calls[0] += 1
            return x.flatten(1).sum(dim=1)

    volumes = torch.randn(2, 1, 6, 6, 6)
    background = torch.randn(4, 1, 6, 6, 6)
    options = {"method": method, "background": background, "n_repeats": 2}
    pg.explain(Slow(), volumes, random_state=0, **options)
    labels = [label for label, _, _ in totals]
    assert labels == ["reading the network", method]
    assert totals[0] == ("reading the network", 3, 0)
    assert totals[1][1] >= 2
    assert totals[1][2] < calls[0]
    if method == "shapley":
        assert begun == [labels], "which estimator pays takes calls, too"


def test_a_closed_stream_is_no_reason_to_fail(monkeypatch):
    stderr = hurried(monkeypatch)
    with Progress(4, "shapley") as bar:
        assert stderr.lines.acquire(timeout=60)
        stderr.close()
        bar.advance()
    for mode in ("auto", False):
        with Progress(4, "shapley", mode) as bar:
            bar.advance()


def test_lines_come_late_enough_for_short_explanations():
    assert (_progress.FIRST, _progress.AGAIN, _progress.SOON) == (10, 30, 1)
    assert (
        progress_line("lime", 0.2, 60)
        == "lime: 20 % done after 60 s, about 4 min left\n"
    )
    assert progress_line("lime", 0.0, 10.0) == "lime: begun 10 s ago\n"
    assert (
        progress_line("shapley", 0.25, 40.0)
        == "shapley: 25 % done after 40 s, about 2 min left\n"
    )
    expected_texts = ["0.034 s", "9.9 s", "1.7 min", "4.2 min", "15 min", "2.5 h"]
    assert [
        readable(seconds) for seconds in (0.034, 9.94, 99.7, 250, 900, 9000)
    ] == expected_texts
    assert (
        progress_line("lime", 1.0, 60)
        == "lime: 100 % done after 60 s, about no time left\n"
    )


@pytest.fixture(scope="module")
def model():
    draw = np.random.default_rng(0)
    X = pd.DataFrame(draw.normal(size=(60, 4)), columns=list("abcd"))
    network = {"dense_units": [6], "conv_filters": [3], "fusion_units": [6]}
    fitted = pg.HyNNClassifier(
        preset="fast",
        image="always",
        pixels=8,
        network=network,
        max_epochs=2,
        random_state=0,
        progress=False,
    )
    return fitted.fit(X, (X["a"] > 0).astype(int)), X


@pytest.fixture
def counted(monkeypatch):
    """Keep how many of how many steps were counted where lines may be written."""
    progress_bars = []
    init = Progress.__init__

    def watched(self, total, label, mode="auto", *, lines=True):
        init(self, total, label, mode, lines=lines)
        if total > 0 and mode == "auto" and lines:
            self.total = total
            self.label = label
            progress_bars.append(self)

    monkeypatch.setattr(Progress, "__init__", watched)
    return progress_bars


@pytest.mark.parametrize("name", [name for name in USUAL if name != "aggregate"])
def test_each_method_counts_its_steps(model, counted, name):
    fitted, X = model
    rows = X[:12]
    pg.explain(
        fitted,
        rows,
        (rows["a"] > 0).astype(int),
        method=name,
        random_state=0,
        n_repeats=2,
    )
    assert counted, "and says how far it is"
    assert all(progress_bar.ended.is_set() for progress_bar in counted)
    assert [progress_bar.done for progress_bar in counted] == pytest.approx(
        [progress_bar.total for progress_bar in counted]
    )
    counted.clear()
    pg.explain(
        fitted,
        rows,
        (rows["a"] > 0).astype(int),
        method=name,
        random_state=0,
        n_repeats=2,
        progress=False,
    )
    assert counted == []


def test_sampled_shapley_values_count_while_a_block_of_rows_is_under_way(
    counted, monkeypatch
):
    """A block of many rows may take minutes."""
    advanced_steps = []

    def advanced(self, steps=1):
        if self.label == "shapley":
            advanced_steps.append(steps)

    monkeypatch.setattr(Progress, "advance", advanced)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
    )
    pg.explain(
        net,
        torch.randn(3, 16),
        method="shapley",
        background=torch.randn(40, 16),
        random_state=0,
    )
    assert len(advanced_steps) > 2
    assert sum(advanced_steps) == pytest.approx(3)


def test_captum_objects_count_their_rows(counted):
    attr = pytest.importorskip("captum.attr")
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
    )
    pg.explain(net, torch.randn(7, 5), method=attr.Saliency(net), random_state=0)
    assert [
        (progress_bar.label, progress_bar.done, progress_bar.total)
        for progress_bar in counted
    ] == [("reading the network", 3, 3), ("captum.Saliency", 14, 14)]


@pytest.fixture
def hands(monkeypatch):
    """Hands of a clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_larger_work_knows_what_is_left_of_all_parts(hands, monkeypatch):
    monkeypatch.setattr(Whole, "_write", lambda self: None)
    whole_progress = Whole("run")
    whole_progress.expect(training=40.0, report=10.0)
    assert whole_progress.left() == 50
    with whole_progress.part("training"):
        hands[0] += 10
        assert whole_progress.left() == 40, "by the plan"
        with Progress(4, "steps") as bar:
            hands[0] += 10
            bar.advance(2)
            assert whole_progress.left() == 30, (
                "as planned: further works may follow in this part"
            )
            hands[0] += 30
            assert whole_progress.left() == pytest.approx(
                0.5 * 40 + 0.5 * 0.25 * 50 + 10
            ), "half by its own pace"
        assert whole_progress.left() == 0.25 * 50 + 10, (
            "the pace of a work that has ended says nothing of the next"
        )
        whole_progress.expect(60.0)
        hands[0] += 20
        assert whole_progress.left() == 50, "who knows better is believed"
        assert whole_progress.line() == (
            70 / 120,
            "run: 58 % done after 70 s, about 50 s left\n",
        )
        whole_progress.expect(80.0)
        assert whole_progress.line() == (
            70 / 120,
            "run: 58 % done after 70 s, about 90 s left\n",
        ), "what is done stays done"
    assert whole_progress.left() == 10
    with whole_progress.part("report"):
        hands[0] += 30
        assert whole_progress.left() == 7.5, (
            "what takes longer than expected is likely to take longer still"
        )
    assert whole_progress.left() == 0


@pytest.mark.parametrize("works", [(), (5.0,), (2.0, 80.0)])
def test_a_larger_work_never_says_for_long_that_little_is_left(
    hands, monkeypatch, works
):
    monkeypatch.setattr(Whole, "_write", lambda self: None)
    whole_progress = Whole("run")
    shown_lines = list[tuple[float, str]]()

    def look(seconds: float) -> None:
        for _ in range(int(2 * seconds)):
            hands[0] += 0.5
            whole_progress.line()
            shown_lines.append((hands[0], readable(whole_progress.left())))

    whole_progress.expect(explanation=1.0, report=3.0)
    with whole_progress.part("explanation"):
        for seconds in works:
            with Progress(10, "work") as bar:
                for _ in range(10):
                    look(seconds / 10)
                    bar.advance()
            look(10)
        look(60)
    with whole_progress.part("report"):
        look(30)
    short = [time for time, words in shown_lines if words == "3 s"]
    assert all(later - time > 10 for time, later in itertools.pairwise(short))


def test_a_larger_work_shows_one_line_in_the_place_of_those_within(monkeypatch):
    stream = hurried(monkeypatch)
    monkeypatch.setattr(_progress, "LOOK", 0.001)
    with contextlib.closing(Whole("run")) as whole_progress:
        with whole_progress.part("unplanned"), Progress(2, "shown"):
            assert stream.lines.acquire(timeout=60)
        whole_progress.expect(training=1000.0)
        with whole_progress.part("training"), Progress(4, "hidden") as bar:
            bar.advance()
            while "run: " not in stream.getvalue():
                assert stream.lines.acquire(timeout=60)
    assert "shown: " in stream.getvalue()
    assert "hidden" not in stream.getvalue()
    assert _progress._whole is None


def test_a_line_that_is_rewritten_has_whole_numbers():
    shown = [readable(whole(seconds)) for seconds in (0.034, 1.7, 41.4, 99.7, 250, 900)]
    assert shown == ["1 s", "2 s", "41 s", "2 min", "4 min", "15 min"]


def test_a_command_names_its_option_for_fewer_rows(monkeypatch, hands):
    stream = Written()
    monkeypatch.setattr("sys.stderr", stream)
    with typed_for("explain"), Progress(200, "permgrad", True) as bar:
        bar.quicker = [Quicker("groups", "modality", "takes", 0.04)]
        bar.quicker += with_fewer_rows(2000)
        hands[0] += 10
        bar.advance(4)
    assert (
        "left. --max-rows 200 explains a random part in about 50 s. In Python, "
        "groups='modality' takes about 20 s"
    ) in stream.getvalue()
