"""A parser of report pages for tests."""

import base64
import io
from html.parser import HTMLParser

import PIL.Image

VOID = {"meta", "link", "img", "br", "input", "hr"}
DRAWN = {"path", "use", "rect", "circle", "line", "stop"}  # self-closing SVG elements


class Page(HTMLParser):
    """A parser that fails on unclosed tags and collects what matters."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.images: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(tag, found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(tag, {name: value or "" for name, value in attrs})

    def _attributes(self, tag: str, found: dict[str, str]) -> None:
        if tag == "img":
            self.images.append(found.get("src", ""))
        self.ids += [found["id"]] if "id" in found else []
        self.references += [value for name in ("href", "xlink:href", "src") if (value := found.get(name))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        """Return the page's readable text."""
        return " ".join(" ".join(self.words).split())

    def pictures(self) -> list[PIL.Image.Image]:
        """Decode every picture, except the empty one in which others are enlarged."""
        found = []
        for source in filter(None, self.images):
            kind, _, data = source.partition(";base64,")
            assert kind == "data:image/webp"
            image = PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            image.load()
            found.append(image)
        return found
