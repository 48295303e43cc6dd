"""Which joint set a weight file is of, by all that the file and its name say.

Several sets have equally many joints: COCO, Human3.6M and PoseTrack 17, Panoptic and HumanEva 15.
Where nothing tells them apart, the answer is None, and the user is asked.
"""

import re
from collections.abc import Mapping

from liftjax.nn.declaration import Source
from liftjax.skeletons import SKELETONS

# Data sets by the names that programs give them, in small letters and without "_", "." and "-".
_DATASETS = {
    "coco": "coco", "humanart": "coco", "ochuman": "coco", "cocowholebody": "wholebody",
    "wholebody": "wholebody", "ubody2d": "wholebody", "halpe26": "halpe26", "mpii": "mpii",
    "h36m": "human36m", "human36m": "human36m", "posetrack18": "posetrack18",
    "panoptic": "panoptic", "humaneva15": "humaneva15", "body25": "body25", "body25b": "body25b",
}  # fmt: skip
# Data sets of 17 joints without a joint set here.
_OTHERS = {"ap10k": "ap10k", "mpiinf3dhp": "mpi_inf_3dhp", "3dhp": "mpi_inf_3dhp"}
_WRAPPERS = {"combined", "repeat", "concat"}  # MMPose's data sets of data sets

_WEIGHTS = r"joint_weights=\[([\d.,\s]+)\]"
_NAME = r"""dataset_name['"]?\s*[=:]\s*['"](\w+)['"]"""
_TYPE = r"""type['"]?\s*[=:]\s*['"](?:TopDown|Body3D|Animal)?(\w+?)Dataset['"]"""


def stated_joints(
    source: Source, count: int, *, rooted: bool = False, beside: str | None = None
) -> tuple[str | None, str]:
    """The joint set of a file, and how it is known; None, and what is known, if nothing tells.

    Args:
      source: what the file says.
      count: how many joints its network has.
      rooted: whether only sets with a root joint may be meant, as those of 3D poses.
      beside: a set to ignore if the file's name says two: that of the poses, which stands beside
        that of a lifter's 2D input.
    """
    data = source.meta.get("dataset_meta")
    data = data if isinstance(data, Mapping) else {}
    if name := _by_joint_names(data.get("keypoint_id2name")):
        return name, "the joint names in the file"
    told = {}
    if isinstance(dataset := data.get("dataset_name"), str):
        told[_known(dataset)] = f"the file's data set, {dataset}"
    elif dataset := _configured_dataset(configuration(source)):
        told[_known(dataset)] = f"the data set of the file's configuration, {dataset}"
    sets = (s for s in SKELETONS.values() if s.num_joints == count)
    candidates = [s.name for s in sets if s.root or not rooted]
    words = f"{source.model} {source.name}".strip()
    all_named = _in_name(words)
    named = all_named & {*candidates, *_OTHERS.values()}
    named -= {beside} if len(named) > 1 else set()
    if len(named) == 1:
        told.setdefault(*named, f"the file's name, {words}")
    elif all_named and not told:
        return None, f"its name, {words}, says {', '.join(sorted(all_named))}"
    if len(told) > 1:
        return None, "; ".join(f"{name} by {why}" for name, why in told.items())
    if told:
        ((name, why),) = told.items()
        return name if name in SKELETONS else None, why
    return _by_count(candidates, count, data.get("dataset_keypoint_weights"), source)


def _by_count(candidates: list[str], count: int, weights, source: Source) -> tuple[str | None, str]:
    if weights is None and (found := re.search(_WEIGHTS, configuration(source))):
        weights = [number for number in found[1].split(",") if number.strip()]
    if weights is not None and count == 17:
        # Of these sets, MMPose weighs the joints of Human3.6M alike, and the limbs of others more.
        alike = len({float(weight) for weight in weights}) == 1
        candidates = [name for name in candidates if (name == "human36m") == alike]
    if len(candidates) == 1:
        return candidates[0], f"the only set of {count} joints that it can be"
    if not candidates:
        return None, f"liftjax has no set of {count} joints"
    *most, last = candidates
    return None, f"they may be those of {', '.join(most)} or {last}, and nothing in the file tells"


def configuration(source: Source) -> str:
    """The text of the configuration that MMPose stores; empty in other files."""
    found = (source.meta.get(key) for key in ("cfg", "config"))
    return next((text for text in found if isinstance(text, str)), "")


def _by_joint_names(names) -> str | None:
    if not isinstance(names, Mapping) or not all(str(key).isdigit() for key in names):
        return None
    joined = tuple(str(names[key]) for key in sorted(names, key=lambda key: int(str(key))))
    return next((s.name for s in SKELETONS.values() if s.joints == joined), None)


def _configured_dataset(text: str) -> str | None:
    """The only data set that a configuration names; None if there are none or several."""
    names = set(re.findall(_NAME, text)) or set(re.findall(_TYPE, text))
    names = {name for name in names if name.lower() not in _WRAPPERS}
    return names.pop() if len(names) == 1 else None


def _known(dataset: str) -> str:
    """The joint set of a data set; the data set's plain name if it has none here."""
    plain = re.sub(r"[_.-]", "", dataset.lower())
    return (_DATASETS | _OTHERS).get(plain, plain)


def _in_name(name: str) -> set[str]:
    """The joint sets whose data sets stand in a file's name."""
    # MMEngine names a checkpoint after the measure that chose it: best_coco_AP_epoch_9.
    plain = re.sub(r"best_\w*?(?=epoch|iter)", "", name.lower())
    words = re.split(r"[^a-z0-9]+", plain)
    runs = {"".join(words[i : i + n]) for i in range(len(words)) for n in (1, 2, 3)}
    return {_known(run) for run in runs & (_DATASETS | _OTHERS).keys()}
