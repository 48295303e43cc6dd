"""Stages that the backward pass computes again: the same numbers in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.nn.layers import rematerialise, synchronize
from liftjax.nn.operations import collectives
from liftjax.registry import create_detector
from liftjax.runtime.state import PureModule
from tests.slow import one_in

SIZES = {
    "hrnet_tiny": {"image_size": (64, 64), "blocks": 2},
    "rtmpose_tiny": {"image_size": (64, 64), "scan_blocks": True},
}


def networks(name: str, axis_name: str | None = None) -> list:
    """The network as it is and rematerialised, with the same weights, split."""
    split = []
    for remat in (False, True):
        module = create_detector(name, num_joints=5, rngs=nnx.Rngs(0), **SIZES[name])
        rematerialise(module, remat)
        synchronize(module, axis_name)
        split.append(PureModule.split(module))
    return split


def pullback(split, images):
    """Output, pull back and running statistics of a forward pass in training mode."""
    pure, params, others = split

    def forward(params):
        module = pure.merge(params, others)
        return module(images, train=True), pure.others(module)

    return jax.vjp(forward, params, has_aux=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_rematerialised_networks_have_the_same_numbers(name):
    with jax.enable_x64(True):
        images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 64, 64, 3)))

        def passes(params, others, pure):
            out, pull, statistics = pullback((pure, params, others), images)
            (grads,) = pull(jax.tree.map(jnp.cos, out))
            return out, statistics, grads

        results = []
        for pure, *arrays in networks(name):
            wide = jax.tree.map(lambda v: v.astype(jnp.float64), arrays)
            results.append(jax.jit(passes, static_argnums=2)(*wide, pure))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), *results)


@pytest.mark.parametrize("name", one_in(2, SIZES))
def test_rematerialised_networks_keep_less(name):
    kept = []
    for split in networks(name):
        images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
        leaves = jax.tree.leaves(jax.eval_shape(lambda i, s=split: pullback(s, i)[1], images))
        maps = [leaf for leaf in leaves if leaf.ndim >= 4 and leaf.shape[-4] == 2]
        kept.append(sum(leaf.size * leaf.dtype.itemsize for leaf in maps))
    assert kept[1] < 0.35 * kept[0]


@pytest.mark.parametrize("name", one_in(2, SIZES))
def test_other_replicas_are_asked_once(name):
    """Statistics are kept: computing a stage again must not wait for the others again."""
    times = []
    for pure, params, others in networks(name, "replicas"):

        def gradient(images, pure=pure, params=params, others=others):
            out, pull, _ = pullback((pure, params, others), images)
            return pull(out)

        mapped = jax.shard_map(
            gradient,
            mesh=jax.sharding.Mesh(jax.devices()[:1], ("replicas",)),
            in_specs=jax.P("replicas"),
            out_specs=jax.P(),
            check_vma=False,
        )
        times.append(sum(n for *_, n in collectives(mapped, jnp.zeros((2, 64, 64, 3)))))
    assert times[0] == times[1] > 0


def test_switching_on_and_off():
    module = create_detector("rtmpose_tiny", num_joints=5, rngs=nnx.Rngs(0))
    rematerialise(module)
    assert module.backbone.remat
    rematerialise(module, False)
    assert not module.backbone.remat
