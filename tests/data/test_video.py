"""Video files of many makes: the frames that a player shows."""

import av
import cv2
import numpy as np
import pytest

from liftjax.data.video import Film, is_mirrored
from liftjax.errors import LiftjaxError
from tests.inference.films import encode, film_frame, number_of, set_matrix, show_frames, write_film


def numbers(film, **options) -> list[int]:
    return [number_of(film.bgr(frame)[..., ::-1]) for frame in film.frames(**options)]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("h264.flv", "libx264", "yuv420p"),
        ("h264.ts", "libx264", "yuv420p"),
        ("av1.mp4", "libsvtav1", "yuv420p"),
        ("av1.webm", "libsvtav1", "yuv420p10le"),
        ("hevc.mp4", "libx265", "yuv420p12le"),
        ("vp8.webm", "libvpx", "yuv420p"),
        ("divx.avi", "mpeg4", "yuv420p"),
        ("lossless.mkv", "ffv1", "yuv444p"),
    ],
)
def test_codecs_and_containers(tmp_path, name, codec, pixels, capfd):
    encode(tmp_path / name, 12, codec, pixels)
    capfd.readouterr()  # some encoders talk
    film = Film(tmp_path / name)
    assert numbers(film) == list(range(12))
    assert numbers(film, until_damage=True) == list(range(12))
    assert (film.size, film.fps, film.damaged) == ((64, 48), 25, False)
    assert capfd.readouterr() == ("", "")


def test_grey_pictures(tmp_path):
    encode(tmp_path / "grey.mkv", 2, "ffv1", "gray")
    (first, _) = (Film(tmp_path / "grey.mkv").bgr(f) for f in Film(tmp_path / "grey.mkv").frames())
    assert first.shape == (48, 64, 3)
    assert (first == first[..., :1]).all()


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_pixels_are_those_of_opencv(tmp_path, matrix, pixels):
    """Data sets built with it stay the same."""
    if matrix == "bt709" and (int(av.__version__.split(".")[0]) < 17 or cv2.__version__[0] < "5"):
        pytest.skip("older ones take BT.709 for BT.601")
    options = {"x264-params": f"colormatrix={matrix}:colorprim={matrix}:transfer={matrix}"}
    encode(tmp_path / "film.mp4", 5, pixels=pixels, options=options)
    film, capture = Film(tmp_path / "film.mp4"), cv2.VideoCapture(str(tmp_path / "film.mp4"))
    for frame in film.frames():
        np.testing.assert_array_equal(film.bgr(frame), capture.read()[1])
    assert not capture.read()[0]


# a, b, c, d: x' = a x + c y, y' = b x + d y; and what becomes of the picture
SHOWN = {
    "as stored": ((1, 0, 0, 1), lambda image: image),
    "turned right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "turned left": ((0, -1, 1, 0), np.rot90),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "mirrored upside down": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    "transposed and turned": ((0, -1, -1, 0), lambda image: image[::-1, ::-1].swapaxes(0, 1)),
    "larger": ((2, 0, 0, 2), lambda image: image),  # players have sizes of their own
    "of nothing": ((0, 0, 0, 0), lambda image: image),  # a careless program's
}


@pytest.mark.parametrize("name", SHOWN)
def test_display_matrices(tmp_path, name):
    matrix, shown = SHOWN[name]
    path = tmp_path / "film.mp4"
    image = np.zeros((48, 64, 3), np.uint8)  # four different corners
    image[:24, :32], image[:24, 32:], image[24:, :32] = (0, 0, 200), (0, 200, 0), (200, 0, 0)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.options = {"crf": "4"}
        file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        file.mux(stream.encode(None))
    set_matrix(path, *matrix)
    film = Film(path)
    (frame,) = film.frames()
    np.testing.assert_allclose(film.bgr(frame).astype(int), shown(image), atol=12)
    assert is_mirrored(frame) == ("mirrored" in name or "transposed" in name)


def test_an_oblique_matrix_is_refused(tmp_path):
    write_film(tmp_path / "film.mp4", 2)
    set_matrix(tmp_path / "film.mp4", 0.8, 0.6, -0.6, 0.8)
    film = Film(tmp_path / "film.mp4")
    with pytest.raises(LiftjaxError, match=r"film\.mp4: its display matrix turns .* quarter turns"):
        film.bgr(next(film.frames()))


def test_an_edit_list_hides_frames(tmp_path):
    encode(tmp_path / "film.mp4", 12, options={"bf": "0", "g": "1"})
    show_frames(tmp_path / "film.mp4", 3, 7)
    film = Film(tmp_path / "film.mp4")
    assert numbers(film) == list(range(3, 10))
    assert (film.counted, film.damaged) == (False, False)


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.flv"])
def test_a_film_may_begin_late(tmp_path, name):
    encode(tmp_path / name, 12, pts=range(100, 112))
    film = Film(tmp_path / name)
    assert numbers(film) == list(range(12))
    assert not film.damaged


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.mp4", "libx264")])
def test_rates_may_vary(tmp_path, name, codec):
    times = [0, 40, 80, 500, 540, 580, 620, 2000, 2040, 2080, 2120, 2160]
    encode(tmp_path / name, 12, codec, pts=times, ms=1)
    film = Film(tmp_path / name)
    assert numbers(film) == list(range(12))
    assert (film.counted, film.damaged) == (name == "a.mp4", False)


def test_a_stream_may_begin_between_key_frames(tmp_path):
    """As what a receiver records."""
    encode(tmp_path / "film.ts", 24, options={"g": "8", "bf": "0"})
    data = (tmp_path / "film.ts").read_bytes()
    starts = range(0, len(data), 188)
    pictures = [at for at in starts if data[at + 1] == 0x41 and data[at + 2] == 0]
    (tmp_path / "film.ts").write_bytes(data[: 188 * 3] + data[pictures[4] :])
    film = Film(tmp_path / "film.ts")
    assert numbers(film)[-16:] == list(range(8, 24))
    assert not film.damaged


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.webm"])
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_film_cut_short_is_damaged(tmp_path, name, share):
    path = tmp_path / name
    if name == "film.mp4":
        write_film(path, 24)  # its index is in front
    else:
        encode(path, 24, "libvpx" if name == "film.webm" else "libx264")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    film = Film(path)
    assert len(numbers(film)) < 24
    assert film.damaged
    assert len(numbers(film, until_damage=True)) < 24
    assert film.damaged


def test_a_broken_frame_ends_what_can_be_numbered(tmp_path):
    path = tmp_path / "film.avi"
    encode(path, 12, "mjpeg", "yuvj422p")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    data[starts[6] : starts[7] - 8] = bytes(starts[7] - 8 - starts[6])
    path.write_bytes(data)
    film = Film(path)
    assert numbers(film, until_damage=True) == list(range(6))
    assert film.damaged
    assert numbers(film) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert film.damaged


@pytest.mark.parametrize("trailer", [b"made by a camera of mine", bytes(64)])
def test_what_cameras_write_behind_the_film_is_no_damage(tmp_path, trailer):
    write_film(tmp_path / "film.mp4", 5)
    with (tmp_path / "film.mp4").open("ab") as file:
        file.write(trailer)
    film = Film(tmp_path / "film.mp4")
    assert numbers(film) == list(range(5))
    assert not film.damaged


def test_files_without_a_video(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 44100
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with pytest.raises(LiftjaxError, match=r"sound\.mp4: has no video, only sound"):
        Film(path)
    write_film(path, 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(LiftjaxError, match=r"sound\.mp4: no decoder for its video codec"):
        Film(path)


def test_a_name_that_is_no_utf8(tmp_path):
    write_film(tmp_path / "caf\udce9.mp4", 3)
    assert numbers(Film(tmp_path / "caf\udce9.mp4")) == [0, 1, 2]
    assert film_frame(2)[0, 0, 0] == 32
