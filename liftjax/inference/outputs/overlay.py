"""People drawn on their pictures, with a panel beside that shows the first lifter's poses in 3D."""

from pathlib import Path

import cv2
import numpy as np

from liftjax.inference import trust
from liftjax.inference.files import picture_stems, with_ending
from liftjax.inference.outputs import colors
from liftjax.inference.outputs.panel import View, dot, draw_panel, fitting_view, line
from liftjax.inference.outputs.people import (
    evenly,
    frame_rate,
    known_frames,
    largest_first,
    placed_where_drawn,
    stand_together,
)
from liftjax.inference.pictures import encode_jpeg, resized
from liftjax.inference.results import Frame, Result
from liftjax.skeletons import Skeleton
from liftjax.writing import output_file

_LARGEST = 1920  # longer side of a picture as it is drawn
_SMALLEST = 360  # height below which small pictures are enlarged
_JPEG_QUALITY = 92
_LOOKED_AT = 2000  # rows from which a video's view is found
_RIM = (245, 247, 249)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_overlay(result: Result, stem: Path) -> list[Path]:
    """Writes STEM_poses.mp4 (H.264), or for pictures a JPEG each, NAME_poses.jpg beside STEM.

    Reads the source once; memory does not grow with the number of frames.
    """
    if result.source.is_video:
        path = with_ending(stem, "_poses.mp4")
        return [path] if _write_video(result, path) else []
    paths = []
    stems = result.stems or picture_stems(result.names)
    for frame in known_frames(result):
        path = stem.with_name(f"{stems[frame.index]}_poses.jpg")
        drawn = draw_frame(frame, result.people(frame.index), result)
        with output_file(path) as partial:
            partial.write_bytes(encode_jpeg(drawn, _JPEG_QUALITY))
        paths.append(path)
    return paths


def _write_video(result: Result, path: Path) -> bool:
    """Whether there was a frame to write."""
    from liftjax.inference.video_file import video_writer

    view = whole_view(result)
    pictures = (draw_frame(f, result.people(f.index), result, view) for f in known_frames(result))
    first = next(pictures, None)
    if first is None:
        return False
    height, width = first.shape[:2]
    with video_writer(path, (width, height), frame_rate(result)) as append:
        append(first)
        for drawn in pictures:
            if drawn.shape != (height, width, 3):
                drawn = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)
            append(drawn)
    return True


def whole_view(result: Result) -> View | None:
    """The view that the panel keeps throughout a video; None without lifters."""
    if not result.lifters:
        return None
    return _view(evenly(result.rows, _LOOKED_AT), stand_together(result))


def draw_frame(
    frame: Frame, people: np.ndarray, result: Result, view: View | None = None
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: the frame with its people and, if there are lifters, the panel.

    Args:
      people: (P,) rows of the frame.
      view: what the panel shows; default: these people.
    """
    scale = _drawn_scale(frame.size)
    picture = resized(frame.image, scale)
    several = len(people) > 1
    main_first = people[largest_first(people)]
    for row in main_first[::-1]:  # the largest last, in front
        draw_person(picture, row, result.skeleton_2d, scale, label=several)
    if not result.lifters:
        return picture
    height = max(len(picture), _SMALLEST)
    width = int(np.clip(0.8 * height, 0.3 * picture.shape[1], picture.shape[1]))
    width = max(width, _SMALLEST // 2)
    panel = draw_panel(
        (width, height),
        *placed_where_drawn(main_first, 0),
        main_first["root_m"][:, 0],
        main_first["track"].tolist(),
        result.skeleton_3d,
        view or _view(people, several),
    )
    _write_notes(panel, frame, result)
    return np.concatenate([_framed(picture, height), panel], axis=1)


def draw_person(
    image: np.ndarray, row: np.void, skeleton: Skeleton, scale: float = 1.0, label: bool = False
) -> None:
    """Draws one person's keypoints onto a picture `scale` times as large as theirs.

    Doubtful keypoints are faint, as are the bones that end there; more doubtful ones are left out.
    """
    points = (row["kpts_px"].astype(np.float64) + 0.5) * scale - 0.5  # integers: pixel centres
    strengths = trust.strengths(row["kpt_score"])
    points[strengths == 0] = np.nan
    if (strengths == trust.FAINT).any():
        # All that is faint is blended as one layer, or else crossing bones would show up.
        layer = image.copy()
        _draw_parts(layer, points, strengths, trust.FAINT, int(row["track"]), skeleton)
        cv2.addWeighted(layer, trust.FAINT, image, 1 - trust.FAINT, 0, dst=image)
    _draw_parts(image, points, strengths, 1.0, int(row["track"]), skeleton)
    if label:
        _draw_label(image, points, f"{row['track']}", colors.of_track(int(row["track"])))


def _draw_parts(image, points, strengths, wanted, track, skeleton) -> None:
    """Draws the joints and bones of one strength, a bone's being the lesser of its joints'."""
    right_color = colors.of_track(track)
    tints = [
        colors.left_tint(right_color) if name.startswith("left_") else right_color
        for name in skeleton.joints
    ]
    thick = np.clip(_size(points) / 95, 2, 9)
    rim = thick + max(2, 0.5 * thick)
    in_bones = {joint for edge in skeleton.edges for joint in edge}
    bones = [(a, b) for a, b in skeleton.edges if min(strengths[a], strengths[b]) == wanted]
    joints = np.flatnonzero(strengths == wanted).tolist()
    for a, b in bones:
        line(image, points[a], points[b], _RIM, rim)
    for joint in joints:
        dot(image, points[joint], (0.8 if joint in in_bones else 0.3) * thick + 1, _RIM)
    for a, b in bones:
        left = skeleton.joints[a].startswith("left_")
        line(image, points[a], points[b], tints[a] if left else tints[b], thick)
    for joint in joints:
        dot(image, points[joint], (0.8 if joint in in_bones else 0.3) * thick, tints[joint])


def _draw_label(image, points, text, color) -> None:
    """A person's number above the head, inside the picture."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return
    size = _text_size(image)
    (wide, tall), _ = cv2.getTextSize(text, _FONT, size, 1)
    pad = round(0.4 * tall)
    top = points[points[:, 1].argmin()]
    height, width = image.shape[:2]
    x = int(np.clip(top[0] - wide / 2, pad, max(pad, width - wide - pad)))
    y = int(np.clip(top[1] - 2.2 * tall, tall + pad, max(tall + pad, height - pad)))
    cv2.rectangle(image, (x - pad, y - tall - pad), (x + wide + pad, y + pad), color, cv2.FILLED)
    cv2.putText(image, text, (x, y), _FONT, size, (255, 255, 255), 1, cv2.LINE_AA)


def _write_notes(panel: np.ndarray, frame: Frame, result: Result) -> None:
    """The lifter's name above, the frame below."""
    size = _text_size(panel)
    tall = cv2.getTextSize("M", _FONT, size, 1)[0][1]
    where = f"frame {frame.index}" if result.source.is_video else frame.name
    for text, y in ((result.lifters[0], 2 * tall), (where, len(panel) - tall)):
        text = text.encode("ascii", "replace").decode()  # the font has no other characters
        cv2.putText(panel, text, (tall, y), _FONT, size, colors.INK, 1, cv2.LINE_AA)


def _view(people: np.ndarray, together: bool) -> View:
    return fitting_view(placed_where_drawn(people, 0)[0], people["root_m"][:, 0], together)


def _drawn_scale(size: tuple[int, int]) -> float:
    """How much larger a picture is drawn than it is."""
    shrunk = min(1.0, _LARGEST / max(size))
    enlarged = min(_SMALLEST / size[1], _LARGEST / size[0])
    return max(1.0, enlarged) if shrunk == 1 else shrunk


def _framed(picture: np.ndarray, height: int) -> np.ndarray:
    """The picture in the middle of a strip of this height."""
    above = (height - len(picture)) // 2
    below = height - len(picture) - above
    if not above + below:
        return picture
    return cv2.copyMakeBorder(picture, above, below, 0, 0, cv2.BORDER_CONSTANT, value=colors.PAPER)


def _size(points: np.ndarray) -> float:
    """The longer side of the keypoints' extent, pixels."""
    points = points[np.isfinite(points).all(axis=1)]
    return float(np.ptp(points, axis=0).max()) if len(points) else 0.0


def _text_size(image: np.ndarray) -> float:
    return float(np.clip(len(image) / 1200, 0.4, 1.0))
