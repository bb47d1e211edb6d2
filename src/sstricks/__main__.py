import sys

from sstricks_cli import main

sys.exit(main())
