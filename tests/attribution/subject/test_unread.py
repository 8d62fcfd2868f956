"""Inputs that a network takes and does not read: found, and not asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import permgrad as pg
from permgrad.attribution.subject.network import NetworkSubject
from permgrad.attribution.subject.unread import Unread, unread_inputs

ROWS = 40


class Several(nn.Module):
    """Reads ``dose`` and ``age``, and of three others what ``read`` says."""

    def __init__(self, read: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(2, 1)
        self.read = read
        self.rows = 0

    def forward(
        self, dose: Tensor, age: Tensor, site: Tensor, visit: Tensor, note: Tensor
    ) -> Tensor:
        self.rows += len(dose)
        output = self.head(torch.stack([dose[:, 0] * age[:, 0], age[:, 0]], dim=1))
        return self.read(output, {"site": site, "visit": visit, "note": note})


def _inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = {
        name: torch.rand(ROWS, 1, generator=generator) for name in ("dose", "age")
    }
    inputs["site"] = torch.randint(0, 5, (ROWS, 1), generator=generator)
    inputs["visit"] = torch.rand(ROWS, 6, generator=generator)
    inputs["note"] = torch.rand(ROWS, 3, generator=generator)
    return inputs


def _unread(net: nn.Module) -> set[str]:
    inputs = _inputs()
    subject = NetworkSubject(net.eval(), inputs, returns="values")
    with subject.open():
        unread = unread_inputs(subject, subject.inputs)
    positions = unread.in_rows(subject.inputs)
    return {list(inputs)[position] for position in positions}


def _added(output: Tensor, value: Tensor) -> Tensor:
    return output + value.float().reshape(len(output), -1).sum(dim=1, keepdim=True)


def _through_numpy(output: Tensor, others: dict[str, Tensor]) -> Tensor:
    return output + torch.as_tensor(others["visit"].numpy().sum(axis=1, keepdims=True))


def _through_a_view(output: Tensor, others: dict[str, Tensor]) -> Tensor:
    space = torch.zeros(len(output), 2)
    space.select(1, 1).copy_(others["note"][:, 0])
    return output + space.sum(dim=1, keepdim=True)


def _through_python(output: Tensor, others: dict[str, Tensor]) -> Tensor:
    return torch.stack(
        [
            row + site
            for row, site in zip(output, others["site"].flatten().tolist(), strict=True)
        ]
    )


def _by_a_mask(output: Tensor, others: dict[str, Tensor]) -> Tensor:
    marked = output.clone()
    marked[others["note"][:, 0] > 0.5] = 7.0
    return marked


@pytest.mark.parametrize(
    ("read", "unread"),
    [
        (lambda output, _: output, {"site", "visit", "note"}),
        (lambda output, others: _added(output, others["site"]), {"visit", "note"}),
        (
            lambda output, others: output * len(others["note"]) / len(output),
            {"site", "visit", "note"},
        ),
        (_through_numpy, set()),
        (_through_python, set()),
        (_by_a_mask, {"site", "visit"}),
    ],
)
def test_what_no_output_is_made_of_is_unread(read, unread):
    assert _unread(Several(read)) == unread


def test_what_python_decides_by_numbers_of_some_rows_may_be_read_in_others():
    """Among the first rows is no late site, and only then is no visit looked at."""

    def read(output: Tensor, others: dict[str, Tensor]) -> Tensor:
        is_late = others["site"] > 3
        if not bool(is_late.any()):
            return output
        return output + is_late * others["visit"].sum(dim=1, keepdim=True)

    inputs = {name: value.repeat(15, 1) for name, value in _inputs().items()}
    inputs["site"][:300] = 0
    net = Several(read).eval()
    y = inputs["dose"][:, 0] * inputs["age"][:, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = pg.explain(
            pg.Model(net, task="regression"),
            inputs,
            y,
            method="permutation",
            groups="modality",
            progress=False,
        )
    values = dict(zip(explanation.names, explanation.values[:, 0], strict=True))
    assert abs(values["visit"]) > 0.01
    assert values["note"] == 0


def _by_length(output: Tensor, others: dict[str, Tensor]) -> Tensor:
    """Read as many visits as the longest row has, and of each row its own."""
    longest = int(others["site"].max())
    is_there = torch.arange(longest) < others["site"]
    return output + (others["visit"][:, :longest] * is_there).sum(1, keepdim=True)


def test_what_python_decides_by_numbers_that_all_rows_share_is_unread():
    net = Several(_by_length).eval()
    inputs = _inputs()
    assert not _unread(net), "sites differ"
    inputs["site"][:] = 0
    subject = NetworkSubject(net, inputs, returns="values")
    with subject.open():
        unread = unread_inputs(subject, subject.inputs)
    names = list(inputs)
    assert {names[position] for position in unread.decided_by} == {"site"}
    assert "note" in {names[position] for position in unread.in_rows(subject.inputs)}
    other_rows = [tensor.clone() for tensor in subject.inputs]
    other_rows[names.index("site")][7] = 2
    assert not unread.in_rows(subject.inputs, other_rows)


@pytest.mark.parametrize("method", ["permutation", "ablation"])
@pytest.mark.parametrize("late", [0, 1])
def test_inputs_are_asked_for_where_a_length_changes(method, late):
    """A typical row has the length of all but ``late`` rows, zeros have none."""
    inputs = _inputs()
    inputs["site"][:] = 2
    inputs["site"][:late] = 4
    net = Several(_by_length).eval()
    if method == "ablation":
        method = pg.methods.Ablation(baseline="zeros")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = pg.explain(
            pg.Model(net, task="regression"),
            inputs,
            method=method,
            groups="modality",
            progress=False,
        )
    values = dict(zip(explanation.names, explanation.values[:, 0], strict=True))
    assert values["note"] == 0
    assert (values["site"] != 0) == (late > 0 or method != "permutation")
    assert values["visit"] > 0.01


def test_what_is_written_through_a_view_is_never_unread():
    assert "note" not in _unread(Several(_through_a_view))


def test_a_scripted_network_is_not_seen_into():
    class Sum(nn.Module):
        def forward(self, dose: Tensor, age: Tensor) -> Tensor:
            return dose + 0.0 * age

    inputs = {
        name: value for name, value in _inputs().items() if name in ("dose", "age")
    }
    subject = NetworkSubject(torch.jit.script(Sum()).eval(), inputs, returns="values")
    with subject.open():
        assert not unread_inputs(subject, subject.inputs).positions


@pytest.mark.parametrize("method", ["permgrad", "permutation"])
@pytest.mark.parametrize("level", ["features", "modality"])
def test_unread_inputs_are_not_asked_for_and_values_are_the_same(
    monkeypatch, method, level
):
    inputs = _inputs()
    y = (inputs["dose"] * inputs["age"])[:, 0] + inputs["site"][:, 0]
    options = {"groups": "modality"} if level == "modality" else {}

    def explained() -> tuple[pg.Explanation, int]:
        net = Several(lambda output, others: _added(output, others["site"])).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explanation = pg.explain(
                pg.Model(net, task="regression"),
                inputs,
                y,
                method=method,
                n_repeats=3,
                progress=False,
                random_state=0,
                **options,
            )
        return explanation, net.rows

    quick, few = explained()
    monkeypatch.setattr(NetworkSubject, "unread", lambda *_: Unread())
    full, many = explained()
    assert many > few + 100
    assert quick.names == full.names
    np.testing.assert_array_equal(quick.values, full.values)
    np.testing.assert_array_equal(quick.std_error, full.std_error)
    modality = np.array(quick.modality)
    assert np.abs(quick.values[modality == "site"]).max() > 0
    assert np.abs(quick.values[np.isin(modality, ["visit", "note"])]).max() == 0


def test_unread_inputs_are_named():
    net = Several(lambda output, others: _added(output, others["site"])).eval()
    inputs = _inputs()
    with pytest.warns(pg.PermgradWarning, match=r"exactly 0: visit, note\."):
        pg.explain(
            pg.Model(net, task="regression"),
            inputs,
            inputs["dose"][:, 0],
            n_repeats=2,
            progress=False,
        )


@pytest.mark.parametrize("method", ["permgrad", "permutation"])
def test_more_columns_that_nobody_reads_ask_for_nothing_more(method):
    """Beside read players of other inputs, too, they change nothing."""

    def rows_of(visits: int) -> int:
        inputs = _inputs()
        inputs["visit"] = torch.rand(ROWS, visits)
        net = Several(lambda output, others: _added(output, others["note"])).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explanation = pg.explain(
                pg.Model(net, task="regression"),
                inputs,
                (inputs["dose"] * inputs["age"])[:, 0],
                method=method,
                n_repeats=3,
                progress=False,
                random_state=0,
            )
        assert len(explanation.names) == 6 + visits
        assert np.abs(explanation.values).max() > 0, "the precondition"
        return net.rows

    assert rows_of(40) == rows_of(2)


class TwoBranches(nn.Module):
    """Two branches that join, and an input before them that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first = nn.Linear(1, 4)
        self.second = nn.Linear(6, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, note: Tensor, age: Tensor, visit: Tensor) -> Tensor:
        return self.head(self.first(age).relu() * self.second(visit).relu())


def test_an_input_that_nobody_reads_leaves_the_others_their_branches():
    inputs = {name: _inputs()[name] for name in ("note", "age", "visit")}
    subject = NetworkSubject(TwoBranches().eval(), inputs, returns="values")
    with subject.open(), torch.no_grad():
        branch_cut = subject.branches(subject.inputs, frozenset())
    assert branch_cut is not None
    # No branch takes it: one would run again for each of its values.
    assert sorted(map(sorted, branch_cut.groups)) == [[1], [2]]
