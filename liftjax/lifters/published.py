"""How the published programs' weight files of lifters are read."""

from collections.abc import Callable

from flax import nnx

from liftjax.nn.declaration import Found, Keywords, Preset, Shapes, Source, State, WeightFiles

_JOINT_SETS = {17: "human36m", 15: "panoptic"}  # that the authors' lifters are trained on


def published_lifter(
    cls: type[nnx.Module],
    paper: str,
    licence: str,
    *,
    mark: tuple[str, ...],
    joints: Callable[[Shapes], int],
    sizes: Callable[[Shapes], Keywords],
    rename: Callable[[str], str] = lambda key: key,
) -> Preset:
    """The preset of a lifter at its paper's size; the number of joints tells the joint set.

    Args:
      cls: the network.
      paper: where it was published.
      licence: that of the authors' code.
      mark: names that only its state_dicts have together.
      joints: reads the number of joints off the shapes.
      sizes: reads keywords of the constructor off the shapes.
      rename: the authors' name of an array -> liftjax's.
    """

    def read(state: State, source: Source) -> Found:
        state = {rename(key): value for key, value in state.items()}
        count = joints({key: value.shape for key, value in state.items()})
        why = f"what {count} joints mean for a lifter"
        return Found(cls.__name__, state, count, _JOINT_SETS.get(count), why)

    files = WeightFiles((mark,), read, sizes)
    return Preset(cls, paper=paper, licence=licence, weight_files=files)
