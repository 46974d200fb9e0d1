"""``python -m guest``: see ``guest.scenario``."""

import sys

from guest.scenario import main

sys.exit(main(sys.argv[1:]))
