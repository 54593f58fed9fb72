"""What Lambda starts, as `function.handle`: the nets are loaded before the first event comes."""

from pathlib import Path

from ferlib.serving.function import load

handle = load(Path(__file__).with_name("model_store"))
