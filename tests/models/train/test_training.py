"""Training: exact to resume, silent, and the process is left as it was, whatever
happens.
"""

import copy
import dataclasses
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from apart import run_script

from permgrad import (
    EnvironmentProblem,
    HyNNClassifier,
    HyNNRegressor,
    InputError,
    PermgradWarning,
)
from permgrad.models.losses import cross_entropy, losses, squared_error
from permgrad.models.network.network import HybridNetwork
from permgrad.models.train import checkpoint, learner
from permgrad.models.train.learner import Learner, TrainingJob, TrainingOptions, train
from permgrad.models.train.schedules import schedules
from permgrad.models.train.training_rows import Rows, count_batches

SMALL = {"dense_units": [16], "conv_filters": [4], "pooling": [4], "fusion_units": [8]}


def table(rows=200, columns=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns))
    return X, X[:, 0] + X[:, 1] ** 2


def regressor(**changes):
    return HyNNRegressor(
        **{"preset": "paper", "pixels": 8, "layout": "random", "network": SMALL, "max_epochs": 4, "random_state": 0,
           "learning_rate": 0.01, "progress": False, **changes}
    )  # fmt: skip


def weights(model):
    return {name: value.clone() for name, value in model.module_.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


# ---- what a training is --------------------------------------------------------------


def test_paper_schedule_is_the_published_one():
    rate = schedules.get("warmup_cosine")
    rates = [rate(epoch / 200, 1e-3) for epoch in range(200)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[25] == pytest.approx(1e-5 + (1e-3 - 1e-5) / 2)
    assert rates[50] == pytest.approx(1e-3)
    assert rates[125] == pytest.approx(0.5e-3)
    assert rates[199] < 1e-6
    assert np.argmax(rates) == 50


@pytest.mark.parametrize("name", list(schedules))
def test_schedules_stay_between_zero_and_the_peak(name):
    rates = [schedules.get(name)(done, 0.1) for done in np.linspace(0, 1, 101)]
    assert min(rates) >= 0
    assert max(rates) <= 0.1


@pytest.mark.parametrize(
    ("name", "shares", "rates"),
    [
        ("warmup_cosine", (0, 0.25, 1), (1e-5, 1, 0)),
        ("flat_cosine", (0, 0.5, 0.75, 1), (1, 1, 0.5, 0)),
        ("one_cycle", (0, 0.15, 0.3, 0.65, 1), (0.04, 0.52, 1, 0.5, 0)),
    ],
)
def test_schedules_turn_where_they_say(name, shares, rates):
    assert [schedules.get(name)(done, 1.0) for done in shares] == pytest.approx(
        rates, abs=1e-5
    )


def test_a_last_row_alone_joins_the_batch_before():
    assert [count_batches(rows, 4) for rows in (1, 8, 9, 10)] == [1, 2, 2, 3]


def numbered(count: int) -> Rows:
    """Return rows whose target is their number."""
    return Rows(torch.zeros(count, 1), torch.arange(count), torch.ones(count))


def test_epoch_order_is_a_permutation_by_seed_and_epoch():
    rows = numbered(130)
    first, again, other_epoch = (
        torch.cat([batch.y for batch in rows.batches(64, 5, epoch)])
        for epoch in (3, 3, 4)
    )
    assert sorted(first.tolist()) == list(range(130))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_epoch)


def test_epochs_on_parts_see_each_row_once_in_turn():
    rows = dataclasses.replace(numbered(130), parts=3)
    epochs = [
        torch.cat([batch.y for batch in rows.batches(16, 5, epoch)]).tolist()
        for epoch in range(6)
    ]
    assert [len(epoch) for epoch in epochs] == [44, 43, 43] * 2
    assert rows.per_epoch == 44
    for turn in (epochs[:3], epochs[3:]):
        assert sorted(row for epoch in turn for row in epoch) == list(range(130))
    assert epochs[0] != epochs[3]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(129, [64, 65]), (130, [64, 64, 2]), (128, [64, 64]), (3, [3]), (65, [65])],
)
def test_no_batch_of_one_row(rows, sizes):
    assert [len(batch) for batch in numbered(rows).batches(64, 0, 0)] == sizes
    assert count_batches(rows, 64) == len(sizes)


def test_row_losses_equal_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(9, 3))
    y = rng.integers(0, 3, 9)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(9), y]
    np.testing.assert_allclose(
        cross_entropy(torch.tensor(logits), torch.tensor(y)), expected, rtol=1e-12
    )
    single_logit = rng.normal(size=(9, 1))
    label = rng.integers(0, 2, 9)
    expected = np.log1p(
        np.exp(-np.where(label == 1, single_logit[:, 0], -single_logit[:, 0]))
    )
    np.testing.assert_allclose(
        cross_entropy(torch.tensor(single_logit), torch.tensor(label)),
        expected,
        rtol=1e-12,
    )
    rows = squared_error(
        torch.tensor(single_logit, dtype=torch.float32), torch.tensor(label)
    )
    assert rows.dtype == torch.float64
    with pytest.raises(InputError, match=r"Did you mean 'squared_error'\?"):
        losses.get("square_error")


def test_history_and_best_weights():
    X, y = table()
    model = regressor(
        max_epochs=12, learning_rate=0.05, preset={"base": "paper", "patience": 3}
    ).fit(X, y)
    history = model.history_
    assert list(history.columns) == [
        "epoch",
        "train_loss",
        "validation_loss",
        "learning_rate",
        "seconds",
    ]
    best = int(history["validation_loss"].idxmin()) + 1
    assert model.best_epoch_ == best
    assert len(history) in (best + 3, 12)
    assert not model.module_.training
    assert next(model.module_.parameters()).dtype == torch.float32
    assert all(
        parameter.requires_grad and parameter.grad is None
        for parameter in model.module_.parameters()
    )


def test_before_a_share_of_the_epochs_the_newest_weights_are_the_best():
    X = torch.linspace(-1, 1, 40)[:, None]
    train_rows, opposite = (
        Rows(X, slope * X[:, 0], torch.ones(40)) for slope in (1.0, -1.0)
    )
    share_results = {}
    for share in (0.0, 0.6):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = HybridNetwork(1, 1, SMALL, paths=("tabular",))
        options = TrainingOptions(
            loss="squared_error",
            max_epochs=10,
            patience=None,
            kept_from=share,
            batch_size=8,
        )
        share_results[share] = train(
            TrainingJob(net, train_rows, opposite, options, seed=0, progress=False)
        )
    losses = [record["validation_loss"] for record in share_results[0.0].history]
    assert losses == [
        record["validation_loss"] for record in share_results[0.6].history
    ]
    assert min(losses[5:]) > 1.1 * losses[0], (
        "what is learned is wrong for the rows held out"
    )
    assert share_results[0.0].best_epoch == 1 + int(np.argmin(losses)) < 6
    assert share_results[0.6].best_epoch == 6 + int(np.argmin(losses[5:]))


@pytest.mark.slow
def test_a_watcher_that_shortens_a_training_brings_the_learning_rate_down():
    X, y = table()
    long, short = (
        regressor(max_epochs=12, preset={"base": "paper", "schedule": "cosine"}).fit(
            X, y, on_epoch=watch
        )
        for watch in (None, lambda line: 6 if line["epoch"] == 3 else None)
    )
    assert (len(long.history_), len(short.history_)) == (12, 6)
    together = ["learning_rate", "train_loss"]
    assert long.history_[together][:3].equals(short.history_[together][:3])
    rates = [0.01 * 0.5 * (1 + np.cos(np.pi * done / 6)) for done in (3, 4, 5)]
    assert short.history_["learning_rate"][3:].tolist() == pytest.approx(rates)
    # No more epochs than the training has, and none that were done are taken back.
    for answer, epochs in ((99, 4), (1.0, 1), (2, 2), (True, 1), (0, 4), (False, 4)):
        model = regressor(max_epochs=4).fit(
            X, y, on_epoch=lambda line, answer=answer: answer
        )
        assert len(model.history_) == epochs


def test_best_weights_reproduce_the_best_validation_loss():
    X, y = table(300)
    V, v = table(100, seed=1)
    model = regressor(max_epochs=12, learning_rate=0.05).fit(X, y, eval_set=(V, v))
    error = ((model.predict(V) - v) / model.target_scale_) ** 2
    assert error.mean() == pytest.approx(
        model.history_["validation_loss"].min(), rel=1e-5
    )


def test_averaged_weights_are_the_exponential_mean():
    torch.manual_seed(0)
    X = torch.rand(64, 3)
    rows = Rows(X, X.sum(1), torch.ones(64))
    options = TrainingOptions(
        loss="squared_error",
        max_epochs=1,
        batch_size=8,
        averaging=0.9,
        learning_rate=0.01,
    )
    learner = Learner(
        TrainingJob(
            HybridNetwork(3, 1, SMALL, paths=("tabular",)), rows, rows, options, 0
        )
    )
    slow = {
        name: value.clone().double()
        for name, value in learner.network.state_dict().items()
    }
    for number, batch in enumerate(learner.start_epoch()):
        learner.step(batch, number)
        past = min(0.9, (number + 1) / (number + 10))
        for name, value in learner.network.state_dict().items():
            if value.is_floating_point():
                slow[name] = past * slow[name] + (1 - past) * value.double()
    assert learner.steps_per_epoch == 8
    for name, value in learner.average.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), slow[name], rtol=1e-5, atol=1e-6)


def test_same_seed_same_weights_and_another_seed_others():
    X, y = table()
    first, again = (regressor(layout="assignment").fit(X, y) for _ in range(2))
    assert equal(weights(first), weights(again))
    assert not equal(
        weights(first),
        weights(regressor(layout="assignment", random_state=1).fit(X, y)),
    )
    assert not equal(
        weights(regressor(random_state=None).fit(X, y)),
        weights(regressor(random_state=None).fit(X, y)),
    )
    advancing = np.random.default_rng(0)
    assert not equal(
        weights(regressor(random_state=advancing).fit(X, y)),
        weights(regressor(random_state=advancing).fit(X, y)),
    )


# ---- resuming ------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["paper", "default"])
def test_a_stopped_training_goes_on_exactly(tmp_path, monkeypatch, preset):
    X, y = table()
    arguments = {"preset": preset, "max_epochs": 5, "batch_size": 32}
    whole_model = regressor(**arguments).fit(X, y)
    usual = Learner.end_epoch

    def stop_after_two(self):
        usual(self)
        if len(self.history) == 3:
            raise RuntimeError("power cut")

    monkeypatch.setattr(Learner, "end_epoch", stop_after_two)
    with pytest.raises(RuntimeError, match="power cut"):
        regressor(**arguments).fit(X, y, checkpoint_folder=tmp_path)
    monkeypatch.setattr(Learner, "end_epoch", usual)
    history_lengths = []
    start = Learner.start_epoch
    monkeypatch.setattr(
        Learner,
        "start_epoch",
        lambda self: (history_lengths.append(len(self.history)), start(self))[1],
    )
    resumed = regressor(**arguments).fit(X, y, checkpoint_folder=tmp_path)
    assert history_lengths == [2, 3, 4], "it must go on, not begin anew"
    assert equal(weights(whole_model), weights(resumed))
    drop = ["seconds"]
    assert whole_model.history_.drop(columns=drop).equals(
        resumed.history_.drop(columns=drop)
    )
    history_lengths.clear()
    finished = regressor(**arguments).fit(X, y, checkpoint_folder=tmp_path)
    assert history_lengths == []
    assert equal(weights(whole_model), weights(finished))


@pytest.mark.slow
def test_a_killed_process_goes_on_exactly(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2] / "shared")]}
        from test_training import regressor, table
        from permgrad.models.train.learner import Learner
        usual = Learner.step
        def step(self, batch, number):
            if len(self.history) == 2 and number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            usual(self, batch, number)
        Learner.step = step
        regressor(batch_size=32).fit(*table(), checkpoint_folder="kept")
    """)
    (tmp_path / "program.py").write_text(script)
    ended = run_script(tmp_path / "program.py", cwd=tmp_path)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [
        checkpoint.CHECKPOINT_NAME
    ]
    resumed = regressor(batch_size=32).fit(
        *table(), checkpoint_folder=tmp_path / "kept"
    )
    assert equal(weights(regressor(batch_size=32).fit(*table())), weights(resumed))


def test_a_checkpoint_of_another_training_or_a_broken_one_is_refused(tmp_path):
    X, y = table()
    regressor(max_epochs=2).fit(X, y, checkpoint_folder=tmp_path)
    with pytest.raises(
        InputError,
        match="Training can be resumed only with the same options, seed and rows",
    ):
        regressor(max_epochs=2, random_state=1).fit(X, y, checkpoint_folder=tmp_path)
    path = tmp_path / checkpoint.CHECKPOINT_NAME
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EnvironmentProblem, match=r"The checkpoint .* cannot be read"):
        regressor(max_epochs=2).fit(X, y, checkpoint_folder=tmp_path)


# ---- what belongs to the user --------------------------------------------------------


def process_state():
    loggers = {
        name: (
            entry.level,
            tuple(entry.handlers),
            tuple(entry.filters),
            entry.propagate,
            entry.disabled,
        )
        for name, entry in [
            ("", logging.root),
            *logging.root.manager.loggerDict.items(),
        ]
        if isinstance(entry, logging.Logger)
    }
    numpy_state = np.random.get_state()
    return {
        "python random": random.getstate(),
        "numpy random": (numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        "torch random": torch.get_rng_state().tolist(),
        "loggers": loggers,
        "warning filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "folder": Path.cwd(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "signals": [
            signal.getsignal(number)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        ],
        "environment": dict(os.environ),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "python threads": threading.active_count(),
    }


def assert_same_state(before):
    after = process_state()
    for name, value in before.items():
        if (
            name == "loggers"
        ):  # loggers may be born by an import; those that were there stay as they were
            assert {key: after[name][key] for key in value} == value
        else:
            assert after[name] == value, name


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logging.getLogger("somebody").addHandler(logging.NullHandler())
    yield tmp_path
    logging.getLogger("somebody").handlers.clear()


def test_fit_changes_nothing_and_says_nothing(empty_folder, capfd):
    X, y = table()
    X_before = X.copy()
    y_before = y.copy()
    before = process_state()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regressor().fit(X, y)
    assert [str(warning.message) for warning in caught] == []
    assert_same_state(before)
    assert list(empty_folder.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    np.testing.assert_array_equal(X, X_before)
    np.testing.assert_array_equal(y, y_before)


@pytest.mark.slow
def test_first_fit_of_a_process_changes_nothing_and_says_nothing(tmp_path):
    # In a new process, because importing what training needs is when that would speak.
    script = textwrap.dedent(f"""
        import sys, warnings
        sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[2] / "shared")]}
        from test_training import assert_same_state, process_state, regressor, table
        before = process_state()
        regressor(max_epochs=1, progress="auto").fit(*table())
        assert_same_state(before)
    """)
    ended = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_training_changes_nothing(empty_folder):
    before = process_state()
    preset = {"base": "paper", "optimizer": "sgd", "schedule": "constant"}
    with pytest.raises(InputError) as caught:
        regressor(preset=preset, learning_rate=1e30).fit(*table())
    message = (
        "Training diverged: the loss became nan in epoch 1. Lower learning_rate (now "
        "1e+30), or look for extreme values in X."
    )
    assert caught.value.message.replace("inf", "nan") == message
    assert_same_state(before)


def break_down(monkeypatch, epoch):
    """Let the weights stop being numbers within an epoch, counted from 0."""
    usual = Learner.step

    def broken(self, batch, number):
        usual(self, batch, number)
        if len(self.history) == epoch:
            with torch.no_grad():
                next(self.network.parameters()).fill_(float("nan"))

    monkeypatch.setattr(Learner, "step", broken)


def test_a_training_that_breaks_down_keeps_the_best_weights_and_says_why(
    monkeypatch, tmp_path
):
    X, y = table()
    reference = regressor(max_epochs=2).fit(X, y)
    break_down(monkeypatch, epoch=2)
    with pytest.warns(PermgradWarning) as warnings_told:
        model = regressor(max_epochs=8).fit(X, y, checkpoint_folder=tmp_path)
    message = (
        "Training diverged: the loss became nan in epoch 3, and the weights of epoch "
    )
    assert str(warnings_told[0].message).startswith(message)
    assert "Lower learning_rate (now " in str(warnings_told[0].message)
    assert len(model.history_) == 2
    assert np.isfinite(model.history_.to_numpy()).all()
    assert np.isfinite(model.predict(X)).all()
    assert np.corrcoef(model.predict(X), reference.predict(X))[0, 1] > 0.9
    # Going on from the last good epoch ends the same way.
    with pytest.warns(PermgradWarning, match="in epoch 3"):
        again = regressor(max_epochs=8).fit(X, y, checkpoint_folder=tmp_path)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_without_validation_rows_broken_weights_are_not_kept(monkeypatch):
    break_down(monkeypatch, epoch=2)
    x = torch.rand(50, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = HybridNetwork(3, 1, SMALL, paths=("tabular",))
    rows = Rows(x, x.sum(1), torch.ones(50))
    options = TrainingOptions(
        loss="squared_error", max_epochs=9
    )  # one step an epoch, whose loss is still a number
    with pytest.warns(
        PermgradWarning,
        match="became nan in epoch 3, and the weights of epoch 2 are used",
    ):
        train(TrainingJob(net, rows, None, options, seed=0, progress=False))
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


def test_a_first_epoch_that_breaks_down_names_the_column(monkeypatch):
    break_down(monkeypatch, epoch=0)
    X, y = table()
    with pytest.raises(
        InputError,
        match=r"in epoch 1. Lower learning_rate \(now .*\), or look for extreme values "
        r"in X. \[PG041\]$",
    ):
        regressor().fit(X, y)
    x = torch.rand(50, 3)
    x[7, 1] = -4e7
    with torch.random.fork_rng():
        net = HybridNetwork(3, 1, SMALL, paths=("tabular",))
    rows = Rows(x, x[:, 0], torch.ones(50))
    hint = (
        "Lower learning_rate (now 0.001), or look for extreme values in column "
        "'income', which reaches 4e+07 once encoded."
    )
    with pytest.raises(InputError) as caught:
        train(
            TrainingJob(
                net,
                rows,
                None,
                TrainingOptions(loss="squared_error"),
                seed=0,
                progress=False,
                columns=["age", "income", "c"],
            )
        )
    assert caught.value.hint == hint


@pytest.mark.usefixtures("ctrl_c_counts")
@pytest.mark.parametrize("how", ["signal", "raised"])
def test_control_c_changes_nothing_and_reaches_the_caller(
    empty_folder, monkeypatch, capfd, how
):
    usual = Learner.step

    def interrupted(self, batch, number):
        usual(self, batch, number)
        if len(self.history) == 1:
            if how == "raised":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Learner, "step", interrupted)
    before = process_state()
    with pytest.raises(KeyboardInterrupt):
        regressor().fit(*table())
    assert_same_state(before)
    assert capfd.readouterr() == ("", "")
    assert list(empty_folder.iterdir()) == []


def test_fit_works_in_the_user_s_modes(empty_folder):
    X, y = table()
    expected = weights(regressor().fit(X, y))
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(mode=True)
    try:
        before = process_state()
        with torch.no_grad():
            mode_weights = weights(regressor().fit(X, y))
        with torch.inference_mode():
            other_weights = weights(regressor().fit(X, y))
        assert_same_state(before)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(mode=False)
    assert equal(expected, mode_weights)
    assert equal(expected, other_weights)


def test_fit_in_a_thread_equals_fit_in_the_main_thread():
    X, y = table()
    done = []
    worker = threading.Thread(target=lambda: done.append(regressor().fit(X, y)))
    worker.start()
    worker.join()
    assert equal(weights(done[0]), weights(regressor().fit(X, y)))


def test_progress_goes_to_stderr(capfd):
    regressor(progress=True).fit(*table())
    out, err = capfd.readouterr()
    assert out == ""
    assert "training" in err


def test_training_never_reads_validation_rows():
    X, y = table(400)
    model = regressor(validation_fraction=0.25)
    work = copy.copy(model).prepare(X, y)
    assert (len(work.job.train_rows), len(work.job.validation_rows)) == (300, 100)
    seen_rows = {tuple(row) for row in work.job.train_rows.x.tolist()}
    assert not seen_rows & {tuple(row) for row in work.job.validation_rows.x.tolist()}
    # The encoder's range is that of the training rows alone.
    fitted = copy.copy(model)
    fitted.prepare(X, y)
    assert (
        fitted.preprocessor_.transform(X).max()
        > fitted.preprocessor_.maximum_.max() - 1e-6
    )
    assert fitted.target_mean_ != pytest.approx(y.mean(), abs=1e-12)


@pytest.mark.parametrize("optimizer", learner.OPTIMIZERS)
def test_every_optimizer_learns(optimizer):
    X, y = table()
    preset = {"base": "paper", "optimizer": optimizer, "schedule": "cosine"}
    model = regressor(preset=preset, max_epochs=15).fit(X, y)
    assert (
        model.history_["train_loss"].iloc[-1]
        < 0.8 * model.history_["train_loss"].iloc[0]
    )


def test_train_without_validation_keeps_the_last_weights():
    X = torch.rand(50, 3)
    rows = Rows(X, X.sum(1), torch.ones(50))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = HybridNetwork(3, 1, SMALL, paths=("tabular",))
    options = TrainingOptions(loss="squared_error", max_epochs=9, patience=2)
    result = train(TrainingJob(net, rows, None, options, seed=0, progress=False))
    assert result.best_epoch == 9
    assert np.isnan([record["validation_loss"] for record in result.history]).all()


def test_classifier_with_every_class_weight_form_trains():
    X, y = table()
    label = np.where(y > 1.5, "high", "low")
    for weight in (None, "balanced", {"high": 3.0}):
        model = HyNNClassifier(
            preset="fast",
            network=SMALL,
            pixels=8,
            max_epochs=2,
            class_weight=weight,
            random_state=0,
        )
        assert set(model.fit(X, label).predict(X)) <= {"high", "low"}
