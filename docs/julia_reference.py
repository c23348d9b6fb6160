"""Julia's part of the reference: the docstrings of the package BufferBridge, asked of Julia itself.

    ```{julia-reference} PyArray PyStridedArray
    ```

documents these names, and

    ```{julia-reference}
    ```

all exported ones that no such block of the page names. An exported name without a docstring is a
warning, and so an error of the build. In the pages, ``{jl}`PyArray` `` refers to one.
"""

from __future__ import annotations

import functools
import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.directives import ObjectDescription
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)

# (name, docstrings in the order of definition) of each exported name.
_COLLECT = r"""
using BufferBridge
let M = BufferBridge, found = Any[]
    for name in sort(names(M))
        name === nameof(M) && continue
        multi = get(Base.Docs.meta(M), Base.Docs.Binding(M, name), nothing)
        texts = multi === nothing ? () :
            Tuple(join(map(string, multi.docs[s].text)) for s in multi.order)
        push!(found, (string(name), texts))
    end
    Tuple(found)
end
"""


_SEPARATOR = " ;; "  # of signatures: what follows a directive's name in Markdown is one line


@functools.lru_cache(maxsize=1)
def docstrings() -> dict[str, tuple[str, ...]]:
    """The exported names of BufferBridge and their docstrings, as written."""
    import bufferbridge as bb

    return dict(bb.eval(_COLLECT, bb.newmodule("Reference")))


def markdown(name: str, texts: tuple[str, ...]) -> list[str]:
    """A name's docstrings in MyST's Markdown, under the signatures that they begin with."""
    lines: list[str] = []
    for number, text in enumerate(texts):
        signature, body = _split(name, text)
        fence = "`" * 5
        lines += [f"{fence}{{jlname}} {_SEPARATOR.join(signature)}"]
        lines += [":no-index:", ""] if number else [""]
        # Headings in docstrings are none of the page.
        lines += _references(re.sub(r"^#+ (.*)$", r"**\1**", body, flags=re.M)).splitlines()
        lines += [fence, ""]
    return lines


def _split(name: str, text: str) -> tuple[list[str], str]:
    """The signatures that a docstring begins with, indented as Julia has them, and the rest."""
    signature = []
    lines = text.strip("\n").splitlines()
    while lines and lines[0].startswith("    "):
        signature.append(lines.pop(0).strip())
    return signature or [name], "\n".join(lines).strip("\n")


def _references(text: str) -> str:
    """Julia's links, [`name`](@ref target), as links of this site's or as what they show."""

    def link(match: re.Match[str]) -> str:
        shown, target = match[1], (match[2] or match[1]).strip().rpartition(".")[2]
        return f"{{jl}}`{target}`" if target in docstrings() else f"`{shown}`"

    return re.sub(r"\[`([^`]*)`\]\(@ref(?: ([^)]*))?\)", link, text)


class JuliaReference(SphinxDirective):
    """The directive of the module's docstring."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        known = docstrings()
        if self.arguments:
            names = self.arguments[0].split()
        else:
            named = re.findall(r"^```\{julia-reference\} (.*)$", self._source(), re.M)
            names = sorted(known.keys() - set(" ".join(named).split()))
        found: list[nodes.Node] = []
        if names and not self.arguments:
            found.append(nodes.rubric("", "Everything else"))
        for name in names:
            if not known.get(name):
                what = "has no docstring" if name in known else "is not exported by BufferBridge"
                LOGGER.warning("%s %s", name, what, location=self.get_location())
                continue
            node = nodes.container()
            self.state.nested_parse(StringList(markdown(name, known[name])), 0, node)
            found += node.children
        return found

    def _source(self) -> str:
        with open(self.env.doc2path(self.env.docname), encoding="utf-8") as page:
            return page.read()


def _parse(env: BuildEnvironment, signature: str, node: addnodes.desc_signature) -> str:
    """The nodes of a Julia signature; the name that it documents."""
    match = re.match(r"(?:function |macro |struct )?(?:BufferBridge\.)?(@?[\w!]+)", signature)
    name = match[1] if match else signature
    start = match.start(1) if match else 0
    node += addnodes.desc_addname("", signature[:start]) if start else []
    node += addnodes.desc_name(name, name)
    rest = signature[start + len(name) :]
    if rest:
        node += nodes.inline("", rest, classes=["sig-rest"])
    return name


def _name(node: addnodes.desc_signature) -> str:
    return next(node.findall(addnodes.desc_name)).astext()


def _toc_entry(self: ObjectDescription[str], node: addnodes.desc_signature) -> str:
    return "" if node.parent.index(node) or "no-index" in self.options else _name(node)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_object_type("jlname", "jl", "pair: %s; Julia", _parse, objname="Julia")
    described = app.registry.domain_directives["std"]["jlname"]
    described.get_signatures = lambda self: self.arguments[0].split(_SEPARATOR)  # type: ignore
    # Names are in the page's table of contents, once each.
    described._object_hierarchy_parts = lambda self, node: (_name(node),)  # type: ignore
    described._toc_entry_name = _toc_entry  # type: ignore
    app.add_directive("julia-reference", JuliaReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
