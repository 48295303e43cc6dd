"""Networks that liftjax does not have, known by the names in their weight files.

The files are those that people have beside the ones that liftjax reads.
"""

import re
from collections.abc import Callable

from liftjax.nn.declaration import State

RTMW = "RTMW, which liftjax does not have; DWPose-l (dwpose_l/wholebody) finds the same 133 joints."
_HRNET = "stage4.0.branches.0.0.conv1.weight"
_TAGGED = 34  # COCO's 17 joints, and a tag for each


def known_but_absent(state: State) -> str | None:
    """Names a network that liftjax does not have and says what to do instead; None for others.

    Args:
      state: the arrays of a weight file by name.

    Returns:
      A text that goes on from the name of the file and "is ", and ends in a full stop.
    """
    names = {re.sub(r"^(?:module|model)\.", "", key): value.shape for key, value in state.items()}
    return next((text for text, fits in _NETWORKS.items() if fits(names)), None)


Names = dict[str, tuple[int, ...]]  # name -> shape


def _has(*beginnings: str) -> Callable[[Names], bool]:
    """Whether each is the beginning of a name."""
    return lambda names: all(any(key.startswith(b) for key in names) for b in beginnings)


def _any(*rules: Callable[[Names], bool]) -> Callable[[Names], bool]:
    return lambda names: any(rule(names) for rule in rules)


def _ends(key: str, names: Names) -> bool:
    return any(name.endswith(key) for name in names)


def _is_bottom_up(names: Names) -> bool:
    """An HRNet whose last layer gives tags beside the heatmaps, or several that do."""
    rows = [shape[0] for key, shape in names.items() if key.endswith("final_layer.weight")]
    several = any(re.search(r"(^|\.)final_layers\.\d+\.", key) for key in names)
    return _ends(_HRNET, names) and (several or rows == [_TAGGED])


def _is_features_only(names: Names) -> bool:
    """An HRNet that gives the maps of all branches, and nothing after them."""
    inner = re.compile(r"stage4\.\d+\.fuse_layers\.[123]\.|incre_modules\.")
    ends = ("classifier.weight", "final_layer.weight")
    return (
        _HRNET in names
        and any(map(inner.match, names))
        and not any(_ends(end, names) for end in ends)
    )


def _is_fed_scores(names: Names) -> bool:
    """A lifter whose first layer takes x, y and a score of each joint.

    It has as many inputs as outputs then: three for each joint.
    """
    for first, last in (("expand_conv", "shrink"), ("w1", "w2")):
        given, found = names.get(f"{first}.weight", ()), names.get(f"{last}.weight", ())
        if given[1:2] and given[1:2] == found[:1] and given[1] % 3 == 0:
            return True
    return names.get("Spatial_patch_to_embedding.weight", ())[1:] == (3,)


_NETWORKS: dict[str, Callable[[Names], bool]] = {
    RTMW: _any(_has("head.conv_dec."), _has("head.mlp2.")),
    "RTMO, which finds all people at once and which liftjax does not have; rtmpose_m/coco finds "
    "the same joints of each person that --person-detector finds.": _has("head.dcc."),
    "a person detector; give its ONNX file to predict as --person-detector, if it is a YOLOX.": (
        _any(_has("bbox_head."), _has("head.cls_preds.", "head.obj_preds."))
    ),
    "an HRNet that finds all people at once (heatmaps and tags, bottom-up), which liftjax does not "
    "have; take a top-down one, whose last layer has one row for each joint.": _is_bottom_up,
    "the maps of an HRNet without an end (timm's features_only), which is not what a detector "
    "starts from; save the whole network: timm.create_model(NAME, pretrained=True).": (
        _is_features_only
    ),
    "a lifter that is fed x, y and a score of each joint; liftjax's lifters are fed x and y alone, "
    "so take weights that were trained on these.": _is_fed_scores,
    "MotionBERT, which liftjax does not have; MixSTE (mixste) lifts as many frames at once.": (
        lambda names: _ends("temp_embed", names) and _ends("joints_embed.weight", names)
    ),
    "ViTPose, which liftjax does not have; hrnet_w48 and rtmpose_l find the same joints.": (
        _has("backbone.patch_embed.", "backbone.pos_embed")
    ),
}
