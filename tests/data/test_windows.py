import itertools

import numpy as np
import pytest

from liftjax.data import windows
from liftjax.errors import LiftjaxError


def labels_of(*clips):
    """Labels of clips (subject, camera, frames), in shuffled order, and the order."""
    rows = [(s, c, f) for s, c, frames in clips for f in frames]
    order = np.random.default_rng(0).permutation(len(rows))
    subjects, cameras, frames = (np.array(column)[order] for column in zip(*rows, strict=True))
    count = len(rows)
    return {
        "subject": subjects,
        "action": np.full(count, "Walking"),
        "trial": np.ones(count, int),
        "camera": cameras,
        "frame": frames,
    }


def test_clips_are_runs_at_a_constant_step():
    labels = labels_of(
        ("S1", "a", range(0, 50, 5)), ("S1", "b", [*range(0, 30, 5), *range(50, 70, 5)]),
        ("S2", "a", [7]),
    )  # fmt: skip
    clips = windows.find_clips(labels)
    assert clips.step == 5
    assert clips.lengths.tolist() == [10, 6, 4, 1]
    for first, last in zip(clips.first, clips.last, strict=True):
        rows = clips.records[first : last + 1]
        assert (
            len(np.unique(labels["subject"][rows])) == len(np.unique(labels["camera"][rows])) == 1
        )
        assert (np.diff(labels["frame"][rows]) == 5).all()
    assert sorted(clips.records.tolist()) == list(range(21))


def test_trials_and_actions_are_not_joined():
    labels = labels_of(("S1", "a", range(8)))
    labels["trial"] = np.where(labels["frame"] < 4, 1, 2)
    assert windows.find_clips(labels).lengths.tolist() == [4, 4]


def test_data_sets_are_not_joined():
    labels = labels_of(("S1", "a", range(8)))
    part = (labels["frame"] >= 5).astype(int)
    assert windows.find_clips(labels, part).lengths.tolist() == [5, 3]


def test_frames_without_neighbours_are_clips_of_their_own():
    labels = labels_of(("S1", "a", [3]), ("S2", "a", [3]), ("S3", "b", [9]))
    clips = windows.find_clips(labels)
    assert clips.lengths.tolist() == [1, 1, 1]


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_pads_by_repetition_like_numpy(causal):
    """As VideoPose3D pads a whole sequence before its unpadded convolutions."""
    field, labels = 9, labels_of(("S1", "a", range(20)), ("S2", "b", range(4)))
    before = field - 1 if causal else field // 2
    cut = windows.cut(windows.find_clips(labels), field, 1, before)
    assert len(cut) == 24
    batch = cut.batch(np.arange(24))
    assert batch["index"][:, 0].tolist() == list(range(24))  # one for each record, in order
    assert (batch["weight"] == 1).all()
    for row in range(24):
        here = np.flatnonzero(labels["subject"] == labels["subject"][row])
        here = here[np.argsort(labels["frame"][here])]
        padded = np.pad(here, (before, field - 1 - before), mode="edge")
        place = labels["frame"][row]
        np.testing.assert_array_equal(batch["inputs"][row], padded[place : place + field])


@pytest.mark.parametrize(
    ("taken", "given", "before"), [(7, 7, 0), (12, 4, 4), (12, 4, 8), (1, 1, 0)]
)
def test_every_frame_counts_once(taken, given, before):
    labels = labels_of(("S1", "a", range(20)), ("S2", "b", range(3)), ("S2", "c", range(7)))
    cut = windows.cut(windows.find_clips(labels), taken, given, before)
    batch = cut.batch(np.arange(len(cut)))
    counted = batch["index"][batch["weight"] > 0]
    assert sorted(counted.tolist()) == list(range(30))
    assert batch["inputs"].shape == (len(cut), taken)
    # The frames given are those taken, from `before` on, wherever both lie within the clip.
    inside = batch["inputs"][:, before : before + given] == batch["index"]
    assert inside[batch["weight"] > 0].all()


def test_whole_windows_do_not_reach_beyond_the_clip():
    """The last is moved back rather than padded, where the clip is long enough."""
    labels = labels_of(("S1", "a", range(10)))
    cut = windows.cut(windows.find_clips(labels), 4, 4)
    frames = labels["frame"][cut.batch(np.arange(3))["inputs"]]
    assert frames.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [6, 7, 8, 9]]
    short = labels_of(("S1", "a", range(3)))
    cut = windows.cut(windows.find_clips(short), 5, 5)
    assert short["frame"][cut.batch(np.arange(1))["inputs"]].tolist() == [[0, 1, 2, 2, 2]]


def test_the_batch_of_a_step_follows_from_seed_and_step():
    cut = windows.cut(windows.find_clips(labels_of(("S1", "a", range(11)))), 3, 1, 1)

    def take(count, **keywords):
        return list(itertools.islice(windows.train_batches(cut, 4, **keywords), count))

    whole = take(6, seed=1, flip=True)
    for a, b in zip(whole[3:], take(3, seed=1, start_step=3, flip=True), strict=True):
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])
    other = take(6, seed=2, flip=True)
    assert any((a["index"] != b["index"]).any() for a, b in zip(whole, other, strict=True))


def test_an_epoch_has_every_window_once_and_with_flips_once_each_way():
    cut = windows.cut(windows.find_clips(labels_of(("S1", "a", range(12)))), 3, 1, 1)
    plain = list(itertools.islice(windows.train_batches(cut, 4, seed=0), 3))
    assert sorted(np.concatenate([b["index"][:, 0] for b in plain])) == list(range(12))
    assert not np.concatenate([b["flip"] for b in plain]).any()
    both = list(itertools.islice(windows.train_batches(cut, 4, seed=0, flip=True), 6))
    seen = [
        (int(i), bool(f)) for b in both for i, f in zip(b["index"][:, 0], b["flip"], strict=True)
    ]
    assert sorted(seen) == [(i, f) for i in range(12) for f in (False, True)]


def test_shards_are_the_parts_of_the_whole_batch():
    cut = windows.cut(windows.find_clips(labels_of(("S1", "a", range(23)))), 5, 5)

    def both(make):
        whole = list(itertools.islice(make((0, 1)), 4))
        parts = [list(itertools.islice(make((i, 3)), 4)) for i in range(3)]
        for batch, *shards in zip(whole, *parts, strict=True):
            for key in batch:
                np.testing.assert_array_equal(batch[key], np.concatenate([s[key] for s in shards]))

    both(lambda shard: windows.train_batches(cut, 6, seed=1, flip=True, shard=shard))
    both(lambda shard: windows.evaluation_batches(cut, 6, shard))
    with pytest.raises(LiftjaxError, match="does not split into 4 equal parts"):
        next(windows.train_batches(cut, 6, seed=1, shard=(0, 4)))


def test_rows_name_the_windows_of_a_step():
    cut = windows.cut(windows.find_clips(labels_of(("S1", "a", range(12)))), 3, 1, 1)
    batch = next(windows.train_batches(cut, 8, seed=0, start_step=2, flip=True))
    rows = windows.train_rows(cut, 8, seed=0, step=2, flip=True)
    np.testing.assert_array_equal(batch["index"], cut.batch(rows % len(cut))["index"])
    np.testing.assert_array_equal(batch["flip"], rows >= len(cut))


def test_evaluation_gives_every_frame_once_in_batches_of_one_size():
    labels = labels_of(("S1", "a", range(23)))
    cut = windows.cut(windows.find_clips(labels), 5, 5)
    batches = list(windows.evaluation_batches(cut, 3))
    assert {b["inputs"].shape for b in batches} == {(3, 5)}
    counted = np.concatenate([b["index"][b["weight"] > 0] for b in batches])
    assert sorted(counted.tolist()) == list(range(23))
