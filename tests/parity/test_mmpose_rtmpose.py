"""RTMPose, backbone and head, against MMPose's.

MMPose has the backbone, CSPNeXt, from version 1.2 on. From then on it imports `mmcv.ops`: beside
the lines in `test_mmpose.py` (with mmpose==1.2.0) it takes the full mmcv 2.1, compiled, in place
of mmcv-lite.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from liftjax import torch_weights
from liftjax.losses import simcc_loss
from liftjax.registry import create_detector
from tests.parity.peers import (
    channels_last,
    difference,
    float64,
    images_BCHW,
    import_or_skip,
    randomize,
    run,
)

CSPNeXt = import_or_skip(
    "mmpose.models.backbones.cspnext", "it takes MMPose 1.2 or later and the full, compiled mmcv"
).CSPNeXt
models = import_or_skip("mmpose.models", "")

# MMPose's attention layer switches a CUDA autocast off, which is deprecated and needs CUDA.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.cuda.amp.autocast:FutureWarning"),
    pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda':UserWarning"),
]

# MMPose's configurations: deepen, widen, (height, width).
SIZES = {
    "t": (0.167, 0.375, (256, 192)),
    "s": (0.33, 0.5, (256, 192)),
    "m": (0.67, 0.75, (256, 192)),
    "l": (1.0, 1.0, (256, 192)),
    "x": (1.33, 1.25, (384, 288)),
}
TOLERANCE = 1e-10
GRADIENT_TOLERANCE = 1e-6  # PyTorch's hard sigmoid differentiates with a sixth rounded to float32


class _RTMPose(torch.nn.Module):
    def __init__(self, size, num_joints):
        super().__init__()
        deepen, widen, (height, width) = SIZES[size]
        self.backbone = CSPNeXt(
            deepen_factor=deepen,
            widen_factor=widen,
            out_indices=(4,),
            norm_cfg={"type": "BN"},  # the published SyncBN of one device
        )
        self.head = models.RTMCCHead(
            in_channels=int(1024 * widen),
            out_channels=num_joints,
            input_size=(width, height),
            in_featuremap_size=(width // 32, height // 32),
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

    def forward(self, images):
        return self.head(self.backbone(images))


def _pair(name, size, num_joints):
    """Both networks with the same weights, and the images that batch norm knows."""
    height, width = SIZES[size][2]
    images = images_BCHW(2, height, width)
    theirs = randomize(_RTMPose(size, num_joints), images)
    ours = create_detector(name, num_joints=num_joints, rngs=nnx.Rngs(0))
    torch_weights.load(ours, theirs.state_dict())
    return theirs.double(), ours, images


@pytest.mark.parametrize(
    ("name", "size", "num_joints"),
    [(f"rtmpose_{size}", size, 17) for size in SIZES] + [("dwpose_l", "l", 133)],
)
def test_evaluation(name, size, num_joints):
    theirs, ours, images = _pair(name, size, num_joints)
    with torch.no_grad():
        want = theirs(images.double())
    output, _ = run(ours, images)
    for vectors, tensor in zip(output, want, strict=True):
        assert difference(vectors, tensor) < TOLERANCE


def test_training():
    theirs, ours, images = _pair("rtmpose_t", "t", 17)
    rng = np.random.default_rng(0)
    labels = [rng.uniform(size=(2, 17, bins)) for bins in (384, 512)]
    weight = rng.uniform(size=(2, 17))

    loss = models.losses.KLDiscretLoss(beta=10.0, label_softmax=True, use_target_weight=True)
    want = theirs.train()(images.double())
    loss_want = loss(want, [torch.tensor(v) for v in labels], torch.tensor(weight))
    loss_want.backward()

    graph, params, statistics = nnx.split(ours, nnx.Param, nnx.BatchStat)

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def loss_and_gradient(params, statistics, images_BHWC):
        copy = nnx.merge(graph, params, statistics, copy=True)
        output = copy(images_BHWC, train=True)
        value = simcc_loss(*output, *map(jnp.asarray, labels), jnp.asarray(weight), 10.0)
        return 2 * value, (output, nnx.to_pure_dict(nnx.state(copy, nnx.BatchStat)))

    with jax.enable_x64(True):
        (loss_got, (output, after)), gradients = loss_and_gradient(
            *(float64(nnx.to_pure_dict(s)) for s in (params, statistics)),
            jnp.asarray(channels_last(images)),
        )
        got = torch_weights.dump(nnx.merge(graph, gradients, after))
    np.testing.assert_allclose(loss_got, loss_want.item(), rtol=1e-12)
    for vectors, tensor in zip(output, want, strict=True):
        assert difference(vectors, tensor) < TOLERANCE
    for name, parameter in theirs.named_parameters():
        assert difference(got[name], parameter.grad) < GRADIENT_TOLERANCE, name
    for name, buffer in theirs.named_buffers():
        if not name.endswith("num_batches_tracked"):
            assert difference(got[name], buffer) < TOLERANCE, name
