"""Networks of docs/adding.md, which liftjax does not know, go the way of its own: out and in."""

import re

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from liftjax import create_detector, create_lifter, registry, torch_weights
from liftjax.counting import network_size
from liftjax.errors import LiftjaxError
from liftjax.interchange.exporting import export_network as export
from liftjax.interchange.importing import import_weights
from liftjax.lifters.published import published_lifter
from liftjax.nn.declaration import Preset, count_layers
from liftjax.skeletons import get_skeleton
from tests.documents import blocks
from tests.interchange.checkpoints import assert_same, imported, prefixed
from tests.test_registry import assert_all_learn, gradients

SMALL = ["channels=8", "blocks=1"]


@pytest.fixture(autouse=True)
def own_networks():
    """The presets of the page's files."""
    detectors, lifters = dict(registry.DETECTORS), dict(registry.LIFTERS)
    for language, body in blocks("docs/adding.md"):
        if language == "python" and re.match(r"# \w+\.py\n", body):
            assert len(body.splitlines()) < 80
            exec(body, {"__name__": "mine"})
    yield
    for presets, before in ((registry.DETECTORS, detectors), (registry.LIFTERS, lifters)):
        presets.clear()
        presets.update(before)


def exported(path, model, *overrides, **options):
    """The arrays of a file that `export` wrote of fresh weights."""
    export(str(path), format="safetensors", model=model, overrides=overrides, **options)
    return load_file(path)


@pytest.mark.parametrize(
    ("model", "overrides"), [("semgcn", ()), ("semgcn", SMALL), ("plain", ("width=8", "layers=1"))]
)
def test_what_was_exported_comes_back(tmp_path, model, overrides):
    arrays = exported(tmp_path / "w.safetensors", model, *overrides)
    import_weights(str(tmp_path / "w.safetensors"), str(tmp_path / "run"))
    found, spec = imported(tmp_path / "run")
    assert_same(found, arrays)
    assert spec["name"] == model
    assert {f"{key}={value}" for key, value in spec.items()} >= set(overrides)


def test_a_file_without_a_header_is_told_by_its_names(tmp_path):
    arrays = exported(tmp_path / "w.safetensors", "semgcn")
    wrapped = {k: v for k, v in arrays.items() if not k.endswith("graph")} | {"step": np.zeros(1)}
    save_file(prefixed("model.", wrapped), tmp_path / "bare.safetensors")
    with pytest.raises(LiftjaxError, match=r"1 unexpected \(step\)"):
        import_weights(str(tmp_path / "bare.safetensors"), str(tmp_path / "run"))
    del wrapped["step"]
    save_file(prefixed("model.", wrapped), tmp_path / "bare.safetensors")
    import_weights(str(tmp_path / "bare.safetensors"), str(tmp_path / "run"))
    found, spec = imported(tmp_path / "run")
    assert_same(found, arrays)
    assert (spec["name"], spec["skeleton"]) == ("semgcn", "human36m")


def test_other_sizes_need_the_model_and_its_keywords(tmp_path):
    arrays = exported(tmp_path / "w.safetensors", "semgcn", *SMALL, skeleton="panoptic")
    bare, run = str(tmp_path / "bare.safetensors"), str(tmp_path / "run")
    save_file(arrays, bare)
    with pytest.raises(LiftjaxError, match="the nearest is SemGCN"):
        import_weights(bare, run)
    with pytest.raises(LiftjaxError, match=r"is not semgcn: .* names missing .*; check --model\."):
        import_weights(bare, run, model="semgcn", overrides=["blocks=2"])
    with pytest.raises(LiftjaxError, match="of another shape"):
        import_weights(bare, run, model="semgcn", overrides=SMALL)
    import_weights(bare, run, model="semgcn", overrides=SMALL, source_skeleton="panoptic")
    assert_same(imported(run)[0], arrays)


def test_with_a_declaration_the_sizes_are_read_off_the_shapes(tmp_path):
    arrays = exported(tmp_path / "w.safetensors", "semgcn", *SMALL, skeleton="panoptic")
    save_file(prefixed("module.", arrays), tmp_path / "bare.safetensors")
    registry.LIFTERS["semgcn"] = published_lifter(
        registry.LIFTERS["semgcn"].cls,
        "Zhao et al., CVPR 2019",
        "mine",
        marks=[("enter.conv.edges", "leave.own.weight")],
        joints=lambda shapes: shapes["leave.edges"][0],
        sizes=lambda shapes: {
            "channels": shapes["leave.own.weight"][1],
            "blocks": count_layers(shapes, r"layers\.(\d+)\.") // 2,
        },
    )
    bare = str(tmp_path / "bare.safetensors")
    import_weights(bare, str(tmp_path / "run"), source_skeleton="panoptic")
    found, spec = imported(tmp_path / "run")
    assert_same(found, arrays)
    assert (spec["skeleton"], spec["channels"], spec["blocks"]) == ("panoptic", 8, 1)


def test_of_several_presets_the_one_of_the_files_shapes(tmp_path):
    cls = registry.LIFTERS["semgcn"].cls
    registry.LIFTERS["semgcn_small"] = Preset(cls, {"channels": 8, "blocks": 1})
    for name in ("semgcn", "semgcn_small"):
        arrays = exported(tmp_path / f"{name}.safetensors", name)
        save_file(arrays, tmp_path / "bare.safetensors")
        import_weights(str(tmp_path / "bare.safetensors"), str(tmp_path / "run"))
        found, spec = imported(tmp_path / "run")
        assert spec["name"] == name
        assert_same(found, arrays)


def test_a_detectors_head_is_converted_by_joint(tmp_path, capsys):
    arrays = exported(tmp_path / "w.safetensors", "plain")
    save_file(arrays, tmp_path / "bare.safetensors")
    for file in ("w", "bare"):
        path = str(tmp_path / f"{file}.safetensors")
        import_weights(path, str(tmp_path / "run"), skeleton="human36m")
        found, spec = imported(tmp_path / "run")
        assert spec["skeleton"] == "human36m"
        ours, theirs = get_skeleton("human36m").index("nose"), get_skeleton("coco").index("nose")
        np.testing.assert_array_equal(
            found["final_layer.weight"][ours], arrays["final_layer.weight"][theirs]
        )
        assert "final_layer to human36m: copied 13" in capsys.readouterr().out


def test_joints_without_names(tmp_path):
    arrays = exported(tmp_path / "w.safetensors", "plain", num_joints=5)
    save_file(arrays, tmp_path / "bare.safetensors")
    import_weights(str(tmp_path / "w.safetensors"), str(tmp_path / "run"))
    assert_same(imported(tmp_path / "run")[0], arrays)
    bare = str(tmp_path / "bare.safetensors")
    with pytest.raises(LiftjaxError, match=r"finds 5 joints, .* --num-joints 5"):
        import_weights(bare, str(tmp_path / "run"))
    import_weights(bare, str(tmp_path / "run"), num_joints=5)
    assert_same(imported(tmp_path / "run")[0], arrays)


def test_an_own_network_around_one_of_ours_is_not_taken_for_it(tmp_path):
    class Around(registry.DETECTORS["plain"].cls):
        def __init__(self, num_joints, image_size=(64, 64), *, skeleton=None, rngs):
            super().__init__(num_joints, image_size, skeleton=skeleton, layers=0, rngs=rngs)
            self.trunk = create_detector("hrnet_tiny", image_size=image_size, rngs=rngs)

    registry.DETECTORS["around"] = Preset(Around, skeleton="coco")
    shapes = torch_weights.shapes(nnx.eval_shape(lambda: Around(17, rngs=nnx.Rngs(0))))
    arrays = {key: np.full(shape, 0.5, np.float32) for key, shape in shapes.items()}
    save_file(arrays, tmp_path / "bare.safetensors")
    import_weights(str(tmp_path / "bare.safetensors"), str(tmp_path / "run"))
    found, spec = imported(tmp_path / "run")
    assert spec["name"] == "around"
    for key in arrays:
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(found[key], arrays[key])


def test_a_network_that_is_not_imported_is_named(tmp_path):
    exported(tmp_path / "w.safetensors", "plain")
    del registry.DETECTORS["plain"]
    with pytest.raises(LiftjaxError, match=r"Unknown model 'plain'.* LIFTJAX_IMPORT=MODULE adds"):
        import_weights(str(tmp_path / "w.safetensors"), str(tmp_path / "run"))


def test_it_learns_and_is_counted():
    lifter = create_lifter("semgcn", channels=8, blocks=1, rngs=nnx.Rngs(0))
    of_params, _ = gradients(lifter, jax.random.normal(jax.random.key(1), (4, 1, 17, 2)))
    assert_all_learn(of_params)
    assert network_size("semgcn").output == "m"
    layers = 8 * (17**2 + 2 * 128**2 + 3 * 128) + 17**2 * 2 + 4 * 128 + 3 * 128 + 2 * 3 * 128 + 3
    assert network_size("semgcn").parameters == layers
