"""Foreign pictures: callables, TINTOlib-like methods, and what they may return."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from permgrad import InputError
from permgrad.imaging import ForeignRenderer
from permgrad.imaging.foreign import renderer_from_dict
from permgrad.imaging.layout import is_foreign

ROWS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def plain(rows):
    """Each row's outer product."""
    values = np.asarray(rows)
    return values[:, :, None] * values[:, None, :]


class FileMethod:
    """Writes files as a TINTOlib method does: by class, numbered, listed in a CSV
    file.
    """

    def __init__(self, problem="classification", suffix="npy"):
        self.problem = problem
        self.suffix = suffix
        self.seen = None

    def transform(self, data, folder):
        self.seen = data
        features = data if self.problem == "unsupervised" else data.iloc[:, :-1]
        listed = []
        for number, row in enumerate(features.to_numpy()):
            # Names in falling order, so that sorted files would be the wrong order.
            path = Path("00") / f"{999 - number:06d}.{self.suffix}"
            (Path(folder) / "00").mkdir(exist_ok=True)
            if self.suffix == "npy":
                np.save(Path(folder) / path, np.outer(row, row))
            else:
                from matplotlib.image import imsave

                imsave(Path(folder) / path, np.outer(row, row), cmap="binary")
            listed.append(str(path))
        with (Path(folder) / f"{self.problem}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["images", "values"])
            writer.writerows([path, 0] for path in listed)


def test_a_callable_draws_and_no_gradient_flows():
    renderer = ForeignRenderer(plain)
    rows = ROWS.clone().requires_grad_()
    images = renderer(rows)
    assert images.shape == (2, 1, 3, 3)
    assert images.dtype == torch.float32
    assert images[1, 0].tolist() == np.outer([4, 5, 6], [4, 5, 6]).tolist()
    assert not images.requires_grad
    assert not renderer.differentiable
    assert (renderer.channels, renderer.height, renderer.width) == (1, 3, 3)
    assert renderer.region_of([1]) == (0, 3, 0, 3)
    assert renderer.region_of([]) == (0, 0, 0, 0)
    assert torch.equal(renderer.render_region(ROWS, (0, 2, 1, 3)), images[:, :, :2, 1:])
    assert renderer(ROWS[:0]).shape == (0, 1, 3, 3)


def test_no_rows_are_drawn_without_asking_once_the_size_is_known():
    drawn_counts = []
    renderer = ForeignRenderer(
        lambda rows: drawn_counts.append(len(rows)) or plain(rows)
    )
    renderer(ROWS)
    assert renderer(ROWS[:0].double()).shape == (0, 1, 3, 3)
    assert renderer(ROWS[:0].double()).dtype == torch.float64
    assert drawn_counts == [2]
    unknown = ForeignRenderer(
        lambda rows: drawn_counts.append(len(rows)) or plain(rows)
    )
    assert unknown(ROWS[:0]).shape == (0, 1, 3, 3)
    assert drawn_counts == [2, 0], "the callable may know"


def test_with_names_a_callable_gets_a_frame_and_may_write_into_it():
    seen_names = []

    def images(frame):
        seen_names.append(list(frame.columns))
        frame["a"] = 0.0
        return frame.to_numpy()[:, None, :]

    rows = ROWS.clone()
    ForeignRenderer(images, names=["a", "b", "c"])(rows)
    assert seen_names == [["a", "b", "c"]]
    assert torch.equal(rows, ROWS)


@pytest.mark.parametrize(
    ("returned", "options", "expected"),
    [
        ((2, 5, 5), {}, (1, 5, 5)),
        ((2, 5, 5, 3), {}, (3, 5, 5)),
        ((2, 3, 5, 5), {}, (3, 5, 5)),
        ((2, 16, 5, 5), {}, (16, 5, 5)),
        ((2, 5, 7, 3), {}, (3, 5, 7)),
        ((2, 3, 5, 7), {}, (3, 5, 7)),
        ((2, 3, 3, 3), {"channels_last": True}, (3, 3, 3)),
        ((2, 6, 7, 8), {"channels_last": True}, (8, 6, 7)),
        ((2, 6, 7, 8), {"channels_last": False}, (6, 7, 8)),
    ],
)
def test_the_channels_are_found(returned, options, expected):
    values = np.random.default_rng(0).random(returned)
    renderer = ForeignRenderer(lambda _: values, **options)
    images = renderer(ROWS)
    assert tuple(images.shape[1:]) == expected
    assert torch.isclose(images.sum(), torch.tensor(values.sum(), dtype=torch.float32))


@pytest.mark.parametrize("problem", ["classification", "regression", "unsupervised"])
def test_a_method_that_writes_files_is_read_in_the_order_of_rows(problem):
    method = FileMethod(problem)
    images = ForeignRenderer(method, names=["a", "b", "c"])(ROWS)
    assert images[:, 0, 0, 0].tolist() == [1.0, 16.0]
    assert list(method.seen.columns)[:3] == ["a", "b", "c"]
    assert method.seen.shape[1] == (3 if problem == "unsupervised" else 4)


def test_a_method_that_writes_png_files_gives_three_channels_from_0_to_1():
    images = ForeignRenderer(FileMethod(suffix="png"))(ROWS)
    assert images.shape == (2, 3, 3, 3)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std() > 0.1, "precondition: not one colour"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("TINTOlib") is None, reason="TINTOlib is not installed"
)
@pytest.mark.parametrize("problem", ["classification", "regression", "unsupervised"])
def test_a_fitted_tintolib_method_draws(problem):
    from sklearn.preprocessing import MinMaxScaler
    from TINTOlib.tinto import TINTO

    from permgrad.imaging import Renderer, make_layout

    table = np.random.default_rng(0).normal(size=(40, 5))
    frame = pd.DataFrame(table, columns=list("abcde"))
    fitted_on = (
        frame if problem == "unsupervised" else frame.assign(y=np.arange(40) % 2)
    )
    method = TINTO(
        problem=problem, pixels=10, format="npy", cmap=None, transformer=MinMaxScaler()
    )
    method.fit(fitted_on)
    drawn = ForeignRenderer(method, names=list("abcde"))(torch.from_numpy(table[:4]))
    ours = Renderer(
        make_layout("tinto", 10).fit(table), table.min(axis=0), table.max(axis=0)
    )
    torch.testing.assert_close(drawn, ours(torch.from_numpy(table[:4])))


def test_a_foreign_network_keeps_its_parameters_to_itself():
    network = torch.nn.Linear(3, 4).double()
    renderer = ForeignRenderer(
        lambda rows: network(torch.from_numpy(rows)).reshape(-1, 2, 2)
    )
    assert renderer(ROWS).shape == (2, 1, 2, 2)
    assert not list(ForeignRenderer(network).parameters())


def test_saving_leaves_the_foreign_code_out():
    renderer = ForeignRenderer(plain, names=["a", "b", "c"])
    renderer(ROWS)
    content = renderer.to_dict()
    assert content == {
        "kind": "foreign",
        "names": ["a", "b", "c"],
        "channels_last": None,
        "shape": [1, 3, 3],
    }
    read = renderer_from_dict(content, plain)
    assert read.height == 3
    assert torch.equal(read(ROWS), renderer(ROWS))


def test_what_counts_as_foreign():
    assert is_foreign(plain)
    assert is_foreign(FileMethod())
    assert not is_foreign(FileMethod)
    assert not is_foreign("assignment")
    assert not is_foreign(None)


def broken(_):
    raise ZeroDivisionError("division by zero")


def alternating():
    sizes = iter([3, 4])
    return lambda rows: np.zeros((len(rows), *[next(sizes)] * 2))


def second_size():
    renderer = ForeignRenderer(alternating())
    renderer(ROWS)
    renderer(ROWS)


class SilentMethod:
    problem = "regression"

    def transform(self, data, folder):
        pass


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ForeignRenderer(lambda _: np.zeros((1, 2, 2)))(ROWS),
            (
                "Foreign pictures must have the shape (n, height, width), (n, "
                "channels, height, width) or (n, height, width, channels), got (1, 2, "
                "2) for n=2 rows. Return one picture for each row."
            ),
        ),
        *[
            (
                lambda shape=shape: ForeignRenderer(lambda _: np.zeros(shape))(ROWS),
                (
                    "Foreign pictures must have the shape (n, height, width), (n, "
                    "channels, height, width) or (n, height, width, channels), got "
                    f"{shape} for n=2 rows. Return one picture for each row."
                ),
            )
            for shape in ((2, 0, 3), (2, 3, 0), (2, 3), (2, 1, 3, 3, 1))
        ],
        (
            lambda: ForeignRenderer(lambda _: np.full((2, 2, 2), np.nan))(ROWS),
            (
                "Foreign pictures must be finite, but 2 of 2 hold NaN or infinity. "
                "Correct the callable."
            ),
        ),
        (
            second_size,
            (
                "Foreign pictures must have one shape (channels, height, width), got "
                "(1, 4, 4) after (1, 3, 3). Return the same size each time."
            ),
        ),
        (
            lambda: ForeignRenderer(lambda _: np.zeros((2, 3, 3, 3)))(ROWS),
            (
                "Either axis of pictures of shape (2, 3, 3, 3) may be that of the "
                "channels. Pass channels_last=True or False."
            ),
        ),
        (
            lambda: ForeignRenderer(broken)(ROWS),
            (
                "The foreign image method failed on 2 rows with ZeroDivisionError: "
                "division by zero. Try it on the same rows outside permgrad."
            ),
        ),
        (
            lambda: ForeignRenderer(SilentMethod())(ROWS),
            (
                "The TINTOlib method did not write regression.csv, the list of its "
                "pictures. Use TINTOlib 1.3 or later."
            ),
        ),
        (
            lambda: ForeignRenderer(plain).height,
            (
                "The size of foreign pictures is unknown before the first is drawn. "
                "Draw one row first."
            ),
        ),
        (
            lambda: ForeignRenderer(plain).influence(),
            (
                "Maps cannot be read back to columns, because foreign code draws the "
                "pictures and it has no slopes. Choose method='permgrad', "
                "'permutation' or 'ablation', or a layout of permgrad."
            ),
        ),
        (
            lambda: renderer_from_dict({"kind": "foreign"}),
            (
                "A model with a foreign image callable needs that callable on loading. "
                "Call pg.load(folder, encoders={'layout': callable})."
            ),
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert caught.value.message == message
