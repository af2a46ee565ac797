"""`python -m cc_tui` is `cc-tui`."""

import sys

from cc_tui.cli import main

sys.exit(main())
