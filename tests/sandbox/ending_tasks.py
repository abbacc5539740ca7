"""Tasks whose import ends the process with an exit code."""

import sys

sys.exit(7)
