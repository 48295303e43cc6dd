"""The backward pass of the golden training steps: HRNet with stored target maps."""

import jax
import jax.numpy as jnp

from liftjax import losses
from liftjax.runtime import replicas
from liftjax.runtime.state import PureModule


def golden_backward(detector: PureModule):
    """(state, frozen, batch, hyper) -> (gradients, changes, metrics), see `training.update`.

    batch: "image" normalised, "target" maps, "weight" of joints.
    """

    def backward(state, frozen, batch, hyper):
        def forward(params):
            module = detector.merge(params, state["others"])
            out = module(batch["image"], train=True)
            loss_BK = losses.heatmap_loss_per_joint(out.heatmaps, batch["target"], batch["weight"])
            return loss_BK, detector.others(module)

        loss_BK, pull, others = jax.vjp(forward, state["params"], has_aux=True)
        loss_NK = replicas.gather(loss_BK)
        (grads,) = pull(jnp.full_like(loss_BK, 1 / loss_NK.size))
        return grads, {"others": others}, {"loss": loss_NK.mean()}

    return backward
