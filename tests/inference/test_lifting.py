"""Lifting of tracks: windows, gaps, stretches."""

import numpy as np
import pytest
from flax import nnx

from liftjax import create_lifter
from liftjax.errors import LiftjaxError
from liftjax.inference import lifting
from liftjax.inference.lifting import Lifting, load_lifters
from liftjax.inference.results import row_dtype
from liftjax.skeletons import convert, get_skeleton

H36M = get_skeleton("human36m")
SIZE = np.array([640.0, 480.0])


def single_frame():
    return create_lifter(
        "simple_baseline", skeleton="human36m", linear_size=16, num_stages=1, rngs=nnx.Rngs(0)
    )


def sliding():
    """A field of nine frames."""
    return create_lifter(
        "videopose3d", skeleton="human36m", filter_widths=(3, 3), channels=16, num_frames=9,
        rngs=nnx.Rngs(1),
    )  # fmt: skip


def exact(frames: int = 4):
    return create_lifter(
        "mixste", skeleton="human36m", num_frames=frames, embed_dim=16, depth=1, num_heads=2,
        rngs=nnx.Rngs(2),
    )  # fmt: skip


def rows_of(tracks: dict[int, list[int]], lifters: int = 1) -> np.ndarray:
    """Smoothly moving keypoints; tracks: {number: its frames}."""
    dtype = row_dtype(17, lifters, 17)
    pairs = sorted((frame, track) for track, frames in tracks.items() for frame in frames)
    rows = np.zeros(len(pairs), dtype)
    rows["frame"], rows["track"] = np.array(pairs).T
    rest = np.random.default_rng(0).uniform(100, 300, (17, 2))
    moved = 3.0 * rows["frame"][:, None, None] + 50 * rows["track"][:, None, None]
    rows["kpts_px"], rows["kpt_score"] = rest + moved, 1
    return rows


def lifted(at_work: Lifting, rows: np.ndarray) -> np.ndarray:
    """(N, L, 17, 3), each row exactly once."""
    sizes = np.tile(SIZE, (rows["frame"].max() + 1, 1))
    poses = np.full((len(rows), len(at_work.names), 17, 3), np.nan, np.float32)
    for positions, some in at_work.video(rows, sizes):
        assert np.isnan(poses[positions]).all()
        poses[positions] = some
    assert np.isfinite(poses).all()
    return poses


def test_every_frame_alone():
    lifter = single_frame()
    rows = rows_of({0: [0, 1, 2, 5], 1: [1, 2]})
    poses = lifted(Lifting({"sb": lifter}, H36M), rows)
    whole = lifter.lift(rows["kpts_px"][:, None], np.tile(SIZE, (6, 1)))[:, 0]
    # Products of other sizes are summed in another order: measured 1e-7 of the largest.
    np.testing.assert_allclose(poses[:, 0], whole, rtol=0, atol=1e-6 * np.abs(whole).max())


def test_a_sliding_lifter_sees_the_frames_around_and_the_ends_repeated():
    lifter = sliding()
    rows = rows_of({0: list(range(12))})
    poses = lifted(Lifting({"vp": lifter}, H36M), rows)
    around = np.pad(rows["kpts_px"], [(4, 4), (0, 0), (0, 0)], mode="edge")
    whole = lifter.lift(around[None], SIZE[None])[0]
    np.testing.assert_allclose(poses[:, 0], whole, atol=1e-5)


@pytest.mark.parametrize("make", [single_frame, sliding, exact])
def test_a_gap_is_filled_on_a_straight_line(make):
    """The keypoints move on straight lines: frames that are missing change no other pose."""
    at_work = Lifting({"lifter": make()}, H36M)
    whole, part = rows_of({3: list(range(16))}), rows_of({3: [*range(5), *range(8, 16)]})
    kept = np.isin(whole["frame"], part["frame"])
    np.testing.assert_allclose(lifted(at_work, part), lifted(at_work, whole)[kept], atol=1e-5)


@pytest.mark.parametrize("make", [single_frame, sliding])
def test_long_tracks_in_stretches_are_lifted_as_in_one(make, monkeypatch):
    at_work = Lifting({"lifter": make()}, H36M)
    rows = rows_of({0: list(range(40)), 1: [*range(7), *range(25, 31)], 2: [39]})
    whole = lifted(at_work, rows)
    monkeypatch.setattr(lifting, "_STRETCH", 8)
    np.testing.assert_allclose(lifted(at_work, rows), whole, atol=1e-5)


def test_a_frame_without_a_size_between_others(monkeypatch):
    """A frame that cannot be read has none; a later stretch may begin before it."""
    at_work = Lifting({"lifter": sliding()}, H36M)
    rows = rows_of({0: [*range(6), *range(7, 20)]})
    whole = lifted(at_work, rows)
    monkeypatch.setattr(lifting, "_STRETCH", 14)
    sizes = np.tile(SIZE, (20, 1))
    sizes[6] = 0
    for positions, some in at_work.video(rows, sizes):
        np.testing.assert_allclose(some, whole[positions], atol=1e-5)


def test_names_of_lifters():
    lifter, other = single_frame(), sliding()
    assert list(load_lifters([lifter, other, lifter])) == [
        "SimpleBaseline", "VideoPose3D", "SimpleBaseline-2",
    ]  # fmt: skip
    given = {"a-2": lifter, "a": other}
    assert load_lifters(given) == given
    assert list(load_lifters(lifter)) == ["SimpleBaseline"]


def test_people_in_pictures_are_lifted_each_alone():
    at_work = Lifting({"sb": single_frame(), "vp": sliding()}, H36M, slide=1)
    kpts_px = rows_of({0: [0], 1: [0], 2: [0]})["kpts_px"]
    sizes = np.array([[640, 480], [100, 900], [640, 480]])
    together = at_work.people(kpts_px, sizes)
    assert together.shape == (3, 2, 17, 3)
    for i in range(3):
        alone = at_work.people(kpts_px[i : i + 1], sizes[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], atol=1e-5)
    assert at_work.people(kpts_px[:0], sizes[:0]).shape == (0, 2, 17, 3)


def test_one_program_serves_any_number_of_people():
    at_work = Lifting({"sb": single_frame()}, H36M, slide=1, batch_size=2)
    program = at_work._lifters[0][1]._mapped
    before = program._cache_size()
    for count in (1, 2, 3, 5):
        at_work.people(np.ones((count, 17, 2), np.float32), np.tile(SIZE, (count, 1)))
    assert program._cache_size() <= before + 1


def test_keypoints_of_another_joint_set_are_converted():
    coco = get_skeleton("coco")
    kpts_px = np.random.default_rng(0).uniform(0, 400, (4, 17, 2)).astype(np.float32)
    sizes = np.tile(SIZE, (4, 1))
    lifter = single_frame()
    found = Lifting({"sb": lifter}, coco).people(kpts_px, sizes)
    converted = convert(kpts_px, "coco", "human36m")
    np.testing.assert_allclose(found, Lifting({"sb": lifter}, H36M).people(converted, sizes))


def test_joint_sets_that_do_not_fit_are_refused():
    with pytest.raises(LiftjaxError, match="mpii has no"):
        Lifting({"sb": single_frame()}, get_skeleton("mpii"))
    other = create_lifter(
        "simple_baseline", skeleton="panoptic", linear_size=16, num_stages=1, rngs=nnx.Rngs(0)
    )
    with pytest.raises(LiftjaxError, match="a: human36m, b: panoptic"):
        Lifting({"a": single_frame(), "b": other}, H36M)
