import multiprocessing
import pickle
import resource
from pathlib import Path

import pytest
import torch
from torchvision import tv_tensors

from cascade_rcnn.data import load_annotations
from cascade_rcnn.data.dataset import Dataset
from cascade_rcnn.data.loader import make_loader
from cascade_rcnn.data.shapes import write_shapes
from cascade_rcnn.data.transport import pack, unpack
from cascade_rcnn.masks import Masks


def batch():
    masks = torch.zeros(2, 6, 8, dtype=torch.uint8)
    masks[0, 1:3, 2:7] = 1
    images = [torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8), torch.rand(3, 5, 7)]
    full = {
        "boxes": torch.rand(2, 4, dtype=torch.float64),
        "labels": torch.tensor([1, 2]),
        "masks": Masks.encode(masks),
        "image_id": torch.tensor(7),
        "name": "ä.png",
    }
    return images, [full, {"boxes": torch.empty(0, 4), "labels": torch.empty(0, dtype=torch.int64), "image_id": 3}]


def assert_equal(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert torch.equal(found, expected)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_equal(found[name], value)
    elif isinstance(expected, Masks):
        assert torch.equal(found.dense(), expected.dense())
    else:
        assert found == expected


def test_a_batch_arrives_as_it_was_sent():
    sent = batch()
    assert_equal(unpack(pack(sent)), sent)


def test_all_tensors_share_one_block_that_they_can_write_to():
    packed = pack(batch())
    (first, second), _ = unpack(packed)
    assert first.untyped_storage().data_ptr() >= packed[1].data_ptr()
    assert first.data_ptr() % 64 == second.data_ptr() % 64 == packed[1].data_ptr() % 64
    first.fill_(9)
    assert torch.equal(unpack(packed)[0][0], first)


def test_tensors_that_numpy_does_not_know_arrive_too():
    sent = [torch.rand(3).bfloat16(), torch.rand(2, requires_grad=True), tv_tensors.Mask(torch.ones(1, 2, 2))]
    found = unpack(pack(sent))
    assert [one.dtype for one in found] == [one.dtype for one in sent]
    assert all(torch.equal(one, other) for one, other in zip(found, sent, strict=True))


def test_an_empty_batch():
    assert unpack(pack([])) == []
    assert pickle.loads(pack(())[0]) == ()


def read_with_few_open_files(folder: Path) -> None:
    dataset = Dataset(load_annotations(write_shapes(folder, train=96, val=1, size=32, seed=0) / "train.json"))
    loader = make_loader(dataset, batch_size=16, workers=2, seed=0, shuffle=False)
    few = len(list(Path("/proc/self/fd").iterdir())) + 60  # 16 images of at least three tensors each exceed it
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    assert sum(len(images) for images, _ in list(loader)) == 96


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_loader_gets_by_with_few_open_files(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=read_with_few_open_files, args=(tmp_path,))
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0
