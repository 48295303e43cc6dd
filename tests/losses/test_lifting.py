import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses
from tests.losses.arrays import normal


def test_lifting_losses_by_hand():
    pred, true = normal(2, 5, 3), normal(2, 5, 3)
    square = np.square(np.asarray(pred - true))
    weight = jnp.zeros((2, 5)).at[1, 2].set(1).at[0, 4].set(0.5)

    def weighted(values):
        return (values[1, 2] + 0.5 * values[0, 4]) / 1.5

    for loss, part in (
        (losses.lifting_loss, square),
        (losses.lifting_loss_xy, square[..., :2]),
        (losses.lifting_loss_z, square[..., 2:]),
    ):
        assert float(loss(pred, true)) == pytest.approx(part.mean(), rel=1e-6)
        assert float(loss(pred, true, weight)) == pytest.approx(weighted(part.mean(-1)), rel=1e-6)
        assert float(loss(pred, true, jnp.zeros((2, 5)))) == 0
    np.testing.assert_allclose(
        losses.per_joint_lifting_error(pred, true), square.mean(-1), rtol=1e-6
    )


def test_consistency_is_a_sum_over_pairs():
    poses = normal(3, 2, 5, 3)
    pairs = [np.square(poses[a] - poses[b]).mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    assert float(losses.consistency_loss(poses)) == pytest.approx(sum(pairs), rel=1e-6)
    assert float(losses.consistency_loss(poses[:1])) == 0
    assert float(losses.consistency_loss(poses[:1].repeat(4, axis=0))) == 0
    assert np.isfinite(jax.grad(losses.consistency_loss)(poses[:1])).all()


def test_global_loss_is_that_of_the_mean_pose():
    poses, true = normal(3, 2, 5, 3), normal(2, 5, 3)
    expected = np.square(np.asarray(poses).mean(0) - np.asarray(true)).mean()
    assert float(losses.global_loss(poses, true)) == pytest.approx(expected, rel=1e-6)


def test_shape_mismatches_raise():
    pred, true = normal(2, 5, 3), normal(2, 5, 3)
    with pytest.raises(ValueError, match=r"\(1, 5, 3\)"):
        losses.lifting_loss(pred, true[:1])
    with pytest.raises(ValueError, match="weights"):
        losses.lifting_loss(pred, true, jnp.ones((2, 1)))
