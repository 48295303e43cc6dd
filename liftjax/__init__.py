"""liftjax: 2D pose detectors trained to be good inputs of 2D-to-3D lifters, in JAX and Flax."""

from liftjax import losses, metrics, skeletons, torch_weights
from liftjax.errors import LiftjaxError
from liftjax.ops.soft_argmax import soft_argmax_1d, soft_argmax_2d
from liftjax.registry import create_detector, create_lifter, list_detectors, list_lifters

__version__ = "0.1.0"

__all__ = [
    "LiftjaxError",
    "create_detector",
    "create_lifter",
    "list_detectors",
    "list_lifters",
    "losses",
    "metrics",
    "skeletons",
    "soft_argmax_1d",
    "soft_argmax_2d",
    "torch_weights",
]
