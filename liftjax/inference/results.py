"""What prediction passes on: frames, and the people found in them.

Legend: P people, N rows (a person in a frame), L lifters, K keypoints of the detector, J joints of
the lifters.
"""

import bisect
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from liftjax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Attributes:
      index: its place in the source, from 0.
      name: of the picture's file; of a video's frame, its number.
      image: (H, W, 3) uint8 RGB.
    """

    index: int
    name: str
    image: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), pixels."""
        return self.image.shape[1], self.image.shape[0]


class Source(Protocol):
    """Pictures, a video or a camera.

    Attributes:
      name: what its output files are called. given: what the user typed.
      is_video: whether frames follow each other, so that people are tracked and lifters of several
        frames see those around.
      fps: frames a second; 0 if unknown.
    """

    name: str
    given: str
    is_video: bool
    fps: float

    def __len__(self) -> int:
        """Frames expected; 0 if unknown."""

    def frames(self) -> Iterator[Frame]:
        """All frames, from the first one each time it is called."""


def row_dtype(keypoints: int, lifters: int, joints: int) -> np.dtype:
    """A person in a frame.

    frame: index of the frame. track: the person's number, the same all through a video.
    box_xyxy, box_score. kpts_px (K, 2): pixels of the frame. kpt_score (K,): 0 to 1 or so.
    pose_m (L, J, 3): metres, camera axes, root joint at the origin. root_m (L, 3): where the root
    is, metres, camera axes; as right as the focal length is.
    """
    f32 = np.float32
    return np.dtype(
        [
            ("frame", np.int32),
            ("track", np.int32),
            ("box_xyxy", f32, (4,)),
            ("box_score", f32),
            ("kpts_px", f32, (keypoints, 2)),
            ("kpt_score", f32, (keypoints,)),
            ("pose_m", f32, (lifters, joints, 3)),
            ("root_m", f32, (lifters, 3)),
        ]
    )


FRAME_DTYPE = np.dtype([("width", np.int32), ("height", np.int32)])
"""The size of a frame, pixels; zero of a picture that could not be read."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Everybody in a source.

    Attributes:
      rows: (N,) of :func:`row_dtype`, by frame, then by track; may be a file's memory map.
      frames: (F,) of FRAME_DTYPE, the size of each frame.
      names: of the frames, where they have names (pictures); else empty.
      detector, lifters: names of the networks; lifters may be none.
      skeleton_2d: of the keypoints. skeleton_3d: of the poses (the same without lifters).
      focal_px: focal length that the user gave, with which root_m was found; None: it was assumed
        to be ASSUMED_FOCAL times the longer side of each frame, see placing.py.
      about: further facts for the JSON: checkpoints, versions, beta.
      stems: what each picture's own files are called; empty: after its name.
    """

    source: Source
    rows: np.ndarray
    frames: np.ndarray
    names: tuple[str, ...]
    detector: str
    lifters: tuple[str, ...]
    skeleton_2d: Skeleton
    skeleton_3d: Skeleton
    focal_px: float | None
    about: Mapping[str, object]
    stems: tuple[str, ...] = ()

    def people(self, frame: int) -> np.ndarray:
        """The rows (P,) of one frame."""
        # NumPy's searchsorted would copy the frame numbers of all rows each time.
        first, last = (
            bisect.bisect_left(self.rows, f, key=lambda row: row["frame"])
            for f in (frame, frame + 1)
        )
        return self.rows[first:last]

    def tracks(self) -> list[int]:
        """The numbers of all people, in order."""
        return np.unique(self.rows["track"]).tolist()
