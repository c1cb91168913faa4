"""Duplicates: resized, recompressed or brightened copies are found; flipped or cropped ones are not."""

import io

import numpy as np
import PIL.Image
import pytest

from cascade_rcnn.inspection import duplicates
from cascade_rcnn.inspection.scan import SIDE, difference_hash, shades


def grouped(images):
    grey = [image.convert("L") for image in images]
    return duplicates.find(
        [str(k).encode() for k in range(len(images))],
        np.array([difference_hash(one) for one in grey], np.uint64),
        np.stack([shades(one) for one in grey]),
        np.array([(image.height, image.width) for image in images]),
    )


def compressed(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return PIL.Image.open(file)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda image: compressed(image, 30), True),
        (lambda image: image.resize((77, 58)), True),
        (lambda image: compressed(image.resize((256, 192)), 50), True),
        (lambda image: image.point(lambda value: min(255, int(value * 0.8 + 20))), True),
        (lambda image: image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT), False),
        (lambda image: image.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM), False),
        (lambda image: image.crop((30, 20, 128, 96)), False),
        (lambda image: image.resize((96, 96)), False),  # of another aspect ratio
    ],
)
def test_what_counts_as_the_same_picture(data, change, same):
    images = [data.drawing(k) for k in range(6)]
    found = grouped([*images, change(images[4])])
    assert found.near == ([[4, 6]] if same else [])


def test_pictures_that_share_colours_but_not_places_differ(data):
    """Cells on one background, as under a microscope: 60 images of 12 discs each."""
    generator, images = np.random.default_rng(0), []
    y, x = np.mgrid[:96, :128]
    for _ in range(60):
        image = np.full((96, 128, 3), (225, 205, 200), np.uint8)
        for cx, cy in generator.uniform((0, 0), (128, 96), (12, 2)):
            image[(x - cx) ** 2 + (y - cy) ** 2 < 100] = (200, 130, 130)
        images.append(PIL.Image.fromarray(image))
    assert grouped(images).near == []


def test_images_of_one_shade_are_the_same_if_the_shade_is():
    plain = [PIL.Image.new("RGB", (40, 30), (value,) * 3) for value in (10, 200, 10)]
    assert grouped(plain).near == [[0, 2]]


def test_exact_groups_are_by_digest_and_stand_for_one_image():
    same = np.zeros((4, SIDE * SIDE), np.uint8)
    found = duplicates.find([b"a", b"a", b"", b""], np.zeros(4, np.uint64), same, np.full((4, 2), 9))
    assert found == ([[0, 1]], [])  # neither the second nor unreadable images are near anything


def test_every_pair_of_up_to_seven_bits_is_found_among_many():
    generator = np.random.default_rng(1)
    hashes = generator.integers(0, 2**63, 3000, dtype=np.uint64)
    looks = generator.integers(0, 256, (3000, SIDE * SIDE), dtype=np.uint8)
    pairs = [(k, 1500 + k) for k in range(200)]
    for k, (a, b) in enumerate(pairs):
        flipped = generator.choice(64, 1 + k % 8, replace=False)  # 1 to 8 bits
        hashes[b] = hashes[a] ^ np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64))
        looks[b] = looks[a]
    found = duplicates.find([str(k).encode() for k in range(3000)], hashes, looks, np.full((3000, 2), 9))
    assert found.near == [list(pair) for k, pair in enumerate(pairs) if 1 + k % 8 <= 7]


def test_a_crowd_of_alike_hashes_does_not_hide_a_pair_or_join_others():
    """2000 images with the same hash, like blank pages, whose contents differ."""
    generator = np.random.default_rng(2)
    looks = generator.integers(0, 256, (2000, SIDE * SIDE), dtype=np.uint8)
    looks[1] = looks[0]
    found = duplicates.find(
        [str(k).encode() for k in range(2000)], np.zeros(2000, np.uint64), looks, np.full((2000, 2), 9)
    )
    assert found.near == [[0, 1]]


def test_versions_made_by_augmentation_are_known_by_their_names():
    names = ["train/a_jpg.rf.0a.jpg", "a.jpg", "valid\\a_jpg.rf.1b.jpg", "b_jpg.rf.2c.jpg", "c.rf.d_png.rf.3d.png"]
    assert duplicates.versions(names) == [[0, 2]]
    assert duplicates.versions([*names, "c.rf.d_png.rf.4e.png"]) == [[0, 2], [4, 5]]
