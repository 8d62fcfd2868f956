"""What the metadata says about the repository: the project's links, and README with
absolute links.

The address is `repository` under `[tool.permgrad]` in `pyproject.toml`; everything else
is there too.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
#: Where a link may stand: `[text](to)`, `[name]: to`, and `src`, `href` and `srcset` of
#: HTML.
LINKS = re.compile(
    r"""(\]\(|^\[[^]\n]+\]:[ ]+|\b(?:src|href|srcset)=["'])([^)\s"'>]+)""", re.MULTILINE
)
FENCES = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PICTURES = {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}


def version() -> str:
    """Return the version that the package states."""
    text = (ROOT / "src/permgrad/base/__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)[1]


def repository() -> str:
    """Return the address of the repository, without a slash at its end."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "permgrad"
    ]["repository"]


def notice() -> str:
    """Return a sentence while the address of the repository is a placeholder, else
    nothing.
    """
    if "//example.org/" not in repository():
        return ""
    return (
        "This version has no public repository yet. Links to example.org are "
        "placeholders that lead nowhere."
    )


def urls() -> dict[str, str]:
    """Return the project's links, by label."""
    page = repository()
    return {
        "Repository": page,
        "Documentation": f"{page}/tree/v{version()}/docs",
        "Changelog": f"{page}/blob/v{version()}/CHANGELOG.md",
        "Issues": f"{page}/issues",
    }


def absolute(target: str) -> str:
    """Return the address of a file of this version; addresses stay as they are."""
    if re.match(r"[a-z][a-z+.-]*:", target):
        return target
    path = target.partition("#")[0]
    if not path:
        return f"{repository()}/blob/v{version()}/README.md{target}"
    view = (
        "raw"
        if Path(path).suffix in PICTURES
        else "tree"
        if path.endswith("/")
        else "blob"
    )
    return f"{repository()}/{view}/v{version()}/{target}"


def long_description() -> str:
    """Return README with absolute links; code blocks stay as they are."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = FENCES.findall(text)
    pages = [
        LINKS.sub(lambda link: link[1] + absolute(link[2]), page)
        for page in FENCES.split(text)
    ]
    text = "".join(page + block for page, block in zip(pages, [*code, ""], strict=True))
    return f"*{notice()}*\n\n{text}" if notice() else text


if __name__ == "__main__":
    from setuptools import setup

    links = {} if notice() else urls()
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
        project_urls=links,
    )
