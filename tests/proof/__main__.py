import sys

from tests.proof.run import main

sys.exit(main())
