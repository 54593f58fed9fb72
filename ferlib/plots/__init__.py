"""Every picture of the notebooks and the README: arrays in, a matplotlib Figure out."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "bench": ("accuracy_by_cost", "accuracy_by_epoch", "best_for_cost", "look_alikes"),
        "diagrams": ("architecture", "pipeline"),
        "evaluation": (
            "confidence",
            "confusion",
            "per_emotion",
            "prior_trade",
            "reliability",
            "robustness",
            "split_counts",
        ),
        "heat": ("explained", "surest", "timeline"),
        "inside": ("embedding", "masks", "warps"),
        "pictures": (
            "answers_by_scheme",
            "augmented",
            "faces_with_votes",
            "grid",
            "loss_curves",
            "scores_bars",
            "targets_by_scheme",
        ),
        "style": (
            "BLUES",
            "COLOURS",
            "FAINT",
            "INK",
            "MARK",
            "STYLE",
            "Picture",
            "pyplot",
            "styled",
        ),
        "tune": ("search_history", "setting_importances", "setting_slices"),
        "training": ("learning_curves", "over_seeds", "step_time"),
    },
)
