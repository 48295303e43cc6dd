"""How the published programs' weight files of lifters are read."""

import re
from collections.abc import Callable, Mapping, Sequence

from flax import nnx

from liftjax.nn.declaration import Found, Keywords, Preset, Shapes, Source, State, WeightFiles
from liftjax.nn.stated_joints import stated_joints

Name = str | Callable[[re.Match], str]  # a replacement in `re.sub`


def renamed(state: State, names: Mapping[str, Name]) -> State:
    """`state` with each name changed by the patterns and replacements `names`, as by `re.sub`."""
    found = {}
    for key, value in state.items():
        for pattern, name in names.items():
            key = re.sub(pattern, name, key)
        found[key] = value
    return found


def mmpose_names(
    first: str, first_norm: str, last: str, layer: Name, norm: Name
) -> dict[str, Name]:
    """For `renamed`: the arrays of MMPose's temporal network by the names of another program.

    Args:
      first, first_norm, last: of the first layer, its batch norm and the last layer.
      layer, norm: of a block's layers and their batch norms, given the block and which of the two.
    """
    block = r"^backbone\.tcn_blocks\.(\d+)\.conv([12])\.0\."
    return {
        r"^backbone\.expand_conv\.conv\.": first,
        r"^backbone\.expand_conv\.bn\.": first_norm,
        r"^(?:keypoint_)?head\.conv\.": last,
        block + r"conv\.": layer,
        block + r"bn\.": norm,
    }


def published_lifter(
    cls: type[nnx.Module],
    paper: str,
    licence: str,
    *,
    marks: Sequence[tuple[str, ...]],
    joints: Callable[[Shapes], int],
    sizes: Callable[[Shapes], Keywords],
    joints_2d: Callable[[Shapes], int] | None = None,
    read: Callable[[State], tuple[State, list[str]]] = lambda state: (state, []),
    unpack: Callable[[State], tuple[State, list[str]]] = lambda state: (state, []),
) -> Preset:
    """The preset of a lifter at its paper's size, and how its weight files are read.

    Args:
      cls: the network.
      paper: where it was published.
      licence: that of the authors' code.
      marks: for each published form, names that only its state_dicts have together.
      joints: reads the number of a pose's joints off the shapes.
      sizes: reads keywords of the constructor off the shapes.
      joints_2d: the same for the joints of the 2D input, where these may be of another set.
      read: brings the arrays of a file to liftjax's names, with notes.
      unpack: see `WeightFiles`.
    """

    def read_file(state: State, source: Source) -> Found:
        state, notes = read(state)
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        count = joints(shapes)
        skeleton, why = stated_joints(source, count, rooted=True)
        found = Found(cls.__name__, state, count, skeleton, why, notes=tuple(notes))
        if joints_2d is None:
            return found
        keypoints, why = stated_joints(source, joints_2d(shapes), beside=skeleton)
        return found._replace(num_joints_2d=joints_2d(shapes), skeleton_2d=keypoints, why_2d=why)

    files = WeightFiles(tuple(marks), read_file, sizes, unpack)
    return Preset(cls, paper=paper, licence=licence, weight_files=files)
