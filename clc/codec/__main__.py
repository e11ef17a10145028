"""`python -m clc.codec`, and `clc` where the package is installed: see `clc.codec.cli.main`."""

import sys

from clc.codec.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
