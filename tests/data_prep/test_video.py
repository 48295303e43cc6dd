"""Frames of videos by their numbers: those of the labels, or none."""

import pytest

from data_prep import video
from liftjax.errors import LiftjaxError
from tests.inference.films import encode, number_of, set_matrix, show_frames, write_film


def numbers_at(path, wanted) -> list[int | None]:
    found = dict(video.frames_at(path, wanted))
    assert list(found) == sorted(wanted)
    return [None if image is None else number_of(image[..., ::-1]) for image in found.values()]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mp4", "libsvtav1"), ("a.mkv", "libx264")]
)
def test_frames_are_found_by_number(tmp_path, name, codec):
    encode(tmp_path / name, 12, codec)
    assert numbers_at(tmp_path / name, [9, 0, 4, 12]) == [0, 4, 9, None]
    assert video.frame_count(tmp_path / name) == 12
    assert video.frame_size(tmp_path / name) == (64, 48)
    assert video.frame_rate(tmp_path / name) == 25


def test_frames_hidden_by_an_edit_list_have_no_number(tmp_path):
    encode(tmp_path / "a.mp4", 12, options={"bf": "0", "g": "1"})
    show_frames(tmp_path / "a.mp4", 3, 7)
    assert video.frame_count(tmp_path / "a.mp4") == 7
    assert numbers_at(tmp_path / "a.mp4", [0, 6, 7]) == [3, 9, None]


def test_counts_of_a_late_film(tmp_path):
    encode(tmp_path / "a.mkv", 12, pts=range(100, 112))
    assert video.frame_count(tmp_path / "a.mkv") == 12


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_before_a_cut_nothing_is_made_up(tmp_path, name):
    encode(tmp_path / name, 24)
    if name == "a.mp4":
        write_film(tmp_path / name, 24)  # its index is in front
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(0.9 * len(data))])
    found = numbers_at(tmp_path / name, range(24))
    whole = found.index(None)
    assert 3 <= whole <= 18
    assert found == [*range(whole), *[None] * (24 - whole)]


def test_turned_is_read_and_mirrored_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    write_film(path, 2)
    set_matrix(path, 0, 1, -1, 0)
    video.check_not_mirrored(path)
    assert video.frame_size(path) == (48, 64)
    set_matrix(path, -1, 0, 0, 1)
    with pytest.raises(LiftjaxError, match=r"a\.mp4: its display matrix mirrors the pictures"):
        video.check_not_mirrored(path)
