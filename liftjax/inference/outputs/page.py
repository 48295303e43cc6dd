"""One HTML page in which poses turn and frames play; it opens from disk and loads nothing."""

import base64
import itertools
from pathlib import Path

import numpy as np

from liftjax import skeletons, viewer
from liftjax.inference import trust
from liftjax.inference.files import with_ending
from liftjax.inference.outputs.people import (
    frame_rate,
    known_frames,
    largest_first,
    placed_where_drawn,
    stand_together,
)
from liftjax.inference.pictures import encode_jpeg, resized
from liftjax.inference.results import Frame, Result
from liftjax.writing import output_file

MOST_BYTES = 18_000_000  # of frames, so that a page stays below 20 MB
_BYTES_A_NUMBER = 7
_JPEG_QUALITY = 80
_PICTURES_FPS = 1.0  # when they are played


def write_page(result: Result, stem: Path, most_frames: int = 300, width: int = 640) -> list[Path]:
    """Writes STEM.html with at most `most_frames` frames and returns its path.

    A longer source is thinned evenly: every second frame, every third and so on. Reads the source
    once; memory does not grow with the number of frames.

    Args:
      width: of the longer side of the embedded pictures, at most.
    """
    path = with_ending(stem, ".html")
    with output_file(path) as partial:
        made = viewer_document(result, most_frames, width)
        partial.write_text(viewer.page(made, result.source.name), encoding="utf-8")
    return [path]


def viewer_document(result: Result, most_frames: int = 300, width: int = 640) -> dict:
    """The viewer's document, described in viewer.js."""
    stride = max(1, -(-len(result.frames) // most_frames))
    together = stand_together(result)
    shown: dict[int, dict] = {}
    total = 0
    for frame in known_frames(result):
        if frame.index % stride:
            continue
        shown[frame.index] = _shown(frame, result, together, width)
        total += _bytes(shown[frame.index])
        while total > MOST_BYTES and len(shown) > 1:
            stride *= 2
            shown = {index: one for index, one in shown.items() if index % stride == 0}
            total = sum(map(_bytes, shown.values()))
    skeleton, is_video = result.skeleton_3d, result.source.is_video
    return {
        "skeleton": {"joints": skeleton.joints, "edges": skeleton.edges},
        "frames": list(shown.values()),
        "fps": frame_rate(result) / stride if is_video else _PICTURES_FPS,
        "up": [0, -1, 0],
    }


def _shown(frame: Frame, result: Result, together: bool, width: int) -> dict:
    """A frame of the viewer's document."""
    people = result.people(frame.index)
    scale = min(1.0, width / max(frame.size))
    shown = {"title": _title(frame, result), "image": _data_url(frame.image, scale)}
    if not len(people):
        return shown
    kpts_px_PJ2, strength_PJ = _keypoints(people, result)
    kpts_px_PJ2 = (kpts_px_PJ2 + 0.5) * scale - 0.5  # integers are pixel centres
    kpts_px_PJ2[strength_PJ == 0] = np.nan
    poses, strengths = {}, {f"{result.detector} (2D)": strength_PJ}
    for index, name in enumerate(result.lifters):
        pose_PJ3, strength_P = placed_where_drawn(people, index)
        middle = _middle(people, index, result.source.is_video, together)
        poses[name] = (pose_PJ3 - middle).astype(np.float64).round(3)
        strengths[name] = np.repeat(strength_P, pose_PJ3.shape[1])
    faint = {name: each for name, each in strengths.items() if (each == trust.FAINT).any()}
    kpts = {f"{result.detector} (2D)": kpts_px_PJ2.round(1)}
    return shown | {"kpts": kpts, "poses": poses} | ({"strengths": faint} if faint else {})


def _middle(people: np.ndarray, lifter: int, is_video: bool, together: bool) -> np.ndarray:
    """(3,) the point in the middle of the view, in camera axes.

    It is the camera in a video of several people, so that they walk about; else a person alone, or
    a picture's group, stays in the middle.
    """
    if is_video and together:
        return np.zeros(3)
    roots_P3 = np.nan_to_num(people["root_m"][:, lifter])
    return roots_P3[largest_first(people)[0]] if is_video else roots_P3.mean(axis=0)


def _keypoints(people: np.ndarray, result: Result) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (P, J, 2) and how strongly they are drawn (P, J), in the joint set of the poses.

    The viewer has one joint set for both. Joints that the keypoints do not give are NaN.
    """
    sets = result.skeleton_2d.name, result.skeleton_3d.name
    kpts_px_PK2, strength_PK = people["kpts_px"], trust.strengths(people["kpt_score"])
    if sets[0] == sets[1]:
        return kpts_px_PK2.astype(np.float64), strength_PK
    places, matrix = skeletons.partial_matrix(*sets)
    kpts_px_PJ2 = np.full((len(people), result.skeleton_3d.num_joints, 2), np.nan)
    kpts_px_PJ2[:, places] = matrix @ kpts_px_PK2
    strength_PJ = np.ones(kpts_px_PJ2.shape[:2])
    strength_PJ[:, places] = skeletons.lowest(strength_PK, matrix)
    return kpts_px_PJ2, strength_PJ


def _title(frame: Frame, result: Result) -> str:
    if not result.source.is_video:
        return frame.name
    minutes, hundredths = divmod(round(100 * frame.index / frame_rate(result)), 6000)
    return f"{minutes}:{hundredths / 100:05.2f} \u00b7 frame {frame.index}"


def _data_url(image: np.ndarray, scale: float) -> str:
    """The picture as a JPEG inside the page."""
    data = encode_jpeg(resized(image, scale), _JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _bytes(shown: dict) -> int:
    kinds = (shown.get(kind, {}).values() for kind in ("kpts", "poses", "strengths"))
    arrays = list(itertools.chain(*kinds))
    return len(shown["image"]) + _BYTES_A_NUMBER * sum(array.size for array in arrays)
