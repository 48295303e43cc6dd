import json

import jax
import numpy as np
import pytest
from flax import nnx

from liftjax import evaluation, prediction
from liftjax.cli import main
from liftjax.data.records import PoseDataset
from liftjax.detectors.spec import Decoding, DetectorSpec, HeatmapOutput
from liftjax.errors import LiftjaxError
from liftjax.lifters.mirror import mirror_2d, mirror_3d
from liftjax.recipes import load_recipe
from liftjax.registry import create_lifter
from liftjax.skeletons import get_skeleton
from liftjax.training.run import train
from tests.data.builders import DOT_JOINT, make_dataset, make_record
from tests.lifters.small import lift
from tests.slow import slow

SHARP = Decoding(beta=10.0)


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
    kpts = prediction.predict_2d(BrightestPixel(), dataset, batch_size=4, decoding=SHARP)
    truth = dataset.labels["joints_px"][:, DOT_JOINT]
    assert np.abs(kpts[:, DOT_JOINT] - truth).max() < 1.0


def test_the_batch_size_changes_nothing(dataset):
    whole = prediction.predict_2d(BrightestPixel(), dataset, batch_size=11, decoding=SHARP)
    parts = prediction.predict_2d(BrightestPixel(), dataset, batch_size=4, decoding=SHARP)
    np.testing.assert_allclose(whole, parts, atol=1e-4)


def test_lifting_many_poses_equals_lifting_them_in_parts(monkeypatch):
    lifter = create_lifter("simple_baseline", rngs=nnx.Rngs(0), linear_size=8, num_stages=1)
    rng = np.random.default_rng(0)
    kpts = rng.normal(size=(7, 17, 2)).astype(np.float32)
    size = np.full((7, 2), 1000)
    whole = prediction.lift(lifter, kpts, size)
    monkeypatch.setattr(prediction, "_LIFT_BATCH", 3)
    np.testing.assert_allclose(prediction.lift(lifter, kpts, size), whole, atol=1e-5)


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


def test_the_truth_has_all_of_pdj_where_torsos_are_labelled():
    rng = np.random.default_rng(0)
    labels = {
        "joint_visible": np.ones((2, 17), bool),
        "joints_px": rng.uniform(0, 90, (2, 17, 2)),
        "pose_m": np.zeros((2, 17, 3)),
        "has_3d": np.zeros(2, bool),
        "box_xyxy": np.tile([0.0, 0, 100, 50], (2, 1)),
        "action": np.array(["val2017"] * 2),
    }
    joints = get_skeleton("human36m")
    ends = [joints.index("left_shoulder"), joints.index("right_hip")]
    labels["joint_visible"][1, ends] = False
    labels["joints_px"][1, ends] = 45  # one stand-in for both
    report = evaluation.report(labels, "human36m", labels["joints_px"], {})
    assert (report["pck"], report["pdj"]) == (100, 100)
    labels["joint_visible"][0, ends[1]] = False
    report = evaluation.report(labels, "human36m", labels["joints_px"], {})
    assert report["pdj"] is None
    table = evaluation.format_report({"gt": report}, "").splitlines()[-1]
    assert table.split("|")[-2].strip() == "-"


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


# Lifters by themselves


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips, of 23 and 4 frames, from two cameras."""
    from data_prep.building import write_dataset

    directory = tmp_path_factory.mktemp("clips") / "set"
    common = {"has_3d": True, "subject": "S9", "with_picture": False}
    records = [make_record(i, camera="a", action="Walking", **common) for i in range(23)]
    records += [make_record(i, camera="b", action="Sitting", **common) for i in range(4)]
    write_dataset(directory, "toy", {"test": records}, {"keypoints": "a test's own"})
    return PoseDataset.open(directory, "test")


def by_hand(lifter, dataset, before, flip=False):
    """Every clip padded whole by repetition, one call a clip, as VideoPose3D tests."""
    poses = np.empty((27, 17, 3), np.float32)
    for rows in (np.arange(23), np.arange(23, 27)):
        after = lifter.spec.receptive_field - 1 - before
        px = np.pad(dataset.labels["joints_px"][rows], ((before, after), (0, 0), (0, 0)), "edge")
        px, size = jax.numpy.asarray(px[None]), jax.numpy.asarray(dataset.labels["image_size"][:1])
        lifted = lift(lifter, px, size)
        if flip:
            other = lift(lifter, mirror_2d(px, size, "human36m"), size)
            lifted = (lifted + mirror_3d(other, "human36m")) / 2
        poses[rows] = lifted[0]
    return poses


@pytest.mark.parametrize(
    ("causal", "flip"), [slow(False, False), (False, True), (True, False), slow(True, True)]
)
def test_a_temporal_lifter_is_evaluated_on_whole_clips(clips, causal, flip, monkeypatch):
    monkeypatch.setattr(prediction, "_SLIDE", 10)  # several windows a clip
    lifter = create_lifter("videopose3d", num_frames=9, rngs=nnx.Rngs(0), channels=8, causal=causal)
    found = prediction.lift_dataset(lifter, clips, flip)
    expected = by_hand(lifter, clips, before=8 if causal else 4, flip=flip)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_a_lifter_of_exact_clips_is_evaluated_as_its_authors_cut_them(clips):
    lifter = create_lifter("mixste", num_frames=9, rngs=nnx.Rngs(0), embed_dim=8, depth=1)
    found = prediction.lift_dataset(lifter, clips)
    px, size = clips.labels["joints_px"], jax.numpy.asarray(clips.labels["image_size"][:1])
    for rows, kept in (
        (np.arange(9), slice(None)),
        (np.arange(9, 18), slice(None)),
        (np.arange(14, 23), slice(4, None)),  # 14 to 17 come from the window before
        (np.array([23, 24, 25, 26, 26, 26, 26, 26, 26]), slice(0, 4)),
    ):
        lifted = lifter.lift(jax.numpy.asarray(px[rows][None]), size)[0]
        np.testing.assert_allclose(found[rows[kept]], lifted[kept], atol=1e-5)


def test_a_lifter_of_single_frames_gives_what_lift_gives(clips):
    lifter = create_lifter("simple_baseline", rngs=nnx.Rngs(0), linear_size=8, num_stages=1)
    found = prediction.lift_dataset(lifter, clips)
    expected = prediction.lift(lifter, clips.labels["joints_px"], clips.labels["image_size"])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_lifters_report_by_hand():
    truth = np.random.default_rng(0).normal(size=(3, 17, 3))
    moved = truth + np.array([0.010, 0.020, 0.060]).reshape(3, 1, 1) * np.array([1.0, 0, 0])
    labels = {"pose_m": truth, "action": np.array(["Walking", "Walking", "Sitting"])}
    report = evaluation.lifter_report(moved, labels)
    assert report["mpjpe"] == pytest.approx(
        {"Sitting": 60.0, "Walking": 15.0, "average": 30.0, "mean of actions": 37.5}
    )
    assert max(report["p_mpjpe"].values()) < 1e-6


@pytest.mark.parametrize("strided", [False, True])
def test_evaluate_takes_a_lifters_run(clips, tmp_path, capsys, strided):
    recipe = load_recipe(
        "lifter",
        [
            f"data.dir={clips.directory}", "data.split=test", "batch_size=4", "steps=2",
            "lifter.name=videopose3d", "lifter.num_frames=9", "lifter.overrides.channels=8",
            "optim.warmup_steps=0",
            *(["lifter.overrides.strided=True"] if strided else []),
        ],
    )  # fmt: skip
    train(recipe, tmp_path / "run")
    config = load_recipe(str(tmp_path / "run" / "config.json"), ["lifter.flip_test=True"])
    rows = evaluation.evaluate_run(config, str(tmp_path / "run"))
    said = capsys.readouterr().out
    for part in ("27 poses of S9", "2D input: a test's own", "9 frames a pose", "mirrored input"):
        assert part in said
    for column in ("Sitting", "Walking", "average", "mean of actions", "P-MPJPE"):
        assert column in said
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["rows"] == rows


def test_a_lifter_of_other_joints_is_refused(clips, tmp_path):
    make_dataset(
        tmp_path / "panoptic", count=3, with_picture=False, has_3d=True, skeleton="panoptic",
        joints_px=np.zeros((15, 2)), joint_visible=np.ones(15, bool), pose_m=np.zeros((15, 3)),
    )  # fmt: skip
    settings = [
        f"data.dir={tmp_path / 'panoptic'}", "data.split=train", "steps=1", "batch_size=2",
        "optim.warmup_steps=0", "lifter.name=videopose3d", "lifter.overrides.channels=8",
    ]  # fmt: skip
    train(load_recipe("lifter", settings), tmp_path / "run")
    config = load_recipe("lifter", [f"data.dir={clips.directory}"])
    with pytest.raises(LiftjaxError, match=r"is for panoptic, .* has human36m poses"):
        evaluation.evaluate_run(config, str(tmp_path / "run"))


def test_tables_stay_printed_where_their_file_cannot_be_written(clips, tmp_path, capsys):
    settings = [
        f"data.dir={clips.directory}", "data.split=test", "batch_size=4", "steps=1",
        "lifter.overrides.linear_size=8", "lifter.overrides.num_stages=1", "optim.warmup_steps=0",
    ]  # fmt: skip
    train(load_recipe("lifter", settings), tmp_path / "run")
    capsys.readouterr()
    (tmp_path / "run" / "evaluation.json").mkdir()  # refuses the owner of all files too
    assert main(["evaluate", "--workdir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert "27 poses of S9" in said.out
    file = tmp_path / "run" / "evaluation.json"
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: Could not write {file}: Is a directory; the tables above are whole. For the file "
        "make the run directory writable, or evaluate a copy of it."
    ]
