import cv2
import numpy as np
import pytest

from liftjax.experiments.paper.report import explain
from liftjax.experiments.paper.report.explain import Term
from liftjax.skeletons import HUMAN36M, PANOPTIC
from tests.data.builders import jpeg, make_dataset
from tests.experiments.paper.hand_made import labels, outcome


def test_a_percentile_is_the_share_of_easier_samples():
    term = Term("error", np.array([1.0, 3.0, 2.0, 3.0]), "{:.0f} px")
    assert [term.percentile(i) for i in range(4)] == [0, 50, 25, 50]
    assert term.text(1) == "3 px"
    turned = term._replace(high_is_hard=False)
    assert [turned.percentile(i) for i in range(4)] == [75, 0, 50, 0]


def test_what_cannot_be_measured_is_no_reason():
    term = Term("contrast", np.array([1.0, np.nan, 2.0]), "{:.1f}")
    assert (term.text(1), term.percentile(1)) == ("-", 0)
    assert term.percentile(2) == 50


def test_joints_outside_or_at_the_edge_are_cut_off():
    truth = labels(["Walking"], image_size=np.array([[200, 100]]))
    truth["joints_px"][:] = 50
    truth["joints_px"][0, :4] = [(2, 50), (198, 50), (50, -30), (50, 93)]
    assert explain.cut_off(truth)[0].tolist() == [True] * 3 + [False] * 14


def person(limb_color, background=(40, 40, 40)):
    """A picture with arms and legs painted, and the joints of it; torso upright."""
    rng = np.random.default_rng(0)
    kpts = rng.uniform(30, 170, (17, 2))
    image = np.full((200, 200, 3), background, np.uint8)
    for a, b in explain.limb_ends(HUMAN36M):
        ends = [tuple(int(v) for v in kpts[k]) for k in (a, b)]
        cv2.line(image, *ends, limb_color, 7)
    return image, kpts


def test_contrast_is_the_difference_in_colour_and_none_on_a_like_background():
    hidden = explain.contrast_of_limbs(*person((40, 40, 40)), HUMAN36M, 160.0)
    faint = explain.contrast_of_limbs(*person((60, 60, 60)), HUMAN36M, 160.0)
    clear = explain.contrast_of_limbs(*person((220, 220, 220)), HUMAN36M, 160.0)
    assert hidden.shape == (8,)
    assert hidden.max() < 0.5
    assert (faint > hidden + 2).all()
    assert (clear > faint + 10).all()


def test_contrast_sees_hue_where_brightness_is_the_same():
    image, kpts = person((150, 0, 0), (0, 76, 0))  # about as bright
    assert explain.contrast_of_limbs(image, kpts, HUMAN36M, 160.0).min() > 20


@pytest.mark.parametrize("skeleton", [HUMAN36M, PANOPTIC])
def test_limbs_are_the_eight_bones_of_arms_and_legs(skeleton):
    names = {skeleton.joints[k] for k in explain.limb_ends(skeleton).ravel()}
    assert len(explain.limb_ends(skeleton)) == 8
    assert not names & {"nose", "neck", "thorax", "spine", "hip"}


def test_contrast_of_a_data_set_is_of_its_pictures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (22, 24, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (240, 220), interpolation=cv2.INTER_CUBIC)
    dataset = make_dataset(tmp_path / "set", count=5, image=jpeg(picture))
    contrast_N = explain.limb_contrast(dataset)
    assert contrast_N.shape == (5,)
    assert np.isfinite(contrast_N).all()
    assert (contrast_N > 5).all()
    grey = make_dataset(
        tmp_path / "grey", count=5, image=jpeg(np.full((220, 240, 3), 90, np.uint8))
    )
    assert explain.limb_contrast(grey).max() < 1
    reversed_N = explain.limb_contrast(dataset.select(np.arange(5)[::-1]))
    np.testing.assert_allclose(reversed_N[::-1], contrast_N)


def test_the_terms_of_a_failure():
    visible = np.ones((3, 17), bool)
    visible[2] = False
    truth = labels(["Walking"] * 3, visible, image_size=np.full((3, 2), 500))
    truth["joints_px"] += 100
    guided = outcome(truth, {"sb": [90.0, 30, 40]}, [12.0, 3, 4])
    perfect = outcome(truth, {"sb": [20.0, 25, 10]})
    peaks_NK = np.tile([[0.2], [0.6], [0.5]], 17)
    terms = explain.explain_error(guided, perfect, "sb", np.array([5.0, 9, 7]), peaks_NK)
    texts = {term.title: (term.text(0), round(term.percentile(0))) for term in terms}
    assert texts == {
        "joints cut off by the picture's edge": ("0", 0),
        "limb contrast (ΔE)": ("5", 67),
        "mean peak of the heatmaps": ("0.20", 50),  # the third has no visible joint
        "2D error": ("12.0 px", 50),
        "3D error left with true 2D": ("20 mm", 33),
    }
