"""MedMNIST files: found by name or path, checked, refused with a sentence; splits and
bottleneck features.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from permgrad.base.errors import EnvironmentProblem, InputError, PermgradWarning
from permgrad.data.datasets import dataset_store as store
from permgrad_benchmark.suites.multimodal import autoencoder
from permgrad_benchmark.suites.multimodal.autoencoder import (
    ImageSet,
    bottleneck_features,
    feature_checksum,
    find_medmnist,
    image_cards,
    load_medmnist,
    read_images,
    split_images,
)

DATA = os.environ.get("PERMGRAD_DATA")


def write(
    path: Path,
    count: int = 10,
    side: int = 28,
    *,
    rgb: bool = False,
    seed: int = 0,
    **changes: object,
) -> Path:
    """Write a file of the form, with smooth pictures."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-1, 1, side)
    arrays: dict[str, object] = {}
    for split_name in ("train", "val", "test"):
        x, y, size = rng.uniform(-0.5, 0.5, (3, count, 1, 1))
        blobs = np.exp(
            -((grid[None, None] - x) ** 2 + (grid[None, :, None] - y) ** 2)
            / (0.7 + size)
        )
        pictures = (255 * blobs).astype(np.uint8)
        arrays[f"{split_name}_images"] = (
            np.repeat(pictures[..., None], 3, axis=3) if rgb else pictures
        )
        arrays[f"{split_name}_labels"] = rng.integers(0, 2, (count, 1))
    arrays |= changes
    np.savez(
        path, **{name: array for name, array in arrays.items() if array is not None}
    )
    return path


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder, an empty cache, no network."""

    def refuse(_url):
        raise OSError("no route")

    monkeypatch.delenv("PERMGRAD_DATA", raising=False)
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "fetch_bytes", refuse)
    return tmp_path


def test_parts_come_one_behind_the_other(tmp_path):
    path = write(tmp_path / "own.npz", 4)
    whole_set = load_medmnist(str(path))
    arrays = np.load(path)
    assert whole_set.name == "own"
    assert len(whole_set) == 12
    assert np.array_equal(
        whole_set.pixels,
        np.concatenate(
            [arrays[f"{split_name}_images"] for split_name in autoencoder.PARTS]
        ),
    )
    assert not np.array_equal(whole_set.pixels[8:], whole_set.pixels[:4]), (
        "parts must differ for this to say something"
    )


def test_the_checksum_is_that_of_the_file(tmp_path):
    import hashlib

    path = write(tmp_path / "own.npz")
    assert load_medmnist(path).md5 == hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.skipif(not DATA, reason="PERMGRAD_DATA names no folder")
def test_the_part_of_pneumoniamnist_is_known_and_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image_set = load_medmnist("pneumoniamnist")
    assert image_set.pixels.shape == (5030, 28, 28)
    assert image_set.md5 in dict(image_cards.get("pneumoniamnist").versions)


def test_a_file_of_the_user_with_other_content_gives_a_warning(tmp_path, monkeypatch):
    write(tmp_path / "organamnist.npz")
    monkeypatch.setenv("PERMGRAD_DATA", str(tmp_path))
    with pytest.warns(
        PermgradWarning, match="not the 68e3f8846a6bd62f0c9bf841c0d9eacc of its source"
    ):
        assert find_medmnist("organamnist") == (
            tmp_path / "organamnist.npz",
            "organamnist",
        )


def test_any_other_set_in_the_users_folder_is_found_by_its_name(tmp_path, monkeypatch):
    write(tmp_path / "mine.npz")
    monkeypatch.setenv("PERMGRAD_DATA", str(tmp_path))
    assert load_medmnist("mine").name == "mine"


def test_without_data_the_error_says_what_to_put_where(nowhere):
    with pytest.raises(EnvironmentProblem) as caught:
        find_medmnist("pneumoniamnist")
    url = "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1"
    assert caught.value.message == (
        f"The file of image set 'pneumoniamnist' is not on this machine, and {url} "
        "cannot be downloaded (OSError). Put the file pneumoniamnist.npz (MD5 "
        f"28209eda62fecd6e6a2d98b1501bb15f, from {url}) into "
        f"{str(nowhere / 'cache')!r}, or name the folder that holds it in the "
        "environment variable PERMGRAD_DATA."
    )


def test_a_download_must_have_the_checksum_and_is_kept(nowhere, monkeypatch):
    path = write(nowhere / "source.npz")
    monkeypatch.setattr(store, "fetch_bytes", lambda _url: path.read_bytes())
    with pytest.raises(
        EnvironmentProblem,
        match="not the b9ceb9546e10131b32923c5bbeaea2b1 of its source",
    ):
        find_medmnist("organcmnist")
    assert not (nowhere / "cache" / "organcmnist.npz").exists()
    card = replace(image_cards.get("organcmnist"), md5=load_medmnist(path).md5)
    monkeypatch.setitem(image_cards, "organcmnist", card)
    kept_file = find_medmnist("organcmnist")[0]
    assert kept_file == nowhere / "cache" / "organcmnist.npz"
    monkeypatch.setattr(
        store, "fetch_bytes", lambda _url: pytest.fail("it is in the cache")
    )
    assert find_medmnist("organcmnist")[0] == kept_file
    kept_file.write_bytes(b"spoilt")
    with pytest.raises(
        EnvironmentProblem,
        match="Remove it, or name a folder with the file in PERMGRAD_DATA",
    ):
        find_medmnist("organcmnist")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"val_labels": None},
            (
                "and not train_images, train_labels, val_images, val_labels, "
                "test_images, test_labels"
            ),
        ),
        (
            {"val_labels": np.zeros((3, 1))},
            "holds 10 val_images and 3 val_labels. Write both for the same images",
        ),
        (
            {"test_images": np.zeros((10, 28, 28))},
            r"but test_images of .* is float64 \(10, 28, 28\)\. Convert",
        ),
        (
            {"test_images": np.zeros((10, 28), np.uint8)},
            r"is uint8 \(10, 28\)\. Convert the array",
        ),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, changes, message):
    path = write(tmp_path / "bad.npz", **changes)
    with pytest.raises(InputError, match=message):
        load_medmnist(path)


def test_what_is_no_npz_is_refused(tmp_path):
    path = tmp_path / "text.npz"
    path.write_text("not an archive")
    with pytest.raises(InputError, match=r"as an \.npz file of MedMNIST"):
        load_medmnist(path)
    with pytest.raises(InputError, match="not found"):
        load_medmnist(tmp_path / "absent.npz")
    with pytest.raises(
        InputError, match=r"No image set 'organamnst'. Did you mean 'organamnist'\?"
    ):
        load_medmnist("organamnst")
    with pytest.raises(
        InputError, match=r"For another set, pass the path of its \.npz file"
    ):
        load_medmnist("zebra")


def test_pickled_objects_are_never_loaded(tmp_path):
    path = write(
        tmp_path / "objects.npz", train_labels=np.array([{}] * 10, dtype=object)
    )
    with pytest.raises(InputError, match="Cannot read"):
        load_medmnist(path)


def test_colours_become_grey_and_other_sizes_are_refused(tmp_path):
    grey = write(tmp_path / "grey.npz", 20)
    coloured = write(tmp_path / "rgb.npz", 20, rgb=True)
    assert torch.allclose(
        read_images(str(grey)).grey, read_images(str(coloured)).grey, atol=1e-6
    )
    with pytest.raises(
        InputError, match="images must have 28×28 pixels, got 64×64 in 'large'"
    ):
        read_images(str(write(tmp_path / "large.npz", 20, 64)))
    with pytest.raises(InputError, match="at least 40 images, got 30 in 'few'"):
        read_images(str(write(tmp_path / "few.npz")))


def test_images_are_split_apart_and_by_the_seed():
    training, test = split_images(1000, 3)
    assert len(training) == 700
    assert sorted([*training, *test]) == list(range(1000))
    assert np.array_equal(split_images(1000, 3)[0], training)
    assert not np.array_equal(split_images(1000, 4)[0], training)


# ---- bottleneck features -------------------------------------------------------------
@pytest.fixture
def blobs(tmp_path, monkeypatch) -> ImageSet:
    monkeypatch.setenv("PERMGRAD_CACHE", str(tmp_path / "cache"))
    autoencoder._read.cache_clear()
    return read_images(str(write(tmp_path / "blobs.npz", 100)))


def test_features_are_standardised_and_follow_the_images(blobs):
    image_features = bottleneck_features(blobs, 2)
    assert image_features.features.shape == (300, 10)
    assert image_features.features.dtype == np.float32
    assert np.allclose(image_features.features.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(image_features.features.std(axis=0), 1, atol=1e-5)
    assert image_features.known is None
    assert image_features.checksum == feature_checksum(image_features.features)


def test_features_are_the_same_again_and_come_from_the_cache(blobs, monkeypatch):
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    first = autoencoder._train(blobs.grey, 1, 0)
    again = autoencoder._train(blobs.grey, 1, 0)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], autoencoder._train(blobs.grey, 1, 1)[0])
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    bottleneck_features.cache_clear()
    image_features = bottleneck_features(blobs, 1)
    bottleneck_features.cache_clear()
    monkeypatch.setattr(
        autoencoder, "_train", lambda *_: pytest.fail("it is in the cache")
    )
    assert bottleneck_features(blobs, 1).checksum == image_features.checksum


def test_a_spoilt_cache_is_computed_again(blobs):
    bottleneck_features.cache_clear()
    image_features = bottleneck_features(blobs, 1)
    for cache_file in Path(os.environ["PERMGRAD_CACHE"]).iterdir():
        cache_file.write_bytes(b"spoilt")
    bottleneck_features.cache_clear()
    assert bottleneck_features(blobs, 1).checksum == image_features.checksum


def test_the_checksum_sees_what_matters():
    features = np.random.default_rng(0).normal(size=(50, 10)).astype(np.float32)
    moved = features.copy()
    moved[7, 3] += 0.01
    assert feature_checksum(moved) != feature_checksum(features)
    assert feature_checksum(features[::-1]) != feature_checksum(features)


def test_every_card_is_complete():
    for name in image_cards:
        card = image_cards.get(name)
        assert len(card.md5) == 32
        assert card.url.startswith(
            f"https://zenodo.org/records/10519652/files/{name}.npz"
        )
        assert autoencoder.PARTS == ("train", "val", "test")
