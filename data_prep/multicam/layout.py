"""Finds recordings below a directory: which file belongs to which camera.

    SOURCE/                      one recording, or several at any depth, as Pose2Sim lays them out:
      calibration/Calib.toml     *.toml or *.qca.txt; also in SOURCE, or in each recording
      Walking/                   a recording: the folder that holds videos/ and pose/
        videos/cam01.mp4 ...     one video a camera
        pose/cam01_json/ ...     one folder a camera, or one file (cam01.json)

The calibration nearest to the recording counts: in its folder or a folder *calib* in it, else in
the folder above, up to SOURCE. If there is a .toml file, .qca.txt files beside it are ignored, as
Pose2Sim does. Cameras, videos and detections are matched by name, disregarding case, signs between,
zeros in front and "_json"; else by a name that is part of the other; else by the last number.
A camera that the calibration lists but that is not calibrated is left out, unless it has footage.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_prep.building import Problem
from data_prep.multicam.calibration import Camera, is_calibration, read_cameras
from liftjax.errors import LiftjaxError

_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".webm")


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
    """What belongs to one recording; the c-th of everything is of the c-th camera.

    Attributes:
      name: its path below the source. subject, action: names for the records, of its folder and the
        one above. trial: from 1 on, of recordings with the same names.
      source: where recordings were looked for. folder: of the recording. calibration: the file.
      cameras: calibrated ones that have footage. videos: files.
      detections: a folder or file each.
      problems: what was noticed.
    """

    name: str
    subject: str
    action: str
    source: Path
    folder: Path
    calibration: Path
    cameras: tuple[Camera, ...]
    videos: tuple[Path, ...]
    detections: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()
    trial: int = 1

    def shown(self, path: Path) -> str:
        """A file as problems name it."""
        return str(path.relative_to(self.source))


def find_recordings(
    source,
    calibration=None,
    cameras: Sequence[str] = (),
    unit: str = "m",
    only: str | None = None,
    names: tuple[str, str] | None = None,
) -> tuple[list[Files], list[Problem]]:
    """The recordings of a directory in the order of their names, and what was passed over.

    Args:
      source: the directory.
      calibration: the file for all recordings; None to look for it.
      cameras: the ones to use, by their names in the calibration; NAME=FILE also says how the
        video and the detections are called. Empty for all.
      unit: of the calibration's lengths, as for :func:`calibration.read_cameras`.
      only: the path of one recording below the source, to take it alone.
      names: subject and action to give the records.
    """
    source = Path(source)
    if not source.is_dir():
        raise LiftjaxError(f"No such directory: {source}.")
    folders = _recording_folders(source) if only is None else [source / only]
    if not folders:
        raise LiftjaxError(
            f"{source} holds no recording: expected folders videos/ and pose/ in it or in folders "
            "below."
        )
    without = [folder for folder in folders if not (folder / "pose").is_dir()]
    if len(without) == len(folders):
        raise LiftjaxError(
            f"{without[0] / 'pose'} is missing: expected a folder of 2D detections for each camera;"
            " run a detector (OpenPose, RTMPose) on the videos."
        )
    problems = [
        Problem("recording without detections", str(folder.relative_to(source)), None, "", 0)
        for folder in without
    ]
    found = [
        _files(source, folder, calibration, cameras, unit, names)
        for folder in folders
        if folder not in without
    ]
    return _numbered(found), problems


def _numbered(found: Sequence[Files]) -> list[Files]:
    """With trials, so that no two recordings have all names in common."""
    names = [(files.subject, files.action) for files in found]
    return [
        dataclasses.replace(files, trial=1 + names[:i].count(names[i]))
        for i, files in enumerate(found)
    ]


def _recording_folders(source: Path) -> list[Path]:
    if any((source / name).is_dir() for name in ("videos", "pose")):
        return [source]
    found = {
        path.parent
        for name in ("videos", "pose")
        for path in source.rglob(name)
        if path.is_dir() and not any(p.startswith(".") for p in path.relative_to(source).parts)
    }
    return sorted(found)


def _files(source: Path, folder: Path, calibration, cameras, unit: str, names) -> Files:
    calibration = Path(calibration) if calibration else _nearest_calibration(source, folder)
    whole, unusable = read_cameras(calibration, unit)
    known = {camera.name: camera for camera in whole}
    videos = _by_stem(
        file for file in _visible(folder / "videos") if file.suffix.lower() in _VIDEOS
    )
    detections = _by_stem(
        path for path in _visible(folder / "pose") if path.is_dir() or path.suffix == ".json"
    )
    chosen, aliases = _chosen(cameras, [*known, *unusable], calibration)
    _check_usable(calibration, unusable, chosen if cameras else ())
    what = f"{calibration} and of {folder}"
    video_of = _match(chosen, aliases, videos, f"{what}/videos", bool(cameras))
    detections_of = _match(chosen, aliases, detections, f"{what}/pose", bool(cameras))
    _check_usable(calibration, unusable, [*video_of, *detections_of])
    chosen = [name for name in chosen if name in known]
    _check_both(folder, chosen, video_of, detections_of, bool(cameras))
    used = [name for name in chosen if name in video_of]
    if len(used) < 2:
        raise LiftjaxError(
            f"{folder} has footage of {len(used)} calibrated camera; triangulation needs two."
        )
    path = folder.relative_to(source)
    name = str(path) if path.parts else source.resolve().name
    action = Path(name).name
    subject = path.parts[-2] if len(path.parts) > 1 else action
    if names:
        subject, action = names
    return Files(
        name=name,
        subject=subject,
        action=action,
        source=source,
        folder=folder,
        calibration=calibration,
        cameras=tuple(known[name] for name in used),
        videos=tuple(video_of[name] for name in used),
        detections=tuple(detections_of[name] for name in used),
        problems=(
            *(
                Problem("camera without footage", str(path), None, name, 0)
                for name in known
                if name not in used
            ),
            *(
                Problem("camera left out", str(path), None, f"{name}: {why}", 0)
                for name, why in unusable.items()
            ),
        ),
    )


def _visible(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if not path.name.startswith(".")]


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Folders by name and files by name without ending: each is a camera's."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise LiftjaxError(f"{found[name]} and {path} are of one camera; move one away.")
        found[name] = path
    return found


def _nearest_calibration(source: Path, folder: Path) -> Path:
    places = [folder, *(p for p in folder.parents if p.is_relative_to(source))]
    for place in places:
        inside = [p for p in _visible(place) if p.is_dir() and "calib" in p.name.lower()]
        for where in (place, *inside):
            found = [file for file in _visible(where) if file.is_file() and is_calibration(file)]
            tomls = [file for file in found if file.suffix == ".toml"]
            found = tomls or found
            if len(found) > 1:
                raise LiftjaxError(
                    f"{where} holds {len(found)} calibrations ({_listed(f.name for f in found)}); "
                    "choose one with --calibration FILE."
                )
            if found:
                return found[0]
    raise LiftjaxError(
        f"The calibration is missing: expected {source}/calibration/NAME.toml or NAME.qca.txt, "
        "there or in the recording's folder."
    )


def _chosen(
    cameras: Sequence[str], known: Sequence[str], calibration: Path
) -> tuple[list[str], dict[str, str]]:
    """Names of the cameras to use, and what --cameras says of their files' names."""
    if not cameras:
        return list(known), {}
    aliases = dict(c.split("=", 1) for c in cameras if "=" in c)
    names = [c.split("=", 1)[0] for c in cameras]
    for name in names:
        if name not in known:
            raise LiftjaxError(
                f"{calibration} has no camera {name!r}; its cameras are {_listed(known)}."
            )
    return [name for name in known if name in names], aliases


def _match(
    names: Sequence[str], aliases: Mapping[str, str], files: Mapping[str, Path], what: str, some
) -> dict[str, Path]:
    """Camera name -> file, by the first rule under which they pair off.

    Args:
      some: whether files may be left over, since the user chose the cameras.
    """
    given = {n: [s for s in files if n in aliases and _same(aliases[n], s)] for n in names}
    given = {name: stems[0] for name, stems in given.items() if len(stems) == 1}
    left = [name for name in names if name not in given]
    others = [stem for stem in files if stem not in given.values()]
    for rule in (_same, _same_part, _contained, _same_number):
        pairs = [(n, s) for n in left for s in others if rule(aliases.get(n, n), s)]
        matched_names, matched_files = [n for n, _ in pairs], [s for _, s in pairs]
        one_to_one = len(set(matched_names)) == len(set(matched_files)) == len(pairs)
        # Files of cameras that were not chosen may be left over.
        whole = len(pairs) == len(left if some else others) or (some and rule is _same and pairs)
        if one_to_one and whole:
            return {name: files[stem] for name, stem in [*given.items(), *pairs]}
    if not files:
        return {}
    raise LiftjaxError(
        f"The names of {what} do not pair off: cameras {_listed(names)}; files {_listed(files)}. "
        "Say which belong together with --cameras CAMERA=FILE CAMERA=FILE ..."
    )


def _check_usable(calibration: Path, unusable: Mapping[str, str], wanted: Iterable[str]) -> None:
    """Raises if a camera is wanted, or has footage, with which something is wrong."""
    for name in wanted:
        if name in unusable:
            raise LiftjaxError(
                f"{calibration}, {unusable[name].removesuffix('.')}. Calibrate it, or leave it out:"
                " --cameras with the names of the others."
            )


def _check_both(folder: Path, names, video_of, detections_of, chosen: bool) -> None:
    """Raises if a camera has a video or detections, but not both."""
    for name in names:
        for kind, of, place in (
            ("video", video_of, folder / "videos"),
            ("folder of detections", detections_of, folder / "pose"),
        ):
            other = detections_of if of is video_of else video_of
            if name not in of and (chosen or name in other):
                near = f"beside {other[name].name} " if name in other else ""
                raise LiftjaxError(
                    f"The {kind} of camera {name} is missing: expected {near}in {place}, which has "
                    f"{_listed(sorted(p.name for p in of.values())) or 'nothing'}; or leave the "
                    "camera out: --cameras with the names of the others."
                )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


# Rules of names


def _key(name: str) -> str:
    """Lower case, without "pose_", "_json", signs and leading zeros."""
    name = re.sub(r"^pose_|[_.]?(json|keypoints|predictions)$", "", name.lower())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=\d)[^a-z0-9]+(?=\d)", "x", name)).translate(
        _SIGNS
    )


_SIGNS = {ord(sign): None for sign in " _-.+()[]"}


def _same(name: str, stem: str) -> bool:
    return _key(name) == _key(stem)


def _same_part(name: str, stem: str) -> bool:
    parts = {_key(part) for part in re.split(r"[^A-Za-z0-9]+", stem)}
    return bool(parts & {_key(name), "cam" + _key(name)})


def _contained(name: str, stem: str) -> bool:
    return bool(re.search(rf"(?<![0-9]){re.escape(_key(name))}(?![0-9])", _key(stem)))


def _same_number(name: str, stem: str) -> bool:
    a, b = (re.findall(r"\d+", _key(text)) for text in (name, stem))
    return bool(a and b) and a[-1] == b[-1]
