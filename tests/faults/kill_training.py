"""A process that trains for ever in the workspace of the environment, until somebody kills it.

python -m tests.faults.kill_training START
"""

import sys

from tests.flows.tiny_training import trained

if __name__ == "__main__":
    trained(sys.argv[1], 10**9)
