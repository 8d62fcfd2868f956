"""The site: ``make docs`` builds it with Sphinx from the Markdown pages, from README
and from the code itself.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "src")]

import site_pages  # noqa: E402 — found through the path above

import permgrad  # noqa: E402

project, author, copyright = (  # noqa: A001 — Sphinx's name
    "permgrad",
    "The permgrad developers",
    "The permgrad developers",
)
version = release = permgrad.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
# Links to headings, also of other pages, as on the pages of a repository.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
nitpicky = True
# Types of other packages have no pages here.
nitpick_ignore_regex = [(r"py:.*", r".*")]

smartquotes = add_module_names = False
# Types stand beside each parameter and result, not in the signature.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = python_display_short_literal_types = True
autodoc_type_aliases = {"npt.ArrayLike": "ArrayLike", "ArrayLike": "ArrayLike"}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_custom_sections = [("Options", "params_style")]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# GALLERY=0 shows the examples without running them. Their small pictures are those of
# the repository then, too.
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery"],
    "gallery_dirs": ["auto_gallery"],
    "filename_pattern": r"plot_",
    "image_scrapers": ("matplotlib", "gallery_figures.scrape"),
    "ignore_repr_types": "PlotFigure|matplotlib",
    "plot_gallery": str(os.environ.get("GALLERY", "1") != "0"),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "download_all_examples": True,
    "show_signature": False,
    "show_memory": False,
    "reset_modules": (),
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "permgrad"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "permgrad"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
if site_pages.notice():
    html_theme_options["announcement"] = site_pages.notice()
html_sidebars = {"index": []}


def _dashes(_: object, doctree: nodes.document) -> None:
    """Put a dash between a parameter and its description.

    Smart quotes would do it, and change ``--options`` too.
    """
    for text in list(doctree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


#: How types are written for readers: arrays without their parameters, the values of an
#: option without ``Literal``.
PLAIN_TYPES = (
    (re.compile(r"~?(typing|collections\.abc|numpy|pathlib|os)\."), ""),
    (
        re.compile(
            r"ndarray\[tuple\[[^]]*\], "
            r"dtype\[[^]]*\]\]|npt\.NDArray\[[^]]*\]|\bFloats\b"
        ),
        "ndarray",
    ),
    (re.compile(r"_Buffer \| _SupportsArray.*?\]\]? \| complex.*?\]"), "ArrayLike"),
    (re.compile(r"pd\.(DataFrame|Series)"), r"\1"),
    (re.compile(r"\bProgressMode\b"), "bool | 'auto'"),
    (
        re.compile(r"Literal\[((?:'[^']*'(?:, )?)+)\]"),
        lambda match: match[1].replace(", ", " | "),
    ),
)


def _plain_types(app: Sphinx, *_: object) -> None:
    """Write types plainly, and leave out those that tell nothing: any object at all."""
    for types in app.env.current_document.autodoc_annotations.values():
        for name, full in list(types.items()):
            words = full
            for pattern, plain in PLAIN_TYPES:
                words = pattern.sub(plain, words)
            types[name] = words
            if words in ("Any", "None"):
                del types[name]


def setup(app: Sphinx) -> None:
    """Make the pages that come from files outside this folder, and the links to such
    files.
    """
    site_pages.setup(app)
    app.connect("doctree-read", _dashes)
    app.connect(
        "object-description-transform", _plain_types, priority=400
    )  # before autodoc shows them
