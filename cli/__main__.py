"""`python -m wf.cli`."""

from __future__ import annotations

import sys

from wf.cli.main import main

sys.exit(main())
