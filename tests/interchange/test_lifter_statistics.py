"""SimpleBaseline's statistics from files."""

import json
import pickle

import numpy as np
import pytest

from liftjax.errors import LiftjaxError
from liftjax.interchange.lifter_statistics import UNITS, read_statistics

GOOD = {
    "mean_2d": np.arange(34.0).reshape(17, 2),
    "std_2d": np.full((17, 2), 50.0),
    "mean_3d": np.arange(51.0).reshape(17, 3) / 100,
    "std_3d": np.full((17, 3), 0.25),
}


def write(path, arrays) -> str:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".json":
        path.write_text(json.dumps({key: np.asarray(v).tolist() for key, v in arrays.items()}))
    else:
        path.write_bytes(pickle.dumps(arrays))
    return str(path)


@pytest.mark.parametrize("suffix", [".npz", ".json", ".pkl"])
@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
def test_every_format_and_unit(tmp_path, suffix, unit):
    scaled = {k: v / UNITS[unit] if "3d" in k else v for k, v in GOOD.items()}
    found = read_statistics(write(tmp_path / f"s{suffix}", scaled), 17, unit)
    for name, value in GOOD.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-12)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_of_pickle(tmp_path, protocol):
    (tmp_path / "s.pkl").write_bytes(pickle.dumps(GOOD, protocol))
    found = read_statistics(str(tmp_path / "s.pkl"), 17, "m")
    np.testing.assert_array_equal(found.std_2d, GOOD["std_2d"])


def test_flat_arrays_are_joints_by_axes(tmp_path):
    flat = {key: value.reshape(-1) for key, value in GOOD.items()}
    found = read_statistics(write(tmp_path / "s.npz", flat), 17)
    np.testing.assert_array_equal(found.mean_3d, GOOD["mean_3d"])


def refused(path, match, unit="m"):
    with pytest.raises(LiftjaxError, match=match) as error:
        read_statistics(str(path), 17, unit)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("factor", "unit"), [(100, "cm"), (1000, "mm")])
def test_another_unit_is_noticed(tmp_path, factor, unit):
    path = write(tmp_path / "s.npz", GOOD | {"std_3d": GOOD["std_3d"] * factor})
    refused(path, f"not metres but probably {unit}; add --stats-unit {unit}")
    refused(write(tmp_path / "t.npz", GOOD), "stays below", unit="mm")


def test_bad_files(tmp_path):
    refused(tmp_path / "none.npz", "no statistics file")
    less = {key: value for key, value in GOOD.items() if key != "std_3d"}
    refused(write(tmp_path / "less.npz", less), "has no std_3d")
    refused(write(tmp_path / "k.npz", GOOD | {"mean_2d": np.ones((16, 2))}), r"shape \(16, 2\)")
    refused(write(tmp_path / "n.json", GOOD | {"std_2d": [[np.nan, 1]] * 17}), "not finite")
    (tmp_path / "words.json").write_text("words")
    refused(tmp_path / "words.json", "cannot be read")
    (tmp_path / "list.json").write_text("[1]")
    refused(tmp_path / "list.json", "no named arrays")
    (tmp_path / "s.mat").write_text("")
    refused(tmp_path / "s.mat", "may be .npz, .json or .pkl")
    values = {key: value.tolist() for key, value in GOOD.items()} | {"std_2d": "abc"}
    (tmp_path / "text.json").write_text(json.dumps(values))
    refused(tmp_path / "text.json", "not an array of numbers")
    text = json.dumps(values | {"std_2d": [[0, 0]] * 17})
    for digits in (400, 5000):
        (tmp_path / "long.json").write_text(text.replace("[0, 0]", f"[{'9' * digits}, 0]"))
        refused(tmp_path / "long.json", "not an array of numbers|cannot be read")


def test_a_pickle_of_anything_but_arrays_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'mark')!r}, 'w')",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(GOOD | {"x": Evil()}))
    refused(tmp_path / "evil.pkl", "builtins.eval")
    assert not (tmp_path / "mark").exists()
