"""Video files: what is written comes back, whole or not at all."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.video_file import video_writer
from tests.inference.films import film_frame, number_of, write_film


def read(path) -> list[np.ndarray]:
    capture, images = cv2.VideoCapture(str(path)), []
    while (latest := capture.read())[0]:
        images.append(latest[1][:, :, ::-1])
    capture.release()
    return images


def test_frames_come_back_in_order_and_colour(tmp_path):
    write_film(tmp_path / "new" / "film.mp4", 12)
    images = read(tmp_path / "new" / "film.mp4")
    assert [number_of(image) for image in images] == list(range(12))
    for number, image in enumerate(images):
        np.testing.assert_allclose(image[4:20], film_frame(number)[4:20], atol=6)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("fps", [25, 29.97, 30000 / 1001, Fraction(24000, 1001), 7.5])
def test_rate(tmp_path, fps):
    write_film(tmp_path / "film.mp4", 3, fps=fps)
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(float(fps), rel=1e-4)


def test_odd_sizes_keep_their_pixels_in_place(tmp_path):
    write_film(tmp_path / "film.mp4", 2, size=(65, 47))
    (image, _) = read(tmp_path / "film.mp4")
    assert image.shape == (48, 66, 3)
    np.testing.assert_allclose(image[4:20, :65], film_frame(0, (65, 47))[4:20], atol=6)


def test_plays_in_browsers(tmp_path):
    """H.264, 4:2:0, colours named, the index in front of the frames."""
    path = tmp_path / "film.mp4"
    write_film(path, 3)
    with av.open(str(path)) as file:
        codec = file.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt, codec.colorspace) == ("h264", "yuv420p", 6)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "film.mp4"
    write_film(path, 5)
    with pytest.raises(ValueError, match="expected uint8"):  # noqa: PT012, SIM117
        with video_writer(path, (64, 48), 25) as append:
            append(film_frame(0))
            append(film_frame(0, (48, 64)))
    assert len(read(path)) == 5
    assert [p.name for p in tmp_path.iterdir()] == ["film.mp4"]


def test_no_frame_no_file(tmp_path):
    with (
        pytest.raises(LiftjaxError, match=r"film\.mp4: a video needs at least one frame"),
        video_writer(tmp_path / "film.mp4", (64, 48), 25),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_faults(tmp_path):
    with pytest.raises(LiftjaxError, match="more than 0"):
        write_film(tmp_path / "film.mp4", 1, fps=0)
    (tmp_path / "taken").write_text("")
    with pytest.raises(LiftjaxError, match=r"Could not write .*film\.mp4: .*choose another --out"):
        write_film(tmp_path / "taken" / "film.mp4", 1)
