"""Joint sets: golden order, mirrors, and conversions that keep geometry."""

import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import skeletons
from liftjax.errors import LiftjaxError
from liftjax.skeletons import SKELETONS, conversion_matrix, convert, get_skeleton

RNG = np.random.default_rng(0)
PAIRS = [(a, b) for a in SKELETONS for b in SKELETONS if a == b or (a, b) in skeletons._DERIVED]


@pytest.mark.parametrize("name", SKELETONS)
def test_joint_sets_are_whole(name):
    skeleton = get_skeleton(name)
    assert len(set(skeleton.joints)) == skeleton.num_joints
    assert all(0 <= i < skeleton.num_joints for bone in skeleton.edges for i in bone)
    flip = skeleton.flip_permutation
    np.testing.assert_array_equal(flip[flip], np.arange(skeleton.num_joints))
    mirrored = {frozenset((flip[a], flip[b])) for a, b in skeleton.edges}
    assert mirrored == {frozenset(edge) for edge in skeleton.edges}


@pytest.mark.parametrize(
    ("name", "count"), [("human36m", 17), ("panoptic", 15), ("coco", 17), ("wholebody", 133)]
)
def test_joint_counts(name, count):
    assert get_skeleton(name).num_joints == count


def test_panoptic_order_from_human36m(golden):
    _, arrays = golden("metrics")
    pose = RNG.normal(size=(3, 17, 3))
    panoptic = convert(pose, "human36m", "panoptic")
    np.testing.assert_array_equal(panoptic, pose[:, arrays["panoptic_from_h36m"]])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_conversions_commute_with_moving_and_mirroring(source, target):
    a, b = get_skeleton(source), get_skeleton(target)
    pose = RNG.normal(size=(2, 3, a.num_joints, 2))
    converted = convert(pose, source, target)
    assert converted.shape == (2, 3, b.num_joints, 2)
    np.testing.assert_allclose(convert(pose * 3 + 1, source, target), converted * 3 + 1)
    if "wholebody" not in (source, target):
        np.testing.assert_allclose(
            convert(pose[..., a.flip_permutation, :], source, target),
            converted[..., b.flip_permutation, :],
            atol=1e-12,
        )


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_joints_of_one_name_are_copied(source, target):
    derived = skeletons.derived_joints(source, target)
    matrix = conversion_matrix(source, target)
    a, b = get_skeleton(source), get_skeleton(target)
    for row, joint in enumerate(b.joints):
        if joint in a.joints and joint not in derived:
            assert matrix[row, a.index(joint)] == 1


def test_conversion_keeps_library_and_dtype():
    pose = jnp.ones((2, 17, 3), jnp.float32)
    converted = convert(pose, "human36m", "panoptic")
    assert isinstance(converted, jnp.ndarray)
    assert converted.dtype == jnp.float32


def test_confidence_of_a_derived_joint_is_its_worst():
    confidence = RNG.uniform(size=(4, 17))
    converted = skeletons.convert_confidence(confidence, "coco", "human36m")
    coco, h36m = get_skeleton("coco"), get_skeleton("human36m")
    hips = confidence[:, [coco.index("left_hip"), coco.index("right_hip")]]
    np.testing.assert_array_equal(converted[:, h36m.index("hip")], hips.min(axis=1))


def test_errors_name_the_cure():
    with pytest.raises(LiftjaxError, match="human36m"):
        get_skeleton("human3.6m")
    with pytest.raises(LiftjaxError, match="No conversion panoptic -> human36m"):
        convert(RNG.normal(size=(15, 3)), "panoptic", "human36m")
    with pytest.raises(LiftjaxError, match=r"17 joints.*panoptic has 15"):
        convert(RNG.normal(size=(17, 3)), "panoptic", "panoptic")
    with pytest.raises(LiftjaxError, match="no root"):
        _ = get_skeleton("coco").root_index
