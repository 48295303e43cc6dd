// Mouse, touch, wheel and keys on the canvases.

const KEY_STEP = 6;

// `act`: rotateBy, zoomAt, panBy, reset, step, play, hover.
function listenToSpace(canvas, act, signal) {
  const held = new Map(); // pointers down, by id
  const options = { signal };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 0 && event.pointerType === "mouse" && event.button !== 2) return;
    canvas.focus({ preventScroll: true });
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // A pointer made by a script cannot be captured; dragging inside the canvas still works.
    }
    act.hover(null);
  }, options);

  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) {
      act.hover(event);
      return;
    }
    const now = { x: event.clientX, y: event.clientY };
    const others = [...held].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    held.set(event.pointerId, now);
    if (others.length) {
      // Two fingers: their distance zooms, their middle moves.
      const other = others[0];
      const spread = (at) => Math.max(1, Math.hypot(at.x - other.x, at.y - other.y));
      act.zoomAt(spread(now) / spread(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      act.panBy((now.x - before.x) / 2, (now.y - before.y) / 2);
    } else if (event.shiftKey || event.buttons === 2) {
      act.panBy(now.x - before.x, now.y - before.y);
    } else {
      const degrees = 180 / Math.max(200, Math.min(canvas.clientWidth, canvas.clientHeight));
      act.rotateBy((now.x - before.x) * degrees, (now.y - before.y) * degrees);
    }
  }, options);

  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => held.delete(event.pointerId), options);
  }
  canvas.addEventListener("pointerleave", () => act.hover(null), options);
  canvas.addEventListener("contextmenu", (event) => event.preventDefault(), options);

  canvas.addEventListener("wheel", (event) => {
    // A page scrolled past the viewer goes on scrolling: the wheel zooms once the view was clicked,
    // or with Ctrl (which is also how a pinch on a touch pad arrives).
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
    const amount = (event.ctrlKey ? 0.01 : 0.0016) * Math.max(-240, Math.min(240, pixels));
    act.zoomAt(Math.exp(-amount), event.clientX, event.clientY);
  }, { signal, passive: false });

  const keys = {
    ArrowLeft: () => act.rotateBy(-KEY_STEP, 0),
    ArrowRight: () => act.rotateBy(KEY_STEP, 0),
    ArrowUp: () => act.rotateBy(0, -KEY_STEP),
    ArrowDown: () => act.rotateBy(0, KEY_STEP),
    "+": () => act.zoom(1.25),
    "=": () => act.zoom(1.25),
    "-": () => act.zoom(1 / 1.25),
    Home: () => act.reset(),
    PageUp: () => act.step(-1),
    PageDown: () => act.step(1),
    " ": () => act.play(),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }, options);
}

function listenToPicture(canvas, act, signal) {
  canvas.addEventListener("pointermove", (event) => act.hover(event), { signal });
  canvas.addEventListener("pointerleave", () => act.hover(null), { signal });
}

// The joint nearest to (x, y) within `reach` pixels among points by name: {joint, person} or null.
function nearestJoint(drawn, x, y, reach = 14) {
  let best = null;
  let least = reach;
  for (const people of Object.values(drawn)) {
    people.forEach((points, person) => {
      points.forEach((point, joint) => {
        const distance = Math.hypot(point[0] - x, point[1] - y);
        if (distance < least) {
          least = distance;
          best = { joint, person };
        }
      });
    });
  }
  return best;
}
