"""Any data by its place: FER2013 with its votes, another data set, plain folders, drawn faces."""

from collections.abc import Mapping
from pathlib import Path

from ferlib.data import fer2013, folders
from ferlib.data.dataset import Dataset
from ferlib.data.fer2013 import Fer2013
from ferlib.data.labels import EMOTIONS

DRAWN = "drawn"


def open_data(
    place: str | Path | None = None, names: Mapping[str, str] | None = None, own: bool = False
) -> Fer2013 | Dataset:
    """What lies at a place; both kinds have `split`. None: FER2013 in $FERLIB_DATA or data/.

    "drawn" is the drawn faces; a folder holds FER2013, or what `folders.read` reads. Its classes
    are the emotions where all names of its folders mean one, unless `own` takes the names as they
    are. `names` maps folders' names to classes.
    """
    if place is not None and str(place) == DRAWN:
        return fer2013.sample_data()
    if place is None or fer2013.holds_data(Path(place)) or not Path(place).exists():
        return fer2013.load(place)
    emotions = not own and (names is not None or folders.shows_emotions(place))
    return folders.read(place, names=names, classes=EMOTIONS if emotions else None)
