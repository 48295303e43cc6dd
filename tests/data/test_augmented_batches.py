"""Augmentation and several data sets in the batches of the pipeline."""

import itertools

import numpy as np
import pytest

from liftjax import geometry
from liftjax.data.augment import Augment, draw_changes
from liftjax.data.pipeline import evaluation_batches, train_batches
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError
from tests.data.builders import DOT_JOINT, IMAGE_SIZE, make_dataset, make_record
from tests.slow import slow

CROP = (96, 64)
EVERYTHING = {"flip": 0.5, "rotation": 40.0, "scale": 0.3, "color": 0.3, "roll": 15.0}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("augmented") / "set", 11)


def take(dataset, count, size=CROP, batch_size=6, seed=3, **options):
    batches = train_batches(dataset, size, batch_size, seed, **options)
    return list(itertools.islice(batches, count))


def assert_same(a, b):
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_nothing_is_augmented_unless_asked_for(dataset):
    plain = take(dataset, 3)
    assert_same(plain, take(dataset, 3, augment=dict.fromkeys(EVERYTHING, 0.0)))
    augmented = take(dataset, 3, augment=EVERYTHING)
    for one, other in zip(plain, augmented, strict=True):
        np.testing.assert_array_equal(one["index"], other["index"])
        assert (one["image_u8"] != other["image_u8"]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    "options",
    [
        slow({"num_workers": 1}),
        slow({"num_workers": 2}),
        {"cache": True},
        {"num_workers": 2} | {"cache": True},
    ],
)
def test_workers_and_cache_change_nothing_and_a_resumed_run_goes_on(dataset, options):
    plain = take(dataset, 5, augment=EVERYTHING)
    assert_same(plain, take(dataset, 5, augment=EVERYTHING, **options))
    assert_same(plain[3:], take(dataset, 2, augment=EVERYTHING, start_step=3, **options))


def test_shards_are_slices_of_the_augmented_batch(dataset):
    whole = take(dataset, 3, augment=EVERYTHING)
    for i in range(3):
        part = take(dataset, 3, augment=EVERYTHING, shard=(i, 3))
        rows = slice(2 * i, 2 * i + 2)
        assert_same([{k: v[rows] for k, v in batch.items()} for batch in whole], part)


@pytest.mark.parametrize("size", [CROP, (192, 160)])
@pytest.mark.parametrize("kind", [*EVERYTHING, "all"])
def test_the_dot_stays_at_its_joint(dataset, kind, size):
    amounts = EVERYTHING if kind == "all" else {kind: EVERYTHING[kind]}
    other = int(dataset.skeleton.flip_permutation[DOT_JOINT])
    for step, batch in enumerate(take(dataset, 4, size=size, augment=amounts)):
        draws = draw_changes(Augment(**amounts), 3, step, slice(0, 6), 6)
        joint = np.where(draws.reflect, other, DOT_JOINT)
        joints_px = batch["joints_px"][np.arange(6), joint]
        expected = geometry.apply_affine(
            geometry.invert_affine(batch["crop_to_image"]), joints_px[:, None]
        )[:, 0]
        for image, xy in zip(batch["image_u8"], expected, strict=True):
            if not (8 < xy[0] < size[1] - 8 and 8 < xy[1] < size[0] - 8):
                continue
            # The picture is bluish and the dot white, whatever is done to its colours.
            red = image[..., 0].astype(float)
            red = np.maximum(red - 0.5 * red.max(), 0)
            y, x = np.mgrid[: size[0], : size[1]]
            found = np.array([(red * x).sum(), (red * y).sum()]) / red.sum()
            np.testing.assert_allclose(found, xy, atol=0.6)


def test_rotation_and_scale_change_only_the_crop(dataset):
    plain = take(dataset, 3)
    turned = take(dataset, 3, augment={"rotation": 40.0, "scale": 0.3})
    for one, other in zip(plain, turned, strict=True):
        for key in one.keys() - {"image_u8", "crop_to_image"}:
            np.testing.assert_array_equal(one[key], other[key])
        zoom, usual = (np.linalg.det(b["crop_to_image"][:, :, :2]) ** 0.5 for b in (other, one))
        assert (zoom / usual).min() > 0.7
        assert (zoom / usual).max() < 1.3


def test_colours_change_in_the_crop(dataset):
    for step, (one, other) in enumerate(
        zip(take(dataset, 3), take(dataset, 3, augment={"color": 0.3}), strict=True)
    ):
        matrix = draw_changes(Augment(color=0.3), 3, step, slice(0, 6), 6).color[:, None, None]
        expected = (matrix[..., :3] @ one["image_u8"][..., None])[..., 0] + matrix[..., 3]
        np.testing.assert_allclose(other["image_u8"], np.clip(expected, 0, 255), atol=1)


@pytest.mark.parametrize("model", ["opencv", "human36m"])
def test_the_cameras_of_a_batch_project_its_poses_to_its_2d(tmp_path, model):
    rng = np.random.default_rng(0)
    camera = {
        "camera_K": [[150.0, 0.2, 78], [0, 152, 63], [0, 0, 1]],
        "camera_distortion": [-0.2, 0.1, 0.004, -0.006, 0.02],
        "root_m": (0.1, -0.1, 5),
        "pose_m": rng.normal(0, 0.4, (17, 3)),
        "distortion_model": model,
        "has_3d": True,
    }
    points = camera["pose_m"] + camera["root_m"]
    camera["joints_px"] = geometry.project(
        points, np.array(camera["camera_K"]), np.array(camera["camera_distortion"]), model
    )
    dataset = make_dataset(tmp_path / "set", 4, **camera)
    for options in ({}, {"augment": {"flip": 0.5, "roll": 60.0, "rotation": 20.0}}):
        for batch in take(dataset, 4, cameras=True, **options):
            points = batch["pose_m"] + batch["root_m"][:, None]
            projected = geometry.project(
                points, batch["camera_K"], batch["camera_distortion"], model
            )
            np.testing.assert_allclose(projected, batch["joints_px"], atol=1e-3)
    assert "camera_R" in next(evaluation_batches(dataset, None, 2, cameras=True))


def test_augmentation_without_pictures(tmp_path):
    dataset = make_dataset(tmp_path / "set", 5, with_picture=False)
    batch = take(dataset, 1, size=None, augment={"flip": 1.0})[0]
    assert "image_u8" not in batch
    mirrored = dataset.labels["joints_px"][batch["index"]][:, dataset.skeleton.flip_permutation]
    mirrored[..., 0] = IMAGE_SIZE[0] - 1 - mirrored[..., 0]
    np.testing.assert_allclose(batch["joints_px"], mirrored, atol=1e-4)


# Several data sets


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    make_dataset(root / "photographs", 12, has_3d=False, pose_m=np.zeros((17, 3)), subject="coco")
    make_dataset(root / "studio", 5, has_3d=True)
    return root / "photographs", root / "studio"


def test_several_data_sets_are_read_as_one(directories):
    both = PoseDataset.open(",".join(map(str, directories)), "train")
    single = [PoseDataset.open(directory, "train") for directory in directories]
    assert len(both) == 17
    np.testing.assert_array_equal(both.part, [0] * 12 + [1] * 5)
    for i, (one, k) in {3: (single[0], 3), 12: (single[1], 0), 16: (single[1], 4)}.items():
        np.testing.assert_array_equal(both.image(i), one.image(k))
        assert both.name(i) == one.name(k)
        np.testing.assert_array_equal(both.labels["joints_px"][i], one.labels["joints_px"][k])
    assert len(PoseDataset.open(directories, "train").where(subjects=("coco",))) == 12
    studio = both.select(both.part == 1)
    np.testing.assert_array_equal(studio.image(2), single[1].image(2))


@pytest.mark.slow
def test_shares_of_data_sets_in_a_batch(directories):
    both = PoseDataset.open(directories, "train")
    for options in ({}, {"num_workers": 2}, {"cache": True}):
        batches = take(both, 6, batch_size=8, shares=(1, 3), **options)
        assert [int(b["has_3d"].sum()) for b in batches] == [6] * 6
    assert_same(batches[4:], take(both, 2, batch_size=8, shares=(1, 3), start_step=4))
    alike = np.concatenate([b["index"] for b in take(both, 17, batch_size=1)])
    np.testing.assert_array_equal(np.sort(alike), np.arange(17))
    with pytest.raises(LiftjaxError, match="3 shares for 2 data sets"):
        take(both, 1, shares=(1, 1, 1))
    with pytest.raises(LiftjaxError, match=r"photographs has a share .* none of its records"):
        take(both.select(both.part == 1), 1, shares=(1, 1))


def test_data_sets_of_different_joints_are_not_mixed(directories, tmp_path):
    from data_prep.building import write_dataset

    joints = {"joints_px": np.ones((15, 2)), "joint_visible": np.ones(15, bool)}
    record = make_record(
        0, with_picture=False, skeleton="panoptic", pose_m=np.zeros((15, 3)), **joints
    )
    write_dataset(tmp_path / "panoptic", "toy", {"train": [record]}, {})
    with pytest.raises(LiftjaxError, match=r"has human36m joints and .*panoptic has panoptic"):
        PoseDataset.open([directories[1], tmp_path / "panoptic"], "train")
    with pytest.raises(LiftjaxError, match="No data set is named"):
        PoseDataset.open(" , ", "train")
