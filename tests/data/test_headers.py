import zlib

import PIL.Image
import PIL.ImageFile
import pytest

from cascade_rcnn.data.headers import read_header, read_headers
from cascade_rcnn.errors import UserError
from cascade_rcnn.images.tensors import read_image

KINDS = ("jpg", "png", "tif", "webp", "bmp", "ppm", "gif", "avif", "jp2")


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_size_is_that_of_the_upright_image(tmp_path, write_image, kind, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    write_image(tmp_path / f"a.{kind}", 40, 30, exif=exif)
    size = read_header(tmp_path / f"a.{kind}").size
    assert size == ((40, 30) if orientation >= 5 else (30, 40))
    assert size == tuple(read_image(tmp_path / f"a.{kind}").shape[1:])


@pytest.mark.parametrize("orientation", [1, 3, 6, 9])
@pytest.mark.parametrize("place", ["before the pixels", "after the pixels"])
def test_the_orientation_in_a_pngs_xmp_counts_as_when_it_is_read(
    tmp_path, write_image, monkeypatch, orientation, place
):
    write_image(tmp_path / "a.png", 40, 30)
    content = b"XML:com.adobe.xmp" + bytes(5) + f'<x:xmpmeta tiff:Orientation="{orientation}"/>'.encode()
    chunk = b"iTXt" + content
    chunk = len(content).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    whole = (tmp_path / "a.png").read_bytes()
    at = whole.index(b"IDAT" if place == "before the pixels" else b"IEND") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + chunk + whole[at:])
    size = (40, 30) if orientation == 6 else (30, 40)
    assert tuple(read_image(tmp_path / "a.png").shape[1:]) == size
    assert read_header(tmp_path / "a.png").size == size


def test_size_of_no_image(tmp_path, one_line):
    (tmp_path / "a.jpg").write_text("text")
    for name, part in (("a.jpg", "cannot open"), ("absent.jpg", "no such image")):
        with pytest.raises(UserError) as caught:
            read_header(tmp_path / name)
        one_line(caught, name, part)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_cut_off_is_found_without_decoding_those_that_are_whole(tmp_path, kind, monkeypatch):
    PIL.Image.init()
    path = tmp_path / f"a.{kind}"
    try:
        PIL.Image.effect_noise((96, 64), 60).convert("RGB").save(path)
    except (KeyError, ValueError, OSError):
        pytest.skip(f"this Pillow does not write {kind}")
    whole = path.read_bytes()
    if kind not in ("ppm", "avif"):  # truncation of these shows only when they are decoded
        with monkeypatch.context() as patch:
            patch.setattr(PIL.ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
            assert read_header(path).size == (64, 96)
    assert read_header(path).size == (64, 96)
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(UserError, match=rf"a\.{kind}: "):
        read_header(path)


def test_what_follows_an_images_end_does_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    PIL.Image.effect_noise((40, 30), 60).save(path)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert read_header(path).size == (30, 40)


def test_numbers_without_a_known_range_are_found(tmp_path):
    PIL.Image.new("F", (4, 4), 300).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a\.tif: .*from 300 to 300"):
        read_header(tmp_path / "a.tif")


def test_many_come_in_order_each_with_its_own_error(tmp_path, write_image):
    for i in range(40):
        write_image(tmp_path / f"{i}.png", i + 1, 5)
    (tmp_path / "7.png").write_bytes(b"")
    found = read_headers([tmp_path / f"{i}.png" for i in range(40)])
    assert isinstance(found[7], UserError)
    assert [header.size for i, header in enumerate(found) if i != 7] == [(5, i + 1) for i in range(40) if i != 7]


@pytest.mark.parametrize("kind", ["tif", "gif", "png", "webp"])
def test_further_pages_and_frames_are_noticed(tmp_path, kind):
    first, second = (PIL.Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    path = tmp_path / f"a.{kind}"
    first.save(path)
    assert not read_header(path).more
    first.save(path, save_all=True, append_images=[second])
    header = read_header(path)
    assert (header.more, header.size) == (True, (30, 40))
    assert read_image(path)[:, 15, 20].argmax() == 0  # red


def test_the_second_picture_of_a_camera_is_no_page(tmp_path):
    picture = PIL.Image.new("RGB", (40, 30))
    picture.save(tmp_path / "a.mpo", save_all=True, append_images=[picture])
    assert not read_header(tmp_path / "a.mpo").more


@pytest.mark.parametrize(("kind", "counts"), [(0, True), (1, False), (2, True), (4, False), (5, False)])
def test_smaller_copies_and_transparency_masks_are_no_pages(tmp_path, kind, counts):
    first, second = (PIL.Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    second.encoderinfo = {"tiffinfo": {254: kind}}  # type: ignore[attr-defined]
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert read_header(tmp_path / "a.tif").more == counts
    assert read_image(tmp_path / "a.tif")[:, 15, 20].argmax() == 0  # red


def test_a_damaged_second_page_does_not_matter(tmp_path):
    picture, path = PIL.Image.new("RGB", (40, 30), "red"), tmp_path / "a.tif"
    picture.save(path)
    single = path.read_bytes()
    assert single[:4] == b"II*\0"
    place = int.from_bytes(single[4:8], "little")
    number = int.from_bytes(single[place : place + 2], "little")
    next_page = place + 2 + 12 * number  # of this directory: where the next one is
    path.write_bytes(single[:next_page] + (10**6).to_bytes(4, "little") + single[next_page + 4 :])
    assert read_header(path).size == (30, 40)
    assert read_image(path)[:, 15, 20].argmax() == 0
