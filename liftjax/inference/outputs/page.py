"""One HTML page in which poses turn and frames play; it opens from disk and loads nothing."""

import base64
from pathlib import Path

import numpy as np

from liftjax import skeletons, viewer
from liftjax.inference.files import with_ending
from liftjax.inference.outputs.people import (
    frame_rate,
    known_frames,
    largest_first,
    placed,
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
    kpts_px_PJ2 = _keypoints(people["kpts_px"], result).astype(np.float64)
    kpts_px_PJ2 = (kpts_px_PJ2 + 0.5) * scale - 0.5  # integers are pixel centres
    poses = {
        name: placed(people, index) - _middle(people, index, result.source.is_video, together)
        for index, name in enumerate(result.lifters)
    }
    return shown | {
        "kpts": {f"{result.detector} (2D)": kpts_px_PJ2.round(1)},
        "poses": {name: pose.astype(np.float64).round(3) for name, pose in poses.items()},
    }


def _middle(people: np.ndarray, lifter: int, is_video: bool, together: bool) -> np.ndarray:
    """(3,) the point in the middle of the view, in camera axes.

    It is the camera in a video of several people, so that they walk about; else a person alone, or
    a picture's group, stays in the middle.
    """
    if is_video and together:
        return np.zeros(3)
    roots_P3 = np.nan_to_num(people["root_m"][:, lifter])
    return roots_P3[largest_first(people)[0]] if is_video else roots_P3.mean(axis=0)


def _keypoints(kpts_px_PK2: np.ndarray, result: Result) -> np.ndarray:
    """Keypoints in the joint set of the poses; the viewer has one joint set for both."""
    source, target = result.skeleton_2d.name, result.skeleton_3d.name
    return kpts_px_PK2 if source == target else skeletons.convert(kpts_px_PK2, source, target)


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
    arrays = [*shown.get("kpts", {}).values(), *shown.get("poses", {}).values()]
    return len(shown["image"]) + _BYTES_A_NUMBER * sum(array.size for array in arrays)
