import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.lifters.iganet import skeleton_graph
from liftjax.skeletons import get_skeleton


def test_graph_matches_upstream(golden):
    manifest, _ = golden("iganet_h36m")
    expected = np.asarray(manifest["exceptions"]["A"], np.float32)
    np.testing.assert_array_equal(skeleton_graph("human36m"), expected)


@pytest.mark.parametrize("name", ["human36m", "panoptic"])
def test_graph_properties(name):
    skeleton = get_skeleton(name)
    graph = skeleton_graph(name)
    own, outer, inner, mirror = linked = graph > 0
    np.testing.assert_allclose(graph.sum(axis=(0, 1)), 1, rtol=1e-6)  # every joint's weights
    assert linked.sum(axis=0).max() == 1  # a pair of joints has one kind of link
    np.testing.assert_array_equal(own, np.eye(skeleton.num_joints))
    np.testing.assert_array_equal(outer, inner.T)
    np.testing.assert_array_equal(mirror, mirror.T)
    assert (outer | inner).sum() == 2 * len(skeleton.edges)
    flip = skeleton.flip_permutation
    np.testing.assert_array_equal(graph[:, flip][:, :, flip], graph)


def test_graph_needs_a_root():
    with pytest.raises(LiftjaxError, match="coco has no root"):
        skeleton_graph("coco")
