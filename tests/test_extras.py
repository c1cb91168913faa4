import pytest

from cascade_rcnn.errors import UserError
from cascade_rcnn.extras import needs


def test_what_is_missing_is_named_with_what_to_install():
    needs("this", "export", "json", "math")
    with pytest.raises(UserError, match=r"^`serve` needs nosuch_a, nosuch_b; pip install 'cascade-rcnn\[serve\]'$"):
        needs("`serve`", "serve", "json", "nosuch_a", "nosuch_b")
