"""What every recipe starts from. It is not a recipe itself."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """All keys of a recipe with their defaults."""
    return ConfigDict(
        {
            "task": "detector",  # or 'lifter', or 'distill': a detector learns from another one
            "seed": 0,
            "steps": 1000,
            "batch_size": 32,  # over all devices
            "log_every": 20,
            "checkpoint_every": 500,
            "keep_every": 0,  # steps between checkpoints that are kept for good; 0: only the newest
            "keep_best": False,  # keep the checkpoint with the lowest validation error, too
            "evaluate_every": 0,  # steps between evaluations on data.eval_split; 0: none
            "select_on_test": False,  # choose by the test subjects, as the released trainer
            "nonfinite": "stop",  # when the loss is NaN or infinite; or 'skip' the step
            "replicate": "shard_map",  # or 'pmap'
            "num_devices": 0,  # 0: all
            "sync_batch_norm": True,  # over all devices; False: each device has its own statistics
            "precision": "float32",  # of activations; or 'bfloat16'
            "accumulate": 1,  # parts of a batch that go through the network one after another
            "remat": False,  # compute activations again for the gradient: slower, less memory
            "ema": 0.0,  # decay of a moving average of the weights, which is evaluated; 0: none
            "data": {
                "dir": "data/synthetic",  # or several, separated by commas, with the same joints
                "shares": (),  # of each data set in a batch; empty: all samples are alike
                "split": "train",
                "subjects": (),  # empty: all subjects of the split
                "stride": 1,  # train on every n-th frame; lifters of several frames see all frames
                "eval_split": "test",
                "eval_subjects": (),
                "eval_stride": 1,  # evaluate on every n-th frame
                "eval_batch_size": 64,
                "cache": True,  # keep decoded crops in memory
                "workers": 0,  # processes that decode pictures if there is no cache
                "augment": augment(),
            },
            "detector": {
                "name": "hrnet_w32",
                "image_size": None,  # (height, width) of the crop; None: the preset's
                "overrides": {},  # of the preset's sizes
                "checkpoint": "",  # start from this run; empty: fresh weights
            },
            "lifter": {
                "name": "",
                "num_frames": 1,  # in a window, for videopose3d and mixste
                "overrides": {},
                "loss": "mpjpe",  # or 'mse'
                "flip": False,  # train on every window twice an epoch, once mirrored
                "flip_test": False,  # evaluate the mean with the pose of the mirrored keypoints
                "checkpoint": "",
            },
            "lifters": {},  # run directories of the frozen lifters that guide, by name
            "loss": loss(),
            "distill": {
                "stage": "student",  # or 'head': a fresh head learns from the old one
                "teacher": "",  # its run directory; empty for the stage 'head'
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
                "weight_decay": 0.0,  # only adamw has it
                "decay_norms": True,  # False: normalisations and biases do not decay
                "rates": {},  # factors of the learning rate by part: rates.backbone=0.1; 0: frozen
                "clip_norm": 0.0,  # of the gradient's global norm; 0: no clipping
                "schedule": "step",  # or 'constant', 'cosine', 'flat_cosine'
                "warmup_steps": 0,
                "decay_rate": 0.67,
                "decay_every": 0.125,  # share of the run; the paper has 5 of 40 epochs
                "boost_at": 0.0,  # share of the run; released trainer: 31 of 41 epochs; 0: never
                "boost": 5.0,  # factor of the learning rate from there on
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

    A weight that is None depends on the detector: SimCC (RTMPose, DWPose) has the paper's, heatmaps
    (HRNet), whose 2D loss is much smaller, the released trainer's. The comments say them.
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
        # Above 0: scale the 3D terms so that the norm of their gradient at the detector's output is
        # this multiple of the norm of the 2D terms' gradient. 0: use the weights above.
        "balance": 0.0,
        "mask_invisible_3d": False,
        # Precision of matrix products in the frozen lifters: 'highest' (float32), 'high' (TF32 on
        # NVIDIA), 'default' (the fastest of the machine) or 'bfloat16'. None: 'highest', or 'high'
        # with precision='bfloat16', which changes the guiding gradient by less than 5 %. See
        # `liftjax.training.detector_step.GuidanceOptions` for what narrower ones cost.
        "lifter_precision": None,
        # For lifters of several frames: the number of frames (odd, the sample in the middle) that
        # run through the detector with a gradient. In all other frames, lifters see the keypoints
        # that the detector found last.
        "window_frames": 1,
        # For them, each step also finds keypoints again in some further frames, without a gradient.
        # Their number is this share of the batch size.
        "renewed": 0.25,
        "quarter_pixel_shift": False,  # after soft-argmax, as in the released configs
    }
