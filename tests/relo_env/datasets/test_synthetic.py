"""Synthetic videos: the same everywhere, boxes that fit, options that work, errors that help."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relo_env.datasets.base import Sequence
from relo_env.datasets.synthetic import LEVELS, Synthetic
from relo_env.datasets.synthetic.actors import Actor, Look, Motion
from relo_env.datasets.synthetic.images import Images
from relo_env.datasets.synthetic.planning import MIN_VISIBLE, OPENING, plan
from relo_env.datasets.synthetic.shapes import Shape
from relo_env.errors import ConfigError, DataError, FrameError

QUIET = replace(LEVELS["easy"], distractors=(0, 0), pan=0.0, shake=0.0, defocus=0.0, noise=0.0)


def extent(mask: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of the pixels that are covered by more than half."""
    rows, columns = np.nonzero(mask > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def corners(box: np.ndarray) -> np.ndarray:
    return np.concatenate([box[:2], box[:2] + box[2:]])


def is_cutout(video: Sequence) -> bool:
    return video.frames.scene.target.look.cutout is not None


def square(motion: Motion) -> Actor:
    outline = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    shape = Shape((outline,), np.zeros((1, 2)), np.zeros(1), 1.0)
    return Actor(shape, motion, Look(0, 0), np.zeros(len(motion.centre)))


def still(centre: tuple[float, float], size: tuple[float, float], angle: float = 0.0) -> Motion:
    zeros = np.zeros((1, 2))
    return Motion(
        centre=np.array([centre]),
        size=np.array([size]),
        angle=np.array([angle]),
        tilt=zeros,
        bend=zeros,
        phase=np.zeros(1),
        waves=np.zeros(2),
    )


@pytest.fixture
def cutouts(tmp_path: Path) -> Path:
    """A red disc with a margin of transparent pixels."""
    folder = tmp_path / "cutouts"
    folder.mkdir()
    image = np.zeros((80, 100, 4), np.uint8)
    cv2.circle(image, (40, 40), 30, (0, 0, 255, 255), -1)
    cv2.imwrite(str(folder / "disc.png"), image)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "blue.png"), np.full((50, 90, 3), (200, 0, 0), np.uint8))
    return folder


class TestNames:
    def test_train_is_as_good_as_endless_and_lazy(self) -> None:
        names = Synthetic("train").names
        assert len(names) == 2**31
        assert names[0] == "train-000000"
        assert names[-1] == "train-2147483647"
        assert names[3:5] == ["train-000003", "train-000004"]
        assert names.index("train-123456789") == 123456789
        assert "train-000123" in names

    @pytest.mark.parametrize(
        "name", ["train-1", "train-0000001", "val-000001", "train-2147483648", 3]
    )
    def test_other_names_are_not_in_it(self, name: object) -> None:
        assert name not in Synthetic("train").names

    def test_unknown_name_is_refused_at_once(self) -> None:
        with pytest.raises(ConfigError, match=r"'val-001000'.*'val-000000' to 'val-000999'"):
            Synthetic("val")["val-001000"]

    def test_splits_are_disjoint(self) -> None:
        first = {split: Synthetic(split)[0].boxes for split in Synthetic.splits}
        assert not np.array_equal(first["train"], first["val"])
        assert not np.array_equal(first["val"], first["test"])
        seeds = [
            Synthetic(split).load(f"{split}-{number:06d}").frames.scene.seed
            for split in Synthetic.splits
            for number in (0, 999)
        ]
        spans = sorted(zip(seeds[::2], seeds[1::2], strict=True))
        assert all(end < start for (_, end), (start, _) in pairwise(spans))


class TestSameEverywhere:
    def test_order_and_instance_do_not_matter(self) -> None:
        forth, back = Synthetic("val")[5], Synthetic("val")["val-000005"]
        indices = [0, 50, 199]
        expected = [forth.frames.read(i) for i in indices]
        found = [back.frames.read(i) for i in reversed(indices)]
        np.testing.assert_array_equal(expected, found[::-1])
        np.testing.assert_array_equal(forth.boxes, back.boxes)

    def test_pickled_and_threaded(self) -> None:
        video = Synthetic("val", difficulty="hard")[2]
        expected = [video.frames.read(i) for i in range(8)]
        copy = pickle.loads(pickle.dumps(video))
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(list(pool.map(copy.frames.read, range(8))), expected)

    def test_data_set_survives_pickling(self, cutouts: Path, photos: Path) -> None:
        data = Synthetic("val", cutouts=cutouts, photos=photos)
        data[0].frames.read(0)
        copy = pickle.loads(pickle.dumps(data))
        np.testing.assert_array_equal(copy[0].frames.read(7), data[0].frames.read(7))

    def test_another_process(self) -> None:
        program = (
            "import hashlib; from relo_env.datasets.synthetic import Synthetic\n"
            "video = Synthetic('test', difficulty='hard')[1]\n"
            "video.frames.read(3)\n"
            "print(hashlib.sha256(video.frames.read(60).tobytes()).hexdigest())"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        frame = Synthetic("test", difficulty="hard")[1].frames.read(60)
        assert printed.strip() == hashlib.sha256(frame.tobytes()).hexdigest()

    def test_a_frame_is_fresh(self) -> None:
        frames = Synthetic("val")[0].frames
        frames.read(4)[:] = 0
        assert frames.read(4).any()


class TestFrames:
    def test_form(self) -> None:
        video = Synthetic("val", length=12, frame_size=(200, 100))[0]
        frame = video.frames.read(11)
        assert len(video) == 12
        assert frame.shape == (100, 200, 3)
        assert frame.dtype == np.uint8

    @pytest.mark.parametrize("index", [-1, 200])
    def test_no_such_frame(self, index: int) -> None:
        with pytest.raises(FrameError, match="frames 0 to 199"):
            Synthetic("val")[0].frames.read(index)

    def test_the_box_marks_the_target(self) -> None:
        # With everything else at rest, what moves between two frames lies in their two boxes.
        still_life = replace(QUIET, light=0.0, zoom=0.0, roll=0.0, compression=0.0, exposure=0.0)
        for i in range(5):
            video = Synthetic("val", difficulty=still_life)[i]
            a, b = 0, 60
            change = cv2.absdiff(video.frames.read(a), video.frames.read(b)).max(-1) > 8
            assert change.any()
            outside = change.copy()
            for x, y, w, h in video.boxes[[a, b]]:
                columns = slice(max(int(x) - 2, 0), int(np.ceil(x + w)) + 2)
                outside[max(int(y) - 2, 0) : int(np.ceil(y + h)) + 2, columns] = False
            assert not outside.any()


class TestBoxes:
    def test_square_by_hand(self) -> None:
        actor = square(still(centre=(50, 40), size=(20, 10)))
        np.testing.assert_allclose(actor.boxes((100, 100)), [[40, 35, 20, 10]])

    def test_diamond_cut_by_a_border(self) -> None:
        # A square of diagonal 40 on its corner, centred 10 px from the left border: at the border
        # it is 20 px high, its full height of 40 lies inside, its right corner is at 30.
        side = 40 / np.sqrt(2)
        actor = square(still(centre=(10, 50), size=(side, side), angle=np.pi / 4))
        np.testing.assert_allclose(actor.boxes((100, 100)), [[0, 30, 30, 40]])
        # Centred 10 px outside it shows a tip 10 px wide and 20 px high.
        actor = square(still(centre=(-10, 50), size=(side, side), angle=np.pi / 4))
        np.testing.assert_allclose(actor.boxes((100, 100)), [[0, 40, 10, 20]], atol=1e-9)

    def test_target_larger_than_the_frame_and_target_beside_it(self) -> None:
        inside = square(still(centre=(50, 50), size=(500, 500)))
        np.testing.assert_allclose(inside.boxes((100, 80)), [[0, 0, 100, 80]])
        beside = square(still(centre=(-300, 50), size=(20, 20)))
        np.testing.assert_array_equal(beside.boxes((100, 80)), np.zeros((1, 4)))

    @pytest.mark.parametrize("level", sorted(LEVELS))
    def test_tight_around_the_rendered_target(self, level: str) -> None:
        errors = []
        for video in (Synthetic("val", difficulty=level)[i] for i in range(12)):
            for index in np.flatnonzero(video.visible)[::25]:
                found = extent(video.frames.mask(int(index)))
                errors.append(np.abs(found - corners(video.boxes[index])).max())
        assert np.median(errors) < 0.8
        assert np.quantile(errors, 0.95) < 1.5
        assert max(errors) < 3

    def test_tight_around_a_cutout(self, cutouts: Path) -> None:
        data = Synthetic("val", cutouts=cutouts)
        videos = [video for video in map(data.__getitem__, range(10)) if is_cutout(video)]
        assert videos
        for video in videos:
            for index in np.flatnonzero(video.visible)[::40]:
                found = extent(video.frames.mask(int(index)))
                assert np.abs(found - corners(video.boxes[index])).max() < 2

    @settings(deadline=None)
    @given(seed=st.integers(0, 2**31 - 1), level=st.sampled_from(sorted(LEVELS)))
    def test_rules(self, seed: int, level: str) -> None:
        video = Synthetic("train", difficulty=level, length=60)[seed]
        assert video.visible[:OPENING].all()
        assert (video.boxes[~video.visible] == 0).all()
        seen = video.boxes[video.visible]
        assert (seen[:, :2] >= 0).all()
        assert (seen[:, :2] + seen[:, 2:] <= (320 + 1e-9, 240 + 1e-9)).all()
        assert (seen[:, 2:] >= 1).all()


class TestVisibility:
    def test_absent_when_out_of_the_frame_or_hidden(self) -> None:
        """The share of the target that can be seen, counted in rendered masks."""
        level = replace(QUIET, occlusions=4.0, exits=4.0)
        absent = checked = 0
        for video in (Synthetic("val", difficulty=level)[i] for i in range(6)):
            frames = video.frames
            whole = max(np.count_nonzero(frames.mask(i) > 127) for i in range(OPENING))
            for index in range(0, len(video), 10):
                seen = frames.mask(index) > 127
                for actor in frames.scene.front:
                    seen &= frames.mask(index, actor) <= 127
                share = np.count_nonzero(seen) / whole
                if not 0.3 * MIN_VISIBLE < share < 3 * MIN_VISIBLE:
                    assert video.visible[index] == (share > MIN_VISIBLE)
                    checked += 1
                    absent += not video.visible[index]
        assert checked > 60
        assert absent > 5

    def test_attributes_tell_what_happens(self) -> None:
        calm = Synthetic("val", difficulty=QUIET)
        assert not {"occlusion", "out-of-view"} & {a for i in range(20) for a in calm[i].attributes}
        wild = Synthetic("val", difficulty=replace(QUIET, occlusions=3.0, exits=3.0, scale=0.6))
        seen = {a for i in range(20) for a in wild[i].attributes}
        assert {"occlusion", "full-occlusion", "out-of-view", "scale-variation"} <= seen
        for i in range(20):
            if not wild[i].visible.all():
                assert {"out-of-view", "full-occlusion", "occlusion"} & set(wild[i].attributes)


class TestDifficulty:
    def test_harder_levels_move_more_and_show_less(self) -> None:
        steps, shown = [], []
        for level in ("easy", "medium", "hard"):
            videos = [Synthetic("val", difficulty=level)[i] for i in range(60)]
            both = [v.visible[1:] & v.visible[:-1] for v in videos]
            centres = [v.boxes[:, :2] + v.boxes[:, 2:] / 2 for v in videos]
            sizes = [np.sqrt(v.boxes[:, 2:].prod(-1)) for v in videos]
            steps.append(
                np.median(
                    [
                        np.median((np.hypot(*np.diff(c, axis=0).T)[ok]) / s[:-1][ok])
                        for c, s, ok in zip(centres, sizes, both, strict=True)
                    ]
                )
            )
            shown.append(np.mean([v.visible.mean() for v in videos]))
        assert steps[0] < steps[1] < steps[2]
        assert 0.03 < steps[1] < 0.06
        assert shown[0] > shown[1] > shown[2] > 0.7

    def test_sizes_spread_over_the_range(self) -> None:
        sizes = np.array(
            [np.sqrt(Synthetic("train", length=10)[i].boxes[0, 2:].prod()) for i in range(200)]
        )
        assert np.quantile(sizes, 0.05) < 16
        assert np.quantile(sizes, 0.95) > 90
        assert sizes.max() < 0.8 * 240

    def test_unknown_level_names_the_near_one(self) -> None:
        with pytest.raises(ConfigError, match=r"'meduim'.*'medium'"):
            Synthetic(difficulty="meduim")


class TestOwnImages:
    def test_cutouts_appear(self, cutouts: Path) -> None:
        data = Synthetic("val", difficulty=QUIET, cutouts=cutouts)
        reds = 0
        for video in (data[i] for i in range(10)):
            x, y, w, h = video.boxes[0]
            red, green, blue = video.frames.read(0)[int(y + h / 2), int(x + w / 2)].astype(int)
            reds += red > 180 and green < 60 and blue < 60
        assert 4 <= reds <= 10

    def test_masks_beside_images(self, tmp_path: Path) -> None:
        (tmp_path / "img").mkdir()
        (tmp_path / "mask").mkdir()
        mask = np.zeros((60, 60), np.uint8)
        mask[10:50, 20:40] = 255
        cv2.imwrite(str(tmp_path / "img" / "a.jpg"), np.full((60, 60, 3), 255, np.uint8))
        cv2.imwrite(str(tmp_path / "mask" / "a.png"), mask)
        data = Synthetic("val", difficulty=replace(QUIET, rotation=0.0), cutouts=tmp_path)
        proportions = [float(np.divide(*data[i].boxes[0, 2:])) for i in range(10)]
        # 20 wide and 40 high; the drawn proportion varies by some 15 %, the angle by 0.1 rad.
        assert sum(0.35 < p < 0.75 for p in proportions) >= 4

    def test_threads_and_specks_do_not_set_the_box(self, tmp_path: Path) -> None:
        image = np.zeros((100, 100, 4), np.uint8)
        image[50:90, 30:70] = 255
        image[2:50, 50] = 255
        image[20:26, 90:96] = 255
        cv2.imwrite(str(tmp_path / "kite.png"), image)
        images = Images.cutouts(tmp_path)
        assert images.cutout(0).shape == (40, 40, 4)
        assert images.shape(0).aspect == 1.0

    def test_photographs_appear(self, photos: Path) -> None:
        data = Synthetic("val", difficulty=QUIET, photos=photos)
        blues = 0
        for video in (data[i] for i in range(10)):
            red, green, blue = np.median(video.frames.read(0).reshape(-1, 3), axis=0)
            blues += blue > 150 and red < 20 and green < 20
        assert 5 <= blues <= 10

    @pytest.mark.parametrize("option", ["cutouts", "photos"])
    def test_missing_and_empty_folders(self, option: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"There is no folder .*nowhere"):
            Synthetic(**{option: tmp_path / "nowhere"})
        with pytest.raises(DataError, match="expected some"):
            Synthetic(**{option: [tmp_path]})
        with pytest.raises(DataError, match="list of image folders is empty"):
            Synthetic(**{option: []})

    def test_file_that_went_away(self, cutouts: Path) -> None:
        data = Synthetic(cutouts=cutouts)
        (cutouts / "disc.png").unlink()
        with pytest.raises(FrameError, match=r"Cannot open image .*disc\.png"):
            [data[i] for i in range(20)]

    def test_image_without_mask(self, tmp_path: Path) -> None:
        for name in ("img/a.png", "img/b.png", "mask/a.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name), np.full((9, 9), 255, np.uint8))
        with pytest.raises(DataError, match=r"b\.png has no mask"):
            Synthetic(cutouts=tmp_path)

    @pytest.mark.parametrize(
        ("image", "error", "message"),
        [
            (b"no image", FrameError, "Cannot decode image"),
            (b"", FrameError, "Cannot decode image"),
            (np.zeros((9, 9, 3), np.uint8), DataError, "expected 8-bit RGBA"),
            (np.zeros((9, 9, 4), np.uint8), DataError, "opaque"),
        ],
    )
    def test_useless_cutouts(
        self, tmp_path: Path, image: bytes | np.ndarray, error: type[Exception], message: str
    ) -> None:
        file = tmp_path / "bad.png"
        file.write_bytes(image if isinstance(image, bytes) else cv2.imencode(".png", image)[1])
        data = Synthetic(cutouts=tmp_path)
        with pytest.raises(error, match=rf"bad\.png.*{message}|{message}.*bad\.png"):
            [data[i] for i in range(20)]


@pytest.mark.parametrize("arguments", [{"length": 1}, {"frame_size": (320, 8)}, {"split": "dev"}])
def test_impossible_arguments(arguments: dict) -> None:
    with pytest.raises(ConfigError):
        Synthetic(**arguments)


def test_relatives_are_cut_outs_of_the_targets_folder(tmp_path: Path) -> None:
    for family in ("runners", "cars"):
        for number in range(4):
            image = np.full((20 + number, 20, 4), 255, np.uint8)
            (tmp_path / family).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / family / f"{number}.png"), image)
    folders = [tmp_path / "runners", tmp_path / "cars"]
    assert Images.cutouts(folders).family(5) == [4, 5, 6, 7]
    many = replace(LEVELS["hard"], distractors=(6, 6), twins=0.0, relatives=1.0)
    others = 0
    for seed in range(20):
        scene = plan(
            seed,
            level=many,
            length=12,
            frame_size=(96, 64),
            cutouts=Images.cutouts(folders),
            photos=None,
        )
        target = scene.target.look.cutout
        if target is None:
            continue
        looks = [a.look.cutout for a in (*scene.behind, *scene.front) if not a.look.screen]
        family = [look for look in looks if look is not None and look // 4 == target // 4]
        assert len(family) >= 6
        others += len(set(family) - {target})
    assert others > 0
