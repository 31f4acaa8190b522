"""What surrounds the program (chart, dashboards, alerts, pipelines), by the tools that are made for it. They are large
and not part of the usual run: `make test-production` installs them and runs this."""

from __future__ import annotations

import os

collect_ignore_glob = [] if "ASKONCE_TEST_PRODUCTION" in os.environ else ["*"]
