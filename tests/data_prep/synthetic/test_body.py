import numpy as np
import pytest

from data_prep.synthetic import labels
from data_prep.synthetic.body import dress
from data_prep.synthetic.build import PeopleSettings, room_of
from data_prep.synthetic.scene import NUM_BOXES, Difficulty
from liftjax.skeletons import HUMAN36M


def _settings(count, difficulty=Difficulty(), split="train"):  # noqa: B008
    moments = [labels.moment(split, i) for i in range(count)]
    poses = [labels.pose_of(0, split, m) for m in moments]
    people = PeopleSettings(difficulty=difficulty)
    settings = [room_of(people, split, i, m) for i, m in enumerate(moments)]
    return moments, np.stack([p for p, _ in poses]), settings


@pytest.fixture(scope="module")
def dressed():
    moments, points, settings = _settings(60)
    body = dress(points, [m.subject for m in moments], [s.outfit for s in settings])
    return points, body


def test_every_joint_lies_in_the_body(dressed):
    points, body = dressed
    joints = points[:, None, : HUMAN36M.num_joints]  # B 1 K 3
    maps = body.cones.to_local[:, :, None].astype(float)  # B N 1 3 4
    local = np.einsum("bnkij,bnkj->bnki", maps[..., :3], joints) + maps[..., 3]
    height, r0, r1 = (a[:, :, None] for a in body.cones[1:])
    inside = np.zeros(local.shape[:-1], bool)
    for share in np.linspace(0, 1, 21):
        offset = local - np.stack([0 * height, 0 * height, share * height], axis=-1)
        inside |= np.linalg.norm(offset, axis=-1) < r0 + share * (r1 - r0)
    outside = ~inside.any(axis=1)
    assert outside.mean(axis=0).max() < 0.02, dict(
        zip(HUMAN36M.joints, outside.mean(axis=0).round(2), strict=True)
    )


def test_round_cones_are_proper(dressed):
    cones = dressed[1].cones
    assert (cones.height > np.abs(cones.r0 - cones.r1)).all()
    assert all(np.isfinite(a).all() for a in cones)


def test_troubles_come_at_their_rates():
    settings = _settings(400, Difficulty(occluded=0.3, camouflage=0.15))[2]
    assert abs(np.mean([s.occluded for s in settings]) - 0.3) < 0.08
    assert abs(np.mean([s.camouflage for s in settings]) - 0.15) < 0.06
    settings = _settings(40, Difficulty(occluded=0, camouflage=0))[2]
    assert not any(s.occluded or s.camouflage for s in settings)


def test_camouflage_takes_a_wall_s_colours():
    for setting in _settings(40, Difficulty(camouflage=1))[2]:
        shirt, walls = setting.outfit.shirt, setting.scene["room_looks"][:4]
        assert (np.abs(walls[:, 3:6] - shirt[3:6]).max(axis=1) < 0.05).any()
        assert (walls[:, 0] == shirt[0]).any()


def test_rooms_have_one_shape():
    shapes = {s.scene["boxes"].to_local.shape for s in _settings(40)[2]}
    assert shapes == {(NUM_BOXES, 3, 4)}
