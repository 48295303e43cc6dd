import csv

import numpy as np
import pytest

from data_prep.building import build_dataset, write_dataset
from data_prep.human36m.cameras import CAMERAS
from data_prep.lifting.build import plan_lifting
from liftjax.cli import main
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from liftjax.experiments import export_2d
from liftjax.interchange.run_directory import write_run_directory
from liftjax.prediction import predict_2d
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import build_model, load_model
from tests.data.builders import make_record
from tests.data_prep.lifting import files
from tests.training.toys import toy_detector


def views(frames, seed=0):
    rng = np.random.default_rng(seed)
    return {c: (np.asarray(frames), rng.random((len(frames), 17, 2), np.float32)) for c in CAMERAS}


def test_rows_between_detections_are_interpolated_and_those_beyond_repeated():
    px = np.arange(3 * 17 * 2, dtype=np.float32).reshape(3, 17, 2)
    filled = export_2d.fill(np.array([2, 4, 8]), px, 10)
    assert filled.shape == (10, 17, 2)
    np.testing.assert_array_equal(filled[[2, 4, 8]], px)
    np.testing.assert_array_equal(filled[:2], px[[0, 0]])
    np.testing.assert_array_equal(filled[9], px[2])
    np.testing.assert_allclose(filled[5], 0.75 * px[1] + 0.25 * px[2])
    assert np.isfinite(filled).all()
    alone = export_2d.fill(np.array([3]), px[:1], 5)
    np.testing.assert_array_equal(alone, np.repeat(px[:1], 5, axis=0))


def test_detections_stay_what_they_are_bit_for_bit():
    frames = np.arange(0, 200, 7)
    px = np.random.default_rng(0).normal(size=(len(frames), 17, 2)).astype(np.float32) * 1e3
    np.testing.assert_array_equal(export_2d.fill(frames, px, 220)[frames], px)


def test_nan_keypoints_are_refused():
    with pytest.raises(LiftjaxError, match="NaN keypoints"):
        export_2d.fill(np.array([0]), np.full((1, 17, 2), np.nan), 2)


def test_sequences_have_the_archives_names_and_cameras_its_order():
    seen = {("S1", "Directions", 1): views([0, 5]), ("S5", "Photo", 2): views([0])}
    seen["S1", "Directions", 1] = dict(reversed(seen["S1", "Directions", 1].items()))
    positions, table = export_2d.arrange(seen, None)
    assert {s: list(names) for s, names in positions.items()} == {
        "S1": ["Directions 1"],
        "S5": ["Photo 2"],
    }
    for array, camera in zip(positions["S1"]["Directions 1"], CAMERAS, strict=True):
        np.testing.assert_array_equal(array[[0, 5]], seen["S1", "Directions", 1][camera][1])
    assert [(line.rows, line.detected, line.longest_gap) for line in table] == [
        (6, 8, 4),
        (1, 4, 0),
    ]


def test_what_is_left_out_is_named():
    incomplete = views([0, 1])
    del incomplete[CAMERAS[2]]
    seen = {
        ("S1", "Directions", 1): incomplete,
        ("S1", "Eating", 2): views([0, 1]),
        ("S1", "Eating", 3): views([0, 1]),
        ("S1", "Posing", 1): views([0, 1]),
        ("S11", "Directions", 2): views([0, 1]),
    }
    lengths = {
        ("S1", "Directions", "1"): ("Directions 1", 4),
        ("S1", "Eating", ""): ("Eating", 4),
        ("S1", "Sitting", "1"): ("Sitting 1", 4),
    }
    positions, table = export_2d.arrange(seen, lengths)
    assert list(positions) == ["S1"]
    assert list(positions["S1"]) == ["Eating"]
    assert positions["S1"]["Eating"][0].shape == (4, 17, 2)
    assert [line.left_out for line in table] == [
        "no picture from 58860488", "", "no such trial in Human3.6M", "not among the 3D poses",
        "broken video, in none of VideoPose3D's files", "no picture at all",
    ]  # fmt: skip
    said = export_2d.report(table, "out.npz", lengths)
    assert "1 sequences from 4 cameras, 16 poses, 8 of them detected (50.0%)" in said
    assert "no picture from 58860488" in said


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """A toy detector, pictures of every second frame, and the 3D file."""
    folder = tmp_path_factory.mktemp("export")
    names = [("S1", "Directions", 1), ("S1", "Directions", 2), ("S9", "Eating", 1)]

    def records(subjects):
        for n, (subject, action, trial) in enumerate(names):
            for c, camera in enumerate(CAMERAS) if subject in subjects else ():
                for frame in range(0, 6, 2):
                    named = {"subject": subject, "action": action, "trial": trial}
                    i = 100 * n + 10 * c + frame
                    yield make_record(i, camera=camera, **named | {"frame": frame})

    write_dataset(folder / "set", "toy", {"train": records({"S1"}), "test": records({"S9"})}, {})
    positions = files.poses(("S1",), ("Directions 1", "Directions"), frames=7)
    positions["S9"] = {"Eating 1": files.person(7)}
    files.save_3d(folder / "data_3d_h36m.npz", positions)
    spec = {"kind": "detector", "name": "toy", "skeleton": "human36m"}
    with toy_detector():
        write_run_directory(str(folder / "run"), build_model(spec), spec, {})
        yield folder


def test_the_command_writes_what_data_prep_reads_back_to_the_same_numbers(
    detected, tmp_path, capsys
):
    out = tmp_path / "data_2d_h36m_tiny.npz"
    source = detected / "data_3d_h36m.npz"
    arguments = ["--workdir", detected / "run", "--out", out, "--poses", source]
    arguments += ["--config", "ft2d", "--data", detected / "set"]
    assert main(["export-2d", *map(str, arguments)]) == 0
    assert "3 sequences from 4 cameras, 84 poses, 36 of them detected" in capsys.readouterr().out
    with out.with_name(f"{out.name}.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [(row["sequence"], row["rows"], row["detected"]) for row in table] == [
        ("Directions 1", "7", "12"), ("Directions", "7", "12"), ("Eating 1", "7", "12"),
    ]  # fmt: skip
    with np.load(out, allow_pickle=True) as archive:
        assert archive.files == ["positions_2d", "metadata"]
        assert archive["metadata"].item() == files.METADATA
        written = archive["positions_2d"].item()
    assert {len(views) for s in written.values() for views in s.values()} == {4}

    detector, _ = load_model(str(detected / "run"), "detector")
    build_dataset(plan_lifting(source, out, stride=2), tmp_path / "poses")
    for split in ("train", "test"):
        pictures = PoseDataset.open(detected / "set", split)
        expected = predict_2d(detector, pictures)
        again = PoseDataset.open(tmp_path / "poses", split)
        compared = 0
        for i in range(len(pictures)):
            same = [
                again.labels[f] == pictures.labels[f][i]
                for f in ("subject", "action", "trial", "camera", "frame")
            ]
            rows = np.flatnonzero(np.all(same, axis=0))
            assert len(rows) == 1
            np.testing.assert_array_equal(again.labels["joints_px"][rows[0]], expected[i])
            compared += 1
        assert compared == len(pictures)


def test_without_the_poses_a_sequence_ends_with_its_last_picture(detected, tmp_path, capsys):
    out = tmp_path / "data_2d_h36m_tiny.npz"
    config = load_recipe("ft2d", [f"data.dir={detected / 'set'}"])
    table = export_2d.export_keypoints(config, str(detected / "run"), str(out), splits=["test"])
    assert [(line.sequence, line.rows) for line in table] == [("Eating 1", 5)]
    assert "--poses data_3d_h36m.npz" in capsys.readouterr().out


def test_it_detects_in_the_precision_of_the_recipe(detected, tmp_path):
    config = load_recipe("ft2d", [f"data.dir={detected / 'set'}", "precision=bfloat16"])
    out = tmp_path / "data_2d_h36m_tiny.npz"
    export_2d.export_keypoints(config, str(detected / "run"), str(out), splits=["test"])
    with np.load(out, allow_pickle=True) as archive:
        views = archive["positions_2d"].item()["S9"]["Eating 1"]
    detector, _ = load_model(str(detected / "run"), "detector")
    pictures = PoseDataset.open(detected / "set", "test")
    rounded = predict_2d(detector, pictures, precision="bfloat16")
    assert np.abs(rounded - predict_2d(detector, pictures)).max() > 1e-3
    with pytest.raises(LiftjaxError, match="Unknown precision 'half'"):
        predict_2d(detector, pictures, precision="half")
    for i, camera in enumerate(pictures.labels["camera"]):
        view = views[list(CAMERAS).index(camera)]
        np.testing.assert_array_equal(view[pictures.labels["frame"][i]], rounded[i])


def test_cameras_of_another_studio_are_refused(detected, tmp_path):
    records = [make_record(i) for i in range(4)]
    write_dataset(tmp_path / "other", "toy", {"train": records}, {})
    config = load_recipe("ft2d")
    with pytest.raises(LiftjaxError, match=r"has cameras cam0, .* of Human3.6M, whose cameras are"):
        export_2d.export_keypoints(
            config, str(detected / "run"), str(tmp_path / "x.npz"), data=str(tmp_path / "other")
        )
