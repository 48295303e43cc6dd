"""Prints which files of liftjax run in one guided training step, by their first call.

    python docs/step_files.py [DETECTOR [LIFTER ...]]

JAX runs a step's Python once, to trace it: from the batch to the gradient and the new state.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import liftjax

ROOT = str(Path(liftjax.__file__).parents[1])


def step_files(detector: str, lifters: list[str]) -> dict[str, list[str]]:
    """File -> names of the functions that run in it while one guided step is traced."""
    called: dict[str, dict[str, None]] = {}

    def note(frame, event, _):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(f"{ROOT}/liftjax/"):
            functions = called.setdefault(file.removeprefix(f"{ROOT}/"), {})
            functions[frame.f_code.co_name] = None

    def traced():
        rngs = nnx.Rngs(0)
        network = liftjax.create_detector(detector, skeleton="human36m", rngs=rngs)
        guides = [liftjax.create_lifter(name, rngs=rngs) for name in lifters]
        train = liftjax.make_train_step(network, guides)
        step = liftjax.Replicas.create(num_devices=1).map_step(train.step)
        batch = _batch(*network.spec.image_size, network.spec.num_joints)
        sys.setprofile(note)
        try:
            return step(train.state, train.frozen, batch, train.hyper)
        finally:
            sys.setprofile(None)

    jax.eval_shape(traced)
    return {file: list(functions) for file, functions in called.items()}


def _batch(height: int, width: int, num_joints: int, size: int = 2) -> dict[str, jax.Array]:
    return {
        "image_u8": jnp.zeros((size, height, width, 3), jnp.uint8),
        "crop_to_image": jnp.zeros((size, 2, 3)),
        "image_size": jnp.zeros((size, 2)),
        "joints_px": jnp.zeros((size, num_joints, 2)),
        "joint_visible": jnp.zeros((size, num_joints)),
        "pose_m": jnp.zeros((size, num_joints, 3)),
        "has_3d": jnp.zeros(size),
    }


if __name__ == "__main__":
    detector, *lifters = sys.argv[1:] or ["hrnet_w32"]
    for file, functions in step_files(detector, lifters or liftjax.list_lifters()).items():
        print(f"{file}: {', '.join(functions)}")
