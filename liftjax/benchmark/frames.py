"""The same pictures in two forms: files for the released loader, records for ours."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from liftjax import geometry
from liftjax.data.records import PoseDataset
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import HUMAN36M

FRAME_SIZE = (1000, 1000)  # width, height, as Human3.6M's
_QUALITY = 95  # of the frames; such files have 150 to 250 kB, as frames taken from the videos have


def generated(count: int, seed: int = 0) -> Iterator[Record]:
    """Records with whole frames of coloured shapes, a person-like heap of them, and noise."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        joints_px = _standing(rng)
        frame = _picture(rng, joints_px)
        data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        yield Record(
            image=data,
            stored_to_image=np.eye(3)[:2],
            image_size=FRAME_SIZE,
            box_xyxy=geometry.box_from_joints(joints_px, FRAME_SIZE),
            joints_px=joints_px,
            joint_visible=np.ones(HUMAN36M.num_joints, bool),
            pose_m=rng.normal(0, 0.3, (HUMAN36M.num_joints, 3)),
            root_m=(0, 0, 5),
            has_3d=True,
            camera_K=[[1145, 0, 500], [0, 1145, 500], [0, 0, 1]],
            camera_R=np.eye(3),
            camera_t=np.zeros(3),
            camera_distortion=np.zeros(5),
            distortion_model="opencv",
            skeleton=HUMAN36M.name,
            subject="S1",
            action="Noise",
            camera="front",
            frame=i,
        )


def _standing(rng) -> np.ndarray:
    """(K, 2) joints within a box of a person's proportions, 500 to 700 px high."""
    height = rng.uniform(500, 700)
    corner = rng.uniform(100, 250, 2)
    joints = corner + rng.uniform(0, 1, (HUMAN36M.num_joints, 2)) * (0.55 * height, height)
    return np.minimum(joints, np.array(FRAME_SIZE) - 20.0)


def _picture(rng, joints_px) -> np.ndarray:
    """(H, W, 3) uint8: a shaded room, edges of many sizes, a person, the sensor's noise."""
    width, height = FRAME_SIZE
    coarse = rng.integers(60, 200, (5, 5, 3), np.uint8)
    picture = cv2.resize(coarse, FRAME_SIZE, interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, size = *rng.integers(0, width, 2).tolist(), int(rng.uniform(5, 90))
        cv2.rectangle(
            picture, (x, y), (x + size, y + size // 2), _color(rng), int(rng.choice([-1, 2]))
        )
    points = joints_px.astype(int).tolist()
    for a, b in HUMAN36M.edges:
        cv2.line(picture, points[a], points[b], _color(rng), 45, cv2.LINE_AA)
    texture = cv2.resize(rng.normal(0, 4, (height // 3, width // 3)), FRAME_SIZE)
    noise = rng.normal(0, 1.0, (height, width)) + texture
    return np.clip(picture + noise[..., None], 0, 255).astype(np.uint8)


def _color(rng) -> list[int]:
    return rng.integers(0, 256, 3).tolist()


def whole_frames(directory: str, count: int) -> Iterator[Record]:
    """Records of a data set that was made with --full-frames."""
    dataset = PoseDataset.open(directory, "train").with_pictures()
    labels = dataset.labels
    stored_as_is = np.abs(labels["stored_to_image"] - np.eye(3)[:2]).max(axis=(1, 2)) < 1e-9
    if not stored_as_is.all():
        raise LiftjaxError(
            f"{directory} holds crops; the comparison needs whole frames: make the data set with "
            "--full-frames, or leave out --data."
        )
    chosen = np.random.default_rng(0).permutation(len(dataset))[:count]
    return (dataset.record(i) for i in np.sort(chosen))


def as_files(records: list[Record], directory: Path) -> list[dict]:
    """Writes the frames; returns the entries of :class:`released_loader.ReleasedDataset`."""

    def entry(file: Path, record: Record) -> dict:
        file.write_bytes(record.image)
        return {
            "image": str(file),
            "joints_2d": np.asarray(record.joints_px, np.float64),
            "joints_3d": np.asarray(record.pose_m),
            "visible": np.asarray(record.joint_visible, float),
            "width": int(record.image_size[0]),
            "height": int(record.image_size[1]),
            "camera": {"K": np.asarray(record.camera_K), "R": np.asarray(record.camera_R)},
        }

    return [entry(directory / f"{i:06d}.jpg", record) for i, record in enumerate(records)]


def as_records(records: list[Record], directory: Path, height: int | None = None) -> PoseDataset:
    """Writes the crops of people as `data_prep` does, or scaled to `height` px; returns the data
    set."""
    from data_prep import pictures
    from data_prep.building import write_dataset

    def cropped(record: Record) -> Record:
        frame = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_COLOR)
        image, to_image = pictures.store(frame, record.box_xyxy)
        if height:
            image, to_image = _scaled(image, to_image, height)
        return dataclasses.replace(record, image=image, stored_to_image=to_image)

    write_dataset(directory, "frames", {"train": map(cropped, records)}, {})
    return PoseDataset.open(directory, "train")


def _scaled(image: bytes, to_image: np.ndarray, height: int) -> tuple[bytes, np.ndarray]:
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    size = np.array([round(picture.shape[1] * height / picture.shape[0]), height])
    ratio = np.array(picture.shape[1::-1]) / size
    scale = np.array([[ratio[0], 0, (ratio[0] - 1) / 2], [0, ratio[1], (ratio[1] - 1) / 2]])
    small = cv2.resize(picture, size.tolist(), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return data, geometry.compose_affine(to_image, scale)
