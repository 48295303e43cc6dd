"""The paper's starting point: a detector trained on the 2D labels of COCO and Human3.6M together.

Command:   python -m data_prep coco --source COCO --out data/coco
           python -m data_prep human36m --source HUMAN36M --out data/human36m
           python -m liftjax train --config coco_h36m --workdir runs/coco_h36m
           RTMPose: add --config.detector.name=rtmpose_m --config.optim.name=adamw \\
               --config.optim.weight_decay=0.05 --config.optim.decay_norms=False \\
               --config.optim.schedule=flat_cosine
           From a network that was trained on COCO, imported for these joints (`import-weights
           ... --skeleton human36m`): add --config.detector.checkpoint=RUN --config.steps=100000
Hardware:  one accelerator with 40 GB and eight cores that decode (--config.data.workers=8) at
           HRNet-W32, 384x288; a small batch for less.
Time:      `steps = 210 * samples / 64`, HRNet's 210 epochs of COCO's 150,000 people and
           Human3.6M's 39,000 training frames: days. Not run by us at this size.
Data:      both have Human3.6M's 17 joints; a joint that COCO does not label (the top of the head)
           or that is hidden has no weight. All samples are alike, four of five from COCO;
           --config.data.shares=0.5,0.5 makes half of each batch. Augmentation is HRNet's for COCO.
Expected:  the checkpoint from which ft2d, single_model and multi_model go on
           (--config.detector.checkpoint=runs/coco_h36m). Nobody has released the paper's, or said
           how well it does; after FT-2D from it, its HRNet reaches PCK@0.2 of 94.93 % on
           Human3.6M's test subjects (supplement, Table 2).
"""

from liftjax.configs.common import base


def get_config():
    config = base()
    config.data.dir = "data/coco,data/human36m"
    config.data.cache = False  # 190,000 stored pictures are read as they are needed
    config.data.workers = 4
    config.data.augment.flip = 0.5
    config.data.augment.rotation = 45.0
    config.data.augment.scale = 0.35
    config.detector.name = "hrnet_w32"
    config.detector.image_size = (384, 288)
    config.batch_size = 64
    config.steps = 620_000
    config.log_every = 100
    config.checkpoint_every = 5000
    config.loss.guidance = "none"
    config.optim.schedule = "cosine"
    config.optim.warmup_steps = 500
    return config
