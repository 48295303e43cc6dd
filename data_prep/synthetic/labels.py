"""Which pose and camera each record has, and its labels without the picture.

A record is a function of (seed, split, index), so a data set has no end and any part of it can be
made again. With the index the camera changes first, then the action, then the subject, so that
every beginning of a split is balanced. In a data set of clips the same order holds for clips.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import numpy as np

from data_prep.cameras import CalibratedCamera, make_record
from data_prep.synthetic.cameras import CAMERAS
from data_prep.synthetic.motions import ACTIONS, Chair, sample_motion, sample_poses
from data_prep.synthetic.subjects import SUBJECTS, TEST_SUBJECTS, TRAIN_SUBJECTS, Subject
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.errors import check_name
from liftjax.skeletons import HUMAN36M

SPLITS = {"train": TRAIN_SUBJECTS, "test": TEST_SUBJECTS, "poses": TRAIN_SUBJECTS}
"""Subjects of each split; "poses" has labels without pictures, for training lifters."""

STORED_SCALE = 1.25 * 1.1
"""Side of the stored region relative to the box: a detector's usual context, and a margin."""

_FLOOR_HALF_SIZE_M = 1.1  # keeps people inside all four pictures
_POSES_AT_ONCE = 64
FPS = 50.0  # of clips: Human3.6M's


@dataclasses.dataclass(frozen=True)
class Moment:
    """Who does what in front of which camera.

    Attributes:
      number: counts the poses, or the clips, of (subject, action).
      frame: number in the clip.
      clip_frames: length of the clip; 1 for a pose by itself.
    """

    subject: Subject
    action: str
    camera: CalibratedCamera
    number: int
    frame: int = 0
    clip_frames: int = 1

    @property
    def first(self) -> "Moment":
        """The clip's first frame."""
        return dataclasses.replace(self, frame=0)


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A random generator that depends on the seed and these names alone."""
    words = [n if isinstance(n, int) else zlib.crc32(n.encode()) for n in names]
    return np.random.default_rng([seed, *words])


def moment(split: str, index: int, clip_frames: int = 1) -> Moment:
    """What record `index` of a split shows."""
    check_name("split", split, SPLITS)
    subjects, cameras = SPLITS[split], list(CAMERAS.values())
    clip, frame = divmod(index, clip_frames)
    turn, camera = divmod(clip, len(cameras))
    cycle, action = divmod(turn, len(ACTIONS))
    subject = SUBJECTS[subjects[(action + cycle) % len(subjects)]]
    number = cycle // len(subjects) * len(cameras) + camera
    return Moment(subject, ACTIONS[action], cameras[camera], number, frame, clip_frames)


@functools.lru_cache(maxsize=128)
def _poses(seed: int, split: str, subject: str, action: str, block: int):
    rng = generator(seed, split, subject, action, block)
    return sample_poses(SUBJECTS[subject], action, rng, _POSES_AT_ONCE, _FLOOR_HALF_SIZE_M)


@functools.lru_cache(maxsize=64)
def _motion(seed: int, split: str, subject: str, action: str, number: int, frames: int):
    rng = generator(seed, split, "clip", subject, action, number)
    return sample_motion(SUBJECTS[subject], action, rng, frames, FPS, _FLOOR_HALF_SIZE_M)


def pose_of(seed: int, split: str, at: Moment) -> tuple[np.ndarray, Chair | None]:
    """World points (P, 3) of a moment, and the chair."""
    if at.clip_frames > 1:
        motion = _motion(seed, split, at.subject.name, at.action, at.number, at.clip_frames)
        return motion.points_m[at.frame], motion.chair
    block, row = divmod(at.number, _POSES_AT_ONCE)
    poses = _poses(seed, split, at.subject.name, at.action, block)
    return poses.points_m[row], poses.chairs[row]


def label(
    moments: Sequence[Moment], points_m: np.ndarray, crop_size: tuple[int, int]
) -> list[Record]:
    """Records, as yet without pictures, of B moments.

    Args:
      moments: what the records show.
      points_m: (B, P, 3) world points; the first 17 are the labelled joints.
      crop_size: (height, width) of the stored picture.
    """
    K, R, t, distortion, sizes = (
        np.stack([getattr(m.camera, name) for m in moments])
        for name in ("K", "R", "t", "distortion", "image_size")
    )
    cam = geometry.world_to_camera(points_m[:, : HUMAN36M.num_joints], R, t)
    px = geometry.project(cam, K, distortion)
    visible = geometry.inside_image(px, sizes)
    boxes = geometry.box_from_joints(px, sizes)
    centers, regions = geometry.crop_region(boxes, crop_size[1] / crop_size[0], STORED_SCALE)
    stored_to_image = _stored_affines(centers, regions[:, 0], crop_size)
    records = [
        make_record(
            m.camera,
            cam[i],
            px[i],
            visible[i],
            skeleton=HUMAN36M.name,
            subject=m.subject.name,
            action=m.action,
            frame=m.frame if m.clip_frames > 1 else m.number,
            trial=m.number + 1 if m.clip_frames > 1 else 1,
            box_xyxy=boxes[i],
        )
        for i, m in enumerate(moments)
    ]
    return [
        dataclasses.replace(record, stored_to_image=affine)
        for record, affine in zip(records, stored_to_image, strict=True)
    ]


def _stored_affines(centers: np.ndarray, widths: np.ndarray, crop_size) -> np.ndarray:
    """(B, 2, 3) from stored to original pixels; the middle of the picture is the centre."""
    height, width = crop_size
    scale = widths / width
    offset = centers - scale[:, None] * (np.array([width, height]) - 1) / 2
    zero = np.zeros_like(scale)
    rows = [[scale, zero, offset[:, 0]], [zero, scale, offset[:, 1]]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
