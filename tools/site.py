"""Hooks of the documentation site: link files outside docs/ to the repository, and format examples in docstrings."""

import posixpath
import re
from typing import Any

from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

_LINK = re.compile(r"(\]\()(\.\./[^)\s#]*)")


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside the documentation to the repository."""
    folder = posixpath.dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        inside = target == "docs" or target.startswith("docs/")
        return link[0] if inside else f"{link[1]}{config.repo_url}/blob/main/{target}"

    return _LINK.sub(rewritten, markdown)


_EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.M)


class FencedExamples(Extension):
    """Griffe extension that fences the `>>>` examples of docstrings, which are rendered as Markdown."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Fence the examples of a docstring when it is loaded."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", obj.docstring.value)
