"""Losses of 2D detection, of 3D guidance and of distillation, as pure functions of arrays.

All losses are float32 or wider, whatever the inputs. Weights of samples and joints divide the
sums as well as multiplying the terms, so that a sample without labels changes no mean; where the
weights are all zero a loss is zero. Values under zero weight may be NaN. Arrays whose shapes do not
fit together raise a ValueError that names both.
"""

from liftjax.losses.detection import (
    gaussian_heatmap_loss_per_joint,
    gaussian_heatmaps,
    heatmap_loss,
    heatmap_loss_per_joint,
    simcc_labels,
    simcc_loss,
    simcc_loss_per_joint,
)
from liftjax.losses.distillation import feature_loss, logit_loss
from liftjax.losses.guidance import (
    DEFAULT_WEIGHTS,
    HEATMAP_WEIGHTS,
    SIMCC_WEIGHTS,
    LossTerms,
    LossWeights,
    consistency_loss,
    dwa_weights,
    global_loss,
    guided_loss_terms,
    initial_dwa_history,
    lifter_dropout_weights,
    lifting_loss,
    lifting_loss_xy,
    lifting_loss_z,
    multi_model_loss,
    ohklm_loss,
    per_joint_lifting_error,
    single_model_loss,
    update_dwa_history,
)

__all__ = [
    "DEFAULT_WEIGHTS",
    "HEATMAP_WEIGHTS",
    "SIMCC_WEIGHTS",
    "LossTerms",
    "LossWeights",
    "consistency_loss",
    "dwa_weights",
    "feature_loss",
    "gaussian_heatmap_loss_per_joint",
    "gaussian_heatmaps",
    "global_loss",
    "guided_loss_terms",
    "heatmap_loss",
    "heatmap_loss_per_joint",
    "initial_dwa_history",
    "lifter_dropout_weights",
    "lifting_loss",
    "lifting_loss_xy",
    "lifting_loss_z",
    "logit_loss",
    "multi_model_loss",
    "ohklm_loss",
    "per_joint_lifting_error",
    "simcc_labels",
    "simcc_loss",
    "simcc_loss_per_joint",
    "single_model_loss",
    "update_dwa_history",
]
