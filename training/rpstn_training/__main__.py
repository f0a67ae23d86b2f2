"""`python -m rpstn_training` is `rpstn`."""

import sys

from .cli import main

sys.exit(main())
