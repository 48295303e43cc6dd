"""Rotations of a rig, from what they must do."""

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.outputs import rig
from liftjax.skeletons import Skeleton, get_skeleton
from tests.inference.outputs.sample_result import HUMAN36M, walking_pose


def turns(count: int) -> np.ndarray:
    """Random rotations (count, 3, 3)."""
    q, r = np.linalg.qr(np.random.default_rng(0).normal(size=(count, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    return q * np.linalg.det(q)[:, None, None]


def check_rotations(matrices):
    squares = matrices @ matrices.swapaxes(1, 2)
    np.testing.assert_allclose(squares, np.broadcast_to(np.eye(3), squares.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1)


def angle(matrices) -> np.ndarray:
    return np.arccos(np.clip((np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))


def test_camera_axes_and_back():
    np.testing.assert_array_equal(rig.to_rig_axes(np.array([1, 2, 3])), [1, -2, -3])
    pose = walking_pose(0.3, 0.2)
    np.testing.assert_array_equal(rig.to_rig_axes(rig.to_rig_axes(pose)), pose)


def test_the_smallest_turn_points_there_and_turns_no_further():
    a = np.array([0.0, -0.4, 0.1])
    b = np.random.default_rng(0).normal(size=(50, 3))
    found = rig.smallest_turn(a, b)
    check_rotations(found)
    unit = b / np.linalg.norm(b, axis=-1, keepdims=True)
    np.testing.assert_allclose(found @ a / np.linalg.norm(a), unit, atol=1e-9)
    between = np.arccos(unit @ a / np.linalg.norm(a))
    np.testing.assert_allclose(angle(found), between, atol=1e-6)


def test_the_smallest_turn_where_there_is_none_or_no_one():
    a = np.array([0.0, 2.0, 0.0])
    same, opposite, nearly, nothing = rig.smallest_turn(
        a, np.array([[0, 1, 0], [0, -3, 0], [1e-6, -1, 0], [0, 0, 0]], float)
    )
    np.testing.assert_allclose(same, np.eye(3))
    np.testing.assert_allclose(nothing, np.eye(3))
    for found in (opposite, nearly):
        check_rotations(found[None])
        np.testing.assert_allclose(found @ a, -a, atol=1e-5)


def test_the_best_turn_recovers_a_turn_and_is_no_mirror_image():
    rest = np.random.default_rng(1).normal(size=(3, 3))
    wanted = turns(20)
    np.testing.assert_allclose(rig.best_turn(rest, rest @ wanted.swapaxes(1, 2)), wanted, atol=1e-9)
    check_rotations(rig.best_turn(rest, np.tile(rest * [-1, 1, 1], (4, 1, 1))))
    flat = rest * [1, 1, 0]  # two dimensions are enough
    np.testing.assert_allclose(rig.best_turn(flat, flat @ wanted.swapaxes(1, 2)), wanted, atol=1e-9)


def test_angles_in_the_order_of_the_channels():
    def about(axis, degrees):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = np.eye(3)
        matrix[[i, j], [i, j]], matrix[i, j], matrix[j, i] = c, -s, s
        return matrix

    for z, x, y in [(10, 20, 30), (-170, 80, 100), (0, -89, 179), (5, 0, 0), (0, 0, -90)]:
        matrix = about(2, z) @ about(0, x) @ about(1, y)
        np.testing.assert_allclose(rig.zxy_degrees(matrix), (z, x, y), atol=1e-6)
    for x in (90, -90):  # where z and y turn about one axis
        matrix = about(2, 30) @ about(0, x) @ about(1, 20)
        z, same, y = rig.zxy_degrees(matrix)
        assert same == pytest.approx(x)
        np.testing.assert_allclose(about(2, z) @ about(0, x) @ about(1, y), matrix, atol=1e-6)


def test_joints_come_after_their_parents():
    for name in ("human36m", "panoptic"):
        skeleton = get_skeleton(name)
        order, parents = rig.joint_tree(skeleton)
        assert sorted(order) == list(range(skeleton.num_joints))
        assert order[0] == skeleton.root_index
        for joint in order[1:]:
            assert order.index(parents[joint]) < order.index(joint)
            assert {(joint, parents[joint]), (parents[joint], joint)} & set(skeleton.edges)


@pytest.mark.parametrize(
    "bones",
    [[("a", "b")], [("a", "b"), ("b", "c"), ("c", "a")], [("b", "c")]],
    ids=["unreached", "ring", "apart"],
)
def test_bones_that_form_no_tree_are_refused(bones):
    skeleton = Skeleton("odd", ("a", "b", "c"), tuple(bones), "a")
    with pytest.raises(LiftjaxError, match="joint set odd do not form a tree from a"):
        rig.joint_tree(skeleton)


def test_a_rig_has_the_shape_of_its_person():
    poses = rig.to_rig_axes(np.stack([walking_pose(0.2 * i, 0.1 * i) for i in range(30)]))
    found = rig.build_rig(HUMAN36M, poses)
    neck, left, right = (HUMAN36M.index(n) for n in ("thorax", "left_shoulder", "right_shoulder"))
    at_rest = found.offsets_m[left] - found.offsets_m[right]
    assert np.linalg.norm(at_rest) == pytest.approx(0.34)
    assert found.parents[left] == neck
    # Shoulders hang by 3 cm, as they do in this person.
    np.testing.assert_allclose(found.offsets_m[[left, right], 1], -0.03, atol=0.01)
