import inspect
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import permgrad as pg


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3))
    return pg.HyNNClassifier(
        preset="fast", max_epochs=2, random_state=0, progress=False
    ).fit(X, X[:, 0] > 0), X


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """Put a local folder in the place of the Hub."""
    calls = []

    class HfApi:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, **options):
            calls.append(options)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "remote" / repo_id)
            return f"https://huggingface.co/{repo_id}/commit/{commit_message}"

    def snapshot_download(repo_id, *, revision, token, allow_patterns):
        return shutil.copytree(
            tmp_path / "remote" / repo_id,
            tmp_path / "cache",
            ignore=lambda _, names: [
                name for name in names if name not in allow_patterns
            ],
        )

    stand_in = SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    return calls


def test_what_is_pushed_is_loaded_again(model, remote, tmp_path):
    fitted, X = model
    assert pg.integrations.push_to_hub(fitted, "somebody/model").startswith("https://")
    assert remote == [
        {
            "repo_id": "somebody/model",
            "repo_type": "model",
            "private": True,
            "exist_ok": True,
        }
    ]
    assert pg.integrations.push_to_hub(pg.Model(fitted), "somebody/read").startswith(
        "https://"
    )
    loaded = pg.integrations.load_from_hub("somebody/model")
    expected_chances = fitted.predict_proba(X)
    assert expected_chances.std() > 0.01
    assert np.array_equal(loaded.predict_proba(X), expected_chances)
    # Nothing but the files of the model is there.
    fitted.save(tmp_path / "saved")
    names = [
        {path.name for path in (tmp_path / folder_name).iterdir()}
        for folder_name in ("remote/somebody/model", "saved")
    ]
    assert names[0] == names[1]


def test_the_real_library_takes_these_arguments():
    hub = pytest.importorskip("huggingface_hub")
    api = hub.HfApi(token=None)
    inspect.signature(api.create_repo).bind(
        repo_id="a/b", repo_type="model", private=True, exist_ok=True
    )
    inspect.signature(api.upload_folder).bind(
        repo_id="a/b", folder_path="f", commit_message="m"
    )
    inspect.signature(hub.snapshot_download).bind(
        "a/b", revision=None, token=None, allow_patterns=["f"]
    )


def test_other_objects_are_refused():
    with pytest.raises(pg.InputError, match="function cannot be saved"):
        pg.integrations.push_to_hub(lambda rows: rows, "somebody/model")
