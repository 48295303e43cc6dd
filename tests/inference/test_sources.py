"""From what a user types to the sources behind it."""

import os

import cv2
import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.files import natural_key
from liftjax.inference.sources import CameraSource, PictureSource, VideoSource, open_sources
from tests.inference.films import write_film


def write_picture(path, shade=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 30, 3), shade, np.uint8))
    return str(path)


def opened(given, **options):
    (source,) = open_sources(given, **options)
    return source


@pytest.fixture
def folder(tmp_path):
    """Pictures 1, 2 and 10, and files that are none."""
    for number in (10, 2, 1):
        write_picture(tmp_path / "seq" / f"frame_{number}.png", shade=10 * number)
    (tmp_path / "seq" / "notes.txt").write_text("fine weather")
    (tmp_path / "seq" / "._frame_1.png").write_bytes(b"of a Mac")
    return tmp_path / "seq"


def test_natural_order():
    names = ["b2.jpg", "a10.jpg", "A9.jpg", "a9b.jpg", "a2.jpg", "10.jpg", "9.jpg", "a.jpg"]
    expected = ["9.jpg", "10.jpg", "a.jpg", "a2.jpg", "A9.jpg", "a9b.jpg", "a10.jpg", "b2.jpg"]
    assert sorted(names, key=natural_key) == expected


def test_a_picture(tmp_path):
    path = write_picture(tmp_path / "me.PNG")
    source = opened(path)
    assert (source.name, source.given, source.is_video, source.fps) == ("me", path, False, 0)
    assert len(source) == 1
    (frame,) = source.frames()
    assert (frame.index, frame.name, frame.size) == (0, "me.PNG", (30, 20))


def test_a_folder(folder):
    source = opened(str(folder))
    assert (source.name, source.is_video) == ("seq", False)
    for _ in range(2):
        frames = list(source.frames())
        assert [frame.name for frame in frames] == [f"frame_{i}.png" for i in (1, 2, 10)]
        assert [frame.index for frame in frames] == [0, 1, 2]
        assert [frame.image[0, 0, 0] for frame in frames] == [10, 20, 100]


def test_names_that_are_no_utf8_can_be_written_anywhere(tmp_path):
    os.makedirs(tmp_path / "caf\udce9")
    write_picture(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "caf\udce9" / "\udce0.png")
    source = opened(str(tmp_path / "caf\udce9"))
    assert (source.name, source.given) == ("caf%E9", str(tmp_path / "caf%E9"))
    (frame,) = source.frames()
    assert frame.name == "%E0.png"
    write_film(tmp_path / "\udce0.mp4", 2)
    source = opened(str(tmp_path / "\udce0.mp4"))
    assert (source.name, source.given) == ("%E0", str(tmp_path / "%E0.mp4"))
    assert len(list(source.frames())) == 2


def test_a_folder_of_a_videos_frames(folder):
    source = opened(str(folder), fps=12)
    assert (source.is_video, source.fps, len(source)) == (True, 12, 3)


def test_the_folder_one_is_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert opened(".").name == "seq"


def test_several_pictures_make_one_source(folder):
    given = [str(folder / f"frame_{i}.png") for i in (10, 1, 10)]
    source = opened(given)
    assert (source.name, list(source.names)) == ("pictures", ["frame_1.png", "frame_10.png"])
    assert source.given == " ".join(given)


def test_patterns(folder):
    source = opened(str(folder / "frame_?.png"))
    assert list(source.names) == ["frame_1.png", "frame_2.png"]
    with pytest.raises(LiftjaxError, match="no file matches this pattern"):
        opened(str(folder / "*.jpg"))
    odd = write_picture(folder / "a[1].png")
    assert list(opened(odd).names) == ["a[1].png"]


def test_pictures_of_the_same_name_are_told_apart(tmp_path):
    given = [write_picture(tmp_path / camera / "0001.png") for camera in ("left", "right")]
    assert list(opened(given).names) == ["left_0001.png", "right_0001.png"]


def test_videos_are_sources_of_their_own(tmp_path, folder):
    for name in ("a", "b"):
        write_film(tmp_path / name / "film.mp4", 2)
    given = [str(tmp_path / "a/film.mp4"), str(folder), str(tmp_path / "b/film.mp4")]
    sources = open_sources([*given, str(folder / "frame_1.png")])
    assert [source.name for source in sources] == ["frame_1", "film", "seq", "film_2"]
    assert [type(source) for source in sources] == [
        PictureSource,
        VideoSource,
        PictureSource,
        VideoSource,
    ]


def test_a_folder_of_videos(tmp_path):
    for name in ("b10", "b2"):
        write_film(tmp_path / "films" / f"{name}.mp4", 2)
    sources = open_sources(str(tmp_path / "films"))
    assert [source.name for source in sources] == ["b2", "b10"]


def test_a_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    camera = opened("0", record_to=tmp_path / "new.mp4")
    assert isinstance(camera, CameraSource)
    assert (camera.index, camera.path) == (0, tmp_path / "new.mp4")
    with pytest.raises(LiftjaxError, match="Several cameras"):
        open_sources(["0", "1"])
    write_picture(tmp_path / "7" / "a.png")  # a folder of this name is not camera 7
    assert opened("7").name == "7"


def test_faults(tmp_path, folder):
    cases = {
        str(folder / "frame_3.png"): r"picture is missing: .*did you mean .*frame_",
        str(tmp_path / "seqq"): r"input is missing: .*did you mean .*seq\?",
        str(folder / "notes.txt"): "by its ending neither a picture nor a video",
        "https://example.org/a.mp4": "missing",
    }
    for given, message in cases.items():
        with pytest.raises(LiftjaxError, match=message) as caught:
            opened(given)
        assert "\n" not in str(caught.value)
    (tmp_path / "photo.HEIC").write_bytes(b"x")
    with pytest.raises(LiftjaxError, match="cannot read heic files; save it as JPEG or PNG"):
        opened(str(tmp_path / "photo.HEIC"))
    with pytest.raises(LiftjaxError, match=r"no pictures or videos in this folder; .* seq"):
        opened(str(tmp_path))
    with pytest.raises(LiftjaxError, match="No input"):
        open_sources([])
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(LiftjaxError, match=r"0\.001 to 100000"):
            opened(str(folder), fps=fps)


def test_a_broken_picture_is_named_once_and_left_out(folder, capsys):
    (folder / "frame_2.png").write_bytes(b"")
    source = opened(str(folder))
    for _ in range(2):
        names = [frame.name for frame in source.frames()]
        assert [source.names[frame.index] for frame in source.frames()] == names
        assert "frame_2.png" not in names
    assert capsys.readouterr().err.count("frame_2.png: cannot be read") == 1


def test_nothing_but_broken_pictures(folder):
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(LiftjaxError, match="it is empty"):
        [*opened(str(folder)).frames()]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
def test_a_picture_one_may_not_read(folder):
    path = folder / "frame_1.png"
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("the superuser may read everything")
    with pytest.raises(LiftjaxError, match="cannot be read: Permission denied"):
        list(opened(str(path)).frames())
