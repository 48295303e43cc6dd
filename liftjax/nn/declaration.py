"""What a network declares in its own file: its presets, and how files of its weights are read.

All of it is plain data and pure functions of state_dicts: `registry` collects the presets, and
`interchange` recognises weight files by them.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flax import nnx

State = dict[str, Any]  # a state_dict: name -> array
Shapes = dict[str, tuple[int, ...]]  # of a state_dict
Keywords = dict[str, Any]  # arguments of a network's constructor


class Source(NamedTuple):
    """What a weight file says beside its arrays.

    Attributes:
      name: the file's name.
      meta: MMEngine's dictionary of that name; empty in other files.
      model: the text that L2D-Pose's trainer stores under that key; empty in other files.
    """

    name: str = ""
    meta: Mapping[str, Any] = {}
    model: str = ""


class Found(NamedTuple):
    """A network in a weight file.

    Attributes:
      family: which program's file it is, in words.
      state: the arrays by liftjax's names.
      num_joints: joints that the network finds or lifts; None for a detector without a head, and
        where the arrays do not tell.
      skeleton: the joint set of the keypoints that a detector finds, or of a lifter's poses; None
        if it is unknown.
      why: how the joint set is known, or what is known about it, in words.
      image_size: (height, width), if the file tells it.
      notes: one line for everything that was left out or changed.
      warnings: one line for everything that the user should look at.
      sizes: keywords of the constructor that follow from the file.
      presets: the presets, by name, that the network may be.
      num_joints_2d, skeleton_2d, why_2d: the same for the 2D input of a lifter that may take
        another joint set than that of its poses; None for other networks.
    """

    family: str
    state: State
    num_joints: int | None
    skeleton: str | None
    why: str
    image_size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sizes: Mapping[str, Any] = {}
    presets: Mapping[str, "Preset"] = {}
    num_joints_2d: int | None = None
    skeleton_2d: str | None = None
    why_2d: str = ""

    @property
    def network(self) -> type[nnx.Module]:
        """The class that the presets share."""
        return next(iter(self.presets.values())).cls


@dataclasses.dataclass(frozen=True)
class WeightFiles:
    """How the files of a network's published weights are recognised and read.

    Attributes:
      marks: for each published form, names that only its state_dicts have together.
      read: brings the arrays of a file to liftjax's names. `sizes` and `presets` are added later.
      sizes: reads keywords of the constructor off the shapes; a KeyError if an array is missing.
      unpack: takes the network out of a file in which one program saves several, with notes on
        what it left; gives other files back as they are.
    """

    marks: Sequence[tuple[str, ...]]
    read: Callable[[State, Source], Found]
    sizes: Callable[[Shapes], Keywords]
    unpack: Callable[[State], tuple[State, list[str]]] = lambda state: (state, [])


@dataclasses.dataclass(frozen=True, eq=False)
class Preset:
    """A network of a certain size.

    Attributes:
      cls: the module.
      keywords: arguments of its constructor.
      paper: where it was published.
      licence: that of the authors' code.
      skeleton: the joint set of the published weights, and the default here.
      weight_files: how published weights are recognised. Without it a file is recognised by the
        names in the preset's own state_dict.
    """

    cls: type[nnx.Module]
    keywords: Keywords = dataclasses.field(default_factory=dict)
    paper: str = "unpublished"
    licence: str = "none stated"
    skeleton: str = "human36m"
    weight_files: WeightFiles | None = None

    def default(self, keyword: str) -> Any:
        """The value of a constructor's argument that nobody overrides; None if it has none."""
        parameter = inspect.signature(self.cls.__init__).parameters.get(keyword)
        if keyword in self.keywords or parameter is None or parameter.default is parameter.empty:
            return self.keywords.get(keyword)
        return parameter.default


def count_layers(shapes: Shapes, pattern: str) -> int:
    """How many different numbers stand in the group of `pattern`, matched against all names."""
    matches = (re.match(pattern, key) for key in shapes)
    return len({match[1] for match in matches if match})
