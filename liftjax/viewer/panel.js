// The viewer's elements: two canvases, buttons, a slider, a legend with a switch for each pose.

const ICONS = {
  previous: "M15 5 8 12l7 7",
  next: "m9 5 7 7-7 7",
  play: "M8 5v14l11-7z",
  pause: "M8 5v14M16 5v14",
  closer: "M12 6v12M6 12h12",
  farther: "M6 12h12",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// An element with attributes and children; text is always text, never markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function button(label, child, press, extra = {}) {
  const attributes = { type: "button", "aria-label": label, title: label, ...extra };
  const made = make("button", attributes, child);
  made.addEventListener("click", press);
  return made;
}

// Builds everything; `act` holds what the controls do. Returns the elements that change.
function buildPanel(frames, act) {
  const picture = make("canvas", { role: "img", "aria-label": "Picture with 2D keypoints" });
  const space = make("canvas", {
    tabindex: "0",
    role: "application",
    "aria-roledescription": "3D view",
    "aria-label":
      "Poses in 3D. Arrow keys turn, plus and minus zoom, Home resets, " +
      "Page Up and Page Down change the frame.",
  });
  const turning = button("Turn slowly", "Turn", () => act.turn(), { "aria-pressed": "false" });
  const tools = make(
    "div",
    { class: "ljv-tools", role: "group", "aria-label": "View" },
    make("span", { class: "ljv-hint" }, "Drag turns, Ctrl + wheel zooms"),
    button("As the camera saw it", "Camera", () => act.rotate(0, 0)),
    button("From the side", "Side", () => act.rotate(90, 0)),
    button("From above", "Top", () => act.rotate(0, 90)),
    turning,
    button("Zoom out", icon("farther"), () => act.zoom(1 / 1.25)),
    button("Zoom in", icon("closer"), () => act.zoom(1.25)),
    button("Reset the view", "Reset", () => act.reset()),
  );
  const views = make("div", { class: "ljv-views" });
  if (frames.hasPictures) views.append(make("div", { class: "ljv-view ljv-picture" }, picture));
  if (frames.hasPoses || !frames.hasPictures) {
    views.append(make("div", { class: "ljv-view ljv-space" }, space, tools));
  }

  const slider = make("input", {
    type: "range", min: "0", max: String(Math.max(0, frames.count - 1)), step: "1", value: "0",
    "aria-label": "Frame",
  });
  slider.addEventListener("input", () => act.show(Number(slider.value)));
  const playing = button("Play", icon("play"), () => act.play(), { class: "ljv-play" });
  const counter = make("span", { class: "ljv-counter" });
  const scrub = make(
    "div",
    { class: "ljv-scrub", role: "group", "aria-label": "Frames" },
    button("Previous frame", icon("previous"), () => act.step(-1)),
    playing,
    button("Next frame", icon("next"), () => act.step(1)),
    slider,
    counter,
  );
  scrub.hidden = frames.count < 2;

  const title = make("p", { class: "ljv-title", "aria-live": "polite" });
  const legend = make("div", { class: "ljv-legend", role: "group", "aria-label": "Poses shown" });
  const switches = {};
  const captions = {};
  for (const name of frames.names) {
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => act.toggle(name, box.checked));
    captions[name] = make("span", { class: "ljv-caption" });
    const swatch = make("span", { class: "ljv-swatch", "aria-hidden": "true" });
    legend.append(make("label", {}, box, swatch, make("span", {}, name), captions[name]));
    switches[name] = { box, swatch };
  }
  const notes = [[frames.left.size, "lighter: left side"], [frames.hasFaint, "faint: uncertain"]];
  for (const [holds, note] of notes) {
    if (holds) legend.append(make("span", { class: "ljv-note" }, note));
  }

  const tip = make("div", { class: "ljv-tip", role: "status" });
  tip.hidden = true;
  const root = make("div", { class: "ljv" }, views, scrub, title, legend, tip);
  return {
    root, picture, space, slider, counter, title, captions, switches, tip, turning, playing,
  };
}

function setPlaying(panel, on) {
  panel.playing.replaceChildren(icon(on ? "pause" : "play"));
  panel.playing.setAttribute("aria-label", on ? "Pause" : "Play");
  panel.playing.title = on ? "Pause" : "Play";
  panel.title.setAttribute("aria-live", on ? "off" : "polite"); // a player reads no titles out
}

function fillCaptions(panel, frames, index) {
  const frame = frames.at(index);
  panel.title.textContent = frame.title;
  panel.counter.textContent = `${index + 1} / ${frames.count}`;
  panel.slider.value = String(index);
  panel.slider.setAttribute("aria-valuetext", `${index + 1} of ${frames.count}, ${frame.title}`);
  for (const name of frames.names) {
    panel.captions[name].textContent = frame.captions[name] ?? "";
    const here = name in frame.poses || name in frame.kpts;
    panel.switches[name].box.parentElement.classList.toggle("ljv-absent", !here);
  }
}

// The joint's name, and for each pose shown how far it is from the reference.
function fillTip(panel, frames, frame, shown, spot) {
  panel.tip.hidden = spot === null;
  if (spot === null) return;
  const { joint, kind, person, x, y } = spot;
  const [found, size, factor, digits, measure] =
    kind === "space" ? [frame.poses, 3, 1000, 0, "mm"] : [frame.kpts, 2, 1, 1, "px"];
  const start = (person * frames.joints.length + joint) * size;
  const truth = found[frames.reference]?.slice(start, start + size);
  const lines = [make("strong", {}, frames.joints[joint].replaceAll("_", " "))];
  for (const name of shown) {
    if (!truth || name === frames.reference || !found[name]) continue;
    const at = found[name].slice(start, start + size);
    const distance = factor * Math.hypot(...Array.from(at, (value, i) => value - truth[i]));
    if (!Number.isFinite(distance)) continue;
    const swatch = make("span", { class: "ljv-swatch" });
    swatch.style.background = panel.switches[name].swatch.style.background;
    lines.push(make("span", {}, swatch, `${name} ${distance.toFixed(digits)} ${measure}`));
  }
  panel.tip.replaceChildren(...lines);
  const room = panel.root.getBoundingClientRect();
  const width = panel.tip.offsetWidth;
  const left = Math.max(0, Math.min(x - room.left + 14, room.width - width));
  panel.tip.style.left = `${left}px`;
  panel.tip.style.top = `${y - room.top + 14}px`;
}
