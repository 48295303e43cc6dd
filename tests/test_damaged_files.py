"""A file with one thing damaged is read, or refused by one line that names it: no traceback.

Every format that liftjax reads has a small whole file here. LIFTJAX_DAMAGES sets how many damages
of each the slow test tries.
"""

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.coco.annotations import Selection, read_people
from data_prep.lifting import build as lifting
from data_prep.multicam.calibration import read_calibration
from data_prep.multicam.detections import read_detections
from data_prep.panoptic.calibration import camera_name, read_cameras
from data_prep.panoptic.poses import read_bodies
from liftjax.data.records import read_metadata
from liftjax.errors import LiftjaxError
from liftjax.inference import coco
from liftjax.inference.pictures import read_picture
from liftjax.interchange import statistics
from tests.damage import damaged_bytes, damaged_json, damaged_text
from tests.data.builders import jpeg
from tests.data_prep.coco import photographs
from tests.data_prep.lifting import files as lifting_files
from tests.data_prep.multicam import synthetic_recording as multicam
from tests.data_prep.panoptic import studio
from tests.slow import slow

DAMAGES = int(os.environ.get("LIFTJAX_DAMAGES", 2000))
CAMERAS = multicam.make_cameras()


class Format(NamedTuple):
    """What a test does with a format: a whole file in a folder, its reader, ways to damage it."""

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    damaged: Callable[[bytes], st.SearchStrategy]


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
    ),
    "boxes": Format(json_file(BOXES), coco.read, damaged_json),
    "boxes of a coco file": Format(coco_file, coco.read, damaged_json),
    "openpose": Format(
        detections("openpose_coco", "*.json"), lambda p: read_detections(p.parent), damaged_json
    ),
    "mmpose": Format(detections("mmpose_video", "*.json"), read_detections, damaged_json),
    "coco results": Format(detections("coco_results", "*.json"), read_detections, damaged_json),
    "qualisys": Format(
        calibration(multicam.write_qca, "a.qca.txt"), read_calibration, damaged_text
    ),
    "toml": Format(calibration(multicam.write_toml, "a.toml"), read_calibration, damaged_text),
    "panoptic cameras": Format(
        panoptic(lambda root: studio.calibration_file(root, "takes")),
        lambda p: read_cameras(p, [camera_name(0, node) for node in studio.NODES]),
        damaged_json,
    ),
    "panoptic bodies": Format(
        panoptic(lambda root: studio.pose_file(root, "takes", studio.FIRST)),
        read_panoptic_bodies,
        damaged_json,
    ),
    "statistics": Format(stats_npz, lambda p: statistics.read(str(p), 17), damaged_bytes),
    "videopose3d": Format(positions, lambda p: lifting.plan(p, stride=1), damaged_bytes),
    "data set": Format(
        lambda folder: shutil.move(
            json_file({"schema_version": 1, "splits": {"train": {"records": 3}}})(folder),
            folder / "liftjax.json",
        ),
        lambda p: read_metadata(p.parent),
        damaged_json,
    ),
    "picture": Format(picture, read_picture, damaged_bytes),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_whole_file_is_read(tmp_path, name):
    kind = FORMATS[name]
    assert kind.read(kind.write(tmp_path)) is not None


def refusal(read, path) -> str:
    """The line that a reader refuses a file by; empty where it reads the file."""
    try:
        with warnings.catch_warnings(action="error"):
            read(path)
    except LiftjaxError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("count", [400, slow(DAMAGES)])
@pytest.mark.parametrize("name", FORMATS)
def test_one_damage_is_read_or_one_clear_line(tmp_path, name, count):
    kind = FORMATS[name]
    path = kind.write(tmp_path)

    @settings(max_examples=count, deadline=None, derandomize=True, database=None)
    @given(kind.damaged(path.read_bytes()))
    def holds(damage):
        path.write_bytes(damage[1])
        said = refusal(kind.read, path)
        assert "\n" not in said
        assert not said or path.name in said or path.parent.name in said

    holds()
