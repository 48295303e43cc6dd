"""What output files are called."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from liftjax.names import readable


def with_ending(stem: Path, ending: str) -> Path:
    """The stem with more at its end; unlike with_suffix, the stem may have dots."""
    return stem.with_name(stem.name + ending)


def plain_name(text: str) -> str:
    """`text` as a part of a file's name on any system."""
    return re.sub(r"[^\w.+-]+", "_", text).strip("_") or "_"


def picture_stems(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """What each picture's outputs are called: its name without the ending, no two alike.

    Folders become part of the name. Capital letters make no difference, as on some systems.

    Args:
      taken: names that others have already.
    """
    taken, stems = {name.casefold() for name in taken}, []
    for name in names:
        wanted = "_".join(Path(readable(name)).with_suffix("").parts)
        stem, number = wanted, 2
        while stem.casefold() in taken:
            stem, number = f"{wanted}_{number}", number + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems
