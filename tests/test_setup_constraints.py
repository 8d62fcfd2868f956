"""Every extra can be installed under constraints.txt: resolved from what the packages
say they require, offline.
"""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
EXTRAS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
#: What pip found at the pinned versions: tools/pinned_requirements.py.
RECORDED = json.loads(
    (ROOT / "tests" / "shared" / "pinned_requirements.json").read_text(encoding="utf-8")
)
RENEW = "run tools/pinned_requirements.py"


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("#")[0].strip().split("==") for line in lines)
    return {canonicalize_name(pair[0]): pair[1] for pair in pairs if len(pair) == 2}


def faults(wanted_requirements: list[str], recorded: dict, extras: dict) -> list[str]:
    """Return every requirement, direct or not, that the recorded versions do not
    meet.
    """
    found_faults = []
    seen_extras = set()
    open_ = [("permgrad", Requirement(text), "") for text in wanted_requirements]
    while open_:
        who, requirement, extra = open_.pop()
        name = canonicalize_name(requirement.name)
        marker = requirement.marker
        if marker is not None and not marker.evaluate(
            {"extra": extra, "python_version": "3.11"}
        ):
            continue
        if name != "permgrad":
            version = recorded.get(name, {"version": None})["version"]
            if version is None:
                found_faults.append(
                    f"{who} requires {requirement}, which is not recorded: {RENEW}"
                )
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                found_faults.append(
                    f"{who} requires {requirement}, but {version} is pinned"
                )
        for extra_name in ("", *requirement.extras):
            if (name, extra_name) in seen_extras:
                continue
            seen_extras.add((name, extra_name))
            texts = (
                extras.get(extra_name, ())
                if name == "permgrad"
                else recorded[name]["requires"]
            )
            open_ += [(name, Requirement(text), extra_name) for text in texts]
    return found_faults


def test_the_record_is_of_these_constraints():
    recorded = {
        name: package_record["version"].partition("+")[0]
        for name, package_record in RECORDED.items()
    }
    assert len(pins()) > 150
    assert {
        name: (version, recorded.get(name))
        for name, version in pins().items()
        if recorded.get(name) != version
    } == {}, RENEW


def test_installed_packages_require_what_is_recorded():
    compared = 0
    for distribution in importlib.metadata.distributions():
        known_record = RECORDED.get(
            canonicalize_name(distribution.metadata["Name"] or "")
        )
        if known_record is not None and known_record["version"] == distribution.version:
            says = {str(Requirement(text)) for text in distribution.requires or ()}
            assert set(known_record["requires"]) <= says, (
                f"{distribution.name}: {RENEW}"
            )
            compared += 1
    assert compared > 5


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_extra_resolves_under_the_constraints(extra):
    assert faults([*PROJECT["dependencies"], *EXTRAS[extra]], RECORDED, EXTRAS) == []


def test_a_pin_that_another_package_excludes_is_found():
    # What once stood in constraints.txt.
    recorded = {
        "holidays": {
            "version": "0.109",
            "requires": ["python-dateutil<3,>=2.9.0.post0"],
        },
        "python-dateutil": {"version": "4.0.0", "requires": []},
    }
    assert faults(
        ["permgrad[all]"],
        recorded,
        {"all": ["permgrad[dates]"], "dates": ["holidays>=0.50"]},
    ) == ["holidays requires python-dateutil<3,>=2.9.0.post0, but 4.0.0 is pinned"]
    assert (
        faults(["holidays>=1"], recorded, {})[0]
        == "permgrad requires holidays>=1, but 0.109 is pinned"
    )
    assert RENEW in faults(["unknown"], recorded, {})[0]
