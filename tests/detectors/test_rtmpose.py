"""RTMPose against the original's arrays, and what every SimCC detector promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.rtmpose import RTMPose
from liftjax.detectors.spec import SimCCOutput
from liftjax.errors import LiftjaxError
from liftjax.losses.detection import simcc_labels
from liftjax.registry import create_detector
from tests.goldens import weights
from tests.slow import slow

SMALL = {"deepen": 0.33, "widen": 0.0625, "channels": 16, "attention_dim": 8}


def _small(image_size=(64, 32), **options):
    return RTMPose(5, image_size, **(SMALL | options), rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("file", "name", "image_size", "tolerance"),
    [
        ("rtmpose_m_256x192", "rtmpose_m", (256, 192), 5e-4),
        slow("rtmpose_l_384x288", "rtmpose_l", (384, 288), 1e-3),
    ],
)
def test_equals_the_original(golden, file, name, image_size, tolerance):
    manifest, arrays = golden(file)
    detector = create_detector(name, image_size=image_size, rngs=nnx.Rngs(0))
    torch_weights.load(detector, weights.fill_state_dict(manifest))
    assert weights.fingerprint(torch_weights.dump(detector)) == manifest["state_fingerprint"]

    (images,) = weights.input_arrays(manifest).values()
    structure, state = nnx.split(detector)

    @jax.jit
    def outputs(state, images):
        detector = nnx.merge(structure, state)
        feature = detector.backbone(images)
        return feature.transpose(0, 3, 1, 2), *detector.head(feature)

    found = dict(zip(("feature", "pred_x", "pred_y"), outputs(state, images), strict=True))
    for key, value in found.items():
        rms = np.sqrt(np.mean(arrays[key] ** 2))
        assert np.abs(value - arrays[key]).max() <= tolerance * rms, key


def test_decode_finds_the_centre_of_a_label():
    detector = _small()
    joints_crop_BK2 = jnp.asarray(np.random.default_rng(0).uniform(8, 24, (3, 5, 2)), jnp.float32)
    spec = detector.spec
    x, y, weight = simcc_labels(
        joints_crop_BK2, jnp.ones((3, 5)), spec.image_size, 1 / spec.stride, (2.0, 2.0)
    )
    assert weight.all()
    found = detector.decode(SimCCOutput(jnp.log(x + 1e-9), jnp.log(y + 1e-9)), beta=1.0)
    # A label is centred on the nearest bin, half a pixel wide.
    assert np.abs(found - joints_crop_BK2).max() <= 0.25 + 1e-3


def _logits_in_training_and_after(scan_blocks):
    """In float64, where two orders of summation differ by next to nothing."""
    structure, state = nnx.split(_small(deepen=0.67, scan_blocks=scan_blocks))

    @jax.jit
    def run(state, images):
        detector = nnx.merge(structure, state)
        return detector(images, train=True), detector(images)  # the latter on moved statistics

    with jax.enable_x64(True):
        images = np.random.default_rng(0).normal(size=(2, 64, 32, 3))
        double = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), nnx.to_pure_dict(state))
        return run(double, jnp.asarray(images))


@pytest.mark.slow
def test_scanned_blocks_change_nothing():
    plain, scanned = (_logits_in_training_and_after(scan) for scan in (False, True))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(scanned), strict=True):
        assert a.dtype == np.float64
        np.testing.assert_allclose(a, b, atol=1e-9 * np.abs(a).max())


def test_bfloat16_in_float32_out():
    images = jax.ShapeDtypeStruct((1, 64, 32, 3), jnp.bfloat16)
    out = nnx.eval_shape(lambda module, images: module(images), _small(), images)
    assert out.x.dtype == out.y.dtype == jnp.float32


@pytest.mark.parametrize(
    ("image_size", "sigma"), [((256, 192), (4.9, 5.66)), ((384, 288), (6.0, 6.93))]
)
def test_published_label_widths(image_size, sigma):
    detector = nnx.eval_shape(lambda: RTMPose(17, image_size, **SMALL, rngs=nnx.Rngs(0)))
    assert detector.spec.sigma == sigma


def test_bad_sizes_and_the_heatmaps_shift_are_refused():
    with pytest.raises(LiftjaxError, match=r"RTMPose image size 250x192 .* multiples of 32"):
        _small((250, 192))
    detector = _small()
    out = SimCCOutput(jnp.zeros((1, 5, 64)), jnp.zeros((1, 5, 128)))
    with pytest.raises(LiftjaxError, match="quarter-pixel shift is defined on heatmaps"):
        detector.decode(out, quarter_pixel=True)
