import pytest

import cascade_rcnn


def test_every_public_name_is_there_and_no_other_is_promised():
    for name in cascade_rcnn.__all__:
        assert getattr(cascade_rcnn, name) is not None
    assert set(cascade_rcnn._HOMES) == set(cascade_rcnn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cascade_rcnn.nothing
