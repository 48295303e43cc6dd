"""Finds people with a YOLOX network from an ONNX file, as rtmlib does.

There are two kinds of files. The network alone gives (1, N, 5 + classes), one row for each cell of
grids with strides 8, 16 and 32. The network with non-maximum suppression gives (1, N, 5). Rows of
the first kind are offsets from the cells and logarithms of sides or, if the file was exported with
--decode_in_inference, boxes; :func:`are_boxes` tells which. Their scores are probabilities or
logits; :func:`are_logits` tells which.

A file may be in a zip archive, as MMPose publishes them, beside MMDeploy's description.
"""

from pathlib import Path

import cv2
import numpy as np

from liftjax.errors import LiftjaxError, needs
from liftjax.inference.boxes import Boxes, overlaps
from liftjax.inference.files import check_file
from liftjax.inference.results import Frame
from liftjax.interchange import zipped

_STRIDES = (8, 16, 32)
_GREY = 114  # fills the part of the square that the picture does not cover
_USUAL_SIDE = 640  # where neither the file nor its archive says a size
_CLASSES = (1, 80)  # people alone, or COCO's classes, whose first is person
_ROUNDING = 1e-3  # in half precision a score may lie outside 0 to 1 by this
_NOTHING = -1.0  # a logit of a cell that sees nothing is lower; its probability is 0.27
_LARGEST_LOGIT = 50.0  # its probability is 1 in single precision
_RTMDET = b"bbox_head.rtm_"  # begins the names of its arrays; its outputs are like a YOLOX's
_LARGEST = 10  # times the input's side; no person's box is so large
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class PersonDetector:
    """A YOLOX network; called with a Frame it gives the boxes of the people in it."""

    def __init__(self, path, score: float = 0.5, nms: float = 0.45):
        """Loads the network.

        Args:
          path: of the ONNX file, or of a zip archive with one inside.
          score: boxes with a lower score are left out.
          nms: of two boxes with more intersection over union than this only the better one is
            kept; files with suppression inside use their own threshold.

        Raises:
          LiftjaxError: onnxruntime is missing, the file is damaged, or it is another network.
        """
        check_file(path, "person detector")
        self.path = Path(path)
        self.score, self.nms = score, nms
        content, stated = None, zipped.Preparation()
        if zipped.is_zip(self.path):
            content, stated = zipped.read_onnx(self.path), zipped.stated_preparation(self.path)
        self._session = _session(self.path, content)
        if any(stated.mean) or _RTMDET in (content or self.path.read_bytes()):
            raise self._other("it wants normalised pictures, as RTMDet does")
        entry = self._session.get_inputs()[0]
        shape = entry.shape
        channels = shape[1] if len(shape) == 4 else 0  # a name or None where it is free
        if len(self._session.get_inputs()) != 1 or (isinstance(channels, int) and channels != 3):
            raise self._other(f"its input is {entry.name} {shape}, expected (1, 3, height, width)")
        self._input = entry.name
        self._dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
        side = stated.size[0] if len(set(stated.size)) == 1 else _USUAL_SIDE
        self.input_size = tuple(s if isinstance(s, int) else side for s in shape[2:])

    def __call__(self, frame: Frame) -> Boxes:
        """Boxes (N, 4) float32 x0, y0, x1, y1 in pixels of the frame, and scores (N,) float32.

        Raises:
          LiftjaxError: the network's output is not that of a YOLOX.
        """
        square, ratio = letterbox(frame.image, self.input_size)
        batch = square[None, :, :, ::-1].transpose(0, 3, 1, 2)  # BGR
        try:
            rows, *labels = self._session.run(None, {self._input: batch.astype(self._dtype)})
        except Exception as error:  # onnxruntime's classes are not public
            raise self._other(_last_line(error)) from None
        if rows.ndim != 3 or len(rows) != 1 or rows.shape[2] < 5:
            raise self._other(f"its output is {rows.shape}, expected (1, N, 5 or more)")
        rows = rows[0].astype(np.float32)
        if rows.shape[1] == 5:
            boxes, scores = self._suppressed(rows, labels)
            kept = np.flatnonzero((scores > self.score) & np.isfinite(boxes).all(axis=1))
            self._check_boxes(boxes[kept])
        else:
            boxes, scores = self._decode(rows)
            self._check_boxes(boxes[scores > self.score])
            kept = self._suppress(boxes, scores)
        boxes, scores = boxes[kept] / ratio, scores[kept]
        inside = overlaps(boxes, frame.size)
        return boxes[inside].astype(np.float32), scores[inside].astype(np.float32)

    def _suppressed(self, rows: np.ndarray, labels: list[np.ndarray]) -> Boxes:
        """Boxes in pixels of the square, and scores, 0 for other classes than person."""
        if len(rows) and len(rows) == len(grid(self.input_size)[0]):
            raise self._other(f"it has {len(rows)} rows, one for each cell, but no classes")
        boxes, scores = rows[:, :4], rows[:, 4]
        if not (scores <= 1 + _ROUNDING).all():
            raise self._other(f"its scores reach {scores.max():.3g}, expected 0 to 1")
        if labels and labels[0].size != len(rows):
            raise self._other(f"its labels are {labels[0].shape} for {len(rows)} boxes")
        persons = labels[0].reshape(-1) == 0 if labels else True
        return boxes, np.where(persons, scores, 0)

    def _decode(self, rows: np.ndarray) -> Boxes:
        """Boxes in pixels of the square, and scores of the class person, of every grid cell."""
        cells, strides = grid(self.input_size)
        self._check_rows(rows, len(cells))
        scores = self._probabilities(rows[:, 4:])
        ready = are_boxes(rows[:, :4], cells, strides)
        if ready is None:
            raise self._other(
                "its rows are neither offsets from cells nor boxes in pixels of its input; export "
                "it with YOLOX's tools/export_onnx.py"
            )
        if ready:
            centers, sides = rows[:, :2], rows[:, 2:4]
        else:
            centers = (rows[:, :2] + cells) * strides
            with np.errstate(over="ignore"):  # an infinite box matters where a person is seen
                sides = np.exp(rows[:, 2:4]) * strides
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        return boxes, scores[:, 0] * scores[:, 1]  # something is there, and it is a person

    def _check_rows(self, rows: np.ndarray, cells: int) -> None:
        """Raises a LiftjaxError for the rows of another network."""
        if len(rows) != cells:
            raise self._other(
                f"its output has {len(rows)} rows; an input of {self.input_size} has {cells}"
            )
        classes = rows.shape[1] - 5
        if classes not in _CLASSES:
            raise self._other(
                f"it has {classes} classes and does not say which is a person; expected 1 or "
                "COCO's 80"
            )
        if np.isnan(rows).any():
            raise self._other("its rows have NaN; its weights or its half precision are broken")
        if (rows[:, 4] == 1).all():
            raise self._other("all its cells have the objectness 1, as those of YOLOv6")

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        """The scores (N, 1 + classes) of all cells, objectness first, between 0 and 1."""
        if _are_probabilities(scores):
            return scores
        if are_logits(scores):
            return (1 + np.tanh(scores / 2)) / 2
        raise self._other(
            f"its scores, from {scores.min():.3g} to {scores.max():.3g}, are neither probabilities "
            "nor their logits; export it with YOLOX's tools/export_onnx.py"
        )

    def _check_boxes(self, boxes: np.ndarray) -> None:
        """Raises a LiftjaxError for boxes (N, 4) that no person can have in such an input."""
        with np.errstate(invalid="ignore"):  # between infinite corners
            sides = boxes[:, 2:] - boxes[:, :2]
        if not sides.max(initial=0) <= _LARGEST * max(self.input_size):
            raise self._other(
                f"it has a person's box of {sides.max():.3g} pixels in an input of "
                f"{self.input_size}; export it with YOLOX's tools/export_onnx.py"
            )
        if len(sides) and (sides <= 1).all():
            raise self._other("its boxes are a pixel or smaller; they are shares of the input")

    def _suppress(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Indices of the boxes that are kept, the best first."""
        likely = np.flatnonzero((scores > self.score) & np.isfinite(boxes).all(axis=1))
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(
            xywh[likely].tolist(), scores[likely].tolist(), self.score, self.nms
        )
        return likely[np.array(kept, int).reshape(-1)]

    def _other(self, what: str) -> LiftjaxError:
        return LiftjaxError(f"{self.path}: not a YOLOX network as rtmlib takes it: {what}.")


def letterbox(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The picture resized into the top left corner of a grey one, and the factor.

    Args:
      image: (H, W, 3) uint8.
      size: (height, width) of the grey picture.
    """
    ratio = min(size[0] / image.shape[0], size[1] / image.shape[1])
    width, height = max(int(image.shape[1] * ratio), 1), max(int(image.shape[0] * ratio), 1)
    square = np.full((*size, 3), _GREY, np.uint8)
    square[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return square, ratio


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cells (N, 2), x and y, and strides (N, 1), in the order of the network's rows."""
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([x, y], axis=-1).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def are_boxes(rows: np.ndarray, cells: np.ndarray, strides: np.ndarray) -> bool | None:
    """Whether a network's rows are boxes rather than offsets; None if that cannot be told.

    The centre of a row's box lies near its cell. Read rightly, as pixels or as offsets, the centres
    of all cells together lie many times nearer to their cells than read wrongly, wherever the
    people are. Sides of boxes are never below 0, but logarithms of sides are.

    Args:
      rows: (N, 4), centre and sides, or offsets from the cell and logarithms of sides in strides.
      cells: (N, 2), see :func:`grid`.
      strides: (N, 1), see :func:`grid`.
    """
    sides = rows[:, 2:]
    as_boxes = np.median(np.abs(rows[:, :2] - cells * strides))
    as_offsets = np.median(np.abs(rows[:, :2]) * strides)
    if 2 * as_boxes < as_offsets:
        return True if (sides >= 0).all() else None
    # Shares of the input look like offsets, but all their sides are above 0.
    shares = (sides > 0).all() and (np.abs(rows - 0.5) <= 1.5).all()
    return None if shares or 2 * as_offsets > as_boxes else False


def _are_probabilities(scores: np.ndarray) -> bool:
    return scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING


def are_logits(scores: np.ndarray) -> bool:
    """Whether scores outside 0 to 1 are logits, to be made probabilities by the sigmoid.

    Nothing is in most cells of any picture, so that most logits of the objectness are far below 0.
    Scores in per cent are never below 0. The classes need not be low where nothing is, since only
    cells with something train them, but no logits all lie between 0 and 1.

    Args:
      scores: (N, 1 + classes) of all cells, objectness first.
    """
    nothing_in_most = np.median(scores[:, 0]) < _NOTHING
    return bool(
        nothing_in_most and not _are_probabilities(scores[:, 1:]) and scores.max() < _LARGEST_LOGIT
    )


def _session(path: Path, content: bytes | None):
    """An onnxruntime session of the file, or of its content if that is in an archive."""
    with needs(f"{path}: running an ONNX file", "onnxruntime", "liftjax[people]"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; exceptions say the same
    available = onnxruntime.get_available_providers()
    providers = [name for name in _PROVIDERS if name in available]
    try:
        return onnxruntime.InferenceSession(content or str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's classes are not public
        raise LiftjaxError(
            f"{path}: cannot be loaded as an ONNX file: {_last_line(error)}"
        ) from None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:200]
