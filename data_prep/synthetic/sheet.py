"""A contact sheet: pictures of records with their joints, to look at."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

_LEFT, _RIGHT, _MIDDLE = (255, 150, 40), (40, 60, 255), (60, 220, 60)  # BGR


def drawing(record: Record, scale: int = 2, skeleton: bool = True) -> np.ndarray:
    """The stored picture (H, W, 3) BGR, `scale` times as large, with the joints drawn over it."""
    image = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if not skeleton:
        return image
    stored = geometry.apply_affine(
        geometry.invert_affine(record.stored_to_image), np.asarray(record.joints_px, float)
    )
    points = np.round((stored + 0.5) * scale - 0.5).astype(int)
    joints = get_skeleton(record.skeleton)
    for a, b in joints.edges:
        name = joints.joints[b]
        color = (
            _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDDLE
        )
        cv2.line(image, points[a].tolist(), points[b].tolist(), color, 1, cv2.LINE_AA)
    return image


def contact_sheet(
    records: Iterable[Record], path, columns: int = 8, scale: int = 2, skeleton: bool = True
) -> None:
    """Saves the pictures of all records in rows of `columns`."""
    tiles = [drawing(record, scale, skeleton) for record in records]
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise LiftjaxError(f"Could not write the contact sheet {path}.")
