"""liftjax: 2D pose detectors trained to be good inputs of 2D-to-3D lifters, in JAX and Flax.

The public names are imported when first used, so that the command line answers at once.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "LiftjaxError": "errors",
    "Predictor": "inference.predictor",
    "Replicas": "runtime.replicas",
    "create_detector": "registry",
    "create_lifter": "registry",
    "list_detectors": "registry",
    "list_lifters": "registry",
    "make_train_step": "training.detector_step",
    "read_picture": "inference.pictures",
    "soft_argmax_1d": "ops.soft_argmax",
    "soft_argmax_2d": "ops.soft_argmax",
}
_MODULES = ("geometry", "losses", "metrics", "skeletons", "torch_weights")

__all__ = [*sorted(_HOMES), *_MODULES]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f"liftjax.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"liftjax.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'liftjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
