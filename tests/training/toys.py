"""A detector that compiles in a moment."""

import contextlib
import dataclasses
from unittest import mock

import jax
from flax import nnx

from liftjax import registry
from liftjax.detectors.spec import Detector, DetectorSpec, SimCCOutput
from liftjax.nn.layers import BatchNorm, Conv, Linear
from liftjax.runtime.replicas import Replicas


@contextlib.contextmanager
def toy_detector():
    """The registry has ToySimCC by the name of "toy"."""
    preset = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords={}, cls=ToySimCC)
    with mock.patch.dict(registry.DETECTORS, toy=preset):
        yield


def compiled(step):
    """The step of one replica on one device; its arguments stay whole."""
    return Replicas.create(num_devices=1).map_step(step, donate=False)


class ToyBackbone(nnx.Module):
    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.channels = channels
        self.conv = Conv(3, channels, (16, 16), strides=16, rngs=rngs)
        self.norm = BatchNorm(channels)

    def __call__(self, images, train=False):
        return jax.nn.silu(self.norm(self.conv(images), train=train))


class ToyHead(nnx.Module):
    def __init__(self, spec: DetectorSpec, channels: int, rngs: nnx.Rngs):
        height, width = spec.image_size
        self.final_layer = Conv(channels, spec.num_joints, (1, 1), rngs=rngs)
        self.cls_x = Linear(height * width // 256, spec.output_size[1], rngs=rngs)
        self.cls_y = Linear(height * width // 256, spec.output_size[0], rngs=rngs)

    def __call__(self, feature):
        maps = self.final_layer(feature)
        tokens = maps.reshape(len(maps), -1, maps.shape[-1]).swapaxes(1, 2)
        return SimCCOutput(self.cls_x(tokens), self.cls_y(tokens))


class ToySimCC(Detector):
    """An RTMPose in miniature."""

    def __init__(self, num_joints, image_size=(64, 64), skeleton=None, channels=6, *, rngs):
        self.spec = DetectorSpec(
            "simcc", num_joints, image_size, stride=0.5, sigma=(3.0, 3.0), skeleton=skeleton
        )
        self.backbone = ToyBackbone(channels, rngs)
        self.head = ToyHead(self.spec, channels, rngs)

    def __call__(self, images, train=False):
        return self.head(self.backbone(images, train=train))


class ToyHeatmaps(nnx.Module):
    """A detector of the other kind, to be refused."""

    def __init__(self, num_joints, image_size=(64, 64), skeleton=None, *, rngs):
        self.spec = DetectorSpec("heatmap", num_joints, image_size, 4, 2.0, skeleton=skeleton)
        self.conv = Conv(3, num_joints, (4, 4), strides=4, rngs=rngs)
