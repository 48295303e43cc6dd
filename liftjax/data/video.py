"""Reads video files as players show them: frames in order, turned or mirrored.

All videos are read here, by FFmpeg through PyAV, whose decoders include AV1's.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from liftjax.errors import LiftjaxError, needs

with needs("Reading videos", "PyAV", "liftjax[video]"):
    import av
    from av.video.reformatter import VideoReformatter

_MAX_COUNT = 10**9  # files without an index state absurd counts
_OFF_AXIS = 0.1  # tolerance of a display matrix that counts as a quarter turn
_COVER = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC
# FFmpeg's numbers. Wide gamuts and HDR become BT.709's colours, as players show them there.
_WIDE_PRIMARIES, _HDR_CURVES, _BT709 = {9, 11, 12}, {16, 18}, 1
_MP4_FIRST = {b"ftyp", b"wide", b"free", b"skip", b"mdat", b"moov"}
_MP4_LONG = {b"mdat", b"moov", b"moof"}  # boxes whose end may be cut off
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # Matroska's


class Film:
    """A video file, opened again by each reading.

    Attributes:
      path: of the file.
      size: (width, height) as stored.
      codec: its name.
      fps: frames a second as the file says, the mean if they vary; 0 if it does not say.
      count: frames by the file's own account; 0 if unknown.
      counted: whether `count` is exact. It is an estimate if an MP4's edit list hides frames, or if
        the file states only a duration, as streams do.
      damaged: whether the reading so far has met a fault: the file is shorter than it says, or the
        decoder has reported an error since the first frame. Errors before the first frame are
        normal in a recording that was cut out of a stream.
    """

    def __init__(self, path):
        """Reads the file's header.

        Raises:
          LiftjaxError: it is not a video, or no decoder here knows its codec.
        """
        self.path, self.damaged = Path(path), False
        self._reformatter = VideoReformatter()  # keeps its tables for a film's colours
        with self._open() as (container, stream):
            rate = stream.average_rate or stream.guessed_rate
            self.fps = float(rate) if rate and rate > 0 else 0.0
            self.size = (stream.codec_context.width, stream.codec_context.height)
            self.codec = stream.codec_context.name
            seconds = stream.duration and float(stream.duration * stream.time_base)
            seconds = seconds or (container.duration or 0) / av.time_base
            count, stated = round(seconds * self.fps), stream.frames
        self.counted = stated > 0 and abs(stated - seconds * self.fps) < 0.5
        self.count = stated if self.counted or not 0 < count < _MAX_COUNT else count

    def frames(self, until_damage: bool = False) -> Iterator[av.VideoFrame]:
        """The frames that can be decoded; :meth:`bgr` turns them into pictures.

        Args:
          until_damage: whether to end at the first fault, after which frame numbers are uncertain;
            else reading goes on, as in players.
        """
        self.damaged = cut = _ends_early(self.path)
        self._started = self.counted
        with self._open() as (container, stream):
            stream.thread_type = "AUTO"
            for packet in self._packets(container, stream, until_damage or cut):
                for frame in _decoded(stream, packet):
                    if self._started and (frame is None or frame.is_corrupt):
                        self.damaged = True
                        if until_damage:
                            return
                    if frame is not None:
                        self._started = True
                        yield frame

    def _packets(self, container, stream, until_damage: bool) -> Iterator[av.Packet | None]:
        """The packets of the stream, and None at its end, which flushes the decoder."""
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt and self._started:
                    self.damaged = True
                    if until_damage:
                        break
                if packet.size:  # an empty one would end the decoding
                    yield packet
        except av.error.FFmpegError:
            self.damaged = True
        yield None

    def bgr(self, frame: av.VideoFrame) -> np.ndarray:
        """(H, W, 3) uint8 BGR, turned or mirrored as the file says.

        Raises:
          LiftjaxError: it says to turn them by other angles than quarter turns.
        """
        made = self._reformatter.reformat(
            frame, format="bgr24", interpolation="BICUBIC", **_colors(frame)
        )
        try:
            return _upright(made.to_ndarray(), _matrix(frame))
        except ValueError as error:
            raise LiftjaxError(f"{self.path}: {error}; convert it again.") from None

    @contextlib.contextmanager
    def _open(self) -> Iterator[tuple]:
        # An absolute path, because FFmpeg would take a colon in a relative one for a protocol.
        # Titles may have other encodings than UTF-8.
        try:
            container = av.open(str(self.path.absolute()), metadata_errors="replace")
        except PermissionError as error:
            raise LiftjaxError(f"{self.path}: cannot be read: {error.strerror}.") from None
        except (av.error.FFmpegError, ValueError):
            raise self.unreadable("cannot be read as a video, 0 frames") from None
        with container:
            # The picture of a cover is a video stream too.
            streams = [s for s in container.streams if s.type == "video" and not _is_cover(s)]
            if not streams:
                raise LiftjaxError(f"{self.path}: has no video, only sound or data.")
            if streams[0].codec_context is None:
                raise LiftjaxError(
                    f"{self.path}: no decoder for its video codec; convert it, for example to "
                    "H.264."
                )
            yield container, streams[0]

    def unreadable(self, what: str) -> LiftjaxError:
        """The error for a file without a readable frame."""
        return LiftjaxError(
            f"{self.path}: {what}; the file is cut short, broken or of another kind: copy or "
            "convert it again."
        )


def is_mirrored(frame: av.VideoFrame) -> bool:
    """Whether the file says to show the frame as in a mirror."""
    (a, b), (c, d) = _matrix(frame)
    return a * d - b * c < 0


def _is_cover(stream) -> bool:
    disposition = getattr(stream, "disposition", 0)  # a flag or an int; older ones do not say
    return bool(getattr(disposition, "value", disposition) & _COVER)


def _decoded(stream, packet: av.Packet | None) -> list[av.VideoFrame | None]:
    """The frames that the packet completes; None stands for an error of the decoder."""
    try:
        return stream.decode(packet)
    except av.error.FFmpegError:
        return [None]


def _colors(frame: av.VideoFrame) -> dict[str, int]:
    """Options of :class:`VideoReformatter` that turn wide and HDR colours into BT.709's."""
    primaries, curve = (getattr(frame, name, None) for name in ("color_primaries", "color_trc"))
    if primaries not in _WIDE_PRIMARIES and curve not in _HDR_CURVES:
        return {}
    curve = _BT709 if curve in _HDR_CURVES else curve
    return {"dst_color_primaries": _BT709, "dst_color_trc": curve}


def _matrix(frame: av.VideoFrame) -> list[list[float]]:
    """((a, b), (c, d)): a pixel (x, y) is shown at (a x + c y, b x + d y), and some shift."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return [[1.0, 0.0], [0.0, 1.0]]
    return (np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2] / 65536).tolist()


def _upright(image: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    """The image turned by the matrix, whose scale is ignored; ValueError for other angles."""
    (a, b), (c, d) = matrix
    along, across = abs(a) + abs(d), abs(b) + abs(c)
    if min(along, across) > _OFF_AXIS * max(along, across):
        raise ValueError("its display matrix turns pictures by other angles than quarter turns")
    x, y = (a, d) if along >= across else (c, b)
    image = image if along >= across else image.swapaxes(0, 1)
    return np.ascontiguousarray(image[:: -1 if y < 0 else 1, :: -1 if x < 0 else 1])


def _ends_early(path: Path) -> bool:
    """Whether an MP4 or Matroska file is shorter than its parts, as after a broken download."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(8)
        if head[:4] == _EBML:
            return _segment_end(file) > size
        return head[4:] in _MP4_FIRST and _boxes_end(file, size) > size


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last of an MP4's boxes ends, if frames or the index are in it; else 0."""
    position, kind = 0, b""
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:], "big") if length == 1 else length
        if length < 8:  # 0: up to the end of the file, however long
            return 0
        position += length
    return position if kind in _MP4_LONG else 0


def _segment_end(file: BinaryIO) -> int:
    """Where a Matroska file's segment ends; 0 if it does not say, as in a live recording."""
    file.seek(4)
    file.seek(_ebml_size(file), os.SEEK_CUR)
    if file.read(4) != _SEGMENT:
        return 0
    length = _ebml_size(file)
    return length and file.tell() + length


def _ebml_size(file: BinaryIO) -> int:
    """A number of 1 to 8 bytes, one more than its leading zero bits; 0 if it means unknown."""
    first = file.read(1)
    more = 8 - max(1, int.from_bytes(first, "big").bit_length())
    value = int.from_bytes(first + file.read(more), "big") & ((1 << 7 * (more + 1)) - 1)
    return 0 if value == (1 << 7 * (more + 1)) - 1 else value
