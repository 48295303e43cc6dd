"""Whose checkpoint is this: the networks of the published programs, by the names in their files.

`recognise` takes the tree of a file to the state_dict of one of our networks. It goes in three
steps: out of what the training program saved around and beside the network (`wrappings`), out of
distillation, and past what a family keeps beside it. Each family is one function that knows its own
by a name or two and returns None for all others.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import nnx

from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMPose
from liftjax.detectors.spec import IMAGENET_MEAN, IMAGENET_STD
from liftjax.errors import LiftjaxError
from liftjax.interchange.wrappings import (
    State,
    dictionaries,
    network_alone,
    notes_on,
    unwrap,
)
from liftjax.lifters.iganet import IGANet
from liftjax.lifters.mixste import MixSTE
from liftjax.lifters.simple_baseline import SimpleBaseline
from liftjax.lifters.videopose3d import VideoPose3D
from liftjax.skeletons import SKELETONS

_RTMPOSE = "backbone.stem.0.conv.weight"  # tells RTMPose, and DWPose


class Found(NamedTuple):
    """A network in a file.

    Attributes:
      family: whose file it is, in words.
      network: our class. state: name -> array, under our names.
      num_joints: that it finds or lifts; None if the file is a trunk without a head.
      skeleton: joint set of the file; None if it cannot be told. why: where that is known from.
      image_size: (height, width) if the file tells it.
      notes: one line each on what was taken or left out, and why.
      warnings: one line each on what the user should look at.
    """

    family: str
    network: type[nnx.Module]
    state: State
    num_joints: int | None
    skeleton: str | None
    why: str
    image_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def recognise(tree: Any, name: str = "", entry: str | None = None) -> Found | None:
    """The network in the tree of a weight file, or None if it is none of ours.

    Args:
      name: the file's: HRNet's take any image size, and theirs is in their names.
      entry: the dictionary, or the beginning of names, to take where there are several networks.

    Raises:
      LiftjaxError: it does not say which of several things is the network. The text goes on from
        the name of the file.
    """
    inside = entry in dictionaries(tree)
    state, notes = unwrap(tree, entry if inside else None)
    meta = tree.get("meta") if isinstance(tree, Mapping) else None
    meta = meta if isinstance(meta, Mapping) else {}
    facts = {"meta": meta, "model": _text(tree, "model"), "name": name}
    beginning = None if inside else entry
    if beginning is None:
        state, more = _student(state)
        notes += more
    state, front, left = network_alone(state, beginning)
    notes += notes_on(front, left)
    for family in (_rtmpose, _hrnet, _simple_baseline, _videopose3d, _iganet, _mixste):
        found = family(state, facts)
        if found is not None:
            if entry is None and found.num_joints is None and front and left:
                raise LiftjaxError(_headless(front, left))
            return found._replace(notes=(*notes, *found.notes))
    return None


def _headless(front: str, left: list[str]) -> str:
    """A network without a head may be all there is, but what stands beside it may be its head."""
    return (
        f"holds a network without a head, {front}*, and {len(left)} more arrays, which may be the "
        f"head, such as {left[0]}; to leave them add --entry={front.removesuffix('.')}."
    )


def _text(tree: Any, key: str) -> str:
    value = tree.get(key) if isinstance(tree, Mapping) else None
    return value if isinstance(value, str) else ""


def _student(state: State) -> tuple[State, list[str]]:
    """The network that DWPose's distiller trained.

    Stage 1 trains a student whole. Stage 2 trains a new head for a backbone that stays: the saved
    student has a backbone that never saw an image, the teacher the one that the head belongs to.
    Then teacher and student are alike; in stage 1 the teacher is the larger one.
    """
    student, teacher = _part(state, "student."), _part(state, "teacher.")
    if _RTMPOSE not in student or _RTMPOSE not in teacher:
        return state, []
    others = len(state) - len(student) - len(teacher)
    aligned = any(key.startswith("distill_losses.loss_fea") for key in state)
    alike = {k: v.shape for k, v in student.items()} == {k: v.shape for k, v in teacher.items()}
    if aligned or not alike:
        note = f"distiller, stage 1: took the student, left {len(teacher)} arrays of the teacher"
        return student, [f"{note} and {others} others"]
    backbone = {k: v for k, v in teacher.items() if k.startswith("backbone.")}
    head = {k: v for k, v in student.items() if not k.startswith("backbone.")}
    note = (
        "distiller, stage 2: took the student's head and the teacher's backbone, which it was "
        f"trained on; left the teacher's head, the student's untrained backbone and {others} others"
    )
    return backbone | head, [note]


def _part(state: State, prefix: str) -> State:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _without(state: State, reasons: Mapping[str, str]) -> tuple[State, list[str]]:
    """`state` without the names that match a pattern of `reasons`; and a note on each group."""
    notes = []
    for pattern, reason in reasons.items():
        dropped = [key for key in state if re.match(pattern, key)]
        if dropped:
            notes.append(f"left {len(dropped)} arrays ({reason})")
            state = {key: value for key, value in state.items() if key not in dropped}
    return state, notes


def _rtmpose(state: State, facts: dict) -> Found | None:
    if _RTMPOSE not in state:
        return None
    family = "MMPose, RTMPose or DWPose"
    state, warnings, notes = _without_mmpose_extras(state)
    if "head.cls_x.weight" not in state:
        family = "MMPose, CSPNeXt backbone"
        state, more = _without(state, {r"head\.|neck\.": "another network's head"})
        notes += more
        return Found(family, RTMPose, state, None, None, "no head", None, tuple(notes), warnings)
    joints = state["head.final_layer.weight"].shape[0]
    skeleton, why = _mmpose_skeleton(facts["meta"], joints)
    bins = [state[f"head.cls_{axis}.weight"].shape[0] for axis in "yx"]
    image_size = (bins[0] // 2, bins[1] // 2)
    return Found(family, RTMPose, state, joints, skeleton, why, image_size, tuple(notes), warnings)


def _without_classifier(state: State) -> tuple[State, list[str]]:
    """The trunk of an ImageNet classifier, whose last exchange also feeds the coarse branches."""
    last = max(int(found[1]) for key in state if (found := re.match(r"stage4\.(\d+)\.", key)))
    reasons = {
        r"incre_modules\.|downsamp_modules\.|classifier\.|final_layer\.\d+\.": "the classifier",
        rf"stage4\.{last}\.fuse_layers\.[123]\.": "branches that only the classifier reads",
    }
    return _without(state, reasons)


def _hrnet(state: State, facts: dict) -> Found | None:
    notes, warnings = [], ()
    if "backbone.stage4.0.branches.0.0.conv1.weight" in state:
        family = "MMPose, HRNet"
        state, warnings, notes = _without_mmpose_extras(state)
        state = {re.sub(r"^(backbone|head|keypoint_head)\.", "", k): v for k, v in state.items()}
        notes.append("renamed backbone.* and head.* to the HRNet authors' names")
    elif "stage4.0.branches.0.0.conv1.weight" in state:
        family = "L2D-Pose, HRNet" if facts["model"].startswith("hrnet_") else "HRNet's authors"
    else:
        return None
    if "classifier.weight" in state:
        family = "HRNet's authors, ImageNet classification"
        state, more = _without_classifier(state)
        notes += more
    joints, skeleton, why = None, None, "no head"
    if "final_layer.weight" in state:
        joints = state["final_layer.weight"].shape[0]
        if family == "MMPose, HRNet":
            skeleton, why = _mmpose_skeleton(facts["meta"], joints)
        else:
            skeleton, why = _hrnet_skeleton(facts["model"], joints)
    image_size = _image_size(facts["meta"], facts["name"])
    return Found(family, HRNet, state, joints, skeleton, why, image_size, tuple(notes), warnings)


def _simple_baseline(state: State, facts: dict) -> Found | None:
    if "linear_stages.0.w1.weight" not in state:
        return None
    state = {key.replace("batch_norm", "bn"): value for key, value in state.items()}
    return _lifter("SimpleBaseline", SimpleBaseline, state, state["w1.weight"].shape[1] // 2)


def _videopose3d(state: State, facts: dict) -> Found | None:
    if "expand_conv.weight" not in state or "shrink.weight" not in state:
        return None
    joints = state["expand_conv.weight"].shape[1] // 2
    return _lifter("VideoPose3D", VideoPose3D, state, joints)


def _iganet(state: State, facts: dict) -> Found | None:
    if "IGANet.blocks.0.norm1.weight" not in state:
        return None
    joints = state["IGANet.blocks.0.norm1.weight"].shape[0]
    found = _lifter("IGANet", IGANet, state, joints)
    note = () if "A" in state else ("made the skeleton graph, which the file leaves out",)
    return found._replace(notes=note)


def _mixste(state: State, facts: dict) -> Found | None:
    if "Spatial_pos_embed" not in state or "TTEblocks.0.attn.qkv.weight" not in state:
        return None
    return _lifter("MixSTE", MixSTE, state, state["Spatial_pos_embed"].shape[1])


def _lifter(family: str, network: type[nnx.Module], state: State, joints: int) -> Found:
    skeleton = {17: "human36m", 15: "panoptic"}.get(joints)
    why = f"what {joints} joints mean for a lifter"
    return Found(family, network, state, joints, skeleton, why)


def _without_mmpose_extras(state: State) -> tuple[State, tuple[str, ...], list[str]]:
    """`state` without what MMPose keeps beside the network; warnings; notes."""
    warnings = _colour_warnings(state)
    reasons = {
        r"data_preprocessor\.": "colour mean and deviation, which liftjax has in its own spec",
        r"ema_": "moving averages beside the weights",
    }
    state, notes = _without(state, reasons)
    return state, warnings, notes


def _colour_warnings(state: State) -> tuple[str, ...]:
    """What differs between MMPose's colour statistics and the ImageNet ones of our specs."""
    warnings = []
    for name, ours in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        given = state.get(f"data_preprocessor.{name}")
        if given is None:
            continue
        theirs = [float(value) / 255 for value in given.reshape(-1)]
        if len(theirs) != 3 or max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) > 1e-3:
            shown = ", ".join(f"{value:.3f}" for value in theirs)
            warnings.append(f"trained with colour {name} ({shown}), liftjax feeds it {ours}")
    return tuple(warnings)


_DATASETS = {
    "coco": "coco", "coco_wholebody": "wholebody", "ubody2d": "wholebody", "halpe26": "halpe26",
    "mpii": "mpii", "h36m": "human36m",
}  # fmt: skip


def _mmpose_skeleton(meta: Mapping, joints: int) -> tuple[str | None, str]:
    """By the joint names or the data set's name in the file; without those, by MMPose's custom."""
    data = meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else {}
    names = data.get("keypoint_id2name")
    if isinstance(names, Mapping):
        joined = tuple(str(names[key]) for key in sorted(names))
        for skeleton in SKELETONS.values():
            if skeleton.joints == joined:
                return skeleton.name, "the joint names in the file"
    if isinstance(dataset := data.get("dataset_name"), str):
        return _DATASETS.get(dataset), f"the file's data set, {dataset}"
    usual = {17: "coco", 133: "wholebody", 26: "halpe26", 16: "mpii"}
    return usual.get(joints), f"MMPose's custom for {joints} joints; the file does not say"


def _hrnet_skeleton(model: str, joints: int) -> tuple[str | None, str]:
    """L2D-Pose's trainer names its data set; the HRNet authors' files say nothing."""
    if model.startswith("hrnet_"):
        return {17: "human36m", 15: "panoptic"}.get(joints), f"its trainer's name, {model}"
    usual = {17: "coco", 16: "mpii"}
    return usual.get(joints), f"the HRNet authors' custom for {joints} joints; no file says"


def _image_size(meta: Mapping, name: str) -> tuple[int, int] | None:
    """(height, width) from the configuration that MMPose stores, or such as 256x192 in `name`."""
    text = next((meta[key] for key in ("cfg", "config") if isinstance(meta.get(key), str)), "")
    if found := re.search(r"(?:input_size|image_size)=[\[(](\d+),\s*(\d+)[\])]", text):
        return int(found[2]), int(found[1])
    found = re.search(r"(?<!\d)(\d{2,3})x(\d{2,3})(?!\d)", name)
    return (int(found[1]), int(found[2])) if found else None
