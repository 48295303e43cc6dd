"""Videos, whole and broken, and a camera that is none."""

import functools

import av
import cv2
import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference import footage
from liftjax.inference.footage import CameraSource, VideoSource
from tests.inference.films import (
    encode,
    film_frame,
    number_of,
    set_matrix,
    show_frames,
    write_film,
)


@pytest.fixture
def film(tmp_path):
    write_film(tmp_path / "film.mp4", 20)
    return tmp_path / "film.mp4"


def test_a_video(film, capfd):
    video = VideoSource(film)
    assert (video.name, video.given, video.is_video) == ("film", str(film), True)
    assert (len(video), video.fps) == (20, 25)
    for _ in range(2):  # each time from the start
        frames = list(video.frames())
        assert [frame.index for frame in frames] == list(range(20))
        assert [frame.name for frame in frames] == [str(i) for i in range(20)]
        assert [number_of(frame.image) for frame in frames] == list(range(20))
    assert frames[0].image.dtype == np.uint8
    assert frames[0].size == (64, 48)
    np.testing.assert_allclose(frames[9].image[5, 5], film_frame(9)[5, 5], atol=6)  # RGB
    assert capfd.readouterr() == ("", "")


def test_a_count_that_is_estimated_is_known_as_such(film):
    assert VideoSource(film).counted
    with av.open(str(film)) as source, av.open(str(film.with_suffix(".ts")), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    video = VideoSource(film.with_suffix(".ts"))
    assert not video.counted
    assert len(list(video.frames())) == 20


def test_a_name_with_a_colon(film, monkeypatch):
    monkeypatch.chdir(film.parent)
    film.rename("2024-01-05T12:30:00.mp4")
    assert len(list(VideoSource("2024-01-05T12:30:00.mp4").frames())) == 20


def test_reading_may_end_early(film):
    frames = VideoSource(film).frames()
    next(frames)
    frames.close()


def test_rate_by_hand(film):
    assert VideoSource(film, fps=12.5).fps == 12.5


def test_rotation_of_phones(film):
    """A film held upright is stored lying, and the file says so: here by a quarter turn right."""
    data = film.read_bytes()
    header = data.index(b"tkhd") + 4
    matrix = header + 40  # version 0: 4 + 5 * 4 + 8 + 4 * 2 bytes before it
    one = 1 << 16
    assert int.from_bytes(data[matrix : matrix + 4], "big") == one
    turned = (0, one, 0, -one, 0, 0, 48 * one, 0, 1 << 30)
    turned = b"".join(number.to_bytes(4, "big", signed=True) for number in turned)
    film.write_bytes(data[:matrix] + turned + data[matrix + 36 :])
    frame = next(VideoSource(film).frames())
    assert frame.size == (48, 64)
    expected = np.rot90(film_frame(0), -1)
    np.testing.assert_allclose(frame.image[:, 40:], expected[:, 40:], atol=6)
    np.testing.assert_allclose(frame.image[:, :8], expected[:, :8], atol=6)


def test_mirrored_films_of_front_cameras(film):
    set_matrix(film, 0, 1, 1, 0)
    frame = next(VideoSource(film).frames())
    assert frame.size == (48, 64)
    np.testing.assert_allclose(frame.image[:, :20], film_frame(0)[:20].swapaxes(0, 1), atol=6)
    set_matrix(film, 1, 0, 0, -1)
    frame = next(VideoSource(film).frames())
    np.testing.assert_allclose(frame.image[28:], film_frame(0)[:20], atol=6)  # no red and blue


@pytest.mark.parametrize("name", ["trimmed.mp4", "late.mkv", "live.flv", "av1.webm"])
def test_whole_films_are_not_called_broken(tmp_path, name, capfd):
    options = {"bf": "0", "g": "1"} if name == "trimmed.mp4" else {}
    codec = "libsvtav1" if name == "av1.webm" else "libx264"
    encode(tmp_path / name, 12, codec, options=options, pts=range(100, 112))
    if name == "trimmed.mp4":
        encode(tmp_path / name, 12, options=options)
        show_frames(tmp_path / name, 3, 7)
    capfd.readouterr()  # some encoders talk
    numbers = [number_of(frame.image) for frame in VideoSource(tmp_path / name).frames()]
    assert numbers == list(range(3, 10) if name == "trimmed.mp4" else range(12))
    assert capfd.readouterr() == ("", "")


def test_a_matroska_film_cut_short(tmp_path, capfd):
    """It states no number of frames, but its length."""
    encode(tmp_path / "film.mkv", 24)
    data = (tmp_path / "film.mkv").read_bytes()
    (tmp_path / "film.mkv").write_bytes(data[: int(0.9 * len(data))])
    count = len(list(VideoSource(tmp_path / "film.mkv").frames()))
    assert 3 <= count < 24
    assert f"film.mkv: {count} frames could be read; the file is cut" in capfd.readouterr().err


def test_cut_short(film, capfd):
    """With the index in front there are frames up to the cut."""
    data = film.read_bytes()
    film.write_bytes(data[: int(0.9 * len(data))])
    video = VideoSource(film)
    for _ in range(2):  # it is told once
        numbers = [number_of(frame.image) for frame in video.frames()]
    assert 3 <= len(numbers) <= 16
    assert numbers == list(range(len(numbers)))
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert f"film.mp4: {len(numbers)} of 20 frames could be read" in printed.err


def test_counts_may_be_estimates(film, capfd):
    video = VideoSource(film)
    video._count = 22
    assert len(list(video.frames())) == 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no video" * 1000, None])
def test_files_that_are_no_videos(film, content, capfd):
    """None: the index, which cameras write last, is missing."""
    if content is None:
        data = film.read_bytes()
        content = data[: data.index(b"moov") - 4] + data[data.index(b"mdat") - 4 :]
    film.write_bytes(content)
    with pytest.raises(LiftjaxError, match=r"film\.mp4: (cannot be read as a video|0 frames)"):
        VideoSource(film)
    assert capfd.readouterr() == ("", "")


def test_missing_video(film):
    with pytest.raises(LiftjaxError, match=r"video is missing: .*fylm\.mp4.*mean .*film\.mp4\?"):
        VideoSource(film.with_name("fylm.mp4"))


class FakeCamera:
    """Gives frames with their numbers; Ctrl-C is pressed, or the plug pulled, after some."""

    warm_up = 10  # frames: a second at the rate it states

    def __init__(self, frames, unplugged=False, opened=True):
        self.left, self.unplugged, self.opened = frames + self.warm_up, unplugged, opened
        self.number, self.seconds, self.released = -self.warm_up, 0.0, False

    def isOpened(self):
        return self.opened

    def get(self, what):
        return float(self.warm_up) if what == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        if self.left == 0 and self.unplugged:
            return False, None
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.number, self.seconds = self.number + 1, self.seconds + 0.25
        return True, film_frame(max(self.number - 1, 0))[..., ::-1].copy()

    def release(self):
        self.released = True


@pytest.fixture
def plug_in(monkeypatch):
    """Makes a camera the machine's first one."""
    real = cv2.VideoCapture

    def plug(camera):
        monkeypatch.setattr(
            footage.cv2,
            "VideoCapture",
            lambda what: camera if isinstance(what, int) else real(what),
        )
        return camera

    return plug


@pytest.mark.parametrize("unplugged", [False, True])
def test_a_camera_records_until_it_is_stopped(tmp_path, plug_in, monkeypatch, unplugged):
    # The recording does not depend on its progress bar.
    monkeypatch.setattr(footage, "tqdm", functools.partial(footage.tqdm, disable=unplugged))
    fake = plug_in(FakeCamera(7, unplugged))
    monkeypatch.setattr(footage.time, "perf_counter", lambda: fake.number / FakeCamera.warm_up)
    camera = CameraSource(0, tmp_path / "out")
    assert (camera.name, camera.given, camera.is_video) == ("camera_0", "0", True)
    assert (len(camera), camera.fps) == (0, 0)
    for _ in range(2):  # the second time from the file
        frames = list(camera.frames())
        assert [number_of(frame.image) for frame in frames] == list(range(7))
    assert fake.released
    assert (len(camera), camera.fps) == (7, FakeCamera.warm_up)
    assert camera.path == tmp_path / "out" / "camera_0_recording.mp4"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["camera_0_recording.mp4"]


def test_the_recording_has_the_rate_measured(tmp_path, plug_in, monkeypatch):
    """The camera gives 4 frames a second where it promises 10."""
    fake = plug_in(FakeCamera(7))
    monkeypatch.setattr(footage.time, "perf_counter", lambda: fake.seconds)
    camera = CameraSource(0, tmp_path / "film.mp4")
    next(camera.frames())
    assert camera.fps == 4


def test_cameras_that_give_nothing(tmp_path, plug_in):
    plug_in(FakeCamera(0, opened=False))
    with pytest.raises(LiftjaxError, match="Camera 0 cannot be opened"):
        next(CameraSource(0, tmp_path).frames())
    plug_in(FakeCamera(-5))
    with pytest.raises(LiftjaxError, match="gave no frame"):
        next(CameraSource(0, tmp_path).frames())
    plug_in(FakeCamera(-10, unplugged=True))
    with pytest.raises(LiftjaxError, match="gave no frame"):
        next(CameraSource(0, tmp_path).frames())
    assert not list(tmp_path.iterdir())
