"""``python -m mist_dse.app``: the same as the command ``mist-dse``."""

import sys

from mist_dse.app.main import main

sys.exit(main())
