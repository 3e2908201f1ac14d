import cv2
import numpy as np
import pytest

from examples.nano.regions import Regions
from relo_env.errors import DataError


@pytest.fixture
def photos(tmp_path):
    """A photograph whose colours say where they are: red grows to the right, green downwards."""
    rows, columns = np.mgrid[:300, :400]
    picture = np.stack([np.full_like(rows, 128), rows * 0.8, columns * 0.6], axis=-1)
    cv2.imwrite(str(tmp_path / "photo.png"), picture.astype(np.uint8))
    return [tmp_path]


def filmed_plainly(dataset, name):
    """A video without what changes its colours."""
    film = dataset.load(name).frames
    film._noise, film._quality, film._smear = 0.0, None, np.zeros(len(film))
    film._gain, film._contrast, film._blur = (np.full(len(film), v) for v in (1.0, 1.0, 0.0))
    return film


@pytest.mark.parametrize("seed", range(5))
def test_a_box_holds_the_same_place_of_the_photograph_in_every_frame(photos, seed):
    film = filmed_plainly(Regions(photos), f"0-{seed}")
    inside = (film.boxes[:, :2] > 1).all(1)
    inside &= (film.boxes[:, :2] + film.boxes[:, 2:] < np.array([319, 239])).all(1)
    assert inside.sum() > 5
    colours = []
    for index in np.flatnonzero(inside):
        x, y, w, h = film.boxes[index]
        colours.append(film.read(int(index))[int(y + h / 2), int(x + w / 2)].astype(float))
    # The photograph spans 240 levels; perspective moves a box's middle a little off the region's.
    assert np.ptp(colours, axis=0).max() < 20


def test_the_same_name_gives_the_same_video(photos):
    first, second = (Regions(photos).load("0-7") for _ in range(2))
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.frames.read(3), second.frames.read(3))
    assert not np.array_equal(first.boxes, Regions(photos).load("0-8").boxes)


def test_draws_are_videos_of_their_own(photos):
    dataset, rng = Regions(photos, length=10), np.random.default_rng(0)
    drawn = [dataset.draw(rng) for _ in range(3)]
    assert len({sequence.name for sequence in drawn}) == 3
    assert dataset.names == ["0-0"]
    assert drawn[0].frames.read(0).shape == (240, 320, 3)
    assert (drawn[0].boxes[:, 2:] >= 1).all()


def test_no_photographs(tmp_path):
    with pytest.raises(DataError, match="photographs"):
        Regions([tmp_path])
