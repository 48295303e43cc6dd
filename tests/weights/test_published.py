"""The list: names, joint sets, addresses, hashes and licences agree with each other."""

import re

import pytest

from liftjax.errors import LiftjaxError
from liftjax.registry import find_preset
from liftjax.skeletons import get_skeleton
from liftjax.weights.published import PUBLISHED, find_weights

KINDS = {"detector", "backbone", "lifter", "person_detector"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_says_all_that_is_needed(name):
    weights = PUBLISHED[name]
    assert re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", name)
    assert "_as_" not in name  # a converted run directory has it
    assert weights.kind in KINDS
    assert weights.licence
    assert weights.paper
    assert bool(weights.address) != bool(weights.page)
    assert (weights.address or weights.page).startswith("https://")
    if weights.address:
        assert weights.address.endswith(f"/{weights.file}")
    if weights.kind == "person_detector":
        assert weights.network.startswith("yolox_")
        assert weights.file.endswith((".onnx", ".zip"))
        return
    kind, _ = find_preset(weights.network)
    assert kind == ("lifter" if weights.kind == "lifter" else "detector")
    for skeleton in filter(None, (weights.skeleton, weights.skeleton_2d)):
        get_skeleton(skeleton)
    assert bool(weights.skeleton) == (weights.kind != "backbone")
    assert bool(weights.frames) == (weights.kind == "lifter")


@pytest.mark.parametrize("name", PUBLISHED)
def test_hashes_are_those_in_the_names(name):
    weights = PUBLISHED[name]
    found = re.search(r"-([0-9a-f]{8})(_\d{8})?\.pth$", weights.file)
    if found:
        assert weights.sha256 == found[1]
    else:
        assert len(weights.sha256) in (0, 64)


@pytest.mark.parametrize("name", PUBLISHED)
def test_joints_and_sizes_are_those_in_the_names_of_the_files(name):
    weights = PUBLISHED[name]
    sets = {"halpe26": "halpe26", "mpii": "mpii", "h36m": "human36m", "posetrack18": "posetrack18"}
    sets |= {"wholebody": "wholebody", "ucoco": "wholebody", "humaneva15": "humaneva15"}
    stated = {skeleton for word, skeleton in sets.items() if word in weights.file}
    if stated and weights.file != "pose_hrnet_w32_256x256.pth":
        assert stated == {weights.skeleton}
    size = re.search(r"(?<!\d)(\d{3})x(\d{3})", weights.file)
    if size:
        assert weights.image_size == (int(size[1]), int(size[2]))


def test_files_in_the_folder_have_names_of_their_own():
    assert len({weights.file for weights in PUBLISHED.values()}) == len(PUBLISHED)


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(LiftjaxError, match="did you mean 'rtmpose_m/halpe26'"):
        find_weights("rtmpose-m/halpe26")
