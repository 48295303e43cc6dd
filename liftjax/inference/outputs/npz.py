"""Everybody in a source as arrays in one .npz; a row is a person in a frame.

Legend: N rows, by frame, then by track; F frames, K keypoints, J joints.

    frame, track        (N,) int32: index of the frame from 0; number of the person
    box_xyxy, box_score (N, 4), (N,): pixels
    keypoints_px        (N, K, 2): pixels of the frame, integer = pixel centre
    keypoint_scores     (N, K)
    pose_m_LIFTER       (N, J, 3): metres, camera axes (x right, y down, z forward), root at 0
    root_m_LIFTER       (N, 3): metres, camera axes: where the root joint is
    image_size          (F, 2) int32: width, height of every frame, those without people too
    frame_focal_px      (F,): pixels; NaN for pictures that could not be read
    frame_names         (F,) texts for pictures; (0,) for videos
    joints_2d, joints_3d, bones_2d, bones_3d    texts: (K,), (J,), (bones, 2)
    skeleton_2d, skeleton_3d, detector, lifters, source, is_video, fps, focal_px, focal_given
    about               JSON text of further facts

All floats are float32; fps is 0 where unknown, focal_px NaN where pictures differ in it.
`numpy.load(path)` reads it; nothing in it is pickled. The arrays are not compressed, which would
save a tenth of noisy coordinates and make loading many times slower.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from liftjax.inference.files import with_ending
from liftjax.inference.outputs.people import chunks, focal_px, focals_px
from liftjax.inference.results import Result, sizes_px
from liftjax.writing import output_file

# Names in the file, and in the rows.
_FIELDS = {
    "frame": "frame",
    "track": "track",
    "box_xyxy": "box_xyxy",
    "box_score": "box_score",
    "keypoints_px": "kpts_px",
    "keypoint_scores": "kpt_score",
}


def write_npz(result: Result, stem: Path) -> list[Path]:
    """Writes STEM.npz and returns its path; memory does not grow with the number of frames."""
    path, rows = with_ending(stem, ".npz"), result.rows
    with output_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, field in _FIELDS.items():
            _write_rows(archive, name, rows, lambda chunk, field=field: chunk[field])
        for index, lifter in enumerate(result.lifters):
            for field in ("pose_m", "root_m"):
                one = lambda chunk, field=field, index=index: chunk[field][:, index]  # noqa: E731
                _write_rows(archive, f"{field}_{lifter}", rows, one)
        _write_rows(archive, "image_size", result.frames, sizes_px)
        focals = lambda frames: focals_px(frames, result).astype(np.float32)  # noqa: E731
        _write_rows(archive, "frame_focal_px", result.frames, focals)
        for name, value in _facts(result).items():
            _write_member(archive, name, value.dtype, value.shape, [value])
    return [path]


def _facts(result: Result) -> dict[str, np.ndarray]:
    focal = focal_px(result)
    return {
        "frame_names": _texts(result.names),
        "skeleton_2d": _texts(result.skeleton_2d.name),
        "skeleton_3d": _texts(result.skeleton_3d.name),
        "joints_2d": _texts(result.skeleton_2d.joints),
        "joints_3d": _texts(result.skeleton_3d.joints),
        "bones_2d": _texts(result.skeleton_2d.bones),
        "bones_3d": _texts(result.skeleton_3d.bones),
        "detector": _texts(result.detector),
        "lifters": _texts(result.lifters),
        "source": _texts(result.source.given),
        "is_video": np.asarray(bool(result.source.is_video)),
        "fps": np.asarray(result.source.fps, np.float32),
        "focal_px": np.asarray(np.nan if focal is None else focal, np.float32),
        "focal_given": np.asarray(result.focal_px is not None),
        "about": _texts(json.dumps(dict(result.about), default=str)),
    }


def _texts(values) -> np.ndarray:
    return np.array(values, dtype=np.str_)


def _write_rows(archive, name, rows, field) -> None:
    """Writes `field(chunk)` of all rows, chunk by chunk, as one member."""
    one = field(np.empty(1, rows.dtype))
    _write_member(archive, name, one.dtype, (len(rows), *one.shape[1:]), map(field, chunks(rows)))


def _write_member(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
) -> None:
    """Writes an array as numpy.save does, given in blocks of its first axis."""
    # A fixed date gives the same bytes for the same arrays; a member may exceed 2 GiB.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False}
        np.lib.format.write_array_header_2_0(file, head | {"shape": shape})
        for block in blocks:
            file.write(np.ascontiguousarray(block).tobytes())
