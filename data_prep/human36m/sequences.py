"""One sequence of one camera: labels and pictures, whichever layout they came in, become records.

Frame numbers count the original 50 Hz recording from 0: number n is row n of the archive's
annotations, the n-th picture that a decoder gives (from 0), and the file numbered n + 1 of layouts
that count pictures from 1.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep import pictures
from data_prep.building import Problem, Unit
from data_prep.human36m.cameras import DISTORTION_MODEL, Camera, camera
from data_prep.human36m.names import KNOWN_BROKEN, MISALIGNED
from liftjax import geometry
from liftjax.data.schema import Record
from liftjax.skeletons import HUMAN36M

# Of the archive's 32 joints, those that move and count: the 17 of HUMAN36M, in its order.
JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

SPLITS = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}

LENGTHS_DIFFER = "annotation lengths differ"
_SAME_FRAME_PX = 1.0  # 2D labels are the projected 3D to 1e-4 px
_SAME_ASPECT = 0.01  # relative; the pictures are 1000 x 1002 or 1000 x 1000
_ROWS = 2  # more or less than the camera's published height: some releases cut them


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels of F frames of one camera.

    Attributes:
      frames: (F,) original numbers. joints_px: (F, 17, 2) float64.
      joints_m: (F, 17, 3) camera axes, metres, float64.
    """

    frames: np.ndarray
    joints_px: np.ndarray
    joints_m: np.ndarray

    def rows(self, which) -> "Labels":
        return Labels(self.frames[which], self.joints_px[which], self.joints_m[which])


@dataclasses.dataclass(frozen=True)
class Options:
    """What of a sequence becomes records.

    Attributes:
      stride: take frames whose number is a multiple. present: pictures may be missing.
      full_frames: store whole pictures. drop_misaligned: leave out sequences in MISALIGNED.
    """

    stride: int
    present: bool = False
    full_frames: bool = False
    drop_misaligned: bool = False


Seen = tuple[int, np.ndarray | None, Problem | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a layout has of one subject.

    Attributes:
      units: its sequences. problems: what is missing or double among them.
      held: of layouts that may be thinned, unit name -> numbers of the frames that have labels and
        of those that have pictures.
    """

    units: list["SequenceUnit"]
    problems: list[Problem]
    held: dict[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)


class LabelError(Exception):
    """A sequence's annotation cannot be read: (file, reason)."""


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceUnit(Unit):
    """One camera's view of one trial; a layout adds how labels and pictures are read."""

    source: str
    subject: str
    action: str
    trial: int
    camera: str
    options: Options

    @property
    def name(self) -> str:
        return f"{self.subject}/{self.action} {self.trial}/{self.camera}"

    def read_labels(self) -> tuple[Labels, list[Problem]]:
        """All labels there are, and what was wrong with them. Raises LabelError."""
        raise NotImplementedError

    def read_pictures(self, frames: Sequence[int]) -> Iterator[Seen]:
        """(frame, picture or None, what is wrong with it) of these frames, in this order.

        A problem of several frames at once comes with the first of them.
        """
        raise NotImplementedError

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        """Pictures of the stride that are not in `frames`, those labelled or told of already."""
        raise NotImplementedError

    def pictures_there(self, stride: int) -> int:
        """How many pictures of the stride there seem to be, to count a sequence without labels."""
        raise NotImplementedError

    def relative(self, path) -> str:
        return os.path.relpath(path, self.source)

    def records(self) -> Iterator[Record | Problem]:
        try:
            labels, problems = self.read_labels()
        except LabelError as error:
            file, reason = error.args
            count = self.pictures_there(self.options.stride)
            yield Problem("unreadable annotation", self.relative(file), None, reason, count)
            return
        view = camera(self.subject, self.camera)
        wanted = labels.rows(np.flatnonzero(labels.frames % self.options.stride == 0))
        files = self.label_file, self.relative(self.pose_file)
        good, unusable = _usable(wanted, files, view)
        if (self.subject, self.action, self.trial) in MISALIGNED:
            dropped = len(good.frames) if self.options.drop_misaligned else 0
            detail = "the labels drift off the person in part of it"
            yield self._named(
                Problem("misaligned sequence", self.label_file, None, detail, dropped)
            )
            if self.options.drop_misaligned:
                good = good.rows(slice(0))
        for problem in problems + unusable:
            yield self._named(problem)
        told = [p.frame for p in problems if p.frame is not None]
        yield from self.unlabelled(np.union1d(labels.frames, told))
        yield from self._with_pictures(good)

    def _named(self, problem: Problem) -> Problem:
        """The problem with the sequence in its detail: an annotation may hold several."""
        detail = f"{self.name}: {problem.detail}" if problem.detail else self.name
        return dataclasses.replace(problem, detail=detail)

    @property
    def label_file(self) -> str:
        """The annotation's name in problems, relative to the source."""
        return self.relative(self.inputs[0])

    def _with_pictures(self, labels: Labels) -> Iterator[Record | Problem]:
        view = camera(self.subject, self.camera)
        row_of = {frame: row for row, frame in enumerate(labels.frames.tolist())}
        sizes = set()
        for frame, picture, problem in self.read_pictures(list(row_of)):
            if problem is not None:
                yield problem
            if picture is None:
                continue
            file = self.picture_file(frame)
            if pictures.is_black(picture):
                yield Problem("black picture", file, frame)
                continue
            image_to_picture = fit(picture.shape[1::-1], view.image_size)
            size = "{}x{}".format(*picture.shape[1::-1])
            told = f"{size}, the camera's are {{}}x{{}}".format(*view.image_size)
            if image_to_picture is None:
                yield Problem("picture of another shape", file, frame, told)
                continue
            if picture.shape[1] != view.image_size[0] and size not in sizes:
                sizes.add(size)
                yield Problem("picture of another size", file, frame, told + "; scaled", dropped=0)
            yield self._record(labels.rows(row_of[frame]), picture, image_to_picture, view)

    def picture_file(self, frame: int) -> str:
        """The file of a frame's picture in problems, relative to the source."""
        raise NotImplementedError

    def _record(self, label: Labels, picture, image_to_picture, view: Camera) -> Record:
        box = geometry.box_from_joints(label.joints_px, view.image_size)
        root = label.joints_m[HUMAN36M.root_index]
        image, stored_to_image = pictures.store(
            picture, box, image_to_picture, self.options.full_frames
        )
        return Record(
            image=image,
            stored_to_image=stored_to_image,
            image_size=np.array(view.image_size),
            box_xyxy=box,
            joints_px=label.joints_px,
            joint_visible=visible(label.joints_px, view.image_size),
            pose_m=label.joints_m - root,
            root_m=root,
            has_3d=True,
            camera_K=view.K,
            camera_R=view.R,
            camera_t=view.t,
            camera_distortion=view.distortion,
            distortion_model=DISTORTION_MODEL,
            skeleton=HUMAN36M.name,
            subject=self.subject,
            action=self.action,
            camera=self.camera,
            frame=int(label.frames),
            trial=self.trial,
        )


def seventeen(joints: np.ndarray, file) -> np.ndarray:
    """(F, 17, D) of the archive's 32 joints (F, 32, D), in the dtype they have."""
    if joints.ndim != 3 or joints.shape[1] != 32:
        raise LabelError(file, f"poses of shape {joints.shape}, expected (frames, 32, 2 or 3)")
    return joints[:, JOINTS_OF_32]


def metres(joints_mm: np.ndarray) -> np.ndarray:
    """float64 metres, divided in the file's dtype as MMPose does: the same to the last bit."""
    return (joints_mm / 1000).astype(np.float64)


def visible(joints_px: np.ndarray, image_size) -> np.ndarray:
    """(..., K) bool: 0 <= x < width and 0 <= y < height, as the released code has it."""
    return ((joints_px >= 0) & (joints_px < np.asarray(image_size))).all(axis=-1)


def lost(kind: str, file: str, frames, stride: int, detail: str) -> list[Problem]:
    """A problem for each frame of the stride among the lost ones; a remark if there is none."""
    strided = [int(frame) for frame in frames if frame % stride == 0]
    if strided or not len(frames):
        return [Problem(kind, file, frame, detail) for frame in strided]
    return [Problem(kind, file, int(frames[0]), f"{detail}; none of the stride lost", dropped=0)]


def equally_long(frames, px, joints_3d, stride: int, file: str) -> tuple[int, list[Problem]]:
    """How many rows the 2D and the 3D labels share, and problems if one has more.

    Args:
      frames: (F,) numbers of the rows, F being at least that of the longer one.
    """
    shared, longest = sorted((len(px), len(joints_3d)))
    detail = f"2D labels of {len(px)} frames, 3D labels of {len(joints_3d)}"
    return shared, lost(LENGTHS_DIFFER, file, frames[shared:longest], stride, detail)


def agreeing(labels: Labels, view: Camera, stride: int, file: str) -> tuple[Labels, list[Problem]]:
    """The labels whose 2D is the projection of their 3D.

    Where a file has fewer rows of one than of the other, the lost row may lie in the middle, and
    all after it pair the 2D of one frame with the 3D of another.
    """
    px = geometry.project(labels.joints_m, view.K, view.distortion, DISTORTION_MODEL)
    error_px = np.median(np.linalg.norm(px - labels.joints_px, axis=-1), axis=-1)
    apart = error_px > _SAME_FRAME_PX
    detail = "2D and 3D are of different frames"
    problems = lost(LENGTHS_DIFFER, file, labels.frames[apart], stride, detail)
    return labels.rows(~apart), problems


def in_order(labels: Labels, stride: int, file: str) -> tuple[Labels, list[Problem]]:
    """The labels sorted by frame, each frame once (its first row)."""
    problems, frames = [], labels.frames
    bad = np.flatnonzero(frames < 0)
    problems += [
        Problem("impossible frame number", file, int(frames[i]), "pictures count from 1")
        for i in bad
    ]
    back = np.flatnonzero(np.diff(frames) < 0)
    if len(back):
        row = int(back[0]) + 1
        detail = f"row {row} comes after frame {frames[row - 1]}; {len(back)} such rows; sorted"
        problems.append(Problem("frames out of order", file, int(frames[row]), detail, dropped=0))
    numbers, first = np.unique(frames, return_index=True)
    twice = np.setdiff1d(np.arange(len(frames)), first)
    problems += [
        Problem(
            "duplicate frame",
            file,
            int(frames[row]),
            "the first of them taken",
            dropped=int(frames[row] % stride == 0),
        )
        for row in twice
        if frames[row] >= 0
    ]
    return labels.rows(first[numbers >= 0]), problems


def _usable(labels: Labels, files: tuple[str, str], view: Camera) -> tuple[Labels, list[Problem]]:
    """The labels without NaN and with a visible root.

    Args:
      files: of the 2D and of the 3D labels, for problems.
    """
    whole_px, whole_m = (np.isfinite(a).all(axis=-1) for a in (labels.joints_px, labels.joints_m))
    root_seen = visible(labels.joints_px[:, HUMAN36M.root_index], view.image_size)
    problems, keep = [], []
    for row, frame in enumerate(labels.frames.tolist()):
        broken = np.flatnonzero(~(whole_px[row] & whole_m[row]))
        if len(broken):
            joints = ", ".join(HUMAN36M.joints[j] for j in broken[:4])
            problems.append(Problem("NaN joints", files[int(whole_px[row].all())], frame, joints))
        elif not root_seen[row]:
            problems.append(Problem("root not visible", files[0], frame))
        else:
            keep.append(row)
    return labels.rows(np.array(keep, int)), problems


def fit(picture_size, image_size) -> np.ndarray | None:
    """(2, 3) affine from original to picture pixels; None if the picture has another shape.

    A picture of the original width is the original, whatever rows were cut at its foot; one of the
    same shape in another size is the original scaled.
    """
    (width, height), (image_width, image_height) = picture_size, image_size
    if width == image_width and abs(height - image_height) <= _ROWS:
        return np.eye(3)[:2]
    if abs(width / height * image_height / image_width - 1) > _SAME_ASPECT:
        return None
    scale = np.array([width / image_width, height / image_height])
    shift = (scale - 1) / 2  # pixel centres are integers
    return np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])


def known(subject: str, action: str, trial: int, name: str) -> str:
    """What is known about a camera's missing or broken video."""
    if (subject, action, trial, name) in KNOWN_BROKEN:
        return "broken in older releases of the archive"
    return ""
