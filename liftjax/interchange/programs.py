"""Networks as pure functions with named inputs and outputs, for other runtimes.

The head says where the function begins and ends:

    maps       normalised crop -> the network's output
    keypoints  crop of bytes -> keypoints in the crop, and scores
    poses      crop of bytes and its place in the picture -> keypoints in the picture, scores, and a
               3D pose from each lifter; for a lifter alone: keypoints of clips -> 3D poses
    rtmlib     the input of rtmlib's class RTMPose -> SimCC vectors, which that class decodes

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
from liftjax.detectors.spec import Decoding
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
      shape: sizes; a letter where any size will do.
      meaning: what it holds, with layout, unit and normalisation.
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
      inputs: in the order of the function's arguments.
      outputs: in the order of the function's results.
      examples: (random generator, batch) -> plausible inputs, in order.
      facts: further entries of the sidecar.
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
    decoding = decoding or Decoding()
    if head == "poses":
        return _poses(detector, decoding, lifters)
    if head == "keypoints":
        return _keypoints(detector, decoding)
    return (_maps if head == "maps" else _rtmlib)(detector)


def lifter_program(lifter: nnx.Module, head: str | None = None) -> Program:
    """The program of a lifter alone: keypoints (B, T, J, 2) and image sizes to poses (B, T', J, 3).

    T is the length of clip that the lifter is configured for.
    """
    head = _checked_head("lifter", head or HEADS["lifter"][0])
    spec, joints, joints_2d = lifter.spec, lifter.spec.num_joints, lifter.spec.num_joints_2d
    taken = spec.num_frames
    given = taken - spec.receptive_field + 1 if spec.frames == "sliding" else taken

    def call(lifter, kpts_px_BTJ2, image_size_B2):
        return (lifter.lift(kpts_px_BTJ2, image_size_B2),)

    def examples(random, batch):
        size_B2 = _image_sizes(random, batch)
        inside = random.uniform(0.2, 0.8, (batch, taken, joints_2d, 2)) * size_B2[:, None, None]
        return [inside.astype(np.float32), size_B2]

    keypoints = _floats("keypoints", (taken, joints_2d, 2), "(x, y) in pixels of the picture")
    names_2d = _joints(spec.skeleton_2d, joints_2d)
    frames = {
        "taken": taken,
        "given": given,
        "receptive_field": spec.receptive_field,
        "first_given_is_frame": lifter.frames_before,
    }
    return _program(
        head,
        {"": lifter},
        call,
        (keypoints, _IMAGE_SIZE),
        (_floats("poses", (given, joints, 3), _POSE),),
        examples,
        {"joints": _joints(spec.skeleton, joints), "frames": frames}
        | ({} if spec.skeleton_2d == spec.skeleton else {"keypoint_joints": names_2d}),
    )


def _checked_head(kind: str, head: str) -> str:
    if head not in {*HEADS["detector"], *HEADS["lifter"]}:
        raise unknown_name("head", head, HEADS["detector"])
    if head not in HEADS[kind]:
        raise LiftjaxError(f"The head {head} is one of detectors; a lifter has --head poses.")
    return head


def _program(head: str, modules: Mapping[str, nnx.Module], call: Callable, *fields: Any) -> Program:
    """The program of `call`, a function of the modules and inputs.

    Args:
      modules: by the prefix of their weights' names.
      fields: the other fields of Program, in order.
    """
    parts, weights = {}, {}
    for prefix, module in modules.items():
        parts[prefix], params, others = PureModule.split(module)
        weights |= {prefix + name: array for name, array in (params | others).items()}

    def function(weights, *inputs):
        merged = []
        for prefix, part in parts.items():
            own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
            merged.append(part.merge(own, {}))
        return call(*merged, *inputs)

    return Program(head, function, weights, *fields)


# Detectors


def _maps(detector: nnx.Module) -> Program:
    spec = detector.spec

    meaning = (
        "crop around a person, RGB, (value / 255 - mean) / std with mean "
        f"{list(spec.mean)} and std {list(spec.std)}"
    )
    image = _floats("image", (*spec.image_size, 3), meaning)

    def examples(random, batch):
        picture = _pictures(random, batch, spec.image_size)
        return [np.asarray(spec.normalize(jnp.asarray(picture)))]

    def call(detector, image_BHWC):
        return tuple(detector(image_BHWC))

    outputs, facts = _map_ports(spec), _facts(detector)
    return _program("maps", {"": detector}, call, (image,), outputs, examples, facts)


def _map_ports(spec) -> tuple[Port, ...]:
    height, width = spec.output_size
    joints = spec.num_joints
    if spec.kind == "heatmap":
        meaning = f"one map a joint; crop pixel = map pixel x {spec.stride:g}"
        return (_floats("heatmaps", (height, width, joints), meaning),)
    meaning = f"a vector a joint; crop pixel = bin x {spec.stride:g} along "
    return tuple(
        _floats(f"simcc_{axis}", (joints, size), meaning + axis)
        for axis, size in (("x", width), ("y", height))
    )


def _keypoints(detector: nnx.Module, decoding: Decoding) -> Program:
    spec = detector.spec

    def call(detector, image_u8_BHWC):
        return _found(detector, image_u8_BHWC, decoding)

    def examples(random, batch):
        return [_pictures(random, batch, spec.image_size)]

    keypoints = _floats("keypoints", (spec.num_joints, 2), "(x, y) in pixels of the crop")
    inputs, outputs = (_crop_port(spec),), (keypoints, _score_port(spec))
    facts = _facts(detector, decoding)
    return _program("keypoints", {"": detector}, call, inputs, outputs, examples, facts)


def _found(detector: nnx.Module, image_u8_BHWC: jax.Array, decoding: Decoding):
    """Keypoints in crop pixels and scores."""
    out = detector(detector.spec.normalize(image_u8_BHWC))
    return decoding.keypoints(detector, out), out.scores()


def _poses(detector: nnx.Module, decoding: Decoding, lifters: Mapping[str, nnx.Module]) -> Program:
    for name, lifter in lifters.items():
        _check_behind(detector, name, lifter)
    spec = detector.spec

    def call(detector, *lifters_and_inputs):
        *lifters, image_u8_BHWC, crop_to_image_B23, image_size_B2 = lifters_and_inputs
        kpts_crop_BK2, scores_BK = _found(detector, image_u8_BHWC, decoding)
        kpts_px_BK2 = geometry.apply_affine(crop_to_image_B23, kpts_crop_BK2)
        poses = []
        for lifter in lifters:
            kpts_px_BJ2 = convert(kpts_px_BK2, spec.skeleton, lifter.spec.skeleton_2d)
            poses.append(lifter.lift(kpts_px_BJ2[:, None], image_size_B2)[:, 0])
        return (kpts_px_BK2, scores_BK, *poses)

    def examples(random, batch):
        size_B2 = _image_sizes(random, batch)
        affine_B23 = np.zeros((batch, 2, 3), np.float32)
        affine_B23[:, [0, 1], [0, 1]] = random.uniform(0.5, 3, (batch, 1))
        affine_B23[:, :, 2] = random.uniform(0, 0.5, (batch, 2)) * size_B2
        return [_pictures(random, batch, spec.image_size), affine_B23, size_B2]

    affine = _floats(
        "crop_to_image", (2, 3), "affine map from pixels of the crop to pixels of the picture"
    )
    kpts = _floats("keypoints", (spec.num_joints, 2), "(x, y), picture pixels")
    poses, pose_joints = [], {}
    for name, lifter in lifters.items():
        joints = lifter.spec.num_joints
        poses.append(_floats(f"pose_{name}", (joints, 3), _POSE))
        pose_joints[name] = _joints(lifter.spec.skeleton, joints)
    return _program(
        "poses",
        {"detector.": detector, **{f"{name}.": lifter for name, lifter in lifters.items()}},
        call,
        (_crop_port(spec), affine, _IMAGE_SIZE),
        (kpts, _score_port(spec), *poses),
        examples,
        _facts(detector, decoding) | {"pose_joints": pose_joints},
    )


def _check_behind(detector: nnx.Module, name: str, lifter: nnx.Module) -> None:
    """Raises unless the lifter can stand behind the detector."""
    if detector.spec.skeleton is None:
        raise LiftjaxError(
            "The detector's joints have no names, so no lifter can follow; export the two apart."
        )
    conversion_matrix(detector.spec.skeleton, lifter.spec.skeleton_2d)
    if lifter.spec.num_frames > 1:
        raise LiftjaxError(
            f"{name} lifts clips of {lifter.spec.num_frames} frames, a picture is one; export it "
            "alone and feed it with keypoints of a video."
        )


def _rtmlib(detector: nnx.Module) -> Program:
    """The network behind rtmlib's preprocessing, for pictures as `cv2.imread` gives them.

    rtmlib 0.0.16 does not swap the colours of a BGR picture, but takes the means in the order RGB:
    channel 0 is blue, normalised as if it were red. The program therefore restores the colours,
    puts them in the order RGB and normalises each with its own mean and deviation.
    """
    spec = detector.spec
    if spec.kind != "simcc":
        raise LiftjaxError(
            "The head rtmlib is for SimCC detectors (RTMPose, DWPose): rtmlib's RTMPose decodes "
            "nothing else; give HRNet --head maps or keypoints."
        )
    mean, std = (np.asarray(v, np.float64) for v in (spec.mean, spec.std))
    # std_c x_c + mean_c is channel c before rtmlib normalised it; in RGB its number is 2 - c.
    gain = (std[::-1] / std).astype(np.float32)
    shift = ((mean[::-1] - mean) / std).astype(np.float32)

    def call(detector, bgr_BCHW):
        rgb_BHWC = bgr_BCHW[:, ::-1].transpose(0, 2, 3, 1)
        image_BHWC = rgb_BHWC * gain.reshape(1, 1, 1, 3) + shift.reshape(1, 1, 1, 3)
        return tuple(detector(image_BHWC))

    height, width = spec.image_size
    image = _floats(
        "input",
        (3, height, width),
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
    ports = _map_ports(spec)
    return _program("rtmlib", {"": detector}, call, (image,), ports, examples, facts)


# Parts of ports and sidecars


def _floats(name: str, sizes: Sequence[Size], meaning: str) -> Port:
    return Port(name, (BATCH, *sizes), "float32", meaning)


_IMAGE_SIZE = _floats("image_size", (2,), "(width, height) of the picture, pixels")
_POSE = "metres relative to the root joint; camera axes: x right, y down, z away"


def _crop_port(spec) -> Port:
    meaning = "crop around a person, RGB, 0 to 255; the program normalises it"
    return Port("image", (BATCH, *spec.image_size, 3), "uint8", meaning)


def _score_port(spec) -> Port:
    what = "peak of the heatmap" if spec.kind == "heatmap" else "lesser peak of the two vectors"
    return _floats("scores", (spec.num_joints,), what)


def _joints(skeleton: str | None, count: int) -> dict[str, Any]:
    names = get_skeleton(skeleton).joints if skeleton else None
    return {"skeleton": skeleton, "count": count, "names": names and list(names)}


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
