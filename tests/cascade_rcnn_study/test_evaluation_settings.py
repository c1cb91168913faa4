"""The settings in which checkpoints are evaluated."""

from cascade_rcnn_study.evaluation_settings import ensemble, on_cascade_inputs, single_stage, stage_on_inputs


def test_a_stage_on_its_own_inputs_is_the_stage_alone():
    assert stage_on_inputs(2, 2) == single_stage(2)


def test_a_stage_on_other_inputs():
    setting = stage_on_inputs(3, 1)
    assert (setting.name, setting.first, setting.inputs) == ("stage3-on-inputs1", 3, 1)
    assert setting.inference == {"test_stage": 3, "ensemble": False}


def test_an_ensemble_averages_on_its_last_stage_s_inputs():
    assert ensemble(2).inference == {"test_stage": 2, "ensemble": True, "ensemble_rois": "last"}


def test_a_detector_on_the_cascade_s_boxes_keeps_its_own_inference():
    setting = on_cascade_inputs(3)
    assert (setting.inputs, setting.first, setting.of_cascade, dict(setting.inference)) == (3, 1, True, {})
