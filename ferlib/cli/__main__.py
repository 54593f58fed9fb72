"""python -m ferlib.cli"""

import sys

from ferlib.cli.main import main

sys.exit(main())
