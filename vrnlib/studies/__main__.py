import sys

from vrnlib.studies.command import main

sys.exit(main())
