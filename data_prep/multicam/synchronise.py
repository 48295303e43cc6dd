"""How many frames a camera runs late, from the people it sees.

Two cameras that show the same moment see a joint on each other's epipolar lines. For every pair of
cameras and every shift the distances from these lines are measured, and the lags of all cameras are
those whose shifts have the least sum. First that is the mean distance of whoever fits best. Then
it is the distances of the one person that could be followed so: mostly how much they vary in time,
since a camera that was moved after the calibration has large distances, but constant ones, and
some lag always makes them smaller.

Legend: C cameras, F frames, J joints, P detections of a camera, N frames compared.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.multicam.calibration import Camera
from data_prep.multicam.follow import confident, follow_people, tolerance_px
from liftjax import geometry

_FRAMES = 300  # compared for a pair of cameras
_PEOPLE = 3  # of a camera, the most confident, before one is followed
_GAIN = 0.05  # a lag must lower a camera's error by this share, or the motion does not show it
_LEAST_FRAMES = 8  # in common
_MEAN_SHARE = 0.25  # of the mean distance beside its variation; decides if nothing varies
_ROUNDS = 20  # of improving one camera's lag after another


@dataclasses.dataclass(frozen=True, eq=False)
class Lags:
    """Lags of C cameras.

    Attributes:
      frames: (C,) ints: camera c shows at its frame n + frames[c] what the others show at n. Most
        cameras have 0.
      least_error: (C,) the same by the mean distance alone. If they differ, the calibration is off.
      before_px, after_px: (C,) mean distances from the other cameras' epipolar lines without and
        with the lags; NaN where nothing could be compared.
    """

    frames: tuple[int, ...]
    least_error: tuple[int, ...]
    before_px: tuple[float, ...]
    after_px: tuple[float, ...]


def no_lags(count: int) -> Lags:
    """Of cameras that are taken to be in step."""
    return Lags((0,) * count, (0,) * count, (np.nan,) * count, (np.nan,) * count)


def estimate_lags(
    people: Sequence[Mapping[int, np.ndarray]],
    cameras: Sequence[Camera],
    joint_set: str,
    max_lag: int,
    fps: float = 60.0,
) -> Lags:
    """The lags of the cameras to each other, at most `max_lag` frames.

    Args:
      people: for each camera, frame number -> (P, J, 3), by the numbers of its own video.
    """
    first = _best_lags(_tables(people, cameras, max_lag)[0], len(cameras))
    tracks = follow_people(shifted(people, first), cameras, joint_set, fps)
    followed = people
    if tracks:
        followed = [
            {
                int(number) + lag: joints[None]
                for number, joints in zip(tracks[0].frames, tracks[0].detections[c], strict=True)
                if (joints[:, 2] > 0).any()
            }
            for c, lag in enumerate(first)
        ]
    mean, variation = _tables(followed, cameras, max_lag)
    both = {pair: variation[pair] + _MEAN_SHARE * mean[pair] for pair in mean}
    lags = _best_lags(both, len(cameras), first)
    return Lags(
        lags,
        _best_lags(mean, len(cameras), first),
        tuple(_error(mean, [0] * len(cameras), c) for c in range(len(cameras))),
        tuple(_error(mean, lags, c) for c in range(len(cameras))),
    )


def shifted(people: Sequence[Mapping[int, np.ndarray]], lags: Sequence[int]):
    """`people` by the numbers of common time: what a camera calls n + lag becomes n."""
    return [
        {number - lag: found for number, found in camera.items()}
        for camera, lag in zip(people, lags, strict=True)
    ]


def _tables(people, cameras, max_lag: int):
    """Mean and variation of the distances by pair of cameras.

    Each is (2 max_lag + 1,) pixels by the second camera's lag behind the first.
    """
    limit = tolerance_px(cameras)
    packed = [_pack(camera, calibrated) for camera, calibrated in zip(people, cameras, strict=True)]
    mean, variation = {}, {}
    for a, b in itertools.combinations(range(len(cameras)), 2):
        essential = _essential(cameras[a], cameras[b])
        focal = (cameras[a].K[0, 0] + cameras[b].K[0, 0]) / 2
        errors = [
            _errors_px(packed[a], packed[b], shift, focal, essential, limit)
            for shift in range(-max_lag, max_lag + 1)
        ]
        mean[a, b], variation[a, b] = _never_better(np.array(errors).T)
    return mean, variation


def _never_better(errors: np.ndarray) -> np.ndarray:
    """Errors (2, shifts) with the worst one for shifts at which too few frames meet."""
    known = np.isfinite(errors).all(axis=0)
    if not known.any():
        return errors
    worst = errors[:, known].max(axis=1, keepdims=True)
    return np.where(known, errors, worst)


def _pack(people: Mapping[int, np.ndarray], camera: Camera):
    """First number, rays (F, P, J, 2) and whether seen (F, P, J), for all numbers in a row."""
    numbers = [n for n, found in people.items() if len(found)]
    if not numbers:
        return 0, np.zeros((0, 1, 1, 2)), np.zeros((0, 1, 1), bool)
    first, last = min(numbers), max(numbers)
    joints = people[numbers[0]].shape[1]
    most = min(_PEOPLE, max(len(people[n]) for n in numbers))
    dense = np.zeros((last - first + 1, most, joints, 3))
    for number in numbers:
        found = people[number]
        order = np.argsort(-found[..., 2].sum(axis=-1), kind="stable")[:most]
        dense[number - first, : len(order)] = found[order]
    rays = geometry.pixel_rays(dense[..., :2], camera.K, camera.distortion)
    return first, rays, confident(dense) > 0


def _errors_px(a, b, shift: int, focal: float, essential, limit: float) -> tuple[float, float]:
    """Mean and variation of the distance of those who fit best; NaN if too few frames meet."""
    (first_a, rays_a, seen_a), (first_b, rays_b, seen_b) = a, b
    start = max(first_a, first_b - shift)
    stop = min(first_a + len(rays_a), first_b + len(rays_b) - shift)
    if stop - start < _LEAST_FRAMES:
        return np.nan, np.nan
    at = np.arange(start, stop, max(1, (stop - start) // _FRAMES))
    i, j = at - first_a, at + shift - first_b
    distance = focal * _epipolar_distance(rays_a[i][:, :, None], rays_b[j][:, None], essential)
    both = seen_a[i][:, :, None] & seen_b[j][:, None]  # (N, P, P, J)
    count = both.sum(axis=-1)
    error = np.where(both, np.minimum(np.abs(distance), limit), 0).sum(axis=-1)
    error = np.where(count > 0, error / np.maximum(count, 1), np.inf).reshape(len(at), -1)
    best = error.argmin(axis=1)
    rows = np.flatnonzero(np.isfinite(error.min(axis=1)))
    if len(rows) < _LEAST_FRAMES:
        return np.nan, np.nan
    mean = float(error[rows, best[rows]].mean())
    joints = distance.shape[-1]
    chosen = distance.reshape(len(at), -1, joints)[rows, best[rows]]
    counted = both.reshape(len(at), -1, joints)[rows, best[rows]]
    return mean, _variation(chosen, counted, limit)


def _variation(distance: np.ndarray, counted: np.ndarray, limit: float) -> float:
    """Mean deviation of distances (N, J) from each joint's median in time, at most `limit`."""
    total = 0.0
    for values, known in zip(distance.T, counted.T, strict=True):
        if known.any():
            total += np.minimum(np.abs(values[known] - np.median(values[known])), limit).sum()
    return float(total / counted.sum())


def _essential(a: Camera, b: Camera) -> np.ndarray:
    """(3, 3): x_b E x_a = 0 for the rays of one point (Hartley and Zisserman, 9.6)."""
    R = b.R @ a.R.T
    x, y, z = b.t - R @ a.t
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ R


def _epipolar_distance(rays_a, rays_b, essential) -> np.ndarray:
    """Sampson's distance (...,), signed, of rays (..., 2) from each other's epipolar lines."""
    a, b = (np.concatenate([r, np.ones_like(r[..., :1])], axis=-1) for r in (rays_a, rays_b))
    line_b, line_a = a @ essential.T, b @ essential
    slope = (line_a[..., :2] ** 2).sum(axis=-1) + (line_b[..., :2] ** 2).sum(axis=-1)
    return (b * line_b).sum(axis=-1) / np.sqrt(np.maximum(slope, 1e-18))


def _error(tables: Mapping[tuple[int, int], np.ndarray], lags: Sequence[int], only=None) -> float:
    """Mean error over pairs of cameras, or over those of one camera."""
    reach = (len(next(iter(tables.values()))) - 1) // 2
    pairs = [(a, b) for a, b in tables if only is None or only in (a, b)]
    if any(abs(lags[b] - lags[a]) > reach for a, b in pairs):
        return np.inf
    values = [tables[a, b][lags[b] - lags[a] + reach] for a, b in pairs]
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else np.inf


def _best_lags(tables, count: int, start: Sequence[int] = ()) -> tuple[int, ...]:
    """The lags of `count` cameras with the least error; 0 for most of them.

    One camera's lag after another is improved, from several beginnings: none, `start`, and each
    camera's best to one of the cameras.
    """
    reach = (len(next(iter(tables.values()))) - 1) // 2

    def improved(lags: list[int]) -> list[int]:
        for _ in range(_ROUNDS):
            before = list(lags)
            for camera in range(count):
                options = [[*lags[:camera], n, *lags[camera + 1 :]] for n in _by_size(reach)]
                lags = min(options, key=lambda option: _error(tables, option))
            if lags == before:
                break
        return lags

    beginnings = [[0] * count, *([list(start)] if len(start) else [])]
    beginnings += [_relative_to(c, tables, count, reach) for c in range(count)]
    ends = [improved(lags) for lags in beginnings]
    best = _anchored(min(ends, key=lambda lags: _error(tables, lags)))
    for camera in range(count):  # a lag that changes little is noise
        without = [*best[:camera], 0, *best[camera + 1 :]]
        if _error(tables, best, camera) > (1 - _GAIN) * _error(tables, without, camera):
            best = without
    return tuple(best)


def _by_size(reach: int) -> list[int]:
    """0, -1, 1, -2, ...: of equal ones the smallest is taken."""
    return sorted(range(-reach, reach + 1), key=abs)


def _relative_to(reference: int, tables, count: int, reach: int) -> list[int]:
    """Every camera's best lag behind one of them."""
    lags = []
    for camera in range(count):
        a, b = sorted((reference, camera))
        table = tables.get((a, b), np.full(1, np.nan))
        best = int(np.nanargmin(table)) - reach if np.isfinite(table).any() else 0
        lags.append(best if camera == b else -best)
    return lags


def _anchored(lags: list[int]) -> list[int]:
    """The same lags with 0 for what most cameras have; of equally many, the first camera's."""
    counts = Counter(lags)
    usual = max(lags, key=lambda lag: (counts[lag], -lags.index(lag)))
    return [lag - usual for lag in lags]
