"""``python -m andiron`` is the `andiron` command."""

import sys

from andiron._command import main

sys.exit(main())
