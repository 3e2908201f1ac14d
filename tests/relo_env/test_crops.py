import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relo_env import boxes as bx
from relo_env.crops import SearchWindow
from relo_env.errors import ConfigError

coordinate = st.floats(-300, 300, allow_nan=False)
side = st.floats(1.0, 200, allow_nan=False)
box = st.tuples(coordinate, coordinate, side, side).map(np.array)


@given(box, box, st.sampled_from([64, 128, 256]))
def test_a_box_goes_into_the_crop_and_back_exactly(anchor, target, size):
    window = SearchWindow.around(anchor, 4.0, size)
    np.testing.assert_allclose(window.to_image(window.to_crop(target)), target, atol=1e-9)


def test_the_anchor_lies_in_the_middle_of_its_window():
    window = SearchWindow.around(np.array([10.0, 20.0, 16.0, 4.0]), 4.0, 64)
    # side = 4 * sqrt(64) = 32, twice as large in the crop
    assert window.side == 32.0
    assert window.scale == 2.0
    np.testing.assert_allclose(window.to_crop(np.array([10.0, 20, 16, 4])), [0.5, 0.5, 0.5, 0.125])


def test_crop_pixels_are_where_the_geometry_says():
    frame = np.zeros((90, 120, 3), np.uint8)
    frame[30:46, 40:56] = 255
    window = SearchWindow.around(np.array([40.0, 30.0, 16.0, 16.0]), 4.0, 128)
    bright = np.argwhere(window.extract(frame)[..., 0] > 127)
    (top, left), (bottom, right) = bright.min(0), bright.max(0) + 1
    cx, cy, w, h = window.to_crop(np.array([40.0, 30.0, 16.0, 16.0])) * 128
    assert (left, top) == (cx - w / 2, cy - h / 2)
    assert (right, bottom) == (cx + w / 2, cy + h / 2)


def test_a_window_outside_the_frame_is_black():
    frame = np.full((50, 60, 3), 200, np.uint8)
    for official in (False, True):
        window = SearchWindow.around(np.array([900.0, -700.0, 20, 20]), 4.0, 32, official)
        assert not window.extract(frame).any()


@pytest.mark.parametrize("official", [False, True])
def test_a_mirrored_crop_is_the_crop_of_the_mirrored_frame(official):
    frame = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    window = SearchWindow.around(np.array([31.3, 12.7, 20.0, 25.0]), 4.0, 64, official)
    mirrored = window.extract(np.ascontiguousarray(frame[:, ::-1]))
    difference = window.extract(frame, mirror=True).astype(int) - mirrored
    assert np.abs(difference).max() <= 1  # rounding of the interpolation


@pytest.mark.parametrize(
    "bad", [[0, 0, 0, 10], [0, 0, 0.1, 0.1], [np.nan, 0, 10, 10], [0, 0, np.inf, 10], [0, 0, -4, 9]]
)
def test_a_box_without_a_window_is_refused(bad):
    with pytest.raises(ConfigError, match="No search window around box"):
        SearchWindow.around(np.array(bad, float), 4.0, 64)


def test_official_geometry_keeps_its_faults():
    box = np.array([40.0, 30.0, 20.0, 16.0])
    window = SearchWindow.around(box, 4.0, 64, official=True)
    assert window.side == 72.0  # ceil(4 * sqrt(320) = 71.55)
    cx, cy, w, h = window.to_crop(box)
    np.testing.assert_allclose([cx, cy], 0.5)
    assert w == pytest.approx(20 * (64 / 72) / 63)  # divided by S - 1 ...
    assert window.to_image(np.array([cx, cy, w, h]))[2] == pytest.approx(
        20 * 64 / 63
    )  # ... times S


def test_an_official_crop_that_just_fits_loses_its_last_row_and_column():
    frame = np.full((64, 64, 3), 255, np.uint8)
    crop = SearchWindow.around(np.array([24.0, 24, 16, 16]), 4.0, 64, official=True).extract(frame)
    assert (crop[:63, :63] == 255).all()
    assert not crop[63].any()
    assert not crop[:, 63].any()


def test_official_crops_and_maps_equal_the_goldens(shared):
    golden = np.load(shared / "official" / "golden_misc.npz")
    noise = np.random.default_rng(zlib.crc32(b"misc.image"))
    frame = noise.integers(0, 256, (97, 131, 3), np.int64).astype(np.uint8)
    for j, box in enumerate(golden["crop/boxes"]):
        for k, (factor, size) in enumerate([(2.0, 32), (4.0, 64)]):
            window = SearchWindow.around(box, factor, size, official=True)
            np.testing.assert_array_equal(window.extract(frame), golden[f"crop/{2 * j + k}"])
            assert window.scale == golden["crop/resize_factor"][2 * j + k]
        crop_box = bx.cxcywh_to_xywh(window.to_crop(golden["gt2crop/gt"][j]))
        np.testing.assert_array_equal(crop_box.astype(np.float32), golden["gt2crop/out"][j])
        mapped = window.to_image(golden["mapback/pred"][j])
        np.testing.assert_array_equal(mapped, golden["mapback/box"][j])
        clipped = bx.clip(mapped, (131, 97))
        np.testing.assert_array_equal(clipped, golden["mapback/clipped"][j])
