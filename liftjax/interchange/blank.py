"""Networks to be filled from a file, made in a fraction of the time that fresh weights take.

Drawing the weights of a deep network takes seconds, and a file has nearly all of them.
"""

import jax
import numpy as np
from flax import nnx

from liftjax import torch_weights
from liftjax.nn.variables import Derived, Statistic
from liftjax.runtime.checkpoints import build_model
from liftjax.runtime.state import dotted, flat_arrays


def blank_model(spec: dict, drawn: tuple[str, ...] = ()) -> nnx.Module:
    """`checkpoints.build_model` with zeros for weights, but for those of the layers `drawn`.

    Statistics, and constants that follow from the configuration, have their values too.

    Args:
      spec: what describes the network.
      drawn: beginnings of the dotted paths of layers that get fresh weights.

    Raises:
      LiftjaxError: keywords that the network does not know or cannot use.
    """
    module = nnx.eval_shape(lambda: build_model(spec))
    variables = {dotted(path): v for path, v in nnx.to_flat_state(nnx.state(module))}
    wanted = [
        path
        for path, variable in variables.items()
        if path.startswith(drawn) or isinstance(variable, Derived | Statistic)
    ]

    def draw():  # the compiler leaves out what is not asked for
        arrays = flat_arrays(build_model(spec))
        return {path: arrays[path] for path in wanted}

    values = jax.jit(draw)() if wanted else {}
    for path, variable in variables.items():
        zeros = np.zeros(variable.shape, variable.dtype)
        variable.set_value(values.get(path, zeros))
    return module


def state_shapes(spec: dict, optional: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the network's state_dict in its constructor's order.

    Nothing is computed. Without `optional`, those are left out that a state_dict may leave out.
    """
    shapes = {}
    nnx.eval_shape(lambda: shapes.update(torch_weights.shapes(build_model(spec), optional)))
    return shapes
