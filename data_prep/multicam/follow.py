"""Which detection in which camera is the wanted person: the one whose rays meet.

In every frame, a detection of one camera and one of another give a pose where their rays come
nearest to each other. The more other cameras have a detection where they would see this pose, the
better it is. The people found in this way are linked from frame to frame into tracks. The person of
a recording is the track that most cameras see for most frames.

Legend: C cameras, F frames, J joints, P detections of a camera, H pairs of detections.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from data_prep.cameras import CalibratedCamera
from data_prep.checks import LEG_BONE_M
from data_prep.multicam.triangulate import triangulate
from liftjax.errors import LiftjaxError
from liftjax.skeletons import get_skeleton

MIN_CONFIDENCE = 0.2  # a joint below this counts as not seen
_MOST_DETECTIONS = 12  # of a camera and frame, the most confident ones
_MAX_SPEED_M_S = 12.0  # median joint speed
_MIN_STEP_M = 0.15  # allowed in one frame even of a very fast camera: detections jitter
_MAX_ABSENCE_M = 2.0  # somebody who comes back further away counts as somebody else
_VIEW_BONUS_M = 0.1  # one more camera that agrees outweighs this much distance
_LIMB_M = LEG_BONE_M  # also the median over thighs, shins, upper and lower arms
_UNITS = {1000: "millimetres", 100: "centimetres", 25.4: "inches", 0.001: "kilometres"}
_SAMPLE = 60  # frames to measure limbs in
_CHUNK = 1000  # frames whose rays are computed together


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """One person through a recording.

    Attributes:
      frames: (F,) increasing numbers.
      detections: (C, F, J, 3) x, y, confidence; 0 in a camera that does not see the person.
    """

    frames: np.ndarray
    detections: np.ndarray

    @property
    def views(self) -> int:
        """Frames times the cameras that see the person."""
        return int((self.detections[..., 2] > 0).any(axis=-1).sum())


def tolerance_px(cameras: Sequence[CalibratedCamera]) -> float:
    """How far off a view may be before it counts as contradicting the others.

    A 48th of the picture's longer side, 40 px of 1920: detectors err by less, other people's rays
    miss each other by far more.
    """
    return max(max(camera.image_size) for camera in cameras) / 48


def follow_people(
    people: Sequence[Mapping[int, np.ndarray]],
    cameras: Sequence[CalibratedCamera],
    joint_set: str,
    fps: float = 60.0,
) -> list[Track]:
    """Everybody whom at least two cameras see; the person who is seen most comes first.

    Args:
      people: for each camera, frame number -> (P, J, 3) x, y in pixels and confidence. Cameras may
        lack frames.
      cameras: the C cameras.
      joint_set: name of the skeleton of the J joints.
      fps: frame rate.

    Raises:
      LiftjaxError: limbs have no human length, so the calibration is not in metres.
    """
    numbers = sorted(set().union(*people))
    if not any(len(found) for camera in people for found in camera.values()):
        return []
    limbs = _limbs(joint_set)
    _check_units(people, cameras, numbers, limbs)
    frames, chosen = [], []
    shown = tqdm(numbers, desc="matching people", unit="frames", delay=1)
    for number, (detections, rays) in zip(shown, _views(people, cameras, numbers), strict=True):
        for choice in _people_of_frame(detections, rays, cameras, limbs, _LIMB_M):
            frames.append(number)
            chosen.append(_pick(detections, choice))
    if not frames:
        return []
    detections = np.stack(chosen, axis=1)
    weights = confident(detections)
    world = triangulate(detections[..., :2], weights, cameras)
    step_m = max(_MIN_STEP_M, _MAX_SPEED_M_S / fps)
    rows = _link(np.array(frames), world, (weights > 0).any(axis=-1).sum(axis=0), step_m)
    tracks = [Track(np.array(frames)[r], detections[:, r]) for r in rows]
    return sorted(tracks, key=lambda track: (-track.views, track.frames[0]))


def confident(detections: np.ndarray) -> np.ndarray:
    """The confidences (...,) of detections (..., 3), zero below what counts as seen."""
    return np.where(detections[..., 2] >= MIN_CONFIDENCE, detections[..., 2], 0)


def _views(
    people: Sequence[Mapping[int, np.ndarray]],
    cameras: Sequence[CalibratedCamera],
    numbers: Sequence[int],
) -> Iterator[tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]]:
    """For each frame (detections, rays): for each camera (P, J, 3) and (P, J, 2).

    Only the most confident detections; their rays are computed for many frames at once.
    """
    joints = next(len(p[0]) for camera in people for p in camera.values() if len(p))
    nobody = np.zeros((0, joints, 3))
    for start in range(0, len(numbers), _CHUNK):
        columns = []
        for found, camera in zip(people, cameras, strict=True):
            chosen = [_surest(found.get(n, nobody)) for n in numbers[start : start + _CHUNK]]
            rays = camera.rays(np.concatenate(chosen)[..., :2])
            ends = np.cumsum([len(detections) for detections in chosen])
            columns.append(zip(chosen, np.split(rays, ends[:-1]), strict=True))
        for frame in zip(*columns, strict=True):
            yield tuple(zip(*frame, strict=True))


def _surest(everyone: np.ndarray) -> np.ndarray:
    """The most confident few of a frame's detections (P, J, 3), in their order."""
    order = np.argsort(-everyone[..., 2].sum(axis=-1), kind="stable")
    return everyone[np.sort(order[:_MOST_DETECTIONS])]


def _pick(detections: Sequence[np.ndarray], choice: Sequence[int]) -> np.ndarray:
    """(C, J, 3): the chosen detection of each camera, zeros for -1."""
    joints = detections[0].shape[1]
    return np.stack(
        [d[i] if i >= 0 else np.zeros((joints, 3)) for d, i in zip(detections, choice, strict=True)]
    )


def _people_of_frame(
    detections: Sequence[np.ndarray],
    rays: Sequence[np.ndarray],
    cameras: Sequence[CalibratedCamera],
    limbs,
    limb_m=(0.0, np.inf),
) -> Iterator[np.ndarray]:
    """For each person (C,) indices of their detections, -1 where a camera has none."""
    seen = [d[..., 2] >= MIN_CONFIDENCE for d in detections]
    pairs, poses, known = _pair_poses(rays, seen, cameras)
    if not len(pairs):
        return
    sizes = _limb_lengths(poses, known, limbs)
    human = (sizes >= limb_m[0]) & (sizes <= limb_m[1])
    pairs, poses, known = pairs[human], poses[human], known[human]
    errors = _errors_px(poses, known, rays, seen, cameras)
    limit = tolerance_px(cameras)
    while len(pairs):
        best = [e.min(axis=1, initial=np.inf) for e in errors]  # (H,) for each camera
        matched = np.stack([b < limit for b in best])
        views = matched.sum(axis=0)
        total = np.where(matched, np.stack(best), 0).sum(axis=0) / np.maximum(views, 1)
        first = np.lexsort((total, -views))[0]
        if views[first] < 2:
            return
        choice = np.array(
            [e[first].argmin() if m else -1 for e, m in zip(errors, matched[:, first], strict=True)]
        )
        yield choice
        for error, i in zip(errors, choice, strict=True):
            if i >= 0:
                error[:, i] = np.inf  # nobody else's


def _pair_poses(rays, seen, cameras):
    """Poses of all pairs of detections from two cameras.

    Returns:
      (H, 4) camera, detection, camera, detection; poses (H, J, 3) world metres and (H, J) whether
      a joint is known: seen by both and in front of both.
    """
    joints = rays[0].shape[1]
    pairs, poses, known = [np.zeros((0, 4), int)], [np.zeros((0, joints, 3))], []
    known.append(np.zeros((0, joints), bool))
    for a, b in itertools.combinations(range(len(cameras)), 2):
        i, j = (g.ravel() for g in np.indices((len(rays[a]), len(rays[b]))))
        points, in_front = _nearest_points(rays[a][i], rays[b][j], cameras[a], cameras[b])
        pairs.append(np.stack([np.full_like(i, a), i, np.full_like(j, b), j], axis=-1))
        poses.append(points)
        known.append(in_front & seen[a][i] & seen[b][j])
    return np.concatenate(pairs), np.concatenate(poses), np.concatenate(known)


def _nearest_points(rays_a, rays_b, a: CalibratedCamera, b: CalibratedCamera):
    """Middles (..., 3) between two lines of sight where they come nearest; whether in front."""
    along_a, along_b = (
        np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) @ camera.R
        for rays, camera in ((rays_a, a), (rays_b, b))
    )
    between = b.position - a.position
    aa, bb = (along_a**2).sum(axis=-1), (along_b**2).sum(axis=-1)
    ab = (along_a * along_b).sum(axis=-1)
    pa, pb = along_a @ between, along_b @ between
    determinant = np.maximum(aa * bb - ab * ab, 1e-12)
    depth_a, depth_b = (bb * pa - ab * pb) / determinant, (ab * pa - aa * pb) / determinant
    point_a = a.position + depth_a[..., None] * along_a
    point_b = b.position + depth_b[..., None] * along_b
    return (point_a + point_b) / 2, (depth_a > 0) & (depth_b > 0)


def _errors_px(poses, known, rays, seen, cameras) -> list[np.ndarray]:
    """For each camera (H, P): median distance of a detection from the projected pose."""
    errors = []
    enough = max(3, poses.shape[1] // 5)
    for ray, found, camera in zip(rays, seen, cameras, strict=True):
        points = camera.to_camera(poses)
        depth = points[..., 2]
        projected = points[..., :2] / np.where(np.abs(depth) > 1e-9, depth, 1e-9)[..., None]
        off = camera.K[0, 0] * np.linalg.norm(projected[:, None] - ray[None], axis=-1)
        counted = (known & (depth > 0))[:, None] & found[None]
        errors.append(_median(off, counted, enough))
    return errors


def _median(values: np.ndarray, counted: np.ndarray, enough: int) -> np.ndarray:
    """Medians over the last axis of the counted values; inf where they are fewer than `enough`."""
    ordered = np.sort(np.where(counted, values, np.inf), axis=-1)
    count = counted.sum(axis=-1)
    middle = np.maximum(count - 1, 0) // 2
    medians = np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0]
    return np.where(count >= enough, medians, np.inf)


def _link(frames: np.ndarray, world: np.ndarray, views: np.ndarray, step_m: float):
    """Indices of the poses of each track, in time; `frames` do not decrease."""
    tracks: list[list[int]] = []
    for _, group in itertools.groupby(range(len(frames)), key=lambda i: frames[i]):
        here = list(group)
        options = []
        for t, track in enumerate(tracks):
            last = track[-1]
            reach = min(step_m * (frames[here[0]] - frames[last]), max(_MAX_ABSENCE_M, step_m))
            for i in here:
                distance = _median_distance(world[i], world[last])
                if distance < reach:
                    options.append((distance - _VIEW_BONUS_M * int(views[i]), -len(track), t, i))
        taken_tracks, taken = set(), set()
        for _, _, t, i in sorted(options):
            if t not in taken_tracks and i not in taken:
                tracks[t].append(i)
                taken_tracks.add(t)
                taken.add(i)
        tracks.extend([i] for i in here if i not in taken)
    return tracks


def _median_distance(a: np.ndarray, b: np.ndarray) -> float:
    distances = np.linalg.norm(a - b, axis=-1)
    known = np.isfinite(distances)
    return float(np.median(distances[known])) if known.any() else np.inf


# Limbs


def _limbs(joint_set: str) -> np.ndarray:
    """(8, 2) joint indices of upper and lower arms and legs."""
    skeleton = get_skeleton(joint_set)
    chains = (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
    limbs = itertools.product(("left", "right"), chains)
    return np.array([[skeleton.index(f"{side}_{j}") for j in pair] for side, pair in limbs])


def _limb_lengths(poses: np.ndarray, known: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """(H,) median limb lengths of poses (H, J, 3), NaN where no limb is known."""
    lengths = np.linalg.norm(poses[:, limbs[:, 0]] - poses[:, limbs[:, 1]], axis=-1)
    medians = _median(lengths, known[:, limbs].all(axis=-1), 1)
    return np.where(np.isfinite(medians), medians, np.nan)


def _check_units(people, cameras, numbers, limbs) -> None:
    """Raises if people on whom the cameras agree have limbs of no human length."""
    lengths = []
    sample = numbers[:: max(1, len(numbers) // _SAMPLE)]
    for detections, rays in _views(people, cameras, sample):
        choice = next(_people_of_frame(detections, rays, cameras, limbs), None)
        if choice is not None:
            chosen = _pick(detections, choice)[:, None]
            weights = confident(chosen)
            world = triangulate(chosen[..., :2], weights, cameras)
            known = np.isfinite(world).all(axis=-1)
            lengths.append(_limb_lengths(np.nan_to_num(world), known, limbs)[0])
    lengths = np.array(lengths)
    lengths = lengths[np.isfinite(lengths)]
    if not lengths.size or _LIMB_M[0] <= np.median(lengths) <= _LIMB_M[1]:
        return
    typical = float(np.median(lengths))
    fits = [u for f, u in _UNITS.items() if _LIMB_M[0] <= typical / f <= _LIMB_M[1]]
    guess = f"is it in {fits[0]}? " if fits else ""
    raise LiftjaxError(
        f"A person's limbs are {typical:.3g} m long by the calibration, expected about 0.35 m; "
        f"{guess}Give --calibration-unit, or scale the translations."
    )
