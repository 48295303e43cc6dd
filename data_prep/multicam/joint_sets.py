"""Which joints detections have: as the file says, else by their number and their places."""

import re
from collections.abc import Mapping

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.skeletons import SKELETONS

_USUAL = {17: "coco", 18: "openpose_coco", 26: "halpe26", 133: "wholebody"}
# MMPose's names of data sets and, where they differ, of joints.
_DATASETS = {
    "coco": "coco", "Human-Art": "coco", "h36m": "human36m", "halpe26": "halpe26", "mpii": "mpii",
    "coco_wholebody": "wholebody", "ubody2d": "wholebody",
}  # fmt: skip
_JOINTS = {
    "root": "hip", "pelvis": "hip", "left_foot": "left_ankle", "right_foot": "right_ankle",
    "neck_base": "nose", "head": "head_top",
}  # fmt: skip
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_FINGER = re.compile(rf"(left|right)_({'|'.join(_FINGERS)})([1-4])")
# Joints that lie between two others: (joint, the two others, how far off the middle at most, in
# units of the person's extent). BODY_25B's upper neck was measured to be off by 0.04 to 0.07, its
# joint with the number of BODY_25's hip by 0.1 to 0.3.
_BODY25 = {"body25": (8, 9, 12, 0.05), "body25b": (17, 5, 6, 0.12)}  # hip; upper neck
_PLACES = {
    "coco": ((0, 3, 4, 0.25),),  # the nose between the ears, seen from the side
    "human36m": ((0, 1, 4, 0.08), (8, 11, 14, 0.08), (7, 0, 8, 0.08)),  # hip, thorax, spine
    "openpose_coco": ((1, 2, 5, 0.15),),  # the neck between the shoulders
    "halpe26": ((0, 3, 4, 0.25), (18, 5, 6, 0.15), (19, 11, 12, 0.15)),  # and neck and hip
    "wholebody": ((0, 3, 4, 0.25), (91, 9, 9, 0.15), (112, 10, 10, 0.15)),  # hands at the wrists
}
_ENOUGH_CONFIDENCE = 0.2
_ENOUGH_JOINTS = 0.7  # share of a person's joints that must be found to judge the proportions


def joint_set_named(meta: Mapping, given: str | None, where) -> tuple[str | None, str]:
    """The joint set that MMPose's `meta_info` names, None if it says nothing; and a remark or "".

    Args:
      meta: the `meta_info`.
      given: what the user says. It decides where the file names joints that we do not know.
      where: what errors name.

    Raises:
      LiftjaxError: these joints are not one of our joint sets, or not what the user says.
    """
    names, dataset = _joint_names(meta.get("keypoint_id2name")), meta.get("dataset_name")
    if not names and not dataset:
        return given, ""
    ours = tuple(map(_our_name, names))
    by_names = next((s.name for s in SKELETONS.values() if s.joints == ours), None)
    by_dataset = _DATASETS.get(str(dataset))
    said = {n for n, says in ((by_names, names), (by_dataset, dataset)) if says}
    what = f"the joints of {dataset or 'an unnamed data set'}"
    what += f" ({', '.join(names[:5])}, ...)" if names else ""
    others = " or ".join(sorted(said - {None, given}))
    if given and others:
        raise LiftjaxError(
            f"{where}: the file says that its joints are {what}, which is {others}, but "
            f"--detections-skeleton says {given}; leave the option out, or give it as the file "
            "does."
        )
    if given:
        return given, f"{what} are taken to be {given}'s" if None in said else ""
    if len(said) > 1 or None in said:
        raise LiftjaxError(
            f"{where}: {what} are not a joint set that is known here; say with "
            "--detections-skeleton NAME which known set they equal joint by joint, or use a "
            "detector of another set."
        )
    return said.pop(), ""


def _joint_names(id2name) -> list[str]:
    """The names in the order of their numbers; none unless each has a number."""
    if not isinstance(id2name, dict) or not all(str(key).isdigit() for key in id2name):
        return []
    return [str(id2name[key]) for key in sorted(id2name, key=int)]


def _our_name(name: str) -> str:
    if name.startswith("face-"):
        return name.replace("-", "_")
    if name.endswith("_hand_root"):
        return name.replace("root", "0")
    if finger := _FINGER.fullmatch(name):
        return f"{finger[1]}_hand_{4 * _FINGERS.index(finger[2]) + int(finger[3])}"
    return _JOINTS.get(name, name)


def joint_set_told(people: np.ndarray, where) -> str | None:
    """The joint set of all people (N, J, 3), by J and by where the joints lie.

    "openpose_coco" is OpenPose's set of 18; None means that 25 joints may be BODY_25 or BODY_25B.

    Raises:
      LiftjaxError: the number is not known, or the joints lie as those of another set do.
    """
    count = people.shape[1]
    if count == 25:
        misfits = {name: _off_middle(people, *place[:3]) for name, place in _BODY25.items()}
        name = min(misfits, key=misfits.get)
        return name if misfits[name] < _BODY25[name][3] else None
    if count not in _USUAL:
        raise LiftjaxError(
            f"{where}: people of {count} joints, which is not a known joint set; say which with "
            "--detections-skeleton NAME."
        )
    name = _USUAL[count]
    like_human36m = count == 17 and max(_misplaced(people, "human36m")) < 1
    if like_human36m or lie_otherwise(people, name):
        hint = "they may be human36m's" if like_human36m else "they are another set's"
        raise LiftjaxError(
            f"{where}: people of {count} joints, which do not lie as those of {name} do; {hint}. "
            "Say which with --detections-skeleton NAME."
        )
    return name


def lie_otherwise(people: np.ndarray, name: str) -> bool:
    """Whether joints of people (N, J, 3) are not where those of the set would be."""
    return any(1 < off < np.inf for off in _misplaced(people, name))


def _misplaced(people: np.ndarray, name: str) -> list[float]:
    """How far joints are from their places in the set: up to 1 they fit; inf if nobody shows it."""
    found = (people[..., 2] > _ENOUGH_CONFIDENCE).mean(axis=1)
    whole = people[found > _ENOUGH_JOINTS]
    return [_off_middle(whole, *joints) / limit for *joints, limit in _PLACES.get(name, ())]


def _off_middle(people: np.ndarray, joint: int, a: int, b: int) -> float:
    """Median distance of a joint from the middle of two, in units of the person's extent."""
    found = people[..., 2] > _ENOUGH_CONFIDENCE
    people = people[found[:, [joint, a, b]].all(axis=1)]
    if not len(people):
        return np.inf
    px = np.where(people[..., 2:] > _ENOUGH_CONFIDENCE, people[..., :2], np.nan)
    extent = np.linalg.norm(np.nanmax(px, axis=1) - np.nanmin(px, axis=1), axis=-1)
    off = np.linalg.norm(px[:, joint] - (px[:, a] + px[:, b]) / 2, axis=-1)
    return float(np.median(off / np.maximum(extent, 1)))
