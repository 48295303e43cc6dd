"""Cameras, crops and screen coordinates, on NumPy and JAX arrays alike.

Every function works in the array library of its inputs, in float32 or wider. Parameters such as
cameras take the dtype of the points. Their batch axes belong to the *leading* axes of the points:
points (B, T, K, 3) take a camera rotation (3, 3), (B, 3, 3) or (B, T, 3, 3). Parameters with more
batch axes than the points raise a ValueError.

Legend: 2D coordinates are (x, y) in pixels, x right, y down; an integer is the centre of a pixel.
3D camera axes are x right, y down, z forward. Rows of an affine map (2, 3) give x and y.
"""

import numpy as np

from liftjax.errors import check_name
from liftjax.ops.numerics import namespace

# Distortion models, by the weight of the tangential term p1 y + p2 x. OpenCV and most others use
# Brown's model, with the factor 2, which Human3.6M's own camera model lacks.
DISTORTION_MODELS = {"opencv": 2.0, "human36m": 1.0}
_NEWTON_STEPS = 10


def _as_float(xp, array):
    array = xp.asarray(array)
    return array.astype(xp.promote_types(array.dtype, xp.float32))


def _like_points(xp, parameter, core_axes, points):
    """`parameter` with axes of size 1 inserted so that its batch axes lead those of `points`."""
    parameter = xp.asarray(parameter).astype(points.dtype)
    batch = parameter.ndim - core_axes
    missing = points.ndim - 1 - batch
    if missing < 0:
        raise ValueError(
            f"Parameters of shape {parameter.shape} have more batch axes than points "
            f"of shape {points.shape}."
        )
    shape = parameter.shape
    return parameter.reshape(shape[:batch] + (1,) * missing + shape[batch:])


def _apply(matrix, vectors):
    """Matrices (..., N, M) times vectors (..., M).

    Written as a sum, because accelerators round the operands of a matrix product to ten bits or
    less, which is half a pixel.
    """
    return (matrix * vectors[..., None, :]).sum(axis=-1)


# Cameras


def world_to_camera(points, R, t):
    """Points (..., 3) in camera axes: R X + t.

    Args:
      points: (..., 3) world coordinates.
      R: (..., 3, 3) rotation.
      t: (..., 3) translation in the unit of the points.
    """
    xp = namespace(points, R, t)
    points = _as_float(xp, points)
    R, t = _like_points(xp, R, 2, points), _like_points(xp, t, 1, points)
    return _apply(R, points) + t


def camera_to_world(points, R, t):
    """Points (..., 3) in world axes, the inverse of :func:`world_to_camera`: R^T (X - t).

    Args:
      points: (..., 3) in camera axes.
      R, t: as for :func:`world_to_camera`.
    """
    xp = namespace(points, R, t)
    points = _as_float(xp, points)
    R, t = _like_points(xp, R, 2, points), _like_points(xp, t, 1, points)
    return _apply(xp.swapaxes(R, -1, -2), points - t)


def project(points_cam, K, distortion, model="opencv"):
    """Pixels (..., 2) of points (..., 3) in camera axes.

    Args:
      points_cam: (..., 3), any unit; depth must not be zero.
      K: (..., 3, 3) camera matrix.
      distortion: (..., 5) k1, k2, p1, p2, k3.
      model: "opencv" (Brown's), or "human36m" for that data set's own tangential terms.

    Raises:
      LiftjaxError: an unknown model.
    """
    factor = _tangential_factor(model)
    xp = namespace(points_cam, K, distortion)
    points = _as_float(xp, points_cam)
    distortion = _like_points(xp, distortion, 1, points)
    K = _like_points(xp, K, 2, points)
    xy = points[..., :2] / points[..., 2:]
    distorted, _ = _distort(xp, xy, distortion, factor)
    return _apply(K[..., :2, :2], distorted) + K[..., :2, 2]


def pixel_rays(px, K, distortion, model="opencv"):
    """Normalised camera coordinates (x / z, y / z) that project to the pixels: undistortion.

    The inverse of :func:`project` up to depth, by Newton's method from the distorted point. It
    converges where the lens model is one to one, as it is inside a calibrated camera's picture.

    Args:
      px: (..., 2) pixels.
      K, distortion, model: as for :func:`project`.

    Raises:
      LiftjaxError: an unknown model.
    """
    xp = namespace(px, K, distortion)
    px = _as_float(xp, px)
    distortion = _like_points(xp, distortion, 1, px)
    K = _like_points(xp, K, 2, px)
    y = (px[..., 1] - K[..., 1, 2]) / K[..., 1, 1]
    x = (px[..., 0] - K[..., 0, 2] - K[..., 0, 1] * y) / K[..., 0, 0]
    target = xp.stack([x, y], axis=-1)
    factor = _tangential_factor(model)
    xy = target
    for _ in range(_NEWTON_STEPS):
        distorted, jacobian = _distort(xp, xy, distortion, factor)
        xy = xy - _solve_2x2(xp, jacobian, distorted - target)
    return xy


def _tangential_factor(model):
    check_name("distortion model", model, DISTORTION_MODELS)
    return DISTORTION_MODELS[model]


def _distort(xp, xy, distortion, factor):
    """Distorted normalised coordinates and the four entries of their Jacobian, row by row.

    d = xy (1 + k1 r^2 + k2 r^4 + k3 r^6 + factor (p1 y + p2 x)) + (p2, p1) r^2
    """
    x, y = xy[..., 0], xy[..., 1]
    k1, k2, p1, p2, k3 = (distortion[..., i] for i in range(5))
    r2 = x * x + y * y
    gain = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + factor * (p1 * y + p2 * x)
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    gain_x, gain_y = slope * x + factor * p2, slope * y + factor * p1
    distorted = xp.stack([x * gain + p2 * r2, y * gain + p1 * r2], axis=-1)
    jacobian = (
        gain + x * gain_x + 2 * p2 * x, x * gain_y + 2 * p2 * y,
        y * gain_x + 2 * p1 * x, gain + y * gain_y + 2 * p1 * y,
    )  # fmt: skip
    return distorted, jacobian


def _solve_2x2(xp, matrix, vector):
    a, b, c, d = matrix
    x, y = vector[..., 0], vector[..., 1]
    return xp.stack([d * x - b * y, a * y - c * x], axis=-1) / (a * d - b * c)[..., None]


# Boxes and crops


def box_from_joints(joints_px, image_size, visible=None, padding=0.075):
    """Person boxes (..., 4) x1, y1, x2, y2 around 2D joints.

    The box is the joints' extent, padded on each side by `padding` of its width and height, clipped
    to the image and truncated to whole pixels. Use float64 joints where the exact pixels matter,
    because truncation turns a rounding error into a pixel.

    Args:
      joints_px: (..., K, 2).
      image_size: (..., 2) width and height.
      visible: (..., K) joints to count; None, or a pose without any, means all joints.
      padding: share of the extent added on each side.
    """
    xp = namespace(joints_px, image_size, visible)
    joints = _as_float(xp, joints_px)
    low = high = joints
    if visible is not None:
        visible = xp.asarray(visible) > 0
        counted = (visible | ~visible.any(axis=-1, keepdims=True))[..., None]
        low, high = xp.where(counted, joints, xp.inf), xp.where(counted, joints, -xp.inf)
    low, high = low.min(axis=-2), high.max(axis=-2)
    margin = padding * (high - low)
    size = _like_points(xp, image_size, 1, low)
    corners = [xp.clip(c, xp.zeros_like(size), size) for c in (low - margin, high + margin)]
    return xp.trunc(xp.concatenate(corners, axis=-1))


def inside_image(px, image_size):
    """Whether points (..., K, 2) lie on the image's pixels: (..., K) bool.

    A pixel reaches half its side beyond its centre, the integer coordinate.

    Args:
      px: (..., K, 2).
      image_size: (..., 2) width and height.
    """
    xp = namespace(px, image_size)
    size = xp.asarray(image_size)[..., None, :]
    return ((px >= -0.5) & (px <= size - 0.5)).all(axis=-1)


def crop_region(box_xyxy, aspect, box_scale=1.25):
    """Centre (..., 2) and size (..., 2) of the region that a crop of a box shows.

    The box grows along one axis to `aspect` (width / height), then by `box_scale` on both.

    Args:
      box_xyxy: (..., 4); a side below one pixel counts as one.
      aspect: width / height of the region.
      box_scale: number or (...,).
    """
    xp = namespace(box_xyxy, box_scale)
    box = _as_float(xp, box_xyxy)
    center = (box[..., :2] + box[..., 2:]) * 0.5
    sides = xp.maximum(box[..., 2:] - box[..., :2], 1)
    width = xp.maximum(sides[..., 0], sides[..., 1] * aspect) * box_scale
    return center, xp.stack([width, width / aspect], axis=-1)


def region_affine(center, width, crop_size, rotation=0.0):
    """Affine maps (..., 2, 3) from image pixels to the pixels of a crop.

    The map sends `center` to (crop width, crop height) / 2 and `width` image pixels to the crop's
    width.

    Args:
      center: (..., 2) image pixels.
      width: (...,) image pixels.
      crop_size: (height, width) of the crop.
      rotation: radians, number or (...,). The crop's vertical axis is the image's turned by this
        angle from y towards -x (clockwise as seen); the picture in the crop turns the other way.
    """
    xp = namespace(center, width, rotation)
    center = _as_float(xp, center)
    height_crop, width_crop = crop_size
    scale = width_crop / xp.asarray(width).astype(center.dtype)
    rotation = xp.broadcast_to(xp.asarray(rotation).astype(center.dtype), scale.shape)
    cos, sin = scale * xp.cos(rotation), scale * xp.sin(rotation)
    x, y = center[..., 0], center[..., 1]
    rows = [
        [cos, sin, width_crop / 2 - (cos * x + sin * y)],
        [-sin, cos, height_crop / 2 - (cos * y - sin * x)],
    ]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)


def crop_affine(box_xyxy, crop_size, box_scale=1.25, rotation=0.0):
    """Affine maps (..., 2, 3) from image pixels to the crop of a person box.

    Args:
      box_xyxy: (..., 4) image pixels.
      crop_size: (height, width) of the crop.
      box_scale: context around the box, number or (...,).
      rotation: radians, number or (...,), as for :func:`region_affine`.
    """
    height, width = crop_size
    center, size = crop_region(box_xyxy, width / height, box_scale)
    return region_affine(center, size[..., 0], crop_size, rotation)


def invert_affine(affine):
    """The inverse affine maps (..., 2, 3).

    Args:
      affine: (..., 2, 3), invertible.
    """
    xp = namespace(affine)
    affine = _as_float(xp, affine)
    a, b, c, d = (affine[..., i, j] for i in (0, 1) for j in (0, 1))
    x, y = affine[..., 0, 2], affine[..., 1, 2]
    determinant = (a * d - b * c)[..., None, None]
    rows = [[d, -b, b * y - d * x], [-c, a, c * x - a * y]]
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2) / determinant


def apply_affine(affine, points):
    """Points (..., 2) under the affine maps (..., 2, 3), whose batch axes lead the points'."""
    xp = namespace(affine, points)
    points = _as_float(xp, points)
    affine = _like_points(xp, affine, 2, points)
    return _apply(affine[..., :2], points) + affine[..., 2]


def compose_affine(outer, inner):
    """The affine maps (..., 2, 3) that apply `inner` first and `outer` to its result."""
    xp = namespace(outer, inner)
    outer, inner = _as_float(xp, outer), _as_float(xp, inner)
    columns = [_apply(outer[..., :2], inner[..., i]) for i in range(3)]
    columns[2] = columns[2] + outer[..., 2]
    return xp.stack(columns, axis=-1)


# Time


def interpolate_frames(frames, points, wanted):
    """Points (F, ...) in the frames `wanted`, on a straight line between their neighbours in time.

    Before the first and after the last known frame the nearest known points are repeated. NumPy
    alone; weights are computed in the precision of the points.

    Args:
      frames: (N,) whole numbers in increasing order, in which the points are known.
      points: (N, ...) floating point.
      wanted: (F,) whole numbers.
    """
    after = np.clip(np.searchsorted(frames, wanted), 0, len(frames) - 1)
    before = np.maximum(after - (frames[after] > wanted), 0)
    distance = np.maximum(frames[after] - frames[before], 1)
    share = np.clip((wanted - frames[before]) / distance, 0, 1).astype(points.dtype)
    share = share.reshape(-1, *(1,) * (points.ndim - 1))
    return (1 - share) * points[before] + share * points[after]


# Screen coordinates


def normalize_screen(px, image_size):
    """Pixels (..., 2) scaled so that x spans [-1, 1] and y keeps the aspect (VideoPose3D).

    x / w * 2 - 1 and y / w * 2 - h / w.

    Args:
      px: (..., 2).
      image_size: (..., 2) width and height; its batch axes lead those of `px`.
    """
    xp = namespace(px, image_size)
    px = _as_float(xp, px)
    size = _like_points(xp, image_size, 1, px)
    width = size[..., :1]
    return px / width * 2 - size / width


def denormalize_screen(screen, image_size):
    """Pixels (..., 2), the inverse of :func:`normalize_screen`.

    Args:
      screen: (..., 2).
      image_size: (..., 2) width and height.
    """
    xp = namespace(screen, image_size)
    screen = _as_float(xp, screen)
    size = _like_points(xp, image_size, 1, screen)
    width = size[..., :1]
    return (screen + size / width) * width / 2
