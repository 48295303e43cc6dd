import jax
import jax.numpy as jnp
import numpy as np
import pytest

from liftjax import losses


def test_dwa_weights():
    history = losses.initial_dwa_history(4)
    np.testing.assert_allclose(losses.dwa_weights(history), [0.25] * 4)
    history = losses.update_dwa_history(history, jnp.asarray([1.0, 2, 3, 4]))
    history = losses.update_dwa_history(history, jnp.asarray([2.0, 2, 3, 1]))
    weights = losses.dwa_weights(history)
    ratios = np.exp(np.array([2, 1, 1, 0.25]) / 2)
    np.testing.assert_allclose(weights, ratios / ratios.sum(), rtol=1e-6)
    broken = jnp.asarray([[0.0, 1, jnp.nan, 1], [1, 1e30, 1, jnp.inf]])
    assert float(losses.dwa_weights(broken).sum()) == pytest.approx(1)


def test_lifter_dropout_drops_one_or_none_evenly():
    keys = jax.random.split(jax.random.key(0), 4000)
    factors = jax.vmap(lambda k: losses.lifter_dropout_weights(k, 3))(keys)
    assert set(map(tuple, np.asarray(factors).tolist())) == {
        (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1),
    }  # fmt: skip
    np.testing.assert_allclose((factors == 0).mean(axis=0), 1 / 4, atol=0.03)
    assert losses.lifter_dropout_weights(keys[0], 1).tolist() == [1]
