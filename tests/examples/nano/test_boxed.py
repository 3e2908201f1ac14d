import cv2
import numpy as np
import pytest

from examples.nano.boxed import Boxed, paste_beside, read_boxes
from relo_env.errors import DataError
from tests.relo_env.datasets.layouts import write


def boxed_folder(path, lines: str):
    rng = np.random.default_rng(0)
    for name, colour in (("a.png", 60), ("b.png", 200)):
        image = rng.integers(0, 40, (120, 160, 3), np.uint8) + colour
        write(path / "img" / name, cv2.imencode(".png", image.astype(np.uint8))[1].tobytes())
    write(path / "boxes.txt", lines)
    return path


@pytest.fixture
def boxed(tmp_path):
    lines = (
        "a.png,10,20,30,24,dog\nb.png,50,40,40,40,dog\nb.png,5,5,9,9,dog\na.png,90,60,30,20,cat\n"
    )
    return Boxed([boxed_folder(tmp_path, lines)], length=12, frame_size=(96, 64))


def test_every_box_that_is_large_enough_is_a_target(boxed):
    assert [(i.kind, i.box[2]) for i in boxed.instances] == [("dog", 30), ("dog", 40), ("cat", 30)]
    assert boxed.families == {"dog": [0, 1], "cat": [2]}
    video = boxed.load("1-3")
    assert len(video) == 12
    assert video.frames.read(0).shape == (64, 96, 3)
    assert (video.boxes[:, :2] >= 0).all()
    assert (video.boxes[:, :2] + video.boxes[:, 2:] <= (96, 64)).all()


def test_a_name_gives_the_same_pixels_whenever_they_are_read(boxed):
    one, other = boxed.load("0-7"), boxed.load("0-7")
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(other.frames.read(5), other.frames.read(5))
    np.testing.assert_array_equal(one.frames.read(5), other.frames.read(5))
    drawn = [boxed.draw(np.random.default_rng(seed)).name for seed in range(8)]
    assert len(set(drawn)) > 1


def test_what_is_pasted_lies_beside_the_target():
    changed = np.zeros((100, 100), bool)
    for seed in range(30):
        photo = np.zeros((100, 100, 3), np.uint8)
        patch = np.full((20, 20, 3), 255, np.uint8)
        paste_beside(photo, patch, np.array([40.0, 40, 20, 20]), np.random.default_rng(seed))
        changed |= photo.any(-1)
    assert not changed[40:60, 40:60].any()
    assert changed[:40].any()
    assert changed[:, 60:].any()


def test_other_instances_of_the_class_come_beside_the_target(boxed):
    plain = boxed.photos.photo(boxed.instances[0].photo)
    pasted = [boxed.load(f"0-{seed}").frames._photo for seed in range(12)]
    changed = [photo for photo in pasted if (photo != plain).any()]
    assert changed
    x, y, w, h = boxed.instances[0].box.astype(int)
    for photo in pasted:
        np.testing.assert_array_equal(photo[y : y + h, x : x + w], plain[y : y + h, x : x + w])


def test_lines_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no .*boxes\.txt"):
        read_boxes(tmp_path)
    with pytest.raises(DataError, match=r"boxes\.txt, line 2: 'b\.png,1,2,dog'"):
        read_boxes(boxed_folder(tmp_path, "a.png,1,2,3,4,dog\nb.png,1,2,dog\n"))
