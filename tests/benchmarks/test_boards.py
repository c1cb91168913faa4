"""DeepPCB's files, which name an image and its text, become COCO files."""

from pathlib import Path

import PIL.Image
import torch

from benchmarks import boards
from benchmarks.against.setting import read_set, sides
from cascade_rcnn.data.dataset import Dataset


def test_boards_become_coco_files(tmp_path: Path, capsys):
    source = tmp_path / "PCBData"
    for split, number in (("trainval", "00041000"), ("test", "00041001")):
        images, texts = source / "group00041" / "00041", source / "group00041" / "00041_not"
        images.mkdir(parents=True, exist_ok=True)
        texts.mkdir(exist_ok=True)
        for kind, colour in (("test", "red"), ("temp", "blue")):  # the latter shows the board without defects
            PIL.Image.new("RGB", (640, 640), colour).save(images / f"{number}_{kind}.jpg")
        (texts / f"{number}.txt").write_text("466 441 493 470 3\n454 300 493 396 2\n" if split == "trainval" else "")
        (source / f"{split}.txt").write_text(f"group00041/00041/{number}.jpg group00041/00041_not/{number}.txt\n")
    boards.data(source, tmp_path / "boards")
    assert capsys.readouterr().out == "train: 1 images, 2 defects\nval: 1 images, 0 defects\n"

    train, val = read_set(tmp_path, "boards")
    image, target = Dataset(train)[0]
    assert (image[0].float().mean() > 200) & (image[2].float().mean() < 50)
    assert target["boxes"].tolist() == [[466, 441, 493, 470], [454, 300, 493, 396]]
    assert [train.categories[k - 1].name for k in target["labels"].tolist()] == ["mousebite", "short"]
    assert torch.equal(Dataset(val)[0][1]["boxes"], torch.zeros(0, 4))
    assert sides("boards") == (400, 400) != sides("bccd")
