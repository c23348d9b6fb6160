"""Sphinx builds the site of these pages: `make docs`, without network.

The pages are Markdown that reads as well where the repository is browsed. What only the site has is
made here and in the two extensions beside it: the reference from the docstrings of both languages
(python_reference.py, julia_reference.py), and diagrams as part of the page, in its colours.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))  # the extensions

project = "bufferbridge"
author = "the bufferbridge developers"
project_copyright = author
version = release = __import__("bufferbridge").__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "python_reference", "julia_reference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["diagrams"]
nitpicky = True
# Python's own documentation, and NumPy's, are on the network: their names stay text.
nitpick_ignore_regex = [
    ("py:.*", r"(builtins|collections|asyncio|os|io|types|typing|datetime|fractions|inspect)\..*"),
    ("py:.*", r"(Any|Future|ModuleType|TracebackType|Literal|Callable|F|Iterator|Iterable)"),
    ("py:.*", r"(np|numpy|pd|pandas|pl|polars|pa|pyarrow|scipy)\..*"),
    ("py:.*", r"bufferbridge\._.*"),  # what is no public name
    ("py:.*", r"(MutableMapping|MutableSet|BufferedIOBase|memoryview|Self|collections\.abc)"),
]
suppress_warnings = [
    "misc.highlighting_failure",  # IPython's lexer does not know $x, and is lenient after that
]

myst_heading_anchors = 3  # the anchors are GitHub's
myst_enable_extensions = ["attrs_block", "deflist"]

autodoc_typehints = "signature"
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 76
default_role = "literal"  # `x` in docstrings
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"bufferbridge {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#6b3fa0",
        "color-brand-content": "#2f6496",
    },
    "dark_css_variables": {
        "color-brand-primary": "#c39be8",
        "color-brand-content": "#7fb5e6",
    },
}
pygments_style = "friendly"
pygments_dark_style = "native"


class Diagrams(SphinxPostTransform):
    """`![text](diagrams/x.svg)` becomes part of the page, where the page's colours reach it.

    The file's own `<style>`, for where it is shown as an image, gives way to static/site.css.
    The text in brackets is what screen readers say.
    """

    default_priority = 5
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for image in list(self.document.findall(nodes.image)):
            if not image["uri"].startswith("diagrams/"):
                continue
            svg = (DOCS / image["uri"]).read_text(encoding="utf-8")
            svg = re.sub(r"<style>.*?</style>", "", svg, flags=re.S)
            label = nodes.unescape(image["alt"]).replace("&", "&amp;").replace('"', "&quot;")
            svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
            html = f'<div class="diagram" tabindex="0">{svg}</div>'
            image.replace_self(nodes.raw("", html, format="html"))


class Highlighting(SphinxPostTransform):
    """Indented examples are sessions of Python where they begin with >>>, else nothing to colour.

    And no block shows the empty line with which doctest wants it to end.
    """

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        for block in self.document.findall(nodes.literal_block):
            text = block.astext().rstrip()
            block.rawsource, block.children = text, []
            block.append(nodes.Text(text))
            if "language" not in block or block["language"] in ("default", "none"):
                block["language"] = "pycon" if block.astext().startswith(">>> ") else "none"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(Diagrams)
    app.add_post_transform(Highlighting)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
