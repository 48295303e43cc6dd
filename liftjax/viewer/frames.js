// What the viewer is given, checked and brought into one form.

const TRUTH = "#1f5fd6";
// Neighbours differ for most colour-blind eyes too.
const PALETTE = ["#d6261f", "#0b8c7d", "#8e3fc4", "#c77700", "#4d5b66", "#b8336a", "#5d6b1e"];

// Numbers in any nesting as a flat array; null (what JSON has for NaN) becomes NaN.
function flatNumbers(value) {
  if (ArrayBuffer.isView(value)) return value;
  const flat = value.flat(Infinity);
  return Float32Array.from(flat, (number) => (number === null ? NaN : number));
}

// By name, one flat array of all persons.
function flatByName(values, joints, size, where) {
  const flat = {};
  for (const [name, value] of Object.entries(values ?? {})) {
    flat[name] = flatNumbers(value);
    if (flat[name].length % (joints * size)) {
      throw new RangeError(
        `liftjaxViewer: ${where} of "${name}" has ${flat[name].length} numbers; ` +
          `a person with ${joints} joints has ${joints * size}.`,
      );
    }
  }
  return flat;
}

class Frames {
  constructor(given) {
    if (!given?.skeleton?.joints?.length || !Array.isArray(given.frames)) {
      throw new TypeError("liftjaxViewer: the document needs skeleton.joints and frames.");
    }
    const { joints, edges, left, right } = given.skeleton;
    this.joints = joints;
    this.edges = edges;
    this.left = new Set(left ?? sideOf(joints, /^left/i));
    this.right = new Set(right ?? sideOf(joints, /^right/i));
    this.given = given.frames;
    this.up = given.up ?? [0, -1, 0];
    this.fps = given.fps ?? 2;
    this.names = allNames(given.frames);
    this.reference = given.reference ?? (this.names.includes("truth") ? "truth" : null);
    this.colors = chosenColors(this.names, this.reference, given.colors ?? {});
    this.ready = new WeakMap();
    this.hasPictures = given.frames.some((frame) => frame.image || frame.kpts);
    this.hasPoses = given.frames.some((frame) => Object.keys(frame.poses ?? {}).length);
    this.hasFaint = given.frames.some((frame) => frame.strengths);
    this.ball = this.enclosingBall();
    this.area = this.keypointArea();
  }

  get count() {
    return this.given.length;
  }

  // Frame `index` with flat arrays; read when first asked for, since videos are long.
  at(index) {
    const raw = this.given[index];
    if (!this.ready.has(raw)) {
      this.ready.set(raw, {
        title: raw.title ?? "",
        image: raw.image ?? null,
        captions: raw.captions ?? {},
        up: unit(raw.up ?? this.up),
        kpts: flatByName(raw.kpts, this.joints.length, 2, `frame ${index}: kpts`),
        poses: flatByName(raw.poses, this.joints.length, 3, `frame ${index}: poses`),
        strengths: flatByName(raw.strengths, this.joints.length, 1, `frame ${index}: strengths`),
      });
    }
    return this.ready.get(raw);
  }

  // How strongly a joint of a person is drawn.
  strength(frame, name, person, joint) {
    return frame.strengths[name]?.[person * this.joints.length + joint] ?? 1;
  }

  // Some hundred frames stand for all when sizes are estimated.
  *some() {
    const step = Math.max(1, Math.floor(this.count / 300));
    for (let i = 0; i < this.count; i += step) yield this.at(i);
  }

  // Centre and radius of a ball around the poses of all frames, so that sizes can be compared
  // between frames; far outliers are left out.
  enclosingBall() {
    const points = [...this.some()].flatMap((frame) => Object.values(frame.poses));
    const range = [0, 1, 2].map((axis) => middleRange(points, 3, axis));
    const center = range.map(([low, high]) => (low + high) / 2);
    const distances = points.flatMap((pose) => {
      const found = [];
      for (let i = 0; i < pose.length; i += 3) {
        found.push(Math.hypot(...center.map((c, axis) => pose[i + axis] - c)));
      }
      return found.filter(Number.isFinite);
    });
    return { center, radius: quantile(distances, 0.995) || 1 };
  }

  // [left, top, right, bottom] of all keypoints, for frames without a picture.
  keypointArea() {
    const points = [...this.some()].flatMap((frame) => Object.values(frame.kpts));
    const [[left, right], [top, bottom]] = [0, 1].map((axis) => middleRange(points, 2, axis));
    const margin = 0.08 * Math.max(right - left, bottom - top, 1);
    return [left - margin, top - margin, right + margin, bottom + margin];
  }
}

function sideOf(joints, pattern) {
  return joints.map((name, i) => (pattern.test(name) ? i : -1)).filter((i) => i >= 0);
}

function allNames(frames) {
  const names = new Set();
  for (const frame of frames) {
    for (const name of Object.keys(frame.poses ?? {})) names.add(name);
    for (const name of Object.keys(frame.kpts ?? {})) names.add(name);
  }
  return [...names];
}

function chosenColors(names, reference, given) {
  const colors = {};
  let next = 0;
  for (const name of names) {
    const truth = name === reference || name === "truth";
    colors[name] = given[name] ?? (truth ? TRUTH : PALETTE[next++ % PALETTE.length]);
  }
  return colors;
}

function quantile(numbers, share) {
  const sorted = Float64Array.from(numbers).sort();
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
}

// Lowest and highest number of one axis of flat arrays, leaving out one in two hundred at each end.
function middleRange(arrays, size, axis) {
  const numbers = arrays.flatMap((array) =>
    Array.from(array.filter((value, i) => i % size === axis && Number.isFinite(value))),
  );
  return numbers.length ? [quantile(numbers, 0.005), quantile(numbers, 0.995)] : [0, 0];
}
