"""What all detectors share."""

import jax.numpy as jnp
import numpy as np

from liftjax.detectors.spec import HeatmapOutput, SimCCOutput


def test_score_of_a_heatmap_is_its_peak():
    maps_BHWK = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    scores_BK = HeatmapOutput(jnp.asarray(maps_BHWK)).scores()
    np.testing.assert_array_equal(scores_BK, maps_BHWK.reshape(2, 12, 5).max(1))


def test_score_of_two_vectors_is_the_lesser_peak():
    x_BKX = jnp.asarray([[[0.0, 0.7, 0.1], [0.2, 0.1, 0.0]]])
    y_BKY = jnp.asarray([[[0.3, 0.1], [0.0, 0.9]]])
    np.testing.assert_allclose(SimCCOutput(x_BKX, y_BKY).scores(), [[0.3, 0.2]])
