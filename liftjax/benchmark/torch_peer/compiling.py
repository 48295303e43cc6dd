"""`torch.compile` where it works."""

import sys
from collections.abc import Callable

import torch


def compiled(function: Callable, mode: str) -> Callable:
    """`function` compiled at its first call; where that fails, as it is, which is said in one line.

    A failing compiler shows before anything has run.
    """
    fast = torch.compile(function, mode=mode, dynamic=False)
    chosen = None

    def call(*arguments):
        nonlocal chosen
        if chosen is not None:
            return chosen(*arguments)
        try:
            result = fast(*arguments)
            chosen = fast
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # the parent of all errors of the compiler
            reason = str(error).strip().splitlines()[0]
            print(
                f"torch.compile does not work here, PyTorch runs eagerly: {reason}", file=sys.stderr
            )
            chosen = function
            result = function(*arguments)
        return result

    return call
