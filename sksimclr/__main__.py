"""The command line: ``sksimclr``, or ``python -m sksimclr``."""

import sys

from sksimclr._commands import main

if __name__ == "__main__":
    sys.exit(main())
