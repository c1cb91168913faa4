"""Hooks of the documentation site: link files outside docs/, format examples in docstrings, and add notebooks."""

import logging
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


_HREF = re.compile(r'href="([^":#]+\.(?:md|ipynb))(#[^"]*)?"')
_DOWNLOAD = '\n<p><a href="{}" download>Download this notebook</a></p>'


def on_page_content(html: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links of a notebook to pages, as is done for those of Markdown; it can be downloaded."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html

    def rewritten(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link[1]))
        file = files.get_file_from_path(target)
        if file is None:
            logging.getLogger("mkdocs.hooks").warning("%s links to %s, which is no page", page.file.src_uri, target)
            return link[0]
        return f'href="{file.url_relative_to(page.file)}{link[2] or ""}"'

    download = _DOWNLOAD.format(posixpath.basename(page.file.src_uri))
    return _HREF.sub(rewritten, html).replace("</h1>", "</h1>" + download, 1)


def on_post_page(output: str, /, *, page: Page, config: MkDocsConfig) -> str:
    """Keep readers' browsers from asking GitHub for the repository's stars: a page fetches nothing from elsewhere."""
    return output.replace(' data-md-component="source"', "")


_EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.M)


class FencedExamples(Extension):
    """Griffe extension that fences the `>>>` examples of docstrings, which are rendered as Markdown."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Fence the examples of a docstring when it is loaded."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(lambda example: f"```pycon\n{example[0]}\n```", obj.docstring.value)
