"""One person in several calibrated cameras: the 3D poses of a recording.

Legend: C cameras, F frames, J joints of the detector, K joints of the target skeleton.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep import pictures, video
from data_prep.building import Problem
from data_prep.cameras import CalibratedCamera
from data_prep.multicam.detections import Detections, read_detections
from data_prep.multicam.follow import MIN_CONFIDENCE, Track, confident, follow_people, tolerance_px
from data_prep.multicam.layout import RecordingFiles
from data_prep.multicam.numbering import number_by_video
from data_prep.multicam.synchronise import Lags, estimate_lags, no_lags, shift_frames
from data_prep.multicam.triangulate import drop_bad_cameras, drop_outliers, fill_gaps
from liftjax import geometry
from liftjax.errors import LiftjaxError
from liftjax.skeletons import convert, convert_confidence, get_skeleton

MAX_GAP = 15  # frames over which a joint is interpolated
MAX_LAG = 30  # frames
_FPS = 60.0  # where a video does not say
_SAME_RATE = 0.02  # relative: 29.97 is 30
_REMARKABLE_FRAMES = 5  # of another person
_NEGLIGIBLE = 0.1  # of the tolerance: 4 px of 1920
_ENOUGH_JOINTS = 0.3  # share of joints of a camera that agrees
_SEEN_SHARE = 0.2  # a camera that agrees in fewer of the frames stands out
_MARGIN = 0.1  # of the picture's size: joints of people at its edge are found so far outside
_REMARKABLY_OUTSIDE, _TOO_MANY_OUTSIDE = 0.02, 0.3  # share of a camera's joints
_LEAST_EXTENT_PX = 3  # of all joints of a camera; fractions of the picture, or metres, are below


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """Footage of one person, read.

    Attributes:
      files: where it comes from.
      people: for each camera, frame number -> (P, J, 3) detections in the calibrated picture, by
        the numbers of its own video.
      fps: of the first video.
      joint_set: name of the detector's skeleton.
      problems: what was noticed; files relative to the source.
    """

    files: RecordingFiles
    people: Sequence[Mapping[int, np.ndarray]]
    fps: float
    joint_set: str
    problems: tuple[Problem, ...] = ()

    @property
    def cameras(self) -> Sequence[CalibratedCamera]:
        return self.files.cameras

    def shown_video(self, camera: int) -> str:
        """The video of a camera as problems name it."""
        return self.files.shown(self.files.videos[camera])


@dataclasses.dataclass(frozen=True, eq=False)
class TriangulatedPoses:
    """What a recording shows of one person.

    Attributes:
      skeleton: name of the K joints.
      lags: of the cameras.
      frames: (F,) numbers of common time; camera c shows them at frames + lags.frames[c].
      world_m: (F, K, 3) joints, world axes.
      detected_px: (C, F, K, 2) the detections, converted.
      seen: (C, F, K) bool: found by that camera's detector, in agreement with the others.
      filled: (F, K) bool: interpolated in time, since fewer than two cameras agreed.
      problems: frames left out, and why.
    """

    skeleton: str
    lags: Lags
    frames: np.ndarray
    world_m: np.ndarray
    detected_px: np.ndarray
    seen: np.ndarray
    filled: np.ndarray
    problems: tuple[Problem, ...] = ()


def read_recording(
    files: RecordingFiles,
    joint_set: str | None = None,
    on_video: bool = False,
    first_frame: int | None = None,
) -> Recording:
    """Reads the detections, and the size and length of the videos.

    Args:
      files: what belongs to the recording.
      joint_set: skeleton of the detections; None to recognise it.
      on_video: whether detections are in the pixels of a video that differs in size from the
        calibrated picture; else they are in the calibrated picture's pixels.
      first_frame: the number that detections give to a video's first frame; None to find it.
    """
    found, problems = [], [*files.problems, *_compare_rates(files)]
    for camera, path, where in zip(files.cameras, files.videos, files.detections, strict=True):
        detections = read_detections(where, joint_set, files.source)
        video.check_not_mirrored(path)
        size = video.frame_size(path)
        if size != camera.image_size:
            problems.append(_other_size(files, path, size, camera.image_size))
            if on_video:
                to_video = pictures.letterbox_affine(camera.image_size, size)
                detections = _to_calibrated(detections, to_video)
        problems += [*detections.problems, *_outside(detections, camera, files.shown(where))]
        found.append(detections)
    lengths = [video.frame_count(path) for path in files.videos]
    names = [files.shown(where) for where in files.detections]
    found, remarks = number_by_video(found, lengths, names, first_frame)
    return Recording(
        files,
        [detections.people for detections in found],
        video.frame_rate(files.videos[0]) or _FPS,
        _common_joint_set(files, found),
        (*problems, *remarks),
    )


def _common_joint_set(files: RecordingFiles, found: Sequence[Detections]) -> str:
    """The joint set of all cameras. Where it cannot be recognised, it is that of the others."""
    names = sorted({d.joint_set for d in found if d.joint_set})
    if not names:
        raise LiftjaxError(
            f"{files.name}: 25 joints may be body25 or body25b; say which with "
            "--detections-skeleton NAME."
        )
    counts = {len(p) for d in found for people in d.people.values() for p in people}
    if len(names) > 1 or len(counts) > 1:
        raise LiftjaxError(
            f"{files.name}: the cameras' detections have different joints "
            f"({' and '.join(names)}; {', '.join(map(str, sorted(counts)))}); run one detector on "
            "all videos, or say which they are with --detections-skeleton NAME."
        )
    return names[0]


def _compare_rates(files: RecordingFiles) -> list[Problem]:
    """A remark on each video whose frame rate is not the first one's."""
    rates = [video.frame_rate(path) for path in files.videos]
    other = f"frames a second, {files.videos[0].name} has {rates[0]:.4g}"
    return [
        Problem("different frame rates", files.shown(path), None, f"{rate:.4g} {other}", 0)
        for path, rate in zip(files.videos, rates, strict=True)
        if abs(rate - rates[0]) > _SAME_RATE * rates[0]
    ]


def _other_size(files: RecordingFiles, path: Path, size, calibrated) -> Problem:
    """A remark on a video of another size than the calibration; raises if it is turned."""
    sizes = "video {}x{}, calibration {}x{}".format(*size, *calibrated)
    if (size[0] > size[1]) != (calibrated[0] > calibrated[1]):
        raise LiftjaxError(
            f"{path}: {sizes}; is the video turned, or are the names of the cameras exchanged?"
        )
    detail = f"{sizes}: taken to be scaled to fit, with bars"
    return Problem("video of another size", files.shown(path), None, detail, 0)


def _to_calibrated(detections: Detections, image_to_video: np.ndarray) -> Detections:
    """Detections in a video's pixels, moved to the calibrated picture's."""
    back = geometry.invert_affine(image_to_video)
    people = {
        number: np.concatenate([geometry.apply_affine(back, p[..., :2]), p[..., 2:]], axis=-1)
        for number, p in detections.people.items()
    }
    return dataclasses.replace(detections, people=people)


def _outside(detections: Detections, camera: CalibratedCamera, name: str) -> list[Problem]:
    """A remark on joints outside the picture; raises if they belong to another picture."""
    joints = np.concatenate([p.reshape(-1, 3) for p in detections.people.values()])
    px = joints[joints[:, 2] >= MIN_CONFIDENCE, :2]
    size = np.array(camera.image_size)
    picture = f"the picture of {camera.name} ({size[0]}x{size[1]})"
    if len(px) > 1 and np.ptp(px, axis=0).max() < _LEAST_EXTENT_PX:
        raise LiftjaxError(
            f"{detections.source}: all joints lie within {_LEAST_EXTENT_PX} pixels in {picture}; "
            "are they fractions of the picture, or metres? Give pixels."
        )
    beyond = (px < -_MARGIN * size) | (px > (1 + _MARGIN) * size)
    share = beyond.any(axis=-1).mean() if len(px) else 0.0
    if share > _TOO_MANY_OUTSIDE:
        raise LiftjaxError(
            f"{detections.source}: {share:.0%} of the joints lie outside {picture}, up to "
            f"({px[:, 0].max():.0f}, {px[:, 1].max():.0f}); they were found in a picture of another"
            " size. Give them for this one, or --detections-on video if they are in its video's "
            "pixels."
        )
    if share <= _REMARKABLY_OUTSIDE:
        return []
    return [Problem("joints outside the picture", name, None, f"{share:.0%} of {camera.name}'s", 0)]


def reconstruct(
    recording: Recording, skeleton: str = "human36m", max_lag: int = MAX_LAG, stride: int = 1
) -> TriangulatedPoses:
    """Follows the person through the recording and triangulates the joints.

    Args:
      recording: the footage.
      skeleton: name of the joints wanted.
      max_lag: frames that cameras may run behind one another; 0 takes them to be in step.
      stride: keep frames whose number is a multiple of it.

    Raises:
      LiftjaxError: nobody could be followed, lengths are not human, or nothing is left.
    """
    cameras, name, joint_set = recording.cameras, recording.files.name, recording.joint_set
    lags = no_lags(len(cameras))
    if max_lag:
        lags = estimate_lags(recording.people, cameras, joint_set, max_lag, recording.fps)
    people = shift_frames(recording.people, lags.frames)
    people, problems = _common_frames(recording, people, stride)
    tracks = follow_people(people, cameras, joint_set, recording.fps)
    if not tracks:
        raise LiftjaxError(
            f"{name}: no person could be followed: in no frame do the detections of two cameras "
            "agree. Is the calibration that of these videos, and are the detections in its pixels?"
        )
    problems += [*_doubtful(recording, lags), *_others(recording, tracks)]
    track, limit = tracks[0], tolerance_px(cameras)
    px, weights = track.detections[..., :2], confident(track.detections)
    weights = drop_bad_cameras(px, weights, cameras, _NEGLIGIBLE * limit)
    world, weights = drop_outliers(px, weights, cameras, limit)
    _check_majority(recording, people, track.frames, weights)
    filled = fill_gaps(world, track.frames, MAX_GAP)

    def to_skeleton(points):  # joints that it does not use may be unknown: their weight is 0
        return convert(np.nan_to_num(points), joint_set, skeleton)

    def known(points) -> np.ndarray:
        """(F, K) joints of the skeleton that follow from known joints of the detector."""
        finite = np.isfinite(points).all(axis=-1).astype(float)
        return convert_confidence(finite, joint_set, skeleton) > 0

    kept = track.frames % stride == 0
    lost = ~known(filled)
    problems += _absent(recording, people, track, stride)
    problems += _lost_joints(recording, track.frames, lost & kept[:, None], skeleton)
    kept &= ~lost.any(axis=1)
    if not kept.any():
        usual = get_skeleton(skeleton).joints[int(lost.sum(axis=0).argmax())]
        raise LiftjaxError(
            f"{name}: no frame has all joints; {usual} is NaN in {lost.any(axis=1).sum()} of "
            f"{len(lost)}, because no two cameras agree on it for longer than {MAX_GAP} frames. "
            "Add a camera."
        )
    seen = (convert_confidence(weights, joint_set, skeleton) > 0)[:, kept]
    problems += _standing_out(recording, seen)
    return TriangulatedPoses(
        skeleton=skeleton,
        lags=lags,
        frames=track.frames[kept],
        world_m=to_skeleton(filled)[kept],
        detected_px=to_skeleton(px)[:, kept],
        seen=seen,
        filled=~known(world)[kept],
        problems=tuple(problems),
    )


def _common_frames(recording: Recording, people, stride: int):
    """The frames that every camera has, and what each lacks of those that another has."""
    files, count = recording.files, len(people)
    wanted = sorted(n for n in set().union(*people) if n % stride == 0)
    common = set.intersection(*(set(camera) for camera in people))
    if not common:
        spans = ", ".join(
            f"{c.name} {min(p)}-{max(p)}" for c, p in zip(recording.cameras, people, strict=True)
        )
        raise LiftjaxError(f"{files.name}: the cameras have no frame in common: {spans}.")
    problems, blamed = [], set()
    for camera, where, found in zip(recording.cameras, files.detections, people, strict=True):
        missing = [n for n in wanted if n not in found]
        if missing:
            new = set(missing) - blamed
            blamed |= new
            detail = (
                f"{camera.name} has {len(found)} frames; {len(missing)} that others have are left "
                "out in all"
            )
            kind, file, lost = "frames not in all cameras", files.shown(where), count * len(new)
            problems.append(Problem(kind, file, missing[0], detail, lost))
    kept = [{n: found for n, found in camera.items() if n in common} for camera in people]
    return kept, problems


def _check_majority(recording: Recording, people, frames, weights: np.ndarray) -> None:
    """Raises if half of three or more cameras saw one person, but not where the others did.

    Args:
      weights: (C, F, J) of the joints on which the cameras agree.
    """
    agree = (weights > 0).mean(axis=-1) > _ENOUGH_JOINTS
    against = []
    for c, camera in enumerate(recording.cameras):
        alone = np.array([len(people[c][int(n)]) == 1 for n in frames])
        if alone.any() and agree[c][alone].mean() < 0.5:
            against.append(camera.name)
    if len(recording.cameras) > 2 and 2 * len(against) >= len(recording.cameras):
        raise LiftjaxError(
            f"{recording.files.name}: {', '.join(against)} see nobody where the other cameras do: "
            "are videos, detections and calibration of the same cameras, by these names, and the "
            "detections in the calibrated picture's pixels? Say with --cameras which to use."
        )


def _doubtful(recording: Recording, lags: Lags) -> list[Problem]:
    """A remark on every camera whose error is least at another lag than its motion tells."""
    problems = []
    for c, (lag, least) in enumerate(zip(lags.frames, lags.least_error, strict=True)):
        if lag != least:
            detail = (
                f"{recording.cameras[c].name} is in step with the others' motion at a lag of {lag} "
                f"frames, but nearest to them at {least}: it was moved, or its calibration is off"
            )
            file = recording.shown_video(c)
            problems.append(Problem("calibration in doubt", file, None, detail, 0))
    return problems


def _others(recording: Recording, tracks: Sequence[Track]) -> list[Problem]:
    """A remark on everybody else who was seen for a while."""
    where = recording.files.pose_folder
    return [
        Problem("another person", where, int(t.frames[0]), f"in {len(t.frames)} frames", 0)
        for t in tracks[1:]
        if len(t.frames) >= _REMARKABLE_FRAMES
    ]


def _absent(recording: Recording, people, track: Track, stride: int) -> list[Problem]:
    """A problem for each frame in which the person was not found."""
    where, count = recording.files.pose_folder, len(recording.cameras)
    found = set(track.frames.tolist())
    frames = [n for n in sorted(people[0]) if n not in found and n % stride == 0]
    empty = {n for n in frames if not any(len(camera[n]) for camera in people)}
    return [
        Problem("person not found", where, n, "no detections" if n in empty else "", count)
        for n in frames
    ]


def _lost_joints(recording: Recording, frames, lost: np.ndarray, skeleton: str) -> list[Problem]:
    """A problem for each frame with lost joints, which are (F, K) bool."""
    where, count = recording.files.pose_folder, len(recording.cameras)
    names, problems = np.array(get_skeleton(skeleton).joints), []
    for row in np.flatnonzero(lost.any(axis=1)):
        kind, joints = "joint not seen by two cameras", ", ".join(names[lost[row]])
        problems.append(Problem(kind, where, int(frames[row]), joints, count))
    return problems


def _standing_out(recording: Recording, seen: np.ndarray) -> list[Problem]:
    """A problem for every camera that agrees with the others in few frames or in none."""
    problems = []
    for c, frames in enumerate(seen.any(axis=-1)):
        share = frames.mean()
        if share < _SEEN_SHARE:
            detail = f"{recording.cameras[c].name} agrees with the others in {share:.0%} of frames"
            lost = 0 if frames.any() else len(frames)  # the others are counted one by one
            file = recording.shown_video(c)
            problems.append(Problem("camera stands out", file, None, detail, lost))
    return problems


def check_convertible(joint_set: str, skeleton: str) -> None:
    """Raises if the joints of one set cannot be converted to the other."""
    convert(np.zeros((get_skeleton(joint_set).num_joints, 3)), joint_set, skeleton)
