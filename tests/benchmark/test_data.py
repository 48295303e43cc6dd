import json

import numpy as np
import pytest

from liftjax import geometry
from liftjax.benchmark import data, frames, released_loader
from liftjax.cli import main
from liftjax.data.pipeline import Batches
from liftjax.data.records import decode_jpeg
from liftjax.errors import LiftjaxError
from liftjax.losses import detection as targets

SIZE = (128, 96)


@pytest.fixture(scope="module")
def records():
    return list(frames.generated(6))


@pytest.fixture(scope="module")
def released(records, tmp_path_factory):
    entries = frames.as_files(records, tmp_path_factory.mktemp("frames"))
    return released_loader.ReleasedDataset(entries, SIZE)


def test_frames_are_like_those_of_a_recording(records):
    again = list(frames.generated(6))
    assert [r.image for r in records] == [r.image for r in again]
    for record in records:
        assert decode_jpeg(record.image).shape == (1000, 1000, 3)
        assert 100_000 < len(record.image) < 400_000
        record.validate()


def test_both_ways_show_the_same_crop_and_the_same_maps(records, released, tmp_path):
    stored = frames.as_records(records, tmp_path / "crops")
    ours = Batches(stored, SIZE, 6, shard=(0, 1), seed=None)(0)
    to_crop = geometry.invert_affine(ours["crop_to_image"])
    joints_crop = geometry.apply_affine(to_crop, ours["joints_px"])
    maps_BHWK, weight_BK = targets.gaussian_heatmaps(
        joints_crop, ours["joint_visible"], (32, 24), 4, 3.0
    )
    for i in range(6):
        image, maps, weights, meta = released[i]
        shown = ours["image_u8"][i].astype(np.float32) / 255
        theirs = image.transpose(1, 2, 0) * released_loader.IMAGENET_STD
        theirs = theirs + released_loader.IMAGENET_MEAN
        assert np.abs(shown - theirs).mean() < 0.05  # ours is free of the warp's aliasing
        np.testing.assert_allclose(maps, np.moveaxis(maps_BHWK[i], -1, 0), atol=1e-6)
        np.testing.assert_array_equal(weights[:, 0], weight_BK[i])
        np.testing.assert_array_equal(meta["box_xyxy"], ours["box_xyxy"][i])


def test_maps_of_joints_outside_and_hidden_ones():
    joints = np.array([[-60.0, 50], [50, 50], [94, 3], [50, 50]])
    maps, weights = released_loader.label_maps(joints, np.array([1, 1, 1, 0]), (32, 24), 3.0)
    np.testing.assert_array_equal(weights[:, 0], [0, 1, 1, 0])
    assert maps[1].max() == 1
    assert np.unravel_index(maps[2].argmax(), maps[2].shape) == (1, 23)
    assert not maps[[0, 3]].any()


def test_batches_are_stacked_as_pytorch_does(released):
    pytest.importorskip("torch")
    by_torch = list(released_loader.batches(released, 4))
    by_numpy = list(released_loader._numpy_batches(released, 4))
    for batches in (by_torch, by_numpy):
        assert [len(batch[0]) for batch in batches] == [4, 2]
    for a, b in zip(by_torch[0][:3], by_numpy[0][:3], strict=True):
        assert tuple(a.shape) == b.shape
    assert by_torch[0][3].keys() == by_numpy[0][3].keys()
    assert tuple(by_torch[0][3]["camera"]["K"].shape) == (4, 3, 3)


def test_the_command_writes_what_it_prints(tmp_path, capsys):
    out = tmp_path / "results" / "data.json"
    arguments = ["--detector", "hrnet_small", "--batch-size", "2", "--repeats", "1", "--steps", "0"]
    data_options = ["--samples", "4", "--out", str(out)]
    assert main(["benchmark", "data", *arguments, *data_options]) == 0
    assert "released way" in capsys.readouterr().out
    results = json.loads(out.read_text())
    rates = results["loaders"]["images_per_core_s"]
    assert results["loaders"]["ratio"] == pytest.approx(rates[data.RECORDS] / rates[data.RELEASED])
    assert results["samples"] == 4
    assert "training" not in results


def test_a_data_set_of_whole_frames_can_be_read_instead(records, tmp_path, capsys):
    from data_prep.building import write_dataset

    write_dataset(tmp_path / "whole", "frames", {"train": records}, {})
    kept = list(frames.whole_frames(str(tmp_path / "whole"), 4))
    assert len(kept) == 4
    assert {r.image for r in kept} <= {r.image for r in records}
    frames.as_records(records, tmp_path / "crops")
    with pytest.raises(LiftjaxError, match="holds crops; the comparison needs whole frames"):
        frames.whole_frames(str(tmp_path / "crops"), 4)
    assert main(["benchmark", "data", "--repeats", "0"]) == 2
    assert "at least 1" in capsys.readouterr().err


def test_small_stored_pictures_lead_back_to_the_same_pixels(records, tmp_path):
    small = frames.as_records(records, tmp_path / "small", height=144)
    assert {small.image(i).shape[0] for i in range(len(small))} == {144}
    large = frames.as_records(records, tmp_path / "large")
    a, b = (Batches(d, (64, 48), 6, shard=(0, 1), seed=None)(0) for d in (small, large))
    assert np.abs(a["image_u8"].astype(float) - b["image_u8"]).mean() < 8


@pytest.mark.slow
def test_training_from_workers_is_set_beside_training_from_memory(
    records, tmp_path, capsys, monkeypatch
):
    seen = []

    def step(state, frozen, batch, hyper):
        seen.append(np.asarray(batch["index"]))
        return state, {"loss": batch["index"]}

    monkeypatch.setattr(data, "_ft2d_step", lambda: (step, {}, {}))
    results = data.compare_training(frames.as_records(records, tmp_path / "small", 144), 2, 1)
    assert results["seconds"].keys() == {data.MEMORY, data.WORKING}
    assert results["ratio"] > 0
    count = data._UNCOUNTED + 2
    np.testing.assert_array_equal(seen[:count], seen[count : 2 * count])
    shown = {"image_size": SIZE, "batch_size": 2, "repeats": 1, "samples": 6, "frame_kB": 1.0}
    rates = {data.RECORDS: 5.0, data.RELEASED: 1.0}
    loaders = {"images_per_core_s": rates, "ratio": 5.0, "crop_kB": 1.0}
    text = data.format_results(shown | {"loaders": loaders, "training": results})
    assert "% of the speed in memory" in text
