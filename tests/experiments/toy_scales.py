"""The tiny scales in miniature: a toy detector, two lifters, few and small pictures.

Everything else is the commands' own. What both commands train and draw is the same to the letter,
so that the second finds the compiled programs of the first.
"""

import contextlib
import dataclasses

import pytest

from liftjax import registry
from liftjax.experiments import demo
from liftjax.experiments.paper.scales import SCALES, TINY, DetectorSetup
from liftjax.experiments.small import BASE_SETTINGS
from tests.training.toys import ToySimCC

DETECTOR = "toy"
COUNTS = {"num_train": 12, "num_test": 12, "num_poses": 48}
IMAGE_SIZE, STORED_SIZE = (64, 48), (72, 54)
STEPS, FIRST_STEPS, LIFTER_STEPS, BATCH_SIZE = 4, 2, 4, 4
LIFTERS = {
    "simple_baseline": demo.LIFTERS["simple_baseline"] | {"lifter.overrides.num_stages": 1},
    "videopose3d": demo.LIFTERS["videopose3d"],
}


@contextlib.contextmanager
def patched():
    """A MonkeyPatch, with the toy detector in the registry."""
    toy = dataclasses.replace(
        registry.DETECTORS["rtmpose_tiny"], keywords={"image_size": IMAGE_SIZE}, cls=ToySimCC
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.DETECTORS, DETECTOR, toy)
        yield patch


@contextlib.contextmanager
def toy_demo():
    """The tiny demo is in miniature."""
    counts = {key.removeprefix("num_"): count for key, count in COUNTS.items()}
    steps = {"lifter_steps": LIFTER_STEPS, "base_steps": FIRST_STEPS, "guided_steps": STEPS}
    scale = demo.DemoScale(**counts, **steps, detector=DETECTOR, batch_size=BATCH_SIZE)
    with patched() as patch:
        patch.setitem(demo.SCALES, "tiny", scale)
        patch.setattr(demo, "LIFTERS", LIFTERS)
        patch.setitem(demo.METHODS, "multi", tuple(LIFTERS))
        patch.setattr(demo, "IMAGE_SIZE", IMAGE_SIZE)
        patch.setattr(demo, "STORED_SIZE", STORED_SIZE)
        yield


@contextlib.contextmanager
def toy_tables():
    """The tiny scale of the tables is in miniature."""
    detector = DetectorSetup(DETECTOR, BASE_SETTINGS, FIRST_STEPS)
    scale = dataclasses.replace(
        TINY,
        detectors={"rtmpose": detector},
        lifters=LIFTERS,
        counts=COUNTS,
        image_size=IMAGE_SIZE,
        stored_size=STORED_SIZE,
        steps=STEPS,
        lifter_steps=LIFTER_STEPS,
        batch_size=BATCH_SIZE,
    )
    with patched() as patch:
        patch.setitem(SCALES, "tiny", scale)
        yield
