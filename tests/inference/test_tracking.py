"""Tracks: numbers stay with people."""

import numpy as np
import pytest

from liftjax.inference.tracking import Tracker, iou


def box_at(x, y=100.0, width=40.0, height=100.0):
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def update(tracker, *boxes):
    return tracker.update(np.array(boxes).reshape(-1, 4), np.ones(len(boxes))).tolist()


def test_iou():
    boxes = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]])
    expected = [[1, 1 / 7, 0, 0], [1 / 7, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(iou(boxes, boxes), expected)


def test_the_order_of_boxes_does_not_matter():
    tracker = Tracker()
    assert update(tracker, box_at(100), box_at(300)) == [0, 1]
    assert update(tracker, box_at(302), box_at(101)) == [1, 0]
    assert tracker.update(np.zeros((0, 4)), np.zeros(0)).dtype == np.int32


def test_better_scores_come_first():
    boxes = np.array([box_at(100), box_at(300), box_at(500)])
    assert Tracker().update(boxes, np.array([0.5, 0.9, 0.7])).tolist() == [2, 0, 1]
    assert Tracker().update(boxes).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_people_who_cross_keep_their_numbers(seed):
    """They walk through each other at 6 pixels a frame, their boxes trembling."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    for t in range(60):
        boxes = np.array([box_at(100 + 6 * t), box_at(463 - 6 * t)])
        boxes += rng.normal(0, 0.7, boxes.shape)
        order = rng.permutation(2) if t else np.arange(2)
        assert tracker.update(boxes[order], np.ones(2)).tolist() == order.tolist()


def test_a_person_hidden_for_a_while_keeps_the_number():
    """Although walking on meanwhile, by more than the width of the box."""
    tracker = Tracker(patience=15)
    for t in range(10):
        assert update(tracker, box_at(100 + 8 * t)) == [0]
    for _ in range(15):
        assert update(tracker) == []
    assert update(tracker, box_at(100 + 8 * 25)) == [0]


@pytest.mark.parametrize("patience", [0, 3, 15])
def test_patience_ends(patience):
    for missing, number in ((patience, 0), (patience + 1, 1)):
        tracker = Tracker(patience)
        assert update(tracker, box_at(100)) == [0]
        for _ in range(missing):
            update(tracker)
        assert update(tracker, box_at(100)) == [number]


def test_a_jump_is_somebody_else_and_numbers_are_not_used_again():
    tracker = Tracker(patience=1)
    assert update(tracker, box_at(100)) == [0]
    assert update(tracker, box_at(400)) == [1]
    for _ in range(5):
        update(tracker)
    assert update(tracker, box_at(100), box_at(400)) == [2, 3]


def test_boxes_without_a_size():
    tracker = Tracker()
    assert update(tracker, [5, 5, 5, 5], [5, 5, 5, 5]) == [0, 1]
    assert sorted(update(tracker, [5, 5, 5, 5])) == [2]
