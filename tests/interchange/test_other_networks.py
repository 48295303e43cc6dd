"""Networks that liftjax does not have are named, and its own are not taken for them."""

import re

import numpy as np
import pytest

from liftjax.interchange.other_networks import known_but_absent
from liftjax.registry import DETECTORS
from tests.interchange.checkpoints import SMALL, mmpose_hrnet, prefixed, state_dict

HRNET = state_dict("hrnet_tiny")
TRUNK = {key: value for key, value in HRNET.items() if not key.startswith("final_layer")}


def state(**shapes) -> dict[str, np.ndarray]:
    """Arrays by names in which two underscores stand for a point."""
    return {key.replace("__", "."): np.zeros(shape) for key, shape in shapes.items()}


def with_rows(rows: int) -> dict[str, np.ndarray]:
    return mmpose_hrnet(HRNET | {"final_layer.weight": np.zeros((rows, 8, 1, 1))})


OTHERS = {
    "RTMW": state_dict("rtmpose_tiny") | state(head__conv_dec__conv__weight=(9, 9, 7, 7)),
    "RTMO": state_dict("rtmpose_tiny") | state(head__dcc__gau__o__weight=(9, 9)),
    "a person detector": state(bbox_head__rtm_cls__0__weight=(1, 9, 1, 1)),
    "person detector": state(
        head__cls_preds__0__weight=(80, 9, 1, 1), head__obj_preds__0__weight=(1, 9, 1, 1)
    ),
    "heatmaps and tags": with_rows(34),
    "bottom-up": TRUNK | state(final_layers__0__weight=(34, 8, 1, 1), deconv_layers__0__0=(1,)),
    "features_only": TRUNK | state(incre_modules__0__0__conv1__weight=(9, 9, 1, 1)),
    "maps of an HRNet": TRUNK | state(stage4__0__fuse_layers__1__1__0__weight=(9, 9, 1, 1)),
    "x, y and a score": state(expand_conv__weight=(9, 51, 3), shrink__weight=(51, 9, 1)),
    "a score of each joint": state(w1__weight=(9, 48), w2__weight=(48, 9)),
    "a lifter that is fed": state(Spatial_patch_to_embedding__weight=(9, 3)),
    "MotionBERT": state(module__temp_embed=(1, 9, 1, 9), module__joints_embed__weight=(9, 3)),
    r"MotionBERT.*mixste": state(
        backbone__temp_embed=(1, 9, 1, 9), backbone__joints_embed__weight=(9, 3)
    ),
    "ViTPose": state(
        backbone__patch_embed__proj__weight=(9, 3, 4, 4), backbone__pos_embed=(1, 9, 9)
    ),
}


@pytest.mark.parametrize("match", OTHERS)
def test_they_are_named(match):
    text = known_but_absent(OTHERS[match])
    assert text is not None
    assert text.endswith(".")
    assert "\n" not in text
    assert re.search(match, text)


@pytest.mark.parametrize("name", SMALL)
def test_our_own_are_not(name):
    ours = state_dict(name)
    assert known_but_absent(ours) is None
    assert known_but_absent(prefixed("module.", ours)) is None
    if name in DETECTORS:
        assert known_but_absent(prefixed("backbone.", ours)) is None


def test_an_hrnet_of_other_joints_is_not():
    for rows in (17, 26, 133):
        assert known_but_absent(with_rows(rows)) is None
    assert known_but_absent(TRUNK) is None
    classifier = {"incre_modules.0.0.conv1.weight": np.zeros(1), "classifier.weight": np.zeros(1)}
    assert known_but_absent(TRUNK | classifier) is None
