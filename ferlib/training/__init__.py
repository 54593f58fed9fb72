"""Training: a recipe, the loop with its callbacks, checkpoints, teachers, calibration."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "calibrate": ("calibrated", "described", "fit_bias", "fit_temperature"),
        "callbacks": ("Callback", "EarlyStop", "Lines", "TensorBoard"),
        "importance": ("importances",),
        "loop": ("Diverged", "Run", "fit", "step"),
        "loss": ("VoteLoss",),
        "precision": ("in_bfloat16",),
        "recipe": ("Recipe",),
        "settings": ("read_recipe",),
        "space": ("default_space", "read_space"),
        "study": ("Search",),
        "train": ("train_to",),
        "tuning": ("Prune", "tune"),
    },
)
