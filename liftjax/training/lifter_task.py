"""Training a lifter on ground-truth 2D poses."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from liftjax.data.pipeline import train_batches
from liftjax.data.records import PoseDataset
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.metrics import mpjpe
from liftjax.training.checkpoints import build_model, load_same_model
from liftjax.training.loop import Task
from liftjax.training.optim import apply_gradients, make_optimizer, make_schedule
from liftjax.training.state import PureModule


def build(config: ConfigDict) -> Task:
    """The lifter of `config.lifter`, trained on the poses of `config.data`."""
    dataset = PoseDataset.open(config.data.dir, config.data.split)
    dataset = dataset.where(subjects=config.data.subjects or None)
    dataset = dataset.select(dataset.labels["has_3d"])
    spec = model_spec(config, dataset.skeleton.name)
    if config.lifter.checkpoint:
        lifter = load_same_model(config.lifter.checkpoint, spec)
    else:
        lifter = build_model(spec, config.seed)
        if hasattr(lifter, "set_statistics"):
            lifter.set_statistics(*dataset.statistics())
    pure, params, others = PureModule.split(lifter)
    optimizer = make_optimizer(config.optim)
    schedule = make_schedule(config.optim, config.steps)
    key = jax.random.key(config.seed)
    step = make_step(pure, optimizer, config.lifter.loss)
    return Task(
        name=config.lifter.name,
        state={"params": params, "others": others, "opt": optimizer.init(params)},
        frozen={},
        step=jax.jit(step, donate_argnums=0),
        hyper=lambda t: {"learning_rate": schedule(t), "key": jax.random.fold_in(key, t)},
        batches=lambda start: train_batches(
            dataset,
            image_size=None,
            batch_size=config.batch_size,
            seed=config.seed,
            start_step=start,
        ),
        meta={"model": spec, "recipe": config.to_dict()},
    )


def model_spec(config: ConfigDict, skeleton: str) -> dict:
    """What `checkpoints.build_model` builds."""
    if config.lifter.num_frames != 1:
        raise LiftjaxError(
            f"lifter.num_frames={config.lifter.num_frames}: training takes single frames; set 1."
        )
    return {
        "kind": "lifter",
        "name": config.lifter.name,
        "skeleton": skeleton,
        "num_frames": config.lifter.num_frames,
        **config.lifter.overrides.to_dict(),
    }


def make_step(pure: PureModule, optimizer: optax.GradientTransformation, loss: str):
    """The pure training step; `loss` is 'mpjpe' (mean distance) or 'mse', in the raw scale."""
    losses = {"mpjpe": _mean_distance, "mse": _mean_squared}
    if loss not in losses:
        raise unknown_name("lifter.loss", loss, losses)

    def step(state, frozen, batch, hyper):
        del frozen

        def loss_fn(params):
            lifter = pure.merge(params, state["others"])
            pose_m_BTK3 = batch["pose_m"][:, None]
            normal_BTK2 = lifter.normalize(batch["joints_px"][:, None], batch["image_size"])
            raw_BTK3 = lifter(normal_BTK2, train=True, rngs=nnx.Rngs(dropout=hyper["key"]))
            value = losses[loss](raw_BTK3, lifter.target(pose_m_BTK3))
            error_m = mpjpe(lifter.to_metres(raw_BTK3), pose_m_BTK3).mean()
            return value, (error_m, pure.others(lifter))

        (value, (error_m, others)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state["params"]
        )
        params, opt = apply_gradients(
            optimizer, grads, state["opt"], state["params"], hyper["learning_rate"]
        )
        metrics = {
            "loss": value,
            "mpjpe_mm": 1000 * error_m,
            "grad_norm": optax.tree.norm(grads),
        }
        return {"params": params, "others": others, "opt": opt}, metrics

    return step


def _mean_distance(raw: jax.Array, true: jax.Array) -> jax.Array:
    """MPJPE with gradient 0, rather than NaN, where a joint is exactly right (such as a root)."""
    squared = jnp.square(raw - true).sum(axis=-1)
    apart = squared > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1)), 0).mean()


def _mean_squared(raw: jax.Array, true: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(raw - true))
