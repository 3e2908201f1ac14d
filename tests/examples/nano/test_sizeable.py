"""A data set without its smallest targets."""

import pytest

from examples.nano.sizeable import Sizeable
from relo_env.errors import DataError
from tests.toys import Squares, square_video


class OneVideo(Squares):
    """A square of 20 x 16 px that is 4 x 4 px in its first ten frames."""

    def __init__(self) -> None:
        super().__init__(count=1)
        video = square_video(length=50)
        video.boxes[:10, 2:] = 4.0
        self.videos = {video.name: video}


def test_small_targets_count_as_absent():
    (sequence,) = Sizeable(OneVideo(), least=8.0)
    assert not sequence.visible[:10].any()
    assert not sequence.boxes[:10].any()
    assert sequence.visible[10:].all()


@pytest.mark.parametrize("options", [{"least": 8.0, "frames": 41}, {"least": 100.0}])
def test_sequences_with_few_large_targets_are_left_out(options):
    with pytest.raises(DataError, match=f"targets of {options['least']:g}"):
        Sizeable(OneVideo(), **options)
