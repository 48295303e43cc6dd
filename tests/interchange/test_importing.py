"""`import-weights`: from a file to a run directory that recipes start from."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from data_prep.building import write_dataset
from liftjax.cli import main
from liftjax.detectors import rtmpose
from liftjax.errors import LiftjaxError
from liftjax.interchange.importing import import_weights
from liftjax.interchange.network_spec import best_preset
from liftjax.nn.declaration import Found
from liftjax.recipes import load_recipe
from liftjax.runtime.checkpoints import load_model, load_same_model
from liftjax.skeletons import get_skeleton
from liftjax.training.detector_task import detector_spec
from tests.data.builders import make_record
from tests.interchange.checkpoints import (
    SMALL,
    assert_same,
    imported,
    mmpose_hrnet,
    save,
    state_dict,
)
from tests.slow import one_in

STATISTICS = {
    "mean_2d": np.full((17, 2), 500.0),
    "std_2d": np.full((17, 2), 100.0),
    "mean_3d": np.full((17, 3), 0.1),
    "std_3d": np.full((17, 3), 0.2),
}


def safetensors(path, state: dict) -> str:
    save_file({key: np.asarray(value, order="C") for key, value in state.items()}, path)
    return str(path)


@pytest.fixture
def stats(tmp_path):
    np.savez(tmp_path / "stats.npz", **STATISTICS)
    return str(tmp_path / "stats.npz")


@pytest.mark.parametrize("name", one_in(2, SMALL))
def test_every_network_is_told_by_its_shapes(tmp_path, name, stats):
    state = state_dict(name)
    path = safetensors(tmp_path / "w.safetensors", state)
    extra = {"stats": stats} if name == "simple_baseline" else {}
    joints = {"hrnet_tiny": "coco", "rtmpose_tiny": "coco", "videopose3d": "human36m"}
    extra |= {"source_skeleton": joints[name]} if name in joints else {}
    import_weights(path, str(tmp_path / "run"), **extra)
    found, spec = imported(tmp_path / "run")
    assert_same(found, state)
    assert spec["name"] == name
    assert SMALL[name].items() <= spec.items()
    before = (tmp_path / "run").stat().st_ino
    import_weights(path, str(tmp_path / "run"), model=name, **extra)
    assert_same(imported(tmp_path / "run")[0], state)
    assert (tmp_path / "run").stat().st_ino != before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_recipe_takes_what_was_imported(tmp_path):
    """The spec that is stored is the one that the recipe asks for."""
    config = load_recipe("ft2d", ["detector.name=hrnet_tiny"])
    path = safetensors(tmp_path / "d.safetensors", state_dict("hrnet_tiny"))
    import_weights(path, str(tmp_path / "detector"), skeleton="human36m", source_skeleton="coco")
    assert imported(tmp_path / "detector")[1] == detector_spec(config, "human36m")
    path = safetensors(tmp_path / "l.safetensors", state_dict("mixste"))
    import_weights(path, str(tmp_path / "lifter"))
    load_same_model(tmp_path / "lifter", imported(tmp_path / "lifter")[1])
    assert load_model(tmp_path / "lifter", "lifter")[0].spec.skeleton == "human36m"


@pytest.mark.parametrize("name", ["hrnet_tiny", "rtmpose_tiny"])
def test_a_head_for_other_joints(tmp_path, name, capsys):
    layer = "final_layer" if name == "hrnet_tiny" else "head.final_layer"
    state = state_dict(name)
    path = safetensors(tmp_path / "w.safetensors", state)
    import_weights(path, str(tmp_path / "run"), skeleton="human36m", source_skeleton="coco")
    found, spec = imported(tmp_path / "run")
    assert spec["skeleton"] == "human36m"
    ours, theirs = get_skeleton("human36m"), get_skeleton("coco")
    for leaf in ("weight", "bias"):
        new, old = found[f"{layer}.{leaf}"], state[f"{layer}.{leaf}"]
        np.testing.assert_array_equal(new[ours.index("nose")], old[theirs.index("nose")])
        hips = old[[theirs.index("left_hip"), theirs.index("right_hip")]]
        np.testing.assert_allclose(new[ours.index("hip")], hips.mean(0), rtol=1e-5)
    assert found[f"{layer}.bias"][ours.index("head_top")] == 0
    assert 0 < np.abs(found[f"{layer}.weight"][ours.index("head_top")]).max() < 0.1
    others = {key for key in state if not key.startswith(layer)}
    assert_same({key: found[key] for key in others}, {key: state[key] for key in others})
    assert "averaged 3 (hip, spine, thorax); drawn 1 (head_top)" in capsys.readouterr().out


def test_joints_of_equal_count_are_never_taken_by_luck(tmp_path, capsys):
    """COCO and Human3.6M have 17 joints each: the name decides, or the user."""
    state = state_dict("hrnet_tiny")
    path = safetensors(tmp_path / "w.safetensors", state)
    asked = "may be those of human36m, coco or posetrack18, and nothing .* with --source-skeleton"
    with pytest.raises(LiftjaxError, match=asked):
        import_weights(path, str(tmp_path / "run"), skeleton="human36m")
    import_weights(path, str(tmp_path / "run"), source_skeleton="human36m")
    found, spec = imported(tmp_path / "run")
    assert spec["skeleton"] == "human36m"
    assert_same(found, state)
    path = safetensors(tmp_path / "hrnet_posetrack18_256x192.safetensors", state)
    import_weights(path, str(tmp_path / "run"))
    assert imported(tmp_path / "run")[1]["skeleton"] == "posetrack18"
    assert "posetrack18 (the file's name, hrnet_posetrack18_256x192" in capsys.readouterr().out


def test_a_lifter_from_one_joint_set_to_another(tmp_path, capsys):
    """VideoPose3D's network for films in the wild takes COCO's joints and gives Human3.6M's."""
    state = state_dict("videopose3d")
    path = safetensors(tmp_path / "w.safetensors", state)
    with pytest.raises(LiftjaxError, match=r"takes 17 joints in 2D .* with --source-skeleton"):
        import_weights(path, str(tmp_path / "run"))
    import_weights(path, str(tmp_path / "run"), source_skeleton="coco")
    lifter, meta = load_model(tmp_path / "run", "lifter")
    assert meta["model"]["skeleton_2d"] == lifter.spec.skeleton_2d == "coco"
    assert lifter.spec.skeleton == "human36m"
    for name, joints in (
        ("pretrained_h36m_detectron_coco", "coco"), ("pretrained_h36m_cpn", "human36m"),
    ):  # fmt: skip
        path = safetensors(tmp_path / f"{name}.safetensors", state)
        import_weights(path, str(tmp_path / "run"))
        spec = load_model(tmp_path / "run", "lifter")[0].spec
        assert (spec.skeleton_2d, spec.skeleton) == (joints, "human36m")
        assert f"joints in 2D: {joints} (the file's name" in capsys.readouterr().out


def test_joints_without_a_name(tmp_path):
    state = state_dict("hrnet_tiny")
    for leaf in ("weight", "bias"):
        state[f"final_layer.{leaf}"] = state[f"final_layer.{leaf}"][:14]
    path = safetensors(tmp_path / "w.safetensors", state)
    with pytest.raises(LiftjaxError, match=r"14 joints, whose set is unknown .* --num-joints 14"):
        import_weights(path, str(tmp_path / "run"))
    import_weights(path, str(tmp_path / "run"), num_joints=14)
    found, spec = imported(tmp_path / "run")
    assert spec["num_joints"] == 14
    assert_same(found, state)
    import_weights(path, str(tmp_path / "run"), num_joints=5)
    assert imported(tmp_path / "run")[0]["final_layer.weight"].shape[0] == 5


def test_a_trunk_gets_a_fresh_head(tmp_path, capsys):
    state = state_dict("hrnet_tiny")
    trunk = {key: value for key, value in state.items() if not key.startswith("final_layer")}
    path = safetensors(tmp_path / "w.safetensors", trunk)
    import_weights(path, str(tmp_path / "run"), skeleton="human36m")
    found, _ = imported(tmp_path / "run")
    assert_same({key: found[key] for key in trunk}, trunk)
    assert found["final_layer.weight"].std() > 0
    assert "drew the head afresh (2 arrays)" in capsys.readouterr().out


def test_pickled_checkpoint_of_mmpose(tmp_path, capsys):
    pytest.importorskip("torch")
    state = state_dict("hrnet_tiny")
    tree = {"meta": {"dataset_meta": {"dataset_name": "coco"}, "cfg": "input_size=(64, 128)"}}
    tree |= {"state_dict": mmpose_hrnet(state), "message_hub": {"lr": np.float64(1)}}
    path = save(tmp_path / "a.pth", tree, legacy=True)
    import_weights(path, str(tmp_path / "run"))
    found, spec = imported(tmp_path / "run")
    assert_same(found, state)
    assert spec["image_size"] == (128, 64)
    out = capsys.readouterr().out
    assert "left objects of numpy" in out
    assert len(out.splitlines()) < 10


def test_of_a_network_and_its_average_one_is_named(tmp_path, capsys):
    pytest.importorskip("torch")
    state = state_dict("videopose3d")
    other = {key: value + 1 for key, value in state.items()}
    path = save(tmp_path / "t.pth.tar", {"state_dict": other, "state_dict_ema": state})
    with pytest.raises(LiftjaxError, match=r"t.pth.tar holds 2 .* or --entry=state_dict_ema\.$"):
        import_weights(path, str(tmp_path / "run"))
    arguments = ["import-weights", path, "--out", str(tmp_path / "run")]
    arguments += ["--source-skeleton", "human36m"]
    assert main([*arguments, "--entry", "state_dict_ema"]) == 0
    assert_same(imported(tmp_path / "run")[0], state)
    assert "took state_dict_ema, left state_dict" in capsys.readouterr().out


def test_numpy_arrays_that_torch_saved(tmp_path):
    torch = pytest.importorskip("torch")
    state = state_dict("videopose3d")
    torch.save({key: np.array(value) for key, value in state.items()}, tmp_path / "n.pth")
    import_weights(str(tmp_path / "n.pth"), str(tmp_path / "run"), source_skeleton="human36m")
    assert_same(imported(tmp_path / "run")[0], state)


def test_statistics_of_a_data_set(tmp_path, capsys):
    """Of its training split: in pixels, and in metres where there is 3D."""
    joints = np.arange(34.0).reshape(17, 2)
    pose = np.arange(51.0).reshape(17, 3) / 100
    seen = {"joint_visible": np.ones(17, bool)}
    records = [
        make_record(i, False, joints_px=joints + i, pose_m=pose * i, has_3d=i < 3, **seen)
        for i in range(4)
    ]
    others = [make_record(9, False, joints_px=joints + 99, has_3d=True)]
    write_dataset(tmp_path / "set", "toy", {"train": records, "test": others}, {})
    path = safetensors(tmp_path / "w.safetensors", state_dict("simple_baseline"))
    import_weights(path, str(tmp_path / "run"), stats=str(tmp_path / "set"))
    lifter, _ = load_model(tmp_path / "run", "lifter")
    np.testing.assert_allclose(lifter.mean_2d[...], joints + 1.5, rtol=1e-6)
    np.testing.assert_allclose(lifter.std_2d[...], np.full((17, 2), 1.25**0.5), rtol=1e-5)
    np.testing.assert_allclose(lifter.mean_3d[...], pose, rtol=1e-6)
    np.testing.assert_allclose(lifter.std_3d[...], pose * (2 / 3) ** 0.5, rtol=1e-6)
    assert f"statistics from {tmp_path / 'set'}" in capsys.readouterr().out


def test_statistics_of_a_data_set_of_other_joints_or_without_3d(tmp_path):
    path = safetensors(tmp_path / "w.safetensors", state_dict("simple_baseline"))
    for changes, match in (
        ({"skeleton": "coco"}, "has coco poses, the lifter is for human36m"),
        ({"has_3d": False}, "split train has no 3D poses"),
    ):
        name = next(iter(changes))
        records = [make_record(i, False, **changes) for i in range(2)]
        write_dataset(tmp_path / name, "toy", {"train": records}, {})
        with pytest.raises(LiftjaxError, match=match):
            import_weights(path, str(tmp_path / "run"), stats=str(tmp_path / name))


def test_half_precision_weights_become_float32(tmp_path):
    state = {k: v.astype(np.float16) if v.dtype == np.float32 else v
             for k, v in state_dict("mixste").items()}  # fmt: skip
    import_weights(safetensors(tmp_path / "w.safetensors", state), str(tmp_path / "run"))
    found, _ = imported(tmp_path / "run")
    assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}
    assert_same(found, state)


def test_the_header_of_another_program_says_nothing(tmp_path):
    state = state_dict("videopose3d")
    for header in ("hello", "[1]", '"text"', '{"loss": 3}'):
        path = tmp_path / "w.safetensors"
        save_file(state, path, {"spec": header, "recipe": header, "statistics": header})
        import_weights(str(path), str(tmp_path / "run"), source_skeleton="human36m")
        assert_same(imported(tmp_path / "run")[0], state)


def test_overrides_set_what_leaves_no_trace(tmp_path):
    path = safetensors(tmp_path / "w.safetensors", state_dict("mixste"))
    import_weights(path, str(tmp_path / "run"), overrides=["num_heads=4", "drop_path=0"])
    module, _ = load_model(tmp_path / "run", "lifter")
    assert module.STEblocks[0].attn.num_heads == 4
    bad = {
        "heads=4": "Unknown keyword",
        "num_heads=many": "cannot be built",
        "num_heads": "has no value",
        "skeleton=coco": "--skeleton",
    }
    for override, message in bad.items():
        with pytest.raises(LiftjaxError, match=message):
            import_weights(path, str(tmp_path / "other"), overrides=[override])


def test_the_graph_of_another_joint_set_is_noticed(tmp_path, capsys):
    state = state_dict("iganet")
    import_weights(safetensors(tmp_path / "w.safetensors", state), str(tmp_path / "run"))
    assert "warning: the file's A is not that of human36m" in capsys.readouterr().out
    graph = [key for key in state if key == "A" or key.endswith("adj")]
    less = {key: value for key, value in state.items() if key not in graph}
    import_weights(safetensors(tmp_path / "w2.safetensors", less), str(tmp_path / "run"))
    out = capsys.readouterr().out
    assert "warning" not in out
    assert "made 4 arrays that the file leaves out, such as A" in out


class TestRefused:
    """One line that says what was wrong and what would be right."""

    def refused(self, tmp_path, state, match, **kw):
        path = safetensors(tmp_path / "w.safetensors", state)
        with pytest.raises(LiftjaxError, match=match) as error:
            import_weights(path, str(tmp_path / "run"), **kw)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "run").exists()

    def test_other_sizes(self, tmp_path):
        match = r"is not hrnet_w32 \(width=8.*; use --model hrnet_tiny"
        self.refused(tmp_path, state_dict("hrnet_tiny"), match, model="hrnet_w32")

    def test_another_network(self, tmp_path):
        match = "is not mixste but VideoPose3D: .* missing .* unexpected .* --model videopose3d"
        self.refused(tmp_path, state_dict("videopose3d"), match, model="mixste")

    def test_another_machine(self, tmp_path):
        path = safetensors(tmp_path / "w.safetensors", state_dict("mixste"))
        with pytest.raises(LiftjaxError, match="gs://bucket/run: write to a path of this machine"):
            import_weights(path, "gs://bucket/run")

    def test_unknown_names(self, tmp_path):
        state = state_dict("hrnet_tiny")
        self.refused(tmp_path, state, "did you mean 'hrnet_tiny'", model="hrnet_tny")
        self.refused(tmp_path, state, "did you mean 'human36m'", skeleton="human36")

    def test_arrays_missing_and_unexpected(self, tmp_path):
        state = state_dict("hrnet_tiny")
        del state["bn2.weight"]
        match = r"1 missing \(bn2.weight\); 1 unexpected \(extra\).* nearest model is hrnet_tiny"
        self.refused(tmp_path, state | {"extra": np.zeros(1)}, match, source_skeleton="coco")

    def test_a_size_that_cannot_be_told(self, tmp_path):
        state = state_dict("mixste")
        del state["Temporal_pos_embed"]
        self.refused(tmp_path, state, "looks like MixSTE .* has no 'Temporal_pos_embed'")

    def test_none_of_ours(self, tmp_path):
        state = {"conv1.weight": np.zeros(1), "layer1.0.conv1.weight": np.zeros(1)}
        self.refused(tmp_path, state, "none of liftjax's networks.* nearest is HRNet")

    def test_not_finite(self, tmp_path):
        state = state_dict("mixste")
        state["head.1.bias"] = np.full(3, np.nan, np.float32)
        self.refused(tmp_path, state, "not finite in 1 arrays, such as head.1.bias")

    def test_wrong_joint_counts(self, tmp_path):
        state = state_dict("hrnet_tiny")
        self.refused(tmp_path, state, "finds 17 joints, mpii", source_skeleton="mpii")
        self.refused(tmp_path, state, "not both", skeleton="coco", num_joints=17)
        self.refused(tmp_path, state_dict("mixste"), "lifts 17 joints", skeleton="panoptic")
        self.refused(tmp_path, state_dict("mixste"), "give --skeleton", num_joints=17)

    def test_statistics(self, tmp_path, stats):
        self.refused(tmp_path, state_dict("simple_baseline"), "add --stats FILE")
        self.refused(tmp_path, state_dict("mixste"), "Only SimpleBaseline", stats=stats)

    def test_directories_that_hold_something_else(self, tmp_path):
        path = safetensors(tmp_path / "w.safetensors", state_dict("mixste"))
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "notes.txt").write_text("mine")
        with pytest.raises(LiftjaxError, match="holds other files"):
            import_weights(path, str(tmp_path / "full"))
        with pytest.raises(LiftjaxError, match="is a file"):
            import_weights(path, str(tmp_path / "w.safetensors"))
        assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_names_prefer_the_preset_of_the_same_joints():
    """The networks called rtmpose and dwpose are one; 133 joints are what tells them apart."""

    def best(skeleton, image_size, **sizes):
        found = Found("", {}, None, skeleton, "", image_size, sizes=sizes, presets=rtmpose.PRESETS)
        return best_preset(found)

    sizes = {"widen": 0.75, "deepen": 4 / 6, "channels": 256, "attention_dim": 128}
    assert best("wholebody", (256, 192), **sizes) == "dwpose_m"
    assert best("coco", (256, 192), **sizes) == "rtmpose_m"
    extra = sizes | {"widen": 1.25, "deepen": 8 / 6}
    assert best("wholebody", (384, 288), **extra) == "rtmpose_x"
