import collections

import numpy as np
import pytest

from data_prep.synthetic import labels
from data_prep.synthetic.cameras import CAMERAS
from data_prep.synthetic.motions import ACTIONS
from liftjax import geometry
from liftjax.errors import LiftjaxError

CROP = (32, 24)


def _labelled(split="train", count=120, seed=0):
    moments = [labels.moment(split, i) for i in range(count)]
    points = np.stack([labels.pose_of(seed, split, m)[0] for m in moments])
    return moments, points, labels.label(moments, points, CROP)


@pytest.mark.parametrize("split", labels.SPLITS)
def test_subjects_actions_and_cameras_appear_evenly(split):
    subjects = labels.SPLITS[split]
    combinations = len(subjects) * len(ACTIONS) * len(CAMERAS)
    seen = [labels.moment(split, i) for i in range(2 * combinations)]
    keys = collections.Counter((m.subject.name, m.action, m.camera.name) for m in seen)
    assert len(keys) == combinations
    assert set(keys.values()) == {2}
    # No pose comes twice, and a short beginning is balanced already.
    assert len({(m.subject.name, m.action, m.number) for m in seen}) == len(seen)
    start = collections.Counter(m.subject.name for m in seen[: len(ACTIONS) * len(CAMERAS)])
    assert max(start.values()) - min(start.values()) <= len(CAMERAS)


def test_labels_agree_with_one_another():
    for record in _labelled()[2]:
        record = record.validate()
        cam = np.asarray(record.pose_m, float) + record.root_m
        px = geometry.project(cam, record.camera_K, record.camera_distortion)
        np.testing.assert_allclose(px, record.joints_px, atol=1e-3)
        assert (record.pose_m[0] == 0).all()
        assert record.joint_visible[0]


def test_labels_are_the_points_seen_by_the_camera():
    moments, points, records = _labelled(count=8)
    for moment, world, record in zip(moments, points, records, strict=True):
        cam = world[:17] @ moment.camera.R.T + moment.camera.t
        np.testing.assert_allclose(record.pose_m + record.root_m, cam, atol=1e-12)
        assert (cam[:, 2] > 1).all()


def test_stored_region_holds_the_box_with_its_margin():
    for record in _labelled(count=30)[2]:
        to_stored = geometry.invert_affine(record.stored_to_image)
        corners = geometry.apply_affine(to_stored, record.box_xyxy.reshape(2, 2).astype(float))
        height, width = CROP
        share = (corners[1] - corners[0]) / (width, height)
        np.testing.assert_allclose(share.max(), 1 / labels.STORED_SCALE, atol=1e-6)
        middle = corners.mean(axis=0)
        np.testing.assert_allclose(middle, [(width - 1) / 2, (height - 1) / 2], atol=1e-6)


def test_poses_depend_on_seed_split_and_index_alone():
    first, again = _labelled(count=12)[1], _labelled(count=12)[1]
    np.testing.assert_array_equal(first, again)
    labels._poses.cache_clear()
    np.testing.assert_array_equal(first, _labelled(count=12)[1])
    assert np.abs(first - _labelled(count=12, seed=1)[1]).max() > 0.1
    assert np.abs(first - _labelled("poses", count=12)[1]).max() > 0.1


def test_unknown_split():
    with pytest.raises(LiftjaxError, match="did you mean 'train'"):
        labels.moment("trian", 0)
