import sys

from sstricks.cli import main

sys.exit(main())
