"""The typed keywords are exactly those that exist."""

from typing import Any, get_args, get_type_hints

from cascade_rcnn import create_model
from cascade_rcnn.config import INFERENCE, InferenceOptions, ModelOptions
from cascade_rcnn.models.options import CreateOptions
from cascade_rcnn.protocols import Backbone


def test_create_model_takes_the_fields_of_model_options():
    assert alternatives(get_type_hints(create_model)["backbone"]) == {str, Backbone, type(None)}
    assert get_type_hints(CreateOptions) | {"backbone": str | None} == get_type_hints(ModelOptions)


def alternatives(kind: Any) -> set[Any]:
    return set(get_args(kind)) or {kind}


def test_load_takes_what_can_be_changed_about_a_trained_model():
    given, fields = get_type_hints(InferenceOptions), get_type_hints(ModelOptions)
    assert set(given) == set(INFERENCE)
    for name, kind in given.items():
        assert alternatives(kind) <= alternatives(fields[name])
