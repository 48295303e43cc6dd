"""Joint sets: golden order, mirrors, and conversions that keep geometry."""

import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import skeletons
from liftjax.errors import LiftjaxError
from liftjax.skeletons import SKELETONS, convert, get_skeleton

RNG = np.random.default_rng(0)
ALL_PAIRS = [(a, b) for a in SKELETONS for b in SKELETONS]
PAIRS = [pair for pair in ALL_PAIRS if not skeletons.missing_joints(*pair)]


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
    np.testing.assert_allclose(
        convert(pose[..., a.flip_permutation, :], source, target),
        converted[..., b.flip_permutation, :],
        atol=1e-12,
    )


@pytest.mark.parametrize(("source", "target"), ALL_PAIRS)
def test_a_joint_is_copied_derived_or_missing(source, target):
    a, b = get_skeleton(source), get_skeleton(target)
    found = skeletons.correspondence(source, target)
    for joint in b.joints:
        copied = joint in a.joints
        kinds = (skeletons.derived_joints, skeletons.missing_joints)
        assert copied + sum(joint in kind(source, target) for kind in kinds) == 1
        if copied:
            assert found[joint] == {joint: 1.0}
        elif joint in found:
            assert sum(found[joint].values()) == pytest.approx(1)


def test_the_arrows_are_those_the_module_lists():
    """The table in the docstring, whatever the rules are."""
    body = ("hip", "spine", "thorax", "head_top")
    listed = {
        ("human36m", "panoptic"): {"neck"},
        ("coco", "human36m"): set(body),
        ("coco", "panoptic"): {"hip", "neck"},
        ("body25", "human36m"): set(body[1:]),
        ("halpe26", "human36m"): {"spine", "thorax"},
        ("body25b", "human36m"): set(body[:3]),
        ("body25b", "panoptic"): {"hip", "neck"},
        ("body25b", "body25"): {"hip", "neck"},
        ("wholebody", "human36m"): set(body),
        ("wholebody", "panoptic"): {"hip", "neck"},
        ("wholebody", "body25"): {"hip", "neck"},
        ("body25", "panoptic"): set(),
        ("halpe26", "panoptic"): set(),
        ("halpe26", "body25"): set(),
        ("wholebody", "halpe26"): {"hip", "neck", "head_top"},
        ("body25", "halpe26"): {"head_top"},
        ("body25b", "halpe26"): {"hip", "neck"},
        ("body25b", "mpii"): {"hip", "thorax"},
        ("body25b", "posetrack18"): set(),
        ("posetrack18", "human36m"): set(body[:3]),
        ("posetrack18", "panoptic"): {"hip", "neck"},
        ("posetrack18", "mpii"): {"hip", "thorax"},
        **{(a, "coco"): set() for a in ("body25", "halpe26", "body25b", "wholebody")},
    }
    assert {p for p in PAIRS if p[0] != p[1]} == set(listed)
    for pair, derived in listed.items():
        assert set(skeletons.derived_joints(*pair)) == derived


def test_the_face_mirrors():
    """The outer corners of the eyes, the corners of the lips, the ends of the jaw."""
    body = get_skeleton("wholebody")
    for a, b in ((36, 45), (39, 42), (41, 46), (48, 54), (59, 55), (60, 64), (67, 65), (0, 16)):
        assert body.flip_permutation[body.index(f"face_{a}")] == body.index(f"face_{b}")
    for middle in (8, 27, 30, 33, 51, 57, 62, 66):
        i = body.index(f"face_{middle}")
        assert body.flip_permutation[i] == i


def test_conversion_keeps_library_and_dtype():
    pose = jnp.ones((2, 17, 3), jnp.float32)
    converted = convert(pose, "human36m", "panoptic")
    assert isinstance(converted, jnp.ndarray)
    assert converted.dtype == jnp.float32


@pytest.mark.parametrize("library", [np, jnp])
def test_whole_pixels_are_converted_as_others(library):
    pixels = RNG.integers(0, 300, (2, 17, 2))
    expected = convert(pixels.astype(np.float64), "coco", "panoptic")
    found = convert(library.asarray(pixels, np.int32), "coco", "panoptic")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


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
