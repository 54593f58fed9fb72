"""Make MXNet 1.9.1 run, and run well, on today's Python, NumPy, CPU and GPU; ONNX beside it."""

from ferlib._lazy import lazily

__getattr__, __dir__, __all__ = lazily(
    __name__,
    {
        "devices": ("amx", "check_context", "contexts", "describe", "fast_bfloat16", "fast_int8"),
        "cpu": ("can_bfloat16", "cores", "threads"),
        "mxnet": ("ENGINES", "engine", "import_mxnet"),
        "names": ("restore_names",),
        "parallel": ("ahead",),
        "signals": ("ends_like_ctrl_c",),
    },
)
