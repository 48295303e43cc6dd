"""A detector's last layer for other joints than it was trained for.

The layer that tells joints apart has one row a joint (its output channels): HRNet's 1x1
convolution and RTMPose's 7x7 one. So a head for another joint set is made row by row: copied where
the sets name the same joint, the mean where a joint lies between others, and left as drawn where
nothing corresponds. An extrapolation (negative weights) is right for points but not for maps, so
those rows are drawn too.
"""

from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMPose
from liftjax.interchange.families import Found
from liftjax.skeletons import correspondence, get_skeleton


class Head(NamedTuple):
    """Where the names of a head's arrays begin, and the layer in it with one row a joint."""

    prefix: str
    layer: str


HEADS = {HRNet: Head("final_layer.", "final_layer"), RTMPose: Head("head.", "head.final_layer")}


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


def plan(source: str, target: str) -> tuple[np.ndarray, Rows]:
    """(K_target, K_source) weights of the rows, all zero where one is to be drawn; and the names.

    Example: coco -> human36m copies 13 joints (a nose, limbs), averages hip, spine and thorax, and
    draws head_top.
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


def convert(given: Any, drawn: Any, matrix: np.ndarray) -> np.ndarray:
    """Rows of `given` (K_source, ...) mixed by `matrix`; those of `drawn` (K_target, ...) if none.

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


def with_head(found: Found, module: nnx.Module, spec: dict) -> tuple[dict[str, Any], list[str]]:
    """The state_dict of `found` with a head for the joints of `spec`, and what became of it.

    Args:
      found: a detector's. module: the network to load into; its head holds drawn weights.
      spec: of the network: {"skeleton": name, ...} or {"num_joints": count, ...}.
    """
    head, source, target = HEADS[found.network], found.skeleton, spec.get("skeleton")
    drawn = {k: v for k, v in torch_weights.dump(module).items() if k.startswith(head.prefix)}
    if found.num_joints is None:
        return found.state | drawn, [f"drew the head afresh ({len(drawn)} arrays): {found.why}"]
    rows = {key: drawn[key] for key in (f"{head.layer}.weight", f"{head.layer}.bias")}
    if target is None and spec["num_joints"] != found.num_joints:
        return found.state | rows, [f"drew {head.layer} for {spec['num_joints']} unnamed joints"]
    if target is None:
        return found.state, [f"joints: {found.num_joints} without names"]
    if source == target:
        return found.state, [f"joints: {source} ({found.why})"]
    matrix, names = plan(source, target)
    given = {key: torch_weights.as_numpy(found.state[key]) for key in rows}
    rows = {key: convert(given[key], rows[key], matrix) for key in rows}
    lines = [f"joints of the file: {source} ({found.why})", f"{head.layer} to {target}: {names}"]
    return found.state | rows, lines
