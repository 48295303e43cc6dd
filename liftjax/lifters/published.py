"""What the published programs' weight files say of a lifter."""

from collections.abc import Callable

from liftjax.nn.declaration import Found, Keywords, Shapes, Source, State, WeightFiles

_JOINT_SETS = {17: "human36m", 15: "panoptic"}  # what the authors' lifters are trained on


def lifter_files(
    family: str,
    mark: tuple[str, ...],
    sizes: Callable[[Shapes], Keywords],
    joints: Callable[[Shapes], int],
    rename: Callable[[str], str] = lambda key: key,
) -> WeightFiles:
    """How a lifter's files are read: only the number of joints tells the joint set.

    Args:
      family: name of the network in reports.
      mark: names that only its state_dicts have together.
      sizes: reads keywords of the constructor off the shapes.
      joints: reads the number of joints off the shapes.
      rename: the authors' name of an array -> liftjax's.
    """

    def read(state: State, source: Source) -> Found:
        state = {rename(key): value for key, value in state.items()}
        count = joints({key: value.shape for key, value in state.items()})
        why = f"what {count} joints mean for a lifter"
        return Found(family, state, count, _JOINT_SETS.get(count), why)

    return WeightFiles((mark,), read, sizes)
