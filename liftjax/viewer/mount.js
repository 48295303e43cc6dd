// The viewer's state, and drawing when something has changed.

const HOME = { azimuth: 35, elevation: 12, zoom: 1, panX: 0, panY: 0 };
const TURN_SPEED = 20; // degrees a second
const KEPT_IMAGES = 64;

function mount(element, given) {
  const frames = new Frames(given);
  const ending = new AbortController();
  const { signal } = ending;
  const shown = new Set(frames.names);
  const images = new Map(); // by URL; the oldest go first
  const view = { ...HOME };
  const drawn = { picture: {}, space: {} };
  let [index, playing, turning, redraws, hover] = [0, false, false, 0, null];
  let [theme, waiting, lastTick, owed] = [null, 0, 0, 0];

  const act = {
    show, rotate, toggle, play, turn, zoomAt, panBy, step,
    rotateBy: (right, down) => rotate(view.azimuth + right, view.elevation + down),
    zoom: (factor) => zoomAt(factor),
    hover: pointAt,
    reset: () => {
      Object.assign(view, HOME);
      redraw();
    },
  };
  const panel = buildPanel(frames, act);
  listenToSpace(panel.space, act, signal);
  listenToPicture(panel.picture, act, signal);
  element.replaceChildren(panel.root);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const retheme = () => {
    theme = readTheme(panel, frames, dark.matches);
    redraw();
  };
  const becalm = () => {
    panel.turning.disabled = calm.matches;
    if (calm.matches) turn(false);
  };
  dark.addEventListener("change", retheme, { signal });
  calm.addEventListener("change", becalm, { signal });
  const resized = new ResizeObserver(redraw);
  for (const canvas of [panel.picture, panel.space]) resized.observe(canvas);
  becalm();
  retheme();
  if (frames.count) show(0);

  function redraw() {
    waiting ||= requestAnimationFrame(tick);
  }

  // One picture of the screen: moves what moves, draws, and asks for the next if need be.
  function tick(now) {
    waiting = 0;
    if (signal.aborted) return;
    const seconds = Math.max(0, Math.min(0.25, (now - lastTick) / 1000));
    lastTick = now;
    if (turning) view.azimuth = wrapped(view.azimuth + TURN_SPEED * seconds);
    if (playing) {
      owed += seconds * frames.fps;
      const steps = Math.floor(owed);
      owed -= steps;
      if (steps) show((index + steps) % frames.count);
    }
    draw();
    if (turning || playing) redraw();
  }

  function draw() {
    if (!frames.count) return;
    redraws++;
    const frame = frames.at(index);
    const names = frames.names.filter((name) => shown.has(name));
    const joint = hover?.joint ?? null;
    const flat = frames.hasPictures && fitCanvas(panel.picture);
    if (flat) {
      const image = frame.image ? imageOf(frame.image) : null;
      // Until an image has come the one before stays, so that videos do not flicker.
      if (image?.complete !== false) {
        const there = image?.naturalWidth ? image : null;
        drawn.picture = paintPicture(flat, frames, frame, names, there, theme, joint);
      }
      const next = frames.at((index + 1) % frames.count).image;
      if (next) imageOf(next);
    }
    const solid = fitCanvas(panel.space);
    if (solid) drawn.space = paintSpace(solid, frames, frame, names, view, theme, joint);
    fillTip(panel, frames, frame, names, hover);
  }

  // The image, complete or on its way; a redraw follows when it has come, or cannot be had.
  function imageOf(url) {
    if (!images.has(url)) {
      const image = new Image();
      for (const end of ["load", "error"]) image.addEventListener(end, redraw, { signal });
      image.src = url;
      images.set(url, image);
      if (images.size > KEPT_IMAGES) images.delete(images.keys().next().value);
    }
    return images.get(url);
  }

  function show(to) {
    index = Math.max(0, Math.min(frames.count - 1, Math.round(to)));
    hover = null;
    fillCaptions(panel, frames, index);
    redraw();
  }

  function step(by) {
    if (frames.count) show((index + by + frames.count) % frames.count);
  }

  function rotate(azimuth, elevation) {
    view.azimuth = wrapped(azimuth);
    view.elevation = Math.max(-90, Math.min(90, elevation));
    redraw();
  }

  // Zooms about a point of the window, by default about the middle.
  function zoomAt(factor, clientX, clientY) {
    const box = panel.space.getBoundingClientRect();
    const zoom = Math.max(0.4, Math.min(10, view.zoom * factor));
    const x = (clientX ?? box.left + box.width / 2) - box.left - box.width / 2;
    const y = (clientY ?? box.top + box.height / 2) - box.top - box.height / 2;
    view.panX = x - ((x - view.panX) * zoom) / view.zoom;
    view.panY = y - ((y - view.panY) * zoom) / view.zoom;
    view.zoom = zoom;
    redraw();
  }

  function panBy(right, down) {
    view.panX += right;
    view.panY += down;
    redraw();
  }

  function toggle(name, on = !shown.has(name)) {
    if (!frames.names.includes(name)) throw new RangeError(`liftjaxViewer: no pose "${name}".`);
    if (on) shown.add(name);
    else shown.delete(name);
    panel.switches[name].box.checked = on;
    redraw();
  }

  function play(on = !playing) {
    playing = on && frames.count > 1;
    [owed, lastTick] = [0, performance.now()];
    setPlaying(panel, playing);
    redraw();
  }

  function turn(on = !turning) {
    turning = on && !calm.matches;
    lastTick = performance.now();
    panel.turning.setAttribute("aria-pressed", String(turning));
    redraw();
  }

  function pointAt(event) {
    let found = null;
    if (event && event.pointerType !== "touch") {
      const kind = event.target === panel.space ? "space" : "picture";
      const near = nearestJoint(drawn[kind], event.offsetX, event.offsetY);
      found = near && { ...near, kind, x: event.clientX, y: event.clientY };
    }
    if (found || hover) redraw();
    hover = found;
  }

  function state() {
    const { azimuth, elevation, zoom } = view;
    const places = (people) => people.flat().map(([x, y]) => [x, y]);
    const flatPoints = (byName) =>
      Object.fromEntries(Object.entries(byName).map(([name, people]) => [name, places(people)]));
    return {
      index, count: frames.count, azimuth, elevation, zoom, playing, turning, redraws,
      shown: frames.names.filter((name) => shown.has(name)),
      hovered: hover && frames.joints[hover.joint],
      points: flatPoints(drawn.space),
      pixels: flatPoints(drawn.picture),
    };
  }

  function remove() {
    ending.abort();
    resized.disconnect();
    cancelAnimationFrame(waiting);
    panel.root.remove();
  }

  return { show, rotate, toggle, play, turn, state, remove };
}

const wrapped = (degrees) => ((((degrees + 180) % 360) + 360) % 360) - 180;

// A pen for the canvas in CSS pixels, its bitmap as fine as the screen; null while it has no size.
function fitCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width || !height) return null;
  const sharpness = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(width * sharpness), Math.round(height * sharpness)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(w / width, 0, 0, h / height, 0, 0);
  return { context, width, height };
}

// Colours of the page's light or dark style.
function readTheme(panel, frames, isDark) {
  const style = getComputedStyle(panel.root);
  const read = (name) => style.getPropertyValue(name).trim();
  const colors = {};
  for (const name of frames.names) {
    const rgb = rgbOf(frames.colors[name]);
    const right = isDark ? mix(rgb, [255, 255, 255], 0.28) : rgb;
    const left = leftTint(right);
    colors[name] = { left, right };
    const halves = `linear-gradient(90deg, ${cssOf(right)} 60%, ${cssOf(left)} 60%)`;
    panel.switches[name].swatch.style.background = frames.left.size ? halves : cssOf(right);
  }
  const paper = read("--ljv-paper");
  const [grid, shadow] = [read("--ljv-grid"), read("--ljv-shadow")];
  return { colors, paper, paperRgb: rgbOf(paper), grid, shadow };
}
