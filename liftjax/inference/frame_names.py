"""Which frame of a source an image id of a COCO file means.

Of a video the id is the number of a frame, from 0. Where the COCO file gives the id a file name,
the last number in that name counts instead; if names have folders, only those count in which a
folder, or the part before the number, is the video's name. Pictures are found by the file name,
with as many folders before it as tell the file's pictures apart. Without file names they are found
by an id that is the picture's name or the last number in it (frame_0012.jpg is 12). A single
picture takes the boxes of a file that has a single id and no file names.
"""

import collections
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes_file import PersonBoxes
from liftjax.inference.results import Source


def frame_numbers(found: PersonBoxes, source: Source) -> np.ndarray:
    """(N,) index of the frame of each box, -1 where the source has none.

    Warns on stderr if some boxes are of no frame, or if pictures were found in another folder.

    Raises:
      LiftjaxError: no box is of the source, a box may be of several frames, or several pictures of
        the file may be one frame.
    """
    names = getattr(source, "names", None)  # pictures have names
    if names is None:
        number = _by_number(found, source)
    elif len(names) == 1 and len(set(found.ids)) == 1 and not found.files:
        number = {found.ids[0]: 0}
    else:
        number = _by_name(found, source)
    frames = np.array([number.get(image_id, -1) for image_id in found.ids], np.int64)
    unknown = np.flatnonzero(frames < 0)
    if len(unknown):
        _report_unknown(found, unknown, source)
    return frames


# Videos


def _by_number(found: PersonBoxes, source: Source) -> dict:
    """Frame number by image id; numbers beyond the video's end, where known, are left out."""
    count = len(source) if source.counted else 0
    mine = _of_video(found, source) if found.files else found.files
    numbers = {i: _last_number(mine[i]) for i in set(found.ids) & mine.keys()}
    numbers |= {i: i for i in set(found.ids) - found.files.keys()}
    numbers = {i: int(number) for i, number in numbers.items() if str(number).isdecimal()}
    if count and numbers and min(numbers.values()) > 0 and max(numbers.values()) == count:
        raise LiftjaxError(
            f"{found.path}: its frames are {min(numbers.values())} to {count}, those of "
            f"{source.given} 0 to {count - 1}; it seems to count from 1, number its frames from 0."
        )
    return {i: number for i, number in numbers.items() if number < count or not count}


def _of_video(found: PersonBoxes, source: Source) -> Mapping:
    """The file's names that are frames of the video, by image id."""
    title = Path(source.given).stem
    parts = {i: _parts(name) for i, name in found.files.items()}
    in_folders = any(len(each) > 1 for each in parts.values())
    mine = {i: found.files[i] for i, each in parts.items() if title in (*each[:-1], _stub(each))}
    if not mine and in_folders:
        raise LiftjaxError(
            f"{found.path}: no name of its pictures, such as {next(iter(found.files.values()))}, "
            f"has that of {source.given}; call their folder {title}, or leave folders out."
        )
    mine = mine or found.files
    name_of: dict = {}
    for name in mine.values():
        number = _last_number(name)
        if number is not None and _parts(name_of.setdefault(number, name)) != _parts(name):
            raise LiftjaxError(
                f"{found.path}: {name_of[number]} and {name} would both be frame {number} of "
                f"{source.given}; leave one of them out, or put each video's frames into a folder "
                "with its name."
            )
    return mine


def _stub(parts: Sequence[str]) -> str:
    """The part of a file's name before the number."""
    return re.sub(r"[0-9]+[^0-9]*$", "", Path(parts[-1]).stem).rstrip("_-. ")


# Pictures


def _by_name(found: PersonBoxes, source: Source) -> dict:
    """Index of the picture by image id; ids without a picture are left out."""
    if found.files:
        return _by_path(found, found.files, source)
    names = source.names
    index = {}
    for keys in (map(_last_number, names), [Path(name).stem for name in names], names):
        index |= _unambiguous(keys)
    paths = {i: i for i in found.ids if isinstance(i, str) and len(_parts(i)) > 1}
    by_path = _by_path(found, paths, source) if paths else {}
    return {i: index[i] for i in set(found.ids) if i in index} | by_path


def _by_path(found: PersonBoxes, files: Mapping, source: Source) -> dict:
    """Index of the picture by image id.

    Paths must agree in their last parts, in as many as make the names of the file differ.
    """
    parts = {i: _parts(name) for i, name in files.items()}
    depth = _telling(set(parts.values()))
    ids = collections.defaultdict(list)
    for i in set(found.ids) & parts.keys():
        ids[parts[i][-depth:]].append(i)
    places = collections.defaultdict(list)
    known = {each[-depth:] for each in parts.values()}
    for place, (path, name) in enumerate(zip(source.paths, source.names, strict=True)):
        own = _parts(os.path.abspath(path))
        ends = (*(own[-n:] for n in range(depth, 0, -1)), (name,))
        end = next((end for end in ends if end in known), None)
        if end in ids:
            places[end].append(place)
    for end, several in places.items():
        if len(several) > 1:
            a, b = (source.paths[place] for place in several[:2])
            raise LiftjaxError(
                f"{found.path}: {files[ids[end][0]]} may be {a} or {b}; give its file_name the "
                "folder."
            )
    index = {i: places[end][0] for end in places for i in ids[end]}
    _warn_of_folders(found, files, index, source)
    return index


def _telling(names: set[tuple[str, ...]]) -> int:
    """The number of last parts in which all names differ."""
    longest = max(map(len, names))
    depths = range(1, longest)
    return next((n for n in depths if len({name[-n:] for name in names}) == len(names)), longest)


def _warn_of_folders(found: PersonBoxes, files: Mapping, index: Mapping, source: Source):
    """Warns on stderr that pictures were found by their names though their folders differ."""
    ends = {
        i: (_parts(files[i])[-2:], _parts(os.path.abspath(source.paths[index[i]]))[-2:])
        for i in index
    }
    differ = [i for i, (theirs, own) in ends.items() if len(theirs) > 1 and theirs != own]
    if differ:
        i = differ[0]
        print(
            f"{found.path}: {len(differ)} of its pictures have the name of an input but another "
            f"folder; the boxes of {files[i]} are used for {source.paths[index[i]]}.",
            file=sys.stderr,
        )


def _unambiguous(keys: Iterable) -> dict:
    """Index by key, for keys that occur once; a key of two pictures identifies neither."""
    places = collections.defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    return {key: found[0] for key, found in places.items() if len(found) == 1 and key is not None}


# Names


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path, with slashes or backslashes."""
    return tuple(part for part in re.split(r"[/\\]", name) if part not in ("", ".")) or (name,)


def _last_number(name: str) -> int | None:
    digits = re.findall(r"[0-9]+", Path(name).stem)
    return int(digits[-1]) if digits else None


def _report_unknown(found: PersonBoxes, unknown: np.ndarray, source: Source) -> None:
    """Raises a LiftjaxError if no box is of the source; warns if some are not."""
    example = found.ids[unknown[0]]
    example = f"{example} ({found.files[example]})" if example in found.files else example
    last = f" to {len(source) - 1}" if len(source) else ""
    frames = f"numbered from 0{last}"
    if names := getattr(source, "names", None):
        own = _parts(os.path.abspath(source.paths[0]))
        frames = f"such as {'/'.join(own[-2:]) if found.files else names[0]}"
    if len(unknown) == len(found.ids):
        raise LiftjaxError(
            f"{found.path}: its image_id, such as {example}, are of no frame of {source.given}, "
            f"whose frames are {frames}."
        )
    print(
        f"{found.path}: {len(unknown)} of {len(found.ids)} boxes are of no frame of "
        f"{source.given}, such as image_id {example}; they are left out.",
        file=sys.stderr,
    )
