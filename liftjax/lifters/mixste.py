"""MixSTE: a transformer that attends over joints and over frames in turn.

Zhang, Tu, Yang, Chen, Yuan, "MixSTE: Seq2seq mixed spatio-temporal encoder for 3D human pose
estimation in video", CVPR 2022.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.lifters.published import published_lifter
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.attention import Attention
from liftjax.nn.declaration import count_layers
from liftjax.nn.layers import DropPath, LayerNorm, Linear

_EPSILON = 1e-6


class Mlp(nnx.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, channels: int, hidden: int, rngs: nnx.Rngs):
        self.fc1 = Linear(channels, hidden, rngs=rngs)
        self.fc2 = Linear(hidden, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class Block(nnx.Module):
    """Pre-norm transformer block over the tokens of x (B, N, C)."""

    def __init__(
        self, channels: int, num_heads: int, mlp_ratio: float, drop_path: float, rngs: nnx.Rngs
    ):
        self.norm1 = LayerNorm(channels, epsilon=_EPSILON, rngs=rngs)
        self.attn = Attention(channels, num_heads, rngs=rngs)
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON, rngs=rngs)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), rngs)
        self.drop_path = DropPath(drop_path)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = x + self.drop_path(self.attn(self.norm1(x)), rngs)
        return x + self.drop_path(self.mlp(self.norm2(x)), rngs)


class MixSTE(Lifter):
    """Lifts all frames of a clip of exactly `num_frames` at once.

    Args:
      skeleton: joint set.
      num_frames: length of clips.
      embed_dim: channels of a token.
      depth: pairs of a spatial (over joints) and a temporal (over frames) block.
      num_heads: heads of each attention.
      mlp_ratio: width of the MLP's hidden layer, as a multiple of `embed_dim`.
      drop_path: chance that the last block's branches are dropped; it grows from 0 at the first.
    """

    def __init__(
        self,
        skeleton: str = "human36m",
        num_frames: int = 1,
        *,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        rngs: nnx.Rngs,
    ):
        super().__init__(LifterSpec(skeleton, num_frames, num_frames, "exact"))
        rates = [float(rate) for rate in np.linspace(0, drop_path, depth)]

        def blocks():
            return nnx.List([Block(embed_dim, num_heads, mlp_ratio, r, rngs) for r in rates])

        self.Spatial_pos_embed = nnx.Param(jnp.zeros((1, self.spec.num_joints, embed_dim)))
        self.Temporal_pos_embed = nnx.Param(jnp.zeros((1, num_frames, embed_dim)))
        self.Spatial_patch_to_embedding = Linear(2, embed_dim, rngs=rngs)
        self.STEblocks = blocks()
        self.TTEblocks = blocks()
        # One norm after every spatial block and one after every temporal block, as upstream.
        self.Spatial_norm = LayerNorm(embed_dim, epsilon=_EPSILON, rngs=rngs)
        self.Temporal_norm = LayerNorm(embed_dim, epsilon=_EPSILON, rngs=rngs)
        self.head = nnx.List([LayerNorm(embed_dim, rngs=rngs), Linear(embed_dim, 3, rngs=rngs)])

    def embed(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        return self.Spatial_patch_to_embedding(x_BTK2) + self.Spatial_pos_embed[...][None]

    def refine(self, features: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        x_BTKC = features
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x_BTKC = self.Spatial_norm(_over_rows(spatial, x_BTKC, rngs))
            x_BKTC = x_BTKC.swapaxes(1, 2)
            if i == 0:
                x_BKTC = x_BKTC + self.Temporal_pos_embed[...][None].astype(x_BKTC.dtype)
            x_BKTC = self.Temporal_norm(_over_rows(temporal, x_BKTC, rngs))
            x_BTKC = x_BKTC.swapaxes(1, 2)
        return x_BTKC

    def regress(self, features: jax.Array) -> jax.Array:
        norm, linear = self.head
        return linear(norm(features))


def _over_rows(block: Block, x_BRNC: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
    """The block on the N tokens of each row."""
    return block(x_BRNC.reshape(-1, *x_BRNC.shape[2:]), rngs).reshape(x_BRNC.shape)


PRESETS = {
    "mixste": published_lifter(
        MixSTE,
        "Zhang et al., CVPR 2022",
        "none stated",
        marks=(("Spatial_pos_embed", "TTEblocks.0.attn.qkv.weight"),),
        joints=lambda shapes: shapes["Spatial_pos_embed"][1],
        sizes=lambda shapes: {
            "num_frames": shapes["Temporal_pos_embed"][1],
            "embed_dim": shapes["Spatial_pos_embed"][2],
            "depth": count_layers(shapes, r"STEblocks\.(\d+)\."),
            "mlp_ratio": shapes["STEblocks.0.mlp.fc1.weight"][0] / shapes["Spatial_pos_embed"][2],
        },
    )
}
