// liftjaxViewer: human poses to look at and turn; the picture on the left, 3D on the right.
//
//   const viewer = liftjaxViewer.mount(element, {
//     skeleton: {joints: ["hip", ...], edges: [[0, 1], ...], left: [4, 5], right: [1, 2]},
//     frames: [{
//       title: "a caption of the frame",
//       image: "data:image/jpeg;base64,...",                 optional; any URL
//       kpts: {truth: [[x, y], ...], "FT-2D": ...},          optional; pixels of the image
//       poses: {truth: [[x, y, z], ...], "FT-2D": ...},      optional; metres, camera axes (below)
//       strengths: {"FT-2D": [1, 0.3, ...]},                 optional; how strongly each joint is
//                                                            drawn, 0 to 1; a bone as the weaker end
//       captions: {"FT-2D": "63 mm"},                        optional; beside the pose's name
//       up: [0, -1, 0],                                      optional; see below
//     }, ...],
//     colors: {ours: "#1a8a5a"},  optional; "truth" is blue, the next pose red, others differ
//     reference: "truth",         optional; errors on hover are distances from it
//     up: [0, -1, 0],             optional; away from the ground, in camera axes: the ground's
//                                 grid lies across it (a world's up in a camera is R[:, 2])
//     fps: 25,                    optional; frames a second when played (default 2)
//   });
//
// Camera axes: x right, y down, z away from the camera. A pose alone has its root at the origin;
// several persons may stand where they are. Integer pixels are pixel centres.
//
// Keypoints and poses of one person may be nested as above or flat ([x, y, x, y, ...], typed
// arrays too); several persons follow each other, nested or flat. A joint that is not there has
// null (or NaN) for coordinates. `left` and `right` are joints, by default those whose names begin
// with left and right; the left side is drawn in a lighter tint.
//
// mount() empties the element, builds the viewer in it and returns
//   show(index)                  goes to a frame
//   rotate(azimuth, elevation)   degrees; (0, 0) is what the camera saw, positive azimuth turns the
//                                near side to the right, positive elevation looks from above
//   toggle(name, shown)          shows or hides a pose
//   play(on), turn(on)           plays the frames; turns slowly (never under reduced motion)
//   state()                      {index, count, azimuth, elevation, zoom, playing, turning,
//                                 shown: [names], hovered: joint or null, redraws,
//                                 points: {name: [[x, y], ...]} on the 3D canvas, CSS pixels,
//                                 pixels: {name: [[x, y], ...]} on the picture, CSS pixels}
//   remove()                     takes everything away, listeners too
//
// Several viewers may live in one page. Nothing is loaded but the images that frames name.

globalThis.liftjaxViewer = { mount };
