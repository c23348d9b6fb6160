"""Python's part of the reference: which of the package's names are documented where.

    ```{python-reference} eval include
    ```

documents these names from their docstrings, and

    ```{python-reference}
    ```

all of ``bufferbridge.__all__`` that the page does not name otherwise. A public name without a
docstring is a warning, and so an error of the build.
"""

from __future__ import annotations

import inspect
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import bufferbridge as bb

LOGGER = logging.getLogger(__name__)

# Their values are modules and numbers of the Julia that runs: the page says itself what they are.
DATA = ("Main", "Base", "Core", "julia_version")


class PythonReference(SphinxDirective):
    """The directive of the module's docstring."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        if self.arguments:
            names = self.arguments[0].split()
        else:
            named = re.findall(r"^```\{python-reference\} (.*)$", self._source(), re.M)
            names = [n for n in bb.__all__ if n not in {*" ".join(named).split(), *DATA}]
        lines = ["````{eval-rst}"]
        for name in names:
            thing = getattr(bb, name, None)
            if not isinstance(getattr(thing, "__doc__", None), str):
                LOGGER.warning(
                    "bufferbridge.%s has no docstring", name, location=self.get_location()
                )
                continue
            lines += [*_directive(name, thing), ""]
        lines.append("````")
        node = nodes.container()
        self.state.nested_parse(StringList(lines), 0, node)
        heading = [] if self.arguments or not names else [nodes.rubric("", "Everything else")]
        return [*heading, *node.children]

    def _source(self) -> str:
        with open(self.env.doc2path(self.env.docname), encoding="utf-8") as page:
            return page.read()


def _directive(name: str, thing: object) -> list[str]:
    if not inspect.isclass(thing):
        return [f".. autofunction:: bufferbridge.{name}"]
    # Not autoclass, which would show how to construct what nobody constructs.
    kind = "exception" if issubclass(thing, BaseException) else "class"
    signature = (
        ""
        if name.startswith("Julia")
        else str(inspect.signature(thing)).partition(" ->")[0].replace("'", "")
    )
    doc = inspect.cleandoc(thing.__doc__ or "").split("\n")
    if signature:
        _parameters(None, "class", name, thing, None, doc)
    lines = [f".. py:{kind}:: bufferbridge.{name}{signature}", "", *_indented(doc), ""]
    for member, value in vars(thing).items():
        # What the abstract base classes have is told in Python's documentation.
        foreign = not (getattr(value, "__module__", None) or "bufferbridge").startswith(
            "bufferbridge"
        )
        if member.startswith("_") or foreign or not getattr(value, "__doc__", None):
            continue
        what = "automethod" if callable(value) else "autoattribute"
        lines += _indented([f".. {what}:: bufferbridge.{name}.{member}", ""])
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"   {line}".rstrip() for line in lines]


def _parameters(
    app: Sphinx | None, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Docstrings' paragraphs "name: what it is", of parameters, as Sphinx writes them."""
    try:
        names = set(inspect.signature(thing).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return
    was = False
    for i, line in enumerate(lines):
        match = re.match(r"(\w+): ", line)
        if match and match[1] in names:
            lines[i] = f"{'' if was else chr(10)}:param {match[1]}: {line[match.end() :]}"
            was = True
        elif not line.startswith(" "):
            was = False
    lines[:] = "\n".join(lines).split("\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("python-reference", PythonReference)
    app.connect("autodoc-process-docstring", _parameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
