"""Every network by name: it is what the registry says, it runs, and all of it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from liftjax import counting, registry
from liftjax.counting import network_size
from liftjax.detectors.spec import SimCCOutput
from liftjax.errors import LiftjaxError
from liftjax.nn.operations import multiply_adds
from liftjax.registry import DETECTORS, LIFTERS, create_detector, create_lifter
from liftjax.skeletons import get_skeleton
from tests.slow import one_in

# Millions of parameters and 10^9 multiply-adds as published. HRNet: its paper's tables 1 and 2,
# whose giga is 2^30; RTMPose, 17 joints: the tables of MMPose's RTMPose project, whose counter
# adds the norms (1 %); DWPose: the table of its repository. Lifters: VideoPose3D's and MixSTE's
# papers print 16.95 and 33.6 million at 243 frames.
PUBLISHED = {
    ("hrnet_w32", (256, 192)): (28.5, 7.10 * 1.0737),
    ("hrnet_w32", (384, 288)): (28.5, 16.0 * 1.0737),
    ("hrnet_w48", (256, 192)): (63.6, 14.6 * 1.0737),
    ("hrnet_w48", (384, 288)): (63.6, 32.9 * 1.0737),
    ("rtmpose_t", (256, 192)): (3.34, 0.36),
    ("rtmpose_s", (256, 192)): (5.47, 0.68),
    ("rtmpose_m", (256, 192)): (13.59, 1.93),
    ("rtmpose_l", (256, 192)): (27.66, 4.16),
    ("rtmpose_m", (384, 288)): (13.72, 4.33),
    ("rtmpose_l", (384, 288)): (27.79, 9.35),
    ("rtmpose_x", (384, 288)): (49.43, 17.22),
    ("dwpose_t", (256, 192)): (None, 0.5),
    ("dwpose_s", (256, 192)): (None, 0.9),
    ("dwpose_m", (256, 192)): (None, 2.22),
    ("dwpose_l", (256, 192)): (None, 4.52),
    ("dwpose_l", (384, 288)): (None, 10.07),
}


@functools.cache
def abstract_detector(name, image_size=None):
    """The network without numbers; a list, since NNX refuses to hash by value."""
    return nnx.eval_shape(lambda: create_detector(name, image_size=image_size, rngs=nnx.Rngs(0)))


def parameters(module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def gmacs(module, *input_shape) -> float:
    structure, state = nnx.split(module)
    x = jax.ShapeDtypeStruct(input_shape, jnp.float32)
    return multiply_adds(lambda state, x: nnx.merge(structure, state)(x), state, x) / 1e9


@pytest.mark.parametrize(
    ("name", "exactly"),
    [("hrnet_w32", 28_536_113), ("rtmpose_m", 13_587_611), ("dwpose_l", 33_480_871)],
)
def test_parameters_to_the_last_one(name, exactly):
    assert network_size(name).parameters == exactly


@pytest.mark.parametrize("name", one_in(8, DETECTORS))
def test_detectors_are_counted(name):
    preset, module, size = DETECTORS[name], abstract_detector(name), network_size(name)
    assert module.spec.skeleton == preset.skeleton
    assert size.output.rstrip("s").lower() == module.spec.kind
    assert size.parameters == parameters(module)
    assert size.gmacs == pytest.approx(gmacs(module, 1, *module.spec.image_size, 3))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("simple_baseline", (4_296_755, 0.004281344, "standardised m")),
        ("videopose3d", (4_291_635, 0.004281344, "m")),
        ("iganet", (10_623_657, 0.18453568, "m")),
        ("mixste", (33_659_907, 0.501533184, "m")),
    ],
)
def test_lifters_are_counted(name, size):
    assert network_size(name) == size


def test_counts_are_kept_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counting._kept_size.cache_clear()
    first = network_size("simple_baseline")
    counting._kept_size.cache_clear()
    monkeypatch.setattr(counting, "_count", None)
    assert network_size("simple_baseline") == first
    (file,) = (tmp_path / "liftjax" / "sizes").iterdir()
    file.write_text("{")
    counting._kept_size.cache_clear()
    with pytest.raises(TypeError, match="not callable"):  # counted anew
        network_size("simple_baseline")


@pytest.mark.parametrize(("name", "image_size"), one_in(9, reversed(PUBLISHED)))
def test_detectors_have_the_published_size(name, image_size):
    module = abstract_detector(name, image_size)
    millions, giga = PUBLISHED[name, image_size]
    if millions is not None:
        digits = 1 if millions in (28.5, 63.6) else 2
        assert round(parameters(module) / 1e6, digits) == millions
    # Some tables are printed to one digit only.
    assert gmacs(module, 1, *image_size, 3) == pytest.approx(giga, rel=0.015, abs=0.05)


@pytest.mark.parametrize(
    ("name", "keywords", "millions"),
    [
        ("videopose3d", {"filter_widths": (3, 3, 3, 3, 3)}, 16.95),
        ("mixste", {"num_frames": 243}, 33.8),
        ("simple_baseline", {}, 4.3),
    ],
)
def test_lifters_have_the_published_size(name, keywords, millions):
    module = nnx.eval_shape(lambda: create_lifter(name, rngs=nnx.Rngs(0), **keywords))
    assert parameters(module) / 1e6 == pytest.approx(millions, abs=0.05)


def gradients(module, x):
    """Of a loss in which every output counts, for the parameters and for the input."""
    structure, params, others = nnx.split(module, nnx.Param, ...)

    @jax.jit
    def run(params, others, x):
        def loss(params, x):
            out = nnx.merge(structure, params, others, copy=True)(x, train=True)
            return sum(jnp.square(leaf - 1).sum() for leaf in jax.tree.leaves(out))

        return jax.grad(loss, argnums=(0, 1))(params, x)

    return run(params, others, x)


def assert_all_learn(of_params, except_for=()):
    for path, gradient in nnx.to_flat_state(of_params):
        name = ".".join(map(str, path))
        assert np.all(np.isfinite(gradient[...])), name
        if not any(part in name for part in except_for):
            assert np.any(gradient[...]), f"{name} learns nothing"


# The large ones differ from these in their factors of depth and width alone.
@pytest.mark.parametrize("name", one_in(3, ["hrnet_tiny", "hrnet_small", "rtmpose_tiny"]))
def test_every_parameter_of_a_detector_learns(name):
    detector = create_detector(name, skeleton="human36m", rngs=nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(1), (2, *detector.spec.image_size, 3))
    of_params, of_images = gradients(detector, images)
    assert_all_learn(of_params)
    assert np.all(np.isfinite(of_images))


# Sizes small enough to run; the structure is the published one's.
LIFTER_SIZES = {
    "simple_baseline": {"linear_size": 32},
    "videopose3d": {"channels": 32},
    "iganet": {"channels": 32},
    "mixste": {"embed_dim": 32, "depth": 2},
}


@pytest.mark.parametrize("name", one_in(4, LIFTERS))
def test_every_parameter_of_a_lifter_learns_and_so_does_its_input(name):
    lifter = create_lifter(name, rngs=nnx.Rngs(0), **LIFTER_SIZES.get(name, {}))
    poses = jax.random.normal(jax.random.key(1), (4, 1, 17, 2))
    of_params, of_poses = gradients(lifter, poses)
    # One frame's attention over frames is 1 whatever the queries and keys: half of this
    # projection, the values' third, still learns.
    assert_all_learn(of_params)
    if name == "mixste":
        of_qkv = of_params["TTEblocks"][0]["attn"]["qkv"]["kernel"][...]
        assert not np.any(of_qkv[:, : 2 * 32])
    assert np.all(np.any(of_poses, axis=-1)), "a joint of the input has no effect"


@pytest.mark.parametrize("name", one_in(4, DETECTORS))
def test_every_detector_decodes_to_pixels_of_its_crop(name):
    """By shape alone: nothing is computed, so that the largest is as quick as the smallest."""
    module = abstract_detector(name)
    structure, state = nnx.split(module)

    def run(state, images):
        detector = nnx.merge(structure, state)
        out = detector(images)
        return out, detector.decode(out)

    images = jax.ShapeDtypeStruct((2, *module.spec.image_size, 3), jnp.float32)
    out, kpts = jax.eval_shape(run, state, images)
    joints, (height, width) = module.spec.num_joints, module.spec.output_size
    if isinstance(out, SimCCOutput):
        assert (out.x.shape, out.y.shape) == ((2, joints, width), (2, joints, height))
    else:
        assert out.heatmaps.shape == (2, height, width, joints)
    assert kpts.shape == (2, joints, 2)


def test_joint_sets_go_by_name():
    small = functools.partial(create_detector, "hrnet_tiny", rngs=nnx.Rngs(0))
    assert small().spec.skeleton == "coco"
    assert small(skeleton="panoptic").spec.num_joints == 15
    unnamed = small(num_joints=17).spec  # as many as coco and human36m have, and neither
    assert (unnamed.skeleton, unnamed.num_joints) == (None, 17)
    with pytest.raises(LiftjaxError, match="has 15 joints, not 17"):
        small(skeleton="panoptic", num_joints=17)


def test_unknown_names_get_the_nearest():
    with pytest.raises(LiftjaxError, match="did you mean 'rtmpose_m'"):
        create_detector("rtmpose-m", rngs=nnx.Rngs(0))
    with pytest.raises(LiftjaxError, match=r"'videopose3d'\? LIFTJAX_IMPORT=MODULE adds a lifter"):
        create_lifter("videopose", rngs=nnx.Rngs(0))
    with pytest.raises(LiftjaxError, match=r"keyword of rtmpose_tiny.*'deepen'"):
        create_detector("rtmpose_tiny", deepn=1.0, rngs=nnx.Rngs(0))
    for keywords, said in (
        ({"image_size": 256}, r"image size 256; give \(height, width\)"),
        ({"image_size": "ab"}, r"image size 'ab'; give \(height, width\)"),
        ({"num_joints": 0}, "finds 1 or more"),
        ({"deepen": "abc"}, "cannot be built with deepen='abc'"),
    ):
        with pytest.raises(LiftjaxError, match=said):
            create_detector("rtmpose_tiny", rngs=nnx.Rngs(0), **keywords)
    with pytest.raises(LiftjaxError, match="cannot be built with filter_widths=3"):
        create_lifter("videopose3d", filter_widths=3, rngs=nnx.Rngs(0))
    assert registry.list_detectors() == list(DETECTORS)
    assert get_skeleton("wholebody").num_joints == abstract_detector("dwpose_t").spec.num_joints


def test_networks_of_others_are_imported_or_missed_by_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "networks_of_mine.py").write_text(
        "from liftjax.registry import LIFTERS\nLIFTERS['mine'] = LIFTERS['mixste']\n"
    )
    try:
        registry._import_others("networks_of_mine, ")
        assert registry.list_lifters()[-1] == "mine"
    finally:
        LIFTERS.pop("mine", None)
    with pytest.raises(LiftjaxError, match="LIFTJAX_IMPORT names no_such_module"):
        registry._import_others("no_such_module")
    (tmp_path / "broken.py").write_text("import no_such_package\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry._import_others("broken")
