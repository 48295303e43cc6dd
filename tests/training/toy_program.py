"""The command line with the toy detector among the networks; steps take their time.

    python -m tests.training.toy_program train --config multi_model ...

A process that is to be killed in the middle of something must not be through with it at once:
PAUSE_S in the environment is added to every step, and five times that to every evaluation.
"""

import dataclasses
import os
import sys
import time

from liftjax import evaluation, registry
from liftjax.cli import main
from liftjax.training import loop
from tests.training.toys import ToySimCC

PAUSE_S = float(os.environ.get("PAUSE_S", 0))


def slowed(function, seconds):
    def slow(*arguments, **options):
        time.sleep(seconds)
        return function(*arguments, **options)

    return slow


if __name__ == "__main__":
    preset = dataclasses.replace(registry.DETECTORS["rtmpose_tiny"], keywords={}, cls=ToySimCC)
    registry.DETECTORS["toy"] = preset
    loop._next_batch = slowed(loop._next_batch, PAUSE_S)
    evaluation.report = slowed(evaluation.report, 5 * PAUSE_S)
    sys.exit(main())
