"""Finds recordings below a directory: which file belongs to which camera.

    SOURCE/                      one recording, or several at any depth, as Pose2Sim lays them out:
      calibration/Calib.toml     *.toml or *.qca.txt; also in SOURCE, or in each recording
      Walking/                   a recording: the folder that holds videos/ and pose/
        videos/cam01.mp4 ...     one video per camera
        pose/cam01_json/ ...     one folder per camera, or one file (cam01.json)

The calibration nearest to the recording counts: in its folder or a folder *calib* in it, else in
the folder above, up to SOURCE. If there is a .toml file, .qca.txt files beside it are ignored, as
in Pose2Sim. Cameras, videos and detections are matched by name, without regard to case, signs
between, leading zeros and "_json"; else by a name that is part of the other; else by the last
number. A camera that is listed but not calibrated is left out, unless it has footage.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_prep.building import Problem
from data_prep.cameras import CalibratedCamera
from data_prep.multicam.calibration import is_calibration, read_cameras
from liftjax.errors import LiftjaxError

_VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".mpg", ".webm")
_LEAVE_OUT = "leave the camera out: --cameras with the names of the others."


@dataclasses.dataclass(frozen=True, eq=False)
class RecordingFiles:
    """What belongs to one recording. Entry c of each sequence is of camera c.

    Attributes:
      name: its path below the source.
      subject, action: names for the records: of the folder above, and of its own folder.
      source: where recordings were looked for.
      folder: of the recording.
      calibration: the file.
      cameras: calibrated cameras that have footage.
      videos: files.
      detections: folders or files.
      problems: what was noticed.
      trial: number, from 1 on, of recordings with the same subject and action.
    """

    name: str
    subject: str
    action: str
    source: Path
    folder: Path
    calibration: Path
    cameras: tuple[CalibratedCamera, ...]
    videos: tuple[Path, ...]
    detections: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()
    trial: int = 1

    def shown(self, path: Path) -> str:
        """A file as problems name it."""
        return str(path.relative_to(self.source))

    @property
    def pose_folder(self) -> str:
        """The folder of all detections as problems name it."""
        return self.shown(self.folder / "pose")


def find_recordings(
    source,
    calibration=None,
    cameras: Sequence[str] = (),
    unit: str = "m",
    only: str | None = None,
    names: tuple[str, str] | None = None,
) -> tuple[list[RecordingFiles], list[Problem]]:
    """The recordings of a directory in the order of their names, and what was ignored.

    Args:
      source: the directory.
      calibration: the file for all recordings; None to look for it.
      cameras: names in the calibration of the cameras to use; empty for all. NAME=FILE also says
        what the video and the detections are called.
      unit: of the calibration's lengths, as for :func:`calibration.read_cameras`.
      only: the path of one recording below the source, to take no other.
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
    found, taken = [], []
    for folder in folders:
        if folder not in without:
            files = _recording_files(source, folder, calibration, cameras, unit, names)
            taken.append((files.subject, files.action))
            found.append(dataclasses.replace(files, trial=taken.count(taken[-1])))
    return found, [
        Problem("recording without detections", str(folder.relative_to(source)), dropped=0)
        for folder in without
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


def _recording_files(
    source: Path, folder: Path, calibration, cameras: Sequence[str], unit: str, names
) -> RecordingFiles:
    calibration = Path(calibration) if calibration else _nearest_calibration(source, folder)
    whole, unusable = read_cameras(calibration, unit)
    known = {camera.name: camera for camera in whole}
    chosen, aliases = _chosen_cameras(cameras, [*known, *unusable], calibration)
    _check_usable(calibration, unusable, chosen if cameras else ())

    def match(place: str, files: Iterable[Path]) -> dict[str, Path]:
        what = f"{calibration} and of {folder}/{place}"
        return _match(chosen, aliases, _by_stem(files), what, bool(cameras))

    paths = {place: _visible(folder / place) for place in ("videos", "pose")}
    videos = match("videos", (p for p in paths["videos"] if p.suffix.lower() in _VIDEOS))
    detections = match("pose", (p for p in paths["pose"] if p.is_dir() or p.suffix == ".json"))
    _check_usable(calibration, unusable, [*videos, *detections])
    chosen = [name for name in chosen if name in known]
    _check_both(folder, chosen, videos, detections, bool(cameras))
    used = [name for name in chosen if name in videos]
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
    idle = [("camera without footage", name) for name in known if name not in used]
    idle += [("camera left out", f"{name}: {why}") for name, why in unusable.items()]
    return RecordingFiles(
        name=name,
        subject=subject,
        action=action,
        source=source,
        folder=folder,
        calibration=calibration,
        cameras=tuple(known[name] for name in used),
        videos=tuple(videos[name] for name in used),
        detections=tuple(detections[name] for name in used),
        problems=tuple(Problem(kind, str(path), None, detail, 0) for kind, detail in idle),
    )


def _visible(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if not path.name.startswith(".")]


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Folders by name and files by name without ending: each belongs to a camera."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise LiftjaxError(f"{found[name]} and {path} are of one camera; move one away.")
        found[name] = path
    return found


def _nearest_calibration(source: Path, folder: Path) -> Path:
    for place in (folder, *(p for p in folder.parents if p.is_relative_to(source))):
        inside = [p for p in _visible(place) if p.is_dir() and "calib" in p.name.lower()]
        for where in (place, *inside):
            found = [file for file in _visible(where) if file.is_file() and is_calibration(file)]
            found = [file for file in found if file.suffix == ".toml"] or found
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


def _chosen_cameras(
    cameras: Sequence[str], known: Sequence[str], calibration: Path
) -> tuple[list[str], dict[str, str]]:
    """Names of the cameras to use, and what --cameras says their files are called."""
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
    names: Sequence[str],
    aliases: Mapping[str, str],
    files: Mapping[str, Path],
    what: str,
    chosen: bool,
) -> dict[str, Path]:
    """Camera name -> file, by the first rule under which they pair off.

    Args:
      chosen: whether the user chose the cameras, so that files of others may be left over.
    """
    given = {n: [s for s in files if n in aliases and _same(aliases[n], s)] for n in names}
    given = {name: stems[0] for name, stems in given.items() if len(stems) == 1}
    left = [name for name in names if name not in given]
    others = [stem for stem in files if stem not in given.values()]
    for rule in (_same, _same_part, _contained, _same_number):
        pairs = [(n, s) for n in left for s in others if rule(aliases.get(n, n), s)]
        matched_names, matched_files = ({pair[i] for pair in pairs} for i in (0, 1))
        one_to_one = len(matched_names) == len(matched_files) == len(pairs)
        whole = len(pairs) == len(left if chosen else others)
        if one_to_one and (whole or (chosen and rule is _same and pairs)):
            return {name: files[stem] for name, stem in [*given.items(), *pairs]}
    if not files:
        return {}
    raise LiftjaxError(
        f"The names of {what} do not pair off: cameras {_listed(names)}; files {_listed(files)}. "
        "Say which belong together with --cameras CAMERA=FILE CAMERA=FILE ..."
    )


def _check_usable(calibration: Path, unusable: Mapping[str, str], wanted: Iterable[str]) -> None:
    """Raises if a camera that is wanted, or has footage, cannot be used."""
    for name in wanted:
        if name in unusable:
            why = unusable[name].removesuffix(".")
            raise LiftjaxError(f"{calibration}, {why}. Calibrate it, or {_LEAVE_OUT}")


def _check_both(folder: Path, names, videos, detections, chosen: bool) -> None:
    """Raises if a camera has a video or detections, but not both."""
    kinds = (
        ("video", videos, detections, folder / "videos"),
        ("folder of detections", detections, videos, folder / "pose"),
    )
    for name in names:
        for kind, files, others, place in kinds:
            if name not in files and (chosen or name in others):
                near = f"beside {others[name].name} " if name in others else ""
                there = _listed(sorted(file.name for file in files.values())) or "nothing"
                raise LiftjaxError(
                    f"The {kind} of camera {name} is missing: expected {near}in {place}, which has "
                    f"{there}; or {_LEAVE_OUT}"
                )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


# Rules of names


def _key(name: str) -> str:
    """Lower case, without "pose_", "_json", signs and leading zeros."""
    name = re.sub(r"^pose_|[_.]?(json|keypoints|predictions)$", "", name.lower())
    name = re.sub(r"(?<=\d)[^a-z0-9]+(?=\d)", "x", name)
    return re.sub(r"[ _\-.+()\[\]]", "", re.sub(r"(?<!\d)0+(?=\d)", "", name))


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
