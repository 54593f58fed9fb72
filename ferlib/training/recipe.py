"""Everything that decides which weights come out, besides the data and the machine."""

import os
from dataclasses import dataclass, field, fields, replace
from math import inf

from ferlib import runtime
from ferlib.data.augment import Augmentation
from ferlib.data.images import LARGEST, NORMALISATIONS
from ferlib.data.labels import SCHEMES
from ferlib.errors import FerlibError, check_choice, check_kind, number
from ferlib.nets import imagenet, registry
from ferlib.nets.places import find_weights

mx = runtime.import_mxnet()

OPTIMISERS = ("nag", "sgd", "adam")
SCHEDULES = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "float32", "bfloat16")
FREEZES = ("", "features")
FLOAT32 = 1e38  # beyond, MXNet has no number for it


@dataclass(frozen=True)
class Recipe:
    """How to train. `lr` is the peak of the schedule, which begins with a linear warm-up."""

    net: str = "vgg13lean"
    scheme: str = "cross-entropy"  # one of `labels.SCHEMES`
    epochs: int = 32
    batch_size: int = 128
    lr: float = 0.2
    warmup: float = 0.1  # of all steps
    momentum: float = 0.9  # of the first two optimisers
    weight_decay: float = 5e-4
    optimiser: str = "nag"  # Nesterov's momentum; or sgd, adam
    schedule: str = "cosine"  # to 0; or linear to 0, or constant
    channels: int = 0  # 1 for gray, 3 for RGB; 0: the net's own
    side: int = 0  # of the pictures that the net sees, in pixels; 0: the net's own
    normalise: str = ""  # the net's own when empty
    seed: int = 0
    precision: str = "auto"  # bfloat16 where it pays (`runtime.fast_bfloat16`), else float32
    # Pairs: until that share of the epochs, pictures of that share of the net's side: two
    # thirds of it are 4/9 of the work. What that costs in accuracy was not measured. Only for nets
    # that take pictures of any size.
    grow: tuple[tuple[float, float], ...] = ((0.5, 2 / 3), (0.75, 5 / 6))
    augmentation: Augmentation = field(default_factory=Augmentation)
    # Weights of the same net to go on from, instead of chance, by prefix or name; or "imagenet" for
    # those that gluoncv has of the same blocks, for RGB pictures (`nets.imagenet`).
    start: str = ""
    teacher: tuple[str, ...] = ()  # nets whose mean answers are learnt too, by prefix or name
    teacher_share: float = 0.5  # of the targets; the rest are the votes
    # At full size the teacher answers for each picture as the epoch has moved, worn and erased it
    # (Beyer et al. 2022, "A good teacher is patient and consistent"), instead of once and for all.
    # Of several teachers each batch asks the next, in the precision that is fastest here; fixed
    # answers are the mean of all, upright and mirrored, in float32.
    teacher_views: bool = False
    smoothing: float = 0.0  # share of the targets spread over all classes (`mixing.smoothed`)
    mixup: float = 0.0  # alpha of the shares in which pictures are mixed (`mixing.mixup`)
    average: float = 0.0  # decay a step of the weights' running mean (`averaging`), such as 0.999
    centre: float = 0.0  # weight of the centre loss (`centres`); 0.003 in its paper
    # "features": the layers up to the last of the net's features stay as `start` has them, with
    # BatchNorm's statistics, and only what comes after them learns.
    freeze: str = ""

    def __post_init__(self):
        self._make_plain()
        if not isinstance(self.augmentation, Augmentation):
            raise FerlibError("augmentation: expected an Augmentation; augment.NONE moves nothing")
        check_choice("scheme", self.scheme, SCHEMES)
        check_choice("optimiser", self.optimiser, OPTIMISERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_choice("precision", self.precision, PRECISIONS)
        if self.normalise:
            check_choice("normalisation", self.normalise, NORMALISATIONS)
        if self.channels not in (0, 1, 3):
            raise FerlibError(f"{self.channels} channels: expected 1 (gray) or 3 (RGB)")
        if self.side and not 24 <= self.side <= LARGEST:
            raise FerlibError(f"pictures of {self.side} pixels: expected 24 to {LARGEST}")
        if self.teacher and self.scheme == "multi-target":
            raise FerlibError(
                "the scheme multi-target accepts some emotions whole, a teacher gives each a "
                "share: choose another scheme, or no teacher"
            )
        if self.teacher_views and not self.teacher:
            raise FerlibError("teacher views without a teacher: name one as well (--teacher)")
        self._check_numbers()
        self._check_freeze()

    def _make_plain(self) -> None:
        """Numbers, names and paths in Python's own types, as JSON has them; or FerlibError."""
        several = [self.teacher] if isinstance(self.teacher, str | os.PathLike) else self.teacher
        check_kind("teacher", several, (tuple, list), "the names of nets")
        object.__setattr__(self, "teacher", tuple(map(_name, several)))
        if isinstance(self.start, os.PathLike):
            object.__setattr__(self, "start", str(self.start))
        check_kind("start", self.start, str, 'a net, or "" for the weights of chance')
        check_kind("grow", self.grow, (tuple, list), "pairs of shares")
        object.__setattr__(self, "grow", tuple(map(_pair, self.grow)))
        for one in fields(self):
            if one.type in (int, float):
                plain = number(one.name, getattr(self, one.name), whole=one.type is int)
                object.__setattr__(self, one.name, plain)
            elif one.type is bool and not isinstance(getattr(self, one.name), bool):
                raise FerlibError(f"{one.name}: expected True or False")
            elif one.type is str:
                check_kind(one.name, getattr(self, one.name), str, "a name")

    def _check_numbers(self) -> None:
        """FerlibError where a number cannot be trained with."""
        if not 0 <= self.seed < 2**31:
            raise FerlibError(f"seed {self.seed}: expected 0 to {2**31 - 1}")
        for name in ("lr", "weight_decay"):
            if not 0 <= getattr(self, name) < FLOAT32:
                raise FerlibError(f"{name} {getattr(self, name)}: expected 0 to {FLOAT32:g}")
        for name in ("epochs", "batch_size"):
            if not getattr(self, name) >= 1:
                raise FerlibError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name in ("warmup", "momentum", "teacher_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise FerlibError(f"{name} {getattr(self, name)}: expected 0 to 1")
        for _, part in self.grow:
            if not 0.5 <= part <= 1:
                raise FerlibError(f"pictures of {part:g} of the net's side: expected 0.5 to 1")
        for name, below in {"smoothing": 1, "average": 1, "mixup": inf, "centre": inf}.items():
            value = getattr(self, name)
            if not 0 <= value < below:
                beyond = f", below {below}" if below == 1 else ""
                raise FerlibError(f"{name} {value}: expected a number from 0 on{beyond}")
            if value and name != "average" and self.scheme == "multi-target":
                raise FerlibError(
                    f"the scheme multi-target accepts some emotions whole, {name} needs shares: "
                    f"choose another scheme, or leave out {name}"
                )

    def _check_freeze(self) -> None:
        """FerlibError where there is nothing to freeze, or options do not go along."""
        if self.freeze not in FREEZES:
            raise FerlibError(f"unknown freeze {self.freeze!r}: expected features, or none")
        if self.freeze and not self.start:
            raise FerlibError("nothing to freeze without a start: name weights as well (--start)")
        if self.freeze and self.start == imagenet.START:
            raise FerlibError(
                "with ImageNet's weights some layers begin from chance: they have to learn "
                "(no --freeze)"
            )
        for name, why in {
            "mixup": "a mixed picture belongs to two classes",
            "freeze": "frozen features cannot come nearer to a centre",
        }.items():
            if self.centre and getattr(self, name):
                raise FerlibError(f"centre and {name} do not go along: {why}")

    def placed(self) -> "Recipe":
        """With the places of its start and teachers for their names; FerlibError without them."""
        named = self.start not in ("", imagenet.START)
        start = str(find_weights(self.start)) if named else self.start
        teacher = tuple(str(find_weights(name)) for name in self.teacher)
        return replace(self, start=start, teacher=teacher)

    def network(self, classes: int | None = None) -> registry.Net:
        """The declaration of the net to train, for so many classes."""
        return registry.find(self.net, self.channels, classes, self.side)

    @property
    def normalisation(self) -> str:
        net = self.network()
        gray_only = net.channels == 3 and net.normalise == "equalise"
        return self.normalise or ("standardise" if gray_only else net.normalise)

    def size(self, epoch: int) -> int:
        """The side of the pictures that an epoch (from 1 on) trains on, in pixels."""
        net = self.network()
        early = (part for share, part in self.grow if epoch <= share * self.epochs)
        part = next(early, 1) if net.any_size else 1
        return net.size if part == 1 else 8 * round(part * net.size / 8)  # whole after poolings

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of `steps` in all."""
        warmup = min(int(self.warmup * steps), steps - 1)  # schedules divide by the rest
        if self.schedule == "constant":
            return self.lr * min(1.0, (step + 1) / max(warmup, 1))
        made = {"cosine": mx.lr_scheduler.CosineScheduler, "linear": mx.lr_scheduler.PolyScheduler}
        power = {"pwr": 1} if self.schedule == "linear" else {}
        how = {"base_lr": self.lr, "final_lr": 0.0, "warmup_steps": warmup}
        rate = made[self.schedule](steps, **how, **power)(step)
        return float(f"{rate:.6g}")  # six digits are enough for the log

    def optimiser_settings(self) -> dict[str, float]:
        """What the optimiser is made with."""
        momentum = {} if self.optimiser == "adam" else {"momentum": self.momentum}
        return {"learning_rate": self.lr, "wd": self.weight_decay} | momentum


def _name(teacher: str | os.PathLike) -> str:
    check_kind("teacher", teacher, (str, os.PathLike), "a net's name or prefix")
    return str(teacher)


def _pair(given: tuple[float, float]) -> tuple[float, float]:
    check_kind("grow", given, (tuple, list), "pairs of shares")
    found = tuple(number("grow", share) for share in given)
    if len(found) != 2 or not all(0 < share <= 1 for share in found):
        raise FerlibError(f"grow: expected pairs of shares, not {given!r:.60}")
    return found
