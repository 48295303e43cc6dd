"""From a picture whose joints are known to 3D, through files in their publishers' formats."""

import numpy as np
import pytest

from liftjax import Predictor, torch_weights
from liftjax.data.crops import cut_antialiased, image_to_crop
from liftjax.geometry import apply_affine
from liftjax.interchange.importing import import_weights
from liftjax.runtime.checkpoints import load_model
from liftjax.skeletons import convert, get_skeleton
from tests.inference.networks import that_finds
from tests.interchange.checkpoints import save, state_dict
from tests.slow import one_in

# detector's joints, lifter, joints that the lifter's file is named after, those that it takes
CHAINS = [
    ("coco", "videopose3d", "pretrained_h36m_detectron_coco.bin", "coco"),
    ("halpe26", "mixste", "h36m.bin", "human36m"),
    ("wholebody", "iganet", "h36m.pth", "human36m"),
]


@pytest.mark.parametrize(("found", "lifter", "file", "taken"), one_in(3, CHAINS))
def test_every_joint_arrives_by_its_name(tmp_path, found, lifter, file, taken):
    pytest.importorskip("torch")
    random, joints = np.random.default_rng(0), get_skeleton(found).joints
    picture = random.integers(0, 256, (64, 64, 3), np.uint8)
    grid = np.stack(np.mgrid[4:60:4.5, 4:60:4.5], axis=-1).reshape(-1, 2)
    truth = dict(zip(joints, random.permutation(grid)[: len(joints)], strict=True))
    (affine,) = image_to_crop(np.array([[0, 0, 64, 64]]), (64, 64))
    places = apply_affine(affine, np.array([truth[joint] for joint in joints]))
    crop = cut_antialiased(picture, affine, (64, 64))
    network = torch_weights.dump(that_finds(places, crop, found))
    meta = {"dataset_meta": {"dataset_name": {"wholebody": "coco_wholebody"}.get(found, found)}}
    detector = save(tmp_path / "detector.pth", {"meta": meta, "state_dict": network})
    import_weights(detector, str(tmp_path / "detector"))
    lifting = save(tmp_path / file, {"model_pos": state_dict(lifter)})
    import_weights(lifting, str(tmp_path / "lifter"))

    people = Predictor(tmp_path / "detector", {"it": tmp_path / "lifter"})(picture)
    for joint, place in zip(people.skeleton_2d.joints, people.kpts_px[0], strict=True):
        np.testing.assert_allclose(place, truth[joint], atol=2, err_msg=joint)  # others: 4.5
    assert people.skeleton_3d.name == "human36m"
    module, _ = load_model(tmp_path / "lifter", "lifter")
    assert module.spec.skeleton_2d == taken
    seen = dict(zip(joints, people.kpts_px[0], strict=True))
    middle = (seen["left_hip"] + seen["right_hip"]) / 2
    kpts_px = convert(people.kpts_px, found, taken)
    for joint, place in zip(get_skeleton(taken).joints, kpts_px[0], strict=True):
        expected = seen.get(joint, middle if joint == "hip" else place)
        np.testing.assert_allclose(place, expected, atol=1e-4, err_msg=joint)
    clip = np.repeat(kpts_px[:, None], module.spec.num_frames, axis=1)
    expected = np.asarray(module.lift(clip, np.array([[64, 64]])))[0]
    np.testing.assert_allclose(people.poses_m["it"][0], expected[0], atol=1e-5)
