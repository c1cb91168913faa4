"""The page in a real browser, on a phone and a desktop: all is visible, nothing is fetched or scrolls sideways."""

import pytest

PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(make):
    data = make()
    data.add("val", "v9.jpg", data.images["t3.jpg"])
    data.box(bbox=[70, 70, 0, 16])
    for k in range(3, 19):  # a table wider than a phone, with a name that cannot be wrapped
        for split in data.both():
            split["categories"].append({"id": k, "name": f"a_rather_long_name_of_a_class_{k}"})
    data.look(augment="small", output=data.folder / "seen")
    return (data.folder / "seen" / "index.html").as_uri()


@pytest.fixture
def opened(browser, address):
    """Open the page, and record its requests and errors."""

    def open_page(**options):
        page = browser.new_page(**options)
        page.requests, page.complaints = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(address, wait_until="load")
        return page

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_picture_loads_and_nothing_is_fetched(opened, address, scheme):
    page = opened(viewport=PHONE, color_scheme=scheme)
    widths = page.evaluate(
        "Promise.all([...document.querySelectorAll('main img')].map(i => i.decode().then(() => i.naturalWidth)))"
    )
    assert len(widths) > 20
    assert min(widths) > 0
    assert [url for url in page.requests if not url.startswith("data:")] == [address]
    assert page.complaints == []


def test_dark_and_light_differ(opened):
    grounds = [
        opened(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(246, 247, 249)", "rgb(16, 19, 24)"]


def test_a_phone_scrolls_tables_and_not_the_page(opened):
    page = opened(viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.evaluate("window.scrollTo(500, 0)")
    assert page.evaluate("window.scrollX") == 0
    wide = page.locator("#classes .wide")
    assert wide.evaluate("box => box.scrollWidth > box.clientWidth")
    wide.evaluate("box => box.scrollTo(80, 0)")
    assert wide.evaluate("box => box.scrollLeft") == 80


def test_filters_show_some_of_the_findings(opened):
    page = opened()
    cards = page.locator("#found > .card")
    titles = cards.locator("h3").all_inner_texts()
    assert cards.count() == 3
    page.get_by_role("button", name="Worth checking").click()
    assert [card.is_visible() for card in cards.all()] == [False, True, False]
    assert titles[1] == "Empty boxes, or boxes outside their image"
    page.get_by_role("button", name="All 3").click()
    assert all(card.is_visible() for card in cards.all())
    pictures = page.locator("#seen figure")
    page.locator("#images .filters").get_by_role("button", name="val").click()
    assert sum(picture.is_visible() for picture in pictures.all()) == 4


def test_a_picture_opens_large(opened):
    page = opened()
    page.locator("#found .gallery img").first.click()
    assert page.locator("#large").is_visible()
    assert page.locator("#large img").evaluate("image => image.naturalWidth") > 0
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()


def test_without_javascript_all_shows_but_filters(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("#found > .card").count() == 3
    assert page.locator(".card").first.is_visible()
    assert not page.locator(".filters").first.is_visible()
