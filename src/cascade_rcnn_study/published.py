"""The numbers of the paper, with AP in percent. Tables 1 to 4 are for FPN+ with ResNet-50 on COCO val2017.

Table 6 is as the authors published it: the columns for COCO val, seconds per image on a Titan Xp, MiB of fp32 weights.
"""

from typing import TypeAlias

Numbers: TypeAlias = dict[str, float]

ABLATION = ("ap", "ap50", "ap60", "ap70", "ap80", "ap90")  # columns of Tables 1 to 4
OVERVIEW = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")  # columns of Tables 5 and 6
COST = ("train", "test", "size")
MASKS = ("ap", "ap50", "ap75", "masks_ap", "masks_ap50", "masks_ap75")  # columns of the table of masks


def _ablation(*values: float) -> Numbers:
    return dict(zip(ABLATION, values, strict=True))


BASELINE = _ablation(34.9, 57.0, 51.9, 43.6, 29.7, 7.1)
CASCADE = _ablation(38.9, 57.8, 53.4, 46.9, 35.8, 15.8)

TABLE1 = {
    "baseline": BASELINE,
    "iterative": _ablation(35.4, 57.2, 52.1, 44.2, 30.4, 8.1),
    "integral": _ablation(35.4, 57.3, 52.5, 44.4, 29.9, 6.9),
    "cascade": CASCADE,
}
TABLE2 = {
    "1": _ablation(35.5, 57.2, 52.4, 44.1, 30.5, 8.1),
    "2": _ablation(38.3, 57.9, 53.4, 46.4, 35.2, 14.2),
    "3": _ablation(38.3, 56.6, 52.2, 46.3, 35.7, 15.9),
    "1~2": _ablation(38.5, 58.2, 53.8, 46.7, 35.0, 14.0),
    "1~3": CASCADE,
    "baseline": BASELINE,
}
TABLE3 = {  # (IoU up, stat)
    (False, False): _ablation(36.8, 57.8, 52.9, 45.4, 32.0, 10.7),
    (True, False): _ablation(38.5, 58.4, 54.1, 47.1, 35.0, 13.1),
    (False, True): _ablation(37.5, 57.8, 53.1, 45.5, 33.3, 13.1),
    (True, True): CASCADE,
}
TABLE4 = {  # (stages, test stage)
    (1, "1"): BASELINE,
    (2, "1~2"): _ablation(38.2, 58.0, 53.6, 46.7, 34.6, 13.6),
    (3, "1~3"): CASCADE,
    (4, "1~3"): _ablation(38.9, 57.4, 53.2, 46.8, 36.0, 16.0),
    (4, "1~4"): _ablation(38.6, 57.2, 52.8, 46.2, 35.5, 16.3),
}


def _overview(*values: float) -> Numbers:
    return dict(zip(OVERVIEW, values, strict=True))


TABLE5 = {  # (detector, backbone), on COCO test-dev
    ("YOLOv2", "DarkNet-19"): _overview(21.6, 44.0, 19.2, 5.0, 22.4, 35.5),
    ("SSD513", "ResNet-101"): _overview(31.2, 50.4, 33.3, 10.2, 34.5, 49.8),
    ("RetinaNet", "ResNet-101"): _overview(39.1, 59.1, 42.3, 21.8, 42.7, 50.2),
    ("Faster R-CNN+++", "ResNet-101"): _overview(34.9, 55.7, 37.4, 15.6, 38.7, 50.9),
    ("Faster R-CNN w FPN", "ResNet-101"): _overview(36.2, 59.1, 39.0, 18.2, 39.0, 48.2),
    ("Faster R-CNN w FPN+", "ResNet-101"): _overview(38.8, 61.1, 41.9, 21.3, 41.8, 49.8),
    ("Faster R-CNN by G-RMI", "Inception-ResNet-v2"): _overview(34.7, 55.5, 36.7, 13.5, 38.1, 52.0),
    ("Deformable R-FCN", "Aligned-Inception-ResNet"): _overview(37.5, 58.0, 40.8, 19.4, 40.1, 52.5),
    ("Mask R-CNN", "ResNet-101"): _overview(38.2, 60.3, 41.7, 20.1, 41.1, 50.2),
    ("AttractioNet", "VGG16 + Wide ResNet"): _overview(35.7, 53.4, 39.3, 15.6, 38.0, 52.7),
    ("Cascade R-CNN", "ResNet-101"): _overview(42.8, 62.1, 46.3, 23.7, 45.5, 55.2),
}


def _row(*values: float) -> Numbers:
    return dict(zip((*COST, *OVERVIEW), values, strict=True))


TABLE6 = {  # (baseline detector, backbone, with cascade)
    ("Faster R-CNN", "VGG", False): _row(0.12, 0.075, 278, 23.6, 43.9, 23.0, 8.0, 26.2, 35.5),
    ("Faster R-CNN", "VGG", True): _row(0.14, 0.115, 704, 27.0, 44.2, 27.7, 8.6, 29.1, 42.2),
    ("R-FCN", "ResNet-50", False): _row(0.19, 0.07, 133, 27.0, 48.7, 26.9, 9.8, 30.9, 40.3),
    ("R-FCN", "ResNet-50", True): _row(0.24, 0.075, 184, 31.1, 49.8, 32.8, 10.4, 34.4, 48.5),
    ("R-FCN", "ResNet-101", False): _row(0.23, 0.075, 206, 30.3, 52.2, 30.8, 12.0, 34.7, 44.3),
    ("R-FCN", "ResNet-101", True): _row(0.29, 0.083, 256, 33.3, 52.0, 35.2, 11.8, 37.2, 51.1),
    ("FPN+", "ResNet-50", False): _row(0.30, 0.095, 165, 36.5, 58.6, 39.2, 20.8, 40.0, 47.8),
    ("FPN+", "ResNet-50", True): _row(0.33, 0.115, 272, 40.3, 59.4, 43.7, 22.9, 43.7, 54.1),
    ("FPN+", "ResNet-101", False): _row(0.38, 0.115, 238, 38.5, 60.6, 41.7, 22.1, 41.9, 51.1),
    ("FPN+", "ResNet-101", True): _row(0.41, 0.14, 345, 42.7, 61.6, 46.6, 23.8, 46.2, 57.4),
}
