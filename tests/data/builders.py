"""Small records and data sets for tests."""

import cv2
import numpy as np

from liftjax.data.records import PoseDataset
from liftjax.data.schema import Record

IMAGE_SIZE = (160, 120)  # width, height of the original image
DOT_JOINT = 3


def jpeg(image_rgb: np.ndarray) -> bytes:
    ok, data = cv2.imencode(".jpg", image_rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return data.tobytes()


def make_record(i: int, with_picture: bool = True, **changes) -> Record:
    """A record whose stored picture, a shifted 2:1 crop, has a white dot at joint DOT_JOINT."""
    rng = np.random.default_rng(i)
    joints = np.stack([rng.uniform(40, 110, 17), rng.uniform(20, 100, 17)], axis=-1)
    stored_to_image = np.array([[0.5, 0, 20.25], [0, 0.5, 5.25]])
    image = b""
    if with_picture:
        pixels = np.full((220, 240, 3), (20, 60, 100), np.uint8)
        x, y = (joints[DOT_JOINT] - stored_to_image[:, 2]) * 2
        cv2.circle(
            pixels, (round(x * 16), round(y * 16)), 5 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4
        )
        image = jpeg(pixels)
    fields = {
        "image": image,
        "stored_to_image": stored_to_image,
        "image_size": IMAGE_SIZE,
        "box_xyxy": (35, 15, 115, 105),
        "joints_px": joints,
        "joint_visible": rng.random(17) > 0.2,
        "pose_m": rng.normal(size=(17, 3)),
        "root_m": rng.normal(size=3),
        "has_3d": i % 5 != 4,
        "camera_K": rng.normal(size=(3, 3)),
        "camera_R": rng.normal(size=(3, 3)),
        "camera_t": rng.normal(size=3),
        "camera_distortion": rng.normal(size=5),
        "distortion_model": "opencv",
        "skeleton": "human36m",
        "subject": f"S{i % 2}",
        "action": ("Walking", "Sitting")[i % 3 == 0],
        "camera": f"cam{i % 4}",
        "frame": i,
    }
    return Record(**(fields | changes))


def make_dataset(directory, count=11, split="train", **changes) -> PoseDataset:
    """Writes and opens a data set of one split."""
    from data_prep.building import write_dataset

    records = [make_record(i, **changes) for i in range(count)]
    write_dataset(directory, "toy", {split: records}, {"seed": 0})
    return PoseDataset.open(directory, split)
