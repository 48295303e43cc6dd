"""The viewer's controls, by real mouse, touch and key events."""

import numpy as np
import pytest

from tests.viewer.looking import PICTURE, SPACE, count, pixel, state
from tests.viewer.people import CROSS, CROSS_POSE, PREDICTION, TRUTH, cross

NEXT, PREVIOUS = "[aria-label='Next frame']", "[aria-label='Previous frame']"


def test_dragging_turns(show):
    page = show(cross())
    before, drawn = state(page), page.canvas(SPACE)
    x, y = page.middle(SPACE)
    page.drag((x, y), (x + 100, y + 40))
    after = state(page)
    assert after["azimuth"] > before["azimuth"] + 10
    assert after["elevation"] > before["elevation"] + 4
    assert (page.canvas(SPACE) != drawn).any(-1).mean() > 0.01
    assert (page.canvas(SPACE)[..., 3] > 0).any()
    page.drag((x, y), (x, y + 2000))
    assert state(page)["elevation"] == 90  # no further than from right above
    page.hover(x + 50, y + 50)
    assert state(page)["azimuth"] == after["azimuth"]  # nothing is held any more


def test_what_is_near_follows_the_mouse(show):
    page = show({"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}}]})
    page.run("viewer.rotate(0, 0)")
    x, y = page.middle(SPACE)
    page.drag((x, y), (x + 60, y + 60))
    root, *_, near, far = np.array(state(page)["points"]["truth"])
    assert (near > root + 10).all()
    assert (far < root - 10).all()


def test_keys_turn_zoom_and_go_through_the_frames(show):
    page = show(cross(3))
    page.run("document.querySelector(args[0]).focus()", SPACE)
    start = state(page)
    for key, name, sign in (
        ("ArrowRight", "azimuth", 1), ("ArrowLeft", "azimuth", -1), ("ArrowDown", "elevation", 1),
        ("ArrowUp", "elevation", -1), ("+", "zoom", 1), ("-", "zoom", -1),
        ("PageDown", "index", 1), ("PageUp", "index", -1),
    ):  # fmt: skip
        before = state(page)[name]
        page.press(key)
        assert sign * (state(page)[name] - before) > 0, key
    page.press("ArrowRight")
    page.press("Home")
    assert state(page)["azimuth"] == start["azimuth"]


def test_view_buttons(show):
    page = show(cross())
    for label, angles in {
        "As the camera saw it": (0, 0), "From the side": (90, 0), "From above": (0, 90),
    }.items():  # fmt: skip
        page.click(f"[aria-label='{label}']")
        assert (state(page)["azimuth"], state(page)["elevation"]) == angles
    page.click("[aria-label='Zoom in']")
    assert state(page)["zoom"] == 1.25
    page.click("[aria-label='Reset the view']")
    assert state(page)["zoom"] == 1
    assert state(page)["azimuth"] != 0


def test_scrubbing_changes_picture_pose_and_texts(show):
    page = show(cross(12))
    first, picture = state(page), page.canvas(PICTURE)
    assert count(page, PICTURE, (40, 200, 90)) > 1000
    page.click(NEXT)
    second = state(page)
    assert second["index"] == 1
    assert count(page, PICTURE, (230, 200, 30)) > 1000
    assert count(page, PICTURE, (40, 200, 90)) == 0
    assert not np.allclose(second["points"]["truth"], first["points"]["truth"])
    texts = page.run(
        "return ['title', 'counter', 'legend'].map("
        "(part) => document.querySelector(`.ljv-${part}`).textContent)"
    )
    assert texts[:2] == ["frame 1", "2 / 12"]
    assert "101 mm" in texts[2]
    page.click(PREVIOUS)
    page.click(PREVIOUS)
    assert state(page)["index"] == 11  # around the end
    left, top, width, height = page.box(".ljv input[type=range]")
    page.click((left + width / 2, top + height / 2))
    assert state(page)["index"] in (5, 6)
    page.press("Home")
    assert state(page)["index"] == 0
    np.testing.assert_array_equal(page.canvas(PICTURE), picture)


def test_a_switch_hides_a_pose_everywhere(show):
    page = show(cross())
    page.click(".ljv-legend label:nth-of-type(2)")
    assert state(page)["shown"] == ["truth"]
    for canvas in (PICTURE, SPACE):
        assert count(page, canvas, PREDICTION) == 0
        assert count(page, canvas, TRUTH) > 50
    page.click(".ljv-legend label:nth-of-type(1) input")
    assert count(page, SPACE, TRUTH) == 0
    page.run("viewer.toggle('truth', true)")
    assert state(page)["shown"] == ["truth"]
    assert page.run("return document.querySelector('.ljv-legend input').checked")


def test_hovering_names_the_joint_and_its_errors(show):
    page = show(cross())
    page.run("viewer.rotate(0, 0)")
    tip = "const t = document.querySelector('.ljv-tip'); return t.hidden ? null : t.innerText"
    left, top, *_ = page.box(SPACE)
    x, y = state(page)["points"]["truth"][2]
    page.hover(left + x, top + y)
    assert state(page)["hovered"] == "left_x"
    assert page.run(tip).split("\n") == ["left x", "FT-2D 100 mm"]
    left, top, *_ = page.box(PICTURE)
    x, y = state(page)["pixels"]["truth"][3]
    page.hover(left + x, top + y)
    assert page.run(tip).split("\n") == ["below", "FT-2D 2.0 px"]
    page.hover(left + 3, top + 3)
    assert page.run(tip) is None
    assert state(page)["hovered"] is None


def test_the_wheel_scrolls_the_page_until_the_view_is_clicked(show):
    page = show(cross(), height=400)
    x, y = page.middle(SPACE)
    page.run("document.body.style.paddingBottom = '2000px'")
    page.wheel(x, y, 100)
    assert state(page)["zoom"] == 1
    x, y = page.middle(SPACE)
    page.wheel(x, y, -100, key="Control")
    assert state(page)["zoom"] > 1
    page.click((x, y))
    zoom, scrolled = state(page)["zoom"], page.run("return scrollY")
    page.wheel(x, y, -100)
    assert state(page)["zoom"] > zoom
    assert page.run("return scrollY") == scrolled


def test_zooming_keeps_what_is_under_the_pointer(show):
    page = show(cross())
    page.run("viewer.rotate(0, 0)")
    left, top, *_ = page.box(SPACE)
    spot = state(page)["points"]["truth"][1]
    page.click((left + spot[0], top + spot[1]))
    for _ in range(3):
        page.wheel(left + spot[0], top + spot[1], -100)
    assert state(page)["zoom"] > 1.3
    np.testing.assert_allclose(state(page)["points"]["truth"][1], spot, atol=1)


def test_two_fingers_zoom_and_one_turns(show):
    page = show(cross(), width=400, height=900, touch=True)
    x, y = page.middle(SPACE)
    page.touch([(x - 30, y), (x + 30, y)], [(x - 80, y), (x + 80, y)])
    zoomed = state(page)
    assert zoomed["zoom"] == pytest.approx(160 / 60, rel=0.15)
    page.touch([(x, y)], [(x + 80, y)])
    assert state(page)["azimuth"] > zoomed["azimuth"] + 10
    assert state(page)["zoom"] == zoomed["zoom"]


def test_nothing_is_drawn_while_nothing_changes(show):
    page = show(cross(2))
    drawn = [None]
    while len(drawn) < 100 and state(page)["redraws"] != drawn[-1]:  # pictures come late
        drawn.append(state(page)["redraws"])
        page.run("await new Promise((done) => setTimeout(done, 300))")
    before = state(page)["redraws"]
    assert before == drawn[-1]
    page.click(NEXT)
    assert state(page)["redraws"] > before


def test_playing_goes_on_and_stops(show):
    page = show(cross(4, fps=50))
    page.click("[aria-label='Play']")
    assert state(page)["playing"]
    page.run("while (viewer.state().index === 0) await new Promise((r) => setTimeout(r, 10))")
    page.click("[aria-label='Pause']")
    stopped = state(page)
    assert not stopped["playing"]
    page.run("await new Promise((done) => setTimeout(done, 200))")
    assert state(page)["index"] == stopped["index"]


def test_thousands_of_frames_of_two_people(show):
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 0.01, (3000, 2, 1, 3)), 0) + np.array(CROSS_POSE)
    poses = np.float32(walk).reshape(3000, -1)
    page = show({"skeleton": CROSS, "fps": 25, "frames": [{"poses": {"truth": p}} for p in poses]})
    page.run("for (let i = 0; i < 3000; i += 100) viewer.show(i)")
    assert state(page)["redraws"] < 20  # drawn once a screen, not once a frame asked for
    page.run("viewer.show(2999)")
    assert len(state(page)["points"]["truth"]) == 14
    assert count(page, SPACE, TRUTH) > 50


def test_turning_slowly_is_off_until_asked_for(show):
    page = show(cross())
    turn = "[aria-label='Turn slowly']"
    assert not state(page)["turning"]
    page.click(turn)
    before = state(page)["azimuth"]
    page.run("await new Promise((done) => setTimeout(done, 200))")
    assert state(page)["azimuth"] != before
    page.click(turn)
    assert not state(page)["turning"]


def test_under_reduced_motion_nothing_turns_by_itself(show):
    page = show(cross(), calm=True)
    page.run("viewer.turn(true)")
    assert not state(page)["turning"]
    assert page.run("return document.querySelector(\"[aria-label='Turn slowly']\").disabled")


def test_a_dark_page_has_a_dark_viewer_with_brighter_colours(show):
    background = "return getComputedStyle(document.querySelector('.ljv-view')).backgroundColor"
    light, dark = show(cross()), show(cross(), dark=True)
    assert light.run(background) == "rgb(255, 255, 255)"
    assert max(map(int, dark.run(background)[4:-1].split(","))) < 64
    brighter = [round(c + 0.28 * (255 - c)) for c in TRUTH]
    assert count(dark, SPACE, brighter) > 50


@pytest.mark.parametrize("width", [320, 400, 1400])
def test_it_fits_any_width(show, width):
    page = show(cross(3), width=width)
    assert page.run("return document.documentElement.scrollWidth") <= width
    inside = """const tools = document.querySelector(".ljv-tools");
    const last = tools.lastElementChild.getBoundingClientRect();
    const first = tools.querySelector("button").getBoundingClientRect();
    const room = tools.getBoundingClientRect();
    return first.left >= room.left && last.right <= room.right && last.top === first.top;"""
    assert page.run(inside)
    assert count(page, SPACE, TRUTH) > 50
    beside = page.run(
        "return new Set([...document.querySelectorAll('.ljv-view')].map("
        "(view) => view.getBoundingClientRect().top)).size === 1"
    )
    assert beside == (width > 640)


def test_every_control_has_a_name(show):
    page = show(cross(3))
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        n for n in tree if n.get("role", {}).get("value") in ("button", "slider", "checkbox")
    ]
    assert len(controls) == 13
    assert all(node["name"]["value"].strip() for node in controls)
    names = {node["name"]["value"] for node in controls}
    assert {"Play", "Frame", "Zoom in", "truth"} <= names


def test_two_viewers_in_one_page_and_one_taken_away(show):
    page = show(cross())
    page.run(
        """const other = document.createElement("div");
        document.body.append(other);
        globalThis.second = liftjaxViewer.mount(other, args[0]);""",
        {"skeleton": CROSS, "frames": [{"poses": {"truth": CROSS_POSE}}]},
    )
    page.run("second.rotate(10, 10)")
    assert state(page)["azimuth"] != 10
    page.run("second.remove()")
    assert page.run("return document.querySelectorAll('.ljv').length") == 1
    page.run("second.rotate(20, 20)")  # no error, nothing drawn
    x, y = np.round(state(page)["points"]["truth"][0])
    assert pixel(page, x, y)[3] > 0
