"""`torch.compile` and CUDA graphs, where they work.

Where they fail, the function runs as it is, and one line on standard error says so. Lack of memory
is an error.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import torch
from torch import Tensor

from liftjax.errors import first_line

_WARM_UP = 3  # calls before recording, as PyTorch's documentation asks: compilers, cuDNN, Adam


def compiled(function: Callable, mode: str) -> Callable:
    """`function` compiled at its first call, before which nothing of it has run."""
    fast = torch.compile(function, mode=mode, dynamic=False)
    chosen = None

    def call(*arguments):
        nonlocal chosen
        if chosen is None:
            try:
                result = fast(*arguments)
                chosen = fast
                return result
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # the parent of all errors of the compiler
                _report("torch.compile does not work here, PyTorch runs eagerly", error)
                chosen = function
        return chosen(*arguments)

    return call


class Captured:
    """Calls `function` of a dictionary of tensors by replaying its CUDA graph.

    The results are copies, which the next call leaves alone. All calls have the same shapes.

    Args:
      state: gives the tensors that a call changes in place. Recording leaves them as they were; a
        tensor that is created while recording is set to zero.
    """

    def __init__(self, function: Callable[[dict], Any], state: Callable[[], list[Tensor]]):
        self.function, self.state = function, state
        self._replay: Callable | None = None

    def __call__(self, batch: dict[str, Tensor]) -> Any:
        self._replay = self._replay or self._record(batch)
        return self._replay(batch)

    def _record(self, batch: dict[str, Tensor]) -> Callable:
        before = [(tensor, tensor.clone()) for tensor in self.state()]
        static = {key: value.clone() for key, value in batch.items()}
        try:
            graph, results = self._captured(static)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            _report("No CUDA graph, kernels are launched one by one", error)
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


def _report(what: str, error: RuntimeError) -> None:
    print(f"{what}: {first_line(error)}", file=sys.stderr)
