"""VideoPose3D's files of Human3.6M: data_3d_h36m.npz and data_2d_h36m_NAME.npz.

Both hold pickled dictionaries, by subject ("S1") and sequence ("Directions 1", as the data set's
own files are called, with the short names WalkDog and Photo):

  positions_3d: (N, 32, 3) metres in world axes, all of the motion capture's joints
  positions_2d: a list of (N, K, 2) pixels, one array for each camera, in the order of CAMERAS
  metadata: layout_name (h36m, coco, ...; the ground truth has none), num_joints,
    keypoints_symmetry ([left joints, right joints])

Row n is frame n of the recording at 50 Hz in all of them. The 2D may be longer than the 3D, because
some videos are; those rows are not used.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from liftjax.data.archive import read_archive
from liftjax.errors import LiftjaxError
from liftjax.skeletons import Skeleton, get_skeleton
from liftjax.writing import whole_file

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
LAYOUTS = {"h36m": "human36m", "coco": "coco", "mpii": "mpii"}

Poses = dict[str, dict[str, np.ndarray]]
Keypoints = dict[str, dict[str, list[np.ndarray | None]]]


class KeypointFile(NamedTuple):
    """The content of a data_2d file; a missing camera is None."""

    positions: Keypoints
    skeleton: str


def read_positions_3d(path) -> Poses:
    """(N, 32, 3) metres, world axes, by subject and sequence."""
    positions = _section(path, "positions_3d", dict)
    for subject, sequences in _subjects(path, positions).items():
        for action, points in sequences.items():
            where = f"{path}: {subject}/{action}"
            if not isinstance(points, np.ndarray) or points.shape[1:] != (32, 3):
                raise LiftjaxError(f"{where} is {_shape(points)}, not (frames, 32, 3).")
            _check_numbers(points, where)
    return positions


def read_keypoints(path) -> KeypointFile:
    """(N, K, 2) pixels by subject, sequence and camera, without the scores that some files have."""
    found = _subjects(path, _section(path, "positions_2d", dict))
    skeleton = _layout(path, _section(path, "metadata", dict))
    joints = get_skeleton(skeleton).num_joints
    positions: Keypoints = {}
    for subject, sequences in found.items():
        positions[subject] = {}
        for action, views in sequences.items():
            where = f"{path}: {subject}/{action}"
            if not isinstance(views, Sequence | np.ndarray) or len(views) != len(CAMERAS):
                raise LiftjaxError(f"{where} has {_shape(views)}, not a list of 4 cameras.")
            positions[subject][action] = [_keypoints(view, joints, where) for view in views]
    return KeypointFile(positions, skeleton)


def write_keypoints(path, positions: Keypoints, skeleton: str) -> None:
    """Writes a data_2d file, whole or not at all; a sequence must have all its cameras."""
    joint_set = get_skeleton(skeleton)
    names = {ours: theirs for theirs, ours in LAYOUTS.items()}
    metadata = {
        "layout_name": names.get(skeleton, skeleton),
        "num_joints": joint_set.num_joints,
        "keypoints_symmetry": [list(side) for side in sides(joint_set)],
    }
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, value in (("positions_2d", positions), ("metadata", metadata)):
            # Without the time of writing the same numbers make the same file.
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, _object_npy(value))


def sides(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Indices of the left joints and of the right joints that mirror them."""
    left = [i for i, joint in enumerate(skeleton.joints) if joint.startswith("left_")]
    return tuple(left), tuple(int(skeleton.flip_permutation[i]) for i in left)


def _section(path, name: str, kind: type) -> Any:
    archive = read_archive(path)
    if name not in archive:
        raise LiftjaxError(
            f"{path} holds {', '.join(archive) or 'nothing'} and no {name}; VideoPose3D's data_3d "
            "files have positions_3d, its data_2d files positions_2d and metadata."
        )
    if not isinstance(archive[name], kind):
        raise LiftjaxError(f"{path}: {name} is {_shape(archive[name])}, not a {kind.__name__}.")
    return archive[name]


def _subjects(path, positions: Mapping) -> Mapping:
    for subject, sequences in positions.items():
        if not isinstance(subject, str) or not isinstance(sequences, dict):
            raise LiftjaxError(f"{path}: {subject!r} is not a dictionary of sequences.")
    return positions


def _layout(path, metadata: Mapping) -> str:
    """The joint set of a data_2d file, by its layout's name or, without one, its symmetry."""
    joints, symmetry = metadata.get("num_joints"), metadata.get("keypoints_symmetry")
    fitting = [s for s in LAYOUTS.values() if _fits(s, joints, symmetry)]
    named = LAYOUTS.get(metadata.get("layout_name"))
    if named in fitting or (named is None and "layout_name" not in metadata and fitting):
        return named or fitting[0]
    raise LiftjaxError(
        f"{path}: the joints are {metadata.get('layout_name', 'unnamed')}, {joints} of them, with "
        f"symmetry {symmetry}; known are {', '.join(LAYOUTS)} in VideoPose3D's order."
    )


def _fits(skeleton: str, joints, symmetry) -> bool:
    joint_set = get_skeleton(skeleton)
    try:
        left, right = (sorted(map(int, side)) for side in symmetry)
    except (TypeError, ValueError):
        return False
    # Sorted, because VideoPose3D's own pairs of the MPII joints are in disorder.
    expected = [sorted(side) for side in sides(joint_set)]
    return joints == joint_set.num_joints and [left, right] == expected


def _keypoints(view, joints: int, where: str) -> np.ndarray | None:
    if view is None:
        return None
    if not isinstance(view, np.ndarray) or view.ndim != 3 or view.shape[1] != joints:
        raise LiftjaxError(f"{where} has {_shape(view)}, not (frames, {joints}, 2) pixels.")
    _check_numbers(view, where)
    return view[..., :2]


def _check_numbers(array: np.ndarray, where: str) -> None:
    if array.dtype.kind != "f":
        raise LiftjaxError(f"{where} holds {array.dtype}, not floating-point numbers.")


def _shape(value) -> str:
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _object_npy(value: Any) -> bytes:
    """The .npy file of an object array that holds only `value`.

    The array's module is written as numpy.core, its name before NumPy 2, which all versions read.
    """
    boxed = np.empty((), object)
    boxed[()] = value
    stream = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(stream, header)
    data = pickle.dumps(boxed, protocol=3)
    new, old = (b"cnumpy.%s.multiarray\n_reconstruct\n" % core for core in (b"_core", b"core"))
    return stream.getvalue() + data.replace(new, old, 1)
