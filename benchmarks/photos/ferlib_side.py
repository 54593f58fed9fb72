"""ferlib's side: `Recognizer.many` over all files, or one at a time, or as thorough as it can.

    python ferlib_side.py {many,one,thorough}

Works with every version of ferlib that PYTHONPATH may name.
"""

import inspect
import sys

from loop import serve


def load(how: str):
    import ferlib
    from ferlib import files

    fer = ferlib.Recognizer()
    reads = {"one": lambda paths: [fer(path) for path in paths], "many": fer.many}
    if "thorough" in inspect.signature(ferlib.Recognizer).parameters:
        reads["thorough"] = ferlib.Recognizer(thorough=True).many
    read = reads.get(how)
    versions = {"ferlib": ferlib.__version__, "commit": files.commit()}

    def rows(paths: list[str]) -> list:
        return [[[*map(int, f.box), f.emotion] for f in faces] for faces in read(paths)]

    return (rows if read else None), versions


if __name__ == "__main__":
    serve(lambda: load(sys.argv[1]))
