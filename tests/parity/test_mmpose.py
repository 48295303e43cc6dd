"""Heads, HRNet, targets and losses against MMPose's.

What installs and imports beside our own requirements (tried on Python 3.11; takes a C compiler):

    pip install cython setuptools addict json-tricks munkres platformdirs rich termcolor yapf
    pip install --no-build-isolation --no-binary xtcocotools xtcocotools
    pip install --no-deps mmengine==0.10.7 mmcv-lite==2.1.0 mmpose==1.1.0

MMPose asks for xtcocotools, whose wheels do not fit NumPy 2, and from version 1.2 on for compiled
parts of the full mmcv; `test_mmpose_rtmpose.py` needs those.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from liftjax.detectors.rtmpose import RTMCCHead
from liftjax.losses import heatmap_loss, simcc_loss
from liftjax.losses.detection import gaussian_heatmaps, simcc_labels
from tests.parity.peers import difference, images_BCHW, import_or_skip, randomize, run

_CURE = "the first lines of tests/parity/test_mmpose.py say how to install it"
models = import_or_skip("mmpose.models", _CURE)
codecs = import_or_skip("mmpose.codecs", _CURE)

WIDTH = 32
HRNET = {
    "stage1": {
        "num_modules": 1,
        "num_branches": 1,
        "block": "BOTTLENECK",
        "num_blocks": (4,),
        "num_channels": (64,),
    }
} | {
    f"stage{branches}": {
        "num_modules": modules,
        "num_branches": branches,
        "block": "BASIC",
        "num_blocks": (4,) * branches,
        "num_channels": tuple(WIDTH * 2**i for i in range(branches)),
    }
    for branches, modules in ((2, 1), (3, 4), (4, 3))
}
# Crop (width, height): standard deviations of the targets, SimCC bins (x, y) and heatmap pixels.
SIMCC = {(192, 256): (4.9, 5.66), (288, 384): (6.0, 6.93)}
HEATMAP = {(192, 256): 2, (288, 384): 3}


class _Pose(torch.nn.Module):
    """A backbone and the layers of a head, under the names they have in MMPose's checkpoints."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images):
        return self.head(self.backbone(images))


def _joints(image_size):
    """Pixel coordinates (1, K, 2) in and around the crop, and visibilities (1, K)."""
    rng = np.random.default_rng(0)
    kpts = rng.uniform(-0.3, 1.3, (1, 2000, 2)) * image_size
    return kpts.astype(np.float32), rng.integers(0, 2, (1, 2000)).astype(np.float32)


def _ends_just_outside(center, radius):
    """Squares that end less than one pixel before the first: in reach for MMPose, not for us."""
    end = center + np.asarray(radius)
    return ((end >= -1) & (end < 0)).any(axis=-1)


def _random(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


def test_hrnet():
    images = images_BCHW(2, 96, 64)
    head = models.HeatmapHead(WIDTH, 17, deconv_out_channels=None)
    theirs = randomize(_Pose(models.HRNet(HRNET), head), images)
    ours = HRNet(17, (96, 64), width=WIDTH, rngs=nnx.Rngs(0))
    names = {
        key.removeprefix("backbone.").removeprefix("head."): value
        for key, value in theirs.state_dict().items()
    }
    torch_weights.load(ours, names)
    output, _ = run(ours, images)
    want = theirs.double()(images.double())
    assert difference(np.moveaxis(output.heatmaps, -1, 1), want) < 1e-10


@pytest.mark.parametrize("num_joints", [17, 133])
def test_rtmpose_head(num_joints):
    features = torch.from_numpy(_random((2, 48, 8, 6))[0].astype(np.float32))
    theirs = models.RTMCCHead(
        in_channels=48,
        out_channels=num_joints,
        input_size=(192, 256),
        in_featuremap_size=(6, 8),
        final_layer_kernel_size=7,
        gau_cfg={
            "hidden_dims": 256,
            "s": 128,
            "expansion_factor": 2,
            "dropout_rate": 0.0,
            "drop_path": 0.0,
            "act_fn": "SiLU",
            "use_rel_bias": False,
            "pos_enc": False,
        },
    )
    randomize(theirs, [features])
    ours = RTMCCHead((8, 6, 48), num_joints, (512, 384), 256, 128, rngs=nnx.Rngs(0))
    torch_weights.load(ours, theirs.state_dict())
    output, _ = run(ours, features)
    for got, want in zip(output, theirs.double()([features.double()]), strict=True):
        assert difference(got, want) < 1e-10


@pytest.mark.parametrize("image_size", SIMCC)
def test_simcc_labels(image_size):
    sigma = SIMCC[image_size]
    codec = codecs.SimCCLabel(image_size, sigma=sigma, simcc_split_ratio=2.0, normalize=False)
    kpts, visible = _joints(image_size)
    want = codec.encode(kpts, visible)
    x, y, weight = simcc_labels(
        jnp.asarray(kpts), jnp.asarray(visible), image_size[::-1], 2.0, sigma
    )
    np.testing.assert_array_equal(weight, want["keypoint_weights"])
    np.testing.assert_allclose(x, want["keypoint_x_labels"], atol=1e-6)
    np.testing.assert_allclose(y, want["keypoint_y_labels"], atol=1e-6)


@pytest.mark.parametrize("image_size", HEATMAP)
def test_heatmap_targets(image_size):
    (width, height), sigma = image_size, HEATMAP[image_size]
    codec = codecs.MSRAHeatmap(image_size, (width // 4, height // 4), sigma)
    kpts, visible = _joints(image_size)
    visible[_ends_just_outside(np.trunc(kpts / 4 + 0.5), 3 * sigma)] = 0
    want = codec.encode(kpts, visible)
    maps_BHWK, weight = gaussian_heatmaps(
        jnp.asarray(kpts), jnp.asarray(visible), (height // 4, width // 4), 4, sigma
    )
    np.testing.assert_allclose(np.moveaxis(maps_BHWK[0], -1, 0), want["heatmaps"], atol=1e-6)
    np.testing.assert_array_equal(weight, want["keypoint_weights"])


def test_simcc_loss_and_gradient():
    logits = _random((4, 17, 384), (4, 17, 512))
    labels = [np.abs(v[::-1]) for v in logits]
    weight = np.random.default_rng(0).uniform(size=(4, 17))
    theirs = [torch.tensor(v, requires_grad=True) for v in logits]
    loss = models.losses.KLDiscretLoss(beta=10.0, label_softmax=True, use_target_weight=True)
    want = loss(theirs, [torch.tensor(v) for v in labels], torch.tensor(weight))
    want.backward()
    with jax.enable_x64(True):
        # The mean over the batch, where MMPose takes the sum.
        got, gradients = jax.value_and_grad(
            lambda x, y: 4 * simcc_loss(x, y, *map(jnp.asarray, labels), jnp.asarray(weight), 10.0),
            argnums=(0, 1),
        )(*map(jnp.asarray, logits))
    np.testing.assert_allclose(got, want.item(), rtol=1e-12)
    for gradient, tensor in zip(gradients, theirs, strict=True):
        assert difference(gradient, tensor.grad) < 1e-12


def test_heatmap_loss_and_gradient():
    heat_BKHW, target_BKHW = _random((4, 17, 16, 12), (4, 17, 16, 12))
    # Zeros and ones: other weights are squared here, as upstream's trainer has it, and not there.
    weight = np.random.default_rng(0).integers(0, 2, (4, 17)).astype(float)
    theirs = torch.tensor(heat_BKHW, requires_grad=True)
    loss = models.losses.KeypointMSELoss(use_target_weight=True)
    want = loss(theirs, torch.tensor(target_BKHW), torch.tensor(weight))
    want.backward()
    with jax.enable_x64(True):
        # Half of the mean square, where MMPose takes all of it.
        got, gradient_BHWK = jax.value_and_grad(
            lambda h, t, w: 2 * heatmap_loss(h, t, w),
        )(*(jnp.asarray(np.moveaxis(v, 1, -1)) for v in (heat_BKHW, target_BKHW)), weight)
    np.testing.assert_allclose(got, want.item(), rtol=1e-12)
    assert difference(np.moveaxis(gradient_BHWK, -1, 1), theirs.grad) < 1e-12
