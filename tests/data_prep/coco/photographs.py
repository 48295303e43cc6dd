"""A tiny COCO: photographs with coloured people, in COCO's own files."""

import json
from pathlib import Path

import cv2
import numpy as np

from liftjax.skeletons import COCO

SIZE = (160, 120)
SUBSETS = ("train2017", "val2017")

# The seventeen joints of somebody who stands, in a box of 1 by 1.
_BODY = np.array(
    [
        [0.50, 0.10], [0.54, 0.08], [0.46, 0.08], [0.60, 0.10], [0.40, 0.10], [0.75, 0.22],
        [0.25, 0.22], [0.85, 0.40], [0.15, 0.40], [0.90, 0.55], [0.10, 0.55], [0.65, 0.52],
        [0.35, 0.52], [0.66, 0.75], [0.34, 0.75], [0.68, 0.97], [0.32, 0.97],
    ]
)  # fmt: skip


def keypoints(x: float, y: float, width: float, height: float, hidden=()) -> list[float]:
    """51 numbers as COCO writes them: whole pixels; 0 0 0 for the joints named in `hidden`."""
    points = np.rint(_BODY * (width, height) + (x, y))
    points = np.column_stack([points, np.full(17, 2)])
    points[3, 2] = 1  # labelled, though not seen
    points[[COCO.index(joint) for joint in hidden]] = 0
    return [int(v) for v in points.ravel()]


def annotation(number: int, image: int, box, hidden=(), **fields) -> dict:
    joints = keypoints(*box, hidden=hidden)
    x, y, width, height = box
    entry = {
        "segmentation": [[x, y, x + width, y, x + width, y + height]],
        "num_keypoints": sum(1 for v in joints[2::3] if v),
        "area": width * height / 2,
        "iscrowd": 0,
        "keypoints": joints,
        "image_id": image,
        "bbox": list(box),
        "category_id": 1,
        "id": number,
    }
    return entry | fields


def document(subset: str) -> dict:
    """Two images with three people and a crowd; images and annotations in no order."""
    first = 1000 if subset == "train2017" else 2000
    crowd = {"iscrowd": 1, "segmentation": {"counts": [5, 7], "size": [120, 160]}}
    none = COCO.joints
    return {
        "info": {"description": "COCO 2017 Dataset"},
        "licenses": [],
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for i in (first + 7, first + 3)
        ],
        "annotations": [
            annotation(
                9_001_000 + first, first + 3, (5, 5, 100, 90), iscrowd=1, segmentation=crowd
            ),
            annotation(412, first + 7, (20.5, 10.25, 40, 80)),
            annotation(398, first + 3, (30, 12, 50, 100.5), hidden=("left_hip", "right_ear")),
            annotation(77, first + 7, (90, 40, 60, 70)),
            annotation(500, first + 7, (70, 20, 30, 30), hidden=none),
        ],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO.joints)}
        ],
    }


def write(root: Path, folder: str = "") -> Path:
    """Writes both subsets, their pictures below `folder`; returns `root`."""
    for subset in SUBSETS:
        content = document(subset)
        write_annotations(root, subset, content)
        pictures = root / folder / subset
        pictures.mkdir(parents=True)
        for image in content["images"]:
            people = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            write_picture(pictures / image["file_name"], people)
    return root


def write_annotations(root: Path, subset: str, content: dict) -> None:
    file = annotation_file(root, subset)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def annotation_file(root: Path, subset: str) -> Path:
    return root / "annotations" / f"person_keypoints_{subset}.json"


def write_picture(file: Path, people) -> None:
    """A white disc on the left wrist of all people whose wrist is labelled."""
    image = np.full((SIZE[1], SIZE[0], 3), (90, 60, 40), np.uint8)
    for person in people:
        x, y, v = person["keypoints"][27:30]
        if v and not person["iscrowd"]:
            cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
    cv2.imwrite(str(file), image)
