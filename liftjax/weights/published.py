"""The list of published weights: `published.toml` as Python objects."""

import dataclasses
import tomllib
from collections.abc import Iterator
from pathlib import Path

from liftjax.errors import check_name


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A file of weights that its authors or others have published.

    Attributes:
      name: NETWORK/WHAT, by which commands know it; NETWORK is also that of the registry, except
        for person detectors.
      kind: 'detector', 'lifter', 'person_detector', or 'backbone', a detector without its last
        layers, from which training starts.
      file: the publisher's name of the file.
      licence: of the weights, or of the repository that they are published with.
      paper: where the network was published.
      address: where the file is fetched from; None if only people can fetch it.
      page: where people fetch it, if programs cannot.
      sha256: the file's SHA-256, or the beginning of it; empty if unknown.
      skeleton: joint set that a detector finds, or that of a lifter's poses.
      skeleton_2d: joint set of a lifter's 2D input, if it is another one.
      image_size: (height, width) of a crop; for person detectors of the picture.
      frames: that a frame's pose depends on.
      bytes: length of the file, if known.
      stats: a file beside the list, the mean and deviation that a SimpleBaseline standardises with.
    """

    name: str
    kind: str
    file: str
    licence: str
    paper: str
    address: str | None = None
    page: str | None = None
    sha256: str = ""
    skeleton: str | None = None
    skeleton_2d: str | None = None
    image_size: tuple[int, int] | None = None
    frames: int | None = None
    bytes: int | None = None
    stats: Path | None = None

    @property
    def network(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def terms(self) -> str:
        """The licence, and in words whether it is for non-commercial use only."""
        return self.licence + (", for non-commercial use only" if "NC" in self.licence else "")


def find_weights(name: str) -> PublishedWeights:
    """The entry called `name`.

    Raises:
      LiftjaxError: there is none; the message names the nearest.
    """
    check_name("published weights", name, PUBLISHED)
    return PUBLISHED[name]


def in_words(kind: str) -> str:
    """A kind for people: "person detector"."""
    return {"detector": "keypoint detector"}.get(kind, kind.replace("_", " "))


def _read() -> Iterator[PublishedWeights]:
    groups = tomllib.loads(Path(__file__).with_name("published.toml").read_text("utf-8"))
    for group in groups.values():
        entries, at = group.pop("weights"), group.pop("at", None)
        for name, entry in entries.items():
            entry = group | entry
            if at:
                entry["address"] = at + entry["file"]
            if "stats" in entry:
                entry["stats"] = Path(__file__).with_name(entry["stats"])
            if "image_size" in entry:
                entry["image_size"] = tuple(entry["image_size"])
            yield PublishedWeights(name, **entry)


PUBLISHED = {weights.name: weights for weights in _read()}
