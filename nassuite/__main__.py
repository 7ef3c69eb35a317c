"""``python -m nassuite``, for where the command is not on the path."""

import sys

from nassuite.cli import main

sys.exit(main())
