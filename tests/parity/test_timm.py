"""HRNet against timm's, which classifies images: the same trunk under another head.

timm gives all four branches of the last stage, our detector only the finest. Its ImageNet weights
therefore fit our trunk by name, with the exceptions in `NOT_OURS`.
"""

import numpy as np
import pytest
import torch
from flax import nnx

from liftjax import torch_weights
from liftjax.detectors.hrnet import HRNet
from tests.parity.peers import difference, images_BCHW, import_or_skip, randomize, run

timm = import_or_skip("timm", "pip install timm (with the torchvision made for your torch)")

SIZE = (96, 64)
NOT_OURS = (
    "incre_modules.*",
    "downsamp_modules.*",
    "final_layer.*",  # of another shape and place in both
    "classifier.*",
    "stage4.2.fuse_layers.[123].*",
)


@pytest.mark.parametrize("width", [32, 48])
def test_finest_branch(width):
    images = images_BCHW(2, *SIZE)
    theirs = randomize(timm.create_model(f"hrnet_w{width}", pretrained=False), images)
    ours = HRNet(width, SIZE, width=width, rngs=nnx.Rngs(0))
    torch_weights.load(ours, theirs.state_dict(), allow=NOT_OURS)
    # A last layer that changes nothing: the "heatmaps" are the channels of the finest branch.
    ours.final_layer.kernel[...] = np.eye(width, dtype=np.float32).reshape(1, 1, width, width)
    ours.final_layer.bias[...] = np.zeros(width, np.float32)

    branches = []
    theirs.stage4.register_forward_hook(lambda module, inputs, outputs: branches.extend(outputs))
    with torch.no_grad():
        theirs.double()(images.double())
    output, _ = run(ours, images)
    assert difference(np.moveaxis(output.heatmaps, -1, 1), branches[0]) < 1e-10
