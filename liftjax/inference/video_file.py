"""Writes H.264 video that browsers, players and OpenCV read."""

import contextlib
from fractions import Fraction
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError, needs

with needs("Writing videos", "PyAV", "liftjax[video]"):
    import av

_CRF = 20  # quality: hardly distinguishable from the original, lines and small print stay sharp
# The file says how its colours are coded. Readers that do not ask assume the same, those that ask
# get it right at any frame size.
_BT601, _LIMITED_RANGE = 6, 1


class VideoWriter:
    """Writes frames to an MP4 file, in constant memory.

    A context manager. While it is written the file is called `NAME.partial`; it takes its name when
    the block ends, and is removed if the block ends by an exception or wrote no frame at all.

    Odd sizes, which the codec lacks, grow by one column or row that repeats the last one, so that
    pixels keep their coordinates.
    """

    def __init__(self, path, size: tuple[int, int], fps: float | Fraction):
        """Opens the file.

        Args:
          path: ends in .mp4; its folder is made.
          size: (width, height) of the frames. fps: frames a second.
        """
        self.path = Path(path)
        self.size = (int(size[0]), int(size[1]))
        self.frames = 0
        self._partial = self.path.with_name(self.path.name + ".partial")
        rate = Fraction(fps).limit_denominator(1001)  # 29.97 is 30000 / 1001
        if rate <= 0:
            raise LiftjaxError(f"{self.path}: {fps} frames a second; a video needs more than 0.")
        self._time_base = 1 / rate
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(
                str(self._partial.absolute()), "w", format="mp4", options={"movflags": "+faststart"}
            )
        except OSError as error:
            raise self._unwritable(error) from None
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = (side + side % 2 for side in self.size)
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(_CRF)}
        self._stream.codec_context.time_base = self._time_base
        self._stream.codec_context.colorspace = _BT601
        self._stream.codec_context.color_range = _LIMITED_RANGE

    def write(self, image: np.ndarray) -> None:
        """Appends a frame, (H, W, 3) uint8 RGB of the size given."""
        width, height = self.size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"A frame is {image.dtype} {image.shape}, expected uint8 {(height, width, 3)}."
            )
        if width % 2 or height % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601")
        frame.pts, frame.time_base = self.frames, self._time_base
        self._send(frame)
        self.frames += 1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None and self.frames:
                self._send(None)
                self._close()
                self._partial.replace(self.path)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to hear of
                self._container.close()
            self._partial.unlink(missing_ok=True)

    def _send(self, frame: av.VideoFrame | None) -> None:
        """Encodes a frame; None: what the encoder holds back."""
        try:
            self._container.mux(self._stream.encode(frame))
        except OSError as error:
            raise self._unwritable(error) from None

    def _close(self) -> None:
        try:
            self._container.close()
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> LiftjaxError:
        return LiftjaxError(
            f"{self.path}: the video cannot be written: {error.strerror or error}; make room or "
            "choose another place."
        )
