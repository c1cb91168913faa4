"""The torture campaign runs, and finds the faults planted in it."""

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.torture import annotations, areas, images, page
from benchmarks.torture.__main__ import main
from benchmarks.torture.annotations import Coco
from benchmarks.torture.areas import run_area
from benchmarks.torture.equality import identical
from benchmarks.torture.mutations import BYTES, mutate_bytes, mutate_tree
from benchmarks.torture.outcomes import Outcome, Tally, Verdict, judge
from benchmarks.torture.outlines import Outlines
from cascade_rcnn.data.segmentations import Segmentations
from cascade_rcnn.errors import UserError

PYCOCOTOOLS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (lambda: None, Outcome.RIGHT),
        (lambda: "a box too many", Outcome.WRONG),
        (lambda: fail(UserError("a.json: no")), Outcome.REFUSED),
        (lambda: fail(UserError("a.json:\nno")), Outcome.TRACEBACK),
        (lambda: fail(KeyError("x")), Outcome.TRACEBACK),
        (lambda: fail(MemoryError()), Outcome.TRACEBACK),
        (lambda: fail(RecursionError()), Outcome.TRACEBACK),
        (lambda: fail(SystemExit(1)), Outcome.TRACEBACK),
    ],
)
def test_every_end_of_a_case_is_told_apart(run, outcome):
    assert judge("case", run).outcome is outcome


def spin() -> None:
    while True:
        time.process_time()


def test_a_case_that_does_not_end_is_a_hang():
    assert judge("case", spin, seconds=0.05).outcome is Outcome.HANG


class Odd:
    """An area whose third case crashes, whose fourth hangs and whose fifth gives a wrong result."""

    name = "odd"

    def prepare(self, folder: Path) -> None:
        self.left = ["right", "right", "crash", "block", "wrong", "right"]

    def case(self, random, folder):
        what = self.left[random.bit_generator.seed_seq.entropy[1]]  # case i has the seed [seed, i]
        return what, {"right": lambda: None, "wrong": lambda: "wrong", "crash": lambda: os._exit(9), "block": block}[
            what
        ]


def block() -> None:
    time.sleep(1000)  # uses no processor time


def test_an_area_survives_crashes_and_hangs_of_its_child(tmp_path, monkeypatch):
    monkeypatch.setattr(areas, "WALL_SECONDS", 3.0)
    tally = run_area(Odd(), 6, 0, tmp_path)
    assert dict(tally.counts) == {
        Outcome.REFUSED: 0,
        Outcome.RIGHT: 3,
        Outcome.TRACEBACK: 1,
        Outcome.HANG: 1,
        Outcome.WRONG: 1,
    }
    assert [fault.said for fault in tally.faults] == [
        "the process died with exit code 9",
        "no answer within 3 s",
        "wrong",
    ]


def test_a_reader_that_moves_a_box_or_loses_one_is_found_out(tmp_path, monkeypatch):
    load = annotations.load_annotations

    def moving(path):
        found = load(path)
        return dataclasses.replace(found, boxes=found.boxes + 1)

    def losing(path):
        found = load(path)
        first = found.first.clone()
        first[-1] -= 1
        columns = {name: getattr(found, name)[:-1] for name in ("boxes", "labels", "areas", "ignore", "ids")}
        return dataclasses.replace(found, first=first, notes=(), **columns)

    area = Coco()
    area.prepare(tmp_path)
    (tmp_path / "good.json").write_text(json.dumps(area.good))
    tree = json.loads((tmp_path / "good.json").read_text())
    for reader, wrong in ((load, None), (moving, "is not in the file"), (losing, "left out without a note")):
        said = annotations.wrong(reader(tmp_path / "good.json"), *annotations.coco_boxes(tree))
        assert said is None if wrong is None else wrong in str(said)


def test_pixels_that_differ_are_found_out():
    good = np.zeros((4, 5, 3), np.uint8)
    other = good.copy()
    other[1, 2] = 9
    assert images._differs(good, good) is None
    assert images._differs(other, good) == "1 of 20 pixels differ"
    assert images._differs(good[:2], good) == "(2, 5, 3) instead of (4, 5, 3)"


def test_every_admitted_kind_of_image_can_be_written(tmp_path):
    assert images.not_covered() == []
    for suffix in images.suffixes():
        area = images.Images(suffix)
        area.prepare(tmp_path)
        for data, pixels in area.good:
            _, run = area._reading(
                tmp_path / f"good{suffix}", data, lambda found, p=pixels: images._differs(found, p), ""
            )
            assert run() is None


def test_mutations_are_the_same_for_the_same_seed_and_change_something():
    data, tree = bytes(range(48, 112)) * 3, {"a": [1, {"b": "x"}], "c": 2.5}
    for number in range(50):
        first, again = (mutate_bytes(np.random.default_rng(number), data) for _ in range(2))
        assert first == again
        trees = [mutate_tree(np.random.default_rng(number), tree) for _ in range(2)]
        assert repr(trees[0]) == repr(trees[1])
    assert sum(mutate_bytes(np.random.default_rng(n), data)[1] != data for n in range(50)) > 45
    assert tree == {"a": [1, {"b": "x"}], "c": 2.5}
    assert len({mutation.__name__ for mutation in BYTES}) == len(BYTES)


def test_the_page_tells_the_counts_the_faults_and_the_lines():
    tally = Tally("annotations: COCO")
    for verdict in (
        Verdict("coco 0/1", Outcome.REFUSED, "a.json: no\x1b[31m"),
        Verdict("coco 0/2", Outcome.RIGHT),
        Verdict("coco 0/3", Outcome.WRONG, "a box moved"),
    ):
        tally.add(verdict)
    tally.skipped.append("a full disk: not root")
    machine = dict.fromkeys(("processor", "cores", "gpu", "python", "torch", "torchvision", "date"), "x")
    content = {"machine": machine, "quick": False, "seed": 0, "seconds": 61.0, "areas": [tally.to_dict()]}
    text = page.render(json.loads(json.dumps(content)))
    assert "| annotations: COCO | 3 | 1 | 1 | 0 | 0 | 1 | x |" in text
    assert "- `coco 0/3`: silently wrong: `a box moved`" in text
    assert r"- `a.json: no\x1b[31m`" in text
    assert "Not tested: `a full disk: not root`" in text
    assert text.endswith("; seed 0, 61 seconds; x.\n")


def test_a_campaign_fails_by_a_fault_and_writes_its_table_all_the_same(tmp_path, monkeypatch):
    def broken(path, **_):
        raise KeyError(path)

    monkeypatch.setattr(annotations, "load_annotations", broken)
    with pytest.raises(SystemExit) as stopped:
        main(["--quick", "--only", "coco", "--cases", "3", "--output", str(tmp_path)])
    assert stopped.value.code == "3 faults"
    written = json.loads((tmp_path / "torture.json").read_text())
    assert written["areas"][0]["counts"]["traceback"] == 3
    assert (tmp_path / "torture.md").read_text().count("KeyError") == 3


def test_areas_that_are_tried_again_replace_those_on_the_page(tmp_path):
    machine = dict.fromkeys(("processor", "cores", "gpu", "python", "torch", "torchvision"), "x")
    areas = [Tally("one", dict.fromkeys(Outcome, k)) for k in (1, 2)]
    other = Tally("other", dict.fromkeys(Outcome, 3))
    runs = (("monday", "x", [areas[0], other]), ("tuesday", "x", [areas[1]]), ("friday", "y", [Tally("third")]))
    for date, processor, tallies in runs:
        here = machine | {"date": date, "processor": processor}
        content = {"machine": here, "quick": False, "seed": 0, "seconds": 1.0}
        text = page.write(tmp_path, content | {"areas": [t.to_dict() for t in tallies]}, keep=True).read_text()
    assert "| one | 10 | 2 | 2 | 2 | 2 | 2 | tuesday |" in text
    assert "| other | 15 | 3 | 3 | 3 | 3 | 3 | monday |" in text
    assert "| third | 0 | 0 | 0 | 0 | 0 | 0 | friday, y |" in text
    assert text.splitlines()[-1].startswith("x, x cores")
    assert text.endswith("; seed 0, on the dates in the table.\n")


@PYCOCOTOOLS
def test_a_mask_that_is_moved_or_lost_is_found_out(tmp_path):
    area = Outlines()
    area.prepare(tmp_path)
    (tmp_path / "good.json").write_text(json.dumps(area.good))
    good = annotations.load_annotations(tmp_path / "good.json", masks=True)
    assert area._wrong_masks(good, area.good) is None
    texts = [good.segmentations.read(k) for k in range(len(good.boxes))]
    texts[2] = b""
    lost = dataclasses.replace(good, segmentations=Segmentations.of(texts))
    assert area._wrong_masks(lost, area.good) == "object 3 has lost its mask"
    texts[2] = b"[[0,0,5,0,5,5]]"
    moved = dataclasses.replace(good, segmentations=Segmentations.of(texts))
    assert area._wrong_masks(moved, area.good) == "object 3 has other pixels than in pycocotools"


@PYCOCOTOOLS
def test_a_few_of_each_kind(tmp_path):
    main(
        [
            "--quick",
            "--only",
            "coco",
            "outlines",
            "voc",
            "yolo",
            ".jpg",
            ".png",
            ".tif",
            "states",
            "--output",
            str(tmp_path),
        ]
    )
    written = json.loads((tmp_path / "torture.json").read_text())
    assert written["quick"]
    assert all(sum(area["counts"].values()) > 10 for area in written["areas"])
    assert sum(area["counts"]["refused in one line"] for area in written["areas"]) > 30


@pytest.mark.slow
def test_crowded_images(tmp_path):
    main(["--quick", "--only", "crowded", "--output", str(tmp_path)])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own code
def test_kills_and_faults(tmp_path):
    main(["--quick", "--only", "train", "predict", "export", "service", "ray", "faults", "--output", str(tmp_path)])


def test_states_are_compared_to_the_bit():
    state = {"weights": [torch.zeros(2), (1, "a")], "seconds": 1.0}
    assert identical(state, {"weights": [torch.zeros(2), [1, "a"]], "seconds": 1.0})
    assert not identical(state, {"weights": [torch.tensor([0.0, 1e-30]), (1, "a")], "seconds": 1.0})
    assert not identical(state, {"weights": [torch.zeros(2)], "seconds": 1.0})
    assert not identical(state, state | {"more": None})
    later = state | {"seconds": 2.0}
    assert not identical(state, later)
    assert identical([state], [later], ignored=("seconds",))
