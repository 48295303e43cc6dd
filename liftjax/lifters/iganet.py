"""IGANet: graph convolution over the skeleton and attention over joints, exchanging features.

Liu, Liu, Xiang, Sebe, Xu, "Interweaved graph and attention network for 3D human pose
estimation", ICASSP 2023.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.lifters.published import published_lifter
from liftjax.lifters.spec import Lifter, LifterSpec
from liftjax.nn.attention import Attention
from liftjax.nn.declaration import count_layers
from liftjax.nn.initial import fan_in_uniform
from liftjax.nn.layers import Conv, Dropout, DropPath, LayerNorm, Linear
from liftjax.nn.variables import Constant, Derived
from liftjax.skeletons import Skeleton, get_skeleton

_EPSILON = 1e-6
DROP_PATH = 0.2  # rate of the last block; it grows from 0 at the first
DROPOUT = {"attention": 0.2, "projection": 0.25, "mlp": 0.2, "exchange": 0.15}


def skeleton_graph(skeleton: str) -> np.ndarray:
    """(4, K, K) float32 adjacency: the joint itself, outer, inner and mirrored neighbours.

    Neighbours are joined by a bone or are each other's mirror image; a bone's inner end is the
    one with fewer bones between it and the centre of the body. Entry [:, j, i] carries features
    of joint j to joint i, divided by the number of all that reach i.
    """
    joints = get_skeleton(skeleton)
    hops = _bones_from(joints, joints.index("spine") if "spine" in joints.joints else None)
    size = joints.num_joints
    own, bones, mirror = np.eye(size), np.zeros((size, size)), np.zeros((size, size))
    for a, b in joints.edges:
        bones[a, b] = bones[b, a] = 1
    mirror[np.arange(size), joints.flip_permutation] = 1
    mirror -= own * mirror
    bones -= bones * mirror
    outer = np.greater.outer(hops, hops)
    parts = np.stack([own, bones * outer, bones * outer.T, mirror])
    return (parts / parts.sum(axis=(0, 1))).astype(np.float32)


def _bones_from(skeleton: Skeleton, centre: int | None) -> np.ndarray:
    """(K,) number of bones between each joint and `centre` (default: the root)."""
    hops = np.full(skeleton.num_joints, np.inf)
    hops[skeleton.root_index if centre is None else centre] = 0
    for _ in skeleton.edges:
        for a, b in skeleton.edges:
            hops[a], hops[b] = min(hops[a], hops[b] + 1), min(hops[b], hops[a] + 1)
    return hops


class Encoder(nnx.Module):
    """Four linear layers with nothing between them, as upstream has it."""

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.fc1 = Linear(2, channels // 8, rngs=rngs)
        self.fc3 = Linear(channels // 8, channels // 4, rngs=rngs)
        self.fc4 = Linear(channels // 4, channels // 2, rngs=rngs)
        self.fc5 = Linear(channels // 2, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc5(self.fc4(self.fc3(self.fc1(x))))


class GraphConv(nnx.Module):
    """A linear map for each part of the graph, summed over the neighbours in that part."""

    def __init__(self, channels: int, graph: np.ndarray, rngs: nnx.Rngs):
        self.adj = Derived(jnp.asarray(graph))
        init = fan_in_uniform(channels)
        self.conv1d = Conv(
            channels, channels * len(graph), (1,), kernel_init=init, bias_init=init, rngs=rngs
        )

    def __call__(self, x_BKC: jax.Array) -> jax.Array:
        graph = self.adj[...].astype(x_BKC.dtype)
        parts = self.conv1d(x_BKC).reshape(*x_BKC.shape[:2], len(graph), -1)
        return jnp.einsum("bjpc,pji->bic", parts, graph)


class LinearBlock(nnx.Module):
    """Linear, GELU, dropout."""

    def __init__(self, c_in: int, c_out: int, dropout: float, rngs: nnx.Rngs):
        self.linear = nnx.List([Linear(c_in, c_out, rngs=rngs)])
        self.dropout = Dropout(dropout)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return self.dropout(jax.nn.gelu(self.linear[0](x), approximate=False), rngs)


class UShapedMlp(nnx.Module):
    """Down to half the channels, a residual layer there, and up again.

    The attribute names are those of the published size, 512 channels, at any size.
    """

    def __init__(self, channels: int, dropout: float, rngs: nnx.Rngs):
        half = channels // 2
        self.linear512_256 = LinearBlock(channels, half, dropout, rngs)
        self.linear256_256 = LinearBlock(half, half, dropout, rngs)
        self.linear256_512 = LinearBlock(half, channels, dropout, rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = self.linear512_256(x, rngs)
        x = x + self.linear256_256(x, rngs)
        return self.linear256_512(x, rngs)


class Block(nnx.Module):
    """A graph path and an attention path that exchange features, then a U-shaped MLP."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        graph: np.ndarray,
        drop_path: float,
        dropout: dict[str, float],
        rngs: nnx.Rngs,
    ):
        self.adj = Derived(jnp.asarray(graph))  # not used, but part of upstream's state_dict
        self.s_gcn2attn = Constant(jnp.full(1, 0.5))
        self.s_attn2gcn = Constant(jnp.full(1, 0.8))
        self.norm1 = LayerNorm(graph.shape[-1], epsilon=_EPSILON, rngs=rngs)  # over joints
        self.GCN_Block1 = GraphConv(channels, graph, rngs)
        self.GCN_Block2 = GraphConv(channels, graph, rngs)
        self.norm_att1 = LayerNorm(channels, epsilon=_EPSILON, rngs=rngs)
        self.attn = Attention(
            channels,
            num_heads,
            attention_dropout=dropout["attention"],
            projection_dropout=dropout["projection"],
            rngs=rngs,
        )
        self.norm2 = LayerNorm(channels, epsilon=_EPSILON, rngs=rngs)
        self.uMLP = UShapedMlp(channels, dropout["mlp"], rngs)
        self.exchange_dropout = Dropout(dropout["exchange"])
        self.drop_path = DropPath(drop_path)

    def __call__(self, x_BKC: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = x_BKC
        graph = self.GCN_Block1(self.norm1(x.swapaxes(1, 2)).swapaxes(1, 2))
        mixed = self.attn.mix(self.norm_att1(x), rngs)
        to_attention = self.exchange_dropout(_scaled(graph, self.s_gcn2attn), rngs)
        to_graph = self.exchange_dropout(_scaled(mixed, self.s_attn2gcn), rngs)
        attention = self.attn.project(mixed + to_attention, rngs)
        x = x + self.drop_path(self.GCN_Block2(graph + to_graph) + attention, rngs)
        return x + self.drop_path(self.uMLP(self.norm2(x), rngs), rngs)


def _scaled(x_BKC: jax.Array, factor: nnx.Variable) -> jax.Array:
    return x_BKC * factor[...].astype(x_BKC.dtype)[None, None]


class Trunk(nnx.Module):
    """The blocks and a final norm."""

    def __init__(self, blocks: list[Block], channels: int, rngs: nnx.Rngs):
        self.blocks = nnx.List(blocks)
        self.norm = LayerNorm(channels, epsilon=_EPSILON, rngs=rngs)

    def __call__(self, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        for block in self.blocks:
            x = block(x, rngs)
        return self.norm(x)


class IGANet(Lifter):
    """Lifts each frame by itself.

    Args:
      skeleton: joint set.
      num_frames: length of clips, in which each frame is lifted by itself.
      layers: how many blocks.
      channels: width of a joint's features; the encoder and the MLP scale along.
      num_heads: heads of the attention.
      dropout_scale: factor on upstream's dropout and drop path rates; 0 turns them off.
    """

    def __init__(
        self,
        skeleton: str = "human36m",
        num_frames: int = 1,
        *,
        layers: int = 3,
        channels: int = 512,
        num_heads: int = 8,
        dropout_scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        super().__init__(LifterSpec(skeleton, num_frames))
        graph = skeleton_graph(skeleton)
        dropout = {place: rate * dropout_scale for place, rate in DROPOUT.items()}
        drop_paths = np.linspace(0, DROP_PATH * dropout_scale, layers)
        self.A = Derived(jnp.asarray(graph))  # not used, but part of upstream's state_dict
        self.encoder = Encoder(channels, rngs)
        blocks = [
            Block(channels, num_heads, graph, float(rate), dropout, rngs) for rate in drop_paths
        ]
        self.IGANet = Trunk(blocks, channels, rngs)
        self.fcn = Linear(channels, 3, rngs=rngs)

    def embed(self, x_BTK2: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        return self.encoder(x_BTK2)

    def refine(self, features: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        frames = features.reshape(-1, *features.shape[2:])
        return self.IGANet(frames, rngs).reshape(features.shape)

    def regress(self, features: jax.Array) -> jax.Array:
        return self.fcn(features)


PRESETS = {
    "iganet": published_lifter(
        IGANet,
        "Liu et al., ICASSP 2023",
        "MIT",
        marks=(("IGANet.blocks.0.norm1.weight",),),
        joints=lambda shapes: shapes["IGANet.blocks.0.norm1.weight"][0],
        sizes=lambda shapes: {
            "layers": count_layers(shapes, r"IGANet\.blocks\.(\d+)\."),
            "channels": shapes["fcn.weight"][1],
        },
    )
}
