"""Small videos whose frames tell their numbers."""

from fractions import Fraction

import av
import numpy as np
import pytest

from liftjax.inference.video_file import video_writer

_STEP = 8  # grey levels between frames, more than compression changes


def film_frame(number: int, size=(64, 48)) -> np.ndarray:
    """(H, W, 3) uint8, red and darker below the middle; number < 30."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[: size[1] // 2, :, 0] = image[size[1] // 2 :, :, 2] = 16 + _STEP * number
    return image


def number_of(image: np.ndarray) -> int:
    """The number of a frame, from the upper part's red."""
    return round((float(image[: image.shape[0] // 3, :, 0].mean()) - 16) / _STEP)


def write_film(path, count: int, size=(64, 48), fps=25) -> None:
    with video_writer(path, size, fps) as append:
        for number in range(count):
            append(film_frame(number, size))


def encode(path, count: int, codec="libx264", pixels="yuv420p", options=None, pts=None, ms=40):
    """A film by any of FFmpeg's encoders, its frames at times `pts` of so many milliseconds."""
    if codec not in av.codecs_available:
        pytest.skip(f"FFmpeg has no {codec} here")
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        fine = {"libvpx": {"b": "4M", "crf": "4"}}.get(codec, {})  # else frames look alike
        stream.options, stream.codec_context.time_base = fine | (options or {}), Fraction(ms, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(film_frame(number), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = pts[number] if pts else number, Fraction(ms, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def set_matrix(path, a, b, c, d) -> None:
    """Has an MP4 file say that its pixels (x, y) are shown at (a x + c y, b x + d y)."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44  # version 0: 4 + 4 + 5 * 4 + 8 + 4 * 2 bytes before it
    one = 1 << 16
    numbers = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    matrix = b"".join(round(number).to_bytes(4, "big", signed=True) for number in numbers)
    path.write_bytes(data[:at] + matrix + data[at + 36 :])


def show_frames(path, first: int, count: int) -> None:
    """Has an MP4 file of 25 frames a second, none of them B, show these alone, by its edit list."""
    data = path.read_bytes()
    at, header = data.index(b"elst") + 12, data.index(b"mdhd") + 16
    scale = int.from_bytes(data[header : header + 4], "big")
    times = (1000 * count // 25).to_bytes(4, "big") + (scale * first // 25).to_bytes(4, "big")
    path.write_bytes(data[:at] + times + data[at + 8 :])
