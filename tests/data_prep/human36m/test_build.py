"""Records are the same whatever the layout; strides, subjects, refusals."""

import pickle

import cv2
import h5py
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.building import Problem
from data_prep.human36m.build import parse_subjects, plan_human36m
from liftjax import geometry
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from tests.data_prep.human36m import trees

# Trials whose file names differ between subjects and layouts.
SEQUENCES = [
    ("S1", "Photo", 1), ("S1", "SittingDown", 2), ("S5", "SittingDown", 1), ("S5", "WalkDog", 2),
    ("S9", "Greeting", 2), ("S11", "Phoning", 1),
]  # fmt: skip
SUBJECTS = ("S1", "S5", "S9", "S11")
STRIDES = {"train": 4, "test": 6}
LAYOUTS = {
    "archive": trees.write_archive,
    "fetch": trees.write_fetch,
    "mmpose": trees.write_mmpose,
}


@pytest.fixture(scope="module")
def made():
    return trees.takes(SEQUENCES)


@pytest.fixture(scope="module")
def sources(made, tmp_path_factory):
    return {k: write(tmp_path_factory.mktemp(k), made) for k, write in LAYOUTS.items()}


def records(source, **options):
    """(records, problems) of a tree."""
    options = {"subjects": SUBJECTS, "strides": STRIDES} | options
    planned = plan_human36m(source, **options)
    units = [unit for parts in planned.parts.values() for part in parts for unit in part]
    items = [item for unit in units for item in unit.records()]
    problems = [p for p in planned.problems if p.kind != "missing sequence"]
    problems += [item for item in items if isinstance(item, Problem)]
    return [item for item in items if not isinstance(item, Problem)], problems


@pytest.fixture(scope="module")
def built(sources):
    return {layout: records(source) for layout, source in sources.items()}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["fetch", "mmpose"])
def test_layouts_end_in_identical_records(built, layout):
    expected, found = built["archive"][0], built[layout][0]
    assert len(found) == len(expected) == 4 * (4 * 3 + 2 * 2)
    for a, b in zip(expected, found, strict=True):
        a, b = a.validate(), b.validate()
        for field, value in vars(a).items():
            if field != "image":
                np.testing.assert_array_equal(value, getattr(b, field), err_msg=field)
        pictures = [cv2.imdecode(np.frombuffer(r.image, np.uint8), 1) for r in (a, b)]
        assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_records_say_what_the_archive_says(built, made, layout):
    take = next(t for t in made if t.subject == "S5" and t.action == "WalkDog")
    chosen = [
        r
        for r in built[layout][0]
        if (r.subject, r.action, r.camera) == ("S5", "WalkDog", take.camera)
    ]
    assert [r.frame for r in chosen] == [0, 4, 8]
    for record in chosen:
        record = record.validate()
        mm, px = (
            take.mm[record.frame, list(trees.JOINTS)],
            take.px[record.frame, list(trees.JOINTS)],
        )
        np.testing.assert_allclose(record.pose_m, (mm - mm[0]) / 1000, atol=1e-6)
        np.testing.assert_allclose(record.root_m, mm[0] / 1000, atol=1e-6)
        np.testing.assert_array_equal(record.joints_px, px)
        box = geometry.box_from_joints(px.astype(np.float64), record.image_size)
        np.testing.assert_array_equal(record.box_xyxy, box)
        assert record.trial == 2
        assert record.distortion_model == "human36m"
        assert record.joint_visible.all()


def test_pictures_belong_to_their_frames(built, made):
    shades = {(t.subject, t.action, t.trial, t.camera): t for t in made}
    for record in built["archive"][0]:
        take = shades[record.subject, record.action, record.trial, record.camera]
        picture = cv2.imdecode(np.frombuffer(record.image, np.uint8), 1)
        assert abs(int(picture[0, 0, 0]) - int(take.picture(record.frame)[0, 0, 0])) < 12


def test_three_dimensions_project_onto_two(built):
    for record in built["mmpose"][0]:
        px = geometry.project(
            record.pose_m + record.root_m, record.camera_K, record.camera_distortion, "human36m"
        )
        np.testing.assert_allclose(px, record.joints_px, atol=1e-3)


def test_misaligned_sequences_are_told_and_left_out_on_demand(sources, built):
    flagged = [p for p in built["archive"][1] if p.kind == "misaligned sequence"]
    assert len(flagged) == 4  # cameras
    assert {p.dropped for p in flagged} == {0}
    kept, problems = records(sources["archive"], drop_misaligned=True)
    assert not [r for r in kept if r.subject == "S9"]
    assert sum(p.dropped for p in problems if p.kind == "misaligned sequence") == 8


def test_default_strides_count_original_frames(tmp_path):
    made = trees.takes([("S1", "Waiting", 2), ("S9", "Eating", 1)], 101, cameras=("54138969",))
    trees.write_fetch(tmp_path, made, keep=trees.every(20))
    found, _ = records(tmp_path, subjects=("S1", "S9"), strides={"train": 40, "test": 100})
    assert [(r.subject, r.frame) for r in found] == [
        ("S1", 0), ("S1", 40), ("S1", 80), ("S9", 0), ("S9", 100),
    ]  # fmt: skip


def test_ten_frames_a_second_are_counted_in_the_original_fifty(tmp_path):
    made = trees.takes([("S6", "Posing", 1)], 41, cameras=("60457274",))
    trees.write_mmpose(tmp_path, made, step=5)
    found, problems = records(tmp_path, subjects=("S6",), strides={"train": 20, "test": 100})
    assert [r.frame for r in found] == [0, 20, 40]
    assert {p.kind for p in problems} == {"missing camera"}
    with pytest.raises(LiftjaxError, match="--train-stride 10"):
        records(tmp_path, subjects=("S6",), strides={"train": 12, "test": 100})


def test_a_tree_thinned_to_every_64th_frame_is_refused_with_the_stride_that_fits(tmp_path):
    made = trees.takes([("S11", "Walking", 1)], 260, cameras=("54138969", "55011271"))
    trees.write_fetch(tmp_path, made, keep=trees.every(64))
    with pytest.raises(LiftjaxError, match=r"frame 100.*--test-stride 64") as error:
        plan_human36m(tmp_path, subjects=("S11",))
    assert "\n" not in str(error.value)
    found, _ = records(tmp_path, subjects=("S11",), strides={"train": 40, "test": 64})
    assert [r.frame for r in found] == 2 * [0, 64, 128, 192, 256]


def test_a_tree_thinned_by_movement_is_taken_as_it_is_on_demand(tmp_path):
    made = trees.takes([("S7", "Smoking", 1)], 130, cameras=("54138969",))
    kept = np.array([0, 7, 9, 50, 80, 111])
    trees.write_fetch(tmp_path, made, keep=lambda take: kept)
    strides = {"train": 10, "test": 100}
    with pytest.raises(LiftjaxError, match="--frames present --train-stride 1"):
        plan_human36m(tmp_path, subjects=("S7",), strides=strides)
    found, _ = records(tmp_path, subjects=("S7",), strides=strides, present=True)
    assert [r.frame for r in found] == [0, 50, 80]
    found, _ = records(tmp_path, subjects=("S7",), strides={"train": 1, "test": 1}, present=True)
    assert [r.frame for r in found] == kept.tolist()


def test_a_missing_subject_is_refused_with_those_there(sources):
    for source in sources.values():
        with pytest.raises(LiftjaxError, match=r"S6, S7, S8 missing.*--subjects S1,S5,S9,S11"):
            plan_human36m(source, strides=STRIDES)
    assert parse_subjects(["S9,S1", "S5"]) == ("S1", "S5", "S9")
    with pytest.raises(LiftjaxError, match="S2"):
        parse_subjects(["S2"])


def test_an_unknown_tree_is_told_what_was_looked_for(tmp_path):
    (tmp_path / "S1").mkdir()
    with pytest.raises(LiftjaxError, match=r"D2_Positions.*annot\.h5.*annotation_body3d") as error:
        plan_human36m(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(LiftjaxError, match="no directory"):
        plan_human36m(tmp_path / "nowhere")


def test_the_tree_may_lie_one_folder_deeper(sources, tmp_path):
    (tmp_path / "processed").symlink_to(sources["fetch"])
    assert len(records(tmp_path)[0]) == 64
    (tmp_path / "extracted").symlink_to(sources["archive"])
    with pytest.raises(LiftjaxError, match=r"several.*extracted, processed"):
        plan_human36m(tmp_path)


def test_the_folder_names_of_h36m_fetch_before_it_extracts_pictures(made, built, tmp_path):
    trees.write_archive(tmp_path, made)
    for features in tmp_path.glob("*/MyPoseFeatures"):
        for folder in features.iterdir():
            folder.rename(features.parent / f"Poses_{folder.name}")
        features.rmdir()
    found, _ = records(tmp_path)
    assert [r.name for r in found] == [r.name for r in built["archive"][0]]


def test_one_subjects_folder_is_not_the_source(sources):
    with pytest.raises(LiftjaxError, match="one subject"):
        plan_human36m(sources["archive"] / "S1")


def test_units_survive_the_way_to_a_worker(sources, built):
    for layout, source in sources.items():
        unit = plan_human36m(source, subjects=SUBJECTS, strides=STRIDES).parts["train"][0][0]
        there = pickle.loads(pickle.dumps(unit))
        assert (there.name, there.inputs) == (unit.name, unit.inputs)
        first = next(iter(there.records()))
        np.testing.assert_array_equal(first.joints_px, built[layout][0][0].joints_px)


def test_pickles_are_refused_and_the_way_to_convert_them_works(tmp_path, monkeypatch):
    made = trees.takes([("S5", "Posing", 2)], 5)
    trees.write_fetch(tmp_path, made)
    folder = tmp_path / "S5" / "Posing-2"
    with h5py.File(folder / "annot.h5") as h5:
        annotation = {
            key: np.asarray(h5[key]) for key in ("pose/2d", "pose/3d", "camera", "frame", "action")
        }
    (folder / "annot.h5").unlink()
    (folder / "annot.pkl").write_bytes(pickle.dumps(annotation))
    with pytest.raises(LiftjaxError, match="pickle") as error:
        plan_human36m(tmp_path, subjects=("S5",))
    assert "\n" not in str(error.value)
    monkeypatch.chdir(folder)
    exec(str(error.value).split('python -c "')[1].rstrip('"'), {})
    assert len(records(tmp_path, subjects=("S5",))[0]) == 8


def test_the_command_builds_a_data_set(sources, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--subjects", "S1,S9", "--train-stride", "4", "--test-stride", "6"]
    command = ["human36m", "--source", str(sources["fetch"]), "--out", str(out)]
    assert main([*command, *arguments, "--processes", "1"]) == 0
    train, test = (PoseDataset.open(out, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (24, 8)
    assert set(train.labels["subject"]) == {"S1"}
    assert train.image(0).shape[2] == 3
    assert main([*command, "--processes", "1"]) == 2
    assert "--subjects" in capsys.readouterr().err
