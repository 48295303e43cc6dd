"""Finds the pictures that an annotation file names.

Labelling tools write names as on their server: an absolute path, an address, a path from the top of
the data set, or a path with backslashes.
"""

import collections
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z][A-Za-z0-9+.-]*:[/\\]")  # C:\ and https:/ too


def is_name(name) -> bool:
    """Whether a JSON value can be the name of a file."""
    try:
        return isinstance(name, str) and bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def locate(
    wanted: Iterable[str], named: Iterable[str], source: Path, folder: Path
) -> tuple[dict[str, str], list[str]]:
    """The paths of pictures by name: absolute or relative to `folder`.

    A relative name may begin in `folder` or in a directory above it, up to `source`. An absolute
    path of another machine is found by an end of it that no other picture has.

    Args:
      wanted: names of pictures; a picture that is not found keeps its name as path.
      named: all names in the annotation file.
      source: the directory of the data set.
      folder: of the pictures.

    Returns:
      The paths, and the names that were found by the end of their path.
    """
    wanted, named = dict.fromkeys(wanted), set(named)
    ends = collections.Counter()
    if any(map(_ABSOLUTE.match, named)):
        ends.update(end for name in named for end in _ends(_parts(name)))
    tops = [top for top in (folder, *folder.parents) if top.is_relative_to(source)]
    paths, by_end = {}, []
    for name in wanted:
        parts, absolute = _parts(name), _ABSOLUTE.match(name)
        paths[name] = name
        if name == parts[-1] or os.path.exists(Path(folder, name)):
            continue
        tried = [end for end in _ends(parts) if ends[end] == 1] if absolute else [parts]
        there = (Path(top, *end) for end in tried for top in tops)
        found = next((str(path) for path in there if os.path.exists(path)), None)
        if found:
            paths[name] = found
            by_end += [name] * bool(absolute)
    return paths, by_end


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[/\\]", name) if part not in ("", ".")) or (name,)


def _ends(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The whole path and all its ends, longest first."""
    return (parts[i:] for i in range(len(parts)))
