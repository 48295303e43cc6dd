"""What every recipe starts from; not a recipe itself."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """All keys of a recipe with their defaults."""
    return ConfigDict(
        {
            "task": "detector",  # or 'lifter', or 'distill': a detector taught by another
            "seed": 0,
            "steps": 1000,
            "batch_size": 32,  # over all devices
            "log_every": 20,
            "checkpoint_every": 500,
            "keep_every": 0,  # keep the checkpoints of these steps for good; 0: the newest alone
            "keep_best": False,  # and that of the lowest validation error
            "evaluate_every": 0,  # steps between evaluations on data.eval_split; 0: none
            "select_on_test": False,  # the released trainer's way: the best on the test subjects
            "nonfinite": "stop",  # at a loss that is NaN or infinite; or 'skip' the step
            "replicate": "shard_map",  # or 'pmap'
            "num_devices": 0,  # 0: all
            "sync_batch_norm": True,  # statistics over all devices; False: of each one's rows
            "precision": "float32",  # of activations; or 'bfloat16'
            "accumulate": 1,  # parts of a batch that go through the network one after the other
            "remat": False,  # keep fewer activations and compute them again: slower, less memory
            "ema": 0.0,  # decay of the average of the weights that is kept and evaluated; 0: none
            "data": {
                "dir": "data/synthetic",  # or several with commas between, of one joint set
                "shares": (),  # of each of several in a batch; none: all samples alike
                "split": "train",
                "subjects": (),  # none named: all of the split
                "eval_split": "test",
                "eval_subjects": (),
                "eval_batch_size": 64,
                "cache": True,  # decoded crops stay in memory
                "workers": 0,  # processes that decode where there is no cache
                "augment": augment(),
            },
            "detector": {
                "name": "hrnet_w32",
                "image_size": None,  # (height, width) of the crop; None: the preset's
                "overrides": {},  # other sizes than the preset's
                "checkpoint": "",  # start from this run; empty: fresh weights
            },
            "lifter": {
                "name": "",
                "num_frames": 1,  # of a window: videopose3d, mixste
                "overrides": {},
                "loss": "mpjpe",  # or 'mse'
                "flip": False,  # an epoch has every window twice, once mirrored
                "flip_test": False,  # evaluate: mean of the pose and the mirrored one's, mirrored
                "checkpoint": "",
            },
            "lifters": {},  # frozen lifters that guide, by name: their run directories
            "loss": loss(),
            "distill": {
                "stage": "student",  # or 'head': a fresh head is taught by the old one
                "teacher": "",  # its run directory; stage 'head': none
                "feature_weight": 7e-5,
                "logit_weight": 0.1,
                "decay": True,  # both weights fall linearly to 0 over the run
            },
            "optim": {
                "name": "adam",
                "learning_rate": 1e-3,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-8,
                "weight_decay": 0.0,  # of adamw; the others have none
                "decay_norms": True,  # False: no decay of normalisations and biases
                "rates": {},  # factors of the learning rate, rates.backbone=0.1; 0: frozen
                "clip_norm": 0.0,  # 0: no clipping of the gradient's global norm
                "schedule": "step",  # or 'constant', 'cosine', 'flat_cosine'
                "warmup_steps": 0,
                "decay_rate": 0.67,
                "decay_every": 0.125,  # of the run; the paper's 5 of 40 epochs
                "boost_at": 0.0,  # of the run; the released trainer's 31 of 41 epochs; 0: never
                "boost": 5.0,  # factor of the rate from there on
            },
        }
    )


def augment() -> dict:
    """No augmentation, as in the paper's guided training; see `liftjax.data.augment`."""
    return {
        "flip": 0.0,  # probability of the mirror image
        "rotation": 0.0,  # of the crop, degrees either way
        "scale": 0.0,  # of the crop, share more or less
        "color": 0.0,  # strength, 0 to 1
        "roll": 0.0,  # of the whole view with 3D and camera, degrees either way
    }


def loss() -> dict:
    """The guided loss.

    A weight that is None is that of the detector's kind: the paper's for SimCC (RTMPose, DWPose),
    the released trainer's for heatmaps (HRNet), whose 2D loss is so much smaller.
    """
    return {
        "guidance": "none",  # 'none' (FT-2D), 'single' (one lifter) or 'multi'
        "beta": 100.0,
        "normalizer": "softmax",  # or 'relu'
        "weights": {
            "l_2d": None,  # 0.5
            "l_o": None,  # 0.3
            "l_xy": None,  # SimCC 10, heatmaps 0.02
            "l_z": None,  # 20, 0.04
            "l_single": None,  # 0.8
            "l_local": None,  # 15, 0.1
            "l_global": None,  # 5, 0.05
        },
        "top_k": 10,
        "dwa": True,  # dynamic weight averaging of the lifters; False: uniform
        "lifter_dropout": False,
        # Above 0: the 3D terms are scaled so that the norm of their gradient at the detector's
        # output is this multiple of the 2D terms'. 0: the weights above as they stand.
        "balance": 0.0,
        "mask_invisible_3d": False,
        # Of the products inside the frozen lifters: 'highest' (float32), 'high' (TF32 on NVIDIA),
        # 'default' (as the machine likes best) or 'bfloat16'. None: 'highest', and 'high' with
        # precision='bfloat16', which leaves the guiding gradient within 5 %; for what narrower
        # ones cost late in training see `liftjax.training.detector_step.GuidanceOptions`.
        "lifter_precision": None,
        "quarter_pixel_shift": False,  # the released configs' step after soft-argmax
    }
