"""A file with one thing damaged is read, or refused by one line that names it: no traceback.

Every format that liftjax reads has a small whole file here. LIFTJAX_DAMAGES sets how many damages
of each the slow test tries.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from data_prep.coco.annotations import Selection, read_people
from data_prep.human36m import mmpose
from data_prep.human36m.sequences import SequenceOptions
from data_prep.lifting.build import plan_lifting
from data_prep.multicam.detections import read_detections
from data_prep.panoptic.calibration import camera_name, read_cameras
from data_prep.panoptic.poses import read_bodies
from liftjax.data.records import read_metadata
from liftjax.errors import LiftjaxError
from liftjax.inference import boxes_file
from liftjax.inference.pictures import read_picture
from liftjax.interchange.files import read_weight_file
from liftjax.interchange.lifter_statistics import read_statistics
from liftjax.interchange.recognising import known_networks
from liftjax.interchange.wrappings import unwrap
from tests.damage import FEWER, OTHERS, damaged_bytes, damaged_json, damaged_text
from tests.data.builders import jpeg
from tests.data_prep.coco import photographs
from tests.data_prep.human36m import trees
from tests.data_prep.lifting import files as lifting_files
from tests.data_prep.multicam import synthetic_recording as multicam
from tests.data_prep.multicam.synthetic_recording import read_calibration
from tests.data_prep.panoptic import studio
from tests.slow import slow

MARKS = [mark for files in known_networks() for mark in files.marks]
DAMAGES = int(os.environ.get("LIFTJAX_DAMAGES", 1000))
CAMERAS = multicam.make_cameras()
STUDIO = {camera_name(0, node) for node in studio.NODES}


class Format(NamedTuple):
    """A whole file of a format in a folder, its reader, and ways to damage it.

    Attributes:
      labels: of what the reader gives, (labels, problems): label -> its numbers, as bytes. None
        where the numbers cannot show that one of them was changed.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    damaged: Callable[[bytes], st.SearchStrategy]
    labels: Callable[[object], tuple[dict, Sequence]] | None = None


def as_bytes(*arrays) -> bytes:
    return b"".join(np.asarray(array, float).tobytes() for array in arrays)


def of_persons(found):
    people, problems = found
    return {p.annotation: as_bytes(p.keypoints, p.box_xyxy, p.image) for p in people}, problems


def of_boxes(found):
    rows = zip(found.ids, found.boxes, found.scores, strict=True)
    return dict.fromkeys((image, as_bytes(box, score)) for image, box, score in rows), ()


def of_detections(found):
    rows = ((n, i, row) for n, people in found.people.items() for i, row in enumerate(people))
    return {(number, i): as_bytes(row) for number, i, row in rows}, found.problems


def of_cameras(found):
    return {c.name: as_bytes(c.K, c.distortion, c.R, c.t, c.image_size) for c in found}, ()


def of_bodies(found):
    unknown = [body for body in found if np.isnan(body).any()]  # said by the builder
    return {i: as_bytes(body) for i, body in enumerate(found)}, ["NaN joints"] * len(unknown)


def of_statistics(found):
    return {name: as_bytes(value) for name, value in found._asdict().items()}, ()


def of_plan(found):
    units = (unit for parts in found.parts.values() for part in parts for unit in part)
    return {unit.name: as_bytes(unit.world_m) for unit in units}, found.problems


def coco_file(folder):
    return photographs.annotation_file(photographs.write(folder / "coco"), "train2017")


def detections(form, pattern):
    def write(folder):
        spec = multicam.Spec(joint_set="coco", form=form, frames=3)
        recording = multicam.write_recording(folder / "walk", spec)
        return sorted((recording / "pose").rglob(pattern))[0]

    return write


def calibration(write_file, name):
    def write(folder):
        write_file(folder / name, CAMERAS)
        return folder / name

    return write


def json_file(content):
    def write(folder):
        (folder / "file.json").write_text(json.dumps(content))
        return folder / "file.json"

    return write


def panoptic(part):
    def write(folder):
        studio.write(folder, "takes", pictures=False)
        return part(folder)

    return write


def read_panoptic_bodies(path):
    try:
        return read_bodies(path.read_bytes())
    except ValueError as error:  # which the caller puts beside the file's name
        raise LiftjaxError(f"{path}: {error}") from error


def stats_npz(folder):
    arrays = {"mean_2d": (17, 2), "std_2d": (17, 2), "mean_3d": (17, 3), "std_3d": (17, 3)}
    np.savez(folder / "stats.npz", **{name: np.full(shape, 0.3) for name, shape in arrays.items()})
    return folder / "stats.npz"


def positions(folder):
    path = folder / "data_3d_h36m.npz"
    lifting_files.save_3d(path, lifting_files.poses(frames=4))
    return path


def weights(folder, suffix):
    """A network's weights with a heading, as .safetensors or as torch.save writes them."""
    state = {"head.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3)}
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path, metadata={"liftjax": "{}"})
    else:
        torch = pytest.importorskip("torch")
        torch.save({"epoch": 1, "state_dict": {k: torch.from_numpy(state[k]) for k in state}}, path)
    return path


def of_weights(found):
    state, _ = unwrap(found.tree, MARKS)
    return {key: as_bytes(value) for key, value in state.items()}, ()


def human36m_of_mmpose(folder):
    trees.write_mmpose(folder, trees.takes([("S1", "Directions", 1)], frames=3))
    return next(folder.rglob("h36m_train.npz"))


def of_units(found):
    labels = {unit.name: unit.labels for unit in found["S1"].units} if found else {}
    problems = [p for each in found.values() for p in each.problems]
    return {n: as_bytes(each.joints_px, each.joints_m) for n, each in labels.items()}, problems


def picture(folder):
    rows = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    (folder / "a.jpg").write_bytes(jpeg(rows))
    return folder / "a.jpg"


BOXES = [{"image_id": i, "bbox": [5, 4, 20, 40], "score": 0.9, "category_id": 1} for i in range(3)]
FORMATS = {
    "coco annotations": Format(
        coco_file,
        lambda p: read_people(p, p.parents[1], p.parents[1] / "train2017", Selection(1, 8.0)),
        damaged_json,
        of_persons,
    ),
    "boxes": Format(json_file(BOXES), boxes_file.read_person_boxes, damaged_json, of_boxes),
    "boxes of a coco file": Format(coco_file, boxes_file.read_person_boxes, damaged_json, of_boxes),
    "openpose": Format(
        detections("openpose_coco", "*.json"),
        lambda p: read_detections(p.parent),
        damaged_json,
        of_detections,
    ),
    "mmpose": Format(
        detections("mmpose_video", "*.json"), read_detections, damaged_json, of_detections
    ),
    "coco results": Format(
        detections("coco_results", "*.json"), read_detections, damaged_json, of_detections
    ),
    "qualisys": Format(
        calibration(multicam.write_qca, "a.qca.txt"),
        read_calibration,
        damaged_text,
        of_cameras,
    ),
    "toml": Format(
        calibration(multicam.write_toml, "a.toml"),
        read_calibration,
        damaged_text,
        of_cameras,
    ),
    "panoptic cameras": Format(
        panoptic(lambda root: studio.calibration_file(root, "takes")),
        lambda p: read_cameras(p, STUDIO),
        damaged_json,
        lambda found: (of_cameras(found.values())[0], STUDIO - found.keys()),  # said by the builder
    ),
    "panoptic bodies": Format(
        panoptic(lambda root: studio.pose_file(root, "takes", studio.FIRST)),
        read_panoptic_bodies,
        damaged_json,
        of_bodies,
    ),
    "statistics": Format(
        stats_npz, lambda p: read_statistics(str(p), 17), damaged_bytes, of_statistics
    ),
    "videopose3d": Format(positions, lambda p: plan_lifting(p), damaged_bytes, of_plan),
    "data set": Format(
        lambda folder: shutil.move(
            json_file({"schema_version": 1, "splits": {"train": {"records": 3}}})(folder),
            folder / "liftjax.json",
        ),
        lambda p: read_metadata(p.parent),
        damaged_json,
    ),
    "mmpose's human3.6m": Format(
        human36m_of_mmpose,
        lambda p: mmpose.plan_units(p.parents[2], p, SequenceOptions(stride=1)),
        damaged_bytes,
        of_units,
    ),
    "pytorch weights": Format(
        lambda folder: weights(folder, ".pth"), read_weight_file, damaged_bytes, of_weights
    ),
    "safetensors": Format(
        lambda folder: weights(folder, ".safetensors"), read_weight_file, damaged_bytes
    ),
    "picture": Format(picture, read_picture, damaged_bytes),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_whole_file_is_read(tmp_path, name):
    kind = FORMATS[name]
    assert kind.read(kind.write(tmp_path)) is not None


def outcome(kind: Format, path):
    """(what the reader gives or None, the line that it refuses the file by or "")."""
    try:
        with warnings.catch_warnings(action="error"):
            return kind.read(path), ""
    except LiftjaxError as error:
        return None, str(error)


def changed_in_silence(kind: Format, before, after, damage: str) -> bool:
    """Whether labels of a file that is not sound differ from those of the whole one, unsaid."""
    if not kind.labels or damage in OTHERS:
        return False
    (before, known), (after, problems) = kind.labels(before), kind.labels(after)
    same = before.items() >= after.items() if damage in FEWER else before == after
    return not same and all(problem in known for problem in problems)


@pytest.mark.parametrize("count", [200, slow(DAMAGES)])
@pytest.mark.parametrize("name", FORMATS)
def test_one_damage_is_read_or_one_clear_line(tmp_path, name, count):
    kind = FORMATS[name]
    path = kind.write(tmp_path)
    before = kind.read(path)

    @settings(max_examples=count, deadline=None, derandomize=True, database=None)
    @given(kind.damaged(path.read_bytes()))
    def holds(damage):
        path.write_bytes(damage[1])
        after, said = outcome(kind, path)
        assert "\n" not in said
        assert not said or path.name in said or path.parent.name in said
        assert said or not changed_in_silence(kind, before, after, damage[0])

    holds()
