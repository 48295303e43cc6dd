"""Reads frames of video files and cameras, in constant memory."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from liftjax.errors import LiftjaxError
from liftjax.inference.files import check_file
from liftjax.inference.results import Frame
from liftjax.names import readable

_USUAL_FPS = 30.0  # of cameras that do not state theirs
_WARM_UP = 1.0  # seconds in which a camera sets its exposure and its rate is measured


class VideoSource:
    """A source of a video file; frames are turned and mirrored as the file says.

    Attributes:
      path: of the file.
      fps: as given, else as the file says; 0 if it does not.
      counted: whether the file states its number of frames; else it is an estimate.
    """

    is_video = True

    def __init__(self, path, fps: float | None = None):
        """Opens the file once, to check that it is a video.

        Raises:
          LiftjaxError: it is missing, unreadable or has no frames.
        """
        self.path = Path(path)
        self.name, self.given = readable(self.path.stem), readable(str(path))
        check_file(path, "video")
        from liftjax.data.video import Film

        self._film = Film(path)
        if next(self._film.frames(), None) is None:
            raise self._empty()
        self.fps = float(fps or self._film.fps)
        self._count, self.counted = self._film.count, self._film.counted
        self._warned = False

    def __len__(self) -> int:
        """Frames by the file's own account, which may be an estimate; 0 if unknown."""
        return self._count

    def frames(self) -> Iterator[Frame]:
        """All frames that can be read; warns once on stderr if some cannot."""
        index = 0
        for frame in self._film.frames():
            yield Frame(index, str(index), cv2.cvtColor(self._film.bgr(frame), cv2.COLOR_BGR2RGB))
            index += 1
        if index == 0:
            raise self._empty()
        if self._film.damaged and not self._warned:
            self._warned = True
            of = f" of {self._count}" if self.counted else ""
            print(
                f"{self.path}: {index}{of} frames could be read; the file is cut short or broken "
                "there, and the frames before are used.",
                file=sys.stderr,
            )

    def _empty(self) -> LiftjaxError:
        return self._film.unreadable(f"0 frames of its {self._film.codec} video can be read")


class CameraSource:
    """A camera, which is recorded to a video file and read from there.

    Recording keeps up with the camera where the networks would not, and a second pass sees the
    same frames as the first.

    Attributes:
      path: of the recording, H.264 in MP4.
      fps: of the recording; 0 before it is made.
    """

    is_video = True

    def __init__(self, index: int, record_to=None):
        """Opens nothing yet.

        Args:
          index: number of the camera; the machine's first is 0.
          record_to: path of the recording, or folder for camera_INDEX_recording.mp4; default: the
            current folder.
        """
        self.index = index
        self.name, self.given = f"camera_{index}", str(index)
        path = Path(record_to or ".")
        self.path = path if path.suffix.lower() == ".mp4" else path / f"{self.name}_recording.mp4"
        self.fps = 0.0
        self._recording: VideoSource | None = None

    def __len__(self) -> int:
        """Frames recorded; 0 before."""
        return len(self._recording) if self._recording else 0

    @property
    def counted(self) -> bool:
        """Whether the number of frames is known, which it is after recording."""
        return bool(self._recording)

    def frames(self) -> Iterator[Frame]:
        """The frames of the recording; the first call records until Ctrl-C.

        Raises:
          LiftjaxError: the camera cannot be opened or gives no frame.
        """
        if self._recording is None:
            self._record()
            self._recording = VideoSource(self.path)
            self.fps = self._recording.fps
        yield from self._recording.frames()

    def _record(self) -> None:
        capture = cv2.VideoCapture(self.index)
        try:
            if not capture.isOpened():
                raise LiftjaxError(
                    f"Camera {self.index} cannot be opened; check that it is connected, free and "
                    "permitted (the first camera is 0)."
                )
            with contextlib.suppress(KeyboardInterrupt):  # while it warms up
                fps, image = _warm_up(capture)
                if image is not None:
                    self._write(capture, image.shape[1::-1], fps)
                    return
            raise self._nothing()
        finally:
            capture.release()

    def _write(self, capture: cv2.VideoCapture, size: tuple[int, int], fps: float) -> None:
        """Records until Ctrl-C, or until the camera is gone."""
        from liftjax.inference.video_file import video_writer

        bar = tqdm(desc=f"recording {self.given}, Ctrl-C ends it", unit=" frames")
        recorded = False
        with video_writer(self.path, size, fps) as append, bar:
            # Ctrl-C ends the loop alone, so that the file is closed as a whole one.
            with contextlib.suppress(KeyboardInterrupt):
                while (read := capture.read())[0]:
                    append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
                    recorded = True
                    bar.update()
            if not recorded:
                raise self._nothing()

    def _nothing(self) -> LiftjaxError:
        return LiftjaxError(f"Camera {self.index} gave no frame, or was stopped within a second.")


def _warm_up(capture: cv2.VideoCapture) -> tuple[float, np.ndarray | None]:
    """(frames a second, the last frame), measured: many cameras state a wrong rate."""
    stated = capture.get(cv2.CAP_PROP_FPS)
    stated = stated if np.isfinite(stated) and stated > 0 else _USUAL_FPS
    count, image, start = 0, None, time.perf_counter()
    while count < stated * _WARM_UP and time.perf_counter() - start < _WARM_UP:
        whole, latest = capture.read()
        if not whole:
            break
        count, image = count + 1, latest
    measured = count / max(time.perf_counter() - start, 1e-3)
    return stated if measured > 0.9 * stated else max(measured, 1.0), image
