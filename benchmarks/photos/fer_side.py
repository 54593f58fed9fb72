"""PyPI's fer: `python fer_side.py {haar,mtcnn}` in the environment that rivals.py made."""

import importlib.metadata
import sys

from loop import serve


def load(detector: str):
    import cv2
    from fer.fer import FER

    reader = FER(mtcnn=detector == "mtcnn")

    def read(files: list[str]) -> list:
        return [[row(face) for face in reader.detect_emotions(cv2.imread(f))] for f in files]

    used = ["fer", "tensorflow", "opencv-contrib-python"]
    used += ["torch", "facenet-pytorch"] if detector == "mtcnn" else []
    return read, {name: importlib.metadata.version(name) for name in used}


def row(face: dict) -> list:
    return [*map(int, face["box"]), max(face["emotions"], key=face["emotions"].get)]


if __name__ == "__main__":
    serve(lambda: load(sys.argv[1]))
