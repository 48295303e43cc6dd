"""Records of synthetic people: who does what, which camera sees it, and the labels.

A record follows from the seed, the split and its index alone, so a data set is endless and the
same wherever it is made. Records come in blocks of one subject and one action; consecutive blocks
go through all subjects and actions, consecutive records through the cameras.

Legend: B people, P points, K joints.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from data_prep.synthetic.body import dress
from data_prep.synthetic.cameras import CAMERAS, Camera
from data_prep.synthetic.motions import ACTIONS, Chair, sample_poses
from data_prep.synthetic.render import Scene, View, render_batch
from data_prep.synthetic.scene import Difficulty, Setting, random_setting
from data_prep.synthetic.solids import Boxes
from data_prep.synthetic.subjects import SUBJECTS, TEST_SUBJECTS, TRAIN_SUBJECTS, Subject
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import HUMAN36M

# Split: its number in the random streams, its subjects, and whether it has pictures.
SPLITS = {
    "train": (0, TRAIN_SUBJECTS, True),
    "test": (1, TEST_SUBJECTS, True),
    "poses": (2, TRAIN_SUBJECTS, False),
}
STORED_SCALE = 1.25 * 1.1  # of the box; what a detector sees, and a margin
_BLOCK = {True: 4, False: 64}  # records of one subject and action in a row, with pictures or not
_RENDERED = 16  # pictures in one call of the renderer
_JPEG_QUALITY = 92
_SETTING_STREAM = 1  # of a record's two random streams; the other is the block's, for its poses


@dataclasses.dataclass(frozen=True)
class Person:
    """One person before one camera, unrendered. points_m: (P, 3) in the world."""

    record: Record
    subject: Subject
    points_m: np.ndarray
    chair: Chair | None
    camera: Camera
    seed: tuple[int, int, int]


def records(
    seed: int,
    split: str,
    count: int,
    *,
    crop_size: tuple[int, int] = (256, 192),
    difficulty: Difficulty | None = None,
) -> Iterator[Record]:
    """The first `count` records of a split of SPLITS.

    Args:
      crop_size: (height, width) of the stored picture.
      difficulty: how often furniture hides people and clothes match the wall.
    """
    people = _people(seed, split, count, crop_size)
    if not SPLITS[split][2]:
        yield from (person.record for person in people)
        return
    # One rendering keeps one core of a CPU busy; a few at a time, handed on in order.
    workers = os.cpu_count() or 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting = collections.deque()
        while batch := list(itertools.islice(people, _RENDERED)):
            waiting.append(pool.submit(_render, batch, crop_size, difficulty or Difficulty()))
            if len(waiting) > workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _people(seed: int, split: str, count: int, crop_size) -> Iterator[Person]:
    stream, subjects, pictures = SPLITS[split]
    block_size, cameras = _BLOCK[pictures], list(CAMERAS.values())
    for start in range(0, count, block_size):
        block = start // block_size
        subject = SUBJECTS[subjects[block % len(subjects)]]
        action = ACTIONS[block // len(subjects) % len(ACTIONS)]
        rng = np.random.default_rng([seed, stream, block])
        poses = sample_poses(subject, action, rng, block_size)
        for i in range(min(block_size, count - start)):
            camera, frame = cameras[(i + block) % len(cameras)], start + i
            record = _label(poses.points_m[i], subject, action, camera, frame, crop_size)
            key = (seed, stream, frame)
            yield Person(record, subject, poses.points_m[i], poses.props[i], camera, key)


def _label(points_m, subject: Subject, action: str, camera: Camera, frame: int, crop_size):
    """The record of a person, without the picture."""
    image_size = np.asarray(camera.image_size)
    joints_m = points_m[: HUMAN36M.num_joints]
    joints_camera_m = geometry.world_to_camera(joints_m, camera.R, camera.t)
    joints_px = geometry.project(joints_camera_m, camera.K, camera.distortion, "opencv")
    root_m = joints_camera_m[HUMAN36M.root_index]
    box_xyxy = geometry.box_from_joints(joints_px, image_size)
    return Record(
        image=b"",
        stored_to_image=stored_to_image(box_xyxy, crop_size),
        image_size=image_size,
        box_xyxy=box_xyxy,
        joints_px=joints_px,
        joint_visible=((joints_px >= 0) & (joints_px <= image_size - 1)).all(axis=-1),
        pose_m=joints_camera_m - root_m,
        root_m=root_m,
        has_3d=True,
        camera_K=camera.K,
        camera_R=camera.R,
        camera_t=camera.t,
        camera_distortion=camera.distortion,
        distortion_model="opencv",
        skeleton=HUMAN36M.name,
        subject=subject.name,
        action=action,
        camera=camera.name,
        frame=frame,
    )


def stored_to_image(box_xyxy: np.ndarray, crop_size: tuple[int, int]) -> np.ndarray:
    """(2, 3) affine from stored pixels to image pixels: the box, widened to the crop's aspect and
    by STORED_SCALE, fills the stored picture from edge to edge."""
    height, width = crop_size
    center, size = geometry.crop_region(np.asarray(box_xyxy, float), width / height, STORED_SCALE)
    scale = size[0] / width
    offset = center - scale * (np.array([width, height]) - 1) / 2
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])


def _render(people: Sequence[Person], crop_size, difficulty: Difficulty) -> list[Record]:
    """The records of up to _RENDERED people, with pictures."""
    settings = [
        random_setting(
            np.random.default_rng([*p.seed, _SETTING_STREAM]),
            p.subject, p.points_m, p.chair, p.camera.position, difficulty,
        )
        for p in people
    ]  # fmt: skip
    # A short batch is filled up, so that the renderer is compiled once.
    fill = [-1] * (_RENDERED - len(people))
    everyone = [*people, *(people[i] for i in fill)]
    scene = _scene(everyone, [*settings, *(settings[i] for i in fill)])
    pictures = np.asarray(render_batch(scene, tuple(crop_size)))
    return [
        dataclasses.replace(person.record, image=_jpeg(picture))
        for person, picture in zip(people, pictures, strict=False)
    ]


def _jpeg(picture_rgb: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    return cv2.imencode(".jpg", picture_rgb[..., ::-1], options)[1].tobytes()


def _scene(people: Sequence[Person], settings: Sequence[Setting]) -> Scene:
    body = dress(
        np.stack([p.points_m for p in people]),
        [p.subject for p in people],
        [s.outfit for s in settings],
    )
    boxes, room = ({k: _stack(settings, k) for k in names} for names in (_BOX_FIELDS, _ROOM_FIELDS))
    return Scene(
        cones=body.cones,
        cone_size=body.sizes,
        cone_looks=body.looks,
        cone_folds=body.folds,
        boxes=Boxes(boxes["box_to_local"]),
        box_size=boxes["box_size"],
        box_looks=boxes["box_looks"],
        **room,
        view=_stack_tuples([_view(p) for p in people]),
        light=_stack_tuples([s.light for s in settings]),
        film=_stack_tuples([s.film for s in settings]),
    )


_BOX_FIELDS = ("box_to_local", "box_size", "box_looks")
_ROOM_FIELDS = ("room_to_local", "room_size", "room_looks")


def _view(person: Person) -> View:
    camera, f32 = person.camera, np.float32
    return View(
        K=camera.K.astype(f32),
        R=camera.R.astype(f32),
        t=camera.t.astype(f32),
        distortion=camera.distortion.astype(f32),
        image_size=np.asarray(camera.image_size, f32),
        stored_to_image=person.record.stored_to_image.astype(f32),
    )


def _stack(items: Sequence, field: str) -> np.ndarray:
    return np.stack([getattr(item, field) for item in items])


def _stack_tuples(tuples: Sequence):
    """One NamedTuple of stacked arrays from a list of NamedTuples of arrays."""
    return type(tuples[0])(*(np.stack(column) for column in zip(*tuples, strict=True)))
