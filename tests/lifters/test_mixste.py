import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.nn.attention import Attention
from liftjax.nn.operations import multiply_adds
from tests.lifters.small import build, forward


@pytest.mark.slow
def test_every_frame_sees_every_frame():
    lifter = build("mixste", num_frames=4)
    x = jax.random.normal(jax.random.key(0), (1, 4, 17, 2))
    first_and_last = jax.jit(jax.jacrev(lambda x: lifter(x)[0, ::3].sum((1, 2))))(x)
    assert first_and_last.shape == (2, 1, 4, 17, 2)
    assert np.all(np.any(first_and_last, axis=-1))


def test_frame_order_matters_only_through_the_position_embedding():
    lifter = build("mixste", num_frames=4)  # its embedding starts at zero
    x = jax.random.normal(jax.random.key(0), (2, 4, 17, 2))
    np.testing.assert_allclose(forward(lifter, x[:, ::-1]), forward(lifter, x)[:, ::-1], atol=1e-5)
    lifter.Temporal_pos_embed[...] += jax.random.normal(jax.random.key(1), (1, 4, 16))
    assert np.abs(forward(lifter, x[:, ::-1]) - forward(lifter, x)[:, ::-1]).max() > 1e-2


def test_a_clip_has_frames():
    with pytest.raises(LiftjaxError, match="num_frames >= 1"):
        build("mixste", num_frames=0)


def test_clip_of_another_length_is_refused():
    with pytest.raises(LiftjaxError, match="3 frames, but this lifter takes exactly 2"):
        build("mixste", num_frames=2)(np.zeros((1, 3, 17, 2), np.float32))


def test_heads_must_divide_the_channels():
    with pytest.raises(LiftjaxError, match="heads"):
        build("mixste", embed_dim=18)


@pytest.fixture
def attention():
    module = Attention(8, 2, rngs=nnx.Rngs(0))
    module.qkv.bias[...] = jax.random.normal(jax.random.key(1), (24,))
    return module


def test_attention_to_one_token_equals_attention_to_two_alike(attention):
    """In value and in the gradients of input and parameters: query and key have none.

    The sums are the same; their order is not, hence the last digits.
    """
    graph, state = nnx.split(attention)
    x = jax.random.normal(jax.random.key(0), (5, 1, 8))

    def loss(state, x, copies):
        y = nnx.merge(graph, state)(jnp.repeat(x, copies, axis=1))[:, 0]
        return jnp.sin(y).sum(), y

    graded = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
    (of_state, of_x), y = graded(state, x, 1)
    (of_state_two, of_x_two), y_two = graded(state, x, 2)
    np.testing.assert_allclose(y, y_two, atol=1e-6)
    np.testing.assert_allclose(of_x, of_x_two, atol=1e-6)
    for one, two in zip(jax.tree.leaves(of_state), jax.tree.leaves(of_state_two), strict=True):
        np.testing.assert_allclose(one, two, atol=3e-6)
    assert not np.any(of_state.qkv.kernel[:, :16])
    assert np.any(of_state.qkv.kernel[:, 16:])


def test_of_one_token_only_the_value_is_computed(attention):
    one = jnp.zeros((5, 1, 8))
    assert multiply_adds(attention, one) == 5 * (8 * 8 + 8 * 8)
