"""JPEG 2000 files, complete and truncated at every length, and with every form of box length."""

import io

import PIL.Image
import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.images.jpeg2000 import is_whole
from cascade_rcnn.images.tensors import read_image


def encoded(**options) -> bytes:
    file = io.BytesIO()
    PIL.Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(file, "JPEG2000", **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_a_file_is_whole_at_its_own_length_alone(options):
    data = encoded(**options)
    assert [n for n in range(len(data) + 1) if is_whole(io.BytesIO(data[:n]))] == [len(data)]


def test_sizes_of_boxes():
    data = encoded()
    place = data.index(b"jp2c") - 4
    head, stream = data[:place], data[place + 8 :]
    until_the_end = head + bytes(4) + b"jp2c" + stream
    extended = head + (1).to_bytes(4, "big") + b"jp2c" + (len(stream) + 16).to_bytes(8, "big") + stream
    followed = data + (12).to_bytes(4, "big") + b"xml " + b"<a/>"
    for whole in (until_the_end, extended, followed):
        assert is_whole(io.BytesIO(whole))
    for broken in (until_the_end[:-1], extended[:-1], head, head + (4).to_bytes(4, "big") + b"jp2c" + stream):
        assert not is_whole(io.BytesIO(broken))


def test_a_cut_file_is_one_line(tmp_path):
    path = tmp_path / "cut.jp2"
    path.write_bytes(encoded()[:-9])
    with pytest.raises(UserError, match=r"cut\.jp2: cannot open this image \(it is cut off\)"):
        read_image(path)
