"""`python -m ppgn` is the `ppgn` command."""

import sys

from ppgn.cli import main

if __name__ == "__main__":
    sys.exit(main())
