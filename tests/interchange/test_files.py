"""Reading weight files: every writer's format, nothing executed, one clear line for bad ones."""

import argparse
import builtins
import collections
import enum
import os
import sys
import types

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.interchange.files import read_weight_file

torch = pytest.importorskip("torch")


class Buffer:
    """Stands for an object of a package that the reader does not have."""

    def __init__(self):
        self.history = np.arange(3)


class Settings(dict):
    """A dictionary that pickles its state too, as configuration packages make them."""

    def __getstate__(self):
        return dict(self)

    def __setstate__(self, state):
        self.update(state)


class Colour(enum.Enum):
    RED = 1


@pytest.fixture
def foreign(monkeypatch):
    """Objects of a package that is gone when the file is read."""
    package = types.ModuleType("foreignpackage")
    for cls in (Buffer, Settings, Colour):
        monkeypatch.setattr(cls, "__module__", "foreignpackage")
        setattr(package, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "foreignpackage", package)
    return {
        "buffer": Buffer(),
        "settings": Settings(a=Settings(b=1)),
        "colour": Colour.RED,
        "random_state": np.random.RandomState(0),
        "scalar": np.float64(3),
        "array": np.zeros(3),
        "options": argparse.Namespace(lr=1),
        "queue": collections.deque([1, 2], 3),
        "default": collections.defaultdict(list, {"a": [1]}),
        "frozen": frozenset([1]),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_foreign_objects_are_stood_in_for(tmp_path, foreign, legacy):
    tree = {"meta": foreign, "state_dict": {"w": torch.arange(4.0)}, "hub": [foreign["buffer"]]}
    path = tmp_path / "checkpoint.pth"
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    file = read_weight_file(path)
    np.testing.assert_array_equal(file.tree["state_dict"]["w"], np.arange(4))
    assert {"foreignpackage", "numpy", "argparse", "collections"} <= set(file.foreign)
    assert not isinstance(file.tree["meta"]["buffer"], Buffer)


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_arrays_are_read(tmp_path, legacy):
    arrays = {
        "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": np.array([0.5, -2], np.float16),
        "count": np.array(7),
        "flags": np.array([True, False]),
        "swapped": np.array([1, 2], ">i4"),
        "none": np.zeros((0, 4)),
    }
    tree = {"state_dict": arrays, "w": torch.ones(2), "names": np.array(["a", None], object)}
    torch.save(tree, tmp_path / "n.pth", _use_new_zipfile_serialization=not legacy)
    file = read_weight_file(tmp_path / "n.pth")
    for name, array in arrays.items():
        found = file.tree["state_dict"][name]
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert file.tree["names"] is None
    assert file.foreign == {}


class Evil:
    """Runs a function when it is unpickled."""

    def __init__(self, function, argument):
        self.function, self.argument = function, argument

    def __reduce__(self):
        return self.function, (self.argument,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("function", ["system", "eval", "exec", "__import__"])
def test_nothing_is_executed(tmp_path, function, legacy):
    mark = tmp_path / "executed"
    python = f"open({str(mark)!r}, 'w')"
    arguments = {"system": f"touch {mark}", "__import__": "this"}
    call = os.system if function == "system" else getattr(builtins, function)
    path = tmp_path / "evil.pth"
    tree = {"state_dict": {"w": torch.zeros(2)}, "x": Evil(call, arguments.get(function, python))}
    torch.save(tree, path, _use_new_zipfile_serialization=not legacy)
    if function == "system":
        with pytest.raises(LiftjaxError, match="Nothing was run"):
            read_weight_file(path)
    else:
        assert read_weight_file(path).foreign == {"builtins": 1}
    assert not mark.exists()
    assert "this" not in sys.modules


def test_state_of_a_placeholder_is_not_applied(tmp_path):
    """BUILD calls __setstate__ of whatever stands on the stack: here of a placeholder."""

    class Stateful:
        def __reduce__(self):
            return eval, ("1",), {"__setstate__": "x", "w": torch.zeros(1)}

    path = tmp_path / "stateful.pth"
    torch.save({"x": Stateful()}, path)
    assert not vars(read_weight_file(path).tree["x"])


def whole(tmp_path, legacy=False) -> bytes:
    path = tmp_path / "whole.pth"
    torch.save({"w": torch.arange(99.0)}, path, _use_new_zipfile_serialization=not legacy)
    return path.read_bytes()


BAD = {
    "empty.pth": (b"", "is empty"),
    "page.pth": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "words.bin": (b"File not found", "is a text file"),
    "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "picture.pt": (b"\xff\xd8\xff\xe0 a picture", "neither a safetensors file, nor"),
    "plain.pkl": (b"\x80\x04}.", "torch.save did not write it"),
    "header.safetensors": (b"\xff" * 40, "not a whole safetensors file"),
    "json.safetensors": (b"\x05\0\0\0\0\0\0\0{abc}", "not a whole safetensors file"),
    "short.safetensors": (b"\1", "not a whole safetensors file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_a_weight_file(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LiftjaxError, match=message) as error:
        read_weight_file(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [100, -20])
def test_a_file_that_is_cut_short(tmp_path, legacy, kept):
    (tmp_path / "cut.pth").write_bytes(whole(tmp_path, legacy)[:kept])
    with pytest.raises(LiftjaxError, match="damaged or cut short") as error:
        read_weight_file(tmp_path / "cut.pth")
    assert "\n" not in str(error.value)


def test_a_zip_file_that_claims_to_have_further_parts(tmp_path):
    content = whole(tmp_path, legacy=False)
    assert content.count(b"PK\x06\x07\0") == 1  # where the number of this part stands
    (tmp_path / "part.pth").write_bytes(content.replace(b"PK\x06\x07\0", b"PK\x06\x07\1"))
    with pytest.raises(LiftjaxError, match=r"part\.pth is damaged or cut short"):
        read_weight_file(tmp_path / "part.pth")


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(LiftjaxError, match="is a directory"):
        read_weight_file(tmp_path)
    with pytest.raises(LiftjaxError, match="There is no file"):
        read_weight_file(tmp_path / "none.pth")


def test_a_pickle_does_not_pass_as_safetensors(tmp_path):
    (tmp_path / "odd.safetensors").write_bytes(whole(tmp_path))
    with pytest.raises(LiftjaxError, match="wrong name"):
        read_weight_file(tmp_path / "odd.safetensors")


def test_bfloat16_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.arange(3).bfloat16()}, tmp_path / "half.safetensors")
    assert read_weight_file(tmp_path / "half.safetensors").tree["w"].dtype == torch.bfloat16


def test_without_pytorch(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    path.write_bytes(whole(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(LiftjaxError, match="pip install torch"):
        read_weight_file(path)
