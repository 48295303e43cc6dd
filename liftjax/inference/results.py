"""What prediction reads and finds: frames, and the people in them.

Legend: P people, N rows (a row is a person in a frame), L lifters, K keypoints of the detector, J
joints of the lifters.
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
      name: stem of its output files.
      given: what the user typed.
      is_video: whether frames follow each other; then people are tracked, and lifters of several
        frames see the frames around.
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
    """The type of a row, a person in a frame.

    frame: index of the frame
    track: the person's number, the same throughout a video
    box_xyxy, box_score: the person's box, pixels of the frame
    kpts_px, kpt_score: keypoints (K, 2), pixels of the frame, and their scores (K,), about 0 to 1
    pose_m: (L, J, 3) metres, camera axes, root joint at the origin
    root_m: (L, 3) position of the root joint, metres, camera axes; depends on the focal length
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
"""The size of a frame in pixels; zero for a picture that could not be read."""


def sizes_px(frames: np.ndarray) -> np.ndarray:
    """(F, 2) width and height of frames (F,) of FRAME_DTYPE."""
    return np.stack([frames["width"], frames["height"]], axis=-1)


@dataclasses.dataclass(frozen=True)
class Result:
    """Everybody in a source.

    Attributes:
      rows: (N,) of :func:`row_dtype`, by frame, then by track; may be a file's memory map.
      frames: (F,) of FRAME_DTYPE, the size of each frame.
      names: file names of pictures; empty for a video.
      detector: name of the network.
      lifters: names of the networks; may be empty.
      skeleton_2d: joint set of the keypoints.
      skeleton_3d: joint set of the poses; without lifters the same.
      focal_px: the focal length that the user gave; None if each frame's was assumed, see
        placing.py.
      about: further facts for the JSON: checkpoints, versions, beta.
      stems: stems of each picture's own files; empty to use the pictures' names.
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
