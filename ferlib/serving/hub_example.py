"""Read cut-out faces with onnxruntime, NumPy and Pillow alone: python example.py FACE.png..."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

HERE = Path(__file__).resolve().parent
CONFIG = json.loads((HERE / "config.json").read_text())


def crop(name: str) -> np.ndarray:
    """A picture of a face, framed from brow to chin, as the net takes it."""
    picture = Image.open(name).convert("L" if CONFIG["num_channels"] == 1 else "RGB")
    return np.asarray(picture.resize((CONFIG["image_size"],) * 2, Image.Resampling.BILINEAR))


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(HERE / "model.onnx")
    try:
        crops = np.stack([crop(name) for name in sys.argv[1:]])
    except (OSError, ValueError) as error:  # no such file, no picture, or none named
        sys.exit(f"example.py: {error}")
    rows = session.run(None, {"crops": crops})[0]
    for name, row in zip(sys.argv[1:], rows, strict=True):
        print(name, CONFIG["id2label"][str(row.argmax())], f"{row.max():.3f}")
