"""Every picture of the notebooks and the README: arrays in, a matplotlib Figure out."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "diagrams": ("architecture", "pipeline"),
        "evaluation": (
            "confidence",
            "confusion",
            "per_emotion",
            "reliability",
            "robustness",
            "split_counts",
        ),
        "heat": ("explained", "surest", "timeline"),
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
        "training": ("learning_curves", "over_seeds", "step_time"),
    },
)
