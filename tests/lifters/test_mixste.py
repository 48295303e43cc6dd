import jax
import numpy as np
import pytest
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.nn.attention import Attention
from tests.lifters.small import build


def test_every_frame_sees_every_frame():
    lifter = build("mixste", num_frames=4)
    x = jax.random.normal(jax.random.key(0), (1, 4, 17, 2))
    first_and_last = jax.jit(jax.jacrev(lambda x: lifter(x)[0, ::3].sum((1, 2))))(x)
    assert first_and_last.shape == (2, 1, 4, 17, 2)
    assert np.all(np.any(first_and_last, axis=-1))


def test_frame_order_matters_only_through_the_position_embedding():
    lifter = build("mixste", num_frames=4)  # its embedding starts at zero
    x = jax.random.normal(jax.random.key(0), (2, 4, 17, 2))
    np.testing.assert_allclose(lifter(x[:, ::-1]), lifter(x)[:, ::-1], atol=1e-5)
    lifter.Temporal_pos_embed[...] += jax.random.normal(jax.random.key(1), (1, 4, 16))
    assert np.abs(lifter(x[:, ::-1]) - lifter(x)[:, ::-1]).max() > 1e-2


def test_a_clip_has_frames():
    with pytest.raises(LiftjaxError, match="num_frames >= 1"):
        build("mixste", num_frames=0)


def test_clip_of_another_length_is_refused():
    with pytest.raises(LiftjaxError, match="3 frames, but this lifter takes exactly 2"):
        build("mixste", num_frames=2)(np.zeros((1, 3, 17, 2), np.float32))


def test_heads_must_divide_the_channels():
    with pytest.raises(LiftjaxError, match="heads"):
        build("mixste", embed_dim=18)


def test_attention_to_one_token_equals_attention_to_two_alike():
    attention = Attention(8, 2, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(0), (5, 1, 8))
    twice = np.repeat(x, 2, axis=1)
    np.testing.assert_allclose(attention(x), attention(twice)[:, :1], atol=1e-6)
