"""A function on a GPU, recorded once as a CUDA graph and then launched as a whole."""

import sys
from collections.abc import Callable
from typing import Any

import jax
import torch
from torch import Tensor

_WARM_UP = 3  # calls before recording, as PyTorch's documentation asks: compilers, cuDNN, Adam


class Captured:
    """Calls `function` of a dictionary of tensors by replaying its CUDA graph.

    What it gives are copies, which the next call leaves alone. For every set of shapes it records
    anew. Where recording fails the function runs as it is, which is said in one line.

    Args:
      state: gives the tensors that a call changes in place. They are as before after recording; one
        that came into being in it is set to zero.
    """

    def __init__(self, function: Callable[[dict], Any], state: Callable[[], list[Tensor]]):
        self.function, self.state = function, state
        self._replays: dict[tuple, Callable] = {}

    def __call__(self, batch: dict[str, Tensor]) -> Any:
        shapes = tuple((key, tuple(value.shape)) for key, value in batch.items())
        if shapes not in self._replays:
            self._replays[shapes] = self._record(batch)
        return self._replays[shapes](batch)

    def _record(self, batch: dict[str, Tensor]) -> Callable:
        before = [(tensor, tensor.clone()) for tensor in self.state()]
        static = {key: value.clone() for key, value in batch.items()}
        try:
            graph, results = self._captured(static)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            print(f"No CUDA graph, kernels are launched one by one: {reason}", file=sys.stderr)
            return self.function
        finally:
            known = {tensor.data_ptr() for tensor, _ in before}
            with torch.no_grad():
                for tensor in self.state():
                    if tensor.data_ptr() not in known:
                        tensor.zero_()
                for tensor, value in before:
                    tensor.copy_(value)

        def replay(batch):
            for key, tensor in static.items():
                tensor.copy_(batch[key], non_blocking=True)
            graph.replay()
            return jax.tree.map(torch.clone, results)

        return replay

    def _captured(self, static: dict[str, Tensor]) -> tuple[torch.cuda.CUDAGraph, Any]:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self.function(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = self.function(static)
        return graph, results
