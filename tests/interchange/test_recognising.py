"""Each published program's checkpoint becomes the same state_dict, with the right joints."""

import re

import numpy as np
import pytest

from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMPose
from liftjax.errors import LiftjaxError
from liftjax.interchange.recognising import known_networks, recognise
from liftjax.interchange.wrappings import unwrap
from tests.interchange.checkpoints import assert_same, mmpose_hrnet, prefixed, state_dict

COLOURS = {
    "data_preprocessor.mean": np.array([123.675, 116.28, 103.53]).reshape(3, 1, 1),
    "data_preprocessor.std": np.array([58.395, 57.12, 57.375]).reshape(3, 1, 1),
}


MARKS = [mark for files in known_networks() for mark in files.marks]


def meta(dataset: str, config: str = "") -> dict:
    return {"epoch": 210, "cfg": config, "dataset_meta": {"dataset_name": dataset}}


def test_every_container_and_wrapper_comes_off():
    state = state_dict("mixste")
    for container in ("state_dict", "model_state_dict", "model_pos", "best_state_dict", "model"):
        found, notes = unwrap({"epoch": 3, container: prefixed("module.", state)}, MARKS)
        assert_same(found, state)
        assert notes == [f"took {container}, left epoch", "stripped the prefix module."]
    nested, _ = unwrap({"model": {"state_dict": prefixed("model.module.", state)}}, MARKS)
    assert_same(nested, state)


NET = state_dict("videopose3d")
OTHER = {key: value + 1 for key, value in NET.items()}
SCALAR = np.zeros(())


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (prefixed("module.", NET) | {"n_averaged": SCALAR}, "left 1 array beside .* (n_averaged)"),
        ({"state_dict": prefixed("net.", NET) | {"val.total": SCALAR}}, "network (val.total)"),
        (
            prefixed("pose.lifter.", NET) | {"loss.w": np.ones(3)},
            "stripped the prefix pose.lifter.",
        ),
        ({"ema": NET, "optimizer": {}}, "took ema, left optimizer"),
        ({"model_ema": NET, "epoch": 3}, "took model_ema, left epoch"),
        ({"ema_state_dict": prefixed("module.", NET) | {"steps": SCALAR}}, "network (steps)"),
        ({"module": NET, "global_steps": 7}, "took module, left global_steps"),
        ({"lifter": NET, "optimizer": {"exp_avg": OTHER}}, "took lifter, left optimizer"),
        ({"weights": {"lr": 1}, "lifter": {"params": NET}}, "took lifter, left weights"),
        (prefixed("_fsdp_wrapped_module.", NET), "stripped _fsdp_wrapped_module. from the names"),
        (
            {key.replace("shrink.", "shrink._orig_mod."): value for key, value in NET.items()},
            "stripped _orig_mod. from the names",
        ),
        ({"state_dict": NET, "best_state_dict": prefixed("module.", NET)}, "left best_state_dict"),
        (
            prefixed("model.", NET) | prefixed("copy.", NET),
            f"left {len(NET)} arrays beside the network",
        ),
    ],
)
def test_what_stands_beside_a_network_is_left_and_told(tree, said):
    found = recognise(tree)
    assert_same(found.state, NET)
    assert re.search(re.escape(said).replace(r"\.\*", ".*"), "; ".join(found.notes))


@pytest.mark.parametrize(
    ("tree", "options"),
    [
        ({"state_dict": OTHER, "state_dict_ema": NET}, ("state_dict", "state_dict_ema")),
        ({"model": OTHER, "model_ema": NET, "lr": 1}, ("model", "model_ema")),
        ({"model": prefixed("module.", OTHER), "ema": {"module": NET}}, ("model", "ema")),
        ({"state_dict": OTHER, "ema_state_dict": NET}, ("state_dict", "ema_state_dict")),
        ({"a": OTHER, "b": NET}, ("a", "b")),
        (
            prefixed("online_model.", OTHER) | prefixed("ema_model.", NET),
            ("online_model", "ema_model"),
        ),
        (OTHER | prefixed("ema_model.", NET), ("", "ema_model")),
    ],
)
def test_of_two_networks_the_user_takes_one(tree, options):
    with pytest.raises(LiftjaxError) as error:
        recognise(tree)
    shown = " or ".join(f"--entry={option}" for option in options)
    assert str(error.value) == f"holds 2 networks with different weights; take one with {shown}."
    for option, state in zip(options, (OTHER, NET), strict=True):
        assert_same(recognise(tree, entry=option).state, state)


def test_an_entry_that_is_not_there():
    for tree, cure in (
        ({"state_dict": NET}, "leave out --entry"),
        (prefixed("a.", NET) | prefixed("b.", OTHER), "take one with --entry=a or --entry=b"),
    ):
        with pytest.raises(LiftjaxError, match=f"no network by the name of 'c'; {cure}"):
            recognise(tree, entry="c")


def test_mmengine_swaps_the_averages_and_the_weights():
    tree = {"meta": {"mmengine_version": "0.10.4"}, "state_dict": NET}
    found = recognise(tree | {"ema_state_dict": prefixed("module.", OTHER)})
    assert_same(found.state, NET)
    assert "state_dict holds the moving averages: MMEngine swaps them" in found.notes[1]


def test_a_head_beside_a_trunk_is_not_lost():
    state = state_dict("hrnet_tiny")
    trunk = {key: value for key, value in state.items() if not key.startswith("final_layer.")}
    tree = prefixed("encoder.", trunk) | {"decoder.weight": np.zeros((17, 8, 1, 1))}
    with pytest.raises(LiftjaxError, match=r"encoder\.\*, and 1 more .* --entry=encoder\."):
        recognise(tree)
    assert_same(recognise(tree, entry="encoder").state, trunk)


def test_mmpose_names_behind_a_wrapper_keep_their_head():
    state = state_dict("hrnet_tiny")
    tree = prefixed("model.", mmpose_hrnet(state)) | {"loss.weight": np.ones(3)}
    assert_same(recognise({"state_dict": tree}).state, state)


def test_a_dictionary_that_holds_itself():
    tree = {"epoch": 3}
    tree["state_dict"] = tree
    assert recognise(tree) is None


@pytest.mark.parametrize("name", ["simple_baseline", "videopose3d", "iganet", "mixste"])
def test_lifters(name):
    for tree in (state_dict(name), {"model_pos": prefixed("module.", state_dict(name)), "lr": 1}):
        found = recognise(tree)
        assert_same(found.state, state_dict(name))
        assert (found.skeleton, found.num_joints) == ("human36m", 17)
    for named in ("panoptic", "humaneva15"):  # of 15 joints each
        assert recognise(state_dict(name, "panoptic"), f"{named}.bin").skeleton == named
    assert recognise(state_dict(name, "panoptic")).skeleton is None


def test_the_trajectory_model_of_videopose3d_is_left():
    state = state_dict("videopose3d")
    other = {key: value + 1 for key, value in state.items()}
    found = recognise({"model_pos": state, "model_traj": other})
    assert_same(found.state, state)
    assert "left model_traj" in found.notes[0]


def test_simple_baseline_by_its_pytorch_authors_names():
    state = state_dict("simple_baseline")
    theirs = {key.replace("bn", "batch_norm"): value for key, value in state.items()}
    assert_same(recognise({"state_dict": theirs, "err": 45.5}).state, state)


def test_rtmpose():
    state = state_dict("rtmpose_tiny")
    found = recognise({"meta": meta("coco"), "state_dict": COLOURS | state, "message_hub": {}})
    assert_same(found.state, state)
    assert (found.skeleton, found.image_size, found.warnings) == ("coco", (128, 96), ())
    assert any("2 arrays (colour mean" in note for note in found.notes)


def test_other_colours_are_warned_about():
    other = COLOURS | {"data_preprocessor.mean": np.zeros((3, 1, 1))}
    found = recognise({"state_dict": other | state_dict("rtmpose_tiny")})
    assert len(found.warnings) == 1
    assert "colour mean (0.000, 0.000, 0.000)" in found.warnings[0]


def test_the_data_set_names_the_joints():
    state = state_dict("rtmpose_tiny")
    names = {"keypoint_id2name": dict(enumerate(["nose"] * 17)), "dataset_name": "h36m"}
    for dataset, skeleton in (("h36m", "human36m"), ("coco", "coco"), ("ap10k", None)):
        assert recognise({"meta": meta(dataset), "state_dict": state}).skeleton == skeleton
    assert recognise({"meta": {"dataset_meta": names}, "state_dict": state}).skeleton == "human36m"
    whole = recognise({"state_dict": state_dict("rtmpose_tiny", "wholebody")})
    assert (whole.skeleton, whole.num_joints) == ("wholebody", 133)
    assert whole.why == "the only set of 133 joints that it can be"


def test_joint_names_come_before_the_data_set():
    from liftjax.skeletons import COCO

    data = {"keypoint_id2name": dict(enumerate(COCO.joints)), "dataset_name": "humanart"}
    found = recognise({"meta": {"dataset_meta": data}, "state_dict": state_dict("rtmpose_tiny")})
    assert (found.skeleton, found.why) == ("coco", "the joint names in the file")


def test_backbone_of_rtmpose_without_its_head():
    state = state_dict("rtmpose_tiny")
    trunk = {key: value for key, value in state.items() if key.startswith("backbone.")}
    found = recognise({"state_dict": trunk | {"head.fc.weight": np.zeros((1000, 8))}})
    assert found.network is RTMPose
    assert found.num_joints is None
    assert_same(found.state, trunk)


@pytest.mark.parametrize("head", ["head", "keypoint_head"])
def test_hrnet_by_mmpose_names(head):
    state = state_dict("hrnet_tiny")
    tree = {"meta": meta("coco", "codec = dict(\n    input_size=(192, 256),")}
    found = recognise(tree | {"state_dict": COLOURS | mmpose_hrnet(state, head)})
    assert_same(found.state, state)
    assert (found.network, found.image_size) == (HRNet, (256, 192))


def test_hrnet_authors():
    found = recognise(state_dict("hrnet_tiny"), "pose_hrnet_w32_256x192.pth")
    assert_same(found.state, state_dict("hrnet_tiny"))
    assert (found.skeleton, found.image_size) == (None, (256, 192))
    assert recognise(state_dict("hrnet_tiny", "mpii")).skeleton == "mpii"


def test_l2d_pose_names_its_data_set():
    state = state_dict("hrnet_tiny")
    tree = {"model": "hrnet_h36m", "state_dict": state, "best_state_dict": state, "test_perf": 52.0}
    assert recognise(tree).skeleton == "human36m"


def test_imagenet_hrnet_gives_its_trunk():
    pose = state_dict("hrnet_tiny")
    trunk = {key: value for key, value in pose.items() if not key.startswith("final_layer.")}
    more = {f"stage4.0.fuse_layers.{i}.0.0.0.weight": np.zeros(1) for i in (1, 2, 3)}
    more |= {"incre_modules.0.0.conv1.weight": np.zeros(1), "classifier.weight": np.zeros(1)}
    more |= {"downsamp_modules.0.0.weight": np.zeros(1), "final_layer.0.weight": np.zeros(1)}
    found = recognise(trunk | more)
    assert_same(found.state, trunk)
    assert found.num_joints is None


def students(aligned: bool) -> dict:
    """A distiller's state_dict; student and teacher differ in every array."""
    student = state_dict("rtmpose_tiny", "wholebody")
    teacher = {key: value + 1 for key, value in student.items()}
    state = prefixed("student.", COLOURS | student) | prefixed("teacher.", COLOURS | teacher)
    align = {"distill_losses.loss_fea.align.weight": np.zeros(1)} if aligned else {}
    return {"state_dict": state | COLOURS | align, "meta": meta("coco_wholebody")}


def test_distiller_stage_one_gives_the_student():
    found = recognise(students(aligned=True))
    assert_same(found.state, state_dict("rtmpose_tiny", "wholebody"))
    assert any("stage 1: took the student" in note for note in found.notes)


def test_distiller_of_unlike_networks_is_stage_one():
    tree = students(aligned=False)
    del tree["state_dict"]["teacher.head.final_layer.bias"]
    assert_same(recognise(tree).state, state_dict("rtmpose_tiny", "wholebody"))


def test_distiller_stage_two_gives_the_students_head_on_the_teachers_backbone():
    found = recognise(students(aligned=False))
    student = state_dict("rtmpose_tiny", "wholebody")
    expected = {k: v + k.startswith("backbone.") for k, v in student.items()}
    assert_same(found.state, expected)
    assert found.skeleton == "wholebody"


def test_a_student_and_a_teacher_of_others_are_two_networks():
    """What DWPose's stages mean says nothing of them."""
    tree = prefixed("student.", NET) | prefixed("teacher.", OTHER)
    with pytest.raises(LiftjaxError, match="--entry=student or --entry=teacher"):
        recognise(tree)
    assert_same(recognise(tree, entry="teacher").state, OTHER)
    student = state_dict("rtmpose_tiny", "wholebody") | COLOURS
    assert_same(
        recognise(students(aligned=False), entry="student").state,
        {key: value for key, value in student.items() if key not in COLOURS},
    )


@pytest.mark.parametrize("tree", [{}, [], {"epoch": 3}, {"conv1.weight": np.zeros(3)}, None])
def test_what_is_none_of_ours(tree):
    assert recognise(tree) is None
