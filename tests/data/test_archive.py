import os
import pickle
import zipfile

import numpy as np
import pytest

from liftjax.data.archive import read_archive
from liftjax.errors import LiftjaxError


class Calls:
    """What pickle writes as the call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write_member(path, pickled: bytes, name="positions_3d"):
    """An .npz whose object array has these bytes as its content."""
    with zipfile.ZipFile(path, "w") as archive, archive.open(f"{name}.npy", "w") as stream:
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(pickled)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_containers_of_arrays_come_back_as_they_were(tmp_path, protocol, core):
    rng = np.random.default_rng(0)
    content = {
        "S1": {"Directions 1": [rng.random((3, 17, 2), np.float32), None]},
        "big endian": np.arange(5, dtype=">f8"),
        "columns": np.asfortranarray(rng.random((3, 4))),
        "empty": np.empty((0, 32, 3), np.float32),
        "objects": np.array([1, None, "text"], object),
        "counts": (np.int64(17), np.float32(0.5), np.bool_(True)),
        "layout_name": "h36m",
        "blob": b"\x00\xff",
    }
    boxed = np.empty((), object)
    boxed[()] = content
    data = pickle.dumps(boxed, protocol=protocol)
    if protocol < 4:  # from then on the names have a length before them
        data = data.replace(b"numpy._core.", core.encode() + b".")
    write_member(tmp_path / "data.npz", data, "positions_2d")
    found = read_archive(tmp_path / "data.npz")["positions_2d"]
    view, missing = found["S1"]["Directions 1"]
    assert missing is None
    np.testing.assert_array_equal(view, content["S1"]["Directions 1"][0])
    assert view.dtype == np.float32
    for name in ("big endian", "columns", "empty"):
        np.testing.assert_array_equal(found[name], content[name])
        assert found[name].dtype == content[name].dtype
    assert found["objects"].tolist() == [1, None, "text"]
    assert found["counts"] == (17, 0.5, True)
    assert (found["layout_name"], found["blob"]) == ("h36m", b"\x00\xff")


def test_what_numpy_saves_is_read(tmp_path):
    numbers = np.arange(6).reshape(2, 3)
    np.savez_compressed(tmp_path / "a.npz", numbers=numbers, meta={"num_joints": 17})
    found = read_archive(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["numbers"], numbers)
    assert found["meta"] == {"num_joints": 17}


def test_a_python_2_pickle_is_read(tmp_path):
    """There the bytes of an array are a str, read as latin1."""
    data = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\nt"
        b"cnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        b"S'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb."
    )
    write_member(tmp_path / "old.npz", data)
    np.testing.assert_array_equal(read_archive(tmp_path / "old.npz")["positions_3d"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (os.system, "system"),
        (eval, "eval"),
        (getattr, "getattr"),
        (pickle.loads, "loads"),
        (np.load, "load"),
        (np.fromfile, "fromfile"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_whatever_a_pickle_calls_is_refused_unrun_and_named(tmp_path, function, named, protocol):
    mark = tmp_path / "run"
    evil = {"S1": {"Directions": Calls(function, f"touch {mark}")}}
    write_member(tmp_path / "evil.npz", pickle.dumps(evil, protocol=protocol))
    with pytest.raises(LiftjaxError, match=rf"evil.npz calls .*({named}).*nothing in it"):
        read_archive(tmp_path / "evil.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, [("a", "f4"), ("b", "O")]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "V8"),
    ],
    ids=["compound", "dates", "raw"],
)
def test_arrays_of_anything_but_numbers_and_text_are_refused(tmp_path, array):
    write_member(tmp_path / "odd.npz", pickle.dumps({"x": array}, protocol=3))
    with pytest.raises(LiftjaxError, match=r"odd.npz is not an .npz file or damaged \(an array of"):
        read_archive(tmp_path / "odd.npz")


def test_object_bytes_cannot_forge_pointers(tmp_path):
    """An array of objects whose content is bytes rather than a list."""
    data = pickle.dumps({"x": np.zeros(2)}, protocol=2).replace(
        b"\x02\x00\x00\x00f8", b"\x02\x00\x00\x00O8"
    )
    write_member(tmp_path / "forged.npz", data)
    with pytest.raises(LiftjaxError, match="forged"):
        read_archive(tmp_path / "forged.npz")


def test_damaged_and_missing_files_are_named(tmp_path):
    with pytest.raises(LiftjaxError, match=r"There is no file .*none.npz"):
        read_archive(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("this is no archive")
    with pytest.raises(LiftjaxError, match=r"text.npz is not an .npz file or damaged"):
        read_archive(tmp_path / "text.npz")
    np.savez_compressed(tmp_path / "cut.npz", x={"a": np.random.default_rng(0).random(9999)})
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LiftjaxError, match=r"cut.npz is not an .npz file or damaged"):
        read_archive(tmp_path / "cut.npz")
    loop = []
    loop.append(loop)
    write_member(tmp_path / "loop.npz", pickle.dumps(loop))
    with pytest.raises(LiftjaxError, match=r"loop.npz is not an .npz file or damaged"):
        read_archive(tmp_path / "loop.npz")


def test_a_changed_byte_is_noticed_though_the_array_has_its_length(tmp_path):
    numbers = np.arange(1000.0)
    for name, value in (("plain", numbers), ("pickled", {"a": numbers})):
        path = tmp_path / f"{name}.npz"
        np.savez(path, x=value)
        data = path.read_bytes()
        place = data.index(np.float64(500).tobytes())
        path.write_bytes(data[:place] + np.float64(501).tobytes() + data[place + 8 :])
        with pytest.raises(
            LiftjaxError, match=rf"{name}.npz is not an .npz file or damaged \(Bad CRC"
        ):
            read_archive(path)


def test_bytes_behind_an_array_are_refused(tmp_path):
    write_member(tmp_path / "more.npz", pickle.dumps({"a": np.zeros(2)}) + b"more")
    with pytest.raises(LiftjaxError, match=r"more.npz .* \(there is more in a member than its"):
        read_archive(tmp_path / "more.npz")
