"""Figure 3 agrees with the model configs."""

from msgspec.structs import replace

from cascade_rcnn.config import Category, ModelOptions
from cascade_rcnn.models.configure import model_config
from cascade_rcnn_study.architectures import METHODS, Architecture, architecture, architectures


def heads(one: Architecture) -> list[str]:
    return [column.head for column in one.columns]


def test_the_four_of_the_paper():
    a, b, c, d = architectures()
    assert [one.title for one in (a, b, c, d)] == list(METHODS.values())
    assert heads(a) == ["H0", "H1"]
    assert heads(b) == ["H0", "H1", "H1", "H1"]  # one head, three times
    assert {column.ious for column in b.columns[1:]} == {(0.5,)}
    assert heads(c) == ["H0", "H1"]
    assert (c.columns[1].classifiers, c.columns[1].regressor) == (("C1", "C2", "C3"), "B1")
    assert c.columns[1].ious == (0.5, 0.6, 0.7)
    assert heads(d) == ["H0", "H1", "H2", "H3"]
    assert [column.regressor for column in d.columns] == ["B0", "B1", "B2", "B3"]
    assert [column.ious for column in d.columns[1:]] == [(0.5,), (0.6,), (0.7,)]


def test_another_config_is_another_drawing():
    options = ModelOptions(stages=2, stage_ious=(0.4, 0.55))
    config = model_config("cascade_rcnn_resnet18_fpn", (Category(),), options, pretrained=False)
    assert [column.ious for column in architecture(config, "t").columns] == [(), (0.4,), (0.55,)]
    repeated = replace(config, method="iterative")
    assert heads(architecture(repeated, "t")) == ["H0", "H1", "H1"]
