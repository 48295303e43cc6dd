"""Networks in bfloat16: what is narrow, what stays float32, and how far the numbers move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax.registry import create_detector
from liftjax.runtime.state import PureModule
from tests.equations import equations
from tests.slow import one_in

NARROW, WIDE = jnp.bfloat16, jnp.float32
NETWORKS = ("hrnet_tiny", "rtmpose_tiny")


@pytest.fixture(params=one_in(2, NETWORKS), scope="module")
def network(request):
    module = create_detector(request.param, num_joints=5, rngs=nnx.Rngs(0))
    return module, *PureModule.split(module)


def passes(network, dtype):
    """(params, images as uint8) -> output, statistics, gradient of all parameters."""
    module, pure, _, others = network

    def call(params, image_u8):
        def forward(params):
            merged = pure.merge(params, others)
            images = module.spec.normalize(image_u8, dtype)
            return merged(images, train=True), pure.others(merged)

        out, pull, statistics = jax.vjp(forward, params, has_aux=True)
        return out, statistics, pull(jax.tree.map(jnp.sin, out))[0]

    return call


def pictures():
    """Smooth ones: pure noise has nothing that a network could see."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 16, 12, 3))
    smooth = jax.image.resize(jnp.asarray(coarse, jnp.float32), (8, 128, 96, 3), "cubic")
    return jnp.clip(smooth, 0, 255).astype(jnp.uint8)


def test_maps_are_narrow_both_ways(network):
    """Nothing multiplies or keeps a float32 map; a last layer gives its sums as they are."""
    call = passes(network, NARROW)
    lowered_for_tpu = jax.jit(call).trace(network[2], pictures()).jaxpr
    last_layers = 0
    for equation in equations(lowered_for_tpu.jaxpr, platform="tpu"):
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            assert {v.aval.dtype for v in equation.invars} == {jnp.dtype(NARROW)}, equation
            last_layers += equation.outvars[0].aval.dtype != NARROW
    assert last_layers in (1, 2)  # heatmaps; logits along x and along y


def test_what_leaves_the_network_is_float32(network):
    _, _, params, others = network
    out, statistics, grads = jax.eval_shape(passes(network, NARROW), params, pictures())
    assert {leaf.dtype for leaf in jax.tree.leaves((out, statistics, grads))} == {jnp.dtype(WIDE)}
    assert {v.dtype for v in (params | others).values()} == {jnp.dtype(WIDE)}


@pytest.mark.slow
def test_bfloat16_stays_near_float32(network):
    """Measured at these sizes: HRNet's maps 2 %, RTMPose's logits 15 % away (fresh weights: the
    batch norms divide by deviations far smaller than the means); gradients point the same way, by
    a cosine of 0.995 and 0.96; running statistics within 0.1 %.
    """
    results = [jax.jit(passes(network, dtype))(network[2], pictures()) for dtype in (NARROW, WIDE)]
    near, exact = (
        [np.concatenate([np.ravel(v) for v in jax.tree.leaves(part)]) for part in parts]
        for parts in results
    )
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(near, exact, strict=True)
    ]
    assert cosines[0] > 0.97
    assert cosines[2] > 0.9
    np.testing.assert_allclose(
        np.linalg.norm(near[1] - exact[1]) / np.linalg.norm(exact[1]), 0, atol=0.01
    )


@pytest.mark.parametrize("dtype", [WIDE, NARROW])
def test_colours_are_rounded_once(network, dtype):
    image_u8 = jnp.arange(256, dtype=jnp.uint8).reshape(1, 1, 256, 1) * jnp.ones(
        (1, 1, 1, 3), jnp.uint8
    )
    spec = network[0].spec
    exact = (np.asarray(image_u8, np.float64) / 255 - spec.mean) / spec.std
    given = np.asarray(spec.normalize(image_u8, dtype), np.float64)
    half_a_step = jnp.finfo(dtype).eps / 2
    np.testing.assert_allclose(given, exact, rtol=1.01 * half_a_step, atol=1e-6)
