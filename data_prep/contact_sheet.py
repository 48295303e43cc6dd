"""Draws some records with their skeletons, for a look at a data set."""

from collections.abc import Sequence

import cv2
import numpy as np

from liftjax import geometry
from liftjax.data.records import decode_jpeg
from liftjax.data.schema import Record
from liftjax.skeletons import get_skeleton

_TILE = (280, 216)  # height, width
_MIDDLE = (250, 220, 60)  # RGB
_SIDES = {"right": (230, 60, 50), "left": (60, 120, 255)}


def contact_sheet(records: Sequence[Record], columns: int) -> bytes:
    """PNG with one tile a record, row by row."""
    tiles = [_tile(record) for record in records]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return cv2.imencode(".png", np.vstack(rows)[..., ::-1])[1].tobytes()


def _tile(record: Record) -> np.ndarray:
    image_to_tile = geometry.crop_affine(np.asarray(record.box_xyxy, float), _TILE)
    stored_to_tile = geometry.compose_affine(image_to_tile, record.stored_to_image)
    tile = cv2.warpAffine(decode_jpeg(record.image), stored_to_tile, _TILE[::-1])
    joints = geometry.apply_affine(image_to_tile, np.asarray(record.joints_px, float))
    skeleton = get_skeleton(record.skeleton)
    for a, b in skeleton.edges:
        color = _SIDES.get(skeleton.joints[b].split("_")[0], _MIDDLE)
        ends = np.rint(joints[[a, b]] * 16).astype(int).tolist()  # in sixteenths of a pixel
        cv2.line(tile, *map(tuple, ends), color, 2, cv2.LINE_AA, 4)
    for xy, visible in zip(joints, record.joint_visible, strict=True):
        color = (255, 255, 255) if visible else (0, 0, 0)
        cv2.circle(tile, tuple(np.rint(xy).astype(int).tolist()), 3, color, -1, cv2.LINE_AA)
    label = f"{record.action} {record.camera} {record.frame}"
    cv2.putText(tile, label, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
    return tile
