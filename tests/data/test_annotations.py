import operator

import numpy as np
import pytest
import torch
import torch.multiprocessing

from cascade_rcnn.data.check import check_images
from cascade_rcnn.data.coco import save_coco
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.errors import UserError


def test_share_memory_moves_every_tensor(make_annotations):
    annotations = make_annotations([(30, 40)])
    assert annotations.share_memory() is annotations
    tensors = [value for value in vars(annotations).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 9
    assert all(tensor.is_shared() for tensor in (*tensors, annotations.file_names.data, annotations.file_names.offsets))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_two_processes_see_the_same_storage(make_annotations, method):
    """The other receives the whole object and sends one column back, all in shared memory."""
    annotations = make_annotations([(30, 40)], [[(1, 2, 3, 4)]]).share_memory()
    with torch.multiprocessing.get_context(method).Pool(1) as pool:
        tasks = [pool.apply_async(operator.attrgetter("labels", "file_names"), (annotations,)) for _ in range(2)]
        for i, task in enumerate(tasks):
            labels, names = task.get(timeout=120)
            annotations.labels.fill_(50 + i)
            assert labels.tolist() == [50 + i]
            annotations.file_names.data[0] = ord("x") + i
            assert names[0] == "xy"[i] + ".png"


def test_boxes_have_owners_whatever_torch_s_default_device_is(make_annotations):
    annotations = make_annotations([(30, 40)] * 3, [[(1, 2, 3, 4)] * 2, [], [(5, 6, 7, 8)]])
    with torch.device("meta"):
        assert annotations.owners.tolist() == [0, 0, 2]
        assert annotations.select(np.array([True, True, False])).boxes.tolist() == [[1, 2, 3, 4]] * 2
    assert annotations.shown.tolist() == [[True], [False], [True]]


def test_a_path_is_not_taken_for_annotations(tmp_path, one_line):
    for use in (Dataset, check_images, lambda given: save_coco(given, tmp_path / "copy.json")):
        with pytest.raises(UserError) as caught:
            use("train.json")
        one_line(caught, "annotations is a str; give what cascade_rcnn.load_annotations returns")
