import csv
import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import pytest

from data_prep import __main__ as command
from data_prep.building import build_dataset, merge_shards, parse_shard
from data_prep.checks import self_check
from data_prep.finishing import PROBLEMS_FILE, SHEET_FILE
from data_prep.parts import DatasetPart, Job, building_directory, checksum
from data_prep.problems import Problem, problems_csv
from liftjax import geometry
from liftjax.data.records import PoseDataset, read_metadata
from liftjax.errors import LiftjaxError
from tests.data_prep.toy_source import contents, plan, write_source

ROOT = Path(__file__).parents[2]


def problems_of(directory):
    with (directory / PROBLEMS_FILE).open() as stream:
        return list(csv.DictReader(stream))


def test_a_build_opens_and_describes_itself(built):
    train, test = (PoseDataset.open(built, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (2 * 3 * 2 * 6, 3 * 2 * 6)
    assert set(test.labels["subject"]) == {"S9"}
    for dataset in (train, test):
        for i in (0, len(dataset) // 2, len(dataset) - 1):
            assert dataset.image(i).shape == (60, 45, 3)
            assert dataset.record(i).validate().name == dataset.name(i)
    document = read_metadata(built)
    assert document["splits"]["train"]["counts"]["action"] == dict.fromkeys(
        ("Eating", "Sitting", "Walking"), 24
    )
    for file, digest in document["files"].items():
        assert checksum(built / file) == digest["sha256"]
    assert len(document["files"]) == 9
    assert document["versions"]["python"]
    sheet = cv2.imread(str(built / SHEET_FILE))
    assert sheet.shape[1] == 8 * 216
    assert [p.name for p in built.parent.iterdir() if p.name.startswith(".")] == []


def test_shards_change_no_byte(source, built, tmp_path):
    for i in (1, 0, 2):
        assert build_dataset(plan(source), tmp_path / "shards", shard=(i, 3)) is None
    merge_shards(tmp_path / "shards")
    with pytest.raises(LiftjaxError, match="is complete: there is nothing to join"):
        merge_shards(tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(built)


def test_merging_before_all_shards_are_there_names_what_is_missing(source, tmp_path):
    with pytest.raises(LiftjaxError, match="has no unfinished build"):
        merge_shards(tmp_path / "set")
    build_dataset(plan(source), tmp_path / "set", shard=(0, 2))
    with pytest.raises(LiftjaxError, match=r"4 of 9 parts are not there yet \(train 1, train 3"):
        merge_shards(tmp_path / "set")
    build_dataset(plan(source), tmp_path / "set", shard=(1, 2))
    assert command.main(["merge", "--out", str(tmp_path / "set")]) == 0
    assert len(PoseDataset.open(tmp_path / "set", "train")) == 72


def test_shards_on_several_disks_are_gathered(source, built, tmp_path):
    for i, disk in enumerate(("one", "two")):
        build_dataset(plan(source), tmp_path / disk / "set", shard=(i, 2))
    merge_shards(tmp_path / "one" / "set", [tmp_path / "two" / "set"])
    assert contents(tmp_path / "one" / "set") == contents(built)
    build_dataset(plan(source), tmp_path / "one" / "other", shard=(0, 2))
    build_dataset(plan(source, scale=1.1), tmp_path / "two" / "other", shard=(1, 2))
    with pytest.raises(LiftjaxError, match="were built with other settings"):
        merge_shards(tmp_path / "one" / "other", [tmp_path / "two" / "other"])


def test_a_damaged_part_is_not_joined(source, tmp_path):
    build_dataset(plan(source), tmp_path / "set", shard=(0, 1), processes=1)
    build_dataset(plan(source, scale=1.1), tmp_path / "new", shard=(0, 2))
    build_dataset(plan(source, scale=1.1), tmp_path / "new", shard=(1, 2))
    file = building_directory(tmp_path / "new") / "toy-train.array_record-00002"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    with pytest.raises(LiftjaxError, match=r"train.array_record-00002 is missing or damaged"):
        merge_shards(tmp_path / "new")
    file.unlink()
    build_dataset(plan(source, scale=1.1), tmp_path / "new")
    assert (tmp_path / "new" / file.name).read_bytes() == whole


@pytest.mark.parametrize("shard", ["4/4", "-1/4", "1", "a/b", "0/0"])
def test_wrong_shards_are_refused(shard):
    with pytest.raises(LiftjaxError, match="give I/N with I from 0 to N - 1"):
        parse_shard(shard)


def test_finished_parts_are_kept_and_changed_inputs_made_again(source, built, tmp_path):
    out = tmp_path / "set"
    build_dataset(plan(source), out, shard=(0, 2))
    times = {f.name: f.stat().st_mtime_ns for f in building_directory(out).iterdir()}
    changed = source / "S1" / "Walking.a.json"
    changed.write_text(json.dumps([0, 1]))
    job = Job(DatasetPart(out, "toy", "train", 0), "human36m", plan(source).parts["train"][0])
    assert not job.is_done()
    build_dataset(plan(source), out, shard=(0, 2))
    after = {f.name: f.stat().st_mtime_ns for f in building_directory(out).iterdir()}
    assert [name for name in times if times[name] != after[name]] == [
        "toy-train.array_record-00000"
    ]
    write_source(source)
    build_dataset(plan(source), out)
    assert contents(out) == contents(built)


def test_other_settings_start_over(source, tmp_path, capsys):
    build_dataset(plan(source), tmp_path / "set", shard=(0, 2))
    build_dataset(plan(source, scale=1.2), tmp_path / "set", shard=(1, 2))
    assert "had other settings" in capsys.readouterr().out
    with pytest.raises(LiftjaxError, match="5 of 9 parts are not there yet"):
        merge_shards(tmp_path / "set")


def test_a_complete_data_set_is_not_built_again(source, built, capsys):
    times = {f: f.stat().st_mtime_ns for f in built.iterdir()}
    build_dataset(plan(source), built)
    assert "is complete" in capsys.readouterr().out
    assert {f: f.stat().st_mtime_ns for f in built.iterdir()} == times
    (source / "S9" / "Eating.a.json").write_text("[3]")
    build_dataset(plan(source), built)
    assert len(PoseDataset.open(built, "test")) == 3 * 2 * 6 - 5


def test_problems_are_named_counted_and_left_out(source, tmp_path, capsys):
    (source / "S1" / "Walking.b.json").write_text("[0, -7, 1, 1]")
    build_dataset(plan(source), tmp_path / "set")
    counts = read_metadata(tmp_path / "set")["problems"]
    assert counts["negative frame"] == {"problems": 1, "dropped": 1}
    assert counts["duplicate record"] == {"problems": 1, "dropped": 1}
    rows = problems_of(tmp_path / "set")
    assert [(r["kind"], r["file"], r["frame"]) for r in rows[:2]] == [
        ("negative frame", "Walking.b.json", "-7"),
        ("duplicate record", "source/S1/Walking.b.json", "1"),
    ]
    assert "negative frame: 1, 1 records left out" in capsys.readouterr().out


def test_problems_of_files_whose_names_are_no_utf8():
    table = problems_csv([Problem("missing", "caf\udce9.json", 3)])
    assert table == "kind,file,frame,detail,dropped\nmissing,caf%E9.json,3,,1\n"


def test_records_twice_in_two_parts_are_refused(source, tmp_path):
    doubled = plan(source)
    doubled.parts["train"].append(doubled.parts["train"][0])
    with pytest.raises(
        LiftjaxError, match=r"12 records of split train are there twice.*S1/Walking"
    ):
        build_dataset(doubled, tmp_path / "set")


@pytest.mark.parametrize(("scale", "factor"), [(1000, "1000"), (100, "100"), (0.01, "0.01")])
def test_a_wrong_unit_is_refused_by_the_length_of_legs(source, tmp_path, scale, factor):
    with pytest.raises(
        LiftjaxError, match=rf"Walking\.a\.json: thighs and shins.*about {factor}\)"
    ):
        build_dataset(plan(source, scale=scale), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_the_self_check_names_sequences_whose_2d_and_3d_disagree(built):
    # The toy's joints are random: all its sequences are off.
    document = read_metadata(built)
    rows = [row for row in problems_of(built) if row["kind"] == "2D and 3D disagree"]
    assert document["problems"]["2D and 3D disagree"] == {"problems": 18, "dropped": 0}
    assert {row["file"] for row in rows if row["file"].startswith("S9")} == {
        f"S9/{action} 1/{camera}" for action in ("Eating", "Sitting", "Walking") for camera in "ab"
    }
    assert all("px apart" in row["detail"] for row in rows)
    assert document["splits"]["test"]["checks"]["limbs"]["S9"]["std_mm"] == 0


def test_a_single_record_whose_2d_and_3d_disagree_is_named(built):
    dataset = PoseDataset.open(built, "test")
    labels = dict(dataset.labels)
    points = labels["pose_m"].astype(float) + labels["root_m"][:, None]
    labels["joints_px"] = geometry.project(points, labels["camera_K"], labels["camera_distortion"])
    assert self_check(labels, dataset.skeleton)[1] == []
    labels["joints_px"][4] += 80
    _, (problem,) = self_check(labels, dataset.skeleton)
    assert (problem.frame, problem.dropped) == (labels["frame"][4], 0)
    assert "113.1 px apart" in problem.detail


def test_single_records_of_no_human_size_are_left_out(source, tmp_path):
    made = plan(source)
    first, *others = made.parts["train"][0]
    mixed = dataclasses.replace(first, scales=(1.0, 1.0, 100.0))
    made.parts["train"][0] = (mixed, *others)
    build_dataset(made, tmp_path / "set")
    counts = read_metadata(tmp_path / "set")["problems"]
    assert counts["limbs of no human length"] == {"problems": 2, "dropped": 2}
    row = next(r for r in problems_of(tmp_path / "set") if r["kind"].startswith("limbs"))
    assert (row["file"], row["frame"]) == ("source/S1/Walking.a.json", "2")


def test_what_does_not_belong_to_a_data_set_is_never_replaced(source, built):
    (built / "notes.txt").write_text("years of work")
    with pytest.raises(LiftjaxError, match=r"holds notes\.txt beside its data set"):
        build_dataset(plan(source, scale=1.1), built)
    assert (built / "notes.txt").read_text() == "years of work"


def test_a_link_as_target_stays_a_link(source, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    build_dataset(plan(source), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(PoseDataset.open(tmp_path / "real", "test")) == 36


def test_a_set_left_aside_by_a_kill_goes_or_comes_back(source, built):
    aside = built.with_name(f".{built.name}.old")
    shutil.copytree(built, aside)
    build_dataset(plan(source), built)
    assert not aside.exists()
    built.rename(aside)
    build_dataset(plan(source), built)
    assert not aside.exists()
    aside.mkdir()
    (aside / "toy-train.array_record-00001").write_bytes(b"left by a kill while it was removed")
    build_dataset(plan(source, scale=1.1), built)
    assert not aside.exists()
    assert len(PoseDataset.open(built, "test")) == 36


def test_a_damaged_complete_set_is_built_again(source, built):
    before = contents(built)
    file = built / "toy-train.array_record-00003"
    file.write_bytes(file.read_bytes()[:1000])
    build_dataset(plan(source), built)
    assert contents(built) == before


def test_the_report_names_the_split_without_records_and_why(source, tmp_path):
    for file in (source / "S9").glob("*.json"):
        file.write_text("[-1, -2]")
    with pytest.raises(LiftjaxError, match=r"test of toy has no records \(negative frame: 12 left"):
        build_dataset(plan(source), tmp_path / "set")
