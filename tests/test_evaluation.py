import jax
import numpy as np
import pytest
from flax import nnx

from liftjax import evaluation
from liftjax.detectors.spec import DetectorSpec, HeatmapOutput
from liftjax.errors import LiftjaxError
from liftjax.registry import create_lifter
from liftjax.skeletons import get_skeleton
from tests.data.builders import DOT_JOINT, make_dataset


class BrightestPixel(nnx.Module):
    """A detector that finds the white dot of the toy pictures, in every joint's map."""

    def __init__(self, skeleton="human36m"):
        joints = get_skeleton(skeleton).num_joints
        self.spec = DetectorSpec(
            "heatmap", joints, (96, 72), stride=1, sigma=1.0, skeleton=skeleton
        )
        self.unused = nnx.Param(jax.numpy.zeros(1))

    def __call__(self, images, train=False):
        brightness = images.sum(-1, keepdims=True)
        return HeatmapOutput(brightness.repeat(self.spec.num_joints, axis=-1))

    def decode(self, out, beta, normalizer="softmax", quarter_pixel=False):
        flat = out.heatmaps.reshape(len(out.heatmaps), -1, self.spec.num_joints)
        bright = jax.nn.softmax(beta * flat, axis=1)
        y, x = np.divmod(np.arange(flat.shape[1]), self.spec.image_size[1])
        place = jax.numpy.asarray(np.stack([x, y], -1), flat.dtype)
        return jax.numpy.einsum("bnk,nd->bkd", bright, place)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("toy") / "set", count=11, has_3d=True)


def test_predictions_are_in_pixels_of_the_original_image_and_in_order(dataset):
    kpts = evaluation.predict_2d(BrightestPixel(), dataset, batch_size=4, beta=10.0)
    truth = dataset.labels["joints_px"][:, DOT_JOINT]
    assert np.abs(kpts[:, DOT_JOINT] - truth).max() < 1.0


def test_the_batch_size_changes_nothing(dataset):
    whole = evaluation.predict_2d(BrightestPixel(), dataset, batch_size=11, beta=10.0)
    parts = evaluation.predict_2d(BrightestPixel(), dataset, batch_size=4, beta=10.0)
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_lifting_many_poses_equals_lifting_them_in_parts(monkeypatch):
    lifter = create_lifter("simple_baseline", rngs=nnx.Rngs(0), linear_size=8, num_stages=1)
    rng = np.random.default_rng(0)
    kpts = rng.normal(size=(7, 17, 2)).astype(np.float32)
    size = np.full((7, 2), 1000)
    whole = evaluation.lift(lifter, kpts, size)
    monkeypatch.setattr(evaluation, "_LIFT_BATCH", 3)
    np.testing.assert_allclose(evaluation.lift(lifter, kpts, size), whole, atol=1e-5)


def test_report_of_hand_made_predictions():
    pose = np.zeros((3, 17, 3))
    labels = {
        "joint_visible": np.ones((3, 17), bool),
        "joints_px": np.zeros((3, 17, 2)),
        "pose_m": pose,
        "has_3d": np.ones(3, bool),
        "box_xyxy": np.tile([0.0, 0, 100, 50], (3, 1)),
        "action": np.array(["Walking", "Walking", "Sitting"]),
    }
    kpts = np.zeros((3, 17, 2))
    kpts[0, :, 0] = 19.9  # inside 20 % of the box's longer side
    kpts[1, :, 0] = 20.1  # outside
    shifted = pose + np.array([0.010, 0.020, 0.060]).reshape(3, 1, 1) * np.array([1.0, 0, 0])
    report = evaluation.report(labels, "human36m", kpts, {"sb": shifted, "perfect": pose})
    assert report["samples"] == 3
    assert report["pck"] == pytest.approx(100 * 2 / 3)
    assert report["lifters"]["sb"]["mpjpe"] == pytest.approx(30.0)
    assert report["lifters"]["sb"]["p_mpjpe"] == pytest.approx(0.0, abs=1e-9)
    # The average is over frames, not over the two actions.
    by_action = report["lifters"]["sb"]["per_action"]
    assert by_action == pytest.approx({"Sitting": 60.0, "Walking": 15.0, "average": 30.0})
    assert report["mean"] == pytest.approx(15.0)


def test_ground_truth_has_perfect_2d(dataset):
    lifter = create_lifter("videopose3d", rngs=nnx.Rngs(0), channels=8)
    report, kpts, poses = evaluation.evaluate(None, {"vp": lifter}, dataset)
    assert report["pck"] == 100
    np.testing.assert_array_equal(kpts, dataset.labels["joints_px"])
    assert poses["vp"].shape == (11, 17, 3)


@pytest.mark.parametrize("skeleton", ["panoptic", "coco"])  # the latter has as many joints
def test_another_joint_set_is_refused_by_name(dataset, skeleton):
    with pytest.raises(LiftjaxError, match=rf"finds {skeleton} joints, .* has human36m"):
        evaluation.evaluate(BrightestPixel(skeleton), {}, dataset)
    panoptic = create_lifter("videopose3d", skeleton="panoptic", rngs=nnx.Rngs(0), channels=8)
    with pytest.raises(LiftjaxError, match="panoptic has 15"):
        evaluation.evaluate(None, {"vp": panoptic}, dataset)


def test_tables_are_markdown_with_a_column_a_lifter(dataset):
    lifter = create_lifter("videopose3d", rngs=nnx.Rngs(0), channels=8)
    row = evaluation.evaluate(None, {"vp": lifter}, dataset)[0]
    text = evaluation.format_report({"gt": row}, "protocol")
    assert text.startswith("protocol\n\n| 2D input")
    assert "Walking" in text
    assert len({len(line) for line in text.split("\n\n")[1].splitlines()}) == 1
