"""One camera's view of one sequence: from any layout, labels and pictures become records.

Frame numbers count the original 50 Hz recording from 0. Frame n is row n of the archive's
annotations, picture n of the decoded video (from 0), and the file numbered n + 1 in layouts that
number pictures from 1.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np

from data_prep import pictures
from data_prep.building import Problem, Unit
from data_prep.cameras import CalibratedCamera, make_record
from data_prep.human36m.cameras import published_camera
from data_prep.human36m.names import MISALIGNED
from liftjax.data.schema import Record
from liftjax.skeletons import HUMAN36M

# Of the archive's 32 joints, those that move and count: the 17 of HUMAN36M, in its order.
JOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

_LENGTHS_DIFFER = "annotation lengths differ"
_SAME_FRAME_PX = 1.0  # 2D labels are the projected 3D labels to 1e-4 px
_SAME_ASPECT = 0.01  # relative; the pictures are 1000 x 1002 or 1000 x 1000
_ROWS = 2  # more or less than the camera's published height: some releases cut them

# Frame, picture or None, and what is wrong with the picture.
Seen = tuple[int, np.ndarray | None, Problem | None]


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceLabels:
    """Labels of F frames of one camera.

    Attributes:
      frames: (F,) original numbers.
      joints_px: (F, 17, 2) float64.
      joints_m: (F, 17, 3) camera axes, metres, float64.
    """

    frames: np.ndarray
    joints_px: np.ndarray
    joints_m: np.ndarray

    def rows(self, which) -> "SequenceLabels":
        return SequenceLabels(self.frames[which], self.joints_px[which], self.joints_m[which])

    def of_stride(self, stride: int) -> "SequenceLabels":
        return self.rows(np.flatnonzero(self.frames % stride == 0))


@dataclasses.dataclass(frozen=True)
class SequenceOptions:
    """Which frames of a sequence become records, and how.

    Attributes:
      stride: take frames whose number is a multiple of it.
      present: pictures may be missing.
      full_frames: store whole pictures.
      drop_misaligned: leave out the sequences in MISALIGNED.
    """

    stride: int
    present: bool = False
    full_frames: bool = False
    drop_misaligned: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class SubjectSequences:
    """What a layout has of one subject.

    Attributes:
      units: the sequences.
      problems: which of them are missing or there twice.
      held: for layouts that may be thinned: unit name -> numbers of the frames that have labels,
        and of those that have pictures.
    """

    units: list["SequenceUnit"] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)
    held: dict[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)


class LabelError(Exception):
    """A sequence's annotation cannot be read. Its arguments are the file and the reason."""


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceUnit(Unit):
    """One camera's view of one trial. Each layout says how to read labels and pictures."""

    source: str
    subject: str
    action: str
    trial: int
    camera: str
    options: SequenceOptions

    @property
    def name(self) -> str:
        return f"{self.subject}/{self.action} {self.trial}/{self.camera}"

    def read_labels(self) -> tuple[SequenceLabels, list[Problem]]:
        """All labels, and what was wrong with them. Raises LabelError."""
        raise NotImplementedError

    def read_pictures(self, frames: Sequence[int]) -> Iterator[Seen]:
        """(frame, picture or None, what is wrong) of these frames, in this order.

        A problem of several frames comes with the first of them.
        """
        raise NotImplementedError

    def unlabelled(self, frames: np.ndarray) -> list[Problem]:
        """Pictures of the stride whose frames are not in `frames`."""
        raise NotImplementedError

    def count_pictures(self) -> int:
        """About how many pictures of the stride there are: what a lost annotation costs."""
        raise NotImplementedError

    def picture_file(self, frame: int) -> str:
        """The file of a frame's picture as problems name it, relative to the source."""
        raise NotImplementedError

    @property
    def view(self) -> CalibratedCamera:
        return published_camera(self.subject, self.camera)

    @property
    def label_file(self) -> str:
        """The annotation's name in problems, relative to the source."""
        return self.relative(self.inputs[0])

    def relative(self, path) -> str:
        return os.path.relpath(path, self.source)

    def records(self) -> Iterator[Record | Problem]:
        try:
            labels, problems = self.read_labels()
        except LabelError as error:
            file, reason = error.args
            lost = self.count_pictures()
            yield Problem("unreadable annotation", self.relative(file), None, reason, lost)
            return
        told = [p.frame for p in problems if p.frame is not None]
        files = self.label_file, self.relative(self.pose_file)
        good, unusable = _usable(labels.of_stride(self.options.stride), files, self.view)
        if (self.subject, self.action, self.trial) in MISALIGNED:
            dropped = len(good.frames) if self.options.drop_misaligned else 0
            detail = "the labels drift off the person in part of it"
            problem = Problem("misaligned sequence", self.label_file, None, detail, dropped)
            problems, good = [problem, *problems], good.rows(slice(0)) if dropped else good
        for problem in problems + unusable:  # an annotation may hold several sequences
            detail = f"{self.name}: {problem.detail}" if problem.detail else self.name
            yield dataclasses.replace(problem, detail=detail)
        yield from self.unlabelled(np.union1d(labels.frames, told))
        yield from self._with_pictures(good)

    def _with_pictures(self, labels: SequenceLabels) -> Iterator[Record | Problem]:
        view, sizes = self.view, set()
        row_of = {frame: row for row, frame in enumerate(labels.frames.tolist())}
        for frame, picture, problem in self.read_pictures(list(row_of)):
            if problem is not None:
                yield problem
            if picture is None:
                continue
            file = self.picture_file(frame)
            if pictures.is_black(picture):
                yield Problem("black picture", file, frame)
                continue
            image_to_picture = _fit(picture.shape[1::-1], view.image_size)
            size = "{}x{}".format(*picture.shape[1::-1])
            detail = f"{size}, the camera's are {{}}x{{}}".format(*view.image_size)
            if image_to_picture is None:
                yield Problem("picture of another shape", file, frame, detail)
                continue
            if picture.shape[1] != view.image_size[0] and size not in sizes:
                sizes.add(size)
                yield Problem("picture of another size", file, frame, f"{detail}; scaled", 0)
            label = labels.rows(row_of[frame])
            yield make_record(
                view,
                label.joints_m,
                label.joints_px,
                in_picture(label.joints_px, view.image_size),
                skeleton=HUMAN36M.name,
                subject=self.subject,
                action=self.action,
                frame=frame,
                trial=self.trial,
                picture=picture,
                image_to_picture=image_to_picture,
                full_frame=self.options.full_frames,
            )


def select_joints(joints: np.ndarray, file) -> np.ndarray:
    """(F, 17, D) of the archive's 32 joints (F, 32, D), in the dtype they have."""
    if joints.ndim != 3 or joints.shape[1] != 32:
        raise LabelError(file, f"poses of shape {joints.shape}, expected (frames, 32, 2 or 3)")
    return joints[:, JOINTS_OF_32]


def in_picture(joints_px: np.ndarray, image_size) -> np.ndarray:
    """(..., K) bool: 0 <= x < width and 0 <= y < height, as in the released code."""
    return ((joints_px >= 0) & (joints_px < np.asarray(image_size))).all(axis=-1)


def lost_frames(kind: str, file: str, frames, stride: int, detail: str) -> list[Problem]:
    """A problem for each lost frame of the stride; a remark if only other frames are lost."""
    strided = [int(frame) for frame in frames if frame % stride == 0]
    if strided or not len(frames):
        return [Problem(kind, file, frame, detail) for frame in strided]
    return [Problem(kind, file, int(frames[0]), f"{detail}; none of the stride lost", dropped=0)]


def pair_labels(
    frames, px, mm, view: CalibratedCamera, stride: int, file: str, complete: bool
) -> tuple[SequenceLabels, list[Problem]]:
    """The labels of frames that have both 2D and 3D, and problems for the others.

    Args:
      frames: (F,) frame numbers of the rows; F is at least the length of `px` and of `mm`.
      px: (F2, 17, 2).
      mm: (F3, 17, 3) millimetres.
      view: the camera.
      stride: lost frames that are no multiple of it cost no record.
      file: the annotation, for problems.
      complete: whether the annotation has as many rows of 2D as of 3D. If it has not, the lost row
        may lie in the middle, so that every row after it pairs the 2D of one frame with the 3D of
        another; then only rows are kept whose 2D is the projection of their 3D.
    """
    shared, longest = sorted((len(px), len(mm)))
    detail = f"2D labels of {len(px)} frames, 3D labels of {len(mm)}"
    problems = lost_frames(_LENGTHS_DIFFER, file, frames[shared:longest], stride, detail)
    detail = f"{len(frames)} frames, poses of {shared}"
    problems += lost_frames("frame without annotation", file, frames[longest:], stride, detail)
    # The division is in the file's dtype, as in MMPose, so that all layouts agree to the last bit.
    metres = (mm[:shared] / 1000).astype(np.float64)
    labels = SequenceLabels(frames[:shared], px[:shared].astype(np.float64), metres)
    if complete:
        return labels, problems
    distance_px = np.linalg.norm(view.project(metres) - labels.joints_px, axis=-1)
    apart = np.median(distance_px, axis=-1) > _SAME_FRAME_PX
    detail = "2D and 3D are of different frames"
    problems += lost_frames(_LENGTHS_DIFFER, file, labels.frames[apart], stride, detail)
    return labels.rows(~apart), problems


def sort_frames(
    labels: SequenceLabels, stride: int, file: str
) -> tuple[SequenceLabels, list[Problem]]:
    """The labels sorted by frame; of a frame that comes twice the first row is taken."""
    frames = labels.frames
    problems = [
        Problem("impossible frame number", file, int(frame), "pictures count from 1")
        for frame in frames[frames < 0]
    ]
    back = np.flatnonzero(np.diff(frames) < 0) + 1
    if len(back):
        row = int(back[0])
        detail = f"row {row} comes after frame {frames[row - 1]}; {len(back)} such rows; sorted"
        problems.append(Problem("frames out of order", file, int(frames[row]), detail, dropped=0))
    numbers, first = np.unique(frames, return_index=True)
    twice = np.delete(frames, first)
    problems += [
        Problem("duplicate frame", file, int(f), "the first of them taken", int(f % stride == 0))
        for f in twice[twice >= 0]
    ]
    return labels.rows(first[numbers >= 0]), problems


def _usable(
    labels: SequenceLabels, files: tuple[str, str], view: CalibratedCamera
) -> tuple[SequenceLabels, list[Problem]]:
    """The labels without NaN and with a visible root.

    Args:
      files: the 2D and the 3D annotation, for problems.
    """
    whole_px, whole_m = (np.isfinite(a).all(axis=-1) for a in (labels.joints_px, labels.joints_m))
    root_seen = in_picture(labels.joints_px[:, HUMAN36M.root_index], view.image_size)
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


def _fit(picture_size, image_size) -> np.ndarray | None:
    """(2, 3) affine from original to picture pixels; None if the picture has another shape.

    A picture of the original width is the original, even if rows were cut off at its bottom; one
    of the same shape but another size is the original scaled.
    """
    (width, height), (image_width, image_height) = picture_size, image_size
    if width == image_width and abs(height - image_height) <= _ROWS:
        return np.eye(3)[:2]
    if abs(width / height * image_height / image_width - 1) > _SAME_ASPECT:
        return None
    return pictures.scale_affine([width / image_width, height / image_height])
