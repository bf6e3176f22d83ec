"""`python -m cluster` is `unicorn-ray`, where nothing is installed, as in a Ray job."""

import sys

from cluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
