"""Finds people with a YOLOX network from an ONNX file, run as rtmlib runs it.

Two kinds of files are known: the network alone (1, N, 5 + classes), one row for each cell of the
grids of strides 8, 16 and 32, and the network with non-maximum suppression inside (1, N, 5).
"""

from pathlib import Path

import cv2
import numpy as np

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes import Boxes, overlaps
from liftjax.inference.files import check_file
from liftjax.inference.results import Frame

_STRIDES = (8, 16, 32)
_GREY = 114  # fills what the picture leaves of the square
_USUAL_SIDE = 640  # where the file leaves the size free
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class PersonDetector:
    """A YOLOX network; called with a Frame it gives the boxes of the people in it."""

    def __init__(self, path, score: float = 0.5, nms: float = 0.45):
        """Loads the network.

        Args:
          path: of the ONNX file. score: boxes below it are left out.
          nms: of two boxes with more intersection over union than this the better one stays; files
            with suppression inside use their own.

        Raises:
          LiftjaxError: if onnxruntime is missing, or the file is no such network.
        """
        check_file(path, "person detector")
        self.path = Path(path)
        self.score, self.nms = score, nms
        self._session = _session(self.path)
        entry = self._session.get_inputs()[0]
        shape = entry.shape
        channels = shape[1] if len(shape) == 4 else 0  # a name or None where it is free
        if len(self._session.get_inputs()) != 1 or (isinstance(channels, int) and channels != 3):
            raise self._other(f"its input is {entry.name} {shape}, expected (1, 3, height, width)")
        self._input = entry.name
        self._dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
        self.input_size = tuple(s if isinstance(s, int) else _USUAL_SIDE for s in shape[2:])

    def __call__(self, frame: Frame) -> Boxes:
        """Boxes (N, 4) float32 x0, y0, x1, y1 in pixels of the frame, and scores (N,) float32."""
        square, ratio = letterbox(frame.image, self.input_size)
        batch = square[None, :, :, ::-1].transpose(0, 3, 1, 2)  # BGR
        try:
            rows, *labels = self._session.run(None, {self._input: batch.astype(self._dtype)})
        except Exception as error:  # onnxruntime's classes are not public
            raise self._other(str(error).strip().splitlines()[-1][:200]) from None
        if rows.ndim != 3 or len(rows) != 1 or rows.shape[2] < 5:
            raise self._other(f"its output is {rows.shape}, expected (1, N, 5 or more)")
        rows = rows[0].astype(np.float32)
        if rows.shape[1] == 5:
            boxes, scores = rows[:, :4], rows[:, 4]
            if labels and labels[0].shape == (1, len(rows)):
                scores = np.where(labels[0][0] == 0, scores, 0)
            kept = np.flatnonzero(scores > self.score)
        else:
            boxes, scores = self._decode(rows)
            kept = self._suppress(boxes, scores)
        boxes, scores = boxes[kept] / ratio, scores[kept]
        inside = np.isfinite(boxes).all(axis=1) & overlaps(boxes, frame.size)
        return boxes[inside].astype(np.float32), scores[inside].astype(np.float32)

    def _decode(self, rows: np.ndarray) -> Boxes:
        """Boxes in pixels of the square, and scores of the class person, of every grid cell."""
        cells, strides = grid(self.input_size)
        if len(cells) != len(rows):
            raise self._other(
                f"its output has {len(rows)} rows; an input of {self.input_size} has {len(cells)}"
            )
        centers = (rows[:, :2] + cells) * strides
        with np.errstate(over="ignore"):  # infinite boxes are dropped later
            sides = np.exp(rows[:, 2:4]) * strides
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        return boxes, rows[:, 4] * rows[:, 5]  # something is there, and it is a person

    def _suppress(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Indices of the boxes to keep, the best first."""
        likely = np.flatnonzero((scores > self.score) & np.isfinite(boxes).all(axis=1))
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = cv2.dnn.NMSBoxes(
            xywh[likely].tolist(), scores[likely].tolist(), self.score, self.nms
        )
        return likely[np.array(kept, int).reshape(-1)]

    def _other(self, what: str) -> LiftjaxError:
        return LiftjaxError(f"{self.path}: no YOLOX network as rtmlib takes it: {what}.")


def letterbox(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The picture shrunk or grown into the top left corner of a grey one, and by what factor.

    Args:
      image: (H, W, 3) uint8. size: (height, width) to fit into.
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


def _session(path: Path):
    try:
        import onnxruntime
    except ImportError:
        raise LiftjaxError(
            f"{path}: running an ONNX file needs onnxruntime: pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what it raises says the same
    available = onnxruntime.get_available_providers()
    providers = [name for name in _PROVIDERS if name in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's classes are not public
        reason = str(error).strip().splitlines()[-1][:200]
        raise LiftjaxError(f"{path}: cannot be loaded as an ONNX file: {reason}") from None
