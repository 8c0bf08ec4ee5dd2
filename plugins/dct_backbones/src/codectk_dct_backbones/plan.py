"""What a training does, worked out of its options: sizes, optimizer, schedule, losses, augmentation.

The three presets are those of the public code's RGB trainer; the other trainer's defaults are one more.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from codectk_dct_backbones.architecture import ModelName

Schedule = Literal["step", "cosine", "exponential"]
CropMode = Literal["resized", "aligned"]

REFERENCE_BATCH = 256
"""Batch that learning rates of the presets are given for; they grow with it."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training picture, in this order, before coefficients are made of it.

    Attributes:
        crop: `resized`, a part of random size and shape, scaled; or `aligned`, as many pixels as the network sees,
            at a multiple of 16 pixels, where a picture has so many: blocks of a file are then taken as they are.
        auto_augment: one of AutoAugment's pairs of operations for ImageNet.
        scale: smallest share of the picture's area that is cut out.
        most: largest share.
        flip: probability of a horizontal flip.
        jitter: strength of random brightness, contrast and saturation, which happen with `jitter_chance`.
        sharpness_chance: of a slight loss of sharpness.
        affine: shifted by up to a tenth and scaled by 0.5 to 1.2, on grey.
    """

    crop: CropMode = "resized"
    auto_augment: bool = False
    scale: float = 0.08
    most: float = 1.0
    flip: float = 0.5
    jitter: float = 0.0
    jitter_chance: float = 0.8
    sharpness_chance: float = 0.0
    affine: bool = False

    @property
    def needs_pixels(self) -> bool:
        """Whether it does more than crop and flip, which coefficients of files go through as well."""
        return self.auto_augment or self.jitter > 0 or self.sharpness_chance > 0 or self.affine


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is trained.

    Attributes:
        epochs: passes over the data.
        batch_size: pictures in a step, over all processes.
        image_size: side of what the network sees, in pixels.
        resize: short side of evaluation pictures before the middle is cut out.
        optimizer: with Nesterov's momentum where `nesterov` is set; `alpha` is that of RMSprop.
        lr: highest learning rate.
        decay: whether biases and batch norms decay too.
        schedule: `step` multiplies by `gamma` at the milestones, `exponential` in every epoch, `cosine` falls to the
            rate `floor`.
        milestones: epochs after those of the warm-up.
        warmup_epochs: epochs in which the rate rises, epoch by epoch.
        warmup_steps: steps in which it rises, step by step.
        mixup: both parameters of the Beta distribution; 0 mixes nothing.
        mosaic: four pictures in one, then CutMix.
        multi_scale: sides of training pictures, one drawn for every ten steps; empty for `image_size`.
        ema: decay of the averaged weights that are evaluated and exported; 0 averages nothing.
        original: the public code's faults of schedule and losses.
    """

    epochs: int = 90
    batch_size: int = 256
    image_size: int = 224
    resize: int = 256
    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    alpha: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay: Literal["all", "weights"] = "all"
    schedule: Schedule = "step"
    milestones: tuple[int, ...] = (30, 60, 90)
    gamma: float = 0.1
    floor: float = 0.0
    warmup_epochs: int = 0
    warmup_steps: int = 0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    mosaic: bool = False
    multi_scale: tuple[int, ...] = ()
    ema: float = 0.0
    augmentation: Augmentation = Augmentation()
    amp: bool = False
    original: bool = False

    def rate(self, step: int, per_epoch: int) -> float:
        """The learning rate of a step.

        Args:
            step: counted from 0 over all epochs.
            per_epoch: steps in an epoch.
        """
        epoch, up = step // per_epoch, self.warmup_epochs
        rate = self.lr * min(1.0, (step + 1) / (self.warmup_steps + 1))
        if epoch < up:
            return rate * (epoch + 1) / up
        if self.schedule == "cosine":
            done = (epoch - up) / max(1, self.epochs - up)
            return self.floor + (rate - self.floor) * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "step":
            return float(rate * self.gamma ** sum(epoch - up >= milestone for milestone in self.milestones))
        if self.original and up:
            # Epochs go where the public code's function takes steps, so its warm-up begins once more.
            return rate * min(1.0, epoch / (up * per_epoch))
        return float(rate * self.gamma ** (epoch - up))


PRESETS: dict[ModelName, Plan] = {
    "resnet34": Plan(epochs=100, amp=True),
    "cspdarknet53": Plan(
        epochs=350,
        batch_size=32,
        image_size=256,
        lr=0.01,
        momentum=0.937,
        weight_decay=5e-4,
        schedule="cosine",
        floor=1e-4,
        warmup_steps=1000,
        mosaic=True,
        augmentation=Augmentation(scale=0.2, jitter=0.4, sharpness_chance=0.2, affine=True),
        amp=True,
    ),
    "efficientvit_m4": Plan(
        epochs=350,
        optimizer="rmsprop",
        lr=0.256,
        weight_decay=1e-5,
        schedule="exponential",
        gamma=0.97,
        warmup_epochs=5,
        label_smoothing=0.1,
        mixup=0.2,
        augmentation=Augmentation(auto_augment=True),
        amp=True,
    ),
}
"""What the RGB trainer does with each model unless options say otherwise; rates are for a batch of 256."""

GAMMA: dict[Schedule, float] = {"step": 0.1, "exponential": 0.97}
"""Factors of schedules where a preset has another one."""

SMALL: dict[str, int] = {"epochs": 5, "batch_size": 32, "image_size": 64}
"""What changes for generated pictures, of which there are few and which are small."""

SMALL_OF: dict[ModelName, dict[str, Any]] = {
    "resnet34": {},
    "cspdarknet53": {"lr": 0.03, "warmup_steps": 10, "mosaic": False},
    "efficientvit_m4": {"lr": 0.008, "warmup_epochs": 1},
}
"""What else changes for them: 240 steps end before two of the presets have warmed up, and RMSprop's rate diverges."""


def preset(model: ModelName, small: bool, original: bool, **changes: Any) -> Plan:
    """The plan of a model.

    Args:
        model: whose preset it is.
        small: whether it is trained on generated pictures.
        original: see `Plan`.
        changes: what options set instead; None leaves the preset's.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    sizes: dict[str, Any] = SMALL | SMALL_OF[model] if small else {}
    usual = PRESETS[model]
    schedule = given.get("schedule", usual.schedule)
    gamma = usual.gamma if schedule == usual.schedule else GAMMA.get(schedule, usual.gamma)
    plan = replace(usual, original=original, gamma=gamma, **{**sizes, **given})
    resize = plan.image_size + 32 if model == "cspdarknet53" else round(plan.image_size * 256 / 224)
    return replace(plan, resize=resize, lr=plan.lr * plan.batch_size / REFERENCE_BATCH)
