"""`predict`: pictures, videos and a camera in, keypoints and poses out.

It makes three passes over a source, each in constant memory. The first writes boxes, tracks and
keypoints of every frame into rows on disk, the second adds the lifters' poses to those rows, and
the third writes the output files; those that show the frames read the source again.
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
from liftjax.errors import LiftjaxError, check_name
from liftjax.inference import boxes, placing, sources, trust, yolox
from liftjax.inference.detection import BatchDetector
from liftjax.inference.files import picture_stems
from liftjax.inference.lifting import Lifting, load_lifters
from liftjax.inference.outputs import bvh, json_file, npz, overlay, page
from liftjax.inference.outputs.rig import joint_tree
from liftjax.inference.results import FRAME_DTYPE, Frame, Result, Source, row_dtype, sizes_px
from liftjax.inference.store import RowStore
from liftjax.inference.tracking import Tracker
from liftjax.names import readable
from liftjax.weights.using import resolve

DEFAULTS = {
    "person detector": "yolox_m/person",
    "detector": "rtmpose_m/halpe26",
    "lifter": "videopose3d/h36m_mmpose",
}
"""Published weights for those who choose none; all come under Apache-2.0."""

_READ_AHEAD = 4  # frames
_BLOCK = 4096  # rows of pictures lifted at a time
_PATIENCE_S = 0.5  # a person out of sight for longer gets a new track
_USUAL_FPS = 25

Writer = Callable[[Result, Path], Sequence[Path]]
"""Writes a result to files whose names begin with a stem, and returns their paths."""

OUTPUTS: dict[str, Writer] = {
    "json": json_file.write_json,
    "npz": npz.write_npz,
    "bvh": bvh.write_bvh,
    "overlay": overlay.write_overlay,
    "html": page.write_page,
}

GetBoxes = Callable[[Frame], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class BoxOptions:
    """Where people are, by one of three options; without any, one person fills the whole frame.

    Attributes:
      file: a file of COCO detections.
      fixed: texts "x0,y0,x1,y1", the boxes of every frame.
      detector: an ONNX file of a person detector, or the name of a published one.
      min_score: detections with a lower score are left out.
    """

    file: str | None = None
    fixed: Sequence[str] = ()
    detector: str | None = None
    min_score: float = 0.5

    def __post_init__(self):
        if sum(map(bool, (self.file, self.fixed, self.detector))) > 1:
            raise LiftjaxError("Give one of --boxes, --box and --person-detector.")
        if not 0 <= self.min_score <= 1:
            raise LiftjaxError(f"--min-score {self.min_score:g}: scores are from 0 to 1.")

    def open(self) -> Callable[[Source], GetBoxes]:
        """Reads and checks the files; returns a function from a source to its boxes."""
        if self.file:
            return boxes.read_detections(self.file, self.min_score)
        if self.fixed:
            fixed = boxes.FixedBoxes(self.fixed)
            return lambda source: fixed
        if self.detector:
            find = yolox.PersonDetector(self.detector, self.min_score)
            return lambda source: find
        return lambda source: boxes.whole_frame


def predict_to_files(
    inputs: Sequence[str],
    out: str = "poses",
    *,
    detector: str | None = None,
    lifters: Sequence[str] = (),
    where: BoxOptions = BoxOptions(),
    fps: float | None = None,
    focal_px: float | None = None,
    beta: float | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    write: Sequence[str] | None = None,
    offline: bool = False,
) -> None:
    """Predicts every input and writes its files into the folder `out`.

    Args:
      inputs: pictures, folders of pictures, videos, or the number of a camera.
      detector: run directory, checkpoint or name of published weights. None: those of DEFAULTS,
        with its person detector and its lifter where no others are given.
      lifters: run directories, checkpoints or names of published weights.
      where: the people's boxes.
      fps: frames a second; makes a folder of pictures a video.
      focal_px: focal length of the camera, in pixels.
      beta, batch_size, precision: see :class:`liftjax.Predictor`.
      write: names in OUTPUTS; None for all of them.
      offline: fetch no published weights.

    Raises:
      LiftjaxError: an input cannot be read, or a checkpoint is missing or of another kind.
    """
    if detector is None:
        detector, lifters, where = _by_default(lifters, where)
    writers = _writers(write, bool(lifters))
    if focal_px is not None and not 0 < focal_px < float("inf"):
        raise LiftjaxError(f"A focal length of {focal_px:g} pixels; take a number above 0.")
    folder = Path(out).expanduser()
    opened = sources.open_sources(inputs, fps, record_to=folder / "camera.mp4")
    stems = _stems(opened)
    _check_keeps_inputs(folder, inputs, opened, stems, where.file, writers)
    person_detector = resolve(where.detector, "person_detector", offline=offline)
    boxes_of = dataclasses.replace(where, detector=person_detector).open()
    run = resolve(detector, "detector", offline=offline)
    detection = BatchDetector.load(run, batch_size, beta, precision)
    loaded = load_lifters([resolve(one, "lifter", offline=offline) for one in lifters])
    # A picture has no frames around it, so sliding lifters give one frame at a time.
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
        "beta": detection.decoding.beta,
    }
    _make_folder(folder)
    warned = False
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
            warned = warned or _warn(result, detection)
            print(_summary(result, _write(result, folder / source.name, writers)))
            del result  # some systems delete no file that is mapped into memory


def _by_default(lifters: Sequence[str], where: BoxOptions) -> tuple[str, Sequence[str], BoxOptions]:
    """A published detector, and with it what the user has not chosen; says what was taken."""
    taken = dict(DEFAULTS)
    if lifters:
        del taken["lifter"]
    if where.file or where.fixed or where.detector:
        del taken["person detector"]
    named = ", ".join(f"{what} {name}" for what, name in taken.items())
    print(f"Published weights: {named}; `python -m liftjax weights` lists others.", flush=True)
    where = dataclasses.replace(where, detector=taken.get("person detector", where.detector))
    return taken["detector"], lifters or [taken["lifter"]], where


def _warn(result: Result, detection: BatchDetector) -> bool:
    """Whether the keypoints' scores are so low that the user was warned."""
    if not len(result.rows):
        return False
    mean = float(result.rows["kpt_score"].mean(dtype=np.float64))
    given = result.source.given
    said = trust.warning(given, mean, detection.usual_score, detection.trained_on)
    if said:
        print(said, file=sys.stderr)
    return bool(said)


def _writers(names: Sequence[str] | None, lifted: bool) -> dict[str, Writer]:
    """The outputs that were asked for; all by default."""
    for name in names or ():
        check_name("output", name, OUTPUTS)
    if names and "bvh" in names and not lifted:
        raise LiftjaxError("BVH files hold poses in 3D; give --lifter too.")
    return {name: OUTPUTS[name] for name in names or OUTPUTS}


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LiftjaxError(
            f"{folder}: the folder cannot be made: {error.strerror}; choose another --out."
        ) from None


def _stems(opened: Sequence[Source]) -> list[tuple[str, ...]]:
    """The stems of each source's own files of pictures, all different; a video has none."""
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
    """Raises a LiftjaxError if an output would replace an input, or be an input the next time."""
    if folder.is_dir() and folder.resolve() in {Path(given).resolve() for given in inputs}:
        raise LiftjaxError(
            f"{folder}: is an input, so the results in it would be inputs the next time; choose "
            f"another --out, such as {folder / 'poses'}."
        )
    endings = {"json": ".json", "npz": ".npz", "html": ".html", "overlay": "_poses.mp4"}
    names = [source.name + endings[one] for source in opened for one in endings if one in outputs]
    if "overlay" in outputs:
        names += [f"{stem}_poses.jpg" for some in stems for stem in some]
    written = {(folder / name).resolve() for name in names}
    read = [Path(boxes_file)] if boxes_file else []
    for source in opened:
        read += source.paths if isinstance(source, sources.PictureSource) else [source.path]
    for path in read:
        if path.resolve() in written:
            raise LiftjaxError(f"{path}: would be overwritten; choose another --out.")


def _detect(
    source: Source, get_boxes: GetBoxes, detection: BatchDetector, lifting: Lifting, scratch: Path
) -> dict:
    """The first pass: rows without poses, sizes and names of the frames."""
    dtype = row_dtype(
        detection.skeleton.num_joints, len(lifting.names), lifting.skeleton.num_joints
    )
    rows, sizes = RowStore(scratch / "rows", dtype), RowStore(scratch / "frames", FRAME_DTYPE)
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
            sizes.append(np.zeros(frame.index - len(sizes), FRAME_DTYPE))  # unreadable frames
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
        "all frames of a video must have one size (for separate pictures leave out --fps)."
    )


@contextlib.contextmanager
def _ahead(source: Source) -> Iterator[Iterator[Frame]]:
    """The frames of a source, decoded while the detector works; a camera's as they come."""
    if isinstance(source, sources.CameraSource):
        yield source.frames()
        return
    with Prefetch(source.frames(), _READ_AHEAD, put=lambda frame: frame) as frames:
        yield frames


def _lift(result: Result, lifting: Lifting) -> None:
    """The second pass: writes poses and positions of their roots into the rows."""
    rows = result.rows
    if not lifting.names:
        return
    video = result.source.is_video
    lifted = lifting.video(rows, sizes_px(result.frames)) if video else _alone(result, lifting)
    with _bar(len(rows), f"{result.source.name}: lifting", "poses") as bar:
        for positions, pose_m_NLJ3 in lifted:
            some = rows[positions]
            size_N2 = sizes_px(result.frames[some["frame"]])
            places, *seen = lifting.joints(some["kpts_px"], some["kpt_score"])
            camera = placing.focal_px(size_N2, result.focal_px), (size_N2 - 1) / 2
            for lifter, pose_m_NJ3 in enumerate(pose_m_NLJ3.swapaxes(0, 1)):
                root_m_N3 = placing.place_roots(pose_m_NJ3[:, places], *seen, *camera)
                rows["root_m"][positions, lifter] = root_m_N3
            rows["pose_m"][positions] = pose_m_NLJ3
            bar.update(len(positions))


def _alone(result: Result, lifting: Lifting) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of rows and their poses, each person lifted from one picture alone."""
    for start in range(0, len(result.rows), _BLOCK):
        positions = np.arange(start, min(start + _BLOCK, len(result.rows)))
        some = result.rows[positions]
        yield positions, lifting.people(some["kpts_px"], sizes_px(result.frames[some["frame"]]))


def _write(result: Result, stem: Path, writers: Mapping[str, Writer]) -> list[Path]:
    """The last pass: writes the files, with a progress bar for each reading of the source."""
    written = []
    for name, write in writers.items():
        shown = _WithBar(result.source, f"{result.source.name}: writing {name}")
        written += write(dataclasses.replace(result, source=shown), stem)
    return written


class _WithBar:
    """A source whose reading shows a progress bar."""

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
    counts = {"frame": frames, "pose": people}
    if result.source.is_video:
        counts["track"] = len(result.tracks())
    what = ", ".join(f"{n} {name}{'' if n == 1 else 's'}" for name, n in counts.items())
    return "\n  ".join([f"{result.source.given}: {what}", *map(str, written)])


def _bar(total: int, what: str, unit: str) -> tqdm:
    return tqdm(total=total or None, desc=what, unit=f" {unit}", delay=1)
