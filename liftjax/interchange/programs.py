"""Networks as pure functions with named inputs and outputs, as other runtimes run them.

A head says where the function begins and ends:

    maps       normalised crop -> what the network gives
    keypoints  crop of bytes -> keypoints in the crop, and scores
    poses      crop of bytes and where it lies -> keypoints in the picture, scores, and a 3D pose
               of each lifter; of a lifter alone: keypoints of clips -> 3D poses
    rtmlib     what the class RTMPose of rtmlib feeds -> SimCC vectors as it decodes them

Legend: B batch, T frames, H W image, K keypoints of the detector, J joints of a lifter.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from liftjax import geometry
from liftjax.detectors.decoding import Decoding
from liftjax.errors import LiftjaxError, unknown_name
from liftjax.runtime.state import PureModule
from liftjax.skeletons import conversion_matrix, convert, get_skeleton

BATCH = "B"
HEADS = {"detector": ("keypoints", "maps", "poses", "rtmlib"), "lifter": ("poses",)}
"""Heads by kind of network, the default first."""

Size = int | str


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or output of a program.

    Attributes:
      shape: sizes, a letter where any will do.
      meaning: what it is, in which layout, unit and normalisation.
    """

    name: str
    shape: tuple[Size, ...]
    dtype: str
    meaning: str

    def struct(self, sizes: Mapping[str, Any]) -> jax.ShapeDtypeStruct:
        """Shape and type with `sizes` for letters."""
        shape = tuple(sizes[s] if isinstance(s, str) else s for s in self.shape)
        return jax.ShapeDtypeStruct(shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class Program:
    """A pure function.

    Attributes:
      function: (weights, \\*inputs) -> tuple of outputs.
      weights: arrays by dotted path.
      inputs, outputs: what the function takes and gives, in order.
      examples: (random generator, batch) -> arrays such as it is made for, in order.
      facts: what else its sidecar tells.
    """

    head: str
    function: Callable[..., tuple[jax.Array, ...]]
    weights: dict[str, jax.Array]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    examples: Callable[[np.random.Generator, int], list[np.ndarray]]
    facts: dict[str, Any]

    @property
    def results(self) -> str:
        """The outputs' names as Python assigns to them."""
        names = [port.name for port in self.outputs]
        return ", ".join(names) if len(names) > 1 else f"({names[0]},)"


def detector_program(
    detector: nnx.Module,
    head: str | None = None,
    decoding: Decoding | None = None,
    lifters: Mapping[str, nnx.Module] | None = None,
) -> Program:
    """The program of a detector, with `lifters` (by name) behind it for the head `poses`.

    Raises:
      LiftjaxError: the head is unknown or not for this detector; a lifter takes clips or joints
        that the detector does not give.
    """
    head = _checked_head("detector", head or HEADS["detector"][0])
    lifters = lifters or {}
    if lifters and head != "poses":
        raise LiftjaxError(f"The head {head} has no lifters behind it; add --head poses.")
    if head == "poses" and not lifters:
        raise LiftjaxError("The head poses needs a lifter behind the detector: add --lifter RUN.")
    make = {"maps": _maps, "keypoints": _keypoints, "rtmlib": _rtmlib}
    if head == "poses":
        return _poses(detector, decoding or Decoding(), lifters)
    return make[head](detector, decoding or Decoding())


def lifter_program(lifter: nnx.Module, head: str | None = None) -> Program:
    """The program of a lifter alone: keypoints (B, T, J, 2) and image sizes to poses (B, T', J, 3).

    T is the length of clip that the lifter is configured for.
    """
    head = _checked_head("lifter", head or HEADS["lifter"][0])
    pure, weights = _weights(lifter)
    spec, joints = lifter.spec, lifter.spec.num_joints
    taken = spec.num_frames
    given = taken - spec.receptive_field + 1 if spec.frames == "sliding" else taken

    def run(weights, kpts_px_BTJ2, image_size_B2):
        return (pure.merge(weights, {}).lift(kpts_px_BTJ2, image_size_B2),)

    def examples(random, batch):
        size_B2 = _image_sizes(random, batch)
        inside = random.uniform(0.2, 0.8, (batch, taken, joints, 2)) * size_B2[:, None, None]
        return [inside.astype(np.float32), size_B2]

    keypoints = Port(
        "keypoints", (BATCH, taken, joints, 2), "float32", "(x, y) in pixels of the picture"
    )
    return Program(
        head,
        run,
        weights,
        (keypoints, _IMAGE_SIZE),
        (_pose_port("poses", (BATCH, given, joints, 3)),),
        examples,
        {"joints": _joints(spec.skeleton, joints), "frames": _frames(lifter, taken, given)},
    )


def _checked_head(kind: str, head: str) -> str:
    if head not in {*HEADS["detector"], *HEADS["lifter"]}:
        raise unknown_name("head", head, HEADS["detector"])
    if head not in HEADS[kind]:
        raise LiftjaxError(f"The head {head} is one of detectors; a lifter has --head poses.")
    return head


def _weights(module: nnx.Module, prefix: str = "") -> tuple[PureModule, dict[str, jax.Array]]:
    pure, params, others = PureModule.split(module)
    return pure, {prefix + name: array for name, array in (params | others).items()}


# Detectors


def _maps(detector: nnx.Module, decoding: Decoding) -> Program:
    pure, weights = _weights(detector)
    spec = detector.spec

    def run(weights, image_BHWC):
        return tuple(pure.merge(weights, {})(image_BHWC))

    image = Port(
        "image",
        (BATCH, *spec.image_size, 3),
        "float32",
        f"crop around a person, RGB, (value / 255 - mean) / std with mean {list(spec.mean)} and "
        f"std {list(spec.std)}",
    )

    def examples(random, batch):
        picture = _pictures(random, batch, spec.image_size)
        return [np.asarray(spec.normalize(jnp.asarray(picture)))]

    return Program("maps", run, weights, (image,), _map_ports(spec), examples, _facts(detector))


def _map_ports(spec) -> tuple[Port, ...]:
    height, width = spec.output_size
    joints = spec.num_joints
    if spec.kind == "heatmap":
        meaning = f"one map a joint; crop pixel = map pixel x {spec.stride:g}"
        return (Port("heatmaps", (BATCH, height, width, joints), "float32", meaning),)
    meaning = "a vector a joint; crop pixel = bin x {stride:g} along {axis}"
    return tuple(
        Port(
            f"simcc_{axis}",
            (BATCH, joints, size),
            "float32",
            meaning.format(stride=spec.stride, axis=axis),
        )
        for axis, size in (("x", width), ("y", height))
    )


def _keypoints(detector: nnx.Module, decoding: Decoding) -> Program:
    pure, weights = _weights(detector)
    spec = detector.spec

    def run(weights, image_u8_BHWC):
        return _found(pure.merge(weights, {}), image_u8_BHWC, decoding)

    def examples(random, batch):
        return [_pictures(random, batch, spec.image_size)]

    outputs = (
        Port("keypoints", (BATCH, spec.num_joints, 2), "float32", "(x, y) in pixels of the crop"),
        _score_port(spec),
    )
    facts = _facts(detector, decoding)
    return Program("keypoints", run, weights, (_crop_port(spec),), outputs, examples, facts)


def _found(detector: nnx.Module, image_u8_BHWC: jax.Array, decoding: Decoding):
    """Keypoints in crop pixels and scores."""
    out = detector(detector.spec.normalize(image_u8_BHWC))
    return decoding.keypoints(detector, out), out.scores()


def _poses(detector: nnx.Module, decoding: Decoding, lifters: Mapping[str, nnx.Module]) -> Program:
    for name, lifter in lifters.items():
        _check_behind(detector, name, lifter)
    spec = detector.spec
    pure, weights = _weights(detector, "detector.")
    parts = {}
    for name, lifter in lifters.items():
        parts[name], arrays = _weights(lifter, f"{name}.")
        weights |= arrays

    def part(weights, name):
        prefix = f"{name}."
        return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}

    def run(weights, image_u8_BHWC, crop_to_image_B23, image_size_B2):
        found = _found(pure.merge(part(weights, "detector"), {}), image_u8_BHWC, decoding)
        kpts_px_BK2 = geometry.apply_affine(crop_to_image_B23, found[0])
        poses = []
        for name, module in parts.items():
            lifter = module.merge(part(weights, name), {})
            kpts_px_BJ2 = convert(kpts_px_BK2, spec.skeleton, lifter.spec.skeleton)
            poses.append(lifter.lift(kpts_px_BJ2[:, None], image_size_B2)[:, 0])
        return (kpts_px_BK2, found[1], *poses)

    def examples(random, batch):
        size_B2 = _image_sizes(random, batch)
        affine_B23 = np.zeros((batch, 2, 3), np.float32)
        affine_B23[:, [0, 1], [0, 1]] = random.uniform(0.5, 3, (batch, 1))
        affine_B23[:, :, 2] = random.uniform(0, 0.5, (batch, 2)) * size_B2
        return [_pictures(random, batch, spec.image_size), affine_B23, size_B2]

    affine = Port(
        "crop_to_image",
        (BATCH, 2, 3),
        "float32",
        "affine map from pixels of the crop to pixels of the picture",
    )
    kpts = Port("keypoints", (BATCH, spec.num_joints, 2), "float32", "(x, y), picture pixels")
    poses = [
        _pose_port(f"pose_{name}", (BATCH, lifter.spec.num_joints, 3))
        for name, lifter in lifters.items()
    ]
    named = {
        name: _joints(lifter.spec.skeleton, lifter.spec.num_joints)
        for name, lifter in lifters.items()
    }
    return Program(
        "poses",
        run,
        weights,
        (_crop_port(spec), affine, _IMAGE_SIZE),
        (kpts, _score_port(spec), *poses),
        examples,
        _facts(detector, decoding) | {"pose_joints": named},
    )


def _check_behind(detector: nnx.Module, name: str, lifter: nnx.Module) -> None:
    """Raises unless the lifter can stand behind the detector."""
    if detector.spec.skeleton is None:
        raise LiftjaxError(
            "The detector's joints have no names, so no lifter can follow; export the two apart."
        )
    conversion_matrix(detector.spec.skeleton, lifter.spec.skeleton)
    if lifter.spec.num_frames > 1:
        raise LiftjaxError(
            f"{name} lifts clips of {lifter.spec.num_frames} frames, a picture is one; export it "
            "alone and feed it with keypoints of a video."
        )


def _rtmlib(detector: nnx.Module, decoding: Decoding) -> Program:
    """The network behind rtmlib's preprocessing, for pictures as `cv2.imread` gives them.

    rtmlib 0.0.16 neither swaps colours nor takes means in the order of what it gets: of a picture
    in BGR, what arrives in channel 0 is blue, normalised as if it were red. So the colours are
    taken back to 0 to 255, put in the order RGB and normalised with their own mean and deviation.
    """
    spec = detector.spec
    if spec.kind != "simcc":
        raise LiftjaxError(
            "The head rtmlib is for SimCC detectors (RTMPose, DWPose): rtmlib's RTMPose decodes "
            "nothing else; give HRNet --head maps or keypoints."
        )
    pure, weights = _weights(detector)
    mean, std = (np.asarray(v, np.float64) for v in (spec.mean, spec.std))
    # std_c x_c + mean_c is channel c as rtmlib got it, whose colour in RGB is number 2 - c.
    gain = (std[::-1] / std).astype(np.float32)
    shift = ((mean[::-1] - mean) / std).astype(np.float32)

    def run(weights, bgr_BCHW):
        rgb_BHWC = bgr_BCHW[:, ::-1].transpose(0, 2, 3, 1)
        image_BHWC = rgb_BHWC * gain.reshape(1, 1, 1, 3) + shift.reshape(1, 1, 1, 3)
        return tuple(pure.merge(weights, {})(image_BHWC))

    height, width = spec.image_size
    image = Port(
        "input",
        (BATCH, 3, height, width),
        "float32",
        "crop of a picture in BGR (cv2.imread), channels first, minus (123.675, 116.28, 103.53), "
        "divided by (58.395, 57.12, 57.375) in the order of the channels: as rtmlib's RTMPose "
        "feeds it. The program itself puts the colours right; do not convert the picture to RGB.",
    )

    def examples(random, batch):
        picture = _pictures(random, batch, spec.image_size)[..., ::-1]
        fed = (picture - 255 * mean) / (255 * std)
        return [np.ascontiguousarray(fed.transpose(0, 3, 1, 2), np.float32)]

    use = f"rtmlib.RTMPose(FILE, model_input_size=({width}, {height}), backend='onnxruntime')"
    facts = _facts(detector) | {"rtmlib": use}
    return Program("rtmlib", run, weights, (image,), _map_ports(spec), examples, facts)


# What ports and sidecars say

_IMAGE_SIZE = Port("image_size", (BATCH, 2), "float32", "(width, height) of the picture, pixels")


def _crop_port(spec) -> Port:
    meaning = "crop around a person, RGB, 0 to 255; the program normalises it"
    return Port("image", (BATCH, *spec.image_size, 3), "uint8", meaning)


def _score_port(spec) -> Port:
    what = "peak of the heatmap" if spec.kind == "heatmap" else "lesser peak of the two vectors"
    return Port("scores", (BATCH, spec.num_joints), "float32", what)


def _pose_port(name: str, shape: tuple[Size, ...]) -> Port:
    meaning = "metres relative to the root joint; camera axes: x right, y down, z away"
    return Port(name, shape, "float32", meaning)


def _joints(skeleton: str | None, count: int) -> dict[str, Any]:
    names = get_skeleton(skeleton).joints if skeleton else None
    return {"skeleton": skeleton, "count": count, "names": names and list(names)}


def _frames(lifter: nnx.Module, taken: int, given: int) -> dict[str, Any]:
    spec = lifter.spec
    return {
        "taken": taken,
        "given": given,
        "receptive_field": spec.receptive_field,
        "first_given_is_frame": lifter.frames_before,
    }


def _facts(detector: nnx.Module, decoding: Decoding | None = None) -> dict[str, Any]:
    spec = detector.spec
    height, width = spec.image_size
    decoded = dataclasses.asdict(decoding) if decoding else None
    return {
        "joints": _joints(spec.skeleton, spec.num_joints),
        "image_size": {"height": height, "width": width},
        "crop": {
            "rule": "the box grows about its centre to the aspect of the crop, then by box_scale; "
            "what lies outside the picture is black; integer coordinates are pixel centres; the "
            "box's centre comes to (width / 2, height / 2); large boxes are averaged, not sampled",
            "box_scale": 1.25,
            "aspect": width / height,
        },
        **({"soft_argmax": decoded} if decoded else {}),
    }


# Random inputs


def _pictures(random: np.random.Generator, batch: int, image_size: Sequence[int]) -> np.ndarray:
    """Pictures (batch, H, W, 3) uint8 of soft blots in noise."""
    height, width = image_size
    coarse = random.uniform(0, 255, (batch, -(-height // 16), -(-width // 16), 3))
    blots = coarse.repeat(16, 1).repeat(16, 2)[:, :height, :width]
    return np.clip(blots + random.normal(0, 20, blots.shape), 0, 255).astype(np.uint8)


def _image_sizes(random: np.random.Generator, batch: int) -> np.ndarray:
    return random.integers(400, 2000, (batch, 2)).astype(np.float32)
