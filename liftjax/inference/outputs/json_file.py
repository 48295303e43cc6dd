"""Everybody in a source as one JSON document, schema "liftjax/poses/1".

docs/predict.md describes every key. Each frame stands on a line of its own, so that a document of
any length can be written, and read, line by line.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from liftjax.inference.files import with_ending
from liftjax.inference.outputs import people
from liftjax.inference.placing import ASSUMED_FOCAL
from liftjax.inference.results import Result
from liftjax.skeletons import Skeleton
from liftjax.writing import output_file

SCHEMA = "liftjax/poses/1"

_PIXEL_DIGITS, _METRE_DIGITS, _SCORE_DIGITS = 2, 4, 4  # 0.01 px, 0.1 mm
_FOCAL_DIGITS = 3


def write_json(result: Result, stem: Path) -> list[Path]:
    """Writes STEM.json and returns its path; memory does not grow with the number of frames."""
    path = with_ending(stem, ".json")
    with output_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as file:
        heads = (
            f"{json.dumps(key)}: {_dumps(value)}" for key, value in json_header(result).items()
        )
        file.write("{\n" + ",\n".join(heads) + ',\n"frames": [')
        for frame in _frames(result):
            file.write((",\n" if frame["frame"] else "\n") + _dumps(frame))
        file.write("\n]}\n")
    return [path]


def json_header(result: Result) -> dict:
    """The document without its frames."""
    video, focal = result.source.is_video, people.focal_px(result)
    ours = {
        "schema": SCHEMA,
        "source": result.source.given,
        "is_video": video,
        "fps": round(float(result.source.fps), 6) if video and result.source.fps > 0 else None,
        "units": _units(result),
        "detector": result.detector,
        "lifters": list(result.lifters),
        "skeleton_2d": _skeleton(result.skeleton_2d),
        "skeleton_3d": _skeleton(result.skeleton_3d),
        "focal_px": None if focal is None else round(focal, _FOCAL_DIGITS),
        "focal_given": result.focal_px is not None,
    }
    return dict(**ours, **result.about)  # raises if a key comes twice


def _units(result: Result) -> dict[str, str]:
    focal = "given"
    if result.focal_px is None:
        focal = (
            f"assumed to be {ASSUMED_FOCAL} times a frame's longer side, so depth is only a guess"
        )
    return {
        "keypoints": "pixels of the frame, (x, y), integer = pixel centre, x right y down",
        "poses": "metres, camera axes (x right, y down, z forward), root joint at the origin",
        "root": f"metres, camera axes: where the root joint is; the focal length was {focal}",
    }


def _skeleton(skeleton: Skeleton) -> dict:
    return {"name": skeleton.name, "joints": skeleton.joints, "bones": skeleton.bones}


def _frames(result: Result) -> Iterator[dict]:
    differ = people.focal_px(result) is None
    for index, size in enumerate(result.frames):
        name = {"name": result.names[index]} if result.names else {}
        focal = people.focals_px(result.frames[index : index + 1], result)[0] if differ else None
        yield {
            "frame": index,
            **name,
            "size": [int(size["width"]), int(size["height"])],
            **({"focal_px": _rounded(focal, _FOCAL_DIGITS)} if differ else {}),
            "people": [_person(row, result.lifters) for row in result.people(index)],
        }


def _person(row: np.void, lifters: tuple[str, ...]) -> dict:
    poses, roots = (_rounded(row[key], _METRE_DIGITS) for key in ("pose_m", "root_m"))
    return {
        "track": int(row["track"]),
        "box_xyxy": _rounded(row["box_xyxy"], _PIXEL_DIGITS),
        "box_score": _rounded(row["box_score"], _SCORE_DIGITS),
        "keypoints_px": _rounded(row["kpts_px"], _PIXEL_DIGITS),
        "keypoint_scores": _rounded(row["kpt_score"], _SCORE_DIGITS),
        "poses_m": dict(zip(lifters, poses, strict=True)),
        "root_m": dict(zip(lifters, roots, strict=True)),
    }


def _rounded(array: np.ndarray, digits: int):
    """Nested lists of rounded numbers, None for NaN and infinity."""
    # In float64, which is printed with the digits rounded to; adding 0 turns -0 into 0.
    values = np.round(np.asarray(array, np.float64), digits) + 0.0
    finite = np.isfinite(values)
    return values.tolist() if finite.all() else np.where(finite, values, None).tolist()


def _dumps(value) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
