import jax
import numpy as np
import pytest
from flax import nnx

import liftjax
from liftjax import geometry
from liftjax.data.crops import cut_antialiased, image_to_crop
from liftjax.errors import LiftjaxError
from tests.inference import networks

PICTURE = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
BOXES = np.array([[10, 10, 60, 110], [80, 5, 150, 118], [-20, 40, 50, 140], [0, 0, 160, 120.0]])


@pytest.fixture(scope="module")
def predictor():
    return liftjax.Predictor(networks.detector(), {"sb": networks.lifter()}, batch_size=2)


def test_it_is_the_detector_on_crops_and_the_lifter_on_its_keypoints(predictor):
    people = predictor(PICTURE, BOXES)
    detector, lifter = networks.detector(), networks.lifter()
    affines = image_to_crop(BOXES, (64, 64))
    crops = np.stack([cut_antialiased(PICTURE, affine, (64, 64)) for affine in affines])
    out = jax.jit(detector)(detector.spec.normalize(crops))
    kpts_px = geometry.apply_affine(
        geometry.invert_affine(affines).astype(np.float32), detector.decode(out, 100.0)
    )
    np.testing.assert_allclose(people.kpts_px, kpts_px, atol=2e-3)
    np.testing.assert_allclose(people.scores, out.scores(), atol=1e-4)
    poses = lifter.lift(people.kpts_px[:, None], np.tile([160.0, 120.0], (4, 1)))[:, 0]
    np.testing.assert_allclose(people.poses_m["sb"], poses, atol=1e-5)
    assert people.skeleton_2d.name == people.skeleton_3d.name == "human36m"


def test_one_program_serves_any_number_of_people(predictor):
    predictor(PICTURE, BOXES)
    compiled = predictor.detection.mapped._cache_size()
    for count in (1, 2, 3, 4):
        people = predictor(PICTURE, BOXES[:count])
        assert people.kpts_px.shape == (count, 17, 2)
        assert people.poses_m["sb"].shape == (count, 17, 3)
    assert predictor.detection.mapped._cache_size() == compiled == 1


def test_people_do_not_depend_on_each_other(predictor):
    together = predictor(PICTURE, BOXES)
    for i, box in enumerate(BOXES):
        alone = predictor(PICTURE, box)
        np.testing.assert_allclose(alone.kpts_px[0], together.kpts_px[i], atol=1e-3)
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)


def test_nobody_and_no_box(predictor):
    nobody = predictor(PICTURE, np.empty((0, 4)))
    assert nobody.kpts_px.shape == (0, 17, 2)
    assert nobody.poses_m["sb"].shape == (0, 17, 3)
    whole = predictor(PICTURE)
    np.testing.assert_array_equal(whole.kpts_px, predictor(PICTURE, BOXES[3]).kpts_px)


def test_pictures_share_batches_and_keep_their_order(predictor):
    pictures = [
        (np.roll(PICTURE, i, axis=1), BOXES[:count]) for i, count in enumerate((1, 0, 3, 2))
    ]
    found = [*predictor.detection.find(iter(pictures))]
    assert [len(kpts_px) for kpts_px, _ in found] == [1, 0, 3, 2]
    for (picture, boxes), (kpts_px, scores) in zip(pictures, found, strict=True):
        alone = predictor(picture, boxes)
        np.testing.assert_allclose(kpts_px, alone.kpts_px, atol=1e-3)
        np.testing.assert_allclose(scores, alone.scores, atol=1e-5)


def test_pictures_without_people_do_not_pile_up(predictor):
    taken, nobody = [], np.zeros((0, 4), np.float32)

    def pictures():
        for i in range(1000):
            taken.append(i)
            yield np.zeros((8, 8, 3), np.uint8), nobody

    next(predictor.detection.find(pictures()))
    assert len(taken) < 100


def test_run_directories_and_the_beta_of_their_recipe(tmp_path):
    detector, lifter, video_lifter = networks.runs(tmp_path)
    predictor = liftjax.Predictor(detector, [lifter, lifter, video_lifter])
    assert predictor.lifting.names == ("simple_baseline", "simple_baseline-2", "videopose3d")
    assert predictor.detection.decoding.beta == 100
    poses = predictor(PICTURE, BOXES).poses_m
    assert {name: pose.shape for name, pose in poses.items()} == dict.fromkeys(
        predictor.lifting.names, (4, 17, 3)
    )
    assert liftjax.Predictor(detector, beta=3).detection.decoding.beta == 3


@pytest.mark.parametrize(
    ("image", "boxes", "words"),
    [
        (PICTURE[..., 0], None, "uint8 RGB"),
        (PICTURE.astype(np.float32), None, "uint8 RGB"),
        (PICTURE[:0], None, "uint8 RGB"),
        (PICTURE, [[1, 2, 3]], "x0, y0, x1, y1"),
        (PICTURE, [[1, 2, 3], [4]], "x0, y0, x1, y1"),
        (PICTURE, "10,20,30,40", "x0, y0, x1, y1"),
        (PICTURE, [1, 2, 3, 4, 0.9], "without scores"),
        (PICTURE, [[-1e30, 0, 1e30, 9]], "x0, y0, x1, y1"),
        (PICTURE, [[1, 2, np.nan, 4]], "x0, y0, x1, y1"),
        (PICTURE, [[50, 50, 20, 20]], "ends before it begins"),
        (PICTURE, [[170, 50, 200, 90]], "outside the picture"),
    ],
)
def test_what_is_no_picture_or_no_box_is_refused(predictor, image, boxes, words):
    with pytest.raises(LiftjaxError, match=words):
        predictor(image, boxes)


@pytest.mark.parametrize(
    ("detector", "lifters", "words"),
    [
        (networks.lifter, [], "The detector is a SimpleBaseline"),
        (lambda: None, [], "The detector is a NoneType"),
        (networks.detector, [3], "A lifter is a int; give a run directory"),
        (networks.detector, [networks.detector], "a lifter module"),
    ],
)
def test_what_is_no_network_is_refused(detector, lifters, words):
    lifters = [lifter() if callable(lifter) else lifter for lifter in lifters]
    with pytest.raises(LiftjaxError, match=words):
        liftjax.Predictor(detector(), lifters)


def test_a_precision_that_is_none_is_refused():
    with pytest.raises(LiftjaxError, match="Unknown precision 'int8'"):
        liftjax.Predictor(networks.detector(), precision="int8")


def test_a_detector_of_nameless_joints_is_refused():
    nameless = liftjax.create_detector(
        networks.DETECTOR, num_joints=5, image_size=(64, 64), rngs=nnx.Rngs(0)
    )
    with pytest.raises(LiftjaxError, match="no names"):
        liftjax.Predictor(nameless)


def test_a_weights_file_is_no_run_directory(tmp_path):
    path = tmp_path / "hrnet.pth"
    path.write_bytes(b"anything")
    with pytest.raises(LiftjaxError, match="import-weights"):
        liftjax.Predictor(str(path))
