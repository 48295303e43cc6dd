"""A joint set as a rig for animation: a tree of joints with a rest pose, moved by rotations.

The rig's axes are x to the person's left, y up and z forward, towards a camera in front. Half a
turn about x leads to them from camera axes (x right, y down, z away).

Legend: T poses, J joints, C children of a joint.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from liftjax.errors import LiftjaxError
from liftjax.skeletons import Skeleton

_STUB_M = 0.08  # length of a limb beyond its last joint
_ROUNDS = 3

# Direction from the parent to a joint in the T-pose of a person who faces z; x is for left joints
# and mirrored for right ones. A joint that is not here goes on in its parent's direction.
_REST = {
    "spine": (0, 1, 0), "thorax": (0, 1, 0), "neck": (0, 1, 0), "upper_neck": (0, 1, 0),
    "nose": (0, 0.87, 0.5), "head_top": (0, 1, 0),
    "hip": (1, 0, 0), "shoulder": (1, 0, 0), "elbow": (1, 0, 0), "wrist": (1, 0, 0),
    "knee": (0, -1, 0), "ankle": (0, -1, 0),
}  # fmt: skip
_STUBS = {"ankle": (0, -0.3, 0.95)}  # feet point forward; other limbs go on as they are


def to_rig_axes(points: np.ndarray) -> np.ndarray:
    """Points (..., 3) from camera axes to the rig's, or back."""
    return points * np.array([1.0, -1.0, -1.0])


@dataclasses.dataclass(frozen=True)
class Rig:
    """A tree of joints; arrays of joints are in the order of the joint set.

    Attributes:
      order: joints, each after its parent, one branch after the other.
      parents: by joint; -1 for the root.
      offsets_m: (J, 3) from the parent at rest.
    """

    skeleton: Skeleton
    order: tuple[int, ...]
    parents: tuple[int, ...]
    offsets_m: np.ndarray

    def children(self, joint: int) -> list[int]:
        return [child for child in self.order if self.parents[child] == joint]

    def stub_m(self, joint: int) -> np.ndarray:
        """(3,) end of the limb beyond a joint without children, at rest."""
        way = _STUBS.get(_kind(self.skeleton.joints[joint]), self.offsets_m[joint])
        return _STUB_M * _unit(np.asarray(way, float))

    def rotations(self, pose_TJ3: np.ndarray) -> np.ndarray:
        """(T, J, 3, 3) of each joint in its parent's frame, so that bones point as in the poses.

        A joint with one child takes the smallest turn from rest that points to it; a joint with
        several takes the turn that fits them best (least squares); one without stays as it is.
        """
        local = np.tile(np.eye(3), (*pose_TJ3.shape[:2], 1, 1))
        world = local.copy()
        for joint in self.order:
            parent = self.parents[joint]
            frame = world[:, parent] if parent >= 0 else np.eye(3)
            children = self.children(joint)
            if children:
                rest = self.offsets_m[children]
                seen = (pose_TJ3[:, children] - pose_TJ3[:, [joint]]) @ frame
                one = len(children) == 1
                local[:, joint] = (
                    smallest_turn(rest[0], seen[:, 0]) if one else best_turn(rest, seen)
                )
            world[:, joint] = frame @ local[:, joint]
        return local


def build_rig(skeleton: Skeleton, pose_TJ3: np.ndarray) -> Rig:
    """The rig of a person, whose bones have their mean length over poses in the rig's axes.

    At rest limbs lie as in a T-pose. Bones that meet in one joint (hips and spine, neck and
    shoulders) have the angles between them that they have in this person.

    Raises:
      LiftjaxError: the bones of the joint set do not form a tree.
    """
    order, parents = joint_tree(skeleton)
    bones_TJ3 = pose_TJ3 - pose_TJ3[:, parents]
    lengths_J1 = np.linalg.norm(bones_TJ3, axis=-1).mean(axis=0)[:, None]
    ways_J3 = np.zeros((skeleton.num_joints, 3))
    for joint in order[1:]:
        ways_J3[joint] = _rest_way(skeleton.joints[joint], ways_J3[parents[joint]])
    lengths_J1[order[0]] = 0
    rig = Rig(skeleton, order, parents, lengths_J1 * ways_J3)
    for joint in order:
        children = rig.children(joint)
        if len(children) > 1:
            rest = _shape_at_rest(rig.offsets_m[children], bones_TJ3[:, children])
            rig.offsets_m[children] = lengths_J1[children] * rest
    return rig


def joint_tree(skeleton: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Joints from the root on, branch after branch, and each joint's parent (-1 for the root).

    Raises:
      LiftjaxError: there is no root, a joint is not reached, or bones form a ring.
    """
    parents = {skeleton.root_index: -1}
    order, waiting = [], [skeleton.root_index]
    while waiting:
        joint = waiting.pop()
        order.append(joint)
        ends = [b if a == joint else a for a, b in skeleton.edges if joint in (a, b)]
        new = [end for end in ends if end not in parents]
        parents |= dict.fromkeys(new, joint)
        waiting += reversed(new)
    if len(order) < skeleton.num_joints or len(skeleton.edges) != skeleton.num_joints - 1:
        raise LiftjaxError(
            f"The bones of the joint set {skeleton.name} do not form a tree from {skeleton.root}, "
            "so BVH files cannot hold its poses; convert them to human36m or panoptic first."
        )
    return tuple(order), tuple(parents[joint] for joint in range(skeleton.num_joints))


def smallest_turn(rest_3: np.ndarray, seen_T3: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations by the smallest angle that take one direction to others."""
    a = _unit(rest_3)
    length_T1 = np.linalg.norm(seen_T3, axis=-1, keepdims=True)
    b = np.where(length_T1 > 1e-9, seen_T3 / np.maximum(length_T1, 1e-9), a)
    axis_T3 = np.cross(a, b)
    sine_T1 = np.linalg.norm(axis_T3, axis=-1, keepdims=True)
    angle_T1 = np.arctan2(sine_T1, b @ a[:, None])
    # For opposite directions any axis across would do; a joint always takes the same one.
    across = _unit(np.cross(a, np.eye(3)[np.abs(a).argmin()]))
    opposite_T1 = b @ a[:, None] < -1 + 1e-7
    axis_T3 = np.where(opposite_T1, across, axis_T3 / np.maximum(sine_T1, 1e-12))
    return Rotation.from_rotvec(np.where(opposite_T1, np.pi, angle_T1) * axis_T3).as_matrix()


def best_turn(rest_C3: np.ndarray, seen_TC3: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations R with the least sum of |seen - R rest|^2 (Kabsch, 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("tci,cj->tij", seen_TC3, rest_C3))
    sign_T = np.sign(np.linalg.det(u @ vt))
    vt[:, 2] *= sign_T[:, None]  # a rotation, not a mirror image
    return u @ vt


def zxy_degrees(rotations: np.ndarray) -> np.ndarray:
    """Angles (..., 3) about z, x and y in degrees, for R = Rz Rx Ry of (..., 3, 3)."""
    r = rotations
    x = np.arcsin(np.clip(r[..., 2, 1], -1, 1))
    locked = np.abs(r[..., 2, 1]) > 1 - 1e-10  # z and y share an axis: z takes all of the turn
    free_z = np.arctan2(-r[..., 0, 1], r[..., 1, 1])
    z = np.where(locked, np.arctan2(r[..., 1, 0], r[..., 0, 0]), free_z)
    y = np.where(locked, 0, np.arctan2(-r[..., 2, 0], r[..., 2, 2]))
    return np.degrees(np.stack([z, x, y], axis=-1))


def _shape_at_rest(rest_C3: np.ndarray, seen_TC3: np.ndarray) -> np.ndarray:
    """Directions (C, 3) to children, with the angles of the poses, turned as near to `rest`."""
    lengths = np.linalg.norm(rest_C3, axis=-1, keepdims=True)
    for _ in range(_ROUNDS):
        turn_T33 = best_turn(rest_C3, seen_TC3)
        rest_C3 = lengths * _unit((seen_TC3 @ turn_T33).mean(axis=0))
    return _unit(rest_C3)


def _rest_way(joint: str, parents_way: np.ndarray) -> np.ndarray:
    way = np.array(_REST.get(_kind(joint), parents_way), float)
    return _unit(way * [-1, 1, 1] if joint.startswith("right_") and _kind(joint) in _REST else way)


def _kind(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
