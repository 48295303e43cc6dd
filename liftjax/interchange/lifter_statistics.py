"""The mean and deviation of poses that SimpleBaseline standardises with, in files.

They belong to the training data, so no state_dict has them; without them the network's input and
output have no scale.
"""

import ast
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from liftjax.data.archive import read_archive, read_pickle
from liftjax.errors import LiftjaxError, first_line
from liftjax.skeletons import get_skeleton

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # metres
_LARGEST_DEVIATION_M = 3.0  # no joint moves further from its root


class LifterStatistics(NamedTuple):
    """Per joint and axis: (K, 2) in pixels and (K, 3) in metres relative to the root joint."""

    mean_2d: np.ndarray
    std_2d: np.ndarray
    mean_3d: np.ndarray
    std_3d: np.ndarray


def read_statistics(
    path: str, num_joints: int, unit: str = "m", skeleton: str | None = None
) -> LifterStatistics:
    """Statistics from a file or a data set.

    Args:
      path: an .npz, .json or .pkl (L2D-Pose's ``h36m_stats.pkl``) with the four arrays, or the
        directory of a data set, whose training split is measured.
      num_joints: K.
      unit: that of the 3D numbers in the file; see UNITS.
      skeleton: the lifter's joint set, which a data set must have; None: any of K joints.

    Raises:
      LiftjaxError: an array is missing, misshapen, plainly in another unit or of other joints.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _of_dataset(path, num_joints, skeleton)
    if not path.is_file():
        raise LiftjaxError(f"There is no statistics file {path}.")
    return statistics_of_arrays(_arrays(path), num_joints, unit, str(path))


def statistics_of_arrays(arrays: Any, num_joints: int, unit: str, where: str) -> LifterStatistics:
    """Checked statistics from a mapping of names to numbers."""
    missing = [name for name in LifterStatistics._fields if name not in arrays]
    if missing:
        raise LiftjaxError(
            f"{where} has no {', '.join(missing)}; it needs mean_2d, std_2d (pixels), mean_3d, "
            "std_3d (metres)."
        )
    found = {name: _numbers(arrays[name], name, where) for name in LifterStatistics._fields}
    found = _of_all_joints(found) if num_joints == 17 else found
    for name, value in found.items():
        shape = (num_joints, int(name[-2]))
        if value.size != shape[0] * shape[1]:
            raise LiftjaxError(
                f"{name} in {where} has shape {value.shape}, the lifter needs {shape}."
            )
        if not np.isfinite(value).all() or (name.startswith("std") and (value < 0).any()):
            raise LiftjaxError(f"{name} in {where} has numbers that are negative or not finite.")
        found[name] = value.reshape(shape) * (UNITS[unit] if name.endswith("3d") else 1)
    _check_unit(found["std_3d"], unit, where)
    return LifterStatistics(**found)


def _of_all_joints(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Statistics of 16 of Human3.6M's joints as those of 17.

    Programs leave out the nose of 2D poses, and the hip, which is the root, of 3D poses.
    """
    whole = dict(found)
    for axes, joint, deviation in ((2, "nose", 1), (3, "hip", 0)):
        names = f"mean_{axes}d", f"std_{axes}d"
        if all(found[name].size == 16 * axes for name in names):
            at = get_skeleton("human36m").index(joint)
            for name, value in zip(names, (0, deviation), strict=True):
                whole[name] = np.insert(found[name].reshape(16, axes), at, value, axis=0)
    return whole


# The names in MMPose's configurations: of 1.x, and of 0.x as a dictionary with mean and std.
_CONFIGURED = {
    "keypoints_mean": "mean_2d", "keypoints_std": "std_2d",
    "target_mean": "mean_3d", "target_std": "std_3d",
    "joint_2d_normalize_param.mean": "mean_2d", "joint_2d_normalize_param.std": "std_2d",
    "joint_3d_normalize_param.mean": "mean_3d", "joint_3d_normalize_param.std": "std_3d",
}  # fmt: skip


def statistics_of_configuration(text: str) -> dict[str, Any] | None:
    """The four arrays in an MMPose configuration, a Python text that is not run; None without."""
    found = {}
    try:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name, value = node.targets[0].id, node.value
                parts = {f"{name}.{k.arg}": k.value for k in getattr(value, "keywords", ())}
                for key, part in ({name: value} | parts).items():
                    if key in _CONFIGURED:
                        found[_CONFIGURED[key]] = ast.literal_eval(part)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return found if found.keys() == set(LifterStatistics._fields) else None


def _check_unit(std_3d: np.ndarray, unit: str, where: str) -> None:
    largest = float(std_3d.max())
    if largest > _LARGEST_DEVIATION_M:
        likely = "mm" if largest > 100 else "cm"
        raise LiftjaxError(
            f"std_3d in {where} reaches {largest:.0f}: that is not metres but probably {likely}; "
            f"add --stats-unit {likely}."
        )
    if 0 < largest < 0.01:
        raise LiftjaxError(
            f"std_3d in {where} stays below {largest:.2g} metres; is --stats-unit {unit} right?"
        )


def _numbers(value: Any, name: str, where: str) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise LiftjaxError(f"{name} in {where} is not an array of numbers.") from None


def _arrays(path: Path) -> Any:
    readers = {".npz": read_archive, ".json": _read_json, ".pkl": read_pickle}
    if path.suffix not in readers:
        raise LiftjaxError(f"{path} is not a statistics file; it may be .npz, .json or .pkl.")
    arrays = readers[path.suffix](path)
    if not hasattr(arrays, "keys"):
        raise LiftjaxError(f"{path} holds no named arrays.")
    return arrays


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise LiftjaxError(f"{path} cannot be read: {first_line(error)}") from error


def _of_dataset(path: Path, num_joints: int, skeleton: str | None) -> LifterStatistics:
    from liftjax.data.records import PoseDataset

    dataset = PoseDataset.open(str(path), "train")
    if skeleton not in (None, dataset.skeleton.name):
        raise LiftjaxError(
            f"{path} has {dataset.skeleton.name} poses, the lifter is for {skeleton}; measure the "
            "statistics on data of its joint set."
        )
    if not dataset.labels["has_3d"].any():
        raise LiftjaxError(f"{path}: split train has no 3D poses, so no statistics of them.")
    measured = dataset.statistics()._asdict()  # mean_2d_px, ..., std_3d_m
    arrays = {name.rpartition("_")[0]: value for name, value in measured.items()}
    return statistics_of_arrays(arrays, num_joints, "m", str(path))


def statistics_of_module(module: nnx.Module) -> dict[str, list] | None:
    """The statistics in `module` as JSON values; None if it has none."""
    if not hasattr(module, "set_statistics"):
        return None
    return {
        name: np.asarray(getattr(module, name)[...]).tolist() for name in LifterStatistics._fields
    }
