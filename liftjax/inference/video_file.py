"""Writes H.264 video that browsers, players and OpenCV read."""

import contextlib
import os
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from liftjax.errors import LiftjaxError, needs
from liftjax.writing import output_file

with needs("Writing videos", "PyAV", "liftjax[video]"):
    import av

_CRF = 20  # quality: hardly distinguishable from the original, lines and small print stay sharp
# The file says how its colours are coded. Readers that do not ask assume the same, those that ask
# get it right at any frame size.
_BT601, _LIMITED_RANGE = 6, 1


@contextlib.contextmanager
def video_writer(
    path, size: tuple[int, int], fps: float | Fraction
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes an MP4 file in constant memory; gives a function that appends a frame.

    Frames are (H, W, 3) uint8 RGB. The file is there when the block ends, and only if it ends
    without an exception. The codec has no odd sizes: these grow by one column or row that repeats
    the last one, so that pixels keep their coordinates.

    Args:
      path: ends in .mp4; its folder is made.
      size: (width, height) of the frames.
      fps: frames a second.

    Raises:
      LiftjaxError: `fps` is not above 0, no frame came, or the system refuses to write.
    """
    width, height = map(int, size)
    rate = Fraction(fps).limit_denominator(1001)  # 29.97 is 30000 / 1001
    if rate <= 0:
        raise LiftjaxError(f"{path}: {fps} frames a second; a video needs more than 0.")
    count = 0

    def append(image: np.ndarray) -> None:
        nonlocal count
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"A frame is {image.dtype} {image.shape}, expected uint8 {(height, width, 3)}."
            )
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
        frame.pts, frame.time_base = count, 1 / rate
        container.mux(stream.encode(frame))
        count += 1

    options = {"movflags": "+faststart"}
    with (
        output_file(path) as partial,
        # An absolute path: FFmpeg would take a colon in a relative one for a protocol.
        av.open(os.path.abspath(partial), "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(_CRF)}
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.colorspace = _BT601
        stream.codec_context.color_range = _LIMITED_RANGE
        yield append
        if not count:
            raise LiftjaxError(f"{path}: a video needs at least one frame, and none came.")
        container.mux(stream.encode(None))  # what the encoder holds back
