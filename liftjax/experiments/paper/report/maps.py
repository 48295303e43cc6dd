"""What a detector believes before soft-argmax: heatmaps of a few samples, heights of peaks of all.

A SimCC detector has no heatmap but two vectors per joint; its map is the outer product of their
softmaxes.

Legend: N samples, B batch, K joints, H W heatmap.
"""

from collections.abc import Iterator

import jax
import numpy as np
from flax import nnx

from liftjax.data.pipeline import evaluation_batches
from liftjax.data.records import PoseDataset
from liftjax.detectors.spec import HeatmapOutput
from liftjax.runtime.state import PureModule


def heatmaps(detector: nnx.Module, dataset: PoseDataset, beta: float = 1.0) -> np.ndarray:
    """(N, H, W, K) maps of all records of `dataset`: select the few to be shown.

    Args:
      beta: of the softmax that turns SimCC logits into shares; a network's own heatmaps stay as
        they are.
    """
    maps = None
    for index, parts in _outputs(detector, dataset, beta):
        found = parts[0] if len(parts) == 1 else np.einsum("bkx,bky->byxk", *parts)
        if maps is None:
            maps = np.empty((len(dataset), *found.shape[1:]), np.float32)
        maps[index] = found
    return maps


def peak_heights(detector: nnx.Module, dataset: PoseDataset, beta: float = 1.0) -> np.ndarray:
    """(N, K) the highest value of each joint's map; see :func:`heatmaps`."""
    peaks_NK = np.empty((len(dataset), detector.spec.num_joints), np.float32)
    for index, parts in _outputs(detector, dataset, beta):
        if len(parts) == 1:
            peaks_NK[index] = parts[0].max(axis=(1, 2))
        else:
            peaks_NK[index] = np.prod([part.max(axis=-1) for part in parts], axis=0)
    return peaks_NK


def _outputs(detector, dataset, beta) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, ...]]]:
    """Rows of a batch, with their heatmaps (B, H, W, K), or shares (B, K, W) and (B, K, H)."""
    pure, params, others = PureModule.split(detector)

    @jax.jit
    def predict(params, others, image_u8_BHWC):
        module = pure.merge(params, others)
        output = module(module.spec.normalize(image_u8_BHWC))
        if isinstance(output, HeatmapOutput):
            return (output.heatmaps,)
        return tuple(jax.nn.softmax(beta * logits) for logits in output)

    size = detector.spec.image_size
    for batch in evaluation_batches(dataset.with_pictures(), image_size=size, batch_size=64):
        real = np.asarray(batch["mask"], bool)  # the last batch is filled up
        parts = predict(params, others, batch["image_u8"])
        yield np.asarray(batch["index"])[real], tuple(np.asarray(part)[real] for part in parts)
