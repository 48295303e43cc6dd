"""What a detector believes before soft-argmax: heatmaps of a few samples, heights of peaks of all.

A SimCC detector has no map but two vectors a joint; its map is the outer product of their
softmaxes.

Legend: N samples, B batch, K joints, H W heatmap.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax.data.pipeline import evaluation_batches
from liftjax.data.records import PoseDataset
from liftjax.detectors.heatmaps import HeatmapOutput
from liftjax.detectors.simcc import SimCCOutput
from liftjax.runtime.state import PureModule


def heatmaps(detector: nnx.Module, dataset: PoseDataset, beta: float = 1.0) -> np.ndarray:
    """(N, H, W, K) maps of all records of `dataset`: select the few to be shown.

    Args:
      beta: of the softmax that turns SimCC logits into shares; heatmaps are as the network gives
        them.
    """
    maps = None
    for index, output in _outputs(detector, dataset):
        found = _map_of(output, beta)
        if maps is None:
            maps = np.empty((len(dataset), *found.shape[1:]), np.float32)
        maps[index] = found[: len(index)]
    return maps


def peak_heights(detector: nnx.Module, dataset: PoseDataset, beta: float = 1.0) -> np.ndarray:
    """(N, K) the highest value of each joint's map; see :func:`heatmaps`."""
    peaks_NK = np.empty((len(dataset), detector.spec.num_joints), np.float32)
    for index, output in _outputs(detector, dataset):
        peaks_NK[index] = _peak_of(output, beta)[: len(index)]
    return peaks_NK


def _outputs(detector, dataset) -> Iterator[tuple[np.ndarray, HeatmapOutput | SimCCOutput]]:
    """(rows, output) of each batch; the batch may be longer, filled up at its end."""
    pure, params, others = PureModule.split(detector)

    @jax.jit
    def run(params, others, image_u8_BHWC):
        module = pure.merge(params, others)
        return module(module.spec.normalize(image_u8_BHWC))

    size = detector.spec.image_size
    batches = evaluation_batches(dataset.with_pictures(), image_size=size, batch_size=64)
    for batch in batches:
        real = np.asarray(batch["mask"], bool)
        output = run(params, others, batch["image_u8"])
        yield np.asarray(batch["index"])[real], jax.tree.map(lambda a, r=real: a[r], output)


def _map_of(output: HeatmapOutput | SimCCOutput, beta: float) -> np.ndarray:
    if isinstance(output, HeatmapOutput):
        return np.asarray(output.heatmaps)
    x, y = (np.asarray(jax.nn.softmax(beta * logits)) for logits in output)
    return np.einsum("bky,bkx->byxk", y, x)


def _peak_of(output: HeatmapOutput | SimCCOutput, beta: float) -> np.ndarray:
    if isinstance(output, HeatmapOutput):
        return np.asarray(jnp.max(output.heatmaps, axis=(1, 2)))
    x, y = (np.asarray(jax.nn.softmax(beta * logits)).max(axis=-1) for logits in output)
    return x * y
