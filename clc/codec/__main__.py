"""`python -m clc.codec`: see `clc.codec.cli.main`."""

import sys

from clc.codec.cli.main import main

sys.exit(main())
