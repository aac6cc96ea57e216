"""Helpers of these tests, beside them; and the parties of other folders' tests, to look at."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
for folder in ("endpoint", "keys", "relay"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
