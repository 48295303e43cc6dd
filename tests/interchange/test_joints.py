"""Joints that are never misnamed: every published form says its set, or the importer asks."""

import json

import numpy as np
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.errors import LiftjaxError
from liftjax.interchange.importing import import_weights
from liftjax.interchange.recognising import recognise
from liftjax.nn.declaration import Source
from liftjax.nn.stated_joints import stated_joints
from liftjax.runtime.checkpoints import load_model
from liftjax.skeletons import SKELETONS, get_skeleton
from tests.interchange.checkpoints import mmpose_hrnet, save, state_dict
from tests.interchange.mmpose_lifters import mmpose_simple_baseline, mmpose_videopose3d

OLD = "data = dict(train=dict(type='{}', ann_file='a.json'), val=dict(type='{}'))\n"
COCO_WEIGHTS = [1.0] * 7 + [1.2, 1.2, 1.5, 1.5, 1.0, 1.0, 1.2, 1.2, 1.5, 1.5]


def config(dataset: str) -> dict:
    return {"config": OLD.format(dataset, dataset), "mmpose_version": "0.14.0"}


@pytest.mark.parametrize(
    ("source", "count", "skeleton"),
    [
        (Source(meta=config("TopDownH36MDataset")), 17, "human36m"),
        (Source(meta=config("TopDownCocoDataset")), 17, "coco"),
        (Source(meta=config("TopDownPoseTrack18Dataset")), 17, "posetrack18"),
        (Source(meta=config("AnimalAP10KDataset")), 17, None),
        (Source(meta=config("TopDownCocoWholeBodyDataset")), 133, "wholebody"),
        (Source(meta={"config": "dict(dataset_name='h36m', joint_weights=[1.0])"}), 17, "human36m"),
        (Source(meta={"dataset_meta": {"dataset_name": "posetrack18"}}), 17, "posetrack18"),
        (Source(meta={"cfg": f"joint_weights={[1.0] * 17}"}), 17, "human36m"),
        (Source(meta={"cfg": f"joint_weights={COCO_WEIGHTS}"}), 17, None),
        (Source("hrnet_w32_h36m_256x256-d3206675_20210621.pth"), 17, "human36m"),
        (Source("hrnet_w32_posetrack18_256x192-1ee951c4_20201028.pth"), 17, "posetrack18"),
        (Source("hrnet_w32_ap10k_256x256-18aac840_20211029.pth"), 17, None),
        (Source("rtmpose-m_simcc-aic-coco_pt-aic-coco_420e-256x192-63eb25f7.pth"), 17, "coco"),
        (Source("rtmpose-m_simcc-mpii_pt-aic-coco_210e-256x256-ec4dbec8.pth"), 16, "mpii"),
        (Source("rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0.pth"), 17, None),
        (Source("rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192.pth"), 26, "halpe26"),
        (Source("rtmpose-l_simcc-ucoco_dw-ucoco_270e-384x288-2438fd99.pth"), 133, "wholebody"),
        (Source("my_coco_model.pth", config("TopDownH36MDataset")), 17, None),
        (Source("best_coco_AP_epoch_210.pth"), 17, None),  # named after the measure
        (Source("h36m_16_joints.bin"), 16, None),
        (Source(meta={"dataset_meta": {"keypoint_id2name": {0: "nose", "1": "x"}}}), 17, None),
        (Source("pose.pth"), 17, None),
        (Source("pose.pth"), 15, None),
        (Source("pose.pth"), 12, None),
    ],
)
def test_all_that_tells_a_joint_set(source, count, skeleton):
    found, why = stated_joints(source, count)
    assert found == skeleton
    assert why


def test_sets_of_equal_count_are_named_where_nothing_tells():
    counts = [skeleton.num_joints for skeleton in SKELETONS.values()]
    for count in {count for count in counts if counts.count(count) > 1}:
        found, why = stated_joints(Source(), count)
        assert found is None
        for skeleton in SKELETONS.values():
            assert (skeleton.name in why) == (skeleton.num_joints == count)


def test_poses_have_a_root():
    assert stated_joints(Source(), 17, rooted=True)[0] == "human36m"
    for name in ("simple_baseline3d_mpi-inf-3dhp_1frame.pth", "best_epoch_3dhp_27f.bin"):
        assert stated_joints(Source(name), 17, rooted=True)[0] is None


@pytest.mark.parametrize(
    ("name", "joints", "said"),
    [
        ("mixste", {"source_skeleton": "coco"}, "have a root joint, which coco lacks"),
        ("iganet", {"source_skeleton": "coco", "skeleton": "human36m"}, "not both"),
        ("videopose3d", {"skeleton": "coco"}, "have a root joint, which coco lacks"),
    ],
)
def test_joints_that_a_lifter_cannot_have(tmp_path, name, joints, said):
    path = save(tmp_path / "w.pth", state_dict(name))
    with pytest.raises(LiftjaxError, match=said):
        import_weights(path, str(tmp_path / "run"), **joints)


def test_a_lifter_of_two_sets_asks_for_the_one_that_is_missing(tmp_path):
    """VideoPose3D's network for HumanEva takes COCO's 17 joints and gives 15."""
    state = state_dict("videopose3d")
    small = {k: v[:45] if k.startswith("shrink.") else v for k, v in state.items()}
    path = save(tmp_path / "w.pth", small)
    with pytest.raises(LiftjaxError, match=r"lifts 15 joints .* name their set with --skeleton"):
        import_weights(path, str(tmp_path / "run"), source_skeleton="coco")
    sets = {"source_skeleton": "coco", "skeleton": "humaneva15"}
    import_weights(path, str(tmp_path / "run"), **sets)
    spec = load_model(tmp_path / "run", "lifter")[0].spec
    assert (spec.skeleton_2d, spec.skeleton) == ("coco", "humaneva15")


@pytest.mark.parametrize("dataset", ["TopDownH36MDataset", "TopDownPoseTrack18Dataset"])
def test_hrnet_of_mmpose_0(tmp_path, dataset):
    state = mmpose_hrnet(state_dict("hrnet_tiny"), "keypoint_head")
    tree = {"meta": config(dataset), "state_dict": state}
    skeleton = {"TopDownH36MDataset": "human36m"}.get(dataset, "posetrack18")
    import_weights(save(tmp_path / "w.pth", tree), str(tmp_path / "run"))
    assert load_model(tmp_path / "run", "detector")[0].spec.skeleton == skeleton


def test_animals_are_refused(tmp_path):
    tree = {"meta": config("AnimalAP10KDataset"), "state_dict": state_dict("rtmpose_tiny")}
    with pytest.raises(LiftjaxError, match=r"whose set is unknown .*AP10K.* --num-joints 17"):
        import_weights(save(tmp_path / "w.pth", tree), str(tmp_path / "run"))


@pytest.mark.parametrize("head", ["keypoint_head", "head"])
def test_videopose3d_of_mmpose(head):
    torch = pytest.importorskip("torch")
    theirs = mmpose_videopose3d(widths=(3, 3), channels=8, head=head)
    found = recognise({"state_dict": theirs.state_dict()}, "videopose_h36m_9frames.pth")
    assert (found.skeleton_2d, found.skeleton) == ("human36m", "human36m")
    lifter = found.network(num_frames=9, channels=8, rngs=nnx.Rngs(0))
    torch_weights.load(lifter, found.state)
    x = np.random.default_rng(0).normal(size=(2, 11, 17, 2)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(lifter(x), expected, atol=1e-5)


@pytest.mark.parametrize("version", [0, 1])
def test_simple_baseline_of_mmpose(tmp_path, version):
    """It standardises 17 joints, gives 16 and keeps its statistics in its configuration."""
    torch = pytest.importorskip("torch")
    theirs, text = mmpose_simple_baseline(channels=8, version=version)
    meta = {("config", "cfg")[version]: text}
    path = save(
        tmp_path / "simple3Dbaseline_h36m.pth", {"meta": meta, "state_dict": theirs.state_dict()}
    )
    import_weights(path, str(tmp_path / "run"))
    lifter, _ = load_model(tmp_path / "run", "lifter")
    assert lifter.spec.skeleton == "human36m"
    kpts_px = np.random.default_rng(0).uniform(0, 1000, (3, 1, 17, 2)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.metres(torch.from_numpy(kpts_px[:, 0])).numpy()
    found = np.asarray(lifter.lift(kpts_px, np.full((3, 2), 1000)))[:, 0]
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)


def test_simple_baseline_of_16_joints(tmp_path):
    """The form of weigq/3d_pose_baseline_pytorch: no nose in the input, no hip in the poses."""
    state = state_dict("simple_baseline")
    nose, random = get_skeleton("human36m").index("nose"), np.random.default_rng(0)
    small = dict(state)
    small["w1.weight"] = np.delete(state["w1.weight"], [2 * nose, 2 * nose + 1], axis=1)
    for key in ("w2.weight", "w2.bias"):
        small[key] = state[key][3:]
    small = {key.replace("bn", "batch_norm"): value for key, value in small.items()}
    stats = {
        "mean_2d": random.normal(500, 9, (16, 2)), "std_2d": random.uniform(50, 99, (16, 2)),
        "mean_3d": random.normal(0, 99, (16, 3)), "std_3d": random.uniform(50, 200, (16, 3)),
    }  # fmt: skip
    lists = {key: value.tolist() for key, value in stats.items()}
    (tmp_path / "s.json").write_text(json.dumps(lists))
    path = save(tmp_path / "ckpt_best.pth.tar", {"state_dict": small, "err": 45.5})
    import_weights(path, str(tmp_path / "run"), stats=str(tmp_path / "s.json"), stats_unit="mm")
    lifter, _ = load_model(tmp_path / "run", "lifter")
    kpts_px = random.uniform(0, 1000, (2, 1, 17, 2)).astype(np.float32)
    size = np.full((2, 2), 1000)
    found = np.asarray(lifter.lift(kpts_px, size))[:, 0]
    x = (np.delete(kpts_px[:, 0], nose, axis=1) - stats["mean_2d"]) / stats["std_2d"]
    kpts_px[:, 0, nose] += 99  # which the network does not see
    np.testing.assert_array_equal(found, np.asarray(lifter.lift(kpts_px, size))[:, 0])
    np.testing.assert_array_equal(found[:, 0], 0)
    expected = _simple_baseline(small, x.reshape(2, -1)).reshape(2, 16, 3)
    expected = (expected * stats["std_3d"] + stats["mean_3d"]) / 1000
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-5)


def _simple_baseline(state: dict, x: np.ndarray) -> np.ndarray:
    """The network in NumPy, by its PyTorch authors' names."""

    def layer(x, front, number):
        norm = f"{front}batch_norm{number}."
        y = x @ state[f"{front}w{number}.weight"].T + state[f"{front}w{number}.bias"]
        y = (y - state[norm + "running_mean"]) / np.sqrt(state[norm + "running_var"] + 1e-5)
        return np.maximum(y * state[norm + "weight"] + state[norm + "bias"], 0)

    x = layer(x, "", 1)
    x = x + layer(layer(x, "linear_stages.0.", 1), "linear_stages.0.", 2)
    return x @ state["w2.weight"].T + state["w2.bias"]
