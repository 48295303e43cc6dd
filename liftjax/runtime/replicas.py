"""One program on many devices: the replicas of a training step, and how they communicate.

Every device holds the whole state and computes its rows of the batch. A function of one replica is
written once, with the named axis `AXIS`, and mapped over the devices by `jax.shard_map` or by
`jax.pmap`; both give the same numbers.

With several processes, each runs the same program. The *global* batch consists of the rows of all
processes, one process after the other; each process loads only its own rows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from liftjax.errors import LiftjaxError, check_name

AXIS = "data"
WAYS = ("shard_map", "pmap")

_EVERYWHERE, _ROWS = PartitionSpec(), PartitionSpec(AXIS)


@dataclasses.dataclass(frozen=True)
class Replicas:
    """The devices of a run.

    Attributes:
      mesh: all devices of all processes, one process after the other, on one axis.
      how: 'shard_map' or 'pmap'.
    """

    mesh: Mesh
    how: str = "shard_map"

    @classmethod
    def create(cls, how: str = "shard_map", num_devices: int = 0) -> "Replicas":
        """All devices, or in a single process the first `num_devices` of them.

        Raises:
          LiftjaxError: an unknown `how`, or devices that are not there.
        """
        check_name("config.replicate", how, WAYS)
        # Sorted so that the rows of one process are neighbours in the global batch.
        devices = sorted(jax.devices(), key=lambda d: (d.process_index, d.id))
        if num_devices:
            if jax.process_count() > 1:
                raise LiftjaxError(
                    "config.num_devices is for one process; several use all their devices."
                )
            if not 0 < num_devices <= len(devices):
                raise LiftjaxError(
                    f"config.num_devices is {num_devices}, this machine has {len(devices)}; "
                    "0 takes all."
                )
            devices = devices[:num_devices]
        return cls(Mesh(np.array(devices), (AXIS,)), how)

    @property
    def size(self) -> int:
        """Devices over all processes."""
        return self.mesh.size

    @property
    def part(self) -> tuple[int, int]:
        """This process's part of every batch: (index, number of processes)."""
        return jax.process_index(), jax.process_count()

    @property
    def _local_size(self) -> int:
        return len(self.mesh.local_devices)

    def check_batch_size(self, batch_size: int, key: str = "config.batch_size", parts: int = 1):
        """Raises a LiftjaxError unless every device gets as many rows, in `parts` equal parts."""
        if batch_size % (self.size * parts) == 0:
            return
        each = f" in {parts} parts" if parts > 1 else ""
        raise LiftjaxError(
            f"{key}={batch_size} does not split over {self.size} devices{each}; take a multiple of "
            f"{self.size * parts}, or fewer devices (config.num_devices)."
        )

    def rounded_up(self, batch_size: int) -> int:
        """The next batch size that splits over the devices."""
        return -(-batch_size // self.size) * self.size

    def replicate(self, tree: Any) -> Any:
        """One copy of every array on each device; the same on all processes."""

        def put(array):
            # Copied: on a CPU the device would share the caller's memory, which a step donates.
            array = np.array(array)
            if self.how == "pmap":
                each = np.broadcast_to(array, (self._local_size, *array.shape))
                return jax.device_put(each, self._local_rows)
            sharding = NamedSharding(self.mesh, _EVERYWHERE)
            return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

        return jax.tree.map(put, tree)

    def shard(self, batch: Any) -> Any:
        """This process's rows of a batch, spread over its devices."""

        def put(rows):
            rows = np.asarray(rows)
            if self.how == "pmap":
                rows = rows.reshape(self._local_size, -1, *rows.shape[1:])
                return jax.device_put(rows, self._local_rows)
            return jax.make_array_from_process_local_data(NamedSharding(self.mesh, _ROWS), rows)

        return jax.tree.map(put, batch)

    @property
    def _local_rows(self) -> NamedSharding:
        """The sharding of arrays for pmap: of one process, with a leading axis of its devices."""
        return NamedSharding(self.mesh.local_mesh, _ROWS)

    def map_step(self, step: Callable, donate: bool = True) -> Callable:
        """Compiles step(state, frozen, batch, hyper) -> (state, metrics) of one replica.

        State, frozen arrays and results are replicated, the batch is sharded, and `hyper` holds
        numbers of the host.

        Args:
          step: see `liftjax.training.update`.
          donate: whether the memory of the old state may be reused for the new one. On a GPU it
            never is: a state is small there, and XLA would copy a thousand arrays in each step
            whose new values are ready before the old ones have been read for the last time.
        """
        on_gpu = isinstance(self.mesh, Mesh) and self.mesh.devices.flat[0].platform == "gpu"
        donated = (0,) if donate and not on_gpu else ()
        if self.how == "pmap":
            return jax.pmap(
                step,
                AXIS,
                in_axes=(0, 0, 0, None),
                devices=self.mesh.devices.tolist(),
                donate_argnums=donated,
            )
        specs = (_EVERYWHERE, _EVERYWHERE, _ROWS, _EVERYWHERE)
        return jax.jit(self._shard_map(step, specs), donate_argnums=donated)

    def map_predict(self, predict: Callable) -> Callable:
        """Compiles predict(weights, batch) of one replica and gathers its results.

        The weights are replicated and the batch is sharded. Every device gets the results (arrays
        with a leading batch axis) for the whole batch.
        """

        def gathered(weights, batch):
            return gather(predict(weights, batch))

        if self.how == "pmap":
            return jax.pmap(gathered, AXIS, devices=self.mesh.devices.tolist())
        return jax.jit(self._shard_map(gathered, (_EVERYWHERE, _ROWS)))

    def _shard_map(self, function: Callable, in_specs: tuple) -> Callable:
        # check_vma would sum gradients of replicated arguments over the axis unasked.
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=_EVERYWHERE, check_vma=False
        )

    def to_host(self, tree: Any) -> Any:
        """NumPy copies of replicated arrays."""

        def fetch(array):
            one = array.addressable_data(0)
            return np.array(one[0] if self.how == "pmap" else one)

        jax.block_until_ready(tree)
        return jax.tree.map(fetch, tree)


# The functions below are called inside a mapped function.


def gather(rows: Any, axis: int = 0) -> Any:
    """The rows of all replicas, in the order of the global batch."""
    return jax.lax.all_gather(rows, AXIS, axis=axis, tiled=True)


def own_rows(whole: jax.Array, axis: int = 0) -> jax.Array:
    """This replica's rows of an array of the whole batch."""
    count = whole.shape[axis] // jax.lax.axis_size(AXIS)
    start = jax.lax.axis_index(AXIS) * count
    return jax.lax.dynamic_slice_in_dim(whole, start, count, axis)


def norm(rows: Any) -> jax.Array:
    """The Euclidean norm of all replicas' rows together."""
    squares = sum(jnp.square(jnp.abs(leaf)).sum() for leaf in jax.tree.leaves(rows))
    return jnp.sqrt(jax.lax.psum(squares, AXIS))


def own_key(seed: jax.Array, step: jax.Array, part: jax.Array | None = None) -> jax.Array:
    """The random key of a step: different for each part of the batch and on each replica.

    A single replica uses the same key as a program without replicas.
    """
    key = shared_key(seed, step)
    if part is not None:
        key = jax.random.fold_in(key, part)
    if jax.lax.axis_size(AXIS) == 1:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def shared_key(seed: jax.Array, step: jax.Array) -> jax.Array:
    """The random key of a step, the same on all replicas."""
    return jax.random.fold_in(jax.random.key(seed), step)
