"""Rows read a piece at a time."""

import numpy as np
import pytest

from liftjax.inference.outputs import people
from tests.inference.outputs.sample_result import root_of, sample_result, without


@pytest.fixture(params=[1, 3, 4096])
def piece(request, monkeypatch):
    monkeypatch.setattr(people, "_ROWS_AT_A_TIME", request.param)
    return request.param


def test_pieces_are_all_rows_in_order(piece):
    rows = sample_result(5).rows
    pieces = list(people.chunks(rows))
    assert max(map(len, pieces)) <= piece
    np.testing.assert_array_equal(np.concatenate(pieces), rows)
    np.testing.assert_array_equal(np.concatenate(list(people.chunks(rows, 2, 7))), rows[2:7])


def test_spans_reach_from_the_first_row_of_a_track_to_its_last(piece):
    rows = sample_result(9, absent={0: (3, 4), 1: (0, 1, 8)}).rows
    spans = people.track_spans(rows)
    assert list(spans) == [0, 1]
    for track, (first, end) in spans.items():
        places = np.flatnonzero(rows["track"] == track)
        assert (first, end) == (places[0], places[-1] + 1)
    assert people.track_spans(rows[:0]) == {}


def test_samples_come_from_all_over():
    rows = sample_result(50, people=1).rows
    np.testing.assert_array_equal(people.evenly(rows, 5)["frame"], [0, 12, 24, 37, 49])
    np.testing.assert_array_equal(people.evenly(rows, 1000), rows)
    assert len(people.evenly(rows[:0], 5)) == 0


def test_people_stand_together_if_that_is_the_rule():
    assert people.stand_together(sample_result(20))
    assert not people.stand_together(sample_result(20, people=1))
    assert not people.stand_together(sample_result(20, absent={1: tuple(range(1, 20))}))
    nobody = sample_result(20, people=1, absent={0: tuple(range(20))})
    assert not people.stand_together(nobody)


def test_a_focal_length_that_all_frames_share(piece):
    result = without(sample_result(5), focal_px=None)
    assert people.focal_px(result) == 1.15 * 320
    assert people.focal_px(without(result, focal_px=777.0)) == 777
    result.frames[4] = (100, 321)
    assert people.focal_px(result) is None
    result.frames[4] = (100, 320)  # the longer side counts
    assert people.focal_px(result) == 1.15 * 320
    assert people.focal_px(without(result, frames=result.frames[:0])) is None
    result.frames[2] = (0, 0)  # a picture that could not be read has no focal length
    assert people.focal_px(result) == 1.15 * 320
    result.frames[4] = (100, 400)
    focals = people.focals_px(result.frames, result)
    np.testing.assert_allclose(focals, [1.15 * 320] * 2 + [np.nan, 1.15 * 320, 1.15 * 400])


def test_places_and_sizes():
    rows = sample_result(2).people(1)
    np.testing.assert_allclose(people.placed(rows, 1)[1, 0], root_of(1, 1), rtol=1e-6)
    rows = rows.copy()
    rows["root_m"][0] = np.nan
    np.testing.assert_array_equal(people.placed(rows, 0)[0, 0], 0)
    rows["box_xyxy"] = [[0, 0, 5, 5], [0, 0, 9, 9]]
    assert people.largest_first(rows).tolist() == [1, 0]
