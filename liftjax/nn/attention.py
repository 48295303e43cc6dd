"""Multi-head self-attention as the pose transformers have it: one projection for q, k and v."""

import jax
import jax.numpy as jnp
from flax import nnx

from liftjax.errors import LiftjaxError
from liftjax.nn.layers import Dropout, Linear
from liftjax.ops.numerics import at_least_float32


class Attention(nnx.Module):
    """Self-attention over the tokens of x (B, N, C)."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        attention_dropout: float = 0.0,
        projection_dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if channels % num_heads:
            raise LiftjaxError(f"{channels} channels do not divide into {num_heads} heads.")
        self.num_heads = num_heads
        self.qkv = Linear(channels, 3 * channels, rngs=rngs)
        self.proj = Linear(channels, channels, rngs=rngs)
        self.attention_dropout = Dropout(attention_dropout)
        self.projection_dropout = Dropout(projection_dropout)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.project(self.mix(x, rngs), rngs)

    def mix(self, x: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Each token's average of values, heads side by side: (B, N, C)."""
        if x.shape[1] == 1:
            return self._value(x)
        batch, tokens, channels = x.shape
        width = channels // self.num_heads
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width)
        query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        logits = jnp.einsum("bnhc,bmhc->bhnm", query, key) * width**-0.5
        weights = jax.nn.softmax(at_least_float32(logits), axis=-1)
        weights = self.attention_dropout(weights, rngs).astype(x.dtype)
        return jnp.einsum("bhnm,bmhc->bnhc", weights, value).reshape(x.shape)

    def _value(self, x: jax.Array) -> jax.Array:
        """The value of each token, which is what :meth:`mix` gives for a single token.

        The softmax over one token is 1 whatever its query and key are, so they are not computed.
        """
        channels = x.shape[-1]
        kernel, bias = self.qkv.kernel[:, -channels:], self.qkv.bias[-channels:]
        value = x.reshape(-1, channels) @ kernel.astype(x.dtype) + bias.astype(x.dtype)[None]
        return value.reshape(x.shape)

    def project(self, mixed: jax.Array, rngs: nnx.Rngs | None = None) -> jax.Array:
        return self.projection_dropout(self.proj(mixed), rngs)
