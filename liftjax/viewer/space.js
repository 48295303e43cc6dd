// Rotation and projection of points in camera axes: x right, y down, z away.

function unit(v) {
  const length = Math.hypot(...v) || 1;
  return v.map((part) => part / length);
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

// Rows of the rotation about the axis `up` by `azimuth`, then about the screen's x axis by
// `elevation`, in degrees. Positive azimuth takes the near side to the right, positive elevation
// takes it down.
function viewRotation(azimuth, elevation, up) {
  const a = (azimuth * Math.PI) / 180;
  const e = (elevation * Math.PI) / 180;
  const turn = (v) => {
    // Rodrigues' formula.
    const side = cross(up, v);
    const along = dot(up, v) * (1 - Math.cos(a));
    return v.map((part, i) => part * Math.cos(a) + side[i] * Math.sin(a) + up[i] * along);
  };
  const tilt = ([x, y, z]) => [
    x,
    y * Math.cos(e) - z * Math.sin(e),
    y * Math.sin(e) + z * Math.cos(e),
  ];
  const columns = [turn([1, 0, 0]), turn([0, 1, 0]), turn([0, 0, 1])].map(tilt);
  return [0, 1, 2].map((row) => columns.map((column) => column[row]));
}

// From points in camera axes to the canvas, with a mild perspective: an eye six radii before the
// ball's centre. Returns (x, y, z) => [px, py, depth], depth about -1 (near) to 1 (far).
function projection(view, ball, width, height, up) {
  const [rx, ry, rz] = viewRotation(view.azimuth, view.elevation, up);
  const [cx, cy, cz] = ball.center;
  const eye = 6 * ball.radius;
  const scale = (0.43 * Math.min(width, height) * view.zoom) / ball.radius;
  return (x, y, z) => {
    const point = [x - cx, y - cy, z - cz];
    const depth = dot(rz, point);
    const size = (scale * eye) / Math.max(eye + depth, 0.1 * eye);
    return [
      width / 2 + view.panX + size * dot(rx, point),
      height / 2 + view.panY + size * dot(ry, point),
      depth / ball.radius,
    ];
  };
}

// The plane across `up` through a pose's lowest joint, or null: drop(point) is the point's place on
// it, at(u, v) the place u and v metres from below `center`.
function groundPlane(pose, up, center) {
  let height = Infinity;
  for (let i = 0; i < pose.length; i += 3) {
    const here = dot(up, [pose[i], pose[i + 1], pose[i + 2]]);
    if (here < height) height = here;
  }
  if (height === Infinity) return null;
  const right = unit(cross(up, Math.abs(up[2]) > 0.9 ? [0, 1, 0] : [0, 0, 1]));
  const away = cross(right, up);
  const drop = (point) => {
    const fall = height - dot(up, point);
    return point.map((part, i) => part + fall * up[i]);
  };
  const foot = drop(center);
  return {
    drop,
    at: (u, v) => foot.map((part, i) => part + u * right[i] + v * away[i]),
  };
}
