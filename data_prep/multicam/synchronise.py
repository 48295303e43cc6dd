"""How many frames a camera runs late, from the people it sees.

Two cameras that show the same moment see a joint on each other's epipolar lines. For every pair of
cameras and every shift the distances from these lines are measured; the lags of all cameras are
those whose shifts have the least sum. The measure is first the mean distance of whoever fits best,
then the distances of the one person that could be followed with these lags, and mostly how much
they vary in time: a camera that was moved after the calibration has large but constant distances,
and some wrong lag always makes them smaller.

Legend: C cameras, F frames, J joints, P detections of a camera, N frames compared.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.cameras import CalibratedCamera
from data_prep.multicam.follow import confident, follow_people, tolerance_px

_FRAMES = 300  # compared for a pair of cameras
_PEOPLE = 3  # the most confident of a camera, before one person is followed
_GAIN = 0.05  # a lag must lower a camera's error by this share, or the motion does not show it
_LEAST_FRAMES = 8  # in common
_MEAN_SHARE = 0.25  # of the mean distance beside its variation; decides if nothing varies
_ROUNDS = 20  # of improving one camera's lag after another


@dataclasses.dataclass(frozen=True, eq=False)
class Lags:
    """Lags of C cameras.

    Attributes:
      frames: (C,) ints: at its frame n + frames[c] camera c shows what the others show at n. Most
        cameras have 0.
      least_error: (C,) the lags by the mean distance alone. If they differ from `frames`, the
        calibration is off.
      before_px, after_px: (C,) mean distances from the other cameras' epipolar lines, without and
        with the lags; NaN where nothing could be compared.
    """

    frames: tuple[int, ...]
    least_error: tuple[int, ...]
    before_px: tuple[float, ...]
    after_px: tuple[float, ...]


def no_lags(count: int) -> Lags:
    """Lags of cameras that are taken to be in step."""
    return Lags((0,) * count, (0,) * count, (np.nan,) * count, (np.nan,) * count)


def estimate_lags(
    people: Sequence[Mapping[int, np.ndarray]],
    cameras: Sequence[CalibratedCamera],
    joint_set: str,
    max_lag: int,
    fps: float = 60.0,
) -> Lags:
    """The lags of the cameras to each other, at most `max_lag` frames.

    Args:
      people: for each camera, frame number -> (P, J, 3), by the numbers of its own video.
      cameras: the C cameras.
      joint_set: name of the J joints.
      max_lag: frames.
      fps: frame rate.
    """
    count = len(cameras)
    first = _best_lags(_distance_tables(people, cameras, max_lag)[0], count)
    tracks = follow_people(shift_frames(people, first), cameras, joint_set, fps)
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
    mean, variation = _distance_tables(followed, cameras, max_lag)
    both = {pair: variation[pair] + _MEAN_SHARE * mean[pair] for pair in mean}
    lags = _best_lags(both, count, first)
    return Lags(
        lags,
        _best_lags(mean, count, first),
        tuple(_mean_error(mean, [0] * count, c) for c in range(count)),
        tuple(_mean_error(mean, lags, c) for c in range(count)),
    )


def shift_frames(people: Sequence[Mapping[int, np.ndarray]], lags: Sequence[int]):
    """`people` by the numbers of common time: what a camera calls n + lag becomes n."""
    return [
        {number - lag: found for number, found in camera.items()}
        for camera, lag in zip(people, lags, strict=True)
    ]


def _distance_tables(people, cameras, max_lag: int):
    """Mean and variation of the distances, for each pair of cameras.

    Each is (2 max_lag + 1,) pixels by the second camera's lag behind the first.
    """
    limit = tolerance_px(cameras)
    packed = [_pack(found, camera) for found, camera in zip(people, cameras, strict=True)]
    mean, variation = {}, {}
    for a, b in itertools.combinations(range(len(cameras)), 2):
        essential = _essential(cameras[a], cameras[b])
        focal = (cameras[a].K[0, 0] + cameras[b].K[0, 0]) / 2
        errors = np.array(
            [
                _distances_px(packed[a], packed[b], shift, focal, essential, limit)
                for shift in range(-max_lag, max_lag + 1)
            ]
        ).T
        known = np.isfinite(errors).all(axis=0)
        if known.any():  # a shift at which too few frames meet is never the best one
            worst = errors[:, known].max(axis=1, keepdims=True)
            errors = np.where(known, errors, worst)
        mean[a, b], variation[a, b] = errors
    return mean, variation


def _pack(people: Mapping[int, np.ndarray], camera: CalibratedCamera):
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
    return first, camera.rays(dense[..., :2]), confident(dense) > 0


def _distances_px(a, b, shift: int, focal: float, essential, limit: float) -> tuple[float, float]:
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
    distance, both = (
        array.reshape(len(at), -1, array.shape[-1])[rows, best[rows]] for array in (distance, both)
    )
    return mean, _variation(distance, both, limit)


def _variation(distance: np.ndarray, counted: np.ndarray, limit: float) -> float:
    """Mean deviation of distances (N, J) from each joint's median in time, at most `limit`."""
    total = 0.0
    for values, known in zip(distance.T, counted.T, strict=True):
        if known.any():
            total += np.minimum(np.abs(values[known] - np.median(values[known])), limit).sum()
    return float(total / counted.sum())


def _essential(a: CalibratedCamera, b: CalibratedCamera) -> np.ndarray:
    """(3, 3): x_b E x_a = 0 for the rays of one point (Hartley and Zisserman, 9.6)."""
    R = b.R @ a.R.T
    x, y, z = b.t - R @ a.t
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ R


def _epipolar_distance(rays_a, rays_b, essential) -> np.ndarray:
    """Sampson's signed distance (...,) of rays (..., 2) from each other's epipolar lines."""
    a, b = (np.concatenate([r, np.ones_like(r[..., :1])], axis=-1) for r in (rays_a, rays_b))
    line_b, line_a = a @ essential.T, b @ essential
    slope = (line_a[..., :2] ** 2).sum(axis=-1) + (line_b[..., :2] ** 2).sum(axis=-1)
    return (b * line_b).sum(axis=-1) / np.sqrt(np.maximum(slope, 1e-18))


def _reach(tables: Mapping[tuple[int, int], np.ndarray]) -> int:
    """The largest shift in the tables."""
    return (len(next(iter(tables.values()))) - 1) // 2


def _mean_error(
    tables: Mapping[tuple[int, int], np.ndarray], lags: Sequence[int], only: int | None = None
) -> float:
    """Mean error over all pairs of cameras, or over the pairs of one camera."""
    reach = _reach(tables)
    pairs = [(a, b) for a, b in tables if only is None or only in (a, b)]
    if any(abs(lags[b] - lags[a]) > reach for a, b in pairs):
        return np.inf
    values = [tables[a, b][lags[b] - lags[a] + reach] for a, b in pairs]
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else np.inf


def _best_lags(tables, count: int, start: Sequence[int] = ()) -> tuple[int, ...]:
    """The lags of `count` cameras with the least error; 0 for most of them.

    One camera's lag after another is improved, from several beginnings: no lags, `start`, and each
    camera's best lag to one of the cameras.
    """
    shifts = sorted(range(-_reach(tables), _reach(tables) + 1), key=abs)  # the smallest first

    def improve(lags: list[int]) -> list[int]:
        for _ in range(_ROUNDS):
            before = list(lags)
            for camera in range(count):
                options = [[*lags[:camera], n, *lags[camera + 1 :]] for n in shifts]
                lags = min(options, key=lambda option: _mean_error(tables, option))
            if lags == before:
                break
        return lags

    beginnings = [[0] * count, *([list(start)] if len(start) else [])]
    beginnings += [_lags_to(camera, tables, count) for camera in range(count)]
    ends = [improve(lags) for lags in beginnings]
    best = min(ends, key=lambda lags: _mean_error(tables, lags))
    # Most cameras get 0; if several lags are equally frequent, the first camera's is taken.
    counts = Counter(best)
    usual = max(best, key=lambda lag: (counts[lag], -best.index(lag)))
    best = [lag - usual for lag in best]
    for camera in range(count):  # a lag that changes little is noise
        without = [*best[:camera], 0, *best[camera + 1 :]]
        if _mean_error(tables, best, camera) > (1 - _GAIN) * _mean_error(tables, without, camera):
            best = without
    return tuple(best)


def _lags_to(reference: int, tables, count: int) -> list[int]:
    """Every camera's best lag behind one of them."""
    lags = []
    for camera in range(count):
        a, b = sorted((reference, camera))
        table = tables.get((a, b), np.full(1, np.nan))
        best = int(np.nanargmin(table)) - _reach(tables) if np.isfinite(table).any() else 0
        lags.append(best if camera == b else -best)
    return lags
