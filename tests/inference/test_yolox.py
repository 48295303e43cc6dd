"""The person detector on networks made here, whose outputs are known boxes."""

import builtins
import contextlib
import io

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.inference.boxes import overlaps
from liftjax.inference.results import Frame
from liftjax.inference.yolox import PersonDetector, are_boxes, grid, letterbox
from tests.interchange.test_zipped import archive, pipeline

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = (96, 128)  # height and width of the network's input


def frame(height=192, width=200):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Frame(0, "0", image)


def write_network(path, outputs, input_shape=(1, 3, *SIZE), kind=onnx.TensorProto.FLOAT):
    """An ONNX file that gives these arrays, whatever it sees."""
    entry = onnx.helper.make_tensor_value_info("input", kind, input_shape)
    nodes, results = [], []
    for i, array in enumerate(outputs):
        value = onnx.numpy_helper.from_array(array)
        nodes.append(onnx.helper.make_node("Constant", [], [f"out{i}"], value=value))
        results.append(onnx.helper.make_tensor_value_info(f"out{i}", value.data_type, array.shape))
    graph = onnx.helper.make_graph(nodes, "network", [entry], results)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def raw_rows(boxes, scores, classes=80, kind=0) -> np.ndarray:
    """(1, N, 5 + classes): boxes x0, y0, x1, y1 of the input, each in a row of its own."""
    cells, strides = grid(SIZE)
    rows = np.zeros((len(cells), 5 + classes), np.float32)
    for i, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        row = 7 * i + 3
        low, high = np.array(box[:2]), np.array(box[2:])
        rows[row, :2] = (low + high) / 2 / strides[row] - cells[row]
        rows[row, 2:4] = np.log((high - low) / strides[row])
        rows[row, 4], rows[row, 5 + kind] = 0.9, score / 0.9
    return rows[None]


def decoded(rows: np.ndarray, size=SIZE) -> np.ndarray:
    """The same rows as a network exported with --decode_in_inference gives them."""
    cells, strides = grid(size)
    ready = rows.copy()
    ready[0, :, :2] = (rows[0, :, :2] + cells) * strides
    ready[0, :, 2:4] = np.exp(rows[0, :, 2:4]) * strides
    return ready


BOXES = [[10, 12, 40, 70], [12, 12, 42, 71], [60, 5, 90, 80], [62, 40, 100, 90], [1, 1, 9, 9]]
SCORES = [0.7, 0.8, 0.55, 0.6, 0.2]


def by_left(boxes, *others):
    order = np.argsort(boxes[:, 0])
    return [array[order] for array in (boxes, *others)]


def test_boxes_that_are_none_are_left_out(tmp_path):
    """Of a network with suppression inside: infinite, turned over, outside the picture."""
    good = [10, 12, 40, 70, 0.9]
    bad = [[np.nan, 1, 5, 5], [1, 1, np.inf, 5], [40, 70, 10, 12], [300, 300, 350, 350]]
    rows = np.array([[good, *([*box, 0.9] for box in bad)]], np.float32)
    found, scores = PersonDetector(write_network(tmp_path / "a.onnx", [rows]))(frame())
    np.testing.assert_allclose(found, [np.array(good[:4]) * 2], rtol=1e-3)
    assert len(scores) == 1


def test_a_network_that_refuses_the_picture(tmp_path):
    rows = np.zeros((1, 3, 5), np.float32)
    path = write_network(tmp_path / "a.onnx", [rows], (2, 3, *SIZE))
    with pytest.raises(LiftjaxError, match="not a YOLOX network as rtmlib takes it"):
        PersonDetector(path)(frame())


def test_the_grid():
    """96 x 128: 12 x 16 cells of 8 pixels, then 6 x 8 of 16, then 3 x 4 of 32, row by row."""
    cells, strides = grid(SIZE)
    assert len(cells) == len(strides) == 12 * 16 + 6 * 8 + 3 * 4
    assert cells[1].tolist() == [1, 0]
    assert cells[16].tolist() == [0, 1]
    assert strides[[0, 191, 192, 240]].ravel().tolist() == [8, 8, 16, 32]


def test_letterbox():
    image = np.full((50, 200, 3), 9, np.uint8)
    square, ratio = letterbox(image, (128, 128))
    assert ratio == 128 / 200
    assert square.shape == (128, 128, 3)
    assert (square[:32] == 9).all()
    assert (square[32:] == 114).all()
    same, ratio = letterbox(frame(96, 128).image, SIZE)
    assert ratio == 1
    np.testing.assert_array_equal(same, frame(96, 128).image)


@pytest.mark.parametrize("classes", [1, 80])
def test_a_network_alone(tmp_path, classes):
    path = write_network(tmp_path / "net.onnx", [raw_rows(BOXES, SCORES, classes)])
    boxes, scores = by_left(*PersonDetector(path)(frame()))
    # the first is suppressed by the second, the last is doubtful; the picture is twice the input
    np.testing.assert_allclose(boxes, 2 * np.array(BOXES)[1:4], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.8, 0.55, 0.6], rtol=1e-6)
    assert boxes.dtype == scores.dtype == np.float32
    assert len(PersonDetector(path, score=0.1)(frame())[0]) == 4
    assert len(PersonDetector(path, nms=0.99)(frame())[0]) == 4
    boxes, scores = PersonDetector(path, score=0.95)(frame())
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_rows_that_are_boxes_already(tmp_path):
    """The person of cell 7, 5 of stride 8, 45 to 75 by 11 to 69 of the input, in pixels."""
    cells, strides = grid(SIZE)
    rows = np.zeros((1, len(cells), 85), np.float32)
    rows[0, :, :2], rows[0, :, 2:4] = (cells + 0.5) * strides, strides
    rows[0, 5 * 16 + 7, :6] = 60, 40, 30, 58, 0.9, 0.9
    path = write_network(tmp_path / "net.onnx", [rows])
    boxes, scores = PersonDetector(path)(frame(96, 128))
    np.testing.assert_allclose(boxes, [[45, 11, 75, 69]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.81], rtol=1e-6)
    np.testing.assert_allclose(PersonDetector(path)(frame())[0], 2 * boxes, rtol=1e-6)


@pytest.mark.parametrize("toward", [None, (0, 0), (416, 416), (208, 208)])
def test_how_rows_are_read_does_not_depend_on_what_is_seen(toward):
    """Offsets of a few cells either way, or all toward one person, and sides of any size."""
    size = (416, 416)
    cells, strides = grid(size)
    rng = np.random.default_rng(0)
    rows = rng.normal(0.5, 2, (1, len(cells), 85)).astype(np.float32)
    if toward:
        rows[0, :, :2] = np.clip(toward / strides - cells, -4, 4)
    assert are_boxes(rows[0, :, :4], cells, strides) is False
    assert are_boxes(decoded(rows, size)[0, :, :4], cells, strides) is True


def refused(path, rows, match, *others):
    write_network(path, [np.asarray(rows, np.float32), *others])
    with pytest.raises(LiftjaxError, match=match) as error:
        PersonDetector(path)(frame())
    assert "\n" not in str(error.value)


def test_rows_that_can_be_read_two_ways_or_none(tmp_path):
    path, rows = tmp_path / "net.onnx", raw_rows(BOXES, SCORES)
    shares = decoded(rows)
    shares[..., :4] /= (128, 96, 128, 96)
    refused(path, shares, "neither offsets from cells nor boxes")
    centres_alone = decoded(rows)
    centres_alone[..., 2:4] = rows[..., 2:4] - 0.1
    refused(path, centres_alone, "neither offsets from cells nor boxes")
    sides_alone = rows.copy()
    sides_alone[..., 2:4] = decoded(rows)[..., 2:4]
    sides_alone[0, 3, 2:4] = 300, 580
    refused(path, sides_alone, "a person's box of inf pixels in an input of")
    sides_alone[0, 3, 2:4] = 30, 58
    refused(path, sides_alone, r"a person's box of .*e\+\d+ pixels")


def with_logits(rows: np.ndarray) -> np.ndarray:
    """The same rows as a network without the sigmoid gives them."""
    probabilities = np.clip(rows[..., 4:], 1e-4, 1 - 1e-4)
    return np.concatenate([rows[..., :4], np.log(probabilities / (1 - probabilities))], axis=-1)


@pytest.mark.parametrize("classes", [1, 80])
@pytest.mark.parametrize("change", [np.copy, decoded], ids=["offsets", "boxes"])
def test_scores_that_are_logits(tmp_path, classes, change):
    rows = change(raw_rows(BOXES, SCORES, classes))
    wanted = PersonDetector(write_network(tmp_path / "a.onnx", [rows]))(frame())
    path = write_network(tmp_path / "b.onnx", [with_logits(rows).astype(np.float32)])
    for ours, theirs in zip(PersonDetector(path)(frame()), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_a_class_that_is_likely_where_nothing_is(tmp_path):
    """Only cells that see something train the classes."""
    rows = with_logits(raw_rows(BOXES, SCORES, 1))
    rows[..., 5] = np.maximum(rows[..., 5], 3)
    path = write_network(tmp_path / "net.onnx", [rows.astype(np.float32)])
    assert len(PersonDetector(path)(frame())[0]) == 4  # the doubtful one, too
    empty = with_logits(raw_rows([], [])).astype(np.float32)
    assert len(PersonDetector(write_network(path, [empty]))(frame())[0]) == 0


def test_scores_that_are_no_shares_of_one(tmp_path):
    path, rows = tmp_path / "net.onnx", raw_rows(BOXES, SCORES)
    logits = with_logits(rows)
    half = rows.copy()
    half[..., 5:] = logits[..., 5:]
    refused(path, half, r"scores, from -9.21 to 2.08, are neither probabilities nor their logits")
    half = rows.copy()
    half[..., 4] = logits[..., 4]
    refused(path, half, "are neither probabilities nor their logits")
    percent = rows.copy()
    percent[..., 4:] *= 100
    refused(path, percent, "scores, from 0 to 90, are neither")
    high = logits.copy()
    high[0, 3, 4] = 505
    refused(path, high, "from -9.21 to 505, are neither")
    refused(path, [[[10, 12, 40, 70, 505]]], "its scores reach 505, expected 0 to 1")
    broken = rows.copy()
    broken[0, 200, 4] = np.nan
    refused(path, broken, "its rows have NaN")


def test_rows_of_other_networks(tmp_path):
    path, rows = tmp_path / "net.onnx", raw_rows(BOXES, SCORES)
    refused(
        path,
        raw_rows(BOXES, SCORES, classes=20),
        "has 20 classes and does not say which is a person",
    )
    refused(path, rows.transpose(0, 2, 1), "its output has 85 rows")
    refused(path, rows[..., :5], "252 rows, one for each cell, but no classes")
    sure = decoded(rows)
    sure[..., 4] = 1
    refused(path, sure, "objectness 1, as those of YOLOv6")


def test_suppressed_boxes_in_other_units(tmp_path):
    path = tmp_path / "net.onnx"
    refused(path, [[[0.1, 0.2, 0.4, 0.9, 0.8]]], "they are shares of the input")
    refused(path, [[[0, 0, 1e13, 1e13, 0.8]]], r"a person's box of 1e\+13 pixels")
    labels = np.zeros((1, 7), np.int64)
    refused(path, [[[10, 12, 40, 70, 0.8]]], r"its labels are \(1, 7\) for 1 boxes", labels)


def test_only_persons(tmp_path):
    path = write_network(tmp_path / "net.onnx", [raw_rows(BOXES, SCORES, kind=16)])
    assert len(PersonDetector(path)(frame())[0]) == 0


def test_a_network_with_suppression_inside(tmp_path):
    rows = np.c_[BOXES, SCORES].astype(np.float32)[None]
    labels = np.array([[0, 16, 0, 0, 0]])
    path = write_network(tmp_path / "net.onnx", [rows])
    boxes, scores = PersonDetector(path)(frame())
    np.testing.assert_allclose(boxes, 2 * np.array(BOXES)[:4], rtol=1e-6)
    np.testing.assert_allclose(scores, SCORES[:4], rtol=1e-6)
    path = write_network(tmp_path / "net.onnx", [rows, labels])
    np.testing.assert_allclose(PersonDetector(path)(frame())[1], [0.7, 0.55, 0.6], rtol=1e-6)
    path = write_network(tmp_path / "net.onnx", [rows[:, :0]])
    assert PersonDetector(path)(frame())[0].shape == (0, 4)


def test_a_network_in_a_zip_archive(tmp_path):
    """As MMPose publishes them, with boxes and labels as outputs."""
    rows, labels = np.c_[BOXES, SCORES].astype(np.float32)[None], np.array([[0, 16, 0, 0, 0]])
    network = write_network(tmp_path / "net.onnx", [rows, labels]).read_bytes()
    path = archive(
        tmp_path / "net.zip", end2end_onnx=network, pipeline_json=pipeline([0.0, 0.0, 0.0])
    )
    boxes, scores = PersonDetector(path)(frame())
    np.testing.assert_allclose(boxes, 2 * np.array(BOXES)[[0, 2, 3]], rtol=1e-6)
    np.testing.assert_allclose(scores, [0.7, 0.55, 0.6], rtol=1e-6)
    archive(path, end2end_onnx=network, pipeline_json=pipeline([103.53, 116.28, 123.675]))
    with pytest.raises(
        LiftjaxError, match=r"net\.zip: .*wants normalised pictures, as RTMDet does"
    ):
        PersonDetector(path)
    free = write_network(tmp_path / "net.onnx", [rows], (1, 3, "height", "width")).read_bytes()
    archive(path, end2end_onnx=free, pipeline_json=pipeline([0, 0, 0], [416, 416]))
    assert PersonDetector(path).input_size == (416, 416)
    archive(path, end2end_onnx=free)
    assert PersonDetector(path).input_size == (640, 640)
    archive(path, end2end_onnx=b"no network")
    with pytest.raises(LiftjaxError, match=r"net\.zip: cannot be loaded as an ONNX file"):
        PersonDetector(path)
    archive(path)
    with pytest.raises(LiftjaxError, match=r"net\.zip holds no ONNX file"):
        PersonDetector(path)


def test_an_rtmdet_is_known_by_the_names_of_its_arrays(tmp_path):
    """Its outputs are those of a YOLOX with suppression inside."""
    path = write_network(tmp_path / "net.onnx", [np.c_[BOXES, SCORES].astype(np.float32)[None]])
    model = onnx.load(path)
    weight = onnx.numpy_helper.from_array(np.ones(1, np.float32), "bbox_head.rtm_cls.0.weight")
    model.graph.initializer.append(weight)
    onnx.save(model, path)
    with pytest.raises(LiftjaxError, match="wants normalised pictures, as RTMDet does"):
        PersonDetector(path)


def test_free_input_size_and_half_precision(tmp_path):
    rows = np.c_[BOXES, SCORES].astype(np.float16)[None]
    shape, half = ("batch", 3, "height", "width"), onnx.TensorProto.FLOAT16
    path = write_network(tmp_path / "net.onnx", [rows], shape, half)
    detector = PersonDetector(path)
    assert detector.input_size == (640, 640)
    boxes, scores = detector(frame(1280, 640))
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, 2 * np.array(BOXES)[:4], rtol=1e-3)


def write_looking_network(path):
    """One box from the means of the three channels, as they come, of the upper left quarter."""
    entry = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, (1, 3, *SIZE))
    result = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, (1, 1, 5))
    constants = {
        "start": np.array([0, 0]), "end": np.array([48, 64]), "axes": np.array([2, 3]),
        "shape": np.array([1, 1, 3]), "rest": np.array([[[1000, 1]]], np.float32),
    }  # fmt: skip
    nodes = [
        onnx.helper.make_node("Slice", ["input", "start", "end", "axes"], ["part"]),
        onnx.helper.make_node("ReduceMean", ["part"], ["mean"], axes=[2, 3]),
        onnx.helper.make_node("Reshape", ["mean", "shape"], ["row"]),
        onnx.helper.make_node("Concat", ["row", "rest"], ["out"], axis=2),
    ]
    values = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "network", [entry], [result], values)
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_it_sees_blue_green_red_from_0_to_255(tmp_path):
    image = np.full((*SIZE, 3), (200, 60, 50), np.uint8)
    find = PersonDetector(write_looking_network(tmp_path / "net.onnx"))
    assert find(Frame(0, "0", image))[0].tolist() == [[50, 60, 200, 1000]]


@pytest.mark.parametrize("kind", ["alone", "suppressed", "looking"])
def test_equals_rtmlib(tmp_path, kind):
    with contextlib.redirect_stdout(io.StringIO()):
        tools = pytest.importorskip("rtmlib.tools.object_detection")
        path = tmp_path / "net.onnx"
        if kind == "looking":
            write_looking_network(path)
        elif kind == "alone":
            write_network(path, [raw_rows(BOXES, SCORES)])
        else:
            write_network(path, [np.c_[BOXES, SCORES].astype(np.float32)[None]])
        # inside such files rtmlib's own threshold is 0.3
        theirs = tools.YOLOX(str(path), SIZE, score_thr=0.3, nms_thr=0.45)
    for picture in (frame(), frame(96, 128), frame(333, 250), frame(60, 500)):
        if kind == "looking":
            picture.image[..., 1:] //= 10  # the box begins near the top left
        expected = theirs(picture.image[..., ::-1])
        expected = expected[overlaps(expected, picture.size)]
        boxes, _ = PersonDetector(path, score=0.3, nms=0.45)(picture)
        assert boxes.shape == expected.shape
        np.testing.assert_allclose(*by_left(boxes), *by_left(expected), rtol=1e-5)


def test_faults(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(LiftjaxError, match="person detector is missing"):
        PersonDetector(path)
    path.write_text("no network")
    with pytest.raises(
        LiftjaxError, match=r"net\.onnx: cannot be loaded as an ONNX file"
    ) as caught:
        PersonDetector(path)
    assert "\n" not in str(caught.value)
    rows = np.zeros((1, 9, 5), np.float32)
    for shape in ((1, 3, 8), (1, 17, *SIZE)):
        with pytest.raises(
            LiftjaxError, match=r"its input is .*, expected \(1, 3, height, width\)"
        ):
            PersonDetector(write_network(path, [rows], shape))
    for array in (np.zeros((1, 17, 3), np.float32), np.zeros((4, 5), np.float32)):
        with pytest.raises(LiftjaxError, match=r"its output is \("):
            PersonDetector(write_network(path, [array]))(frame())
    with pytest.raises(LiftjaxError, match=r"its output has 9 rows; .* has 252"):
        PersonDetector(write_network(path, [np.zeros((1, 9, 85), np.float32)]))(frame())


def test_without_onnxruntime(tmp_path, monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    path = write_network(tmp_path / "net.onnx", [np.zeros((1, 9, 5), np.float32)])
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(LiftjaxError, match=r"needs onnxruntime .*: pip install .*\[people\]"):
        PersonDetector(path)
