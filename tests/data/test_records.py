import dataclasses
import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import finishing, parts
from data_prep.building import write_dataset
from liftjax.data.records import PoseDataset, decode_jpeg, labels_file, read_metadata
from liftjax.data.schema import METADATA_FILE, STRING_FIELDS, array_fields
from liftjax.errors import LiftjaxError
from tests.data.builders import make_dataset, make_record


def contents(directory):
    return {f.name: f.read_bytes() for f in Path(directory).iterdir()}


def test_every_field_comes_back_bit_for_bit(tmp_path):
    records = [make_record(i) for i in range(3)]
    write_dataset(tmp_path / "set", "toy", {"train": records, "test": records[:1]}, {})
    dataset = PoseDataset.open(tmp_path / "set", "train")
    assert len(dataset) == 3
    assert dataset.skeleton.name == "human36m"
    for i, record in enumerate(records):
        for field, (dtype, _) in array_fields(17).items():
            expected = np.asarray(getattr(record, field), dtype)
            np.testing.assert_array_equal(dataset.labels[field][i], expected)
            assert dataset.labels[field].dtype == dtype
        for field in (*STRING_FIELDS, "has_3d", "frame"):
            assert dataset.labels[field][i] == getattr(record, field)
        assert dataset.image_bytes(i) == record.image
        assert dataset.name(i) == record.name
        np.testing.assert_array_equal(dataset.image(i), decode_jpeg(record.image))
    assert len(PoseDataset.open(tmp_path / "set", "test")) == 1


def test_pictures_are_rgb(tmp_path):
    background = make_dataset(tmp_path / "set", 1).image(0)[0, 0].astype(int)
    np.testing.assert_allclose(background, (20, 60, 100), atol=4)


def test_other_joint_counts(tmp_path):
    panoptic = {
        "skeleton": "panoptic",
        "joints_px": np.ones((15, 2)),
        "pose_m": np.ones((15, 3)),
        "joint_visible": np.ones(15, bool),
    }
    assert make_dataset(tmp_path / "set", 2, **panoptic).labels["pose_m"].shape == (2, 15, 3)


def test_selection(tmp_path):
    dataset = make_dataset(tmp_path / "set", 12)
    some = dataset.where(subjects=["S1"], cameras=["cam1", "cam3"]).select([2, 0])
    assert some.labels["frame"].tolist() == [5, 1]
    np.testing.assert_array_equal(some.image(1), dataset.image(1))
    assert len(dataset.where(actions=("Walking",))) == 8
    with pytest.raises(LiftjaxError, match=r"Unknown action .*'Wlking'; did you mean 'Walking'"):
        dataset.where(actions=["Wlking"])
    with pytest.raises(LiftjaxError, match="no record has all"):
        dataset.where(subjects=["S1"], cameras=["cam0"])


def test_statistics_are_those_of_the_selection_and_are_stored(tmp_path):
    dataset = make_dataset(tmp_path / "set", 10)
    statistics = dataset.statistics()
    with_3d = dataset.labels["has_3d"]
    assert 0 < with_3d.sum() < 10
    np.testing.assert_allclose(
        statistics.std_3d_m, dataset.labels["pose_m"][with_3d].std(0), rtol=1e-5
    )
    visible, joints = dataset.labels["joint_visible"], dataset.labels["joints_px"]
    assert not visible[4].all()  # a record without 3D: nobody knows where its hidden joints are
    for joint in range(17):
        known = [i for i in range(10) if visible[i, joint] or with_3d[i]]
        mean, std = joints[known, joint].mean(0), joints[known, joint].std(0)
        np.testing.assert_allclose(statistics.mean_2d_px[joint], mean, rtol=1e-5)
        np.testing.assert_allclose(statistics.std_2d_px[joint], std, rtol=1e-5)
    stored = read_metadata(tmp_path / "set")["splits"]["train"]
    np.testing.assert_array_equal(stored["statistics"]["std_2d_px"], statistics.std_2d_px)
    assert stored["counts"]["subject"] == {"S0": 5, "S1": 5}
    assert stored["with_3d"] == 8
    assert np.isfinite(np.concatenate(dataset.select([4]).statistics(), axis=-1)).all()


def test_no_tensorflow_when_writing_and_reading(tmp_path):
    code = (
        "import sys; from tests.data.builders import make_dataset\n"
        "from liftjax.data.pipeline import train_batches\n"
        f"next(train_batches(make_dataset({str(tmp_path / 'set')!r}, 3), (32, 24), 2, 0))\n"
        "assert 'tensorflow' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_missing_data_set_and_split_say_what_to_do(tmp_path):
    with pytest.raises(LiftjaxError, match=r"No data set in .*nothing.*python -m data_prep"):
        PoseDataset.open(tmp_path / "nothing", "train")
    make_dataset(tmp_path / "set", 1)
    with pytest.raises(LiftjaxError, match="Unknown split 'trian'; did you mean 'train'"):
        PoseDataset.open(tmp_path / "set", "trian")


def test_newer_damaged_or_incomplete_data_sets_are_refused(tmp_path):
    make_dataset(tmp_path / "set", 1)
    file = tmp_path / "set" / METADATA_FILE
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps(metadata | {"schema_version": 99}))
    with pytest.raises(LiftjaxError, match=r"version 99.*update liftjax"):
        PoseDataset.open(tmp_path / "set", "train")
    file.write_text(json.dumps(metadata)[:40])
    with pytest.raises(LiftjaxError, match="damaged"):
        PoseDataset.open(tmp_path / "set", "train")
    for number in ("1e999", "9" * 5000):
        file.write_text(f'{{"schema_version": {number}}}')
        with pytest.raises(LiftjaxError, match="damaged"):
            PoseDataset.open(tmp_path / "set", "train")
    file.write_text(json.dumps(metadata))
    next((tmp_path / "set").glob("*array_record*")).unlink()
    with pytest.raises(LiftjaxError, match=r"array_record.* is missing"):
        PoseDataset.open(tmp_path / "set", "train")


def test_the_labels_file_is_only_a_shortcut(tmp_path):
    quick = make_dataset(tmp_path / "set", 3)
    file = labels_file(tmp_path / "set", "train")
    make_dataset(tmp_path / "other", 4)
    other = labels_file(tmp_path / "other", "train").read_bytes()
    for content, message in ((file.read_bytes()[:500], "damaged"), (other, "does not belong")):
        file.write_bytes(content)
        with pytest.raises(LiftjaxError, match=f"labels-train.npz.*{message}.*delete it"):
            PoseDataset.open(tmp_path / "set", "train")
    file.unlink()
    slow = PoseDataset.open(tmp_path / "set", "train")
    assert slow.labels.keys() == quick.labels.keys()
    for key, array in quick.labels.items():
        np.testing.assert_array_equal(array, slow.labels[key])
        assert array.dtype == slow.labels[key].dtype


@pytest.mark.parametrize("keep", [100, -100])
def test_a_cut_record_file_is_named(tmp_path, keep):
    dataset = make_dataset(tmp_path / "set", 3)
    file = next((tmp_path / "set").glob("*array_record*"))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(LiftjaxError, match=r"set: a record file of split train is damaged"):
        dataset.image(0)
    labels_file(tmp_path / "set", "train").unlink()
    with pytest.raises(LiftjaxError, match=r"set: a record file of split train is damaged"):
        PoseDataset.open(tmp_path / "set", "train")


def test_truncated_jpeg_names_file_and_record(tmp_path):
    whole = make_record(0)
    cut = dataclasses.replace(whole, image=whole.image[: len(whole.image) // 2])
    dataset = make_dataset(tmp_path / "set", 2, image=cut.image)
    with pytest.raises(LiftjaxError, match=r"toy-train\.array_record.* S1/Walking/cam1/frame 1"):
        dataset.image(1)
    without = make_dataset(tmp_path / "other", 1, with_picture=False)
    with pytest.raises(LiftjaxError, match="has no picture"):
        without.image(0)


BAD_RECORDS = {
    "pose_m holds NaN": {"pose_m": np.full((17, 3), np.nan)},
    r"joints_px has shape \(16, 2\)": {"joints_px": np.ones((16, 2))},
    "joint set panoptic, but the data set has human36m": {
        "skeleton": "panoptic",
        "joints_px": np.ones((15, 2)),
        "pose_m": np.ones((15, 3)),
        "joint_visible": np.ones(15, bool),
    },
    "not a JPEG": {"image": b"GIF89a"},
}


@pytest.mark.parametrize("message", BAD_RECORDS)
def test_a_bad_record_leaves_the_old_data_set_whole(tmp_path, message):
    make_dataset(tmp_path / "set", 2)
    before = contents(tmp_path / "set")
    records = [make_record(0), make_record(1, **BAD_RECORDS[message])]
    with pytest.raises(LiftjaxError, match=f"S1/Walking/cam1/frame 1: .*{message}"):
        write_dataset(tmp_path / "set", "toy", {"train": records}, {})
    assert contents(tmp_path / "set") == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_ctrl_c_leaves_the_old_data_set_whole(tmp_path):
    make_dataset(tmp_path / "set", 2)
    before = contents(tmp_path / "set")

    def interrupted():
        yield make_record(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", "toy", {"train": interrupted()}, {})
    assert contents(tmp_path / "set") == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def full_on_write(monkeypatch):
    # What the writer of the record files raises on a full disk.
    class Full:
        def __init__(self, path, options):
            pass

        def write(self, data):
            raise RuntimeError("write() failed: No space left on device; writing x; at byte 1040")

        def close(self):
            pass

    monkeypatch.setattr(parts.array_record_module, "ArrayRecordWriter", Full)


def full_on_metadata(monkeypatch):
    def fail(directory, document):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(finishing, "_write_json", fail)


def full_on_rename(monkeypatch):
    rename = finishing.os.rename

    def fail(source, target):
        if str(source).endswith(".building"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(finishing.os, "rename", fail)


@pytest.mark.parametrize("full", [full_on_write, full_on_metadata, full_on_rename])
def test_a_full_disk_leaves_the_old_data_set_whole(tmp_path, monkeypatch, full):
    make_dataset(tmp_path / "set", 2)
    before = contents(tmp_path / "set")
    full(monkeypatch)
    with pytest.raises(LiftjaxError, match="No space left on device; nothing was changed"):
        write_dataset(tmp_path / "set", "toy", {"train": [make_record(7)]}, {})
    assert contents(tmp_path / "set") == before
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte, where the machine lets us mount one."""
    mount = shutil.which("mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not mount or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_really_is_full(tiny_disk):
    make_dataset(tiny_disk / "set", 2)
    before = contents(tiny_disk / "set")
    noise = b"\xff\xd8" + np.random.default_rng(0).bytes(40_000) + b"\xff\xd9"
    records = [make_record(i, image=noise) for i in range(100)]
    with pytest.raises(LiftjaxError, match="No space left on device; nothing was changed"):
        write_dataset(tiny_disk / "set", "toy", {"train": records}, {})
    assert contents(tiny_disk / "set") == before
    assert [p.name for p in tiny_disk.iterdir()] == ["set"]
    assert len(PoseDataset.open(tiny_disk / "set", "train")) == 2


def test_a_new_data_set_replaces_the_old_one_whole(tmp_path):
    write_dataset(tmp_path / "set", "old", {"a": [make_record(0)]}, {}, {"note.txt": b"old"})
    write_dataset(tmp_path / "set", "new", {"b": [make_record(1)]}, {}, {"other.txt": b"new"})
    names = set(contents(tmp_path / "set"))
    assert "other.txt" in names
    assert not any("old" in name or name == "note.txt" for name in names)
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_only_data_sets_are_ever_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(LiftjaxError, match="holds files but no data set"):
        write_dataset(tmp_path, "toy", {"train": [make_record(0)]}, {})
    with pytest.raises(LiftjaxError, match="is a file"):
        write_dataset(tmp_path / "thesis.tex", "toy", {"train": [make_record(0)]}, {})
    assert (tmp_path / "thesis.tex").exists()


def test_an_empty_split_is_an_error(tmp_path):
    with pytest.raises(LiftjaxError, match="split test of toy has no records"):
        write_dataset(tmp_path / "set", "toy", {"train": [make_record(0)], "test": []}, {})
    assert not any(tmp_path.iterdir())
