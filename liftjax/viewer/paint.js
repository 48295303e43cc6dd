// Draws on 2D canvases; sizes are CSS pixels.

const TAU = 2 * Math.PI;

// [r, g, b] of any CSS colour.
const rgbOf = (() => {
  const known = new Map();
  let pen = null;
  return (css) => {
    if (!known.has(css)) {
      pen ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext(
        "2d",
        { willReadFrequently: true },
      );
      pen.fillStyle = css;
      pen.fillRect(0, 0, 1, 1);
      known.set(css, [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)]);
    }
    return known.get(css);
  };
})();

const mix = (a, b, share) => a.map((part, i) => part + (b[i] - part) * share);
const cssOf = ([r, g, b]) => `rgb(${Math.round(r)} ${Math.round(g)} ${Math.round(b)})`;

// Left limbs are as if in the sun: lighter, and of a hue nearer to yellow.
function leftTint(rgb) {
  const high = Math.max(...rgb);
  const low = Math.min(...rgb);
  const span = high - low;
  if (!span) return mix(rgb, [255, 255, 255], 0.45);
  const [r, g, b] = rgb;
  const sixth =
    high === r ? (g - b) / span : high === g ? 2 + (b - r) / span : 4 + (r - g) / span;
  const hue = (60 * sixth + 360) % 360;
  const nearer = hue > 240 ? hue + 24 : hue > 60 ? Math.max(60, hue - 24) : Math.min(60, hue + 24);
  const light = (high + low) / 510;
  const saturation = span / 255 / (1 - Math.abs(2 * light - 1));
  return rgbOf(`hsl(${nearer} ${100 * saturation}% ${100 * Math.min(0.74, light + 0.2)}%)`);
}

function strokeBone(pen, bone, width, color, halo) {
  const line = (cap, lineWidth, style) => {
    pen.lineCap = cap;
    pen.lineWidth = lineWidth;
    pen.strokeStyle = style;
    pen.beginPath();
    pen.moveTo(bone.a[0], bone.a[1]);
    pen.lineTo(bone.b[0], bone.b[1]);
    pen.stroke();
  };
  // A rim in the paper's colour parts a near bone from those behind it.
  if (halo) line("butt", width + 3, halo);
  line("round", width, color);
}

function dotAt(pen, x, y, radius, color, rim) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, TAU);
  pen.fillStyle = color;
  pen.fill();
  if (rim) {
    pen.lineWidth = 1.5;
    pen.strokeStyle = rim;
    pen.stroke();
  }
}

function ringAt(pen, x, y, color, paper) {
  for (const [width, style] of [[5, paper], [2.5, color]]) {
    pen.beginPath();
    pen.arc(x, y, 8, 0, TAU);
    pen.lineWidth = width;
    pen.strokeStyle = style;
    pen.stroke();
  }
}

// Points of all persons of a pose: an array of [x, y, depth?] by person and joint.
function placed(flat, size, joints, place) {
  const people = [];
  for (let start = 0; start < flat.length; start += size * joints) {
    const points = [];
    for (let k = 0; k < joints; k++) {
      const at = start + k * size;
      points.push(place(...flat.slice(at, at + size)));
    }
    people.push(points);
  }
  return people;
}

const finite = (point) => Number.isFinite(point[0]) && Number.isFinite(point[1]);

// How the image, or the area of the keypoints, fits into the canvas: place(x, y) takes its pixels
// there, box is where it lies.
function pictureFit(image, area, width, height) {
  // Pixel centres are integers, so the picture begins at -0.5.
  const [left, top, right, bottom] = image
    ? [-0.5, -0.5, image.naturalWidth - 0.5, image.naturalHeight - 0.5]
    : area;
  const scale = Math.min(width / (right - left), height / (bottom - top));
  const x0 = (width - scale * (right - left)) / 2 - scale * left;
  const y0 = (height - scale * (bottom - top)) / 2 - scale * top;
  return {
    place: (x, y) => [x0 + scale * x, y0 + scale * y],
    box: [x0 + scale * left, y0 + scale * top, scale * (right - left), scale * (bottom - top)],
  };
}

// The picture with its 2D poses; returns the points drawn by name.
function paintPicture(canvas, frames, frame, shown, image, theme, hovered) {
  const { context: pen, width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const fit = pictureFit(image, frames.area, width, height);
  if (image) {
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, ...fit.box);
  }
  const thick = Math.max(2, Math.min(width, height) / 170);
  const drawn = {};
  for (const name of shown) {
    if (!frame.kpts[name]) continue;
    const { right: rgb, left: tint } = theme.colors[name];
    drawn[name] = placed(frame.kpts[name], 2, frames.joints.length, fit.place);
    drawn[name].forEach((points, person) => {
      const strength = (joint) => frames.strength(frame, name, person, joint);
      const bones = frames.edges
        .map(([a, b]) => ({
          a: points[a],
          b: points[b],
          left: isLeft(frames, a, b),
          strength: Math.min(strength(a), strength(b)),
        }))
        .filter((bone) => finite(bone.a) && finite(bone.b));
      const halo = image ? "rgb(255 255 255 / 0.75)" : theme.paper;
      for (const bone of bones) {
        pen.globalAlpha = bone.strength;
        strokeBone(pen, bone, thick + 2, halo, null);
      }
      for (const bone of bones) {
        pen.globalAlpha = bone.strength;
        strokeBone(pen, bone, thick, cssOf(bone.left ? tint : rgb), null);
      }
      points.forEach((point, joint) => {
        if (!finite(point)) return;
        const color = cssOf(frames.left.has(joint) ? tint : rgb);
        pen.globalAlpha = strength(joint);
        dotAt(pen, point[0], point[1], 0.95 * thick, color, halo);
        pen.globalAlpha = 1;
        if (hovered === joint) ringAt(pen, point[0], point[1], cssOf(rgb), theme.paper);
      });
    });
  }
  return drawn;
}

const isLeft = (frames, a, b) => frames.left.has(a) || frames.left.has(b);

// The poses in space; returns the points drawn by name.
function paintSpace(canvas, frames, frame, shown, view, theme, hovered) {
  const { context: pen, width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const place = projection(view, frames.ball, width, height, frame.up);
  const visible = shown.filter((name) => frame.poses[name]);
  const standing = frame.poses[frames.reference] ?? frame.poses[visible[0]];
  const ground = standing && groundPlane(standing, frame.up, frames.ball.center);
  const thick = Math.max(2.5, Math.min(width, height) / 110) * Math.min(1.6, view.zoom ** 0.5);
  if (ground) {
    paintGround(pen, ground, place, frames.ball.radius, theme);
    paintShadow(pen, standing, frames, ground, place, thick, theme);
  }

  const parts = [];
  const drawn = {};
  for (const name of visible) {
    drawn[name] = placed(frame.poses[name], 3, frames.joints.length, place);
    drawn[name].forEach((points, person) => {
      const strength = (joint) => frames.strength(frame, name, person, joint);
      for (const [a, b] of frames.edges) {
        if (!finite(points[a]) || !finite(points[b])) continue;
        const depth = (points[a][2] + points[b][2]) / 2;
        const common = { name, depth, left: isLeft(frames, a, b) };
        const weaker = Math.min(strength(a), strength(b));
        parts.push({ ...common, strength: weaker, a: points[a], b: points[b] });
      }
      points.forEach((point, joint) => {
        if (!finite(point)) return;
        // A joint lies just before the bones that meet there.
        const common = { name, depth: point[2] - 0.02, left: frames.left.has(joint) };
        parts.push({ ...common, strength: strength(joint), point });
      });
    });
  }
  parts.sort((p, q) => q.depth - p.depth);
  for (const part of parts) {
    const far = Math.min(1, Math.max(0, (part.depth + 0.05) / 1.05));
    const near = theme.colors[part.name][part.left ? "left" : "right"];
    const color = cssOf(mix(theme.paperRgb, near, part.strength * (1 - 0.55 * far)));
    const size = thick * (1 - 0.28 * Math.min(1, Math.max(-1, part.depth)));
    if (part.point) dotAt(pen, part.point[0], part.point[1], 0.72 * size, color, null);
    else strokeBone(pen, part, size, color, theme.paper);
  }
  if (hovered !== null) {
    for (const [name, people] of Object.entries(drawn)) {
      for (const points of people) {
        const [x, y] = points[hovered];
        if (Number.isFinite(x)) ringAt(pen, x, y, cssOf(theme.colors[name].right), theme.paper);
      }
    }
  }
  return drawn;
}

// A grid of quarter metres (or coarser) under the feet, fading outwards.
function paintGround(pen, ground, place, radius, theme) {
  const cell = 0.25 * 2 ** Math.max(0, Math.ceil(Math.log2(radius / 1.6)));
  const cells = Math.ceil((1.25 * radius) / cell);
  const reach = (cells + 0.01) * cell;
  pen.lineCap = "butt";
  pen.lineWidth = 1;
  pen.strokeStyle = theme.grid;
  for (let i = -cells; i <= cells; i++) {
    for (let j = -cells; j < cells; j++) {
      for (const swap of [false, true]) {
        const fade = 1 - Math.hypot(i * cell, (j + 0.5) * cell) / reach;
        if (fade <= 0) continue;
        const ends = [j, j + 1].map((k) => (swap ? [k, i] : [i, k]));
        const [a, b] = ends.map(([u, v]) => place(...ground.at(u * cell, v * cell)));
        pen.globalAlpha = Math.min(1, 1.6 * fade);
        pen.beginPath();
        pen.moveTo(a[0], a[1]);
        pen.lineTo(b[0], b[1]);
        pen.stroke();
      }
    }
  }
  pen.globalAlpha = 1;
}

// What a pose hides from a light right above it.
function paintShadow(pen, flat, frames, ground, place, thick, theme) {
  const onGround = (x, y, z) => place(...ground.drop([x, y, z]));
  pen.lineCap = "round";
  pen.lineWidth = thick;
  pen.strokeStyle = theme.shadow;
  pen.beginPath(); // one path: overlapping bones do not add up
  for (const points of placed(flat, 3, frames.joints.length, onGround)) {
    for (const [a, b] of frames.edges) {
      if (!finite(points[a]) || !finite(points[b])) continue;
      pen.moveTo(points[a][0], points[a][1]);
      pen.lineTo(points[b][0], points[b][1]);
    }
  }
  pen.stroke();
}
