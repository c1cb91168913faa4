"""Files by address."""

import pytest

pytest.importorskip("ray")

from cascade_rcnn.ray.storage import Place


def test_a_link_that_leads_nowhere_is_listed_so_that_an_error_names_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "sub" / "b.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "c.jpg").symlink_to("a.jpg")
    (tmp_path / ".d.jpg").symlink_to("nowhere.jpg")
    place = Place(tmp_path)
    assert place.listing((".jpg",)) == ["a.jpg", "c.jpg", "sub/b.jpg"]
    with pytest.raises(FileNotFoundError):
        place.read("sub/b.jpg")
