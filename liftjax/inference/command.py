"""`predict`: pictures, videos and a camera in, keypoints and poses out.

It goes over a source in passes, each in constant memory: boxes, tracks and keypoints of every
frame into rows on disk; the lifters over those rows; and the writers of files, which read the
source again where they show it.
"""

import collections
import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import liftjax
from liftjax.data.prefetch import Prefetch
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.inference import boxes, placing, sources, yolox
from liftjax.inference.detection import Detection
from liftjax.inference.lifting import Lifting, load_lifters
from liftjax.inference.outputs import bvh, json_file, npz, overlay, page
from liftjax.inference.outputs.files import picture_stems
from liftjax.inference.outputs.rig import joint_tree
from liftjax.inference.results import FRAME_DTYPE, Frame, Result, Source, row_dtype
from liftjax.inference.store import Store
from liftjax.inference.tracking import Tracker
from liftjax.names import readable

_READ_AHEAD = 4  # frames
_BLOCK = 4096  # rows of pictures lifted at a time
_PATIENCE_S = 0.5  # how long a person may be out of sight
_USUAL_FPS = 25

Writer = Callable[[Result, Path], Sequence[Path]]
"""Writes RESULT to files that begin with STEM and returns their paths."""

OUTPUTS: dict[str, Writer] = {
    "json": json_file.write,
    "npz": npz.write,
    "bvh": bvh.write,
    "overlay": overlay.write,
    "html": page.write,
}

GetBoxes = Callable[[Frame], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class BoxOptions:
    """Where people are: at most one of these; none: everybody fills the whole frame.

    Attributes:
      file: detections in COCO's form. fixed: "x0,y0,x1,y1" each. detector: an ONNX file.
      least_score: of a detection to count.
    """

    file: str | None = None
    fixed: Sequence[str] = ()
    detector: str | None = None
    least_score: float = 0.5

    def open(self) -> Callable[[Source], GetBoxes]:
        """What gives a source its boxes; reads and checks the files named."""
        if sum(map(bool, (self.file, self.fixed, self.detector))) > 1:
            raise LiftjaxError("Give one of --boxes, --box and --person-detector.")
        if not 0 <= self.least_score <= 1:
            raise LiftjaxError(f"--least-score {self.least_score:g}: scores are from 0 to 1.")
        if self.file:
            return boxes.read_detections(self.file, self.least_score)
        if self.fixed:
            fixed = boxes.FixedBoxes(self.fixed)
            return lambda source: fixed
        if self.detector:
            find = yolox.PersonDetector(self.detector, self.least_score)
            return lambda source: find
        return lambda source: boxes.whole_frame


def run(
    inputs: Sequence[str],
    out: str,
    *,
    detector: str,
    lifters: Sequence[str] = (),
    where: BoxOptions = BoxOptions(),
    fps: float | None = None,
    focal_px: float | None = None,
    beta: float | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    write: Sequence[str] | None = None,
) -> None:
    """Predicts every input and writes its files into the directory `out`.

    Args:
      inputs: pictures, folders of pictures, videos, or the number of a camera.
      detector, lifters: run directories or checkpoints. where: the people's boxes.
      fps: makes a folder of pictures a video. focal_px: of the camera, in pixels.
      beta, batch_size, precision: see :class:`liftjax.Predictor`.
      write: names in OUTPUTS; None: all that there can be.

    Raises:
      LiftjaxError: input that cannot be read, checkpoints that are none or do not fit.
    """
    writers = _writers(write, bool(lifters))
    if focal_px is not None and not 0 < focal_px < float("inf"):
        raise LiftjaxError(f"A focal length of {focal_px:g} pixels; take a number above 0.")
    folder = Path(out).expanduser()
    opened = sources.open_sources(inputs, fps, record_to=folder / "camera.mp4")
    stems = _stems(opened)
    _check_keeps_inputs(folder, inputs, opened, stems, where.file, writers)
    boxes_of = where.open()
    detection = Detection.load(detector, batch_size, beta, precision)
    loaded = load_lifters(lifters)
    # A picture has no frames around it: sliding lifters are to give one at a time.
    options = {True: {}, False: {"slide": 1}}
    kinds = {source.is_video for source in opened}
    liftings = {kind: Lifting(loaded, detection.skeleton, **options[kind]) for kind in kinds}
    if loaded and "bvh" in writers:
        for lifting in liftings.values():
            joint_tree(lifting.skeleton)  # raises now rather than after a long video
    if "overlay" in writers and True in kinds:
        from liftjax.inference import video_file  # noqa: F401  (raises now if PyAV is missing)
    about = {
        "liftjax": liftjax.__version__,
        "checkpoints": {"detector": readable(detector), "lifters": [*map(readable, lifters)]},
        "beta": detection.beta,
    }
    _make_folder(folder)
    for source, own_stems in zip(opened, stems, strict=True):
        lifting = liftings[source.is_video]
        with tempfile.TemporaryDirectory(prefix=".predict-", dir=folder) as scratch:
            result = Result(
                source=source,
                **_detect(source, boxes_of(source), detection, lifting, Path(scratch)),
                detector=detection.name,
                lifters=lifting.names,
                skeleton_2d=detection.skeleton,
                skeleton_3d=lifting.skeleton,
                focal_px=focal_px,
                about=about,
                stems=own_stems,
            )
            _lift(result, lifting)
            print(_summary(result, _write(result, folder / source.name, writers)))
            del result  # some systems delete no file that is mapped into memory


def _writers(names: Sequence[str] | None, lifted: bool) -> dict[str, Writer]:
    """Those of OUTPUTS that were asked for, or else all."""
    for name in names or ():
        if name not in OUTPUTS:
            raise unknown_name("output", name, OUTPUTS)
    if names and "bvh" in names and not lifted:
        raise LiftjaxError("BVH files hold poses in 3D; give --lifter too.")
    return {name: OUTPUTS[name] for name in names or OUTPUTS}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiftjaxError(
            f"{folder}: no folder can be made here: {error.strerror}; choose another --out."
        ) from None


def _stems(opened: Sequence[Source]) -> list[tuple[str, ...]]:
    """What the files of each source's pictures are called, all different; none of a video."""
    found, taken = [], set()
    for source in opened:
        others = {other.name for other in opened if other is not source}
        names = () if source.is_video else source.names
        found.append(tuple(picture_stems(names, taken | others)))
        taken |= set(found[-1])
    return found


def _check_keeps_inputs(
    folder: Path,
    inputs: Sequence[str],
    opened: Sequence[Source],
    stems: Sequence[Sequence[str]],
    boxes_file: str | None,
    outputs: Container[str],
) -> None:
    """Raises where what is written would replace what is read, or be read the next time."""
    if folder.is_dir() and folder.resolve() in {Path(given).resolve() for given in inputs}:
        raise LiftjaxError(
            f"{folder}: is read, so that what is written there would be input the next time; "
            f"choose another --out, such as {folder / 'poses'}."
        )
    endings = {"json": ".json", "npz": ".npz", "html": ".html", "overlay": "_poses.mp4"}
    names = [source.name + endings[one] for source in opened for one in endings if one in outputs]
    if "overlay" in outputs:
        names += [f"{stem}_poses.jpg" for some in stems for stem in some]
    written = {(folder / name).resolve() for name in names}
    read = [Path(boxes_file)] if boxes_file else []
    for source in opened:
        read += source.paths if isinstance(source, sources.Pictures) else [source.path]
    for path in read:
        if path.resolve() in written:
            raise LiftjaxError(f"{path}: would be written over; choose another --out.")


def _detect(
    source: Source, get_boxes: GetBoxes, detection: Detection, lifting: Lifting, scratch: Path
) -> dict:
    """The first pass: rows without poses, sizes and names of the frames."""
    dtype = row_dtype(
        detection.skeleton.num_joints, len(lifting.names), lifting.skeleton.num_joints
    )
    rows, sizes = Store(scratch / "rows", dtype), Store(scratch / "frames", FRAME_DTYPE)
    names = () if source.is_video else source.names
    waiting: collections.deque[np.ndarray] = collections.deque()

    def pictures(frames: Iterator[Frame]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first = tracker = None
        for frame in frames:
            if source.is_video and first is None:  # before, a camera does not know its rate
                tracker = Tracker(round((source.fps or _USUAL_FPS) * _PATIENCE_S))
            first = first or frame
            if tracker and frame.size != first.size:
                raise _another_size(source, first, frame)
            found, scores = get_boxes(frame)
            people = np.zeros(len(found), dtype)
            people["frame"], people["box_xyxy"], people["box_score"] = frame.index, found, scores
            people["track"] = tracker.update(found, scores) if tracker else np.arange(len(found))
            people["pose_m"] = people["root_m"] = np.nan
            waiting.append(people[np.argsort(people["track"])])
            sizes.append(np.zeros(frame.index - len(sizes), FRAME_DTYPE))  # not readable
            sizes.append(np.array([frame.size], FRAME_DTYPE))
            yield frame.image, waiting[-1]["box_xyxy"]

    bar = _bar(len(source), f"{source.name}: detecting", "frames")
    with rows, sizes, bar, _ahead(source) as frames:
        for kpts_px, scores in detection.find(pictures(frames)):
            people = waiting.popleft()
            people["kpts_px"], people["kpt_score"] = kpts_px, scores
            rows.append(people)
            bar.update()
        sizes.append(np.zeros(max(0, len(names) - len(sizes)), FRAME_DTYPE))
    named = tuple(map(readable, names))
    return {"rows": rows.rows(), "frames": sizes.rows(), "names": named}


def _another_size(source: Source, first: Frame, frame: Frame) -> LiftjaxError:
    sizes = [f"{width} x {height}" for width, height in (first.size, frame.size)]
    return LiftjaxError(
        f"{source.given}: frame {frame.name} has {sizes[1]} pixels, the frames before {sizes[0]}; "
        "a video has one size (pictures that do not follow each other: leave out --fps)."
    )


@contextlib.contextmanager
def _ahead(source: Source) -> Iterator[Iterator[Frame]]:
    """The frames of a source, decoded while the detector works; a camera has its own pace."""
    if isinstance(source, sources.Camera):
        yield source.frames()
        return
    with Prefetch(source.frames(), _READ_AHEAD, put=lambda frame: frame) as frames:
        yield frames


def _lift(result: Result, lifting: Lifting) -> None:
    """The second pass: poses and places into the rows."""
    rows = result.rows
    if not lifting.names:
        return
    size_F2 = np.stack([result.frames["width"], result.frames["height"]], axis=1)
    lifted = lifting.video(rows, size_F2) if result.source.is_video else _alone(result, lifting)
    with _bar(len(rows), f"{result.source.name}: lifting", "poses") as bar:
        for positions, pose_m_NLJ3 in lifted:
            some = rows[positions]
            size_N2 = size_F2[some["frame"]]
            focal_N = placing.focal_px(size_N2, result.focal_px)
            kpts_px_NJ2, weight_NJ = lifting.joints(some["kpts_px"], some["kpt_score"])
            root_m_NL3 = np.stack(
                [
                    placing.place(pose_m_NJ3, kpts_px_NJ2, weight_NJ, focal_N, (size_N2 - 1) / 2)
                    for pose_m_NJ3 in pose_m_NLJ3.swapaxes(0, 1)
                ],
                axis=1,
            )
            rows["pose_m"][positions], rows["root_m"][positions] = pose_m_NLJ3, root_m_NL3
            bar.update(len(positions))


def _alone(result: Result, lifting: Lifting) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(result.rows), _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, len(result.rows)))
        some = result.rows[positions]
        sizes = result.frames[some["frame"]]
        size_N2 = np.stack([sizes["width"], sizes["height"]], axis=1)
        yield positions, lifting.people(some["kpts_px"], size_N2)


def _write(result: Result, stem: Path, writers: Mapping[str, Writer]) -> list[Path]:
    """The last pass: the files, with a bar for each that reads the source again."""
    written = []
    for name, write in writers.items():
        shown = _Shown(result.source, f"{result.source.name}: writing {name}")
        written += write(dataclasses.replace(result, source=shown), stem)
    return written


class _Shown:
    """A source whose reading shows a bar."""

    def __init__(self, source: Source, what: str):
        self._source, self._what = source, what

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    def __len__(self) -> int:
        return len(self._source)

    def frames(self) -> Iterator[Frame]:
        with _bar(len(self), self._what, "frames") as bar:
            for frame in self._source.frames():
                yield frame
                bar.update()


def _summary(result: Result, written: Sequence[Path]) -> str:
    people, frames = len(result.rows), len(result.frames)
    if not people:
        print(f"{result.source.given}: no people in {frames} frames.", file=sys.stderr)
    what = f"{_count(frames, 'frame')}, {_count(people, 'pose')}"
    if result.source.is_video:
        what += f", {_count(len(result.tracks()), 'track')}"
    lines = [f"{result.source.given}: {what}"]
    return "\n  ".join([*lines, *map(str, written)])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _bar(total: int, what: str, unit: str) -> tqdm:
    return tqdm(total=total or None, desc=what, unit=f" {unit}", delay=1)
