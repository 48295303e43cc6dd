import itertools

import numpy as np
import pytest

from liftjax import geometry
from liftjax.data.pipeline import evaluation_batches, train_batches, train_samples
from liftjax.errors import LiftjaxError
from tests.data.builders import DOT_JOINT, make_dataset
from tests.slow import slow

CROP = (96, 64)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("pipeline") / "set", 11)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_fields_shapes_and_dtypes(dataset):
    batch = next(train_batches(dataset, CROP, 4, seed=0))
    f32 = np.float32
    expected = {
        "image_u8": ((4, 96, 64, 3), np.uint8),
        "crop_to_image": ((4, 2, 3), f32),
        "joints_px": ((4, 17, 2), f32),
        "joint_visible": ((4, 17), f32),
        "pose_m": ((4, 17, 3), f32),
        "has_3d": ((4,), f32),
        "image_size": ((4, 2), f32),
        "box_xyxy": ((4, 4), f32),
        "index": ((4,), np.int32),
        "mask": ((4,), bool),
    }
    assert {k: (v.shape, v.dtype.type) for k, v in batch.items()} == {
        k: (shape, np.dtype(dtype).type) for k, (shape, dtype) in expected.items()
    }
    for key in ("joints_px", "pose_m", "box_xyxy", "joint_visible"):
        np.testing.assert_array_equal(batch[key], dataset.labels[key][batch["index"]])


def test_same_seed_same_batches_in_every_way_of_reading(dataset):
    plain = take(train_batches(dataset, CROP, 4, seed=3), 7)
    assert_same(plain, take(train_batches(dataset, CROP, 4, seed=3), 7))
    assert_same(plain, take(train_batches(dataset, CROP, 4, seed=3, num_workers=2), 7))
    assert_same(plain, take(train_batches(dataset, CROP, 4, seed=3, cache=True), 7))
    other = take(train_batches(dataset, CROP, 4, seed=4), 7)
    assert any((a["index"] != b["index"]).any() for a, b in zip(plain, other, strict=True))


@pytest.mark.parametrize("options", [{}, slow({"num_workers": 2}), slow({"cache": True})])
def test_starting_at_a_step_is_skipping_to_it(dataset, options):
    plain = take(train_batches(dataset, CROP, 4, seed=3), 9)
    assert_same(plain[5:], take(train_batches(dataset, CROP, 4, 3, start_step=5, **options), 4))


@pytest.mark.parametrize("batch_size", [3, 4, 11, 25])
def test_each_epoch_visits_every_sample_once(dataset, batch_size):
    batches = take(train_batches(dataset, None, batch_size, seed=0), 50)
    epochs = np.concatenate([b["index"] for b in batches])[: 11 * 13].reshape(13, 11)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(11), (13, 1)))
    assert len({tuple(order) for order in epochs}) == 13


def test_shards_are_the_parts_of_the_whole_batch(dataset):
    whole = take(train_batches(dataset, CROP, 6, seed=1), 3)
    parts = [take(train_batches(dataset, CROP, 6, 1, shard=(i, 3)), 3) for i in range(3)]
    joined = [
        {k: np.concatenate([p[k] for p in step]) for k in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(whole, joined)
    with pytest.raises(LiftjaxError, match="does not split into 4 equal parts"):
        train_batches(dataset, CROP, 6, 1, shard=(0, 4))


@pytest.mark.parametrize("parts", [1, 2])
def test_the_samples_of_a_step_are_known_without_its_batch(dataset, parts):
    for step in (0, 7):
        shards = [
            next(train_batches(dataset, None, 6, 3, step, shard=(i, parts))) for i in range(parts)
        ]
        index = np.concatenate([shard["index"] for shard in shards])
        samples = train_samples(dataset, 6, seed=3, step=step)
        np.testing.assert_array_equal(samples, index)
        assert dataset.names(samples)[0] == dataset.name(int(index[0]))


def test_a_negative_seed_is_refused(dataset):
    with pytest.raises(LiftjaxError, match="seed must not be negative, got -1"):
        train_batches(dataset, CROP, 6, seed=-1)


@pytest.mark.parametrize("options", [{}, slow({"num_workers": 2}), slow({"cache": True})])
def test_evaluation_covers_every_sample_once(dataset, options):
    batches = list(evaluation_batches(dataset, CROP, 4, **options))
    assert [len(b["index"]) for b in batches] == [4, 4, 4]
    counted = np.concatenate([b["index"][b["mask"]] for b in batches])
    np.testing.assert_array_equal(counted, np.arange(11))
    assert_same(batches, list(evaluation_batches(dataset, CROP, 4)))


@pytest.mark.parametrize("crop_size", [(96, 64), (256, 192), (100, 200)])
def test_a_dot_at_a_joint_is_where_crop_to_image_says(dataset, crop_size):
    for batch in evaluation_batches(dataset, crop_size, 4):
        image_to_crop = geometry.invert_affine(batch["crop_to_image"])
        expected = geometry.apply_affine(image_to_crop, batch["joints_px"])[:, DOT_JOINT]
        for image, xy in zip(batch["image_u8"], expected, strict=True):
            red = np.maximum(image[..., 0].astype(float) - 60, 0)
            y, x = np.mgrid[: crop_size[0], : crop_size[1]]
            found = np.array([(red * x).sum(), (red * y).sum()]) / red.sum()
            np.testing.assert_allclose(found, xy, atol=0.5)


def test_labels_alone_without_pictures(tmp_path):
    dataset = make_dataset(tmp_path / "set", 5, with_picture=False)
    with_size = next(train_batches(dataset, CROP, 4, seed=0, cache=True))
    assert "image_u8" not in with_size
    assert "crop_to_image" in with_size
    without = next(train_batches(dataset, None, 4, seed=0))
    assert without.keys() == with_size.keys() - {"crop_to_image"}
    np.testing.assert_array_equal(with_size["index"], without["index"])


def test_mixed_pictures_and_empty_selections_are_refused(tmp_path):
    from data_prep.building import write_dataset
    from liftjax.data.records import PoseDataset
    from tests.data.builders import make_record

    records = [make_record(0), make_record(1, with_picture=False)]
    write_dataset(tmp_path / "set", "toy", {"train": records}, {})
    dataset = PoseDataset.open(tmp_path / "set", "train")
    with pytest.raises(LiftjaxError, match="1 of 2 records have no picture; take those"):
        train_batches(dataset, CROP, 2, seed=0)
    one = dataset.select(dataset.labels["has_image"])
    assert next(train_batches(one, CROP, 2, seed=0))["image_u8"].shape[0] == 2
    with pytest.raises(LiftjaxError, match="no records are left"):
        train_batches(dataset.select([]), CROP, 2, seed=0)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_picture_is_one_clear_error(tmp_path, num_workers):
    dataset = make_dataset(tmp_path / "set", 2, image=b"\xff\xd8 cut short")
    with pytest.raises(LiftjaxError, match=r"JPEG of record S\d/.* is broken"):
        next(train_batches(dataset, CROP, 2, seed=0, num_workers=num_workers))


def test_crops_larger_than_the_memory_are_refused(dataset):
    with pytest.raises(LiftjaxError, match=r"data\.cache=False"):
        train_batches(dataset, (10**6, 10**6), 2, seed=0, cache=True)
