"""BVH files, a motion format that animation programs read: one for each person and lifter.

Lengths are metres, y is up, and a person who faces the camera faces z. Blender takes a BVH unit as
a metre and turns y to its own up, z; for programs that count in centimetres scale by 100. The
root's channels say where the person was in front of the camera. At rest the person stands in a
T-pose; see rig.py.

A file begins with the first frame in which its person was found. In frames without the person every
joint moves on a straight line between the frames around.

Legend: T frames, J joints.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from liftjax.geometry import interpolate_frames
from liftjax.inference.files import picture_stems, plain_name
from liftjax.inference.outputs.people import chunks, frame_rate, placed, track_spans
from liftjax.inference.outputs.rig import Rig, build_rig, joint_tree, to_rig_axes, zxy_degrees
from liftjax.inference.results import Result
from liftjax.writing import output_file

_MEASURED = 1000  # poses about that bone lengths are the mean of
_FRAMES_AT_A_TIME = 1024


def write_bvh(result: Result, stem: Path) -> list[Path]:
    """Writes STEM_personTRACK.bvh for every person, of several lifters STEM_personTRACK_LIFTER.bvh.

    In pictures every person is a file of one frame, named after the picture. Memory does not grow
    with the number of frames.

    Returns:
      the files written; people without a finite pose have none.

    Raises:
      LiftjaxError: the joints of the poses do not form a tree.
    """
    if not result.lifters:
        return []
    joint_tree(result.skeleton_3d)  # raises before anything is written
    written = []
    for name, track, span in _takes(result, stem.name):
        for index, lifter in enumerate(result.lifters):
            ending = f"_{plain_name(lifter)}" if len(result.lifters) > 1 else ""
            path = stem.with_name(f"{name}_person{track}{ending}.bvh")
            if _write_take(result, path, track, span, index):
                written.append(path)
    return written


def _takes(result: Result, name: str) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Name, person, and span of rows to look in, of what becomes a file for each lifter."""
    if result.source.is_video:
        for track, span in track_spans(result.rows).items():
            yield name, track, span
        return
    stems = result.stems or picture_stems(result.names)
    for start, row in enumerate(result.rows):
        yield stems[row["frame"]], int(row["track"]), (start, start + 1)


def _write_take(result: Result, path: Path, track: int, span, lifter: int) -> bool:
    sample, first, last = [], None, None
    keep = max(1, (span[1] - span[0]) // _MEASURED)
    for frames, pose_TJ3 in _seen(result.rows, track, span, lifter):
        sample.append(pose_TJ3[frames % keep == frames[0] % keep])
        first, last = frames[0] if first is None else first, frames[-1]
    if first is None:
        return False
    rig = build_rig(result.skeleton_3d, np.concatenate(sample))
    with output_file(path) as partial, open(partial, "w", encoding="ascii", newline="\n") as file:
        file.write(f"HIERARCHY\n{hierarchy(rig)}MOTION\n")
        file.write(f"Frames: {last - first + 1}\nFrame Time: {1 / frame_rate(result):.10f}\n")
        before = None
        for pose_TJ3 in _without_gaps(_seen(result.rows, track, span, lifter)):
            motion, before = _channels(rig, pose_TJ3, before)
            file.writelines(f"{_numbers(line)}\n" for line in motion)
    return True


def _seen(rows, track, span, lifter) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frame numbers (T,) and joint positions (T, J, 3) in the rig's axes, piece by piece.

    Rows with a number that is not finite are left out.
    """
    for chunk in chunks(rows, *span):
        mine = chunk[chunk["track"] == track]
        pose_TJ3 = to_rig_axes(placed(mine, lifter).astype(np.float64))
        whole = np.isfinite(pose_TJ3).all(axis=(1, 2))
        whole &= np.isfinite(mine["root_m"][:, lifter]).all(axis=1)
        if whole.any():
            yield mine["frame"][whole].astype(np.int64), pose_TJ3[whole]


def _without_gaps(seen) -> Iterator[np.ndarray]:
    """Joints (T, J, 3) of every frame from the first to the last, piece by piece."""
    last_frame, last_pose = None, None
    for frames, pose_TJ3 in seen:
        if last_frame is not None:
            frames = np.concatenate([[last_frame], frames])
            pose_TJ3 = np.concatenate([last_pose[None], pose_TJ3])
        start = frames[0] if last_frame is None else last_frame + 1
        for at in range(start, frames[-1] + 1, _FRAMES_AT_A_TIME):
            wanted = np.arange(at, min(at + _FRAMES_AT_A_TIME, frames[-1] + 1))
            yield interpolate_frames(frames, pose_TJ3, wanted)
        last_frame, last_pose = frames[-1], pose_TJ3[-1]


def _channels(rig: Rig, pose_TJ3: np.ndarray, before: np.ndarray | None):
    """Lines (T, 3 + 3 J) of the motion, and the last angles, from which the next lines go on."""
    angles = zxy_degrees(rig.rotations(pose_TJ3)[:, list(rig.order)]).reshape(len(pose_TJ3), -1)
    if before is None:
        before = angles[0]
    # No jump from 180 to -180 degrees: programs interpolate between frames.
    angles = np.unwrap(np.concatenate([before[None], angles]), period=360, axis=0)[1:]
    return np.concatenate([pose_TJ3[:, rig.order[0]], angles], axis=1), angles[-1]


def hierarchy(rig: Rig) -> str:
    """The part of the file that lists the joints; the root has six channels, others have three."""
    return "".join(f"{line}\n" for line in _joint_lines(rig, rig.order[0], ""))


def _joint_lines(rig: Rig, joint: int, indent: str) -> Iterator[str]:
    root = rig.parents[joint] < 0
    yield f"{indent}{'ROOT' if root else 'JOINT'} {rig.skeleton.joints[joint]}"
    yield f"{indent}{{"
    yield f"{indent}\tOFFSET {_numbers(rig.offsets_m[joint])}"
    positions = "Xposition Yposition Zposition " if root else ""
    yield f"{indent}\tCHANNELS {6 if root else 3} {positions}Zrotation Xrotation Yrotation"
    children = rig.children(joint)
    for child in children:
        yield from _joint_lines(rig, child, indent + "\t")
    if not children:
        yield f"{indent}\tEnd Site"
        yield f"{indent}\t{{"
        yield f"{indent}\t\tOFFSET {_numbers(rig.stub_m(joint))}"
        yield f"{indent}\t}}"
    yield f"{indent}}}"


def _numbers(values: np.ndarray) -> str:
    return " ".join(f"{value:.5f}" for value in values.tolist())
