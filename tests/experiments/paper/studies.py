"""Studies of data that nobody has to have, for what is said of runs without doing any."""

from liftjax.experiments.paper.published import ACTION_HEADS
from liftjax.experiments.paper.runs import Source
from liftjax.experiments.paper.scales import PAPER, SMALL
from liftjax.experiments.paper.study import Study

H36M = Source("human36m", "/somewhere/human36m", lifter_split="poses", samples=1000)
PANOPTIC = Source("panoptic", "/somewhere/panoptic", samples=1000)
SYNTHETIC = Source("synthetic", settings=(("seed", 0),), lifter_split="poses", samples=4000)
CLIPS = {
    "synthetic": Source(
        "clips", settings=(("seed", 0),), lifter_split="poses", samples=320, stride=3
    )
}


def study(source=H36M, scale=PAPER, seed=0, **more) -> Study:
    """A study whose actions are the paper's, as far as they are of its data, and with clips."""
    actions = ("ultimatum", "haggling") if source.name == "panoptic" else tuple(ACTION_HEADS)
    about = {"actions": actions, "clips": CLIPS.get(source.name, source)}
    return Study(source, scale, seed, **(about | more))


def small_study(seed=0, **more) -> Study:
    return study(SYNTHETIC, SMALL, seed, **more)
