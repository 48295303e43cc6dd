"""A detector's last layer for other joints than it was trained for.

The layer that tells joints apart has one row for each joint (its output channels): HRNet's 1x1
convolution and RTMPose's 7x7 one. So a head for another joint set is made row by row. A row is
copied where both sets name the same joint, it is a mean where a joint lies between others, and it
keeps its fresh weights where nothing corresponds. Extrapolation (negative weights) is right for
points but not for maps, so those rows keep fresh weights too.
"""

from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from liftjax import torch_weights
from liftjax.errors import LiftjaxError
from liftjax.interchange.blank import blank_model, state_shapes
from liftjax.nn.declaration import Found
from liftjax.skeletons import correspondence, get_skeleton


class Rows(NamedTuple):
    """What becomes of each joint of the target, by name."""

    copied: tuple[str, ...]
    averaged: tuple[str, ...]
    drawn: tuple[str, ...]

    def __str__(self) -> str:
        lists = {kind: names for kind, names in self._asdict().items() if names}
        return "; ".join(f"{kind} {len(names)} ({_some(names)})" for kind, names in lists.items())


def _some(names: tuple[str, ...], most: int = 20) -> str:
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def row_arrays(spec: dict) -> list[str]:
    """The arrays of a detector with one row for each joint: those that grow with the joints."""
    sizes = {key: value for key, value in spec.items() if key not in ("skeleton", "num_joints")}
    one, two = (state_shapes({**sizes, "num_joints": joints}) for joints in (1, 2))
    return [key for key in one if one[key][:1] == (1,) and two[key] == (2, *one[key][1:])]


def plan_rows(source: str, target: str) -> tuple[np.ndarray, Rows]:
    """(K_target, K_source) weights of the rows, zeros for fresh rows; and the joints' names.

    Example: coco -> human36m copies 13 joints (the nose, the limbs), averages hip, spine and
    thorax, and draws head_top.
    """
    ours, theirs = get_skeleton(target), get_skeleton(source)
    matrix = np.zeros((ours.num_joints, theirs.num_joints), np.float32)
    rows = {"copied": [], "averaged": [], "drawn": list(ours.joints)}
    for joint, weights in correspondence(source, target).items():
        if min(weights.values()) < 0:
            continue
        for name, weight in weights.items():
            matrix[ours.index(joint), theirs.index(name)] = weight
        rows["copied" if len(weights) == 1 else "averaged"].append(joint)
        rows["drawn"].remove(joint)
    return matrix, Rows(**{kind: tuple(joints) for kind, joints in rows.items()})


def convert_rows(given: Any, drawn: Any, matrix: np.ndarray) -> np.ndarray:
    """Rows of `given` (K_source, ...) mixed by `matrix`; those of `drawn` where it is zero.

    A copied row keeps every bit.
    """
    given, drawn = np.asarray(given, np.float32), np.asarray(drawn, np.float32)
    flat = given.reshape(len(given), -1)
    result = drawn.reshape(len(drawn), -1).copy()
    for i, weights in enumerate(matrix):
        used = np.flatnonzero(weights)
        if len(used) == 1:
            result[i] = flat[used[0]]
        elif len(used):
            result[i] = weights[used] @ flat[used]
    return result.reshape(drawn.shape)


def fit_head(found: Found, spec: dict) -> tuple[nnx.Module, dict[str, Any], list[str]]:
    """A detector to load weights into, its state_dict, and what became of the head.

    Args:
      found: the detector in the file.
      spec: of the detector to make: {"skeleton": name, ...} or {"num_joints": count, ...}.

    Returns:
      The module, whose weights are still to be loaded, the state_dict with a head for the joints of
      `spec`, and one line for each thing to report.
    """
    source, target = found.skeleton, spec.get("skeleton")
    if found.num_joints is not None:
        if target is None and spec["num_joints"] == found.num_joints:
            lines = [f"joints: {found.num_joints} without names"]
            return blank_model(spec), found.state, lines
        if target is not None and source == target:
            return blank_model(spec), found.state, [f"joints: {source} ({found.why})"]
    rows = row_arrays(spec)
    if not rows:
        raise LiftjaxError(
            f"{spec['name']} has no layer with one row for each joint, so its joints cannot be "
            f"changed; leave out --skeleton and --num-joints."
        )
    head = rows[0].split(".")[0] + "."  # the part of the network that holds that layer
    module = blank_model(spec, drawn=(head,))
    drawn = {k: v for k, v in torch_weights.dump(module).items() if k.startswith(head)}
    if found.num_joints is None:
        lines = [f"drew the head afresh ({len(drawn)} arrays): {found.why}"]
        return module, found.state | drawn, lines
    layer = rows[0].rpartition(".")[0]
    if target is None:
        lines = [f"drew {layer} for {spec['num_joints']} unnamed joints"]
        return module, found.state | {key: drawn[key] for key in rows}, lines
    matrix, names = plan_rows(source, target)
    given = {key: torch_weights.as_numpy(found.state[key]) for key in rows}
    converted = {key: convert_rows(given[key], drawn[key], matrix) for key in rows}
    lines = [f"joints of the file: {source} ({found.why})", f"{layer} to {target}: {names}"]
    return module, found.state | converted, lines
