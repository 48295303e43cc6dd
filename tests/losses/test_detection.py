import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses
from tests.losses.arrays import RNG, normal


def test_heatmap_loss_by_hand():
    heat, target = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    weight = jnp.asarray(RNG.uniform(size=(2, 5)), jnp.float32).at[0, 0].set(0)
    per_joint = losses.heatmap_loss_per_joint(heat, target, weight)
    b, k = 1, 3
    by_hand = 0.5 * np.mean((weight[b, k] * (heat[b, :, :, k] - target[b, :, :, k])) ** 2)
    assert float(per_joint[b, k]) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(per_joint[0, 0]) == 0
    assert float(losses.heatmap_loss(heat, target, weight)) == pytest.approx(
        float(per_joint.mean()), rel=1e-6
    )
    kept = losses.heatmap_loss(heat, target, weight, sample_weight_B=jnp.asarray([0.0, 1.0]))
    assert float(kept) == pytest.approx(float(per_joint[1].mean()), rel=1e-6)


def test_simcc_loss_by_hand():
    x, y, target_x, target_y = normal(2, 3, 8), normal(2, 3, 6), normal(2, 3, 8), normal(2, 3, 6)
    weight = jnp.ones((2, 3)).at[1, 2].set(0)
    per_joint = losses.simcc_loss_per_joint(x, y, target_x, target_y, weight, beta=10.0)
    expected = 0.0
    for logits, label in ((x, target_x), (y, target_y)):
        p, q = (np.asarray(jax.nn.softmax(10 * v[0, 1]), np.float64) for v in (logits, label))
        expected += np.mean(q * np.log(q / p))
    assert float(per_joint[0, 1]) == pytest.approx(expected, rel=1e-4)
    assert float(per_joint[1, 2]) == 0
    same = losses.simcc_loss(target_x, target_y, target_x, target_y, weight)
    assert float(same) == pytest.approx(0, abs=1e-7)
    assert float(losses.simcc_loss(x, y, target_x, target_y, weight)) == pytest.approx(
        float(per_joint.mean()), rel=1e-6
    )


def test_shape_mismatches_raise():
    with pytest.raises(ValueError, match="targets"):
        losses.heatmap_loss(normal(2, 3, 4, 5), normal(2, 3, 4, 1), jnp.ones((2, 5)))
