"""The HTML page: its contents, all of which it embeds."""

import base64
import io
from collections import Counter
from html.parser import HTMLParser

import PIL.ExifTags
import PIL.Image
import pytest

from cascade_rcnn.files import read_json

ODD = "<i>odd & 'quoted'.jpg"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.links, self.ids, self.text = Counter(), [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags[tag] += 1
        self.sources += [given["src"]] if "src" in given else []
        self.links += [given["href"]] if "href" in given else []
        self.ids.add(given.get("id"))

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def output(make):
    """Look at data with three findings, one of them in a file with an odd name, and at its augmentation."""
    data = make()
    data.add("val", ODD, data.images["t3.jpg"])
    data.box(bbox=[70, 70, 0, 16])
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 3
    data.options["t2.jpg"] = {"exif": exif.tobytes()}
    data.look(augment="small", output=data.folder / "seen")
    return data.folder / "seen"


@pytest.fixture(scope="module")
def page(output):
    return Page((output / "index.html").read_text(encoding="utf-8"))


def test_every_picture_is_inside_the_page_and_decodes(page):
    assert len(page.sources) == 3 + 5 + 4 + 4 * (1 + 3)  # findings; train and val images; augmented samples
    for source in page.sources:
        kind, _, data = source.partition(",")
        assert kind == "data:image/webp;base64"
        with PIL.Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
            image.load()
            assert max(image.size) <= 860


def test_links_stay_on_the_page(page):
    targets = [link for link in page.links if link != "data:,"]
    assert {"#findings", "#augmented", "#images", "#classes", "#sizes"} <= set(targets)
    assert {link[1:] for link in targets} <= page.ids


def test_names_are_text(output, page):
    assert "<i>odd" not in (output / "index.html").read_text(encoding="utf-8")
    assert any(ODD in text for text in page.text)


def test_the_headline_counts_what_was_found(page):
    assert "1 problem to fix before training, 2 findings worth checking" in "".join(page.text)


def test_json_has_the_findings_with_their_records(output):
    seen = read_json(output / "look.json")
    assert (seen["format"], seen["goes_wrong"]) == (1, True)
    assert [(one["code"], one["severity"], one["count"]) for one in seen["findings"]] == [
        ("duplicate_across_splits", "wrong", 1),
        ("lost_box", "look", 1),
        ("turned_unclear", "look", 1),
    ]
    (record,) = seen["findings"][0]["records"]
    assert (record["split"], record["image"], record["other"]["image"]) == ("val", ODD, "t3.jpg")
    assert seen["splits"][0] | {"source": ""} == {
        "name": "train", "source": "", "is_training": True, "images": 5, "boxes": 41, "ignored": 0,
    }  # fmt: skip
    assert seen["classes"][0] == {"name": "frog", "boxes": {"train": 21, "val": 16}, "images": {"train": 5, "val": 4}}
    assert seen["anchors"]["boxes"] == 40
    assert sum(one["boxes"] for one in seen["anchors"]["by_side"]) == 40


def test_a_page_of_many_classes(make):
    """Ten colours serve twelve classes, a caption names four classes, and commands in advice are code."""
    data = make()
    for split in data.both():
        split["categories"] += [{"id": k, "name": f"class {k}"} for k in range(3, 13)]
    for k, row in enumerate(data.train["annotations"][:8]):
        row["category_id"] = 1 + k
    for row in data.train["annotations"][8:16]:
        row["bbox"][2:] = [30, 2]
    data.look(output=data.folder / "seen")
    html = (data.folder / "seen" / "index.html").read_text(encoding="utf-8")
    legend = html[html.index('<ul class="swatches">') :].split("</ul>")[0]
    assert legend.count("<svg") == 10
    assert "and 2 more, in the same colours" in legend
    assert "1 frog, 1 toad, 1 class 3, 1 class 4, 4 more" in html
    assert "<code>train auto</code>" in html
    assert not any("`" in text for text in Page(html.split("<script>")[0]).text)
