"""Rows of a head for other joints."""

import numpy as np
import pytest

from liftjax.interchange.heads import convert_rows, plan_rows
from liftjax.skeletons import get_skeleton


def test_coco_to_human36m():
    matrix, rows = plan_rows("coco", "human36m")
    assert rows.drawn == ("head_top",)
    assert rows.averaged == ("hip", "spine", "thorax")
    assert len(rows.copied) == 13
    ours, theirs = get_skeleton("human36m"), get_skeleton("coco")
    hip = matrix[ours.index("hip")]
    assert hip[theirs.index("left_hip")] == hip[theirs.index("right_hip")] == 0.5
    assert not matrix[ours.index("head_top")].any()


@pytest.mark.parametrize(
    ("source", "drawn"),
    [("wholebody", ("head_top",)), ("mpii", ("nose",)), ("halpe26", ()), ("human36m", ())],
)
def test_what_is_drawn_for_human36m(source, drawn):
    assert plan_rows(source, "human36m")[1].drawn == drawn


def test_no_row_is_extrapolated_and_none_is_counted_twice():
    for source in ("coco", "wholebody", "mpii", "halpe26", "body25", "body25b", "panoptic"):
        for target in ("human36m", "panoptic", "coco"):
            matrix, rows = plan_rows(source, target)
            assert (matrix >= 0).all()
            named = [*rows.copied, *rows.averaged, *rows.drawn]
            assert sorted(named) == sorted(get_skeleton(target).joints)
            np.testing.assert_allclose(matrix.sum(1), [j not in rows.drawn for j in get_skeleton(
                target).joints])  # fmt: skip


@pytest.mark.parametrize("shape", [(8, 1, 1), (6, 7, 7), ()])
def test_rows_are_copied_bit_for_bit_averaged_and_drawn(shape):
    random = np.random.default_rng(0)
    given = random.normal(size=(17, *shape)).astype(np.float32)
    drawn = random.normal(size=(17, *shape)).astype(np.float32)
    matrix, _ = plan_rows("coco", "human36m")
    result = convert_rows(given, drawn, matrix)
    ours, theirs = get_skeleton("human36m"), get_skeleton("coco")
    np.testing.assert_array_equal(result[ours.index("left_knee")], given[theirs.index("left_knee")])
    np.testing.assert_array_equal(result[ours.index("head_top")], drawn[ours.index("head_top")])
    shoulders = [theirs.index("left_shoulder"), theirs.index("right_shoulder")]
    np.testing.assert_allclose(result[ours.index("thorax")], given[shoulders].mean(0), rtol=1e-6)


def test_the_report_names_the_joints():
    text = str(plan_rows("mpii", "human36m")[1])
    assert text.endswith("averaged 1 (spine); drawn 1 (nose)")
    assert text.startswith("copied 15 (hip, right_hip,")
